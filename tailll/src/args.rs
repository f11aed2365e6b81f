//! The command line as typed. What it means together with configuration and environment is the matter of `options`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser};
use joblog::InstanceSet;

use crate::color::ColorChoice;
use crate::glob::Glob;
use crate::merge::Order;
use crate::reader::History;
use crate::render::Format;

const EXAMPLES: &str = "\
Targets:
  hello                              a job by its short name: [jobs.hello] of the configuration, or
                                     the only job of that name that the configured schedulers know
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
  tailll 'web[01-40]:/var/log/app/*.log' -i 'ERROR|WARN' -H 'user=\\w+'

Exit codes:
  0 all went well (or the reader of a pipe has left)   1 something could not be followed to the end
  2 wrong usage or configuration   3 no target matched   4 nothing could be reached
  130 after ^C   143 after SIGTERM

Quote targets with brackets or stars, so that the shell leaves them alone.";

/// What the user typed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tailll",
    bin_name = "tailll",
    version,
    about = "Follow the log lines of every instance of a job, as they are written, over plain SSH",
    override_usage = "tailll [OPTIONS] TARGET...",
    after_help = EXAMPLES,
    max_term_width = 110
)]
pub struct Args {
    /// What to follow: a job, or hosts and files (see below)
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Which lines.
    #[command(flatten)]
    pub lines: LineArgs,
    /// Which instances and files.
    #[command(flatten)]
    pub files: FileArgs,
    /// How they look.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How to get there.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Which lines.
#[derive(Debug, Clone, ClapArgs)]
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
}

/// Which instances and files.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Instances and files")]
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
    /// Only these instances, for example 0-2,5
    #[arg(long, value_name = "LIST")]
    pub instance: Option<InstanceSet>,
    /// Only on hosts that match this pattern (`web0*`); repeatable
    #[arg(long, value_name = "GLOB", visible_alias = "node")]
    pub host: Vec<Glob>,
    /// Only files whose name, or path if the pattern has a `/`, matches; repeatable
    #[arg(long, value_name = "GLOB")]
    pub file: Vec<Glob>,
}

/// How the lines look.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Output")]
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
    /// The zone of timestamps that name none: UTC, +02:00, local, or a name such as Europe/Paris [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Say nothing on stderr but errors: no status line, no coming and going of instances
    #[arg(short = 'q', long)]
    pub only_log_lines: bool,
}

/// How to get there.
#[derive(Debug, Clone, ClapArgs)]
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
    /// The configuration file [default: $TAILLL_CONFIG, or tailll/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
            "--color",
            "never",
            "--stderr",
            "-c",
            "p",
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
            "--config",
            "c.toml",
            "--only-log-lines",
            "--timezone",
            "UTC",
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
        ] {
            let error = Args::try_parse_from(flags)
                .expect_err("wrong flags")
                .to_string();
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
    }
}
