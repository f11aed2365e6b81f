//! Processes of this machine, as `/proc` shows them: who descends from whom, who carries a marker in its environment, who
//! holds a folder's files open, and how much memory one takes. Also sends signals, always to an id that the caller owns.
//!
//! What was started here is found by a marker in its environment, which children inherit wherever they move to. So nothing
//! is ever chosen by its name, and a number that was used again is never hit.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context as _, Result, bail};

/// The environment variable that carries a marker.
pub const MARKER_VARIABLE: &str = "E2E_MARKER";

/// How often [`end_marked`] looks again for processes that were born while it looked.
const END_ROUNDS_MAX: u32 = 20;

/// The pause between two of these looks.
const END_ROUND_PAUSE: Duration = Duration::from_millis(5);

/// How long [`wait_until_none`] and [`wait_until_some`] sleep between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The longest command line shown in messages, in characters.
const MAX_SHOWN_COMMAND: usize = 120;

/// A process that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Its arguments, separated by spaces and shortened for messages.
    pub command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.command)
    }
}

/// The signals that are sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// As ^C does.
    Interrupt,
    /// Asks politely.
    Terminate,
    /// Cannot be caught.
    Kill,
    /// Freezes; cannot be caught.
    Stop,
    /// Thaws.
    Continue,
    /// As a closed terminal does.
    HangUp,
    /// As ^\ does.
    Quit,
    /// Ends with a dump of the memory.
    Abort,
    /// Means what the program says it means.
    User1,
}

impl Signal {
    /// Its name without `SIG`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::HangUp => "HUP",
            Self::Quit => "QUIT",
            Self::Abort => "ABRT",
            Self::User1 => "USR1",
        }
    }
}

/// Sends `signal` to each of `pids`. One that is gone already is not an error.
pub fn signal(pids: &[u32], signal: Signal) -> Result<()> {
    send(signal, pids.iter().map(u32::to_string).collect())
}

/// Sends `signal` to every process of the group that `leader` leads. That it is gone already is not an error.
pub fn signal_group(leader: u32, signal: Signal) -> Result<()> {
    send(signal, vec![format!("-{leader}")])
}

fn send(signal: Signal, recipients: Vec<String>) -> Result<()> {
    if recipients.is_empty() {
        return Ok(());
    }
    // The shell's own `kill`: no unsafe code here, and no package needed on the machine.
    let status = Command::new("/bin/sh")
        .args([
            "-c",
            r#"s=$1; shift; kill -s "$s" -- "$@" 2>/dev/null; :"#,
            "sh",
        ])
        .arg(signal.name())
        .args(recipients)
        .stdin(Stdio::null())
        .status()
        .context("sh, to send a signal")?;
    if !status.success() {
        bail!("sh could not send SIG{}: {status}", signal.name());
    }
    Ok(())
}

/// All processes that descend from `pid`, itself excluded.
pub fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == of)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.remove(0);
    found
}

/// The processes that were started with `entry` (`NAME=value`) in their environment and have not replaced it. Only
/// those of the same user can be seen, unless root asks.
pub fn with_environment(entry: &str) -> Vec<Process> {
    pids()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|one| one == entry.as_bytes())
            })
        })
        .map(process)
        .collect()
}

/// The processes that carry this marker. Zombies do not count.
pub fn marked(marker: &str) -> Vec<Process> {
    with_environment(&format!("{MARKER_VARIABLE}={marker}"))
}

/// Ends every process that carries this marker, by SIGKILL. Returns those that are left after all tries.
pub fn end_marked(marker: &str) -> Vec<Process> {
    for _ in 0..END_ROUNDS_MAX {
        let left: Vec<u32> = marked(marker).iter().map(|one| one.pid).collect();
        if left.is_empty() {
            return Vec::new();
        }
        // What cannot be ended now is seen, and said, at the end.
        let _ = signal(&left, Signal::Kill);
        std::thread::sleep(END_ROUND_PAUSE);
    }
    marked(marker)
}

/// The processes, this one excluded, that hold a file below `folder` open.
pub fn holding(folder: &Path) -> Vec<Process> {
    let own = std::process::id();
    pids()
        .into_iter()
        .filter(|pid| *pid != own && holds(*pid, folder))
        .map(process)
        .collect()
}

fn holds(pid: u32, folder: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(folder)))
}

/// The processes, this one excluded, that have this text in their arguments, or in the title that they gave themselves. The
/// text must be one that nobody else can have: the path of a folder that the caller made.
pub fn naming(text: &str) -> Vec<Process> {
    let own = std::process::id();
    pids()
        .into_iter()
        .filter(|pid| {
            *pid != own
                && fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
        })
        .map(process)
        .collect()
}

/// Looks until `find` finds nothing, and returns how long that took; fails with what is left after `deadline`.
pub fn wait_until_none(
    what: &str,
    deadline: Duration,
    mut find: impl FnMut() -> Vec<Process>,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let left = find();
        if left.is_empty() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > deadline {
            let list: Vec<String> = left.iter().map(ToString::to_string).collect();
            bail!(
                "{} {what} left after {deadline:?}: {}",
                left.len(),
                list.join(", ")
            );
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Looks until `find` finds a process that is `wanted`; fails with what there is instead after `deadline`. One look would
/// not do: a process that is just replacing itself shows neither its environment nor its name.
pub fn wait_until_some(
    what: &str,
    deadline: Duration,
    mut find: impl FnMut() -> Vec<Process>,
    wanted: impl Fn(&Process) -> bool,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let there = find();
        if there.iter().any(&wanted) {
            return Ok(());
        }
        if start.elapsed() > deadline {
            let list: Vec<String> = there.iter().map(ToString::to_string).collect();
            bail!("no {what} within {deadline:?}, but: {}", list.join(", "));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// What a process takes of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident now, in KiB (`VmRSS`).
    pub resident_kib: u64,
    /// The most that was ever resident, in KiB (`VmHWM`).
    pub peak_kib: u64,
}

/// Reads the memory of `pid`.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .strip_suffix("kB")?
                    .trim()
                    .parse()
                    .ok()
            })
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory {
        resident_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}

/// The CPU time that `pid` has used, user and system together, in seconds; its children not included.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    cpu_times(&format!("/proc/{pid}/stat"), 11)
}

/// The processor time of all children of this process that have ended and were waited for, in seconds.
pub fn ended_children_cpu_seconds() -> Result<f64> {
    cpu_times("/proc/self/stat", 13)
}

/// The sum of two times of a `stat` file, which stand so many fields behind the name.
fn cpu_times(path: &str, place: usize) -> Result<f64> {
    /// What the kernel counts in (`USER_HZ`), the same on every Linux platform that matters here.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(path).with_context(|| path.to_owned())?;
    // The name, in parentheses, may hold anything; the numbers follow the last one.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = rest
        .split_whitespace()
        .skip(place)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    if ticks.len() != 2 {
        bail!("{path} is not understood");
    }
    Ok((ticks[0] + ticks[1]) / TICKS_PER_SECOND)
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn process(pid: u32) -> Process {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&arguments).replace('\0', " ");
    Process {
        pid,
        command: command.trim().chars().take(MAX_SHOWN_COMMAND).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_by_descent_environment_and_open_file_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("held")).unwrap();
        let entry = format!("RIG_TEST={}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("60")
            .env("RIG_TEST", std::process::id().to_string())
            .stdin(file)
            .spawn()
            .unwrap();
        let pid = child.id();
        // Between fork and exec it is still a copy of this process.
        let start = Instant::now();
        while !with_environment(&entry).iter().any(|one| one.pid == pid)
            && start.elapsed().as_secs() < 10
        {
            std::thread::sleep(LOOK_INTERVAL);
        }
        assert!(
            with_environment(&entry)
                .iter()
                .any(|one| one.command == "sleep 60")
        );
        assert!(descendants(std::process::id()).contains(&pid));
        assert_eq!(
            holding(dir.path())
                .into_iter()
                .map(|one| one.pid)
                .collect::<Vec<_>>(),
            [pid]
        );
        assert!(memory(pid).unwrap().peak_kib >= memory(pid).unwrap().resident_kib);
        assert!(cpu_seconds(pid).unwrap() < 10.0);
        let left = wait_until_none("sleepers", Duration::from_millis(50), || {
            holding(dir.path())
        })
        .unwrap_err();
        assert!(left.to_string().contains("sleep 60"), "{left}");
        signal(&[pid], Signal::Kill).unwrap();
        child.wait().unwrap();
        wait_until_none("sleepers", Duration::from_secs(10), || holding(dir.path())).unwrap();
        signal(&[pid], Signal::Terminate).unwrap();
    }

    #[test]
    fn a_marker_is_inherited_and_its_processes_are_ended() {
        let marker = format!("processes-test-{}", std::process::id());
        assert_eq!(marked(&marker), []);
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 600 & sleep 600; :"])
            .env(MARKER_VARIABLE, &marker)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while marked(&marker).len() < 3 {
            assert!(Instant::now() < deadline, "the sleeps never started");
            std::thread::sleep(LOOK_INTERVAL);
        }
        assert_eq!(end_marked(&marker), []);
        assert!(!child.wait().unwrap().success());
    }
}
