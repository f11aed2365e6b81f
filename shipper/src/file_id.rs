//! What a file is, whatever it is called: device, inode and birth time, and the name under which the archive knows it.
//!
//! The inode alone is no identity: a file system gives the number of a removed file to the next one made. While a file is
//! pinned its inode cannot be reused, so a (device, inode) that is known to be pinned is that file and no other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use archive::AgentId;
use rustix::fs::{Statx, StatxFlags};

/// The longest [`Src`], in bytes.
pub const MAX_SRC_BYTES: usize = 80;

/// A file's number on its host while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    /// The device's number.
    pub dev: u64,
    /// The inode's number on it.
    pub ino: u64,
}

/// What a file is. Two files with equal ids are one file, as long as the file system has birth times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device's number. It may change when the host starts again.
    pub dev: u64,
    /// The inode's number on it.
    pub ino: u64,
    /// When the file was made, in ns since 1970; none where the file system does not say.
    pub birth_ns: Option<i64>,
}

impl FileId {
    /// Device and inode.
    pub fn inode(&self) -> Inode {
        Inode {
            dev: self.dev,
            ino: self.ino,
        }
    }

    /// The file's name in the archive: `<agent>-<inode>-<birth_ns>`, or `<agent>-<inode>-r<16 hexadecimal digits>` of the random
    /// number where there is no birth time. A name with a random part must be kept (the spool does): it cannot be made again.
    pub fn src(&self, agent: AgentId, random: u64) -> Src {
        let text = match self.birth_ns {
            Some(birth) if birth > 0 => format!("{agent}-{}-{birth}", self.ino),
            _ => format!("{agent}-{}-r{random:016x}", self.ino),
        };
        Src(text.into())
    }

    /// Whether a file met again can be this one: the inode is the same, and so is the birth time if both are known. The device
    /// is left out, since its number may change when the host starts again.
    pub fn may_be(&self, other: &Self) -> bool {
        self.ino == other.ino
            && match (self.birth_ns, other.birth_ns) {
                (Some(one), Some(two)) => one == two,
                _ => true,
            }
    }
}

/// What a file was like at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in ns since 1970.
    pub mtime_ns: i64,
    /// How many names it has, pins included.
    pub links: u32,
    /// The bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// The user that owns it.
    pub uid: u32,
}

/// What is asked of a file.
pub(crate) const STAT_MASK: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl FileStat {
    /// Reads the file system's answer.
    pub(crate) fn from_statx(stat: &Statx) -> Self {
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Self {
            id: FileId {
                dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                ino: stat.stx_ino,
                birth_ns: has_birth
                    .then(|| nanoseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
            },
            size: stat.stx_size,
            mtime_ns: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            links: stat.stx_nlink,
            disk_bytes: stat.stx_blocks.saturating_mul(512),
            uid: stat.stx_uid,
        }
    }
}

/// One number for seconds and nanoseconds; the nearest there is where the year is out of range.
pub(crate) fn nanoseconds(seconds: i64, nanos: u32) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(nanos))
}

/// A file's name in the archive, and of its pin in the spool. Made of lower-case letters, digits and `-` only. Shared: it stands
/// in all that is kept of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Src(Arc<str>);

/// Why a text is no [`Src`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no file's name: <agent>-<inode>-<birth time in ns> is expected")]
pub struct SrcError(pub String);

impl Src {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The agent that gave the name.
    pub fn agent(&self) -> Option<AgentId> {
        self.0.split('-').next()?.parse().ok()
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Src {
    type Err = SrcError;

    fn from_str(text: &str) -> Result<Self, SrcError> {
        let wrong = || SrcError(text.chars().take(MAX_SRC_BYTES).collect());
        if text.len() > MAX_SRC_BYTES {
            return Err(wrong());
        }
        let mut parts = text.split('-');
        let (Some(agent), Some(ino), Some(last), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let random = |text: &str| {
            text.strip_prefix('r')
                .is_some_and(|hex| hex.parse::<AgentId>().is_ok())
        };
        if agent.parse::<AgentId>().is_err() || !digits(ino) || !(digits(last) || random(last)) {
            return Err(wrong());
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_read_back(agent: u64, ino: u64, birth: Option<i64>, random: u64) {
            let id = FileId { dev: 1, ino, birth_ns: birth };
            let src = id.src(AgentId(agent), random);
            prop_assert!(src.as_str().len() <= MAX_SRC_BYTES);
            prop_assert_eq!(src.agent(), Some(AgentId(agent)));
            prop_assert_eq!(src.as_str().parse::<Src>(), Ok(src));
        }

        #[test]
        fn a_name_is_one_file_name(text in ".{0,90}") {
            if let Ok(src) = text.parse::<Src>() {
                prop_assert_eq!(src.as_str(), &text);
                prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            }
        }
    }

    #[test]
    fn what_is_no_name() {
        for text in [
            "",
            "-",
            "00000000000000ff-1",
            "00000000000000ff-1-2-3",
            "00000000000000FF-1-2",
            "00000000000000ff-+1-2",
            "00000000000000ff-1-rff",
            "../00000000000000ff-1-2",
        ] {
            assert!(text.parse::<Src>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_met_again() {
        let id = |dev, ino, birth_ns| FileId { dev, ino, birth_ns };
        assert!(id(1, 2, Some(3)).may_be(&id(9, 2, Some(3))));
        assert!(id(1, 2, Some(3)).may_be(&id(1, 2, None)));
        assert!(!id(1, 2, Some(3)).may_be(&id(1, 2, Some(4))));
        assert!(!id(1, 2, Some(3)).may_be(&id(1, 5, Some(3))));
    }
}
