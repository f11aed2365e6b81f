//! Where a task's files lie on its host, both ways: from a path to its parts, and from parts to the path.
//!
//! ```text
//! <work_dir>/slaves/<agent>/frameworks/<framework>/executors/<executor_id>/runs/<container>/          a RunDir
//!     stdout, stderr                                          the executor's own output            a LogFile::Executor
//!     sandbox/.logs/<process>/<run>/{stdout,stderr}[.N]       a process's output                   a LogFile::Process
//! ```
//!
//! Paths are bytes: file names need not be UTF-8, and a process's name may hold anything but `/` and NUL. A path that does
//! not have the form is `None`, since most files of a sandbox are no logs. Whether a file exists is not known here.

use crate::{Stream, TaskId};

/// What the Thermos executor puts before the task id to make its executor id. Other executors have prefixes of their own.
pub const THERMOS_PREFIX: &str = "thermos-";

/// The name that stands for an executor's newest container in [`RunDir::container`].
pub const LATEST: &[u8] = b"latest";

/// The folder of the task's own files, below a [`RunDir`].
pub const SANDBOX: &[u8] = b"sandbox";

/// The folder of the processes' logs, below the sandbox.
pub const LOGS: &[u8] = b".logs";

/// The folder of one container of an executor on an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunDir<'a> {
    /// The agent's work folder; for the agent's own records `<work_dir>/meta`.
    pub work_dir: &'a [u8],
    /// The agent's id.
    pub agent: &'a [u8],
    /// The framework's id.
    pub framework: &'a [u8],
    /// The executor's id: a prefix and the task id.
    pub executor: &'a [u8],
    /// The container's id, or [`LATEST`].
    pub container: &'a [u8],
}

/// The words between the parts of a [`RunDir`].
const RUN_DIR_WORDS: [&[u8]; 4] = [b"slaves", b"frameworks", b"executors", b"runs"];

impl<'a> RunDir<'a> {
    /// Finds the folder in a path, and what stands below it: empty for the folder itself.
    ///
    /// The first place that has the form counts, so that a task cannot pretend to be another one with folders of its own.
    pub fn parse(path: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let marker = b"/slaves/";
        memchr::memmem::find_iter(path, marker).find_map(|at| {
            let mut rest = &path[at + 1..];
            let mut ids = [&b""[..]; 4];
            for (word, id) in RUN_DIR_WORDS.iter().zip(&mut ids) {
                let (found, after) = split_component(rest);
                if found != *word {
                    return None;
                }
                (*id, rest) = split_component(after);
                if !is_file_name(id) {
                    return None;
                }
            }
            let [agent, framework, executor, container] = ids;
            Some((
                Self {
                    work_dir: &path[..at],
                    agent,
                    framework,
                    executor,
                    container,
                },
                rest,
            ))
        })
    }

    /// The path of the folder.
    pub fn to_path(&self) -> Vec<u8> {
        let mut path = self.work_dir.to_vec();
        let ids = [self.agent, self.framework, self.executor, self.container];
        for (word, id) in RUN_DIR_WORDS.iter().zip(ids) {
            for part in [word, id] {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
        path
    }

    /// The path of a file of logs in the folder.
    pub fn join(&self, file: &LogFile<'_>) -> Vec<u8> {
        let mut path = self.to_path();
        path.push(b'/');
        path.extend_from_slice(&file.to_path());
        path
    }

    /// The id of the task, if the executor's id is made of this prefix and a task id. The prefix is [`THERMOS_PREFIX`], or
    /// empty where Mesos's own executor runs a container.
    pub fn task_id(&self, prefix: &str) -> Option<TaskId> {
        task_id_of_executor(self.executor, prefix)
    }

    /// Whether the folder is one of this task, whatever prefix its executor uses.
    pub fn belongs_to(&self, task: &TaskId) -> bool {
        self.executor.ends_with(task.as_str().as_bytes())
    }
}

/// The executor id of a task.
pub fn executor_id(prefix: &str, task: &TaskId) -> String {
    format!("{prefix}{task}")
}

/// The task id in an executor id that begins with this prefix.
pub fn task_id_of_executor(executor: &[u8], prefix: &str) -> Option<TaskId> {
    let id = executor.strip_prefix(prefix.as_bytes())?;
    TaskId::parse(std::str::from_utf8(id).ok()?).ok()
}

/// A file of logs, named relative to its [`RunDir`] or its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogFile<'a> {
    /// The executor's own output, `stdout` in the run's folder.
    Executor {
        /// Which of its streams.
        stream: Stream,
        /// `N` of a file rotated to `.N`; the current file has none.
        backup: Option<u32>,
    },
    /// The output of a process, `.logs/<process>/<run>/stdout` in the sandbox.
    Process {
        /// The process's name.
        process: &'a [u8],
        /// Which start of the process, from 0.
        run: u32,
        /// Which of its streams.
        stream: Stream,
        /// `N` of a file rotated to `.N`; the current file has none.
        backup: Option<u32>,
    },
}

impl<'a> LogFile<'a> {
    /// Reads a path relative to a [`RunDir`]: `stdout`, or `sandbox/.logs/<process>/<run>/stdout`.
    pub fn parse(path: &'a [u8]) -> Option<Self> {
        as_thermos_renames(Self::parse_renamed(path)?)
    }

    /// Reads a path relative to a sandbox: `.logs/<process>/<run>/stdout`.
    pub fn parse_in_sandbox(path: &'a [u8]) -> Option<Self> {
        as_thermos_renames(Self::parse_renamed_in_sandbox(path)?)
    }

    /// Reads a path relative to a [`RunDir`] of a file that anybody may have renamed, by appending to its name. What was appended
    /// comes along: nothing for the current file; `.3` is the backup 3; `-20261101` is no backup that has a number.
    pub fn parse_renamed(path: &'a [u8]) -> Option<(Self, &'a [u8])> {
        match split_component(path) {
            (SANDBOX, rest) => Self::parse_renamed_in_sandbox(rest),
            (name, rest) if rest.is_empty() && path.len() == name.len() => {
                let (stream, ending) = stream_file(name)?;
                let backup = backup_number(ending);
                Some((Self::Executor { stream, backup }, ending))
            }
            _ => None,
        }
    }

    /// The same relative to a sandbox.
    pub fn parse_renamed_in_sandbox(path: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let rest = path.strip_prefix(LOGS)?.strip_prefix(b"/")?;
        let (process, rest) = split_component(rest);
        let (run, name) = split_component(rest);
        if !is_file_name(process) || name.contains(&b'/') {
            return None;
        }
        let (stream, ending) = stream_file(name)?;
        let file = Self::Process {
            process,
            run: canonical_number(run)?,
            stream,
            backup: backup_number(ending),
        };
        Some((file, ending))
    }

    /// The path relative to the [`RunDir`].
    pub fn to_path(&self) -> Vec<u8> {
        match self {
            Self::Executor { stream, backup } => stream_file_name(*stream, *backup).into_bytes(),
            Self::Process { .. } => [
                SANDBOX,
                b"/",
                &self.to_path_in_sandbox().unwrap_or_default(),
            ]
            .concat(),
        }
    }

    /// The path relative to the sandbox; the executor's own files do not lie in it.
    pub fn to_path_in_sandbox(&self) -> Option<Vec<u8>> {
        match self {
            Self::Executor { .. } => None,
            Self::Process {
                process,
                run,
                stream,
                backup,
            } => {
                let file = format!("/{run}/{}", stream_file_name(*stream, *backup));
                Some([LOGS, b"/", process, file.as_bytes()].concat())
            }
        }
    }

    /// Which stream the file holds.
    pub const fn stream(&self) -> Stream {
        match self {
            Self::Executor { stream, .. } | Self::Process { stream, .. } => *stream,
        }
    }

    /// `N` of a file rotated to `.N`.
    pub const fn backup(&self) -> Option<u32> {
        match self {
            Self::Executor { backup, .. } | Self::Process { backup, .. } => *backup,
        }
    }
}

/// Finds run folder and log file in an absolute path.
pub fn parse(path: &[u8]) -> Option<(RunDir<'_>, LogFile<'_>)> {
    let (dir, rest) = RunDir::parse(path)?;
    Some((dir, LogFile::parse(rest)?))
}

/// A path's first component and what stands behind the slash.
fn split_component(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

fn is_file_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// `stdout`, `stderr.3`: the stream, and what follows its name.
fn stream_file(name: &[u8]) -> Option<(Stream, &[u8])> {
    Stream::ALL
        .into_iter()
        .find_map(|stream| Some((stream, name.strip_prefix(stream.name().as_bytes())?)))
}

/// The 3 of `.3`.
fn backup_number(ending: &[u8]) -> Option<u32> {
    canonical_number(ending.strip_prefix(b".")?)
}

/// A file whose name is as Thermos makes it.
fn as_thermos_renames<'a>((file, ending): (LogFile<'a>, &'a [u8])) -> Option<LogFile<'a>> {
    (ending.is_empty() || file.backup().is_some()).then_some(file)
}

fn stream_file_name(stream: Stream, backup: Option<u32>) -> String {
    backup.map_or_else(
        || stream.name().to_owned(),
        |number| format!("{}.{number}", stream.name()),
    )
}

/// A number as programs write it, without sign and leading zeros: so each number has one name.
fn canonical_number(text: &[u8]) -> Option<u32> {
    let is_canonical =
        matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    if !is_canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: &str = "/var/lib/mesos/slaves/a-S3/frameworks/f-0/executors/thermos-t/runs/c1";

    #[track_caller]
    fn check(below: &str, expected: Option<LogFile<'_>>) {
        let path = format!("{RUN}{below}");
        let got = parse(path.as_bytes());
        assert_eq!(got.map(|(_, file)| file), expected, "{below:?}");
        if let Some((dir, file)) = got {
            assert_eq!(dir.work_dir, b"/var/lib/mesos");
            assert_eq!(
                [dir.agent, dir.framework, dir.executor, dir.container],
                [&b"a-S3"[..], b"f-0", b"thermos-t", b"c1"]
            );
            assert_eq!(dir.join(&file), path.as_bytes());
        }
    }

    #[test]
    fn log_files() {
        use Stream::{Stderr, Stdout};
        let process = |process: &'static [u8], run, stream, backup| {
            Some(LogFile::Process {
                process,
                run,
                stream,
                backup,
            })
        };
        check(
            "/stdout",
            Some(LogFile::Executor {
                stream: Stdout,
                backup: None,
            }),
        );
        check(
            "/stderr.1",
            Some(LogFile::Executor {
                stream: Stderr,
                backup: Some(1),
            }),
        );
        check(
            "/sandbox/.logs/web/0/stdout",
            process(b"web", 0, Stdout, None),
        );
        check(
            "/sandbox/.logs/web/12/stderr.5",
            process(b"web", 12, Stderr, Some(5)),
        );
        check(
            "/sandbox/.logs/a b'\n\"/0/stdout",
            process(b"a b'\n\"", 0, Stdout, None),
        );
        check("/sandbox/.logs/web/0/stdout.log", None);
        check("/sandbox/.logs/web/0/stdout.01", None);
        check("/sandbox/.logs/web/0/stdout.", None);
        check("/sandbox/.logs/web/00/stdout", None);
        check("/sandbox/.logs/web/-1/stdout", None);
        check("/sandbox/.logs/web/4294967296/stdout", None);
        check("/sandbox/.logs/web/0/stdout/x", None);
        check("/sandbox/.logs/../0/stdout", None);
        check("/sandbox/.logs//0/stdout", None);
        check("/sandbox/.logs/web/0", None);
        check("/sandbox/stdout", None);
        check("/sandbox", None);
        check("/stdout/", None);
        check("/stdout/x", None);
        check("/stdin", None);
        check("", None);
    }

    #[test]
    fn renamed_files() {
        let endings = |path: &str| {
            LogFile::parse_renamed(path.as_bytes())
                .map(|(file, ending)| (file.backup(), String::from_utf8_lossy(ending).into_owned()))
        };
        let some = |backup, ending: &str| Some((backup, ending.to_owned()));
        assert_eq!(endings("stdout"), some(None, ""));
        assert_eq!(endings("stdout.12"), some(Some(12), ".12"));
        assert_eq!(endings("stdout.01"), some(None, ".01"));
        assert_eq!(endings("stderr-20261101"), some(None, "-20261101"));
        assert_eq!(
            endings("sandbox/.logs/web/0/stdout.1.gz"),
            some(None, ".1.gz")
        );
        for path in [
            "stdou",
            "stdout.1/x",
            "sandbox/.logs/web/0/stdout/x",
            "sandbox/.logs/web/00/stdout.1",
        ] {
            assert_eq!(endings(path), None, "{path}");
        }
    }

    #[test]
    fn run_dirs() {
        let (dir, rest) = RunDir::parse(RUN.as_bytes()).unwrap();
        assert_eq!((dir.to_path().as_slice(), rest), (RUN.as_bytes(), &b""[..]));
        // The first place counts.
        let nested = format!("{RUN}/sandbox/slaves/x/frameworks/x/executors/x/runs/x/stdout");
        assert_eq!(RunDir::parse(nested.as_bytes()).unwrap().0, dir);
        let in_slaves = format!("/data/slaves/disk1{RUN}");
        assert_eq!(
            RunDir::parse(in_slaves.as_bytes()).unwrap().0.work_dir,
            b"/data/slaves/disk1/var/lib/mesos"
        );
        for path in [
            "",
            "/",
            "/slaves/",
            "/w/slaves/a/frameworks/f/executors/e/runs/",
            "/w/slaves/a/frameworks/f/executors//runs/c",
            "/w/slaves/../frameworks/f/executors/e/runs/c",
        ] {
            assert_eq!(RunDir::parse(path.as_bytes()), None, "{path:?}");
        }
    }

    #[test]
    fn executors() {
        let task =
            TaskId::parse("www-data-prod-hello-3-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22").unwrap();
        let executor = executor_id(THERMOS_PREFIX, &task);
        let dir = RunDir {
            work_dir: b"/w",
            agent: b"a",
            framework: b"f",
            executor: executor.as_bytes(),
            container: LATEST,
        };
        assert_eq!(dir.task_id(THERMOS_PREFIX), Some(task.clone()));
        assert_eq!(dir.task_id("docker-"), None);
        assert!(dir.belongs_to(&task));
        let plain = RunDir {
            executor: task.as_str().as_bytes(),
            ..dir
        };
        assert_eq!(plain.task_id(""), Some(task.clone()));
        assert!(plain.belongs_to(&task));
    }

    /// Any bytes but those that a file name cannot hold.
    fn file_name() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            any::<u8>().prop_filter("no separator", |byte| !matches!(byte, b'/' | 0)),
            1..20,
        )
        .prop_filter("a name", |name| is_file_name(name))
    }

    fn stream() -> impl Strategy<Value = Stream> {
        prop::sample::select(&Stream::ALL[..])
    }

    proptest! {
        #[test]
        fn render_then_parse(ids in prop::array::uniform4(file_name()), process in file_name(), run: u32, stream in stream(), backup: Option<u32>) {
            let [agent, framework, executor, container] = &ids;
            let dir = RunDir { work_dir: b"/var/lib/mesos", agent, framework, executor, container };
            for file in [LogFile::Executor { stream, backup }, LogFile::Process { process: &process, run, stream, backup }] {
                let path = dir.join(&file);
                prop_assert_eq!(parse(&path), Some((dir, file)));
                if let Some(relative) = file.to_path_in_sandbox() {
                    prop_assert_eq!(LogFile::parse_in_sandbox(&relative), Some(file));
                }
            }
        }

        #[test]
        fn any_bytes(tail in prop::collection::vec(prop_oneof![Just(b'/'), any::<u8>()], 0..40)) {
            for head in ["", "/w/slaves/", "/w/slaves/a/frameworks/f/executors/e/runs/c/", "/w/slaves/a/frameworks/f/executors/e/runs/c/sandbox/.logs/"] {
                let path = [head.as_bytes(), &tail].concat();
                if let Some((dir, file)) = parse(&path) {
                    prop_assert_eq!(dir.join(&file), path);
                }
            }
        }
    }
}
