//! When a line says it was written.
//!
//! [`TimestampParser::find`] is total and depends on the line alone, never on the lines before it; what the parser remembers
//! (the last day, the last minute's offset) only saves time. The forms are in `form`, the places of a line where they are
//! looked for in `search`; here a form becomes nanoseconds since 1970.
//!
//! Decisions:
//! - A time without a zone is in the parser's zone. In the hour that a clock repeats, the first pass is meant; in the hour
//!   that it skips, the time is moved on by the skip.
//! - A date without a year is the one nearest to the reference time, measured at noon.
//! - The leap second, `:60`, is the last nanosecond of the second before it, so that it stays in its minute.
//! - A date that no calendar has (30 February, hour 25) is no timestamp. Nor is one before 1970 or after 2261.
//! - More than nine digits of a fraction are cut off, not rounded.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

mod form;
mod search;
#[cfg(test)]
mod tests;

use form::{Stamp, Zone};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const SECONDS_PER_MINUTE: i64 = 60;

/// Years that a nanosecond count since 1970 in an `i64` can hold in full.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2261;

/// How far from the reference's year a leap day may be: from 1896 to 1904 there was none for eight years.
const MAX_YEARS_TO_LEAP_DAY: i32 = 8;

/// The first and the last second since 1970 that a bare number is taken for a time: from 9 September 2001, when such
/// numbers got ten digits, until 2100.
const EPOCH_SECONDS: std::ops::Range<i64> = 1_000_000_000..4_102_444_800;

/// Where in a line its time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The time, in nanoseconds since 1970.
    pub ts_ns: i64,
    /// The offset of its first byte in the line.
    pub start: usize,
    /// The offset after its last byte.
    pub end: usize,
}

/// Where in a line of text its time stands, whether or not the calendar has it.
pub fn place(line: &[u8]) -> Option<std::ops::Range<usize>> {
    search::find(line).map(|place| place.start..place.end)
}

/// Reads the times of lines.
///
/// ```
/// let mut parser = joblog::TimestampParser::new(jiff::tz::TimeZone::UTC, 1_767_225_600_000_000_000);
/// assert_eq!(parser.find(b"[Mon Jan 05 03:04:05 2026] [notice] ready"), Some(1_767_582_245_000_000_000));
/// assert_eq!(parser.find(b"no time at all"), None);
/// ```
#[derive(Debug, Clone)]
pub struct TimestampParser {
    zone: LocalZone,
    reference_ns: i64,
    last_date: Option<KnownDate>,
}

/// The zone of times that do not name one.
#[derive(Debug, Clone)]
enum LocalZone {
    /// So many seconds east of Greenwich, always.
    Fixed { offset_seconds: i64 },
    /// Rules that change the offset, and the offset of the last minute asked for. Offsets change at full minutes.
    Rules {
        zone: TimeZone,
        last: Option<Minute>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    /// Local minutes since 1970.
    local_minute: i64,
    offset_seconds: i64,
}

/// A date as written and the day it is.
#[derive(Debug, Clone, Copy)]
struct KnownDate {
    year: Option<i32>,
    month: u8,
    day: u8,
    /// Days since 1970.
    number: i64,
}

impl TimestampParser {
    /// A parser for lines whose times are in `zone` unless they say otherwise. `reference_ns`, in nanoseconds since 1970, is
    /// about when the lines were written: it chooses the year where a line has none.
    pub fn new(zone: TimeZone, reference_ns: i64) -> Self {
        let zone = match zone.to_fixed_offset() {
            Ok(offset) => LocalZone::Fixed {
                offset_seconds: i64::from(offset.seconds()),
            },
            Err(_) => LocalZone::Rules { zone, last: None },
        };
        Self {
            zone,
            reference_ns,
            last_date: None,
        }
    }

    /// Moves the reference time on; for readers that follow a file for months.
    pub fn set_reference(&mut self, reference_ns: i64) {
        self.reference_ns = reference_ns;
        self.last_date = None;
    }

    /// The time of a line of text, in nanoseconds since 1970.
    #[inline]
    pub fn find(&mut self, line: &[u8]) -> Option<i64> {
        self.find_at(line).map(|found| found.ts_ns)
    }

    /// The time of a line of text, and where in the line it stands.
    pub fn find_at(&mut self, line: &[u8]) -> Option<Found> {
        let place = search::find(line)?;
        let ts_ns = match place.time {
            search::Time::Stamp(stamp) => self.resolve(&stamp)?,
            search::Time::Epoch(ns) => ns,
        };
        Some(Found {
            ts_ns,
            start: place.start,
            end: place.end,
        })
    }

    /// The time that a number counts in seconds, milliseconds, microseconds or nanoseconds since 1970. Which of them follows
    /// from its size: only one gives a time from 2001 to 2100.
    pub fn from_integer(number: i64) -> Option<i64> {
        [NANOS_PER_SECOND, 1_000_000, 1_000, 1]
            .into_iter()
            .find_map(|nanos_per_unit| {
                let units_per_second = NANOS_PER_SECOND / nanos_per_unit;
                if EPOCH_SECONDS.contains(&number.div_euclid(units_per_second)) {
                    number.checked_mul(nanos_per_unit)
                } else {
                    None
                }
            })
    }

    /// As [`Self::from_integer`], for a number with a fraction. A float holds today's seconds to less than a microsecond, so
    /// the result is rounded to microseconds.
    pub fn from_float(number: f64) -> Option<i64> {
        [1e6, 1e3, 1.0].into_iter().find_map(|micros_per_unit| {
            let seconds = number * micros_per_unit / 1e6;
            let plausible =
                seconds >= EPOCH_SECONDS.start as f64 && seconds < EPOCH_SECONDS.end as f64;
            if plausible {
                ((number * micros_per_unit).round() as i64).checked_mul(1_000)
            } else {
                None
            }
        })
    }

    fn resolve(&mut self, stamp: &Stamp) -> Option<i64> {
        let day = self.day_number(stamp)?;
        let (second, nanos) = match stamp.second {
            60 => (59, NANOS_PER_SECOND - 1),
            second => (second, i64::from(stamp.nanos)),
        };
        let of_day = i64::from(stamp.hour) * 3600
            + i64::from(stamp.minute) * SECONDS_PER_MINUTE
            + i64::from(second);
        let local = day * SECONDS_PER_DAY + of_day;
        let offset = match stamp.zone {
            Zone::Offset { seconds } => i64::from(seconds),
            Zone::Absent => self.zone.offset_seconds(local)?,
        };
        (local - offset)
            .checked_mul(NANOS_PER_SECOND)?
            .checked_add(nanos)
    }

    #[inline]
    fn day_number(&mut self, stamp: &Stamp) -> Option<i64> {
        if let Some(last) = self.last_date
            && (last.year, last.month, last.day) == (stamp.year, stamp.month, stamp.day)
        {
            return Some(last.number);
        }
        let number = match stamp.year {
            Some(year) => day_number(year, stamp.month, stamp.day),
            None => self.nearest_day(stamp.month, stamp.day),
        }?;
        self.last_date = Some(KnownDate {
            year: stamp.year,
            month: stamp.month,
            day: stamp.day,
            number,
        });
        Some(number)
    }

    /// The day of this month and day whose noon is nearest to the reference.
    fn nearest_day(&self, month: u8, day: u8) -> Option<i64> {
        let reference = self.reference_ns.div_euclid(NANOS_PER_SECOND);
        let year = 1970 + (reference.div_euclid(SECONDS_PER_DAY) * 400 / 146_097) as i32;
        (year - MAX_YEARS_TO_LEAP_DAY..=year + MAX_YEARS_TO_LEAP_DAY)
            .filter_map(|year| day_number(year, month, day))
            .min_by_key(|number| (number * SECONDS_PER_DAY + SECONDS_PER_DAY / 2 - reference).abs())
    }
}

impl LocalZone {
    /// Seconds east of Greenwich at a local time in seconds since 1970.
    #[inline]
    fn offset_seconds(&mut self, local: i64) -> Option<i64> {
        match self {
            Self::Fixed { offset_seconds } => Some(*offset_seconds),
            Self::Rules { zone, last } => {
                let local_minute = local.div_euclid(SECONDS_PER_MINUTE);
                if let Some(last) = last.filter(|last| last.local_minute == local_minute) {
                    return Some(last.offset_seconds);
                }
                let offset_seconds = offset_by_rules(zone, local_minute * SECONDS_PER_MINUTE)?;
                *last = Some(Minute {
                    local_minute,
                    offset_seconds,
                });
                Some(offset_seconds)
            }
        }
    }
}

fn offset_by_rules(zone: &TimeZone, local: i64) -> Option<i64> {
    let civil: DateTime =
        jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::from_second(local).ok()?);
    let timestamp = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(local - timestamp.as_second())
}

const fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days since 1970, if the calendar has the date.
fn day_number(year: i32, month: u8, day: u8) -> Option<i64> {
    const DAYS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    const DAYS_BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let index = usize::from(month.checked_sub(1)?);
    let leap_day = u8::from(is_leap(year));
    let days = DAYS.get(index)? + if month == 2 { leap_day } else { 0 };
    if !(1..=days).contains(&day) || !YEARS.contains(&year) {
        return None;
    }
    let past = i64::from(year) - 1;
    // Leap days up to the end of the year before; 477 of them came before 1970.
    let leap_days = past / 4 - past / 100 + past / 400 - 477;
    let in_year = i64::from(DAYS_BEFORE[index]) + if month > 2 { i64::from(leap_day) } else { 0 };
    Some((i64::from(year) - 1970) * 365 + leap_days + in_year + i64::from(day) - 1)
}
