//! 1 000 streams on eight addresses, and a reader that stops reading while much is written: what the program takes of
//! memory then, and whether anything is missing once the reader goes on.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use e2e::rotation::{Log, Plan, Progress, Style, Writers, account, find};
use e2e::sshd::{Settings, Sshd};
use e2e::tail_process::{Reading, TailProcess};

use crate::{say, tailll};

const HOSTS: usize = 8;
const FILES_PER_HOST: usize = 125;
const BURST_BYTES_PER_FILE: usize = 100_000;
const PAYLOAD_BYTES: usize = 120;
const STALL: Duration = Duration::from_secs(12);
const DEADLINE: Duration = Duration::from_mins(6);

pub(crate) fn run() -> Result<()> {
    let sshd = Sshd::start(Settings::default())?;
    let streams = HOSTS * FILES_PER_HOST;
    let mut logs = Vec::new();
    for stream in 0..streams {
        let folder = sshd.logs().join(format!("h{}", stream % HOSTS + 1));
        let mut log = Log::create(Plan {
            writer: stream as u32 + 1,
            path: folder.join(format!("f{stream}.log")),
            style: Style::None,
            rotate_every: DEADLINE,
            lines_per_second: 1,
            payload_bytes: PAYLOAD_BYTES,
        })?;
        log.burst(1)?;
        logs.push(log);
    }
    let targets: Vec<String> = (1..=HOSTS)
        .map(|host| format!("h{host}:{}/h{host}/*.log", sshd.logs().display()))
        .collect();
    let mut arguments = vec!["-n", "all"];
    arguments.extend(targets.iter().map(String::as_str));
    let start = Instant::now();
    let mut process = TailProcess::start(&mut tailll(sshd.files(), &arguments)?, Reading::Eager)?;
    let (mut heard, mut looked_at) = (vec![false; streams], 0);
    process.wait_for_lines("a line of every stream", DEADLINE, |lines| {
        for found in lines[looked_at..]
            .iter()
            .filter_map(|line| find(&line.bytes))
        {
            if let Some(heard) = heard.get_mut(found.id.writer as usize - 1) {
                *heard = true;
            }
        }
        looked_at = lines.len();
        heard.iter().all(|heard| *heard)
    })?;
    say(&format!(
        "\nmemory: {streams} streams on {HOSTS} hosts, all heard after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    report("all heard", &process)?;

    process.set_reading(Reading::Stalled);
    let before = process.line_count();
    let lines_per_burst = (BURST_BYTES_PER_FILE / (PAYLOAD_BYTES + 40)) as u64;
    for log in &mut logs {
        log.burst(lines_per_burst)?;
    }
    let writers = Writers::go_on(logs);
    for _ in 0..3 {
        std::thread::sleep(STALL / 3);
        report("stalled", &process)?;
    }
    let written = writers.stop()?;
    let read = process.line_count() - before;
    let total: u64 = written.iter().map(|one| one.lines).sum();
    process.set_reading(Reading::Eager);
    let start = Instant::now();
    let mut progress = Progress::to_the_last_of(&written);
    process.wait_for_lines("the last line of every stream", DEADLINE, |lines| {
        progress.look(lines)
    })?;
    let caught_up = start.elapsed();
    report("caught up", &process)?;
    let ended = process.interrupt(DEADLINE)?;
    let account = account(ended.lines.iter().map(AsRef::as_ref), &written);
    say(&format!(
        "  of {total} lines {read} were read while stalled; caught up in {:.1} s: {account}",
        caught_up.as_secs_f64()
    ));
    if !account.lost.is_empty() || !account.repeated.is_empty() {
        bail!("lines were dropped or repeated: {account}");
    }
    Ok(())
}

fn report(when: &str, process: &TailProcess) -> Result<()> {
    let memory = process.memory()?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    say(&format!(
        "  {when:10} {:6.1} MiB resident, {:6.1} MiB at most",
        mib(memory.resident_kib),
        mib(memory.peak_kib)
    ));
    Ok(())
}
