//! CSV as RFC 4180 has it, with lines that end in `\n`. NULL is nothing, the empty text is `""`: the two stay apart.

use std::io::{self, Write};

use super::{Header, Options, Reader};
use crate::escape;
use crate::rows::{Column, Row};

/// CSV that is being written.
pub(super) struct Csv {
    header: Header,
    reader: Reader,
}

impl Csv {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            header: options.header,
            reader: options.page.reader,
        }
    }

    pub(super) fn header(&self, columns: &[Column], out: &mut dyn Write) -> io::Result<()> {
        if self.header == Header::Hidden {
            return Ok(());
        }
        let names = columns.iter().map(|column| Some(column.name.as_str()));
        self.write(&line(names), out)
    }

    pub(super) fn rows(&self, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            self.write(&line(row.iter().map(Option::as_deref)), out)?;
        }
        Ok(())
    }

    fn write(&self, line: &str, out: &mut dyn Write) -> io::Result<()> {
        match self.reader {
            Reader::Program => out.write_all(line.as_bytes()),
            Reader::Terminal | Reader::Colours => {
                out.write_all(escape::plain_lines(line).as_bytes())
            }
        }
    }
}

fn line<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> String {
    let mut line = String::new();
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            line.push(',');
        }
        let Some(cell) = cell else { continue };
        if cell.is_empty() || cell.contains([',', '"', '\n', '\r']) {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads what [`line`] writes, written down as simply as possible.
    fn read(text: &str) -> Vec<Option<String>> {
        let text = text.strip_suffix('\n').expect("a line's end");
        let mut cells = Vec::new();
        let mut rest = text;
        loop {
            let cell;
            if let Some(inside) = rest.strip_prefix('"') {
                let mut end = 0;
                loop {
                    end += inside[end..].find('"').expect("a quote");
                    if !inside[end + 1..].starts_with('"') {
                        break;
                    }
                    end += 2;
                }
                cell = Some(inside[..end].replace("\"\"", "\""));
                rest = &inside[end + 1..];
            } else {
                let end = rest.find(',').unwrap_or(rest.len());
                cell = (end > 0).then(|| rest[..end].to_owned());
                rest = &rest[end..];
            }
            cells.push(cell);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return cells,
            }
        }
    }

    #[test]
    fn nothing_and_the_empty_text_are_two() {
        assert_eq!(line([Some("a"), None, Some("")].into_iter()), "a,,\"\"\n");
        assert_eq!(
            line([Some("a,b"), Some("c\"d"), Some("e\nf")].into_iter()),
            "\"a,b\",\"c\"\"d\",\"e\nf\"\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(row in proptest::collection::vec(proptest::option::of("[a,\"\r\n ]{0,6}|\\PC{0,6}"), 1..6)) {
            prop_assert_eq!(read(&line(row.iter().map(Option::as_deref))), row);
        }
    }
}
