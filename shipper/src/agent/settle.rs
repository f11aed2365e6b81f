//! What truncations come to: the next epoch of a log, the copy that a rotation made of it, or a gap.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::{Agent, AgentError, Reads, Step};
use crate::copies::{self, MAX_SCANS_IN_DOUBT};
use crate::file_id::FileStat;
use crate::log::{Log, LogKey, Loss, Phase};
use crate::spool::{Description, Pin};

/// Logs of which something is planned, by the folder that they were found in.
pub(super) type PlannedLogs = HashMap<PathBuf, Vec<LogKey>>;

impl Agent {
    /// Whether a truncation waits for a scan.
    pub fn wants_scan(&self) -> bool {
        !self.truncated.is_empty()
    }

    /// Whether a file is waited for that may be a copy: another scan is wanted.
    pub fn has_doubts(&self) -> bool {
        self.held
            .values()
            .any(|held| matches!(held.reads, Reads::InDoubt(..)))
    }

    /// The logs that another file begins like and may be the copy of: they must not get longer than the copy meanwhile.
    pub(super) fn doubted(&self) -> HashSet<LogKey> {
        let doubts = self.held.values().filter_map(|held| match &held.reads {
            Reads::InDoubt(key, _) => Some(key.clone()),
            Reads::Log(_) => None,
        });
        doubts.collect()
    }

    /// The logs in these folders of which something is planned: a file that comes there later may be a copy of one.
    pub(super) fn planned_in(&self, folders: &HashSet<PathBuf>) -> PlannedLogs {
        let mut planned = PlannedLogs::new();
        if folders.is_empty() {
            return planned;
        }
        for log in self.logs.values().filter(|log| log.offset > 0) {
            if let Some(folder) = log.description.path.parent()
                && folders.contains(folder)
            {
                let keys = planned.entry(folder.to_owned()).or_default();
                keys.push(log.key.clone());
            }
        }
        planned
    }

    /// Whether a file that is not known begins with what is planned of another log.
    pub(super) fn recognise(
        &self,
        pin: &Pin,
        description: &Description,
        stat: Option<&FileStat>,
        planned: &PlannedLogs,
    ) -> Reads {
        let own = Reads::Log(LogKey {
            src: pin.src.clone(),
            epoch: 0,
        });
        let near = description
            .path
            .parent()
            .and_then(|folder| planned.get(folder));
        let (Some(stat), Some(near)) = (stat, near) else {
            return own;
        };
        let Ok(file) = pin.open() else {
            return own;
        };
        let mut logs = near.iter().filter_map(|key| self.logs.get(key));
        let original = logs.find(|log| {
            log.phase == Phase::Open
                && log.source == log.key.src
                && log.key.src != pin.src
                && copies::are_near(log, description)
                && copies::begins_with(&file, stat.size, log).unwrap_or(false)
        });
        match original {
            Some(log) => Reads::InDoubt(log.key.clone(), MAX_SCANS_IN_DOUBT),
            None => own,
        }
    }

    /// Files in doubt become copies of a truncated log, or files of their own after a while.
    pub(super) fn settle_doubts(&mut self) {
        let mut copies = Vec::new();
        let mut own = Vec::new();
        for (src, held) in &mut self.held {
            let Reads::InDoubt(key, left) = &mut held.reads else {
                continue;
            };
            if self.truncated.contains(key) {
                copies.push((src.clone(), key.clone()));
            } else if *left == 0 || !self.logs.contains_key(key) {
                own.push(src.clone());
            } else {
                *left -= 1;
            }
        }
        for (src, key) in copies {
            // Two copies of one log: the first is its end, the other one a file.
            let taken = self.logs.get(&key).is_none_or(|log| log.source != key.src);
            let is_copy = || {
                let (Some(held), Some(emptied)) = (self.held.get(&src), self.held.get(&key.src))
                else {
                    return Ok(false);
                };
                let stat = held.pin.stat()?;
                if !copies::is_before(&stat, &emptied.pin.stat()?) {
                    return Ok(false);
                }
                copies::begins_with(&held.pin.open()?, stat.size, &self.logs[&key])
            };
            if taken || !is_copy().unwrap_or(false) {
                own.push(src);
                continue;
            }
            let log = self.logs.get_mut(&key).expect("it was found");
            log.source = src.clone();
            log.phase = Phase::Draining;
            self.copies.insert(src.clone(), key.clone());
            self.counts.copies += 1;
            self.held.get_mut(&src).expect("it is held").reads = Reads::Log(key);
        }
        for src in own {
            let held = self.held.get_mut(&src).expect("it is held");
            let key = LogKey { src, epoch: 0 };
            held.reads = Reads::Log(key.clone());
            let description = held.description.clone();
            self.logs
                .entry(key)
                .or_insert_with(|| Log::new(description));
        }
    }

    /// Truncated logs get their next epoch; what is left of the old one comes from its copy or is given up.
    pub(super) fn settle_truncations(&mut self) -> Result<(), AgentError> {
        if self.truncated.is_empty() {
            return Ok(());
        }
        let mut changed = Vec::new();
        let mut drained = Vec::new();
        for key in std::mem::take(&mut self.truncated) {
            let Some(log) = self.logs.get(&key) else {
                continue;
            };
            let copy = self.side_copy_for(log).map(|copy| copy.src().clone());
            let log = self.logs.get_mut(&key).expect("it was found");
            if log.phase == Phase::Open {
                match copy {
                    Some(copy) => {
                        log.source = copy;
                        log.phase = Phase::Draining;
                        drained.push(key.clone());
                    }
                    None => log.phase = Phase::Lost(log.size.max(log.offset), Loss::Truncated),
                }
            }
            let next = log.after_truncation();
            self.waits.remove(&key);
            changed.push(log.clone());
            changed.push(next.clone());
            if let Some(held) = self.held.get_mut(&key.src) {
                held.reads = Reads::Log(next.key.clone());
            }
            self.logs.insert(next.key.clone(), next);
            self.counts.truncations += 1;
        }
        self.state.set_logs(&changed)?;
        self.step(Step::Truncated)?;
        for key in drained {
            if let Some(copy) = self.side_copies.remove(&key) {
                self.read_from(&copy);
            }
        }
        Ok(())
    }

    /// Logs whose files could not be linked and are not found again are gone.
    pub(super) fn give_up_vanished(&mut self) {
        if self.scans != 1 {
            return;
        }
        let mut gone = Vec::new();
        for log in self.logs.values_mut() {
            if matches!(log.phase, Phase::Open | Phase::Draining)
                && !self.held.contains_key(&log.source)
            {
                log.phase = Phase::Lost(log.size.max(log.offset), Loss::Vanished);
                gone.push(format!(
                    "{}: gone while no agent ran; what was not shipped is lost",
                    log.description.path.display()
                ));
            }
        }
        for message in gone {
            self.tell(message);
        }
    }
}
