//! The command line as typed. What it means together with the configuration is the matter of `verbs`.
//!
//! `queries run NAME` has a flag for each of the query's parameters. They are known once the catalogue is; [`command`] adds them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use archive::Hour;
use archive::store::Root;
use clap::{
    Arg, ArgAction, ArgMatches, Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser,
    Subcommand, ValueEnum,
};

use crate::catalogue::Catalogue;
use crate::config::EngineKind;
use crate::ddl::Dialect;
use crate::output::Target;
use crate::query::Query;
use crate::statement::Values;

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "QUERIES_CONFIG";

/// What stands before a parameter's name in the ids of its flag.
const PARAMETER_ID: &str = "parameter:";

const EXAMPLES: &str = "\
Examples:
  queries ls                                    which questions there are
  queries show grep                             what one asks for, and its SQL
  queries run error-timeline --job www/prod/hello --from -6h
  queries run error-timeline -o chart           the same as bars
  queries run grep --pattern 'time(d )?out' --from 2026-11-24T09 --to 2026-11-24T10
  queries run request-trace --id 7f3a --output json | jq .line
  queries around 'b2f00c1d2e3f4a5b-1835-99@0:4096' --from -2h
  queries sql 'SELECT level, count(*) AS n FROM {{logs}} GROUP BY level'
  queries sql < question.sql -o answer.parquet
  queries ddl                                   the statements that make tables over the archive
  queries setup                                 runs them in Athena; again brings tables up to date

Times: now, -2h, -7d@d (rounded down to the day), 2026-11-24, 2026-11-24T09:30+01:00; UTC without a zone.

Exit codes:
  0 all went well (or the reader of a pipe has left)
  1 the statement was refused or failed; doctor: something is wrong
  2 wrong usage, configuration or parameters   3 no such query, or nothing to make a table of
  4 the archive or the engine cannot be reached, or refuses
  130 after ^C   143 after SIGTERM";

/// What the user typed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "queries",
    bin_name = "queries",
    version,
    about = "Forensic questions about jobs' logs by name: on Athena or in this process, the same SQL and the same answers",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    disable_help_subcommand = true,
    after_help = EXAMPLES,
    max_term_width = 110
)]
pub struct Args {
    /// The configuration file [default: queries/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Who runs the statement [default: the configuration's]
    #[arg(long, global = true, value_name = "ENGINE")]
    pub engine: Option<EngineKind>,
    /// The archive: s3://BUCKET/PREFIX or file:///FOLDER [default: the configuration's]
    #[arg(long, global = true, value_name = "URL")]
    pub archive: Option<Root>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// List the queries: their names and what they answer
    Ls(LsArgs),
    /// Show a query: what it answers, its parameters, its SQL
    Show(ShowArgs),
    /// Ask a query of the catalogue
    Run(RunArgs),
    /// Run SQL in Trino's dialect; {{logs}} stands for the lines that --cluster, --from, --to and --job say
    Sql(SqlArgs),
    /// Show the lines before and after one, by its place
    Around(AroundArgs),
    /// Print the statements that make database and tables over the archive
    Ddl(DdlArgs),
    /// Make database and tables in Athena, or bring them up to date
    Setup(SetupArgs),
    /// Put the catalogue into Athena's workgroup as named queries
    Publish(PublishArgs),
    /// Look at the configuration, the archive and what was kept: is everything as it should be?
    Doctor(DoctorArgs),
    /// Print the script that completes command lines in a shell: bash, zsh, fish, elvish
    Completions(CompletionsArgs),
}

/// What `queries ls` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct LsArgs {
    /// One JSON object a line, with everything in the headers
    #[arg(long)]
    pub json: bool,
}

/// What `queries show` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct ShowArgs {
    /// The query
    #[arg(value_name = "NAME")]
    pub query: String,
    /// The statement as an engine gets it, with the parameters that are given
    #[arg(long)]
    pub expanded: bool,
    /// Whose rows.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The parameters.
    #[command(flatten)]
    pub parameters: ParameterArgs,
}

/// What `queries run` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct RunArgs {
    /// The query; `queries run NAME --help` has its parameters
    #[arg(value_name = "NAME")]
    pub query: String,
    /// Whose rows.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The parameters.
    #[command(flatten)]
    pub parameters: ParameterArgs,
    /// The answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What `queries sql` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct SqlArgs {
    /// The statement [default: what stands in standard input]
    #[arg(value_name = "SQL")]
    pub sql: Option<String>,
    /// Whose rows.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What `queries around` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct AroundArgs {
    /// The line: SRC:OFF or SRC@EPOCH:OFF, as in the column `place` of `grep`
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// Lines before it
    #[arg(short = 'B', long, value_name = "N", default_value_t = 10)]
    pub before: u32,
    /// Lines after it
    #[arg(short = 'A', long, value_name = "N", default_value_t = 10)]
    pub after: u32,
    /// Whose rows.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What `queries ddl` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct DdlArgs {
    /// Whose DDL
    #[arg(long, value_name = "DIALECT", default_value = "athena")]
    pub dialect: Dialect,
    /// Over what.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// What `queries setup` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct SetupArgs {
    /// Only print what would be run
    #[arg(long)]
    pub dry_run: bool,
    /// Over what.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Over what tables are made; what is not said is looked for in the archive.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct TableArgs {
    /// Only objects of this encoding [default: what the archive has]
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<EncodingArg>,
    /// A cluster; may be given several times. With --first-hour and --encoding the archive is not looked at
    #[arg(long, value_name = "NAME")]
    pub cluster: Vec<String>,
    /// The first hour, as 2026-11-01-00
    #[arg(long, value_name = "HOUR")]
    pub first_hour: Option<Hour>,
}

/// How rows lie in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EncodingArg {
    /// Apache Parquet.
    Parquet,
    /// JSON lines in gzip.
    Ndjson,
}

impl From<EncodingArg> for archive::Encoding {
    fn from(encoding: EncodingArg) -> Self {
        match encoding {
            EncodingArg::Parquet => Self::Parquet,
            EncodingArg::Ndjson => Self::Ndjson,
        }
    }
}

/// What `queries publish` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct PublishArgs {
    /// Only print what would be put
    #[arg(long)]
    pub dry_run: bool,
    /// Whose rows the queries begin with, until they are changed in the console.
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// What `queries doctor` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct DoctorArgs {
    /// Whose rows.
    #[command(flatten)]
    pub selection: SelectionArgs,
}

/// What `queries completions` is asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: String,
}

/// Whose rows a question is about.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Whose lines")]
pub struct SelectionArgs {
    /// The cluster [default: the configuration's]
    #[arg(short, long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// From this time on [default: the query's, the configuration's, or -1h]
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Until this time, which does not belong to it [default: the query's, the configuration's, or now]
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Which jobs: hello, hello*, www/prod/hello, or with the cluster before it [default: all]
    #[arg(short, long, value_name = "PATTERN")]
    pub job: Option<String>,
}

/// Parameters by name.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Parameters")]
pub struct ParameterArgs {
    /// A parameter of the query, as NAME=VALUE; the same as --NAME VALUE
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = assignment)]
    pub param: Vec<(String, String)>,
}

/// How the answer is written.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "The answer")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags as they are typed; `verbs` makes enums of them"
)]
pub struct OutputArgs {
    /// table, vertical, csv, json, parquet, chart; or a file whose ending says it; or csv:FILE [default: table on a
    /// terminal, csv elsewhere]
    #[arg(short, long, value_name = "FORMAT|FILE")]
    pub output: Option<Target>,
    /// One value a line
    #[arg(short = 'x', long, conflicts_with = "output")]
    pub vertical: bool,
    /// Do not write the columns' names
    #[arg(long)]
    pub no_header: bool,
    /// Let a table be wider than the terminal
    #[arg(long, conflicts_with = "wrap")]
    pub wide: bool,
    /// Let wide cells of a table go on in the next line
    #[arg(long)]
    pub wrap: bool,
    /// Do not say on standard error what it took
    #[arg(short, long)]
    pub quiet: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl SelectionArgs {
    /// What was given of it.
    pub fn values(&self) -> Values {
        [
            ("cluster", &self.cluster),
            ("from", &self.from),
            ("to", &self.to),
            ("job", &self.job),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect()
    }
}

/// The program's command line, with flags for the parameters of a query under the verbs that name one.
pub fn command(query: Option<&Query>) -> clap::Command {
    let command = Args::command();
    let Some(query) = query else { return command };
    ["run", "show"].into_iter().fold(command, |command, verb| {
        command.mut_subcommand(verb, |command| with_parameters(command, query))
    })
}

fn with_parameters(command: clap::Command, query: &Query) -> clap::Command {
    let heading = format!("Parameters of {}", query.name);
    let command = query.parameters.iter().fold(command, |command, parameter| {
        let text = capitalised(&parameter.text);
        let help = match parameter.default_text() {
            Some(default) => format!("{text} [default: {default}]"),
            None => format!("{text} (needed)"),
        };
        let long = parameter.name.replace('_', "-");
        let arg = Arg::new(format!("{PARAMETER_ID}{}", parameter.name))
            .long(long.clone())
            .value_name(parameter.kind.placeholder())
            .help(help)
            .help_heading(heading.clone())
            .allow_hyphen_values(true)
            .action(ArgAction::Set);
        command.arg(if long == parameter.name {
            arg
        } else {
            arg.alias(parameter.name.clone())
        })
    });
    let about = format!("{}: {}\n\n{}", query.name, query.answers, query.about);
    command.about(about.trim_end().to_owned())
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// What was given of a query's parameters, by flags of their own.
fn parameter_values(matches: &ArgMatches, query: Option<&Query>) -> Values {
    let (Some((_, matches)), Some(query)) = (matches.subcommand(), query) else {
        return Values::new();
    };
    query
        .parameters
        .iter()
        .filter_map(|parameter| {
            let id = format!("{PARAMETER_ID}{}", parameter.name);
            let value = matches.try_get_one::<String>(&id).ok().flatten()?;
            Some((parameter.name.clone(), value.clone()))
        })
        .collect()
}

/// The queries that a command line may name behind `run` or `show`; looked for before the line is understood, since their
/// parameters belong to what there is to understand. A value can be a query's name too, so there may be several.
pub fn named_queries<'c>(
    typed: &'c [OsString],
    catalogue: &'c Catalogue,
) -> impl Iterator<Item = &'c Query> {
    let mut words = typed.iter().filter_map(|word| word.to_str());
    let verb = words.find(|word| matches!(*word, "run" | "show"));
    words
        .filter(move |_| verb.is_some())
        .filter_map(|word| catalogue.get(word).ok())
}

/// Understands a command line: with the parameters of the query that it turns out to name.
pub fn parse(typed: &[OsString], catalogue: &Catalogue) -> Result<(Args, Values), clap::Error> {
    let parse_with = |query: Option<&Query>| {
        let matches = command(query).try_get_matches_from(typed)?;
        let args = Args::from_arg_matches(&matches)?;
        Ok((args, parameter_values(&matches, query)))
    };
    let mut first = None;
    for query in named_queries(typed, catalogue) {
        let parsed = parse_with(Some(query));
        match &parsed {
            Ok((args, _)) if args.names(&query.name) => return parsed,
            _ => {
                first.get_or_insert(parsed);
            }
        }
    }
    match first {
        // It names none of them.
        None | Some(Ok(_)) => parse_with(None),
        Some(error) => error,
    }
}

impl Args {
    /// Whether the verb is about this query.
    fn names(&self, query: &str) -> bool {
        match &self.verb {
            Verb::Run(run) => run.query == query,
            Verb::Show(show) => show.query == query,
            _ => false,
        }
    }
}

/// The file that `--config` names, looked for before the line is understood, since folders of queries stand in it.
pub fn named_config(typed: &[OsString]) -> Option<PathBuf> {
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(file) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--config="))
        {
            return Some(file.into());
        }
        if word == OsStr::new("--") {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests;
