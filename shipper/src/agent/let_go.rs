//! The end of logs: files that are finished are let go, and those that take more disk than they may are given up.

use super::{Agent, AgentError, Reads, Step};
use crate::file_id::Src;
use crate::log::{LogKey, Loss, Phase};

impl Agent {
    /// Lets go of files that are finished, and forgets their logs.
    pub(super) fn let_go(&mut self) -> Result<(), AgentError> {
        self.forget_closed_epochs()?;
        let finished: Vec<Src> = self
            .held
            .iter()
            .filter(|(_, held)| {
                let Reads::Log(key) = &held.reads else {
                    return false;
                };
                self.logs
                    .get(key)
                    .is_some_and(|log| log.phase == Phase::Ended)
                    && held.stat.is_some_and(|stat| held.pin.is_last(&stat))
            })
            .map(|(src, _)| src.clone())
            .collect();
        for src in finished {
            let held = &self.held[&src];
            // What was written since the last row is another batch's.
            let Reads::Log(key) = held.reads.clone() else {
                continue;
            };
            let grown = held
                .pin
                .stat()
                .is_ok_and(|stat| stat.size > self.logs[&key].offset);
            if grown {
                continue;
            }
            let held = self.held.remove(&src).expect("it is held");
            self.scanner.forget(held.pin.id.inode());
            self.spool.unpin(held.pin)?;
            self.step(Step::Unpinned)?;
            let keys: Vec<LogKey> = self
                .logs
                .values()
                .filter(|log| log.source == src && log.phase == Phase::Ended)
                .map(|log| log.key.clone())
                .collect();
            self.forget(&keys)?;
        }
        // Logs without a pin that have ended: nothing can come of them.
        let orphans: Vec<LogKey> = self
            .logs
            .values()
            .filter(|log| {
                log.phase == Phase::Ended && !self.held.contains_key(&log.source) && self.scans > 0
            })
            .map(|log| log.key.clone())
            .collect();
        self.forget(&orphans)
    }

    /// Epochs that have ended are of no use once there is a later one.
    fn forget_closed_epochs(&mut self) -> Result<(), AgentError> {
        let closed: Vec<LogKey> = self
            .logs
            .values()
            .filter(|log| {
                log.phase == Phase::Ended
                    && log.source == log.key.src
                    && self.logs.contains_key(&LogKey {
                        src: log.key.src.clone(),
                        epoch: log.key.epoch + 1,
                    })
            })
            .map(|log| log.key.clone())
            .collect();
        self.forget(&closed)
    }

    fn forget(&mut self, keys: &[LogKey]) -> Result<(), AgentError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.state.forget(keys)?;
        for key in keys {
            if let Some(log) = self.logs.remove(key) {
                self.copies.remove(&log.source);
            }
            self.waits.remove(key);
        }
        Ok(())
    }

    /// Gives up the oldest files that only we hold while they take more than they may.
    pub(super) fn enforce_cap(&mut self) -> Result<(), AgentError> {
        let mut only_ours: Vec<(i64, u64, u64, LogKey)> = self
            .held
            .values()
            .filter_map(|held| {
                let stat = held.stat.filter(|stat| held.pin.is_last(stat))?;
                let Reads::Log(key) = &held.reads else {
                    return None;
                };
                Some((stat.mtime_ns, stat.disk_bytes, stat.id.dev, key.clone()))
            })
            .collect();
        let side_bytes = self.side_bytes();
        if only_ours.is_empty() && side_bytes.is_empty() {
            return Ok(());
        }
        only_ours.sort();
        let mut messages = Vec::new();
        for usage in self.spool.usage()? {
            let cap = self.config.spool.cap.on(usage.size_bytes);
            let mut sum: u64 = only_ours
                .iter()
                .filter(|(_, _, dev, _)| *dev == usage.dev)
                .map(|(_, bytes, _, _)| bytes)
                .sum();
            // Copies of what is still in its place go before anything is lost.
            if sum + side_bytes.get(&usage.dev).unwrap_or(&0) > cap {
                self.drop_side_copies(|_, copy| copy.dev() != usage.dev)?;
            }
            for (_, bytes, dev, key) in &only_ours {
                if sum <= cap {
                    break;
                }
                if *dev != usage.dev {
                    continue;
                }
                let Some(log) = self.logs.get_mut(key) else {
                    continue;
                };
                if matches!(log.phase, Phase::Open | Phase::Draining) {
                    log.phase = Phase::Lost(log.size.max(log.offset), Loss::SpoolFull);
                    messages.push(format!(
                        "{}: given up, {} bytes not shipped: the spool holds more than {cap} bytes",
                        log.description.path.display(),
                        log.behind()
                    ));
                }
                sum = sum.saturating_sub(*bytes);
            }
        }
        for message in messages {
            self.tell(message);
        }
        Ok(())
    }
}
