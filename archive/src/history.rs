//! A job's rows of many objects as one stream: in the order of time, each file's rows in the file's own order, each once.
//!
//! ```text
//! hours -list-> objects -footer-> groups of rows -> runs (rows of one file that follow each other) -merge-> rows
//! ```
//!
//! **Order.** A row is placed by the newest time of its file up to it: a line that is late within its file waits for nobody, and
//! no file's own order is ever broken. A writer replaces times that are more than an hour behind, so an hour may be given out as soon as
//! the runs of the hour after it are known.
//!
//! **Memory.** What is known of each run is small. Rows are fetched by groups, kept up to [`Limits::cache_bytes`] and fetched again where
//! they are needed later; a run that is being read holds its group, and of each file only the runs that lie over each other are read
//! at the same time.
//!
//! **Holes.** Bytes of a file that no row stands for, between rows that are there, are told before the row behind them: an object may
//! not be there yet, or be gone.

mod groups;
mod jobs;
mod seen;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};

use crate::decode::{DecodeError, LineRow, Run, WantedJob};
use crate::key::{Hour, ObjectKey};
use crate::listing::{self, ListError};
use crate::row::Origin;
use crate::store::{Store, StoreError};
use groups::{Groups, Loaded, ObjectRuns, RowsOf};
pub use jobs::{FoundJobs, jobs};
use seen::Seen;

/// What is wanted of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The job's cluster.
    pub cluster: String,
    /// The job; all of the cluster's where it is not said.
    pub job: Option<WantedJob>,
    /// Which of its instances; all where it is empty.
    pub instances: Vec<u32>,
    /// Rows with a time in this range, in ns since 1970.
    pub ts_ns: Range<i64>,
}

/// How much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of objects that are kept although nobody reads them at the moment.
    pub cache_bytes: usize,
    /// Objects that are fetched at the same time.
    pub fetches: usize,
    /// Bytes of groups, packed, that are fetched or looked into at the same time; a larger one goes alone.
    pub in_flight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            fetches: 16,
            in_flight_bytes: 16 << 20,
        }
    }
}

/// Which file of a [`History`] is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileNumber(usize);

impl FileNumber {
    /// The number: files are counted from 0 as they become known.
    pub fn index(self) -> usize {
        self.0
    }
}

/// What comes out, one after the other.
#[derive(Debug)]
pub enum Item {
    /// A row.
    Row {
        /// Of which file.
        file: FileNumber,
        /// The newest time of its file up to it, in ns since 1970; never less than that of the item before.
        order_ns: i64,
        /// It.
        row: LineRow,
    },
    /// Bytes of a file of which there is no row, although there are some before and behind.
    Hole {
        /// Of which file.
        file: FileNumber,
        /// Which bytes.
        bytes: Range<u64>,
    },
    /// An object of which not all could be read.
    Damaged(DecodeError),
}

/// What has been read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Objects that were looked into.
    pub objects: u64,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// Rows that were given out.
    pub rows: u64,
    /// Lines of objects that cannot be read, and whose rows are missing.
    pub damaged_rows: u64,
    /// Up to which time rows have come, in ns since 1970.
    pub until_ns: Option<i64>,
}

/// Why there is no more.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Objects could not be listed.
    #[error("list the archive's objects")]
    List(#[from] ListError),
    /// One could not be fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of ours ended without a result.
    #[error("reading the archive failed, which is a bug")]
    Task(#[from] JoinError),
}

/// The rows of a job, from the oldest to the newest.
pub struct History {
    store: Arc<dyn Store>,
    groups: Arc<Groups>,
    request: Request,
    files: Vec<File>,
    numbers: HashMap<(String, u32), FileNumber>,
    /// The files that have a row left, by the place of their next one.
    next: BinaryHeap<Reverse<(i64, FileNumber)>>,
    /// The hour to look for next; none when all are known.
    hours: Option<Range<Hour>>,
    /// The hour after the known ones, on its way.
    ahead: Option<JoinHandle<Result<Option<HourRuns>, HistoryError>>>,
    /// Every row before this time is known, in ns since 1970.
    known_ns: i64,
    damaged: Vec<DecodeError>,
    /// What a hole hides until it has been told.
    waiting: Option<Item>,
    progress: Progress,
}

/// The runs of an hour.
struct HourRuns {
    hour: Hour,
    objects: Vec<ObjectRuns>,
    damaged: Vec<DecodeError>,
    damaged_rows: u64,
}

/// One file in one epoch.
struct File {
    origin: Arc<Origin>,
    epoch: u32,
    /// Runs that nobody reads yet, the first one last.
    runs: Vec<PlacedRun>,
    /// Runs that are being read.
    open: Vec<OpenRun>,
    /// The newest time so far, in ns since 1970.
    newest_ns: i64,
    /// The bytes whose rows have come.
    seen: Seen,
    is_closed: bool,
}

struct PlacedRun {
    key: Arc<ObjectKey>,
    group: groups::GroupId,
    run: Run,
}

struct OpenRun {
    rows: RowsOf,
    head: LineRow,
}

/// Where a file's next row is.
enum Head {
    Open(usize),
    Run,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("request", &self.request)
            .field("files", &self.files.len())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl History {
    /// Begins to read. Within a tokio runtime.
    pub fn new(store: Arc<dyn Store>, request: Request, limits: Limits) -> Self {
        let first = Hour::of_ns(request.ts_ns.start);
        let last = Hour::of_ns(request.ts_ns.end.saturating_sub(1));
        // A row of the hour before may lie behind one of the first in its file, and one of the hour behind before one of the last.
        let hours = Hour::from_number(first.number() - 1)..last.next().next();
        let groups = Arc::new(Groups::new(Arc::clone(&store), limits));
        let mut history = Self {
            store,
            groups,
            request,
            files: Vec::new(),
            numbers: HashMap::new(),
            next: BinaryHeap::new(),
            hours: Some(hours),
            ahead: None,
            known_ns: i64::MIN,
            damaged: Vec::new(),
            waiting: None,
            progress: Progress::default(),
        };
        history.look_ahead();
        history
    }

    /// What comes next; `None` at the end. After an error there is no more.
    pub async fn next(&mut self) -> Result<Option<Item>, HistoryError> {
        loop {
            if let Some(item) = self.waiting.take() {
                return Ok(Some(item));
            }
            if let Some(damaged) = self.damaged.pop() {
                return Ok(Some(Item::Damaged(damaged)));
            }
            let is_known = |order_ns: i64| order_ns < self.known_ns;
            match self.next.peek() {
                Some(Reverse((order_ns, file))) if self.ahead.is_none() || is_known(*order_ns) => {
                    let (order_ns, file) = (*order_ns, *file);
                    self.next.pop();
                    if let Some(item) = self.take(file, order_ns).await? {
                        return Ok(Some(item));
                    }
                }
                None if self.ahead.is_none() => return Ok(None),
                _ => self.take_hour().await?,
            }
        }
    }

    /// Whose file it is; the deployed build is a matter of rows.
    pub fn origin(&self, file: FileNumber) -> &Arc<Origin> {
        &self.files[file.0].origin
    }

    /// How often the file had been truncated.
    pub fn epoch(&self, file: FileNumber) -> u32 {
        self.files[file.0].epoch
    }

    /// Where in the file the rows begin that have come so far.
    pub fn start_off(&self, file: FileNumber) -> Option<u64> {
        self.files[file.0].seen.start()
    }

    /// Where in the file the rows end that have come so far.
    pub fn end_off(&self, file: FileNumber) -> Option<u64> {
        self.files[file.0].seen.end()
    }

    /// The files that are known so far.
    pub fn files(&self) -> impl Iterator<Item = FileNumber> + use<> {
        (0..self.files.len()).map(FileNumber)
    }

    /// No more rows of this file are wanted.
    pub fn close(&mut self, file: FileNumber) {
        let file = &mut self.files[file.0];
        file.is_closed = true;
        file.runs = Vec::new();
        file.open = Vec::new();
    }

    /// What has been read so far.
    pub fn progress(&self) -> Progress {
        Progress {
            bytes: self.groups.bytes_fetched(),
            ..self.progress
        }
    }

    /// Sets the next hour that has objects on its way.
    fn look_ahead(&mut self) {
        let Some(hours) = self.hours.clone() else {
            self.ahead = None;
            return;
        };
        let (store, groups, request) = (
            Arc::clone(&self.store),
            Arc::clone(&self.groups),
            self.request.clone(),
        );
        self.ahead = Some(tokio::spawn(async move {
            let cluster = &request.cluster;
            let Some(hour) = listing::next_hour(&*store, cluster, hours).await? else {
                return Ok(None);
            };
            let listing = listing::list_hour(&*store, cluster, hour).await?;
            let found = groups.find(listing.objects, &request).await?;
            Ok(Some(HourRuns {
                hour,
                objects: found.objects,
                damaged: found.damaged,
                damaged_rows: found.damaged_rows,
            }))
        }));
    }

    /// Takes the hour that is on its way.
    async fn take_hour(&mut self) -> Result<(), HistoryError> {
        let Some(ahead) = &mut self.ahead else {
            return Ok(());
        };
        let found = ahead.await;
        self.ahead = None;
        let Some(hour) = found?? else {
            self.hours = None;
            return Ok(());
        };
        self.known_ns = hour.hour.start_ns();
        if let Some(hours) = &mut self.hours {
            hours.start = hour.hour.next();
            if hours.is_empty() {
                self.hours = None;
            }
        }
        self.look_ahead();
        self.damaged.extend(hour.damaged);
        self.progress.objects += hour.objects.len() as u64;
        self.progress.damaged_rows += hour.damaged_rows;
        let mut touched = Vec::new();
        for object in hour.objects {
            for (group, run) in object.runs {
                let number = self.number_of(&run);
                let file = &mut self.files[number.0];
                if file.is_closed {
                    continue;
                }
                file.runs.push(PlacedRun {
                    key: Arc::clone(&object.key),
                    group,
                    run,
                });
                touched.push(number);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            let file = &mut self.files[number.0];
            file.runs
                .sort_unstable_by_key(|placed| Reverse((placed.run.first_off, placed.run.end_off)));
            // Its former place may stand there too, with another time; `take` passes over what is not due.
            self.place(number);
        }
        Ok(())
    }

    fn number_of(&mut self, run: &Run) -> FileNumber {
        let key = (run.origin.src.clone(), run.epoch);
        *self.numbers.entry(key).or_insert_with(|| {
            self.files.push(File {
                origin: Arc::clone(&run.origin),
                epoch: run.epoch,
                runs: Vec::new(),
                open: Vec::new(),
                newest_ns: i64::MIN,
                seen: Seen::default(),
                is_closed: false,
            });
            FileNumber(self.files.len() - 1)
        })
    }

    /// Puts a file where its next row is.
    fn place(&mut self, number: FileNumber) {
        if let Some(order_ns) = self.files[number.0].next_ns() {
            self.next.push(Reverse((order_ns, number)));
        }
    }

    /// Takes the next row of a file, if it is due at this time.
    async fn take(
        &mut self,
        number: FileNumber,
        order_ns: i64,
    ) -> Result<Option<Item>, HistoryError> {
        if self.files[number.0].next_ns() != Some(order_ns) {
            return Ok(None);
        }
        let row = loop {
            let file = &mut self.files[number.0];
            match file.head() {
                None => return Ok(None),
                Some(Head::Run) => {
                    let Some(placed) = file.runs.pop() else {
                        return Ok(None);
                    };
                    let loaded = self.groups.load(&placed.key, placed.group).await;
                    let opened = match loaded {
                        Ok(loaded) => Loaded::open(&loaded, &placed.key, &placed.run),
                        Err(groups::LoadError::Store(error)) => return Err(error.into()),
                        Err(groups::LoadError::Decode(error)) => Err(error),
                    };
                    let next =
                        opened.and_then(|mut rows| Ok(rows.next()?.map(|head| (rows, head))));
                    match next {
                        Ok(Some((rows, head))) => {
                            self.files[number.0].open.push(OpenRun { rows, head });
                        }
                        Ok(None) => {}
                        Err(error) => self.damaged.push(error),
                    }
                }
                Some(Head::Open(at)) => {
                    let open = &mut file.open[at];
                    match open.rows.next() {
                        Ok(Some(next)) => break std::mem::replace(&mut open.head, next),
                        Ok(None) => break file.open.swap_remove(at).head,
                        Err(error) => {
                            self.damaged.push(error);
                            break file.open.swap_remove(at).head;
                        }
                    }
                }
            }
        };
        let file = &mut self.files[number.0];
        // Where a run could not be read, the row may be a later one than was due.
        let before_ns = file.newest_ns;
        file.newest_ns = before_ns.max(row.ts_ns);
        let order_ns = file.newest_ns.max(order_ns);
        let bytes = row.off..row.off.saturating_add(row.len);
        let hole = file
            .seen
            .end()
            .filter(|end| row.off > *end)
            .map(|end| end..row.off);
        let is_again = file.seen.contains(&bytes);
        file.seen.insert(bytes);
        self.place(number);
        if is_again || !self.request.ts_ns.contains(&row.ts_ns) {
            // What is not wanted tells nothing of holes either: it is only there to be complete behind it.
            return Ok(hole.map(|bytes| Item::Hole {
                file: number,
                bytes,
            }));
        }
        self.progress.rows += 1;
        self.progress.until_ns = Some(order_ns);
        let item = Item::Row {
            file: number,
            order_ns,
            row,
        };
        match hole {
            Some(bytes) => {
                self.waiting = Some(item);
                Ok(Some(Item::Hole {
                    file: number,
                    bytes,
                }))
            }
            None => Ok(Some(item)),
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

impl File {
    /// Where the next row is: the one with the least offset.
    fn head(&self) -> Option<Head> {
        let open = self
            .open
            .iter()
            .enumerate()
            .min_by_key(|(_, open)| open.head.off);
        match (open, self.runs.last()) {
            (Some((_, open)), Some(placed)) if placed.run.first_off < open.head.off => {
                Some(Head::Run)
            }
            (Some((at, _)), _) => Some(Head::Open(at)),
            (None, Some(_)) => Some(Head::Run),
            (None, None) => None,
        }
    }

    /// The place of the next row in time, in ns since 1970.
    fn next_ns(&self) -> Option<i64> {
        let ts_ns = match self.head()? {
            Head::Open(at) => self.open[at].head.ts_ns,
            Head::Run => self.runs.last()?.run.first_ts_ns,
        };
        Some(ts_ns.max(self.newest_ns))
    }
}

#[cfg(test)]
mod tests;
