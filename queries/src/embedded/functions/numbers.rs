//! Numbers, and the operators on them: integers that do not fit are an error, as is an integer divided by zero.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringViewArray};
use datafusion::arrow::compute::kernels::cmp;
use datafusion::arrow::compute::{is_null, nullif, or};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use super::Function;
use super::arguments::Arguments;
use crate::embedded::error::{Code, Trouble, invalid};
use crate::embedded::text;

const WHOLE_OR_DOUBLE: &[&str] = &[
    "tinyint -> tinyint",
    "smallint -> smallint",
    "integer -> integer",
    "bigint -> bigint",
    "double -> double",
];
const DOUBLE: &[&str] = &["double -> double"];
const OPERATOR_OR_DOUBLE: &[&str] = &[
    "tinyint, tinyint -> tinyint",
    "smallint, smallint -> smallint",
    "integer, integer -> integer",
    "bigint, bigint -> bigint",
    "double, double -> double",
];
const BITS: &[&str] = &["bigint, bigint -> bigint"];
const SHIFTS: &[&str] = &[
    "tinyint, bigint -> tinyint",
    "smallint, bigint -> smallint",
    "integer, bigint -> integer",
    "bigint, bigint -> bigint",
];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("$add", OPERATOR_OR_DOUBLE, |a| {
        operator(a, "addition", "+", i64::checked_add, |x, y| x + y)
    }),
    Function::new("$subtract", OPERATOR_OR_DOUBLE, |a| {
        operator(a, "subtraction", "-", i64::checked_sub, |x, y| x - y)
    }),
    Function::new("$multiply", OPERATOR_OR_DOUBLE, |a| {
        operator(a, "multiplication", "*", i64::checked_mul, |x, y| x * y)
    }),
    Function::new("$divide", OPERATOR_OR_DOUBLE, |a| {
        divided(a, "division", "/", i64::checked_div, |x, y| x / y)
    }),
    Function::new("$modulus", OPERATOR_OR_DOUBLE, |a| {
        divided(
            a,
            "modulus",
            "%",
            |x, y| Some(x.wrapping_rem(y)),
            |x, y| x % y,
        )
    }),
    Function::new("mod", OPERATOR_OR_DOUBLE, |a| {
        divided(
            a,
            "modulus",
            "%",
            |x, y| Some(x.wrapping_rem(y)),
            |x, y| x % y,
        )
    }),
    Function::new("abs", WHOLE_OR_DOUBLE, |a| {
        if *a.kind(0) == DataType::Float64 {
            return double(a, f64::abs);
        }
        let kind = text::name(a.result());
        let number = a.wholes(0)?;
        a.give_numbers(|row| {
            let Some(number) = number.get(row) else {
                return Ok(None);
            };
            match number
                .checked_abs()
                .filter(|number| fits(*number, a.result()))
            {
                Some(number) => Ok(Some(number)),
                None => out_of_range(format!("Value {number} is out of range for abs({kind})")),
            }
        })
    }),
    Function::new("sign", WHOLE_OR_DOUBLE, |a| {
        whole_or_double(a, i64::signum, |x| {
            if x == 0.0 || x.is_nan() {
                x
            } else {
                x.signum()
            }
        })
    }),
    Function::new("ceil", WHOLE_OR_DOUBLE, |a| {
        whole_or_double(a, |x| x, f64::ceil)
    }),
    Function::new("ceiling", WHOLE_OR_DOUBLE, |a| {
        whole_or_double(a, |x| x, f64::ceil)
    }),
    Function::new("floor", WHOLE_OR_DOUBLE, |a| {
        whole_or_double(a, |x| x, f64::floor)
    }),
    Function::new(
        "round",
        &[
            "tinyint -> tinyint",
            "smallint -> smallint",
            "integer -> integer",
            "bigint -> bigint",
            "tinyint, bigint -> tinyint",
            "smallint, bigint -> smallint",
            "integer, bigint -> integer",
            "bigint, bigint -> bigint",
            "double -> double",
            "double, bigint -> double",
        ],
        round,
    ),
    Function::new(
        "truncate",
        &["double -> double", "double, bigint -> double"],
        truncate,
    ),
    Function::new("sqrt", DOUBLE, |a| double(a, f64::sqrt)),
    Function::new("cbrt", DOUBLE, |a| double(a, f64::cbrt)),
    Function::new("exp", DOUBLE, |a| double(a, f64::exp)),
    Function::new("ln", DOUBLE, |a| double(a, f64::ln)),
    Function::new("log2", DOUBLE, |a| double(a, f64::log2)),
    Function::new("log10", DOUBLE, |a| double(a, f64::log10)),
    Function::new("log", &["double, double -> double"], |a| {
        doubles(a, |base, x| x.ln() / base.ln())
    }),
    Function::new("power", &["double, double -> double"], |a| {
        doubles(a, f64::powf)
    }),
    Function::new("pow", &["double, double -> double"], |a| {
        doubles(a, f64::powf)
    }),
    Function::new("atan2", &["double, double -> double"], |a| {
        doubles(a, f64::atan2)
    }),
    Function::new("sin", DOUBLE, |a| double(a, f64::sin)),
    Function::new("cos", DOUBLE, |a| double(a, f64::cos)),
    Function::new("tan", DOUBLE, |a| double(a, f64::tan)),
    Function::new("asin", DOUBLE, |a| double(a, f64::asin)),
    Function::new("acos", DOUBLE, |a| double(a, f64::acos)),
    Function::new("atan", DOUBLE, |a| double(a, f64::atan)),
    Function::new("degrees", DOUBLE, |a| double(a, f64::to_degrees)),
    Function::new("radians", DOUBLE, |a| double(a, f64::to_radians)),
    Function::new("pi", &[" -> double"], |a| {
        a.give_doubles(|_| Ok(Some(std::f64::consts::PI)))
    }),
    Function::new("e", &[" -> double"], |a| {
        a.give_doubles(|_| Ok(Some(std::f64::consts::E)))
    }),
    Function::new("nan", &[" -> double"], |a| {
        a.give_doubles(|_| Ok(Some(f64::NAN)))
    }),
    Function::new("infinity", &[" -> double"], |a| {
        a.give_doubles(|_| Ok(Some(f64::INFINITY)))
    }),
    Function::new("is_nan", &["double -> boolean"], |a| {
        of_double(a, f64::is_nan)
    }),
    Function::new("is_finite", &["double -> boolean"], |a| {
        of_double(a, f64::is_finite)
    }),
    Function::new("is_infinite", &["double -> boolean"], |a| {
        of_double(a, f64::is_infinite)
    }),
    Function::new("bitwise_and", BITS, |a| bits(a, |x, y| x & y)),
    Function::new("bitwise_or", BITS, |a| bits(a, |x, y| x | y)),
    Function::new("bitwise_xor", BITS, |a| bits(a, |x, y| x ^ y)),
    Function::new("bitwise_left_shift", SHIFTS, |a| {
        shifts(a, |x, y, width| if y < width { x << y } else { 0 })
    }),
    Function::new("bitwise_right_shift", SHIFTS, |a| {
        // Zeros come in at the type's own left end.
        shifts(a, |x, y, width| {
            let own = x as u64 & (u64::MAX >> (64 - width));
            if y < width { (own >> y) as i64 } else { 0 }
        })
    }),
    Function::new("bitwise_right_shift_arithmetic", SHIFTS, |a| {
        shifts(a, |x, y, width| x >> y.min(width - 1))
    }),
    Function::new("bitwise_not", &["bigint -> bigint"], |a| {
        let number = a.numbers(0);
        a.give_numbers(|row| Ok(number.get(row).map(|number| !number)))
    }),
    Function::new("bit_count", &["bigint, bigint -> bigint"], bit_count),
    Function::new("greatest", &["T, T... -> T", "T -> T"], |a| {
        extreme(a, Side::Greatest)
    }),
    Function::new("least", &["T, T... -> T", "T -> T"], |a| {
        extreme(a, Side::Least)
    }),
    Function::new("from_base", &["varchar, bigint -> bigint"], from_base),
    Function::new("to_base", &["bigint, bigint -> varchar"], to_base),
    Function::new(
        "width_bucket",
        &["double, double, double, bigint -> bigint"],
        width_bucket,
    ),
    Function::new("typeof", &["any -> varchar"], |a| {
        let name = text::name(a.kind(0));
        Ok(Arc::new(StringViewArray::from_iter_values(
            std::iter::repeat_n(name, a.rows()),
        )))
    }),
];

fn out_of_range<T>(message: String) -> Result<T> {
    Trouble::new(Code::NumericValueOutOfRange, message).raise()
}

fn operator(
    a: &Arguments,
    name: &str,
    sign: &str,
    of: fn(i64, i64) -> Option<i64>,
    of_doubles: fn(f64, f64) -> f64,
) -> Result<ArrayRef> {
    if *a.result() == DataType::Float64 {
        return doubles(a, of_doubles);
    }
    let kind = text::name(a.result());
    let (left, right) = (a.wholes(0)?, a.wholes(1)?);
    a.give_numbers(|row| {
        let (Some(x), Some(y)) = (left.get(row), right.get(row)) else {
            return Ok(None);
        };
        match of(x, y).filter(|number| fits(*number, a.result())) {
            Some(number) => Ok(Some(number)),
            None => out_of_range(format!("{kind} {name} overflow: {x} {sign} {y}")),
        }
    })
}

/// Whether a whole number has room in a type.
fn fits(number: i64, of: &DataType) -> bool {
    match of {
        DataType::Int8 => i8::try_from(number).is_ok(),
        DataType::Int16 => i16::try_from(number).is_ok(),
        DataType::Int32 => i32::try_from(number).is_ok(),
        _ => true,
    }
}

fn divided(
    a: &Arguments,
    name: &str,
    sign: &str,
    of: fn(i64, i64) -> Option<i64>,
    of_doubles: fn(f64, f64) -> f64,
) -> Result<ArrayRef> {
    if *a.result() == DataType::Float64 {
        return doubles(a, of_doubles);
    }
    let kind = text::name(a.result());
    let (left, right) = (a.wholes(0)?, a.wholes(1)?);
    a.give_numbers(|row| {
        let (Some(x), Some(y)) = (left.get(row), right.get(row)) else {
            return Ok(None);
        };
        if y == 0 {
            return Trouble::new(Code::DivisionByZero, "Division by zero").raise();
        }
        match of(x, y).filter(|number| fits(*number, a.result())) {
            Some(number) => Ok(Some(number)),
            None => out_of_range(format!("{kind} {name} overflow: {x} {sign} {y}")),
        }
    })
}

fn double(a: &Arguments, of: fn(f64) -> f64) -> Result<ArrayRef> {
    let number = a.doubles(0);
    a.give_doubles(|row| Ok(number.get(row).map(of)))
}

fn of_double(a: &Arguments, of: fn(f64) -> bool) -> Result<ArrayRef> {
    let number = a.doubles(0);
    a.give_booleans(|row| Ok(number.get(row).map(of)))
}

fn doubles(a: &Arguments, of: fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (left, right) = (a.doubles(0), a.doubles(1));
    a.give_doubles(|row| Ok(left.get(row).zip(right.get(row)).map(|(x, y)| of(x, y))))
}

fn whole_or_double(
    a: &Arguments,
    of: fn(i64) -> i64,
    of_double: fn(f64) -> f64,
) -> Result<ArrayRef> {
    if *a.kind(0) == DataType::Float64 {
        return double(a, of_double);
    }
    let number = a.wholes(0)?;
    a.give_numbers(|row| Ok(number.get(row).map(of)))
}

fn bits(a: &Arguments, of: fn(i64, i64) -> i64) -> Result<ArrayRef> {
    let (left, right) = (a.numbers(0), a.numbers(1));
    a.give_numbers(|row| Ok(left.get(row).zip(right.get(row)).map(|(x, y)| of(x, y))))
}

/// What a shift makes of a number, by how much, in a type of so many bits. A negative amount is as one that is too large.
fn shifts(a: &Arguments, of: fn(i64, u32, u32) -> i64) -> Result<ArrayRef> {
    let width = match a.result() {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        _ => 64,
    };
    let (number, by) = (a.wholes(0)?, a.numbers(1));
    a.give_numbers(|row| {
        let (Some(number), Some(by)) = (number.get(row), by.get(row)) else {
            return Ok(None);
        };
        let by = u32::try_from(by).unwrap_or(u32::MAX);
        // What is beyond the type's left end is lost.
        let beyond = 64 - width;
        Ok(Some((of(number, by, width) << beyond) >> beyond))
    })
}

fn bit_count(a: &Arguments) -> Result<ArrayRef> {
    let (number, width) = (a.numbers(0), a.numbers(1));
    a.give_numbers(|row| {
        let (Some(number), Some(width)) = (number.get(row), width.get(row)) else {
            return Ok(None);
        };
        if !(2..=64).contains(&width) {
            return invalid("Bits specified in bit_count must be between 2 and 64");
        }
        let (low, high) = (-(1_i128 << (width - 1)), (1_i128 << (width - 1)) - 1);
        if !(low..=high).contains(&i128::from(number)) {
            return invalid(format!(
                "Number must be representable with the bits specified. {number} cannot be represented with {width} bits"
            ));
        }
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        Ok(Some(i64::from((number as u64 & mask).count_ones())))
    })
}

fn round(a: &Arguments) -> Result<ArrayRef> {
    if a.kind(0).is_integer() {
        let kind = text::name(a.result());
        let number = a.wholes(0)?;
        let digits = (a.len() == 2).then(|| a.numbers(1));
        return a.give_numbers(|row| {
            let digits = match &digits {
                Some(digits) => digits.get(row),
                None => Some(0),
            };
            let (Some(number), Some(digits)) = (number.get(row), digits) else {
                return Ok(None);
            };
            if digits >= 0 {
                return Ok(Some(number));
            }
            let Some(step) = u32::try_from(-digits)
                .ok()
                .and_then(|digits| 10_i64.checked_pow(digits))
            else {
                return Ok(Some(0));
            };
            let half = if number < 0 { -(step / 2) } else { step / 2 };
            let rounded = number.checked_add(half).map(|moved| moved / step * step);
            match rounded.filter(|number| fits(*number, a.result())) {
                Some(rounded) => Ok(Some(rounded)),
                None => out_of_range(format!("{kind} addition overflow: {number} + {half}")),
            }
        });
    }
    let number = a.doubles(0);
    let digits = (a.len() == 2).then(|| a.numbers(1));
    a.give_doubles(|row| {
        let digits = match &digits {
            Some(digits) => digits.get(row),
            None => Some(0),
        };
        Ok(number
            .get(row)
            .zip(digits)
            .map(|(number, digits)| rounded(number, digits)))
    })
}

/// Halves go away from zero.
fn rounded(number: f64, digits: i64) -> f64 {
    let factor = 10_f64.powi(digits.clamp(-400, 400) as i32);
    let moved = number * factor;
    if !number.is_finite() || !moved.is_finite() || factor == 0.0 {
        return number;
    }
    let whole = (moved.abs() + 0.5).floor();
    // What is added may itself round up, just below a half.
    let whole = if whole - moved.abs() > 0.5 {
        whole - 1.0
    } else {
        whole
    };
    whole.copysign(number) / factor
}

fn truncate(a: &Arguments) -> Result<ArrayRef> {
    let number = a.doubles(0);
    if a.len() == 1 {
        return a.give_doubles(|row| Ok(number.get(row).map(f64::trunc)));
    }
    let digits = a.numbers(1);
    a.give_doubles(|row| {
        Ok(number
            .get(row)
            .zip(digits.get(row))
            .map(|(number, digits)| {
                let factor = 10_f64.powi(digits.clamp(-400, 400) as i32);
                let moved = number * factor;
                if moved.is_finite() && factor != 0.0 {
                    moved.trunc() / factor
                } else {
                    number
                }
            }))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Greatest,
    Least,
}

/// The greatest or least of some values; NULL if one of them is.
fn extreme(a: &Arguments, side: Side) -> Result<ArrayRef> {
    let mut best = a.array(0)?;
    let mut nulls: BooleanArray = is_null(&best)?;
    for argument in 1..a.len() {
        let next = a.array(argument)?;
        nulls = or(&nulls, &is_null(&next)?)?;
        let keeps = match side {
            Side::Greatest => cmp::gt_eq(&best, &next)?,
            Side::Least => cmp::lt_eq(&best, &next)?,
        };
        best = datafusion::arrow::compute::kernels::zip::zip(&keeps, &best, &next)?;
    }
    Ok(nullif(&best, &nulls)?)
}

fn from_base(a: &Arguments) -> Result<ArrayRef> {
    let (text, radix) = (a.texts(0), a.numbers(1));
    a.give_numbers(|row| {
        let (Some(text), Some(radix)) = (text.get(row), radix.get(row)) else {
            return Ok(None);
        };
        let radix = checked_radix(radix)?;
        match i64::from_str_radix(text, radix) {
            Ok(number) => Ok(Some(number)),
            Err(_) => invalid(format!("Not a valid base-{radix} number: {text}")),
        }
    })
}

fn to_base(a: &Arguments) -> Result<ArrayRef> {
    let (number, radix) = (a.numbers(0), a.numbers(1));
    a.give_texts(|row| {
        let (Some(number), Some(radix)) = (number.get(row), radix.get(row)) else {
            return Ok(None);
        };
        let radix = u64::from(checked_radix(radix)?);
        let mut digits = Vec::new();
        let mut rest = number.unsigned_abs();
        loop {
            digits.push(char::from_digit((rest % radix) as u32, radix as u32).unwrap_or('?'));
            rest /= radix;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            digits.push('-');
        }
        Ok(Some(digits.into_iter().rev().collect::<String>()))
    })
}

fn checked_radix(radix: i64) -> Result<u32> {
    match u32::try_from(radix) {
        Ok(radix @ 2..=36) => Ok(radix),
        _ => invalid("Radix must be between 2 and 36"),
    }
}

fn width_bucket(a: &Arguments) -> Result<ArrayRef> {
    let (x, low, high, buckets) = (a.doubles(0), a.doubles(1), a.doubles(2), a.numbers(3));
    a.give_numbers(|row| {
        let (Some(x), Some(low), Some(high), Some(buckets)) =
            (x.get(row), low.get(row), high.get(row), buckets.get(row))
        else {
            return Ok(None);
        };
        if buckets <= 0 {
            return invalid("bucketCount must be greater than 0");
        }
        if !x.is_finite() || !low.is_finite() || !high.is_finite() || (high - low).abs() == 0.0 {
            return invalid("bounds must be finite and must not equal each other");
        }
        let (start, end) = (low.min(high), low.max(high));
        let bucket = if x < start {
            0
        } else if x >= end {
            buckets + 1
        } else {
            (buckets as f64 * (x - start) / (end - start)) as i64 + 1
        };
        Ok(Some(if low > high {
            buckets - bucket + 1
        } else {
            bucket
        }))
    })
}
