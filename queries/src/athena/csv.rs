//! The text of a result object, in pieces as they come, into rows.
//!
//! Owns Athena's own form of CSV, in which NULL and the empty text differ: a value stands in quotes, a NULL is nothing at all, a
//! quote within a value is doubled, and lines end in `\n`. What no library for CSV keeps apart is kept apart here. Values
//! without quotes, which other makes write, are taken too; of those the empty one is NULL.

use crate::rows::Row;

/// The longest row, in bytes: Athena's own limit on a row is half of that.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// The most values in a row.
pub const MAX_VALUES: usize = 10_000;

/// Reads rows out of pieces of a text.
#[derive(Debug, Default)]
pub struct CsvReader {
    state: State,
    /// The value that is being read.
    value: Vec<u8>,
    /// The values before it.
    row: Row,
    row_bytes: usize,
    /// How many rows are done.
    rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Before the first value of a row.
    #[default]
    Start,
    /// Before a further value.
    Value,
    /// In a value without quotes.
    Bare,
    /// In a value in quotes.
    Quoted,
    /// After a quote within quotes: the value's end, or the first half of a doubled one.
    Quote,
    /// After the carriage return that follows a value.
    Return,
}

/// The text is no such CSV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// It ends within quotes.
    #[error("row {row} breaks off within a value")]
    BreaksOff {
        /// Counted from 1.
        row: u64,
    },
    /// A value goes on after its closing quote.
    #[error("row {row} goes on after a closing quote")]
    AfterQuote {
        /// Counted from 1.
        row: u64,
    },
    /// A row is longer than [`MAX_ROW_BYTES`], or has more than [`MAX_VALUES`].
    #[error("row {row} is longer than {MAX_ROW_BYTES} bytes or has more than {MAX_VALUES} values")]
    TooLong {
        /// Counted from 1.
        row: u64,
    },
}

impl CsvReader {
    /// Takes a piece of the text and adds the rows that it ends. Bytes that are not UTF-8 become U+FFFD.
    pub fn feed(&mut self, mut bytes: &[u8], rows: &mut Vec<Row>) -> Result<(), CsvError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            match self.state {
                State::Start | State::Value => match byte {
                    b'"' => self.state = State::Quoted,
                    b',' => self.end_null()?,
                    b'\n' => {
                        self.end_null()?;
                        self.end_row(rows);
                    }
                    byte => {
                        self.push(&[byte])?;
                        self.state = State::Bare;
                    }
                },
                State::Bare => match byte {
                    b',' => self.end_bare()?,
                    b'\n' => {
                        if self.value.last() == Some(&b'\r') {
                            self.value.pop();
                        }
                        self.end_bare()?;
                        self.end_row(rows);
                    }
                    byte => self.push(&[byte])?,
                },
                State::Quoted if byte == b'"' => self.state = State::Quote,
                State::Quoted => {
                    let run = rest.iter().position(|&byte| byte == b'"');
                    let (run, after) = rest.split_at(run.unwrap_or(rest.len()));
                    self.push(&[byte])?;
                    self.push(run)?;
                    bytes = after;
                }
                State::Quote => match byte {
                    b'"' => {
                        self.push(b"\"")?;
                        self.state = State::Quoted;
                    }
                    b',' => self.end_value()?,
                    b'\n' => {
                        self.end_value()?;
                        self.end_row(rows);
                    }
                    b'\r' => self.state = State::Return,
                    _ => return Err(CsvError::AfterQuote { row: self.row() }),
                },
                State::Return if byte == b'\n' => {
                    self.end_value()?;
                    self.end_row(rows);
                }
                State::Return => return Err(CsvError::AfterQuote { row: self.row() }),
            }
        }
        Ok(())
    }

    /// The text is over: adds the last row, if it has no newline.
    pub fn finish(mut self, rows: &mut Vec<Row>) -> Result<(), CsvError> {
        match self.state {
            State::Start => return Ok(()),
            State::Value => self.end_null()?,
            State::Bare => self.end_bare()?,
            State::Quote | State::Return => self.end_value()?,
            State::Quoted => return Err(CsvError::BreaksOff { row: self.row() }),
        }
        self.end_row(rows);
        Ok(())
    }

    /// The number of the row that is being read, from 1.
    fn row(&self) -> u64 {
        self.rows + 1
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), CsvError> {
        self.row_bytes = self.row_bytes.saturating_add(bytes.len());
        if self.row_bytes > MAX_ROW_BYTES {
            return Err(CsvError::TooLong { row: self.row() });
        }
        self.value.extend_from_slice(bytes);
        Ok(())
    }

    fn end_null(&mut self) -> Result<(), CsvError> {
        self.end(None)
    }

    fn end_bare(&mut self) -> Result<(), CsvError> {
        if self.value.is_empty() {
            return self.end_null();
        }
        self.end_value()
    }

    fn end_value(&mut self) -> Result<(), CsvError> {
        let bytes = std::mem::take(&mut self.value);
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        self.end(Some(text))
    }

    fn end(&mut self, value: Option<String>) -> Result<(), CsvError> {
        if self.row.len() == MAX_VALUES {
            return Err(CsvError::TooLong { row: self.row() });
        }
        self.row.push(value);
        self.state = State::Value;
        Ok(())
    }

    fn end_row(&mut self, rows: &mut Vec<Row>) {
        let width = self.row.len();
        rows.push(std::mem::replace(&mut self.row, Row::with_capacity(width)));
        self.row_bytes = 0;
        self.rows += 1;
        self.state = State::Start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], cuts: &[usize]) -> Result<Vec<Row>, CsvError> {
        let mut reader = CsvReader::default();
        let mut rows = Vec::new();
        let mut rest = text;
        for cut in cuts {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            reader.feed(piece, &mut rows)?;
            rest = after;
        }
        reader.feed(rest, &mut rows)?;
        reader.finish(&mut rows)?;
        Ok(rows)
    }

    /// As Athena writes it.
    fn written(rows: &[Row]) -> String {
        let mut text = String::new();
        for row in rows {
            let values: Vec<String> = row
                .iter()
                .map(|value| match value {
                    Some(value) => format!("\"{}\"", value.replace('"', "\"\"")),
                    None => String::new(),
                })
                .collect();
            text.push_str(&values.join(","));
            text.push('\n');
        }
        text
    }

    fn check(text: &str, expected: &[&[Option<&str>]]) {
        let expected: Vec<Row> = expected
            .iter()
            .map(|row| row.iter().map(|value| value.map(str::to_owned)).collect())
            .collect();
        assert_eq!(read(text.as_bytes(), &[]).unwrap(), expected, "{text}");
        assert_eq!(read(text.as_bytes(), &[1; 40]).unwrap(), expected, "{text}");
    }

    #[test]
    fn null_and_nothing_are_not_the_same() {
        check("", &[]);
        check("\"\"\n", &[&[Some("")]]);
        check("\n", &[&[None]]);
        check(",\"\"\n\"\",\n", &[&[None, Some("")], &[Some(""), None]]);
        check(
            "\"a\",,\"b\"\n,,\n",
            &[&[Some("a"), None, Some("b")], &[None, None, None]],
        );
    }

    #[test]
    fn values_hold_anything() {
        check(
            "\"a\"\"b\",\"c,d\",\"e\nf\r\n\"\n\"\"\"\"\n",
            &[
                &[Some("a\"b"), Some("c,d"), Some("e\nf\r\n")],
                &[Some("\"")],
            ],
        );
        let rows = read(b"\"a\xffb\"\n", &[]).unwrap();
        assert_eq!(rows, [[Some("a\u{fffd}b".to_owned())]]);
    }

    #[test]
    fn what_others_write_is_read_too() {
        check(
            "a,b c,\r\n\"d\",e,f\r\ng",
            &[
                &[Some("a"), Some("b c"), None],
                &[Some("d"), Some("e"), Some("f")],
                &[Some("g")],
            ],
        );
        check("\"a\",", &[&[Some("a"), None]]);
        check("\"a\"", &[&[Some("a")]]);
    }

    #[test]
    fn what_is_no_csv_is_said_to_be_none() {
        let error = |text: &str| read(text.as_bytes(), &[]).unwrap_err();
        assert_eq!(error("\"a\"\n\"b"), CsvError::BreaksOff { row: 2 });
        assert_eq!(error("\"a\"b"), CsvError::AfterQuote { row: 1 });
        assert_eq!(error("\"a\"\rb"), CsvError::AfterQuote { row: 1 });
        assert_eq!(error(&",".repeat(20_000)), CsvError::TooLong { row: 1 });
        let mut reader = CsvReader::default();
        let piece = vec![b'"'; 1];
        reader.feed(&piece, &mut Vec::new()).unwrap();
        let piece = vec![b'x'; MAX_ROW_BYTES / 4 + 1];
        let results: Vec<bool> = (0..4)
            .map(|_| reader.feed(&piece, &mut Vec::new()).is_ok())
            .collect();
        assert_eq!(results, [true, true, true, false]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_wherever_it_is_cut(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of("([a-z\",\n\r é]|\\PC){0,6}"), 1..4),
                0..6,
            ),
            cuts in prop::collection::vec(0_usize..9, 0..20),
        ) {
            prop_assert_eq!(read(written(&rows).as_bytes(), &cuts).unwrap(), rows);
        }

        #[test]
        fn no_bytes_panic_and_cuts_change_nothing(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\n')], 0..60),
            cuts in prop::collection::vec(0_usize..9, 0..20),
        ) {
            prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        }
    }
}
