//! A server that speaks Athena's protocol, in this process: awsJson1.1, as far as `queries` uses it.
//!
//! Owns executions, named queries and workgroups, and the rules by which the real one was seen to behave (`aoyagikouhei/athena-local`
//! measured them): what a token brings back and when it does not fit, in which order arguments are checked, whose first row names
//! the columns, where answers are written and in which form. The SQL itself is somebody else's: an [`Executor`]. Definitions are
//! taken down and do nothing.
//!
//! Time passes by being asked: a [`Script`] says for how many questions an execution is queued and runs. Faults are given by hand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use queries::athena::AthenaSettings;
use queries::rows::{Column, Kind, Row};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::s3_server::{BUCKET, Broken, S3Server, serve};

/// Where answers go if a workgroup does not say.
pub const OUTPUT: &str = "athena/results/";

/// The most rows that a page of results has; Athena's own limit.
const MAX_RESULTS: u64 = 1000;

/// The most named queries that one call lists or gets; Athena's own limit.
const MAX_NAMED: usize = 50;

/// The characters that a token may have; Athena's own limits.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 32..=128;

/// What a service's requests begin their target with.
const TARGET: &str = "AmazonAthena.";

/// Runs SQL.
pub type Executor = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Answer, Failed>> + Send>> + Send + Sync,
>;

/// An answer to a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows; those of SHOW and DESCRIBE may have one value for all columns.
    pub rows: Vec<Row>,
    /// What was read for it.
    pub bytes_scanned: u64,
}

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Why, in Athena's words.
    pub reason: String,
    /// 1 is the system's, 2 the user's, 3 another.
    pub category: i32,
    /// Its number.
    pub number: i32,
    /// What had been read.
    pub bytes_scanned: u64,
}

impl Failed {
    /// A fault of the user's.
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            category: 2,
            number: 1,
            bytes_scanned: 0,
        }
    }
}

/// How executions go on, in questions how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// How many find it queued.
    pub queued_polls: u32,
    /// How many find it running after that, at least.
    pub running_polls: u32,
    /// How many bytes more each of these finds read.
    pub bytes_per_poll: u64,
    /// How many find it running still after it was stopped.
    pub stopping_polls: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            queued_polls: 1,
            running_polls: 1,
            bytes_per_poll: 1000,
            stopping_polls: 1,
        }
    }
}

impl Script {
    /// It runs until it is stopped.
    pub fn endless() -> Self {
        Self {
            running_polls: u32::MAX,
            ..Self::default()
        }
    }
}

/// A workgroup's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where answers go, as `s3://…/`.
    pub output_location: Option<String>,
    /// Whether this holds in place of what clients say.
    pub enforced: bool,
    /// Whether answers are kept in no bucket.
    pub managed_results: bool,
    /// How many bytes a statement may read.
    pub cutoff_bytes: Option<u64>,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is done, and the connection breaks before the answer.
    BreakAfter,
    /// It is not done; the connection breaks.
    BreakBefore,
    /// It is not done; the account asks too much.
    Throttle,
    /// It is not done; an error of the server's.
    Server,
    /// It is not done; the answer has this status and body.
    Say(u16, String),
    /// It is done; the answer is this instead.
    Instead(Value),
}

/// A request that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it asked for.
    pub operation: String,
    /// Its arguments.
    pub body: Value,
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct AthenaServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    executor: Option<Executor>,
    bucket: Option<Arc<S3Server>>,
    script: Script,
    groups: BTreeMap<String, Group>,
    executions: BTreeMap<String, Execution>,
    /// By their tokens.
    started: BTreeMap<String, Begun>,
    named: Vec<Value>,
    named_tokens: BTreeMap<String, String>,
    definitions: Vec<String>,
    canned: Vec<(String, VecDeque<Result<Answer, Failed>>)>,
    faults: Vec<(String, Fault, u32)>,
    seen: Vec<Seen>,
    ids: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// What a token stands for: the workgroup and the parameters are not compared.
#[derive(PartialEq)]
struct Begun {
    id: String,
    sql: Value,
    context: Value,
    place: Value,
}

struct Execution {
    sql: String,
    kind: StatementKind,
    group: String,
    /// Where the answer is written.
    place: Option<String>,
    script: Script,
    polls: u32,
    /// How many polls are left until it is cancelled.
    stopping: Option<u32>,
    outcome: Option<Result<Answer, Failed>>,
    work: Option<AbortHandle>,
    end: Option<End>,
    reused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
    Cancelled,
    /// By the workgroup's limit.
    CutOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatementKind {
    Select,
    Explain,
    Show,
    Define,
}

/// An answer, or a refusal.
type Done = Result<Value, Refusal>;

/// An answer that is an error.
struct Refusal {
    code: &'static str,
    athena_code: &'static str,
    message: String,
}

impl AthenaServer {
    /// Starts one on loopback. Answers are written into the bucket, if there is one.
    pub async fn start(bucket: Option<Arc<S3Server>>, executor: Executor) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("bind")?;
        let address = listener.local_addr()?;
        let primary = Group {
            output_location: None,
            enforced: false,
            managed_results: false,
            cutoff_bytes: None,
        };
        let state = State {
            executor: Some(executor),
            bucket,
            groups: BTreeMap::from([("primary".to_owned(), primary)]),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let served = Arc::clone(&state);
        let serving = serve(listener, move |request| {
            answer(Arc::clone(&served), request)
        });
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
        Ok(Self {
            address,
            state,
            stop,
        })
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client has to be told to come here.
    pub fn settings(&self) -> AthenaSettings {
        AthenaSettings {
            endpoint: Some(self.endpoint()),
            region: Some("eu-west-1".to_owned()),
            output_location: Some(format!("s3://{BUCKET}/{OUTPUT}")),
            ..AthenaSettings::default()
        }
    }

    /// How executions go on that are started from now on.
    pub fn set_script(&self, script: Script) {
        self.state().script = script;
    }

    /// Makes a workgroup, or changes one.
    pub fn set_group(&self, name: &str, group: Group) {
        self.state().groups.insert(name.to_owned(), group);
    }

    /// The next requests of an operation meet a fault. Rules hold in the order in which they were given.
    pub fn fault(&self, operation: &str, fault: Fault, times: u32) {
        let rule = (operation.to_owned(), fault, times);
        self.state().faults.push(rule);
    }

    /// Statements that contain this are answered so, one after the other; the last answer stays.
    pub fn answer_to(&self, part: &str, answers: impl IntoIterator<Item = Result<Answer, Failed>>) {
        let canned = (part.to_owned(), answers.into_iter().collect());
        self.state().canned.insert(0, canned);
    }

    /// Definitions that succeeded, in their order.
    pub fn definitions(&self) -> Vec<String> {
        self.state().definitions.clone()
    }

    /// The named queries.
    pub fn named(&self) -> Vec<Value> {
        self.state().named.clone()
    }

    /// Makes a named query by hand.
    pub fn plant_named(&self, name: &str, description: &str, sql: &str) {
        let mut state = self.state();
        let id = state.id();
        state.named.push(json!({
            "NamedQueryId": id, "Name": name, "Description": description, "Database": "logs", "QueryString": sql,
            "WorkGroup": "primary",
        }));
    }

    /// All requests so far, in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many requests of an operation came.
    pub fn count(&self, operation: &str) -> usize {
        let state = self.state();
        let of = |seen: &&Seen| seen.operation == operation;
        state.seen.iter().filter(of).count()
    }

    /// How many executions there are.
    pub fn executions(&self) -> usize {
        self.state().executions.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for AthenaServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer, or the end of the connection.
async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Broken> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name)?.to_str().ok();
    let target = header("x-amz-target").and_then(|target| target.strip_prefix(TARGET));
    let operation = target.unwrap_or_default().to_owned();
    let is_signed = header("authorization").is_some_and(|text| {
        text.starts_with("AWS4-HMAC-SHA256 Credential=") && text.contains("/athena/aws4_request")
    });
    let is_json = header("content-type") == Some("application/x-amz-json-1.1");
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let fault = {
        let mut state = lock(&state);
        state.seen.push(Seen {
            operation: operation.clone(),
            body: body.clone(),
        });
        state.next_fault(&operation)
    };
    match &fault {
        Some(Fault::BreakBefore) => return Err(Broken),
        Some(Fault::Throttle) => {
            let text =
                "You have exceeded the limit for the number of queries you can run concurrently.";
            return Ok(said(
                400,
                &refusal(
                    "TooManyRequestsException",
                    "CONCURRENT_QUERY_LIMIT_EXCEEDED",
                    text,
                ),
            ));
        }
        Some(Fault::Server) => {
            return Ok(said(
                500,
                &json!({"__type": "InternalServerException", "Message": "as the test wants it"}),
            ));
        }
        Some(Fault::Say(status, text)) => return Ok(response(*status, text.clone())),
        None | Some(Fault::BreakAfter | Fault::Instead(_)) => {}
    }
    let done = if !is_signed {
        let text = "Missing Authentication Token";
        Err(Refusal::new(
            "MissingAuthenticationTokenException",
            "",
            text,
        ))
    } else if !is_json || !body.is_object() {
        Err(Refusal::new("SerializationException", "", ""))
    } else {
        act(&state, &operation, &body)
    };
    match fault {
        Some(Fault::BreakAfter) => return Err(Broken),
        Some(Fault::Instead(value)) => return Ok(said(200, &value)),
        _ => {}
    }
    Ok(match done {
        Ok(value) => said(200, &value),
        Err(Refusal {
            code,
            athena_code,
            message,
        }) => said(400, &refusal(code, athena_code, &message)),
    })
}

fn refusal(code: &str, athena_code: &str, message: &str) -> Value {
    let mut value = json!({"__type": code});
    if !athena_code.is_empty() {
        value["AthenaErrorCode"] = athena_code.into();
        value["ErrorCode"] = athena_code.into();
    }
    if !message.is_empty() {
        value["Message"] = message.into();
    }
    value
}

fn said(status: u16, value: &Value) -> Response<Full<Bytes>> {
    response(status, value.to_string())
}

fn response(status: u16, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    let ours = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amzn-requestid", "00000000-0000-0000-0000-000000000000"),
    ];
    for (name, value) in ours {
        headers.insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}

fn act(state: &Arc<Mutex<State>>, operation: &str, body: &Value) -> Done {
    let mut locked = lock(state);
    match operation {
        "StartQueryExecution" => locked.start(state, body),
        "GetQueryExecution" => locked.execution(body),
        "GetQueryResults" => locked.results(body),
        "StopQueryExecution" => locked.stop(body),
        "GetWorkGroup" => locked.group(body),
        "ListNamedQueries" => locked.list_named(body),
        "BatchGetNamedQuery" => locked.batch_named(body),
        "CreateNamedQuery" => locked.create_named(body),
        "UpdateNamedQuery" => locked.update_named(body),
        _ => Err(Refusal::new("UnknownOperationException", "", "")),
    }
}

impl Refusal {
    fn new(code: &'static str, athena_code: &'static str, message: &str) -> Self {
        Self {
            code,
            athena_code,
            message: message.to_owned(),
        }
    }

    /// Of an argument.
    fn input(message: &str) -> Self {
        Self::new("InvalidRequestException", "INVALID_INPUT", message)
    }

    /// Of an argument's form, as the service's frame says it.
    fn form(name: &str, constraint: &str) -> Self {
        Self::input(&format!(
            "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must {constraint}"
        ))
    }
}

fn text<'v>(body: &'v Value, name: &str) -> Option<&'v str> {
    body[name].as_str().filter(|text| !text.is_empty())
}

impl State {
    fn next_fault(&mut self, operation: &str) -> Option<Fault> {
        let meets = |rule: &&mut (String, Fault, u32)| rule.0 == operation && rule.2 > 0;
        let rule = self.faults.iter_mut().find(meets)?;
        rule.2 -= 1;
        Some(rule.1.clone())
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("0000000a-0000-4000-8000-{:012x}", self.ids)
    }

    fn start(&mut self, shared: &Arc<Mutex<Self>>, body: &Value) -> Done {
        let sql = text(body, "QueryString").ok_or_else(|| {
            let constraint = "have length greater than or equal to 1";
            Refusal::form("queryString", constraint)
        })?;
        // In the order in which Athena looks.
        let token = text(body, "ClientRequestToken")
            .ok_or_else(|| Refusal::input("clientRequestToken is null or empty"))?;
        if token.chars().count() < *TOKEN_CHARS.start() {
            let constraint = "have length greater than or equal to 32";
            return Err(Refusal::form("clientRequestToken", constraint));
        }
        if token.chars().count() > *TOKEN_CHARS.end() {
            let constraint = "have length less than or equal to 128";
            return Err(Refusal::form("clientRequestToken", constraint));
        }
        let group_name = text(body, "WorkGroup").unwrap_or("primary").to_owned();
        let Some(group) = self.groups.get(&group_name).cloned() else {
            return Err(Refusal::input("WorkGroup is not found."));
        };
        let given = text(&body["ResultConfiguration"], "OutputLocation");
        if given.is_some_and(|place| !place.starts_with("s3://") || place.len() < 6) {
            return Err(Refusal::input("outputLocation is not a valid S3 path."));
        }
        let kind = StatementKind::of(sql)?;
        let begun = Begun {
            id: String::new(),
            sql: body["QueryString"].clone(),
            context: body["QueryExecutionContext"].clone(),
            place: body["ResultConfiguration"].clone(),
        };
        if let Some(before) = self.started.get(token) {
            let id = before.id.clone();
            let is_same = *before
                == Begun {
                    id: id.clone(),
                    ..begun
                };
            if !is_same {
                let (code, text) = (
                    "IDEMPOTENT_PARAMETER_MISMATCH",
                    "Idempotent parameters do not match",
                );
                return Err(Refusal::new("InvalidRequestException", code, text));
            }
            return Ok(json!({"QueryExecutionId": id}));
        }
        let place = match (&group.output_location, given) {
            _ if group.managed_results => None,
            (Some(place), _) if group.enforced => Some(place.clone()),
            (_, Some(place)) => Some(place.to_owned()),
            (Some(place), None) => Some(place.clone()),
            (None, None) => {
                let text = "No output location provided. An output location is required either through the Workgroup \
                            result configuration setting or as an API input.";
                return Err(Refusal::input(text));
            }
        };
        let id = self.id();
        let place = place.map(|place| {
            let slash = if place.ends_with('/') { "" } else { "/" };
            format!("{place}{slash}{id}{}", kind.ending())
        });
        let reuse = &body["ResultReuseConfiguration"]["ResultReuseByAgeConfiguration"];
        let earlier = self.executions.values().rev().find(|execution| {
            execution.sql == sql
                && execution.group == group_name
                && execution.end == Some(End::Succeeded)
        });
        let earlier = earlier
            .filter(|_| reuse["Enabled"] == true && kind == StatementKind::Select)
            .and_then(|execution| execution.outcome.clone());
        let reused = earlier.is_some();
        let mut execution = Execution {
            sql: sql.to_owned(),
            kind,
            group: group_name,
            place,
            script: self.script,
            polls: 0,
            stopping: None,
            outcome: earlier.or_else(|| self.canned(sql)),
            work: None,
            end: None,
            reused,
        };
        if kind == StatementKind::Define && execution.outcome.is_none() {
            execution.outcome = Some(Ok(Answer::default()));
        }
        if execution.outcome.is_none()
            && let Some(executor) = &self.executor
        {
            let work = executor(sql.to_owned());
            let (shared, of) = (Arc::clone(shared), id.clone());
            let task = tokio::spawn(async move {
                let outcome = work.await;
                if let Some(execution) = lock(&shared).executions.get_mut(&of) {
                    execution.outcome = Some(outcome);
                }
            });
            execution.work = Some(task.abort_handle());
        }
        self.started.insert(
            token.to_owned(),
            Begun {
                id: id.clone(),
                ..begun
            },
        );
        self.executions.insert(id.clone(), execution);
        Ok(json!({"QueryExecutionId": id}))
    }

    /// The next answer that was prepared for a statement.
    fn canned(&mut self, sql: &str) -> Option<Result<Answer, Failed>> {
        let (_, answers) = self
            .canned
            .iter_mut()
            .find(|(part, _)| sql.contains(part.as_str()))?;
        match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        }
    }

    fn execution(&mut self, body: &Value) -> Done {
        let id = known_id(&self.executions, body)?;
        let cutoff = |group: &str| self.groups.get(group).and_then(|group| group.cutoff_bytes);
        let Some(execution) = self.executions.get_mut(&id) else {
            return Ok(Value::Null);
        };
        if execution.end.is_none() {
            execution.go_on(cutoff(&execution.group));
            if execution.end.is_some() {
                if let Some(bucket) = &self.bucket {
                    execution.write(&id, bucket);
                }
                if execution.kind == StatementKind::Define && execution.end == Some(End::Succeeded)
                {
                    self.definitions.push(execution.sql.clone());
                }
            }
        }
        let group = self.groups.get(&execution.group);
        Ok(execution.shown(&id, group.is_some_and(|group| group.managed_results)))
    }

    fn results(&mut self, body: &Value) -> Done {
        let most = body["MaxResults"].as_i64();
        if text(body, "NextToken").is_none() && !body["NextToken"].is_null() {
            let constraint = "have length greater than or equal to 1";
            return Err(Refusal::form("nextToken", constraint));
        }
        if most.is_some_and(|most| most < 1) {
            let constraint = "have value greater than or equal to 1";
            return Err(Refusal::form("maxResults", constraint));
        }
        let id = known_id(&self.executions, body)?;
        let most = most.map_or(MAX_RESULTS, i64::unsigned_abs);
        if most > MAX_RESULTS {
            let text = "MaxResults is more than maximum allowed length 1000";
            return Err(Refusal::input(text));
        }
        let execution = &self.executions[&id];
        let answer = match (&execution.end, &execution.outcome) {
            (Some(End::Succeeded), Some(Ok(answer))) => answer,
            (end, _) => {
                let message = match end {
                    Some(end) => format!(
                        "Query did not finish successfully. Final query state: {}",
                        end.name()
                    ),
                    None => "Query has not yet finished. Current state: RUNNING".to_owned(),
                };
                let code = "INVALID_QUERY_EXECUTION_STATE";
                return Err(Refusal::new("InvalidRequestException", code, &message));
            }
        };
        let mut rows = Vec::new();
        if execution.kind.has_header() && !answer.columns.is_empty() {
            rows.push(
                answer
                    .columns
                    .iter()
                    .map(|column| Some(column.name.clone()))
                    .collect(),
            );
        }
        rows.extend(answer.rows.iter().cloned());
        let malformed = |token: &str| Refusal::input(&format!("Malformed nextPageToken {token}"));
        let from = match text(body, "NextToken") {
            None => 0,
            Some(token) => token
                .strip_prefix("row-")
                .and_then(|row| row.parse::<usize>().ok())
                .ok_or_else(|| malformed(token))?,
        };
        let page: Vec<Value> = rows
            .iter()
            .skip(from)
            .take(most as usize)
            .map(row_shown)
            .collect();
        let end = from + page.len();
        let columns: Vec<Value> = answer.columns.iter().map(column_shown).collect();
        let mut result = json!({
            "ResultSet": {"Rows": page, "ResultSetMetadata": {"ColumnInfo": columns}},
            "UpdateCount": 0,
        });
        if end < rows.len() {
            result["NextToken"] = format!("row-{end}").into();
        }
        Ok(result)
    }

    fn stop(&mut self, body: &Value) -> Done {
        let id = known_id(&self.executions, body)?;
        if let Some(execution) = self.executions.get_mut(&id)
            && execution.end.is_none()
            && execution.stopping.is_none()
        {
            execution.stopping = Some(execution.script.stopping_polls);
            if let Some(work) = execution.work.take() {
                work.abort();
            }
        }
        Ok(json!({}))
    }

    fn group(&mut self, body: &Value) -> Done {
        let name = text(body, "WorkGroup").unwrap_or_default();
        let Some(group) = self.groups.get(name) else {
            return Err(Refusal::input("WorkGroup is not found."));
        };
        let mut settings = json!({
            "EnforceWorkGroupConfiguration": group.enforced,
            "ManagedQueryResultsConfiguration": {"Enabled": group.managed_results},
            "ResultConfiguration": {},
        });
        if let Some(place) = &group.output_location {
            settings["ResultConfiguration"]["OutputLocation"] = place.as_str().into();
        }
        if let Some(bytes) = group.cutoff_bytes {
            settings["BytesScannedCutoffPerQuery"] = bytes.into();
        }
        Ok(json!({"WorkGroup": {"Name": name, "State": "ENABLED", "Configuration": settings}}))
    }

    fn list_named(&mut self, body: &Value) -> Done {
        let group = text(body, "WorkGroup").unwrap_or("primary");
        let ids: Vec<Value> = self
            .named
            .iter()
            .filter(|named| named["WorkGroup"] == group)
            .map(|named| named["NamedQueryId"].clone())
            .collect();
        let from = match text(body, "NextToken") {
            None => 0,
            Some(token) => token
                .parse()
                .map_err(|_| Refusal::input("Malformed nextPageToken"))?,
        };
        let end = ids.len().min(from + MAX_NAMED);
        let mut page = json!({"NamedQueryIds": ids.get(from..end).unwrap_or_default()});
        if end < ids.len() {
            page["NextToken"] = end.to_string().into();
        }
        Ok(page)
    }

    fn batch_named(&mut self, body: &Value) -> Done {
        let ids = body["NamedQueryIds"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if !(1..=MAX_NAMED).contains(&ids.len()) {
            let constraint = "have length less than or equal to 50";
            return Err(Refusal::form("namedQueryIds", constraint));
        }
        let found = |id: &&Value| self.named.iter().any(|named| named["NamedQueryId"] == **id);
        let (there, gone): (Vec<&Value>, Vec<&Value>) = ids.iter().partition(found);
        let named: Vec<&Value> = self
            .named
            .iter()
            .filter(|named| there.contains(&&named["NamedQueryId"]))
            .collect();
        let gone: Vec<Value> = gone
            .into_iter()
            .map(|id| json!({"NamedQueryId": id, "ErrorCode": "NOT_FOUND", "ErrorMessage": "NamedQuery was not found"}))
            .collect();
        Ok(json!({"NamedQueries": named, "UnprocessedNamedQueryIds": gone}))
    }

    fn create_named(&mut self, body: &Value) -> Done {
        check_named(body)?;
        let group = text(body, "WorkGroup").unwrap_or("primary");
        if !self.groups.contains_key(group) {
            return Err(Refusal::input("WorkGroup is not found."));
        }
        let token = text(body, "ClientRequestToken")
            .ok_or_else(|| Refusal::input("clientRequestToken is null or empty"))?;
        if let Some(id) = self.named_tokens.get(token) {
            return Ok(json!({"NamedQueryId": id}));
        }
        let id = self.id();
        self.named_tokens.insert(token.to_owned(), id.clone());
        let mut named = json!({"NamedQueryId": id, "WorkGroup": group});
        for field in ["Name", "Description", "Database", "QueryString"] {
            named[field] = body[field].clone();
        }
        self.named.push(named);
        Ok(json!({"NamedQueryId": id}))
    }

    fn update_named(&mut self, body: &Value) -> Done {
        check_named(body)?;
        let is_it = |named: &&mut Value| named["NamedQueryId"] == body["NamedQueryId"];
        let Some(named) = self.named.iter_mut().find(is_it) else {
            return Err(Refusal::input("NamedQuery was not found"));
        };
        for field in ["Name", "Description", "QueryString"] {
            named[field] = body[field].clone();
        }
        Ok(json!({}))
    }
}

fn check_named(body: &Value) -> Result<(), Refusal> {
    for (name, field, most) in [
        ("name", "Name", 128),
        ("description", "Description", 1024),
        ("queryString", "QueryString", 262_144),
    ] {
        let chars = body[field].as_str().unwrap_or_default().chars().count();
        if chars == 0 || chars > most {
            let constraint = format!("have length less than or equal to {most}");
            return Err(Refusal::form(name, &constraint));
        }
    }
    Ok(())
}

/// The id of an execution that there is.
fn known_id(executions: &BTreeMap<String, Execution>, body: &Value) -> Result<String, Refusal> {
    let Some(id) = text(body, "QueryExecutionId") else {
        return Err(Refusal::form("queryExecutionId", "not be null"));
    };
    if executions.contains_key(id) {
        return Ok(id.to_owned());
    }
    let message = format!("QueryExecution {id} was not found");
    let code = "QUERY_EXECUTION_NOT_FOUND";
    Err(Refusal::new("InvalidRequestException", code, &message))
}

impl StatementKind {
    fn of(sql: &str) -> Result<Self, Refusal> {
        let start = sql.trim_start_matches(|char: char| char.is_whitespace() || char == '(');
        let len = start.find(|char: char| !char.is_ascii_alphabetic());
        let word = &start[..len.unwrap_or(start.len())];
        match word.to_ascii_uppercase().as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => Ok(Self::Select),
            "EXPLAIN" => Ok(Self::Explain),
            "SHOW" | "DESCRIBE" | "DESC" => Ok(Self::Show),
            "CREATE" | "ALTER" | "DROP" | "MSCK" => Ok(Self::Define),
            _ => {
                let message = format!(
                    "line 1:1: mismatched input '{word}'. Expecting: 'ALTER', 'ANALYZE', 'CREATE', <query>"
                );
                Err(Refusal::new(
                    "InvalidRequestException",
                    "MALFORMED_QUERY",
                    &message,
                ))
            }
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Select => ".csv",
            Self::Explain | Self::Show | Self::Define => ".txt",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Select | Self::Explain => "DML",
            Self::Show => "UTILITY",
            Self::Define => "DDL",
        }
    }

    fn has_header(self) -> bool {
        matches!(self, Self::Select | Self::Explain)
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled | Self::CutOff => "CANCELLED",
        }
    }
}

impl Execution {
    /// One question later.
    fn go_on(&mut self, cutoff: Option<u64>) {
        self.polls = self.polls.saturating_add(1);
        if let Some(left) = &mut self.stopping {
            if *left == 0 {
                self.end = Some(End::Cancelled);
            } else {
                *left -= 1;
            }
            return;
        }
        if !self.reused
            && self.polls
                <= self
                    .script
                    .queued_polls
                    .saturating_add(self.script.running_polls)
        {
            return;
        }
        self.end = match &self.outcome {
            // It runs still.
            None => None,
            Some(Ok(answer)) if cutoff.is_some_and(|most| answer.bytes_scanned > most) => {
                Some(End::CutOff)
            }
            Some(Ok(_)) => Some(End::Succeeded),
            Some(Err(_)) => Some(End::Failed),
        };
    }

    fn scanned(&self) -> u64 {
        let so_far = u64::from(self.polls.saturating_sub(self.script.queued_polls));
        match (&self.end, &self.outcome) {
            (_, Some(Ok(_))) if self.reused => 0,
            (Some(End::Succeeded | End::CutOff), Some(Ok(answer))) => answer.bytes_scanned,
            (Some(End::Failed), Some(Err(failed))) => failed.bytes_scanned,
            _ => so_far.saturating_mul(self.script.bytes_per_poll),
        }
    }

    fn shown(&self, id: &str, managed: bool) -> Value {
        let state = match self.end {
            Some(end) => end.name(),
            None if self.polls <= self.script.queued_polls => "QUEUED",
            None => "RUNNING",
        };
        let mut status = json!({"State": state, "SubmissionDateTime": 1_793_523_600.25});
        match (&self.end, &self.outcome) {
            (Some(End::Failed), Some(Err(failed))) => {
                status["StateChangeReason"] = failed.reason.as_str().into();
                status["AthenaError"] = json!({
                    "ErrorCategory": failed.category, "ErrorType": failed.number, "Retryable": false,
                    "ErrorMessage": failed.reason,
                });
            }
            (Some(End::CutOff), _) => {
                status["StateChangeReason"] = "Bytes scanned limit was exceeded".into();
            }
            (Some(End::Cancelled), _) => {
                status["StateChangeReason"] = "Query cancelled by user".into();
            }
            _ => {}
        }
        let mut shown = json!({
            "QueryExecutionId": id,
            "Query": self.sql,
            "StatementType": self.kind.name(),
            "ResultConfiguration": {},
            "Status": status,
            "Statistics": {
                "DataScannedInBytes": self.scanned(),
                "EngineExecutionTimeInMillis": 5, "TotalExecutionTimeInMillis": 9, "QueryQueueTimeInMillis": 1,
                "ResultReuseInformation": {"ReusedPreviousResult": self.reused},
            },
            "WorkGroup": self.group,
        });
        if let Some(place) = &self.place {
            shown["ResultConfiguration"]["OutputLocation"] = place.as_str().into();
        }
        if managed {
            shown["ManagedQueryResultsConfiguration"] = json!({"Enabled": true});
        }
        json!({"QueryExecution": shown})
    }

    /// Puts the answer into the bucket, as Athena does at the end.
    fn write(&self, id: &str, bucket: &S3Server) {
        let prefix = format!("s3://{BUCKET}/");
        let Some(key) = self
            .place
            .as_ref()
            .and_then(|place| place.strip_prefix(&prefix))
        else {
            return;
        };
        let body = match (&self.outcome, self.kind) {
            (Some(Ok(answer)), StatementKind::Select) if self.end == Some(End::Succeeded) => {
                csv(answer)
            }
            (Some(Ok(answer)), _) if self.end == Some(End::Succeeded) => {
                let line = |row: &Row| {
                    let values = row.iter().map(|value| value.clone().unwrap_or_default());
                    values.collect::<Vec<_>>().join("\t")
                };
                answer.rows.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            (Some(Err(failed)), StatementKind::Show | StatementKind::Define) => {
                format!("FAILED: {}", failed.reason)
            }
            _ => return,
        };
        bucket.plant(key, body.as_bytes());
        if self.end == Some(End::Succeeded) && self.kind != StatementKind::Define {
            bucket.plant(&format!("{key}.metadata"), id.as_bytes());
        }
    }
}

/// As Athena writes it: every value in quotes, NULL as nothing.
fn csv(answer: &Answer) -> String {
    let mut text = String::new();
    let names: Row = answer
        .columns
        .iter()
        .map(|column| Some(column.name.clone()))
        .collect();
    for row in std::iter::once(&names).chain(&answer.rows) {
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            if let Some(value) = value {
                // Writing to a text cannot fail.
                let _ = write!(text, "\"{}\"", value.replace('"', "\"\""));
            }
        }
        text.push('\n');
    }
    text
}

fn row_shown(row: &Row) -> Value {
    let values: Vec<Value> = row
        .iter()
        .map(|value| match value {
            Some(value) => json!({"VarCharValue": value}),
            None => json!({}),
        })
        .collect();
    json!({"Data": values})
}

fn column_shown(column: &Column) -> Value {
    let (name, precision, scale) = match &column.kind {
        Kind::Boolean => ("boolean", 0, 0),
        Kind::TinyInt => ("tinyint", 3, 0),
        Kind::SmallInt => ("smallint", 5, 0),
        Kind::Integer => ("integer", 10, 0),
        Kind::BigInt => ("bigint", 19, 0),
        Kind::Real => ("float", 17, 0),
        Kind::Double => ("double", 17, 0),
        Kind::Decimal { precision, scale } => ("decimal", i32::from(*precision), i32::from(*scale)),
        Kind::Varchar => ("varchar", i32::MAX, 0),
        Kind::Varbinary => ("varbinary", 0, 0),
        Kind::Date => ("date", 0, 0),
        Kind::Timestamp { precision } => ("timestamp", i32::from(*precision), 0),
        Kind::TimestampWithTimeZone { precision } => {
            ("timestamp with time zone", i32::from(*precision), 0)
        }
        Kind::Json => ("json", 0, 0),
        Kind::Other(name) => (name.as_str(), 0, 0),
    };
    json!({
        "CatalogName": "hive", "SchemaName": "", "TableName": "", "Name": column.name, "Label": column.name,
        "Type": name, "Precision": precision, "Scale": scale, "Nullable": "UNKNOWN", "CaseSensitive": true,
    })
}
