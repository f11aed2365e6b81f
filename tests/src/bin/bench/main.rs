//! The whole-program benches: the program and its peers side by side, on real servers on loopback, in one run. Only
//! ratios of one run mean something.
//!
//! ```text
//! make bench ARGS='[throughput] [latency] [memory] [start] [breaks] [render] [ship] [history] [ask]'
//! ```

mod ask;
mod breaks;
mod history;
mod latency;
mod memory;
mod render;
mod ship;
mod start;
mod throughput;

use std::fs;
use std::io::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::sshd::{ClientFiles, with_all_descriptors};

/// Measures the program beside its peers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Which benches to run; all of them if none is named.
    benches: Vec<Bench>,
    /// How often the tools take turns in a bench that interleaves them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The size of the burst of `throughput`, in MB.
    #[arg(long, default_value_t = 240)]
    megabytes: usize,
    /// The size of the files of `render`, in MB.
    #[arg(long, default_value_t = 500)]
    render_megabytes: usize,
    /// What `ship` catches up on, in MB.
    #[arg(long, default_value_t = 1000)]
    ship_megabytes: usize,
    /// How much the large job of `history` wrote in a day, in MB.
    #[arg(long, default_value_t = 2000)]
    history_megabytes: usize,
    /// The logs that `ask` asks about, in MB.
    #[arg(long, default_value_t = 1000)]
    ask_megabytes: usize,
    /// Which of the tools to run.
    #[arg(long, value_enum, default_value_t = Tools::All)]
    tools: Tools,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// A burst over eight hosts.
    Throughput,
    /// From written to shown, at 50 streams.
    Latency,
    /// 1 000 streams and a reader that stalls.
    Memory,
    /// 100 hosts: the time to the first line and to the last host's.
    Start,
    /// What rotations and disconnects lose and repeat.
    Breaks,
    /// A saved file made readable: plain lines and JSON lines.
    Render,
    /// The agent: speed, memory, idle files, time to the archive.
    Ship,
    /// A job's past from an archive: speed, time to the first line, memory.
    History,
    /// Questions to an archive, beside DuckDB.
    Ask,
}

/// Which tools run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tools {
    /// The program and its peers.
    All,
    /// The peers alone.
    Peers,
    /// The program alone.
    Tailll,
}

impl Tools {
    fn with_tailll(self) -> bool {
        self != Self::Peers
    }

    fn with_peers(self) -> bool {
        self != Self::Tailll
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let benches = if arguments.benches.is_empty() {
        Bench::value_variants()
    } else {
        &arguments.benches
    };
    say(&machine());
    let mut code = ExitCode::SUCCESS;
    for bench in benches {
        let tools = arguments.tools;
        let result = match bench {
            Bench::Throughput => throughput::run(tools, arguments.rounds, arguments.megabytes),
            Bench::Latency => latency::run(tools),
            Bench::Memory if tools.with_tailll() => memory::run(),
            Bench::Memory => Ok(()),
            Bench::Start => start::run(tools, arguments.rounds),
            Bench::Breaks => breaks::run(tools),
            Bench::Render => render::run(tools, arguments.rounds, arguments.render_megabytes),
            Bench::Ship => ship::run(arguments.rounds, arguments.ship_megabytes),
            Bench::History => history::run(arguments.rounds, arguments.history_megabytes),
            Bench::Ask => ask::run(arguments.rounds, arguments.ask_megabytes),
        };
        if let Err(error) = result {
            say(&format!("{bench:?} failed: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Prints one line of the report.
fn say(line: &str) {
    // A report that nobody reads any more is no error.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// What the figures were measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_once(':')
            .map_or("", |(_, value)| value)
            .trim()
            .to_owned()
    };
    let ssh = Command::new("ssh")
        .arg("-V")
        .output()
        .map(|output| output.stderr)
        .unwrap_or_default();
    format!(
        "machine: {} x {}, {}, Linux {}, {}, load {}",
        std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        field(&read("/proc/cpuinfo"), "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        String::from_utf8_lossy(&ssh)
            .split(',')
            .next()
            .unwrap_or_default(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

/// The program under test: the neighbour of this one.
fn tailll(files: &ClientFiles, arguments: &[&str]) -> Result<Command> {
    let program = program()?;
    let path = program.get_program().to_str();
    let mut command = with_all_descriptors(path.context("the program's path is not UTF-8")?);
    command
        .arg("--config")
        .arg(&files.tailll_toml)
        .args(arguments);
    for variable in ["TAILLL_CONFIG", "SSH_AUTH_SOCK"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// A program of ours, which was built beside this one.
fn beside(name: &str) -> Result<Command> {
    let program = std::env::current_exe()?
        .parent()
        .context("no folder of this program")?
        .join(name);
    ensure!(
        program.is_file(),
        "there is no {name} beside this program; build it with: cargo build --release -p {name}"
    );
    Ok(Command::new(program))
}

/// The program under test, started by itself.
fn program() -> Result<Command> {
    beside("tailll")
}

/// `parallel-ssh` with its traps avoided: no time limit, all hosts at once, lines as they come.
fn pssh(files: &ClientFiles, hosts: usize, at_once: usize, remote: &str) -> Result<Command> {
    let list = files.ssh_config.with_extension(format!("{hosts}.hosts"));
    let names: Vec<String> = (1..=hosts)
        .map(|host| {
            format!(
                "h{host}
"
            )
        })
        .collect();
    fs::write(&list, names.concat())?;
    let mut command = with_all_descriptors("parallel-ssh");
    command
        .arg("-h")
        .arg(list)
        .args(["-t", "0", "-p", &at_once.to_string(), "-P", "-x"]);
    command
        .arg(format!("-F {}", files.ssh_config.display()))
        .arg(remote);
    Ok(command)
}

/// The value in the middle; 0 of nothing.
fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that a share of all values does not exceed; 0 of nothing.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (share * values.len() as f64).ceil() as usize;
    values
        .get(index.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
