//! Parquet into rows.
//!
//! The library below can panic on damaged files, so each call of it is fenced: what was a panic is an error.

pub(crate) mod group;
pub(crate) mod lines;

use std::fmt;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use arrow_array::{
    Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::{DecodeError, Filter, Lines, OwnedRow, Report, Tile, parse_level, parse_tpl};
use crate::key::ObjectKey;
use crate::row::{Flags, Origin};
use crate::schema::{COLUMNS, ColumnId, Presence};

/// How many rows are unpacked at a time.
const BATCH_ROWS: usize = 2048;

/// The columns of a [`Tile`] without its line.
const TILE_COLUMNS: [ColumnId; 6] = [
    ColumnId::TsNs,
    ColumnId::Src,
    ColumnId::Epoch,
    ColumnId::Off,
    ColumnId::Len,
    ColumnId::Flags,
];

/// The columns of a line.
const LINE_COLUMNS: [ColumnId; 2] = [ColumnId::Line, ColumnId::Raw];

/// The batches of an object.
struct Batches {
    key: Box<ObjectKey>,
    reader: ParquetRecordBatchReader,
    rows: u64,
}

impl Batches {
    fn new(
        key: &ObjectKey,
        object: Bytes,
        columns: &[ColumnId],
        filter: &Filter,
        report: &mut Report,
    ) -> Result<Self, DecodeError> {
        let open = || {
            let options = ArrowReaderOptions::new()
                .with_skip_arrow_metadata(true)
                .with_page_index_policy(PageIndexPolicy::Optional);
            let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(object, options)?;
            let metadata = Arc::clone(builder.metadata());
            let schema = builder.parquet_schema();
            let names = columns.iter().map(|id| id.column().name);
            let projection = ProjectionMask::columns(schema, names);
            let pruned = Pruned::new(&metadata, filter);
            report.groups = metadata.num_row_groups();
            report.groups_read = pruned.groups.len();
            report.rows_in_pages = pruned.selection.row_count() as u64;
            builder
                .with_projection(projection)
                .with_row_groups(pruned.groups)
                .with_row_selection(pruned.selection)
                .with_batch_size(BATCH_ROWS)
                .build()
        };
        match fenced(open) {
            Ok(reader) => Ok(Self {
                key: Box::new(key.clone()),
                reader,
                rows: 0,
            }),
            Err(source) => Err(DecodeError::Parquet {
                key: Box::new(key.clone()),
                row: 0,
                source,
            }),
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        let reader = &mut self.reader;
        let next = fenced(|| reader.next().transpose().map_err(ParquetError::from));
        match next {
            Ok(batch) => {
                self.rows += batch.as_ref().map_or(0, RecordBatch::num_rows) as u64;
                Ok(batch)
            }
            Err(source) => Err(DecodeError::Parquet {
                key: self.key.clone(),
                row: self.rows,
                source,
            }),
        }
    }

    /// A column of a batch; none if the object was written before there was such a column.
    fn column<A: Array + Clone + 'static>(
        &self,
        batch: &RecordBatch,
        id: ColumnId,
    ) -> Result<Option<A>, DecodeError> {
        let column = id.column();
        let error = |problem| DecodeError::Column {
            key: self.key.clone(),
            column: column.name,
            problem,
        };
        match batch.column_by_name(column.name) {
            Some(array) => match array.as_any().downcast_ref::<A>() {
                Some(array) => Ok(Some(array.clone())),
                None => Err(error("is of another type")),
            },
            None if column.presence == Presence::Always => Err(error("is missing")),
            None => Ok(None),
        }
    }

    fn always<A: Array + Clone + 'static>(
        &self,
        batch: &RecordBatch,
        id: ColumnId,
    ) -> Result<A, DecodeError> {
        let column = self.column(batch, id)?;
        column.ok_or_else(|| DecodeError::Column {
            key: self.key.clone(),
            column: id.column().name,
            problem: "is missing",
        })
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("key", &self.key)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

fn fenced<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    // What the closures hold is given up after an error.
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(ParquetError::General(
            "the file is damaged in a way that the library does not expect".to_owned(),
        ))
    })
}

/// Which groups of rows, and which of their rows, can have what is wanted.
struct Pruned {
    groups: Vec<usize>,
    selection: RowSelection,
}

/// A value, or a range of values, that a row must have in a column.
enum Wanted {
    Text(Vec<u8>),
    Int(i32),
    Range(Range<i64>),
}

impl Wanted {
    fn of(filter: &Filter) -> Vec<(ColumnId, Self)> {
        let mut all = Vec::new();
        if let Some(job) = &filter.job {
            for (id, text) in [
                (ColumnId::Role, &job.role),
                (ColumnId::Env, &job.env),
                (ColumnId::Job, &job.job),
            ] {
                all.push((id, Self::Text(text.clone().into_bytes())));
            }
        }
        if let Some(instance) = filter.instance {
            all.push((ColumnId::Instance, Self::Int(instance as i32)));
        }
        if let Some(range) = &filter.ts_ns {
            all.push((ColumnId::TsNs, Self::Range(range.clone())));
        }
        all
    }

    fn may_be_in_group(&self, statistics: &Statistics) -> bool {
        match (self, statistics) {
            (Self::Text(text), Statistics::ByteArray(values)) => is_between(
                text.as_slice(),
                values.min_bytes_opt(),
                values.max_bytes_opt(),
            ),
            (Self::Int(int), Statistics::Int32(values)) => {
                is_between(int, values.min_opt(), values.max_opt())
            }
            (Self::Range(range), Statistics::Int64(values)) => {
                overlaps(range, values.min_opt(), values.max_opt())
            }
            _ => true,
        }
    }

    fn may_be_in_page(&self, pages: &ColumnIndexMetaData, page: usize) -> bool {
        if pages.is_null_page(page) {
            return false;
        }
        match (self, pages) {
            (Self::Text(text), ColumnIndexMetaData::BYTE_ARRAY(values)) => is_between(
                text.as_slice(),
                values.min_value(page),
                values.max_value(page),
            ),
            (Self::Int(int), ColumnIndexMetaData::INT32(values)) => {
                is_between(int, values.min_value(page), values.max_value(page))
            }
            (Self::Range(range), ColumnIndexMetaData::INT64(values)) => {
                overlaps(range, values.min_value(page), values.max_value(page))
            }
            _ => true,
        }
    }
}

fn is_between<T: Ord + ?Sized>(value: &T, min: Option<&T>, max: Option<&T>) -> bool {
    min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
}

fn overlaps(range: &Range<i64>, min: Option<&i64>, max: Option<&i64>) -> bool {
    min.is_none_or(|min| *min < range.end) && max.is_none_or(|max| range.start <= *max)
}

impl Pruned {
    fn new(metadata: &ParquetMetaData, filter: &Filter) -> Self {
        let columns = metadata.file_metadata().schema_descr().columns();
        let wanted: Vec<(usize, Wanted)> = Wanted::of(filter)
            .into_iter()
            .filter_map(|(id, wanted)| {
                let name = id.column().name;
                let place = columns.iter().position(|column| column.name() == name)?;
                Some((place, wanted))
            })
            .collect();
        let mut pruned = Self {
            groups: Vec::new(),
            selection: RowSelection::default(),
        };
        let mut selectors: Vec<RowSelector> = Vec::new();
        for (index, group) in metadata.row_groups().iter().enumerate() {
            if !may_be_in_group(group, &wanted) {
                continue;
            }
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let mut selection = RowSelection::from(vec![RowSelector::select(rows)]);
            for (place, wanted) in &wanted {
                if let Some(ranges) = ranges(metadata, index, *place, wanted, rows) {
                    let pages = RowSelection::from_consecutive_ranges(ranges.into_iter(), rows);
                    selection = selection.intersection(&pages);
                }
            }
            if selection.selects_any() {
                pruned.groups.push(index);
                selectors.extend(selection.iter());
            }
        }
        pruned.selection = RowSelection::from(selectors);
        pruned
    }
}

fn may_be_in_group(group: &RowGroupMetaData, wanted: &[(usize, Wanted)]) -> bool {
    wanted.iter().all(|(place, wanted)| {
        let column = group.columns().get(*place);
        let statistics = column.and_then(|column| column.statistics());
        statistics.is_none_or(|statistics| wanted.may_be_in_group(statistics))
    })
}

/// The rows of a group in whose pages a value can be; none if there is no (sound) index that says so.
fn ranges(
    metadata: &ParquetMetaData,
    group: usize,
    place: usize,
    wanted: &Wanted,
    rows: usize,
) -> Option<Vec<Range<usize>>> {
    let pages = metadata.column_index()?.get(group)?.get(place)?;
    if matches!(pages, ColumnIndexMetaData::NONE) {
        return None;
    }
    let locations = metadata.offset_index()?.get(group)?.get(place)?;
    let starts = locations
        .page_locations()
        .iter()
        .map(|page| usize::try_from(page.first_row_index).ok())
        .collect::<Option<Vec<usize>>>()?;
    let ends = starts.iter().skip(1).copied().chain([rows]);
    let all: Vec<Range<usize>> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| *start..end)
        .collect();
    let is_sound = pages.num_pages() == all.len() as u64
        && all.first().is_some_and(|page| page.start == 0)
        && all.iter().all(|page| page.start <= page.end);
    is_sound.then(|| {
        all.into_iter()
            .enumerate()
            .filter(|(page, _)| wanted.may_be_in_page(pages, *page))
            .map(|(_, range)| range)
            .collect()
    })
}

/// Hands out rows.
#[derive(Debug)]
pub(crate) struct Rows {
    batches: Batches,
    filter: Filter,
    columns: Option<Columns>,
    /// The next row of the columns.
    row: usize,
    origin: Arc<Origin>,
}

/// A batch's columns.
#[derive(Debug)]
struct Columns {
    rows: usize,
    ts_ns: Int64Array,
    ingest_ts: TimestampMillisecondArray,
    role: Option<StringArray>,
    env: Option<StringArray>,
    job: Option<StringArray>,
    instance: Int32Array,
    task_id: Option<StringArray>,
    process: Option<StringArray>,
    stream: Option<StringArray>,
    host: Option<StringArray>,
    run: Int32Array,
    src: StringArray,
    epoch: Int32Array,
    off: Int64Array,
    len: Int64Array,
    level: Option<StringArray>,
    request_id: Option<StringArray>,
    trace_id: Option<StringArray>,
    git_sha: Option<StringArray>,
    tpl: Option<StringArray>,
    line: Option<StringArray>,
    raw: Option<StringArray>,
    flags: Int32Array,
}

impl Rows {
    pub(super) fn new(
        key: &ObjectKey,
        object: Bytes,
        filter: Filter,
        report: &mut Report,
    ) -> Result<Self, DecodeError> {
        let all = COLUMNS.map(|column| column.id);
        Ok(Self {
            batches: Batches::new(key, object, &all, &filter, report)?,
            filter,
            columns: None,
            row: 0,
            origin: Arc::default(),
        })
    }

    pub(crate) fn next(&mut self, report: &mut Report) -> Result<Option<OwnedRow>, DecodeError> {
        loop {
            let Some(columns) = self.columns.as_ref().filter(|all| self.row < all.rows) else {
                let Some(batch) = self.batches.next()? else {
                    return Ok(None);
                };
                self.columns = Some(Columns::new(&self.batches, &batch)?);
                self.row = 0;
                continue;
            };
            let row = self.row;
            self.row += 1;
            if !columns.is_of(&self.origin, row) {
                self.origin = Arc::new(columns.origin(row));
            }
            let ts_ns = columns.ts_ns.value(row);
            if !self.filter.wants_origin(&self.origin) || !self.filter.wants_time(ts_ns) {
                report.unwanted += 1;
                continue;
            }
            let wrong = |column: ColumnId, problem| DecodeError::Column {
                key: self.batches.key.clone(),
                column: column.column().name,
                problem,
            };
            let level = match text(columns.level.as_ref(), row) {
                Some(name) => {
                    Some(parse_level(name).ok_or_else(|| wrong(ColumnId::Level, "is no level"))?)
                }
                None => None,
            };
            let tpl = match text(columns.tpl.as_ref(), row) {
                Some(digits) => Some(
                    parse_tpl(digits).ok_or_else(|| wrong(ColumnId::Tpl, "is no template's id"))?,
                ),
                None => None,
            };
            let line = match text(columns.raw.as_ref(), row) {
                Some(raw) => Some(
                    STANDARD
                        .decode(raw)
                        .map_err(|_| wrong(ColumnId::Raw, "is no base64"))?,
                ),
                None => text(columns.line.as_ref(), row).map(|line| line.as_bytes().to_vec()),
            };
            report.took(self.batches.key.hour, ts_ns);
            return Ok(Some(OwnedRow {
                origin: Arc::clone(&self.origin),
                ts_ns,
                ingest_ns: columns.ingest_ts.value(row).saturating_mul(1_000_000),
                epoch: columns.epoch.value(row) as u32,
                off: columns.off.value(row) as u64,
                len: columns.len.value(row) as u64,
                level,
                request_id: text(columns.request_id.as_ref(), row).map(str::to_owned),
                trace_id: text(columns.trace_id.as_ref(), row).map(str::to_owned),
                tpl,
                line,
                flags: Flags(columns.flags.value(row) as u32),
            }));
        }
    }
}

impl Columns {
    fn new(batches: &Batches, batch: &RecordBatch) -> Result<Self, DecodeError> {
        let texts = |id| batches.column::<StringArray>(batch, id);
        let ints = |id| batches.always::<Int32Array>(batch, id);
        let numbers = |id| batches.always::<Int64Array>(batch, id);
        Ok(Self {
            rows: batch.num_rows(),
            ts_ns: numbers(ColumnId::TsNs)?,
            ingest_ts: batches.always(batch, ColumnId::IngestTs)?,
            role: texts(ColumnId::Role)?,
            env: texts(ColumnId::Env)?,
            job: texts(ColumnId::Job)?,
            instance: ints(ColumnId::Instance)?,
            task_id: texts(ColumnId::TaskId)?,
            process: texts(ColumnId::Process)?,
            stream: texts(ColumnId::Stream)?,
            host: texts(ColumnId::Host)?,
            run: ints(ColumnId::Run)?,
            src: batches.always(batch, ColumnId::Src)?,
            epoch: ints(ColumnId::Epoch)?,
            off: numbers(ColumnId::Off)?,
            len: numbers(ColumnId::Len)?,
            level: texts(ColumnId::Level)?,
            request_id: texts(ColumnId::RequestId)?,
            trace_id: texts(ColumnId::TraceId)?,
            git_sha: texts(ColumnId::GitSha)?,
            tpl: texts(ColumnId::Tpl)?,
            line: texts(ColumnId::Line)?,
            raw: texts(ColumnId::Raw)?,
            flags: ints(ColumnId::Flags)?,
        })
    }

    fn names(&self) -> [&Option<StringArray>; 8] {
        [
            &self.role,
            &self.env,
            &self.job,
            &self.task_id,
            &self.process,
            &self.stream,
            &self.host,
            &self.git_sha,
        ]
    }

    fn is_of(&self, origin: &Origin, row: usize) -> bool {
        let names = [
            &origin.role,
            &origin.env,
            &origin.job,
            &origin.task_id,
            &origin.process,
            &origin.stream,
            &origin.host,
            &origin.git_sha,
        ];
        self.src.value(row) == origin.src
            && self.instance.value(row) as u32 == origin.instance
            && self.run.value(row) as u32 == origin.run
            && self
                .names()
                .into_iter()
                .zip(names)
                .all(|(column, name)| text(column.as_ref(), row) == name.as_deref())
    }

    fn origin(&self, row: usize) -> Origin {
        let [role, env, job, task_id, process, stream, host, git_sha] = self
            .names()
            .map(|column| text(column.as_ref(), row).map(str::to_owned));
        Origin {
            role,
            env,
            job,
            instance: self.instance.value(row) as u32,
            task_id,
            process,
            run: self.run.value(row) as u32,
            stream,
            host,
            src: self.src.value(row).to_owned(),
            git_sha,
        }
    }
}

fn text(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column
        .filter(|column| column.is_valid(row))
        .map(|column| column.value(row))
}

pub(super) fn tiles(
    key: &ObjectKey,
    object: Bytes,
    lines: Lines,
    report: &mut Report,
    take: &mut impl FnMut(&Tile<'_>, &mut Report),
) -> Result<(), DecodeError> {
    let mut columns = TILE_COLUMNS.to_vec();
    if lines == Lines::Read {
        columns.extend(LINE_COLUMNS);
    }
    let mut batches = Batches::new(key, object, &columns, &Filter::default(), report)?;
    while let Some(batch) = batches.next()? {
        let ts_ns: Int64Array = batches.always(&batch, ColumnId::TsNs)?;
        let src: StringArray = batches.always(&batch, ColumnId::Src)?;
        let epoch: Int32Array = batches.always(&batch, ColumnId::Epoch)?;
        let off: Int64Array = batches.always(&batch, ColumnId::Off)?;
        let len: Int64Array = batches.always(&batch, ColumnId::Len)?;
        let flags: Int32Array = batches.always(&batch, ColumnId::Flags)?;
        let line: Option<StringArray> = batches.column(&batch, ColumnId::Line)?;
        let raw: Option<StringArray> = batches.column(&batch, ColumnId::Raw)?;
        for row in 0..batch.num_rows() {
            let raw = match text(raw.as_ref(), row) {
                Some(raw) => {
                    let bytes = STANDARD.decode(raw).map_err(|_| DecodeError::Column {
                        key: batches.key.clone(),
                        column: ColumnId::Raw.column().name,
                        problem: "is no base64",
                    })?;
                    Some(bytes)
                }
                None => None,
            };
            let line = text(line.as_ref(), row).map(str::as_bytes);
            let tile = Tile {
                src: src.value(row),
                epoch: epoch.value(row) as u32,
                off: off.value(row) as u64,
                len: len.value(row) as u64,
                flags: Flags(flags.value(row) as u32),
                ts_ns: ts_ns.value(row),
                line: raw.as_deref().or(line),
            };
            take(&tile, report);
        }
    }
    Ok(())
}
