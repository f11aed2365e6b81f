//! Rows into Parquet.
//!
//! Rows are gathered by column until they fill a page, then packed. Whose they are is kept once for each run of rows of a
//! file, not for each row. Columns with a dictionary are written in `keys`, the others by the library.

mod keys;

use std::fmt;
use std::io::Write;
use std::mem;
use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BinaryArray, Int64Array, TimestampMillisecondArray, new_null_array,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use joblog::Level;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnDescPtr;

use super::{EncodeError, WriteOptions, floor_ms};
use crate::row::{Flags, Origin, Row};
use crate::schema::{
    self, COLUMNS, Column, ColumnId, Kind, Layout, MAX_PAGE_LINE_BYTES, MAX_PAGE_ROWS, Presence,
};
use keys::{IdState, KeyColumn, MAX_DICTIONARY_BYTES, Packer, Packing};

/// Bytes before each text of a page that is `PLAIN`: its length.
const TEXT_LENGTH_BYTES: usize = 4;

/// Writes an object.
pub(super) struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    groups: ArrowRowGroupWriterFactory,
    /// What the arrays are that columns are written from.
    fields: Vec<Field>,
    group: Option<Group>,
    batch: Batch,
    packer: Packer,
    min_group_rows: usize,
    max_group_bytes: usize,
    max_group_line_bytes: usize,
}

/// The group of rows that is being written.
struct Group {
    columns: Vec<ColumnWriter>,
    rows: usize,
    line_bytes: usize,
    line: PageFill,
    raw: PageFill,
}

/// Who writes a column, and what of it is written.
enum ColumnWriter {
    /// The library.
    Rows {
        writer: Box<ArrowColumnWriter>,
        has_values: bool,
    },
    /// A dictionary of texts.
    Names(KeyColumn<String>),
    /// A dictionary of numbers.
    Numbers(KeyColumn<i32>),
    /// A dictionary of templates' ids.
    Templates(KeyColumn<u64, IdState>),
}

/// How full the page of a column is whose pages end by their bytes, too. Batches end where such a page does: no page then
/// has more rows than it may.
#[derive(Debug, Clone, Copy, Default)]
struct PageFill {
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> Writer<W> {
    pub(super) fn new(sink: W, options: &WriteOptions) -> Result<Self, EncodeError> {
        let arrow = schema::arrow();
        let types = ArrowSchemaConverter::new().convert(&arrow)?;
        let properties = Arc::new(schema::writer_properties());
        let file = SerializedFileWriter::new(sink, types.root_schema_ptr(), properties)?;
        Ok(Self {
            groups: ArrowRowGroupWriterFactory::new(&file, arrow),
            file,
            fields: COLUMNS.iter().map(field).collect(),
            group: None,
            batch: Batch::default(),
            packer: Packer::new().map_err(ParquetError::from)?,
            min_group_rows: options.min_group_rows,
            max_group_bytes: options.max_group_bytes,
            max_group_line_bytes: options.max_group_line_bytes,
        })
    }

    #[inline]
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        let last = self.batch.runs.last();
        if last.is_none_or(|run| run.origin != *row.origin) {
            self.next_origin(row.origin)?;
        }
        self.batch.push(row);
        if self.batch.is_full(self.group.as_ref()) {
            self.write_batch()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        self.end_group()?;
        Ok(self.file.into_inner()?)
    }

    #[cold]
    fn next_origin(&mut self, origin: &Origin) -> Result<(), EncodeError> {
        let rows = self.batch.rows + self.group.as_ref().map_or(0, |group| group.rows);
        if rows >= self.min_group_rows
            && let Some(run) = self.batch.runs.last()
            && job(&run.origin) != job(origin)
        {
            self.end_group()?;
        }
        self.batch.runs.retain(|run| run.rows > 0);
        self.batch.runs.push(Run {
            origin: origin.clone(),
            rows: 0,
        });
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), EncodeError> {
        let rows = self.batch.rows;
        if rows == 0 {
            return Ok(());
        }
        let group = match &mut self.group {
            Some(group) => group,
            none => {
                let index = self.file.flushed_row_groups().len();
                let writers = self.groups.create_column_writers(index)?;
                let schema = self.file.schema_descr();
                none.insert(Group {
                    columns: COLUMNS
                        .iter()
                        .zip(writers)
                        .map(|(column, writer)| {
                            let descr = schema.column(column.id as usize);
                            ColumnWriter::new(column, descr, writer)
                        })
                        .collect(),
                    rows: 0,
                    line_bytes: 0,
                    line: PageFill::default(),
                    raw: PageFill::default(),
                })
            }
        };
        group.line_bytes += self.batch.line.page_bytes() + self.batch.raw.page_bytes();
        group.line.add(rows, self.batch.line.page_bytes());
        group.raw.add(rows, self.batch.raw.page_bytes());
        let (mut packed_bytes, mut dictionary_bytes) = (0, 0);
        for (column, (field, writer)) in COLUMNS
            .iter()
            .zip(self.fields.iter().zip(&mut group.columns))
        {
            writer.write(column, field, &mut self.batch, &mut self.packer)?;
            packed_bytes += writer.bytes();
            dictionary_bytes = dictionary_bytes.max(writer.dictionary_bytes());
        }
        group.rows += rows;
        let is_large = packed_bytes >= self.max_group_bytes
            || group.line_bytes >= self.max_group_line_bytes
            || dictionary_bytes >= MAX_DICTIONARY_BYTES;
        self.batch.clear();
        if is_large {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), EncodeError> {
        self.write_batch()?;
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut row_group = self.file.next_row_group()?;
        for (column, writer) in COLUMNS.iter().zip(group.columns) {
            writer.close(column, &mut row_group, &mut self.packer)?;
        }
        row_group.close()?;
        Ok(())
    }
}

impl ColumnWriter {
    fn new(column: &Column, descr: ColumnDescPtr, writer: ArrowColumnWriter) -> Self {
        let packing = match column.layout {
            Layout::Runs => Packing::None,
            Layout::Dictionary => Packing::Zstd,
            Layout::Differences | Layout::Plain => {
                return Self::Rows {
                    writer: Box::new(writer),
                    has_values: false,
                };
            }
        };
        match (column.id, column.kind) {
            (ColumnId::Tpl, _) => Self::Templates(KeyColumn::new(descr, packing)),
            (_, Kind::String) => Self::Names(KeyColumn::new(descr, packing)),
            (_, Kind::Int | Kind::BigInt | Kind::Timestamp) => {
                Self::Numbers(KeyColumn::new(descr, packing))
            }
        }
    }

    /// Writes a batch's values, which may be taken out of it.
    fn write(
        &mut self,
        column: &Column,
        field: &Field,
        batch: &mut Batch,
        packer: &mut Packer,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Rows { writer, has_values } => {
                let Some(array) = batch.take(column.id) else {
                    return Ok(());
                };
                *has_values |= array.null_count() < array.len();
                for leaf in compute_leaves(field, &array)? {
                    writer.write(&leaf)?;
                }
            }
            Self::Names(keys) if column.id == ColumnId::Level => {
                for levels in batch.level.chunk_by(|one, other| one == other) {
                    let key = levels[0].map(|level| keys.key(level.name()));
                    keys.push(key, levels.len(), packer)?;
                }
            }
            Self::Names(keys) => {
                for run in &batch.runs {
                    let key = name(&run.origin, column.id).map(|name| keys.key(name));
                    keys.push(key, run.rows, packer)?;
                }
            }
            Self::Numbers(keys) => match column.id {
                ColumnId::Epoch => numbers(keys, &batch.epoch, packer)?,
                ColumnId::Flags => numbers(keys, &batch.flags, packer)?,
                _ => {
                    for run in &batch.runs {
                        let number = match column.id {
                            ColumnId::Run => run.origin.run,
                            _ => run.origin.instance,
                        };
                        let key = keys.key(&(number as i32));
                        keys.push(Some(key), run.rows, packer)?;
                    }
                }
            },
            Self::Templates(keys) => {
                for ids in batch.tpl.chunk_by(|one, other| one == other) {
                    let key = ids[0].map(|id| keys.key(&id));
                    keys.push(key, ids.len(), packer)?;
                }
            }
        }
        Ok(())
    }

    /// How many bytes the column will take, about.
    fn bytes(&self) -> usize {
        match self {
            Self::Rows { writer, .. } => writer.get_estimated_total_bytes(),
            Self::Names(keys) => keys.bytes(),
            Self::Numbers(keys) => keys.bytes(),
            Self::Templates(keys) => keys.bytes(),
        }
    }

    fn dictionary_bytes(&self) -> usize {
        match self {
            Self::Rows { .. } => 0,
            Self::Names(keys) => keys.dictionary_bytes(),
            Self::Numbers(keys) => keys.dictionary_bytes(),
            Self::Templates(keys) => keys.dictionary_bytes(),
        }
    }

    /// Ends the column, which comes next in the group.
    fn close<W: Write + Send>(
        self,
        column: &Column,
        group: &mut SerializedRowGroupWriter<'_, W>,
        packer: &mut Packer,
    ) -> Result<(), EncodeError> {
        let (bytes, close) = match self {
            Self::Rows { writer, has_values } => {
                let mut chunk = (*writer).close()?;
                if !has_values {
                    // Nothing is found there anyway.
                    chunk.close_mut().bloom_filter = None;
                }
                chunk.append_to_row_group(group)?;
                return Ok(());
            }
            Self::Names(keys) => {
                let has_bloom = column.lookup.has_bloom() && !keys.values().is_empty();
                let filter = if has_bloom {
                    Some(bloom_filter(keys.values())?)
                } else {
                    None
                };
                keys.close(filter, packer)?
            }
            Self::Numbers(keys) => keys.close(None, packer)?,
            Self::Templates(keys) => keys.close(None, packer)?,
        };
        group.append_column(&bytes, close)?;
        Ok(())
    }
}

/// A number of each row.
fn numbers(
    keys: &mut KeyColumn<i32>,
    numbers: &[i32],
    packer: &mut Packer,
) -> Result<(), ParquetError> {
    for run in numbers.chunk_by(|one, other| one == other) {
        let key = keys.key(&run[0]);
        keys.push(Some(key), run.len(), packer)?;
    }
    Ok(())
}

/// A text that all rows of an origin have in common.
fn name(origin: &Origin, id: ColumnId) -> Option<&str> {
    match id {
        ColumnId::Role => origin.role.as_deref(),
        ColumnId::Env => origin.env.as_deref(),
        ColumnId::Job => origin.job.as_deref(),
        ColumnId::TaskId => origin.task_id.as_deref(),
        ColumnId::Process => origin.process.as_deref(),
        ColumnId::Stream => origin.stream.as_deref(),
        ColumnId::Host => origin.host.as_deref(),
        ColumnId::Src => Some(&origin.src),
        ColumnId::GitSha => origin.git_sha.as_deref(),
        _ => None,
    }
}

impl<W: Write + Send> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("groups", &self.file.flushed_row_groups().len())
            .field("batch_rows", &self.batch.rows)
            .finish_non_exhaustive()
    }
}

fn bloom_filter(values: &[String]) -> Result<Sbbf, EncodeError> {
    let count = values.len() as u64;
    let mut filter = Sbbf::new_with_ndv_fpp(count, schema::BLOOM_FALSE_POSITIVES)?;
    for value in values {
        filter.insert(value.as_str());
    }
    Ok(filter)
}

/// The part of an origin at whose change a group of rows may end.
fn job(origin: &Origin) -> [Option<&str>; 3] {
    [&origin.role, &origin.env, &origin.job].map(Option::as_deref)
}

/// What a column is written from. Text is handed over as bytes: it is checked once, when it is gathered.
fn field(column: &Column) -> Field {
    let can_be_null = column.presence == Presence::Sometimes;
    let data_type = match column.kind {
        Kind::String => DataType::Binary,
        kind => kind.arrow(),
    };
    Field::new(column.name, data_type, can_be_null)
}

impl PageFill {
    fn add(&mut self, rows: usize, bytes: usize) {
        self.rows += rows;
        self.bytes += bytes;
        if self.is_full(0, 0) {
            *self = Self::default();
        }
    }

    fn is_full(self, more_rows: usize, more_bytes: usize) -> bool {
        self.rows + more_rows >= MAX_PAGE_ROWS || self.bytes + more_bytes >= MAX_PAGE_LINE_BYTES
    }
}

/// Rows that are gathered.
#[derive(Debug, Default)]
struct Batch {
    rows: usize,
    /// Whose the rows are, one run after the other; the last one is that of the last row, even without rows in the batch.
    runs: Vec<Run>,
    ts_ns: Vec<i64>,
    ingest_ns: Vec<i64>,
    epoch: Vec<i32>,
    off: Vec<i64>,
    len: Vec<i64>,
    level: Vec<Option<Level>>,
    request_id: Texts,
    trace_id: Texts,
    tpl: Vec<Option<u64>>,
    line: Texts,
    raw: Texts,
    flags: Vec<i32>,
}

/// Rows of one origin.
#[derive(Debug)]
struct Run {
    origin: Origin,
    rows: usize,
}

impl Batch {
    #[inline]
    fn push(&mut self, row: &Row<'_>) {
        self.rows += 1;
        if let Some(run) = self.runs.last_mut() {
            run.rows += 1;
        }
        self.ts_ns.push(row.ts_ns);
        self.ingest_ns.push(row.ingest_ns);
        self.epoch.push(row.epoch as i32);
        self.off.push(row.off as i64);
        self.len.push(row.len as i64);
        self.level.push(row.level);
        self.request_id.push(row.request_id.map(str::as_bytes));
        self.trace_id.push(row.trace_id.map(str::as_bytes));
        self.tpl.push(row.tpl);
        let mut flags = Flags(row.flags.0 & !Flags::NOT_UTF8.0);
        match row.line {
            Some(line) if std::str::from_utf8(line).is_err() => {
                flags |= Flags::NOT_UTF8;
                for chunk in line.utf8_chunks() {
                    self.line.part(chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        self.line.part("\u{fffd}".as_bytes());
                    }
                }
                self.line.end();
                self.raw.push(Some(STANDARD.encode(line).as_bytes()));
            }
            line => {
                self.line.push(line);
                self.raw.push(None);
            }
        }
        self.flags.push(flags.0 as i32);
    }

    /// Whether some page is full with these rows.
    #[inline]
    fn is_full(&self, group: Option<&Group>) -> bool {
        let (rows, line, raw) = match group {
            Some(group) => (group.rows, group.line, group.raw),
            None => (0, PageFill::default(), PageFill::default()),
        };
        (rows + self.rows).is_multiple_of(MAX_PAGE_ROWS)
            || line.is_full(self.rows, self.line.page_bytes())
            || raw.is_full(self.rows, self.raw.page_bytes())
    }

    /// A column's values, for columns of which each row has its own.
    fn take(&mut self, id: ColumnId) -> Option<ArrayRef> {
        let numbers =
            |values: &mut Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(next_vec(values))) };
        Some(match id {
            ColumnId::Ts => times(&self.ts_ns),
            ColumnId::TsNs => numbers(&mut self.ts_ns),
            ColumnId::IngestTs => times(&self.ingest_ns),
            ColumnId::Off => numbers(&mut self.off),
            ColumnId::Len => numbers(&mut self.len),
            ColumnId::RequestId => self.request_id.take(),
            ColumnId::TraceId => self.trace_id.take(),
            ColumnId::Line => self.line.take(),
            ColumnId::Raw => self.raw.take(),
            _ => return None,
        })
    }

    fn clear(&mut self) {
        self.rows = 0;
        if let Some(last) = self.runs.pop() {
            self.runs.clear();
            self.runs.push(Run { rows: 0, ..last });
        }
        self.ingest_ns.clear();
        self.epoch.clear();
        self.level.clear();
        self.tpl.clear();
        self.flags.clear();
    }
}

/// Texts of rows, one after the other.
#[derive(Debug)]
struct Texts {
    bytes: Vec<u8>,
    /// Where the texts end, with a 0 before the first.
    ends: Vec<i32>,
    valid: Vec<bool>,
    values: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            ends: vec![0],
            valid: Vec::new(),
            values: 0,
        }
    }
}

impl Texts {
    #[inline]
    fn push(&mut self, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.part(text);
            self.end();
        } else {
            self.ends.push(self.bytes.len() as i32);
            self.valid.push(false);
        }
    }

    /// A part of a text, which [`Texts::end`] ends.
    #[inline]
    fn part(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    #[inline]
    fn end(&mut self) {
        self.ends.push(self.bytes.len() as i32);
        self.valid.push(true);
        self.values += 1;
    }

    /// How many bytes of a page the texts take.
    #[inline]
    fn page_bytes(&self) -> usize {
        self.bytes.len() + self.values * TEXT_LENGTH_BYTES
    }

    fn take(&mut self) -> ArrayRef {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: {
                let mut ends = Vec::with_capacity(self.ends.len());
                ends.push(0);
                ends
            },
            valid: Vec::with_capacity(self.valid.len()),
            values: 0,
        };
        let texts = mem::replace(self, next);
        let rows = texts.valid.len();
        if texts.values == 0 {
            return new_null_array(&DataType::Binary, rows);
        }
        let nulls = (texts.values < rows).then(|| NullBuffer::from(texts.valid));
        Arc::new(BinaryArray::new(
            OffsetBuffer::new(ScalarBuffer::from(texts.ends)),
            Buffer::from_vec(texts.bytes),
            nulls,
        ))
    }
}

/// The values, leaving room for as many.
fn next_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    mem::replace(values, room)
}

fn times(ns: &[i64]) -> ArrayRef {
    let ms: Vec<i64> = ns.iter().map(|&ns| floor_ms(ns)).collect();
    Arc::new(TimestampMillisecondArray::from(ms))
}
