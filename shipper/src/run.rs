//! The program's course: from what was typed to an exit code.
//!
//! Everything of the outside comes in through [`Surroundings`] and two streams, so that a test can call it. Data goes to `out`,
//! talk to `err`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archive::store::Root;
use clap::Parser as _;

use crate::args::{Args, Report};
use crate::command::{Command, Configured};
use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::explain::{self, Finding, Weight};
use crate::identity::AgentState;
use crate::printable::plain;
use crate::progress::{Progress, Viewer};
use crate::redact::{RedactionRule, Redactor};
use crate::rules::Rules;
use crate::{ls, show, spool, verbs};

/// How long the Mesos agent may take to answer `shipper explain`.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The host's name where the system does not tell it.
const UNKNOWN_HOST: &str = "unknown";

/// What the process was started in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The host's name.
    pub host: String,
    /// The width of the terminal that `out` is, in characters; none if it is no terminal.
    pub columns: Option<u16>,
    /// Who looks at `err`.
    pub viewer: Viewer,
    /// The wall clock, in ns since 1970.
    pub wall_ns: fn() -> i64,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let stdout = io::stdout();
        let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| size.ws_col);
        let host = rustix::system::uname();
        let host = host.nodename().to_str().unwrap_or_default();
        Self {
            host: match host {
                "" => UNKNOWN_HOST.to_owned(),
                host => host.to_owned(),
            },
            columns: columns
                .ok()
                .filter(|columns| stdout.is_terminal() && *columns > 0),
            viewer: match (io::stderr().is_terminal(), no_colour) {
                (false, _) => Viewer::Nobody,
                (true, true) => Viewer::Plain,
                (true, false) => Viewer::Coloured,
            },
            wall_ns,
        }
    }
}

/// The wall clock, in ns since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the program, where the clock is read"
)]
fn wall_ns() -> i64 {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        // A clock that was never set.
        Err(_) => 0,
    }
}

/// The ends towards the person.
pub struct Console<'c> {
    /// Data.
    pub out: &'c mut (dyn Write + Send),
    /// Talk.
    pub err: &'c mut (dyn Write + Send),
    /// What the process was started in.
    pub surroundings: &'c Surroundings,
}

impl Console<'_> {
    /// Says something on `err`. There is nobody to tell that it could not be said.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "shipper: {}", plain(text));
    }

    /// A progress bar for whoever looks at `err`.
    pub fn progress(&self) -> Progress {
        Progress::new(self.surroundings.viewer)
    }

    /// The time now, in ns since 1970.
    pub fn wall_ns(&self) -> i64 {
        (self.surroundings.wall_ns)()
    }
}

/// Runs the program with the process's arguments, environment and streams.
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    run(&typed, &Surroundings::of_process(), &mut out, &mut err).into()
}

/// Does what was typed (the first word is the program's name).
pub fn run(
    typed: &[OsString],
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> Exit {
    let mut console = Console {
        out,
        err,
        surroundings,
    };
    let args = match Args::try_parse_from(typed) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => {
            // There is no other place to say that this fails.
            let _ = write!(console.err, "{error}");
            return Exit::Usage;
        }
        Err(help) => {
            let printed = write!(console.out, "{help}").and_then(|()| console.out.flush());
            return ended(
                printed.map(|()| Exit::Success).map_err(unprinted),
                &mut console,
            );
        }
    };
    let done = Command::resolve(args, &surroundings.host, console.wall_ns())
        .and_then(|command| perform(command, &mut console))
        .and_then(|exit| console.out.flush().map(|()| exit).map_err(unprinted));
    ended(done, &mut console)
}

/// Says what went wrong, if something did.
fn ended(done: Result<Exit, Failed>, console: &mut Console<'_>) -> Exit {
    match done {
        Ok(exit) => exit,
        Err(failed) if is_broken_pipe(&failed) => Exit::Success,
        Err(failed) => {
            console.say(&failed.chain());
            if let Some(hint) = &failed.hint {
                console.say(&format!("hint: {hint}"));
            }
            failed.exit
        }
    }
}

fn unprinted(error: io::Error) -> Failed {
    Failed::new(Exit::Partial, error)
}

/// Whether the reader of a pipe has left, which is no failure.
fn is_broken_pipe(failed: &Failed) -> bool {
    failed
        .error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn perform(command: Command, console: &mut Console<'_>) -> Result<Exit, Failed> {
    match command {
        Command::Run(configured) => verbs::run(&configured, console),
        Command::Once { configured, age } => verbs::once(&configured, age, console),
        Command::Ls {
            configured,
            listing,
        } => {
            let rows = verbs::ls(&configured)?;
            let columns = console.surroundings.columns;
            let wall_ns = console.wall_ns();
            ls::print(&rows, listing, columns, wall_ns, console.out).map_err(unprinted)?;
            Ok(Exit::Success)
        }
        Command::Explain {
            configured,
            path,
            report,
        } => explain_file(&configured, &path, report, console),
        Command::Cost { fleet, report } => {
            show::cost(&fleet, report, console.out).map_err(unprinted)?;
            Ok(Exit::Success)
        }
        Command::Audit {
            configured,
            options,
            listing,
        } => verbs::audit(&configured, &options, listing, console),
        Command::Recover { configured, mode } => verbs::recover(&configured, mode, console),
        Command::Validate(configured) => {
            let findings = validate(&configured.config);
            show::findings(&configured.file, &findings, console.out).map_err(unprinted)?;
            let bad = findings
                .iter()
                .any(|finding| finding.weight == Weight::Error);
            Ok(if bad { Exit::Partial } else { Exit::Success })
        }
    }
}

fn explain_file(
    configured: &Configured,
    path: &Path,
    report: Report,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let config = &configured.config;
    let agent = spool::recorded_agent(&config.spool.folders);
    let state = match &config.mesos {
        Some(mesos) if path.starts_with(&mesos.work_dir) => ask_agent(config, console),
        _ => None,
    };
    let rules = Rules::new(config.clone());
    match explain::explain(&rules, path, agent, state.as_ref()) {
        Ok(explained) => {
            show::explained(path, &explained, report, console.out).map_err(unprinted)?;
            Ok(Exit::Success)
        }
        Err(refused) => {
            show::refused(path, &refused, report, console.out).map_err(unprinted)?;
            Ok(Exit::Partial)
        }
    }
}

/// The Mesos agent's answer, if it is to be asked and gives one.
fn ask_agent(config: &Config, console: &mut Console<'_>) -> Option<AgentState> {
    let uri = config.mesos.as_ref()?.agent_url.as_ref()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let asked = match runtime {
        Ok(runtime) => runtime
            .block_on(AgentState::fetch(
                uri,
                AGENT_TIMEOUT,
                &config.ids.git_sha_labels,
            ))
            .map_err(|error| Failed::new(Exit::Partial, error)),
        Err(error) => Err(Failed::new(Exit::Partial, error)),
    };
    match asked {
        Ok(state) => Some(state),
        Err(failed) => {
            console.say(&format!(
                "the Mesos agent could not be asked for the job: {}",
                failed.chain()
            ));
            None
        }
    }
}

/// What this host and this program have against a configuration.
fn validate(config: &Config) -> Vec<Finding> {
    let mut findings = explain::validate(config);
    let mut find = |text: String| {
        findings.push(Finding {
            weight: Weight::Error,
            text,
        });
    };
    let rules: Vec<RedactionRule> = config
        .redact
        .iter()
        .map(|rule| RedactionRule {
            name: rule.name.clone(),
            pattern: rule.pattern.clone(),
            mask: rule.mask.clone(),
        })
        .collect();
    if let Err(error) = Redactor::new(&rules) {
        find(format!("[[redact]]: {}", Failed::new(Exit::Usage, error)));
    }
    if let Root::Dir(folder) = &config.archive
        && let Err(error) = fs::metadata(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        find(format!("archive: {}: {error}", folder.display()));
    }
    findings
}

#[cfg(test)]
mod tests;
