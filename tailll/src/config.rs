//! The configuration file: TOML, read strictly.
//!
//! A key that does not exist is an error that names the file, the line, the key and what is allowed, so that a typing error is
//! never a setting that silently does nothing. What flags and environment add to it is the matter of `options`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use joblog::JobKey;
use serde::Deserialize;
use toml::Spanned;

use crate::color::ColorChoice;
use crate::instance::{self, Login};
use crate::merge::Order;
use crate::target;

/// The largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

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
    /// The clusters by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// The jobs by short name.
    pub jobs: BTreeMap<String, Job>,
    /// How to log in.
    pub ssh: Ssh,
    /// How to show it.
    pub output: Output,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Aurora's scheduler.
    pub scheduler_uri: Uri,
    /// The agents' work directory.
    pub slave_root: String,
    /// Which run of an executor to follow: nearly always `latest`.
    pub slave_run_directory: String,
    /// Whom to log in as; the job's role where it is not set.
    pub ssh_user: Option<String>,
    /// Of timestamps without a zone.
    pub timezone: Option<String>,
}

/// What a short name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A scheduler's job.
    Key(JobKey),
    /// Hosts and files, written down.
    Inventory(Inventory),
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

/// How to show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Output {
    /// When to colour.
    pub color: Option<ColorChoice>,
    /// In which order.
    pub order: Option<Order>,
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

impl Config {
    /// Reads the file, or the first of the usual ones that exists.
    pub fn load(file: &ConfigFile, home: Option<&Path>) -> Result<Self, ConfigError> {
        match file {
            ConfigFile::Named(path) => Self::parse(&read(path)?, path, home),
            ConfigFile::Usual(paths) => {
                for path in paths {
                    match read(path) {
                        Ok(text) => return Self::parse(&text, path, home),
                        Err(ConfigError::Read { source, .. })
                            if matches!(
                                source.kind(),
                                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                            ) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(Self::default())
            }
        }
    }

    /// Reads the text of the file at `path`; `~/` means `home`.
    pub fn parse(text: &str, path: &Path, home: Option<&Path>) -> Result<Self, ConfigError> {
        let wrong = |wrong: Wrong| {
            let before = text.get(..wrong.at.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            ConfigError::Wrong {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
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
        file.check(home).map_err(wrong)
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
    #[serde(default)]
    clusters: BTreeMap<Spanned<String>, FileCluster>,
    #[serde(default)]
    jobs: BTreeMap<Spanned<String>, Spanned<FileJob>>,
    #[serde(default)]
    ssh: FileSsh,
    #[serde(default)]
    output: FileOutput,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCluster {
    scheduler_uri: Spanned<String>,
    slave_root: Option<Spanned<String>>,
    slave_run_directory: Option<Spanned<String>>,
    ssh_user: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJob {
    key: Option<Spanned<String>>,
    hosts: Option<Spanned<Vec<Spanned<String>>>>,
    files: Option<Spanned<Vec<Spanned<String>>>>,
    user: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileSsh {
    config: Option<Spanned<String>>,
    #[serde(default)]
    known_hosts: Vec<Spanned<String>>,
    #[serde(default)]
    identity_files: Vec<Spanned<String>>,
    sessions_per_connection: Option<Spanned<u16>>,
    heartbeat_seconds: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileOutput {
    color: Option<ColorChoice>,
    order: Option<Order>,
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
    fn check(self, home: Option<&Path>) -> Result<Config, Wrong> {
        let mut clusters = BTreeMap::new();
        for (name, cluster) in self.clusters {
            check_word(&name, "clusters")?;
            clusters.insert(name.into_inner(), cluster.check()?);
        }
        let mut jobs = BTreeMap::new();
        for (name, job) in self.jobs {
            check_word(&name, "jobs")?;
            jobs.insert(name.into_inner(), check_job(job)?);
        }
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
            jobs,
            ssh: self.ssh.check(home)?,
            output: Output {
                color: self.output.color,
                order: self.output.order,
            },
        })
    }
}

impl FileCluster {
    fn check(self) -> Result<Cluster, Wrong> {
        let uri = &self.scheduler_uri;
        let scheduler_uri =
            parse_uri(uri.get_ref()).map_err(|message| about(uri, "scheduler_uri", message))?;
        let slave_root = match self.slave_root {
            Some(root) => {
                check_path(&root, "slave_root")?;
                match root.into_inner() {
                    root if root == "/" => root,
                    root => root.trim_end_matches('/').to_owned(),
                }
            }
            None => DEFAULT_SLAVE_ROOT.to_owned(),
        };
        let slave_run_directory = match self.slave_run_directory {
            Some(name) => {
                check_word(&name, "slave_run_directory")?;
                name.into_inner()
            }
            None => DEFAULT_SLAVE_RUN_DIRECTORY.to_owned(),
        };
        Ok(Cluster {
            scheduler_uri,
            slave_root,
            slave_run_directory,
            ssh_user: check_user(self.ssh_user, "ssh_user")?,
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
}

fn check_job(job: Spanned<FileJob>) -> Result<Job, Wrong> {
    let at = job.span();
    let missing = |message: &str| Wrong {
        at: at.clone(),
        message: message.to_owned(),
    };
    let job = job.into_inner();
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
        (None, None, None) => Err(missing("a job needs either `key`, or `hosts` and `files`")),
        (None, Some(_), None) => Err(missing(
            "`hosts` needs `files`: the absolute patterns of the logs",
        )),
        (None, None, Some(_)) => Err(missing("`files` needs `hosts`: where they lie")),
    }
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
        Ok(Ssh {
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
fn check_word(name: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    let text = name.get_ref();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty() || [".", ".."].contains(&text.as_str()) || !text.chars().all(allowed) {
        let message = format!(
            "`{}` is no name: letters, digits, `_`, `.` and `-` can stand in one",
            text.escape_debug()
        );
        return Err(about(name, key, message));
    }
    Ok(())
}

fn check_path(path: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    let text = path.get_ref();
    if !text.starts_with('/') || text.chars().any(char::is_control) {
        return Err(about(
            path,
            key,
            format!("`{}` is no absolute path", text.escape_debug()),
        ));
    }
    Ok(())
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

    const FULL: &str = r#"
default_cluster = "aa"
[clusters.aa]
scheduler_uri = "http://127.0.0.1:8081"
slave_root = "/srv/mesos/"
slave_run_directory = "latest"
ssh_user = "me"
timezone = "UTC"
[clusters.bb]
scheduler_uri = "https://aurora.example.com/path/"
[jobs.web]
key = "aa/www-data/prod/hello"
[jobs.app]
hosts = ["web[01-02].example.com:2222", "[::1]"]
files = ["/var/log/app/*.log"]
user = "me"
[ssh]
config = "~/.ssh/config"
known_hosts = ["/etc/known"]
identity_files = ["~/key"]
sessions_per_connection = 9
[output]
color = "always"
order = "time"
"#;

    #[test]
    fn every_key_is_read() {
        let config = parse(FULL).expect("a good file");
        assert_eq!(config.default_cluster.as_deref(), Some("aa"));
        let aa = &config.clusters["aa"];
        assert_eq!(aa.scheduler_uri.to_string(), "http://127.0.0.1:8081/");
        assert_eq!(
            (
                aa.slave_root.as_str(),
                aa.ssh_user.as_deref(),
                aa.timezone.as_deref()
            ),
            ("/srv/mesos", Some("me"), Some("UTC"))
        );
        let bb = &config.clusters["bb"];
        assert_eq!(
            (bb.slave_root.as_str(), bb.slave_run_directory.as_str()),
            (DEFAULT_SLAVE_ROOT, "latest")
        );
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
            config.output,
            Output {
                color: Some(ColorChoice::Always),
                order: Some(Order::Time)
            }
        );
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
            "[clusters.aa]\nslave_root = '/x'",
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
            "[ssh]\nsessions_per_connection = 0",
            "[ssh]\nsessions_per_connection = 'nine'",
            "[ssh]\nknown_hosts = ['~you/x']",
            "[output]\ncolor = 'sometimes'",
            "[output]\n\norder = ",
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
        let error =
            Config::load(&ConfigFile::Named(missing.clone()), None).expect_err("a missing file");
        assert!(matches!(&error, ConfigError::Read { path, .. } if *path == missing));
        assert_eq!(
            Config::load(&ConfigFile::Usual(vec![missing.clone()]), None).expect("defaults"),
            Config::default()
        );

        let second = folder.path().join("second.toml");
        std::fs::write(&second, "[ssh]\nsessions_per_connection = 3\n").expect("to write");
        let config =
            Config::load(&ConfigFile::Usual(vec![missing, second]), None).expect("the second");
        assert_eq!(config.ssh.sessions_per_connection, Some(3));
    }

    #[test]
    fn a_huge_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("huge.toml");
        std::fs::write(&path, "#".repeat(MAX_CONFIG_BYTES as usize + 1)).expect("to write");
        assert!(matches!(
            Config::load(&ConfigFile::Named(path), None),
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
