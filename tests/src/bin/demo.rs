//! `make demo`: a cluster in one process tree, a `shipper` that keeps its logs, and `tailll` on one of its jobs.
//!
//! Owns the lives of all: whatever ends first (the time, ^C, a closed pipe, `tailll`), the processes end and the temporary
//! folder goes. What happens in the cluster is the library's.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use e2e::cluster::{Cluster, HOSTS, Options};
use e2e::processes;
use jiff::Timestamp;
use joblog::JobKey;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long `tailll` may take to end after it was told to; it promises a second.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// What a shell reports for a program that ^C ended.
const EXIT_INTERRUPTED: u8 = 130;
/// What a shell reports for a program that SIGTERM ended.
const EXIT_TERMINATED: u8 = 143;
/// What a shell reports for a program that lost its terminal.
const EXIT_HUNG_UP: u8 = 129;

/// Runs a demo cluster on loopback, and tailll on one of its jobs.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// End after this time: 20s, 2m, 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    time: Option<Duration>,
    /// The job to follow
    #[arg(long, value_name = "KEY", default_value = "demo/www/prod/web")]
    job: String,
    /// Run the cluster alone; follow it from another terminal
    #[arg(long)]
    cluster_only: bool,
    /// What makes one demo's lines differ from another's
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// More arguments for tailll, after --
    #[arg(last = true, value_name = "ARGUMENT")]
    rest: Vec<std::ffi::OsString>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run(arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // A closed stderr is no reason to fail in another way.
    let _ = writeln!(io::stderr(), "demo: {error:#}");
    ExitCode::FAILURE
}

/// `20s`, `2m`, `1h`, `500ms`; a bare number is seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_each = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "{unit:?} is no unit; use ms, s, m or h, for example 20s"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a number and a unit are needed, for example 20s".to_owned())?;
    number
        .checked_mul(ms_each)
        .map(Duration::from_millis)
        .ok_or_else(|| "that is too long".to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a binary is where the wall clock comes in"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A program beside this one: under its own name as `make demo` builds it, or this package's duplicate of it as tests do.
/// Of two, the newer is the one that was meant.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let built = |name: &str| {
        let path = own.with_file_name(name);
        let modified = path.metadata().and_then(|found| found.modified()).ok()?;
        Some((modified, path))
    };
    let duplicate = format!("{program}-dup");
    match built(program).into_iter().chain(built(&duplicate)).max() {
        Some((_, path)) => Ok(path),
        None => bail!(
            "there is no {program} beside {}; build it with: cargo build -p {program}",
            own.display()
        ),
    }
}

/// Why the demo ends.
enum End {
    Time,
    Signal { signal: processes::Signal, code: u8 },
    Child(ExitStatus),
    Broken(anyhow::Error),
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> End {
        let (signal, code) = tokio::select! {
            _ = self.interrupt.recv() => (processes::Signal::Interrupt, EXIT_INTERRUPTED),
            _ = self.terminate.recv() => (processes::Signal::Terminate, EXIT_TERMINATED),
            _ = self.hang_up.recv() => (processes::Signal::HangUp, EXIT_HUNG_UP),
        };
        End::Signal { signal, code }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let tailll = find("tailll")?;
    let shipper = find("shipper")?;
    // Before anything exists that a signal would leave behind.
    let mut signals = Signals::new()?;
    let options = Options {
        seed: arguments.seed,
        clock: now,
    };
    let mut cluster = Cluster::start(options).await?;
    let mut agent = keep(&cluster, &shipper)?;
    print_guide(&arguments, &cluster, &tailll, &shipper);
    let mut child = None;
    let end = if arguments.cluster_only {
        wait(&arguments, &mut signals, &mut cluster, None).await
    } else {
        match follow(&arguments, &cluster, &tailll) {
            Ok(started) => {
                let child = child.insert(started);
                wait(&arguments, &mut signals, &mut cluster, Some(child)).await
            }
            Err(error) => End::Broken(error),
        }
    };
    let status = match (&end, &mut child) {
        (End::Child(status), _) => Some(*status),
        (End::Signal { signal, .. }, Some(child)) => stop(child, *signal).await,
        (_, Some(child)) => stop(child, processes::Signal::Interrupt).await,
        (_, None) => None,
    };
    // Its archive goes with the folder: nobody waits for what it has not shipped.
    let _ = agent.kill().await;
    let stopped = cluster.stop().await;
    let code = match end {
        End::Time => match status.and_then(|status| status.code()) {
            // Ended by our SIGINT, whichever way it says so, is what was asked for.
            None | Some(0 | 130) => 0,
            Some(code) => code as u8,
        },
        End::Signal { code, .. } => code,
        End::Child(status) => status.code().map_or(1, |code| code as u8),
        End::Broken(error) => return Err(error),
    };
    stopped?;
    Ok(code)
}

fn follow(arguments: &Arguments, cluster: &Cluster, tailll: &Path) -> anyhow::Result<Child> {
    Command::new(tailll)
        .arg("--config")
        .arg(cluster.config_file())
        .arg(&arguments.job)
        .args(&arguments.rest)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", tailll.display()))
}

/// Starts the agent that keeps the cluster's logs. What it says goes to a file: the terminal is for the live lines.
fn keep(cluster: &Cluster, shipper: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(cluster.folder().join("shipper.log"))?;
    Command::new(shipper)
        .arg("--config")
        .arg(cluster.shipper_config_file())
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", shipper.display()))
}

async fn wait(
    arguments: &Arguments,
    signals: &mut Signals,
    cluster: &mut Cluster,
    child: Option<&mut Child>,
) -> End {
    let time = async {
        match arguments.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let ended = async {
        match child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        end = signals.next() => end,
        () = time => End::Time,
        error = cluster.failed() => End::Broken(error),
        status = ended => match status {
            Ok(status) => End::Child(status),
            Err(error) => End::Broken(anyhow::Error::new(error).context("cannot wait for tailll")),
        },
    }
}

/// Ends `tailll` by a signal, and by force if it does not listen. Its status, if it listened.
async fn stop(child: &mut Child, signal: processes::Signal) -> Option<ExitStatus> {
    if let Some(id) = child.id() {
        // At a terminal ^C reached it already, and it may be gone.
        let _ = processes::signal(&[id], signal);
    }
    if let Ok(status) = tokio::time::timeout(END_PATIENCE, child.wait()).await {
        return status.ok();
    }
    let _ = writeln!(
        io::stderr(),
        "demo: tailll did not end within {} s of SIG{}; killed",
        END_PATIENCE.as_secs(),
        signal.name()
    );
    let _ = child.kill().await;
    None
}

/// Says what runs, and what else to try. To stderr: the lines that follow belong to stdout.
fn print_guide(arguments: &Arguments, cluster: &Cluster, tailll: &Path, shipper: &Path) {
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Nobody may be there to read it.
    let text = guide(arguments, cluster, tailll, shipper, Colour(colour));
    let _ = io::stderr().write_all(text.as_bytes());
}

#[derive(Clone, Copy)]
struct Colour(bool);

impl Colour {
    fn bold(self, text: &str) -> String {
        if self.0 {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn dim(self, text: &str) -> String {
        if self.0 {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// A word as a shell takes it.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn guide(
    arguments: &Arguments,
    cluster: &Cluster,
    tailll: &Path,
    shipper: &Path,
    colour: Colour,
) -> String {
    const ABOUT: [&str; 3] = [
        "6 instances: access lines, a helper with a space in its name, a log that rotates",
        "4 instances: JSON lines, stack traces on stderr",
        "3 instances: one crash-loops, one moves to another host every 15 s",
    ];
    let title = format!(
        "demo cluster: {HOSTS} hosts, {} jobs, all on loopback",
        ABOUT.len()
    );
    let mut lines = vec![String::new(), colour.bold(&title)];
    let keys: Vec<String> = cluster.jobs().iter().map(JobKey::to_string).collect();
    let folder = format!("{}, removed at the end", cluster.folder().display());
    let uri = cluster.scheduler().uri();
    let width = keys.iter().map(String::len).max().unwrap_or(0);
    let jobs = keys.iter().map(String::as_str).zip(ABOUT);
    let archive = format!("{}, written every few seconds", cluster.archive().display());
    let places = [
        ("scheduler", uri.as_str()),
        ("archive", archive.as_str()),
        ("folder", folder.as_str()),
    ];
    for (what, about) in jobs.chain(places) {
        lines.push(format!("  {what:width$}  {}", colour.dim(about)));
    }

    lines.extend([String::new(), colour.bold("in another terminal")]);
    let config = quote_path(&cluster.config_file());
    let command = format!("{} --config {config}", quote_path(tailll));
    for (about, rest) in examples(cluster, &keys) {
        lines.push(colour.dim(&format!("  # {about}")));
        lines.push(format!("  {command} {rest}"));
    }
    let config = quote_path(&cluster.shipper_config_file());
    let command = format!("{} --config {config}", quote_path(shipper));
    for (about, rest) in [
        ("what the agent keeps, and how far it got", "ls"),
        ("whether the archive has every byte once", "audit"),
    ] {
        lines.push(colour.dim(&format!("  # {about}")));
        lines.push(format!("  {command} {rest}"));
    }
    // Building it takes longer than all the rest, so that it is built when somebody asks.
    lines.push(colour.dim("  # errors along time, from the archive; from the project's folder, and the first time it is built"));
    lines.push(format!(
        "  cargo run --release -q -p queries -- run error-timeline --archive {} --cluster {} --from -1h",
        quote(&format!("file://{}", cluster.archive().display())),
        cluster.jobs().first().map_or("", |job| job.cluster())
    ));
    lines.push(colour.dim("  # look around on a host"));
    lines.push(format!(
        "  ssh -F {} node1",
        quote_path(&cluster.ssh_config())
    ));

    let runs = if arguments.cluster_only {
        "the cluster runs".to_owned()
    } else {
        format!("now following {}", arguments.job)
    };
    let end = match arguments.time {
        Some(time) => format!("(ends after {time:?}, or by ^C)"),
        None => "(ends by ^C)".to_owned(),
    };
    lines.push(String::new());
    lines.push(format!("{} {}", colour.bold(&runs), colour.dim(&end)));
    lines.push("\n".to_owned());
    lines.join("\n")
}

/// What to try: what it shows, and the words after the configuration.
fn examples(cluster: &Cluster, keys: &[String]) -> Vec<(&'static str, String)> {
    let [web, worker, flaky] = keys else {
        return Vec::new();
    };
    let hosts = cluster.folder().join("hosts");
    let plain = |host: &str| quote(&format!("{host}:{}/{host}/log/*.log", hosts.display()));
    vec![
        (
            "what fails, with the request's id marked",
            format!(r#"{web} --include '" 5[0-9][0-9] |error' --highlight 'request_id=[0-9a-f]+'"#),
        ),
        (
            "two instances, one process, more history",
            format!("{web}/0-1 --process server --tail 50"),
        ),
        ("stack traces only", format!("{worker} --stderr")),
        (
            "for a program: JSON, the last 5 lines of each file, then end",
            format!("{worker} --output json --tail 5 --no-follow"),
        ),
        ("a crash loop, and an instance that moves", flaky.clone()),
        (
            "two jobs in one view, by their names in the configuration",
            "web worker --exclude DEBUG".to_owned(),
        ),
        (
            "any files of any hosts, without a scheduler",
            format!("{} {}", plain("node1"), plain("node2")),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("20s", Some(20_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("250ms", Some(250)),
            ("7", Some(7_000)),
            ("0s", Some(0)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("20 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            let parsed = parse_duration(text)
                .ok()
                .map(|duration| duration.as_millis());
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    #[test]
    fn words_for_a_shell() {
        for (word, expected) in [
            ("/tmp/a-b/c.toml", "/tmp/a-b/c.toml"),
            ("/tmp/it's/*.log", r"'/tmp/it'\''s/*.log'"),
            ("", "''"),
        ] {
            assert_eq!(quote(word), expected);
        }
    }
}
