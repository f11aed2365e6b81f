//! Rows into objects: what both encodings have in common.
//!
//! A writer takes rows one after the other, in the order of (role, env, job, instance, task, process, run, stream, source,
//! epoch, offset), and hands packed bytes to its sink as it goes. What it holds is bounded: for Parquet a page of rows and a
//! packed group of rows, for NDJSON a buffer of lines.

mod ndjson;
mod parquet;

use std::io::{self, Write};

use ::parquet::errors::ParquetError;

use crate::encoding::Encoding;
use crate::row::Row;

/// After how many rows a group of rows ends where the job changes.
pub const DEFAULT_MIN_GROUP_ROWS: usize = 8192;

/// At how many packed bytes a group of rows ends. That much is held in memory until then.
pub const DEFAULT_MAX_GROUP_BYTES: usize = 8 << 20;

/// At how many bytes of lines a group of rows ends. Readers may have to hold that much.
pub const DEFAULT_MAX_GROUP_LINE_BYTES: usize = 64 << 20;

/// How hard gzip tries, 1 to 9.
pub const DEFAULT_GZIP_LEVEL: u32 = 3;

/// The longest line that can be written, in bytes.
pub const MAX_LINE_BYTES: usize = 256 << 20;

/// How an object is written. None of this changes its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// See [`DEFAULT_MIN_GROUP_ROWS`].
    pub min_group_rows: usize,
    /// See [`DEFAULT_MAX_GROUP_BYTES`].
    pub max_group_bytes: usize,
    /// See [`DEFAULT_MAX_GROUP_LINE_BYTES`].
    pub max_group_line_bytes: usize,
    /// See [`DEFAULT_GZIP_LEVEL`].
    pub gzip_level: u32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            min_group_rows: DEFAULT_MIN_GROUP_ROWS,
            max_group_bytes: DEFAULT_MAX_GROUP_BYTES,
            max_group_line_bytes: DEFAULT_MAX_GROUP_LINE_BYTES,
            gzip_level: DEFAULT_GZIP_LEVEL,
        }
    }
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The sink took no more.
    #[error("write packed rows")]
    Sink(#[from] io::Error),
    /// The Parquet library failed, or the sink below it.
    #[error("write rows as parquet")]
    Parquet(#[from] ParquetError),
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("a line of {len} bytes is longer than the {MAX_LINE_BYTES} bytes that can be written")]
    LineTooLong {
        /// Its length in bytes.
        len: usize,
    },
}

/// What a finished object has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// How many rows.
    pub rows: u64,
    /// How many bytes of files they stand for.
    pub raw_bytes: u64,
    /// The times of its earliest and its latest row, in ns since 1970; none without rows.
    pub ts_ns: Option<(i64, i64)>,
}

/// Writes the rows of one object.
#[derive(Debug)]
pub struct ObjectWriter<W: Write + Send> {
    inner: Inner<W>,
    written: Written,
}

#[derive(Debug)]
enum Inner<W: Write + Send> {
    Parquet(Box<parquet::Writer<W>>),
    Ndjson(Box<ndjson::Writer<W>>),
}

impl<W: Write + Send> ObjectWriter<W> {
    /// Begins an object.
    pub fn new(encoding: Encoding, sink: W, options: &WriteOptions) -> Result<Self, EncodeError> {
        let inner = match encoding {
            Encoding::Parquet => Inner::Parquet(Box::new(parquet::Writer::new(sink, options)?)),
            Encoding::Ndjson => Inner::Ndjson(Box::new(ndjson::Writer::new(sink, options))),
        };
        Ok(Self {
            inner,
            written: Written::default(),
        })
    }

    /// Writes the next row. After an error the object cannot be finished.
    #[inline]
    pub fn row(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        if let Some(line) = row.line
            && line.len() > MAX_LINE_BYTES
        {
            return Err(EncodeError::LineTooLong { len: line.len() });
        }
        match &mut self.inner {
            Inner::Parquet(writer) => writer.row(row)?,
            Inner::Ndjson(writer) => writer.row(row)?,
        }
        let written = &mut self.written;
        written.rows += 1;
        written.raw_bytes = written.raw_bytes.saturating_add(row.len);
        let (min, max) = written.ts_ns.unwrap_or((row.ts_ns, row.ts_ns));
        written.ts_ns = Some((min.min(row.ts_ns), max.max(row.ts_ns)));
        Ok(())
    }

    /// How many rows have been written.
    pub fn rows(&self) -> u64 {
        self.written.rows
    }

    /// Ends the object and gives the sink back, with all of the object in it.
    pub fn finish(self) -> Result<(W, Written), EncodeError> {
        let sink = match self.inner {
            Inner::Parquet(writer) => writer.finish()?,
            Inner::Ndjson(writer) => writer.finish()?,
        };
        Ok((sink, self.written))
    }
}

/// Milliseconds of a time in ns, floored.
fn floor_ms(ns: i64) -> i64 {
    ns.div_euclid(1_000_000)
}

/// The digits of a template's id.
fn tpl_digits(tpl: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        let value = (tpl >> (60 - 4 * place)) & 0xf;
        *digit = b"0123456789abcdef"[value as usize];
    }
    digits
}

#[cfg(test)]
mod tests;
