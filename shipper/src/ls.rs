//! What `shipper ls` prints: one row a file, as a table for people or as JSON lines.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::args::Listing;
use crate::file_id::Src;
use crate::printable;
use crate::spool::PinKind;

/// The narrowest that a path is cut to, in characters.
const MIN_PATH_COLUMNS: usize = 16;

/// The widest that a job is shown in a table, in characters.
const MAX_JOB_COLUMNS: usize = 40;

/// What stands between two columns.
const GAP: &str = "  ";

/// A file that the agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LsRow {
    /// Its name in the archive.
    pub src: Src,
    /// How often it was truncated.
    pub epoch: u32,
    /// Where it was seen last.
    pub path: PathBuf,
    /// Its job, `cluster/role/env/name`, if it is known.
    pub job: Option<String>,
    /// Which instance of the job.
    pub instance: u32,
    /// The process that writes it.
    pub process: Option<String>,
    /// `stdout`, `stderr`, or a file's name.
    pub stream: Option<String>,
    /// Its size in bytes, if it is there.
    pub size: Option<u64>,
    /// How far it is planned, in bytes from its start.
    pub offset: u64,
    /// How many bytes of it the archive does not have yet.
    pub behind: Option<u64>,
    /// When the oldest of those was written, as well as it is known, in ns since 1970.
    pub behind_since_ns: Option<i64>,
    /// How it is held; none: not at all.
    pub pin: Option<PinKind>,
    /// What is still to come of it.
    pub state: FileState,
}

/// What is still to come of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It may be written to.
    Open,
    /// It is finished, and all of it is planned.
    Ended,
    /// It is gone before all of it was read; a gap stands for the rest.
    Lost,
}

impl FileState {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }
}

/// How a pin is called in a table and in JSON.
fn pin_name(pin: Option<PinKind>) -> &'static str {
    match pin {
        Some(PinKind::Linked) => "link",
        Some(PinKind::Descriptor(_)) => "descriptor",
        None => "none",
    }
}

/// What the rows come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many files.
    pub files: u64,
    /// How many of them are lost.
    pub lost: u64,
    /// The bytes that the archive does not have yet.
    pub behind: u64,
    /// When the oldest of them was written, in ns since 1970.
    pub oldest_ns: Option<i64>,
}

impl Totals {
    /// Adds the rows up.
    pub fn of(rows: &[LsRow]) -> Self {
        let lost = |row: &&LsRow| row.state == FileState::Lost;
        let waiting = rows.iter().filter(|row| row.behind.unwrap_or(0) > 0);
        Self {
            files: rows.len() as u64,
            lost: rows.iter().filter(lost).count() as u64,
            behind: rows.iter().fold(0, |sum: u64, row| {
                sum.saturating_add(row.behind.unwrap_or(0))
            }),
            oldest_ns: waiting.filter_map(|row| row.behind_since_ns).min(),
        }
    }

    /// In words. `wall_ns` is the time now.
    fn text(&self, wall_ns: i64) -> String {
        let files = match self.files {
            1 => "1 file".to_owned(),
            files => format!("{} files", printable::count(files)),
        };
        let behind = match self.behind {
            0 => "all shipped".to_owned(),
            bytes => format!("{} behind", printable::bytes(bytes)),
        };
        let oldest = self.oldest_ns.map(|oldest_ns| {
            let seconds = wall_ns.saturating_sub(oldest_ns).max(0) / 1_000_000_000;
            format!("the oldest for {}", printable::age(seconds.cast_unsigned()))
        });
        let lost = (self.lost > 0).then(|| format!("{} lost", printable::count(self.lost)));
        let words: Vec<String> = [Some(files), Some(behind), oldest, lost]
            .into_iter()
            .flatten()
            .collect();
        words.join(", ")
    }
}

/// Prints the rows in their order. `columns` is the width of the terminal, if it is one; `wall_ns` the time now.
pub fn print(
    rows: &[LsRow],
    listing: Listing,
    columns: Option<u16>,
    wall_ns: i64,
    out: &mut dyn Write,
) -> io::Result<()> {
    match listing {
        Listing::Json => rows.iter().try_for_each(|row| print_json(row, out)),
        Listing::Table => {
            print_table(rows, columns, out)?;
            writeln!(out, "{}", Totals::of(rows).text(wall_ns))
        }
    }
}

fn print_json(row: &LsRow, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Json<'a> {
        src: &'a str,
        epoch: u32,
        path: String,
        job: Option<&'a str>,
        instance: u32,
        process: Option<&'a str>,
        stream: Option<&'a str>,
        size: Option<u64>,
        offset: u64,
        behind: Option<u64>,
        behind_since: Option<String>,
        pin: &'static str,
        state: FileState,
    }
    let since = row
        .behind_since_ns
        .and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok());
    let json = Json {
        src: row.src.as_str(),
        epoch: row.epoch,
        path: row.path.to_string_lossy().into_owned(),
        job: row.job.as_deref(),
        instance: row.instance,
        process: row.process.as_deref(),
        stream: row.stream.as_deref(),
        size: row.size,
        offset: row.offset,
        behind: row.behind,
        behind_since: since.map(|time| time.to_string()),
        pin: pin_name(row.pin),
        state: row.state,
    };
    serde_json::to_writer(&mut *out, &json)?;
    out.write_all(b"\n")
}

/// The columns before the path. Numbers stand at the right of theirs.
const HEADS: [(&str, Side); 7] = [
    ("JOB", Side::Left),
    ("STREAM", Side::Left),
    ("SIZE", Side::Right),
    ("SHIPPED", Side::Right),
    ("BEHIND", Side::Right),
    ("HELD", Side::Left),
    ("STATE", Side::Left),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn print_table(rows: &[LsRow], columns: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let cells: Vec<[String; HEADS.len()]> = rows.iter().map(cells).collect();
    let widths: Vec<usize> = HEADS
        .iter()
        .enumerate()
        .map(|(at, (head, _))| {
            let widest = cells.iter().map(|row| row[at].chars().count()).max();
            widest.unwrap_or(0).max(head.len())
        })
        .collect();
    let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
    let for_path = columns.map(|columns| {
        usize::from(columns)
            .saturating_sub(before)
            .max(MIN_PATH_COLUMNS)
    });
    let heads = HEADS.map(|(head, _)| head.to_owned());
    write_row(&heads, &widths, "PATH", out)?;
    for (row, cells) in rows.iter().zip(&cells) {
        let path = printable::plain(&row.path.to_string_lossy());
        let path = for_path.map_or_else(|| path.clone(), |most| last_chars(&path, most));
        write_row(cells, &widths, &path, out)?;
    }
    Ok(())
}

fn cells(row: &LsRow) -> [String; HEADS.len()] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), printable::bytes);
    let job = match &row.job {
        Some(job) => printable::plain(&format!("{job}/{}", row.instance)),
        None => "-".to_owned(),
    };
    let stream = match (&row.process, &row.stream) {
        (Some(process), Some(stream)) => format!("{process} {stream}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "-".to_owned(),
    };
    [
        last_chars(&job, MAX_JOB_COLUMNS),
        last_chars(&printable::plain(&stream), MAX_JOB_COLUMNS),
        bytes(row.size),
        printable::bytes(row.offset),
        bytes(row.behind),
        pin_name(row.pin).to_owned(),
        row.state.name().to_owned(),
    ]
}

fn write_row(
    cells: &[String; HEADS.len()],
    widths: &[usize],
    path: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    for ((cell, (_, side)), width) in cells.iter().zip(HEADS).zip(widths) {
        match side {
            Side::Left => write!(out, "{cell:<width$}{GAP}")?,
            Side::Right => write!(out, "{cell:>width$}{GAP}")?,
        }
    }
    writeln!(out, "{path}")
}

/// The end of a text, which tells more of a path than its beginning.
fn last_chars(text: &str, most: usize) -> String {
    let chars = text.chars().count();
    if chars <= most {
        return text.to_owned();
    }
    let cut = text.chars().skip(chars + 1 - most);
    std::iter::once('…').chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Unlinked;

    const NOW_NS: i64 = 1_795_485_600_000_000_000;

    fn rows() -> Vec<LsRow> {
        let src = |n: u32| format!("00000000000000ff-{n}-1795485600000000000");
        let row = LsRow {
            src: src(12).parse().expect("a name"),
            epoch: 0,
            path: "/var/lib/mesos/slaves/S/frameworks/F/executors/thermos-web-prod-hello-3-x/runs/c/sandbox/.logs/server/0/stdout".into(),
            job: Some("aa/web/prod/hello".to_owned()),
            instance: 3,
            process: Some("server".to_owned()),
            stream: Some("stdout".to_owned()),
            size: Some(1_234_567),
            offset: 1_000_000,
            behind: Some(234_567),
            behind_since_ns: Some(NOW_NS - 125_000_000_000),
            pin: Some(PinKind::Linked),
            state: FileState::Open,
        };
        vec![
            row.clone(),
            LsRow {
                src: src(13).parse().expect("a name"),
                epoch: 2,
                path: "/var/log/a\u{1b}[31m\n.log".into(),
                job: None,
                instance: 0,
                process: None,
                stream: None,
                size: None,
                offset: 5,
                behind: None,
                behind_since_ns: None,
                pin: None,
                state: FileState::Lost,
            },
            LsRow {
                src: src(14).parse().expect("a name"),
                path: "/var/log/b.log".into(),
                size: Some(7),
                offset: 7,
                behind: Some(0),
                behind_since_ns: Some(0),
                pin: Some(PinKind::Descriptor(Unlinked::OtherMount)),
                state: FileState::Ended,
                ..row
            },
        ]
    }

    fn printed(rows: &[LsRow], listing: Listing, columns: Option<u16>) -> String {
        let mut out = Vec::new();
        print(rows, listing, columns, NOW_NS, &mut out).expect("to print");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_table_fits_the_terminal() {
        insta::assert_snapshot!("ls_120", printed(&rows(), Listing::Table, Some(120)));
        insta::assert_snapshot!("ls_pipe", printed(&rows(), Listing::Table, None));
        for columns in [100, 120, 200] {
            for line in printed(&rows(), Listing::Table, Some(columns)).lines() {
                assert!(line.chars().count() <= usize::from(columns), "{line}");
            }
        }
        // Where nothing fits, the path keeps some of itself.
        assert!(printed(&rows(), Listing::Table, Some(1)).contains("/0/stdout"));
    }

    #[test]
    fn one_object_a_line() {
        let text = printed(&rows(), Listing::Json, Some(80));
        insta::assert_snapshot!("ls_json", text);
        let read: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        assert_eq!(read.len(), 3);
        assert_eq!(read[1]["path"], "/var/log/a\u{1b}[31m\n.log");
    }

    #[test]
    fn totals() {
        assert_eq!(printed(&[], Listing::Table, None), "0 files, all shipped\n");
        assert_eq!(printed(&[], Listing::Json, None), "");
        let totals = Totals::of(&rows());
        let expected = Totals {
            files: 3,
            lost: 1,
            behind: 234_567,
            oldest_ns: Some(NOW_NS - 125_000_000_000),
        };
        assert_eq!(totals, expected);
        let one = Totals::of(&rows()[2..]);
        assert_eq!(one.text(NOW_NS), "1 file, all shipped");
        // A clock that was set back makes no negative age.
        assert!(totals.text(0).contains("the oldest for 0s"));
    }
}
