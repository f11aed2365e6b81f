//! From written to shown: 50 logs on eight hosts at a modest steady rate, each line carrying the time of its writing.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::clock;
use e2e::rotation::{Plan, Style, Writers, find};
use e2e::sshd::{Settings, Sshd};
use e2e::tail_process::{Reading, TailProcess};

use crate::{Tools, percentile, pssh, say, tailll};

const STREAMS: usize = 50;
const HOSTS: usize = 8;
const LINES_PER_SECOND: u32 = 20;
const MEASURED: Duration = Duration::from_secs(15);
/// After every stream was heard, what start-up has held back is waited for.
const SETTLING: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) fn run(tools: Tools) -> Result<()> {
    // 50 names for pssh, which follows one file a name; the first eight serve tailll.
    let sshd = Sshd::start(Settings {
        hosts: STREAMS,
        ..Settings::default()
    })?;
    let folder = sshd.logs();
    let plans: Vec<Plan> = (1..=STREAMS)
        .map(|stream| Plan {
            writer: stream as u32,
            path: folder
                .join(format!("h{}", (stream - 1) % HOSTS + 1))
                .join(format!("s{stream}.log")),
            style: Style::None,
            rotate_every: DEADLINE,
            lines_per_second: LINES_PER_SECOND,
            payload_bytes: 100,
        })
        .collect();
    let writers = Writers::start(&plans)?;
    say(&format!(
        "\nlatency: {STREAMS} streams at {LINES_PER_SECOND} lines/s each, written to shown, in ms"
    ));
    if tools.with_tailll() {
        let targets: Vec<String> = (1..=HOSTS)
            .map(|host| format!("h{host}:{0}/h{host}/*.log", folder.display()))
            .collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        measure("tailll (--order time)", tailll(sshd.files(), &targets)?)?;
        measure(
            "tailll --order arrival",
            tailll(sshd.files(), &[&["--order", "arrival"], &*targets].concat())?,
        )?;
    }
    if tools.with_peers() {
        let remote = format!(
            "exec tail -n 0 -F {}/*/s$((PSSH_NODENUM+1)).log",
            folder.display()
        );
        measure(
            "parallel-ssh -P, tail -F",
            pssh(sshd.files(), STREAMS, 100, &remote)?,
        )?;
        let remote = format!(
            "exec tail -n 0 -f < {}/*/s$((PSSH_NODENUM+1)).log",
            folder.display()
        );
        measure(
            "parallel-ssh -P, tail -f on a descriptor",
            pssh(sshd.files(), STREAMS, 100, &remote)?,
        )?;
    }
    writers.stop()?;
    Ok(())
}

fn measure(name: &str, mut command: Command) -> Result<()> {
    let (instant, time) = (Instant::now(), clock::now());
    let mut process = TailProcess::start(&mut command, Reading::Eager)?;
    let mut heard = [false; STREAMS];
    let mut looked_at = 0;
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
    let dialled = instant.elapsed();
    std::thread::sleep(SETTLING);
    let from = clock::now();
    std::thread::sleep(MEASURED);
    let to = clock::now();
    std::thread::sleep(SETTLING);
    let ended = process.interrupt(DEADLINE)?;
    let mut latencies: Vec<f64> = ended
        .lines
        .iter()
        .filter_map(|line| Some((line.at, find(&line.bytes)?.time)))
        .filter(|(_, written)| *written >= from && *written < to)
        .map(|(shown, written)| {
            let shown = shown.duration_since(instant).as_secs_f64();
            (shown - written.duration_since(time).as_secs_f64()) * 1_000.0
        })
        .collect();
    let expected = STREAMS as f64 * f64::from(LINES_PER_SECOND) * MEASURED.as_secs_f64();
    say(&format!(
        "  {name:41} p50 {:6.1}  p99 {:6.1}  max {:6.1}  of {} lines ({:.0} written), all heard after {:.1} s",
        percentile(&mut latencies, 0.5),
        percentile(&mut latencies, 0.99),
        percentile(&mut latencies, 1.0),
        latencies.len(),
        expected,
        dialled.as_secs_f64(),
    ));
    Ok(())
}
