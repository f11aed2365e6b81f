//! What followers send to the view: lines in batches, and what happened to their source.

use std::sync::Arc;
use std::time::Instant;

use joblog::Level;

use crate::source::{Source, SourceId};

/// Everything that the view can be told. One bounded channel carries it, so that a slow reader slows the network.
#[derive(Debug)]
pub enum Event {
    /// A source exists from now on. Sent before anything else of it.
    Opened(SourceId, Arc<Source>),
    /// Lines of a source, in the file's order.
    Lines(Batch),
    /// Lines of several sources from the archive, in each file's order: older than all that follow, so they wait for nothing.
    Past(Vec<Batch>),
    /// Nothing more comes from the archive by itself; the live files follow.
    PastOver,
    /// The history asked for (`-n`) of this source has been sent; what follows is live.
    CaughtUp(SourceId),
    /// Something about a source that must be seen where it happened, among its lines.
    Mark(SourceId, Mark),
    /// Nothing more will come of this source.
    Closed(SourceId),
}

/// Consecutive lines of one source. The bytes are stored once, the lines point into them.
#[derive(Debug)]
pub struct Batch {
    /// Whose lines they are.
    pub source: SourceId,
    /// When the last of the bytes arrived.
    pub arrived: Instant,
    /// The lines' bytes, without newlines between them being required.
    pub bytes: Vec<u8>,
    /// The lines, in the file's order.
    pub lines: Vec<Line>,
}

/// One line of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Where it starts in [`Batch::bytes`].
    pub start: u32,
    /// Its length in bytes, without newline.
    pub len: u32,
    /// The offset of its first byte in the file.
    pub offset: u64,
    /// The bytes of the file that it stands for, newline included.
    pub file_len: u32,
    /// What it is ordered by, in ns since 1970: the line's own time, made never to decrease within a source; the
    /// neighbour's or the arrival's where the line has none.
    pub order_ns: i64,
    /// The line's own time in ns since 1970.
    pub ts_ns: Option<i64>,
    /// The line's own level.
    pub level: Option<Level>,
    /// Whether these are all its bytes.
    pub kind: LineKind,
    /// Whether it was in the file before following began.
    pub age: Age,
}

/// When time and level of a JSON line are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Records {
    /// When it arrives: it can be ordered, filtered and shown in any form.
    #[default]
    OnArrival,
    /// When it is shown as fields, in the same walk: for lines that nobody orders or filters.
    WhenShown,
}

/// Whether a [`Line`] is all of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A whole line.
    Whole,
    /// A piece of a line longer than the limit; more of the same line follows.
    Piece,
    /// The end of a file that does not end in a newline.
    Unfinished,
}

/// Whether a [`Line`] was in the file before following began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It was: asked for by `-n`.
    History,
    /// It was written since, or read again after a break.
    Live,
}

/// Something that must be seen among a source's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Bytes that were never seen: the file was truncated, replaced or removed before they were read.
    Lost {
        /// The offset of the first byte not seen.
        offset: u64,
        /// How many at least; `None` where nothing is known.
        at_least: Option<u64>,
        /// Why, as a fragment: `the file was truncated`.
        why: String,
    },
    /// Something worth a line that lost nothing, as a fragment.
    Note(String),
}

impl Batch {
    /// No lines yet.
    pub fn new(source: SourceId, arrived: Instant) -> Self {
        Self {
            source,
            arrived,
            bytes: Vec::new(),
            lines: Vec::new(),
        }
    }
}
