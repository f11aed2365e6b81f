//! The configuration file: TOML, read strictly.
//!
//! A key that does not exist, or a value that cannot be used, is an error that names the file, the line, the key and what is
//! allowed, so that a typing error is never a setting that silently does nothing. Everything has a default except `archive`,
//! `cluster` and at least one source of files (`[mesos]` or `[[files]]`). Whether the archive answers and the folders can be
//! written is seen by those who use them. `docs/shipper.md` lists every key.

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use archive::Encoding;
use archive::store::{Root, S3Settings};
use jiff::tz::TimeZone;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use toml::Spanned;

use crate::identity::is_loopback;
use crate::pattern::Pattern;
use crate::redact::{self, MAX_MASK_BYTES};
use crate::rules::{JobTemplate, MESOS_RULE};
use crate::template::Template;

/// The largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// The most rules of `[[files]]`, in rules; those of `[[redact]]` have their limit in `redact`.
pub const MAX_RULES: usize = 256;

/// The most entries of a list in the file, in entries.
pub const MAX_ENTRIES: usize = 256;

/// The largest compiled form of a regular expression, in bytes.
pub const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// One MiB, in bytes: what the keys that end in `_megabytes` count in.
const MEGABYTE: u64 = 1024 * 1024;

/// The limits on numbers, as they are written in the file.
const FLUSH_SECONDS: RangeInclusive<u64> = 1..=3600;
const BATCH_MEGABYTES: RangeInclusive<u64> = 1..=1024;
const SCAN_SECONDS: RangeInclusive<u64> = 1..=60;
const MAX_LINE_BYTES: RangeInclusive<u64> = 1024..=16 * MEGABYTE;
const UNFINISHED_LINE_SECONDS: RangeInclusive<u64> = 1..=86_400;
const QUIET_SECONDS: RangeInclusive<u64> = 10..=86_400;
const SHUTDOWN_SECONDS: RangeInclusive<u64> = 1..=600;
const STAGING_MEGABYTES: RangeInclusive<u64> = 16..=1_048_576;
const RESERVED_MEGABYTES: RangeInclusive<u64> = 0..=1_048_576;
const CAP_MEGABYTES: RangeInclusive<u64> = 1..=1_073_741_824;
const CAP_PERCENT: RangeInclusive<u64> = 1..=90;

/// What the configuration file says, checked and with its defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the rows go: `s3://bucket/prefix` or `file:///folder`.
    pub archive: Root,
    /// `[s3]`: how to reach the bucket; see [`S3Settings`] for its keys.
    pub s3: S3Settings,
    /// The cluster of every job that no rule says otherwise of.
    pub cluster: String,
    /// The column `host`: as configured, else what the caller gave as the host's name.
    pub host: String,
    /// How rows lie in objects. Default: Parquet.
    pub encoding: Encoding,
    /// The oldest that an unshipped row gets before its batch closes. Default: 300 s.
    pub flush: Duration,
    /// The bytes of logs after which a batch closes. Default: 64 MiB.
    pub batch_bytes: u64,
    /// How often the folders are walked. Default: 5 s.
    pub scan_interval: Duration,
    /// The longest line that stays in one row, in bytes. Default: 1 MiB.
    pub max_line_bytes: usize,
    /// How long a last line may lack its newline before it is shipped as it is. Default: 60 s.
    pub unfinished_line: Duration,
    /// How long a file that nobody else links must have been quiet before it counts as finished. Default: 600 s.
    pub quiet: Duration,
    /// How long a stop may take for draining. Default: 25 s.
    pub shutdown: Duration,
    /// Where the state database and the staged objects lie.
    pub state: State,
    /// Where pins lie, and how much they may hold.
    pub spool: SpoolSettings,
    /// `[mesos]`: the sandboxes of a Mesos agent.
    pub mesos: Option<Mesos>,
    /// `[[files]]`: other files, in the order of the file; the first rule that takes a path has it.
    pub files: Vec<FilesRule>,
    /// `[ids]`: where request and trace ids stand in lines.
    pub ids: Ids,
    /// `[[redact]]`: what must not leave the host, in order.
    pub redact: Vec<Redact>,
    /// `[metrics] listen`: a loopback address. None: no metrics.
    pub metrics: Option<SocketAddr>,
}

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `folder`: of the state database, and of `staging/` in it. Default: `/var/lib/shipper/state`.
    pub folder: PathBuf,
    /// `staging_megabytes`: the most bytes of staged objects; reading stops above it. Default: 1 GiB.
    pub staging_bytes: u64,
    /// `reserved_megabytes`: the bytes that must stay free on the state's file system; reading stops below it. Default: 256 MiB.
    pub reserved_bytes: u64,
}

/// `[spool]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// `folders`: one on each mount that has files to keep. Default: `/var/lib/shipper/spool`.
    pub folders: Vec<PathBuf>,
    /// What pinned files that nobody else holds, and staged objects, may take.
    pub cap: Cap,
}

/// The most that may be held, by the one of both that is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// `cap_megabytes`, in bytes. Default: none.
    pub bytes: Option<u64>,
    /// `cap_percent` of the file system's size. Default: 10.
    pub percent: u8,
}

impl Config {
    /// Takes over what an agent that runs cannot change, and names what would have changed.
    pub fn keep_fixed(&mut self, now: &Self) -> Vec<&'static str> {
        let mut fixed = Vec::new();
        let mut keep = |name, differs: bool| {
            if differs {
                fixed.push(name);
            }
        };
        keep("archive", self.archive != now.archive);
        keep("[s3]", self.s3 != now.s3);
        keep("[state] folder", self.state.folder != now.state.folder);
        keep("[spool] folders", self.spool.folders != now.spool.folders);
        keep("[metrics] listen", self.metrics != now.metrics);
        self.archive = now.archive.clone();
        self.s3 = now.s3.clone();
        self.state.folder.clone_from(&now.state.folder);
        self.spool.folders.clone_from(&now.spool.folders);
        self.metrics = now.metrics;
        fixed
    }
}

impl Cap {
    /// The cap in bytes on a file system of this size in bytes.
    pub fn on(&self, size_bytes: u64) -> u64 {
        let share = (u128::from(size_bytes) * u128::from(self.percent) / 100) as u64;
        self.bytes.map_or(share, |bytes| bytes.min(share))
    }
}

/// `[mesos]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesos {
    /// `work_dir`: the agent's, as a rule `/var/lib/mesos`.
    pub work_dir: PathBuf,
    /// `agent_url`: where the agent's HTTP interface is on this host, `http://127.0.0.1:5051`. None: it is not asked.
    pub agent_url: Option<hyper::Uri>,
    /// `timezone`: of times without a zone. Default: UTC.
    pub timezone: TimeZone,
    /// `exclude`: paths that are not kept.
    pub exclude: Vec<Pattern>,
    /// `executor_output`: whether the executor's own `stdout` and `stderr` are kept too. Default: they are.
    pub executor_output: ExecutorOutput,
}

/// Whether the executor's own output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecutorOutput {
    /// It is.
    #[default]
    Kept,
    /// It is not.
    Left,
}

/// One of `[[files]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesRule {
    /// `name`: how messages call the rule. Default: `files[N]`, from 1.
    pub name: String,
    /// `paths`: absolute patterns.
    pub paths: Vec<Pattern>,
    /// `exclude`: absolute patterns that take files out again.
    pub exclude: Vec<Pattern>,
    /// `job`: the job key, as `{cluster}/role/env/name` with `{1}` for what the first wildcard of the path matched.
    pub job: JobTemplate,
    /// `instance`: a number, or a text with fields that gives one. Default: 0.
    pub instance: Template,
    /// `process`: a text with fields as in `job`. Default: none.
    pub process: Option<Template>,
    /// `stream`: a text with fields as in `job`. Default: `{file}`.
    pub stream: Template,
    /// `timezone`: of times without a zone. Default: UTC.
    pub timezone: TimeZone,
}

/// `[ids]`: names are tried as `name=value`, `"name":"value"` and `name: value`; a pattern's first group is the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// `request_names`. Default: `request_id`, `requestId`, `req_id`, `x-request-id`, `correlation_id`.
    pub request_names: Vec<String>,
    /// `request_patterns`: regular expressions. Default: none.
    pub request_patterns: Vec<String>,
    /// `trace_names`. Default: `trace_id`, `traceId`, `x-b3-traceid`, `traceparent`.
    pub trace_names: Vec<String>,
    /// `trace_patterns`: regular expressions. Default: none.
    pub trace_patterns: Vec<String>,
    /// `git_sha_labels`: labels of a task that name its build. Default: `org.apache.aurora.metadata.git_sha`, `git_sha`.
    pub git_sha_labels: Vec<String>,
}

/// One of `[[redact]]`. The pattern compiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// `name`: how the counter is called.
    pub name: String,
    /// `pattern`: a regular expression over a line's bytes.
    pub pattern: String,
    /// `mask`: what stands in its place. Default: `***`.
    pub mask: String,
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
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_CONFIG_BYTES`].
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

impl Config {
    /// Reads the file at `path`. `host` is the host's name where the file does not say.
    pub fn load(path: &Path, host: &str) -> Result<Self, ConfigError> {
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
        Self::parse(&text, path, host)
    }

    /// Reads the text of the file at `path`.
    pub fn parse(text: &str, path: &Path, host: &str) -> Result<Self, ConfigError> {
        let wrong = |Wrong { at, message }: Wrong| {
            let before = text.get(..at.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            ConfigError::Wrong {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message,
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
            let message = error
                .message()
                .replace('\n', ", ")
                .replace("expected u64", "expected a whole number, not negative");
            wrong(Wrong {
                message: key.unwrap_or_default() + &message,
                at,
            })
        })?;
        file.check(host).map_err(wrong)
    }
}

/// The file as it is written; checked by [`File::check`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    archive: Option<Spanned<String>>,
    cluster: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
    encoding: Option<Spanned<String>>,
    flush_seconds: Option<Spanned<u64>>,
    batch_megabytes: Option<Spanned<u64>>,
    scan_seconds: Option<Spanned<u64>>,
    max_line_bytes: Option<Spanned<u64>>,
    unfinished_line_seconds: Option<Spanned<u64>>,
    quiet_seconds: Option<Spanned<u64>>,
    shutdown_seconds: Option<Spanned<u64>>,
    s3: Option<Spanned<S3Settings>>,
    #[serde(default)]
    state: FileState,
    #[serde(default)]
    spool: FileSpool,
    mesos: Option<FileMesos>,
    #[serde(default)]
    files: Vec<Spanned<FileRule>>,
    #[serde(default)]
    ids: FileIds,
    #[serde(default)]
    redact: Vec<Spanned<FileRedact>>,
    metrics: Option<FileMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileState {
    folder: Option<Spanned<String>>,
    staging_megabytes: Option<Spanned<u64>>,
    reserved_megabytes: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileSpool {
    folders: Option<Spanned<Vec<Spanned<String>>>>,
    cap_megabytes: Option<Spanned<u64>>,
    cap_percent: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMesos {
    work_dir: Option<Spanned<String>>,
    agent_url: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    executor_output: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    name: Option<Spanned<String>>,
    paths: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    job: Option<Spanned<String>>,
    instance: Option<Spanned<Instance>>,
    process: Option<Spanned<String>>,
    stream: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
}

/// A number, or a text that gives one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a text such as \"{1}\"")]
enum Instance {
    Number(u32),
    Text(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileIds {
    request_names: Option<Vec<Spanned<String>>>,
    request_patterns: Option<Vec<Spanned<String>>>,
    trace_names: Option<Vec<Spanned<String>>>,
    trace_patterns: Option<Vec<Spanned<String>>>,
    git_sha_labels: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRedact {
    name: Option<Spanned<String>>,
    pattern: Option<Spanned<String>>,
    mask: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMetrics {
    listen: Option<Spanned<String>>,
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

/// The error about something that is not there.
fn missing(at: Range<usize>, message: &str) -> Wrong {
    Wrong {
        at,
        message: message.to_owned(),
    }
}

impl File {
    fn check(self, host: &str) -> Result<Config, Wrong> {
        let Some(archive) = &self.archive else {
            return Err(missing(
                0..0,
                "archive: it is missing; write `s3://bucket/prefix` or `file:///folder`",
            ));
        };
        let Some(cluster) = &self.cluster else {
            return Err(missing(
                0..0,
                "cluster: it is missing; write the cluster's name, the first part of its job keys",
            ));
        };
        if self.mesos.is_none() && self.files.is_empty() {
            return Err(missing(
                0..0,
                "there is neither [mesos] nor [[files]]: nothing says which files are kept",
            ));
        }
        let spool = self.spool.check()?;
        let state = self.state.check()?;
        let mesos = self.mesos.map(FileMesos::check).transpose()?;
        if let Some(mesos) = &mesos {
            for folder in spool.folders.iter().chain([&state.folder]) {
                if folder.starts_with(mesos.work_dir.join("slaves")) {
                    let text = format!(
                        "{}: it lies below `slaves` of [mesos] work_dir, which Mesos cleans up",
                        folder.display()
                    );
                    return Err(missing(0..0, &text));
                }
            }
        }
        let mut s3 = S3Settings::default();
        if let Some(section) = self.s3 {
            if let Err(error) = section.get_ref().check() {
                return Err(about(&section, "s3", error));
            }
            s3 = section.into_inner();
        }
        check_count(&self.files, "files", MAX_RULES)?;
        check_count(&self.redact, "redact", redact::MAX_RULES)?;
        let mut files = Vec::new();
        for (index, rule) in self.files.into_iter().enumerate() {
            let at = rule.span();
            let rule = rule.into_inner().check(at.clone(), index + 1)?;
            if rule.name == MESOS_RULE || files.iter().any(|one: &FilesRule| one.name == rule.name)
            {
                let text = format!("name: there are two rules `{}`", rule.name.escape_debug());
                return Err(missing(at, &text));
            }
            files.push(rule);
        }
        let batch_bytes = bytes(
            self.batch_megabytes.as_ref(),
            "batch_megabytes",
            BATCH_MEGABYTES,
            64,
        )?;
        if let Some(batch) = &self.batch_megabytes
            && state.staging_bytes < batch_bytes
        {
            let text = "it is more than [state] staging_megabytes: no batch could be staged";
            return Err(about(batch, "batch_megabytes", text));
        }
        Ok(Config {
            archive: parse(archive, "archive")?,
            s3,
            cluster: {
                check_word(cluster, "cluster")?;
                cluster.get_ref().clone()
            },
            host: match self.host {
                Some(host) => {
                    let fine = |c: char| c.is_ascii_graphic();
                    let length = (1..=255).contains(&host.get_ref().len());
                    if !length || !host.get_ref().chars().all(fine) {
                        return Err(about(
                            &host,
                            "host",
                            "it has 1 to 255 printable ASCII characters",
                        ));
                    }
                    host.into_inner()
                }
                None => host.to_owned(),
            },
            encoding: match &self.encoding {
                None => Encoding::default(),
                Some(value) => match value.get_ref().as_str() {
                    "parquet" => Encoding::Parquet,
                    "ndjson" => Encoding::Ndjson,
                    _ => return Err(about(value, "encoding", "it is \"parquet\" or \"ndjson\"")),
                },
            },
            flush: seconds(
                self.flush_seconds.as_ref(),
                "flush_seconds",
                FLUSH_SECONDS,
                300,
            )?,
            batch_bytes,
            scan_interval: seconds(self.scan_seconds.as_ref(), "scan_seconds", SCAN_SECONDS, 5)?,
            max_line_bytes: number(
                self.max_line_bytes.as_ref(),
                "max_line_bytes",
                MAX_LINE_BYTES,
                MEGABYTE,
            )? as usize,
            unfinished_line: seconds(
                self.unfinished_line_seconds.as_ref(),
                "unfinished_line_seconds",
                UNFINISHED_LINE_SECONDS,
                60,
            )?,
            quiet: seconds(
                self.quiet_seconds.as_ref(),
                "quiet_seconds",
                QUIET_SECONDS,
                600,
            )?,
            shutdown: seconds(
                self.shutdown_seconds.as_ref(),
                "shutdown_seconds",
                SHUTDOWN_SECONDS,
                25,
            )?,
            state,
            spool,
            mesos,
            files,
            ids: self.ids.check()?,
            redact: check_redact(self.redact)?,
            metrics: self.metrics.map(FileMetrics::check).transpose()?.flatten(),
        })
    }
}

impl FileState {
    fn check(self) -> Result<State, Wrong> {
        Ok(State {
            folder: folder(self.folder.as_ref(), "folder", "/var/lib/shipper/state")?,
            staging_bytes: bytes(
                self.staging_megabytes.as_ref(),
                "staging_megabytes",
                STAGING_MEGABYTES,
                1024,
            )?,
            reserved_bytes: bytes(
                self.reserved_megabytes.as_ref(),
                "reserved_megabytes",
                RESERVED_MEGABYTES,
                256,
            )?,
        })
    }
}

impl FileSpool {
    fn check(self) -> Result<SpoolSettings, Wrong> {
        let mut folders = Vec::new();
        match &self.folders {
            None => folders.push(PathBuf::from("/var/lib/shipper/spool")),
            Some(list) => {
                if list.get_ref().is_empty() {
                    return Err(about(
                        list,
                        "folders",
                        "the list is empty; the spool needs one at least",
                    ));
                }
                check_count(list.get_ref(), "folders", MAX_ENTRIES)?;
                for one in list.get_ref() {
                    let path = folder(Some(one), "folders", "")?;
                    if folders.contains(&path) {
                        return Err(about(one, "folders", "it stands there twice"));
                    }
                    folders.push(path);
                }
            }
        }
        let cap = match &self.cap_megabytes {
            None => None,
            some => Some(bytes(some.as_ref(), "cap_megabytes", CAP_MEGABYTES, 0)?),
        };
        Ok(SpoolSettings {
            folders,
            cap: Cap {
                bytes: cap,
                percent: number(self.cap_percent.as_ref(), "cap_percent", CAP_PERCENT, 10)? as u8,
            },
        })
    }
}

impl FileMesos {
    fn check(self) -> Result<Mesos, Wrong> {
        let agent_url = match &self.agent_url {
            None => None,
            Some(value) => {
                let uri: hyper::Uri = parse(value, "agent_url")?;
                if uri.scheme_str() != Some("http") || !is_loopback(&uri) {
                    let text = "it is the agent of this host: write `http://127.0.0.1:5051` (loopback only)";
                    return Err(about(value, "agent_url", text));
                }
                Some(uri)
            }
        };
        Ok(Mesos {
            work_dir: folder(self.work_dir.as_ref(), "work_dir", "/var/lib/mesos")?,
            agent_url,
            timezone: zone(self.timezone.as_ref())?,
            exclude: patterns(&self.exclude, "exclude")?,
            executor_output: match self.executor_output {
                Some(false) => ExecutorOutput::Left,
                _ => ExecutorOutput::Kept,
            },
        })
    }
}

impl FileRule {
    fn check(self, at: Range<usize>, number: usize) -> Result<FilesRule, Wrong> {
        let Some(list) = &self.paths else {
            return Err(missing(
                at,
                "paths: it is missing; write a list of absolute patterns",
            ));
        };
        if list.get_ref().is_empty() {
            return Err(about(list, "paths", "the list is empty"));
        }
        let Some(job) = &self.job else {
            return Err(missing(
                at,
                "job: it is missing; write a job key such as \"{cluster}/role/prod/{1}\", where {1} is what the first wildcard matches",
            ));
        };
        let paths = patterns(list.get_ref(), "paths")?;
        let template: JobTemplate = parse(job, "job")?;
        let instance = match self.instance {
            None => None,
            Some(value) => {
                let at = value.span();
                let text = match value.into_inner() {
                    Instance::Number(number) => number.to_string(),
                    Instance::Text(text) => text,
                };
                Some(Spanned::new(at, text))
            }
        };
        for path in &paths {
            template
                .check(path)
                .map_err(|error| about(job, "job", error))?;
        }
        let text = |value: &Option<Spanned<String>>, key: &str| match value {
            None => Ok(None),
            Some(value) => {
                let template: Template = parse(value, key)?;
                for path in &paths {
                    template
                        .check(path)
                        .map_err(|error| about(value, key, error))?;
                }
                Ok(Some(template))
            }
        };
        let default = |text: &str| {
            text.parse::<Template>()
                .map_err(|error| missing(0..0, &error.to_string()))
        };
        Ok(FilesRule {
            name: match &self.name {
                None => format!("files[{number}]"),
                Some(name) => {
                    check_word(name, "name")?;
                    name.get_ref().clone()
                }
            },
            exclude: patterns(&self.exclude, "exclude")?,
            job: template,
            instance: text(&instance, "instance")?.map_or_else(|| default("0"), Ok)?,
            process: text(&self.process, "process")?,
            stream: text(&self.stream, "stream")?.map_or_else(|| default("{file}"), Ok)?,
            timezone: zone(self.timezone.as_ref())?,
            paths,
        })
    }
}

impl FileIds {
    fn check(self) -> Result<Ids, Wrong> {
        let names = |list: Option<Vec<Spanned<String>>>, key: &str, default: &[&str]| {
            let Some(list) = list else {
                return Ok(default.iter().map(|&name| name.to_owned()).collect());
            };
            check_count(&list, key, MAX_ENTRIES)?;
            for name in &list {
                check_word(name, key)?;
            }
            Ok(list.into_iter().map(Spanned::into_inner).collect())
        };
        let patterns = |list: Option<Vec<Spanned<String>>>, key: &str| {
            let list = list.unwrap_or_default();
            check_count(&list, key, MAX_ENTRIES)?;
            for pattern in &list {
                let regex = check_regex(pattern, key)?;
                if regex.captures_len() < 2 {
                    let text = "it has no group; write (…) around the id";
                    return Err(about(pattern, key, text));
                }
            }
            Ok(list.into_iter().map(Spanned::into_inner).collect())
        };
        Ok(Ids {
            request_names: names(
                self.request_names,
                "request_names",
                &[
                    "request_id",
                    "requestId",
                    "req_id",
                    "x-request-id",
                    "correlation_id",
                ],
            )?,
            request_patterns: patterns(self.request_patterns, "request_patterns")?,
            trace_names: names(
                self.trace_names,
                "trace_names",
                &["trace_id", "traceId", "x-b3-traceid", "traceparent"],
            )?,
            trace_patterns: patterns(self.trace_patterns, "trace_patterns")?,
            git_sha_labels: names(
                self.git_sha_labels,
                "git_sha_labels",
                &["org.apache.aurora.metadata.git_sha", "git_sha"],
            )?,
        })
    }
}

impl FileMetrics {
    fn check(self) -> Result<Option<SocketAddr>, Wrong> {
        let Some(listen) = &self.listen else {
            return Ok(None);
        };
        match listen.get_ref().parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
            _ => Err(about(
                listen,
                "listen",
                "it is a loopback address and a port, as \"127.0.0.1:9640\": metrics name jobs and paths, and have no login",
            )),
        }
    }
}

fn check_redact(rules: Vec<Spanned<FileRedact>>) -> Result<Vec<Redact>, Wrong> {
    let mut checked: Vec<Redact> = Vec::new();
    for rule in rules {
        let at = rule.span();
        let rule = rule.into_inner();
        let Some(name) = &rule.name else {
            return Err(missing(
                at,
                "name: it is missing; the counter of the rule is called so",
            ));
        };
        check_word(name, "name")?;
        if checked.iter().any(|one| one.name == *name.get_ref()) {
            return Err(about(name, "name", "there is a rule of this name already"));
        }
        let Some(pattern) = &rule.pattern else {
            return Err(missing(
                at,
                "pattern: it is missing; write a regular expression",
            ));
        };
        if check_regex(pattern, "pattern")?.is_match(b"") {
            let text = "it matches nothing at all, and so everywhere; write what it is to mask";
            return Err(about(pattern, "pattern", text));
        }
        if let Some(mask) = &rule.mask
            && (mask.get_ref().len() > MAX_MASK_BYTES
                || mask.get_ref().chars().any(char::is_control))
        {
            let text = format!("it has at most {MAX_MASK_BYTES} bytes and no control characters");
            return Err(about(mask, "mask", text));
        }
        checked.push(Redact {
            name: name.get_ref().clone(),
            pattern: pattern.get_ref().clone(),
            mask: rule
                .mask
                .map_or_else(|| "***".to_owned(), Spanned::into_inner),
        });
    }
    Ok(checked)
}

fn check_regex(value: &Spanned<String>, key: &str) -> Result<Regex, Wrong> {
    RegexBuilder::new(value.get_ref())
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| {
            // The library draws its errors over several lines; the last one says it.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            about(value, key, last.trim_start_matches("error: "))
        })
}

/// A value in words of its own type.
fn parse<T: FromStr<Err: fmt::Display>>(value: &Spanned<String>, key: &str) -> Result<T, Wrong> {
    value
        .get_ref()
        .parse()
        .map_err(|error| about(value, key, error))
}

fn patterns(list: &[Spanned<String>], key: &str) -> Result<Vec<Pattern>, Wrong> {
    check_count(list, key, MAX_ENTRIES)?;
    list.iter().map(|value| parse(value, key)).collect()
}

fn check_count<T>(list: &[Spanned<T>], key: &str, most: usize) -> Result<(), Wrong> {
    match list.get(most) {
        Some(beyond) => Err(about(beyond, key, format!("there are more than {most}"))),
        None => Ok(()),
    }
}

/// A number within its limits.
fn number(
    value: Option<&Spanned<u64>>,
    key: &str,
    allowed: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, Wrong> {
    match value {
        None => Ok(default),
        Some(value) if allowed.contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => {
            let text = format!("it is from {} to {}", allowed.start(), allowed.end());
            Err(about(value, key, text))
        }
    }
}

fn seconds(
    value: Option<&Spanned<u64>>,
    key: &str,
    allowed: RangeInclusive<u64>,
    default: u64,
) -> Result<Duration, Wrong> {
    number(value, key, allowed, default).map(Duration::from_secs)
}

fn bytes(
    value: Option<&Spanned<u64>>,
    key: &str,
    allowed: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, Wrong> {
    Ok(number(value, key, allowed, default)?.saturating_mul(MEGABYTE))
}

/// An absolute path of a folder, without slashes at its end.
fn folder(value: Option<&Spanned<String>>, key: &str, default: &str) -> Result<PathBuf, Wrong> {
    let Some(value) = value else {
        return Ok(PathBuf::from(default));
    };
    let path = Path::new(value.get_ref());
    let plain = path.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    if !path.is_absolute() || !plain || value.get_ref().chars().any(char::is_control) {
        return Err(about(value, key, "write an absolute path without `..`"));
    }
    // Without what a text can have and a path does not mean: `//`, `/./`, a slash at the end.
    Ok(path.components().collect())
}

fn zone(value: Option<&Spanned<String>>) -> Result<TimeZone, Wrong> {
    let Some(value) = value else {
        return Ok(TimeZone::UTC);
    };
    match value.get_ref().as_str() {
        "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| {
            about(
                value,
                "timezone",
                "it is a name of the time zone database, such as \"UTC\" or \"Europe/Zurich\"",
            )
        }),
    }
}

/// A name as it can stand in a job key.
fn check_word(value: &Spanned<String>, key: &str) -> Result<(), Wrong> {
    let text = value.get_ref();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if text.is_empty()
        || text.len() > 255
        || !text.chars().all(allowed)
        || [".", ".."].contains(&text.as_str())
    {
        return Err(about(
            value,
            key,
            "a name is made of letters, digits, `_`, `.` and `-`, 255 at most",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
