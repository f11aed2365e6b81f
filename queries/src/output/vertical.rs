//! One value a line, the column's name before it: for rows that are wider than a terminal.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::table::{Styled, null};
use super::{Header, Options, Reader};
use crate::escape::plain;
use crate::rows::{Column, Row};

/// The longest name that values are set in by, in characters.
const MAX_NAME_WIDTH: usize = 32;

/// Rows that are being written, one value a line.
pub(super) struct Vertical {
    names: Vec<String>,
    width: usize,
    reader: Reader,
    header: Header,
    rows: u64,
}

impl Vertical {
    pub(super) fn new(columns: &[Column], options: &Options) -> Self {
        let names: Vec<String> = columns.iter().map(|column| plain(&column.name)).collect();
        let widest = names.iter().map(|name| name.width()).max();
        Self {
            width: widest.unwrap_or(0).min(MAX_NAME_WIDTH),
            names,
            reader: options.page.reader,
            header: options.header,
            rows: 0,
        }
    }

    pub(super) fn rows(&mut self, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            self.rows += 1;
            if self.header == Header::Shown {
                let title = format!("─── {} ", self.rows);
                let rule = "─".repeat(30_usize.saturating_sub(title.width()));
                writeln!(
                    out,
                    "{}",
                    Styled::dim(&format!("{title}{rule}"), self.reader)
                )?;
            } else if self.rows > 1 {
                writeln!(out)?;
            }
            for (name, cell) in self.names.iter().zip(row) {
                let blanks = " ".repeat(self.width.saturating_sub(name.width()));
                let name = Styled::bold(name, self.reader);
                match cell.as_deref() {
                    Some("") => writeln!(out, "{name}")?,
                    Some(cell) => writeln!(out, "{name}{blanks}  {}", plain(cell))?,
                    None => writeln!(out, "{name}{blanks}  {}", null(self.reader))?,
                }
            }
        }
        Ok(())
    }
}
