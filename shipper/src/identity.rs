//! Whose a sandbox is: from the agent's records on the disk, else the agent's own answer, else the task's id.
//!
//! The records (`task.info` below the `meta` folder) are exact, but root's. The agent's `/state` is exact, but costs a request
//! and covers the latest run of an executor only. The task's id is always there and gives instance and task, but role,
//! environment and name in it can only be guessed. What lies in the sandbox itself is never asked: the job could have written it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use joblog::TaskId;
use joblog::sandbox::{THERMOS_PREFIX, task_id_of_executor};
use joblog::task_info::{MAX_TASK_INFO_BYTES, TaskInfo};
use rustix::fs::Dir;
use serde::Deserialize;

use crate::beneath::Beneath;
use crate::rules::Certainty;

/// The largest answer of an agent, in bytes.
pub const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;

/// The most tasks of one run that are looked at, in tasks; Aurora's have one.
const MAX_TASKS: usize = 16;

/// The environments that Aurora knows by default; what stands around one in a task's id is role and name.
const ENVIRONMENTS: [&str; 3] = ["prod", "devel", "test"];

/// Whose the files of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskIdentity {
    /// The task's id, where the executor has one task of that name.
    pub task_id: Option<String>,
    /// Which instance of the job; zero where it is not known.
    pub instance: u32,
    /// The job's role, environment and name, as far as they are known.
    pub role: Option<String>,
    /// See `role`.
    pub env: Option<String>,
    /// See `role`.
    pub job: Option<String>,
    /// The deployed build, by a label of the task.
    pub git_sha: Option<String>,
    /// How well this is known.
    pub certainty: Certainty,
}

impl TaskIdentity {
    /// What the agent recorded of a run. `run_dir` is the run's folder, relative to the work folder that `work_dir` is opened
    /// on. `None` if nothing is recorded, or it may not be read.
    pub fn recorded(
        work_dir: &Beneath,
        run_dir: &Path,
        executor: &[u8],
        git_sha_labels: &[String],
    ) -> Option<Self> {
        let tasks = Path::new("meta").join(run_dir).join("tasks");
        let (folder, _) = work_dir.folder(&tasks).ok()?;
        let mut best: Option<Self> = None;
        let entries = Dir::new(folder).ok()?;
        for entry in entries.filter_map(Result::ok).take(MAX_TASKS + 2) {
            let id = entry.file_name().to_bytes();
            if id.starts_with(b".") || !executor.ends_with(id) {
                continue;
            }
            let path = tasks.join(OsStr::from_bytes(id)).join("task.info");
            let Ok((file, _)) = work_dir.file(&path) else {
                continue;
            };
            let mut bytes = Vec::new();
            let read = file
                .take(MAX_TASK_INFO_BYTES as u64)
                .read_to_end(&mut bytes);
            let Some(info) = read.ok().and_then(|_| TaskInfo::parse(&bytes)) else {
                continue;
            };
            let Ok(id) = std::str::from_utf8(id) else {
                continue;
            };
            let longest = best
                .as_ref()
                .and_then(|best| best.task_id.as_ref())
                .map_or(0, String::len);
            if let Some((role, env, job)) = info.job()
                && id.len() >= longest
            {
                best = Some(Self {
                    git_sha: info.label(git_sha_labels).map(str::to_owned),
                    ..Self::of_job(id, role, env, job, Certainty::TaskInfo)
                });
            }
        }
        best
    }

    /// What the names alone tell.
    pub fn guessed(executor: &[u8]) -> Self {
        let unknown = Self {
            task_id: None,
            instance: 0,
            role: None,
            env: None,
            job: None,
            git_sha: None,
            certainty: Certainty::Unknown,
        };
        let task = task_id_of_executor(executor, THERMOS_PREFIX)
            .or_else(|| task_id_of_executor(executor, ""));
        let Some(task) = task else {
            return unknown;
        };
        let (role, env, job) = split_prefix(task.prefix());
        Self {
            task_id: Some(task.to_string()),
            instance: task.instance(),
            role: role.map(str::to_owned),
            env: env.map(str::to_owned),
            job: Some(job.to_owned()),
            git_sha: None,
            certainty: Certainty::TaskId,
        }
    }

    fn of_job(id: &str, role: &str, env: &str, job: &str, certainty: Certainty) -> Self {
        Self {
            task_id: Some(id.to_owned()),
            instance: TaskId::parse(id).map_or(0, |task| task.instance()),
            role: Some(role.to_owned()),
            env: Some(env.to_owned()),
            job: Some(job.to_owned()),
            git_sha: None,
            certainty,
        }
    }
}

/// Role, environment and name in the text that a task's id makes of them: cut at the first environment that is known. Where
/// there is none, all of it counts as the name.
fn split_prefix(prefix: &str) -> (Option<&str>, Option<&str>, &str) {
    let mut at = 0;
    for part in prefix.split('-') {
        let end = at + part.len();
        if at > 1 && end + 1 < prefix.len() && is_environment(part) {
            return (Some(&prefix[..at - 1]), Some(part), &prefix[end + 1..]);
        }
        at = end + 1;
    }
    (None, None, prefix)
}

fn is_environment(part: &str) -> bool {
    ENVIRONMENTS.contains(&part)
        || part
            .strip_prefix("staging")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What the agent says of its executors: the job of each container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentState {
    by_container: HashMap<String, TaskIdentity>,
}

/// Why the agent's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The address is none of this host: its answer would not be about this host's sandboxes.
    #[error("{uri}: an agent is asked on a loopback address only")]
    NotLoopback {
        /// The address.
        uri: Uri,
    },
    /// It could not be asked.
    #[error("GET {uri}")]
    Request {
        /// The address.
        uri: Uri,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It did not answer in time.
    #[error("GET {uri}: no answer in {} s", .timeout.as_secs())]
    Timeout {
        /// The address.
        uri: Uri,
        /// The time.
        timeout: Duration,
    },
    /// It answered something else than 200.
    #[error("GET {uri}: status {status}")]
    Status {
        /// The address.
        uri: Uri,
        /// The status.
        status: u16,
    },
    /// The answer is not the JSON that it should be.
    #[error("the agent's state")]
    Json(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    frameworks: Vec<Framework>,
    #[serde(default)]
    completed_frameworks: Vec<Framework>,
}

#[derive(Deserialize)]
struct Framework {
    #[serde(default)]
    executors: Vec<Executor>,
    #[serde(default)]
    completed_executors: Vec<Executor>,
}

#[derive(Deserialize)]
struct Executor {
    #[serde(default)]
    id: String,
    #[serde(default)]
    container: String,
    #[serde(default)]
    tasks: Vec<Task>,
    #[serde(default)]
    queued_tasks: Vec<Task>,
    #[serde(default)]
    completed_tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

impl AgentState {
    /// Asks the agent at `uri` for its state. Needs a runtime of tokio with I/O and time.
    pub async fn fetch(
        uri: &Uri,
        timeout: Duration,
        git_sha_labels: &[String],
    ) -> Result<Self, StateError> {
        if !is_loopback(uri) {
            return Err(StateError::NotLoopback { uri: uri.clone() });
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(hyper::http::uri::PathAndQuery::from_static("/state"));
        let uri = Uri::from_parts(parts).unwrap_or_else(|_| uri.clone());
        let asked = async {
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| StateError::Request {
                uri: uri.clone(),
                source,
            };
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let answer = client
                .get(uri.clone())
                .await
                .map_err(|error| failed(error.into()))?;
            if answer.status() != hyper::StatusCode::OK {
                return Err(StateError::Status {
                    uri: uri.clone(),
                    status: answer.status().as_u16(),
                });
            }
            let body = Limited::new(answer.into_body(), MAX_STATE_BYTES);
            Ok(body.collect().await.map_err(failed)?.to_bytes())
        };
        match tokio::time::timeout(timeout, asked).await {
            Ok(body) => Self::parse(&body?, git_sha_labels),
            Err(_) => Err(StateError::Timeout { uri, timeout }),
        }
    }

    /// Reads the agent's answer.
    pub fn parse(json: &[u8], git_sha_labels: &[String]) -> Result<Self, StateError> {
        let state: State = serde_json::from_slice(json).map_err(StateError::Json)?;
        let mut by_container = HashMap::new();
        let frameworks = state.frameworks.iter().chain(&state.completed_frameworks);
        for executor in
            frameworks.flat_map(|one| one.executors.iter().chain(&one.completed_executors))
        {
            let tasks = [
                &executor.tasks,
                &executor.queued_tasks,
                &executor.completed_tasks,
            ];
            let task = tasks
                .into_iter()
                .flatten()
                .filter(|task| !task.id.is_empty() && executor.id.ends_with(&task.id))
                .max_by_key(|task| task.id.len());
            let Some(task) = task else { continue };
            let parts: Vec<&str> = task.name.split('/').collect();
            let [role, env, job] = parts[..] else {
                continue;
            };
            let git_sha = git_sha_labels.iter().find_map(|wanted| {
                let mut labels = task.labels.iter();
                labels
                    .find(|label| label.key == *wanted)
                    .map(|label| label.value.clone())
            });
            let identity = TaskIdentity {
                git_sha,
                ..TaskIdentity::of_job(&task.id, role, env, job, Certainty::AgentState)
            };
            by_container.insert(executor.container.clone(), identity);
        }
        Ok(Self { by_container })
    }

    /// Whose the files of a container are.
    pub fn of_container(&self, container: &[u8]) -> Option<&TaskIdentity> {
        self.by_container.get(std::str::from_utf8(container).ok()?)
    }
}

/// Whether an address is one of this host's own.
pub fn is_loopback(uri: &Uri) -> bool {
    let Some(host) = uri.host() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22";

    #[track_caller]
    fn check_guess(executor: &str, expected: (Option<&str>, Option<&str>, Option<&str>, u32)) {
        let got = TaskIdentity::guessed(executor.as_bytes());
        let parts = (
            got.role.as_deref(),
            got.env.as_deref(),
            got.job.as_deref(),
            got.instance,
        );
        assert_eq!(parts, expected, "{executor}");
    }

    #[test]
    fn names_alone() {
        let thermos = |left: &str| format!("thermos-{left}-{UUID}");
        check_guess(
            &thermos("www-data-prod-hello-3"),
            (Some("www-data"), Some("prod"), Some("hello"), 3),
        );
        check_guess(
            &thermos("web-staging12-a-test-b-0"),
            (Some("web"), Some("staging12"), Some("a-test-b"), 0),
        );
        check_guess(
            &thermos("prod-prod-x-1"),
            (Some("prod"), Some("prod"), Some("x"), 1),
        );
        check_guess(&thermos("a-b-c-1"), (None, None, Some("a-b-c"), 1));
        check_guess(&thermos("web-prod-9"), (None, None, Some("web-prod"), 9));
        check_guess(
            &format!("a-devel-b-2-{UUID}"),
            (Some("a"), Some("devel"), Some("b"), 2),
        );
        check_guess("default", (None, None, None, 0));
        assert_eq!(TaskIdentity::guessed(b"\xff").certainty, Certainty::Unknown);
        assert_eq!(
            TaskIdentity::guessed(thermos("a-b-c-1").as_bytes()).task_id,
            Some(format!("a-b-c-1-{UUID}"))
        );
    }

    pub(crate) fn record(name: &str, labels: &[(&str, &str)]) -> Vec<u8> {
        let field =
            |number: u8, value: &[u8]| [&[number << 3 | 2, value.len() as u8], value].concat();
        let mut message = field(1, name.as_bytes());
        let labels: Vec<u8> = labels
            .iter()
            .flat_map(|(key, value)| {
                let label = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
                field(1, &label)
            })
            .collect();
        message.extend(field(11, &labels));
        [&(message.len() as u32).to_ne_bytes(), message.as_slice()].concat()
    }

    #[test]
    fn the_agents_record_is_exact() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = Path::new("slaves/S/frameworks/F/executors/custom-x/runs/c");
        let id = format!("www-data-prod-a-b-3-{UUID}");
        let executor = format!("custom-{id}");
        let tasks = folder.path().join("meta").join(run).join("tasks");
        let labels = ["git_sha".to_owned()];
        let beneath = Beneath::open(folder.path()).expect("to open");
        let ask = || TaskIdentity::recorded(&beneath, run, executor.as_bytes(), &labels);
        assert_eq!(ask(), None);
        for (name, job) in [
            (id.as_str(), "www-data/prod/a.b"),
            ("other", "x/y/z"),
            ("22", "x/y/z"),
        ] {
            fs::create_dir_all(tasks.join(name)).expect("to create");
            let record = record(job, &[("git_sha", "1f0c")]);
            fs::write(tasks.join(name).join("task.info"), record).expect("to write");
        }
        let got = ask().expect("a record");
        assert_eq!(
            (
                got.role.as_deref(),
                got.job.as_deref(),
                got.instance,
                got.git_sha.as_deref()
            ),
            (Some("www-data"), Some("a.b"), 3, Some("1f0c"))
        );
        assert_eq!(
            (got.task_id, got.certainty),
            (Some(id), Certainty::TaskInfo)
        );
    }

    #[test]
    fn the_agents_answer() {
        let id = format!("www-data-prod-a-b-3-{UUID}");
        let json = format!(
            r#"{{"id":"S3","frameworks":[{{"id":"F","executors":[
                {{"id":"thermos-{id}","container":"c1","source":"x","directory":"/w",
                  "tasks":[{{"id":"{id}","name":"www-data/prod/a.b","state":"TASK_RUNNING",
                             "labels":[{{"key":"git_sha","value":"1f0c"}},{{"key":"bare"}}]}}]}},
                {{"id":"other","container":"c2","tasks":[{{"id":"nothing","name":"a/b/c"}}]}}],
              "completed_executors":[
                {{"id":"thermos-{id}","container":"c0","completed_tasks":[{{"id":"{id}","name":"www-data/prod/a.b"}}]}}]}}]}}"#
        );
        let state = AgentState::parse(json.as_bytes(), &["git_sha".to_owned()]).expect("a state");
        let got = state.of_container(b"c1").expect("a container");
        assert_eq!(
            (
                got.job.as_deref(),
                got.instance,
                got.git_sha.as_deref(),
                got.certainty
            ),
            (Some("a.b"), 3, Some("1f0c"), Certainty::AgentState)
        );
        assert!(state.of_container(b"c0").is_some());
        assert_eq!(state.of_container(b"c2"), None);
        assert_eq!(state.of_container(b"\xff"), None);
        assert!(AgentState::parse(b"[", &[]).is_err());
        assert_eq!(
            AgentState::parse(b"{}", &[]).expect("a state"),
            AgentState::default()
        );
    }

    #[tokio::test]
    async fn only_this_host_is_asked_and_its_answer_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("to listen");
        let address = listener.local_addr().expect("an address");
        let id = format!("w-prod-a-3-{UUID}");
        let body = format!(
            r#"{{"frameworks":[{{"executors":[{{"id":"thermos-{id}","container":"c1","tasks":[{{"id":"{id}","name":"w/prod/a"}}]}}]}}]}}"#
        );
        let app = axum::Router::new().route("/state", axum::routing::get(|| async { body }));
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let timeout = Duration::from_secs(30);
        let uri: Uri = format!("http://{address}").parse().expect("an address");
        let state = AgentState::fetch(&uri, timeout, &[])
            .await
            .expect("an answer");
        assert!(state.of_container(b"c1").is_some());
        let elsewhere = Uri::from_static("http://192.0.2.1:5051");
        assert!(matches!(
            AgentState::fetch(&elsewhere, timeout, &[]).await,
            Err(StateError::NotLoopback { .. })
        ));
        server.abort();
        let gone = server.await;
        assert!(gone.is_err());
        assert!(matches!(
            AgentState::fetch(&uri, timeout, &[]).await,
            Err(StateError::Request { .. })
        ));
    }

    #[test]
    fn this_hosts_addresses() {
        for (uri, expected) in [
            ("http://127.0.0.1:5051", true),
            ("http://[::1]:5051/", true),
            ("http://localhost:5051", true),
            ("http://localhost.evil.example:5051", false),
            ("http://10.0.0.1:5051", false),
            ("/state", false),
        ] {
            assert_eq!(is_loopback(&uri.parse().expect("a uri")), expected, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, prefix in "[a-z0-9-]{0,40}") {
            TaskIdentity::guessed(&bytes);
            let _ = AgentState::parse(&bytes, &[]);
            let (role, env, job) = split_prefix(&prefix);
            if let (Some(role), Some(env)) = (role, env) {
                prop_assert_eq!(format!("{role}-{env}-{job}"), prefix);
            }
        }
    }
}
