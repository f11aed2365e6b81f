//! The vocabulary of job logs: what a job, a task, a sandbox, a line and a record are.
//!
//! No I/O, no clock, no task: bytes and times come from the caller. What comes from a log is untrusted, so reading it is total:
//! what is not understood gives a [`Record`] with less in it, never an error and never a panic.
//!
//! ```
//! use joblog::{JobKey, Level, RecordParser, lines::Splitter, sandbox};
//!
//! let path = b"/var/lib/mesos/slaves/S3/frameworks/F/executors/thermos-www-data-prod-hello-0-\
//!     8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22/runs/latest/sandbox/.logs/web/0/stdout";
//! let (dir, _file) = sandbox::parse(path).expect("a log file's path");
//! let task = dir.task_id(sandbox::THERMOS_PREFIX).expect("a task id");
//! let key: JobKey = "aa/www-data/prod/hello".parse()?;
//! assert!(task.matches(&key));
//!
//! // Times without a zone are taken as UTC, times without a year as near to the reference as can be.
//! let mut parser = RecordParser::new(jiff::tz::TimeZone::UTC, 1_767_225_600_000_000_000);
//! let mut splitter = Splitter::new(64 * 1024, 0);
//! let mut records = Vec::new();
//! splitter.push(b"2026-01-05 03:04:05,678 ERROR disk full\n\tat Disk.write\n", |line| {
//!     let record = parser.parse(line.bytes);
//!     records.push((line.offset, record.ts_ns, record.level));
//! });
//! assert_eq!(records, [(0, Some(1_767_582_245_678_000_000), Some(Level::Error)), (40, None, None)]);
//! # Ok::<(), joblog::JobKeyError>(())
//! ```

pub mod causes;
pub mod instances;
pub mod job_key;
pub mod json;
pub mod level;
pub mod lines;
pub mod record;
pub mod sandbox;
pub mod stream;
pub mod task_id;
pub mod task_info;
pub mod timestamp;

pub use instances::{InstanceSet, InstanceSetError};
pub use job_key::{JobKey, JobKeyError};
pub use level::Level;
pub use record::{Record, RecordParser};
pub use stream::Stream;
pub use task_id::{TaskId, TaskIdError};
pub use timestamp::TimestampParser;
