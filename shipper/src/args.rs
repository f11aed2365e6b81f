//! The command line as typed. What it means together with the configuration is the matter of `command`.

use std::path::PathBuf;
use std::str::FromStr;

use archive::Encoding;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Where the configuration is if nothing else is said.
pub const DEFAULT_CONFIG: &str = "/etc/shipper/shipper.toml";

const EXAMPLES: &str = "\
Examples:
  shipper validate                  is the configuration good, can this host do what it says?
  shipper run                       ship until SIGTERM; SIGHUP reads the configuration again
  shipper once                      ship what is there and end: before a host goes away
  shipper once --backfill           the same for old logs that were copied here
  shipper ls                        which files are known, and how far each is shipped
  shipper ls -o json | jq 'select(.behind > 0)'
  shipper explain /var/log/a.log    which rule takes it, whose it is, where its rows go; or why none
  shipper explain --cost            what an archive costs; --hosts, --flush and more for yours
  shipper audit --since 24h         do the rows in the archive leave gaps, or overlap?
  shipper recover --dry-run         what would be done about a lost or rolled-back state

Exit codes:
  0 all went well (or the reader of a pipe has left)
  1 not everything was shipped; audit: gaps or overlaps; validate: some logs cannot be kept;
    explain: no rule takes the file
  2 wrong usage or configuration   4 the archive cannot be reached, or refuses
  5 the state is not that of the archive: shipper recover first
  130 after ^C   143 after SIGTERM";

/// What the user typed.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "shipper",
    bin_name = "shipper",
    version,
    about = "Keeps the logs of this host's jobs in an archive, every byte exactly once",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    disable_help_subcommand = true,
    after_help = EXAMPLES,
    max_term_width = 110
)]
pub struct Args {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SHIPPER_CONFIG",
        hide_env_values = true,
        default_value = DEFAULT_CONFIG
    )]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Ship until told to stop: what the service runs
    Run,
    /// Ship what is there, and end
    Once(OnceArgs),
    /// List the files that are known: how far each is shipped, and how it is held
    Ls(LsArgs),
    /// Tell what becomes of a file, and why; or what a fleet's archive costs
    Explain(ExplainArgs),
    /// Look from the archive alone whether the rows of every file leave no gap and do not overlap
    Audit(AuditArgs),
    /// Make a lost or rolled-back state anew from the archive, so that nothing is shipped twice
    Recover(RecoverArgs),
    /// Look whether the configuration is good and this host can do what it says; changes nothing
    Validate,
}

/// What `shipper once` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct OnceArgs {
    /// Believe times of lines that are much older than their file: for logs that were copied here
    #[arg(long)]
    pub backfill: bool,
}

/// What `shipper ls` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct LsArgs {
    /// A table, or one JSON object a line
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Listing,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Listing {
    /// For people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Report {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What `shipper explain` is asked.
#[derive(Debug, Clone, ClapArgs)]
#[command(
    override_usage = "shipper explain [OPTIONS] PATH\n       shipper explain --cost [OPTIONS]"
)]
pub struct ExplainArgs {
    /// The file; it need not be there
    #[arg(
        value_name = "PATH",
        required_unless_present = "cost",
        conflicts_with = "cost"
    )]
    pub path: Option<PathBuf>,
    /// Text, or one JSON object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Report,
    /// What the archive of a fleet costs: objects, requests, dollars a month. Asks nothing and needs no configuration
    #[arg(long)]
    pub cost: bool,
    /// Of which fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// The fleet that is counted for; what is not said is as in the reference fleet.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "With --cost")]
pub struct FleetArgs {
    /// How many hosts run an agent [default: 1000]
    #[arg(long, value_name = "N", requires = "cost", conflicts_with = "path", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub hosts: Option<u32>,
    /// What one host's jobs write, in kB a second [default: 100]
    #[arg(long, value_name = "X", requires = "cost", conflicts_with = "path", value_parser = kilobytes)]
    pub kb_per_second: Option<f64>,
    /// How many jobs a host runs; it makes no object more [default: 20]
    #[arg(long, value_name = "N", requires = "cost", conflicts_with = "path", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub jobs: Option<u32>,
    /// The age at which a batch closes, in seconds [default: 300]
    #[arg(long, value_name = "SECONDS", requires = "cost", conflicts_with = "path", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub flush: Option<u32>,
    /// How rows are written: `parquet` or `ndjson` [default: parquet]
    #[arg(long, value_name = "E", requires = "cost", conflicts_with = "path", value_parser = encoding)]
    pub encoding: Option<Encoding>,
    /// Bytes of logs for each byte of an object [default: 8.2 of parquet, 5.1 of ndjson]
    #[arg(long, value_name = "X", requires = "cost", conflicts_with = "path", value_parser = ratio)]
    pub ratio: Option<f64>,
}

/// What `shipper audit` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct AuditArgs {
    /// The cluster [default: the configuration's]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// From this long ago on: 90m, 24h, 7d [default: from the first object on]
    #[arg(short, long, value_name = "AGO", conflicts_with_all = ["from", "to"])]
    pub since: Option<Ago>,
    /// From this hour on, UTC: 2026-11-24-09, or the day 2026-11-24
    #[arg(long, value_name = "HOUR")]
    pub from: Option<HourText>,
    /// To this hour, which is looked at too; or to the end of the day
    #[arg(long, value_name = "HOUR")]
    pub to: Option<HourText>,
    /// A table, or one JSON object a line
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Listing,
}

/// What `shipper recover` is asked.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct RecoverArgs {
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// A time before now, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ago {
    /// How long before.
    pub seconds: u64,
}

/// The longest time before now, in seconds: ten years.
pub const MAX_AGO_SECONDS: u64 = 10 * 366 * 86_400;

impl FromStr for Ago {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let digits = text.find(|c: char| !c.is_ascii_digit())?;
            let (number, unit) = text.split_at(digits);
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                "w" => 7 * 86_400,
                _ => return None,
            };
            let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
            (1..=MAX_AGO_SECONDS).contains(&seconds).then_some(seconds)
        };
        match parse() {
            Some(seconds) => Ok(Self { seconds }),
            None => Err(
                "write a number with s, m, h, d or w, ten years at most: 90m, 24h, 7d".to_owned(),
            ),
        }
    }
}

/// An hour of UTC, or a whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourText {
    /// Hours since 1970 of the first one.
    pub first: i64,
    /// Hours since 1970 of the last one.
    pub last: i64,
}

impl FromStr for HourText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse::<i16>().ok()).flatten()
        };
        let parse = || {
            let parts: Vec<&str> = text.split('-').collect();
            let (date, hour) = match parts[..] {
                [year, month, day] => ((year, month, day), None),
                [year, month, day, hour] => ((year, month, day), Some(hour)),
                _ => return None,
            };
            let date = jiff::civil::Date::new(
                number(date.0, 4)?,
                i8::try_from(number(date.1, 2)?).ok()?,
                i8::try_from(number(date.2, 2)?).ok()?,
            )
            .ok()?;
            let midnight = date.to_datetime(jiff::civil::Time::midnight());
            let day = jiff::tz::Offset::UTC
                .to_timestamp(midnight)
                .ok()?
                .as_second()
                / 3600;
            let (first, last) = match hour {
                None => (0, 23),
                Some(hour) => {
                    let hour = number(hour, 2).filter(|hour| *hour < 24)?;
                    (hour, hour)
                }
            };
            Some(Self {
                first: day + i64::from(first),
                last: day + i64::from(last),
            })
        };
        parse().ok_or_else(|| {
            "write an hour of UTC as the archive does, 2026-11-24-09, or a day, 2026-11-24"
                .to_owned()
        })
    }
}

fn kilobytes(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1e9)
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "parquet" => Ok(Encoding::Parquet),
        "ndjson" => Ok(Encoding::Ndjson),
        _ => Err("it is parquet or ndjson".to_owned()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    number_within(text, 1.0, 1000.0)
}

fn number_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("it is a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests;
