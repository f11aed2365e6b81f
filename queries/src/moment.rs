//! Moments and spans of time as people write them: `-2h`, `-7d@d`, `yesterday`, `2026-11-01T09:00`; `1h30m`.
//!
//! Times without a zone are UTC, as the archive's hours are: a question means the same to everybody who asks it. What is relative
//! is so to a time that the caller gives.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// Nanoseconds of a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// Nanoseconds of an hour.
pub const HOUR_NS: i64 = 3600 * SECOND_NS;

/// Nanoseconds of a day.
const DAY_NS: i64 = 24 * HOUR_NS;

/// The longest span that may be written, in ns: a hundred years.
const MAX_SPAN_NS: i64 = 100 * 366 * DAY_NS;

/// The longest text of a moment or a span, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// What is said of a text that is no moment.
const FORMS: &str = "now, a time before it (-2h, -90m, -7d), that time rounded down (-7d@d, -1h@h), today, yesterday, \
a day (2026-11-01), or a time (2026-11-01T09:00, 2026-11-01 09:00:05.5, with Z or +02:00; UTC without)";

/// A moment as it was written. What it means depends on when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// So far from now, before or after, then rounded down to this many ns.
    Relative { ns: i64, round_ns: i64 },
    /// In ns since 1970.
    Fixed { ns: i64 },
}

/// Why a text is no [`Moment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no time; write {FORMS}", .0.escape_debug())]
pub struct MomentError(String);

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let error = || MomentError(text.chars().take(MAX_TEXT_BYTES).collect());
        if text.len() > MAX_TEXT_BYTES {
            return Err(error());
        }
        let text = text.trim();
        Ok(Self {
            text: text.to_owned(),
            form: parse(text).ok_or_else(error)?,
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Moment {
    /// What it means at the time `now_ns`, in ns since 1970.
    pub fn resolve(&self, now_ns: i64) -> i64 {
        match self.form {
            Form::Relative { ns, round_ns } => {
                let ns = now_ns.saturating_add(ns);
                ns.saturating_sub(ns.rem_euclid(round_ns))
            }
            Form::Fixed { ns } => ns,
        }
    }
}

fn parse(text: &str) -> Option<Form> {
    let relative = |ns, round_ns| Some(Form::Relative { ns, round_ns });
    match text {
        "today" => return relative(0, DAY_NS),
        "yesterday" => return relative(-DAY_NS, DAY_NS),
        _ => {}
    }
    let (rest, round_ns) = match text.split_once('@') {
        None => (text, 1),
        Some((rest, unit)) => (rest, unit_ns(unit).filter(|ns| *ns <= DAY_NS)?),
    };
    if rest == "now" {
        return relative(0, round_ns);
    }
    let (sign, span) = match rest.as_bytes().first()? {
        b'-' => (-1, &rest[1..]),
        b'+' => (1, &rest[1..]),
        // As in the other programs, a span alone lies before now.
        _ => (-1, rest),
    };
    if let Some(ns) = parse_span(span) {
        return relative(sign * ns, round_ns);
    }
    if rest.len() != text.len() {
        return None;
    }
    if let Some(date) = parse_date(text) {
        return fixed(date.to_datetime(Time::midnight()), Offset::UTC);
    }
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let date = parse_date(date)?;
    if let Some(time) = parse_time(time) {
        return fixed(date.to_datetime(time), Offset::UTC);
    }
    let (time, offset) = split_zone(time)?;
    fixed(date.to_datetime(parse_time(time)?), offset)
}

fn fixed(civil: DateTime, offset: Offset) -> Option<Form> {
    let ns = offset.to_timestamp(civil).ok()?.as_nanosecond();
    Some(Form::Fixed {
        ns: i64::try_from(ns).ok()?,
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

/// `HH`, `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fraction`.
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2..=2)?;
    let minute = parts.next().map_or(Some(0), |text| number(text, 2..=2))?;
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

/// The time before a zone, and the zone: `Z`, `+02:00`, `+0200`, `+02`.
fn split_zone(text: &str) -> Option<(&str, Offset)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, Offset::UTC));
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
    Some((time.trim_end(), Offset::from_seconds(sign * seconds).ok()?))
}

/// Numbers with units: `1h30m`, `90s`, `200ms`; in ns. A number alone is none: of what?
pub fn parse_span(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count = number(&rest[..digits], 1..=9)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let ns = unit_ns(&rest[..letters])?;
        total = total.checked_add(i64::try_from(count).ok()?.checked_mul(ns)?)?;
        rest = &rest[letters..];
    }
    (total <= MAX_SPAN_NS).then_some(total)
}

/// A unit's length in ns.
fn unit_ns(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" => SECOND_NS / 1000,
        "s" => SECOND_NS,
        "m" | "min" => 60 * SECOND_NS,
        "h" => HOUR_NS,
        "d" => DAY_NS,
        "w" => 7 * DAY_NS,
        _ => return None,
    })
}

/// A number of so many digits and nothing else.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    (digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// A time for people: `2026-11-01T09:00:00Z`, with a fraction if it has one.
pub fn show(ns: i64) -> String {
    // Every i64 of nanoseconds lies within what the calendar holds.
    Timestamp::from_nanosecond(i128::from(ns))
        .unwrap_or_default()
        .to_string()
}

/// A span for people, in the largest units that say it exactly.
pub fn show_span(ns: i64) -> String {
    for (unit, unit_ns) in [
        ("w", 7 * DAY_NS),
        ("d", DAY_NS),
        ("h", HOUR_NS),
        ("m", 60 * SECOND_NS),
        ("s", SECOND_NS),
        ("ms", SECOND_NS / 1000),
    ] {
        if ns >= unit_ns && ns % unit_ns == 0 {
            return format!("{}{unit}", ns / unit_ns);
        }
    }
    format!("{ns}ns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-24 02:34:56 UTC.
    const NOW: i64 = 1_795_487_696 * SECOND_NS;

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("now", "2026-11-24T02:34:56Z"),
            ("now@h", "2026-11-24T02:00:00Z"),
            ("-90s", "2026-11-24T02:33:26Z"),
            ("90s", "2026-11-24T02:33:26Z"),
            ("-1h30m", "2026-11-24T01:04:56Z"),
            ("-250ms", "2026-11-24T02:34:55.75Z"),
            ("-7d@d", "2026-11-17T00:00:00Z"),
            ("+1h@h", "2026-11-24T03:00:00Z"),
            ("today", "2026-11-24T00:00:00Z"),
            ("yesterday", "2026-11-23T00:00:00Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T09", "2026-11-01T09:00:00Z"),
            ("2026-11-01 09:00:05,5", "2026-11-01T09:00:05.5Z"),
            ("2026-11-01T09:00:00.25+02:00", "2026-11-01T07:00:00.25Z"),
            ("2026-11-01 09:00 -0130", "2026-11-01T10:30:00Z"),
        ] {
            let moment: Moment = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(show(moment.resolve(NOW)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_forms() {
        for text in [
            "",
            "5",
            "m",
            "-5x",
            "25:00",
            "2026-13-01",
            "2026-02-30",
            "2026-11-01T",
            "tomorrow",
            "-1h@w",
            "-1h@",
            "2026-11-01@d",
            "2026-11-01T09:00+25:00",
            "9999-12-31",
            "-999999999w",
            "1' OR '1'='1",
            "\u{661}5m",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let error = "5 parsecs".parse::<Moment>().unwrap_err();
        insta::assert_snapshot!(error, @"`5 parsecs` is no time; write now, a time before it (-2h, -90m, -7d), that time rounded down (-7d@d, -1h@h), today, yesterday, a day (2026-11-01), or a time (2026-11-01T09:00, 2026-11-01 09:00:05.5, with Z or +02:00; UTC without)");
    }

    #[test]
    fn spans_are_shown_as_they_are_written() {
        for text in ["1w", "3d", "36h", "90m", "45s", "250ms"] {
            assert_eq!(show_span(parse_span(text).expect("a span")), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", now in any::<i64>()) {
            if let Ok(moment) = text.parse::<Moment>() {
                moment.resolve(now);
            }
        }

        #[test]
        fn what_is_shown_is_read_back(ns in 0..4_102_444_800_000_000_000_i64) {
            let moment: Moment = show(ns).parse().expect("a moment");
            prop_assert_eq!(moment.resolve(NOW), ns);
        }

        #[test]
        fn spans_add_up(days in 0..50_i64, hours in 0..50_i64, ms in 0..5000_i64) {
            let total = (days * 24 + hours) * HOUR_NS + ms * (SECOND_NS / 1000);
            prop_assert_eq!(parse_span(&format!("{days}d{hours}h{ms}ms")), Some(total));
        }
    }
}
