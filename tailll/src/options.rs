//! What the program is to do: command line, environment and configuration, resolved. Only this travels on.
//!
//! Flags come here with what environment and configuration say in place of those not typed: see [`crate::settings`]. Nothing here reads the environment by itself except [`Environment::of_process`].

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use archive::store::{Root, S3Settings};
use jiff::tz::TimeZone;
use joblog::{Level, Stream};

use crate::args::Args;
use crate::as_role::{AsRole, AsRoleError};
use crate::clusters_json;
use crate::color::ColorChoice;
use crate::command_line::CommandLine;
use crate::config::{self, Config, ConfigFile, SshConfigFile};
use crate::fold::Fold;
use crate::instance::{self, BadName};
use crate::login::UnknownHosts;
use crate::merge::Order;
use crate::moment::Moment;
use crate::reader::History;
use crate::render::{Format, Looks};
use crate::selection::{ExecutorOutput, FileSelection, Streams};
use crate::ssh::Compression;
use crate::target::{Target, TargetError};
use crate::template::{MAX_TEMPLATE_BYTES, Template, TemplateError};

/// Lines of history a file unless `--tail` says otherwise.
pub const DEFAULT_HISTORY_LINES: u64 = 10;

/// What happens after the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Go on with what is written.
    Follow,
    /// End.
    Stop,
}

/// Whether instances that have ended are shown too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No.
    LeaveOut,
    /// Yes: what is left of their logs, to the end.
    Show,
}

/// What happens to a job that nobody knows yet, or that has no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A job that is known is waited for as long as it is followed; one that is not known is an error.
    WhileFollowing,
    /// It is waited for, known or not, followed or not.
    UntilThere,
}

/// What is said on stderr beside errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// The status line, and instances that come and go.
    All,
    /// Nothing.
    OnlyLogLines,
}

/// Where a job's sandboxes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Where the scheduler says, over SSH.
    Remote,
    /// On this host.
    Here,
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// Which of OpenSSH's configuration files to read.
    pub config: SshConfigFile,
    /// The program that connects instead of the library.
    pub command: Option<CommandLine>,
    /// Files of known hosts instead of OpenSSH's; empty for those.
    pub known_hosts: Vec<PathBuf>,
    /// Key files instead of OpenSSH's; empty for those.
    pub identity_files: Vec<PathBuf>,
    /// Sessions on one connection before another is dialled, where configured.
    pub sessions_per_connection: Option<u16>,
    /// What to do about hosts whose key nobody knows.
    pub unknown: UnknownHosts,
    /// How long what runs on a host lives without a sign of life from here, where configured.
    pub heartbeat: Option<std::time::Duration>,
    /// Whether to ask for compression where OpenSSH's configuration does not.
    pub compression: Compression,
}

/// `--level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastLevel(pub Level);

impl FromStr for LeastLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Level::from_word(text.as_bytes())
            .map(Self)
            .ok_or_else(|| "write trace, debug, info, warn, error or fatal".to_owned())
    }
}

/// Where lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The targets.
    Targets,
    /// Standard input.
    Stdin,
}

/// What the program is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where lines come from.
    pub input: Input,
    /// What to follow.
    pub targets: Vec<Target>,
    /// How much of what is already there.
    pub history: History,
    /// The number of lines that was asked for: where live files have fewer, an archive may have more.
    pub asked_lines: Option<u64>,
    /// What happens after it.
    pub follow: Follow,
    /// Regular expressions of which a line must match one, unless there are none.
    pub include: Vec<String>,
    /// Regular expressions of which a line must match none.
    pub exclude: Vec<String>,
    /// Regular expressions whose matches stand out.
    pub highlight: Vec<String>,
    /// When the first lines were written that are shown.
    pub since: Option<Moment>,
    /// When the last were.
    pub until: Option<Moment>,
    /// The least bad level that is shown.
    pub level: Option<Level>,
    /// What the fields of a line must fulfil.
    pub conditions: Vec<String>,
    /// Where older lines are, and how to get there.
    pub archive: Option<(Root, S3Settings)>,
    /// Which instances and files.
    pub selection: FileSelection,
    /// Whether instances that have ended are shown too.
    pub ended: Ended,
    /// What happens to a job that has no instance yet.
    pub wait: Wait,
    /// What a line looks like.
    pub format: Format,
    /// What lines look like in the default format; the colours come from the configuration.
    pub looks: Looks,
    /// In which order; `None` where neither flag nor configuration says: by time with more than one file.
    pub order: Option<Order>,
    /// When to colour.
    pub color: ColorChoice,
    /// What is said on stderr.
    pub talk: Talk,
    /// The zone of timestamps without one, from the flag; a cluster's own is in the configuration.
    pub timezone: Option<TimeZone>,
    /// The stage of jobs of the jobs directory, from the flag.
    pub stage: Option<String>,
    /// The command that runs the scripts as another user, from the flag.
    pub as_role: Option<AsRole>,
    /// Whom to log in as, from the flag.
    pub user: Option<String>,
    /// Where a job's sandboxes are looked for.
    pub place: Where,
    /// How to log in.
    pub ssh: SshOptions,
}

/// Why there are no options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A target that is none. All of them are named, not just the first.
    #[error("{}", .0.iter().map(TargetError::to_string).collect::<Vec<_>>().join("\n"))]
    Targets(Vec<TargetError>),
    /// A user that is none.
    #[error("--user: {0}")]
    User(BadName),
    /// A stage that is none.
    #[error("--stage: `{}` is no name: letters, digits, `_`, `.` and `-` can stand in one", .0.escape_debug())]
    Stage(String),
    /// A command that cannot be used.
    #[error("--become: {0}")]
    AsRole(AsRoleError),
    /// A zone that is none.
    #[error("--timezone: {0}")]
    Zone(ZoneError),
    /// An SSH configuration file that is none.
    #[error("--ssh-config: {0}")]
    SshConfig(String),
    /// A template that is none.
    #[error("--template: {0}")]
    Template(TemplateError),
    /// A file of a template that is none.
    #[error("--template-file {}: {why}", .path.display().to_string().escape_debug())]
    TemplateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Why a text is no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no time zone known here; write UTC, an offset such as +02:00, `local`, or a name such as Europe/Paris", .0.escape_debug())]
pub struct ZoneError(String);

/// What of the process's environment matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `$XDG_CACHE_HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `$TAILLL_CONFIG`.
    pub tailll_config: Option<PathBuf>,
    /// `$AURORA_CONFIG_ROOT`.
    pub aurora_config_root: Option<PathBuf>,
    /// `$NO_COLOR`.
    pub no_color: Option<String>,
    /// The working directory.
    pub current_dir: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            home: path("HOME"),
            xdg_config_home: path("XDG_CONFIG_HOME"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            tailll_config: path("TAILLL_CONFIG"),
            aurora_config_root: path("AURORA_CONFIG_ROOT"),
            no_color: std::env::var_os("NO_COLOR")
                .map(|value| value.to_string_lossy().into_owned()),
            current_dir: std::env::current_dir().ok(),
        }
    }

    /// Where what can be asked for again is kept.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        self.xdg_cache_home
            .clone()
            .filter(|path| path.is_absolute())
            .or_else(|| self.home.as_ref().map(|home| home.join(".cache")))
    }

    /// Which configuration file to read; `flag` is what `--config` says.
    pub fn config_file(&self, flag: Option<&Path>) -> ConfigFile {
        if let Some(named) = flag.or(self.tailll_config.as_deref()) {
            return ConfigFile::Named(named.to_owned());
        }
        let xdg = self
            .xdg_config_home
            .clone()
            .filter(|path| path.is_absolute());
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let mut usual: Vec<PathBuf> = xdg
            .into_iter()
            .chain(home)
            .map(|folder| folder.join("tailll").join("config.toml"))
            .collect();
        usual.dedup();
        ConfigFile::Usual(usual)
    }

    /// Where Aurora's own lists of clusters lie.
    pub fn clusters_json(&self) -> Vec<PathBuf> {
        clusters_json::usual_files(self.aurora_config_root.as_deref(), self.home.as_deref())
    }

    /// Whether the environment asks for no colour: `NO_COLOR` is set and not empty.
    fn forbids_color(&self) -> bool {
        self.no_color
            .as_ref()
            .is_some_and(|value| !value.is_empty())
    }
}

impl Options {
    /// Puts command line, configuration and environment together.
    pub fn resolve(
        args: Args,
        config: &Config,
        environment: &Environment,
    ) -> Result<Self, OptionsError> {
        let Args {
            targets,
            stdin,
            lines,
            files,
            output,
            archive,
            connection,
            verb: _,
        } = args;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for text in &targets {
            match text.parse() {
                Ok(target) => good.push(target),
                Err(error) => bad.push(error),
            }
        }
        if !bad.is_empty() {
            return Err(OptionsError::Targets(bad));
        }
        if let Some(user) = &connection.user {
            instance::check_user(user).map_err(OptionsError::User)?;
        }
        if let Some(stage) = &files.stage
            && joblog::JobKey::new("c", "r", stage, "n").is_err()
        {
            return Err(OptionsError::Stage(stage.clone()));
        }
        let ssh_config = match connection.ssh_config.as_deref() {
            None => config.ssh.config.clone(),
            Some("none") => SshConfigFile::None,
            Some(path) => {
                let path = config::expand_home(path, environment.home.as_deref())
                    .map_err(OptionsError::SshConfig)?;
                SshConfigFile::File(path)
            }
        };
        let zone = output
            .timezone
            .as_deref()
            .map(parse_zone)
            .transpose()
            .map_err(OptionsError::Zone)?;
        let looks = Looks {
            json: output.json.unwrap_or_default(),
            stamps: output.timestamps,
            zone: zone.clone(),
            template: template(output.template.as_deref(), output.template_file)?,
            fold: if output.fold { Fold::On } else { Fold::Off },
            palette: config.palette.clone(),
        };
        Ok(Self {
            targets: good,
            input: if stdin { Input::Stdin } else { Input::Targets },
            history: match (lines.tail, &lines.since, &lines.until) {
                (Some(history), _, _) => history,
                (None, None, None) => History::Lines(DEFAULT_HISTORY_LINES),
                // From then on, or up to then, all of it.
                (None, _, _) => History::All,
            },
            asked_lines: match lines.tail {
                Some(History::Lines(lines)) => Some(lines),
                _ => None,
            },
            follow: if lines.no_follow {
                Follow::Stop
            } else {
                Follow::Follow
            },
            include: lines.include,
            exclude: lines.exclude,
            highlight: lines.highlight,
            since: lines.since,
            until: lines.until,
            level: lines.level.map(|LeastLevel(level)| level),
            conditions: lines.conditions,
            archive: archive
                .archive
                .or_else(|| config.archive.clone())
                .filter(|_| !archive.no_archive)
                .map(|root| (root, config.s3.clone())),
            selection: FileSelection {
                streams: match (files.stdout, files.stderr) {
                    (true, false) => Streams::Only(Stream::Stdout),
                    (false, true) => Streams::Only(Stream::Stderr),
                    _ => Streams::Both,
                },
                processes: files.process,
                other_processes: files.exclude_process,
                executor: if files.executor {
                    ExecutorOutput::Always
                } else {
                    ExecutorOutput::WhereAlone
                },
                instances: files.instance,
                hosts: files.host,
                files: files.file,
            },
            ended: if files.ended {
                Ended::Show
            } else {
                Ended::LeaveOut
            },
            wait: if lines.wait {
                Wait::UntilThere
            } else {
                Wait::WhileFollowing
            },
            format: match (output.no_prefix, output.output) {
                (true, _) => Format::Raw,
                (false, format) => format.unwrap_or(Format::Default),
            },
            looks,
            order: output.order,
            color: match output.color {
                _ if output.no_color => ColorChoice::Never,
                Some(choice @ (ColorChoice::Always | ColorChoice::Never)) => choice,
                Some(ColorChoice::Auto) | None if environment.forbids_color() => ColorChoice::Never,
                Some(ColorChoice::Auto) | None => ColorChoice::Auto,
            },
            talk: if output.only_log_lines {
                Talk::OnlyLogLines
            } else {
                Talk::All
            },
            timezone: zone,
            stage: files.stage,
            as_role: connection
                .as_role
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(OptionsError::AsRole)?,
            user: connection.user,
            place: if connection.local {
                Where::Here
            } else {
                Where::Remote
            },
            ssh: SshOptions {
                config: ssh_config,
                command: connection
                    .ssh_command
                    .or_else(|| config.ssh.command.clone()),
                known_hosts: config.ssh.known_hosts.clone(),
                identity_files: config.ssh.identity_files.clone(),
                sessions_per_connection: config.ssh.sessions_per_connection,
                unknown: if connection.accept_new {
                    UnknownHosts::Accept
                } else {
                    UnknownHosts::AsConfigured
                },
                heartbeat: config.ssh.heartbeat,
                compression: if connection.compress {
                    Compression::On
                } else {
                    Compression::Off
                },
            },
        })
    }
}

/// The template that was typed, or that a file holds.
fn template(text: Option<&str>, file: Option<PathBuf>) -> Result<Option<Template>, OptionsError> {
    if let Some(text) = text {
        return text.parse().map(Some).map_err(OptionsError::Template);
    }
    let Some(path) = file else { return Ok(None) };
    let failed = |why: String| OptionsError::TemplateFile {
        path: path.clone(),
        why,
    };
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| {
            file.take(MAX_TEMPLATE_BYTES as u64 + 2)
                .read_to_string(&mut text)
        })
        .map_err(|error| failed(error.to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    text.parse()
        .map(Some)
        .map_err(|error: TemplateError| failed(error.to_string()))
}

/// Reads a time zone: `UTC`, an offset such as `+02:00`, `local`, or a name of the system's time zone database.
pub fn parse_zone(text: &str) -> Result<TimeZone, ZoneError> {
    let error = || ZoneError(text.to_owned());
    match text {
        "UTC" | "utc" | "Z" | "z" => Ok(TimeZone::UTC),
        "local" => TimeZone::try_system().map_err(|_| error()),
        _ if text.starts_with(['+', '-']) => offset(text).ok_or_else(error),
        name => TimeZone::get(name).map_err(|_| error()),
    }
}

/// `+hh:mm`, `+hhmm` or `+hh`.
fn offset(text: &str) -> Option<TimeZone> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = match text.get(1..)?.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => {
            format!("{hours}{minutes}")
        }
        Some(_) => return None,
        None => text[1..].to_owned(),
    };
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = if digits.len() == 4 {
        digits[2..].parse().ok()?
    } else {
        0
    };
    if minutes > 59 {
        return None;
    }
    let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some(TimeZone::fixed(offset))
}

impl FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number if number.bytes().all(|b| b.is_ascii_digit()) => number
                .parse()
                .map(Self::Lines)
                .map_err(|_| "write `all` or a number of lines".to_owned()),
            _ => Err("write `all` or a number of lines".to_owned()),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(lines) => write!(f, "{lines}"),
            Self::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::fields::JsonLines;
    use crate::stamp::StampForm;

    fn resolve(
        flags: &[&str],
        config: &str,
        environment: &Environment,
    ) -> Result<Options, OptionsError> {
        let args = Args::try_parse_from([&["tailll"], flags].concat()).expect("good flags");
        let config = Config::parse(config, Path::new("c.toml"), environment.home.as_deref())
            .expect("a good file");
        Options::resolve(args, &config, environment)
    }

    fn options(flags: &[&str], config: &str) -> Options {
        resolve(flags, config, &Environment::default()).expect("good options")
    }

    #[test]
    fn defaults() {
        let options = options(&["hello"], "");
        assert_eq!(options.history, History::Lines(10));
        assert_eq!(
            (options.follow, options.format, options.order),
            (Follow::Follow, Format::Default, None)
        );
        assert_eq!(
            (options.color, options.talk, options.place),
            (ColorChoice::Auto, Talk::All, Where::Remote)
        );
        assert_eq!(options.selection, FileSelection::default());
        assert_eq!(options.ssh.config, SshConfigFile::Usual);
    }

    #[test]
    fn flags_say_otherwise() {
        let options = options(
            &[
                "-n",
                "0",
                "--no-follow",
                "--no-prefix",
                "--stdout",
                "-q",
                "--timezone",
                "+0230",
                "-F",
                "none",
                "hello",
            ],
            "",
        );
        assert_eq!(options.history, History::Lines(0));
        assert_eq!(
            (options.follow, options.format, options.talk),
            (Follow::Stop, Format::Raw, Talk::OnlyLogLines)
        );
        assert_eq!(options.selection.streams, Streams::Only(Stream::Stdout));
        assert_eq!(options.timezone, offset("+02:30"));
        assert_eq!(options.ssh.config, SshConfigFile::None);
    }

    #[test]
    fn looks_are_resolved() {
        let looks = options(
            &["-t=short", "-Z", "+02:00", "--fold", "--json", "raw", "x"],
            "",
        )
        .looks;
        assert_eq!(
            (looks.stamps, looks.fold, looks.json),
            (Some(StampForm::Short), Fold::On, JsonLines::Raw)
        );
        assert_eq!(looks.zone, offset("+02:00"));
        assert_eq!(
            options(&["-t", "x"], "").looks.stamps,
            Some(StampForm::Default)
        );
        assert_eq!(options(&["-t", "x"], "").targets.len(), 1);

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("template");
        std::fs::write(&path, "{ts} {line}\n").expect("to write");
        let file = path.to_str().expect("a path");
        assert_eq!(
            options(&["-T", file, "x"], "").looks.template,
            options(&["--template", "{ts} {line}", "x"], "")
                .looks
                .template
        );
        std::fs::write(&path, "{lime}").expect("to write");
        let error = |flags: &[&str]| {
            resolve(flags, "", &Environment::default())
                .expect_err("a bad template")
                .to_string()
        };
        for (message, wanted) in [
            (
                error(&["-T", file, "x"]),
                "at character 2: there is no field `lime`; there is ts, time",
            ),
            (
                error(&["--template", "x", "x"]),
                "--template: at character 2: there is no field in it",
            ),
            (
                error(&["-T", "/no/such/file", "x"]),
                "--template-file /no/such/file: ",
            ),
        ] {
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn the_last_of_follow_and_no_follow_wins() {
        assert_eq!(
            options(&["--no-follow", "-f", "hello"], "").follow,
            Follow::Follow
        );
        assert_eq!(
            options(&["-f", "--no-follow", "hello"], "").follow,
            Follow::Stop
        );
    }

    #[test]
    fn no_color_is_weaker_than_a_word_for_colour() {
        let quiet = Environment {
            no_color: Some("1".into()),
            ..Environment::default()
        };
        let color = |flags: &[&str], environment: &Environment| {
            resolve(flags, "", environment).expect("good options").color
        };
        assert_eq!(color(&["x"], &quiet), ColorChoice::Never);
        assert_eq!(color(&["--color", "auto", "x"], &quiet), ColorChoice::Never);
        assert_eq!(
            color(&["--color", "always", "x"], &quiet),
            ColorChoice::Always
        );
        assert_eq!(
            color(&["--no-color", "x"], &Environment::default()),
            ColorChoice::Never
        );
        let empty = Environment {
            no_color: Some(String::new()),
            ..Environment::default()
        };
        assert_eq!(color(&["x"], &empty), ColorChoice::Auto);
    }

    #[test]
    fn every_bad_target_is_named() {
        let error = resolve(&["a//b", "fine", "x:"], "", &Environment::default())
            .expect_err("two bad targets");
        let text = error.to_string();
        assert!(
            text.contains("`a//b`") && text.contains("`x:`") && !text.contains("fine"),
            "{text}"
        );
    }

    #[test]
    fn a_user_that_looks_like_an_option_is_refused() {
        let error =
            resolve(&["--user=-oX", "hello"], "", &Environment::default()).expect_err("a bad user");
        assert!(matches!(error, OptionsError::User(_)));
    }

    #[test]
    fn the_configuration_file_is_looked_for_in_order() {
        let environment = Environment {
            home: Some("/home/me".into()),
            xdg_config_home: Some("/xdg".into()),
            ..Environment::default()
        };
        let usual = [
            "/xdg/tailll/config.toml",
            "/home/me/.config/tailll/config.toml",
        ]
        .map(PathBuf::from)
        .to_vec();
        assert_eq!(environment.config_file(None), ConfigFile::Usual(usual));
        let named = Environment {
            tailll_config: Some("/t.toml".into()),
            ..environment
        };
        assert_eq!(named.config_file(None), ConfigFile::Named("/t.toml".into()));
        assert_eq!(
            named.config_file(Some(Path::new("/f.toml"))),
            ConfigFile::Named("/f.toml".into())
        );
    }

    #[test]
    fn zones() {
        assert_eq!(parse_zone("UTC"), Ok(TimeZone::UTC));
        let seconds = |text: &str| {
            parse_zone(text)
                .expect(text)
                .to_fixed_offset()
                .expect("a fixed one")
                .seconds()
        };
        for (text, expected) in [("+02:00", 7200), ("-0330", -12600), ("+05", 18000)] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for text in ["", "+2", "+99:00", "+02:60", "+é", "02:00", "Nowhere/Land"] {
            assert!(parse_zone(text).is_err(), "{text}");
        }
    }
}
