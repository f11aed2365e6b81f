//! Which of an instance's files to read: decided from one listing after the other.
//!
//! The tracker reads nothing and waits for nothing. It is told what a listing found and how far each reader is, and answers
//! with what to start, release and close. A fresh file is opened at once but held back until the one before it is drained, so
//! a chain's lines keep their order; a renamed file is kept open beside it, because its writer may still have it open.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::chain::{ChainKey, Link, Rank};
use crate::transport::FileId;

/// How long a file must have been silent, with nothing left to read, to count as drained.
const DRAINED_AFTER: Duration = Duration::from_millis(500);

/// How long a renamed file, or an earlier run's, is kept open after that.
const KEPT_OPEN: Duration = Duration::from_mins(1);

/// Drained files of one chain that are kept open, at most.
const KEPT_PER_CHAIN: usize = 2;

/// Listings in a row that must miss a file for it to count as removed; one may look just while it is renamed.
const MISSES: u32 = 2;

/// Files of one instance that are read at once, at most.
pub const FILES_PER_INSTANCE: usize = 2048;

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With the history that was asked for, reaching into these older files of the chain (newest first) if it must.
    History(Vec<Link>),
    /// At the first byte: the file was born later.
    AtZero,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read this file.
    Start {
        /// The file.
        link: Link,
        /// Where to begin.
        begin: Begin,
        /// Whether its lines must wait for those of the file before it.
        hold: Hold,
    },
    /// Let a held file's lines go.
    Release(FileId),
    /// Stop reading this file: it is drained and nobody writes to it any more.
    Close(FileId),
    /// There are more files than can be read; this one is not.
    Refuse(Link),
}

/// Whether a file's lines wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// They go at once.
    Free,
    /// They wait for [`Action::Release`].
    Held,
}

/// How far a file's reader is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The offset of the next byte to read.
    pub offset: u64,
    /// How long nothing has come; nothing where the file is not open just now, or what was read has not been let go.
    pub idle: Option<Duration>,
}

/// Follows an instance's files over time.
#[derive(Debug, Default)]
pub struct Tracker {
    files: HashMap<FileId, Tracked>,
    /// Files that were there before ours and are not read, with their last place.
    older: HashMap<FileId, (ChainKey, Rank)>,
    /// The files that were read as live ones at the listing before.
    live: HashSet<FileId>,
    /// Files refused so far, so that each is said once.
    refused: HashSet<FileId>,
    begun: bool,
}

#[derive(Debug)]
struct Tracked {
    chain: ChainKey,
    rank: Rank,
    size: u64,
    misses: u32,
    /// When a newer file of the chain was first seen.
    succeeded: Option<Instant>,
    hold: Hold,
}

impl Tracker {
    /// Takes a listing's links, sorted as [`crate::chain::Layout::links`] does.
    pub fn update(
        &mut self,
        links: &[Link],
        progress: impl Fn(FileId) -> Progress,
        now: Instant,
    ) -> Vec<Action> {
        self.live = self
            .files
            .iter()
            .filter(|(_, file)| file.rank.rotation.is_live())
            .map(|(id, _)| *id)
            .collect();
        for file in self.files.values_mut() {
            file.misses += 1;
        }
        for link in links {
            if let Some(file) = self.files.get_mut(&link.stat.id) {
                file.misses = 0;
                file.rank = link.rank;
                // It may be less than before: of a truncated file nobody can read what is gone.
                file.size = link.stat.size;
            }
        }
        let mut actions = Vec::new();
        let mut older = HashMap::new();
        for chain in links.chunk_by(|a, b| a.chain == b.chain) {
            self.update_chain(chain, &mut older, &mut actions);
        }
        self.older = older;
        self.begun = true;
        self.mark_succeeded(now);
        actions.extend(self.poll(progress, now));
        actions
    }

    fn update_chain(
        &mut self,
        chain: &[Link],
        older: &mut HashMap<FileId, (ChainKey, Rank)>,
        actions: &mut Vec<Action>,
    ) {
        let Some(newest) = chain.last() else { return };
        let key = &newest.chain;
        let mut oldest_read = self
            .files
            .values()
            .filter(|file| file.chain == *key)
            .map(|file| file.rank)
            .min();
        // The runs whose live file was read before this listing and is live still.
        let live_runs: Vec<u32> = chain
            .iter()
            .filter(|link| link.rank.rotation.is_live() && self.live.contains(&link.stat.id))
            .map(|link| link.rank.run)
            .collect();
        for (at, link) in chain.iter().enumerate() {
            let id = link.stat.id;
            if self.files.contains_key(&id) {
                continue;
            }
            // Renaming only ever makes a file older. One that got newer is another file with a reused inode.
            let was_older = self
                .older
                .get(&id)
                .is_some_and(|(chain, rank)| chain == key && !link.rank.was_renewed(*rank));
            let before_ours = match oldest_read {
                Some(oldest) => link.rank < oldest,
                None => !self.begun && at + 1 < chain.len(),
            };
            // What appears beside a live file that has not moved was not renamed from there: it is a copy of it.
            let is_copy = !link.rank.rotation.is_live() && live_runs.contains(&link.rank.run);
            if was_older || before_ours || is_copy {
                older.insert(id, (key.clone(), link.rank));
                continue;
            }
            if self.files.len() >= FILES_PER_INSTANCE {
                if self.refused.insert(id) {
                    actions.push(Action::Refuse(link.clone()));
                }
                continue;
            }
            let begin = if self.begun {
                Begin::AtZero
            } else {
                Begin::History(chain[..at].iter().rev().cloned().collect())
            };
            let hold = if self.files.values().any(|file| file.chain == *key) {
                Hold::Held
            } else {
                Hold::Free
            };
            oldest_read.get_or_insert(link.rank);
            self.files.insert(
                id,
                Tracked {
                    chain: key.clone(),
                    rank: link.rank,
                    size: link.stat.size,
                    misses: 0,
                    succeeded: None,
                    hold,
                },
            );
            actions.push(Action::Start {
                link: link.clone(),
                begin,
                hold,
            });
        }
    }

    fn mark_succeeded(&mut self, now: Instant) {
        let mut newest: HashMap<ChainKey, (Rank, FileId)> = HashMap::new();
        for (id, file) in self.files.iter().filter(|(_, file)| file.misses == 0) {
            let entry = newest.entry(file.chain.clone()).or_insert((file.rank, *id));
            if file.rank > entry.0 {
                *entry = (file.rank, *id);
            }
        }
        for (id, file) in &mut self.files {
            let is_newest = newest
                .get(&file.chain)
                .is_none_or(|(_, newest)| newest == id);
            if is_newest {
                file.succeeded = None;
            } else {
                file.succeeded.get_or_insert(now);
            }
        }
    }

    /// What can be released or closed by now.
    pub fn poll(&mut self, progress: impl Fn(FileId) -> Progress, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let drained = |id: FileId, file: &Tracked| {
            let progress = progress(id);
            progress.offset >= file.size && progress.idle.is_some_and(|idle| idle >= DRAINED_AFTER)
        };
        // A file is free once every older one of its chain that is still read is drained and free itself.
        let held: Vec<FileId> = self
            .files
            .iter()
            .filter(|(_, file)| file.hold == Hold::Held)
            .map(|(id, _)| *id)
            .collect();
        for id in held {
            let file = &self.files[&id];
            let blocked = self.files.iter().any(|(other_id, other)| {
                *other_id != id
                    && other.chain == file.chain
                    && precedes(other, file)
                    && (other.hold == Hold::Held || !drained(*other_id, other))
            });
            if !blocked && let Some(file) = self.files.get_mut(&id) {
                file.hold = Hold::Free;
                actions.push(Action::Release(id));
            }
        }
        let mut close = Vec::new();
        let mut gone = Vec::new();
        let mut kept: HashMap<&ChainKey, Vec<(Instant, FileId)>> = HashMap::new();
        for (id, file) in self
            .files
            .iter()
            .filter(|(id, file)| file.hold == Hold::Free && drained(**id, file))
        {
            match file.succeeded {
                _ if file.misses >= MISSES => gone.push(*id),
                Some(at) if now.duration_since(at) >= KEPT_OPEN => close.push(*id),
                Some(at) => kept.entry(&file.chain).or_default().push((at, *id)),
                None => {}
            }
        }
        for mut files in kept.into_values() {
            files.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
            close.extend(files.iter().skip(KEPT_PER_CHAIN).map(|(_, id)| *id));
        }
        for id in close {
            self.read(id);
            actions.push(Action::Close(id));
        }
        for id in gone {
            self.removed(id);
            actions.push(Action::Close(id));
        }
        actions
    }

    /// A file's reader has ended, and the file is still there: it counts as read.
    pub fn read(&mut self, id: FileId) {
        if let Some(file) = self.files.remove(&id) {
            self.older.insert(id, (file.chain, file.rank));
        }
    }

    /// A file's reader has ended, and the file is gone: its inode may be another's from now on.
    pub fn removed(&mut self, id: FileId) {
        self.files.remove(&id);
    }

    /// Whether something waits for a file to be drained, so that [`Tracker::poll`] should be called soon.
    pub fn is_waiting(&self) -> bool {
        self.files.values().any(|file| file.hold == Hold::Held)
    }

    /// Whether all that was listed has been read.
    pub fn is_drained(&self, progress: impl Fn(FileId) -> Progress) -> bool {
        self.files.iter().all(|(id, file)| {
            let progress = progress(*id);
            file.hold == Hold::Free
                && progress.offset >= file.size
                && progress.idle.is_some_and(|idle| idle >= DRAINED_AFTER)
        })
    }
}

/// Whether one file of a chain comes before another. One that is gone had the other's place before it.
fn precedes(one: &Tracked, other: &Tracked) -> bool {
    match one.rank.cmp(&other.rank) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => {
            one.misses > other.misses || (one.hold == Hold::Free && other.hold == Hold::Held)
        }
        std::cmp::Ordering::Greater => false,
    }
}

#[cfg(test)]
mod tests;
