//! The agent's core: what is held, how far it got, and each step that brings it further. Synchronous; each step can be followed
//! by the end of the process, and the next start goes on from what is on the disk.
//!
//! The order of the steps is the promise: pin, cut, stage, plan, put, commit. Putting is done elsewhere (`upload`), since it waits
//! for the network; this hands out what is planned and is told what is in the archive. What truncations and copies come to is
//! settled in `settle`; files are let go, or given up, in `let_go`, and copied before they are truncated again in `read_ahead`.

mod let_go;
mod read_ahead;
mod settle;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Origin;

use crate::batch::{self, Built, End, LastLine, Piece, Trouble};
use crate::clock::Clock;
use crate::config::Config;
use crate::cut::{self, QUANTUM_BYTES, Urgency, Waiting};
use crate::file_id::{FileId, FileStat, Src};
use crate::health::Pause;
use crate::identity::AgentState;
use crate::log::{Log, LogKey, Loss, Phase};
use crate::makers::{Makers, MakersError};
use crate::objects::{Naming, Objects, ObjectsError};
use crate::rows::AgeRule;
use crate::rules::{Certainty, Rules};
use crate::scan::{Answer, Scanner, Seen, Summary};
use crate::spool::{Description, Pin, PinKind, SideCopy, Spool, SpoolError, Unlinked};
use crate::state::{Identity, Plan, Planned, State, StateError};
use settle::PlannedLogs;

/// The folder of staged objects, below the state folder.
pub const STAGING: &str = "staging";

/// How long a log whose size changed is looked at often, in ns.
const HOT_NS: i64 = 60 * 1_000_000_000;

/// The most logs in one batch, in logs: what one transaction and one pass over files should not exceed.
const MAX_BATCH_LOGS: usize = 5000;

/// A place in the order of steps. Tests end the agent there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// New files are held, and nobody knows of them yet.
    Pinned,
    /// A batch is staged and not planned.
    Staged,
    /// A batch is a fact, and none of it is in the archive.
    Planned,
    /// An object is in the archive, and the state does not know.
    Put,
    /// An object is committed, and its staged file is still there.
    Committed,
    /// A file is let go, and the state still has its logs.
    Unpinned,
    /// A log was found truncated, and the state has its next epoch.
    Truncated,
    /// What is new of files that were truncated before is copied.
    ReadAhead,
}

/// Is asked at each step whether to go on. The agent of a person always does.
pub type Hook = Arc<dyn Fn(Step) -> ControlFlow<()> + Send + Sync>;

/// What an agent is made of.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Whether lines may be much older than their files.
    pub age: AgeRule,
    /// The spool, opened and locked.
    pub spool: Spool,
    /// The state, opened.
    pub state: State,
    /// Who the agent is: its claim is held.
    pub identity: Identity,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for the names of files without a birth time.
    pub random: Box<dyn FnMut() -> u64 + Send>,
    /// Is asked at each step.
    pub hook: Hook,
}

/// Why a step failed. What was done before it holds.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The hook said so.
    #[error("ended at step {0:?}")]
    Ended(Step),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The objects of a batch.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The rules for lines.
    #[error("configuration")]
    Makers(#[from] MakersError),
    /// The staging folder.
    #[error("staging folder {}", .path.display())]
    Staging {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl AgentError {
    /// Whether the disk is full: nothing is lost, and it can be tried again.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Objects(error) => error.is_full(),
            Self::State(error) => error.is_full(),
            Self::Spool(SpoolError::Io { source, .. }) | Self::Staging { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

/// What is to be told and counted since the last [`Agent::take_counts`].
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Bytes of logs that became rows.
    pub read_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Rows whose line had a time that cannot be right.
    pub times_substituted: u64,
    /// Bytes that the planned rows stand for.
    pub planned_bytes: u64,
    /// Bytes that are lost, by cause.
    pub lost: BTreeMap<Loss, u64>,
    /// Logs that were found truncated.
    pub truncations: u64,
    /// Files found.
    pub found: u64,
    /// Copies that were recognised.
    pub copies: u64,
    /// Places masked, by redaction rule, in the order of the rules.
    pub redacted: Vec<u64>,
    /// Things to tell, at most [`MAX_MESSAGES`].
    pub messages: Vec<String>,
}

/// The most messages between two looks at them, in messages.
pub const MAX_MESSAGES: usize = 100;

/// How things stand.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Files held by a link.
    pub linked: u64,
    /// Files held by a descriptor, by why.
    pub unlinked: BTreeMap<Unlinked, u64>,
    /// Bytes on disk of files that nobody else links.
    pub held_bytes: u64,
    /// Bytes known of and not planned.
    pub behind_bytes: u64,
    /// When the oldest byte that is not planned was seen at the latest, in ns since 1970.
    pub oldest_ns: Option<i64>,
    /// Bytes of staged objects.
    pub staged_bytes: u64,
    /// Objects staged.
    pub staged_objects: u64,
}

/// What became of a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flush {
    /// Nothing was waiting.
    Nothing,
    /// A batch is planned. `more`: there is more than one batch takes.
    Planned {
        /// Its objects, to be put.
        objects: Vec<Planned>,
        /// Whether more waits.
        more: bool,
    },
    /// Reading stands still.
    Paused(Pause),
}

/// What a flush takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Last lines without their end wait, as long as they may.
    Wait,
    /// All that is there.
    Take,
}

/// A file that is held.
#[derive(Debug)]
struct Held {
    pin: Pin,
    description: Arc<Description>,
    stat: Option<FileStat>,
    /// When its size was last seen to change, in ns since 1970.
    changed_ns: i64,
    /// When it was last seen to grow while it was held, in ns since 1970; long ago if never.
    grown_ns: i64,
    /// Since when there has been something of it to plan, in ns since 1970.
    behind_ns: Option<i64>,
    /// Which log its bytes are read for.
    reads: Reads,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reads {
    Log(LogKey),
    /// It begins with the bytes of this log, which is not truncated (yet); so many scans more it is waited for.
    InDoubt(LogKey, u8),
}

/// A last line that waits for its end.
#[derive(Debug, Clone, Copy)]
struct Waits {
    offset: u64,
    bytes: u64,
    since_ns: i64,
}

/// The agent.
pub struct Agent {
    config: Arc<Config>,
    age: AgeRule,
    makers: Makers,
    spool: Spool,
    state: State,
    identity: Identity,
    clock: Arc<dyn Clock>,
    random: Box<dyn FnMut() -> u64 + Send>,
    hook: Hook,
    scanner: Scanner,
    /// Boxed, since a third of a map's places is empty.
    held: HashMap<Src, Box<Held>>,
    logs: BTreeMap<LogKey, Log>,
    /// Copies that a truncation left, and the logs that are read from them.
    copies: HashMap<Src, LogKey>,
    /// Logs whose files were found truncated, until the next scan tells whether there is a copy.
    truncated: HashSet<LogKey>,
    /// What was read ahead of logs whose files were truncated before.
    side_copies: HashMap<LogKey, SideCopy>,
    /// Why reading ahead failed the last time, if it did.
    ahead_trouble: Option<String>,
    waits: HashMap<LogKey, Waits>,
    done: HashSet<Arc<Path>>,
    scans: u64,
    /// Where the next cut begins.
    turn: usize,
    outstanding: BTreeMap<String, Planned>,
    counts: Counts,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("identity", &self.identity)
            .field("held", &self.held.len())
            .field("logs", &self.logs.len())
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Goes on where the last one stopped: reads the spool and the state, and removes what is staged and not planned.
    pub fn start(parts: Parts) -> Result<Self, AgentError> {
        let rules = Arc::new(Rules::new(parts.config.clone()));
        let mut agent = Self {
            makers: Makers::new(rules.clone(), parts.age)?,
            scanner: Scanner::new(rules),
            config: parts.config,
            age: parts.age,
            spool: parts.spool,
            state: parts.state,
            identity: parts.identity,
            clock: parts.clock,
            random: parts.random,
            hook: parts.hook,
            held: HashMap::new(),
            logs: BTreeMap::new(),
            copies: HashMap::new(),
            truncated: HashSet::new(),
            side_copies: HashMap::new(),
            ahead_trouble: None,
            waits: HashMap::new(),
            done: HashSet::new(),
            scans: 0,
            turn: 0,
            outstanding: BTreeMap::new(),
            counts: Counts::default(),
        };
        agent.tidy_staging()?;
        for log in agent.state.logs()? {
            if log.source != log.key.src {
                agent.copies.insert(log.source.clone(), log.key.clone());
            }
            agent.logs.insert(log.key.clone(), log);
        }
        let listing = agent.spool.list()?;
        for stranger in listing.strangers {
            agent.tell(format!(
                "{}: not a pin; it is left alone",
                stranger.display()
            ));
        }
        let folders = listing
            .pins
            .iter()
            .filter(|(pin, _)| agent.own_log(&pin.src).is_none())
            .filter_map(|(_, description)| description.as_ref()?.path.parent());
        let planned = agent.planned_in(&folders.map(Path::to_owned).collect());
        for (pin, description) in listing.pins {
            agent.resume(pin, description, &planned);
        }
        agent.resume_side_copies()?;
        agent.look(Looked::All);
        Ok(agent)
    }

    fn staging(&self) -> PathBuf {
        self.config.state.folder.join(STAGING)
    }

    /// Reads what is planned, and removes staged files that are not.
    fn tidy_staging(&mut self) -> Result<(), AgentError> {
        let path = self.staging();
        let staging = |source| AgentError::Staging {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&path).map_err(staging)?;
        for planned in self.state.outstanding()? {
            self.outstanding.insert(planned.key.clone(), planned);
        }
        let planned: HashSet<&str> = self
            .outstanding
            .values()
            .map(|planned| planned.staged.as_str())
            .collect();
        for entry in fs::read_dir(&path).map_err(staging)? {
            let entry = entry.map_err(staging)?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| planned.contains(name)) {
                fs::remove_file(entry.path()).map_err(staging)?;
            }
        }
        Ok(())
    }

    /// Takes up a pin that an earlier agent left.
    fn resume(&mut self, pin: Pin, description: Option<Description>, planned: &PlannedLogs) {
        let src = pin.src.clone();
        let known = self.own_log(&src).map(|log| log.description.clone());
        let description = match (description, known) {
            (Some(description), Some(known)) if *known == description => known,
            (Some(description), _) => Arc::new(description),
            (None, Some(description)) => description,
            (None, None) => {
                self.tell(format!(
                    "pin {src}: its description cannot be read: its rows will name host and file only"
                ));
                Arc::new(self.unknown(&pin))
            }
        };
        self.scanner.know(pin.id.inode(), Some(&description.path));
        self.hold(pin, description, planned);
    }

    /// The log that is read from this file as itself: that of its latest epoch.
    fn own_log(&self, src: &Src) -> Option<&Log> {
        let key = |epoch| LogKey {
            src: src.clone(),
            epoch,
        };
        let (_, log) = self.logs.range(key(0)..=key(u32::MAX)).next_back()?;
        Some(log)
    }

    /// A description of a file of which only the pin is left.
    fn unknown(&self, pin: &Pin) -> Description {
        Description {
            src: pin.src.clone(),
            id: pin.id,
            path: pin.link().map(Path::to_owned).unwrap_or_default(),
            rule: String::new(),
            cluster: self.config.cluster.clone(),
            origin: Origin {
                src: pin.src.to_string(),
                host: Some(self.config.host.clone()),
                ..Origin::default()
            },
            certainty: Certainty::Unknown,
            run_dir: None,
            found_ns: self.clock.wall_ns(),
        }
    }

    /// Which log is read from this file: what the state says, else a new one. Whether it is a copy is seen later.
    fn hold(&mut self, pin: Pin, description: Arc<Description>, planned: &PlannedLogs) {
        let src = pin.src.clone();
        let known = match self.own_log(&src) {
            Some(log) => Some(log.key.clone()),
            None => self.copies.get(&src).cloned(),
        };
        let stat = pin.stat().ok();
        let reads = match known {
            Some(key) => Reads::Log(key),
            None => self.recognise(&pin, &description, stat.as_ref(), planned),
        };
        if let Reads::Log(key) = &reads {
            let log = self
                .logs
                .entry(key.clone())
                .or_insert_with(|| Log::new(description.clone()));
            // A recovery knows whose a file is, and not where it lay.
            if log.key.src == src && log.description.path.as_os_str().is_empty() {
                log.description = description.clone();
            }
        }
        self.held.insert(
            src,
            Box::new(Held {
                pin,
                description,
                stat,
                changed_ns: self.clock.wall_ns(),
                grown_ns: i64::MIN,
                behind_ns: None,
                reads,
            }),
        );
    }

    /// Walks the folders, pins what is new, and settles what truncations came to.
    pub fn scan(&mut self, agent_state: Option<Arc<AgentState>>) -> Result<Summary, AgentError> {
        let now_ns = self.clock.wall_ns();
        let mut new = Vec::new();
        let mut failed = None;
        let Self {
            scanner,
            spool,
            random,
            held,
            done,
            ..
        } = self;
        scanner.set_agent_state(agent_state);
        let summary = scanner.scan(now_ns, &mut |seen| match seen {
            Seen::New(found) => match spool.pin(found, now_ns, random()) {
                Ok((pin, description)) => {
                    // Only a file held already can come again under its own name.
                    if !held.contains_key(&pin.src) {
                        new.push((pin, Arc::new(description)));
                    }
                    Answer::Kept
                }
                Err(error) => {
                    failed = Some(error);
                    Answer::Again
                }
            },
            Seen::Moved { .. } => Answer::Kept,
            Seen::Done { run_dir } => {
                done.insert(run_dir);
                Answer::Kept
            }
        });
        // Pins first, on the disk: what is planned of a file has to be found again.
        self.spool.settle()?;
        self.step(Step::Pinned)?;
        self.counts.found += new.len() as u64;
        let folders = new.iter().filter_map(|(_, new)| new.path.parent());
        let planned = self.planned_in(&folders.map(Path::to_owned).collect());
        for (pin, description) in new {
            self.hold(pin, description, &planned);
        }
        self.scans += 1;
        self.settle_doubts();
        self.settle_truncations()?;
        self.give_up_vanished();
        self.read_ahead()?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        Ok(summary)
    }

    /// Looks how large the files are that changed lately.
    pub fn look_at_hot(&mut self) {
        self.look(Looked::Hot);
    }

    fn look(&mut self, which: Looked) {
        let now_ns = self.clock.wall_ns();
        let mut messages = Vec::new();
        for held in self.held.values_mut() {
            if which == Looked::Hot && now_ns.saturating_sub(held.grown_ns) > HOT_NS {
                continue;
            }
            messages.extend(look_at(
                held,
                &mut self.logs,
                &self.side_copies,
                &mut self.truncated,
                now_ns,
            ));
        }
        for message in messages {
            self.tell(message);
        }
    }

    /// Bytes that are known of and not planned.
    pub fn behind(&self) -> u64 {
        self.logs.values().map(Log::behind).sum()
    }

    /// Makes one batch of what waits, if it may.
    pub fn flush(&mut self, unfinished: Unfinished) -> Result<Flush, AgentError> {
        self.look(Looked::All);
        self.enforce_cap()?;
        if let Some(pause) = self.pause()? {
            return Ok(Flush::Paused(pause));
        }
        let now_ns = self.clock.wall_ns();
        let (keys, budget_used) = self.choose(unfinished, now_ns);
        if keys.is_empty() {
            self.let_go()?;
            return Ok(Flush::Nothing);
        }
        let built = self.build(&keys, unfinished, now_ns)?;
        let is_full = built.is_full;
        let before = built.read_bytes;
        let objects = self.plan(built, now_ns)?;
        self.let_go()?;
        let progressed = before > 0 || !objects.is_empty();
        Ok(Flush::Planned {
            objects,
            more: progressed && (is_full || budget_used),
        })
    }

    /// Which logs go into the next batch and until where; and whether there is more than fits.
    fn choose(&mut self, unfinished: Unfinished, now_ns: i64) -> (Vec<(LogKey, u64)>, bool) {
        let doubted = self.doubted();
        let keys: Vec<LogKey> = self
            .logs
            .values()
            .filter(|log| self.wants_turn(log, unfinished, now_ns))
            .filter(|log| !doubted.contains(&log.key))
            .map(|log| log.key.clone())
            .collect();
        let waiting: Vec<Waiting> = keys
            .iter()
            .map(|key| {
                let log = &self.logs[key];
                Waiting {
                    // A log without bytes that has to end takes a turn, too.
                    bytes: log.behind().max(1),
                    urgency: if self.is_last(&log.source) {
                        Urgency::Unlinked
                    } else {
                        Urgency::Usual
                    },
                }
            })
            .collect();
        if keys.is_empty() {
            return (Vec::new(), false);
        }
        let quantum = QUANTUM_BYTES.max(self.config.max_line_bytes as u64 * 2);
        let first = self.turn % keys.len();
        let cut = cut::cut(&waiting, first, self.config.batch_bytes, quantum);
        self.turn = cut.next;
        let all = cut
            .bytes
            .iter()
            .zip(&waiting)
            .all(|(got, waiting)| *got == waiting.bytes);
        let takers = cut.bytes.iter().filter(|bytes| **bytes > 0).count();
        let chosen: Vec<(LogKey, u64)> = keys
            .into_iter()
            .zip(cut.bytes)
            .filter(|(_, bytes)| *bytes > 0)
            .take(MAX_BATCH_LOGS)
            .map(|(key, bytes)| {
                let until = self.logs[&key].offset.saturating_add(bytes);
                (key, until)
            })
            .collect();
        (chosen, !all || takers > MAX_BATCH_LOGS)
    }

    /// Whether a log has something for a batch.
    fn wants_turn(&self, log: &Log, unfinished: Unfinished, now_ns: i64) -> bool {
        if self.truncated.contains(&log.key) {
            return false;
        }
        match log.phase {
            Phase::Ended => false,
            Phase::Lost(..) => true,
            Phase::Draining => self.held.contains_key(&log.source),
            Phase::Open if !self.held.contains_key(&log.source) => false,
            Phase::Open => {
                let waits = self.waits.get(&log.key).filter(|waits| {
                    waits.offset == log.offset && waits.offset + waits.bytes == log.size
                });
                match waits {
                    Some(waits) => {
                        unfinished == Unfinished::Take
                            || self.is_overdue(waits, now_ns)
                            || self.is_finished(log, now_ns)
                    }
                    None => log.behind() > 0 || self.is_finished(log, now_ns),
                }
            }
        }
    }

    fn is_overdue(&self, waits: &Waits, now_ns: i64) -> bool {
        now_ns.saturating_sub(waits.since_ns) >= nanos(self.config.unfinished_line)
    }

    /// Whether nobody else links the file.
    fn is_last(&self, src: &Src) -> bool {
        self.held
            .get(src)
            .is_some_and(|held| held.stat.is_some_and(|stat| held.pin.is_last(&stat)))
    }

    /// Whether nothing more can come: nobody links the file, and it has been quiet or its executor is done.
    fn is_finished(&self, log: &Log, now_ns: i64) -> bool {
        let Some(held) = self.held.get(&log.source) else {
            return false;
        };
        let Some(stat) = held.stat else {
            return false;
        };
        if !held.pin.is_last(&stat) {
            return false;
        }
        let is_done = held
            .description
            .run_dir
            .as_deref()
            .is_some_and(|dir| self.done.contains(dir));
        is_done || now_ns.saturating_sub(held.changed_ns) >= nanos(self.config.quiet)
    }

    fn build(
        &mut self,
        keys: &[(LogKey, u64)],
        unfinished: Unfinished,
        now_ns: i64,
    ) -> Result<Built, AgentError> {
        let chosen: Vec<(Log, u64, LastLine, End)> = keys
            .iter()
            .map(|(key, until)| {
                let log = self.logs[key].clone();
                let is_overdue = self.waits.get(key).is_some_and(|waits| {
                    waits.offset == log.offset && self.is_overdue(waits, now_ns)
                });
                let last_line = if unfinished == Unfinished::Take || is_overdue {
                    LastLine::Released
                } else {
                    LastLine::Held
                };
                let end = if self.is_finished(&log, now_ns) {
                    End::Finished
                } else {
                    End::Open
                };
                (log, *until, last_line, end)
            })
            .collect();
        let pieces = chosen
            .into_iter()
            .map(|(log, until, last_line, end)| Piece {
                pin: self.held.get(&log.source).map(|held| &held.pin),
                until,
                last_line,
                end,
                log,
            })
            .collect();
        let naming = Naming {
            staging: self.staging(),
            encoding: self.config.encoding,
            agent: self.identity.agent,
            incarnation: self.identity.incarnation,
        };
        let objects = Objects::new(naming, self.identity.next_seq);
        let built = batch::build(pieces, &mut self.makers, objects, now_ns);
        if built.is_err() {
            // The same rows are made again.
            self.makers.take_redacted();
            self.makers.take_substituted();
        }
        let built = built?;
        self.step(Step::Staged)?;
        Ok(built)
    }

    /// Makes a batch a fact.
    fn plan(&mut self, built: Built, now_ns: i64) -> Result<Vec<Planned>, AgentError> {
        let plan = Plan {
            logs: built.logs,
            objects: built.objects,
            next_seq: built.next_seq,
        };
        if !plan.logs.is_empty() || !plan.objects.is_empty() {
            self.state.plan(&plan)?;
            self.step(Step::Planned)?;
        }
        self.identity.next_seq = plan.next_seq;
        for log in plan.logs {
            self.waits.remove(&log.key);
            if let Some(held) = self.held.get_mut(&log.source) {
                held.behind_ns = None;
            }
            self.logs.insert(log.key.clone(), log);
        }
        for (key, bytes) in built.held {
            let Some(log) = self.logs.get(&key) else {
                continue;
            };
            let waits = Waits {
                offset: log.offset,
                bytes,
                since_ns: now_ns,
            };
            let old = self.waits.get(&key).copied();
            let since_ns = match old {
                Some(old) if old.offset == log.offset => old.since_ns,
                _ => now_ns,
            };
            self.waits.insert(key, Waits { since_ns, ..waits });
        }
        self.counts.read_bytes += built.read_bytes;
        for (cause, bytes) in built.lost.into_iter().filter(|(_, bytes)| *bytes > 0) {
            *self.counts.lost.entry(cause).or_default() += bytes;
        }
        self.counts.times_substituted += self.makers.take_substituted();
        let redacted = self.makers.take_redacted();
        self.counts.redacted.resize(redacted.len(), 0);
        for (sum, count) in self.counts.redacted.iter_mut().zip(redacted) {
            *sum += count;
        }
        for (key, trouble) in built.troubles {
            self.troubled(&key, trouble);
        }
        for planned in &plan.objects {
            self.counts.rows += planned.rows;
            self.counts.planned_bytes += planned.raw_bytes;
            self.outstanding
                .insert(planned.key.clone(), planned.clone());
        }
        Ok(plan.objects)
    }

    fn troubled(&mut self, key: &LogKey, trouble: Trouble) {
        let Some(log) = self.logs.get_mut(key) else {
            return;
        };
        let path = log.description.path.display().to_string();
        match trouble {
            Trouble::Truncated if log.source == log.key.src => {
                self.truncated.insert(key.clone());
            }
            Trouble::Truncated => {
                log.phase = Phase::Lost(log.size.max(log.offset), Loss::Truncated);
                self.tell(format!(
                    "{path}: the copy of a truncated log was changed; the rest of it is lost"
                ));
            }
            Trouble::Vanished(error) => {
                log.phase = Phase::Lost(log.size.max(log.offset), Loss::Vanished);
                self.tell(format!(
                    "{path}: its pin is gone ({error}); what was not shipped is lost"
                ));
            }
            Trouble::Unreadable(error) => self.tell(format!(
                "{path}: cannot be read ({error}); it is tried again"
            )),
        }
    }

    /// Why nothing may be read now.
    fn pause(&self) -> Result<Option<Pause>, AgentError> {
        if self.staged_bytes() >= self.config.state.staging_bytes {
            return Ok(Some(Pause::StagingFull));
        }
        let path = self.staging();
        let free = match rustix::fs::statvfs(&path) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(error) => {
                return Err(AgentError::Staging {
                    path,
                    source: error.into(),
                });
            }
        };
        Ok((free < self.config.state.reserved_bytes).then_some(Pause::DiskFull))
    }

    fn staged_bytes(&self) -> u64 {
        self.outstanding.values().map(|planned| planned.len).sum()
    }

    /// What is planned and not known to be in the archive.
    pub fn outstanding(&self) -> impl Iterator<Item = &Planned> {
        self.outstanding.values()
    }

    /// Where the bytes of a planned object are.
    pub fn staged_path(&self, planned: &Planned) -> PathBuf {
        self.staging().join(&planned.staged)
    }

    /// An object is in the archive: it is committed, and its staged file goes.
    pub fn commit(&mut self, key: &str) -> Result<(), AgentError> {
        self.step(Step::Put)?;
        self.state.commit(key)?;
        self.step(Step::Committed)?;
        if let Some(planned) = self.outstanding.remove(key) {
            let path = self.staged_path(&planned);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(AgentError::Staging { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes another configuration. What is planned stays as it is.
    pub fn reload(&mut self, config: Arc<Config>) -> Result<(), AgentError> {
        let rules = Arc::new(Rules::new(config.clone()));
        self.makers = Makers::new(rules.clone(), self.age)?;
        self.scanner.set_rules(rules);
        self.config = config;
        Ok(())
    }

    /// Goes on under another claim.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Who the agent is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The state, for claims.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The logs, in the order of their keys.
    pub fn logs(&self) -> impl Iterator<Item = &Log> + Clone {
        self.logs.values()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        let mut standing = Standing {
            behind_bytes: self.behind(),
            staged_bytes: self.staged_bytes(),
            staged_objects: self.outstanding.len() as u64,
            ..Standing::default()
        };
        for held in self.held.values() {
            match held.pin.kind() {
                PinKind::Linked => standing.linked += 1,
                PinKind::Descriptor(why) => *standing.unlinked.entry(why).or_default() += 1,
            }
            if let Some(stat) = held.stat
                && held.pin.is_last(&stat)
            {
                standing.held_bytes += stat.disk_bytes;
            }
            if let Reads::Log(key) = &held.reads
                && let Some(since) = held.behind_ns
                && self.logs.get(key).is_some_and(|log| log.behind() > 0)
            {
                standing.oldest_ns = Some(standing.oldest_ns.map_or(since, |old| old.min(since)));
            }
        }
        if let Some(planned) = self.outstanding.values().map(|one| one.planned_ns).min() {
            standing.oldest_ns = Some(standing.oldest_ns.map_or(planned, |old| old.min(planned)));
        }
        standing
    }

    /// Whether this file is held.
    pub fn holds(&self, id: &FileId) -> bool {
        self.held.values().any(|held| held.pin.id == *id)
    }

    fn tell(&mut self, message: String) {
        if self.counts.messages.len() < MAX_MESSAGES {
            self.counts.messages.push(message);
        }
    }

    fn step(&self, step: Step) -> Result<(), AgentError> {
        match (self.hook)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(AgentError::Ended(step)),
        }
    }
}

/// Which files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Those that changed lately.
    Hot,
    /// All.
    All,
}

/// Looks at one file: its size, and whether it was truncated. Gives what is to be told.
fn look_at(
    held: &mut Held,
    logs: &mut BTreeMap<LogKey, Log>,
    side_copies: &HashMap<LogKey, SideCopy>,
    truncated: &mut HashSet<LogKey>,
    now_ns: i64,
) -> Option<String> {
    let stat = match held.pin.stat() {
        Ok(stat) => stat,
        Err(error) => {
            if let Reads::Log(key) = &held.reads
                && let Some(log) = logs.get_mut(key)
                && matches!(log.phase, Phase::Open | Phase::Draining)
            {
                log.phase = Phase::Lost(log.size.max(log.offset), Loss::Vanished);
                return Some(format!(
                    "{}: its pin is gone ({error}); what was not shipped is lost",
                    held.description.path.display()
                ));
            }
            return None;
        }
    };
    let before = held.stat.replace(stat);
    if before.is_none_or(|before| before.size != stat.size) {
        held.changed_ns = now_ns;
        held.grown_ns = now_ns;
    }
    let is_written = before.is_none_or(|before| before.mtime_ns != stat.mtime_ns);
    let Reads::Log(key) = &held.reads else {
        return None;
    };
    let log = logs.get_mut(key)?;
    // What it was before is known; what it is now is another epoch's.
    if truncated.contains(key) {
        return None;
    }
    let is_own = log.source == log.key.src;
    match log.phase {
        Phase::Open if is_own && stat.size < log.size.max(log.offset) => {
            truncated.insert(key.clone());
        }
        // It was truncated and has grown to what it was, or beyond.
        Phase::Open
            if is_own
                && (is_written || stat.size != log.size)
                && !still_is(&held.pin, log, side_copies.get(key)) =>
        {
            truncated.insert(key.clone());
        }
        Phase::Open => log.size = stat.size,
        // Written to after its end: it goes on.
        Phase::Ended if stat.size > log.offset => {
            log.phase = if is_own { Phase::Open } else { Phase::Draining };
            log.size = stat.size;
        }
        Phase::Ended if is_own && stat.size < log.offset => {
            log.phase = Phase::Open;
            truncated.insert(key.clone());
        }
        Phase::Draining | Phase::Lost(..) | Phase::Ended => {}
    }
    held.behind_ns = match log.behind() {
        0 => None,
        _ => held.behind_ns.or(Some(now_ns)),
    };
    None
}

/// Whether the file still is what was read of it, or copied from it; yes if it cannot be read now.
fn still_is(pin: &Pin, log: &Log, copy: Option<&SideCopy>) -> bool {
    let copy = copy.filter(|copy| copy.continues(log));
    if log.seen.tail.is_empty() && copy.is_none() {
        return true;
    }
    pin.open().map_or(true, |file| {
        batch::is_still(&file, log) && copy.is_none_or(|copy| copy.agrees_with(&file))
    })
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
