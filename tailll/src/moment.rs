//! Moments as people write them: `5m`, `yesterday 09:00`, `2026-11-01T09:00`; and the span between two of them.
//!
//! Owns the parser and what a text means at a given time in a given zone. Which lines lie in a span is `filter.rs`'s, where
//! in a file a span begins is `reader.rs`'s.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The longest duration that may be written, in seconds: a hundred years.
const MAX_DURATION_SECONDS: u64 = 100 * 366 * 86_400;

/// The longest text of a moment in bytes.
const MAX_MOMENT_BYTES: usize = 64;

/// What is said of a text that is none.
const FORMS: &str = "a duration before now (90s, 5m, 1h30m, 3d, 2w), a time (09:00, 2026-11-01T09:00, 2026-11-01 09:00:05), \
with a zone (2026-11-01T09:00:00Z, 2026-11-01T09:00:00+02:00), a day (2026-11-01, today, yesterday, yesterday 09:00), or now";

/// A moment as it was written. What it means depends on when and where it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// So many seconds before now.
    Ago { seconds: u64 },
    /// With a zone of its own, in ns since 1970.
    Fixed { ns: i64 },
    /// A date and a time of some zone.
    Civil(DateTime),
    /// A time of a day so many days ago.
    Day { days_ago: u8, time: Time },
    /// A time alone.
    TimeOnly(Time),
}

/// Why a text is no [`Moment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no time; write {FORMS}", .0.escape_debug())]
pub struct MomentError(String);

/// Which end of a span a moment is; a time alone means another day at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The beginning: a time alone is the last one that was.
    Since,
    /// The end: a time alone is today's.
    Until,
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let error = || MomentError(text.chars().take(MAX_MOMENT_BYTES).collect());
        if text.len() > MAX_MOMENT_BYTES {
            return Err(error());
        }
        let form = parse(text.trim()).ok_or_else(error)?;
        Ok(Self {
            text: text.trim().to_owned(),
            form,
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Moment {
    /// What it means at the time `now_ns` in the zone, in ns since 1970. Days and times that a clock skips are moved on by the
    /// skip; of a time that a clock repeats the first is meant.
    pub fn resolve(&self, end: End, now_ns: i64, zone: &TimeZone) -> i64 {
        let local_now = zone.to_datetime(timestamp(now_ns));
        match self.form {
            Form::Ago { seconds } => {
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                now_ns.saturating_sub(seconds.saturating_mul(NANOS_PER_SECOND))
            }
            Form::Fixed { ns } => ns,
            Form::Civil(civil) => at(civil, zone),
            Form::Day { days_ago, time } => at(
                days_before(local_now.date(), days_ago).to_datetime(time),
                zone,
            ),
            Form::TimeOnly(time) => {
                let today = at(local_now.date().to_datetime(time), zone);
                if end == End::Since && today > now_ns {
                    at(days_before(local_now.date(), 1).to_datetime(time), zone)
                } else {
                    today
                }
            }
        }
    }
}

/// The time since 1970 of a place on a zone's clock.
fn at(civil: DateTime, zone: &TimeZone) -> i64 {
    zone.to_ambiguous_timestamp(civil)
        .compatible()
        .map_or(i64::MAX, nanoseconds)
}

fn days_before(date: Date, days: u8) -> Date {
    date.saturating_sub(i32::from(days).days())
}

fn nanoseconds(timestamp: Timestamp) -> i64 {
    let ns = timestamp.as_nanosecond();
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

fn timestamp(ns: i64) -> Timestamp {
    // Every i64 of nanoseconds lies within what the calendar holds.
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default()
}

fn parse(text: &str) -> Option<Form> {
    if text == "now" {
        return Some(Form::Ago { seconds: 0 });
    }
    for (word, days_ago) in [("today", 0), ("yesterday", 1)] {
        if let Some(rest) = text.strip_prefix(word) {
            let time = match rest.strip_prefix([' ', 'T']) {
                _ if rest.is_empty() => Time::midnight(),
                Some(time) => parse_time(time)?,
                None => return None,
            };
            return Some(Form::Day { days_ago, time });
        }
    }
    if let Some(time) = parse_time(text) {
        return Some(Form::TimeOnly(time));
    }
    if let Some(seconds) = parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
        return Some(Form::Ago { seconds });
    }
    if let Some(date) = parse_date(text) {
        return Some(Form::Civil(date.to_datetime(Time::midnight())));
    }
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let date = parse_date(date)?;
    if let Some(time) = parse_time(time) {
        return Some(Form::Civil(date.to_datetime(time)));
    }
    let (time, offset_seconds) = split_zone(time)?;
    let local = date.to_datetime(parse_time(time)?);
    let offset = jiff::tz::Offset::from_seconds(offset_seconds).ok()?;
    Some(Form::Fixed {
        ns: nanoseconds(offset.to_timestamp(local).ok()?),
    })
}

/// `YYYY-MM-DD`.
fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4..=4)?;
    let month = number(parts.next()?, 2..=2)?;
    let day = number(parts.next()?, 2..=2)?;
    if parts.next().is_some() {
        return None;
    }
    Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    )
    .ok()
}

/// `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fraction`; the hour may have one digit.
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 1..=2)?;
    let minute = number(parts.next()?, 2..=2)?;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once(['.', ',']) {
            None => (number(seconds, 2..=2)?, 0),
            Some((second, fraction)) => {
                number(fraction, 1..=9)?;
                (
                    number(second, 2..=2)?,
                    number(&format!("{fraction:0<9}"), 9..=9)?,
                )
            }
        },
    };
    if parts.next().is_some() {
        return None;
    }
    Time::new(
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second).ok()?,
        i32::try_from(nanos).ok()?,
    )
    .ok()
}

/// The time before a zone, and the zone's seconds east of Greenwich: `Z`, `+02:00`, `+0200`, `+02`.
fn split_zone(text: &str) -> Option<(&str, i32)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (time, zone) = text.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = &zone[1..];
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (number(hours, 2..=2)?, number(minutes, 2..=2)?),
        None if digits.len() == 4 && digits.is_ascii() => {
            (number(&digits[..2], 2..=2)?, number(&digits[2..], 2..=2)?)
        }
        None => (number(digits, 2..=2)?, 0),
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    Some((time.trim_end(), sign * seconds))
}

/// Numbers with units, largest unit first or not: `1h30m`, `90s`. A number alone is none: of what?
fn parse_duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count = number(&rest[..digits], 1..=9)?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 7 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(count.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start();
    }
    (!text.is_empty() && seconds <= MAX_DURATION_SECONDS).then_some(seconds)
}

/// A number of so many digits and nothing else.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    (digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// What lies between two times, in ns since 1970; both belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first ns of it.
    pub since_ns: i64,
    /// The last ns of it.
    pub until_ns: i64,
}

impl Span {
    /// All of time.
    pub const ALWAYS: Self = Self {
        since_ns: i64::MIN,
        until_ns: i64::MAX,
    };

    /// Whether it has a beginning.
    pub fn begins(&self) -> bool {
        self.since_ns != i64::MIN
    }

    /// Whether it has an end.
    pub fn ends(&self) -> bool {
        self.until_ns != i64::MAX
    }
}

/// A time for people, in the zone.
pub fn show(ns: i64, zone: &TimeZone) -> String {
    let zoned = ZonedDateTime::new(timestamp(ns), zone.clone());
    match zone.to_fixed_offset() {
        Ok(offset) if offset.is_zero() => zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-24 02:00:00 UTC.
    const NOW: i64 = 1_795_485_600 * NANOS_PER_SECOND;

    fn check(text: &str, end: End, zone: &TimeZone, expected: &str) {
        let moment: Moment = text.parse().unwrap();
        let ns = moment.resolve(end, NOW, zone);
        assert_eq!(show(ns, &TimeZone::UTC), expected, "{text}");
    }

    #[test]
    fn every_form() {
        let utc = TimeZone::UTC;
        for (text, expected) in [
            ("now", "2026-11-24T02:00:00Z"),
            ("90s", "2026-11-24T01:58:30Z"),
            ("5m", "2026-11-24T01:55:00Z"),
            ("5 min ago", "2026-11-24T01:55:00Z"),
            ("1h30m", "2026-11-24T00:30:00Z"),
            ("3d", "2026-11-21T02:00:00Z"),
            ("2w", "2026-11-10T02:00:00Z"),
            ("today", "2026-11-24T00:00:00Z"),
            ("yesterday", "2026-11-23T00:00:00Z"),
            ("yesterday 09:00", "2026-11-23T09:00:00Z"),
            ("today 1:02:03", "2026-11-24T01:02:03Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T09:00", "2026-11-01T09:00:00Z"),
            ("2026-11-01 09:00:05,5", "2026-11-01T09:00:05Z"),
            ("2026-11-01T09:00:00Z", "2026-11-01T09:00:00Z"),
            ("2026-11-01T09:00:00.25+02:00", "2026-11-01T07:00:00Z"),
            ("2026-11-01 09:00 -0130", "2026-11-01T10:30:00Z"),
            // Later than now: the one before is meant.
            ("09:00", "2026-11-23T09:00:00Z"),
            ("01:30", "2026-11-24T01:30:00Z"),
        ] {
            check(text, End::Since, &utc, expected);
        }
        check("09:00", End::Until, &utc, "2026-11-24T09:00:00Z");
        let plus_two = TimeZone::fixed(jiff::tz::offset(2));
        check("today", End::Since, &plus_two, "2026-11-23T22:00:00Z");
        check("09:00", End::Since, &plus_two, "2026-11-23T07:00:00Z");
        check(
            "2026-11-01T09:00",
            End::Since,
            &plus_two,
            "2026-11-01T07:00:00Z",
        );
        check(
            "2026-11-01T09:00Z",
            End::Since,
            &plus_two,
            "2026-11-01T09:00:00Z",
        );
    }

    #[test]
    fn what_is_none_is_refused_with_the_forms() {
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "25:00",
            "9",
            "2026-13-01",
            "2026-02-30",
            "2026-11-01T",
            "tomorrow",
            "todayish",
            "yesterday noon",
            "2026-11-01T09:00+25:00",
            "12:3",
            "1:2:3:4",
            "\u{661}5m",
            "999999999w",
            "2026-11-01T09:00:00.1234567890",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let error = "5 parsecs".parse::<Moment>().unwrap_err();
        insta::assert_snapshot!(error, @"`5 parsecs` is no time; write a duration before now (90s, 5m, 1h30m, 3d, 2w), a time (09:00, 2026-11-01T09:00, 2026-11-01 09:00:05), with a zone (2026-11-01T09:00:00Z, 2026-11-01T09:00:00+02:00), a day (2026-11-01, today, yesterday, yesterday 09:00), or now");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", now in any::<i64>()) {
            if let Ok(moment) = text.parse::<Moment>() {
                moment.resolve(End::Since, now, &TimeZone::UTC);
                moment.resolve(End::Until, now, &TimeZone::fixed(jiff::tz::offset(-11)));
            }
        }

        #[test]
        fn what_is_shown_is_read_back(seconds in 0..4_102_444_800_i64, hours in -12..=12_i8) {
            let zone = TimeZone::fixed(jiff::tz::offset(hours));
            let ns = seconds * NANOS_PER_SECOND;
            let moment: Moment = show(ns, &zone).parse().unwrap();
            prop_assert_eq!(moment.resolve(End::Since, NOW, &TimeZone::UTC), ns);
        }

        #[test]
        fn durations_add_up(days in 0..50_u64, hours in 0..50_u64, minutes in 0..50_u64, seconds in 0..50_u64) {
            let moment: Moment = format!("{days}d{hours}h{minutes}m{seconds}s").parse().unwrap();
            let total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
            prop_assert_eq!(moment.resolve(End::Since, NOW, &TimeZone::UTC), NOW - total as i64 * NANOS_PER_SECOND);
        }

        #[test]
        fn a_time_alone_is_less_than_a_day_ago(hour in 0..24_u8, minute in 0..60_u8, now in 0..4_102_444_800_i64) {
            let moment: Moment = format!("{hour:02}:{minute:02}").parse().unwrap();
            let now = now * NANOS_PER_SECOND;
            let ns = moment.resolve(End::Since, now, &TimeZone::UTC);
            prop_assert!(ns <= now && now - ns < 86_400 * NANOS_PER_SECOND);
        }
    }
}
