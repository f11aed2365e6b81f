//! Proof of completeness from the archive alone: of each file and epoch, which bytes are in rows, and which are in none or
//! in two.
//!
//! Objects are read in no particular order and only ranges are kept, so an audit of a large archive takes little memory.
//!
//! **What an audit can say.** Without a range of hours it reads all rows of a file, and every byte that is in no row before
//! one that is, is a gap. With a range of hours ([`Scope::hours`]) it reads some of them. Then a hole is a gap only where the
//! rows on both sides of it lie in the range by [`EDGE_NS`] at least: an agent accepts no line whose time is further behind
//! the newest of its file than that, so what is between them cannot lie outside. All other holes, and what comes before the
//! first row of a file, are counted as [`FileAudit::unjudged`], and so are epochs that do not end. One kind of file can
//! deceive: where lines have no time of their own yet, or were read again to fill a range after a recovery, a time may be
//! much earlier than the row before. An audit without hours settles it.
//!
//! An agent that runs puts its objects in any order: a gap in what it wrote in the last minutes may be an object that is on
//! its way. A file's last bytes, if they are in no row, cannot be missed from here: an agent's checkpoint tells until when
//! all is there.

pub mod print;
mod tiles;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};

use archive::decode::{self, Lines, Tile};
use archive::listing::{self, ListError, LogObject};
use archive::{AgentId, Flags, Hour, Incarnation, Store, StoreError};
use bytes::Bytes;

use crate::fetch::{Fetcher, Unfetched, again, listing_may_pass};
pub use tiles::{Hole, Overlaps, Tiles};

/// How far within the range of hours both neighbours of a hole must lie, in ns: as far as a line may be behind the newest of
/// its file.
pub const EDGE_NS: i64 = crate::row_time::MAX_BEHIND_NEWEST_NS;

/// The most files, each epoch counted, that one audit can hold.
pub const MAX_FILES: usize = 1_000_000;

/// The most ranges of bytes, of all files together, that one audit can hold.
pub const MAX_FRAGMENTS: usize = 4_000_000;

/// How many gaps of one file are named; further ones are counted.
pub const MAX_NAMED_GAPS: usize = 100;

/// How many objects with trouble are named; further ones are counted.
pub const MAX_NAMED_OBJECTS: usize = 10_000;

/// What is audited. The default is all there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// This cluster. A file's rows all lie in one.
    pub cluster: Option<String>,
    /// The rows of these hours; see the module about what can be said of them.
    pub hours: Option<RangeInclusive<Hour>>,
    /// What this agent wrote.
    pub agent: Option<AgentId>,
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// How many hours of clusters are read.
    pub hours: u64,
    /// How many there are.
    pub of_hours: u64,
    /// How many objects are read.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
}

/// What an audit found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// What was looked at.
    pub scope: Scope,
    /// The files, in the order of source and epoch.
    pub files: Vec<FileAudit>,
    /// Objects that are not as they should be, in the order of their keys; [`MAX_NAMED_OBJECTS`] at most.
    pub bad_objects: Vec<BadObject>,
    /// Who wrote the objects.
    pub writers: BTreeMap<(AgentId, Incarnation), Written>,
    /// The sums.
    pub total: Total,
    /// The first key among the rows' objects that is none of ours.
    pub first_stranger: Option<String>,
}

/// One file between two truncations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileAudit {
    /// The file.
    pub src: String,
    /// How often it was truncated before.
    pub epoch: u32,
    /// How many rows it has, those without a line included.
    pub rows: u64,
    /// How many of its bytes are in rows, declared lost or not.
    pub bytes: u64,
    /// How many bytes rows declare lost.
    pub lost_bytes: u64,
    /// Behind the last byte that is in a row.
    pub end: u64,
    /// Whether a row says that the file ends there.
    pub ended: bool,
    /// Whether it does not end although the file was truncated later: its last rows are missing. Not asked of a range of hours.
    pub unclosed: bool,
    /// Ranges that are in no row: the first [`MAX_NAMED_GAPS`].
    pub gaps: Vec<Range<u64>>,
    /// How many there are.
    pub gap_count: u64,
    /// How many bytes are in no row.
    pub gap_bytes: u64,
    /// How many ranges are in none of the rows that were read, and may be in others.
    pub unjudged: u64,
    /// Bytes that are in more than one row.
    pub overlaps: Overlaps,
    /// How many rows lie in an hour that is not that of their time.
    pub wrong_hour: u64,
}

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadObject {
    /// Its key.
    pub key: String,
    /// What is the matter.
    pub problem: Problem,
}

/// What can be the matter with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// None of its rows count: it is gone, or not what its writer wrote.
    Unfetched(String),
    /// It cannot be read, or not to its end; what was read before counts.
    Unreadable(String),
    /// Some of its rows cannot be read.
    DamagedRows {
        /// How many.
        rows: u64,
        /// The first.
        first: String,
    },
    /// Some of its rows have a time in another hour than that of its key.
    WrongHour {
        /// How many.
        rows: u64,
    },
}

/// What one incarnation of an agent wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// How many objects.
    pub objects: u64,
    /// How many rows.
    pub rows: u64,
    /// The objects' bytes.
    pub object_bytes: u64,
}

/// The sums of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// Files, each epoch counted.
    pub files: u64,
    /// Files that have ended.
    pub ended: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of files that are in rows, declared lost or not.
    pub bytes: u64,
    /// Bytes that rows declare lost.
    pub lost_bytes: u64,
    /// Ranges that are in no row.
    pub gaps: u64,
    /// Bytes that are in no row.
    pub gap_bytes: u64,
    /// Ranges that are in none of the rows that were read, and may be in others.
    pub unjudged: u64,
    /// Rows that had bytes of another row.
    pub overlaps: u64,
    /// How many bytes came again.
    pub overlap_bytes: u64,
    /// Epochs without an end before a later one.
    pub unclosed: u64,
    /// Rows in an hour that is not theirs.
    pub wrong_hour: u64,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Things that are the matter with objects.
    pub bad_objects: u64,
    /// Keys among the rows' objects that are none of ours.
    pub strangers: u64,
}

/// What an audit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every byte that can be judged is in exactly one row. Bytes that rows declare lost are in order.
    Whole,
    /// Something is missing, double or damaged.
    Trouble,
}

/// Why an audit did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The objects could not be listed.
    #[error("list the archive")]
    List(#[from] ListError),
    /// An object could not be read for now.
    #[error("read the archive")]
    Store(#[from] StoreError),
    /// There is more than can be held.
    #[error(
        "there are more than {max} {what}, which is what an audit can hold: ask for one cluster, agent or range of hours"
    )]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl Audit {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        let files = self.files.iter().any(FileAudit::has_trouble);
        if files || self.total.bad_objects > 0 {
            Verdict::Trouble
        } else {
            Verdict::Whole
        }
    }

    /// The file of this name, in this epoch.
    pub fn file(&self, src: &str, epoch: u32) -> Option<&FileAudit> {
        let found = self
            .files
            .binary_search_by(|file| (file.src.as_str(), file.epoch).cmp(&(src, epoch)));
        found.ok().map(|at| &self.files[at])
    }
}

impl FileAudit {
    /// Whether something of it is missing, double or misplaced.
    pub fn has_trouble(&self) -> bool {
        self.gap_count > 0 || self.overlaps.rows > 0 || self.wrong_hour > 0 || self.unclosed
    }
}

/// Audits what is in the scope. `progress` is told now and then.
pub async fn audit(
    store: &dyn Store,
    scope: &Scope,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Audit, AuditError> {
    let mut auditor = Auditor::new(scope.clone());
    let clusters = match &scope.cluster {
        Some(cluster) => vec![cluster.clone()],
        None => again(|| listing::clusters(store), listing_may_pass).await?,
    };
    let hours = match &scope.hours {
        Some(hours) => *hours.start()..hours.end().next(),
        None => Hour::MIN..Hour::MAX,
    };
    let mut places = Vec::new();
    for cluster in &clusters {
        let hours = again(
            || listing::hours(store, cluster, hours.clone()),
            listing_may_pass,
        )
        .await?;
        places.extend(hours.into_iter().map(|hour| (cluster, hour)));
    }
    let mut state = Progress {
        of_hours: places.len() as u64,
        ..Progress::default()
    };
    for (cluster, hour) in places {
        let listing = again(
            || listing::list_hour(store, cluster, hour),
            listing_may_pass,
        )
        .await?;
        auditor.strangers(listing.strangers, listing.first_stranger);
        let objects = listing
            .objects
            .into_iter()
            .filter(|object| scope.agent.is_none_or(|agent| object.key.agent == agent));
        let mut fetcher = Fetcher::new(store, objects);
        while let Some((object, bytes)) = fetcher.next().await {
            match bytes {
                Err(Unfetched::Store(error)) => return Err(error.into()),
                bytes => auditor.object(&object, bytes)?,
            }
            state.objects += 1;
            state.object_bytes += object.len;
            progress(state);
        }
        state.hours += 1;
        progress(state);
    }
    Ok(auditor.finish())
}

/// Gathers what objects say.
#[derive(Debug)]
struct Auditor {
    audit: Audit,
    /// By source, then by epoch.
    files: HashMap<String, BTreeMap<u32, Gathered>>,
    fragments: usize,
}

/// What the rows of one file say so far.
#[derive(Debug, Default)]
struct Gathered {
    tiles: Tiles,
    rows: u64,
    lost_bytes: u64,
    wrong_hour: u64,
    /// Where a row says that it ends.
    ends_at: Option<u64>,
}

impl Auditor {
    fn new(scope: Scope) -> Self {
        Self {
            audit: Audit {
                scope,
                ..Audit::default()
            },
            files: HashMap::new(),
            fragments: 0,
        }
    }

    fn strangers(&mut self, count: u64, first: Option<String>) {
        self.audit.total.strangers += count;
        if let Some(first) = first {
            self.audit.first_stranger.get_or_insert(first);
        }
    }

    fn bad(&mut self, object: &LogObject, problem: Problem) {
        self.audit.total.bad_objects += 1;
        if self.audit.bad_objects.len() < MAX_NAMED_OBJECTS {
            self.audit.bad_objects.push(BadObject {
                key: object.key.to_string(),
                problem,
            });
        }
    }

    fn object(
        &mut self,
        object: &LogObject,
        bytes: Result<Bytes, Unfetched>,
    ) -> Result<(), AuditError> {
        self.audit.total.objects += 1;
        self.audit.total.object_bytes += object.len;
        let writer = (object.key.agent, object.key.incarnation);
        let written = self.audit.writers.entry(writer).or_default();
        written.objects += 1;
        written.object_bytes += object.len;
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => {
                self.bad(object, Problem::Unfetched(in_words(&why)));
                return Ok(());
            }
        };
        let mut full = None;
        let mut rows = 0;
        let report = decode::read_tiles(&object.key, bytes, Lines::Skip, |tile| {
            rows += 1;
            if full.is_none() {
                full = self.tile(object.key.hour, tile).err();
            }
        });
        if let Some(error) = full {
            return Err(error);
        }
        self.audit.writers.entry(writer).or_default().rows += rows;
        match report {
            Err(error) => self.bad(object, Problem::Unreadable(in_words(&error))),
            Ok(report) => {
                if report.damaged > 0 {
                    let first = report.first_damage.map(|damage| damage.to_string());
                    let problem = Problem::DamagedRows {
                        rows: report.damaged,
                        first: first.unwrap_or_default(),
                    };
                    self.bad(object, problem);
                }
                if report.wrong_hour > 0 {
                    let rows = report.wrong_hour;
                    self.bad(object, Problem::WrongHour { rows });
                }
            }
        }
        Ok(())
    }

    fn tile(&mut self, hour: Hour, tile: &Tile<'_>) -> Result<(), AuditError> {
        if !self.files.contains_key(tile.src) {
            self.files.insert(tile.src.to_owned(), BTreeMap::new());
        }
        let Some(epochs) = self.files.get_mut(tile.src) else {
            return Ok(());
        };
        let file = epochs.entry(tile.epoch).or_insert_with(|| {
            self.audit.total.files += 1;
            Gathered::default()
        });
        let before = file.tiles.fragments();
        file.tiles.insert(tile.off, tile.len, tile.ts_ns);
        self.fragments = self.fragments + file.tiles.fragments() - before;
        file.rows += 1;
        if tile.flags.contains(Flags::GAP) {
            file.lost_bytes = file.lost_bytes.saturating_add(tile.len);
        }
        if tile.flags.contains(Flags::END) {
            let end = tile.off.saturating_add(tile.len);
            file.ends_at = file.ends_at.max(Some(end));
        }
        file.wrong_hour += u64::from(Hour::of_ns(tile.ts_ns) != hour);
        if self.audit.total.files as usize > MAX_FILES {
            return Err(AuditError::TooMany {
                what: "files",
                max: MAX_FILES,
            });
        }
        if self.fragments > MAX_FRAGMENTS {
            return Err(AuditError::TooMany {
                what: "ranges of bytes that do not touch yet",
                max: MAX_FRAGMENTS,
            });
        }
        Ok(())
    }

    fn finish(self) -> Audit {
        let mut audit = self.audit;
        for (src, epochs) in self.files {
            let latest = epochs.keys().next_back().copied();
            for (epoch, gathered) in epochs {
                let mut file = gathered.judge(audit.scope.hours.as_ref());
                file.src.clone_from(&src);
                file.epoch = epoch;
                file.unclosed = audit.scope.hours.is_none() && Some(epoch) < latest && !file.ended;
                audit.total.add(&file);
                audit.files.push(file);
            }
        }
        audit
            .files
            .sort_unstable_by(|one, two| (&one.src, one.epoch).cmp(&(&two.src, two.epoch)));
        audit.bad_objects.sort_unstable();
        audit
    }
}

impl Gathered {
    fn judge(self, hours: Option<&RangeInclusive<Hour>>) -> FileAudit {
        let mut file = FileAudit {
            rows: self.rows,
            bytes: self.tiles.covered(),
            lost_bytes: self.lost_bytes,
            end: self.tiles.end(),
            ended: self.ends_at == Some(self.tiles.end()),
            overlaps: self.tiles.overlaps().clone(),
            wrong_hour: self.wrong_hour,
            ..FileAudit::default()
        };
        for hole in self.tiles.holes() {
            if !hours.is_none_or(|hours| is_inside(&hole, hours)) {
                file.unjudged += 1;
                continue;
            }
            file.gap_count += 1;
            file.gap_bytes += hole.range.end - hole.range.start;
            if file.gaps.len() < MAX_NAMED_GAPS {
                file.gaps.push(hole.range);
            }
        }
        // A file of which only the end is in these hours: all before it is elsewhere.
        if let Some(ends_at) = self.ends_at
            && ends_at > file.end
        {
            file.ended = true;
            if hours.is_some() {
                file.unjudged += 1;
            } else {
                file.gap_count += 1;
                file.gap_bytes += ends_at - file.end;
                if file.gaps.len() < MAX_NAMED_GAPS {
                    file.gaps.push(file.end..ends_at);
                }
            }
            file.end = ends_at;
        }
        file
    }
}

/// Whether the rows in a hole must lie in these hours, by the times of the rows beside it.
fn is_inside(hole: &Hole, hours: &RangeInclusive<Hour>) -> bool {
    let first_ns = hours.start().start_ns();
    let last_ns = hours.end().next().start_ns();
    hole.before_ns
        .is_some_and(|before_ns| before_ns.saturating_sub(EDGE_NS) >= first_ns)
        && hole.after_ns.saturating_add(EDGE_NS) < last_ns
}

impl Total {
    fn add(&mut self, file: &FileAudit) {
        // The number of files was counted as they came.
        self.ended += u64::from(file.ended);
        self.rows += file.rows;
        self.bytes = self.bytes.saturating_add(file.bytes);
        self.lost_bytes = self.lost_bytes.saturating_add(file.lost_bytes);
        self.gaps += file.gap_count;
        self.gap_bytes = self.gap_bytes.saturating_add(file.gap_bytes);
        self.unjudged += file.unjudged;
        self.overlaps += file.overlaps.rows;
        self.overlap_bytes = self.overlap_bytes.saturating_add(file.overlaps.bytes);
        self.unclosed += u64::from(file.unclosed);
        self.wrong_hour += file.wrong_hour;
    }
}

/// An error and what it comes from, in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
