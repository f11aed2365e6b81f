//! Which instances and files are followed: `--instance`, `--host`, `--process`, `--exclude-process`, `--stdout`, `--stderr`, `--file`.
//!
//! Several values of one flag are alternatives, several flags must all agree.

use joblog::{InstanceSet, Stream};

use crate::chain::{ChainKey, Layout, Link};
use crate::glob::Glob;
use crate::source::{FileLabel, InstanceLabel, Source};
use crate::transport::Listing;

/// What is chosen; the default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSelection {
    /// Which streams.
    pub streams: Streams,
    /// Which processes, by their exact names; all if there are none.
    pub processes: Vec<String>,
    /// Which not, likewise.
    pub other_processes: Vec<String>,
    /// Whether an executor's own output is followed beside the processes' logs.
    pub executor: ExecutorOutput,
    /// Which instances.
    pub instances: Option<InstanceSet>,
    /// Which hosts; all if there are none.
    pub hosts: Vec<Glob>,
    /// Which files; all if there are none. A pattern without `/` is for a file's name, any other for its path.
    pub files: Vec<Glob>,
}

/// Which of a process's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    /// Both, and files that are no streams.
    #[default]
    Both,
    /// One of them.
    Only(Stream),
}

/// When an executor's own output is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutorOutput {
    /// Where it is all that a task writes.
    #[default]
    WhereAlone,
    /// Always.
    Always,
}

impl FileSelection {
    /// Whether this file is to be followed.
    pub fn takes(&self, source: &Source) -> bool {
        self.takes_instance(&source.instance) && self.takes_file(&source.file, &source.path)
    }

    /// Whether any file of this instance can be taken; if not, nobody needs to log in.
    pub fn takes_instance(&self, label: &InstanceLabel) -> bool {
        let instance = match &self.instances {
            Some(wanted) => label.instance.is_some_and(|number| wanted.contains(number)),
            None => true,
        };
        instance
            && (self.hosts.is_empty()
                || self
                    .hosts
                    .iter()
                    .any(|glob| glob.matches(label.host.as_bytes())))
    }

    /// The logs of a listing that are to be followed. An executor's own output is, where it is all there is.
    pub fn choose(&self, layout: &Layout, listing: &Listing) -> Vec<Link> {
        let executor = self.executor == ExecutorOutput::Always || layout.executor_is_alone(listing);
        layout
            .links(listing)
            .into_iter()
            .filter(|link| executor || !matches!(link.chain, ChainKey::Executor(_)))
            .filter(|link| self.takes_file(&link.label, &link.stat.path))
            .collect()
    }

    /// Whether this file of a chosen instance is to be followed.
    pub fn takes_file(&self, file: &FileLabel, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let (named, stream) = match file {
            FileLabel::Process {
                process, stream, ..
            } => (Some(process), Some(*stream)),
            FileLabel::Executor { stream } => (None, Some(*stream)),
            // A file may have its stream's name, and belongs to no process.
            FileLabel::Plain { .. } => (
                None,
                [Stream::Stdout, Stream::Stderr]
                    .into_iter()
                    .find(|stream| stream.name().as_bytes() == name),
            ),
        };
        let stream = match self.streams {
            Streams::Both => true,
            Streams::Only(wanted) => stream == Some(wanted),
        };
        let asked_for =
            self.executor == ExecutorOutput::Always && matches!(file, FileLabel::Executor { .. });
        let process = self.processes.is_empty()
            || asked_for
            || named.is_some_and(|process| self.processes.contains(process));
        let excluded = named.is_some_and(|process| self.other_processes.contains(process));
        let file = self.files.is_empty()
            || self.files.iter().any(|glob| {
                if glob.has_slash() {
                    glob.matches(path)
                } else {
                    glob.matches(name)
                }
            });
        stream && process && !excluded && file
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn label() -> InstanceLabel {
        InstanceLabel {
            job: "aa/r/prod/j".into(),
            key: None,
            instance: Some(2),
            host: "web02".into(),
            task_id: None,
        }
    }

    fn process() -> Source {
        Source {
            instance: Arc::new(label()),
            file: FileLabel::Process {
                process: "server".into(),
                run: 0,
                stream: Stream::Stderr,
            },
            path: b"/x/.logs/server/0/stderr".to_vec(),
        }
    }

    fn plain(path: &str) -> Source {
        Source {
            instance: Arc::new(InstanceLabel {
                instance: None,
                ..label()
            }),
            file: FileLabel::Plain { path: path.into() },
            path: path.as_bytes().to_vec(),
        }
    }

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect()
    }

    #[test]
    fn nothing_chosen_is_everything() {
        let all = FileSelection::default();
        assert!(all.takes(&process()) && all.takes(&plain("/var/log/app.log")));
    }

    #[test]
    fn each_flag_chooses() {
        let app = plain("/var/log/app.log");
        let executor = plain("/x/stdout");
        let stream = |stream| FileSelection {
            streams: Streams::Only(stream),
            ..FileSelection::default()
        };
        assert!(stream(Stream::Stderr).takes(&process()));
        assert!(!stream(Stream::Stdout).takes(&process()));
        assert!(!stream(Stream::Stdout).takes(&app));
        assert!(stream(Stream::Stdout).takes(&executor));

        let processes = |names: &[&str]| FileSelection {
            processes: names.iter().map(|&name| name.to_owned()).collect(),
            ..FileSelection::default()
        };
        assert!(processes(&["x", "server"]).takes(&process()));
        assert!(!processes(&["serv"]).takes(&process()));
        assert!(!processes(&["server"]).takes(&app));
        let without = |names: &[&str]| FileSelection {
            other_processes: names.iter().map(|&name| name.to_owned()).collect(),
            ..FileSelection::default()
        };
        assert!(!without(&["x", "server"]).takes(&process()));
        assert!(without(&["serv"]).takes(&process()));
        assert!(without(&["server"]).takes(&app));

        let instances = |list: &str| FileSelection {
            instances: list.parse().ok(),
            ..FileSelection::default()
        };
        assert!(instances("0-2").takes(&process()));
        assert!(!instances("3").takes(&process()));
        assert!(!instances("0-2").takes(&app));

        let hosts = |patterns: &[&str]| FileSelection {
            hosts: globs(patterns),
            ..FileSelection::default()
        };
        assert!(hosts(&["db*", "web*"]).takes(&process()));
        assert!(!hosts(&["db*"]).takes_instance(&label()));

        let files = |patterns: &[&str]| FileSelection {
            files: globs(patterns),
            ..FileSelection::default()
        };
        assert!(files(&["*.log"]).takes(&app));
        assert!(files(&["/var/*"]).takes(&app));
        assert!(!files(&["var*"]).takes(&app));
        assert!(files(&["*/server/*"]).takes(&process()));
    }

    #[test]
    fn all_flags_must_agree() {
        let both = FileSelection {
            streams: Streams::Only(Stream::Stderr),
            hosts: globs(&["web01"]),
            ..FileSelection::default()
        };
        assert!(!both.takes(&process()));
    }
}
