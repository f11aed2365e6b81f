//! The configuration file: TOML, read strictly.
//!
//! A key that does not exist is an error that names the file, the line, the key and what is allowed, so that a typing error is
//! never a setting that silently does nothing. Aurora's own `clusters.json` stands behind it: what this file says of a cluster
//! wins, key by key. What flags and environment add to it is the matter of `options`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::store::{Root, S3Settings};
use hyper::Uri;
use joblog::{JobKey, Level};
use serde::Deserialize;
use toml::Spanned;

use crate::as_role::AsRole;
use crate::clusters_json::{ClustersJson, Entry};
use crate::command_line::{CommandLine, CommandLineError};
use crate::instance::{self, Login};
use crate::palette::{Color, PaletteSettings};
use crate::settings::{Defaults, Value, Written};
use crate::target;
use crate::zookeeper::{self, Ensemble};

/// The largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// The limits on `interval_seconds`.
const INTERVAL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The limits on `heartbeat_seconds`.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u64> = 2..=3600;

/// The most sessions on one connection that may be configured, in sessions; a server's own limit is 10 unless it was raised.
pub const MAX_SESSIONS_PER_CONNECTION: u16 = 1000;

/// Where an agent's work directory lies unless a cluster says otherwise.
pub const DEFAULT_SLAVE_ROOT: &str = "/var/lib/mesos";

/// Which run of an executor is followed unless a cluster says otherwise.
pub const DEFAULT_SLAVE_RUN_DIRECTORY: &str = "latest";

/// What the configuration file says. Everything is optional; an empty file is a fine one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The cluster of `role/env/name`.
    pub default_cluster: Option<String>,
    /// The clusters by name, those of `clusters.json` included.
    pub clusters: BTreeMap<String, Cluster>,
    /// What of `clusters.json` could not be used, as fragments.
    pub cluster_notes: Vec<String>,
    /// The folders of the jobs' YAML files.
    pub jobs_dir: Vec<PathBuf>,
    /// The jobs by short name.
    pub jobs: BTreeMap<String, Job>,
    /// Where `shipper` keeps older lines: `s3://bucket/prefix` or `file:///folder`.
    pub archive: Option<Root>,
    /// How to reach its bucket: `[s3]`.
    pub s3: S3Settings,
    /// How to log in.
    pub ssh: Ssh,
    /// What flags are when they are not given: `[defaults]`.
    pub defaults: Defaults,
    /// The colours: `[palette]`.
    pub palette: PaletteSettings,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Aurora's scheduler.
    pub scheduler: SchedulerAt,
    /// The agents' work directory.
    pub slave_root: String,
    /// Which run of an executor to follow: nearly always `latest`.
    pub slave_run_directory: String,
    /// Whom to log in as; the job's role where it is not set.
    pub ssh_user: Option<String>,
    /// The command that runs the scripts as another user than the login's.
    pub as_role: Option<AsRole>,
    /// Of timestamps without a zone.
    pub timezone: Option<String>,
}

/// Where a cluster's scheduler is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulerAt {
    /// At this address.
    Uri(Uri),
    /// Where ZooKeeper says.
    ZooKeeper(Ensemble),
    /// It is not said, which matters only to who asks it.
    Nowhere {
        /// What is missing, and in which file.
        why: String,
    },
}

impl fmt::Display for SchedulerAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => uri.fmt(f),
            Self::ZooKeeper(ensemble) => write!(f, "the leader by ZooKeeper at {ensemble}"),
            Self::Nowhere { why } => write!(f, "no scheduler ({why})"),
        }
    }
}

/// What a short name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A scheduler's job.
    Key(JobKey),
    /// Hosts and files, written down.
    Inventory(Inventory),
    /// A program that prints instances.
    Exec(ExecJob),
}

/// A program that prints instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecJob {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long after a run the next begins.
    pub interval: Option<Duration>,
    /// Whom to log in as where the program does not say.
    pub user: Option<String>,
}

/// Hosts and files, written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The hosts.
    pub hosts: Vec<Login>,
    /// Absolute shell patterns.
    pub files: Vec<String>,
    /// Whom to log in as where the host does not say.
    pub user: Option<String>,
}

/// How to log in, beyond what OpenSSH's configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Which of OpenSSH's configuration files to read.
    pub config: SshConfigFile,
    /// The program that connects instead of the library.
    pub command: Option<CommandLine>,
    /// Files of known hosts instead of OpenSSH's; empty for those.
    pub known_hosts: Vec<PathBuf>,
    /// Key files instead of OpenSSH's; empty for those.
    pub identity_files: Vec<PathBuf>,
    /// Sessions on one connection before another is dialled.
    pub sessions_per_connection: Option<u16>,
    /// How long what runs on a host lives without a sign of life from here.
    pub heartbeat: Option<Duration>,
}

/// Which of OpenSSH's configuration files to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SshConfigFile {
    /// Those that `ssh` reads.
    #[default]
    Usual,
    /// None.
    None,
    /// This one, as with `ssh -F`.
    File(PathBuf),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a regular file, or larger than [`MAX_CONFIG_BYTES`].
    #[error("configuration file {}: more than {MAX_CONFIG_BYTES} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// Which key, what is wrong, what is allowed.
        message: String,
    },
}

/// Which file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// Asked for by name: it must exist.
    Named(PathBuf),
    /// The usual places, in this order: none needs to exist.
    Usual(Vec<PathBuf>),
}

impl ConfigFile {
    /// The places, in the order in which they are tried.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Named(path) => std::slice::from_ref(path),
            Self::Usual(paths) => paths,
        }
    }
}

impl Config {
    /// Reads the file, or the first of the usual ones that exists. `aurora` is what Aurora's own files say.
    pub fn load(
        file: &ConfigFile,
        home: Option<&Path>,
        aurora: &ClustersJson,
    ) -> Result<Self, ConfigError> {
        match file {
            ConfigFile::Named(path) => Self::parse_with(&read(path)?, path, home, aurora),
            ConfigFile::Usual(paths) => {
                for path in paths {
                    match read(path) {
                        Ok(text) => return Self::parse_with(&text, path, home, aurora),
                        Err(ConfigError::Read { source, .. })
                            if matches!(
                                source.kind(),
                                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                            ) => {}
                        Err(error) => return Err(error),
                    }
                }
                Self::parse_with("", Path::new(""), home, aurora)
            }
        }
    }

    /// Reads the text of the file at `path`, with nothing else beside it; `~/` means `home`.
    pub fn parse(text: &str, path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, home, &ClustersJson::default())
    }

    /// Reads the text of the file at `path`; `~/` means `home`, and `aurora` is what Aurora's own files say.
    pub fn parse_with(
        text: &str,
        path: &Path,
        home: Option<&Path>,
        aurora: &ClustersJson,
    ) -> Result<Self, ConfigError> {
        let place = |at: &Range<usize>| {
            let before = text.get(..at.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            Place {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            }
        };
        let wrong = |wrong: Wrong| {
            let Place { path, line, column } = place(&wrong.at);
            ConfigError::Wrong {
                path,
                line,
                column,
                message: wrong.message,
            }
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            // The library tells the place and the value, not whose value it is.
            let before = text.get(..at.start).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            let key = line
                .split_once('=')
                .map(|(key, _)| format!("{}: ", key.trim()));
            let message = key.unwrap_or_default() + &error.message().replace('\n', ", ");
            wrong(Wrong {
                at,
                message: crate::causes::plain(&message),
            })
        })?;
        file.check(home, path, aurora, place).map_err(wrong)
    }

    /// The cluster of `role/env/name`: the default one, or the only one there is.
    pub fn implied_cluster(&self) -> Option<&str> {
        match (&self.default_cluster, self.clusters.len()) {
            (Some(name), _) => Some(name),
            (None, 1) => self.clusters.keys().next().map(String::as_str),
            (None, _) => None,
        }
    }
}

/// The file as it is written; checked by [`File::check`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default_cluster: Option<Spanned<String>>,
    jobs_dir: Option<Spanned<OneOrMany>>,
    archive: Option<Spanned<String>>,
    s3: Option<Spanned<S3Settings>>,
    #[serde(default)]
    clusters: BTreeMap<Spanned<String>, FileCluster>,
    #[serde(default)]
    jobs: BTreeMap<Spanned<String>, Spanned<FileJob>>,
    #[serde(default)]
    ssh: FileSsh,
    #[serde(default)]
    defaults: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
    #[serde(default)]
    palette: FilePalette,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FilePalette {
    #[serde(default)]
    colors: Vec<Spanned<toml::Value>>,
    #[serde(default)]
    pins: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
    #[serde(default)]
    level: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

/// A text or a list of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a path or a list of paths")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileCluster {
    scheduler_uri: Option<Spanned<String>>,
    slave_root: Option<Spanned<String>>,
    slave_run_directory: Option<Spanned<String>>,
    ssh_user: Option<Spanned<String>>,
    #[serde(rename = "become")]
    as_role: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    zk: Option<Spanned<String>>,
    zk_port: Option<Spanned<u16>>,
    scheduler_zk_path: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJob {
    key: Option<Spanned<String>>,
    hosts: Option<Spanned<Vec<Spanned<String>>>>,
    files: Option<Spanned<Vec<Spanned<String>>>>,
    exec: Option<Spanned<Vec<String>>>,
    interval_seconds: Option<Spanned<u64>>,
    user: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileSsh {
    config: Option<Spanned<String>>,
    command: Option<Spanned<String>>,
    #[serde(default)]
    known_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    identity_files: Vec<Spanned<String>>,
    sessions_per_connection: Option<Spanned<u16>>,
    heartbeat_seconds: Option<Spanned<u64>>,
}

/// What is wrong, and where in the text.
struct Wrong {
    at: Range<usize>,
    message: String,
}

/// The error about one key's value.
fn about<T>(value: &Spanned<T>, key: &str, message: impl fmt::Display) -> Wrong {
    Wrong {
        at: value.span(),
        message: format!("{key}: {message}"),
    }
}

impl File {
    fn check(
        self,
        home: Option<&Path>,
        path: &Path,
        aurora: &ClustersJson,
        place: impl Fn(&Range<usize>) -> Place,
    ) -> Result<Config, Wrong> {
        let mut clusters = BTreeMap::new();
        for (name, entry) in &aurora.clusters {
            // An empty table of ours adds nothing to it.
            let cluster = FileCluster::default().check(name, path, Some(entry))?;
            clusters.insert(name.clone(), cluster);
        }
        for (name, cluster) in self.clusters {
            check_word(&name, "clusters")?;
            let entry = aurora.clusters.get(name.get_ref());
            let cluster = cluster.check(name.get_ref(), path, entry)?;
            clusters.insert(name.into_inner(), cluster);
        }
        let mut jobs_dir = Vec::new();
        if let Some(value) = &self.jobs_dir {
            let paths = match value.get_ref() {
                OneOrMany::One(path) => std::slice::from_ref(path),
                OneOrMany::Many(paths) => paths,
            };
            for path in paths {
                let path =
                    expand_home(path, home).map_err(|message| about(value, "jobs_dir", message))?;
                jobs_dir.push(path);
            }
        }
        let mut jobs = BTreeMap::new();
        for (name, job) in self.jobs {
            check_word(&name, "jobs")?;
            jobs.insert(name.into_inner(), check_job(job)?);
        }
        let archive = match &self.archive {
            Some(text) => {
                let root = text.get_ref().parse::<Root>();
                Some(root.map_err(|error| about(text, "archive", error))?)
            }
            None => None,
        };
        let s3 = match self.s3 {
            Some(section) => {
                if let Err(error) = section.get_ref().check() {
                    return Err(about(&section, "s3", error));
                }
                section.into_inner()
            }
            None => S3Settings::default(),
        };
        let default_cluster = match self.default_cluster {
            Some(name) if !clusters.contains_key(name.get_ref()) => {
                let known: Vec<&str> = clusters.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "there is no [clusters.…] here".to_owned()
                } else {
                    format!("there is {}", known.join(", "))
                };
                return Err(about(
                    &name,
                    "default_cluster",
                    format!("no cluster `{}`; {known}", name.get_ref().escape_debug()),
                ));
            }
            name => name.map(Spanned::into_inner),
        };
        Ok(Config {
            default_cluster,
            clusters,
            cluster_notes: aurora.notes.clone(),
            jobs_dir,
            jobs,
            archive,
            s3,
            ssh: self.ssh.check(home)?,
            defaults: self
                .defaults
                .into_iter()
                .map(|(key, value)| check_default(key, &value, &place))
                .collect::<Result<_, _>>()?,
            palette: self.palette.check()?,
        })
    }
}

/// A flag's value; whether there is such a flag is seen in [`crate::settings`].
fn check_default(
    key: Spanned<String>,
    value: &Spanned<toml::Value>,
    place: impl Fn(&Range<usize>) -> Place,
) -> Result<(String, Written), Wrong> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Datetime(time) => Some(time.to_string()),
        _ => None,
    };
    let read = match value.get_ref() {
        toml::Value::Boolean(on) => Some(Value::Switch(*on)),
        toml::Value::Array(values) => values
            .iter()
            .map(one)
            .collect::<Option<_>>()
            .map(Value::Many),
        other => one(other).map(Value::One),
    };
    let Some(read) = read else {
        return Err(about(
            value,
            key.get_ref(),
            "a flag's value is a text, a number, true or false, or a list of texts",
        ));
    };
    let Place { path, line, column } = place(&key.span());
    let written = Written {
        value: read,
        path,
        line,
        column,
    };
    Ok((key.into_inner(), written))
}

/// Where something stands.
struct Place {
    path: PathBuf,
    line: usize,
    column: usize,
}

impl FileCluster {
    /// What this table says, and where it is silent the entry of `clusters.json`.
    fn check(self, name: &str, path: &Path, entry: Option<&Entry>) -> Result<Cluster, Wrong> {
        let scheduler = self.scheduler(name, path, entry)?;
        let slave_root = match &self.slave_root {
            Some(root) => Some(
                parse_path(root.get_ref()).map_err(|message| about(root, "slave_root", message))?,
            ),
            None => entry.and_then(|entry| entry.slave_root.clone()),
        };
        let slave_run_directory = match self.slave_run_directory {
            Some(name) => {
                check_word(&name, "slave_run_directory")?;
                Some(name.into_inner())
            }
            None => entry.and_then(|entry| entry.slave_run_directory.clone()),
        };
        Ok(Cluster {
            scheduler,
            slave_root: slave_root.unwrap_or_else(|| DEFAULT_SLAVE_ROOT.to_owned()),
            slave_run_directory: slave_run_directory
                .unwrap_or_else(|| DEFAULT_SLAVE_RUN_DIRECTORY.to_owned()),
            ssh_user: check_user(self.ssh_user, "ssh_user")?,
            as_role: match self.as_role {
                Some(command) => Some(command.get_ref().parse().map_err(
                    |error: crate::as_role::AsRoleError| about(&command, "become", error),
                )?),
                None => None,
            },
            timezone: match self.timezone {
                Some(zone) => {
                    crate::options::parse_zone(zone.get_ref())
                        .map_err(|error| about(&zone, "timezone", error))?;
                    Some(zone.into_inner())
                }
                None => None,
            },
        })
    }

    /// Where the scheduler is: an address of ours, ZooKeeper by our keys and then those of `clusters.json`, its address.
    fn scheduler(
        &self,
        name: &str,
        path: &Path,
        entry: Option<&Entry>,
    ) -> Result<SchedulerAt, Wrong> {
        if let Some(uri) = &self.scheduler_uri {
            if let Some(zk) = &self.zk {
                return Err(about(
                    zk,
                    "zk",
                    "a cluster has either `scheduler_uri` or `zk`, not both",
                ));
            }
            return parse_uri(uri.get_ref())
                .map(SchedulerAt::Uri)
                .map_err(|message| about(uri, "scheduler_uri", message));
        }
        if let Some(port) = &self.zk_port
            && *port.get_ref() == 0
        {
            return Err(about(port, "zk_port", "it is from 1 to 65535"));
        }
        let zk = match &self.zk {
            Some(zk) => Some(zk.get_ref()),
            None => entry.and_then(|entry| entry.zk.as_ref()),
        };
        let zk_path = match &self.scheduler_zk_path {
            Some(zk_path) => Some(zk_path.get_ref()),
            None => entry.and_then(|entry| entry.scheduler_zk_path.as_ref()),
        };
        let port = self
            .zk_port
            .as_ref()
            .map(|port| *port.get_ref())
            .or_else(|| entry.and_then(|entry| entry.zk_port))
            .unwrap_or(zookeeper::DEFAULT_PORT);
        let place = match entry {
            Some(entry) if self.zk.is_none() => entry.file.display(),
            _ => path.display(),
        };
        let nowhere = |missing: &str| {
            Ok(SchedulerAt::Nowhere {
                why: format!("cluster `{name}` has {missing}; add it in {place}"),
            })
        };
        match (
            zk,
            zk_path,
            entry.and_then(|entry| entry.scheduler_uri.as_ref()),
        ) {
            (Some(zk), Some(zk_path), _) => match (
                Ensemble::parse(zk, port, zk_path),
                &self.zk,
                &self.scheduler_zk_path,
            ) {
                (Ok(ensemble), _, _) => Ok(SchedulerAt::ZooKeeper(ensemble)),
                (Err(why), Some(zk), _) => Err(about(zk, "zk", why)),
                (Err(why), None, Some(zk_path)) => Err(about(zk_path, "scheduler_zk_path", why)),
                (Err(why), None, None) => Ok(SchedulerAt::Nowhere {
                    why: format!("cluster `{name}` in {place}: zk: {why}"),
                }),
            },
            (Some(_), None, _) => nowhere("`zk` but no `scheduler_zk_path`"),
            (None, _, Some(uri)) => Ok(SchedulerAt::Uri(uri.clone())),
            (None, _, None) => nowhere("neither `scheduler_uri` nor `zk`"),
        }
    }
}

fn check_job(job: Spanned<FileJob>) -> Result<Job, Wrong> {
    let at = job.span();
    let missing = |message: &str| Wrong {
        at: at.clone(),
        message: message.to_owned(),
    };
    let job = job.into_inner();
    if let Some(exec) = job.exec {
        if job.key.is_some() || job.hosts.is_some() || job.files.is_some() {
            return Err(missing(
                "a job with `exec` has neither `key` nor `hosts` and `files`",
            ));
        }
        return check_exec(exec, job.interval_seconds, job.user);
    }
    if let Some(interval) = job.interval_seconds {
        return Err(about(&interval, "interval_seconds", "it belongs to `exec`"));
    }
    match (job.key, job.hosts, job.files) {
        (Some(key), None, None) => {
            if let Some(user) = job.user {
                return Err(about(
                    &user,
                    "user",
                    "it belongs to `hosts`; a key's user is the cluster's ssh_user or the job's role",
                ));
            }
            match key.get_ref().parse() {
                Ok(parsed) => Ok(Job::Key(parsed)),
                Err(error) => Err(about(
                    &key,
                    "key",
                    format!("{error}; a key is `cluster/role/env/name`"),
                )),
            }
        }
        (None, Some(hosts), Some(files)) => {
            let mut logins = Vec::new();
            for host in hosts.get_ref() {
                let more = target::parse_logins(host.get_ref())
                    .map_err(|error| about(host, "hosts", error))?;
                logins.extend(
                    more.into_iter()
                        .filter(|login| !logins.contains(login))
                        .collect::<Vec<_>>(),
                );
            }
            if logins.len() > crate::hostlist::MAX_HOSTS {
                return Err(about(&hosts, "hosts", crate::hostlist::Problem::TooMany));
            }
            for file in files.get_ref() {
                check_path(file, "files")?;
            }
            if logins.is_empty() {
                return Err(about(&hosts, "hosts", "the list is empty"));
            }
            if files.get_ref().is_empty() {
                return Err(about(&files, "files", "the list is empty"));
            }
            Ok(Job::Inventory(Inventory {
                hosts: logins,
                files: files
                    .into_inner()
                    .into_iter()
                    .map(Spanned::into_inner)
                    .collect(),
                user: check_user(job.user, "user")?,
            }))
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(missing(
            "a job has either `key`, or `hosts` and `files`, not both",
        )),
        (None, None, None) => Err(missing(
            "a job needs either `key`, or `hosts` and `files`, or `exec`",
        )),
        (None, Some(_), None) => Err(missing(
            "`hosts` needs `files`: the absolute patterns of the logs",
        )),
        (None, None, Some(_)) => Err(missing("`files` needs `hosts`: where they lie")),
    }
}

fn check_exec(
    exec: Spanned<Vec<String>>,
    interval: Option<Spanned<u64>>,
    user: Option<Spanned<String>>,
) -> Result<Job, Wrong> {
    let usable = |word: &String| !word.contains('\0');
    if exec.get_ref().first().is_none_or(String::is_empty) || !exec.get_ref().iter().all(usable) {
        return Err(about(
            &exec,
            "exec",
            "write the program and its arguments, as in [\"/opt/bin/instances\", \"--job\", \"web\"]",
        ));
    }
    if let Some(seconds) = &interval
        && !INTERVAL_SECONDS.contains(seconds.get_ref())
    {
        return Err(about(
            seconds,
            "interval_seconds",
            format!(
                "it is from {} to {}",
                INTERVAL_SECONDS.start(),
                INTERVAL_SECONDS.end()
            ),
        ));
    }
    Ok(Job::Exec(ExecJob {
        command: exec.into_inner(),
        interval: interval.map(|seconds| Duration::from_secs(seconds.into_inner())),
        user: check_user(user, "user")?,
    }))
}

impl FileSsh {
    fn check(self, home: Option<&Path>) -> Result<Ssh, Wrong> {
        let path = |value: &Spanned<String>, key: &str| {
            expand_home(value.get_ref(), home).map_err(|message| about(value, key, message))
        };
        if let Some(sessions) = &self.sessions_per_connection
            && !(1..=MAX_SESSIONS_PER_CONNECTION).contains(sessions.get_ref())
        {
            return Err(about(
                sessions,
                "sessions_per_connection",
                format!("it is from 1 to {MAX_SESSIONS_PER_CONNECTION}"),
            ));
        }
        if let Some(seconds) = &self.heartbeat_seconds
            && !HEARTBEAT_SECONDS.contains(seconds.get_ref())
        {
            return Err(about(
                seconds,
                "heartbeat_seconds",
                format!(
                    "it is from {} to {}",
                    HEARTBEAT_SECONDS.start(),
                    HEARTBEAT_SECONDS.end()
                ),
            ));
        }
        let command = match &self.command {
            None => None,
            Some(value) => Some(
                value
                    .get_ref()
                    .parse()
                    .map_err(|error: CommandLineError| about(value, "command", error))?,
            ),
        };
        Ok(Ssh {
            command,
            config: match &self.config {
                None => SshConfigFile::Usual,
                Some(value) if value.get_ref() == "none" => SshConfigFile::None,
                Some(value) => SshConfigFile::File(path(value, "config")?),
            },
            known_hosts: self
                .known_hosts
                .iter()
                .map(|value| path(value, "known_hosts"))
                .collect::<Result<_, _>>()?,
            identity_files: self
                .identity_files
                .iter()
                .map(|value| path(value, "identity_files"))
                .collect::<Result<_, _>>()?,
            sessions_per_connection: self.sessions_per_connection.map(Spanned::into_inner),
            heartbeat: self
                .heartbeat_seconds
                .map(|seconds| Duration::from_secs(seconds.into_inner())),
        })
    }
}

impl FilePalette {
    fn check(self) -> Result<PaletteSettings, Wrong> {
        let mut settings = PaletteSettings::default();
        for color in &self.colors {
            settings.colors.push(check_color(color, "palette.colors")?);
        }
        for (pattern, color) in &self.pins {
            let glob = pattern
                .get_ref()
                .parse()
                .map_err(|error| about(pattern, "palette.pins", error))?;
            settings
                .pins
                .push((glob, check_color(color, "palette.pins")?));
        }
        for (name, color) in &self.level {
            let Some(level) = Level::ALL
                .into_iter()
                .find(|level| level.name() == name.get_ref())
            else {
                let message = format!(
                    "there is no level `{}`; there is {}",
                    name.get_ref().escape_debug(),
                    Level::ALL.map(Level::name).join(", ")
                );
                return Err(about(name, "palette.level", message));
            };
            settings.levels[level as usize] = Some(check_color(color, "palette.level")?);
        }
        Ok(settings)
    }
}

fn check_color(value: &Spanned<toml::Value>, key: &str) -> Result<Color, Wrong> {
    match value.get_ref() {
        toml::Value::String(text) => text.parse(),
        toml::Value::Integer(number) => Color::from_number(*number),
        other => other.to_string().parse(),
    }
    .map_err(|error| about(value, key, error))
}

/// A path with `~/` at its head replaced by the home directory. A relative path stays one.
pub fn expand_home(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let Some(rest) = path.strip_prefix('~') else {
        return if path.is_empty() {
            Err("the path is empty".to_owned())
        } else {
            Ok(PathBuf::from(path))
        };
    };
    match (
        rest.strip_prefix('/').or(rest.is_empty().then_some("")),
        home,
    ) {
        (Some(rest), Some(home)) => Ok(home.join(rest.trim_start_matches('/'))),
        (Some(_), None) => Err(format!(
            "`{}` needs a home directory, and $HOME is not set",
            path.escape_debug()
        )),
        (None, _) => Err(format!(
            "`{}` names another user's home; write the path out",
            path.escape_debug()
        )),
    }
}

/// An address of a scheduler: http or https, with a host.
pub fn parse_uri(text: &str) -> Result<Uri, String> {
    let example = "write it as `http://host:8081` or `https://host/path/`";
    let uri: Uri = text.parse().map_err(|error| {
        format!(
            "`{}` is no address ({error}); {example}",
            text.escape_debug()
        )
    })?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
        _ => {
            return Err(format!(
                "`{}` is no address; {example}",
                text.escape_debug()
            ));
        }
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(
            "user and password do not belong into the address; reading needs none".to_owned(),
        );
    }
    if uri.query().is_some() {
        return Err(format!("an address with `?` is not supported; {example}"));
    }
    Ok(uri)
}

fn check_user(user: Option<Spanned<String>>, key: &str) -> Result<Option<String>, Wrong> {
    match user {
        Some(user) => match instance::check_user(user.get_ref()) {
            Ok(()) => Ok(Some(user.into_inner())),
            Err(error) => Err(about(&user, key, error)),
        },
        None => Ok(None),
    }
}

/// A name that can stand in a job key, and one path part.
pub fn parse_word(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty() || [".", ".."].contains(&text) || !text.chars().all(allowed) {
        return Err(format!(
            "`{}` is no name: letters, digits, `_`, `.` and `-` can stand in one",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

/// An absolute path, without slashes at its end.
pub fn parse_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.chars().any(char::is_control) {
        return Err(format!("`{}` is no absolute path", text.escape_debug()));
    }
    match text.trim_end_matches('/') {
        "" => Ok("/".to_owned()),
        path => Ok(path.to_owned()),
    }
}

fn check_word(name: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    parse_word(name.get_ref())
        .map(|_| ())
        .map_err(|message| about(name, key, message))
}

fn check_path(path: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    parse_path(path.get_ref())
        .map(|_| ())
        .map_err(|message| about(path, key, message))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("tailll.toml"), Some(Path::new("/home/me")))
    }

    fn load(file: &ConfigFile) -> Result<Config, ConfigError> {
        Config::load(file, None, &ClustersJson::default())
    }

    const FULL: &str = r#"
default_cluster = "aa"
jobs_dir = "~/jobs"
[clusters.aa]
become = "sudo -n -u {role}"
scheduler_uri = "http://127.0.0.1:8081"
slave_root = "/srv/mesos/"
slave_run_directory = "latest"
ssh_user = "me"
timezone = "UTC"
[clusters.bb]
scheduler_uri = "https://aurora.example.com/path/"
[clusters.cc]
zk = "zk1,zk2:2182"
zk_port = 2183
scheduler_zk_path = "/aurora/scheduler"
[jobs.web]
key = "aa/www-data/prod/hello"
[jobs.app]
hosts = ["web[01-02].example.com:2222", "[::1]"]
files = ["/var/log/app/*.log"]
user = "me"
[jobs.cmdb]
exec = ["/opt/cmdb", "web"]
interval_seconds = 30
user = "ops"
[ssh]
config = "~/.ssh/config"
command = "ssh -o 'A b'"
known_hosts = ["/etc/known"]
identity_files = ["~/key"]
sessions_per_connection = 9
[defaults]
color = "always"
tail = 100
exclude = ["healthz"]
"#;

    #[test]
    fn every_key_is_read() {
        let config = parse(FULL).expect("a good file");
        assert_eq!(config.default_cluster.as_deref(), Some("aa"));
        let aa = &config.clusters["aa"];
        assert!(matches!(&aa.scheduler, SchedulerAt::Uri(uri) if *uri == "http://127.0.0.1:8081/"));
        assert_eq!(
            (
                aa.slave_root.as_str(),
                aa.ssh_user.as_deref(),
                aa.timezone.as_deref()
            ),
            ("/srv/mesos", Some("me"), Some("UTC"))
        );
        assert_eq!(config.jobs_dir, [PathBuf::from("/home/me/jobs")]);
        let many = parse("jobs_dir = ['/a', '~/b']").expect("a list");
        assert_eq!(many.jobs_dir, [PathBuf::from("/a"), "/home/me/b".into()]);
        assert_eq!(
            aa.as_role.as_ref().map(ToString::to_string).as_deref(),
            Some("sudo -n -u {role}")
        );
        assert_eq!(
            config.jobs["cmdb"],
            Job::Exec(ExecJob {
                command: vec!["/opt/cmdb".into(), "web".into()],
                interval: Some(Duration::from_secs(30)),
                user: Some("ops".into()),
            })
        );
        let bb = &config.clusters["bb"];
        assert_eq!(
            (bb.slave_root.as_str(), bb.slave_run_directory.as_str()),
            (DEFAULT_SLAVE_ROOT, "latest")
        );
        let SchedulerAt::ZooKeeper(cc) = &config.clusters["cc"].scheduler else {
            panic!("ZooKeeper")
        };
        assert_eq!(cc.to_string(), "zk1:2183,zk2:2182/aurora/scheduler");
        assert_eq!(
            config.jobs["web"],
            Job::Key("aa/www-data/prod/hello".parse().expect("a key"))
        );
        let Job::Inventory(app) = &config.jobs["app"] else {
            panic!("an inventory")
        };
        let hosts: Vec<String> = app.hosts.iter().map(Login::to_string).collect();
        assert_eq!(
            hosts,
            ["web01.example.com:2222", "web02.example.com:2222", "[::1]"]
        );
        assert_eq!(
            config.ssh.config,
            SshConfigFile::File("/home/me/.ssh/config".into())
        );
        assert_eq!(config.ssh.identity_files, [PathBuf::from("/home/me/key")]);
        assert_eq!(config.ssh.sessions_per_connection, Some(9));
        assert_eq!(
            config.ssh.command,
            Some("ssh -o 'A b'".parse().expect("a command"))
        );
        assert_eq!(
            config.defaults["exclude"].value,
            Value::Many(vec!["healthz".to_owned()])
        );
        let line = 1 + FULL
            .lines()
            .take_while(|line| *line != "tail = 100")
            .count();
        assert_eq!(
            (&config.defaults["tail"].value, config.defaults["tail"].line),
            (&Value::One("100".to_owned()), line)
        );
    }

    #[test]
    fn colours_are_read() {
        let text = "[palette]\ncolors = ['cyan', 99, '#5f87ff']\nlevel.error = 'magenta'\n\
            [palette.pins]\n'aa/www-data/*' = 'blue'\n";
        let palette = parse(text).expect("a good file").palette;
        assert_eq!(
            palette.colors,
            [
                Color::Basic(6),
                Color::Index(99),
                Color::Rgb([0x5f, 0x87, 0xff])
            ]
        );
        assert_eq!(palette.levels[Level::Error as usize], Some(Color::Basic(5)));
        assert_eq!(palette.pins[0].0.to_string(), "aa/www-data/*");
    }

    #[test]
    fn nothing_is_required() {
        assert_eq!(parse("").expect("an empty file"), Config::default());
        assert_eq!(
            parse("[ssh]\nconfig = 'none'\n")
                .expect("a short file")
                .ssh
                .config,
            SshConfigFile::None
        );
    }

    #[test]
    fn errors_name_place_key_and_what_is_allowed() {
        let cases = [
            "defualt_cluster = 'aa'",
            "default_cluster = 'zz'\n[clusters.aa]\nscheduler_uri = 'http://h'",
            "default_cluster = 'zz'",
            "[clusters.aa]\nscheduler_url = 'http://h'",
            "[clusters.aa]\nscheduler_uri = 'http://h'\nzk = 'z'",
            "[clusters.aa]\nzk = '-z'\nscheduler_zk_path = '/x'",
            "[clusters.aa]\nzk = 'z'\nzk_port = 0",
            "[clusters.aa]\nzk = 'z'\nzk_port = 70000",
            "[clusters.aa]\nscheduler_uri = 'h:8081'",
            "[clusters.aa]\nscheduler_uri = 'ftp://h'",
            "[clusters.aa]\nscheduler_uri = 'http://me:secret@h'",
            "[clusters.aa]\nscheduler_uri = 'http://h'\nslave_root = 'x'",
            "[clusters.aa]\nscheduler_uri = 'http://h'\nssh_user = '-oX'",
            "[clusters.aa]\nscheduler_uri = 'http://h'\ntimezone = 'Nowhere/Land'",
            "[clusters.'a/a']\nscheduler_uri = 'http://h'",
            "[jobs.x]\n",
            "[jobs.x]\nkey = 'a/b/c'",
            "[jobs.x]\nkey = 'a/b/c/d'\nhosts = ['x']",
            "[jobs.x]\nkey = 'a/b/c/d'\nuser = 'x'",
            "[jobs.x]\nhosts = ['a']",
            "[jobs.x]\nhosts = ['a', 'web[1-']\nfiles = ['/x']",
            "[jobs.x]\nhosts = ['a']\nfiles = ['x.log']",
            "[jobs.x]\nhosts = []\nfiles = ['/x']",
            "jobs_dir = 3",
            "jobs_dir = '~you/x'",
            "[clusters.aa]\nscheduler_uri = 'http://h'\nbecome = 'sudo -u $USER'",
            "[jobs.x]\nexec = []",
            "[jobs.x]\nexec = ['p']\nkey = 'a/b/c/d'",
            "[jobs.x]\nexec = ['p']\ninterval_seconds = 0",
            "[jobs.x]\nkey = 'a/b/c/d'\ninterval_seconds = 9",
            "[ssh]\nsessions_per_connection = 0",
            "[ssh]\nsessions_per_connection = 'nine'",
            "[ssh]\nknown_hosts = ['~you/x']",
            "[palette]\ncolours = ['red']",
            "[palette]\ncolors = ['purpel']",
            "[palette]\ncolors = [7, 256]",
            "[palette]\npins.'aa/*' = [1]",
            "[palette]\nlevel.eror = 'red'",
            "[palette]\nlevel.error = '#12'",
            "[ssh]\ncommand = 'ssh \"x'",
            "[defaults]\ntail = { a = 1 }",
            "[defaults]\n\norder = ",
            "[output]\ncolor = 'always'",
            "x = \"\u{1b}[31m\"",
        ];
        let report: Vec<String> = cases
            .iter()
            .map(|text| parse(text).expect_err(text).to_string())
            .collect();
        insta::assert_snapshot!(report.join("\n"));
    }

    #[test]
    fn a_missing_file_matters_only_if_it_was_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing.toml");
        let error = load(&ConfigFile::Named(missing.clone())).expect_err("a missing file");
        assert!(matches!(&error, ConfigError::Read { path, .. } if *path == missing));
        assert_eq!(
            load(&ConfigFile::Usual(vec![missing.clone()])).expect("defaults"),
            Config::default()
        );

        let second = folder.path().join("second.toml");
        std::fs::write(&second, "[ssh]\nsessions_per_connection = 3\n").expect("to write");
        let config = load(&ConfigFile::Usual(vec![missing, second])).expect("the second");
        assert_eq!(config.ssh.sessions_per_connection, Some(3));
    }

    #[test]
    fn a_huge_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("huge.toml");
        std::fs::write(&path, "#".repeat(MAX_CONFIG_BYTES as usize + 1)).expect("to write");
        assert!(matches!(
            load(&ConfigFile::Named(path)),
            Err(ConfigError::TooLarge { .. })
        ));
    }

    #[test]
    fn home_is_expanded_only_at_the_head() {
        let home = Some(Path::new("/home/me"));
        assert_eq!(expand_home("~/x", home), Ok("/home/me/x".into()));
        assert_eq!(expand_home("~", home), Ok("/home/me/".into()));
        assert_eq!(expand_home("/a/~/x", home), Ok("/a/~/x".into()));
        assert!(expand_home("~/x", None).is_err());
        assert!(expand_home("", home).is_err());
    }

    /// Where each cluster's scheduler is, and its other keys, with this `clusters.json` behind the file.
    fn with_json(json: &str, toml: &str) -> Vec<String> {
        let mut aurora = ClustersJson::default();
        aurora.add(json.as_bytes(), Path::new("clusters.json"));
        let config =
            Config::parse_with(toml, Path::new("tailll.toml"), None, &aurora).expect("a good file");
        let said = |(name, cluster): (&String, &Cluster)| {
            let at = match &cluster.scheduler {
                SchedulerAt::Uri(uri) => uri.to_string(),
                SchedulerAt::ZooKeeper(ensemble) => format!("zk {ensemble}"),
                SchedulerAt::Nowhere { why } => why.clone(),
            };
            let user = cluster.ssh_user.as_deref().unwrap_or("-");
            format!("{name}: {at} {user} {}", cluster.slave_root)
        };
        config.clusters.iter().map(said).collect()
    }

    #[test]
    fn clusters_json_stands_behind_the_file() {
        let json = r#"[
            {"name": "aa", "zk": "z1,z2", "scheduler_zk_path": "/aurora/scheduler", "scheduler_uri": "http://never/", "slave_root": "/srv"},
            {"name": "bb", "scheduler_uri": "http://b:8081"},
            {"name": "cc", "zk": "z"},
            {"name": "dd"},
        ]"#;
        assert_eq!(
            with_json(json, ""),
            [
                "aa: zk z1:2181,z2:2181/aurora/scheduler - /srv",
                "bb: http://b:8081/ - /var/lib/mesos",
                "cc: cluster `cc` has `zk` but no `scheduler_zk_path`; add it in clusters.json - /var/lib/mesos",
                "dd: cluster `dd` has neither `scheduler_uri` nor `zk`; add it in clusters.json - /var/lib/mesos",
            ]
        );
        let toml = "default_cluster = 'bb'
[clusters.aa]
ssh_user = 'me'
zk_port = 2999
[clusters.bb]
zk = 'other'
scheduler_zk_path = '/x'
[clusters.cc]
scheduler_uri = 'http://c/'
[clusters.dd]
slave_root = '/d'
[clusters.ee]
ssh_user = 'me'
";
        assert_eq!(
            with_json(json, toml),
            [
                "aa: zk z1:2999,z2:2999/aurora/scheduler me /srv",
                "bb: zk other:2181/x - /var/lib/mesos",
                "cc: http://c/ - /var/lib/mesos",
                "dd: cluster `dd` has neither `scheduler_uri` nor `zk`; add it in clusters.json - /d",
                "ee: cluster `ee` has neither `scheduler_uri` nor `zk`; add it in tailll.toml me /var/lib/mesos",
            ]
        );
    }

    #[test]
    fn the_only_cluster_is_implied() {
        let one = "[clusters.aa]\nscheduler_uri = 'http://h'\n";
        assert_eq!(parse(one).expect("one").implied_cluster(), Some("aa"));
        let two = format!("{one}[clusters.bb]\nscheduler_uri = 'http://h'\n");
        assert_eq!(parse(&two).expect("two").implied_cluster(), None);
        assert_eq!(
            parse(&format!("default_cluster = 'bb'\n{two}"))
                .expect("two")
                .implied_cluster(),
            Some("bb")
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn half_a_file_never_panics(cut in 0..FULL.len()) {
            let _ = parse(&FULL[..cut]);
        }
    }
}
