//! One statement on Athena, from its text to its last row.
//!
//! Owns the course: start with a token that makes a second call safe, ask how it stands at growing intervals, fetch the answer; what
//! is tried again and how long; and what a stop means.
//!
//! - **The first stop** ends the statement in Athena, waits until it has ended, and says what was read: that is paid.
//! - **The second stop** (`leave`) leaves it running and names it.
//! - **Nothing is left behind unknown.** If a start got no answer when the stop came, it is sent once more: its token brings the id.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use archive::store::{Root, S3Settings, SettingsError, digest};
use archive::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::api::{Api, Failure, QueryState, Refused, Start, Status, Workgroup};
use super::csv::CsvError;
use super::reason::Why;
use super::results::{self, Delivery};
use super::settings::{AthenaSettings, AthenaSettingsError};
use crate::estimate::{Bytes, Dollars, scan_dollars};
use crate::event::{Event, Progress, State, Stats};
use crate::retry::{Outside, Pauses};
use crate::rows::{Column, Row};

/// The longest statement, in bytes; Athena's own limit.
pub const MAX_SQL_BYTES: usize = 262_144;

/// The pauses between two questions how an execution stands: Athena takes 100 a second from an account.
pub const POLLS: Pauses = Pauses {
    first: Duration::from_millis(200),
    factor: 1.5,
    longest: Duration::from_secs(3),
};

/// The pauses before a failed call is tried again.
pub const RETRIES: Pauses = Pauses {
    first: Duration::from_millis(500),
    factor: 2.0,
    longest: Duration::from_secs(20),
};

/// How often a call is tried that gets no answer, or an error of Athena's own, in attempts: with the pauses, four minutes.
pub const MAX_LOST_ATTEMPTS: u32 = 16;

/// How often a call is tried that Athena refuses as one too many, in attempts: with the pauses, eight minutes.
pub const MAX_THROTTLED_ATTEMPTS: u32 = 28;

/// How often a call is tried whose credentials have run out: once more, with new ones.
pub const MAX_EXPIRED_ATTEMPTS: u32 = 2;

/// How long a stopped execution may take to end; then it is left alone.
pub const STOP_WAIT: Duration = Duration::from_mins(2);

/// How many times in a row an unknown state is taken for one on the way, in polls.
pub const MAX_UNKNOWN_POLLS: u32 = 40;

/// The most rows that [`Athena::collect`] takes.
pub const MAX_COLLECTED_ROWS: usize = 100_000;

/// How long a note may wait for a full queue before it is dropped.
const NOTE_WAIT: Duration = Duration::from_secs(1);

/// Opens the bucket that an answer lies in.
pub type Stores = Arc<dyn Fn(&Root) -> Result<Arc<dyn Store>, SettingsError> + Send + Sync>;

/// Athena, ready to run statements.
#[derive(Clone)]
pub struct Athena {
    api: Arc<dyn Api>,
    settings: AthenaSettings,
    stores: Stores,
    outside: Outside,
    leave: CancellationToken,
}

impl fmt::Debug for Athena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Athena")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What a statement read, and what that costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scanned {
    /// Bytes of objects.
    pub bytes: u64,
    /// What Athena charges for them.
    pub dollars: Dollars,
}

/// Why a statement has no answer, or not all of it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// Its text is longer than Athena takes.
    #[error("the statement has {bytes} bytes, Athena takes up to {MAX_SQL_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It was not started.
    #[error("start the statement")]
    Start(#[source] Refused),
    /// Athena started it, and it failed.
    #[error("the statement failed, {scanned}, execution {id}: {reason}")]
    Failed {
        /// The execution.
        id: String,
        /// Why, in Athena's words.
        reason: String,
        /// What that stands for.
        why: Why,
        /// What it has cost.
        scanned: Scanned,
    },
    /// Somebody else, or a limit of the workgroup's, stopped it.
    #[error("the statement was cancelled, not by us, {scanned}, execution {id}: {reason}")]
    Cancelled {
        /// The execution.
        id: String,
        /// Why, in Athena's words.
        reason: String,
        /// What that stands for.
        why: Why,
        /// What it has cost.
        scanned: Scanned,
    },
    /// It was stopped before Athena had it.
    #[error("stopped before the statement was started")]
    StoppedBefore,
    /// It was stopped.
    #[error("stopped, {scanned}, execution {id}")]
    Stopped {
        /// The execution.
        id: String,
        /// What it has cost.
        scanned: Scanned,
    },
    /// It read more than it may, and was stopped.
    #[error("stopped after more than {}, {scanned}, execution {id}", Bytes(*.limit))]
    CutOff {
        /// The execution.
        id: String,
        /// How many bytes it may read.
        limit: u64,
        /// What it has cost.
        scanned: Scanned,
    },
    /// It was left running at the second stop.
    #[error("left running: execution {id}")]
    Left {
        /// The execution.
        id: String,
    },
    /// It was given up when it was not known whether Athena had it.
    #[error("given up while it was not known whether Athena had started the statement")]
    LeftUnknown,
    /// It was asked to stop, and did not say that it has.
    #[error("execution {id} was told to stop and has not ended within {} s", STOP_WAIT.as_secs())]
    StopUnconfirmed {
        /// The execution.
        id: String,
    },
    /// It could not be stopped.
    #[error("stop execution {id}, which goes on")]
    CannotStop {
        /// The execution.
        id: String,
        /// Why not.
        #[source]
        source: Refused,
    },
    /// Athena cannot be asked any more how it stands.
    #[error("ask how execution {id} stands, which goes on")]
    Lost {
        /// The execution.
        id: String,
        /// Why not.
        #[source]
        source: Refused,
    },
    /// It is in a state that this program does not know, and stays in it.
    #[error("execution {id} is in a state that this program does not know: {state}")]
    UnknownState {
        /// The execution.
        id: String,
        /// The state.
        state: String,
    },
    /// Its answer cannot be fetched from Athena.
    #[error("fetch the answer of execution {id}")]
    Results {
        /// The execution.
        id: String,
        /// Why not.
        #[source]
        source: Refused,
    },
    /// Its answer cannot be read from the bucket.
    #[error("read the answer of execution {id}")]
    Object {
        /// The execution.
        id: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// Its answer in the bucket is no CSV.
    #[error("read the answer of execution {id}: {place}")]
    Csv {
        /// The execution.
        id: String,
        /// The object.
        place: String,
        /// What is wrong.
        #[source]
        source: CsvError,
    },
    /// Its answer does not fit itself.
    #[error("the answer of execution {id} cannot be right: {what}")]
    Garbled {
        /// The execution.
        id: String,
        /// What is wrong.
        what: String,
    },
    /// The answer has more rows than are to be kept.
    #[error("the answer of execution {id} has more than {max} rows")]
    TooManyRows {
        /// The execution.
        id: String,
        /// The limit.
        max: usize,
    },
}

/// An answer as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What it took.
    pub stats: Stats,
}

impl fmt::Display for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} read, {}", Bytes(self.bytes), self.dollars)
    }
}

impl RunError {
    /// What to do about it, in a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { why, reason, .. } | Self::Cancelled { why, reason, .. } => {
                why.hint(reason)
            }
            Self::Start(refused) if refused.failure.may_have_happened() => {
                Some("it may have been started all the same: look in Athena's console".to_owned())
            }
            Self::Start(refused) => refused_hint(refused),
            Self::CannotStop { id, .. }
            | Self::StopUnconfirmed { id }
            | Self::Left { id }
            | Self::Lost { id, .. } => Some(format!(
                "it can be looked at and stopped in Athena's console, or: aws athena stop-query-execution \
                 --query-execution-id {id}"
            )),
            Self::CutOff { .. } => {
                Some("narrow the time range or name the job; or raise max_scan_bytes".to_owned())
            }
            Self::LeftUnknown => Some("look in Athena's console whether it runs".to_owned()),
            Self::Results { source, .. } => refused_hint(source),
            Self::TooLong { .. }
            | Self::StoppedBefore
            | Self::Stopped { .. }
            | Self::UnknownState { .. }
            | Self::Object { .. }
            | Self::Csv { .. }
            | Self::Garbled { .. }
            | Self::TooManyRows { .. } => None,
        }
    }

    /// The execution that it is about.
    pub fn execution_id(&self) -> Option<&str> {
        match self {
            Self::TooLong { .. } | Self::Start(_) | Self::StoppedBefore | Self::LeftUnknown => None,
            Self::Failed { id, .. }
            | Self::Cancelled { id, .. }
            | Self::Stopped { id, .. }
            | Self::CutOff { id, .. }
            | Self::Left { id }
            | Self::StopUnconfirmed { id }
            | Self::CannotStop { id, .. }
            | Self::Lost { id, .. }
            | Self::UnknownState { id, .. }
            | Self::Results { id, .. }
            | Self::Object { id, .. }
            | Self::Csv { id, .. }
            | Self::Garbled { id, .. }
            | Self::TooManyRows { id, .. } => Some(id),
        }
    }
}

fn refused_hint(refused: &Refused) -> Option<String> {
    match refused.failure {
        Failure::Denied if is_of_credentials(&refused.text) => Some(
            "no credentials were found, or Athena does not take them: look at profile, credentials_file and \
             role_arn in the section [s3], or log in again"
                .to_owned(),
        ),
        Failure::Denied => Why::Denied.hint(&refused.text),
        Failure::Expired => Some("the credentials have run out: log in again".to_owned()),
        Failure::Skewed => Some("this computer's clock is wrong: set it".to_owned()),
        Failure::Throttled => Why::TooManyStatements.hint(&refused.text),
        _ => Why::of(&refused.text).hint(&refused.text),
    }
}

/// Whether a denial is about who asks, not about what.
fn is_of_credentials(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        "credential",
        "unrecognizedclient",
        "invalidclienttoken",
        "security token",
        "signature",
        "authenticationtoken",
    ]
    .iter()
    .any(|word| text.contains(word))
}

impl Athena {
    /// Athena as the settings say, with the credentials of the archive's bucket. Asks nobody. `leave` is cancelled by the second
    /// stop.
    pub fn new(
        settings: &AthenaSettings,
        s3: &S3Settings,
        outside: Outside,
        leave: CancellationToken,
    ) -> Result<Self, AthenaSettingsError> {
        settings.check()?;
        let for_stores = s3.clone();
        let stores: Stores = Arc::new(move |root| archive::store::open(root, &for_stores));
        let api = super::client(settings, s3);
        Ok(Self::with_api(api, settings, stores, outside, leave))
    }

    /// The same with an Athena and stores of the caller's.
    pub fn with_api(
        api: Arc<dyn Api>,
        settings: &AthenaSettings,
        stores: Stores,
        outside: Outside,
        leave: CancellationToken,
    ) -> Self {
        Self {
            api,
            settings: settings.clone(),
            stores,
            outside,
            leave,
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> &AthenaSettings {
        &self.settings
    }

    pub(crate) fn api(&self) -> &dyn Api {
        &*self.api
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(super) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The settings of the workgroup.
    pub async fn workgroup(&self) -> Result<Workgroup, Refused> {
        let quiet = Quiet::default();
        quiet
            .calls(self)
            .again(|| self.api.workgroup(&self.settings.workgroup))
            .await
    }

    /// Runs a statement and sends its answer. When the events' receiver goes away, the statement is stopped.
    pub async fn run(
        &self,
        sql: &str,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Stats, RunError> {
        if sql.len() > MAX_SQL_BYTES {
            return Err(RunError::TooLong { bytes: sql.len() });
        }
        let run = Run {
            athena: self,
            events: &events,
            stop: &stop,
            began: self.outside.elapsed(),
        };
        run.go(&self.start(sql)).await
    }

    /// Runs a statement and keeps its answer: for those whose answers are small.
    pub async fn collect(&self, sql: &str, stop: CancellationToken) -> Result<Collected, RunError> {
        let (sender, mut receiver) = mpsc::channel(crate::event::QUEUE_EVENTS);
        let receive = async move {
            let mut collected = Collected::default();
            while let Some(event) = receiver.recv().await {
                match event {
                    Event::Columns(columns) => collected.columns = columns,
                    Event::Rows(rows) => collected.rows.extend(rows),
                    Event::Progress(_) | Event::Note(_) => {}
                }
                if collected.rows.len() > MAX_COLLECTED_ROWS {
                    // Without a receiver, what runs stops.
                    return None;
                }
            }
            Some(collected)
        };
        let (stats, collected) = tokio::join!(self.run(sql, sender, stop), receive);
        let Some(collected) = collected else {
            let id = match &stats {
                Ok(stats) => stats.execution_id.clone(),
                Err(error) => error.execution_id().map(ToOwned::to_owned),
            };
            return Err(RunError::TooManyRows {
                id: id.unwrap_or_default(),
                max: MAX_COLLECTED_ROWS,
            });
        };
        Ok(Collected {
            stats: stats?,
            ..collected
        })
    }

    /// What starts a statement. Each has a token of its own: the same text again is to run again.
    fn start(&self, sql: &str) -> Start {
        let settings = &self.settings;
        let mut start = Start {
            sql: sql.to_owned(),
            token: String::new(),
            workgroup: settings.workgroup.clone(),
            output_location: settings.output_location.clone(),
            database: Some(settings.database.clone()),
            catalog: settings.catalog.clone(),
            reuse_minutes: settings.reuse_minutes,
        };
        start.token = token(
            [
                Some(sql),
                Some(&start.workgroup),
                start.output_location.as_deref(),
                start.database.as_deref(),
                start.catalog.as_deref(),
            ],
            [self.outside.random(), self.outside.random()],
        );
        start
    }
}

/// A token of 64 characters: the same for the same parts and the same nonce, and for nothing else.
pub(crate) fn token<const N: usize>(parts: [Option<&str>; N], nonce: [u64; 2]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        let len = part.map_or(u64::MAX, |part| part.len() as u64);
        bytes.extend(len.to_le_bytes());
        bytes.extend(part.unwrap_or_default().as_bytes());
    }
    for number in nonce {
        bytes.extend(number.to_le_bytes());
    }
    hex(&digest(&bytes))
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Calls that are tried again while their failures may pass.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    outside: &'a Outside,
    /// Who is told of it.
    events: Option<&'a mpsc::Sender<Event>>,
    /// Ends the waiting.
    stop: &'a CancellationToken,
}

/// Calls without a listener and without a stop.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    stop: CancellationToken,
}

impl Quiet {
    pub(crate) fn calls<'a>(&'a self, athena: &'a Athena) -> Calls<'a> {
        Calls {
            outside: &athena.outside,
            events: None,
            stop: &self.stop,
        }
    }
}

/// How often calls have failed in a row, by kind.
#[derive(Debug, Default)]
struct Failures {
    throttled: u32,
    expired: u32,
    lost: u32,
}

impl Failures {
    /// Counts one more, and tells the pause before the next attempt; `None` if there is to be none.
    fn count(&mut self, failure: Failure, random: u64) -> Option<(Duration, String)> {
        let (count, max) = match failure {
            Failure::Throttled => (&mut self.throttled, MAX_THROTTLED_ATTEMPTS),
            Failure::Expired => (&mut self.expired, MAX_EXPIRED_ATTEMPTS),
            Failure::Lost | Failure::Server => (&mut self.lost, MAX_LOST_ATTEMPTS),
            _ => return None,
        };
        *count += 1;
        let pause = RETRIES.after(*count - 1, random);
        (*count < max).then(|| (pause, format!("attempt {} of {max}", *count + 1)))
    }
}

impl Calls<'_> {
    /// Makes a call until it succeeds, or fails for good. When the waiting is stopped, it is the failure that was waited for.
    pub(crate) async fn again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, Refused>>,
    {
        let mut failures = Failures::default();
        loop {
            let refused = match call().await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let next = failures.count(refused.failure, self.outside.random());
            let Some((pause, attempt)) = next else {
                return Err(refused);
            };
            self.say(&refused, pause, &attempt).await;
            tokio::select! {
                () = self.outside.sleep(pause) => {}
                () = self.stop.cancelled() => return Err(refused),
            }
        }
    }

    /// Says what is tried again.
    async fn say(&self, refused: &Refused, pause: Duration, attempt: &str) {
        let Some(events) = self.events else { return };
        let text = format!(
            "{refused}; tried again in {:.1} s, {attempt}",
            pause.as_secs_f64()
        );
        // Who does not listen need not know.
        let _ = timeout(NOTE_WAIT, events.send(Event::Note(text))).await;
    }
}

/// One statement under way.
pub(super) struct Run<'a> {
    pub(super) athena: &'a Athena,
    pub(super) events: &'a mpsc::Sender<Event>,
    pub(super) stop: &'a CancellationToken,
    began: Duration,
}

/// Why an execution is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// It is not.
    No,
    /// Somebody wants it, or nobody wants the answer.
    Asked {
        /// When, since the clock's start.
        since: Duration,
    },
    /// It reads too much.
    CutOff {
        /// The same.
        since: Duration,
        /// How much it may read.
        limit: u64,
    },
}

impl Run<'_> {
    async fn go(&self, start: &Start) -> Result<Stats, RunError> {
        let id = self.begin(start).await?;
        let (status, stopping) = self.wait(&id).await?;
        let scanned = self.scanned(&status);
        match (&status.state, stopping) {
            (_, Stopping::Asked { .. }) => return Err(RunError::Stopped { id, scanned }),
            (_, Stopping::CutOff { limit, .. }) => {
                return Err(RunError::CutOff { id, limit, scanned });
            }
            (QueryState::Succeeded, Stopping::No) => {}
            (QueryState::Cancelled, Stopping::No) => {
                let why = Why::of(&status.reason);
                let reason = status.reason;
                return Err(RunError::Cancelled {
                    id,
                    reason,
                    why,
                    scanned,
                });
            }
            (_, Stopping::No) => {
                let why = Why::of(&status.reason);
                let reason = match status.reason {
                    reason if reason.is_empty() => "Athena does not say why".to_owned(),
                    reason => reason,
                };
                return Err(RunError::Failed {
                    id,
                    reason,
                    why,
                    scanned,
                });
            }
        }
        self.progress(State::Fetching, status.bytes_scanned);
        let delivered = results::deliver(self, &id, &status, &start.sql).await?;
        if delivered == Delivery::Stopped {
            return Err(RunError::Stopped { id, scanned });
        }
        Ok(Stats {
            bytes_scanned: status.bytes_scanned,
            elapsed: self.athena.outside.elapsed().saturating_sub(self.began),
            execution_id: Some(id),
            reused: status.reused,
            ..Stats::default()
        })
    }

    pub(super) fn calls(&self) -> Calls<'_> {
        Calls {
            outside: &self.athena.outside,
            events: Some(self.events),
            stop: self.stop,
        }
    }

    fn scanned(&self, status: &Status) -> Scanned {
        Scanned {
            bytes: status.bytes_scanned,
            dollars: scan_dollars(status.bytes_scanned, self.athena.settings.dollars_per_tb),
        }
    }

    /// Tells how far it is, if there is room: another word on it comes soon.
    fn progress(&self, state: State, bytes_scanned: u64) {
        let _ = self.events.try_send(Event::Progress(Progress {
            state,
            bytes_scanned,
            bytes_expected: None,
        }));
    }

    /// Starts the statement and returns its id.
    async fn begin(&self, start: &Start) -> Result<String, RunError> {
        let Athena { api, outside, .. } = self.athena;
        let mut failures = Failures::default();
        // Whether Athena may have it.
        let mut is_perhaps_there = false;
        loop {
            if self.stop.is_cancelled() && !is_perhaps_there {
                return Err(RunError::StoppedBefore);
            }
            let answer = tokio::select! {
                answer = api.start(start) => answer,
                () = self.athena.leave.cancelled() => return Err(RunError::LeftUnknown),
            };
            let refused = match answer {
                Ok(id) => return Ok(id),
                Err(refused) => refused,
            };
            is_perhaps_there |= refused.failure.may_have_happened();
            let next = failures.count(refused.failure, outside.random());
            let Some((pause, attempt)) = next else {
                return Err(RunError::Start(refused));
            };
            self.calls().say(&refused, pause, &attempt).await;
            // A stop cuts the waiting short once; what is perhaps there has to be found before it can be stopped.
            let was_stopped = self.stop.is_cancelled();
            tokio::select! {
                () = outside.sleep(pause) => {}
                () = self.stop.cancelled(), if !was_stopped => {}
                () = self.athena.leave.cancelled() => return Err(RunError::LeftUnknown),
            }
        }
    }

    /// Waits for the end, whichever it is.
    async fn wait(&self, id: &str) -> Result<(Status, Stopping), RunError> {
        let Athena { api, outside, .. } = self.athena;
        let left = || RunError::Left { id: id.to_owned() };
        let mut failures = Failures::default();
        let (mut polls, mut unknown) = (0_u32, 0_u32);
        let mut stopping = Stopping::No;
        loop {
            if stopping == Stopping::No && (self.stop.is_cancelled() || self.events.is_closed()) {
                self.end(id).await?;
                stopping = Stopping::Asked {
                    since: outside.elapsed(),
                };
                polls = 0;
            }
            let answer = tokio::select! {
                answer = api.status(id) => answer,
                () = self.athena.leave.cancelled() => return Err(left()),
            };
            let pause = match answer {
                Ok(status) => {
                    failures = Failures::default();
                    unknown = match &status.state {
                        state if state.is_final() => return Ok((status, stopping)),
                        QueryState::Unknown(state) if unknown + 1 == MAX_UNKNOWN_POLLS => {
                            return Err(RunError::UnknownState {
                                id: id.to_owned(),
                                state: state.clone(),
                            });
                        }
                        QueryState::Unknown(_) => unknown + 1,
                        QueryState::Queued => {
                            self.progress(State::Queued, status.bytes_scanned);
                            0
                        }
                        _ => {
                            self.progress(State::Running, status.bytes_scanned);
                            0
                        }
                    };
                    if let (Stopping::No, Some(limit)) =
                        (stopping, self.athena.settings.max_scan_bytes)
                        && status.bytes_scanned > limit
                    {
                        self.end(id).await?;
                        let since = outside.elapsed();
                        stopping = Stopping::CutOff { since, limit };
                        polls = 0;
                    }
                    polls += 1;
                    POLLS.after(polls - 1, outside.random())
                }
                Err(refused) => {
                    let next = failures.count(refused.failure, outside.random());
                    let Some((pause, attempt)) = next else {
                        return Err(RunError::Lost {
                            id: id.to_owned(),
                            source: refused,
                        });
                    };
                    self.calls().say(&refused, pause, &attempt).await;
                    pause
                }
            };
            if let Stopping::Asked { since } | Stopping::CutOff { since, .. } = stopping
                && outside.elapsed().saturating_sub(since) > STOP_WAIT
            {
                return Err(RunError::StopUnconfirmed { id: id.to_owned() });
            }
            let is_running = stopping == Stopping::No;
            tokio::select! {
                () = outside.sleep(pause) => {}
                () = self.stop.cancelled(), if is_running => {}
                () = self.events.closed(), if is_running => {}
                () = self.athena.leave.cancelled() => return Err(left()),
            }
        }
    }

    /// Asks for an execution's end.
    async fn end(&self, id: &str) -> Result<(), RunError> {
        let Athena { api, leave, .. } = self.athena;
        let calls = Calls {
            stop: leave,
            ..self.calls()
        };
        let asked = tokio::select! {
            asked = calls.again(|| api.stop(id)) => asked,
            () = leave.cancelled() => return Err(RunError::Left { id: id.to_owned() }),
        };
        asked.map_err(|source| RunError::CannotStop {
            id: id.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
