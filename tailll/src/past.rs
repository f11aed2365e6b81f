//! The past: a job's lines from the archive, before its live files are followed.
//!
//! ```text
//! History (a job) -rows, in order of time-> held for a moment -> lines -> view
//!                                               \-> what is left at the end: the seams' last rows
//! ```
//!
//! Rows go through the same filters as lines of live files. What is older than [`HELD_NS`] goes to the view at once; what is
//! newer may be older than lines that only the live files have, and is handed over with the seams, to be ordered with those.

mod agents;
mod jobs;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use archive::decode::{LineRow, WantedJob};
use archive::history::{FileNumber, History, HistoryError, Item, Limits, Request};
use archive::{Flags, Origin, SrcParts, Store};
use bytes::Bytes;
use jiff::tz::TimeZone;
use joblog::{InstanceSet, JobKey};
use tokio::sync::mpsc;

use crate::assemble::{ArchivedLine, Arrival, LINE_BYTES, LineSettings, RowAssembler};
use crate::batch::{Batch, Event, LineKind, Mark, Records};
use crate::causes::chain;
use crate::clock::Clock;
use crate::filter::Filter;
use crate::moment::{self, Span};
use crate::seams::{self, CHECKED_BYTES, LogKey, Rest, Seam, Seams};
use crate::selection::{ExecutorOutput, FileSelection};
use crate::source::{FileLabel, InstanceLabel, Source, SourceId};
use crate::talk::Talker;
use crate::transport::Identity;

pub use agents::{Agents, SETTLED_NS};
pub use jobs::{Question, jobs_of, zone_of_cluster};

/// How old a row must be to be shown before the live files are looked at, in ns: what agents lag behind each other.
pub const HELD_NS: i64 = 10 * 60 * 1_000_000_000;

/// The most bytes of rows that are held for that.
pub const HELD_BYTES: usize = 16 << 20;

/// Bytes of lines that go to the view at once, about.
pub const BATCH_BYTES: usize = 64 << 10;

/// How new a hole must be for its rows to be on their way, in ns. Then the rest of the file is left to the live file.
pub const PENDING_NS: i64 = 2 * 3600 * 1_000_000_000;

/// How much later than now a row's time may be, in ns: what its writer allows a clock to be wrong by.
pub const AHEAD_NS: i64 = 10 * 60 * 1_000_000_000;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How many rows go by between two words about how far it is.
const TOLD_ROWS: u64 = 20_000;

/// What a row weighs beside its line, in bytes.
const ROW_BYTES: usize = size_of::<LineRow>() + 64;

/// A job of which the past is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The job.
    pub key: JobKey,
    /// Which instances; all if it does not say.
    pub instances: Option<InstanceSet>,
    /// The zone of timestamps that name none.
    pub zone: TimeZone,
    /// When its lines were written.
    pub span: Span,
}

/// Where its lines go, and what they go through.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Where to.
    pub events: mpsc::Sender<Event>,
    /// Numbers the sources.
    pub sources: Arc<AtomicU32>,
    /// Which lines, whenever they were written.
    pub filter: Filter,
    /// Which files.
    pub selection: Arc<FileSelection>,
    /// The time.
    pub clock: Clock,
    /// Says what is missing, and how far it is.
    pub talker: Talker,
}

/// What became of reading the past.
#[derive(Debug, Default)]
pub struct Told {
    /// Where the live files go on.
    pub seams: Seams,
    /// How many rows there were, shown or not.
    pub rows: u64,
    /// Whether all could be read.
    pub completeness: Completeness,
}

/// Whether all that the archive should have could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completeness {
    /// It could.
    #[default]
    Whole,
    /// It could not; it has been said what is missing.
    Broken,
}

/// The view is gone: the program is ending.
#[derive(Debug)]
struct Gone;

/// Shows the past of these jobs and tells where the live files go on.
pub async fn show(store: Arc<dyn Store>, wanted: Vec<Wanted>, outlet: Outlet) -> Told {
    let now = outlet.clock.arrival();
    let now_ns = now.wall_ns;
    // All jobs together take what one may.
    let limits = Limits::default();
    let limits = Limits {
        cache_bytes: limits.cache_bytes / wanted.len().max(1),
        fetches: (limits.fetches / wanted.len().max(1)).max(1),
        in_flight_bytes: limits.in_flight_bytes / wanted.len().max(1),
    };
    let jobs = wanted
        .into_iter()
        .map(|wanted| Job::new(&store, wanted, limits, now_ns))
        .collect();
    let talker = outlet.talker.clone();
    let mut past = Past {
        jobs,
        outlet,
        now_ns,
        arrival: now,
        held: VecDeque::new(),
        held_bytes: 0,
        pending: Vec::new(),
        pending_bytes: 0,
        rows: 0,
        completeness: Completeness::Whole,
    };
    // Where the view is gone nobody asks for the rest.
    let seams = past.run().await.unwrap_or_default();
    talker.status(|status| status.set_past(None));
    talker.note(&format!("archive: {} rows", past.rows));
    Told {
        seams,
        rows: past.rows,
        completeness: past.completeness,
    }
}

struct Past {
    jobs: Vec<Job>,
    outlet: Outlet,
    now_ns: i64,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Files with lines that have not gone to the view.
    pending: Vec<(usize, FileNumber)>,
    /// When the lines that wait came, about: the clock is not asked for each.
    arrival: Arrival,
    /// The bytes of these.
    pending_bytes: usize,
    rows: u64,
    completeness: Completeness,
}

/// One job's rows.
struct Job {
    wanted: Wanted,
    history: History,
    /// By their numbers; those that have had no row yet are not there.
    files: Vec<Option<File>>,
    labels: HashMap<(Option<String>, u32, Option<String>), Arc<InstanceLabel>>,
    next: Option<Held>,
    /// What rows have come of each file, by its number.
    coming: Vec<Coming>,
    /// Tasks with files of which no more rows are taken.
    cut_tasks: HashSet<String>,
    /// Bytes of a file of which there are no rows, until it is known when they were written.
    hole: Option<(FileNumber, Range<u64>)>,
}

/// A row that waits.
struct Held {
    job: usize,
    file: FileNumber,
    order_ns: i64,
    row: LineRow,
}

/// What is known of a file.
struct File {
    source: Arc<Source>,
    id: Option<SourceId>,
    taking: Taking,
    assembler: RowAssembler,
    /// Its lines that have gone nowhere yet.
    batch: Option<Batch>,
    /// Rows of a last line that has no end yet.
    unfinished: Vec<LineRow>,
    seam: Option<Seam>,
}

/// Whether rows of a file come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Coming {
    /// None has come yet.
    #[default]
    NotYet,
    /// Some have.
    Begun,
    /// No more are taken: the live file has what comes.
    Cut,
}

/// Whether a file is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    Chosen,
    LeftOut,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the view.
    Now,
    /// To who goes on with the file.
    WithTheSeam,
}

/// The times of rows that are in a span, at this time.
pub fn times_of(span: Span, now_ns: i64) -> Range<i64> {
    let end_ns = if span.ends() {
        span.until_ns.saturating_add(1)
    } else {
        now_ns.saturating_add(AHEAD_NS)
    };
    span.since_ns..end_ns
}

impl Wanted {
    /// The question to an archive, asked at this time.
    pub fn request(&self, now_ns: i64) -> Request {
        Request {
            cluster: self.key.cluster().to_owned(),
            job: Some(WantedJob {
                role: self.key.role().to_owned(),
                env: self.key.env().to_owned(),
                job: self.key.name().to_owned(),
            }),
            instances: self
                .instances
                .as_ref()
                .map(|set| set.iter().collect())
                .unwrap_or_default(),
            ts_ns: times_of(self.span, now_ns),
        }
    }
}

impl Job {
    fn new(store: &Arc<dyn Store>, wanted: Wanted, limits: Limits, now_ns: i64) -> Self {
        let request = wanted.request(now_ns);
        Self {
            history: History::new(Arc::clone(store), request, limits),
            wanted,
            files: Vec::new(),
            labels: HashMap::new(),
            next: None,
            coming: Vec::new(),
            cut_tasks: HashSet::new(),
            hole: None,
        }
    }

    fn label(&mut self, origin: &Origin) -> Arc<InstanceLabel> {
        let key = &self.wanted.key;
        let of = (origin.task_id.clone(), origin.instance, origin.host.clone());
        let label = self.labels.entry(of).or_insert_with(|| {
            Arc::new(InstanceLabel {
                job: key.to_string(),
                key: Some(key.clone()),
                instance: Some(origin.instance),
                host: origin.host.clone().unwrap_or_default(),
                task_id: origin.task_id.clone(),
            })
        });
        Arc::clone(label)
    }

    /// Takes no more of a file: its live file has it.
    fn cut(&mut self, file: FileNumber) {
        self.history.close(file);
        *self.coming(file) = Coming::Cut;
        let task_id = self.history.origin(file).task_id.clone();
        self.cut_tasks.extend(task_id);
    }

    fn coming(&mut self, file: FileNumber) -> &mut Coming {
        let index = file.index();
        if self.coming.len() <= index {
            self.coming.resize(index + 1, Coming::NotYet);
        }
        &mut self.coming[index]
    }

    /// A file of which a row has been looked at.
    fn known(&mut self, file: FileNumber) -> Option<&mut File> {
        self.files.get_mut(file.index())?.as_mut()
    }

    /// Whether a file's rows do not begin at its beginning although it was made within the time that is asked for.
    fn lacks_beginning(&self, file: FileNumber) -> bool {
        let birth_ns = self
            .history
            .origin(file)
            .src
            .parse::<SrcParts>()
            .ok()
            .and_then(|parts| parts.birth_ns);
        self.history.epoch(file) == 0
            && self.history.start_off(file).is_some_and(|start| start > 0)
            && birth_ns.is_some_and(|birth| birth >= self.wanted.span.since_ns)
    }

    /// Whether the executor's own output is all that a task writes, as far as the archive tells by now.
    fn executor_is_alone(&self, origin: &Origin) -> bool {
        !self
            .history
            .files()
            .map(|file| self.history.origin(file))
            .any(|other| other.task_id == origin.task_id && other.process.is_some())
    }
}

impl Past {
    async fn run(&mut self) -> Result<Seams, Gone> {
        self.send(Event::Past(Vec::new())).await?;
        for job in 0..self.jobs.len() {
            self.advance(job).await?;
        }
        loop {
            let next = self
                .jobs
                .iter()
                .enumerate()
                .filter_map(|(at, job)| Some((job.next.as_ref()?.order_ns, at)))
                .min();
            let Some((_, at)) = next else { break };
            if let Some(held) = self.jobs[at].next.take() {
                self.hold(held).await?;
            }
            self.advance(at).await?;
        }
        self.flush().await?;
        while let Some(held) = self.held.pop_front() {
            self.row(held, Way::WithTheSeam).await?;
        }
        self.finish().await
    }

    async fn send(&self, event: Event) -> Result<(), Gone> {
        self.outlet.events.send(event).await.map_err(|_| Gone)
    }

    /// Takes a job's next row; deals with what comes before it.
    async fn advance(&mut self, at: usize) -> Result<(), Gone> {
        loop {
            match self.jobs[at].history.next().await {
                Ok(Some(Item::Row {
                    file,
                    order_ns,
                    row,
                })) => {
                    if let Some((of, bytes)) = self.jobs[at].hole.take() {
                        self.hole(at, of, &bytes, order_ns).await?;
                    }
                    let job = &mut self.jobs[at];
                    if *job.coming(file) == Coming::NotYet {
                        *job.coming(file) = Coming::Begun;
                        if job.lacks_beginning(file) && order_ns >= self.now_ns - PENDING_NS {
                            job.cut(file);
                        }
                    }
                    if *job.coming(file) == Coming::Cut {
                        continue;
                    }
                    job.next = Some(Held {
                        job: at,
                        file,
                        order_ns,
                        row,
                    });
                    return Ok(());
                }
                Ok(Some(Item::Hole { file, bytes })) => self.jobs[at].hole = Some((file, bytes)),
                Ok(Some(Item::Damaged(error))) => self.broken(&chain(&error)),
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.stopped(at, &error);
                    return Ok(());
                }
            }
        }
    }

    fn broken(&mut self, why: &str) {
        self.completeness = Completeness::Broken;
        self.outlet.talker.say(&format!("archive: {why}"));
    }

    /// A job's rows cannot be read any further.
    fn stopped(&mut self, at: usize, error: &HistoryError) {
        let until = self.jobs[at].history.progress().until_ns;
        let until = match until {
            Some(ns) => format!(" after {}", moment::show(ns, &self.jobs[at].wanted.zone)),
            None => String::new(),
        };
        let key = self.jobs[at].wanted.key.clone();
        self.broken(&format!(
            "{key} cannot be read{until}: {}; what live files hold is shown from there on",
            chain(error)
        ));
    }

    /// There are bytes of a file of which there are no rows, although there are some behind; they were written before this time.
    async fn hole(
        &mut self,
        at: usize,
        number: FileNumber,
        bytes: &Range<u64>,
        order_ns: i64,
    ) -> Result<(), Gone> {
        if order_ns >= self.now_ns - PENDING_NS {
            // The rows are on their way. The live file has them.
            self.jobs[at].cut(number);
            return Ok(());
        }
        // What is held of the file comes before the mark.
        self.release_all().await?;
        let origin = Arc::clone(self.jobs[at].history.origin(number));
        let mark = Mark::Lost {
            offset: bytes.start,
            at_least: Some(bytes.end - bytes.start),
            why: "the archive does not have these bytes".to_owned(),
        };
        self.completeness = Completeness::Broken;
        self.mark(at, number, &origin, mark, Way::Now).await
    }

    /// Takes a row that is next, and lets go what has been held long enough.
    async fn hold(&mut self, held: Held) -> Result<(), Gone> {
        self.rows += 1;
        if self.rows % TOLD_ROWS == 1 {
            self.tell(held.order_ns, held.job);
        }
        if self.held.is_empty() && held.order_ns < self.now_ns - HELD_NS {
            return self.row(held, Way::Now).await;
        }
        self.held_bytes += weight(&held);
        self.held.push_back(held);
        while let Some(first) = self.held.front()
            && (first.order_ns < self.now_ns - HELD_NS || self.held_bytes > HELD_BYTES)
        {
            self.release().await?;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<(), Gone> {
        if let Some(held) = self.held.pop_front() {
            self.held_bytes -= weight(&held);
            self.row(held, Way::Now).await?;
        }
        Ok(())
    }

    async fn release_all(&mut self) -> Result<(), Gone> {
        while !self.held.is_empty() {
            self.release().await?;
        }
        Ok(())
    }

    fn tell(&self, order_ns: i64, job: usize) {
        let bytes: u64 = self
            .jobs
            .iter()
            .map(|job| job.history.progress().bytes)
            .sum();
        let upto = moment::show(order_ns, &self.jobs[job].wanted.zone);
        let megabytes = bytes >> 20;
        self.outlet.talker.status(|status| {
            status.set_past(Some(format!("archive up to {upto}, {megabytes} MiB read")));
        });
    }

    /// A row becomes a line, if it is chosen and kept. A line that its writer had not finished when it was read is put together.
    async fn row(&mut self, held: Held, way: Way) -> Result<(), Gone> {
        let Held {
            job: at,
            file: number,
            order_ns,
            row,
        } = held;
        let file = self.file(at, number, &row.origin);
        if file.taking == Taking::LeftOut {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut file.unfinished);
        let goes_on = row.line.is_some()
            && rows
                .last()
                .is_some_and(|last| last.off.saturating_add(last.len) == row.off);
        if !goes_on && !rows.is_empty() {
            self.line(at, number, &rows, order_ns, way).await?;
            rows.clear();
        }
        if row.line.is_some() {
            let is_unfinished = row.flags.contains(Flags::UNFINISHED);
            if !is_unfinished && rows.is_empty() {
                return self
                    .line(at, number, std::slice::from_ref(&row), order_ns, way)
                    .await;
            }
            rows.push(row);
            let bytes: usize = rows
                .iter()
                .filter_map(|row| Some(row.line.as_ref()?.len()))
                .sum();
            if is_unfinished && bytes < LINE_BYTES {
                let origin = Arc::clone(&rows[0].origin);
                self.file(at, number, &origin).unfinished = rows;
                return Ok(());
            }
            return self.line(at, number, &rows, order_ns, way).await;
        }
        if let Some(seam) = &mut self.file(at, number, &row.origin).seam {
            extend(seam, &row);
        }
        if row.flags.contains(Flags::GAP) {
            let mark = Mark::Lost {
                offset: row.off,
                at_least: (row.len > 0).then_some(row.len),
                why: "the archive does not have these bytes: they were gone before they could be read"
                    .to_owned(),
            };
            return self.mark(at, number, &row.origin, mark, way).await;
        }
        Ok(())
    }

    /// Rows that are one line go where lines go.
    async fn line(
        &mut self,
        at: usize,
        number: FileNumber,
        rows: &[LineRow],
        order_ns: i64,
        way: Way,
    ) -> Result<(), Gone> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let arrival = self.arrival;
        let file = self.file(at, number, &first.origin);
        let mut joined = Vec::new();
        let bytes = match rows {
            [one] => one.line.as_deref().unwrap_or_default(),
            more => {
                for row in more {
                    joined.extend_from_slice(row.line.as_deref().unwrap_or_default());
                }
                &joined
            }
        };
        if let Some(seam) = &mut file.seam {
            for row in rows {
                extend(seam, row);
            }
        }
        let is_first = file.batch.is_none();
        let batch = file
            .batch
            .get_or_insert_with(|| Batch::new(SourceId(u32::MAX), arrival.at));
        let before = batch.bytes.len();
        let line = ArchivedLine {
            bytes,
            offset: first.off,
            file_len: rows.iter().map(|row| row.len).sum(),
            order_ns,
            kind: kind_of(last.flags),
        };
        file.assembler.push(line, arrival, batch);
        let added = batch.bytes.len() - before + size_of::<crate::batch::Line>();
        if let Some(seam) = &mut file.seam {
            seam.record_kept = file.assembler.record_kept();
        }
        if is_first {
            self.pending.push((at, number));
        }
        self.pending_bytes += added;
        match way {
            Way::WithTheSeam => self.keep_rest(at, number),
            Way::Now if self.pending_bytes >= BATCH_BYTES => self.flush().await?,
            Way::Now => {}
        }
        Ok(())
    }

    /// What is known of a file.
    fn file(&mut self, at: usize, number: FileNumber, origin: &Arc<Origin>) -> &mut File {
        let job = &mut self.jobs[at];
        let index = number.index();
        if job.files.get(index).is_none_or(Option::is_none) {
            let label = seams::file_label(origin);
            let source = Arc::new(Source {
                instance: job.label(origin),
                path: path_of(origin, &label),
                file: label,
            });
            let selection = &self.outlet.selection;
            let is_chosen = selection.takes(&source)
                && (!matches!(source.file, FileLabel::Executor { .. })
                    || selection.executor == ExecutorOutput::Always
                    || job.executor_is_alone(origin));
            let settings = LineSettings {
                filter: Arc::new(self.outlet.filter.clone()),
                zone: job.wanted.zone.clone(),
                records: Records::OnArrival,
            };
            let seam = origin
                .src
                .parse()
                .ok()
                .filter(|_| LogKey::of(&source.instance, &source.file).is_some())
                .map(|parts| {
                    let epoch = job.history.epoch(number);
                    Seam::new(
                        Arc::clone(&source),
                        origin.src.clone(),
                        identity_of(&parts),
                        epoch,
                    )
                });
            if !is_chosen {
                job.history.close(number);
            }
            let file = File {
                id: None,
                taking: if is_chosen {
                    Taking::Chosen
                } else {
                    Taking::LeftOut
                },
                assembler: RowAssembler::new(&source, &settings, self.arrival),
                source,
                batch: None,
                unfinished: Vec::new(),
                seam,
            };
            if job.files.len() <= index {
                job.files.resize_with(index + 1, || None);
            }
            job.files[index] = Some(file);
        }
        job.known(number).expect("it was put there")
    }

    /// Says something among a file's lines.
    async fn mark(
        &mut self,
        at: usize,
        number: FileNumber,
        origin: &Arc<Origin>,
        mark: Mark,
        way: Way,
    ) -> Result<(), Gone> {
        if way == Way::WithTheSeam {
            let file = self.file(at, number, origin);
            if let Some(seam) = &mut file.seam {
                seam.rest.push(Rest::Mark(mark));
                return Ok(());
            }
        }
        self.flush().await?;
        let file = self.file(at, number, origin);
        if file.taking == Taking::LeftOut {
            return Ok(());
        }
        let (source, id) = (Arc::clone(&file.source), file.id);
        let id = if let Some(id) = id {
            id
        } else {
            let id = self.next_id();
            self.file(at, number, origin).id = Some(id);
            self.send(Event::Opened(id, source)).await?;
            id
        };
        self.send(Event::Mark(id, mark)).await
    }

    fn next_id(&self) -> SourceId {
        SourceId(self.outlet.sources.fetch_add(1, Ordering::Relaxed))
    }

    /// Moves a file's lines to its seam; files without one go the other way.
    fn keep_rest(&mut self, at: usize, number: FileNumber) {
        let Some(file) = self.jobs[at].known(number) else {
            return;
        };
        let Some(seam) = &mut file.seam else { return };
        if let Some(mut batch) = file.batch.take() {
            match seam.rest.last_mut() {
                // One batch for many rows.
                Some(Rest::Lines(last)) if last.bytes.len() < BATCH_BYTES => {
                    for line in &mut batch.lines {
                        line.start += last.bytes.len() as u32;
                    }
                    last.bytes.append(&mut batch.bytes);
                    last.lines.append(&mut batch.lines);
                }
                _ if batch.lines.is_empty() => {}
                _ => seam.rest.push(Rest::Lines(batch)),
            }
        }
    }

    /// A file's last line has no end in the archive. The live file has all of it, where there is one: the seam stays before it.
    async fn unfinished(&mut self, at: usize, number: FileNumber) -> Result<(), Gone> {
        let Some(file) = self.jobs[at].known(number) else {
            return Ok(());
        };
        let rows = std::mem::take(&mut file.unfinished);
        let Some(order_ns) = rows.last().map(|row| row.ts_ns) else {
            return Ok(());
        };
        let Some(mut seam) = file.seam.take() else {
            return self.line(at, number, &rows, order_ns, Way::Now).await;
        };
        // Without its seam, the line neither moves that nor goes with it.
        let newest_ns = seam.newest_ns.max(order_ns);
        self.line(at, number, &rows, order_ns, Way::WithTheSeam)
            .await?;
        if let Some(file) = self.jobs[at].known(number) {
            if let Some(batch) = file.batch.take()
                && !batch.lines.is_empty()
            {
                seam.rest.push(Rest::Unfinished(batch));
            }
            seam.newest_ns = newest_ns;
            if seam.offset == 0 {
                // Nothing of it is whole: it begins there.
                seam.offset = rows[0].off;
                seam.check_end = seam.offset;
            }
            file.seam = Some(seam);
        }
        Ok(())
    }

    /// Sends the lines of all files together: the view orders them.
    async fn flush(&mut self) -> Result<(), Gone> {
        self.pending_bytes = 0;
        self.arrival = self.outlet.clock.arrival();
        let mut batches = Vec::new();
        let mut opened = Vec::new();
        for (at, number) in self.pending.drain(..) {
            let Some(file) = self.jobs[at].known(number) else {
                continue;
            };
            if let Some(mut batch) = file.batch.take() {
                if batch.lines.is_empty() {
                    continue;
                }
                let id = *file.id.get_or_insert_with(|| {
                    let id = SourceId(self.outlet.sources.fetch_add(1, Ordering::Relaxed));
                    opened.push((id, Arc::clone(&file.source)));
                    id
                });
                batch.source = id;
                batches.push(batch);
            }
        }
        for (id, source) in opened {
            self.send(Event::Opened(id, source)).await?;
        }
        if !batches.is_empty() {
            self.send(Event::Past(batches)).await?;
        }
        Ok(())
    }

    /// Closes the sources and makes the seams of what is known.
    async fn finish(&mut self) -> Result<Seams, Gone> {
        for at in 0..self.jobs.len() {
            for number in self.jobs[at].history.files() {
                self.unfinished(at, number).await?;
            }
        }
        self.flush().await?;
        let mut seams = Vec::new();
        let mut ids = Vec::new();
        let mut cut_tasks = HashSet::new();
        for job in &mut self.jobs {
            cut_tasks.extend(job.cut_tasks.drain());
            for file in job.files.drain(..).flatten() {
                ids.extend(file.id);
                if file.taking == Taking::Chosen {
                    seams.extend(file.seam);
                }
            }
        }
        for id in ids {
            self.send(Event::Closed(id)).await?;
        }
        self.send(Event::PastOver).await?;
        Ok(Seams::new(seams).with_cut(cut_tasks))
    }
}

/// Which file on its host a file of the archive is.
pub fn identity_of(parts: &SrcParts) -> Identity {
    Identity {
        inode: parts.inode,
        birth_s: parts.birth_ns.map(|ns| ns.div_euclid(NANOS_PER_SECOND)),
    }
}

/// Moves a seam behind a row.
pub fn extend(seam: &mut Seam, row: &LineRow) {
    let end = row.off.saturating_add(row.len);
    seam.newest_ns = seam.newest_ns.max(row.ts_ns);
    seam.is_finished = row.flags.contains(Flags::END);
    seam.offset = seam.offset.max(end);
    let Some(line) = &row.line else { return };
    if row.flags.contains(Flags::REDACTED) {
        return;
    }
    let newline = match row.len.checked_sub(line.len() as u64) {
        Some(0) => &b""[..],
        Some(1) => b"\n",
        // What else belongs to it is not known.
        _ => return,
    };
    if seam.check_end != row.off {
        seam.check.clear();
    }
    // Only the end of a long line is needed.
    let kept = line.len().saturating_sub(CHECKED_BYTES);
    seam.check.extend_from_slice(&line[kept..]);
    seam.check.extend_from_slice(newline);
    let excess = seam.check.len().saturating_sub(CHECKED_BYTES);
    seam.check.drain(..excess);
    seam.check_end = end;
}

/// Whether a row is all of a line.
pub fn kind_of(flags: Flags) -> LineKind {
    if flags.contains(Flags::PIECE) {
        LineKind::Piece
    } else if flags.contains(Flags::UNFINISHED) {
        LineKind::Unfinished
    } else {
        LineKind::Whole
    }
}

/// Where a file lay, as far as patterns of names ask.
fn path_of(origin: &Origin, label: &FileLabel) -> Vec<u8> {
    match label {
        FileLabel::Process {
            process,
            run,
            stream,
        } => format!(".logs/{process}/{run}/{}", stream.name()),
        FileLabel::Executor { stream } => stream.name().to_owned(),
        FileLabel::Plain { .. } => origin.stream.clone().unwrap_or_default(),
    }
    .into_bytes()
}

fn weight(held: &Held) -> usize {
    ROW_BYTES + held.row.line.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests;
