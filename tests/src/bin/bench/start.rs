//! A start with 100 hosts: the time to the first line and to the first line of the last host, with servers that take
//! all who come and with servers as strict as OpenSSH's default.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::processes::ended_children_cpu_seconds;
use e2e::rotation::{Log, Plan, Style, find};
use e2e::sshd::{MAX_ADDRESSES_PER_PROCESS, Settings, Sshd};
use e2e::tail_process::{Reading, TailProcess};

use crate::{Tools, median, percentile, program, pssh, say, tailll};

const HOSTS: usize = 100;
/// After so long a host that was not heard is hidden.
const DEADLINE: Duration = Duration::from_secs(40);
const END_DEADLINE: Duration = Duration::from_secs(20);
/// What the server logs of a login.
const LOGIN: &str = "Accepted publickey";
/// How often the server's log is looked at: the error of the time of the last login.
const LOG_READ_EVERY: Duration = Duration::from_millis(10);
/// How often the help is asked for in a round.
const HELPS_A_ROUND: usize = 10;

pub(crate) fn run(tools: Tools, rounds: usize) -> Result<()> {
    say(&format!(
        "\nstart: {HOSTS} hosts on 8 addresses, seconds to the first line and to the last host's (medians)"
    ));
    let strict = "10:30:100".to_owned();
    for (name, max_startups, addresses_per_process) in [
        (
            "MaxStartups 500",
            "500".to_owned(),
            MAX_ADDRESSES_PER_PROCESS,
        ),
        ("10:30:100 for each address", strict.clone(), 1),
        (
            "10:30:100 for all together",
            strict,
            MAX_ADDRESSES_PER_PROCESS,
        ),
    ] {
        let sshd = Sshd::start(Settings {
            hosts: HOSTS,
            max_startups,
            addresses_per_process,
            ..Settings::default()
        })?;
        let mut targets = Vec::new();
        for host in 1..=HOSTS {
            let path = sshd.logs().join(format!("h{host}")).join("app.log");
            targets.push(format!("h{host}:{}", path.display()));
            Log::create(Plan {
                writer: host as u32,
                path,
                style: Style::None,
                rotate_every: DEADLINE,
                lines_per_second: 1,
                payload_bytes: 100,
            })?
            .burst(3)?;
        }
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        if tools.with_tailll() {
            measure(&format!("{name}: tailll"), &sshd, rounds, || {
                tailll(sshd.files(), &targets)
            })?;
        }
        if tools.with_peers() {
            let remote = format!(
                "exec tail -n 10 -F {}/h$((PSSH_NODENUM+1))/app.log",
                sshd.logs().display()
            );
            measure(
                &format!("{name}: parallel-ssh -p 100"),
                &sshd,
                rounds,
                || pssh(sshd.files(), HOSTS, 100, &remote),
            )?;
            measure(
                &format!("{name}: parallel-ssh -p 32 (its default)"),
                &sshd,
                1,
                || pssh(sshd.files(), HOSTS, 32, &remote),
            )?;
        }
    }
    if tools.with_tailll() {
        help(rounds)?;
    }
    Ok(())
}

/// How long the program takes for its own help: what every start pays.
fn help(rounds: usize) -> Result<()> {
    let mut times = Vec::new();
    let used_before = ended_children_cpu_seconds()?;
    for _ in 0..rounds.max(1) * HELPS_A_ROUND {
        let start = Instant::now();
        let output = program()?.arg("--help").output()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(output.status.success(), "--help failed");
    }
    say(&format!(
        "  tailll --help: median {:.1} ms, {:.1} ms of a processor, slowest {:.1} ms",
        median(&mut times),
        (ended_children_cpu_seconds()? - used_before) * 1000.0 / times.len() as f64,
        percentile(&mut times, 1.0)
    ));
    Ok(())
}

/// Waits for this many logins more than `before` on the servers, and says when they had happened.
fn last_login(sshd: &Sshd, before: usize, stop: &AtomicBool) -> Option<Instant> {
    while !stop.load(Ordering::Relaxed) {
        if sshd.log().matches(LOGIN).count() >= before + HOSTS {
            return Some(Instant::now());
        }
        std::thread::sleep(LOG_READ_EVERY);
    }
    None
}

fn measure(
    name: &str,
    sshd: &Sshd,
    rounds: usize,
    command: impl Fn() -> Result<Command>,
) -> Result<()> {
    let (mut firsts, mut lasts, mut fewest) = (Vec::new(), Vec::new(), HOSTS);
    let mut after_login = Vec::new();
    for _ in 0..rounds {
        let before = sshd.log().matches(LOGIN).count();
        let stop = AtomicBool::new(false);
        let (round, logged_in) = std::thread::scope(|scope| {
            let login = scope.spawn(|| last_login(sshd, before, &stop));
            let round = one_round(&command);
            stop.store(true, Ordering::Relaxed);
            (round, login.join().ok().flatten())
        });
        let round = round?;
        firsts.push((round.first - round.start).as_secs_f64());
        lasts.push((round.last - round.start).as_secs_f64());
        if let Some(logged_in) = logged_in {
            // The log is read a moment after the login, and a line may be faster than that.
            after_login.push(
                round
                    .last
                    .saturating_duration_since(logged_in)
                    .as_secs_f64(),
            );
        }
        fewest = fewest.min(round.heard);
    }
    say(&format!(
        "  {name:58} first {:6.2}  last {:6.2}, {:5.2} after the last login  {}",
        median(&mut firsts),
        median(&mut lasts),
        median(&mut after_login),
        if fewest == HOSTS {
            format!("all {HOSTS} heard")
        } else {
            format!("ONLY {fewest} OF {HOSTS} HEARD in {} s", DEADLINE.as_secs())
        }
    ));
    Ok(())
}

/// When what was seen in one start.
struct Round {
    start: Instant,
    first: Instant,
    last: Instant,
    heard: usize,
}

fn one_round(command: &impl Fn() -> Result<Command>) -> Result<Round> {
    let start = Instant::now();
    let mut process = TailProcess::start(&mut command()?, Reading::Eager)?;
    let (mut first, mut last) = (start, start);
    let (mut heard, mut looked_at) = (BTreeSet::new(), 0);
    let all = process.wait_for_lines("a line of every host", DEADLINE, |lines| {
        for (found, at) in lines[looked_at..]
            .iter()
            .filter_map(|line| Some((find(&line.bytes)?, line.at)))
        {
            if heard.is_empty() {
                first = at;
            }
            if heard.insert(found.id.writer) {
                last = at;
            }
        }
        looked_at = lines.len();
        heard.len() == HOSTS
    });
    // A host that is hidden is a result, not a failure of the bench.
    drop(all);
    process.interrupt(END_DEADLINE)?;
    Ok(Round {
        start,
        first,
        last,
        heard: heard.len(),
    })
}
