//! Groups of rows: fetched by several tasks at a time, looked into for runs, and kept within a limit.
//!
//! A group is what is fetched at once: one of a Parquet object, or all of an NDJSON object. Of the latter the rows that are wanted are
//! kept, since there is no way into its middle.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use super::{HistoryError, Limits, Request};
use crate::decode::parquet::group::{Footer, GroupPlace, Parsed};
use crate::decode::parquet::lines::LineRows;
use crate::decode::{DecodeError, Filter, LineRow, ObjectReader, Report, Run, WantedJob};
use crate::encoding::Encoding;
use crate::key::ObjectKey;
use crate::listing::LogObject;
use crate::row::Origin;
use crate::store::{MAX_GET_BYTES, Store, StoreError};

/// Bytes of an object's end that are fetched at first: most footers are within.
const TAIL_BYTES: u64 = 64 << 10;

/// Objects up to this many bytes are fetched whole: a second request would cost more.
const WHOLE_BYTES: u64 = 1 << 20;

/// Which group of an object: of NDJSON objects there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupId(usize);

/// The wanted runs of an object.
#[derive(Debug)]
pub(super) struct ObjectRuns {
    pub(super) key: Arc<ObjectKey>,
    pub(super) runs: Vec<(GroupId, Run)>,
}

/// The wanted runs of objects, and what is the matter with the others.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) objects: Vec<ObjectRuns>,
    pub(super) damaged: Vec<DecodeError>,
    pub(super) damaged_rows: u64,
}

/// Why a group could not be had.
#[derive(Debug)]
pub(super) enum LoadError {
    Store(StoreError),
    Decode(DecodeError),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DecodeError> for LoadError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// A group whose bytes are there.
#[derive(Debug)]
pub(super) enum Loaded {
    Parquet {
        footer: Footer,
        object_len: u64,
        place: GroupPlace,
        bytes: Bytes,
    },
    Ndjson {
        rows: Vec<LineRow>,
        bytes: usize,
    },
}

/// Rows that are being read.
#[derive(Debug)]
pub(super) enum RowsOf {
    Parquet(Box<LineRows>),
    Ndjson {
        group: Arc<Loaded>,
        rows: Range<usize>,
    },
}

impl RowsOf {
    pub(super) fn next(&mut self) -> Result<Option<LineRow>, DecodeError> {
        match self {
            Self::Parquet(rows) => rows.next(),
            Self::Ndjson { group, rows } => Ok(match &**group {
                Loaded::Ndjson { rows: all, .. } => rows.next().map(|row| all[row].clone()),
                Loaded::Parquet { .. } => None,
            }),
        }
    }
}

impl Loaded {
    /// Begins to read some of its rows.
    pub(super) fn open(
        group: &Arc<Self>,
        key: &ObjectKey,
        run: &Run,
    ) -> Result<RowsOf, DecodeError> {
        Ok(match &**group {
            Self::Parquet {
                footer,
                object_len,
                place,
                bytes,
            } => RowsOf::Parquet(Box::new(footer.lines(
                key,
                *object_len,
                place,
                bytes.clone(),
                run,
            )?)),
            Self::Ndjson { rows: all, .. } => RowsOf::Ndjson {
                rows: run.rows.start..run.rows.end.min(all.len()),
                group: Arc::clone(group),
            },
        })
    }

    fn size(&self) -> usize {
        match self {
            Self::Parquet { bytes, .. } => bytes.len(),
            Self::Ndjson { bytes, .. } => *bytes,
        }
    }
}

/// Where a group is, so that it can be fetched again.
#[derive(Debug, Clone)]
enum Place {
    Parquet {
        footer: Footer,
        object_len: u64,
        place: GroupPlace,
    },
    Ndjson {
        object_len: u64,
    },
}

type Id = (Arc<ObjectKey>, GroupId);

/// Begun KiB of so many bytes, at least one.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).map_or(u32::MAX >> 4, |kib| kib.clamp(1, u32::MAX >> 4))
}

/// Fetches groups, and keeps some.
#[derive(Debug)]
pub(super) struct Groups {
    store: Arc<dyn Store>,
    limits: Limits,
    fetches: Arc<Semaphore>,
    /// What is left of the bytes in flight, in KiB.
    in_flight: Semaphore,
    fetched: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    filter: Filter,
    places: HashMap<Id, Place>,
    groups: HashMap<Id, (u64, Arc<Loaded>)>,
    bytes: usize,
    /// Counts uses, to find what was not used for longest.
    clock: u64,
}

impl Kept {
    fn get(&mut self, id: &Id) -> Option<Arc<Loaded>> {
        self.clock += 1;
        let clock = self.clock;
        let (used, group) = self.groups.get_mut(id)?;
        *used = clock;
        Some(Arc::clone(group))
    }

    fn keep(&mut self, id: Id, group: Arc<Loaded>, limit: usize) {
        self.clock += 1;
        self.bytes += group.size();
        if let Some((_, former)) = self.groups.insert(id, (self.clock, group)) {
            self.bytes -= former.size();
        }
        while self.bytes > limit {
            let oldest = self
                .groups
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(id, _)| id.clone());
            let Some((_, group)) = oldest.and_then(|id| self.groups.remove(&id)) else {
                break;
            };
            self.bytes -= group.size();
        }
    }
}

/// What looking into one object gave.
struct Looked {
    runs: ObjectRuns,
    damaged: Vec<DecodeError>,
    damaged_rows: u64,
}

impl Groups {
    pub(super) fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            store,
            fetches: Arc::new(Semaphore::new(limits.fetches.max(1))),
            in_flight: Semaphore::new(kib(limits.in_flight_bytes) as usize),
            limits,
            fetched: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    pub(super) fn bytes_fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Looks for the runs that are wanted, in several objects at a time.
    pub(super) async fn find(
        self: &Arc<Self>,
        objects: Vec<LogObject>,
        request: &Request,
    ) -> Result<Found, HistoryError> {
        let filter = Filter {
            job: request.job.clone(),
            instance: match request.instances[..] {
                [only] => Some(only),
                _ => None,
            },
            ts_ns: None,
        };
        self.kept().filter = filter.clone();
        let mut tasks = JoinSet::new();
        let mut found = Found::default();
        let mut objects = objects.into_iter();
        loop {
            // No more tasks than may fetch: each holds what it has fetched.
            while tasks.len() < self.limits.fetches.max(1)
                && let Some(object) = objects.next()
            {
                let groups = Arc::clone(self);
                let filter = filter.clone();
                tasks.spawn(async move { groups.look_into(object, &filter).await });
            }
            let Some(looked) = tasks.join_next().await else {
                break;
            };
            let mut looked = looked??;
            let instances = &request.instances;
            looked.runs.runs.retain(|(_, run)| {
                instances.is_empty() || instances.contains(&run.origin.instance)
            });
            found.damaged.extend(looked.damaged);
            found.damaged_rows += looked.damaged_rows;
            found.objects.push(looked.runs);
        }
        Ok(found)
    }

    /// A group's bytes or rows, kept or fetched again.
    pub(super) async fn load(
        &self,
        key: &Arc<ObjectKey>,
        group: GroupId,
    ) -> Result<Arc<Loaded>, LoadError> {
        let id = (Arc::clone(key), group);
        let (place, filter) = {
            let mut kept = self.kept();
            if let Some(loaded) = kept.get(&id) {
                return Ok(loaded);
            }
            (kept.places.get(&id).cloned(), kept.filter.clone())
        };
        let loaded = match place {
            Some(Place::Parquet {
                footer,
                object_len,
                place,
            }) => {
                let bytes = self.fetch(key, place.bytes.clone()).await?;
                Loaded::Parquet {
                    footer,
                    object_len,
                    place,
                    bytes,
                }
            }
            Some(Place::Ndjson { object_len }) => {
                let bytes = self.fetch(key, 0..object_len).await?;
                wanted_rows(key, bytes, &filter)?.0
            }
            None => Loaded::Ndjson {
                rows: Vec::new(),
                bytes: 0,
            },
        };
        let loaded = Arc::new(loaded);
        let limit = self.limits.cache_bytes;
        self.kept().keep(id, Arc::clone(&loaded), limit);
        Ok(loaded)
    }

    /// The jobs that have rows in an object, and what could not be read of it.
    pub(super) async fn jobs_in(
        &self,
        object: LogObject,
    ) -> Result<(BTreeSet<WantedJob>, Option<DecodeError>), StoreError> {
        let key = Arc::new(object.key);
        let mut jobs = BTreeSet::new();
        let done = match key.encoding {
            Encoding::Parquet => self.jobs_in_parquet(&key, object.len, &mut jobs).await,
            Encoding::Ndjson => self.jobs_in_ndjson(&key, object.len, &mut jobs).await,
        };
        match done {
            Ok(()) => Ok((jobs, None)),
            Err(LoadError::Decode(error)) => Ok((jobs, Some(error))),
            Err(LoadError::Store(error)) => Err(error),
        }
    }

    async fn jobs_in_parquet(
        &self,
        key: &ObjectKey,
        object_len: u64,
        jobs: &mut BTreeSet<WantedJob>,
    ) -> Result<(), LoadError> {
        let (tail, footer) = self.footer(key, object_len).await?;
        for place in footer.groups(key, object_len, &Filter::default())? {
            if let Some(job) = footer.only_job(&place) {
                jobs.insert(job);
                continue;
            }
            let bytes = self.group_bytes(key, object_len, &tail, &place).await?;
            jobs.extend(footer.jobs(key, object_len, &place, bytes)?);
        }
        Ok(())
    }

    async fn jobs_in_ndjson(
        &self,
        key: &ObjectKey,
        object_len: u64,
        jobs: &mut BTreeSet<WantedJob>,
    ) -> Result<(), LoadError> {
        let bytes = self.fetch(key, 0..object_len).await?;
        let mut last: Option<Arc<Origin>> = None;
        for row in ObjectReader::new(key, bytes, Filter::default())? {
            let origin = row?.origin;
            if last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, &origin)) {
                jobs.extend(WantedJob::of(&origin));
                last = Some(origin);
            }
        }
        Ok(())
    }

    /// What an object says of itself, and the bytes of its end that were fetched for it.
    async fn footer(&self, key: &ObjectKey, object_len: u64) -> Result<(Bytes, Footer), LoadError> {
        let mut wanted = if object_len <= WHOLE_BYTES {
            object_len
        } else {
            TAIL_BYTES
        };
        loop {
            let tail = self.fetch(key, object_len - wanted..object_len).await?;
            match Footer::parse(key, object_len, &tail)? {
                Parsed::Whole(footer) => return Ok((tail, footer)),
                Parsed::Needs(bytes) => wanted = bytes,
            }
        }
    }

    /// The bytes of a group, of the object's end where they lie in it.
    async fn group_bytes(
        &self,
        key: &ObjectKey,
        object_len: u64,
        tail: &Bytes,
        place: &GroupPlace,
    ) -> Result<Bytes, StoreError> {
        let tail_start = object_len - tail.len() as u64;
        match place.bytes.start.checked_sub(tail_start) {
            Some(start) => {
                let end = place.bytes.end - tail_start;
                Ok(tail.slice(start as usize..end as usize))
            }
            None => self.fetch(key, place.bytes.clone()).await,
        }
    }

    async fn look_into(&self, object: LogObject, filter: &Filter) -> Result<Looked, StoreError> {
        let key = Arc::new(object.key);
        let mut looked = Looked {
            runs: ObjectRuns {
                key: Arc::clone(&key),
                runs: Vec::new(),
            },
            damaged: Vec::new(),
            damaged_rows: 0,
        };
        let done = match key.encoding {
            Encoding::Parquet => {
                self.look_into_parquet(&key, object.len, filter, &mut looked)
                    .await
            }
            Encoding::Ndjson => {
                self.look_into_ndjson(&key, object.len, filter, &mut looked)
                    .await
            }
        };
        match done {
            Ok(()) => {}
            Err(LoadError::Decode(error)) => looked.damaged.push(error),
            Err(LoadError::Store(error)) => return Err(error),
        }
        Ok(looked)
    }

    async fn look_into_parquet(
        &self,
        key: &Arc<ObjectKey>,
        object_len: u64,
        filter: &Filter,
        looked: &mut Looked,
    ) -> Result<(), LoadError> {
        let (tail, footer) = self.footer(key, object_len).await?;
        for place in footer.groups(key, object_len, filter)? {
            let _room = self.room(&place.bytes).await;
            let bytes = self.group_bytes(key, object_len, &tail, &place).await?;
            let id = GroupId(place.group);
            match footer.runs(key, object_len, &place, bytes.clone(), filter) {
                Ok(runs) if runs.is_empty() => {}
                Ok(runs) => {
                    looked
                        .runs
                        .runs
                        .extend(runs.into_iter().map(|run| (id, run)));
                    let place_of = Place::Parquet {
                        footer: footer.clone(),
                        object_len,
                        place: place.clone(),
                    };
                    let loaded = Loaded::Parquet {
                        footer: footer.clone(),
                        object_len,
                        place,
                        bytes,
                    };
                    self.keep((Arc::clone(key), id), place_of, loaded);
                }
                Err(error) => looked.damaged.push(error),
            }
        }
        Ok(())
    }

    async fn look_into_ndjson(
        &self,
        key: &Arc<ObjectKey>,
        object_len: u64,
        filter: &Filter,
        looked: &mut Looked,
    ) -> Result<(), LoadError> {
        let _room = self.room(&(0..object_len)).await;
        let bytes = self.fetch(key, 0..object_len).await?;
        let (loaded, report, error) = wanted_rows(key, bytes, filter)?;
        looked.damaged_rows += report.damaged;
        looked.damaged.extend(error);
        let id = GroupId(0);
        if let Loaded::Ndjson { rows, .. } = &loaded {
            looked
                .runs
                .runs
                .extend(runs_of(rows).into_iter().map(|run| (id, run)));
        }
        if !looked.runs.runs.is_empty() {
            self.keep((Arc::clone(key), id), Place::Ndjson { object_len }, loaded);
        }
        Ok(())
    }

    fn keep(&self, id: Id, place: Place, loaded: Loaded) {
        let mut kept = self.kept();
        kept.places.insert(id.clone(), place);
        kept.keep(id, Arc::new(loaded), self.limits.cache_bytes);
    }

    /// Waits until so many bytes may be in flight, or nothing else is.
    async fn room(&self, range: &Range<u64>) -> Option<SemaphorePermit<'_>> {
        let all = kib(self.limits.in_flight_bytes);
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).map_or(all, kib);
        // It is never closed.
        self.in_flight.acquire_many(wanted.min(all)).await.ok()
    }

    async fn fetch(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = key.to_string();
        let _turn = self.fetches.acquire().await;
        let mut parts: Vec<Bytes> = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + MAX_GET_BYTES);
            let part = self.store.get(&name, Some(start..end)).await?;
            self.fetched.fetch_add(part.len() as u64, Ordering::Relaxed);
            if part.is_empty() {
                break;
            }
            start += part.len() as u64;
            parts.push(part);
        }
        Ok(match <[Bytes; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => parts.concat().into(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What it holds is whole between any two statements.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of an NDJSON object that are wanted, as far as it can be read.
fn wanted_rows(
    key: &ObjectKey,
    object: Bytes,
    filter: &Filter,
) -> Result<(Loaded, Report, Option<DecodeError>), DecodeError> {
    let mut reader = ObjectReader::new(key, object, filter.clone())?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut broken = None;
    for row in &mut reader {
        match row {
            Ok(row) => {
                let row = LineRow::from(row);
                bytes += size_of::<LineRow>() + row.line.as_ref().map_or(0, Bytes::len);
                rows.push(row);
            }
            Err(error) => broken = Some(error),
        }
    }
    let report = reader.report().clone();
    Ok((Loaded::Ndjson { rows, bytes }, report, broken))
}

/// The runs of rows that follow each other.
fn runs_of(rows: &[LineRow]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let goes_on = runs
            .last()
            .is_some_and(|last| last.epoch == row.epoch && last.origin.src == row.origin.src);
        if !goes_on {
            runs.push(Run {
                origin: Arc::clone(&row.origin),
                epoch: row.epoch,
                first_off: row.off,
                first_ts_ns: row.ts_ns,
                end_off: row.off,
                rows: at..at,
            });
        }
        if let Some(last) = runs.last_mut() {
            last.rows.end = at + 1;
            last.end_off = last.end_off.max(row.off.saturating_add(row.len));
        }
    }
    runs
}
