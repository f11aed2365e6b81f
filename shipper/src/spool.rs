//! Pins: hard links, in folders of our own, to files that jobs write, so that a file outlives the removal of its sandbox.
//!
//! ```text
//! <folder>/agent             the agent's id and the machine that it was made on
//! <folder>/lock              held while an agent runs
//! <folder>/pins/<src>        a hard link
//! <folder>/pins/<src>.json   what it is a link to
//! <folder>/side/…            side copies of logs that are truncated in place
//! ```
//!
//! Each mount that has files to keep needs a folder of its own, since a link cannot cross mounts. One agent has one id: all its
//! folders carry the same. Where a file cannot be linked, an open descriptor holds it as long as the agent runs, and is counted.

mod description;
mod folder;
mod side_copy;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use archive::AgentId;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

pub use description::{Description, MAX_DESCRIPTION_BYTES};
use folder::Folder;
pub use side_copy::{Copied, SIDE, SideCopy};

use crate::beneath::{self, Beneath};
use crate::file_id::{FileId, FileStat, Inode, Src};
use crate::scan::Found;

/// How many threads make descriptions durable at once: one commit of the file system's journal then serves several.
const SYNC_THREADS: usize = 8;

/// A file that we hold.
#[derive(Debug)]
pub struct Pin {
    /// Its name.
    pub src: Src,
    /// What it is.
    pub id: FileId,
    hold: Hold,
}

/// How a file is held.
#[derive(Debug)]
enum Hold {
    /// By a hard link at this path.
    Linked(PathBuf),
    /// By an open descriptor.
    Descriptor(File, Unlinked),
}

/// Why a file could not be linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unlinked {
    /// The system protects files of others from being linked, and we lack the right (`protected_hardlinks`, `CAP_FOWNER`).
    Denied,
    /// No folder of the spool is on the file's mount.
    OtherMount,
    /// The file belongs to a quota project, which a link would carry into the next job that gets the project's number.
    Project,
    /// The file has as many names as the file system allows.
    TooManyLinks,
    /// The file had lost its last name before it could be linked.
    Gone,
    /// The file system knows no hard links, or is read-only, or its disk is full.
    NotSupported,
}

impl Unlinked {
    /// All of them, for counters.
    pub const ALL: [Self; 6] = [
        Self::Denied,
        Self::OtherMount,
        Self::Project,
        Self::TooManyLinks,
        Self::Gone,
        Self::NotSupported,
    ];
}

/// Whether a pin outlives the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    /// It does: a hard link.
    Linked,
    /// It does not: an open descriptor, and why.
    Descriptor(Unlinked),
}

impl Pin {
    /// Whether the pin outlives the agent, and if not, why.
    pub fn kind(&self) -> PinKind {
        match &self.hold {
            Hold::Linked(_) => PinKind::Linked,
            Hold::Descriptor(_, why) => PinKind::Descriptor(*why),
        }
    }

    /// The file, opened for reading, with an offset of its own. An error of kind `NotFound` where somebody removed the link from
    /// the spool; one that holds [`SpoolError::Replaced`] where there is another file in its place.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match &self.hold {
            Hold::Linked(path) => {
                let file = rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty())?;
                self.check(path, &beneath::stat(&file)?)?;
                Ok(File::from(file))
            }
            Hold::Descriptor(file, _) => {
                let path = beneath::by_descriptor(file.as_fd());
                Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
            }
        }
    }

    /// What the file is like now. `links == 1` of a linked pin, `0` of a descriptor: nobody else has it any more.
    pub fn stat(&self) -> io::Result<FileStat> {
        match &self.hold {
            Hold::Linked(path) => {
                let stat = beneath::stat_at(CWD, path)?;
                self.check(path, &stat)?;
                Ok(stat)
            }
            Hold::Descriptor(file, _) => beneath::stat(file),
        }
    }

    /// The link in the spool, if there is one.
    pub fn link(&self) -> Option<&Path> {
        match &self.hold {
            Hold::Linked(path) => Some(path),
            Hold::Descriptor(..) => None,
        }
    }

    /// Whether the link is still the file that it was made to. The device's number may be another one after a restart.
    fn check(&self, path: &Path, stat: &FileStat) -> io::Result<()> {
        if self.id.may_be(&stat.id) {
            return Ok(());
        }
        Err(io::Error::other(SpoolError::Replaced {
            path: path.to_owned(),
            expected: self.id.inode(),
        }))
    }

    /// Whether nobody but us holds a file of this many names.
    pub fn is_last(&self, stat: &FileStat) -> bool {
        let ours = match self.hold {
            Hold::Linked(_) => 1,
            Hold::Descriptor(..) => 0,
        };
        stat.links <= ours
    }
}

/// Who the agent is, as its folders say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The same as at the last start.
    Kept,
    /// The folders were empty: a new id.
    New,
    /// The folders were made on another machine: they are a copy. A new id; the pins of the old one were set aside.
    Cloned {
        /// The id that the copy carried.
        old: AgentId,
    },
}

/// What lay in the folders at the start.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every pin, and what it is if that can be read; in the order of names.
    pub pins: Vec<(Pin, Option<Description>)>,
    /// Descriptions without a pin were removed: so many.
    pub orphans: u64,
    /// Files of other names, left alone.
    pub strangers: Vec<PathBuf>,
}

/// A file system that folders of the spool lie on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The folder.
    pub folder: PathBuf,
    /// The device's number: that of the files pinned in it.
    pub dev: u64,
    /// The size of the file system in bytes.
    pub size_bytes: u64,
    /// What is free for us there in bytes.
    pub free_bytes: u64,
}

/// The spool: all its folders.
#[derive(Debug)]
pub struct Spool {
    agent: AgentId,
    folders: Vec<Folder>,
    /// What is not durable yet.
    unsettled: Mutex<Vec<PathBuf>>,
    /// Folders of side copies whose names are not durable yet.
    unsettled_sides: Mutex<BTreeSet<PathBuf>>,
}

/// Whether a link can be made from a root of a rule to the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A folder of the spool is on the same mount, and a link within it was made and removed.
    Linkable {
        /// The folder.
        folder: PathBuf,
    },
    /// None is: files below the root will be held by descriptors.
    Unlinkable {
        /// Why.
        why: Unlinked,
        /// In words, with what to do.
        advice: String,
    },
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// An operation of the file system failed.
    #[error("{operation} {}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent runs on this host with the same folder.
    #[error("{}: another agent holds this spool; two agents on one host would ship everything twice", .path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder can be written by others than its owner, or belongs to somebody else.
    #[error("{}: {problem}; the spool must be a folder of the agent's own that nobody else can write to", .path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The `agent` file cannot be understood.
    #[error("{}: {problem}", .path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Two folders carry ids of two agents.
    #[error("{} belongs to agent {one}, {} to agent {two}: one agent has one id; remove the folder that is not this host's", .first.display(), .second.display())]
    TwoAgents {
        /// A folder.
        first: PathBuf,
        /// Its agent.
        one: AgentId,
        /// Another folder.
        second: PathBuf,
        /// Its agent.
        two: AgentId,
    },
    /// The link in the spool is not the file any more that it was made to.
    #[error("{}: the pin was replaced by another file", .path.display())]
    Replaced {
        /// The link.
        path: PathBuf,
        /// The file that was expected.
        expected: Inode,
    },
}

impl SpoolError {
    fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// What holds a file of this name in the folders: its pin, or the side copy that a log is read from. They are neither locked
/// nor changed by asking.
pub fn held_at(folders: &[PathBuf], src: &Src) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let pin = folder.join("pins").join(src.as_str());
        if std::fs::symlink_metadata(&pin).is_ok() {
            return Some(pin);
        }
        let begins = format!("{src}~");
        let entries = std::fs::read_dir(folder.join(SIDE)).ok()?;
        entries.filter_map(Result::ok).find_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.starts_with(&begins).then(|| entry.path())
        })
    })
}

/// The id of the agent that the folders belong to, as far as they tell. They are neither locked nor changed by asking.
pub fn recorded_agent(folders: &[PathBuf]) -> Option<AgentId> {
    folders.iter().find_map(|folder| folder::recorded(folder))
}

impl Spool {
    /// Opens the folders, makes what is missing in them, and locks them until the value is dropped. `machine` is what tells this
    /// machine from a copy of it (`/etc/machine-id`); `random` gives a new id if one is needed.
    pub fn open(
        folders: &[PathBuf],
        machine: &str,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<(Self, Identity), SpoolError> {
        let mut opened = Vec::new();
        for path in folders {
            opened.push(Folder::open(path)?);
        }
        let mut ours: Option<(usize, AgentId)> = None;
        let mut foreign = None;
        let mut marks = Vec::new();
        for (at, folder) in opened.iter().enumerate() {
            let mark = folder.mark()?;
            match &mark {
                Some(mark) if mark.is_of(machine) => match ours {
                    Some((first, one)) if one != mark.agent => {
                        return Err(SpoolError::TwoAgents {
                            first: opened[first].path().to_owned(),
                            one,
                            second: folder.path().to_owned(),
                            two: mark.agent,
                        });
                    }
                    _ => ours = Some((at, mark.agent)),
                },
                Some(mark) => foreign = foreign.or(Some(mark.agent)),
                None => {}
            }
            marks.push(mark);
        }
        let (agent, identity) = match (ours, foreign) {
            (Some((_, agent)), _) => (agent, Identity::Kept),
            (None, Some(old)) => (AgentId(random()), Identity::Cloned { old }),
            (None, None) => (AgentId(random()), Identity::New),
        };
        for (folder, mark) in opened.iter_mut().zip(marks) {
            match mark {
                Some(mark) if mark.agent == agent && mark.is_of(machine) && !mark.adopted => {}
                Some(mark) if mark.is_of(machine) => folder.set_mark(agent, machine)?,
                Some(mark) => {
                    folder.set_pins_aside(mark.agent)?;
                    folder.set_mark(agent, machine)?;
                }
                None => folder.set_mark(agent, machine)?,
            }
            folder.prepare_pins()?;
        }
        let spool = Self {
            agent,
            folders: opened,
            unsettled: Mutex::default(),
            unsettled_sides: Mutex::default(),
        };
        Ok((spool, identity))
    }

    /// The agent's id.
    pub fn agent(&self) -> AgentId {
        self.agent
    }

    /// Everything that is pinned: for the start. Leftovers of a crash are removed.
    pub fn list(&self) -> Result<Listing, SpoolError> {
        let mut listing = Listing::default();
        for folder in &self.folders {
            folder.list(&mut listing)?;
        }
        listing
            .pins
            .sort_by(|(one, _), (two, _)| one.src.cmp(&two.src));
        Ok(listing)
    }

    /// Whether files below `root` can be linked: tries it with a file of our own where we may write, else compares mounts. To be
    /// asked at the start for each root.
    pub fn prove(&self, root: &Path) -> Proof {
        let unlinkable = |why, advice: String| Proof::Unlinkable { why, advice };
        let root_stat = match Beneath::open(root).and_then(|root| root.stat()) {
            Ok(stat) => stat,
            Err(error) => {
                return unlinkable(Unlinked::Gone, format!("{}: {error}", root.display()));
            }
        };
        let Some(folder) = self.folders.iter().find(|one| one.dev() == root_stat.dev) else {
            let advice = format!(
                "no folder of the spool is on the file system of {}: add one to [spool] folders",
                root.display()
            );
            return unlinkable(Unlinked::OtherMount, advice);
        };
        let other_mount = || {
            let advice = format!(
                "{} and {} are on one file system, but on two mounts of it, and a link cannot leave its mount: \
                 make both visible through one mount (in a systemd unit: no ReadWritePaths or BindPaths between them)",
                folder.path().display(),
                root.display()
            );
            unlinkable(Unlinked::OtherMount, advice)
        };
        match (folder.mount(), root_stat.mount) {
            (Some(one), Some(two)) if one != two => return other_mount(),
            _ => {}
        }
        if let Some(problem) = folder.project_problem() {
            return unlinkable(Unlinked::Project, problem);
        }
        match folder.try_link(root) {
            Ok(()) => Proof::Linkable {
                folder: folder.path().to_owned(),
            },
            Err(Errno::XDEV) => other_mount(),
            Err(error) => unlinkable(
                Unlinked::NotSupported,
                format!("a test link in {} failed: {error}", folder.path().display()),
            ),
        }
    }

    /// Pins a file that a scan found. Never fails for want of a link: then the descriptor holds the file, and the pin says why.
    /// `random` becomes part of the name where the file has no birth time. `found_ns` is now. If the file is pinned already
    /// under the same name, this gives that pin again.
    ///
    /// The link and its description reach the disk with [`Spool::settle`]: call it after each pass, before the state database
    /// learns of the files.
    pub fn pin(
        &self,
        found: Found,
        found_ns: i64,
        random: u64,
    ) -> Result<(Pin, Description), SpoolError> {
        let id = found.stat.id;
        let src = id.src(self.agent, random);
        let description = Description::new(src.clone(), id, &found, found_ns);
        let linked = match self.folders.iter().find(|folder| folder.dev() == id.dev) {
            Some(folder) => folder.link(&found.file, &description)?,
            None => Err(Unlinked::OtherMount),
        };
        let hold = match linked {
            Ok(path) => {
                lock(&self.unsettled).push(path.clone());
                Hold::Linked(path)
            }
            Err(why) => Hold::Descriptor(found.file, why),
        };
        Ok((Pin { src, id, hold }, description))
    }

    /// Makes all pins since the last call durable.
    pub fn settle(&self) -> Result<(), SpoolError> {
        let unsettled = std::mem::take(&mut *lock(&self.unsettled));
        let settled = self.sync(&unsettled);
        if settled.is_err() {
            lock(&self.unsettled).extend(unsettled);
        }
        settled
    }

    fn sync(&self, links: &[PathBuf]) -> Result<(), SpoolError> {
        if links.is_empty() {
            return Ok(());
        }
        let share = links.len().div_ceil(SYNC_THREADS).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = links
                .chunks(share)
                .map(|links| {
                    scope.spawn(move || {
                        links
                            .iter()
                            .try_for_each(|link| folder::sync_description(link))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        self.folders.iter().try_for_each(Folder::sync_pins)
    }

    /// Lets a file go. Nothing remains of a pin that was already gone.
    pub fn unpin(&self, pin: Pin) -> Result<(), SpoolError> {
        let path = match pin.hold {
            Hold::Linked(path) => path,
            Hold::Descriptor(file, _) => {
                drop(file);
                return Ok(());
            }
        };
        // The link first: a description without a link is a leftover, a link without one a file of unknown owner.
        for path in [path.clone(), folder::description_path(&path)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SpoolError::io("remove", &path, error));
                }
                _ => {}
            }
        }
        lock(&self.unsettled).retain(|unsettled| *unsettled != path);
        Ok(())
    }

    /// How large the folders' file systems are and what is free there, one for each folder.
    pub fn usage(&self) -> Result<Vec<Usage>, SpoolError> {
        self.folders.iter().map(Folder::usage).collect()
    }
}

/// The value behind a lock whose holders do not panic halfway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
