//! Rows of an answer, as every engine gives them and every output takes them.
//!
//! Owns the one form of values: text as Trino prints it, with the column's type beside it. Athena's API gives nothing else, so the
//! embedded engine prints its values the same way (`embedded/text.rs`), and two answers are the same when their texts are.

use std::fmt;

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As the statement names it.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// A column's type, by Trino's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 8 bits.
    TinyInt,
    /// 16 bits.
    SmallInt,
    /// 32 bits.
    Integer,
    /// 64 bits.
    BigInt,
    /// 32 bits, floating.
    Real,
    /// 64 bits, floating, printed as Java does: `1.0`, `1.0E10`, `NaN`, `Infinity`.
    Double,
    /// Exact, with so many digits, so many of them after the point.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Text; `char(n)` and `varchar(n)` count as this.
    Varchar,
    /// Bytes, printed as hexadecimal digits in pairs with a blank between.
    Varbinary,
    /// `2026-11-01`.
    Date,
    /// `2026-11-01 09:00:00.000`: so many digits of the second's fraction.
    Timestamp {
        /// Digits of the fraction: 0 to 9.
        precision: u8,
    },
    /// As a timestamp, with ` UTC` after it.
    TimestampWithTimeZone {
        /// Digits of the fraction: 0 to 9.
        precision: u8,
    },
    /// JSON text.
    Json,
    /// Anything else (arrays, maps, rows, intervals), by its name in Trino; printed as Athena does: `[a, b]`, `{k=1}`.
    Other(String),
}

impl fmt::Display for Kind {
    /// Its name in Trino.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Boolean => "boolean",
            Self::TinyInt => "tinyint",
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Double => "double",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::Varchar => "varchar",
            Self::Varbinary => "varbinary",
            Self::Date => "date",
            Self::Timestamp { precision } => return write!(f, "timestamp({precision})"),
            Self::TimestampWithTimeZone { precision } => {
                return write!(f, "timestamp({precision}) with time zone");
            }
            Self::Json => "json",
            Self::Other(name) => name,
        };
        f.write_str(name)
    }
}

/// The values of a row, one a column; `None` is NULL, which is not the empty text.
pub type Row = Vec<Option<String>>;

/// A double as Java prints it.
pub fn double(value: f64) -> String {
    floating(value, &format!("{value:e}"))
}

/// A real as Java prints it.
pub fn real(value: f32) -> String {
    floating(f64::from(value), &format!("{value:e}"))
}

/// With one digit before the point, and always an exponent. `shortest` is the value as `d.dde5`.
pub(crate) fn scientific(value: f64, shortest: &str) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0E0"
        } else {
            "0E0"
        }
        .to_owned();
    }
    let (digits, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// `shortest` is the value as `d.dde5`.
fn floating(value: f64, shortest: &str) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() {
            "-0.0"
        } else {
            "0.0"
        }
        .to_owned();
    }
    if !(1e-3..1e7).contains(&value.abs()) {
        return scientific(value, shortest);
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let mut digits: String = mantissa.chars().filter(|digit| *digit != '.').collect();
    let point = exponent + 1;
    if point <= 0 {
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let point = point as usize;
    while digits.len() < point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at(point);
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_java_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (123_456.789, "123456.789"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.5e10, "1.5E10"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (0.012_5, "0.0125"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
    }
}
