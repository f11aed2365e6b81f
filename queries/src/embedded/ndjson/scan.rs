//! Lines of JSON into columns: one pass over the bytes, in which keys that nobody wants are stepped over.
//!
//! The writer puts keys in the order of the columns, so the next key is looked for where it should stand; anything else that JSON
//! allows is read too, more slowly. Rows of one file follow each other and begin alike, so what says whose file it is (`role` to
//! `src`) is compared with the row above as a whole before it is read.
//!
//! What is not JSON, or not of a column's type, is a row of NULLs, as in the SerDe that Athena reads these objects with.

use std::sync::Arc;

use archive::schema::{COLUMNS, ColumnId, Kind};
use datafusion::arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, StringViewBuilder, TimestampMillisecondBuilder,
};
use memchr::{memchr, memchr2};

/// How many columns an object has.
const WIDTH: usize = COLUMNS.len();

/// The first key of those that say whose file it is.
const HEAD_FIRST: usize = ColumnId::Role as usize;

/// The last one.
const HEAD_LAST: usize = ColumnId::Src as usize;

/// What a row has in a column.
#[derive(Debug, Clone, Copy)]
enum Cell {
    /// It is NULL, or the key is not there.
    Null,
    /// A text, by its place in the block.
    Text(usize, usize),
    /// A text that had escapes in it, by its place among the unescaped ones.
    Unescaped(usize, usize),
    /// A number, or a time in milliseconds.
    Number(i64),
}

#[derive(Debug)]
enum Builder {
    Text(StringViewBuilder),
    Time(TimestampMillisecondBuilder),
    BigInt(Int64Builder),
    Int(Int32Builder),
}

/// Gathers the wanted columns of the rows that it is given.
#[derive(Debug)]
pub(super) struct Scanner {
    /// The columns that are wanted, in the order in which they are given out.
    wanted: Vec<usize>,
    is_wanted: [bool; WIDTH],
    builders: Vec<Builder>,
    cells: [Cell; WIDTH],
    /// Texts that had escapes in them.
    unescaped: String,
    /// What says whose file the row above is: its place in the block, without what stands before and behind it.
    head: Option<(usize, usize)>,
    head_cells: [Cell; HEAD_LAST - HEAD_FIRST + 1],
    /// The second of the time that was read last, as text and in milliseconds: the next one is mostly the same.
    second: ([u8; 19], i64),
    rows: usize,
    damaged: u64,
}

impl Scanner {
    /// A scanner for columns by their places in [`COLUMNS`].
    pub(super) fn new(wanted: Vec<usize>) -> Self {
        let mut is_wanted = [false; WIDTH];
        for &id in &wanted {
            is_wanted[id] = true;
        }
        let builders = wanted.iter().map(|&id| builder(COLUMNS[id].kind)).collect();
        Self {
            wanted,
            is_wanted,
            builders,
            cells: [Cell::Null; WIDTH],
            unescaped: String::new(),
            head: None,
            head_cells: [Cell::Null; HEAD_LAST - HEAD_FIRST + 1],
            second: ([0; 19], 0),
            rows: 0,
            damaged: 0,
        }
    }

    /// Rows gathered since the last batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes all lines of a block, the last one with or without its newline.
    pub(super) fn block(&mut self, block: &[u8]) {
        self.head = None;
        let whole = std::str::from_utf8(block);
        let mut start = 0;
        while start < block.len() {
            let end = memchr(b'\n', &block[start..]).map_or(block.len(), |len| start + len);
            if let Ok(text) = whole {
                self.line(text, start, end);
            } else {
                // Some line is no UTF-8: each is looked at by itself.
                self.head = None;
                match std::str::from_utf8(&block[start..end]) {
                    Ok(line) => self.line(line, 0, line.len()),
                    Err(_) => self.damaged_line(),
                }
            }
            start = end + 1;
        }
    }

    /// A line that is known to be damaged.
    pub(super) fn damaged_line(&mut self) {
        for builder in &mut self.builders {
            builder.null();
        }
        self.rows += 1;
        self.damaged += 1;
    }

    /// The gathered columns, the number of their rows, and how many of them are damaged; begins anew.
    pub(super) fn take(&mut self) -> (Vec<ArrayRef>, usize, u64) {
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        (
            columns,
            std::mem::take(&mut self.rows),
            std::mem::take(&mut self.damaged),
        )
    }

    fn line(&mut self, block: &str, start: usize, end: usize) {
        for &id in &self.wanted {
            self.cells[id] = Cell::Null;
        }
        self.unescaped.clear();
        let is_whole = self.object(&block[..end], start).is_some();
        if is_whole {
            self.append(block);
        } else {
            self.head = None;
            self.damaged_line();
        }
    }

    /// Reads an object that has to end where `block` ends; none if it does not or is none.
    fn object(&mut self, text: &str, start: usize) -> Option<()> {
        let block = text.as_bytes();
        let mut at = expect(block, blanks(block, start), b'{')?;
        at = blanks(block, at);
        if block.get(at) == Some(&b'}') {
            return is_end(block, at + 1);
        }
        // The place in the columns behind the last key, whether all keys came in order, and where the head began.
        let mut next = 0;
        let mut is_ordered = true;
        let mut head_start = None;
        loop {
            if is_ordered && let Some(len) = self.same_head(block, at, next) {
                self.cells[HEAD_FIRST..=HEAD_LAST].copy_from_slice(&self.head_cells);
                at += len;
                next = HEAD_LAST + 1;
            } else {
                let key_start = at;
                let id;
                (id, at) = Self::key(block, at, next)?;
                if let Some(id) = id {
                    is_ordered &= id >= next;
                    if next <= HEAD_FIRST && (HEAD_FIRST..=HEAD_LAST).contains(&id) {
                        head_start = Some(key_start);
                    }
                    at = self.value(text, at, id)?;
                    if id == HEAD_LAST
                        && is_ordered
                        && let Some(from) = head_start
                    {
                        self.remember_head(from, at);
                    }
                    next = id + 1;
                } else {
                    at = skip_value(block, at)?;
                }
            }
            at = blanks(block, at);
            match block.get(at)? {
                b',' => at = blanks(block, at + 1),
                b'}' => return is_end(block, at + 1),
                _ => return None,
            }
        }
    }

    /// The length of the head here, if it is the row's above.
    fn same_head(&self, block: &[u8], at: usize, next: usize) -> Option<usize> {
        let (from, to) = self.head?;
        if next > HEAD_FIRST {
            return None;
        }
        let len = to - from;
        (block.get(at..at + len)? == &block[from..to]).then_some(len)
    }

    /// Keeps the head of this row for the next one. Unescaped texts do not outlive their row.
    fn remember_head(&mut self, from: usize, to: usize) {
        self.head_cells
            .copy_from_slice(&self.cells[HEAD_FIRST..=HEAD_LAST]);
        let keeps = |cell: &Cell| !matches!(cell, Cell::Unescaped(..));
        self.head = self.head_cells.iter().all(keeps).then_some((from, to));
    }

    /// The column of the key here, if it is one, and the place of its value.
    fn key(block: &[u8], at: usize, next: usize) -> Option<(Option<usize>, usize)> {
        let start = expect(block, at, b'"')?;
        let rest = &block[start..];
        for (id, column) in COLUMNS.iter().enumerate().skip(next) {
            let name = column.name.as_bytes();
            if rest.starts_with(name) && rest.get(name.len()..name.len() + 2) == Some(b"\":") {
                return Some((Some(id), blanks(block, start + name.len() + 2)));
            }
        }
        let end = skip_text(block, start)?;
        let name = block[start..end - 1].to_ascii_lowercase();
        let value = blanks(block, expect(block, blanks(block, end), b':')?);
        Some((ColumnId::from_name(&name).map(|id| id as usize), value))
    }

    /// Reads the value here, or steps over it; the place behind it. What the column cannot hold is NULL, as for Trino's reader.
    fn value(&mut self, whole: &str, at: usize, id: usize) -> Option<usize> {
        let block = whole.as_bytes();
        if !self.is_wanted[id] {
            return skip_value(block, at);
        }
        let first = *block.get(at)?;
        let (cell, end) = match (COLUMNS[id].kind, first) {
            (Kind::String, b'"') => self.text(whole, at + 1)?,
            (_, b'"') => {
                let end = skip_text(block, at + 1)?;
                let text = &block[at + 1..end - 1];
                let number = match COLUMNS[id].kind {
                    Kind::Timestamp => self.time(text),
                    kind => whole_number(text).filter(|number| has_room(*number, kind)),
                };
                (number.map_or(Cell::Null, Cell::Number), end)
            }
            (kind, _) => {
                let end = skip_value(block, at)?;
                let cell = match (&block[at..end], kind) {
                    (b"null", _) => Cell::Null,
                    (_, Kind::String) => Cell::Text(at, end),
                    // Digits in a column of times are milliseconds, or seconds if they are few.
                    (digits, Kind::Timestamp) => epoch(digits).map_or(Cell::Null, Cell::Number),
                    (digits, kind) => whole_number(digits)
                        .filter(|number| has_room(*number, kind))
                        .map_or(Cell::Null, Cell::Number),
                };
                (cell, end)
            }
        };
        self.cells[id] = cell;
        Some(end)
    }

    /// Reads the text that begins here, behind its quote.
    fn text(&mut self, whole: &str, start: usize) -> Option<(Cell, usize)> {
        let block = whole.as_bytes();
        let mut at = start + memchr2(b'"', b'\\', &block[start..])?;
        if block[at] == b'"' {
            return Some((Cell::Text(start, at), at + 1));
        }
        let from = self.unescaped.len();
        let mut plain = start;
        loop {
            self.unescaped.push_str(&whole[plain..at]);
            if block[at] == b'"' {
                return Some((Cell::Unescaped(from, self.unescaped.len()), at + 1));
            }
            plain = at + 2;
            let simple = match *block.get(at + 1)? {
                escaped @ (b'"' | b'\\' | b'/') => char::from(escaped),
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => {
                    let (character, end) = unicode(block, at)?;
                    plain = end;
                    character
                }
                _ => return None,
            };
            self.unescaped.push(simple);
            at = plain + memchr2(b'"', b'\\', block.get(plain..)?)?;
        }
    }

    /// Milliseconds since 1970 of `YYYY-MM-DD HH:MM:SS[.f…]`, or with a `T` and perhaps a zone as in ISO 8601.
    fn time(&mut self, text: &[u8]) -> Option<i64> {
        let (second, rest) = text.split_at_checked(19)?;
        if second != self.second.0 {
            let ms = second_ms(second)?;
            self.second.0.copy_from_slice(second);
            self.second.1 = ms;
        }
        let ms = self.second.1;
        let (fraction, zone) = match rest.split_first() {
            None => return Some(ms),
            Some((b'.', rest)) => {
                let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let digits = &rest[..len];
                if !(1..=9).contains(&len) {
                    return None;
                }
                let mut fraction = 0;
                for place in 0..3 {
                    fraction = fraction * 10
                        + digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
                }
                (fraction, &rest[len..])
            }
            Some(_) => (0, rest),
        };
        if !zone.is_empty() && second[10] != b'T' {
            return None;
        }
        Some(ms + fraction - zone_ms(zone)?)
    }

    /// Puts the row's cells into the columns.
    fn append(&mut self, block: &str) {
        for (&id, builder) in self.wanted.iter().zip(&mut self.builders) {
            // A number that is 0 is left out, and is NULL here as in tables of Athena's: statements say `coalesce`.
            match (builder, self.cells[id]) {
                (Builder::Text(texts), Cell::Text(from, to)) => {
                    texts.append_value(&block[from..to]);
                }
                (Builder::Text(texts), Cell::Unescaped(from, to)) => {
                    texts.append_value(&self.unescaped[from..to]);
                }
                (Builder::Time(times), Cell::Number(ms)) => times.append_value(ms),
                (Builder::BigInt(numbers), Cell::Number(number)) => numbers.append_value(number),
                (Builder::Int(numbers), Cell::Number(number)) => {
                    numbers.append_value(number as i32);
                }
                (builder, _) => builder.null(),
            }
        }
        self.rows += 1;
    }
}

fn has_room(number: i64, kind: Kind) -> bool {
    kind != Kind::Int || i32::try_from(number).is_ok()
}

impl Builder {
    fn null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::BigInt(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::BigInt(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
        }
    }
}

fn builder(kind: Kind) -> Builder {
    match kind {
        Kind::String => Builder::Text(StringViewBuilder::new()),
        Kind::Timestamp => Builder::Time(TimestampMillisecondBuilder::new()),
        Kind::BigInt => Builder::BigInt(Int64Builder::new()),
        Kind::Int => Builder::Int(Int32Builder::new()),
    }
}

/// The place behind a byte that has to be here.
fn expect(block: &[u8], at: usize, byte: u8) -> Option<usize> {
    (block.get(at) == Some(&byte)).then_some(at + 1)
}

/// The place behind blanks.
fn blanks(block: &[u8], mut at: usize) -> usize {
    while matches!(block.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// That nothing but blanks follows.
fn is_end(block: &[u8], at: usize) -> Option<()> {
    (blanks(block, at) == block.len()).then_some(())
}

/// The place behind the text that begins here, behind its quote.
fn skip_text(block: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', block.get(at..)?)?;
        if block[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The place behind the value that begins here.
fn skip_value(block: &[u8], mut at: usize) -> Option<usize> {
    match *block.get(at)? {
        b'"' => skip_text(block, at + 1),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            loop {
                match *block.get(at)? {
                    b'"' => {
                        at = skip_text(block, at + 1)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let start = at;
            while let Some(byte) = block.get(at)
                && !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r')
            {
                at += 1;
            }
            is_scalar(&block[start..at]).then_some(at)
        }
    }
}

/// Whether it is a number, `true`, `false` or `null`.
fn is_scalar(text: &[u8]) -> bool {
    let number =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    match text {
        b"true" | b"false" | b"null" => true,
        _ => text.iter().any(u8::is_ascii_digit) && text.iter().all(number),
    }
}

/// The character of `\uXXXX` here, two of them if need be, and the place behind. A lone half is U+FFFD.
fn unicode(block: &[u8], at: usize) -> Option<(char, usize)> {
    let hex = |from: usize| {
        let digits = std::str::from_utf8(block.get(from..from + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = hex(at + 2)?;
    if let 0xd800..0xdc00 = first
        && block.get(at + 6..at + 8) == Some(b"\\u")
        && let Some(second @ 0xdc00..0xe000) = hex(at + 8)
    {
        let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(both)?, at + 12));
    }
    Some((char::from_u32(first).unwrap_or('\u{fffd}'), at + 6))
}

fn whole_number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Milliseconds of digits: thirteen and more are milliseconds, fewer are seconds.
fn epoch(digits: &[u8]) -> Option<i64> {
    let number = whole_number(digits)?;
    if digits.len() >= 13 {
        Some(number)
    } else {
        number.checked_mul(1000)
    }
}

/// Milliseconds since 1970 of `YYYY-MM-DD HH:MM:SS`.
fn second_ms(text: &[u8]) -> Option<i64> {
    let fits = matches!(
        (text[4], text[7], text[10], text[13], text[16]),
        (b'-', b'-', b' ' | b'T', b':', b':')
    );
    let part = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_i64, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    if !fits {
        return None;
    }
    let date =
        jiff::civil::Date::new(part(0, 4)? as i16, part(5, 7)? as i8, part(8, 10)? as i8).ok()?;
    let time = jiff::civil::Time::new(
        part(11, 13)? as i8,
        part(14, 16)? as i8,
        part(17, 19)? as i8,
        0,
    )
    .ok()?;
    let zoned = date
        .to_datetime(time)
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// How far a zone's clock is ahead of UTC: nothing, `Z`, `+02:00` or `-0330`.
fn zone_ms(zone: &[u8]) -> Option<i64> {
    let minutes = |sign: i64, digits: [u8; 4]| {
        let all = digits.iter().all(u8::is_ascii_digit);
        let [h1, h2, m1, m2] = digits.map(|digit| i64::from(digit.wrapping_sub(b'0')));
        all.then(|| sign * ((h1 * 10 + h2) * 60 + m1 * 10 + m2) * 60_000)
    };
    match *zone {
        [] | [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), a, b, b':', c, d] | [sign @ (b'+' | b'-'), a, b, c, d] => {
            minutes(if sign == b'+' { 1 } else { -1 }, [a, b, c, d])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array as _, AsArray as _};
    use datafusion::arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
    use proptest::prelude::*;

    use super::*;

    const ALL: [ColumnId; 6] = [
        ColumnId::Ts,
        ColumnId::TsNs,
        ColumnId::Job,
        ColumnId::Instance,
        ColumnId::Src,
        ColumnId::Line,
    ];

    /// Rows as text: `ts|ts_ns|job|instance|src|line`.
    fn read(block: &str) -> (Vec<String>, u64) {
        let mut scanner = Scanner::new(ALL.iter().map(|id| *id as usize).collect());
        scanner.block(block.as_bytes());
        let (columns, rows, damaged) = scanner.take();
        let text = |column: usize, row: usize| {
            let array = &columns[column];
            if array.is_null(row) {
                return "-".to_owned();
            }
            match ALL[column].column().kind {
                Kind::Timestamp => array
                    .as_primitive::<TimestampMillisecondType>()
                    .value(row)
                    .to_string(),
                Kind::BigInt => array.as_primitive::<Int64Type>().value(row).to_string(),
                Kind::Int => array.as_primitive::<Int32Type>().value(row).to_string(),
                Kind::String => array.as_string_view().value(row).to_owned(),
            }
        };
        let rows = (0..rows)
            .map(|row| {
                (0..ALL.len())
                    .map(|column| text(column, row))
                    .collect::<Vec<_>>()
                    .join("|")
            })
            .collect();
        (rows, damaged)
    }

    fn check(line: &str, expected: &str) {
        let (rows, damaged) = read(line);
        assert_eq!(rows, [expected], "{line}");
        assert_eq!(damaged, 0, "{line}");
    }

    #[test]
    fn rows_as_the_writer_writes_them() {
        check(
            r#"{"ts":"2026-11-01 09:00:00.123","ts_ns":1793523600123456789,"ingest_ts":"2026-11-01 09:00:01.000","job":"hello","instance":3,"src":"a-1-2","len":4,"line":"x y"}"#,
            "1793523600123|1793523600123456789|hello|3|a-1-2|x y",
        );
    }

    #[test]
    fn what_is_left_out_is_null() {
        check(r#"{"src":"a"}"#, "-|-|-|-|a|-");
        check("{}", "-|-|-|-|-|-");
        check(r#"{"instance":null}"#, "-|-|-|-|-|-");
    }

    #[test]
    fn any_order_any_blanks_any_case_and_keys_that_are_new() {
        check(
            r#" { "new" : {"a":["}", 1]} , "LINE" : "x" , "src":"s", "job" : "j" } "#,
            "-|-|j|-|s|x",
        );
    }

    #[test]
    fn escapes() {
        check(
            r#"{"line":"a\"b\\c\/\n\u00e9\ud83d\ude00\ud83d."}"#,
            "-|-|-|-|-|a\"b\\c/\né😀\u{fffd}.",
        );
    }

    #[test]
    fn other_types_as_openx_takes_them() {
        check(
            r#"{"job":12,"line":{"a":[1,2]},"instance":"7"}"#,
            r#"-|-|12|7|-|{"a":[1,2]}"#,
        );
        check(r#"{"ts":1793523600123}"#, "1793523600123|-|-|-|-|-");
        check(
            r#"{"ts":"2026-11-01T11:00:02Z"}"#,
            "1793530802000|-|-|-|-|-",
        );
        check(
            r#"{"ts":"2026-11-01T11:00:02.5+01:00"}"#,
            "1793527202500|-|-|-|-|-",
        );
    }

    #[test]
    fn values_that_a_column_cannot_hold_are_null() {
        check(r#"{"src":"a","instance":99999999999}"#, "-|-|-|-|a|-");
        check(r#"{"src":"a","ts_ns":"text"}"#, "-|-|-|-|a|-");
        check(r#"{"src":"a","ts":"no time"}"#, "-|-|-|-|a|-");
        // A zone goes with a `T` only.
        check(
            r#"{"src":"a","ts":"2026-11-01 11:00:02.5+01:00"}"#,
            "-|-|-|-|a|-",
        );
    }

    #[test]
    fn the_head_is_taken_from_the_row_above_only_where_it_is_the_same() {
        let (rows, damaged) = read(concat!(
            "{\"job\":\"a\",\"instance\":1,\"src\":\"s\",\"line\":\"1\"}\n",
            "{\"job\":\"a\",\"instance\":1,\"src\":\"s\",\"line\":\"2\"}\n",
            "{\"instance\":1,\"src\":\"s\",\"line\":\"3\"}\n",
            "{\"job\":\"b\",\"src\":\"s\",\"line\":\"4\"}\n",
            "{\"job\":\"b\",\"src\":\"sx\",\"line\":\"5\"}\n",
            "{\"line\":\"6\"}\n",
        ));
        assert_eq!(
            rows,
            [
                "-|-|a|1|s|1",
                "-|-|a|1|s|2",
                "-|-|-|1|s|3",
                "-|-|b|-|s|4",
                "-|-|b|-|sx|5",
                "-|-|-|-|-|6"
            ]
        );
        assert_eq!(damaged, 0);
    }

    #[test]
    fn damaged_lines_are_rows_of_nulls() {
        let lines = [
            "",
            "nonsense",
            r#"{"line":"cut"#,
            r#"{"line":"cut""#,
            r#"{"line":"x"}}"#,
            r#"{"line" "x"}"#,
            r#"{"line":"x",}"#,
            r#"{"line":"\q"}"#,
            r#"{"run":nonsense}"#,
        ];
        let block = lines.join("\n") + "\n";
        let (rows, damaged) = read(&block);
        assert_eq!(rows, vec!["-|-|-|-|-|-"; lines.len()]);
        assert_eq!(damaged, lines.len() as u64);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_writes_it(line in "\\PC*|(?s).*", job in ".*") {
            let json = serde_json::json!({ "job": job, "line": line }).to_string();
            let (rows, damaged) = read(&json);
            prop_assert_eq!(damaged, 0);
            prop_assert_eq!(&rows[0], &format!("-|-|{job}|-|-|{line}"));
        }

        #[test]
        fn any_bytes_are_some_rows(bytes in proptest::collection::vec(prop_oneof![Just(b'{'), Just(b'"'), Just(b':'), Just(b'\\'), Just(b'}'), any::<u8>()], 0..80)) {
            let mut scanner = Scanner::new(vec![ColumnId::Line as usize, ColumnId::Ts as usize]);
            scanner.block(&bytes);
            let newlines = memchr::memchr_iter(b'\n', &bytes).count();
            let lines = newlines + usize::from(bytes.last().is_some_and(|last| *last != b'\n'));
            prop_assert_eq!(scanner.rows(), lines);
        }
    }
}
