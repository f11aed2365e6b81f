//! The engines, as one: a closed set, of which a run of the program has one.
//!
//! An engine takes SQL in Trino's dialect, sends [`Event`]s over a bounded channel and returns [`Stats`]. It never writes to the
//! terminal. When it is told to stop, it stops what runs for it elsewhere too, and says what was read until then.

use std::fmt;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::athena::api::Failure;
use crate::athena::{self, Athena, AthenaSettings};
use crate::config::{Config, EngineKind};
use crate::event::{Event, Stats};
use crate::exit::{Exit, Failed};
use crate::publish::{self, Outcome, Publication, PublishError};
use crate::retry::Outside;

/// Who runs statements.
#[derive(Debug)]
pub enum Engine {
    /// Amazon Athena.
    Athena(Box<Athena>),
    /// The one in this process.
    #[cfg(feature = "embedded")]
    Embedded(Box<crate::embedded::Embedded>),
    /// A list of events, for tests of what is around the engines.
    #[cfg(test)]
    Scripted(Scripted),
}

impl Engine {
    /// The engine of this kind, as it is configured. `leave` tells it not to wait for what runs elsewhere.
    pub fn open(
        kind: EngineKind,
        config: &Config,
        leave: &CancellationToken,
    ) -> Result<Self, Failed> {
        match kind {
            EngineKind::Athena => {
                let settings = AthenaSettings::from(&config.athena);
                if let Some(root) = &config.archive {
                    settings.check_against(root).map_err(Failed::usage)?;
                }
                let outside = Outside::new(random);
                let athena = Athena::new(&settings, &config.s3, outside, leave.clone())
                    .map_err(Failed::usage)?;
                Ok(Self::Athena(Box::new(athena)))
            }
            EngineKind::Embedded => Self::open_embedded(config),
        }
    }

    #[cfg(feature = "embedded")]
    fn open_embedded(config: &Config) -> Result<Self, Failed> {
        use crate::embedded::{Embedded, Settings};
        let root = config
            .archive
            .as_ref()
            .ok_or_else(crate::verbs::no_archive)?;
        let store = archive::store::open(root, &config.s3).map_err(Failed::usage)?;
        let memory_bytes = config.memory_bytes.unwrap_or_else(half_of_memory);
        Ok(Self::Embedded(Box::new(Embedded::new(Settings {
            store,
            database: config.athena.database.clone(),
            table: config.table.clone(),
            memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            spill: None,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            now: crate::run::now,
        }))))
    }

    #[cfg(not(feature = "embedded"))]
    fn open_embedded(_: &Config) -> Result<Self, Failed> {
        Err(
            Failed::usage("this program was built without the engine `embedded`")
                .with_hint("build it with its default features, or ask Athena: --engine athena"),
        )
    }

    /// Runs a statement. Nobody listening any more is the same as being told to stop.
    pub async fn run(
        &self,
        sql: &str,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Stats, RunError> {
        match self {
            Self::Athena(athena) => Ok(athena.run(sql, events, stop).await?),
            #[cfg(feature = "embedded")]
            Self::Embedded(embedded) => Ok(embedded.run(sql, events, stop).await?),
            #[cfg(test)]
            Self::Scripted(script) => script.run(sql, events, stop).await,
        }
    }

    /// Puts queries where people find them by name: into Athena's workgroup. Says what was done with each.
    pub async fn publish(
        &self,
        queries: &[Publication],
        stop: &CancellationToken,
    ) -> Result<Vec<String>, RunError> {
        match self {
            Self::Athena(athena) => {
                let published = tokio::select! {
                    published = publish::publish(athena, queries) => published?,
                    () = stop.cancelled() => {
                        let text = "publishing was stopped; doing it again goes on";
                        return Err(RunError::new(RunFailure::Stopped, text));
                    }
                };
                let outcomes = published.outcomes.iter().map(|(name, outcome)| {
                    let what = match outcome {
                        Outcome::Unchanged => "unchanged",
                        Outcome::Created => "created",
                        Outcome::Updated => "updated",
                        Outcome::Foreign => "left alone: somebody else has a query of this name",
                    };
                    format!("{name}: {what}")
                });
                let stale = published
                    .stale
                    .iter()
                    .map(|name| format!("{name}: no longer in the catalogue; delete it by hand"));
                Ok(outcomes.chain(stale).collect())
            }
            #[cfg(feature = "embedded")]
            Self::Embedded(_) => Err(RunError::new(
                RunFailure::Refused,
                "the embedded engine has no place for named queries",
            )),
            #[cfg(test)]
            Self::Scripted(_) => Ok(queries
                .iter()
                .map(|query| format!("put {}", query.name))
                .collect()),
        }
    }
}

/// What the embedded engine may take where nothing is configured and the machine does not say what it has, in bytes.
#[cfg(feature = "embedded")]
const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;

/// Half of the machine's memory, in bytes.
#[cfg(feature = "embedded")]
fn half_of_memory() -> u64 {
    let said = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = said.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    total.map_or(DEFAULT_MEMORY_BYTES, |kib| kib.saturating_mul(1024) / 2)
}

/// A number that nobody can foresee: for pauses and for tokens, not for secrets.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(())
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

impl From<athena::RunError> for RunError {
    fn from(error: athena::RunError) -> Self {
        use athena::RunError as E;
        let kind = match &error {
            E::TooLong { .. } => RunFailure::Refused,
            E::Start(refused)
            | E::Results {
                source: refused, ..
            } => match refused.failure {
                Failure::Statement | Failure::TokenTaken => RunFailure::Refused,
                Failure::Lost
                | Failure::Server
                | Failure::Throttled
                | Failure::Denied
                | Failure::Expired
                | Failure::Skewed => RunFailure::Unreachable,
                Failure::Garbled | Failure::Other => RunFailure::Failed,
            },
            E::StoppedBefore
            | E::Stopped { .. }
            | E::Left { .. }
            | E::LeftUnknown
            | E::StopUnconfirmed { .. }
            | E::CannotStop { .. } => RunFailure::Stopped,
            E::Lost { .. } => RunFailure::Unreachable,
            E::Failed { .. }
            | E::Cancelled { .. }
            | E::CutOff { .. }
            | E::UnknownState { .. }
            | E::Object { .. }
            | E::Csv { .. }
            | E::Garbled { .. }
            | E::TooManyRows { .. } => RunFailure::Failed,
        };
        Self {
            kind,
            message: error.to_string(),
            hint: error.hint(),
            stats: Stats {
                execution_id: error.execution_id().map(str::to_owned),
                ..Stats::default()
            },
            source: std::error::Error::source(&error)
                .map(|source| joblog::causes::chain(source).into()),
        }
    }
}

#[cfg(feature = "embedded")]
impl From<crate::embedded::RunError> for RunError {
    fn from(error: crate::embedded::RunError) -> Self {
        use crate::embedded::RunError as E;
        let (kind, hint) = match &error {
            E::Statement(_) => (RunFailure::Refused, None),
            E::List(_) | E::Store(_) => (RunFailure::Unreachable, None),
            E::Memory { .. } => (
                RunFailure::Failed,
                Some("`memory_megabytes` in the configuration raises it"),
            ),
            E::Spill(_) => (
                RunFailure::Failed,
                Some("TMPDIR names the folder for what is spilled"),
            ),
            E::Stopped | E::Unheard => (RunFailure::Stopped, None),
            E::Damaged(_) | E::Engine(_) => (RunFailure::Failed, None),
        };
        Self {
            kind,
            message: error.to_string(),
            hint: hint.map(str::to_owned),
            stats: Stats::default(),
            source: std::error::Error::source(&error)
                .map(|source| joblog::causes::chain(source).into()),
        }
    }
}

impl From<PublishError> for RunError {
    fn from(error: PublishError) -> Self {
        Self {
            source: std::error::Error::source(&error)
                .map(|source| joblog::causes::chain(source).into()),
            ..Self::new(RunFailure::Failed, error)
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
