//! Objects into rows: what both encodings have in common.
//!
//! A reader takes a whole object and hands out its rows one after the other, or only the parts that tell what is there of
//! each file. What is damaged is an error that names the object and the place, or, where the rest can still be read, a count.

mod ndjson;
pub(crate) mod parquet;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use bytes::Bytes;
use joblog::Level;

use crate::encoding::Encoding;
use crate::key::{Hour, ObjectKey};
use crate::row::{Flags, Origin, Row};

/// A row that stands for itself. Its `ingest_ns` is in whole milliseconds, as the archive keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRow {
    /// Whose file it is; shared by rows that follow each other.
    pub origin: Arc<Origin>,
    /// See [`Row`], as for all the others.
    pub ts_ns: i64,
    /// See [`Row`].
    pub ingest_ns: i64,
    /// See [`Row`].
    pub epoch: u32,
    /// See [`Row`].
    pub off: u64,
    /// See [`Row`].
    pub len: u64,
    /// See [`Row`].
    pub level: Option<Level>,
    /// See [`Row`].
    pub request_id: Option<String>,
    /// See [`Row`].
    pub trace_id: Option<String>,
    /// See [`Row`].
    pub tpl: Option<u64>,
    /// See [`Row`]: the bytes as they were, also where they are not UTF-8.
    pub line: Option<Vec<u8>>,
    /// See [`Row`].
    pub flags: Flags,
}

impl OwnedRow {
    /// The row, borrowed.
    pub fn as_row(&self) -> Row<'_> {
        Row {
            origin: &self.origin,
            ts_ns: self.ts_ns,
            ingest_ns: self.ingest_ns,
            epoch: self.epoch,
            off: self.off,
            len: self.len,
            level: self.level,
            request_id: self.request_id.as_deref(),
            trace_id: self.trace_id.as_deref(),
            tpl: self.tpl,
            line: self.line.as_deref(),
            flags: self.flags,
        }
    }
}

/// A row for who shows lines: without what was read of them, and with a line that shares its bytes with others of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// Whose file it is, without the deployed build.
    pub origin: Arc<Origin>,
    /// See [`Row`], as for all the others.
    pub ts_ns: i64,
    /// See [`Row`].
    pub epoch: u32,
    /// See [`Row`].
    pub off: u64,
    /// See [`Row`].
    pub len: u64,
    /// See [`Row`]: the bytes as they were, also where they are not UTF-8.
    pub line: Option<Bytes>,
    /// See [`Row`].
    pub flags: Flags,
}

impl From<OwnedRow> for LineRow {
    fn from(row: OwnedRow) -> Self {
        Self {
            origin: row.origin,
            ts_ns: row.ts_ns,
            epoch: row.epoch,
            off: row.off,
            len: row.len,
            line: row.line.map(Bytes::from),
            flags: row.flags,
        }
    }
}

/// What a row says of its file: what an audit needs, without what it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile<'a> {
    /// The file.
    pub src: &'a str,
    /// See [`Row`], as for all the others.
    pub epoch: u32,
    /// See [`Row`].
    pub off: u64,
    /// See [`Row`].
    pub len: u64,
    /// See [`Row`].
    pub flags: Flags,
    /// See [`Row`].
    pub ts_ns: i64,
    /// See [`Row`]. Absent, too, where lines are not asked for.
    pub line: Option<&'a [u8]>,
}

/// Whether an audit looks at lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lines {
    /// They are not read.
    Skip,
    /// They are read.
    Read,
}

/// Which rows of an object are wanted. The default wants all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Those of this job.
    pub job: Option<WantedJob>,
    /// Those of this instance.
    pub instance: Option<u32>,
    /// Those with a time in this range, in ns since 1970.
    pub ts_ns: Option<Range<i64>>,
}

/// A job whose rows are wanted, in the cluster of the object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WantedJob {
    /// See [`Origin`], as for all of them.
    pub role: String,
    /// See [`Origin`].
    pub env: String,
    /// See [`Origin`].
    pub job: String,
}

impl WantedJob {
    /// The job of a file, if it is a job's.
    pub fn of(origin: &Origin) -> Option<Self> {
        Some(Self {
            role: origin.role.clone()?,
            env: origin.env.clone()?,
            job: origin.job.clone()?,
        })
    }
}

impl Filter {
    fn wants_origin(&self, origin: &Origin) -> bool {
        let of_job = self.job.as_ref().is_none_or(|wanted| {
            origin.role.as_ref() == Some(&wanted.role)
                && origin.env.as_ref() == Some(&wanted.env)
                && origin.job.as_ref() == Some(&wanted.job)
        });
        of_job
            && self
                .instance
                .is_none_or(|instance| instance == origin.instance)
    }

    fn wants_time(&self, ts_ns: i64) -> bool {
        self.ts_ns
            .as_ref()
            .is_none_or(|range| range.contains(&ts_ns))
    }
}

/// Rows of an object that follow each other and are of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose file it is; without the deployed build, which may change within it.
    pub origin: Arc<Origin>,
    /// See [`Row`].
    pub epoch: u32,
    /// The offset of the first row.
    pub first_off: u64,
    /// The time of the first row, in ns since 1970.
    pub first_ts_ns: i64,
    /// Where in the file the last row ends. What is between may have holes.
    pub end_off: u64,
    /// Which rows of their group they are.
    pub rows: Range<usize>,
}

/// What became of an object's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many rows were handed out.
    pub rows: u64,
    /// How many rows were read that the filter does not want.
    pub unwanted: u64,
    /// How many of the rows handed out have a time in another hour than the object's key says.
    pub wrong_hour: u64,
    /// How many lines of an NDJSON object could not be read. Each stands for a row that is lost.
    pub damaged: u64,
    /// The first of them.
    pub first_damage: Option<Damage>,
    /// How many groups of rows a Parquet object has.
    pub groups: usize,
    /// How many of them were looked into.
    pub groups_read: usize,
    /// How many rows of these lie in pages that were looked into.
    pub rows_in_pages: u64,
}

impl Report {
    fn took(&mut self, hour: Hour, ts_ns: i64) {
        self.rows += 1;
        self.wrong_hour += u64::from(Hour::of_ns(ts_ns) != hour);
    }

    fn damage(&mut self, line: u64, problem: String) {
        self.damaged += 1;
        if self.first_damage.is_none() {
            self.first_damage = Some(Damage { line, problem });
        }
    }
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which line of the object, from 1.
    pub line: u64,
    /// What is the matter.
    pub problem: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// Why an object could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not whole Parquet.
    #[error("read {key} as parquet, behind row {row}")]
    Parquet {
        /// Which object.
        key: Box<ObjectKey>,
        /// How many rows were read before.
        row: u64,
        /// What the library says.
        source: ParquetError,
    },
    /// A column is not what it has to be.
    #[error("read {key}: its column `{column}` {problem}")]
    Column {
        /// Which object.
        key: Box<ObjectKey>,
        /// Which column.
        column: &'static str,
        /// What is the matter.
        problem: &'static str,
    },
    /// It is not whole gzip.
    #[error("unpack {key}, behind line {line}")]
    Gzip {
        /// Which object.
        key: Box<ObjectKey>,
        /// How many lines were read before.
        line: u64,
        /// What is the matter.
        source: std::io::Error,
    },
}

/// Hands out the rows of an object, one after the other. After an error there are no more.
#[derive(Debug)]
pub struct ObjectReader {
    inner: Inner,
    report: Report,
}

#[derive(Debug)]
enum Inner {
    Parquet(Box<parquet::Rows>),
    Ndjson(Box<ndjson::Rows>),
    Ended,
}

impl ObjectReader {
    /// Begins to read an object. A filter spares reading what cannot match it, where the encoding lets one know.
    pub fn new(key: &ObjectKey, object: Bytes, filter: Filter) -> Result<Self, DecodeError> {
        let mut report = Report::default();
        let inner = match key.encoding {
            Encoding::Parquet => Inner::Parquet(Box::new(parquet::Rows::new(
                key,
                object,
                filter,
                &mut report,
            )?)),
            Encoding::Ndjson => Inner::Ndjson(Box::new(ndjson::Rows::new(key, object, filter))),
        };
        Ok(Self { inner, report })
    }

    /// What became of the rows until now.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl Iterator for ObjectReader {
    type Item = Result<OwnedRow, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.inner {
            Inner::Parquet(rows) => rows.next(&mut self.report),
            Inner::Ndjson(rows) => rows.next(&mut self.report),
            Inner::Ended => Ok(None),
        };
        if !matches!(next, Ok(Some(_))) {
            self.inner = Inner::Ended;
        }
        next.transpose()
    }
}

/// Hands out what each row of an object says of its file, in the object's order.
pub fn read_tiles(
    key: &ObjectKey,
    object: Bytes,
    lines: Lines,
    mut each: impl FnMut(&Tile<'_>),
) -> Result<Report, DecodeError> {
    let mut report = Report::default();
    let mut take = |tile: &Tile<'_>, report: &mut Report| {
        report.took(key.hour, tile.ts_ns);
        each(tile);
    };
    match key.encoding {
        Encoding::Parquet => parquet::tiles(key, object, lines, &mut report, &mut take)?,
        Encoding::Ndjson => ndjson::tiles(key, object, lines, &mut report, &mut take)?,
    }
    Ok(report)
}

/// The template whose id is written so.
fn parse_tpl(digits: &str) -> Option<u64> {
    let all = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// The level of a name.
fn parse_level(name: &str) -> Option<Level> {
    Level::ALL.into_iter().find(|level| level.name() == name)
}

#[cfg(test)]
mod tests;
