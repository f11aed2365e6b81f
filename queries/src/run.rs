//! The program's course: from what was typed to an exit code.
//!
//! Everything of the outside comes in through [`Surroundings`] and two streams, so that a test can call it. Data goes to `out`,
//! talk to `err`.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{self, CONFIG_VARIABLE};
use crate::catalogue::Catalogue;
use crate::completions::{self, Answered};
use crate::config::{Config, EngineKind, Place};
use crate::engine::Engine;
use crate::escape::plain;
use crate::exit::{Exit, Failed};
use crate::output::{Page, Reader};
use crate::progress::Viewer;
use crate::statement::MAX_STATEMENT_BYTES;
use crate::verbs::{self, Workplace};

/// What is written before the system is asked to write it, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the process was started in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The terminal that `out` is, if it is one: its width in characters.
    pub terminal: Option<u16>,
    /// Whether colours are wanted there.
    pub reader: Reader,
    /// Who looks at `err`.
    pub viewer: Viewer,
    /// The wall clock, in ns since 1970.
    pub wall_ns: fn() -> i64,
    /// The configuration file that the environment names.
    pub config: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub xdg_config_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Opens the engines; the token tells them to leave what runs elsewhere alone and end.
    pub open_engine: fn(EngineKind, &Config, &CancellationToken) -> Result<Engine, Failed>,
    /// Standard input, if somebody other than a person at a terminal writes to it.
    pub input: Option<fn() -> Box<dyn io::Read>>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let stdout = io::stdout();
        let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| size.ws_col);
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let terminal = stdout
            .is_terminal()
            .then(|| columns.ok().filter(|columns| *columns > 0).unwrap_or(80));
        Self {
            terminal,
            reader: match (terminal, no_colour) {
                (None, _) => Reader::Program,
                (Some(_), true) => Reader::Terminal,
                (Some(_), false) => Reader::Colours,
            },
            viewer: if io::stderr().is_terminal() {
                Viewer::Person
            } else {
                Viewer::Nobody
            },
            wall_ns,
            config: path(CONFIG_VARIABLE),
            xdg_config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
            open_engine: Engine::open,
            input: (!io::stdin().is_terminal()).then_some(|| Box::new(io::stdin())),
        }
    }

    /// Whether `out` is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal.is_some()
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

/// The wall clock, for those who take it as a time.
#[cfg(feature = "embedded")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(wall_ns())).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// The ends towards the person.
pub struct Console<'c> {
    /// Data.
    pub out: &'c mut (dyn Write + Send),
    /// Talk.
    pub err: &'c mut (dyn Write + Send),
    /// What the process was started in.
    pub surroundings: &'c Surroundings,
    /// How it is interrupted.
    pub interrupts: Interrupts,
}

/// What signals say: the first one stops, a second one does not wait for what runs elsewhere, a third one for nothing.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// Stop, and stop what runs elsewhere.
    pub stop: CancellationToken,
    /// Leave what runs elsewhere alone, and end.
    pub leave: CancellationToken,
}

impl Console<'_> {
    /// Says something on `err`. There is nobody to tell that it could not be said.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "queries: {}", plain(text));
    }

    /// The time now, in ns since 1970.
    pub fn wall_ns(&self) -> i64 {
        (self.surroundings.wall_ns)()
    }

    /// What standard output is written on.
    pub fn page(&self) -> Page {
        Page {
            columns: self.surroundings.terminal.map(usize::from),
            reader: self.surroundings.reader,
        }
    }

    /// An engine, as it is configured.
    pub fn open_engine(&self, kind: EngineKind, config: &Config) -> Result<Engine, Failed> {
        (self.surroundings.open_engine)(kind, config, &self.interrupts.leave)
    }

    /// A statement from standard input.
    pub fn read_statement(&self) -> Result<String, Failed> {
        let Some(input) = self.surroundings.input else {
            return Err(Failed::usage("there is no SQL")
                .with_hint("write it behind `sql`, or into standard input: queries sql < FILE"));
        };
        let mut text = String::new();
        input()
            .take(MAX_STATEMENT_BYTES as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|error| {
                Failed::usage(io::Error::new(
                    error.kind(),
                    format!("standard input: {error}"),
                ))
            })?;
        if text.len() > MAX_STATEMENT_BYTES {
            return Err(Failed::usage(format!(
                "the statement has more than {MAX_STATEMENT_BYTES} bytes, which is the most that an engine takes"
            )));
        }
        Ok(text)
    }
}

/// Runs the program with the process's arguments, environment and streams.
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
    let mut err = io::stderr();
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
        interrupts: Interrupts::default(),
    };
    let named = args::named_config(typed).or_else(|| surroundings.config.clone());
    let place = Place::of(
        named,
        surroundings.xdg_config_home.clone(),
        surroundings.home.clone(),
    );
    // Help and completions have to come whatever is in the file; what is wrong is said once it matters.
    let config = Config::load(&place);
    let folders = config
        .as_ref()
        .map_or(&[][..], |config| &config.query_folders);
    let catalogue = Catalogue::built_in().with_folders(folders);
    match completions::answer(typed, &catalogue) {
        Ok(Answered::No) => {}
        Ok(Answered::Yes) => return Exit::Success,
        Err(error) => {
            console.say(&error.to_string());
            return Exit::Usage;
        }
    }
    let (args, flags) = match args::parse(typed, &catalogue) {
        Ok(parsed) => parsed,
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
    let done = config
        .map_err(|error| {
            Failed::usage(error)
                .with_hint("correct it, or name another with --config or QUERIES_CONFIG")
        })
        .and_then(|mut config| {
            if let Some(engine) = args.engine {
                config.engine = engine;
            }
            if let Some(archive) = args.archive {
                config.archive = Some(archive);
            }
            let work = Workplace {
                config,
                catalogue: &catalogue,
                flags,
            };
            verbs::perform(args.verb, &work, &mut console)
        })
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
    Failed::new(Exit::Failed, error)
}

/// Whether the reader of a pipe has left, which is no failure.
fn is_broken_pipe(failed: &Failed) -> bool {
    failed
        .error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Runs what waits, until it is done or interrupted by `^C` or SIGTERM.
pub(crate) fn block_on<T>(
    interrupts: &Interrupts,
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(Exit::Failed, error))?;
    let asked: Arc<OnceLock<Exit>> = Arc::default();
    let done = runtime.block_on(async {
        tokio::select! {
            done = work(&interrupts.stop) => done,
            exit = signals(interrupts, Arc::clone(&asked)) => {
                Err(Failed::new(exit, "ended without waiting for the engine"))
            }
        }
    });
    // What still waits for a disk or a name is left alone.
    runtime.shutdown_background();
    done.map_err(|failed| match asked.get() {
        Some(exit) if failed.exit == Exit::Interrupted => Failed {
            exit: *exit,
            ..failed
        },
        _ => failed,
    })
}

/// Ends at the third signal.
async fn signals(interrupts: &Interrupts, asked: Arc<OnceLock<Exit>>) -> Exit {
    let (Ok(mut sigint), Ok(mut sigterm)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the system's own end the process.
        return std::future::pending().await;
    };
    loop {
        let exit = tokio::select! {
            _ = sigint.recv() => Exit::Interrupted,
            _ = sigterm.recv() => Exit::Terminated,
        };
        // The first one counts for the exit code.
        let _ = asked.set(exit);
        if interrupts.leave.is_cancelled() {
            return exit;
        }
        if interrupts.stop.is_cancelled() {
            interrupts.leave.cancel();
        }
        interrupts.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
