//! A scheduler that answers as Apache Aurora's `/apibeta` does, from a model that tests and the demo change meanwhile.
//!
//! Owns the wire form (plain JSON with named fields) and the faults of a real one: a leader elsewhere, no leader, an
//! answer cut short, storage not ready, slowness. What the tasks do on their hosts is the [`crate::cluster`]'s.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Aurora's state of a task (`ScheduleStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Known, and nothing else yet.
    Init,
    /// Waiting after failures.
    Throttled,
    /// Waiting for a host.
    Pending,
    /// Has a host.
    Assigned,
    /// Started; health checks have not passed yet.
    Starting,
    /// Running.
    Running,
    /// Being stopped for good.
    Killing,
    /// Being stopped to be started again.
    Restarting,
    /// Its host is in maintenance.
    Draining,
    /// Being stopped for a more important one.
    Preempting,
    /// Its host does not answer.
    Partitioned,
    /// Ended well.
    Finished,
    /// Ended badly.
    Failed,
    /// Was stopped.
    Killed,
    /// Its host is gone.
    Lost,
}

impl Status {
    /// Every one of them.
    pub const ALL: [Self; 15] = [
        Self::Init,
        Self::Throttled,
        Self::Pending,
        Self::Assigned,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Restarting,
        Self::Draining,
        Self::Preempting,
        Self::Partitioned,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Lost,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::Throttled => "THROTTLED",
            Self::Pending => "PENDING",
            Self::Assigned => "ASSIGNED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Killing => "KILLING",
            Self::Restarting => "RESTARTING",
            Self::Draining => "DRAINING",
            Self::Preempting => "PREEMPTING",
            Self::Partitioned => "PARTITIONED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
            Self::Lost => "LOST",
        }
    }

    /// Whether nothing more comes of the task.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Failed | Self::Killed | Self::Lost
        )
    }

    const fn has_host(self) -> bool {
        !matches!(self, Self::Init | Self::Throttled | Self::Pending)
    }
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// What the task became.
    pub status: Status,
    /// What the scheduler says about it.
    pub message: Option<String>,
}

/// One run of one instance of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Whose job it is.
    pub role: String,
    /// The job's environment.
    pub environment: String,
    /// The job's name.
    pub name: String,
    /// Which instance.
    pub instance: u32,
    /// The task's id.
    pub task_id: String,
    /// The agent; on the wire only once there is a host.
    pub slave_id: String,
    /// The host as the scheduler names it; on the wire only once there is one.
    pub slave_host: String,
    /// The task that this one replaces.
    pub ancestor_id: Option<String>,
    /// What it is now.
    pub status: Status,
    /// What happened to it, oldest first.
    pub events: Vec<TaskEvent>,
}

impl Task {
    /// A running task, with the events of a start at `at_ms`.
    pub fn running(
        job: (&str, &str, &str),
        instance: u32,
        task_id: &str,
        host: &str,
        at_ms: i64,
    ) -> Self {
        let events = [
            Status::Pending,
            Status::Assigned,
            Status::Starting,
            Status::Running,
        ];
        Self {
            role: job.0.to_owned(),
            environment: job.1.to_owned(),
            name: job.2.to_owned(),
            instance,
            task_id: task_id.to_owned(),
            slave_id: format!("agent-of-{host}"),
            slave_host: host.to_owned(),
            ancestor_id: None,
            status: Status::Running,
            events: events
                .into_iter()
                .map(|status| TaskEvent {
                    at_ms,
                    status,
                    message: None,
                })
                .collect(),
        }
    }
}

/// What the scheduler does wrong, until told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Another one leads: 307 to this base, for example `http://127.0.0.1:8081`.
    Redirect(String),
    /// Nobody leads: 503 with a page for people.
    NoLeader,
    /// A 200 whose JSON ends in the middle.
    Truncated,
    /// `ERROR_TRANSIENT`: storage is not ready.
    Transient,
    /// The right answer, after this time.
    Slow(Duration),
    /// A 500 for `getTasksWithoutConfigs` alone, as a task without executor causes.
    NoExecutor,
}

/// The running scheduler. It ends when this is dropped.
#[derive(Debug)]
pub struct Scheduler {
    address: SocketAddr,
    model: Model,
    _stop: DropGuard,
}

/// The scheduler's tasks and faults; clones share them.
#[derive(Debug, Clone)]
pub struct Model(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    cluster: String,
    tasks: Vec<Task>,
    fault: Fault,
    requests: BTreeMap<String, u64>,
}

impl Scheduler {
    /// Starts one for a cluster of this name, on a free port of 127.0.0.1.
    pub async fn start(cluster: &str) -> io::Result<Self> {
        let model = Model(Arc::new(Mutex::new(Inner {
            cluster: cluster.to_owned(),
            tasks: Vec::new(),
            fault: Fault::None,
            requests: BTreeMap::new(),
        })));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/apibeta/{method}", post(answer))
            .route("/leaderhealth", get(leader_health))
            .with_state(model.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .into_future(),
        );
        Ok(Self {
            address,
            model,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What belongs into `scheduler_uri`.
    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its tasks and faults, to look at and to change while it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

impl Model {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below leaves the lists whole, so that a panic elsewhere while locked spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task.
    pub fn add(&self, task: Task) {
        self.lock().tasks.push(task);
    }

    /// Moves all that has happened to a task to another time. Returns whether there is such a task.
    pub fn set_begin(&self, task_id: &str, at_ms: i64) -> bool {
        let mut inner = self.lock();
        let Some(task) = inner.tasks.iter_mut().find(|task| task.task_id == task_id) else {
            return false;
        };
        for event in &mut task.events {
            event.at_ms = at_ms;
        }
        true
    }

    /// Records that a task became something. Returns whether there is such a task.
    pub fn set_status(
        &self,
        task_id: &str,
        status: Status,
        at_ms: i64,
        message: Option<&str>,
    ) -> bool {
        let mut inner = self.lock();
        let Some(task) = inner.tasks.iter_mut().find(|task| task.task_id == task_id) else {
            return false;
        };
        task.status = status;
        task.events.push(TaskEvent {
            at_ms,
            status,
            message: message.map(ToOwned::to_owned),
        });
        true
    }

    /// Forgets a task, as the scheduler does with old ones. Returns whether there was such a task.
    pub fn forget(&self, task_id: &str) -> bool {
        let mut inner = self.lock();
        let before = inner.tasks.len();
        inner.tasks.retain(|task| task.task_id != task_id);
        inner.tasks.len() < before
    }

    /// All tasks, oldest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.lock().tasks.clone()
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// How often a method was called, wrong answers included.
    pub fn requests(&self, method: &str) -> u64 {
        self.lock().requests.get(method).copied().unwrap_or(0)
    }
}

async fn leader_health(State(model): State<Model>) -> StatusCode {
    match model.lock().fault {
        Fault::Redirect(_) => StatusCode::SERVICE_UNAVAILABLE,
        Fault::NoLeader => StatusCode::BAD_GATEWAY,
        _ => StatusCode::OK,
    }
}

const JSON: [(HeaderName, HeaderValue); 1] = [(
    header::CONTENT_TYPE,
    HeaderValue::from_static("application/json"),
)];

async fn answer(
    State(model): State<Model>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = {
        let mut inner = model.lock();
        *inner.requests.entry(method.clone()).or_default() += 1;
        inner.fault.clone()
    };
    let leader_matters = !headers.contains_key("bypass-leader-redirect");
    match &fault {
        Fault::Redirect(base) if leader_matters => {
            let target = format!("{base}/apibeta/{method}");
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
        }
        Fault::NoLeader if leader_matters => {
            let page = "<html><body><h1>no leading scheduler</h1></body></html>";
            let html = [(header::CONTENT_TYPE, "text/html")];
            return (StatusCode::SERVICE_UNAVAILABLE, html, page).into_response();
        }
        Fault::NoExecutor if method == "getTasksWithoutConfigs" => {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        Fault::Slow(delay) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    let Some(method) = Method::named(&method) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(arguments) = arguments(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let inner = model.lock();
    let reply = if fault == Fault::Transient {
        reply(
            &inner.cluster,
            "ERROR_TRANSIENT",
            None,
            "Storage is not yet READY",
        )
    } else {
        match inner.result(method, &arguments) {
            Ok(result) => reply(&inner.cluster, "OK", Some(result), ""),
            Err(BadQuery) => return StatusCode::BAD_REQUEST.into_response(),
        }
    };
    let mut text = reply.to_string();
    if fault == Fault::Truncated {
        text.truncate(text.len() / 2);
    }
    (JSON, text).into_response()
}

fn reply(cluster: &str, code: &str, result: Option<Value>, detail: &str) -> Value {
    let mut reply = json!({
        "responseCode": code,
        "serverInfo": { "clusterName": cluster, "statsUrlPrefix": "" },
        "details": if detail.is_empty() { json!([]) } else { json!([{ "message": detail }]) },
    });
    if let Some(result) = result {
        reply["result"] = result;
    }
    reply
}

/// The arguments' JSON object; nothing at all for calls without any.
fn arguments(body: &[u8]) -> Result<Map<String, Value>, BadQuery> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|_| BadQuery)
}

/// The request is JSON of the wrong shape, or none.
#[derive(Debug)]
struct BadQuery;

#[derive(Debug, Clone, Copy)]
enum Method {
    TasksStatus,
    TasksWithoutConfigs,
    Jobs,
    JobSummary,
    RoleSummary,
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "getTasksStatus" => Self::TasksStatus,
            "getTasksWithoutConfigs" => Self::TasksWithoutConfigs,
            "getJobs" => Self::Jobs,
            "getJobSummary" => Self::JobSummary,
            "getRoleSummary" => Self::RoleSummary,
            _ => return None,
        })
    }
}

/// role, environment, name.
type Key<'a> = (&'a str, &'a str, &'a str);

impl Inner {
    fn result(&self, method: Method, arguments: &Map<String, Value>) -> Result<Value, BadQuery> {
        Ok(match method {
            Method::TasksStatus | Method::TasksWithoutConfigs => {
                let query = Query::new(arguments.get("query"))?;
                let mut tasks: Vec<&Task> = self
                    .tasks
                    .iter()
                    .filter(|task| query.matches(task))
                    .collect();
                tasks
                    .sort_by_key(|task| (&task.role, &task.environment, &task.name, task.instance));
                let tasks: Vec<Value> = tasks
                    .into_iter()
                    .skip(query.offset)
                    .take(query.limit)
                    .map(|task| task_json(task, method))
                    .collect();
                json!({ "scheduleStatusResult": { "tasks": tasks } })
            }
            Method::Jobs => {
                let configs: Vec<Value> = self
                    .jobs(text(arguments, "ownerRole")?)
                    .into_iter()
                    .map(|(key, tasks)| job_json(key, &tasks))
                    .collect();
                json!({ "getJobsResult": { "configs": configs } })
            }
            Method::JobSummary => {
                let summaries: Vec<Value> = self
                    .jobs(text(arguments, "role")?)
                    .into_iter()
                    .map(|(key, tasks)| json!({ "job": job_json(key, &tasks), "stats": stats_json(&tasks) }))
                    .collect();
                json!({ "jobSummaryResult": { "summaries": summaries } })
            }
            Method::RoleSummary => {
                let mut roles: BTreeMap<&str, u32> = BTreeMap::new();
                for (key, _) in self.jobs(None) {
                    *roles.entry(key.0).or_default() += 1;
                }
                let summaries: Vec<Value> = roles
                    .into_iter()
                    .map(
                        |(role, jobs)| json!({ "role": role, "jobCount": jobs, "cronJobCount": 0 }),
                    )
                    .collect();
                json!({ "roleSummaryResult": { "summaries": summaries } })
            }
        })
    }

    fn jobs(&self, role: Option<&str>) -> BTreeMap<Key<'_>, Vec<&Task>> {
        let mut jobs: BTreeMap<Key<'_>, Vec<&Task>> = BTreeMap::new();
        for task in &self.tasks {
            if role.is_none_or(|role| role == task.role) {
                let key = (
                    task.role.as_str(),
                    task.environment.as_str(),
                    task.name.as_str(),
                );
                jobs.entry(key).or_default().push(task);
            }
        }
        jobs
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, BadQuery> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(BadQuery),
    }
}

fn count(object: &Map<String, Value>, name: &str) -> Result<Option<usize>, BadQuery> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(|n| Some(n as usize)).ok_or(BadQuery),
    }
}

/// A set of a query; an empty one restricts nothing, as a missing one.
fn set<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a [Value]>, BadQuery> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.as_slice()).filter(|items| !items.is_empty())),
        Some(_) => Err(BadQuery),
    }
}

/// Aurora's `TaskQuery`: whatever is set must hold.
struct Query<'a> {
    role: Option<&'a str>,
    environment: Option<&'a str>,
    job_name: Option<&'a str>,
    task_ids: Option<&'a [Value]>,
    statuses: Option<&'a [Value]>,
    instance_ids: Option<&'a [Value]>,
    slave_hosts: Option<&'a [Value]>,
    job_keys: Option<Vec<Key<'a>>>,
    offset: usize,
    limit: usize,
}

impl<'a> Query<'a> {
    fn new(query: Option<&'a Value>) -> Result<Self, BadQuery> {
        // A call without its query is INVALID_REQUEST at best; a client that sends none is wrong.
        let query = query.and_then(Value::as_object).ok_or(BadQuery)?;
        let job_keys = match set(query, "jobKeys")? {
            None => None,
            Some(keys) => {
                let mut parsed = Vec::with_capacity(keys.len());
                for key in keys {
                    let key = key.as_object().ok_or(BadQuery)?;
                    let part = |name| text(key, name)?.ok_or(BadQuery);
                    parsed.push((part("role")?, part("environment")?, part("name")?));
                }
                Some(parsed)
            }
        };
        Ok(Self {
            role: text(query, "role")?,
            environment: text(query, "environment")?,
            job_name: text(query, "jobName")?,
            task_ids: set(query, "taskIds")?,
            statuses: set(query, "statuses")?,
            instance_ids: set(query, "instanceIds")?,
            slave_hosts: set(query, "slaveHosts")?,
            job_keys,
            offset: count(query, "offset")?.unwrap_or(0),
            limit: count(query, "limit")?.unwrap_or(usize::MAX),
        })
    }

    fn matches(&self, task: &Task) -> bool {
        let has = |set: Option<&[Value]>, value: &str| {
            set.is_none_or(|set| set.iter().any(|item| item.as_str() == Some(value)))
        };
        self.role.is_none_or(|role| role == task.role)
            && self
                .environment
                .is_none_or(|environment| environment == task.environment)
            && self.job_name.is_none_or(|name| name == task.name)
            && has(self.task_ids, &task.task_id)
            && has(self.statuses, task.status.name())
            && self.instance_ids.is_none_or(|ids| {
                ids.iter()
                    .any(|id| id.as_u64() == Some(u64::from(task.instance)))
            })
            && (self.slave_hosts.is_none() || task.status.has_host())
            && has(self.slave_hosts, &task.slave_host)
            && self.job_keys.as_ref().is_none_or(|keys| {
                keys.contains(&(
                    task.role.as_str(),
                    task.environment.as_str(),
                    task.name.as_str(),
                ))
            })
    }
}

fn key_json(key: Key<'_>) -> Value {
    json!({ "role": key.0, "environment": key.1, "name": key.2 })
}

fn config_json(key: Key<'_>) -> Value {
    json!({
        "job": key_json(key),
        "owner": { "user": key.0 },
        "isService": true,
        "priority": 0,
        "production": key.1 == "prod",
        "tier": "preferred",
        "maxTaskFailures": 1,
        "executorConfig": { "name": "AuroraExecutor" },
        "resources": [{ "numCpus": 0.25 }, { "ramMb": 128 }, { "diskMb": 256 }, { "namedPort": "http" }],
        "constraints": [],
        "metadata": [],
        "container": { "mesos": {} },
    })
}

fn task_json(task: &Task, method: Method) -> Value {
    let key = (
        task.role.as_str(),
        task.environment.as_str(),
        task.name.as_str(),
    );
    let mut config = config_json(key);
    if matches!(method, Method::TasksStatus) {
        config["executorConfig"]["data"] = json!("{}");
    }
    let mut assigned = json!({
        "taskId": task.task_id,
        "task": config,
        "assignedPorts": {},
        "instanceId": task.instance,
    });
    if task.status.has_host() {
        assigned["slaveId"] = json!(task.slave_id);
        assigned["slaveHost"] = json!(task.slave_host);
        assigned["assignedPorts"] = json!({ "http": 31000 + task.instance });
    }
    let events: Vec<Value> = task
        .events
        .iter()
        .map(|event| {
            let mut json = json!({
                "timestamp": event.at_ms,
                "status": event.status.name(),
                "scheduler": "localhost",
            });
            if let Some(message) = &event.message {
                json["message"] = json!(message);
            }
            json
        })
        .collect();
    let mut json = json!({
        "assignedTask": assigned,
        "status": task.status.name(),
        "failureCount": 0,
        "timesPartitioned": 0,
        "taskEvents": events,
    });
    if let Some(ancestor) = &task.ancestor_id {
        json["ancestorId"] = json!(ancestor);
    }
    json
}

fn job_json(key: Key<'_>, tasks: &[&Task]) -> Value {
    let instances = tasks
        .iter()
        .filter(|task| !task.status.is_terminal())
        .map(|task| task.instance + 1)
        .max();
    json!({
        "key": key_json(key),
        "owner": { "user": key.0 },
        "cronCollisionPolicy": "KILL_EXISTING",
        "taskConfig": config_json(key),
        "instanceCount": instances.unwrap_or(0),
    })
}

fn stats_json(tasks: &[&Task]) -> Value {
    let count =
        |wanted: fn(Status) -> bool| tasks.iter().filter(|task| wanted(task.status)).count();
    let waits = |status| matches!(status, Status::Init | Status::Throttled | Status::Pending);
    json!({
        "activeTaskCount": count(|status| !status.is_terminal() && status.has_host()),
        "finishedTaskCount": count(|status| matches!(status, Status::Finished | Status::Killed)),
        "failedTaskCount": count(|status| matches!(status, Status::Failed | Status::Lost)),
        "pendingTaskCount": count(waits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Inner {
        let mut waiting = Task::running(("www", "prod", "web"), 2, "www-prod-web-2-c", "node3", 3);
        waiting.status = Status::Pending;
        let mut ended = Task::running(("www", "prod", "web"), 0, "www-prod-web-0-old", "node2", 1);
        ended.status = Status::Finished;
        Inner {
            cluster: "demo".to_owned(),
            tasks: vec![
                Task::running(("www", "prod", "web"), 1, "www-prod-web-1-b", "node2", 2),
                Task::running(("www", "prod", "web"), 0, "www-prod-web-0-a", "node1", 2),
                ended,
                waiting,
                Task::running(("www", "test", "web"), 0, "www-test-web-0-d", "node1", 2),
                Task::running(
                    ("batch", "prod", "worker"),
                    0,
                    "batch-prod-worker-0-e",
                    "node1",
                    2,
                ),
            ],
            fault: Fault::None,
            requests: BTreeMap::new(),
        }
    }

    /// The task ids that a query finds, or `bad`.
    fn found(query: Value) -> String {
        let arguments = Map::from_iter([("query".to_owned(), query)]);
        match model().result(Method::TasksWithoutConfigs, &arguments) {
            Err(BadQuery) => "bad".to_owned(),
            Ok(result) => {
                let tasks = result["scheduleStatusResult"]["tasks"]
                    .as_array()
                    .unwrap()
                    .clone();
                let ids: Vec<&str> = tasks
                    .iter()
                    .map(|task| task["assignedTask"]["taskId"].as_str().unwrap())
                    .map(|id| id.rsplit('-').next().unwrap())
                    .collect();
                ids.join(" ")
            }
        }
    }

    #[test]
    fn queries_restrict_by_everything_that_is_set() {
        for (query, expected) in [
            (json!({}), "e a old b c d"),
            (json!({ "role": null, "statuses": [] }), "e a old b c d"),
            (json!({ "role": "www" }), "a old b c d"),
            (
                json!({ "role": "www", "environment": "prod", "jobName": "web" }),
                "a old b c",
            ),
            (json!({ "statuses": ["RUNNING", "STARTING"] }), "e a b d"),
            (json!({ "statuses": ["NO_SUCH_STATUS"] }), ""),
            (json!({ "role": "www", "instanceIds": [0, 2] }), "a old c d"),
            (json!({ "taskIds": ["www-prod-web-1-b", "x"] }), "b"),
            (json!({ "slaveHosts": ["node2", "node3"] }), "old b"),
            (
                json!({ "jobKeys": [
                    { "role": "www", "environment": "test", "name": "web" },
                    { "role": "batch", "environment": "prod", "name": "worker" },
                ] }),
                "e d",
            ),
            (json!({ "offset": 1, "limit": 2 }), "a old"),
            (json!({ "role": 1 }), "bad"),
            (json!({ "statuses": "RUNNING" }), "bad"),
            (json!({ "limit": -1 }), "bad"),
            (json!({ "jobKeys": [{ "role": "www" }] }), "bad"),
            (json!([]), "bad"),
        ] {
            assert_eq!(found(query.clone()), expected, "{query}");
        }
    }

    #[test]
    fn a_waiting_task_has_no_host_on_the_wire() {
        let inner = model();
        let json = task_json(&inner.tasks[3], Method::TasksStatus);
        assert_eq!(json["assignedTask"].get("slaveHost"), None);
        assert_eq!(json["status"], "PENDING");
        let json = task_json(&inner.tasks[0], Method::TasksStatus);
        assert_eq!(json["assignedTask"]["slaveHost"], "node2");
        assert_eq!(json["taskEvents"][3]["timestamp"], 2);
    }

    #[test]
    fn jobs_and_roles_are_counted() {
        let inner = model();
        let jobs = inner
            .result(
                Method::Jobs,
                &Map::from_iter([("ownerRole".to_owned(), json!("www"))]),
            )
            .unwrap();
        let configs = jobs["getJobsResult"]["configs"].as_array().unwrap();
        assert_eq!(configs.len(), 2);
        assert_eq!(configs[0]["instanceCount"], 3);
        let summaries = inner.result(Method::JobSummary, &Map::new()).unwrap();
        assert_eq!(
            summaries["jobSummaryResult"]["summaries"][1]["stats"],
            json!({ "activeTaskCount": 2, "finishedTaskCount": 1, "failedTaskCount": 0, "pendingTaskCount": 1 })
        );
        let roles = inner.result(Method::RoleSummary, &Map::new()).unwrap();
        assert_eq!(
            roles["roleSummaryResult"]["summaries"],
            json!([
                { "role": "batch", "jobCount": 1, "cronJobCount": 0 },
                { "role": "www", "jobCount": 2, "cronJobCount": 0 },
            ])
        );
    }

    #[test]
    fn every_status_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            Status::ALL.iter().map(|status| status.name()).collect();
        assert_eq!(names.len(), Status::ALL.len());
    }
}
