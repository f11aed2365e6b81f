//! Values as Trino prints them, and types by Trino's names.
//!
//! Some Arrow types stand for types that Arrow does not have: `LargeUtf8` is JSON, and a time's unit is its precision.

use std::fmt::Write as _;

use datafusion::arrow::array::{Array, AsArray as _};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use jiff::tz::TimeZone;

use crate::rows::{Kind, double, real, scientific};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A type, as every engine gives it.
pub(super) fn kind(of: &DataType) -> Kind {
    match of {
        DataType::Boolean => Kind::Boolean,
        DataType::Int8 => Kind::TinyInt,
        DataType::Int16 | DataType::UInt8 => Kind::SmallInt,
        DataType::Int32 | DataType::UInt16 => Kind::Integer,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Kind::BigInt,
        DataType::Float16 | DataType::Float32 => Kind::Real,
        DataType::Float64 => Kind::Double,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Kind::Decimal {
                precision: *precision,
                scale: u8::try_from(*scale).unwrap_or(0),
            }
        }
        DataType::Utf8 | DataType::Utf8View => Kind::Varchar,
        DataType::LargeUtf8 => Kind::Json,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Kind::Varbinary,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Timestamp(unit, None) => Kind::Timestamp {
            precision: precision(*unit),
        },
        DataType::Timestamp(unit, Some(_)) => Kind::TimestampWithTimeZone {
            precision: precision(*unit),
        },
        DataType::Dictionary(_, values) => kind(values),
        other => Kind::Other(name(other)),
    }
}

/// A type, by Trino's name.
pub(super) fn name(of: &DataType) -> String {
    match of {
        DataType::Null => "unknown".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array({})", name(item.data_type()))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "map({}, {})",
                name(fields[0].data_type()),
                name(fields[1].data_type())
            ),
            _ => "map".to_owned(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{} {}", field.name(), name(field.data_type())))
                .collect();
            format!("row({})", fields.join(", "))
        }
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval day to second".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", precision(*unit)),
        simple => match kind_name(simple) {
            Some(name) => name,
            None => simple.to_string(),
        },
    }
}

fn kind_name(of: &DataType) -> Option<String> {
    // What `kind` calls by a name of ours ends here, or it would be asked for ever.
    let simple = match of {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::Utf8View => "varchar",
        DataType::LargeUtf8 => "json",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "varbinary",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return Some(format!("decimal({precision},{scale})"));
        }
        DataType::Timestamp(unit, None) => return Some(format!("timestamp({})", precision(*unit))),
        DataType::Timestamp(unit, Some(_)) => {
            return Some(format!("timestamp({}) with time zone", precision(*unit)));
        }
        DataType::Dictionary(_, values) => return Some(name(values)),
        _ => return None,
    };
    Some(simple.to_owned())
}

/// Digits of a second's fraction.
pub(super) const fn precision(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// A value; none if it is NULL.
pub(super) fn value(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Null => return None,
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float32 => real(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Binary => hexadecimal(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hexadecimal(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hexadecimal(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hexadecimal(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, zone) => {
            timestamp(time(array, row, *unit), *unit, zone.as_deref())
        }
        DataType::Duration(unit) => day_to_second(duration_ms(array, row, *unit)),
        DataType::Interval(IntervalUnit::YearMonth) => {
            year_to_month(array.as_primitive::<IntervalYearMonthType>().value(row))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            day_to_second(i64::from(value.days) * DAY_MS + i64::from(value.milliseconds))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            if value.months != 0 {
                year_to_month(value.months)
            } else {
                day_to_second(i64::from(value.days) * DAY_MS + value.nanoseconds / 1_000_000)
            }
        }
        DataType::List(_) => items(array.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => items(array.as_list::<i64>().value(row).as_ref()),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().value(row).as_ref()),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let entries = (0..entries.len())
                .map(|entry| format!("{}={}", nested(keys, entry), nested(values, entry)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let fields = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| format!("{}={}", field.name(), nested(column, row)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Dictionary(..) => {
            let values = array.as_any_dictionary();
            return value(values.values(), values.normalized_keys()[row]);
        }
        _ => {
            datafusion::arrow::util::display::array_value_to_string(array, row).unwrap_or_default()
        }
    })
}

fn nested(array: &dyn Array, row: usize) -> String {
    value(array, row).unwrap_or_else(|| "null".to_owned())
}

fn items(array: &dyn Array) -> String {
    let items: Vec<_> = (0..array.len()).map(|row| nested(array, row)).collect();
    format!("[{}]", items.join(", "))
}

/// A double as Trino casts it to text: one digit before the point, and always an exponent.
pub(super) fn double_as_varchar(value: f64) -> String {
    scientific(value, &format!("{value:e}"))
}

/// A real as Trino casts it to text.
pub(super) fn real_as_varchar(value: f32) -> String {
    scientific(f64::from(value), &format!("{value:e}"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// A span in ms.
fn duration_ms(array: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<DurationSecondType>().value(row) * 1000,
        TimeUnit::Millisecond => array.as_primitive::<DurationMillisecondType>().value(row),
        TimeUnit::Microsecond => {
            let us = array.as_primitive::<DurationMicrosecondType>().value(row);
            us.div_euclid(1000)
        }
        TimeUnit::Nanosecond => {
            let ns = array.as_primitive::<DurationNanosecondType>().value(row);
            ns.div_euclid(1_000_000)
        }
    }
}

/// A day since 1970.
pub(super) fn date(days: i32) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    match epoch.checked_add(jiff::Span::new().days(days)) {
        Ok(date) => format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
        Err(_) => format!("{days} days since 1970"),
    }
}

/// A time in its unit.
fn time(array: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    }
}

/// A time in a unit since 1970, by the clock of a zone if it has one.
pub(super) fn timestamp(value: i64, unit: TimeUnit, zone: Option<&str>) -> String {
    let per_second = 10_i64.pow(u32::from(precision(unit)));
    let (second, fraction) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let Ok(at) = jiff::Timestamp::from_second(second) else {
        return format!("{second} seconds since 1970");
    };
    let clock = at
        .to_zoned_datetime(zone.map_or(TimeZone::UTC, time_zone))
        .datetime();
    let mut text = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        clock.year(),
        clock.month(),
        clock.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    );
    let digits = usize::from(precision(unit));
    if digits > 0 {
        let _ = write!(text, ".{fraction:0digits$}");
    }
    if let Some(zone) = zone {
        text.push(' ');
        text.push_str(if zone == "+00:00" { "UTC" } else { zone });
    }
    text
}

/// A zone by its name or its distance from UTC; one that nobody knows is UTC, as it was checked when it was given.
pub(super) fn time_zone(name: &str) -> TimeZone {
    find_time_zone(name).unwrap_or(TimeZone::UTC)
}

/// A zone by its name or its distance from UTC.
pub(super) fn find_time_zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") || name == "Z" {
        return Some(TimeZone::UTC);
    }
    if let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = *name.as_bytes()
        && [h1, h2, m1, m2].iter().all(u8::is_ascii_digit)
    {
        let number = |a: u8, b: u8| i32::from(a - b'0') * 10 + i32::from(b - b'0');
        let seconds = (number(h1, h2) * 60 + number(m1, m2)) * 60;
        let signed = if sign == b'-' { -seconds } else { seconds };
        return jiff::tz::Offset::from_seconds(signed)
            .ok()
            .map(TimeZone::fixed);
    }
    TimeZone::get(name).ok()
}

fn day_to_second(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    let (days, rest) = (ms / DAY_MS as u64, ms % DAY_MS as u64);
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, ms) = (rest / 1000 % 60, rest % 1000);
    format!("{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

fn year_to_month(months: i32) -> String {
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    format!("{sign}{}-{}", months / 12, months % 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_trino_casts_them() {
        for (value, expected) in [
            (0.0, "0E0"),
            (1.0, "1.0E0"),
            (37.7, "3.77E1"),
            (-0.05, "-5.0E-2"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(double_as_varchar(value), expected);
        }
    }

    #[test]
    fn times() {
        let ms = 1_793_523_600_005;
        let of = |zone| timestamp(ms, TimeUnit::Millisecond, zone);
        assert_eq!(of(None), "2026-11-01 09:00:00.005");
        assert_eq!(of(Some("UTC")), "2026-11-01 09:00:00.005 UTC");
        assert_eq!(of(Some("+05:30")), "2026-11-01 14:30:00.005 +05:30");
        assert_eq!(timestamp(-1, TimeUnit::Second, None), "1969-12-31 23:59:59");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(day_to_second(-90_061_005), "-1 01:01:01.005");
        assert_eq!(year_to_month(14), "1-2");
    }
}
