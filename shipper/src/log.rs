//! How far a log has got: one file between two truncations, known by (src, epoch). Pure values, kept in the state database.

use std::ops::Range;
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

use crate::file_id::Src;
use crate::rows::RowState;
use crate::spool::Description;

/// How many bytes at the start of the file, and before the offset, are remembered, to see that the file is still the one that was
/// read, in bytes.
pub const TAIL_BYTES: usize = 64;

/// Which log: a file and how often it was truncated before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogKey {
    /// The file.
    pub src: Src,
    /// How often it was truncated before.
    pub epoch: u32,
}

/// How far a log has got. What is written here is a fact: the bytes before `offset` are in planned rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Which it is.
    pub key: LogKey,
    /// Whose it is. Kept here too: a file that could not be linked leaves nothing in the spool.
    pub description: Arc<Description>,
    /// The pinned file that its bytes are read from: itself, or the copy that a copytruncate left of it.
    pub source: Src,
    /// The bytes before it are planned.
    pub offset: u64,
    /// What is carried to the next reading.
    pub rows: RowState,
    /// What was read, to know it again.
    pub seen: Seen,
    /// The file's size when it was last looked at, in bytes. What a truncation takes away is measured by it.
    pub size: u64,
    /// Ranges before `offset` that are in no row: left by a plan that went down with a lost state folder. In order.
    pub holes: Vec<Range<u64>>,
    /// What becomes of it next.
    pub phase: Phase,
}

/// What becomes of a log next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Its file is followed.
    #[default]
    Open,
    /// Its file was truncated; what is left of it is read from the copy, and then it ends.
    Draining,
    /// Its bytes up to here are gone, for this reason; the next plan says so and ends it.
    Lost(u64, Loss),
    /// All is planned, and so is the row that ends it.
    Ended,
}

/// Why bytes are lost. A closed set: metrics and the state database name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// Truncated before they were read.
    Truncated,
    /// The spool was over its cap.
    SpoolFull,
    /// The file could not be linked and was gone when the agent came back, or somebody removed the pin.
    Vanished,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Truncated, Self::SpoolFull, Self::Vanished];

    /// Its name in metrics and in the state database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::SpoolFull => "spool_full",
            Self::Vanished => "vanished",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A digest of the bytes before the offset, the first and the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The first bytes, [`TAIL_BYTES`] at most; none after a recovery.
    pub head: Vec<u8>,
    /// The last bytes before the offset, [`TAIL_BYTES`] at most; fewer after a recovery, which has not read them.
    pub tail: Vec<u8>,
    /// CRC-64 of all bytes before the offset; `None` where they were not all read (after a recovery, behind a gap).
    pub crc: Option<u64>,
}

/// CRC-64 while bytes are read.
#[derive(Debug)]
pub struct Crc(Option<Digest>);

impl Log {
    /// A log of a file of which nothing is planned yet.
    pub fn new(description: Arc<Description>) -> Self {
        Self {
            key: LogKey {
                src: description.src.clone(),
                epoch: 0,
            },
            source: description.src.clone(),
            description,
            offset: 0,
            rows: RowState::default(),
            seen: Seen::new(),
            size: 0,
            holes: Vec::new(),
            phase: Phase::Open,
        }
    }

    /// The log of the same file after another truncation.
    #[must_use]
    pub fn after_truncation(&self) -> Self {
        let mut next = Self::new(self.description.clone());
        next.key.epoch = self.key.epoch.saturating_add(1);
        next
    }

    /// How many bytes are known of and not planned.
    pub fn behind(&self) -> u64 {
        let holes: u64 = self.holes.iter().map(|hole| hole.end - hole.start).sum();
        match self.phase {
            Phase::Ended => 0,
            _ => holes + self.size.saturating_sub(self.offset),
        }
    }
}

impl Seen {
    /// Of no byte.
    pub fn new() -> Self {
        Self {
            head: Vec::new(),
            tail: Vec::new(),
            crc: Some(Digest::new(CrcAlgorithm::Crc64Nvme).get_state()),
        }
    }

    /// Goes on computing the digest.
    pub fn crc(&self) -> Crc {
        Crc(self
            .crc
            .map(|state| Digest::new_with_init_state(CrcAlgorithm::Crc64Nvme, state)))
    }

    /// Takes the bytes that were read behind the tail, before `crc` is set to the digest that has them.
    pub fn extend(&mut self, bytes: &[u8]) {
        // What follows a gap, or what a recovery has not read, is not the file's start. A recovery from a checkpoint knows the
        // digest and no bytes.
        let is_start = !self.head.is_empty() || self.crc == Self::new().crc;
        if self.crc.is_some() && is_start {
            let wanted = TAIL_BYTES - self.head.len();
            self.head
                .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        }
        let new = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let keep = TAIL_BYTES - new.len();
        let cut = self.tail.len().saturating_sub(keep);
        self.tail.drain(..cut);
        self.tail.extend_from_slice(new);
    }
}

impl Crc {
    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(bytes);
        }
    }

    /// What to keep of it.
    pub fn state(&self) -> Option<u64> {
        self.0.as_ref().map(Digest::get_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_in_steps_is_the_digest_of_all() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(5000).collect();
        let mut seen = Seen::new();
        let mut whole = seen.crc();
        whole.update(&bytes);
        for part in bytes.chunks(7) {
            let mut crc = seen.crc();
            crc.update(part);
            seen.extend(part);
            seen.crc = crc.state();
        }
        assert_eq!(seen.crc, whole.state());
        assert_eq!(seen.tail, bytes[bytes.len() - TAIL_BYTES..]);
        assert_eq!(seen.head, bytes[..TAIL_BYTES]);
    }

    #[test]
    fn what_a_checkpoint_gave_is_not_the_start() {
        let mut seen = Seen::new();
        seen.extend(b"be");
        seen.extend(b"gin");
        assert_eq!(seen.head, b"begin");
        let mut crc = Seen::new().crc();
        crc.update(b"begin");
        let mut known = Seen {
            crc: crc.state(),
            ..Seen::default()
        };
        known.extend(b"more");
        assert_eq!((&known.head[..], &known.tail[..]), (&b""[..], &b"more"[..]));
    }
}
