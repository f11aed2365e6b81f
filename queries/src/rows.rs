//! Rows of an answer, as every engine gives them and every output takes them.
//!
//! Owns the one form of values: text as Trino prints it, with the column's type beside it. Athena's API gives nothing else, so the
//! embedded engine prints its values the same way (`embedded/text.rs`), and two answers are the same when their texts are.

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

/// The values of a row, one a column; `None` is NULL, which is not the empty text.
pub type Row = Vec<Option<String>>;
