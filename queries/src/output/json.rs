//! JSON, one object a line. Numbers are numbers, NULL is `null`; what JSON has no numbers for (`NaN`, `Infinity`) is text.

use std::io::{self, Write};

use super::{Options, Reader, different_names, is_number};
use crate::escape;
use crate::rows::{Column, Kind, Row};

/// JSON that is being written.
pub(super) struct Json {
    /// Names as JSON writes them, and types.
    columns: Vec<(String, Kind)>,
    reader: Reader,
}

impl Json {
    pub(super) fn new(columns: &[Column], options: &Options) -> Self {
        let names = different_names(columns);
        Self {
            columns: names
                .into_iter()
                .zip(columns)
                .map(|(name, column)| (text(&name), column.kind.clone()))
                .collect(),
            reader: options.page.reader,
        }
    }

    pub(super) fn rows(&self, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            let mut line = String::from("{");
            for (at, ((name, kind), cell)) in self.columns.iter().zip(row).enumerate() {
                if at > 0 {
                    line.push(',');
                }
                line.push_str(name);
                line.push(':');
                line.push_str(&value(kind, cell.as_deref()));
            }
            line.push_str("}\n");
            match self.reader {
                Reader::Program => out.write_all(line.as_bytes())?,
                Reader::Terminal | Reader::Colours => {
                    out.write_all(escape::json(&line).as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

fn value(kind: &Kind, cell: Option<&str>) -> String {
    let Some(cell) = cell else {
        return "null".to_owned();
    };
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(cell).is_ok();
    match kind {
        Kind::Boolean if matches!(cell, "true" | "false") => cell.to_owned(),
        // Only what JSON takes for a number is one; an engine's text is not believed.
        kind if is_number(kind)
            && cell.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
            && is_json() =>
        {
            cell.to_owned()
        }
        Kind::Json if is_json() && !cell.contains(['\n', '\r']) => cell.to_owned(),
        _ => text(cell),
    }
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        for (kind, cell, expected) in [
            (Kind::BigInt, "-12", "-12"),
            (Kind::Double, "1.0E10", "1.0E10"),
            (Kind::Double, "NaN", "\"NaN\""),
            (Kind::Double, "-Infinity", "\"-Infinity\""),
            (
                Kind::Decimal {
                    precision: 3,
                    scale: 2,
                },
                "1.20",
                "1.20",
            ),
            (Kind::BigInt, "1,\"x\":2", "\"1,\\\"x\\\":2\""),
            (Kind::Boolean, "true", "true"),
            (Kind::Boolean, "TRUE", "\"TRUE\""),
            (Kind::Varchar, "12", "\"12\""),
            (Kind::Varchar, "a\"\n\u{1}", "\"a\\\"\\n\\u0001\""),
            (Kind::Json, "{\"a\":[1]}", "{\"a\":[1]}"),
            (Kind::Json, "{a", "\"{a\""),
            (Kind::Date, "2026-11-01", "\"2026-11-01\""),
        ] {
            assert_eq!(value(&kind, Some(cell)), expected);
        }
        assert_eq!(value(&Kind::Varchar, None), "null");
        assert_eq!(value(&Kind::Varchar, Some("")), "\"\"");
    }
}
