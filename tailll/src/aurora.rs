//! Aurora's scheduler: what is asked, and what the answers mean.
//!
//! `/apibeta/<method>` takes and gives plain JSON; schedulers that do not have it are asked at `/api` in Thrift's JSON protocol,
//! whose form is `tjson.rs`'s. Where the scheduler is, the configuration or ZooKeeper says. Answers are read leniently: unknown
//! fields are passed over, an unknown status is kept as its text, a task that makes no sense is left out and said; but an answer
//! that is not whole is an error, never an empty list. No credentials are sent: reading needs none, and wrong ones are refused.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::{StatusCode, Uri};
use joblog::JobKey;
use joblog::task_id::MAX_TASK_ID_BYTES;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::causes::plain;
use crate::config::SchedulerAt;
use crate::http::{HttpClient, HttpError, Media};
use crate::instance::check_host;
use crate::lock::lock;
use crate::tjson::{self, TjsonError};
use crate::zookeeper::{self, ZooKeeperError};

/// The most task ids in one question, in ids.
pub const MAX_TASK_IDS: usize = 500;

/// What a task that makes no sense is called in messages: at most so many of them, in tasks.
const MAX_SKIPPED_NAMED: usize = 3;

/// How often a scheduler is asked in the way that it needed once, before the usual way is tried again, in questions.
const FORM_KEPT: u32 = 30;

/// The statuses of a task that runs or is going to; STARTING and ASSIGNED too, since a task writes logs long before its
/// health checks let it be RUNNING.
pub const ACTIVE: [&str; 10] = [
    "PENDING",
    "THROTTLED",
    "ASSIGNED",
    "STARTING",
    "RUNNING",
    "KILLING",
    "RESTARTING",
    "PREEMPTING",
    "DRAINING",
    "PARTITIONED",
];

/// The statuses of a task that has ended.
pub const TERMINAL: [&str; 4] = ["FINISHED", "FAILED", "KILLED", "LOST"];

/// A status as the scheduler names it; new ones are kept as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status(String);

impl Status {
    /// Whether the task has ended.
    pub fn is_terminal(&self) -> bool {
        TERMINAL.contains(&self.0.as_str())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id: letters, digits, `_`, `.` and `-`.
    pub id: String,
    /// Its job, if the answer names it.
    pub key: Option<JobKey>,
    /// Which instance of the job.
    pub instance: u32,
    /// Where it runs; none while it waits for a place.
    pub host: Option<String>,
    /// Its status.
    pub status: Status,
    /// The message of its last event, escaped.
    pub message: Option<String>,
    /// When its last event was, in ms since 1970.
    pub since_ms: Option<i64>,
}

/// The tasks of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tasks {
    /// Those that make sense.
    pub tasks: Vec<Task>,
    /// What was wrong with the others, in a few words; empty if there were none.
    pub skipped: Option<String>,
}

/// Why a scheduler gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuroraError {
    /// It could not be asked.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is no JSON of the expected form; it may have been cut off.
    #[error("{uri}: the answer cannot be read")]
    Json {
        /// The address.
        uri: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The answer is no Thrift of the expected form, or a failure.
    #[error("{uri}: the answer cannot be used")]
    Tjson {
        /// The address.
        uri: String,
        /// Why.
        source: TjsonError,
    },
    /// The answer is for people.
    #[error("{uri}: the answer is a web page, not a scheduler's")]
    Page {
        /// The address.
        uri: String,
    },
    /// Neither way of asking is known there.
    #[error("neither of a scheduler's addresses is there; check scheduler_uri ({plain}; {thrift})")]
    Neither {
        /// What `/apibeta` said.
        plain: String,
        /// What `/api` said.
        thrift: String,
    },
    /// ZooKeeper does not say who leads.
    #[error(transparent)]
    ZooKeeper(#[from] ZooKeeperError),
    /// It is not configured where the scheduler is.
    #[error("{why}")]
    Nowhere {
        /// What is missing.
        why: String,
    },
    /// It refused.
    #[error("{uri}: the scheduler answers {code}{}", colon(.details))]
    Refused {
        /// The address.
        uri: String,
        /// The response code.
        code: String,
        /// Its own words.
        details: String,
    },
    /// It agreed and gave nothing.
    #[error("{uri}: the scheduler answers {code} without a result of the kind asked for")]
    NoResult {
        /// The address.
        uri: String,
        /// The response code.
        code: String,
    },
}

impl AuroraError {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Http(HttpError::Status { status, .. }) => Some(*status),
            _ => None,
        }
    }

    /// Whether asking again in a moment may help: there is no leader, or its storage is not ready.
    fn is_transient(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == "ERROR_TRANSIENT",
            Self::ZooKeeper(error) => error.is_transient(),
            _ => self.status() == Some(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Whether another scheduler may lead by now.
    fn is_silence(&self) -> bool {
        match self {
            Self::Http(
                HttpError::Connect { .. }
                | HttpError::Exchange { .. }
                | HttpError::Truncated { .. }
                | HttpError::Timeout { .. }
                | HttpError::Redirects { .. }
                | HttpError::Location { .. },
            )
            | Self::Neither { .. } => true,
            _ => self.status() == Some(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Whether the scheduler does not understand this dialect.
    fn is_dialect(&self) -> bool {
        matches!(self, Self::Page { .. })
            || self.status().is_some_and(|status| {
                [
                    StatusCode::NOT_FOUND,
                    StatusCode::METHOD_NOT_ALLOWED,
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ]
                .contains(&status)
            })
    }

    /// Whether the answer began and was not finished, or the scheduler fell over the question.
    fn is_broken(&self) -> bool {
        match self {
            Self::Http(HttpError::Truncated { .. })
            | Self::Tjson {
                source: TjsonError::Exception { .. },
                ..
            } => true,
            Self::Json { source, .. }
            | Self::Tjson {
                source: TjsonError::Json(source),
                ..
            } => source.is_eof(),
            _ => self.status() == Some(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Whether the scheduler may not know all that is asked for.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code == "INVALID_REQUEST" || code == "ERROR",
            Self::Tjson {
                source: TjsonError::Exception { .. },
                ..
            } => true,
            _ => self.status().is_some_and(|status| {
                [StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR].contains(&status)
            }),
        }
    }
}

/// How a scheduler is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Plain JSON at `/apibeta`.
    Plain,
    /// Thrift's JSON protocol at `/api`.
    Thrift,
}

impl Dialect {
    const fn other(self) -> Self {
        match self {
            Self::Plain => Self::Thrift,
            Self::Thrift => Self::Plain,
        }
    }
}

/// How tasks are asked for: first the light way, and then what schedulers understand that stumble over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    method: Method,
    statuses: Statuses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Without what the tasks run. One task without executor spoils the whole answer.
    WithoutConfigs,
    /// With everything.
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statuses {
    /// Those that are wanted. Schedulers refuse one that they do not know.
    Named,
    /// All; what is not wanted is left out here.
    All,
}

impl Form {
    const USUAL: Self = Self {
        method: Method::WithoutConfigs,
        statuses: Statuses::Named,
    };

    /// What to try after this error.
    fn after(self, error: &AuroraError) -> Option<Self> {
        if self.method == Method::WithoutConfigs && error.is_broken() {
            Some(Self {
                method: Method::Status,
                ..self
            })
        } else if self.statuses == Statuses::Named && error.is_refusal() {
            Some(Self {
                statuses: Statuses::All,
                ..self
            })
        } else {
            None
        }
    }
}

/// Which tasks of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Active,
    Ended,
}

impl Which {
    const fn statuses(self) -> &'static [&'static str] {
        match self {
            Self::Active => &ACTIVE,
            Self::Ended => &TERMINAL,
        }
    }

    fn takes(self, status: &Status) -> bool {
        status.is_terminal() == (self == Self::Ended)
    }
}

/// How often a transient failure is tried again, and after how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Requests in all, the first included.
    pub attempts: u32,
    /// Before the second; doubled each time. Each wait is between half and the whole of it.
    pub first_delay: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_delay: Duration::from_millis(500),
        }
    }
}

/// A cluster's scheduler.
#[derive(Debug)]
pub struct Scheduler {
    cluster: String,
    at: SchedulerAt,
    http: HttpClient,
    retry: Retry,
    zookeeper: zookeeper::Limits,
    learnt: Mutex<Learnt>,
}

/// What earlier answers have taught.
#[derive(Debug)]
struct Learnt {
    /// Who leads, where ZooKeeper said it.
    leader: Option<Uri>,
    dialect: Dialect,
    form: Form,
    /// For how many questions more another form than the usual is kept.
    form_left: u32,
    random: Random,
}

/// Whether an address is asked for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Now,
    Earlier,
}

impl Scheduler {
    /// The scheduler of a cluster. `seed` spreads the retries of many clients.
    pub fn new(cluster: &str, at: SchedulerAt, http: HttpClient, retry: Retry, seed: u64) -> Self {
        Self {
            cluster: cluster.to_owned(),
            at,
            http,
            retry,
            zookeeper: zookeeper::Limits::default(),
            learnt: Mutex::new(Learnt {
                leader: None,
                dialect: Dialect::Plain,
                form: Form::USUAL,
                form_left: 0,
                random: Random(seed),
            }),
        }
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The tasks of these jobs that run or are going to.
    pub async fn active_tasks(&self, keys: &[JobKey]) -> Result<Tasks, AuroraError> {
        self.tasks(&json!({ "jobKeys": job_keys(keys) }), Which::Active)
            .await
    }

    /// The tasks of these jobs that have ended, as far as the scheduler still knows them.
    pub async fn past_tasks(&self, keys: &[JobKey]) -> Result<Tasks, AuroraError> {
        self.tasks(&json!({ "jobKeys": job_keys(keys) }), Which::Ended)
            .await
    }

    /// What became of these tasks, as far as the scheduler still knows; at most [`MAX_TASK_IDS`] of them.
    pub async fn ended_tasks(&self, ids: &[String]) -> Result<Tasks, AuroraError> {
        let ids = &ids[..ids.len().min(MAX_TASK_IDS)];
        self.tasks(&json!({ "taskIds": ids }), Which::Ended).await
    }

    /// The scheduler's jobs.
    pub async fn jobs(&self) -> Result<Vec<JobKey>, AuroraError> {
        self.ask("getJobs", &json!({}), &|result| {
            parse_jobs(&self.cluster, result)
        })
        .await
    }

    /// Asks for tasks in the way that served last, and in others as long as the scheduler stumbles over it.
    async fn tasks(&self, query: &Value, which: Which) -> Result<Tasks, AuroraError> {
        let mut form = self.form();
        let mut first = None;
        loop {
            let mut query = query.clone();
            if form.statuses == Statuses::Named {
                query["statuses"] = json!(which.statuses());
            }
            let method = match form.method {
                Method::WithoutConfigs => "getTasksWithoutConfigs",
                Method::Status => "getTasksStatus",
            };
            let answer = self
                .ask(method, &json!({ "query": query }), &|result| {
                    parse_tasks(&self.cluster, result)
                })
                .await;
            let error = match answer {
                Ok(mut tasks) => {
                    if first.is_some() {
                        self.keep(form);
                    }
                    tasks.tasks.retain(|task| which.takes(&task.status));
                    return Ok(tasks);
                }
                Err(error) => error,
            };
            match form.after(&error) {
                Some(next) => form = next,
                None => return Err(first.unwrap_or(error)),
            }
            first.get_or_insert(error);
        }
    }

    /// Asks until there is an answer or no hope.
    async fn ask<T>(
        &self,
        method: &str,
        arguments: &Value,
        read: &impl Fn(&Value) -> Option<T>,
    ) -> Result<T, AuroraError> {
        let mut attempt = 1;
        loop {
            let answer = match self.leader().await {
                Ok((leader, found)) => {
                    let answer = self.exchange(&leader, method, arguments, read).await;
                    if matches!(&answer, Err(error) if error.is_silence()) {
                        self.learnt().leader = None;
                        if found == Found::Earlier {
                            continue;
                        }
                    }
                    answer
                }
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if error.is_transient() && attempt < self.retry.attempts => {
                    tokio::time::sleep(self.delay(attempt)).await;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Where to ask. What ZooKeeper said is remembered until the scheduler stops answering.
    async fn leader(&self) -> Result<(Uri, Found), AuroraError> {
        let ensemble = match &self.at {
            SchedulerAt::Uri(uri) => return Ok((uri.clone(), Found::Now)),
            SchedulerAt::Nowhere { why } => {
                return Err(AuroraError::Nowhere { why: why.clone() });
            }
            SchedulerAt::ZooKeeper(ensemble) => ensemble,
        };
        let (known, seed) = {
            let mut learnt = self.learnt();
            (learnt.leader.clone(), learnt.random.next())
        };
        if let Some(leader) = known {
            return Ok((leader, Found::Earlier));
        }
        let leader = ensemble.leader(self.zookeeper, seed).await?;
        self.learnt().leader = Some(leader.clone());
        Ok((leader, Found::Now))
    }

    /// Asks in the dialect that served last, and in the other if that is not understood.
    async fn exchange<T>(
        &self,
        base: &Uri,
        method: &str,
        arguments: &Value,
        read: &impl Fn(&Value) -> Option<T>,
    ) -> Result<T, AuroraError> {
        let usual = self.learnt().dialect;
        let first = match self.speak(usual, base, method, arguments, read).await {
            Err(error) if error.is_dialect() => error,
            answer => return answer,
        };
        match self
            .speak(usual.other(), base, method, arguments, read)
            .await
        {
            Err(second) if second.is_dialect() => {
                let (plain, thrift) = match usual {
                    Dialect::Plain => (first, second),
                    Dialect::Thrift => (second, first),
                };
                Err(AuroraError::Neither {
                    plain: plain.to_string(),
                    thrift: thrift.to_string(),
                })
            }
            Err(error @ AuroraError::Http(_)) => Err(error),
            // Whatever it answers, it understands this one.
            answer => {
                self.learnt().dialect = usual.other();
                answer
            }
        }
    }

    async fn speak<T>(
        &self,
        dialect: Dialect,
        base: &Uri,
        method: &str,
        arguments: &Value,
        read: &impl Fn(&Value) -> Option<T>,
    ) -> Result<T, AuroraError> {
        let (uri, media, body) = match dialect {
            Dialect::Plain => (
                endpoint(base, &format!("apibeta/{method}")),
                Media::Json,
                arguments.to_string(),
            ),
            Dialect::Thrift => (
                endpoint(base, "api"),
                Media::Thrift,
                tjson::call(method, arguments),
            ),
        };
        let answer = self.http.post(&uri, media, Bytes::from(body)).await?;
        if answer.trim_ascii_start().starts_with(b"<") {
            return Err(AuroraError::Page {
                uri: uri.to_string(),
            });
        }
        let response = match dialect {
            Dialect::Plain => json_of(&uri, &answer)?,
            Dialect::Thrift => tjson::reply(&answer).map_err(|source| AuroraError::Tjson {
                uri: uri.to_string(),
                source,
            })?,
        };
        parse_response(&uri, response, read)
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        lock(&self.learnt)
    }

    /// How to ask for tasks now.
    fn form(&self) -> Form {
        let mut learnt = self.learnt();
        if learnt.form_left == 0 {
            return Form::USUAL;
        }
        learnt.form_left -= 1;
        learnt.form
    }

    fn keep(&self, form: Form) {
        let mut learnt = self.learnt();
        learnt.form = form;
        learnt.form_left = FORM_KEPT;
    }

    /// How long to wait after this attempt: between half and the whole of a delay that doubles.
    fn delay(&self, attempt: u32) -> Duration {
        let whole =
            self.retry.first_delay * 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
        let share = self.learnt().random.next_share();
        whole.mul_f64(0.5 + share / 2.0)
    }
}

fn job_keys(keys: &[JobKey]) -> Vec<Value> {
    keys.iter()
        .map(|key| json!({"role": key.role(), "environment": key.env(), "name": key.name()}))
        .collect()
}

/// A small generator of random numbers (splitmix64): enough to spread retries.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    fn next_share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Where something is asked: relative to the scheduler's address as a link on a web page would be, which is how Aurora's own
/// client reads `scheduler_uri`: what follows the last slash of its path is replaced.
pub fn endpoint(scheduler: &Uri, link: &str) -> Uri {
    let folder = scheduler
        .path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let mut parts = scheduler.clone().into_parts();
    parts.path_and_query = format!("{folder}/{link}").parse().ok();
    // A path that was valid stays valid with a few letters more.
    Uri::from_parts(parts).unwrap_or_else(|_| scheduler.clone())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResponse {
    #[serde(default)]
    response_code: Value,
    result: Option<Value>,
    #[serde(default)]
    details: Value,
}

/// Reads the answer to a question for tasks: bytes of a stranger.
///
/// # Errors
/// See [`AuroraError`]; it names the address that answered.
pub fn tasks_of_answer(cluster: &str, uri: &Uri, answer: &[u8]) -> Result<Tasks, AuroraError> {
    parse_response(uri, json_of(uri, answer)?, &|result| {
        parse_tasks(cluster, result)
    })
}

/// The same for an answer in Thrift's JSON protocol.
///
/// # Errors
/// See [`AuroraError`]; it names the address that answered.
pub fn tasks_of_thrift(cluster: &str, uri: &Uri, answer: &[u8]) -> Result<Tasks, AuroraError> {
    let response = tjson::reply(answer).map_err(|source| AuroraError::Tjson {
        uri: uri.to_string(),
        source,
    })?;
    parse_response(uri, response, &|result| parse_tasks(cluster, result))
}

fn json_of(uri: &Uri, body: &[u8]) -> Result<Value, AuroraError> {
    serde_json::from_slice(body).map_err(|source| AuroraError::Json {
        uri: uri.to_string(),
        source,
    })
}

/// Reads a response whose result `read` understands.
fn parse_response<T>(
    uri: &Uri,
    response: Value,
    read: &impl Fn(&Value) -> Option<T>,
) -> Result<T, AuroraError> {
    let response: RawResponse =
        serde_json::from_value(response).map_err(|source| AuroraError::Json {
            uri: uri.to_string(),
            source,
        })?;
    let code = match &response.response_code {
        Value::String(code) => plain(code),
        Value::Null => "no response code".to_owned(),
        other => plain(&other.to_string()),
    };
    // A warning comes with a result, like a plain yes.
    if !["OK", "WARNING", "1", "3"].contains(&code.as_str()) {
        let messages: Vec<&str> = response
            .details
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|detail| detail.get("message").and_then(Value::as_str))
            .collect();
        return Err(AuroraError::Refused {
            uri: uri.to_string(),
            code,
            details: plain(&messages.join("; ")),
        });
    }
    response
        .result
        .as_ref()
        .and_then(read)
        .ok_or_else(|| AuroraError::NoResult {
            uri: uri.to_string(),
            code,
        })
}

/// The tasks of a result, or `None` if it is of another kind.
fn parse_tasks(cluster: &str, result: &Value) -> Option<Tasks> {
    let status = result.get("scheduleStatusResult")?.as_object()?;
    let list = match status.get("tasks") {
        // Empty and missing are the same to those who leave out what is empty.
        None | Some(Value::Null) => return Some(Tasks::default()),
        Some(tasks) => tasks.as_array()?,
    };
    let mut tasks = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for task in list {
        match parse_task(cluster, task) {
            Ok(task) => tasks.push(task),
            Err(problem) => problems.push(problem),
        }
    }
    let skipped = (!problems.is_empty()).then(|| {
        let count = problems.len();
        problems.truncate(MAX_SKIPPED_NAMED);
        format!(
            "{count} of its {} tasks cannot be understood: {}",
            list.len(),
            problems.join("; ")
        )
    });
    Some(Tasks { tasks, skipped })
}

fn parse_task(cluster: &str, task: &Value) -> Result<Task, String> {
    let assigned = task
        .get("assignedTask")
        .ok_or("a task without assignedTask")?;
    let id = assigned
        .get("taskId")
        .and_then(Value::as_str)
        .ok_or("a task without taskId")?;
    // The id becomes part of a path on another host.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if id.is_empty()
        || id.len() > MAX_TASK_ID_BYTES
        || !id.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        || !id.chars().all(allowed)
    {
        return Err(format!("task id `{}`", plain(id)));
    }
    let instance = match assigned.get("instanceId") {
        Some(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok()),
        None => joblog::TaskId::parse(id).ok().map(|id| id.instance()),
    };
    let instance = instance.ok_or_else(|| format!("instance of task {id}"))?;
    let host = match assigned.get("slaveHost") {
        None | Some(Value::Null) => None,
        Some(host) => {
            let host = host.as_str().ok_or_else(|| format!("host of task {id}"))?;
            check_host(host).map_err(|error| format!("host of task {id}: {error}"))?;
            Some(host.to_owned())
        }
    };
    let status = match task.get("status") {
        Some(Value::String(status)) => plain(status),
        Some(Value::Number(status)) => status.to_string(),
        _ => return Err(format!("status of task {id}")),
    };
    let key = assigned
        .get("task")
        .and_then(|config| config.get("job"))
        .and_then(|job| parse_key(cluster, job));
    let last_event = task
        .get("taskEvents")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .max_by_key(|event| event.get("timestamp").and_then(Value::as_i64));
    let message = last_event
        .and_then(|event| event.get("message"))
        .and_then(Value::as_str)
        .filter(|message| !message.trim().is_empty())
        .map(|message| plain(message.trim()));
    Ok(Task {
        id: id.to_owned(),
        key,
        instance,
        host,
        status: Status(status),
        message,
        since_ms: last_event
            .and_then(|event| event.get("timestamp"))
            .and_then(Value::as_i64),
    })
}

/// The keys of a result, or `None` if it is of another kind.
fn parse_jobs(cluster: &str, result: &Value) -> Option<Vec<JobKey>> {
    let jobs = result.get("getJobsResult")?.as_object()?;
    let list = match jobs.get("configs") {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(configs) => configs.as_array()?,
    };
    let mut keys: Vec<JobKey> = list
        .iter()
        .filter_map(|config| config.get("key").and_then(|key| parse_key(cluster, key)))
        .collect();
    keys.sort();
    keys.dedup();
    Some(keys)
}

fn parse_key(cluster: &str, key: &Value) -> Option<JobKey> {
    let part = |name| key.get(name).and_then(Value::as_str);
    JobKey::new(cluster, part("role")?, part("environment")?, part("name")?).ok()
}

fn colon(details: &str) -> String {
    if details.is_empty() {
        String::new()
    } else {
        format!(": {details}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::causes::chain;
    use crate::http::Limits;
    use crate::http::tests::{Fake, reply};

    pub(crate) fn scheduler(uri: &str) -> Scheduler {
        scheduler_at(SchedulerAt::Uri(uri.parse().expect("an address")))
    }

    pub(crate) fn scheduler_at(at: SchedulerAt) -> Scheduler {
        let limits = Limits {
            connect: Duration::from_secs(2),
            whole: Duration::from_secs(2),
            body_bytes: 1_000_000,
        };
        let retry = Retry {
            attempts: 3,
            first_delay: Duration::from_millis(2),
        };
        Scheduler::new("aa", at, HttpClient::new(limits), retry, 7)
    }

    /// The tasks of an answer's body.
    pub(crate) fn read_tasks(body: &str) -> Tasks {
        let uri: Uri = "http://h/".parse().expect("an address");
        tasks_of_answer("aa", &uri, body.as_bytes()).expect("an answer")
    }

    pub(crate) fn key(text: &str) -> JobKey {
        text.parse().expect("a key")
    }

    /// A task as the scheduler writes it.
    pub(crate) fn task_json(
        job: &str,
        instance: u32,
        n: u32,
        host: Option<&str>,
        status: &str,
        message: &str,
    ) -> Value {
        let parts: Vec<&str> = job.split('/').collect();
        let id = format!(
            "{}-{}-{}-{instance}-8a5f0a3e-3c1e-4d58-9a53-{n:012x}",
            parts[1], parts[2], parts[3]
        );
        let mut assigned = json!({
            "taskId": id, "instanceId": instance, "assignedPorts": {"http": 31234},
            "task": {
                "job": {"role": parts[1], "environment": parts[2], "name": parts[3]}, "isService": true,
                "resources": [{"numCpus": 1.0}, {"ipAddr": {"new": 1}}], "container": {"mesos": {}},
                "executorConfig": {"name": "AuroraExecutor"},
            },
        });
        if let Some(host) = host {
            assigned["slaveHost"] = json!(host);
            assigned["slaveId"] = json!("f1b2-S3");
        }
        json!({
            "assignedTask": assigned, "status": status, "failureCount": 0, "someDay": [1, 2],
            "taskEvents": [
                {"timestamp": 1_700_000_003_000_i64, "status": status, "message": message, "scheduler": "s"},
                {"timestamp": 1_700_000_001_000_i64, "status": "PENDING", "message": "older"},
            ],
        })
    }

    pub(crate) fn ok(result: &Value) -> String {
        reply("200 OK", "content-type: application/json\r\n", &json!({
            "responseCode": "OK", "serverInfo": {"clusterName": "devcluster"}, "result": result, "details": [],
        }).to_string())
    }

    pub(crate) fn ok_tasks(tasks: &[Value]) -> String {
        ok(&json!({"scheduleStatusResult": {"tasks": tasks}}))
    }

    pub(crate) fn ok_jobs(jobs: &[&str]) -> String {
        let configs: Vec<Value> = jobs
            .iter()
            .map(|job| {
                let parts: Vec<&str> = job.split('/').collect();
                json!({"key": {"role": parts[0], "environment": parts[1], "name": parts[2]}, "instanceCount": 3})
            })
            .collect();
        ok(&json!({"getJobsResult": {"configs": configs}}))
    }

    #[test]
    fn addresses_join_as_aurora_joins_them() {
        for (uri, expected) in [
            ("http://h:8081", "http://h:8081/apibeta/getJobs"),
            ("http://h:8081/", "http://h:8081/apibeta/getJobs"),
            ("http://h/scheduler", "http://h/apibeta/getJobs"),
            ("https://h/aurora/", "https://h/aurora/apibeta/getJobs"),
            ("https://h/aurora/api", "https://h/aurora/apibeta/getJobs"),
        ] {
            assert_eq!(
                endpoint(&uri.parse().expect("an address"), "apibeta/getJobs").to_string(),
                expected,
                "{uri}"
            );
        }
    }

    #[tokio::test]
    async fn tasks_are_asked_for_and_read() {
        let tasks = [
            task_json(
                "aa/www-data/prod/hello",
                0,
                1,
                Some("node7.example.com"),
                "RUNNING",
                "",
            ),
            task_json(
                "aa/www-data/prod/hello",
                1,
                2,
                Some("node8"),
                "LEVITATING",
                "new \u{1b} status",
            ),
            task_json(
                "aa/www-data/prod/hello",
                2,
                3,
                None,
                "PENDING",
                "Insufficient: CPU",
            ),
        ];
        let fake = Fake::start(move |_| ok_tasks(&tasks)).await;
        let answer = scheduler(&fake.uri)
            .active_tasks(&[key("aa/www-data/prod/hello")])
            .await
            .expect("tasks");
        assert_eq!(answer.skipped, None);
        let told: Vec<String> = answer
            .tasks
            .iter()
            .map(|task| {
                format!(
                    "{} {:?} {} {:?}",
                    task.instance,
                    task.host.as_deref(),
                    task.status,
                    task.message.as_deref()
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"0 Some("node7.example.com") RUNNING None"#,
                r#"1 Some("node8") LEVITATING Some("new \\u{1b} status")"#,
                r#"2 None PENDING Some("Insufficient: CPU")"#,
            ]
        );
        assert_eq!(answer.tasks[0].key, Some(key("aa/www-data/prod/hello")));
        let seen = &fake.seen()[0];
        assert_eq!(seen.path, "/apibeta/getTasksWithoutConfigs");
        let query: Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!(
            query["query"]["jobKeys"],
            json!([{"role": "www-data", "environment": "prod", "name": "hello"}])
        );
        assert!(
            query["query"]["statuses"]
                .as_array()
                .expect("a list")
                .contains(&json!("STARTING"))
        );
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_left_out_and_said() {
        let mut evil = task_json("aa/r/prod/j", 1, 2, Some("-oProxyCommand=x"), "RUNNING", "");
        let good = task_json("aa/r/prod/j", 0, 1, Some("node7"), "RUNNING", "");
        let mut path = good.clone();
        path["assignedTask"]["taskId"] = json!("../../etc/$(id)");
        let mut negative = good.clone();
        negative["assignedTask"]["instanceId"] = json!(-1);
        evil["someDay"] = json!(null);
        let list = [
            good,
            evil,
            path,
            negative,
            json!(7),
            json!({"assignedTask": {}}),
        ];
        let fake = Fake::start(move |_| ok_tasks(&list)).await;
        let answer = scheduler(&fake.uri)
            .active_tasks(&[key("aa/r/prod/j")])
            .await
            .expect("tasks");
        assert_eq!(answer.tasks.len(), 1);
        let skipped = answer.skipped.expect("some");
        assert!(
            skipped.starts_with("5 of its 6 tasks cannot be understood: host of task"),
            "{skipped}"
        );
    }

    #[tokio::test]
    async fn a_moment_without_leader_passes() {
        let transient = json!({"responseCode": "ERROR_TRANSIENT", "details": [{"message": "Storage is not READY"}]});
        let mut n = 0;
        let fake = Fake::start(move |_| {
            n += 1;
            match n {
                1 => reply(
                    "503 Service Unavailable",
                    "content-type: text/html\r\n",
                    "<html>no leader</html>",
                ),
                2 => reply("200 OK", "", &transient.to_string()),
                _ => ok_tasks(&[]),
            }
        })
        .await;
        let answer = scheduler(&fake.uri)
            .active_tasks(&[key("aa/r/prod/j")])
            .await
            .expect("tasks");
        assert_eq!((answer, fake.seen().len()), (Tasks::default(), 3));
    }

    #[tokio::test]
    async fn the_leader_gets_the_body_again() {
        let leader = Fake::start(|_| ok_tasks(&[])).await;
        let location = format!(
            "location: {}/apibeta/getTasksWithoutConfigs\r\n",
            leader.uri
        );
        let other = Fake::start(move |_| reply("307 Temporary Redirect", &location, "")).await;
        scheduler(&other.uri)
            .active_tasks(&[key("aa/r/prod/j")])
            .await
            .expect("tasks");
        assert_eq!(leader.seen()[0].body, other.seen()[0].body);
        assert!(leader.seen()[0].body.contains("jobKeys"));
    }

    #[tokio::test]
    async fn failures_are_never_empty_lists() {
        let whole = ok_tasks(&[task_json("aa/r/prod/j", 0, 1, Some("h"), "RUNNING", "")]);
        let body = whole.split_once("\r\n\r\n").expect("a body").1.to_owned();
        let half = reply("200 OK", "", &body[..body.len() / 2]);
        let refused = json!({"responseCode": "INVALID_REQUEST", "details": [{"message": "bad \u{1b}query"}, {"message": "really"}]});
        for (answer, expected, requests) in [
            (half, "cannot be read", 2),
            (whole[..whole.len() / 2].to_owned(), "broke off", 2),
            (
                reply("200 OK", "", &refused.to_string()),
                "answers INVALID_REQUEST: bad \\u{1b}query; really",
                2,
            ),
            (
                reply("200 OK", "", "{\"responseCode\":\"OK\"}"),
                "without a result",
                1,
            ),
            (ok(&json!({"roleSummaryResult": {}})), "without a result", 1),
            (
                ok(&json!({"scheduleStatusResult": {"tasks": 7}})),
                "without a result",
                1,
            ),
            (reply("200 OK", "", "{}"), "answers no response code", 1),
            (reply("500 Internal Server Error", "", ""), "HTTP 500", 3),
            (reply("503 Service Unavailable", "", ""), "HTTP 503", 3),
            (reply("200 OK", "", "[]"), "cannot be read", 1),
        ] {
            let fake = Fake::start(move |_| answer.clone()).await;
            let error = scheduler(&fake.uri)
                .active_tasks(&[key("aa/r/prod/j")])
                .await
                .expect_err(expected);
            let text = chain(&error);
            assert!(
                text.contains(expected) && text.contains(&fake.uri),
                "{expected}: {text}"
            );
            assert_eq!(fake.seen().len(), requests, "{expected}");
        }
    }

    #[tokio::test]
    async fn jobs_are_listed() {
        let fake =
            Fake::start(|_| ok_jobs(&["www-data/prod/hello", "a/b/c", "a/b/c", "a/b/not a name"]))
                .await;
        let jobs = scheduler(&fake.uri).jobs().await.expect("jobs");
        assert_eq!(jobs, [key("aa/a/b/c"), key("aa/www-data/prod/hello")]);
        assert_eq!(fake.seen()[0].path, "/apibeta/getJobs");
    }

    /// The paths that were asked, and in each whether statuses were named.
    fn asked(fake: &Fake) -> Vec<String> {
        fake.seen()
            .iter()
            .map(|seen| {
                let named = seen.body.contains("statuses") || seen.body.contains("\"5\":");
                let method = seen.body.split('"').nth(1).filter(|_| seen.path == "/api");
                format!(
                    "{} {}{named}",
                    seen.path,
                    method.map_or(String::new(), |m| m.to_owned() + " ")
                )
            })
            .collect()
    }

    fn hello(n: u32) -> Value {
        task_json("aa/r/prod/j", 0, n, Some("node7"), "RUNNING", "up")
    }

    #[tokio::test]
    async fn an_old_scheduler_is_asked_in_thrift() {
        for refusal in [
            reply("404 Not Found", "", ""),
            reply("405 Method Not Allowed", "", ""),
            reply("415 Unsupported Media Type", "", ""),
            reply(
                "200 OK",
                "content-type: text/html\r\n",
                "\n<html>Aurora</html>",
            ),
        ] {
            let fake = Fake::start(move |seen| {
                if seen.path != "/api" {
                    return refusal.clone();
                }
                let response = json!({
                    "responseCode": "OK",
                    "result": {"scheduleStatusResult": {"tasks": [hello(1)]}},
                    "details": [],
                });
                reply(
                    "200 OK",
                    "",
                    &tjson::tests::reply_of("getTasksWithoutConfigs", &response),
                )
            })
            .await;
            let old = scheduler(&fake.uri);
            for _ in 0..2 {
                let answer = old
                    .active_tasks(&[key("aa/r/prod/j")])
                    .await
                    .expect("tasks");
                assert_eq!(answer, read_tasks(&json!({"responseCode": "OK", "result": {"scheduleStatusResult": {"tasks": [hello(1)]}}}).to_string()));
                assert_eq!(answer.tasks[0].since_ms, Some(1_700_000_003_000));
            }
            // What was learnt is kept.
            assert_eq!(
                asked(&fake),
                [
                    "/apibeta/getTasksWithoutConfigs true",
                    "/api getTasksWithoutConfigs true",
                    "/api getTasksWithoutConfigs true",
                ]
            );
            let head = fake.seen()[1].head.to_ascii_lowercase();
            assert!(
                head.contains("content-type: application/x-thrift"),
                "{head}"
            );
        }
    }

    #[tokio::test]
    async fn an_address_that_is_no_scheduler_is_said() {
        let fake = Fake::start(|_| reply("404 Not Found", "", "")).await;
        let error = scheduler(&fake.uri).jobs().await.expect_err("none");
        let text = chain(&error);
        assert!(
            text.contains("/apibeta/getJobs: HTTP 404") && text.contains("/api: HTTP 404"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn thrifts_exceptions_are_errors_that_name_the_address() {
        let fake = Fake::start(|seen| match seen.path.as_str() {
            "/api" => reply(
                "200 OK",
                "",
                r#"[1,"x",3,1,{"1":{"str":"no \u001b"},"2":{"i32":6}}]"#,
            ),
            _ => reply("404 Not Found", "", ""),
        })
        .await;
        let error = scheduler(&fake.uri).jobs().await.expect_err("none");
        assert_eq!(
            chain(&error),
            format!(
                "{}/api: the answer cannot be used: the scheduler failed: no \\u{{1b}}",
                fake.uri
            )
        );
    }

    #[tokio::test]
    async fn a_task_without_executor_is_got_around() {
        let whole = ok_tasks(&[hello(1)]);
        let body = whole.split_once("\r\n\r\n").expect("a body").1.to_owned();
        for broken in [
            reply("500 Internal Server Error", "", ""),
            reply("200 OK", "", &body[..body.len() / 2]),
            whole[..whole.len() - 5].to_owned(),
        ] {
            let fake = Fake::start(move |seen| match seen.path.as_str() {
                "/apibeta/getTasksStatus" => ok_tasks(&[hello(1)]),
                _ => broken.clone(),
            })
            .await;
            let scheduler = scheduler(&fake.uri);
            for _ in 0..FORM_KEPT + 2 {
                let answer = scheduler
                    .active_tasks(&[key("aa/r/prod/j")])
                    .await
                    .expect("tasks");
                assert_eq!(answer.tasks.len(), 1);
            }
            let light = asked(&fake)
                .iter()
                .filter(|path| *path == "/apibeta/getTasksWithoutConfigs true")
                .count();
            // At first, and once more when the other way has been kept for long enough.
            assert_eq!((light, fake.seen().len()), (2, FORM_KEPT as usize + 4));
        }
    }

    #[tokio::test]
    async fn a_status_that_an_older_scheduler_refuses_is_not_named() {
        let refused =
            json!({"responseCode": "INVALID_REQUEST", "details": [{"message": "no such status"}]});
        for refusal in [
            reply("200 OK", "", &refused.to_string()),
            reply("400 Bad Request", "", "no PARTITIONED"),
        ] {
            let fake = Fake::start(move |seen| {
                if seen.body.contains("PARTITIONED") {
                    return refusal.clone();
                }
                ok_tasks(&[
                    hello(1),
                    task_json("aa/r/prod/j", 0, 2, Some("node7"), "FAILED", ""),
                ])
            })
            .await;
            let scheduler = scheduler(&fake.uri);
            let keys = [key("aa/r/prod/j")];
            let active = scheduler.active_tasks(&keys).await.expect("tasks");
            assert_eq!(
                (
                    active.tasks.len(),
                    active.tasks[0].status.to_string().as_str()
                ),
                (1, "RUNNING")
            );
            let past = scheduler.past_tasks(&keys).await.expect("tasks");
            assert_eq!(
                (past.tasks.len(), past.tasks[0].status.to_string().as_str()),
                (1, "FAILED")
            );
            assert_eq!(
                asked(&fake),
                [
                    "/apibeta/getTasksWithoutConfigs true",
                    "/apibeta/getTasksWithoutConfigs false",
                    "/apibeta/getTasksWithoutConfigs false",
                ]
            );
        }
    }

    #[tokio::test]
    async fn zookeeper_says_who_leads_until_it_stops_answering() {
        use crate::zookeeper::tests::{Fake as ZooKeeper, PATH, member};
        let port_of = |fake: &Fake| -> u16 {
            fake.uri
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok())
                .expect("a port")
        };
        let first = Fake::start(|_| ok_jobs(&["a/b/first"])).await;
        let second = Fake::start(|_| ok_jobs(&["a/b/second"])).await;
        let zk =
            ZooKeeper::start(&[("member_1", &member("http", "127.0.0.1", port_of(&first)))]).await;
        let scheduler = scheduler_at(SchedulerAt::ZooKeeper(zk.ensemble(PATH)));
        assert_eq!(scheduler.jobs().await.expect("jobs"), [key("aa/a/b/first")]);
        assert_eq!(scheduler.jobs().await.expect("jobs"), [key("aa/a/b/first")]);
        let questions = |zk: &ZooKeeper| {
            zk.asked
                .lock()
                .expect("no panic")
                .iter()
                .filter(|op| **op == 8)
                .count()
        };
        assert_eq!(questions(&zk), 1, "the leader is remembered");
        zk.set(&[("member_2", &member("http", "127.0.0.1", port_of(&second)))]);
        drop(first);
        assert_eq!(
            scheduler.jobs().await.expect("jobs"),
            [key("aa/a/b/second")]
        );
        assert_eq!(questions(&zk), 2);
        // Nobody leads: as long as there is hope, ZooKeeper is asked again.
        drop(second);
        zk.set(&[]);
        let error = scheduler.jobs().await.expect_err("nobody");
        assert!(
            error.to_string().ends_with("no scheduler leads now"),
            "{error}"
        );
        assert_eq!(questions(&zk), 5);
    }

    #[tokio::test]
    async fn a_cluster_without_scheduler_says_what_is_missing() {
        let at = SchedulerAt::Nowhere {
            why: "nothing in c.toml".to_owned(),
        };
        let error = scheduler_at(at).jobs().await.expect_err("none");
        assert_eq!(error.to_string(), "nothing in c.toml");
    }

    #[test]
    fn delays_grow_and_differ() {
        let one = scheduler("http://h");
        for attempt in 1..=20 {
            let whole = one.retry.first_delay * 2_u32.pow(attempt.min(17) - 1);
            let delay = one.delay(attempt);
            assert!(delay >= whole / 2 && delay <= whole, "{attempt}: {delay:?}");
        }
        assert_ne!(one.delay(10), one.delay(10));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in any::<Vec<u8>>()) {
            let uri: Uri = "http://h/".parse().expect("an address");
            let _ = tasks_of_answer("aa", &uri, &body);
        }

        #[test]
        fn a_cut_answer_is_an_error(share in 0.0_f64..1.0) {
            let uri: Uri = "http://h/".parse().expect("an address");
            let reply = ok_tasks(&[task_json("aa/r/prod/j", 0, 1, Some("h"), "RUNNING", "")]);
            let body = reply.split_once("\r\n\r\n").expect("a body").1;
            let cut = (body.len() as f64 * share) as usize;
            prop_assert!(tasks_of_answer("aa", &uri, &body.as_bytes()[..cut]).is_err());
        }
    }
}
