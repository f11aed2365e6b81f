//! What an engine tells while it runs a statement, and what it tells at the end.
//!
//! Engines send events over a bounded channel of [`QUEUE_EVENTS`] and return [`Stats`] when the statement has ended; who receives them
//! prints. An engine never writes to the terminal.

use std::time::Duration;

use crate::rows::{Column, Row};

/// Events that wait for the output, at most; then the engine waits.
pub const QUEUE_EVENTS: usize = 8;

/// Rows in one event, at most.
pub const MAX_EVENT_ROWS: usize = 1000;

/// Something that happened to a running statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer's columns; once, before any row.
    Columns(Vec<Column>),
    /// The next rows, at least one and at most [`MAX_EVENT_ROWS`].
    Rows(Vec<Row>),
    /// How far it is.
    Progress(Progress),
    /// Something that a person should know while they wait, in one line: a fragment without full stop.
    Note(String),
}

/// How far a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub state: State,
    /// Bytes of objects read so far.
    pub bytes_scanned: u64,
    /// Bytes that it will read at most, if known.
    pub bytes_expected: Option<u64>,
}

/// What a statement is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for the engine.
    Queued,
    /// It runs.
    Running,
    /// Its answer is being fetched.
    Fetching,
}

/// What a statement took, when it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of objects read.
    pub bytes_scanned: u64,
    /// Requests made to the store, where the engine counts them.
    pub requests: Option<u64>,
    /// Objects read, where the engine counts them.
    pub objects: Option<u64>,
    /// Lines of objects that could not be read, and are rows of NULLs: none is left out without a word.
    pub damaged_rows: u64,
    /// From the start to the last row.
    pub elapsed: Duration,
    /// The engine's name of the run, which a person can look up.
    pub execution_id: Option<String>,
    /// Whether the answer is an earlier one's, used again.
    pub reused: bool,
}
