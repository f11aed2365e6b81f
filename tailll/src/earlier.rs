//! Lines before those of the live files: what `-n` asks for and they do not hold, from the archive.
//!
//! A reader that comes to the beginning of its log asks here. The archive of a job is read backwards, a window at a time, once for
//! all readers of the job, until there is enough or [`LOOK_BACK_NS`] is reached. Owns what has been read; which of its files are the
//! reader's own is told by seams, and is the reader's to find out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use archive::decode::{LineRow, WantedJob};
use archive::history::{History, Item, Limits, Request};
use archive::{Origin, SrcParts, Store};
use bytes::Bytes;
use joblog::{JobKey, Stream};

use crate::causes::chain;
use crate::clock::Clock;
use crate::lock::lock;
use crate::past::{AHEAD_NS, extend, identity_of};
use crate::seams::{self, LogKey, Seam, Seams};
use crate::source::{FileLabel, InstanceLabel, Source};
use crate::talk::Talker;
use crate::transport::Identity;

/// How far back lines are looked for, in ns: a week.
pub const LOOK_BACK_NS: i64 = 7 * 24 * HOUR_NS;

/// The most bytes of lines that are kept of a job.
pub const KEPT_BYTES: usize = 64 << 20;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// How much farther each window reaches back than the one before it.
const WINDOW_GROWS: i64 = 6;

/// A log over all runs and tasks of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogOf {
    instance: u32,
    process: Option<String>,
    stream: Stream,
}

impl LogOf {
    /// Of a file that is followed; only files of tasks have one.
    pub fn new(instance: &InstanceLabel, file: &FileLabel) -> Option<Self> {
        let (process, stream) = match file {
            FileLabel::Process {
                process, stream, ..
            } => (Some(process.clone()), *stream),
            FileLabel::Executor { stream } => (None, *stream),
            FileLabel::Plain { .. } => return None,
        };
        instance.task_id.as_ref()?;
        Some(Self {
            instance: instance.instance?,
            process,
            stream,
        })
    }
}

/// One file in one epoch.
pub type FileOf = (String, u32);

/// A row, and what it is ordered by.
#[derive(Debug, Clone)]
pub struct EarlierRow {
    /// It; it has a line.
    pub row: LineRow,
    /// The newest time of its file up to it, in ns since 1970.
    pub order_ns: i64,
}

impl EarlierRow {
    /// Whether both are of one file in one epoch.
    pub fn is_of_the_file_of(&self, other: &Self) -> bool {
        self.row.origin.src == other.row.origin.src && self.row.epoch == other.row.epoch
    }
}

/// The archive, read backwards.
pub struct Earlier {
    store: Arc<dyn Store>,
    /// How many lines of a log are asked for.
    lines: usize,
    /// How far back they may be, in ns since 1970.
    floor_ns: i64,
    clock: Clock,
    talker: Talker,
    jobs: Mutex<HashMap<JobKey, Arc<tokio::sync::Mutex<Back>>>>,
    /// Tasks whose files are shown by somebody.
    followed: Mutex<HashSet<String>>,
}

/// What has been read of a job.
#[derive(Debug)]
struct Back {
    /// All rows from then on have been read, in ns since 1970.
    from_ns: i64,
    end: BackEnd,
    /// The last rows of each log, in order.
    logs: HashMap<LogOf, VecDeque<EarlierRow>>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackEnd {
    /// There may be more before.
    Open,
    /// Nothing more is read.
    Reached,
}

/// How far back a job has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To here, in ns since 1970; [`Earlier::reach_beyond`] goes on.
    To(i64),
    /// As far as it goes.
    End,
}

impl fmt::Debug for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Earlier")
            .field("lines", &self.lines)
            .field("floor_ns", &self.floor_ns)
            .finish_non_exhaustive()
    }
}

impl Earlier {
    /// Nothing has been read yet. `since_ns` is the earliest time of lines that are wanted, in ns since 1970.
    pub fn new(
        store: Arc<dyn Store>,
        lines: u64,
        since_ns: i64,
        clock: Clock,
        talker: Talker,
    ) -> Self {
        let week_ago = clock.arrival().wall_ns.saturating_sub(LOOK_BACK_NS);
        Self {
            store,
            lines: usize::try_from(lines).unwrap_or(usize::MAX),
            floor_ns: since_ns.max(week_ago),
            clock,
            talker,
            jobs: Mutex::default(),
            followed: Mutex::default(),
        }
    }

    /// A task's files are shown by their follower from now on.
    pub fn follow(&self, task_id: &str) {
        lock(&self.followed).insert(task_id.to_owned());
    }

    /// Reads a job's archive farther back than this; at first, than now.
    pub async fn reach_beyond(&self, key: &JobKey, known: Option<Reach>) -> Reach {
        let job = self.job(key);
        let mut back = job.lock().await;
        let is_news = match known {
            None => back.from_ns != i64::MAX,
            Some(Reach::To(ns)) => back.from_ns < ns,
            Some(Reach::End) => true,
        };
        // Another reader may have read on meanwhile.
        if !is_news && back.end == BackEnd::Open {
            self.read_window(key, &mut back).await;
        }
        match back.end {
            BackEnd::Open => Reach::To(back.from_ns),
            BackEnd::Reached => Reach::End,
        }
    }

    /// Where what has been read of a task's files ends, for those of a log.
    /// A file of this host's grows meanwhile: what is there beyond the size that is known of it is not asked for.
    pub async fn seams(
        &self,
        key: &JobKey,
        log: &LogOf,
        label: &InstanceLabel,
        sizes: &[(Identity, u64)],
    ) -> Seams {
        let job = self.job(key);
        let back = job.lock().await;
        let mut seams: Vec<(FileOf, Seam)> = Vec::new();
        for EarlierRow { row, .. } in back.logs.get(log).into_iter().flatten() {
            if row.origin.task_id != label.task_id {
                continue;
            }
            let end = row.off.saturating_add(row.len);
            let is_beyond = row.origin.src.parse().is_ok_and(|parts| {
                let identity = identity_of(&parts);
                sizes
                    .iter()
                    .any(|(known, size)| known.may_be(identity) && end > *size)
            });
            if is_beyond {
                continue;
            }
            let file = (row.origin.src.clone(), row.epoch);
            let at = match seams.iter().position(|(known, _)| *known == file) {
                Some(at) => at,
                None => match seam_of(&row.origin, row.epoch, label) {
                    Some(seam) => {
                        seams.push((file, seam));
                        seams.len() - 1
                    }
                    None => continue,
                },
            };
            extend(&mut seams[at].1, row);
        }
        Seams::new(seams.into_iter().map(|(_, seam)| seam).collect())
    }

    /// The last lines that have been read of a log, at most so many, without those of files that are shown anyway.
    pub async fn last(
        &self,
        key: &JobKey,
        log: &LogOf,
        own_task: Option<&str>,
        wanted: usize,
        shown: &HashSet<FileOf>,
    ) -> Vec<EarlierRow> {
        let job = self.job(key);
        let back = job.lock().await;
        let followed = lock(&self.followed).clone();
        let is_wanted = |row: &LineRow| {
            let task_id = row.origin.task_id.as_deref();
            let by_others =
                task_id != own_task && task_id.is_some_and(|task| followed.contains(task));
            !by_others && !shown.contains(&(row.origin.src.clone(), row.epoch))
        };
        let rows = back.logs.get(log).into_iter().flatten().rev();
        let mut last: Vec<EarlierRow> = rows
            .filter(|row| is_wanted(&row.row))
            .take(wanted)
            .cloned()
            .collect();
        last.reverse();
        last
    }

    fn job(&self, key: &JobKey) -> Arc<tokio::sync::Mutex<Back>> {
        let mut jobs = lock(&self.jobs);
        let back = jobs.entry(key.clone()).or_insert_with(|| {
            Arc::new(tokio::sync::Mutex::new(Back {
                from_ns: i64::MAX,
                end: BackEnd::Open,
                logs: HashMap::new(),
                bytes: 0,
            }))
        });
        Arc::clone(back)
    }

    /// Reads the window before what has been read.
    async fn read_window(&self, key: &JobKey, back: &mut Back) {
        let now_ns = self.clock.arrival().wall_ns;
        let (start_ns, end_ns) = if back.from_ns == i64::MAX {
            (now_ns - HOUR_NS, now_ns.saturating_add(AHEAD_NS))
        } else {
            let reached = now_ns.saturating_sub(back.from_ns).max(HOUR_NS);
            let start_ns = now_ns.saturating_sub(reached.saturating_mul(WINDOW_GROWS));
            (start_ns, back.from_ns)
        };
        let start_ns = start_ns.max(self.floor_ns);
        if start_ns <= self.floor_ns {
            back.end = BackEnd::Reached;
        }
        back.from_ns = start_ns;
        if start_ns >= end_ns {
            return;
        }
        let request = Request {
            cluster: key.cluster().to_owned(),
            job: Some(WantedJob {
                role: key.role().to_owned(),
                env: key.env().to_owned(),
                job: key.name().to_owned(),
            }),
            instances: Vec::new(),
            ts_ns: start_ns..end_ns,
        };
        let mut history = History::new(Arc::clone(&self.store), request, Limits::default());
        let mut window: HashMap<LogOf, VecDeque<EarlierRow>> = HashMap::new();
        loop {
            match history.next().await {
                Ok(Some(Item::Row { order_ns, row, .. })) => {
                    if let Some(log) = log_of(&row) {
                        // As many again may be those of the live files.
                        let newer = back.logs.get(&log).map_or(0, VecDeque::len);
                        let most = self.lines.saturating_mul(2).saturating_sub(newer);
                        let rows = window.entry(log).or_default();
                        rows.push_back(EarlierRow { row, order_ns });
                        if rows.len() > most {
                            rows.pop_front();
                        }
                    }
                }
                // What is missing before the last lines is not missed.
                Ok(Some(Item::Hole { .. })) => {}
                Ok(Some(Item::Damaged(error))) => {
                    self.talker.say(&format!("archive: {}", chain(&error)));
                }
                Ok(None) => break,
                Err(error) => {
                    self.talker.say(&format!(
                        "archive: {key} cannot be read: {}; -n shows what live files hold",
                        chain(&error)
                    ));
                    back.end = BackEnd::Reached;
                    break;
                }
            }
        }
        back.take(window);
        if back.bytes > KEPT_BYTES && back.end == BackEnd::Open {
            back.end = BackEnd::Reached;
            self.talker.note(&format!(
                "archive: -n looks no farther back in {key}: its last lines are more than {} MiB",
                KEPT_BYTES >> 20
            ));
        }
    }
}

impl Back {
    /// Puts older rows before those that are known.
    fn take(&mut self, window: HashMap<LogOf, VecDeque<EarlierRow>>) {
        for (log, rows) in window {
            let known = self.logs.entry(log).or_default();
            for mut row in rows.into_iter().rev() {
                // So that the few do not hold the memory of all.
                row.row.line = row.row.line.map(|line| Bytes::copy_from_slice(&line));
                self.bytes += size_of::<EarlierRow>() + row.row.line.as_ref().map_or(0, Bytes::len);
                known.push_front(row);
            }
        }
    }
}

/// Whose log a row with a line is of.
fn log_of(row: &LineRow) -> Option<LogOf> {
    row.line.as_ref()?;
    let origin = &row.origin;
    origin.task_id.as_ref()?;
    let stream = match seams::file_label(origin) {
        FileLabel::Process { stream, .. } | FileLabel::Executor { stream } => stream,
        FileLabel::Plain { .. } => return None,
    };
    Some(LogOf {
        instance: origin.instance,
        process: origin.process.clone(),
        stream,
    })
}

/// A seam at a file's beginning.
fn seam_of(origin: &Origin, epoch: u32, label: &InstanceLabel) -> Option<Seam> {
    let source = source_of(origin, label);
    LogKey::of(&source.instance, &source.file)?;
    let parts: SrcParts = origin.src.parse().ok()?;
    Some(Seam::new(
        source,
        origin.src.clone(),
        identity_of(&parts),
        epoch,
    ))
}

/// Whose file of the archive it is, for an instance that is followed.
pub fn source_of(origin: &Origin, label: &InstanceLabel) -> Arc<Source> {
    let instance = InstanceLabel {
        task_id: origin.task_id.clone(),
        host: origin.host.clone().unwrap_or_else(|| label.host.clone()),
        ..label.clone()
    };
    Arc::new(Source {
        instance: Arc::new(instance),
        path: Vec::new(),
        file: seams::file_label(origin),
    })
}
