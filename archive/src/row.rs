//! A row: some bytes of a file, what they say and whose they are.

use std::ops::{BitOr, BitOrAssign};

use joblog::Level;

/// What all rows of one file have in common. Texts that are unknown are absent, numbers that are unknown zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// The job's role, environment and name.
    pub role: Option<String>,
    /// See `role`.
    pub env: Option<String>,
    /// See `role`.
    pub job: Option<String>,
    /// Which instance of the job.
    pub instance: u32,
    /// The task's id.
    pub task_id: Option<String>,
    /// The process that wrote the file.
    pub process: Option<String>,
    /// Which start of the process.
    pub run: u32,
    /// `stdout`, `stderr`, or a file's name.
    pub stream: Option<String>,
    /// The host's name.
    pub host: Option<String>,
    /// The file: agent, inode and birth time in ns, as `<agent>-<inode>-<birth>`.
    pub src: String,
    /// The deployed build.
    pub git_sha: Option<String>,
}

/// One row. What it stands for is `off..off + len` of the file in this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Whose file it is.
    pub origin: &'a Origin,
    /// The row's time, in ns since 1970.
    pub ts_ns: i64,
    /// When the agent read the line, in ns since 1970.
    pub ingest_ns: i64,
    /// How often the file was truncated before.
    pub epoch: u32,
    /// Where in the file the row's bytes begin.
    pub off: u64,
    /// How many bytes of the file the row stands for, the newline included.
    pub len: u64,
    /// How serious the line is.
    pub level: Option<Level>,
    /// The request that the line belongs to.
    pub request_id: Option<&'a str>,
    /// The trace that the line belongs to.
    pub trace_id: Option<&'a str>,
    /// The id of the message's template.
    pub tpl: Option<u64>,
    /// The line without its newline, as it is (masked where redacted): not always UTF-8. Absent in gap and end rows.
    pub line: Option<&'a [u8]>,
    /// What else there is to know.
    pub flags: Flags,
}

/// A set of remarks on a row. The bits are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// The line's own time was not believable and was replaced.
    pub const TIME_SUBSTITUTED: Self = Self(1);
    /// The line's bytes are not UTF-8: `raw` has them, `line` a reading of them.
    pub const NOT_UTF8: Self = Self(1 << 1);
    /// A piece of a line that is longer than the limit; the next row goes on with it.
    pub const PIECE: Self = Self(1 << 2);
    /// A last line without a newline, shipped by age or at the end of the file.
    pub const UNFINISHED: Self = Self(1 << 3);
    /// The line continues the one above: a stack trace, for example.
    pub const CONTINUATION: Self = Self(1 << 4);
    /// Something in the line was masked.
    pub const REDACTED: Self = Self(1 << 5);
    /// The bytes are not kept; a lower bound where the end is unknown.
    pub const GAP: Self = Self(1 << 6);
    /// The file is finished: a row of length zero.
    pub const END: Self = Self(1 << 7);

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
