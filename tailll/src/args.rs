//! The command line as typed. What it means together with configuration and environment is the matter of `options`.

use std::path::PathBuf;

use archive::store::Root;
use clap::{Args as ClapArgs, Parser, Subcommand};
use joblog::InstanceSet;

use crate::color::ColorChoice;
use crate::command_line::CommandLine;
use crate::fields::JsonLines;
use crate::glob::Glob;
use crate::merge::Order;
use crate::moment::Moment;
use crate::options::LeastLevel;
use crate::reader::History;
use crate::render::Format;
use crate::stamp::StampForm;

const EXAMPLES: &str = "\
Targets:
  hello                              a job by its short name: in the jobs directory, in [jobs] of
                                     the configuration, or the only one of that name that the
                                     configured schedulers know
  'hello*'                           all jobs whose short names match
  'aa/*/prod/hello*'                 all jobs whose keys match, now and later
  hello/0-2,5                        only these instances
  www-data/prod/hello                role/env/name, in the default cluster
  aa/www-data/prod/hello/0-2,5       cluster/role/env/name, and only these instances
  'web[01-40]:/var/log/app/*.log'    files on hosts: nothing needs to be configured
  'me@web1:2222:/a.log,/b.log'       with user and port; several paths
  '[::1]:22:/var/log/app.log'        an IPv6 address stands in brackets
  'local:/var/log/app/*.log'         files of this host; /path and ./path alone mean the same

Examples:
  tailll hello                       what every instance of hello writes, from its last ten lines on
  tailll hello -n all --no-follow    all there is, and end
  tailll hello --stderr -e healthz   only stderr, without the lines that match `healthz`
  tailll hello -o json | jq .line    one JSON object a line
  tailll hello -s 15m --level warn   warnings and errors of the last 15 minutes, and new ones
  tailll 'web[01-40]:/var/log/app/*.log' -i 'ERROR|WARN' -H 'user=\\w+'

Exit codes:
  0 all went well (or the reader of a pipe has left)   1 something could not be followed to the end
  2 wrong usage or configuration   3 no target matched   4 nothing could be reached
  130 after ^C   143 after SIGTERM

Quote targets with brackets or stars, so that the shell leaves them alone.";

/// What the user typed.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "tailll",
    bin_name = "tailll",
    version,
    about = "Follow the log lines of every instance of a job, as they are written, over plain SSH",
    override_usage = "tailll [OPTIONS] TARGET...\n       tailll VERB ...",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES,
    max_term_width = 110
)]
pub struct Args {
    /// Something else than following.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// What to follow: a job, or hosts and files (see below)
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Show what comes on standard input; takes the place of TARGET
    #[arg(long, conflicts_with = "targets", help_heading = "Lines")]
    pub stdin: bool,
    /// Which lines.
    #[command(flatten)]
    pub lines: LineArgs,
    /// Which instances and files.
    #[command(flatten)]
    pub files: FileArgs,
    /// How they look.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where older lines are.
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What is done instead of following, when the first word says so; `--` before a target that has a verb's name.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Print what is in force and where that was said, as a configuration file
    Config(Box<ConfigArgs>),
    /// List the targets' instances, hosts and log files, with size and age
    Ls(Box<LsArgs>),
    /// Open a shell in one instance's sandbox, or run a command there, through the system's ssh
    Ssh(Box<SshArgs>),
    /// Look at every step: configuration, schedulers, logins, files; with what to do about a failure
    Doctor(Box<DoctorArgs>),
    /// Print the script that completes flags, jobs and instances in a shell: bash, zsh, fish, elvish
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: String,
    },
}

/// How a verb that prints a report talks.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct ReportArgs {
    /// When to colour; NO_COLOR in the environment means never [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub color: Option<ColorChoice>,
    /// The same as `--color never`
    #[arg(long, conflicts_with = "color")]
    pub no_color: bool,
    /// Say nothing on stderr but errors
    #[arg(short = 'q', long)]
    pub only_log_lines: bool,
}

impl From<ReportArgs> for OutputArgs {
    fn from(args: ReportArgs) -> Self {
        Self {
            color: args.color,
            no_color: args.no_color,
            only_log_lines: args.only_log_lines,
            ..Self::default()
        }
    }
}

/// What `tailll doctor` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct DoctorArgs {
    /// Log in to these; without any, to one instance of each cluster
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// How it talks.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl From<DoctorArgs> for Args {
    /// The same question to those who follow.
    fn from(args: DoctorArgs) -> Self {
        Self {
            targets: args.targets,
            output: args.report.into(),
            connection: args.connection,
            ..Self::default()
        }
    }
}

/// What `tailll ssh` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct SshArgs {
    /// The instance, for example `hello/3`
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Run this instead of a shell
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<String>,
    /// Only these instances, for example 0-2,5
    #[arg(long, value_name = "LIST")]
    pub instance: Option<InstanceSet>,
    /// Only on hosts that match this pattern (`web0*`); repeatable
    #[arg(long, value_name = "GLOB", visible_alias = "node")]
    pub host: Vec<Glob>,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl SshArgs {
    /// The same question to those who follow, and what to run there.
    pub fn split(self) -> (Args, Vec<String>) {
        let args = Args {
            targets: vec![self.target],
            files: FileArgs {
                instance: self.instance,
                host: self.host,
                ..FileArgs::default()
            },
            connection: self.connection,
            ..Args::default()
        };
        (args, self.command)
    }
}

/// What `tailll ls` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct LsArgs {
    /// What to list: as for following
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// A table; `host:path` lines (raw); or one JSON object a file [default: default]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// From the archive: the instances that wrote lines since then, with tasks, hosts, times and amounts
    #[arg(short, long, value_name = "WHEN", visible_alias = "since-time")]
    pub since: Option<Moment>,
    /// With --since: and not after then
    #[arg(long, value_name = "WHEN", requires = "since")]
    pub until: Option<Moment>,
    /// How it talks.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Which instances and files.
    #[command(flatten)]
    pub files: FileArgs,
    /// Where older lines are.
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl From<LsArgs> for Args {
    /// The same question to those who follow: what is there now.
    fn from(args: LsArgs) -> Self {
        Self {
            targets: args.targets,
            lines: LineArgs {
                no_follow: true,
                since: args.since,
                until: args.until,
                ..LineArgs::default()
            },
            archive: args.archive,
            files: args.files,
            output: OutputArgs {
                output: args.output,
                ..args.report.into()
            },
            connection: args.connection,
            ..Self::default()
        }
    }
}

/// The flags whose values `tailll config` shows.
#[derive(Debug, Clone, ClapArgs)]
pub struct ConfigArgs {
    /// Which lines.
    #[command(flatten)]
    pub lines: LineArgs,
    /// Which instances and files.
    #[command(flatten)]
    pub files: FileArgs,
    /// How they look.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where older lines are.
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Which lines.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Lines")]
pub struct LineArgs {
    /// Begin with the last N lines of each file; `all` for the whole file, 0 for new lines only [default: 10]
    #[arg(short = 'n', long, value_name = "N|all", allow_negative_numbers = true)]
    pub tail: Option<History>,
    /// Go on with new lines as they are written (this is the default)
    #[arg(short, long, overrides_with = "no_follow")]
    pub follow: bool,
    /// End when what is there now has been shown
    #[arg(long, overrides_with = "follow")]
    pub no_follow: bool,
    /// Only lines that match one of these regular expressions; repeatable
    #[arg(
        short,
        long,
        value_name = "REGEX",
        visible_short_alias = 'g',
        visible_alias = "grep"
    )]
    pub include: Vec<String>,
    /// No lines that match one of these; repeatable, and stronger than --include
    #[arg(short, long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// Make what matches stand out; repeatable
    #[arg(short = 'H', long, value_name = "REGEX")]
    pub highlight: Vec<String>,
    /// Only lines since then: a duration (5m, 1h30m, 3d) or a time (09:00, yesterday 09:00, 2026-11-01T09:00Z)
    #[arg(short, long, value_name = "WHEN", visible_alias = "since-time")]
    pub since: Option<Moment>,
    /// No lines after then, in the same forms; a time to come ends the program when it is there
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// Only lines of this level or a worse one, with the lines that belong to them
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<LeastLevel>,
    /// Only lines whose fields fulfil this: 'status>=500 and not path~="^/health"'; repeatable, all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Wait for a job that has no instance yet, or that no scheduler knows yet
    #[arg(long, conflicts_with = "local")]
    pub wait: bool,
}

/// Which instances and files.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Instances and files")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own that a person types"
)]
pub struct FileArgs {
    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only standard error
    #[arg(long)]
    pub stderr: bool,
    /// Only this process of the tasks; repeatable
    #[arg(short = 'c', long, value_name = "NAME")]
    pub process: Vec<String>,
    /// Not this process of the tasks; repeatable, and stronger than --process
    #[arg(short = 'E', long, value_name = "NAME")]
    pub exclude_process: Vec<String>,
    /// Only these instances, for example 0-2,5
    #[arg(long, value_name = "LIST")]
    pub instance: Option<InstanceSet>,
    /// Only on hosts that match this pattern (`web0*`); repeatable
    #[arg(long, value_name = "GLOB", visible_alias = "node")]
    pub host: Vec<Glob>,
    /// Only files whose name, or path if the pattern has a `/`, matches; repeatable
    #[arg(long, value_name = "GLOB")]
    pub file: Vec<Glob>,
    /// Also what is left of a job's instances that have ended, each with how it ended
    #[arg(long, conflicts_with = "local")]
    pub ended: bool,
    /// The stage (environment) of a job of the jobs directory [default: prod]
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// The executor's own output too, not only where a task has no other
    #[arg(long)]
    pub executor: bool,
}

/// How the lines look.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Output")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own that a person types"
)]
pub struct OutputArgs {
    /// With a prefix that says whose line it is; as it was written; or one JSON object a line [default: default]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// The same as `-o raw`
    #[arg(long, conflicts_with = "output")]
    pub no_prefix: bool,
    /// By the lines' own time within a short window, or as they arrive [default: time, with more than one file]
    #[arg(long, value_name = "ORDER")]
    pub order: Option<Order>,
    /// When to colour; NO_COLOR in the environment means never [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub color: Option<ColorChoice>,
    /// The same as `--color never`
    #[arg(long, conflicts_with = "color")]
    pub no_color: bool,
    /// The zone of timestamps that name none, and in which -t and {ts} show times: UTC, +02:00, local, or a name such as Europe/Paris [default: UTC]
    #[arg(short = 'Z', long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Say nothing on stderr but errors: no status line, no coming and going of instances
    #[arg(short = 'q', long)]
    pub only_log_lines: bool,
    /// JSON lines as time, level, logger, message and then the other fields, or as they are [default: fields]
    #[arg(long, value_name = "LOOK")]
    pub json: Option<JsonLines>,
    /// Put each line's own time before it (`~`: it has none and is ordered by this one)
    #[arg(
        short,
        long,
        value_name = "FORM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "default",
        conflicts_with_all = ["output", "no_prefix", "template", "template_file"]
    )]
    pub timestamps: Option<StampForm>,
    /// What a line looks like: a text with fields such as {ts}, {instance}, {line}, {.field.of.json}
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["output", "no_prefix", "template_file"])]
    pub template: Option<String>,
    /// The same from a file, whose last newline is left out
    #[arg(short = 'T', long, value_name = "FILE", conflicts_with_all = ["output", "no_prefix"])]
    pub template_file: Option<PathBuf>,
    /// Count a source's lines that are the same as the one before but for their numbers, instead of showing them
    #[arg(long, conflicts_with_all = ["output", "no_prefix", "template", "template_file"])]
    pub fold: bool,
}

/// Where older lines are.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Archive")]
pub struct ArchiveArgs {
    /// With --since: first the lines that this archive of shipper has, then what the live files hold beyond it [default: the configuration's]
    #[arg(long, value_name = "URL")]
    pub archive: Option<Root>,
    /// Only the live files
    #[arg(long, conflicts_with = "archive")]
    pub no_archive: bool,
}

/// How to get there.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Log in as USER [default: the target's, the cluster's ssh_user, the job's role, or as ssh would]
    #[arg(short = 'l', long, value_name = "USER")]
    pub user: Option<String>,
    /// The job's sandboxes on this host, without SSH
    #[arg(long, conflicts_with_all = ["user", "ssh_config"])]
    pub local: bool,
    /// OpenSSH's configuration file, as with `ssh -F`; `none` to read none
    #[arg(short = 'F', long, value_name = "FILE")]
    pub ssh_config: Option<String>,
    /// Connect by this program instead of the SSH library: `ssh`, with options if need be; no shell runs it
    #[arg(long, value_name = "CMD", conflicts_with = "local")]
    pub ssh_command: Option<CommandLine>,
    /// The configuration file [default: $TAILLL_CONFIG, or tailll/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Compress the connections, as with `ssh -C`; hosts spend more on it than a fast network does
    #[arg(short = 'C', long)]
    pub compress: bool,
    /// Trust hosts whose key nobody knows yet, and remember it; a changed key is never accepted
    #[arg(long)]
    pub accept_new: bool,
    /// Read as another user than the login's, by this command on the hosts: 'sudo -n -u {role}' [default: the cluster's become]
    #[arg(long = "become", value_name = "COMMAND")]
    pub as_role: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_reads_well() {
        let help = Args::command()
            .term_width(100)
            .render_long_help()
            .to_string();
        insta::assert_snapshot!(help);
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn known_names_work() {
        let args = Args::try_parse_from([
            "x",
            "-n",
            "all",
            "-f",
            "-g",
            "a",
            "--grep",
            "b",
            "-i",
            "c",
            "-e",
            "d",
            "-H",
            "h",
            "-o",
            "raw",
            "--order",
            "arrival",
            "--no-color",
            "--stderr",
            "-c",
            "p",
            "-E",
            "q",
            "--instance",
            "0-2",
            "--node",
            "web*",
            "--host",
            "x",
            "--file",
            "*.log",
            "-l",
            "me",
            "-F",
            "none",
            "--ssh-command",
            "ssh -v",
            "--config",
            "c.toml",
            "--only-log-lines",
            "--timezone",
            "UTC",
            "--json",
            "raw",
            "hello",
            "--",
            "-weird",
        ])
        .expect("good flags");
        assert_eq!(args.lines.include, ["a", "b", "c"]);
        assert_eq!(args.lines.tail, Some(History::All));
        assert_eq!(args.files.host.len(), 2);
        assert_eq!(args.targets, ["hello", "-weird"]);
    }

    #[test]
    fn wrong_flags_are_said() {
        for (flags, expected) in [
            (&["x"][..], "required arguments were not provided"),
            (&["x", "-n", "-1", "t"], "`all` or a number of lines"),
            (&["x", "-n", "ten", "t"], "`all` or a number of lines"),
            (&["x", "--stdout", "--stderr", "t"], "cannot be used with"),
            (&["x", "--instance", "a", "t"], "--instance"),
            (&["x", "--color", "sometimes", "t"], "auto, always, never"),
            (&["x", "--tial", "3", "t"], "--tail"),
            (&["x", "--local", "-l", "me", "t"], "cannot be used with"),
            (&["x", "-o", "raw", "-t", "t"], "cannot be used with"),
            (&["x", "--fold", "-o", "json", "t"], "cannot be used with"),
            (
                &["x", "--template", "{ts}", "-T", "f", "t"],
                "cannot be used with",
            ),
            (
                &["x", "--timestamps=long", "t"],
                "default, short, time, full",
            ),
            (&["x", "--json", "tree", "t"], "fields, raw"),
        ] {
            let error = Args::try_parse_from(flags)
                .expect_err("wrong flags")
                .to_string();
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
    }
}
