//! Times and days. A time without a zone is a clock's reading; one with a zone is an instant, read by the clock of its zone.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::Function;
use super::arguments::{Arguments, Times};
use super::time_formats;
use crate::embedded::error::{Code, Trouble, invalid};
use crate::embedded::text;
use crate::rows;

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

const OF_TIME: &[&str] = &["date -> bigint", "timestamp -> bigint", "time -> bigint"];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "date_trunc",
        &[
            "varchar, date -> date",
            "varchar, timestamp -> =1",
            "varchar, time -> =1",
        ],
        date_trunc,
    ),
    Function::new(
        "date_add",
        &[
            "varchar, bigint, date -> date",
            "varchar, bigint, timestamp -> =2",
            "varchar, bigint, time -> =2",
        ],
        date_add,
    ),
    Function::new(
        "date_diff",
        &[
            "varchar, date, date -> bigint",
            "varchar, timestamp, timestamp -> bigint",
            "varchar, time, time -> bigint",
        ],
        date_diff,
    ),
    Function::new(
        "date",
        &[
            "varchar -> date",
            "date -> date",
            "timestamp -> date",
            "time -> date",
        ],
        date,
    ),
    Function::new("year", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.year()))
    }),
    Function::new("quarter", OF_TIME, |a| {
        part(a, |clock| i64::from((clock.month() - 1) / 3 + 1))
    }),
    Function::new("month", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.month()))
    }),
    Function::new("week", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().iso_week_date().week()))
    }),
    Function::new("week_of_year", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().iso_week_date().week()))
    }),
    Function::new("year_of_week", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().iso_week_date().year()))
    }),
    Function::new("yow", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().iso_week_date().year()))
    }),
    Function::new("day", OF_TIME, |a| part(a, |clock| i64::from(clock.day()))),
    Function::new("day_of_month", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.day()))
    }),
    Function::new("day_of_week", OF_TIME, |a| part(a, day_of_week)),
    Function::new("dow", OF_TIME, |a| part(a, day_of_week)),
    Function::new("day_of_year", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().day_of_year()))
    }),
    Function::new("doy", OF_TIME, |a| {
        part(a, |clock| i64::from(clock.date().day_of_year()))
    }),
    Function::new("hour", &["timestamp -> bigint", "time -> bigint"], |a| {
        part(a, |clock| i64::from(clock.hour()))
    }),
    Function::new("minute", &["timestamp -> bigint", "time -> bigint"], |a| {
        part(a, |clock| i64::from(clock.minute()))
    }),
    Function::new("second", &["timestamp -> bigint", "time -> bigint"], |a| {
        part(a, |clock| i64::from(clock.second()))
    }),
    Function::new(
        "millisecond",
        &["timestamp -> bigint", "time -> bigint"],
        |a| part(a, |clock| i64::from(clock.millisecond())),
    ),
    Function::new(
        "last_day_of_month",
        &["date -> date", "timestamp -> date", "time -> date"],
        |a| days(a, |clock| clock.date().last_of_month()),
    ),
    Function::new(
        "from_unixtime",
        &["double -> timestamp(3) with time zone"],
        from_unixtime,
    ),
    Function::new(
        "from_unixtime_nanos",
        &["bigint -> timestamp(9) with time zone"],
        |a| {
            let ns = a.numbers(0);
            a.give_numbers(|row| Ok(ns.get(row)))
        },
    ),
    Function::new(
        "to_unixtime",
        &["timestamp -> double", "time -> double"],
        |a| {
            let time = a.times(0)?;
            let per_second = time.per_second() as f64;
            a.give_doubles(|row| Ok(time.get(row).map(|value| value as f64 / per_second)))
        },
    ),
    Function::new("to_milliseconds", &["interval -> bigint"], to_milliseconds),
    Function::new(
        "from_iso8601_timestamp",
        &["varchar -> timestamp(3) with time zone"],
        |a| from_iso8601_timestamp(a, Zones::Utc),
    ),
    Function::new(
        "$instant$from_iso8601_timestamp",
        &["varchar -> timestamp(3) with time zone"],
        |a| from_iso8601_timestamp(a, Zones::Any),
    ),
    Function::new("from_iso8601_date", &["varchar -> date"], |a| {
        let text = a.texts(0);
        a.give_numbers(|row| {
            let Some(text) = text.get(row) else {
                return Ok(None);
            };
            match parse_date(text) {
                Some(days) => Ok(Some(i64::from(days))),
                None => invalid(format!("Invalid format: \"{text}\"")),
            }
        })
    }),
    Function::new(
        "to_iso8601",
        &["date -> varchar", "timestamp -> varchar", "time -> varchar"],
        to_iso8601,
    ),
    Function::new(
        "date_format",
        &["timestamp, varchar -> varchar", "time, varchar -> varchar"],
        |a| formatted(a, time_formats::mysql),
    ),
    Function::new(
        "format_datetime",
        &["timestamp, varchar -> varchar", "time, varchar -> varchar"],
        |a| formatted(a, time_formats::joda),
    ),
    Function::new("date_parse", &["varchar, varchar -> timestamp(3)"], |a| {
        parsed(a, time_formats::parse_mysql)
    }),
    Function::new(
        "parse_datetime",
        &["varchar, varchar -> timestamp(3) with time zone"],
        |a| parse_datetime(a, Zones::Utc),
    ),
    Function::new(
        "$instant$parse_datetime",
        &["varchar, varchar -> timestamp(3) with time zone"],
        |a| parse_datetime(a, Zones::Any),
    ),
    Function::new(
        "$at_time_zone",
        &["timestamp, time -> $zoned", "time, time -> $zoned"],
        |a| {
            // A time without a zone is read by the clock of UTC.
            let unit = a.times(0)?.unit;
            let instant = cast(&a.array(0)?, &DataType::Timestamp(unit, Some("UTC".into())))?;
            Ok(cast(&instant, a.result())?)
        },
    ),
];

/// A unit of time, by Trino's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "millisecond" => Self::Millisecond,
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => return invalid(format!("'{name}' is not a valid TIMESTAMP field")),
        })
    }

    /// Its length, where it always has the same, in milliseconds.
    const fn ms(self) -> Option<i64> {
        Some(match self {
            Self::Millisecond => 1,
            Self::Second => 1000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => DAY_SECONDS * 1000,
            Self::Week => 7 * DAY_SECONDS * 1000,
            _ => return None,
        })
    }

    /// Its months, if it is made of these.
    const fn months(self) -> Option<i64> {
        Some(match self {
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
            _ => return None,
        })
    }
}

/// The zone's clock.
fn zone_of(times: &Times) -> TimeZone {
    times.zone.as_deref().map_or(TimeZone::UTC, text::time_zone)
}

/// What the clock of a zone reads at a time, to the second, and the rest of the second in the unit.
fn read(value: i64, per_second: i64, zone: &TimeZone) -> Result<(DateTime, i64)> {
    let second = value.div_euclid(per_second);
    match jiff::Timestamp::from_second(second) {
        Ok(at) => Ok((zone.to_datetime(at), value.rem_euclid(per_second))),
        Err(_) => invalid(format!("{second} seconds since 1970 is out of range")),
    }
}

/// The time at which the clock of a zone reads so.
fn at(clock: DateTime, rest: i64, per_second: i64, zone: &TimeZone) -> Result<i64> {
    let second = match zone.to_timestamp(clock) {
        Ok(at) => at.as_second(),
        Err(_) => return invalid(format!("{clock} is out of range")),
    };
    match second
        .checked_mul(per_second)
        .and_then(|value| value.checked_add(rest))
    {
        Some(value) => Ok(value),
        None => invalid(format!("{clock} is out of range")),
    }
}

/// What the clock reads with its fraction, for a row.
fn reading(times: &Times, zone: &TimeZone, row: usize) -> Result<Option<DateTime>> {
    let Some(value) = times.get(row) else {
        return Ok(None);
    };
    let per_second = times.per_second();
    let (clock, rest) = read(value, per_second, zone)?;
    let ns = rest * (1_000_000_000 / per_second);
    let with = clock.with().subsec_nanosecond(ns as i32).build();
    Ok(Some(with.unwrap_or(clock)))
}

fn part(a: &Arguments, of: fn(DateTime) -> i64) -> Result<ArrayRef> {
    let times = a.times(0)?;
    let zone = zone_of(&times);
    a.give_numbers(|row| Ok(reading(&times, &zone, row)?.map(of)))
}

fn day_of_week(clock: DateTime) -> i64 {
    i64::from(clock.date().weekday().to_monday_one_offset())
}

fn days(a: &Arguments, of: fn(DateTime) -> Date) -> Result<ArrayRef> {
    let times = a.times(0)?;
    let zone = zone_of(&times);
    a.give_numbers(|row| {
        Ok(reading(&times, &zone, row)?.map(|clock| i64::from(day_number(of(clock)))))
    })
}

/// Days since 1970.
pub(super) fn day_number(date: Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch))
        .map_or(0, |span| span.get_days())
}

fn date_trunc(a: &Arguments) -> Result<ArrayRef> {
    let (unit, times) = (a.texts(0), a.times(1)?);
    let zone = zone_of(&times);
    let is_utc = zone == TimeZone::UTC;
    let is_date = *a.kind(1) == DataType::Date32;
    let per_second = times.per_second();
    let known = if unit.is_constant() {
        unit.get(0).map(Unit::parse).transpose()?
    } else {
        None
    };
    let whole = a.give_whole(|row| {
        let (Some(name), Some(value)) = (unit.get(row), times.get(row)) else {
            return Ok(None);
        };
        let unit = match known {
            Some(unit) => unit,
            None => Unit::parse(name)?,
        };
        // What has a fixed length and begins with a second of the clock can be cut off without a calendar.
        if let Some(ms) = unit.ms()
            && unit != Unit::Week
            && (is_utc || ms <= 1000)
        {
            let step = (i128::from(ms) * i128::from(per_second) / 1000).max(1) as i64;
            return Ok(Some(value - value.rem_euclid(step)));
        }
        let (clock, _) = read(value, per_second, &zone)?;
        Ok(Some(at(truncated(clock, unit), 0, per_second, &zone)?))
    })?;
    if is_date {
        let ms = cast(&whole, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        return Ok(cast(&ms, &DataType::Date32)?);
    }
    Ok(cast(&whole, a.result())?)
}

fn truncated(clock: DateTime, unit: Unit) -> DateTime {
    let date = clock.date();
    let day = match unit {
        Unit::Millisecond | Unit::Second => return clock,
        Unit::Minute => return date.at(clock.hour(), clock.minute(), 0, 0),
        Unit::Hour => return date.at(clock.hour(), 0, 0, 0),
        Unit::Day => date,
        Unit::Week => {
            let since = jiff::Span::new().days(i64::from(date.weekday().to_monday_zero_offset()));
            date.saturating_sub(since)
        }
        Unit::Month => date.first_of_month(),
        Unit::Quarter => {
            let month = (date.month() - 1) / 3 * 3 + 1;
            Date::new(date.year(), month, 1).unwrap_or(date)
        }
        Unit::Year => date.first_of_year(),
    };
    day.at(0, 0, 0, 0)
}

fn date_add(a: &Arguments) -> Result<ArrayRef> {
    let (unit, amount, times) = (a.texts(0), a.numbers(1), a.times(2)?);
    let zone = zone_of(&times);
    let per_second = times.per_second();
    let is_date = *a.kind(2) == DataType::Date32;
    let whole = a.give_whole(|row| {
        let (Some(unit), Some(amount), Some(value)) =
            (unit.get(row), amount.get(row), times.get(row))
        else {
            return Ok(None);
        };
        let unit = Unit::parse(unit)?;
        if is_date && unit.ms().is_some_and(|ms| ms < DAY_SECONDS * 1000) {
            return invalid(format!("'{unit:?}' is not a valid DATE field").to_lowercase());
        }
        if let Some(months) = unit.months() {
            let (clock, rest) = read(value, per_second, &zone)?;
            let moved = jiff::Span::new()
                .try_months(amount.saturating_mul(months))
                .and_then(|span| clock.checked_add(span));
            return match moved {
                Ok(moved) => Ok(Some(at(moved, rest, per_second, &zone)?)),
                Err(_) => invalid(format!("{clock} and {amount} months is out of range")),
            };
        }
        if let (Some(ms), true) = (unit.ms(), zone != TimeZone::UTC)
            && ms >= DAY_SECONDS * 1000
        {
            let (clock, rest) = read(value, per_second, &zone)?;
            let moved = jiff::Span::new()
                .try_days(amount.saturating_mul(ms / (DAY_SECONDS * 1000)))
                .and_then(|span| clock.checked_add(span));
            return match moved {
                Ok(moved) => Ok(Some(at(moved, rest, per_second, &zone)?)),
                Err(_) => invalid(format!("{clock} and {amount} days is out of range")),
            };
        }
        let ms = i128::from(unit.ms().unwrap_or(0));
        let moved = i128::from(value) + i128::from(amount) * ms * i128::from(per_second) / 1000;
        match i64::try_from(moved) {
            Ok(moved) => Ok(Some(moved)),
            Err(_) => invalid("the time is out of range"),
        }
    })?;
    if is_date {
        let ms = cast(&whole, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        return Ok(cast(&ms, &DataType::Date32)?);
    }
    Ok(cast(&whole, a.result())?)
}

fn date_diff(a: &Arguments) -> Result<ArrayRef> {
    let (unit, from, to) = (a.texts(0), a.times(1)?, a.times(2)?);
    let zone = zone_of(&from);
    let ns = |times: &Times, value: i64| {
        i128::from(value) * i128::from(1_000_000_000 / times.per_second())
    };
    a.give_numbers(|row| {
        let (Some(unit), Some(start), Some(end)) = (unit.get(row), from.get(row), to.get(row))
        else {
            return Ok(None);
        };
        let unit = Unit::parse(unit)?;
        if let Some(ms) = unit.ms() {
            let between = ns(&to, end) - ns(&from, start);
            return Ok(Some((between / (i128::from(ms) * 1_000_000)) as i64));
        }
        let (start_clock, start_rest) = read(start, from.per_second(), &zone)?;
        let (end_clock, end_rest) = read(end, to.per_second(), &zone)?;
        let months = |clock: DateTime| i64::from(clock.year()) * 12 + i64::from(clock.month());
        let mut between = months(end_clock) - months(start_clock);
        // A month counts once its day and time are reached; the last day of a month reaches any.
        let of_month = |clock: DateTime, rest: i64, per_second: i64| {
            (
                i64::from(clock.day()),
                clock.time(),
                rest * (1_000_000_000 / per_second),
            )
        };
        let start_in = of_month(start_clock, start_rest, from.per_second());
        let end_in = of_month(end_clock, end_rest, to.per_second());
        if between > 0 && end_in < start_in {
            let is_last = i64::from(end_clock.days_in_month()) == end_in.0 && start_in.0 > end_in.0;
            if !is_last || (end_in.1, end_in.2) < (start_in.1, start_in.2) {
                between -= 1;
            }
        } else if between < 0 && end_in > start_in {
            between += 1;
        }
        Ok(Some(between / unit.months().unwrap_or(1)))
    })
}

fn date(a: &Arguments) -> Result<ArrayRef> {
    if *a.kind(0) != DataType::Utf8View {
        return days(a, DateTime::date);
    }
    let text = a.texts(0);
    a.give_numbers(|row| {
        let Some(text) = text.get(row) else {
            return Ok(None);
        };
        match parse_date(text.trim()) {
            Some(days) => Ok(Some(i64::from(days))),
            None => crate::embedded::error::Trouble::new(
                crate::embedded::error::Code::InvalidCastArgument,
                format!("Value cannot be cast to date: {text}"),
            )
            .raise(),
        }
    })
}

/// The day that `YYYY-MM-DD` writes, since 1970.
pub(in crate::embedded) fn parse_date(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let mut next = |lengths: std::ops::RangeInclusive<usize>| {
        let part = parts.next()?;
        let fits = lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if fits { part.parse::<i16>().ok() } else { None }
    };
    let (year, month, day) = (next(4..=4)?, next(1..=2)?, next(1..=2)?);
    Date::new(year, month as i8, day as i8).ok().map(day_number)
}

fn from_unixtime(a: &Arguments) -> Result<ArrayRef> {
    let seconds = a.doubles(0);
    a.give_numbers(|row| {
        let Some(seconds) = seconds.get(row) else {
            return Ok(None);
        };
        let ms = (seconds * 1000.0).round();
        if !ms.is_finite() || ms.abs() > 2.5e14 {
            return Trouble::new(
                Code::NotSupported,
                format!(
                    "the embedded engine has years up to 9999, and {} seconds since 1970 are more",
                    rows::double(seconds)
                ),
            )
            .raise();
        }
        Ok(Some(ms as i64))
    })
}

fn to_milliseconds(a: &Arguments) -> Result<ArrayRef> {
    let array = a.array(0)?;
    if !matches!(a.kind(0), DataType::Duration(_)) {
        let values = (0..array.len()).map(|row| interval_ms(array.as_ref(), row));
        return Ok(Arc::new(values.collect::<Int64Array>()));
    }
    let ms = cast(&array, &DataType::Duration(TimeUnit::Millisecond))?;
    Ok(cast(&ms, &DataType::Int64)?)
}

fn interval_ms(array: &dyn Array, row: usize) -> Option<i64> {
    let values =
        array.as_primitive_opt::<datafusion::arrow::datatypes::IntervalMonthDayNanoType>()?;
    if values.is_null(row) {
        return None;
    }
    let value = values.value(row);
    Some(i64::from(value.days) * DAY_SECONDS * 1000 + value.nanoseconds / 1_000_000)
}

/// Whose zones a text may name. A value of Trino's keeps its own; ours have one for the whole column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zones {
    /// No other zone than UTC: the value is printed, and its hour is asked for.
    Utc,
    /// Any: only the instant counts.
    Any,
}

impl Zones {
    fn check(self, has_own: bool, text: &str) -> Result<()> {
        if self == Self::Any || !has_own {
            return Ok(());
        }
        Trouble::new(
            Code::NotSupported,
            format!(
                "the embedded engine keeps one time zone for a column, and \"{text}\" has its own: write AT TIME ZONE 'UTC' behind the call"
            ),
        )
        .raise()
    }
}

fn from_iso8601_timestamp(a: &Arguments, zones: Zones) -> Result<ArrayRef> {
    let text = a.texts(0);
    a.give_numbers(|row| {
        let Some(text) = text.get(row) else {
            return Ok(None);
        };
        match parse_iso8601(text) {
            Some((ms, offset_ms)) => {
                zones.check(offset_ms != 0, text)?;
                Ok(Some(ms))
            }
            None if text.contains('W') => Trouble::new(
                Code::NotSupported,
                "the embedded engine reads no weeks of a year",
            )
            .raise(),
            None => invalid(format!("Invalid format: \"{text}\"")),
        }
    })
}

/// Milliseconds since 1970 of a day, with or without a time behind a `T`, with or without a zone's distance from UTC; and that
/// distance, in milliseconds.
fn parse_iso8601(text: &str) -> Option<(i64, i64)> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let day = i64::from(parse_date(date)?) * DAY_SECONDS * 1000;
    let Some(time) = time else {
        return Some((day, 0));
    };
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let offset_ms = match zone {
        "" | "Z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits: String = zone[1..].chars().filter(|one| *one != ':').collect();
            let (hours, minutes) = match digits.len() {
                2 => (digits.parse::<i64>().ok()?, 0),
                4 => (
                    digits[..2].parse::<i64>().ok()?,
                    digits[2..].parse::<i64>().ok()?,
                ),
                _ => return None,
            };
            sign * (hours * 60 + minutes) * 60_000
        }
    };
    Some((day + parse_clock(clock)? - offset_ms, offset_ms))
}

/// Milliseconds of a day that `HH[:MM[:SS[.fff]]]` writes.
pub(super) fn parse_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut whole = |max: i64| match parts.next() {
        None => Some(0),
        Some(part) => {
            let number: i64 = part.parse().ok()?;
            (part.len() <= 2 && (0..=max).contains(&number)).then_some(number)
        }
    };
    let (hours, minutes) = (whole(23)?, whole(59)?);
    let (seconds, ms) = match parts.next() {
        None => (0, 0),
        Some(part) => {
            let (seconds, fraction) = part.split_once('.').unwrap_or((part, ""));
            let seconds: i64 = seconds.parse().ok()?;
            if !(0..60).contains(&seconds) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
            (seconds, digits.parse::<i64>().ok()?)
        }
    };
    parts
        .next()
        .is_none()
        .then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms)
}

fn to_iso8601(a: &Arguments) -> Result<ArrayRef> {
    let times = a.times(0)?;
    let is_date = *a.kind(0) == DataType::Date32;
    let zone = zone_of(&times);
    a.give_texts(|row| {
        let Some(value) = times.get(row) else {
            return Ok(None);
        };
        let text = text::timestamp(value, times.unit, times.zone.as_deref());
        if is_date {
            return Ok(Some(text[..10].to_owned()));
        }
        let mut parts = text.splitn(3, ' ');
        let (day, clock) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let mut iso = format!("{day}T{clock}");
        if times.zone.is_some() {
            iso.push_str(&offset(value.div_euclid(times.per_second()), &zone));
        }
        Ok(Some(iso))
    })
}

/// A zone's distance from UTC at a second: `Z` or `+01:00`.
pub(super) fn offset(second: i64, zone: &TimeZone) -> String {
    let at = jiff::Timestamp::from_second(second).unwrap_or_default();
    let seconds = zone.to_offset(at).seconds();
    if seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn formatted(a: &Arguments, by: fn(&str, DateTime, &str) -> Result<String>) -> Result<ArrayRef> {
    let (times, format) = (a.times(0)?, a.texts(1));
    let zone = zone_of(&times);
    let name = times.zone.clone().unwrap_or_else(|| "UTC".to_owned());
    a.give_texts(|row| {
        let (Some(clock), Some(format)) = (reading(&times, &zone, row)?, format.get(row)) else {
            return Ok(None);
        };
        by(format, clock, &name).map(Some)
    })
}

fn parse_datetime(a: &Arguments, zones: Zones) -> Result<ArrayRef> {
    let (text, format) = (a.texts(0), a.texts(1));
    a.give_numbers(|row| {
        let (Some(text), Some(format)) = (text.get(row), format.get(row)) else {
            return Ok(None);
        };
        let (ms, has_own) = time_formats::parse_joda(format, text)?;
        zones.check(has_own, text)?;
        Ok(Some(ms))
    })
}

fn parsed(a: &Arguments, by: fn(&str, &str) -> Result<i64>) -> Result<ArrayRef> {
    let (text, format) = (a.texts(0), a.texts(1));
    a.give_numbers(|row| {
        let (Some(text), Some(format)) = (text.get(row), format.get(row)) else {
            return Ok(None);
        };
        by(format, text).map(Some)
    })
}
