//! The walk over everything that rules speak of: finds files that are not known yet, and what became of the others.
//!
//! Folders whose modification time has not changed are not read again, except once in a while, to be safe. A file is known by
//! its inode: as long as the caller holds it (a pin, or an open descriptor), the number cannot come to mean another file.
//! Everything here blocks: run it on a thread that may.

mod walk;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::beneath::{Beneath, NotOpened};
use crate::file_id::{FileStat, Inode};
use crate::identity::AgentState;
use crate::rules::{Owner, Rules, WalkId};
use walk::{Folder, Level, Pass, place_of};

/// The most folders that are remembered, in folders; what lies beyond is not seen, and noted.
pub const MAX_FOLDERS: usize = 500_000;

/// The most entries of one folder that are looked at, in entries; what lies beyond is not seen, and noted.
pub const MAX_ENTRIES: usize = 200_000;

/// The deepest folder below a root that is looked into, in folders.
pub const MAX_DEPTH: usize = 32;

/// A folder is read again after so many passes even if nothing says that it has changed.
pub const PASSES_UNTIL_READ_AGAIN: u64 = 24;

/// How many passes a file waits for its job to be known exactly, in passes.
pub const MAX_PASSES_WAITING: u8 = 2;

/// A folder that changed so shortly before it was read may change again without its time showing it, in ns.
const TIME_GRAIN_NS: i64 = 2_000_000_000;

/// A file that was not known, opened.
#[derive(Debug)]
pub struct Found {
    /// The file: a regular one, opened for reading beneath the rule's folder through no link.
    pub file: File,
    /// What it was like when it was opened, by its descriptor.
    pub stat: FileStat,
    /// Where it lay then: absolute.
    pub path: PathBuf,
    /// The rule that took it.
    pub rule: Arc<str>,
    /// Whose it is.
    pub owner: Owner,
}

/// What a pass sees.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is handed on at once"
)]
pub enum Seen {
    /// A file that is not known. To be pinned at once: the next pass may be too late. Answer [`Answer::Kept`] once it is held.
    New(Found),
    /// A known file lies elsewhere than before: it was renamed. Not told of the first place of a file made known by
    /// [`Scanner::know`] with a place that holds.
    Moved {
        /// The file.
        inode: Inode,
        /// Where it lies now.
        path: PathBuf,
    },
    /// An executor is done: what its files hold now is all that they will hold. Told once for each folder of a run.
    Done {
        /// The run's folder, as in [`Owner::run_dir`].
        run_dir: Arc<Path>,
    },
}

/// What the caller did with what was seen. Only [`Seen::New`] asks for more than [`Answer::Kept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is held (pinned, or its descriptor kept): it is known from now on.
    Kept,
    /// It is not held: it is seen again at the next pass.
    Again,
    /// It is not wanted: it is left alone as long as its inode lies there.
    Left,
}

/// What a pass came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Folders that were looked at.
    pub folders: u64,
    /// Folders that were read, because they had changed or had not been read for long.
    pub folders_read: u64,
    /// Files that lie there and that a rule takes, known or not.
    pub files: u64,
    /// Files told as [`Seen::New`].
    pub new_files: u64,
    /// Files held back until the agent was asked: give [`Scanner::set_agent_state`] a fresh answer, or a failure, and scan
    /// again at once. They are told at the pass after the next in any case.
    pub waiting_for_agent: u64,
    /// What could not be read and why, in words; at most [`MAX_NOTES`] of them.
    pub notes: Vec<Note>,
    /// Notes beyond those.
    pub more_notes: u64,
}

/// The most notes of one pass, in notes.
pub const MAX_NOTES: usize = 64;

/// Something that could not be done with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where.
    pub path: PathBuf,
    /// What kind of trouble: for counters.
    pub trouble: Trouble,
    /// What the system said.
    pub cause: String,
}

/// Kinds of trouble with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// No right to read it.
    Denied,
    /// A link, or a way out of the folder, where none may be.
    Link,
    /// Not a regular file.
    NotAFile,
    /// A hard link that may have been made to a file that its maker cannot read.
    ForeignLink,
    /// A limit was reached.
    Limit,
    /// Anything else that the system refused.
    Other,
}

/// Walks the folders, again and again.
#[derive(Debug)]
pub struct Scanner {
    rules: Arc<Rules>,
    known: Known,
    walks: Vec<Walk>,
    agent: Option<Arc<AgentState>>,
    pass: u64,
}

/// The files that the caller holds, and where they lay when they were last seen.
type Known = HashMap<Inode, Option<Place>>;

/// A path in short: its hash. Only for telling whether it is another one than before.
type Place = u64;

/// One root, and what is remembered of it.
#[derive(Debug)]
struct Walk {
    id: WalkId,
    root: PathBuf,
    top: Folder,
}

impl Scanner {
    /// A scanner that knows nothing yet. Nothing is opened here.
    pub fn new(rules: Arc<Rules>) -> Self {
        let mut scanner = Self {
            walks: Vec::new(),
            rules: rules.clone(),
            known: Known::new(),
            agent: None,
            pass: 0,
        };
        scanner.set_rules(rules);
        scanner
    }

    /// Makes a file known that is held from before: call it for every pin before the first pass. `path` is where it lay then, if
    /// that is known: whether it was renamed meanwhile is told from it.
    pub fn know(&mut self, inode: Inode, path: Option<&Path>) {
        self.known.insert(inode, path.map(place_of));
    }

    /// Forgets a file: call it before its pin goes, or its inode may come to mean another file unseen.
    pub fn forget(&mut self, inode: Inode) {
        self.known.remove(&inode);
    }

    /// How many files are known.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// Takes new rules, after the configuration was read again. Known files stay known; everything is read again.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.walks = rules
            .walks()
            .into_iter()
            .map(|(id, root)| {
                let level = match rules.pattern(id) {
                    Some(pattern) => Level::Glob(pattern.begin()),
                    None => Level::Slaves,
                };
                Walk {
                    id,
                    root,
                    top: Folder::new(level),
                }
            })
            .collect();
        self.rules = rules;
    }

    /// What the agent said last, or `None` if it did not answer.
    pub fn set_agent_state(&mut self, state: Option<Arc<AgentState>>) {
        self.agent = state;
    }

    /// One pass. `wall_ns` is the system's wall clock in ns since 1970, the one that files' times are taken from: never a
    /// test's own, since a folder that changed within the last moments is read again because of it.
    pub fn scan(&mut self, wall_ns: i64, seen: &mut dyn FnMut(Seen) -> Answer) -> Summary {
        self.pass += 1;
        let mut summary = Summary::default();
        let mut folders_left = MAX_FOLDERS;
        for walk in &mut self.walks {
            let root = match Beneath::open(&walk.root) {
                Ok(root) => root,
                // A root may come later: nothing is wrong with a host that has no sandbox yet.
                Err(NotOpened::Gone) => {
                    walk.top.clear();
                    continue;
                }
                Err(error) => {
                    summary.note(&walk.root, error);
                    continue;
                }
            };
            Pass {
                rules: &self.rules,
                known: &mut self.known,
                agent: self.agent.as_deref(),
                number: self.pass,
                wall_ns,
                id: walk.id,
                root: &root,
                root_path: &walk.root,
                folders_left: &mut folders_left,
                summary: &mut summary,
                seen,
            }
            .run(&mut walk.top);
        }
        summary
    }
}

impl Summary {
    fn note(&mut self, path: &Path, error: NotOpened) {
        let trouble = match error {
            NotOpened::Denied => Trouble::Denied,
            NotOpened::Link | NotOpened::ForeignLink(_) => Trouble::Link,
            NotOpened::Kind => Trouble::NotAFile,
            NotOpened::Gone | NotOpened::Busy | NotOpened::System(_) => Trouble::Other,
        };
        self.push_note(Note {
            path: path.to_owned(),
            trouble,
            cause: error.to_string(),
        });
    }

    fn push_note(&mut self, note: Note) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        } else {
            self.more_notes += 1;
        }
    }
}

#[cfg(test)]
mod tests;
