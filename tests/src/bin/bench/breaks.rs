//! What is lost and repeated when logs rotate and connections break.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use e2e::cut::Cut;
use e2e::processes::Signal;
use e2e::rotation::{Account, Plan, Style, Writers, account, find};
use e2e::sshd::{Settings, Sshd};
use e2e::tail_process::{Reading, TailProcess};

use crate::{Tools, say, tailll};

const LINES_PER_SECOND: u32 = 1_000;
const WRITTEN_FOR: Duration = Duration::from_secs(10);
const ROTATE_EVERY: Duration = Duration::from_millis(500);
const DISCONNECTS: u64 = 100;
const HOSTS: usize = 8;
const DEADLINE: Duration = Duration::from_mins(4);
/// When no line has come for so long, none will.
const QUIET: Duration = Duration::from_secs(10);

pub(crate) fn run(tools: Tools) -> Result<()> {
    say(&format!(
        "\nbreaks: {LINES_PER_SECOND} lines/s for {} s, rotated every {} ms",
        WRITTEN_FOR.as_secs(),
        ROTATE_EVERY.as_millis()
    ));
    for style in [Style::Reopen, Style::Signal, Style::CopyTruncate] {
        if tools.with_tailll() {
            rotations("tailll", style, |sshd, path| {
                tailll(sshd.files(), &["-n", "all", &format!("h1:{path}")])
            })?;
        }
        if tools.with_peers() {
            rotations("ssh tail -F", style, |sshd, path| {
                let mut command = sshd.ssh();
                command.args(["h1", &format!("exec tail -n +1 -F {path}")]);
                Ok(command)
            })?;
        }
    }
    if tools.with_tailll() {
        disconnects()?;
    }
    Ok(())
}

fn plan(writer: u32, path: std::path::PathBuf, style: Style) -> Plan {
    Plan {
        writer,
        path,
        style,
        rotate_every: ROTATE_EVERY,
        lines_per_second: LINES_PER_SECOND,
        payload_bytes: 100,
    }
}

fn rotations(
    tool: &str,
    style: Style,
    command: impl Fn(&Sshd, &str) -> Result<Command>,
) -> Result<()> {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })?;
    let path = sshd.logs().join("app.log");
    let writers = Writers::start(&[plan(1, path.clone(), style)])?;
    let mut process = TailProcess::start(
        &mut command(&sshd, &path.to_string_lossy())?,
        Reading::Eager,
    )?;
    process.wait_for_lines("a line", DEADLINE, |lines| !lines.is_empty())?;
    writers.begin_rotations();
    std::thread::sleep(WRITTEN_FOR);
    let written = writers.stop()?;
    let talk = process.talk();
    let account = account_when_quiet(process, &written)?;
    let said = account
        .unknown
        .iter()
        .chain([&talk])
        .any(|text| text.contains("truncated"));
    say(&format!(
        "  {style:?} x {}: {tool:12} of {} lines: {} lost, {} repeated, {} out of order{}",
        written[0].rotations,
        written[0].lines,
        account.lost.len(),
        account.repeated.len(),
        account.out_of_order.len(),
        if said { ", says so" } else { "" }
    ));
    Ok(())
}

fn account_when_quiet(process: TailProcess, written: &[e2e::rotation::Written]) -> Result<Account> {
    let mut count = process.line_count();
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(50));
        if process.line_count() != count {
            count = process.line_count();
            since = Instant::now();
        }
    }
    let lines = process.with_lines(<[_]>::to_vec);
    process.signal(Signal::Interrupt)?;
    process.wait_for_end(DEADLINE)?;
    Ok(account(lines.iter().map(AsRef::as_ref), written))
}

fn disconnects() -> Result<()> {
    let sshd = Sshd::start(Settings::default())?;
    let cuts: Vec<Cut> = (1..=HOSTS)
        .map(|host| Cut::start(sshd.address(host)))
        .collect::<Result<_>>()?;
    let routes: Vec<SocketAddr> = cuts.iter().map(Cut::address).collect();
    let files = sshd.client_files("cut", &routes)?;
    let path = |host: usize| sshd.logs().join(format!("h{host}")).join("app.log");
    let plans: Vec<Plan> = (1..=HOSTS)
        .map(|host| Plan {
            lines_per_second: 200,
            ..plan(host as u32, path(host), Style::Signal)
        })
        .collect();
    let writers = Writers::start(&plans)?;
    let mut arguments = vec!["-n".to_owned(), "all".to_owned()];
    arguments.extend((1..=HOSTS).map(|host| format!("h{host}:{}", path(host).display())));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut process = TailProcess::start(&mut tailll(&files, &arguments)?, Reading::Eager)?;
    let mut heard = std::collections::BTreeSet::new();
    process.wait_for_lines("a line of every host", DEADLINE, |lines| {
        heard.extend(
            lines
                .iter()
                .filter_map(|line| Some(find(&line.bytes)?.id.writer)),
        );
        heard.len() == HOSTS
    })?;
    writers.begin_rotations();
    let start = Instant::now();
    let mut done = 0;
    for turn in 0.. {
        let cut = &cuts[turn % cuts.len()];
        if cut.counts().open > 0 && cut.reset_all() > 0 {
            done += 1;
        }
        if done == DISCONNECTS {
            break;
        }
        if start.elapsed() > DEADLINE {
            bail!("only {done} disconnects in {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(31 + (turn as u64 * 37) % 90));
    }
    let seconds = start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let written = writers.stop()?;
    let (lines, rotations) = written
        .iter()
        .fold((0, 0), |(l, r), one| (l + one.lines, r + one.rotations));
    let account = account_when_quiet(process, &written)?;
    say(&format!(
        "  {DISCONNECTS} disconnects in {seconds:.1} s, {rotations} rotations: tailll of {lines} lines: {account}"
    ));
    Ok(())
}
