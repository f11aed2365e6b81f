//! A start with 100 hosts: the time to the first line and to the first line of the last host, with servers that take
//! all who come and with servers as strict as OpenSSH's default.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::rotation::{Log, Plan, Style, find};
use e2e::sshd::{MAX_ADDRESSES_PER_PROCESS, Settings, Sshd};
use e2e::tail_process::{Reading, TailProcess};

use crate::{Tools, median, pssh, say, tailll};

const HOSTS: usize = 100;
/// After so long a host that was not heard is hidden.
const DEADLINE: Duration = Duration::from_secs(40);
const END_DEADLINE: Duration = Duration::from_secs(20);

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
            measure(&format!("{name}: tailll"), rounds, || {
                tailll(sshd.files(), &targets)
            })?;
        }
        if tools.with_peers() {
            let remote = format!(
                "exec tail -n 10 -F {}/h$((PSSH_NODENUM+1))/app.log",
                sshd.logs().display()
            );
            measure(&format!("{name}: parallel-ssh -p 100"), rounds, || {
                pssh(sshd.files(), HOSTS, 100, &remote)
            })?;
            measure(
                &format!("{name}: parallel-ssh -p 32 (its default)"),
                1,
                || pssh(sshd.files(), HOSTS, 32, &remote),
            )?;
        }
    }
    Ok(())
}

fn measure(name: &str, rounds: usize, command: impl Fn() -> Result<Command>) -> Result<()> {
    let (mut firsts, mut lasts, mut fewest) = (Vec::new(), Vec::new(), HOSTS);
    for _ in 0..rounds {
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
        firsts.push((first - start).as_secs_f64());
        lasts.push((last - start).as_secs_f64());
        fewest = fewest.min(heard.len());
        process.interrupt(END_DEADLINE)?;
    }
    say(&format!(
        "  {name:58} first {:6.2}  last {:6.2}  {}",
        median(&mut firsts),
        median(&mut lasts),
        if fewest == HOSTS {
            format!("all {HOSTS} heard")
        } else {
            format!("ONLY {fewest} OF {HOSTS} HEARD in {} s", DEADLINE.as_secs())
        }
    ));
    Ok(())
}
