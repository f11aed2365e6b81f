//! How far a log has got: one file between two truncations, known by (src, epoch). Pure values, kept in the state database.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use crc_fast::{CrcAlgorithm, Digest};

use crate::file_id::Src;
use crate::rows::RowState;
use crate::spool::Description;

/// How much at the start of the file, and before the offset, is known again, to see that the file is still the one that was read,
/// in bytes. A banner or a stack trace that a program writes at each start must not fill it.
pub const SAMPLE_BYTES: usize = 4096;

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

/// What the bytes before the offset were, the first and the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The first bytes; none after a recovery.
    pub head: Sample,
    /// The last bytes before the offset; fewer after a recovery, which has not read them.
    pub tail: Sample,
    /// CRC-64 of all bytes before the offset; `None` where they were not all read (after a recovery, behind a gap).
    pub crc: Option<u64>,
}

/// How much of its digest a sample keeps, in bytes.
const SAMPLE_DIGEST_BYTES: usize = 16;

/// Up to [`SAMPLE_BYTES`] bytes of a log, to know them again. Only their digest is kept: what a rule of `[[redact]]` masks must not
/// lie in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    len: u16,
    digest: [u8; SAMPLE_DIGEST_BYTES],
}

/// CRC-64 while bytes are read.
#[derive(Debug)]
pub struct Crc(Option<Digest>);

impl Sample {
    /// Of these bytes; of the last [`SAMPLE_BYTES`], if there are more.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = &bytes[bytes.len().saturating_sub(SAMPLE_BYTES)..];
        let mut sample = Self {
            len: bytes.len() as u16,
            ..Self::default()
        };
        if !bytes.is_empty() {
            let sha256 = digest(&SHA256, bytes);
            sample
                .digest
                .copy_from_slice(&sha256.as_ref()[..SAMPLE_DIGEST_BYTES]);
        }
        sample
    }

    /// Of how many bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it is of none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// As the state database keeps it.
    pub fn to_bytes(self) -> Vec<u8> {
        match self.len {
            0 => Vec::new(),
            len => [&len.to_le_bytes()[..], &self.digest].concat(),
        }
    }

    /// What [`Sample::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => Some(Self::default()),
            [low, high, digest @ ..] => {
                let len = u16::from_le_bytes([*low, *high]);
                (1..=SAMPLE_BYTES)
                    .contains(&usize::from(len))
                    .then_some(Self {
                        len,
                        digest: digest.try_into().ok()?,
                    })
            }
            [_] => None,
        }
    }
}

impl Phase {
    /// Its name in the state database and in checkpoints, and the offset that a loss goes to.
    pub fn to_parts(self) -> (&'static str, Option<u64>) {
        match self {
            Self::Open => ("open", None),
            Self::Draining => ("draining", None),
            Self::Ended => ("ended", None),
            Self::Lost(until, cause) => (cause.name(), Some(until)),
        }
    }

    /// The one that [`Phase::to_parts`] tells so.
    pub fn from_parts(name: &str, until: Option<u64>) -> Option<Self> {
        match (name, until) {
            ("open", _) => Some(Self::Open),
            ("draining", _) => Some(Self::Draining),
            ("ended", _) => Some(Self::Ended),
            (cause, Some(until)) => Some(Self::Lost(until, Loss::from_name(cause)?)),
            _ => None,
        }
    }
}

/// Ranges as the state database and checkpoints keep them.
pub fn ranges_to_pairs(ranges: &[Range<u64>]) -> Vec<(u64, u64)> {
    ranges
        .iter()
        .map(|range| (range.start, range.end))
        .collect()
}

/// What [`ranges_to_pairs`] gave, if they are in order and none goes beyond `end`.
pub fn ranges_from_pairs(pairs: &[(u64, u64)], end: u64) -> Option<Vec<Range<u64>>> {
    let mut behind = 0;
    let mut ranges = Vec::with_capacity(pairs.len());
    for &(from, to) in pairs {
        if from < behind || to <= from || to > end {
            return None;
        }
        behind = to;
        ranges.push(from..to);
    }
    Some(ranges)
}

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
            head: Sample::default(),
            tail: Sample::default(),
            crc: Some(Digest::new(CrcAlgorithm::Crc64Nvme).get_state()),
        }
    }

    /// Goes on computing the digest.
    pub fn crc(&self) -> Crc {
        Crc(self
            .crc
            .map(|state| Digest::new_with_init_state(CrcAlgorithm::Crc64Nvme, state)))
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
    fn phases_and_ranges_are_read_as_they_were_written() {
        let lost = Loss::ALL.map(|cause| Phase::Lost(7, cause));
        for phase in [Phase::Open, Phase::Draining, Phase::Ended]
            .into_iter()
            .chain(lost)
        {
            let (name, until) = phase.to_parts();
            assert_eq!(Phase::from_parts(name, until), Some(phase));
        }
        assert_eq!(Phase::from_parts("truncated", None), None);
        assert_eq!(Phase::from_parts("lost", Some(7)), None);
        let ranges = [1..3, 3..9];
        let pairs = ranges_to_pairs(&ranges);
        assert_eq!(ranges_from_pairs(&pairs, 9).as_deref(), Some(&ranges[..]));
        for (pairs, end) in [(&pairs[..], 8), (&[(3, 9), (1, 3)], 9), (&[(3, 3)], 9)] {
            assert_eq!(ranges_from_pairs(pairs, end), None, "{pairs:?}");
        }
    }

    #[test]
    fn a_digest_in_steps_is_the_digest_of_all() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(5000).collect();
        let mut seen = Seen::new();
        let mut whole = seen.crc();
        whole.update(&bytes);
        for part in bytes.chunks(7) {
            let mut crc = seen.crc();
            crc.update(part);
            seen.crc = crc.state();
        }
        assert_eq!(seen.crc, whole.state());
    }

    #[test]
    fn a_sample_knows_its_bytes_and_does_not_have_them() {
        let secret = b"the password is swordfish";
        let sample = Sample::of(secret);
        assert_eq!(sample.len(), secret.len());
        assert_ne!(sample, Sample::of(b"the password is swordfisH"));
        let kept = sample.to_bytes();
        assert_eq!(Sample::from_bytes(&kept), Some(sample));
        assert!(!kept.windows(4).any(|window| window == b"fish"));
        let long = [7; 3 * SAMPLE_BYTES];
        assert_eq!(Sample::of(&long), Sample::of(&long[..SAMPLE_BYTES]));
        assert!(Sample::of(b"").is_empty() && Sample::of(b"").to_bytes().is_empty());
        for garbled in [&kept[1..], &kept[..9], &kept[..1], &[0; 18], &[17; 18]] {
            assert_eq!(Sample::from_bytes(garbled), None, "{garbled:?}");
        }
    }
}
