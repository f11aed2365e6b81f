//! A column's type, from what Athena says of it.

use crate::rows::Kind;

/// Digits of a second's fraction that Athena prints where it does not say how many.
const TIMESTAMP_DIGITS: u8 = 3;

/// The most digits of a second's fraction.
const MAX_TIMESTAMP_DIGITS: i32 = 9;

/// The most digits of a decimal.
const MAX_DECIMAL_DIGITS: i32 = 38;

/// The type by Athena's name of it. Numbers that cannot be right are taken for what is usual.
pub fn kind(name: &str, precision: i32, scale: i32) -> Kind {
    let name = name.trim().to_lowercase();
    let base = name.split('(').next().unwrap_or_default().trim_end();
    let digits = match precision {
        0 if !name.contains('(') => TIMESTAMP_DIGITS,
        0..=MAX_TIMESTAMP_DIGITS => precision as u8,
        _ => TIMESTAMP_DIGITS,
    };
    match base {
        "boolean" => Kind::Boolean,
        "tinyint" => Kind::TinyInt,
        "smallint" => Kind::SmallInt,
        "integer" | "int" => Kind::Integer,
        "bigint" => Kind::BigInt,
        // Athena calls it by Hive's name.
        "real" | "float" => Kind::Real,
        "double" => Kind::Double,
        "decimal" => Kind::Decimal {
            precision: precision.clamp(1, MAX_DECIMAL_DIGITS) as u8,
            scale: scale.clamp(0, precision.clamp(1, MAX_DECIMAL_DIGITS)) as u8,
        },
        // SHOW and DESCRIBE say `string`.
        "varchar" | "char" | "string" => Kind::Varchar,
        "varbinary" | "binary" => Kind::Varbinary,
        "date" => Kind::Date,
        "timestamp" if name.ends_with("with time zone") => {
            Kind::TimestampWithTimeZone { precision: digits }
        }
        "timestamp with time zone" => Kind::TimestampWithTimeZone { precision: digits },
        "timestamp" => Kind::Timestamp { precision: digits },
        "json" => Kind::Json,
        _ => Kind::Other(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_by_athenas_names() {
        for (name, precision, scale, expected) in [
            ("varchar", i32::MAX, 0, Kind::Varchar),
            ("string", 0, 0, Kind::Varchar),
            ("char", 36, 0, Kind::Varchar),
            ("bigint", 19, 0, Kind::BigInt),
            ("integer", 10, 0, Kind::Integer),
            ("double", 17, 0, Kind::Double),
            ("float", 17, 0, Kind::Real),
            ("timestamp", 3, 0, Kind::Timestamp { precision: 3 }),
            ("timestamp", 0, 0, Kind::Timestamp { precision: 3 }),
            ("timestamp(0)", 0, 0, Kind::Timestamp { precision: 0 }),
            ("timestamp", 6, 0, Kind::Timestamp { precision: 6 }),
            ("timestamp", -1, 0, Kind::Timestamp { precision: 3 }),
            (
                "timestamp with time zone",
                3,
                0,
                Kind::TimestampWithTimeZone { precision: 3 },
            ),
            (
                "timestamp(6) with time zone",
                6,
                0,
                Kind::TimestampWithTimeZone { precision: 6 },
            ),
            (
                "decimal",
                10,
                2,
                Kind::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
            (
                "decimal",
                i32::MIN,
                i32::MAX,
                Kind::Decimal {
                    precision: 1,
                    scale: 1,
                },
            ),
            ("array", 0, 0, Kind::Other("array".to_owned())),
            ("", 0, 0, Kind::Other(String::new())),
        ] {
            assert_eq!(kind(name, precision, scale), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(name in "\\PC{0,20}", precision: i32, scale: i32) {
            let _ = kind(&name, precision, scale);
        }
    }
}
