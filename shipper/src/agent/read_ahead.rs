//! Reading ahead: what is not planned of a file that was truncated in place once is copied at each scan, so that the next
//! truncation takes no more than what was written since.
//!
//! Such a file is known by its epoch. A copy is insurance, no promise: it is made where there is room, given up before any log
//! is, and made anew once most of it is planned. When a truncation is settled it becomes the source of what is left of the
//! epoch, like the copy that a rotation makes (`settle`).

use std::collections::HashMap;

use super::{Agent, AgentError, Reads, Step, look_at};
use crate::batch::is_still;
use crate::beneath;
use crate::log::{Log, LogKey, Phase};
use crate::spool::{Copied, SideCopy, SpoolError};
use crate::state::Claim;

/// The most that one scan copies of one file, in bytes; the rest is left to the next one.
const MAX_BYTES_A_SCAN: u64 = 256 * 1024 * 1024;

impl Agent {
    /// Takes up the side copies that an earlier agent left: as the source of a log, or as a copy to go on with.
    pub(super) fn resume_side_copies(&mut self) -> Result<(), AgentError> {
        for copy in self.spool.side_copies()? {
            match self.logs.get_mut(copy.key()) {
                Some(log) if log.source == *copy.src() && log.phase == Phase::Draining => {
                    self.read_from(&copy);
                    continue;
                }
                Some(log) if is_ahead_of(log) => log.size = log.size.max(copy.until()),
                // Of no use, if this state is the one that we went on with: the claim will tell.
                _ => {}
            }
            self.side_copies.insert(copy.key().clone(), copy);
        }
        Ok(())
    }

    /// Copies what is new of files that were truncated before.
    pub(super) fn read_ahead(&mut self) -> Result<(), AgentError> {
        if self.identity.claim == Claim::Held {
            self.drop_side_copies(|log, copy| is_ahead_of(log) && copy.until() > log.offset)?;
        }
        let keys: Vec<LogKey> = self
            .logs
            .values()
            .filter(|log| is_ahead_of(log) && self.held.contains_key(&log.key.src))
            .map(|log| log.key.clone())
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut room = self.side_room()?;
        let mut trouble = None;
        for key in keys {
            if let Err(error) = self.read_ahead_of(&key, &mut room) {
                trouble = trouble.or(Some(error));
            }
        }
        if let Err(error) = self.spool.settle_side_copies() {
            trouble = trouble.or(Some(error));
        }
        // The logs themselves are read all the same.
        let trouble = trouble.map(|error| joblog::causes::chain(&error));
        if let Some(text) = &trouble
            && self.ahead_trouble.as_ref() != Some(text)
        {
            self.tell(format!(
                "{text}; files that are truncated in place may lose what is written between two flushes"
            ));
        }
        self.ahead_trouble = trouble;
        self.step(Step::ReadAhead)
    }

    fn read_ahead_of(
        &mut self,
        key: &LogKey,
        room: &mut HashMap<u64, u64>,
    ) -> Result<(), SpoolError> {
        let now_ns = self.clock.wall_ns();
        let held = self.held.get_mut(&key.src).expect("it was looked for");
        let before = held.stat;
        if look_at(
            held,
            &mut self.logs,
            &self.side_copies,
            &mut self.truncated,
            now_ns,
        )
        .is_some()
            || self.truncated.contains(key)
        {
            return Ok(());
        }
        let log = &self.logs[key];
        let copied = self
            .side_copies
            .get(key)
            .map_or(log.offset, SideCopy::until);
        let is_changed = before.is_none_or(|before| {
            held.stat
                .is_none_or(|stat| (before.size, before.mtime_ns) != (stat.size, stat.mtime_ns))
        });
        if !is_changed && log.size <= copied.max(log.offset) {
            return Ok(());
        }
        let path = || log.description.path.clone();
        let failed = |source| SpoolError::Io {
            operation: "read ahead of",
            path: path(),
            source,
        };
        let file = held.pin.open().map_err(failed)?;
        let stat = beneath::stat(&file).map_err(failed)?;
        let mut copy = self.side_copies.remove(key);
        if let Some(old) = &copy {
            let is_of_use = old.continues(log) && !is_mostly_planned(old, log);
            if is_of_use && !old.agrees_with(&file) {
                self.truncated.insert(key.clone());
                self.side_copies
                    .extend(copy.map(|copy| (key.clone(), copy)));
                return Ok(());
            }
            if !is_of_use {
                let _ = old.remove();
                copy = None;
            }
        }
        if stat.size < log.size.max(log.offset) || !is_still(&file, log) {
            self.truncated.insert(key.clone());
            self.side_copies
                .extend(copy.map(|copy| (key.clone(), copy)));
            return Ok(());
        }
        if stat.size <= log.offset {
            return Ok(());
        }
        // Without room there is nothing to begin.
        if copy.is_none() && room.get(&stat.id.dev) == Some(&0) {
            return Ok(());
        }
        let begun = match copy {
            Some(copy) => Some(copy),
            None => self.spool.begin_side_copy(log, &file, (self.random)())?,
        };
        let Some(mut copy) = begun else {
            self.truncated.insert(key.clone());
            return Ok(());
        };
        let left = room.entry(copy.dev()).or_default();
        let wanted = (stat.size - copy.until()).min(MAX_BYTES_A_SCAN);
        let until = copy.until() + wanted.min(*left);
        *left -= wanted.min(*left);
        let copied = self.spool.extend_side_copy(&mut copy, &file, until);
        if matches!(copied, Ok(Copied::Truncated)) {
            self.truncated.insert(key.clone());
        }
        let log = self.logs.get_mut(key).expect("it was found");
        log.size = log.size.max(copy.until());
        self.side_copies.insert(key.clone(), copy);
        copied.map(|_| ())
    }

    /// How many bytes may still be copied, by device: what the cap leaves beside all that only we hold.
    fn side_room(&self) -> Result<HashMap<u64, u64>, AgentError> {
        let mut used = self.side_bytes();
        for held in self.held.values() {
            if let Some(stat) = held.stat.filter(|stat| held.pin.is_last(stat)) {
                *used.entry(stat.id.dev).or_default() += stat.disk_bytes;
            }
        }
        let usage = self.spool.usage()?;
        let room = usage.into_iter().map(|usage| {
            let cap = self.config.spool.cap.on(usage.size_bytes);
            let used = used.get(&usage.dev).copied().unwrap_or(0);
            (usage.dev, cap.saturating_sub(used))
        });
        Ok(room.collect())
    }

    /// The disk space of all side copies, by device.
    pub(super) fn side_bytes(&self) -> HashMap<u64, u64> {
        let mut used: HashMap<u64, u64> = HashMap::new();
        for copy in self.side_copies.values() {
            *used.entry(copy.dev()).or_default() += copy.disk_bytes();
        }
        used
    }

    /// Removes the side copies that are not to be kept.
    pub(super) fn drop_side_copies(
        &mut self,
        keep: impl Fn(&Log, &SideCopy) -> bool,
    ) -> Result<(), AgentError> {
        let dropped: Vec<LogKey> = self
            .side_copies
            .iter()
            .filter(|(key, copy)| !self.logs.get(key).is_some_and(|log| keep(log, copy)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in dropped {
            if let Some(copy) = self.side_copies.remove(&key) {
                remove(&copy)?;
            }
        }
        Ok(())
    }

    /// The side copy from which a truncated log can be read on, if there is one.
    pub(super) fn side_copy_for(&self, log: &Log) -> Option<&SideCopy> {
        self.side_copies
            .get(&log.key)
            // Ranges before the offset are in no copy.
            .filter(|copy| log.holes.is_empty() && copy.continues(log))
    }

    /// A log is read from its side copy from here on.
    pub(super) fn read_from(&mut self, copy: &SideCopy) {
        let key = copy.key().clone();
        let pin = copy.pin();
        self.copies.insert(pin.src.clone(), key.clone());
        let held = super::Held {
            description: self.logs[&key].description.clone(),
            stat: pin.stat().ok(),
            changed_ns: self.clock.wall_ns(),
            grown_ns: i64::MIN,
            behind_ns: None,
            reads: Reads::Log(key),
            pin,
        };
        self.held.insert(held.pin.src.clone(), Box::new(held));
    }
}

/// Whether a log is one to read ahead of: its file was truncated before, and is followed.
fn is_ahead_of(log: &Log) -> bool {
    log.key.epoch > 0 && log.phase == Phase::Open && log.source == log.key.src
}

/// Whether a copy is better made anew, smaller.
fn is_mostly_planned(copy: &SideCopy, log: &Log) -> bool {
    log.offset.saturating_sub(copy.from()) > copy.until().saturating_sub(log.offset).max(MIN_WASTE)
}

/// What of a copy may be planned before it is made anew, in bytes.
const MIN_WASTE: u64 = 64 * 1024;

fn remove(copy: &SideCopy) -> Result<(), AgentError> {
    match copy.remove() {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(AgentError::Spool(SpoolError::Io {
                operation: "remove the side copy",
                path: copy.src().as_str().into(),
                source,
            }))
        }
        _ => Ok(()),
    }
}
