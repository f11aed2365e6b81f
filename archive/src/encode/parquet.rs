//! Rows into Parquet.
//!
//! Rows are gathered by column until they fill a page, then packed. Whose they are is kept once for each run of rows of a
//! file, not for each row.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::iter;
use std::mem;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, StringArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use joblog::Level;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::bloom_filter::Sbbf;
use parquet::file::writer::SerializedFileWriter;

use super::{EncodeError, WriteOptions, floor_ms, tpl_digits};
use crate::row::{Flags, Origin, Row};
use crate::schema::{
    self, COLUMNS, Column, ColumnId, Kind, MAX_PAGE_LINE_BYTES, MAX_PAGE_ROWS, Presence,
};

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
    min_group_rows: usize,
    max_group_bytes: usize,
    max_group_line_bytes: usize,
}

/// The group of rows that is being written.
struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
    line_bytes: usize,
    has_values: [bool; COLUMNS.len()],
    task_ids: BTreeSet<String>,
    line: PageFill,
    raw: PageFill,
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
                none.insert(Group {
                    columns: self.groups.create_column_writers(index)?,
                    rows: 0,
                    line_bytes: 0,
                    has_values: [false; COLUMNS.len()],
                    task_ids: BTreeSet::new(),
                    line: PageFill::default(),
                    raw: PageFill::default(),
                })
            }
        };
        for run in &self.batch.runs {
            if let Some(id) = &run.origin.task_id
                && run.rows > 0
                && !group.task_ids.contains(id)
            {
                group.task_ids.insert(id.clone());
            }
        }
        group.line_bytes += self.batch.line.page_bytes() + self.batch.raw.page_bytes();
        group.line.add(rows, self.batch.line.page_bytes());
        group.raw.add(rows, self.batch.raw.page_bytes());
        let arrays = Arrays::new(&self.batch);
        let mut packed_bytes = 0;
        for (column, (field, writer)) in COLUMNS
            .iter()
            .zip(self.fields.iter().zip(&mut group.columns))
        {
            let array = arrays.column(column, &mut self.batch);
            group.has_values[column.id as usize] |= array.null_count() < rows;
            for leaf in compute_leaves(field, &array)? {
                writer.write(&leaf)?;
            }
            packed_bytes += writer.get_estimated_total_bytes();
        }
        group.rows += rows;
        let is_large =
            packed_bytes >= self.max_group_bytes || group.line_bytes >= self.max_group_line_bytes;
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
        for (column, (writer, has_values)) in COLUMNS
            .iter()
            .zip(group.columns.into_iter().zip(group.has_values))
        {
            let mut chunk = writer.close()?;
            if !has_values {
                // Nothing is found there anyway.
                chunk.close_mut().bloom_filter = None;
            } else if column.id == ColumnId::TaskId {
                chunk.close_mut().bloom_filter = Some(bloom_filter(&group.task_ids)?);
            }
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
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

fn bloom_filter(values: &BTreeSet<String>) -> Result<Sbbf, EncodeError> {
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
    let data_type = match (column.kind, Source::of(column.id)) {
        (Kind::String, Source::Rows) => DataType::Binary,
        (kind, _) => kind.arrow(),
    };
    Field::new(column.name, data_type, can_be_null)
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Each row has its own.
    Rows,
    /// From a few texts.
    Names,
}

impl Source {
    fn of(id: ColumnId) -> Self {
        match id {
            ColumnId::RequestId
            | ColumnId::TraceId
            | ColumnId::Tpl
            | ColumnId::Line
            | ColumnId::Raw => Self::Rows,
            _ => Self::Names,
        }
    }
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
    tpl: Texts,
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
        match row.tpl {
            Some(tpl) => self.tpl.push(Some(&tpl_digits(tpl))),
            None => self.tpl.push(None),
        }
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

    fn clear(&mut self) {
        self.rows = 0;
        if let Some(last) = self.runs.pop() {
            self.runs.clear();
            self.runs.push(Run { rows: 0, ..last });
        }
        self.level.clear();
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

    fn take(&mut self, no_texts: &ArrayRef) -> ArrayRef {
        let texts = mem::take(self);
        let rows = texts.valid.len();
        if texts.values == 0 {
            return no_texts.slice(0, rows);
        }
        let nulls = (texts.values < rows).then(|| NullBuffer::from(texts.valid));
        Arc::new(BinaryArray::new(
            OffsetBuffer::new(ScalarBuffer::from(texts.ends)),
            Buffer::from_vec(texts.bytes),
            nulls,
        ))
    }
}

/// A batch's rows as arrays.
struct Arrays {
    /// For each row, which of the batch's runs it is in.
    run_of_row: ScalarBuffer<i32>,
    no_texts: ArrayRef,
    no_names: ArrayRef,
}

impl Arrays {
    fn new(batch: &Batch) -> Self {
        let run_of_row: Vec<i32> = batch
            .runs
            .iter()
            .zip(0..)
            .flat_map(|(run, index)| iter::repeat_n(index, run.rows))
            .collect();
        Self {
            run_of_row: ScalarBuffer::from(run_of_row),
            no_texts: new_null_array(&DataType::Binary, batch.rows),
            no_names: new_null_array(&DataType::Utf8, batch.rows),
        }
    }

    /// A column's values, which are taken out of the batch.
    fn column(&self, column: &Column, batch: &mut Batch) -> ArrayRef {
        let no_texts = &self.no_texts;
        let numbers =
            |values: &mut Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(next_vec(values))) };
        match column.id {
            ColumnId::Ts => times(&batch.ts_ns),
            ColumnId::TsNs => numbers(&mut batch.ts_ns),
            ColumnId::IngestTs => {
                let array = times(&batch.ingest_ns);
                batch.ingest_ns.clear();
                array
            }
            ColumnId::Role => self.names(batch, |origin| origin.role.as_deref()),
            ColumnId::Env => self.names(batch, |origin| origin.env.as_deref()),
            ColumnId::Job => self.names(batch, |origin| origin.job.as_deref()),
            ColumnId::Instance => ints(batch, |origin| origin.instance),
            ColumnId::TaskId => self.names(batch, |origin| origin.task_id.as_deref()),
            ColumnId::Process => self.names(batch, |origin| origin.process.as_deref()),
            ColumnId::Stream => self.names(batch, |origin| origin.stream.as_deref()),
            ColumnId::Host => self.names(batch, |origin| origin.host.as_deref()),
            ColumnId::Run => ints(batch, |origin| origin.run),
            ColumnId::Src => self.names(batch, |origin| Some(&origin.src)),
            ColumnId::Epoch => Arc::new(Int32Array::from(next_vec(&mut batch.epoch))),
            ColumnId::Off => numbers(&mut batch.off),
            ColumnId::Len => numbers(&mut batch.len),
            ColumnId::Level => self.levels(&batch.level),
            ColumnId::RequestId => batch.request_id.take(no_texts),
            ColumnId::TraceId => batch.trace_id.take(no_texts),
            ColumnId::GitSha => self.names(batch, |origin| origin.git_sha.as_deref()),
            ColumnId::Tpl => batch.tpl.take(no_texts),
            ColumnId::Line => batch.line.take(no_texts),
            ColumnId::Raw => batch.raw.take(no_texts),
            ColumnId::Flags => Arc::new(Int32Array::from(next_vec(&mut batch.flags))),
        }
    }

    fn names<'b>(
        &self,
        batch: &'b Batch,
        name: impl Fn(&'b Origin) -> Option<&'b str>,
    ) -> ArrayRef {
        let names: Vec<Option<&str>> = batch.runs.iter().map(|run| name(&run.origin)).collect();
        if names.iter().all(Option::is_none) {
            return Arc::clone(&self.no_names);
        }
        let nulls = names.contains(&None).then(|| {
            let run_of_row = &self.run_of_row;
            NullBuffer::new(BooleanBuffer::collect_bool(run_of_row.len(), |row| {
                names[run_of_row[row] as usize].is_some()
            }))
        });
        let names = names.iter().map(|name| name.unwrap_or_default());
        dictionary(self.run_of_row.clone(), nulls, names)
    }

    fn levels(&self, levels: &[Option<Level>]) -> ArrayRef {
        if levels.iter().all(Option::is_none) {
            return Arc::clone(&self.no_names);
        }
        let keys: Vec<i32> = levels
            .iter()
            .map(|level| level.map_or(0, |level| level as i32))
            .collect();
        let nulls = levels.contains(&None).then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(levels.len(), |row| {
                levels[row].is_some()
            }))
        });
        let names = Level::ALL.iter().map(|level| level.name());
        dictionary(ScalarBuffer::from(keys), nulls, names)
    }
}

/// The values, leaving room for as many.
fn next_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    mem::replace(values, room)
}

/// A number of each run, for each of its rows.
fn ints(batch: &Batch, int: impl Fn(&Origin) -> u32) -> ArrayRef {
    let ints: Vec<i32> = batch
        .runs
        .iter()
        .flat_map(|run| iter::repeat_n(int(&run.origin) as i32, run.rows))
        .collect();
    Arc::new(Int32Array::from(ints))
}

fn times(ns: &[i64]) -> ArrayRef {
    let ms: Vec<i64> = ns.iter().map(|&ns| floor_ms(ns)).collect();
    Arc::new(TimestampMillisecondArray::from(ms))
}

fn dictionary<'n>(
    keys: ScalarBuffer<i32>,
    nulls: Option<NullBuffer>,
    names: impl Iterator<Item = &'n str>,
) -> ArrayRef {
    let keys = Int32Array::new(keys, nulls);
    let names = StringArray::from_iter_values(names);
    Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::new(names)))
}
