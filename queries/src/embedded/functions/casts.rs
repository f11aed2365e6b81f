//! Casts, as Trino makes them: `$cast(value, typed NULL)`. Which types can be cast at all is checked before anything runs.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use datafusion::common::Result;

use super::Function;
use super::arguments::Arguments;
use super::times::{parse_clock, parse_date};
use crate::embedded::error::{Code, Trouble};
use crate::embedded::text;
use crate::rows;

/// The function behind `CAST`; behind [`super::TRY`], it is `TRY_CAST`.
pub(in crate::embedded) const CAST: &str = "$cast";

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

pub(super) const FUNCTIONS: &[Function] = &[Function::new(CAST, &["any, any -> $cast"], run)];

/// What a cast gives: its second argument's type, if the first one's can be cast to it.
pub(super) fn result(from: &DataType, to: &DataType) -> Option<DataType> {
    let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::Utf8View);
    let is_scalar = |of: &DataType| of.is_numeric() || *of == DataType::Boolean;
    let fits = match (from, to) {
        (DataType::Null, _) => true,
        (from, to) if from == to => true,
        (from, to) if is_text(from) => {
            is_text(to)
                || is_scalar(to)
                || matches!(
                    to,
                    DataType::Date32 | DataType::Timestamp(..) | DataType::LargeUtf8
                )
        }
        (from, to) if is_scalar(from) => is_scalar(to) || is_text(to) || *to == DataType::LargeUtf8,
        (DataType::LargeUtf8, to) => is_text(to) || is_scalar(to) || is_array_of_scalars(to),
        (DataType::Date32, to) => is_text(to) || matches!(to, DataType::Timestamp(..)),
        (DataType::Timestamp(..), to) => {
            is_text(to) || matches!(to, DataType::Date32 | DataType::Timestamp(..))
        }
        (DataType::List(from), DataType::List(to)) => {
            return result(from.data_type(), to.data_type()).map(super::list);
        }
        (DataType::Interval(_) | DataType::Duration(_), to) => is_text(to),
        _ => false,
    };
    fits.then(|| to.clone())
}

fn is_array_of_scalars(of: &DataType) -> bool {
    match of {
        DataType::List(item) => {
            let item = item.data_type();
            item.is_numeric() || item.is_string() || *item == DataType::Boolean
        }
        _ => false,
    }
}

/// Why a cast of these types is refused.
pub(super) fn refusal(name: &str, types: &[DataType]) -> Option<Trouble> {
    match types {
        [from, to] if name == CAST => Some(Trouble::new(
            Code::TypeMismatch,
            format!("Cannot cast {} to {}", text::name(from), text::name(to)),
        )),
        _ => None,
    }
}

fn run(a: &Arguments) -> Result<ArrayRef> {
    let (from, to) = (a.kind(0).clone(), a.result().clone());
    if from == DataType::Null {
        return Ok(datafusion::arrow::array::new_null_array(&to, a.rows()));
    }
    if from == to {
        return a.array(0);
    }
    let is_text = matches!(from, DataType::Utf8 | DataType::Utf8View);
    match &to {
        DataType::Utf8View if from == DataType::LargeUtf8 => {
            let json = a.json(0);
            a.give_texts(|row| {
                let Some(json) = json.get(row) else {
                    return Ok(None);
                };
                match json.as_bytes().first() {
                    Some(b'{' | b'[') => failed(format!("Cannot cast '{json}' to varchar")),
                    _ => Ok(super::json_path::scalar(json).map(std::borrow::Cow::into_owned)),
                }
            })
        }
        DataType::Utf8View if is_text => Ok(cast(&a.array(0)?, &to)?),
        DataType::Utf8View => {
            let array = a.array(0)?;
            a.give_texts(|row| Ok(to_text(array.as_ref(), row)))
        }
        DataType::LargeUtf8 => {
            let array = a.array(0)?;
            a.give_texts(|row| Ok(to_json(array.as_ref(), row)))
        }
        _ if from == DataType::LargeUtf8 => from_json(a),
        _ if is_text => from_text(a),
        DataType::Boolean => {
            let number = cast(&a.array(0)?, &DataType::Float64)?;
            let number = number.as_primitive::<Float64Type>();
            a.give_booleans(|row| Ok(number.is_valid(row).then(|| number.value(row) != 0.0)))
        }
        to if to.is_integer()
            && (from.is_floating() || matches!(from, DataType::Decimal128(..))) =>
        {
            let number = cast(&a.array(0)?, &DataType::Float64)?;
            let number = number.as_primitive::<Float64Type>();
            narrow(a, to, |row| {
                if number.is_null(row) {
                    return Ok(None);
                }
                let value = number.value(row);
                let whole = (value.abs() + 0.5).floor().copysign(value);
                // 2^63 itself is no longer one.
                if value.is_nan()
                    || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole)
                {
                    return failed(format!(
                        "Cannot cast {} to {}",
                        rows::double(value),
                        text::name(to)
                    ));
                }
                Ok(Some(whole as i64))
            })
        }
        to if to.is_integer() => {
            let number = cast(&a.array(0)?, &DataType::Int64)?;
            let number = number.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
            narrow(a, to, |row| {
                Ok(number.is_valid(row).then(|| number.value(row)))
            })
        }
        DataType::Timestamp(unit, zone) => {
            // Finer digits are rounded, half up.
            let times = match &from {
                DataType::Date32 => {
                    let ms = cast(
                        &a.array(0)?,
                        &DataType::Timestamp(TimeUnit::Millisecond, None),
                    )?;
                    return Ok(cast(&cast(&ms, &DataType::Timestamp(*unit, None))?, &to)?);
                }
                _ => a.times(0)?,
            };
            let (have, want) = (
                times.per_second(),
                10_i64.pow(u32::from(text::precision(*unit))),
            );
            let shift = clock_shift(&from, zone.is_some());
            let whole = a.give_whole(|row| {
                let Some(value) = times.get(row) else {
                    return Ok(None);
                };
                let value = match &shift {
                    Some(known) => local(value, have, known),
                    None => value,
                };
                Ok(Some(if want >= have {
                    value.saturating_mul(want / have)
                } else {
                    let step = have / want;
                    (value + step / 2).div_euclid(step)
                }))
            })?;
            Ok(cast(&whole, &to)?)
        }
        DataType::Date32 => {
            let times = a.times(0)?;
            let per_second = times.per_second();
            let shift = clock_shift(&from, false);
            a.give_numbers(|row| {
                Ok(times.get(row).map(|value| {
                    let value = shift
                        .as_ref()
                        .map_or(value, |known| local(value, per_second, known));
                    value.div_euclid(per_second * 86_400)
                }))
            })
        }
        _ => Ok(cast(&a.array(0)?, &to)?),
    }
}

/// The zone whose clock is read where a time with a zone becomes one without.
fn clock_shift(from: &DataType, keeps_zone: bool) -> Option<jiff::tz::TimeZone> {
    match from {
        DataType::Timestamp(_, Some(zone)) if !keeps_zone => Some(text::time_zone(zone)),
        _ => None,
    }
}

fn local(value: i64, per_second: i64, zone: &jiff::tz::TimeZone) -> i64 {
    let at = jiff::Timestamp::from_second(value.div_euclid(per_second)).unwrap_or_default();
    value + i64::from(zone.to_offset(at).seconds()) * per_second
}

fn failed<T>(message: String) -> Result<T> {
    Trouble::new(Code::InvalidCastArgument, message).raise()
}

/// Whole numbers in a type that may not hold them.
fn narrow(
    a: &Arguments,
    to: &DataType,
    mut of: impl FnMut(usize) -> Result<Option<i64>>,
) -> Result<ArrayRef> {
    let (low, high) = match to {
        DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let whole = a.give_whole(|row| {
        let Some(number) = of(row)? else {
            return Ok(None);
        };
        if (low..=high).contains(&number) {
            return Ok(Some(number));
        }
        Trouble::new(
            Code::NumericValueOutOfRange,
            format!("Out of range for {}: {number}", text::name(to)),
        )
        .raise()
    })?;
    Ok(cast(&whole, to)?)
}

/// A value as text, as `CAST(… AS varchar)` gives it.
pub(super) fn to_text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Float64 => Some(text::double_as_varchar(
            array.as_primitive::<Float64Type>().value(row),
        )),
        DataType::Float32 => Some(text::real_as_varchar(
            array.as_primitive::<Float32Type>().value(row),
        )),
        _ => text::value(array, row),
    }
}

/// A value as JSON.
fn to_json(array: &dyn Array, row: usize) -> Option<String> {
    let text = text::value(array, row)?;
    let is_plain = array.data_type().is_numeric() || *array.data_type() == DataType::Boolean;
    Some(if is_plain {
        text
    } else {
        serde_json::Value::String(text).to_string()
    })
}

fn from_json(a: &Arguments) -> Result<ArrayRef> {
    let json = a.json(0);
    let to = a.result().clone();
    let cannot = |json: &str| format!("Cannot cast '{json}' to {}", text::name(&to));
    let number = |json: &str| -> Option<f64> {
        match json {
            "true" => Some(1.0),
            "false" => Some(0.0),
            _ => super::json_path::scalar(json)?.parse().ok(),
        }
    };
    match &to {
        DataType::Boolean => a.give_booleans(|row| match json.get(row) {
            None | Some("null") => Ok(None),
            Some("true" | "\"true\"") => Ok(Some(true)),
            Some("false" | "\"false\"") => Ok(Some(false)),
            Some(json) => match number(json) {
                Some(number) => Ok(Some(number != 0.0)),
                None => failed(cannot(json)),
            },
        }),
        DataType::List(item) => {
            let item = item.data_type().clone();
            let mut lists: Vec<Option<Vec<Option<String>>>> = Vec::with_capacity(a.rows());
            for row in 0..a.rows() {
                let list = match json.get(row) {
                    None | Some("null") => None,
                    Some(json) => match super::json_path::elements(json) {
                        Some(all) => Some(
                            all.into_iter()
                                .map(|one| {
                                    super::json_path::scalar(one).map(std::borrow::Cow::into_owned)
                                })
                                .collect(),
                        ),
                        None => a.outcome(failed(cannot(json)))?,
                    },
                };
                lists.push(list);
            }
            let texts = a.give_text_lists(|row| Ok(lists[row].clone()))?;
            let field = Arc::new(datafusion::arrow::datatypes::Field::new_list_field(
                item, true,
            ));
            Ok(cast(&texts, &DataType::List(field))?)
        }
        to if to.is_integer() => narrow(a, to, |row| match json.get(row) {
            None | Some("null") => Ok(None),
            Some(json) => {
                let exact =
                    super::json_path::scalar(json).and_then(|text| text.parse::<i64>().ok());
                match exact.or_else(|| number(json).map(|number| number.round() as i64)) {
                    Some(number) => Ok(Some(number)),
                    None => failed(cannot(json)),
                }
            }
        }),
        _ => {
            let doubles = a.give_doubles(|row| match json.get(row) {
                None | Some("null") => Ok(None),
                Some(json) => match number(json) {
                    Some(number) => Ok(Some(number)),
                    None => failed(cannot(json)),
                },
            })?;
            Ok(cast(&doubles, &to)?)
        }
    }
}

fn from_text(a: &Arguments) -> Result<ArrayRef> {
    let to = a.result().clone();
    let texts = cast(&a.array(0)?, &DataType::Utf8View)?;
    let texts = texts.as_string_view();
    let get = |row: usize| texts.is_valid(row).then(|| texts.value(row));
    let cannot = |text: &str| format!("Cannot cast '{text}' to {}", text::name(&to).to_uppercase());
    match &to {
        DataType::Boolean => a.give_booleans(|row| {
            let Some(text) = get(row) else {
                return Ok(None);
            };
            match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "1" => Ok(Some(true)),
                "false" | "f" | "0" => Ok(Some(false)),
                _ => failed(format!("Cannot cast '{text}' to boolean")),
            }
        }),
        to if to.is_integer() => {
            let name = match to {
                DataType::Int32 => "INT".to_owned(),
                to => text::name(to).to_uppercase(),
            };
            let parse = |text: &str| -> Option<i64> {
                let number: i64 = text.parse().ok()?;
                match to {
                    DataType::Int8 => i8::try_from(number).map(i64::from).ok(),
                    DataType::Int16 => i16::try_from(number).map(i64::from).ok(),
                    DataType::Int32 => i32::try_from(number).map(i64::from).ok(),
                    _ => Some(number),
                }
            };
            narrow(a, to, |row| {
                let Some(text) = get(row) else {
                    return Ok(None);
                };
                match parse(text) {
                    Some(number) => Ok(Some(number)),
                    None => failed(format!("Cannot cast '{text}' to {name}")),
                }
            })
        }
        DataType::Float64 | DataType::Float32 => {
            let doubles = a.give_doubles(|row| {
                let Some(text) = get(row) else {
                    return Ok(None);
                };
                match parse_double(text) {
                    Some(number) => Ok(Some(number)),
                    None => failed(cannot(text)),
                }
            })?;
            Ok(cast(&doubles, &to)?)
        }
        DataType::Date32 => a.give_numbers(|row| {
            let Some(text) = get(row) else {
                return Ok(None);
            };
            match parse_date(text.trim()) {
                Some(days) => Ok(Some(i64::from(days))),
                None => failed(format!("Value cannot be cast to date: {text}")),
            }
        }),
        DataType::Timestamp(unit, zone) => {
            let per_second = 10_i64.pow(u32::from(text::precision(*unit)));
            let whole = a.give_whole(|row| {
                let Some(text) = get(row) else {
                    return Ok(None);
                };
                match clock_and_zone(text.trim()) {
                    // Without a zone the clock's reading counts, whatever the zone.
                    Some((ns, own)) if zone.is_none() || own.is_none() => {
                        Ok(Some(rounded(ns, per_second)))
                    }
                    Some((ns, Some(own))) if own == jiff::tz::TimeZone::UTC => {
                        Ok(Some(rounded(ns, per_second)))
                    }
                    Some(_) => Trouble::new(
                        Code::NotSupported,
                        format!("the embedded engine keeps one time zone for a column, and '{text}' has its own"),
                    )
                    .raise(),
                    None => failed(format!("Value cannot be cast to timestamp: {text}")),
                }
            })?;
            Ok(cast(&whole, &to)?)
        }
        _ => Ok(cast(&a.array(0)?, &to)?),
    }
}

/// A double as Java reads it.
fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        "NaN" => return Some(f64::NAN),
        "Infinity" => {
            return Some(if text.starts_with('-') {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            });
        }
        digits if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            return None;
        }
        _ => {}
    }
    text.trim_end_matches(['d', 'D', 'f', 'F']).parse().ok()
}

/// In fewer digits, half up.
fn rounded(ns: i128, per_second: i64) -> i64 {
    let step = i128::from(1_000_000_000 / per_second);
    (ns + step / 2).div_euclid(step) as i64
}

/// The ns since 1970 that `YYYY-MM-DD[ HH:MM[:SS[.f…]]][ zone]` writes. Without a zone it is a clock's reading, or UTC.
pub(in crate::embedded) fn timestamp(text: &str) -> Option<i128> {
    let (ns, zone) = clock_and_zone(text)?;
    let Some(zone) = zone else {
        return Some(ns);
    };
    let ms = i64::try_from(ns.div_euclid(1_000_000)).ok()?;
    let clock = jiff::Timestamp::from_millisecond(ms).ok()?;
    let clock = clock.to_zoned_datetime(jiff::tz::TimeZone::UTC).datetime();
    let at = zone.to_timestamp(clock).ok()?;
    Some(ns + i128::from(at.as_millisecond() - ms) * 1_000_000)
}

/// What such a text's clock reads, in ns since 1970 as if it were UTC, and its zone.
fn clock_and_zone(text: &str) -> Option<(i128, Option<jiff::tz::TimeZone>)> {
    let (date, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (clock, zone) = match rest.split_once(' ') {
        Some((clock, zone)) => (clock, zone),
        // A zone can stand right behind a day, and an offset right behind a time.
        None if rest.starts_with(|one: char| one.is_ascii_alphabetic()) => ("", rest),
        None => rest.split_at(rest.find(['+', '-']).unwrap_or(rest.len())),
    };
    let zone = match zone {
        "" => None,
        zone => Some(text::find_time_zone(zone)?),
    };
    let clock = match clock {
        "" => "00:00",
        clock if clock.contains(':') => clock,
        _ => return None,
    };
    let ms = i64::from(parse_date(date)?) * DAY_MS + parse_clock(clock)?;
    let fraction = clock.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.len() > 12 {
        return None;
    }
    let finer: String = fraction
        .chars()
        .skip(3)
        .chain("000000".chars())
        .take(6)
        .collect();
    let ns = i128::from(ms) * 1_000_000 + finer.parse::<i128>().ok()?;
    Some((ns, zone))
}
