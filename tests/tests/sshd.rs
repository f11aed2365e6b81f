//! The whole program against the real server: nothing is lost when logs rotate and connections break, nothing is left
//! on the hosts when the client goes, and what cannot be followed is said. Deadlines are generous: these tests say what
//! must happen, the benches say how fast.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::cut::Cut;
use e2e::login::{self, Login};
use e2e::processes::{Signal, wait_until_none, wait_until_some};
use e2e::rotation::{Account, Log, Plan, Progress, Style, Writers, Written, account, find, finish};
use e2e::sshd::{ClientFiles, Settings, Sshd, with_all_descriptors};
use e2e::tail_process::{Ended, Reading, TailProcess};

/// For whatever should take a second or two; many tests share few cores.
const DEADLINE: Duration = Duration::from_mins(1);

/// For what has to go through many dials or retries.
const LONG_DEADLINE: Duration = Duration::from_mins(4);

/// How long the followers on the hosts wait for a heartbeat in these tests.
const HEARTBEAT_SECONDS: u32 = 3;

/// How long after its limit something may still be there, on a busy machine.
const GRACE: Duration = Duration::from_secs(15);

fn tailll(files: &ClientFiles, arguments: &[&str]) -> Command {
    let mut command = with_all_descriptors(env!("CARGO_BIN_EXE_tailll-dup"));
    command
        .arg("--config")
        .arg(&files.tailll_toml)
        .args(["-n", "all"])
        .args(arguments);
    for variable in ["TAILLL_CONFIG", "SSH_AUTH_SOCK", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

fn plan(writer: u32, path: PathBuf) -> Plan {
    Plan {
        writer,
        path,
        style: Style::None,
        rotate_every: Duration::from_millis(700),
        lines_per_second: 200,
        payload_bytes: 100,
    }
}

/// One log for each host, `logs/h1/app.log` and so on, with the host's number as the writer's; and their targets.
fn plans_and_targets(sshd: &Sshd, hosts: u32) -> (Vec<Plan>, Vec<String>) {
    (1..=hosts)
        .map(|host| {
            let folder = sshd.logs().join(format!("h{host}"));
            (
                plan(host, folder.join("app.log")),
                format!("h{host}:{}/*.log", folder.display()),
            )
        })
        .unzip()
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Waits until a line of every writer from 1 to `writers` was shown.
fn wait_for_all(process: &mut TailProcess, writers: u32, deadline: Duration) {
    let mut missing: Vec<u32> = (1..=writers).collect();
    let mut looked_at = 0;
    let result = process.wait_for_lines("a line of every writer", deadline, |lines| {
        for found in lines[looked_at..]
            .iter()
            .filter_map(|line| find(&line.bytes))
        {
            missing.retain(|writer| *writer != found.id.writer);
        }
        looked_at = lines.len();
        missing.is_empty()
    });
    assert!(
        result.is_ok(),
        "nothing came of {missing:?}: {:#}",
        result.unwrap_err()
    );
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn eight_hosts_are_followed_at_once_and_every_line_says_whose_it_is() {
    let sshd = Sshd::start(Settings::default()).unwrap();
    let (plans, targets) = plans_and_targets(&sshd, 8);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &strs(&targets)), Reading::Eager).unwrap();
    wait_for_all(&mut process, 8, DEADLINE);
    sleep(1_000);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
    for line in &ended.lines {
        let found = find(&line.bytes).unwrap();
        let prefix = String::from_utf8_lossy(&line.bytes[..found.start]);
        // The whole number, so that the eighth host is not taken for the first of its kind.
        assert!(
            prefix
                .split(|c: char| !c.is_ascii_digit())
                .any(|number| number == found.id.writer.to_string()),
            "{prefix:?} does not tell host h{}",
            found.id.writer
        );
    }
}

fn follow_rotations(style: Style) -> (Account, Ended) {
    let sshd = Sshd::start(Settings {
        addresses: 2,
        hosts: 2,
        ..Settings::default()
    })
    .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, 2);
    let plans: Vec<Plan> = plans
        .into_iter()
        .map(|plan| Plan {
            style,
            lines_per_second: 500,
            ..plan
        })
        .collect();
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &strs(&targets)), Reading::Eager).unwrap();
    wait_for_all(&mut process, 2, DEADLINE);
    writers.begin_rotations();
    sleep(6_000);
    let written = writers.stop().unwrap();
    assert!(written.iter().all(|one| one.rotations >= 5), "{written:?}");
    finish(process, &written, DEADLINE).unwrap()
}

/// The program where so many files may be open, by the softer and the harder of the two limits.
fn tailll_with_files(files: &ClientFiles, arguments: &[&str], limits: [u32; 2]) -> Command {
    let usual = tailll(files, arguments);
    let mut command = Command::new("sh");
    let [soft, hard] = limits;
    command
        .args([
            "-c",
            &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\""),
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_tailll-dup"))
        // Without the shell that would raise the limit.
        .args(usual.get_args().skip(4));
    for variable in ["TAILLL_CONFIG", "SSH_AUTH_SOCK", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn more_hosts_than_files_may_be_open_are_followed_as_far_as_the_system_lets() {
    const HOSTS: u32 = 40;
    let sshd = Sshd::start(Settings {
        hosts: HOSTS as usize,
        max_startups: "100".to_owned(),
        ..Settings::default()
    })
    .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, HOSTS);
    let mut written = Vec::new();
    for plan in plans {
        let mut log = Log::create(plan).unwrap();
        log.burst(3).unwrap();
        written.push(log.written());
    }
    // As much as is allowed is asked for.
    let mut command = tailll_with_files(sshd.files(), &strs(&targets), [35, 1_000]);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    wait_for_all(&mut process, HOSTS, DEADLINE);
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
    // Where that is not enough, it is said, and others are followed.
    let mut command = tailll_with_files(sshd.files(), &strs(&targets), [35, 35]);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    process
        .wait_for_talk("what to do", DEADLINE, |talk| {
            talk.contains("raise the limit of open files here (`ulimit -n`)")
        })
        .unwrap();
    process
        .wait_for_lines("a line", DEADLINE, |lines| !lines.is_empty())
        .unwrap();
    process.interrupt(DEADLINE).unwrap();
}

#[test]
fn a_log_that_is_renamed_and_reopened_loses_nothing() {
    let (account, ended) = follow_rotations(Style::Reopen);
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn a_log_whose_writer_keeps_the_renamed_file_loses_nothing() {
    let (account, ended) = follow_rotations(Style::Signal);
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn what_a_truncated_log_loses_is_said() {
    let (account, ended) = follow_rotations(Style::CopyTruncate);
    assert!(
        account.repeated.is_empty() && account.out_of_order.is_empty(),
        "{account}\n{}",
        ended.talk
    );
    let said = format!("{}{}", account.unknown.join("\n"), ended.talk);
    assert!(said.contains("truncated"), "{account}\n{said}");
}

#[test]
fn a_hundred_disconnects_under_load_with_rotations_lose_and_repeat_nothing() {
    const DISCONNECTS: u64 = 100;
    let sshd = Sshd::start(Settings::default()).unwrap();
    let cuts: Vec<Cut> = (1..=8)
        .map(|host| Cut::start(sshd.address(host)).unwrap())
        .collect();
    let routes: Vec<SocketAddr> = cuts.iter().map(Cut::address).collect();
    let files = sshd.client_files("cut", &routes).unwrap();
    let (plans, targets) = plans_and_targets(&sshd, 8);
    let plans: Vec<Plan> = plans
        .into_iter()
        .map(|plan| {
            let style = if plan.writer % 2 == 0 {
                Style::Reopen
            } else {
                Style::Signal
            };
            Plan {
                style,
                rotate_every: Duration::from_millis(500),
                ..plan
            }
        })
        .collect();
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for_all(&mut process, 8, DEADLINE);
    writers.begin_rotations();
    let start = std::time::Instant::now();
    let mut disconnects = 0;
    for turn in 0.. {
        let cut = &cuts[turn % cuts.len()];
        // A host that is still waiting before it dials again is passed over.
        if cut.counts().open > 0 && cut.reset_all() > 0 {
            disconnects += 1;
        }
        if disconnects == DISCONNECTS {
            break;
        }
        assert!(
            start.elapsed() < LONG_DEADLINE,
            "only {disconnects} disconnects: {}",
            process.talk()
        );
        // A spacing that does not fall in step with anything.
        sleep(31 + (turn as u64 * 37) % 90);
    }
    sleep(500);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    let reset: u64 = cuts.iter().map(|cut| cut.counts().reset).sum();
    assert!(reset >= DISCONNECTS);
    assert!(
        account.lost.is_empty() && account.repeated.is_empty(),
        "{account}\n{}",
        ended.talk
    );
    assert!(account.out_of_order.is_empty(), "{account}\n{}", ended.talk);
}

/// An agent with one key; ended when dropped.
struct Agent(std::process::Child);

impl Agent {
    fn start(socket: &Path, key: &Path) -> Self {
        // Without `-a` answering yet, adding fails; it is tried until it does.
        let agent = Self(
            Command::new("ssh-agent")
                .args(["-D", "-a"])
                .arg(socket)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        );
        let start = std::time::Instant::now();
        loop {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(key)
                .env("SSH_AUTH_SOCK", socket)
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            if added.success() {
                return agent;
            }
            assert!(start.elapsed() < DEADLINE, "ssh-add gives {added}");
            sleep(50);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_key_of_the_agent_logs_in_and_without_it_the_message_says_what_to_do() {
    let sshd = Sshd::start(Settings::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    std::fs::write(&log, "2026-11-23 10:00:00 INFO by the agent's key\n").unwrap();
    let socket = folder.path().join("agent");
    let agent = Agent::start(&socket, &sshd.client_key());
    // The same hosts, without any key file.
    let ssh_config: String = std::fs::read_to_string(&sshd.files().ssh_config)
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("Identit"))
        .fold(String::new(), |text, line| text + line + "\n");
    let own = folder.path().join("ssh_config");
    std::fs::write(&own, ssh_config + "  IdentityFile none\n").unwrap();
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_tailll-dup"))
            .arg("-F")
            .arg(&own)
            .args(["--no-follow", &format!("h1:{}", log.display())])
            .env("SSH_AUTH_SOCK", &socket)
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("TAILLL_CONFIG")
            .output()
            .unwrap()
    };
    let with = run();
    let shown = String::from_utf8_lossy(&with.stdout).into_owned();
    assert!(shown.contains("by the agent's key"), "{with:?}");
    assert_eq!(with.status.code(), Some(0), "{with:?}");
    drop(agent);
    let without = run();
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(said.contains("ssh-add"), "{said}");
    assert_eq!(without.status.code(), Some(4), "{said}");
}

/// A client that follows one host through a proxy, with short heartbeats.
struct Followed {
    process: TailProcess,
    writers: Writers,
    cut: Cut,
    sshd: Sshd,
}

impl Followed {
    fn start() -> Self {
        let settings = Settings {
            addresses: 1,
            hosts: 1,
            heartbeat_seconds: Some(HEARTBEAT_SECONDS),
            ..Settings::default()
        };
        let sshd = Sshd::start(settings).unwrap();
        let cut = Cut::start(sshd.address(1)).unwrap();
        let files = sshd.client_files("cut", &[cut.address()]).unwrap();
        let (plans, targets) = plans_and_targets(&sshd, 1);
        let writers = Writers::start(&plans).unwrap();
        let mut process =
            TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
        wait_for_all(&mut process, 1, DEADLINE);
        wait_until_some(
            "remote process",
            GRACE,
            || sshd.remote_processes(),
            |_| true,
        )
        .unwrap();
        Self {
            process,
            writers,
            cut,
            sshd,
        }
    }

    fn wait_until_nothing_is_left(&self, limit: Duration) {
        wait_until_none("remote processes", limit + GRACE, || {
            self.sshd.remote_processes()
        })
        .unwrap();
    }
}

#[test]
fn no_remote_process_survives_a_killed_client() {
    let followed = Followed::start();
    followed.process.signal(Signal::Kill).unwrap();
    followed.wait_until_nothing_is_left(Duration::from_secs(3));
}

#[test]
fn no_remote_process_survives_a_client_that_ends_by_itself() {
    let followed = Followed::start();
    let Followed {
        process,
        writers,
        cut,
        sshd,
    } = followed;
    let written = writers.stop().unwrap();
    finish(process, &written, DEADLINE).unwrap();
    wait_until_none("remote processes", GRACE, || sshd.remote_processes()).unwrap();
    drop(cut);
}

#[test]
fn no_remote_process_waits_longer_for_a_frozen_client_than_its_heartbeat_and_nothing_is_lost() {
    let followed = Followed::start();
    followed.process.signal(Signal::Stop).unwrap();
    followed.wait_until_nothing_is_left(Duration::from_secs(HEARTBEAT_SECONDS.into()));
    followed.process.signal(Signal::Continue).unwrap();
    sleep(500);
    let written = followed.writers.stop().unwrap();
    let (account, ended) = finish(followed.process, &written, DEADLINE).unwrap();
    assert!(
        account.lost.is_empty() && account.repeated.is_empty(),
        "{account}\n{}",
        ended.talk
    );
}

#[test]
fn no_remote_process_waits_longer_for_a_vanished_client_than_its_heartbeat_and_nothing_is_lost() {
    let followed = Followed::start();
    followed.cut.freeze();
    followed.wait_until_nothing_is_left(Duration::from_secs(HEARTBEAT_SECONDS.into()));
    // The network is back, and what was a connection is none any more.
    followed.cut.reset_all();
    followed.cut.thaw();
    sleep(500);
    let written = followed.writers.stop().unwrap();
    let (account, ended) = finish(followed.process, &written, DEADLINE).unwrap();
    assert!(
        account.lost.is_empty() && account.repeated.is_empty(),
        "{account}\n{}",
        ended.talk
    );
}

/// Names that a shell, a glob or a line-based protocol could trip over.
const HARD_NAMES: [&str; 9] = [
    "with space.log",
    "it's.log",
    "say \"x\".log",
    "new\nline.log",
    "$HOME `id`.log",
    "-n.log",
    "back\\slash.log",
    "star*?[a].log",
    "wow!!.log",
];

fn follow_hard_names(sshd: &Sshd, folder: &Path, arguments: &[&str]) {
    let plans: Vec<Plan> = (1..)
        .zip(HARD_NAMES)
        .map(|(writer, name)| plan(writer, folder.join(name)))
        .collect();
    let writers = Writers::start(&plans).unwrap();
    let target = format!("h1:{}/*.log", folder.display());
    let arguments = [arguments, &[target.as_str()]].concat();
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &arguments), Reading::Eager).unwrap();
    wait_for_all(&mut process, HARD_NAMES.len() as u32, DEADLINE);
    sleep(500);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn file_names_with_spaces_quotes_and_newlines_are_followed() {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    follow_hard_names(&sshd, &sshd.logs().join("names"), &[]);
}

fn follow_with_login_shell(shell: &str) {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    let login = Login::add(Path::new(shell), sshd.dir()).unwrap();
    follow_hard_names(
        &sshd,
        &sshd.logs().join("shell's \"own\" folder!"),
        &["--user", login.name()],
    );
}

#[test]
fn the_login_shell_may_be_bash() {
    follow_with_login_shell("/bin/bash");
}

#[test]
fn the_login_shell_may_be_dash() {
    follow_with_login_shell("/bin/dash");
}

#[test]
fn the_login_shell_may_be_tcsh() {
    follow_with_login_shell("/bin/tcsh");
}

#[test]
fn a_host_with_nothing_but_busybox_is_followed_exactly() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let busybox = login::busybox_folder(dir.path()).unwrap();
    let settings = Settings {
        addresses: 1,
        hosts: 1,
        environment: vec![("PATH".to_owned(), busybox.display().to_string())],
        ..Settings::default()
    };
    let sshd = Sshd::start(settings).unwrap();
    // Whoever is not root follows with his own login shell, and with busybox for everything else.
    let login = login::is_root()
        .unwrap()
        .then(|| Login::add(&busybox.join("sh"), sshd.dir()).unwrap());
    let user = login.as_ref().map_or_else(
        || login::own_name().unwrap(),
        |login| login.name().to_owned(),
    );
    let tools = sshd
        .ssh()
        .args(["-l", &user, "h1", "command -v tail; tail --help 2>&1"])
        .output()
        .unwrap();
    let tools = String::from_utf8_lossy(&tools.stdout).into_owned();
    assert!(
        tools.starts_with(&busybox.display().to_string()) && tools.contains("BusyBox"),
        "{tools}"
    );

    let plans = [Style::None, Style::Reopen, Style::Signal]
        .into_iter()
        .zip(1..)
        .map(|(style, writer)| {
            let path = sshd.logs().join("box").join(format!("it's {writer}.log"));
            // A host without a fractional sleep needs its time to come round.
            Plan {
                style,
                rotate_every: Duration::from_secs(3),
                ..plan(writer, path)
            }
        });
    let writers = Writers::start(&plans.collect::<Vec<_>>()).unwrap();
    let target = format!("h1:{}/*.log", sshd.logs().join("box").display());
    let mut process = TailProcess::start(
        &mut tailll(sshd.files(), &["--user", &user, &target]),
        Reading::Eager,
    )
    .unwrap();
    wait_for_all(&mut process, 3, DEADLINE);
    writers.begin_rotations();
    sleep(8_000);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
    wait_until_none("remote processes", GRACE, || sshd.remote_processes()).unwrap();
}

/// Words that say that something is not there.
const GONE_WORDS: [&str; 7] = [
    "no such file",
    "no file",
    "not found",
    "not exist",
    "nothing matches",
    "no match",
    "matches nothing",
];

#[test]
fn a_file_that_may_not_be_read_and_one_that_is_not_there_are_told_apart() {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    let secret = sshd.logs().join("secret.log");
    fs::write(&secret, "not for you\n").unwrap();
    // Root reads everything, so root follows as somebody else.
    let login = login::is_root()
        .unwrap()
        .then(|| Login::add(Path::new("/bin/sh"), sshd.dir()).unwrap());
    fs::set_permissions(
        &secret,
        fs::Permissions::from_mode(if login.is_some() { 0o600 } else { 0o000 }),
    )
    .unwrap();
    let user = login.as_ref().map_or_else(
        || login::own_name().unwrap(),
        |login| login.name().to_owned(),
    );

    let target = format!("h1:{}", secret.display());
    let mut command = tailll(sshd.files(), &["--user", &user, &target]);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    process
        .wait_for_talk("that the file may not be read", DEADLINE, |talk| {
            talk.to_lowercase().contains("denied") && talk.contains("secret.log")
        })
        .unwrap();
    assert_eq!(process.line_count(), 0);

    let target = format!("h1:{}", sshd.logs().join("absent.log").display());
    let mut command = tailll(sshd.files(), &["--user", &user, &target]);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    process
        .wait_for_talk("that the file is not there", DEADLINE, |talk| {
            let low = talk.to_lowercase();
            low.contains("absent.log") && GONE_WORDS.iter().any(|words| low.contains(words))
        })
        .unwrap();
    assert!(
        !process.talk().to_lowercase().contains("denied"),
        "{}",
        process.talk()
    );
}

#[test]
fn a_host_that_lets_nobody_in_and_one_that_is_not_there_are_told_apart() {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    let target = format!("h1:{}/*.log", sshd.logs().display());
    let mut command = tailll(sshd.files(), &["--user", "nobody", &target]);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    process
        .wait_for_talk("that the login is refused", DEADLINE, |talk| {
            talk.contains("h1")
                && ["denied", "authentication"]
                    .iter()
                    .any(|word| talk.to_lowercase().contains(word))
        })
        .unwrap();

    // A port that was free a moment ago.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let files = sshd.client_files("gone", &[nobody]).unwrap();
    let mut process = TailProcess::start(&mut tailll(&files, &[&target]), Reading::Eager).unwrap();
    process
        .wait_for_talk("that the host refuses the connection", DEADLINE, |talk| {
            talk.contains("h1") && talk.to_lowercase().contains("refused")
        })
        .unwrap();
    assert!(
        !process.talk().to_lowercase().contains("denied"),
        "{}",
        process.talk()
    );
}

#[test]
fn a_changed_host_key_is_refused_and_the_other_host_is_followed() {
    let sshd = Sshd::start(Settings {
        addresses: 2,
        hosts: 2,
        ..Settings::default()
    })
    .unwrap();
    sshd.change_known_key(sshd.files(), 1).unwrap();
    let (plans, targets) = plans_and_targets(&sshd, 2);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &strs(&targets)), Reading::Eager).unwrap();
    process
        .wait_for_talk("that the host key has changed", DEADLINE, |talk| {
            let low = talk.to_lowercase();
            low.contains("h1")
                && low.contains("key")
                && ["changed", "differ", "mismatch"]
                    .iter()
                    .any(|w| low.contains(w))
        })
        .unwrap();
    process
        .wait_for_lines("lines of the other host", DEADLINE, |lines| {
            lines
                .iter()
                .filter_map(|line| find(&line.bytes))
                .any(|found| found.id.writer == 2)
        })
        .unwrap();
    sleep(500);
    let written = writers.stop().unwrap();
    let (account, ended) = finish_without(process, &written, 1);
    assert!(
        account.lost.iter().all(|id| id.writer == 1),
        "{account}\n{}",
        ended.talk
    );
    assert!(
        account.lost.len() as u64 == written[0].lines,
        "lines came of a host with another key: {account}"
    );
}

/// As [`finish`], where nothing is expected of one writer.
fn finish_without(mut process: TailProcess, written: &[Written], without: u32) -> (Account, Ended) {
    let expected: Vec<Written> = written
        .iter()
        .copied()
        .filter(|one| one.writer != without)
        .collect();
    let mut progress = Progress::to_the_last_of(&expected);
    process
        .wait_for_lines("the last line of the other writers", DEADLINE, |lines| {
            progress.look(lines)
        })
        .unwrap();
    let ended = process.interrupt(DEADLINE).unwrap();
    (
        account(ended.lines.iter().map(AsRef::as_ref), written),
        ended,
    )
}

#[test]
fn a_server_that_turns_dialling_clients_away_hides_no_host() {
    const HOSTS: u32 = 100;
    // All hosts behind one server process: as strict as OpenSSH's default can be.
    let settings = Settings {
        hosts: HOSTS as usize,
        max_startups: "10:30:100".to_owned(),
        ..Settings::default()
    };
    let sshd = Sshd::start(settings).unwrap();
    let (plans, targets) = plans_and_targets(&sshd, HOSTS);
    let mut written = Vec::new();
    for plan in plans {
        let mut log = Log::create(plan).unwrap();
        log.burst(3).unwrap();
        written.push(log.written());
    }
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &strs(&targets)), Reading::Eager).unwrap();
    wait_for_all(&mut process, HOSTS, LONG_DEADLINE);
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}
