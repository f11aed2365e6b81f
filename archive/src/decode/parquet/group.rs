//! One group of rows of an object, without the rest of the object: for readers that want some rows of large objects.
//!
//! Owns what has to be fetched for it ([`Footer`], [`Footer::groups`]) and how rows are read from that. Who fetches is the
//! caller's matter.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Int32Array, Int64Array, StringArray};
use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::lines::{self, LineRows};
use super::{Batches, Pruned, fenced};
use crate::decode::{DecodeError, Filter, Run, WantedJob};
use crate::key::ObjectKey;
use crate::row::Origin;
use crate::schema::ColumnId;

/// The columns that tell where runs begin and end.
const RUN_COLUMNS: [ColumnId; 14] = [
    ColumnId::TsNs,
    ColumnId::Role,
    ColumnId::Env,
    ColumnId::Job,
    ColumnId::Instance,
    ColumnId::TaskId,
    ColumnId::Process,
    ColumnId::Stream,
    ColumnId::Host,
    ColumnId::Run,
    ColumnId::Src,
    ColumnId::Epoch,
    ColumnId::Off,
    ColumnId::Len,
];

/// What an object says of itself at its end.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    metadata: Arc<ParquetMetaData>,
}

/// What became of reading a footer.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// It is whole.
    Whole(Footer),
    /// So many bytes of the object's end are needed.
    Needs(u64),
}

/// A group of rows that may have some that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupPlace {
    /// Its number.
    pub(crate) group: usize,
    /// Its bytes in the object.
    pub(crate) bytes: Range<u64>,
}

/// Some bytes of an object, where they lie in it.
#[derive(Debug, Clone)]
struct Part {
    object_len: u64,
    start: u64,
    bytes: Bytes,
}

impl Length for Part {
    fn len(&self) -> u64 {
        self.object_len
    }
}

impl Part {
    fn slice(&self, start: u64, length: Option<usize>) -> Result<Bytes, ParquetError> {
        let from = start
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok());
        let to = match (from, length) {
            (Some(from), Some(length)) => from.checked_add(length),
            (_, _) => Some(self.bytes.len()),
        };
        match (from, to) {
            (Some(from), Some(to)) if from <= to && to <= self.bytes.len() => {
                Ok(self.bytes.slice(from..to))
            }
            _ => Err(ParquetError::EOF(format!(
                "byte {start} does not lie in its group of rows"
            ))),
        }
    }
}

impl ChunkReader for Part {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.slice(start, Some(length))
    }
}

impl Footer {
    /// Reads it from the object's last bytes.
    pub(crate) fn parse(
        key: &ObjectKey,
        object_len: u64,
        tail: &Bytes,
    ) -> Result<Parsed, DecodeError> {
        let parse = || {
            let mut reader =
                ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            reader.try_parse_sized(tail, object_len)?;
            reader.finish()
        };
        match fenced(parse) {
            Ok(metadata) => Ok(Parsed::Whole(Self {
                metadata: Arc::new(metadata),
            })),
            Err(ParquetError::NeedMoreData(needed))
                if needed as u64 > tail.len() as u64 && needed as u64 <= object_len =>
            {
                Ok(Parsed::Needs(needed as u64))
            }
            Err(source) => Err(failed(key, 0, source)),
        }
    }

    /// The groups that may have wanted rows.
    pub(crate) fn groups(
        &self,
        key: &ObjectKey,
        object_len: u64,
        filter: &Filter,
    ) -> Result<Vec<GroupPlace>, DecodeError> {
        let find = || {
            let groups = Pruned::new(&self.metadata, filter).groups;
            groups
                .into_iter()
                .map(|group| {
                    let columns = self.metadata.row_group(group).columns();
                    let ranges = columns.iter().map(|column| {
                        let (start, length) = column.byte_range();
                        start..start.saturating_add(length)
                    });
                    let bytes = ranges
                        .reduce(|all, range| all.start.min(range.start)..all.end.max(range.end))
                        .filter(|bytes| bytes.end <= object_len)
                        .ok_or_else(|| {
                            ParquetError::EOF(format!("group {group} lies beyond the object"))
                        })?;
                    Ok(GroupPlace { group, bytes })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        fenced(find).map_err(|source| failed(key, 0, source))
    }

    /// The job of all rows of a group, where its statistics tell.
    pub(crate) fn only_job(&self, place: &GroupPlace) -> Option<WantedJob> {
        let only = |id: ColumnId| {
            let name = id.column().name;
            let columns = self.metadata.row_group(place.group).columns();
            let column = columns
                .iter()
                .find(|column| column.column_descr().name() == name)?;
            let Statistics::ByteArray(values) = column.statistics()? else {
                return None;
            };
            let (least, most) = (values.min_bytes_opt()?, values.max_bytes_opt()?);
            let is_only = least == most
                && values.min_is_exact()
                && values.max_is_exact()
                && values.null_count_opt() == Some(0);
            is_only.then(|| String::from_utf8(least.to_vec()).ok())?
        };
        Some(WantedJob {
            role: only(ColumnId::Role)?,
            env: only(ColumnId::Env)?,
            job: only(ColumnId::Job)?,
        })
    }

    /// The jobs of a group's rows.
    pub(crate) fn jobs(
        &self,
        key: &ObjectKey,
        object_len: u64,
        place: &GroupPlace,
        bytes: Bytes,
    ) -> Result<BTreeSet<WantedJob>, DecodeError> {
        const COLUMNS: [ColumnId; 3] = [ColumnId::Role, ColumnId::Env, ColumnId::Job];
        let all = RowSelection::default();
        let mut batches = self.batches(key, object_len, place, bytes, &COLUMNS, all)?;
        let mut jobs: BTreeSet<WantedJob> = BTreeSet::new();
        while let Some(batch) = batches.next()? {
            let mut columns: [Option<StringArray>; 3] = Default::default();
            for (column, id) in columns.iter_mut().zip(COLUMNS) {
                *column = batches.column(&batch, id)?;
            }
            let mut last = [None; 3];
            for at in 0..batch.num_rows() {
                let names = columns
                    .each_ref()
                    .map(|column| super::text(column.as_ref(), at));
                if names == last {
                    continue;
                }
                last = names;
                if let [Some(role), Some(env), Some(job)] = names {
                    jobs.insert(WantedJob {
                        role: role.to_owned(),
                        env: env.to_owned(),
                        job: job.to_owned(),
                    });
                }
            }
        }
        Ok(jobs)
    }

    /// The runs of wanted rows in a group, in the order of its rows.
    pub(crate) fn runs(
        &self,
        key: &ObjectKey,
        object_len: u64,
        place: &GroupPlace,
        bytes: Bytes,
        filter: &Filter,
    ) -> Result<Vec<Run>, DecodeError> {
        let mut batches = self.batches(
            key,
            object_len,
            place,
            bytes,
            &RUN_COLUMNS,
            RowSelection::default(),
        )?;
        let mut runs: Vec<Run> = Vec::new();
        let mut row = 0;
        while let Some(batch) = batches.next()? {
            let texts = |id| batches.column::<StringArray>(&batch, id);
            let names = [
                ColumnId::Role,
                ColumnId::Env,
                ColumnId::Job,
                ColumnId::TaskId,
                ColumnId::Process,
                ColumnId::Stream,
                ColumnId::Host,
            ];
            let mut columns: [Option<StringArray>; 7] = Default::default();
            for (column, id) in columns.iter_mut().zip(names) {
                *column = texts(id)?;
            }
            let src: StringArray = batches.always(&batch, ColumnId::Src)?;
            let ints = |id| batches.always::<Int32Array>(&batch, id);
            let numbers = |id| batches.always::<Int64Array>(&batch, id);
            let (instance, run, epoch) = (
                ints(ColumnId::Instance)?,
                ints(ColumnId::Run)?,
                ints(ColumnId::Epoch)?,
            );
            let (ts_ns, off, len) = (
                numbers(ColumnId::TsNs)?,
                numbers(ColumnId::Off)?,
                numbers(ColumnId::Len)?,
            );
            for at in 0..batch.num_rows() {
                let [off, len] = [off.value(at) as u64, len.value(at) as u64];
                let epoch = epoch.value(at) as u32;
                let goes_on = runs.last().is_some_and(|last: &Run| {
                    last.rows.end == row && last.epoch == epoch && last.origin.src == src.value(at)
                });
                if !goes_on {
                    let [role, env, job, task_id, process, stream, host] = columns
                        .each_ref()
                        .map(|column| super::text(column.as_ref(), at).map(str::to_owned));
                    let origin = Origin {
                        role,
                        env,
                        job,
                        instance: instance.value(at) as u32,
                        task_id,
                        process,
                        run: run.value(at) as u32,
                        stream,
                        host,
                        src: src.value(at).to_owned(),
                        git_sha: None,
                    };
                    if filter.wants_origin(&origin) {
                        runs.push(Run {
                            origin: Arc::new(origin),
                            epoch,
                            first_off: off,
                            first_ts_ns: ts_ns.value(at),
                            end_off: off,
                            rows: row..row,
                        });
                    }
                }
                if let Some(last) = runs.last_mut().filter(|last| last.rows.end == row) {
                    last.rows.end = row + 1;
                    last.end_off = last.end_off.max(off.saturating_add(len));
                }
                row += 1;
            }
        }
        Ok(runs)
    }

    /// The rows of a run in a group.
    pub(crate) fn lines(
        &self,
        key: &ObjectKey,
        object_len: u64,
        place: &GroupPlace,
        bytes: Bytes,
        run: &Run,
    ) -> Result<LineRows, DecodeError> {
        let selection = RowSelection::from(vec![
            RowSelector::skip(run.rows.start),
            RowSelector::select(run.rows.len()),
        ]);
        Ok(LineRows {
            batches: self.batches(key, object_len, place, bytes, &lines::COLUMNS, selection)?,
            origin: Arc::clone(&run.origin),
            epoch: run.epoch,
            columns: None,
            row: 0,
        })
    }

    fn batches(
        &self,
        key: &ObjectKey,
        object_len: u64,
        place: &GroupPlace,
        bytes: Bytes,
        columns: &[ColumnId],
        selection: RowSelection,
    ) -> Result<Batches, DecodeError> {
        let part = Part {
            object_len,
            start: place.bytes.start,
            bytes,
        };
        let open = || {
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(&self.metadata), options)?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(part, metadata);
            let names = columns.iter().map(|id| id.column().name);
            let projection = ProjectionMask::columns(builder.parquet_schema(), names);
            let builder = builder
                .with_projection(projection)
                .with_row_groups(vec![place.group])
                .with_batch_size(super::BATCH_ROWS);
            if selection.selects_any() {
                builder.with_row_selection(selection).build()
            } else {
                builder.build()
            }
        };
        match fenced(open) {
            Ok(reader) => Ok(Batches {
                key: Box::new(key.clone()),
                reader,
                rows: 0,
            }),
            Err(source) => Err(failed(key, 0, source)),
        }
    }
}

fn failed(key: &ObjectKey, row: u64, source: ParquetError) -> DecodeError {
    DecodeError::Parquet {
        key: Box::new(key.clone()),
        row,
        source,
    }
}
