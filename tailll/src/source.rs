//! A source: one log file that is followed, and what people call it.

use std::sync::Arc;

use joblog::{JobKey, Stream};

/// The number of a source within one run of the program; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// One log file: whose it is and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The instance that writes it.
    pub instance: Arc<InstanceLabel>,
    /// Which of the instance's files it is.
    pub file: FileLabel,
    /// The path on its host when it was opened; bytes, since paths need not be UTF-8.
    pub path: Vec<u8>,
}

/// What an instance is called in prefixes, filters and JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceLabel {
    /// The job as shown: `cluster/role/env/name`, a name of the inventory, or an ad-hoc target's hosts (`web[01-40]`).
    pub job: String,
    /// The full key, where the scheduler knows one.
    pub key: Option<JobKey>,
    /// The instance's number, where there is one.
    pub instance: Option<u32>,
    /// The host as the user or the scheduler names it; `localhost` for local files.
    pub host: String,
    /// The task, where the scheduler knows one.
    pub task_id: Option<String>,
}

impl InstanceLabel {
    /// A name for messages: `hello/3 on node7`, `web01`.
    pub fn name(&self) -> String {
        match (&self.key, self.instance) {
            (Some(key), Some(instance)) => format!("{}/{instance} on {}", key.name(), self.host),
            (None, Some(instance)) => format!("{}/{instance} on {}", self.job, self.host),
            (_, None) => self.host.clone(),
        }
    }
}

/// Which of an instance's files a source is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileLabel {
    /// A process's stream in a Thermos sandbox.
    Process {
        /// The process's name; any character but `/` and NUL is legal in it.
        process: String,
        /// Which start of the process.
        run: u32,
        /// Standard output or standard error.
        stream: Stream,
    },
    /// An executor's own output, beside the sandbox. A Docker task without an executor of its own writes there, too.
    Executor {
        /// Standard output or standard error.
        stream: Stream,
    },
    /// Any other file, by its path.
    Plain {
        /// The path, lossily decoded.
        path: String,
    },
}
