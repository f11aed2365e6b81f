//! The engines, as one: a closed set, of which a run of the program has one.
//!
//! An engine takes SQL in Trino's dialect, sends [`Event`]s over a bounded channel and returns [`Stats`]. It never writes to the
//! terminal. When it is told to stop, it stops what runs for it elsewhere too, and says what was read until then.

use std::fmt;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, EngineKind};
use crate::event::{Event, Stats};
use crate::exit::{Exit, Failed};
use crate::publications::Publication;

/// Who runs statements.
#[derive(Debug)]
pub enum Engine {
    /// A list of events, for tests of what is around the engines.
    #[cfg(test)]
    Scripted(Scripted),
}

impl Engine {
    /// The engine of this kind, as it is configured. `leave` tells it not to wait for what runs elsewhere.
    pub fn open(
        kind: EngineKind,
        _config: &Config,
        _leave: &CancellationToken,
    ) -> Result<Self, Failed> {
        Err(Failed::usage(format!(
            "this program was built without the engine `{}`",
            kind.word()
        )))
    }

    /// Runs a statement. Nobody listening any more is the same as being told to stop.
    #[cfg_attr(not(test), expect(clippy::unused_async, reason = "engines wait"))]
    pub async fn run(
        &self,
        sql: &str,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Stats, RunError> {
        #[cfg(not(test))]
        let _ = (sql, events, stop);
        match *self {
            #[cfg(test)]
            Self::Scripted(ref script) => script.run(sql, events, stop).await,
        }
    }
}

impl Engine {
    /// Puts queries where people find them by name: into Athena's workgroup. Says what was done with each.
    #[expect(clippy::unused_async, reason = "engines wait")]
    pub async fn publish(
        &self,
        queries: &[Publication],
        _stop: &CancellationToken,
    ) -> Result<Vec<String>, RunError> {
        #[cfg(not(test))]
        let _ = queries;
        match *self {
            #[cfg(test)]
            Self::Scripted(_) => Ok(queries
                .iter()
                .map(|query| format!("put {}", query.name))
                .collect()),
        }
    }
}

/// Why a statement gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// What sort of failure it is.
    pub kind: RunFailure,
    /// What went wrong, in the engine's words.
    pub message: String,
    /// What to do about it, if it can be said.
    pub hint: Option<String>,
    /// What was read until then.
    pub stats: Stats,
    /// What is behind it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Sorts of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFailure {
    /// The statement is wrong: syntax, a name, a type, something that Athena does not have.
    Refused,
    /// The engine failed while it ran, or met a limit.
    Failed,
    /// The engine or the archive cannot be reached, or refuses us.
    Unreachable,
    /// It was told to stop, and has stopped.
    Stopped,
}

impl RunError {
    /// A failure without more to say about it.
    pub fn new(kind: RunFailure, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            hint: None,
            stats: Stats::default(),
            source: None,
        }
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Self {
        let exit = match error.kind {
            RunFailure::Refused | RunFailure::Failed => Exit::Failed,
            RunFailure::Unreachable => Exit::Unreachable,
            RunFailure::Stopped => Exit::Interrupted,
        };
        let hint = error.hint.clone();
        Self {
            hint,
            ..Self::new(exit, error)
        }
    }
}

/// An engine of a script: each statement that is run has its turn.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Scripted {
    turns: std::sync::Mutex<std::collections::VecDeque<Turn>>,
}

/// What happens when a statement is run.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct Turn {
    /// What the statement has to hold.
    pub expected: &'static str,
    /// What is sent.
    pub events: Vec<Event>,
    /// How it ends.
    pub failure: Option<RunFailure>,
}

#[cfg(test)]
impl Scripted {
    /// An engine with these turns.
    pub fn new(turns: Vec<Turn>) -> Self {
        Self {
            turns: std::sync::Mutex::new(turns.into()),
        }
    }

    async fn run(
        &self,
        sql: &str,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Stats, RunError> {
        let turn = self.turns.lock().expect("no panic").pop_front();
        let turn = turn.unwrap_or_else(|| panic!("not expected: {sql}"));
        assert!(sql.contains(turn.expected), "{} in {sql}", turn.expected);
        for event in turn.events {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(RunError::new(RunFailure::Stopped, "stopped")),
                sent = events.send(event) => if sent.is_err() {
                    return Err(RunError::new(RunFailure::Stopped, "nobody listens"));
                },
            }
        }
        match turn.failure {
            Some(kind) => Err(RunError::new(kind, "it failed")),
            None => Ok(Stats {
                bytes_scanned: 12_345_678,
                elapsed: std::time::Duration::from_millis(42),
                ..Stats::default()
            }),
        }
    }
}
