//! The configuration file: TOML, read strictly.
//!
//! A key that does not exist, or a value that cannot be used, is an error that names the file, the line, the key and what is
//! allowed. Everything has a default, and flags say otherwise; `docs/queries.md` lists every key. Whether the archive and Athena
//! answer is seen by those who use them.

use std::fmt;
use std::io::Read as _;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::store::{Root, S3Settings};
use serde::Deserialize;
use toml::Spanned;

use crate::parameter::Type;
use crate::query::selection_type;
use crate::statement::Values;

/// The largest configuration file, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// The most folders of queries.
pub const MAX_FOLDERS: usize = 64;

/// The longest name of a database, a table or a workgroup, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// One MiB, in bytes: what the keys that end in `_megabytes` count in.
const MEGABYTE: u64 = 1024 * 1024;

const MEMORY_MEGABYTES: RangeInclusive<u64> = 64..=1_048_576;
const REUSE_MINUTES: RangeInclusive<u64> = 1..=10_080;
const MAX_SCAN_BYTES: RangeInclusive<u64> = 10_000_000..=1 << 60;
const DOLLARS_PER_TB: RangeInclusive<f64> = 0.0..=1000.0;

/// The table's name where none is configured.
const DEFAULT_TABLE: &str = "logs";

/// What Athena asks for a terabyte in most regions, in dollars.
const DEFAULT_DOLLARS_PER_TB: f64 = 5.0;

/// What the configuration file says, checked and with its defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file; none where there is none, which is no error.
    pub file: Option<PathBuf>,
    /// `archive`: `s3://bucket/prefix` or `file:///folder`.
    pub archive: Option<Root>,
    /// `[s3]`: how to reach the bucket; see [`S3Settings`] for its keys.
    pub s3: S3Settings,
    /// `engine`: who runs statements where no flag says otherwise.
    pub engine: EngineKind,
    /// `table`: the name of the logs' table. Default: `logs`.
    pub table: String,
    /// `query_folders`: folders of the user's own queries.
    pub query_folders: Vec<PathBuf>,
    /// `memory_megabytes`: what the embedded engine may take, in bytes. None: half of the machine's.
    pub memory_bytes: Option<u64>,
    /// `[defaults]`: values of parameters that are not given.
    pub defaults: Values,
    /// `[athena]`.
    pub athena: AthenaConfig,
}

/// Who runs statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum EngineKind {
    /// The engine in this process.
    Embedded,
    /// Amazon Athena.
    Athena,
}

impl EngineKind {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Athena => "athena",
        }
    }
}

impl Default for EngineKind {
    fn default() -> Self {
        if cfg!(feature = "embedded") {
            Self::Embedded
        } else {
            Self::Athena
        }
    }
}

/// `[athena]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AthenaConfig {
    /// `catalog`. Default: `AwsDataCatalog`.
    pub catalog: String,
    /// `database`. Default: `logs`.
    pub database: String,
    /// `workgroup`. Default: `primary`.
    pub workgroup: String,
    /// `output_location`: where Athena writes answers, `s3://bucket/prefix/`. None: where the workgroup says.
    pub output_location: Option<Root>,
    /// `endpoint`: the address of a server that speaks Athena's protocol. None: AWS's own.
    pub endpoint: Option<String>,
    /// `reuse_minutes`: how old an answer to the same statement may be that is used again. None: it is never.
    pub reuse: Option<Duration>,
    /// `max_scan_bytes`: a statement that has read more is stopped. None: no limit.
    pub max_scan_bytes: Option<u64>,
    /// `dollars_per_tb`: what is counted for bytes that were read. Default: 5.
    pub dollars_per_tb: f64,
}

impl Default for AthenaConfig {
    fn default() -> Self {
        Self {
            catalog: "AwsDataCatalog".to_owned(),
            database: "logs".to_owned(),
            workgroup: "primary".to_owned(),
            output_location: None,
            endpoint: None,
            reuse: None,
            max_scan_bytes: None,
            dollars_per_tb: DEFAULT_DOLLARS_PER_TB,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            archive: None,
            s3: S3Settings::default(),
            engine: EngineKind::default(),
            table: DEFAULT_TABLE.to_owned(),
            query_folders: Vec::new(),
            memory_bytes: None,
            defaults: Values::new(),
            athena: AthenaConfig::default(),
        }
    }
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

/// Where the configuration file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Where the user said: it has to be there.
    Named(PathBuf),
    /// Where it is looked for: it need not be there.
    Usual(PathBuf),
    /// There is no home to look in.
    Nowhere,
}

impl Place {
    /// By the flag or its variable, else in the folder for configurations.
    pub fn of(
        named: Option<PathBuf>,
        xdg_config_home: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Self {
        if let Some(named) = named {
            return Self::Named(named);
        }
        xdg_config_home
            .filter(|folder| folder.is_absolute())
            .or_else(|| home.map(|home| home.join(".config")))
            .map_or(Self::Nowhere, |folder| {
                Self::Usual(folder.join("queries").join("config.toml"))
            })
    }
}

impl Config {
    /// Reads the file, if there is one.
    pub fn load(place: &Place) -> Result<Self, ConfigError> {
        let (path, text) = match place {
            Place::Nowhere => return Ok(Self::default()),
            Place::Named(path) => (path, read(path)?),
            Place::Usual(path) => match read(path) {
                Err(ConfigError::Read { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Ok(Self::default());
                }
                text => (path, text?),
            },
        };
        Self::parse(&text, path)
    }

    /// Reads the text of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
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
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut config = file.check(folder).map_err(wrong)?;
        config.file = Some(path.to_owned());
        Ok(config)
    }
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

/// The file as it is written; checked by [`File::check`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    archive: Option<Spanned<String>>,
    engine: Option<Spanned<String>>,
    table: Option<Spanned<String>>,
    query_folders: Option<Vec<Spanned<String>>>,
    memory_megabytes: Option<Spanned<u64>>,
    s3: Option<Spanned<S3Settings>>,
    #[serde(default)]
    defaults: FileDefaults,
    #[serde(default)]
    athena: FileAthena,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileDefaults {
    cluster: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    job: Option<Spanned<String>>,
    limit: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FileAthena {
    catalog: Option<Spanned<String>>,
    database: Option<Spanned<String>>,
    workgroup: Option<Spanned<String>>,
    output_location: Option<Spanned<String>>,
    endpoint: Option<Spanned<String>>,
    reuse_minutes: Option<Spanned<u64>>,
    max_scan_bytes: Option<Spanned<u64>>,
    dollars_per_tb: Option<Spanned<f64>>,
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
    fn check(self, folder: &Path) -> Result<Config, Wrong> {
        let mut s3 = S3Settings::default();
        if let Some(section) = self.s3 {
            if let Err(error) = section.get_ref().check() {
                return Err(about(&section, "s3", error));
            }
            s3 = section.into_inner();
        }
        let mut query_folders = Vec::new();
        for (index, value) in self.query_folders.into_iter().flatten().enumerate() {
            let text = value.get_ref();
            if index >= MAX_FOLDERS || text.is_empty() || text.contains('\0') {
                let text = format!("at most {MAX_FOLDERS} folders, each with a name");
                return Err(about(&value, "query_folders", text));
            }
            // What is relative is so to the file that says it.
            query_folders.push(folder.join(text));
        }
        Ok(Config {
            file: None,
            archive: root(self.archive.as_ref(), "archive")?,
            s3,
            engine: match &self.engine {
                None => EngineKind::default(),
                Some(value) => match value.get_ref().as_str() {
                    "embedded" => EngineKind::Embedded,
                    "athena" => EngineKind::Athena,
                    _ => {
                        return Err(about(value, "engine", "it is \"embedded\" or \"athena\""));
                    }
                },
            },
            table: name(self.table, "table", NameOf::Table)?.unwrap_or(DEFAULT_TABLE.to_owned()),
            query_folders,
            memory_bytes: number(
                self.memory_megabytes.as_ref(),
                "memory_megabytes",
                MEMORY_MEGABYTES,
            )?
            .map(|megabytes| megabytes * MEGABYTE),
            defaults: self.defaults.check()?,
            athena: self.athena.check()?,
        })
    }
}

impl FileDefaults {
    fn check(self) -> Result<Values, Wrong> {
        let mut values = Values::new();
        for (key, value) in [
            ("cluster", self.cluster),
            ("from", self.from),
            ("to", self.to),
            ("job", self.job),
        ] {
            let Some(value) = value else { continue };
            // Relative times depend on when they are asked, not on whether they are any.
            if let Err(error) = selection_type(key).sql(value.get_ref(), 0) {
                return Err(about(&value, key, error));
            }
            if key == "cluster"
                && let Err(error) = archive::key::cluster_prefix(value.get_ref())
            {
                return Err(about(&value, key, error));
            }
            values.insert(key.to_owned(), value.into_inner());
        }
        if let Some(limit) = self.limit {
            let kind = Type::Int {
                min: 1,
                max: 1_000_000,
            };
            let text = limit.get_ref().to_string();
            if let Err(error) = kind.sql(&text, 0) {
                return Err(about(&limit, "limit", error));
            }
            values.insert("limit".to_owned(), text);
        }
        Ok(values)
    }
}

impl FileAthena {
    fn check(self) -> Result<AthenaConfig, Wrong> {
        let default = AthenaConfig::default();
        let output_location = root(self.output_location.as_ref(), "output_location")?;
        if let (Some(value), Some(Root::Dir(_))) = (&self.output_location, &output_location) {
            return Err(about(
                value,
                "output_location",
                "it has to be s3://BUCKET/PREFIX",
            ));
        }
        if let Some(value) = &self.endpoint {
            let text = value.get_ref();
            if !(text.starts_with("http://") || text.starts_with("https://"))
                || !text.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(about(
                    value,
                    "endpoint",
                    "it has to be http://HOST:PORT or https://HOST",
                ));
            }
        }
        let dollars_per_tb = match &self.dollars_per_tb {
            None => default.dollars_per_tb,
            Some(value) if DOLLARS_PER_TB.contains(value.get_ref()) => *value.get_ref(),
            Some(value) => {
                let text = format!(
                    "it has to be {} to {}",
                    DOLLARS_PER_TB.start(),
                    DOLLARS_PER_TB.end()
                );
                return Err(about(value, "dollars_per_tb", text));
            }
        };
        Ok(AthenaConfig {
            catalog: name(self.catalog, "catalog", NameOf::Service)?.unwrap_or(default.catalog),
            database: name(self.database, "database", NameOf::Table)?.unwrap_or(default.database),
            workgroup: name(self.workgroup, "workgroup", NameOf::Service)?
                .unwrap_or(default.workgroup),
            output_location,
            endpoint: self.endpoint.map(Spanned::into_inner),
            reuse: number(self.reuse_minutes.as_ref(), "reuse_minutes", REUSE_MINUTES)?
                .map(|minutes| Duration::from_secs(minutes * 60)),
            max_scan_bytes: number(
                self.max_scan_bytes.as_ref(),
                "max_scan_bytes",
                MAX_SCAN_BYTES,
            )?,
            dollars_per_tb,
        })
    }
}

/// What a name is for, and so which characters it has.
#[derive(Clone, Copy)]
enum NameOf {
    /// A database or a table: Hive's.
    Table,
    /// A workgroup or a catalogue of data: Athena's.
    Service,
}

/// Whether a text can name a table or a database: lower case, as Hive folds it.
pub fn is_table_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn name(value: Option<Spanned<String>>, key: &str, of: NameOf) -> Result<Option<String>, Wrong> {
    let Some(value) = value else { return Ok(None) };
    let text = value.get_ref();
    let (fine, allowed) = match of {
        NameOf::Table => (
            is_table_name(text),
            "it has a-z, 0-9 and `_`, and begins with a letter",
        ),
        NameOf::Service => (
            (1..=MAX_NAME_BYTES).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte)),
            "it has letters, digits, `.`, `_`, `-`, `/` and `:`",
        ),
    };
    if fine {
        Ok(Some(value.into_inner()))
    } else {
        Err(about(&value, key, allowed))
    }
}

fn root(value: Option<&Spanned<String>>, key: &str) -> Result<Option<Root>, Wrong> {
    value
        .map(|value| {
            value
                .get_ref()
                .parse::<Root>()
                .map_err(|error| about(value, key, error))
        })
        .transpose()
}

fn number(
    value: Option<&Spanned<u64>>,
    key: &str,
    allowed: RangeInclusive<u64>,
) -> Result<Option<u64>, Wrong> {
    match value {
        None => Ok(None),
        Some(value) if allowed.contains(value.get_ref()) => Ok(Some(*value.get_ref())),
        Some(value) => {
            let text = format!("it has to be {} to {}", allowed.start(), allowed.end());
            Err(about(value, key, text))
        }
    }
}

#[cfg(test)]
mod tests;
