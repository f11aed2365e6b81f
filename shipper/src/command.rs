//! What is to be done: the command line together with the configuration. Only this travels on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::args::{Args, AuditArgs, FleetArgs, Listing, Report, Verb};
use crate::config::{Config, ConfigError};
use crate::cost::{Fleet, usual_ratio};
use crate::exit::{Exit, Failed};
use crate::rows::AgeRule;

const NANOS_PER_HOUR: i64 = 3600 * 1_000_000_000;

/// A configuration, and how to read it again.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The file.
    pub file: PathBuf,
    /// The host's name, where the file does not say.
    pub host: String,
    /// What the file said when it was read last.
    pub config: Arc<Config>,
}

impl Configured {
    /// Reads the file.
    pub fn load(file: &Path, host: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            file: file.to_owned(),
            host: host.to_owned(),
            config: Arc::new(Config::load(file, host)?),
        })
    }

    /// Reads it again, as after SIGHUP: what is wrong leaves the former one in force.
    pub fn again(&self) -> Result<Self, ConfigError> {
        Self::load(&self.file, &self.host)
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Command {
    /// Ship until told to stop.
    Run(Configured),
    /// Ship what is there, and end.
    Once {
        /// The configuration.
        configured: Configured,
        /// Whether times long before the file's birth are believed.
        age: AgeRule,
    },
    /// List the files that are known.
    Ls {
        /// The configuration.
        configured: Configured,
        /// How they are printed.
        listing: Listing,
    },
    /// Tell what becomes of a file.
    Explain {
        /// The configuration.
        configured: Configured,
        /// The file, as an absolute path.
        path: PathBuf,
        /// How it is told.
        report: Report,
    },
    /// Tell what an archive costs.
    Cost {
        /// Whose.
        fleet: Fleet,
        /// How it is told.
        report: Report,
    },
    /// Look whether the archive is whole.
    Audit {
        /// The configuration.
        configured: Configured,
        /// Of what.
        options: AuditOptions,
        /// How it is told.
        listing: Listing,
    },
    /// Make the state anew from the archive.
    Recover {
        /// The configuration.
        configured: Configured,
        /// For good, or only to tell.
        mode: RecoverMode,
    },
    /// Look at configuration and host.
    Validate(Configured),
}

/// What part of the archive is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOptions {
    /// The partition `cluster`.
    pub cluster: String,
    /// The first hour, in hours since 1970; none: from the first object on.
    pub first_hour: Option<i64>,
    /// The last hour, which belongs to it; none: to the last object.
    pub last_hour: Option<i64>,
}

/// Whether a recovery is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverMode {
    /// The state is written.
    Write,
    /// It is only told what would be written.
    DryRun,
}

impl Command {
    /// Reads what else is needed: the configuration, except for what needs none. `wall_ns` is the time now.
    pub fn resolve(args: Args, host: &str, wall_ns: i64) -> Result<Self, Failed> {
        let file = args.config;
        let load = || {
            Configured::load(&file, host).map_err(|error| {
                let missing = matches!(&error, ConfigError::Read { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound);
                let failed = Failed::new(Exit::Usage, error);
                if missing {
                    failed.with_hint("write one, or name another with --config or SHIPPER_CONFIG")
                } else {
                    failed
                }
            })
        };
        Ok(match args.verb {
            Verb::Run => Self::Run(load()?),
            Verb::Once(once) => Self::Once {
                configured: load()?,
                age: if once.backfill {
                    AgeRule::AnyAge
                } else {
                    AgeRule::NearBirth
                },
            },
            Verb::Ls(ls) => Self::Ls {
                configured: load()?,
                listing: ls.output,
            },
            Verb::Explain(explain) => match explain.path {
                Some(path) => Self::Explain {
                    configured: load()?,
                    path: std::path::absolute(&path)
                        .map_err(|error| Failed::new(Exit::Usage, error))?,
                    report: explain.output,
                },
                None => Self::Cost {
                    fleet: fleet(&explain.fleet),
                    report: explain.output,
                },
            },
            Verb::Audit(audit) => {
                let configured = load()?;
                let options = audit_options(&audit, &configured.config.cluster, wall_ns)?;
                Self::Audit {
                    configured,
                    options,
                    listing: audit.output,
                }
            }
            Verb::Recover(recover) => Self::Recover {
                configured: load()?,
                mode: if recover.dry_run {
                    RecoverMode::DryRun
                } else {
                    RecoverMode::Write
                },
            },
            Verb::Validate => Self::Validate(load()?),
        })
    }
}

fn fleet(args: &FleetArgs) -> Fleet {
    let reference = Fleet::reference();
    let encoding = args.encoding.unwrap_or(reference.encoding);
    Fleet {
        encoding,
        hosts: args.hosts.unwrap_or(reference.hosts),
        raw_bytes_per_second: args
            .kb_per_second
            .map_or(reference.raw_bytes_per_second, |kb| kb * 1000.0),
        jobs: args.jobs.unwrap_or(reference.jobs),
        flush_seconds: args.flush.map_or(reference.flush_seconds, f64::from),
        ratio: args.ratio.unwrap_or_else(|| usual_ratio(encoding)),
        ..reference
    }
}

fn audit_options(args: &AuditArgs, cluster: &str, wall_ns: i64) -> Result<AuditOptions, Failed> {
    let since = args.since.map(|ago| {
        let ago_ns = i64::try_from(ago.seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000_000);
        wall_ns.saturating_sub(ago_ns).div_euclid(NANOS_PER_HOUR)
    });
    let first_hour = since.or(args.from.map(|hour| hour.first));
    let last_hour = args.to.map(|hour| hour.last);
    if let (Some(first), Some(last)) = (first_hour, last_hour)
        && first > last
    {
        return Err(Failed::new(
            Exit::Usage,
            "--from is later than --to: there is nothing between them",
        ));
    }
    let cluster = args.cluster.clone().unwrap_or_else(|| cluster.to_owned());
    let word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if cluster.is_empty() || cluster.len() > 255 || !cluster.chars().all(word) {
        let text = "--cluster: a name is made of letters, digits, `_`, `.` and `-`, 255 at most";
        return Err(Failed::new(Exit::Usage, text));
    }
    Ok(AuditOptions {
        cluster,
        first_hour,
        last_hour,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    /// 1970-01-03 02:30 UTC.
    const NOW_NS: i64 = 50 * NANOS_PER_HOUR + NANOS_PER_HOUR / 2;

    fn resolve(folder: &Path, line: &str) -> Result<Command, Failed> {
        let file = folder.join("shipper.toml");
        let mut words = vec!["shipper".into(), "--config".into(), file.into_os_string()];
        words.extend(line.split_whitespace().map(Into::into));
        let args = Args::try_parse_from(words).expect("good flags");
        Command::resolve(args, "node7", NOW_NS)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "archive = \"file:///archive\"\ncluster = \"aa\"\n[mesos]\n";
        std::fs::write(folder.path().join("shipper.toml"), text).expect("to write");
        folder
    }

    #[test]
    fn flags_become_values() {
        let folder = folder();
        let command = |line: &str| resolve(folder.path(), line).expect("a command");
        let Command::Run(configured) = command("run") else {
            panic!("run");
        };
        assert_eq!(configured.config.host, "node7");
        assert_eq!(
            *configured.again().expect("the same").config,
            *configured.config
        );
        for (line, expected) in [
            ("once", AgeRule::NearBirth),
            ("once --backfill", AgeRule::AnyAge),
        ] {
            let Command::Once { age, .. } = command(line) else {
                panic!("once");
            };
            assert_eq!(age, expected);
        }
        for (line, expected) in [
            ("recover", RecoverMode::Write),
            ("recover --dry-run", RecoverMode::DryRun),
        ] {
            let Command::Recover { mode, .. } = command(line) else {
                panic!("recover");
            };
            assert_eq!(mode, expected);
        }
        let Command::Explain { path, .. } = command("explain a/b.log") else {
            panic!("explain");
        };
        assert!(path.is_absolute() && path.ends_with("a/b.log"), "{path:?}");
    }

    #[test]
    fn audits_have_hours() {
        let folder = folder();
        for (line, cluster, first, last) in [
            ("audit", "aa", None, None),
            ("audit --since 30m", "aa", Some(50), None),
            ("audit --since 31m", "aa", Some(49), None),
            ("audit --cluster bb --from 1970-01-03", "bb", Some(48), None),
            ("audit --to 1970-01-03-01", "aa", None, Some(49)),
        ] {
            let Ok(Command::Audit { options, .. }) = resolve(folder.path(), line) else {
                panic!("audit");
            };
            let expected = AuditOptions {
                cluster: cluster.to_owned(),
                first_hour: first,
                last_hour: last,
            };
            assert_eq!(options, expected, "{line}");
        }
        for line in [
            "audit --from 1970-01-03-01 --to 1970-01-03-00",
            "audit --cluster a/b",
        ] {
            let failed = resolve(folder.path(), line).expect_err(line);
            assert_eq!(failed.exit, Exit::Usage, "{line}");
        }
    }

    #[test]
    fn costs_need_no_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let Ok(Command::Cost { fleet, .. }) = resolve(folder.path(), "explain --cost") else {
            panic!("cost");
        };
        assert_eq!(fleet, Fleet::reference());
        let line = "explain --cost --hosts 2 --kb-per-second 1.5 --jobs 3 --flush 60 --ratio 4";
        let Ok(Command::Cost { fleet, .. }) = resolve(folder.path(), line) else {
            panic!("cost");
        };
        let expected = Fleet {
            hosts: 2,
            raw_bytes_per_second: 1500.0,
            jobs: 3,
            flush_seconds: 60.0,
            ratio: 4.0,
            ..Fleet::reference()
        };
        assert_eq!(fleet, expected);
        let line = "explain --cost --encoding ndjson";
        let Ok(Command::Cost { fleet, .. }) = resolve(folder.path(), line) else {
            panic!("cost");
        };
        let packed = (fleet.encoding, fleet.ratio);
        assert_eq!(
            packed,
            (archive::Encoding::Ndjson, crate::cost::NDJSON_RATIO)
        );
        let failed = resolve(folder.path(), "run").expect_err("no file");
        assert_eq!(failed.exit, Exit::Usage);
        assert!(failed.hint.is_some_and(|hint| hint.contains("--config")));
    }
}
