//! Rows and columns that fit the page.
//!
//! The first rows decide on the widths, at most [`FIRST_ROWS`] of them; those behind are written as they come, in the same widths.
//! Numbers and times are never cut. Where the texts would be cut to less than [`LEAST_WIDTH`], or a few rows would lose most of
//! what they say, the rows are written one value a line instead.

use std::fmt;
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::vertical::Vertical;
use super::{Fit, Header, Options, Reader, is_number};
use crate::escape::plain;
use crate::rows::{Column, Kind, Row};

/// Rows that are held back to decide on the widths, at most.
const FIRST_ROWS: usize = 1000;

/// Bytes of rows that are held back, at most.
const FIRST_BYTES: usize = 4 << 20;

/// The least that a column of texts is cut to, in characters.
const LEAST_WIDTH: usize = 8;

/// A table of so few rows is written one value a line when it would be cut to less than half.
const FEW_ROWS: usize = 3;

/// What stands between columns.
const GAP: &str = "  ";

/// The most lines of a wrapped cell.
const MAX_CELL_LINES: usize = 200;

/// A table that is being written.
pub(super) struct Table {
    columns: Vec<Column>,
    options: Options,
    state: State,
}

enum State {
    /// The widths are not decided on.
    Held { rows: Vec<Row>, bytes: usize },
    /// They are: the column's width, and what becomes of a cell that is wider.
    Laid { widths: Vec<usize> },
    /// It became one value a line.
    Vertical(Vertical),
}

impl Table {
    pub(super) fn new(columns: Vec<Column>, options: &Options) -> Self {
        Self {
            columns,
            options: options.clone(),
            state: State::Held {
                rows: Vec::new(),
                bytes: 0,
            },
        }
    }

    pub(super) fn rows(&mut self, new: Vec<Row>, out: &mut dyn Write) -> io::Result<()> {
        match &mut self.state {
            State::Held { rows, bytes } => {
                for row in new {
                    *bytes += row.iter().flatten().map(String::len).sum::<usize>();
                    rows.push(row);
                }
                if rows.len() >= FIRST_ROWS || *bytes >= FIRST_BYTES {
                    self.lay_out(out)?;
                }
                Ok(())
            }
            State::Laid { widths } => {
                let widths = std::mem::take(widths);
                let written = new.iter().try_for_each(|row| self.row(row, &widths, out));
                self.state = State::Laid { widths };
                written
            }
            State::Vertical(vertical) => vertical.rows(&new, out),
        }
    }

    pub(super) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if matches!(self.state, State::Held { .. }) {
            self.lay_out(out)?;
        }
        Ok(())
    }

    /// Decides on the widths and writes what was held back.
    fn lay_out(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let State::Held { rows, .. } = &mut self.state else {
            return Ok(());
        };
        let rows = std::mem::take(rows);
        let Some(widths) = self.widths(&rows) else {
            let mut vertical = Vertical::new(&self.columns, &self.options);
            vertical.rows(&rows, out)?;
            self.state = State::Vertical(vertical);
            return Ok(());
        };
        if self.options.header == Header::Shown {
            let names: Vec<Cell> = self
                .columns
                .iter()
                .map(|column| Cell::Name(plain(&column.name)))
                .collect();
            self.line(&names, &widths, out)?;
            let rule = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
            writeln!(
                out,
                "{}",
                Styled::dim(&"─".repeat(rule), self.options.page.reader)
            )?;
        }
        for row in &rows {
            self.row(row, &widths, out)?;
        }
        self.state = State::Laid { widths };
        Ok(())
    }

    /// The widths of the columns; none if the rows are better written one value a line.
    fn widths(&self, rows: &[Row]) -> Option<Vec<usize>> {
        let mut natural: Vec<usize> = self
            .columns
            .iter()
            .map(|column| match self.options.header {
                Header::Shown => plain(&column.name).width(),
                Header::Hidden => 0,
            })
            .collect();
        for row in rows {
            for (width, cell) in natural.iter_mut().zip(row) {
                let cell = cell.as_ref().map_or(NULL.len(), |cell| plain(cell).width());
                *width = (*width).max(cell);
            }
        }
        let Some(page) = self.options.page.columns else {
            return Some(natural);
        };
        if self.options.fit == Fit::Wide {
            return Some(natural);
        }
        let gaps = GAP.len() * natural.len().saturating_sub(1);
        let room = page.saturating_sub(gaps);
        if natural.iter().sum::<usize>() <= room {
            return Some(natural);
        }
        // The greatest width that texts can have so that all fit.
        let fitted = |cap: usize| -> Vec<usize> {
            self.columns
                .iter()
                .zip(&natural)
                .map(|(column, width)| {
                    if can_be_cut(&column.kind) {
                        (*width).min(cap)
                    } else {
                        *width
                    }
                })
                .collect()
        };
        let cap = (LEAST_WIDTH..=page)
            .rev()
            .find(|cap| fitted(*cap).iter().sum::<usize>() <= room)?;
        let total = natural.iter().sum::<usize>() + gaps;
        if self.options.fit == Fit::Cut && rows.len() <= FEW_ROWS && total > 2 * page {
            return None;
        }
        let mut widths = fitted(cap);
        // What is left over goes to the first columns that can use it.
        let mut left = room - widths.iter().sum::<usize>();
        for (width, natural) in widths.iter_mut().zip(&natural) {
            let more = left.min(natural - *width);
            *width += more;
            left -= more;
        }
        Some(widths)
    }

    fn row(&self, row: &Row, widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<Cell> = row
            .iter()
            .map(|cell| match cell {
                Some(cell) => Cell::Value(plain(cell)),
                None => Cell::Null,
            })
            .collect();
        self.line(&cells, widths, out)
    }

    /// A line of cells, or several where cells are wrapped.
    fn line(&self, cells: &[Cell], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let is_limited = self.options.page.columns.is_some() && self.options.fit != Fit::Wide;
        let parts: Vec<Vec<String>> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| match (is_limited, self.options.fit) {
                (true, Fit::Wrapped) => wrapped(cell.text(), *width),
                (true, _) => vec![cut(cell.text(), *width)],
                (false, _) => vec![cell.text().to_owned()],
            })
            .collect();
        let lines = parts.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..lines {
            let mut line = String::new();
            // Blanks are written once something follows them: none stand at a line's end.
            let mut blanks = 0;
            for (column, ((cell, parts), width)) in self
                .columns
                .iter()
                .zip(cells.iter().zip(&parts).zip(widths))
            {
                let part = parts.get(at).map_or("", String::as_str);
                let rest = width.saturating_sub(part.width());
                if is_number(&column.kind) {
                    blanks += rest;
                }
                if !part.is_empty() {
                    line.extend(std::iter::repeat_n(' ', blanks));
                    blanks = 0;
                    line.push_str(&cell.styled(part, self.options.page.reader).to_string());
                }
                if !is_number(&column.kind) {
                    blanks += rest;
                }
                blanks += GAP.len();
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// A cell, without anything that a terminal obeys.
enum Cell {
    Name(String),
    Value(String),
    Null,
}

/// What stands for NULL, which is not the empty text.
const NULL: &str = "NULL";

impl Cell {
    fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Value(text) => text,
            Self::Null => NULL,
        }
    }

    fn styled<'t>(&self, text: &'t str, reader: Reader) -> Styled<'t> {
        match self {
            Self::Name(_) => Styled::bold(text, reader),
            Self::Value(_) => Styled { text, code: None },
            Self::Null => Styled::dim(text, reader),
        }
    }
}

/// NULL, as it is shown.
pub(super) fn null(reader: Reader) -> Styled<'static> {
    Styled::dim(NULL, reader)
}

/// A text in bold or dim, for terminals with colours.
pub(super) struct Styled<'t> {
    text: &'t str,
    code: Option<u8>,
}

impl<'t> Styled<'t> {
    pub(super) fn bold(text: &'t str, reader: Reader) -> Self {
        let code = (reader == Reader::Colours).then_some(1);
        Self { text, code }
    }

    pub(super) fn dim(text: &'t str, reader: Reader) -> Self {
        let code = (reader == Reader::Colours).then_some(2);
        Self { text, code }
    }
}

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => f.write_str(self.text),
        }
    }
}

/// Whether part of a value is still of use. Half a number is a wrong one.
fn can_be_cut(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Varchar | Kind::Varbinary | Kind::Json | Kind::Other(_)
    )
}

/// A text of at most this width, the last character being `…` where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if taken + more + 1 > width {
            break;
        }
        taken += more;
        shown.push(c);
    }
    shown.push('…');
    shown
}

/// A text in lines of at most this width; broken at blanks where that leaves no line half empty.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.width() > width {
        if lines.len() + 1 == MAX_CELL_LINES {
            break;
        }
        let mut taken = 0;
        let mut end = 0;
        for (at, c) in rest.char_indices() {
            taken += c.width().unwrap_or(0);
            if taken > width {
                break;
            }
            end = at + c.len_utf8();
        }
        if let Some(blank) = rest[..end].rfind(' ')
            && rest[..blank].width() * 2 > width
        {
            end = blank + 1;
        }
        let (line, behind) = rest.split_at(end);
        lines.push(line.trim_end().to_owned());
        // The blank that it is broken at is between the lines.
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    lines.push(cut(rest, width));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_cut_by_their_width() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_it_may(text in "\\PC{0,40}", width in 2..20_usize) {
            let text = plain(&text);
            prop_assert!(cut(&text, width).width() <= width);
            for line in wrapped(&text, width) {
                prop_assert!(line.width() <= width, "{line:?}");
            }
        }
    }
}
