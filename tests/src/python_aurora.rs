//! A scheduler's read API in Python, on Apache Thrift's own library: what tailll sends is judged by code that is not ours.
//!
//! Owns the process and what it saw. What it answers and what it does wrong is `tests/aurora/server.py`'s, whose options these
//! are. The library is put in place by `scripts/test-packages.sh`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The variable that names the folder of Python packages, where it is not beside Cargo's folder for tests.
pub const PACKAGES_VARIABLE: &str = "TAILLL_TEST_PYTHON";

/// A task to be answered with.
#[derive(Debug, Clone)]
pub struct PythonTask<'a> {
    /// `role/environment/name`.
    pub job: &'a str,
    /// Which instance.
    pub instance: u32,
    /// The task's id.
    pub task_id: &'a str,
    /// Where it runs, if anywhere.
    pub host: Option<&'a str>,
    /// Its status; a name that Aurora does not have becomes a number that it does not have either.
    pub status: &'a str,
    /// The message of its last event.
    pub message: Option<&'a str>,
    /// When that was, in ms since 1970.
    pub at_ms: i64,
}

/// The running server. It ends when this is dropped.
#[derive(Debug)]
pub struct PythonAurora {
    uri: String,
    process: Child,
    seen: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl PythonAurora {
    /// Starts one with these tasks. `folder` is Cargo's folder for tests (`CARGO_TARGET_TMPDIR`), beside which the Python
    /// packages lie; `options` are the server's own.
    pub fn start(folder: &str, tasks: &[PythonTask], options: &[&str]) -> Result<Self> {
        let packages = packages(folder);
        if !packages.join("thrift").is_dir() {
            bail!(
                "{}: the Python package thrift is not there; run scripts/test-packages.sh",
                packages.display()
            );
        }
        let tasks: Vec<Value> = tasks.iter().map(PythonTask::json).collect();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("aurora/server.py");
        let mut process = Command::new("python3")
            .arg("-B")
            .arg(script)
            .arg("--tasks")
            .arg(Value::from(tasks).to_string())
            .args(options)
            .env("PYTHONPATH", packages)
            // Its end is the server's, should this process be killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3")?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let first = lines.next().context("the server said nothing")??;
        let port = first
            .strip_prefix("port ")
            .with_context(|| format!("the server said: {first}"))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let uri = format!("http://127.0.0.1:{port}");
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let request = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(request);
            }
        });
        Ok(Self {
            uri,
            process,
            seen,
            reader: Some(reader),
        })
    }

    /// What belongs into `scheduler_uri`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Ends the server. Gives each request's path, and what was decoded from it.
    pub fn end(mut self) -> Vec<Value> {
        self.stop();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *seen)
    }

    fn stop(&mut self) {
        // It says what it has seen before it answers, so nothing is lost by ending it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for PythonAurora {
    fn drop(&mut self) {
        self.stop();
    }
}

impl PythonTask<'_> {
    fn json(&self) -> Value {
        let mut parts = self.job.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        json!({
            "role": part(), "environment": part(), "name": part(), "instance": self.instance, "task_id": self.task_id,
            "host": self.host, "status": self.status, "message": self.message, "at_ms": self.at_ms,
        })
    }
}

/// The folder of Python packages.
pub(crate) fn packages(folder: &str) -> PathBuf {
    match std::env::var_os(PACKAGES_VARIABLE) {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => Path::new(folder).with_file_name("test-python"),
    }
}
