//! A lost state, made again from the archive: how far each file got is in the rows that are there.
//!
//! What the archive does not have is read again from the files; what it has, is not. The bytes of one file and epoch that are
//! in rows are put together; behind the last of them the agent goes on, and ranges before it that are in no row (an object
//! that was planned and went down with the state) become [`Log::holes`], which the agent fills.
//!
//! **Why nothing comes twice.** A byte is read again only if no row in the archive has it. Objects are listed in all the hours
//! that their rows can be in (see [`Recovered::from`]); if a file then has a hole and not all hours were listed, all are. An
//! object that cannot be read stops the recovery: nobody knows what is in it. What was staged and not put is set aside with
//! the old database and never put again. The spool's lock, which the caller holds, keeps any other agent of this spool from
//! running meanwhile.
//!
//! **The danger that remains** is an object of the old state that comes into the archive after it was listed: a request that
//! was on its way when its process ended, or a twin on another machine that uses a copy of the spool and of the machine's
//! id. A request is over within a minute of the end of its process: wait as long. A twin is fenced at its next claim: a start
//! after a recovery claims the incarnation behind the highest that is claimed, so either start that claims second is refused
//! and stops. What a twin puts until then under its own claim lies under keys of its own, and an audit finds it as overlaps.
//!
//! **What is not as it was.** The digest of a file's bytes is known only where nothing came after the checkpoint; a copy that
//! a rotation makes of a file without it counts as a file of its own. The bytes before the offset are known only as far as the
//! last row has them; where they are not (they were masked, or lost), a file that was truncated and has grown beyond its
//! offset since is not recognised. Whether a file's lines have times of their own is taken from whether the rows' times
//! differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::decode::{Filter, ObjectReader, OwnedRow};
use archive::key::parse_claim;
use archive::listing::{self, ListError, LogObject};
use archive::{AgentId, Flags, Hour, Incarnation, Origin, Store, StoreError};
use bytes::Bytes;

use crate::agent::STAGING;
use crate::audit::{MAX_FILES, MAX_FRAGMENTS, Progress, Tiles};
use crate::checkpoint::{self, Checkpoint, CheckpointError, Mark};
use crate::config::Config;
use crate::fetch::{Fetcher, Unfetched, again, listing_may_pass};
use crate::file_id::{FileId, Src};
use crate::log::{Log, LogKey, Loss, Phase, SAMPLE_BYTES, Sample, Seen};
use crate::row_time::{MAX_BEFORE_BIRTH_NS, MAX_BEHIND_NEWEST_NS, TimeState};
use crate::rows::{Head, Place, RowState};
use crate::rules::Certainty;
use crate::spool::{Description, Spool, SpoolError};
use crate::state::{Claim, FILE_NAME, Identity, State, StateError};

/// How much earlier than it must be an hour is listed, in ns: clocks were not always right.
const SLACK_NS: i64 = 3_600_000_000_000;

/// The nonce of a claim that was found and not made.
const NONCE: &str = "recovered";

/// Whether anything is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DryRun {
    /// Nothing is: what would be is told.
    Yes,
    /// The new state is written.
    No,
}

/// A state made again.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Who the agent is, with the highest incarnation that is claimed; 0 if none ever was.
    pub identity: Identity,
    /// Its logs.
    pub logs: Vec<Log>,
    /// The first hour that was listed; none: all were.
    ///
    /// Without a checkpoint, all are. With one, rows that came after it are no earlier than the file's newest line by more than
    /// an hour, nor than its birth by more than a day, nor than the time that its lines without one inherit. (`once --backfill`
    /// drops this rule; it keeps a state of its own.) A checkpoint with files that could not be linked, or a file without a birth
    /// time, makes that all hours are listed.
    pub from: Option<Hour>,
    /// When the checkpoint that was used was made, in ns since 1970.
    pub checkpoint_ns: Option<i64>,
    /// Checkpoints that could not be used, and why.
    pub passed_over: Vec<String>,
    /// How many objects were read.
    pub objects: u64,
    /// How many rows.
    pub rows: u64,
    /// Rows with bytes that another row has: the archive was not whole before.
    pub overlaps: u64,
    /// Pinned files of which nothing is in the archive.
    pub unknown_pins: u64,
    /// What lay in the state folder and was set aside (or would be): from where to where.
    pub set_aside: Vec<(PathBuf, PathBuf)>,
}

/// Why nothing was recovered. The state folder is as it was, unless the error is of [`RecoverError::Folder`].
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Objects could not be listed.
    #[error("list the archive")]
    List(#[from] ListError),
    /// An object could not be read for now.
    #[error("read the archive")]
    Store(#[from] StoreError),
    /// The checkpoints could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An object is damaged.
    #[error(
        "{key} cannot be read ({why}): which bytes are in it is not known. Move it out of the archive and recover again; what was \
         in it is then shipped again, from files that still have it"
    )]
    Damaged {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// There is more than can be held.
    #[error("there are more than {max} {what} of this agent, which is what a recovery can hold")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The new database.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state folder. Run the recovery again.
    #[error("{operation} {}", .path.display())]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the state in `state_folder` again. No agent may run on the spool, whose lock the caller holds, nor have ended less than
/// a minute ago. `now_ns` is the time, in ns since 1970; `progress` is told now and then.
pub async fn recover(
    store: &dyn Store,
    spool: &Spool,
    state_folder: &Path,
    config: &Config,
    now_ns: i64,
    dry: DryRun,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Recovered, RecoverError> {
    let agent = spool.agent();
    let pins = Pinned::of(spool)?;
    let keys = checkpoint::own_keys(store, agent).await?;
    let claimed = keys
        .iter()
        .filter_map(|key| parse_claim(key))
        .filter_map(|(of, incarnation)| (of == agent).then_some(incarnation))
        .max();
    let latest = checkpoint::latest_of(store, agent, &keys).await?;
    let mut from = latest
        .checkpoint
        .as_ref()
        .and_then(|checkpoint| first_hour(checkpoint, &pins));
    let mut gathered = gather(store, agent, latest.checkpoint.as_ref(), from, progress).await?;
    if from.is_some() && gathered.has_holes() {
        from = None;
        gathered = gather(store, agent, latest.checkpoint.as_ref(), from, progress).await?;
    }
    let after = gathered.last_seq.map_or(1, |last| last.saturating_add(1));
    let next_seq = latest
        .checkpoint
        .as_ref()
        .map_or(after, |checkpoint| checkpoint.next_seq.max(after));
    let incarnation = claimed.max(gathered.last_incarnation);
    let mut recovered = Recovered {
        identity: Identity {
            agent,
            incarnation: incarnation.unwrap_or(Incarnation(0)),
            nonce: NONCE.to_owned(),
            claim: Claim::Held,
            next_seq,
        },
        from,
        checkpoint_ns: latest.checkpoint.as_ref().map(|one| one.written_ns),
        passed_over: latest.passed_over,
        objects: gathered.objects,
        rows: gathered.rows,
        overlaps: gathered
            .files
            .values()
            .map(|file| file.tiles.overlaps().rows)
            .sum(),
        unknown_pins: 0,
        logs: settle(gathered, &pins, config, now_ns),
        set_aside: set_aside(state_folder, now_ns)?,
    };
    recovered.unknown_pins = pins
        .files
        .keys()
        .filter(|src| {
            let known = |log: &Log| log.key.src == **src || log.source == **src;
            !recovered.logs.iter().any(known)
        })
        .count() as u64;
    if dry == DryRun::No {
        write(state_folder, &recovered, now_ns)?;
    }
    Ok(recovered)
}

/// What the spool holds.
struct Pinned {
    files: BTreeMap<Src, PinnedFile>,
}

struct PinnedFile {
    description: Option<Description>,
    birth_ns: Option<i64>,
    /// When it was last written, if that can be seen.
    mtime_ns: Option<i64>,
}

impl Pinned {
    fn of(spool: &Spool) -> Result<Self, SpoolError> {
        let listing = spool.list()?;
        let files = listing
            .pins
            .into_iter()
            .map(|(pin, description)| {
                let file = PinnedFile {
                    description,
                    birth_ns: birth_of(&pin.src),
                    mtime_ns: pin.stat().ok().map(|stat| stat.mtime_ns),
                };
                (pin.src, file)
            })
            .collect();
        Ok(Self { files })
    }
}

/// The birth time that a file's name has in it.
fn birth_of(src: &Src) -> Option<i64> {
    src.as_str().split('-').nth(2)?.parse().ok()
}

/// The first hour that rows behind the checkpoint can lie in; none if that cannot be said. See [`Recovered::from`].
fn first_hour(checkpoint: &Checkpoint, pins: &Pinned) -> Option<Hour> {
    let mut earliest_ns = checkpoint.written_ns.saturating_sub(MAX_BEFORE_BIRTH_NS);
    let mut marked = BTreeSet::new();
    for mark in &checkpoint.logs {
        let is_pinned = pins.files.contains_key(&mark.source);
        if !is_pinned && mark.phase != Phase::Ended {
            // It was held by a descriptor, as others may have been that the checkpoint does not know.
            return None;
        }
        let (Some(newest_ns), [], true) = (mark.rows.time.newest_ns, &mark.holes[..], is_pinned)
        else {
            continue;
        };
        let before_ns = mark.rows.time.before_ns.unwrap_or(newest_ns);
        let from_ns = before_ns.min(newest_ns.saturating_sub(MAX_BEHIND_NEWEST_NS));
        earliest_ns = earliest_ns.min(from_ns);
        marked.insert(&mark.source);
    }
    for (src, file) in &pins.files {
        if marked.contains(src) {
            continue;
        }
        let birth_ns = file.birth_ns?;
        // Lines without a time have that of their file, which may be older than its birth if it was copied with its times.
        let from_ns = file.mtime_ns.map_or(birth_ns, |mtime| mtime.min(birth_ns));
        earliest_ns = earliest_ns.min(from_ns.saturating_sub(MAX_BEFORE_BIRTH_NS));
    }
    Some(Hour::of_ns(earliest_ns.saturating_sub(SLACK_NS)))
}

/// What the archive has of the agent.
#[derive(Debug, Default)]
struct Gathered {
    files: BTreeMap<LogKey, Rows>,
    fragments: usize,
    objects: u64,
    rows: u64,
    last_seq: Option<u64>,
    last_incarnation: Option<Incarnation>,
}

/// What the archive has of one file in one epoch.
#[derive(Debug, Default)]
struct Rows {
    tiles: Tiles,
    /// The row that reaches furthest, of those behind the checkpoint.
    last: Option<LastRow>,
    ends_at: Option<u64>,
    /// A time that was not substituted, and whether there is another one.
    time_ns: Option<i64>,
    times_differ: bool,
    /// Whose rows they are, and of which cluster.
    owner: Option<(Arc<Origin>, String)>,
    mark: Option<Mark>,
}

#[derive(Debug)]
struct LastRow {
    end: u64,
    ts_ns: i64,
    flags: Flags,
    /// The last bytes of the file before `end`, as far as the row has them.
    tail: Vec<u8>,
}

impl Gathered {
    fn has_holes(&self) -> bool {
        self.files
            .values()
            .any(|rows| rows.tiles.holes().next().is_some())
    }
}

async fn gather(
    store: &dyn Store,
    agent: AgentId,
    checkpoint: Option<&Checkpoint>,
    from: Option<Hour>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Gathered, RecoverError> {
    let mut gathered = Gathered::default();
    for mark in checkpoint.iter().flat_map(|checkpoint| &checkpoint.logs) {
        let rows = gathered.files.entry(mark.key.clone()).or_default();
        rows.take_mark(mark);
        gathered.fragments += rows.tiles.fragments();
    }
    let range = from.unwrap_or(Hour::MIN)..Hour::MAX;
    let mut places = Vec::new();
    for cluster in again(|| listing::clusters(store), listing_may_pass).await? {
        let hours = again(
            || listing::hours(store, &cluster, range.clone()),
            listing_may_pass,
        )
        .await?;
        places.extend(hours.into_iter().map(|hour| (cluster.clone(), hour)));
    }
    let mut state = Progress {
        of_hours: places.len() as u64,
        ..Progress::default()
    };
    for (cluster, hour) in places {
        let listing = again(
            || listing::list_hour(store, &cluster, hour),
            listing_may_pass,
        )
        .await?;
        let ours = listing.objects.into_iter().filter(|object| {
            object.key.agent == agent && checkpoint.is_none_or(|one| is_after(object, one))
        });
        let mut fetcher = Fetcher::new(store, ours);
        while let Some((object, bytes)) = fetcher.next().await {
            gathered.object(&object, bytes)?;
            state.objects += 1;
            state.object_bytes += object.len;
            progress(state);
        }
        state.hours += 1;
        progress(state);
    }
    Ok(gathered)
}

/// Whether an object was planned after a checkpoint. Numbers go on over incarnations; should a later one have begun again,
/// its objects are later all the same.
fn is_after(object: &LogObject, checkpoint: &Checkpoint) -> bool {
    let key = &object.key;
    key.incarnation > checkpoint.incarnation
        || (key.incarnation == checkpoint.incarnation && key.seq >= checkpoint.next_seq)
}

impl Gathered {
    fn object(
        &mut self,
        object: &LogObject,
        bytes: Result<Bytes, Unfetched>,
    ) -> Result<(), RecoverError> {
        let damaged = |why: String| RecoverError::Damaged {
            key: object.key.to_string(),
            why,
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(Unfetched::Store(error)) => return Err(error.into()),
            Err(why) => return Err(damaged(why.to_string())),
        };
        self.objects += 1;
        self.last_seq = self.last_seq.max(Some(object.key.seq));
        self.last_incarnation = self.last_incarnation.max(Some(object.key.incarnation));
        let mut reader = ObjectReader::new(&object.key, bytes, Filter::default())
            .map_err(|error| damaged(error.to_string()))?;
        for row in &mut reader {
            let row = row.map_err(|error| damaged(error.to_string()))?;
            let Ok(src) = row.origin.src.parse::<Src>() else {
                return Err(damaged(format!("{:?} is no file's name", row.origin.src)));
            };
            let key = LogKey {
                src,
                epoch: row.epoch,
            };
            let rows = self.files.entry(key).or_default();
            let before = rows.tiles.fragments();
            rows.take(&row, object.key.cluster());
            self.fragments = self.fragments + rows.tiles.fragments() - before;
            self.rows += 1;
            if self.fragments > MAX_FRAGMENTS {
                return Err(RecoverError::TooMany {
                    what: "ranges of bytes that do not touch yet",
                    max: MAX_FRAGMENTS,
                });
            }
            if self.files.len() > MAX_FILES {
                return Err(RecoverError::TooMany {
                    what: "files",
                    max: MAX_FILES,
                });
            }
        }
        match &reader.report().first_damage {
            Some(damage) => Err(damaged(damage.to_string())),
            None => Ok(()),
        }
    }
}

impl Rows {
    /// Takes what the checkpoint says is in rows.
    fn take_mark(&mut self, mark: &Mark) {
        let mut from = 0;
        for hole in &mark.holes {
            self.tiles.insert(
                from,
                hole.start - from,
                mark.rows.time.before_ns.unwrap_or(0),
            );
            from = hole.end;
        }
        self.tiles.insert(
            from,
            mark.offset - from,
            mark.rows.time.before_ns.unwrap_or(0),
        );
        if mark.phase == Phase::Ended {
            self.ends_at = Some(mark.offset);
        }
        self.mark = Some(mark.clone());
    }

    fn take(&mut self, row: &OwnedRow, cluster: &str) {
        self.tiles.insert(row.off, row.len, row.ts_ns);
        let end = row.off.saturating_add(row.len);
        if row.flags.contains(Flags::END) {
            self.ends_at = self.ends_at.max(Some(end));
        }
        if self.owner.is_none() {
            self.owner = Some((row.origin.clone(), cluster.to_owned()));
        }
        if !row.flags.contains(Flags::TIME_SUBSTITUTED) {
            self.times_differ |= self.time_ns.is_some_and(|other| other != row.ts_ns);
            self.time_ns = Some(row.ts_ns);
        }
        if row.len > 0 && self.last.as_ref().is_none_or(|last| end >= last.end) {
            self.last = Some(LastRow {
                end,
                ts_ns: row.ts_ns,
                flags: row.flags,
                tail: tail(row),
            });
        }
    }

    fn holes(&self) -> Vec<Range<u64>> {
        self.tiles.holes().map(|hole| hole.range).collect()
    }

    /// The row that the file's offset is behind, if it came after the checkpoint.
    fn last(&self) -> Option<&LastRow> {
        self.last
            .as_ref()
            .filter(|last| last.end == self.tiles.end())
            .filter(|last| self.mark.as_ref().is_none_or(|mark| last.end > mark.offset))
    }

    fn ended(&self) -> bool {
        self.ends_at == Some(self.tiles.end())
    }

    /// What is carried to the next reading.
    fn row_state(&self) -> RowState {
        let marked = self.mark.as_ref().map(|mark| mark.rows);
        let Some(last) = self.last() else {
            return marked.unwrap_or_default();
        };
        let had_time = marked.is_some_and(|rows| rows.head == Head::Seen);
        let head = if had_time || self.times_differ {
            Head::Seen
        } else {
            Head::None
        };
        let newest_ns = marked.and_then(|rows| rows.time.newest_ns);
        let is_cut = last.flags.contains(Flags::PIECE) || last.flags.contains(Flags::UNFINISHED);
        RowState {
            time: TimeState {
                before_ns: Some(last.ts_ns),
                newest_ns: match head {
                    Head::Seen => newest_ns.max(Some(last.ts_ns)),
                    Head::None => newest_ns,
                },
            },
            place: if is_cut {
                Place::InsideLine
            } else {
                Place::LineStart
            },
            head,
        }
    }

    fn seen(&self) -> Seen {
        match self.last() {
            Some(last) => Seen {
                tail: Sample::of(&last.tail),
                ..Seen::default()
            },
            None => Seen {
                crc: self.mark.as_ref().and_then(|mark| mark.crc),
                ..Seen::default()
            },
        }
    }
}

/// The last bytes of the file that a row stands for; none where the row does not have them as they were.
fn tail(row: &OwnedRow) -> Vec<u8> {
    let Some(line) = &row.line else {
        return Vec::new();
    };
    if row.flags.contains(Flags::REDACTED) {
        return Vec::new();
    }
    // What ends a line is left out of it.
    let end: &[u8] = match row.len.checked_sub(line.len() as u64) {
        Some(0) => b"",
        Some(1) => b"\n",
        Some(2) => b"\r\n",
        _ => return Vec::new(),
    };
    let mut tail = line[line.len().saturating_sub(SAMPLE_BYTES)..].to_vec();
    tail.extend_from_slice(end);
    tail.drain(..tail.len().saturating_sub(SAMPLE_BYTES));
    tail
}

/// The logs that an agent goes on with.
fn settle(gathered: Gathered, pins: &Pinned, config: &Config, now_ns: i64) -> Vec<Log> {
    let mut latest: BTreeMap<Src, u32> = BTreeMap::new();
    for key in gathered.files.keys() {
        latest.insert(key.src.clone(), key.epoch);
    }
    gathered
        .files
        .into_iter()
        .filter_map(|(key, rows)| {
            let is_latest = latest.get(&key.src) == Some(&key.epoch);
            let source = match &rows.mark {
                Some(mark) => mark.source.clone(),
                None => key.src.clone(),
            };
            let is_own = source == key.src;
            let is_pinned = pins.files.contains_key(&source);
            let offset = rows.tiles.end();
            let holes = rows.holes();
            let known = rows.mark.as_ref().map_or(0, |mark| mark.size);
            let size = known.max(offset);
            let phase = match rows.mark.as_ref().map(|mark| mark.phase) {
                // It ended, and nothing of it is missing: the agent only needs to know while it holds the file.
                _ if rows.ended() && holes.is_empty() => {
                    let is_of_use = is_pinned && (is_latest || !is_own);
                    return is_of_use.then(|| {
                        log(key, source, &rows, Phase::Ended, size, pins, config, now_ns)
                    });
                }
                // It was given up, or begins to be.
                Some(Phase::Lost(until, cause)) => Phase::Lost(until.max(offset), cause),
                // The rest of it is in a copy that is held.
                _ if !is_own && is_pinned => Phase::Draining,
                // The rest of it is gone: the file was truncated, and perhaps its copy, too.
                _ if !is_latest || !is_own => Phase::Lost(size, Loss::Truncated),
                // Its holes cannot be filled; that it ended is known.
                _ if rows.ended() && !is_pinned => Phase::Lost(size, Loss::Vanished),
                _ => Phase::Open,
            };
            Some(log(key, source, &rows, phase, size, pins, config, now_ns))
        })
        .collect()
}

#[expect(clippy::too_many_arguments, reason = "the parts of one value")]
fn log(
    key: LogKey,
    source: Src,
    rows: &Rows,
    phase: Phase,
    size: u64,
    pins: &Pinned,
    config: &Config,
    now_ns: i64,
) -> Log {
    let pinned = pins
        .files
        .get(&key.src)
        .and_then(|file| file.description.clone());
    let marked = rows.mark.as_ref().and_then(|mark| mark.description.clone());
    let description = pinned
        .or(marked)
        .unwrap_or_else(|| describe(&key.src, rows.owner.as_ref(), config, now_ns));
    Log {
        description: Arc::new(description),
        source,
        offset: rows.tiles.end(),
        rows: rows.row_state(),
        seen: rows.seen(),
        size,
        holes: rows.holes(),
        phase,
        key,
    }
}

/// What rows tell of the file they are of: not where it lay.
fn describe(
    src: &Src,
    owner: Option<&(Arc<Origin>, String)>,
    config: &Config,
    now_ns: i64,
) -> Description {
    let unknown = || Origin {
        src: src.to_string(),
        host: Some(config.host.clone()),
        ..Origin::default()
    };
    let ino = src.as_str().split('-').nth(1);
    Description {
        src: src.clone(),
        id: FileId {
            dev: 0,
            ino: ino.and_then(|ino| ino.parse().ok()).unwrap_or(0),
            birth_ns: birth_of(src),
        },
        path: PathBuf::new(),
        rule: String::new(),
        cluster: owner.map_or_else(|| config.cluster.clone(), |(_, cluster)| cluster.clone()),
        origin: owner.map_or_else(unknown, |(origin, _)| (**origin).clone()),
        certainty: Certainty::Unknown,
        run_dir: None,
        found_ns: now_ns,
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    let path = path.to_owned();
    move |source| RecoverError::Folder {
        operation,
        path,
        source,
    }
}

/// What of the old state is in the folder, and where it goes: beside it, with the time in its name. SQLite finds the database's
/// log there by its name.
fn set_aside(folder: &Path, now_ns: i64) -> Result<Vec<(PathBuf, PathBuf)>, RecoverError> {
    let names = [
        (FILE_NAME.to_owned(), format!("{FILE_NAME}.{now_ns}")),
        (
            format!("{FILE_NAME}-wal"),
            format!("{FILE_NAME}.{now_ns}-wal"),
        ),
        (
            format!("{FILE_NAME}-shm"),
            format!("{FILE_NAME}.{now_ns}-shm"),
        ),
        (STAGING.to_owned(), format!("{STAGING}.{now_ns}")),
    ];
    let mut moves = Vec::new();
    for (from, to) in names {
        let from = folder.join(from);
        if from.try_exists().map_err(failed("look for", &from))? {
            moves.push((from, folder.join(to)));
        }
    }
    Ok(moves)
}

/// Writes the new database beside the old one, sets the old one aside, and gives the new one its name. Until then the folder has
/// no state, which is what it had.
fn write(folder: &Path, recovered: &Recovered, now_ns: i64) -> Result<(), RecoverError> {
    let making = folder.join(format!("recovering.{now_ns}"));
    let mut state = State::open(&making)?;
    state.set_identity(&recovered.identity)?;
    state.set_logs(&recovered.logs)?;
    // The last connection writes the log back and removes it.
    drop(state);
    let made = making.join(FILE_NAME);
    File::open(&made)
        .and_then(|file| file.sync_all())
        .map_err(failed("make durable", &made))?;
    let wal = making.join(format!("{FILE_NAME}-wal"));
    if wal.exists() {
        let busy = io::Error::other("it is still in use");
        return Err(failed("close", &wal)(busy));
    }
    for (from, to) in &recovered.set_aside {
        fs::rename(from, to).map_err(failed("set aside", from))?;
    }
    let path = folder.join(FILE_NAME);
    fs::rename(&made, &path).map_err(failed("make", &path))?;
    fs::remove_dir_all(&making).map_err(failed("remove", &making))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("make durable", folder))
}

/// Says what was recovered.
pub fn summary(recovered: &Recovered, dry: DryRun, out: &mut dyn Write) -> io::Result<()> {
    let bytes: u64 = recovered.logs.iter().map(|log| log.offset).sum();
    let holes = || recovered.logs.iter().flat_map(|log| &log.holes);
    let missing: u64 = holes().map(|hole| hole.end - hole.start).sum();
    let given_up = recovered
        .logs
        .iter()
        .filter(|log| matches!(log.phase, Phase::Lost(..)))
        .count();
    for passed_over in &recovered.passed_over {
        writeln!(out, "passed over {passed_over}")?;
    }
    let identity = &recovered.identity;
    writeln!(
        out,
        "agent {}: incarnation {} was the last to be claimed, the next object is number {}",
        identity.agent, identity.incarnation, identity.next_seq
    )?;
    match (recovered.checkpoint_ns, recovered.from) {
        (None, _) => writeln!(out, "no checkpoint; all hours were listed")?,
        (Some(_), None) => writeln!(out, "from the last checkpoint on; all hours were listed")?,
        (Some(_), Some(hour)) => {
            writeln!(
                out,
                "from the last checkpoint on; hours since {hour} were listed"
            )?;
        }
    }
    writeln!(
        out,
        "{} objects with {} rows were read",
        recovered.objects, recovered.rows
    )?;
    writeln!(
        out,
        "{} logs, {bytes} bytes are behind them; {} ranges of {missing} bytes are to be read again; {given_up} logs end here",
        recovered.logs.len(),
        holes().count()
    )?;
    writeln!(
        out,
        "{} held files have nothing in the archive and begin at their start",
        recovered.unknown_pins
    )?;
    if recovered.overlaps > 0 {
        writeln!(
            out,
            "{} rows have bytes that other rows have: run `shipper audit`",
            recovered.overlaps
        )?;
    }
    for (from, to) in &recovered.set_aside {
        let verb = match dry {
            DryRun::Yes => "would be",
            DryRun::No => "was",
        };
        writeln!(
            out,
            "{} {verb} set aside as {}",
            from.display(),
            to.display()
        )?;
    }
    match dry {
        DryRun::Yes => writeln!(out, "nothing was changed"),
        DryRun::No => writeln!(out, "the new state is written"),
    }
}

#[cfg(test)]
mod tests;
