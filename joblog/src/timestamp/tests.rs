use super::*;
use proptest::prelude::*;

/// 1 July 2026, noon.
const REFERENCE_NS: i64 = 1_782_907_200_000_000_000;

fn parser(zone: TimeZone) -> TimestampParser {
    TimestampParser::new(zone, REFERENCE_NS)
}

/// `expected` is an RFC 3339 time, or empty for none.
#[track_caller]
fn check_in(zone: &TimeZone, line: &str, expected: &str) {
    let got = parser(zone.clone()).find(line.as_bytes()).map(|ns| {
        jiff::Timestamp::from_nanosecond(ns.into())
            .unwrap()
            .to_string()
    });
    assert_eq!(got.as_deref().unwrap_or_default(), expected, "{line:?}");
}

#[track_caller]
fn check(line: &str, expected: &str) {
    check_in(&TimeZone::UTC, line, expected);
}

#[test]
fn year_first() {
    check("2026-01-05T03:04:05Z x", "2026-01-05T03:04:05Z");
    check("2026-01-05T03:04:05.6Z", "2026-01-05T03:04:05.6Z");
    check(
        "2026-01-05T03:04:05.123456789123Z",
        "2026-01-05T03:04:05.123456789Z",
    );
    check("2026-01-05T03:04:05+01:00", "2026-01-05T02:04:05Z");
    check("2026-01-05T03:04:05.5-0330 x", "2026-01-05T06:34:05.5Z");
    check("2026-01-05T03:04:05+01", "2026-01-05T02:04:05Z");
    check("2026-01-05 03:04:05,678 INFO x", "2026-01-05T03:04:05.678Z");
    check("2026-01-05 03:04:05, Info   CBS", "2026-01-05T03:04:05Z");
    check("2026-01-05 03:04:05 +0200 x", "2026-01-05T01:04:05Z");
    check(
        "2026-01-05 03:04:05.25 +0000 UTC",
        "2026-01-05T03:04:05.25Z",
    );
    check("2026-01-05 03:04:05 -5 degrees", "2026-01-05T03:04:05Z");
    check("2026-01-05 03:04:05 - INFO - x", "2026-01-05T03:04:05Z");
    check(
        "2026-01-05 03:04:05.678 CET [123] LOG:  x",
        "2026-01-05T02:04:05.678Z",
    );
    check("2026-01-05 03:04:05 CETI x", "2026-01-05T03:04:05Z");
    check("2026-01-05 03:04:05:678 x", "2026-01-05T03:04:05.678Z");
    check("2026-01-05T03:04Z x", "2026-01-05T03:04:00Z");
    check("2026/01/05 03:04:05 [emerg] x", "2026-01-05T03:04:05Z");
    check("2026/1/5 3:04:05 x", "2026-01-05T03:04:05Z");
    check(
        "2026/01/05 03:04:05.678901 main.go:1: x",
        "2026-01-05T03:04:05.678901Z",
    );
    check(
        "2026-01-05-03.04.05.678901 x",
        "2026-01-05T03:04:05.678901Z",
    );
    check("2026-01-05_03:04:05 x", "2026-01-05T03:04:05Z");
    check("20260105-3:4:5:67|x", "2026-01-05T03:04:05.067Z");
    check("20260105-03:04:05:678|x", "2026-01-05T03:04:05.678Z");
    check("20260105T030405Z x", "2026-01-05T03:04:05Z");
    check("20260105 03:04:05.5 x", "2026-01-05T03:04:05.5Z");
    check("26/01/05 03:04:05 INFO x", "2026-01-05T03:04:05Z");
    check("260105 030405 148 INFO x", "2026-01-05T03:04:05Z");
    check("260105  3:04:05 [Note] x", "2026-01-05T03:04:05Z");
}

#[test]
fn behind_something() {
    check("[2026-01-05 03:04:05,678] x", "2026-01-05T03:04:05.678Z");
    check("INFO:2026-01-05 03:04:05,678:x", "2026-01-05T03:04:05.678Z");
    check(
        "INFO  [main] 2026-01-05 03:04:05,678 x",
        "2026-01-05T03:04:05.678Z",
    );
    check("web_1  | 2026-01-05T03:04:05Z x", "2026-01-05T03:04:05Z");
    check(
        "time=\"2026-01-05T03:04:05Z\" level=info",
        "2026-01-05T03:04:05Z",
    );
    check(
        "level=info ts=2026-01-05T03:04:05Z msg=x",
        "2026-01-05T03:04:05Z",
    );
    check(
        "\u{1b}[2m2026-01-05T03:04:05Z\u{1b}[0m INFO x",
        "2026-01-05T03:04:05Z",
    );
    check(
        "\u{1b}[32mINFO\u{1b}[0m \u{1b}[2m2026-01-05T03:04:05Z x",
        "2026-01-05T03:04:05Z",
    );
    check("\u{feff}2026-01-05T03:04:05Z x", "2026-01-05T03:04:05Z");
    check("  2026-01-05T03:04:05Z x", "2026-01-05T03:04:05Z");
    check(
        "<13>1 2026-01-05T03:04:05.003Z host app - - x",
        "2026-01-05T03:04:05.003Z",
    );
    check("<13>Jan  5 03:04:05 host app: x", "2026-01-05T03:04:05Z");
    check(
        "12345:M 05 Jan 2026 03:04:05.123 * x",
        "2026-01-05T03:04:05.123Z",
    );
}

#[test]
fn with_names() {
    check("Jan  5 03:04:05 host app[1]: x", "2026-01-05T03:04:05Z");
    check("Jan 5 03:04:05 host app[1]: x", "2026-01-05T03:04:05Z");
    check("Jan  5 2026 03:04:05: %ASA-4: x", "2026-01-05T03:04:05Z");
    check("Jan  5 03:04:05 2025 x", "2025-01-05T03:04:05Z");
    check(
        "[Mon Jan 05 03:04:05 2026] [error] x",
        "2026-01-05T03:04:05Z",
    );
    check(
        "[Mon Jan 05 03:04:05.123456 2026] [core:error] x",
        "2026-01-05T03:04:05.123456Z",
    );
    check("Mon Jan  5 03:04:05 UTC 2026 x", "2026-01-05T03:04:05Z");
    check("Mon, 05 Jan 2026 03:04:05 +0100", "2026-01-05T02:04:05Z");
    check("Jan 05, 2026 3:04:05 PM a.B c", "2026-01-05T15:04:05Z");
    check("Jan 05, 2026 12:04:05 AM a.B c", "2026-01-05T00:04:05Z");
    check(
        "Jan 05, 2026, 3:04:05\u{202f}PM a.B c",
        "2026-01-05T15:04:05Z",
    );
    check(
        "05-Jan-2026 03:04:05.678 SEVERE [main] x",
        "2026-01-05T03:04:05.678Z",
    );
    check(
        "10.1.2.3 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 1",
        "2000-10-10T20:55:36Z",
    );
    let long_host = "client-with-a-very-long-name.of-a-department.in-an-organisation.example.com";
    check(
        &format!("{long_host} - frank [10/Oct/2000:13:55:36 +0000] x"),
        "2000-10-10T13:55:36Z",
    );
    check(
        "I0105 03:04:05.678901 123 a.cc:4] x",
        "2026-01-05T03:04:05.678901Z",
    );
    check(
        "E20250105 03:04:05.678901 123 a.cc:4] x",
        "2025-01-05T03:04:05.678901Z",
    );
    check(
        "03-17 16:13:38.811  1702  2395 D Tag: x",
        "2026-03-17T16:13:38.811Z",
    );
}

#[test]
fn epochs() {
    check("1767582245 x", "2026-01-05T03:04:05Z");
    check(
        "1767582245.678 345 10.1.2.3 TCP_MISS",
        "2026-01-05T03:04:05.678Z",
    );
    check("[1767582245678] x", "2026-01-05T03:04:05.678Z");
    check("1767582245678901 x", "2026-01-05T03:04:05.678901Z");
    check("1767582245678901234 x", "2026-01-05T03:04:05.678901234Z");
    check("ts=1767582245.5 msg=x", "2026-01-05T03:04:05.5Z");
    check(
        "134681 node-246 unix.hw a.b 1077804742 1 x",
        "2004-02-26T14:12:22Z",
    );
    check("- 1117838570 2005.06.03 R02-M1 x", "2005-06-03T22:42:50Z");
    check("fetched user 1234567890 from the store", "");
    check("17675822451 x", "");
    check("1767582245abc x", "");
    check("9999999999 x", "");
    check("0000000001 x", "");
    check("9999999999999999999 x", "");
}

#[test]
fn no_time() {
    for line in [
        "",
        "x",
        "2026-02-30 03:04:05 x",
        "2025-02-29 03:04:05 x",
        "2026-13-05 03:04:05 x",
        "2026-00-05 03:04:05 x",
        "2026-01-05 25:04:05 x",
        "2026-01-05 24:00:00 x",
        "2026-01-05 03:60:05 x",
        "2026-01-05 03:04:61 x",
        "2026-01-05 03:04:055 x",
        "2026-01-05 x",
        "2026-01/05 03:04:05 x",
        "0001-01-01T00:00:00Z x",
        "2300-01-01T00:00:00Z x",
        "Feb 30 03:04:05 host x",
        "Mai  5 03:04:05 host x",
        "restarted since 2026-01-05 03:04:05 for good",
        "read backup-2026-01-05 03:04:05 for good",
        "read /logs/2026-01-05T03:04:05Z for good",
        "\tat a.B.c(B.java:1) 2026-01-05 03:04:05",
        "a line that says much before it comes to the point and to its time: 2026-01-05 03:04:05",
        "12-34 03:04:05 x",
        "authentication failure; logname= uid=0 euid=0",
    ] {
        check(line, "");
    }
}

#[test]
fn leap_seconds_stay_in_their_minute() {
    check("2016-12-31T23:59:60Z x", "2016-12-31T23:59:59.999999999Z");
    check("2016-12-31T23:59:60.5Z x", "2016-12-31T23:59:59.999999999Z");
}

#[test]
fn zones() {
    let rules = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    check_in(&rules, "2026-01-05 03:04:05 x", "2026-01-05T02:04:05Z");
    check_in(&rules, "2026-07-05 03:04:05 x", "2026-07-05T01:04:05Z");
    check_in(&rules, "2026-07-05 03:04:05Z x", "2026-07-05T03:04:05Z");
    // Skipped: the clock goes from 2 to 3.
    check_in(&rules, "2026-03-29 02:30:00 x", "2026-03-29T01:30:00Z");
    // Repeated: the first pass.
    check_in(&rules, "2026-10-25 02:30:00 x", "2026-10-25T00:30:00Z");
    let fixed = TimeZone::fixed(jiff::tz::Offset::from_seconds(-34_200).unwrap());
    check_in(&fixed, "2026-01-05 03:04:05 x", "2026-01-05T12:34:05Z");
}

#[test]
fn a_missing_year_is_the_nearest() {
    let check = |reference: &str, line: &str, expected: &str| {
        let reference: jiff::Timestamp = reference.parse().unwrap();
        let mut parser = TimestampParser::new(TimeZone::UTC, reference.as_nanosecond() as i64);
        let got = parser.find(line.as_bytes()).unwrap();
        assert_eq!(
            jiff::Timestamp::from_nanosecond(got.into())
                .unwrap()
                .to_string(),
            expected
        );
    };
    check(
        "2026-01-01T00:00:10Z",
        "Dec 31 23:59:59 h x",
        "2025-12-31T23:59:59Z",
    );
    check(
        "2025-12-31T23:59:59Z",
        "Jan  1 00:00:01 h x",
        "2026-01-01T00:00:01Z",
    );
    check(
        "2026-11-05T00:00:00Z",
        "Jun  5 00:00:00 h x",
        "2026-06-05T00:00:00Z",
    );
    check(
        "2026-03-01T00:00:00Z",
        "Feb 29 00:00:00 h x",
        "2024-02-29T00:00:00Z",
    );
    check(
        "2100-03-01T00:00:00Z",
        "Feb 29 00:00:00 h x",
        "2096-02-29T00:00:00Z",
    );

    let mut parser = TimestampParser::new(TimeZone::UTC, 0);
    let line = b"Jan  5 03:04:05 h x";
    assert_eq!(parser.find(line), Some(356_645_000_000_000));
    parser.set_reference(REFERENCE_NS);
    assert_eq!(parser.find(line), Some(1_767_582_245_000_000_000));
}

#[test]
fn where_it_stands() {
    let line = b"[2026-01-05 03:04:05,678] x";
    let found = parser(TimeZone::UTC).find_at(line).unwrap();
    assert_eq!(&line[found.start..found.end], b"2026-01-05 03:04:05,678");
}

#[test]
fn days_are_the_calendars() {
    for year in [1970, 1972, 1999, 2000, 2024, 2100, 2261] {
        for month in 1..=13u8 {
            for day in 0..=32u8 {
                let date = jiff::civil::Date::new(year, month as i8, day as i8).ok();
                let days = date.map(|date| (date - jiff::civil::date(1970, 1, 1)).get_days());
                assert_eq!(
                    day_number(year.into(), month, day),
                    days.map(i64::from),
                    "{year}-{month}-{day}"
                );
            }
        }
    }
}

/// A time's parts, as a writer of logs has them.
#[derive(Debug, Clone)]
struct Moment {
    ns: i64,
    local: DateTime,
    /// Minutes east of Greenwich.
    offset: i64,
}

impl Moment {
    fn new(ns: i64, offset: i64) -> Self {
        let shifted = i128::from(ns + offset * 60 * NANOS_PER_SECOND);
        let local =
            jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_nanosecond(shifted).unwrap());
        Self { ns, local, offset }
    }

    /// The time to a precision.
    fn floor(&self, nanos: i64) -> i64 {
        self.ns.div_euclid(nanos) * nanos
    }

    fn month_name(&self) -> &'static str {
        [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ][self.local.month() as usize - 1]
    }

    fn clock(&self) -> String {
        format!(
            "{:02}:{:02}:{:02}",
            self.local.hour(),
            self.local.minute(),
            self.local.second()
        )
    }

    fn date(&self, separator: char) -> String {
        format!(
            "{:04}{separator}{:02}{separator}{:02}",
            self.local.year(),
            self.local.month(),
            self.local.day()
        )
    }

    fn fraction(&self, digits: usize) -> String {
        format!("{:09}", self.local.subsec_nanosecond())[..digits].to_owned()
    }

    fn zone(&self, colon: &str) -> String {
        let sign = if self.offset < 0 { '-' } else { '+' };
        format!(
            "{sign}{:02}{colon}{:02}",
            self.offset.abs() / 60,
            self.offset.abs() % 60
        )
    }

    fn half_day(&self) -> String {
        let hour = (self.local.hour() + 11) % 12 + 1;
        let half = if self.local.hour() < 12 { "AM" } else { "PM" };
        format!(
            "{hour}:{:02}:{:02} {half}",
            self.local.minute(),
            self.local.second()
        )
    }

    /// Every form that tells its zone or is read in the zone of the moment, and to how many nanoseconds it is exact.
    fn forms(&self) -> Vec<(String, i64)> {
        let (clock, month, day, year) = (
            self.clock(),
            self.month_name(),
            self.local.day(),
            self.local.year(),
        );
        let mut forms = Vec::new();
        for digits in 1..=9usize {
            let exact = 10i64.pow(9 - digits as u32);
            let fraction = self.fraction(digits);
            for lead in ["", "[", "INFO ", "<14>1 "] {
                forms.push((
                    format!(
                        "{lead}{}T{clock}.{fraction}{}",
                        self.date('-'),
                        self.zone(":")
                    ),
                    exact,
                ));
                forms.push((
                    format!(
                        "{lead}{} {clock}.{fraction} {} x",
                        self.date('/'),
                        self.zone("")
                    ),
                    exact,
                ));
                forms.push((
                    format!("{lead}{}T{clock}.{fraction} x", self.date('-')),
                    exact,
                ));
            }
        }
        let (millis, micros) = (self.fraction(3), self.fraction(6));
        forms.extend([
            (
                format!("{} {clock},{millis} INFO x", self.date('-')),
                1_000_000,
            ),
            (
                format!("{}-{clock}:{millis}|x", self.date('-').replace('-', "")),
                1_000_000,
            ),
            (
                format!("[Thu {month} {day:02} {clock}.{micros} {year}] [x:info] x"),
                1_000,
            ),
            (
                format!("Thu {month} {day:2} {clock} {year}"),
                NANOS_PER_SECOND,
            ),
            (
                format!("{month} {day:2} {year} {clock}: x"),
                NANOS_PER_SECOND,
            ),
            (
                format!("{month} {day:02}, {year} {} a.B c", self.half_day()),
                NANOS_PER_SECOND,
            ),
            (
                format!(
                    "h - u [{day:02}/{month}/{year}:{clock} {}] \"x\"",
                    self.zone("")
                ),
                NANOS_PER_SECOND,
            ),
            (
                format!("{day:02}-{month}-{year} {clock}.{millis} x"),
                1_000_000,
            ),
            (
                format!(
                    "I{year:04}{:02}{day:02} {clock}.{micros} 1 a.cc:1] x",
                    self.local.month()
                ),
                1_000,
            ),
        ]);
        forms
    }

    /// The forms without a year.
    fn yearless_forms(&self) -> Vec<(String, i64)> {
        let (clock, name, month, day) = (
            self.clock(),
            self.month_name(),
            self.local.month(),
            self.local.day(),
        );
        let (millis, micros) = (self.fraction(3), self.fraction(6));
        vec![
            (format!("{name} {day:2} {clock} h app: x"), NANOS_PER_SECOND),
            (
                format!("<13>{name} {day:02} {clock} h app: x"),
                NANOS_PER_SECOND,
            ),
            (
                format!("W{month:02}{day:02} {clock}.{micros} 1 a.cc:1] x"),
                1_000,
            ),
            (
                format!("{month:02}-{day:02} {clock}.{millis}  1  2 D T: x"),
                1_000_000,
            ),
        ]
    }
}

/// Times from 1971 to 2261, and offsets in quarters of an hour.
fn moment() -> impl Strategy<Value = Moment> {
    (
        31_536_000_000_000_000i64..9_190_000_000_000_000_000,
        -48i64..=56,
    )
        .prop_map(|(ns, quarters)| Moment::new(ns, quarters * 15))
}

fn zone_of(moment: &Moment) -> TimeZone {
    TimeZone::fixed(jiff::tz::Offset::from_seconds(moment.offset as i32 * 60).unwrap())
}

proptest! {
    #[test]
    fn render_then_parse(moment in moment()) {
        let mut parser = parser(zone_of(&moment));
        for (line, exact) in moment.forms() {
            prop_assert_eq!(parser.find(line.as_bytes()), Some(moment.floor(exact)), "{:?}", line);
        }
    }

    #[test]
    fn render_then_parse_without_year(moment in moment(), days in -170i64..170) {
        let reference = moment.ns + days * SECONDS_PER_DAY * NANOS_PER_SECOND;
        let mut parser = TimestampParser::new(zone_of(&moment), reference);
        let is_leap_day = (moment.local.month(), moment.local.day()) == (2, 29);
        for (line, exact) in moment.yearless_forms() {
            let got = parser.find(line.as_bytes());
            prop_assert!(got.is_some());
            if !is_leap_day {
                prop_assert_eq!(got, Some(moment.floor(exact)), "{:?}", line);
            }
        }
    }

    #[test]
    fn rules_give_what_the_time_library_gives(seconds in 0i64..4_000_000_000) {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let civil = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(seconds).unwrap());
        let expected = zone.to_ambiguous_timestamp(civil).compatible().unwrap().as_nanosecond() as i64;
        let moment = Moment::new(seconds * NANOS_PER_SECOND, 0);
        let line = format!("{} {}", moment.date('-'), moment.clock());
        let got = parser(zone).find(line.as_bytes());
        if expected >= 0 {
            prop_assert_eq!(got, Some(expected));
        }
    }

    #[test]
    fn counts_since_1970(seconds in EPOCH_SECONDS, nanos in 0i64..NANOS_PER_SECOND) {
        let ns = seconds * NANOS_PER_SECOND + nanos;
        for unit in [NANOS_PER_SECOND, 1_000_000, 1_000, 1] {
            let floor = ns / unit * unit;
            prop_assert_eq!(TimestampParser::from_integer(ns / unit), Some(floor));
            prop_assert_eq!(parser(TimeZone::UTC).find(format!("{} x", ns / unit).as_bytes()), Some(floor));
        }
        let micros = ns / 1_000;
        let float = micros as f64 / 1e6;
        let error = TimestampParser::from_float(float).unwrap() - micros * 1_000;
        prop_assert!(error.abs() <= 1_000, "{} ns", error);
    }

    #[test]
    fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..100), number: i64, float: f64) {
        let mut parser = parser(TimeZone::UTC);
        if let Some(found) = parser.find_at(&line) {
            prop_assert!(found.start < found.end && found.end <= line.len());
        }
        let _ = TimestampParser::from_integer(number);
        let _ = TimestampParser::from_float(float);
    }

    /// Bytes that look like times get further than random ones.
    #[test]
    fn almost_times(line in "[\\[<(\"]?[JFMAS0-9][aeupv0-9-]{1,4}[-/. ,:]{1,2}[0-9JanFeb]{1,4}[-/ ]?[0-9]{0,4}[T :]{0,2}[0-9:.,]{0,14}[Z +-]{0,2}[0-9:APMZ]{0,6}.{0,4}") {
        let mut parser = parser(TimeZone::UTC);
        if let Some(found) = parser.find_at(line.as_bytes()) {
            prop_assert!(found.start < found.end && found.end <= line.len());
        }
        for cut in 0..line.len() {
            let _ = parser.find(&line.as_bytes()[..cut]);
        }
    }

    /// What a parser has seen changes nothing.
    #[test]
    fn history_does_not_matter(moments in prop::collection::vec(moment(), 1..6), pick in any::<prop::sample::Index>()) {
        let rules = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut old = parser(rules.clone());
        for moment in &moments {
            let forms = moment.forms();
            let line = &forms[pick.index(forms.len())].0;
            prop_assert_eq!(old.find(line.as_bytes()), parser(rules.clone()).find(line.as_bytes()));
            for (line, _) in moment.yearless_forms() {
                prop_assert_eq!(old.find(line.as_bytes()), parser(rules.clone()).find(line.as_bytes()));
            }
        }
    }
}
