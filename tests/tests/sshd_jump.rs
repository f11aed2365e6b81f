//! The whole program against the real server by other ways than the direct one: jump hosts, proxy commands, IPv6; and hosts
//! that cannot be reached at all. What must not be lost on a direct connection must not be lost on these.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::cut::Cut;
use e2e::processes::{wait_until_none, with_environment};
use e2e::rotation::{Log, Plan, Style, Writers, Written, find, finish};
use e2e::sshd::{ClientFiles, Ipv6, Settings, Sshd, with_all_descriptors};
use e2e::tail_process::{Reading, TailProcess};

/// For whatever should take a second or two; many tests share few cores.
const DEADLINE: Duration = Duration::from_mins(1);

/// For what has to go through many dials or retries.
const LONG_DEADLINE: Duration = Duration::from_mins(4);

fn tailll(files: &ClientFiles, arguments: &[&str]) -> Command {
    let mut command = with_all_descriptors(env!("CARGO_BIN_EXE_tailll-dup"));
    command
        .arg("--config")
        .arg(&files.tailll_toml)
        .args(["-n", "all"])
        .args(arguments)
        .env("SHELL", "/bin/sh");
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

/// Logs of these hosts, with the host's number as the writer's, and their targets.
fn plans_and_targets(sshd: &Sshd, hosts: &[u32]) -> (Vec<Plan>, Vec<String>) {
    hosts
        .iter()
        .map(|host| {
            let folder = sshd.logs().join(format!("h{host}"));
            (
                plan(*host, folder.join("app.log")),
                format!("h{host}:{}/*.log", folder.display()),
            )
        })
        .unzip()
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Waits until a line of each of these writers was shown.
fn wait_for(process: &mut TailProcess, writers: &[u32], deadline: Duration) {
    let mut missing = writers.to_vec();
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
        "nothing came of {missing:?}: {:#}\n{}",
        result.unwrap_err(),
        process.talk()
    );
}

/// Waits until one message has all of these words.
fn wait_for_message(process: &mut TailProcess, words: &[&str]) {
    let result = process.wait_for_talk("a message", DEADLINE, |talk| {
        talk.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    });
    assert!(
        result.is_ok(),
        "no message has all of {words:?}:\n{}",
        process.talk()
    );
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Follows these hosts for a moment; everything must be shown once.
fn follow_exactly(sshd: &Sshd, files: &ClientFiles, hosts: &[u32], flags: &[&str]) {
    let (plans, targets) = plans_and_targets(sshd, hosts);
    for plan in &plans {
        // Of a time before.
        let _ = std::fs::remove_file(&plan.path);
    }
    let writers = Writers::start(&plans).unwrap();
    let arguments = [flags, &strs(&targets)].concat();
    let mut process = TailProcess::start(&mut tailll(files, &arguments), Reading::Eager).unwrap();
    wait_for(&mut process, hosts, DEADLINE);
    sleep(500);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

fn start(hosts: u8) -> Sshd {
    Sshd::start(Settings {
        addresses: hosts,
        hosts: hosts.into(),
        ..Settings::default()
    })
    .unwrap()
}

/// The usual ways, but to the first host through a proxy that can break it.
fn cut_before_the_first(sshd: &Sshd, hosts: u8) -> (Cut, ClientFiles) {
    let cut = Cut::start(sshd.address(1)).unwrap();
    let routes: Vec<SocketAddr> = std::iter::once(cut.address())
        .chain((2..=usize::from(hosts)).map(|host| sshd.address(host)))
        .collect();
    let files = sshd.client_files("cut", &routes).unwrap();
    (cut, files)
}

/// Nothing listens there; it was free a moment ago.
fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Accepts connections for as long as the test runs, and does something with each.
fn fake_host(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            serve(socket);
        }
    });
    address
}

#[test]
fn a_chain_of_three_jump_hosts_is_gone_through_hop_by_hop() {
    let sshd = start(4);
    let (cut, files) = cut_before_the_first(&sshd, 4);
    let files = sshd
        .with_ssh_lines(
            "chain",
            &files,
            "Host h4\n ProxyJump h3\nHost h3\n ProxyJump h2\nHost h2\n ProxyJump h1\n",
        )
        .unwrap();
    follow_exactly(&sshd, &files, &[4], &[]);
    assert_eq!(cut.counts().accepted, 1, "{:?}", cut.counts());
    // Who connects from where shows the way.
    let log = sshd.log();
    assert_eq!(log.matches("Accepted publickey").count(), 4, "{log}");

    // The same as a list.
    let list = sshd
        .with_ssh_lines("list", &files, "Host h4\n ProxyJump h1,h2,h3\n")
        .unwrap();
    follow_exactly(&sshd, &list, &[4], &[]);
    assert_eq!(cut.counts().accepted, 2, "{:?}", cut.counts());
}

#[test]
fn all_hosts_behind_a_jump_host_share_one_connection_to_it() {
    let sshd = Sshd::start(Settings {
        max_sessions: 2,
        ..Settings::default()
    })
    .unwrap();
    let (cut, files) = cut_before_the_first(&sshd, 8);
    let files = sshd
        .with_ssh_lines("behind", &files, "Host h? !h1\n ProxyJump h1\n")
        .unwrap();
    follow_exactly(&sshd, &files, &[2, 3, 4, 5, 6, 7, 8], &[]);
    assert_eq!(cut.counts().accepted, 1, "{:?}", cut.counts());
}

#[test]
fn many_files_behind_a_jump_host_with_few_sessions_a_connection_are_followed() {
    let sshd = Sshd::start(Settings {
        addresses: 2,
        hosts: 2,
        max_sessions: 2,
        ..Settings::default()
    })
    .unwrap();
    let files = sshd
        .with_ssh_lines("behind", sshd.files(), "Host h2\n ProxyJump h1\n")
        .unwrap();
    let folder = sshd.logs().join("many");
    let plans: Vec<Plan> = (1..=6)
        .map(|writer| plan(writer, folder.join(format!("{writer}.log"))))
        .collect();
    let writers = Writers::start(&plans).unwrap();
    let target = format!("h2:{}/*.log", folder.display());
    let mut process = TailProcess::start(&mut tailll(&files, &[&target]), Reading::Eager).unwrap();
    wait_for(&mut process, &[1, 2, 3, 4, 5, 6], DEADLINE);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn a_jump_host_that_is_cut_again_and_again_loses_and_repeats_nothing() {
    const HOSTS: [u32; 4] = [2, 3, 4, 5];
    let sshd = start(5);
    let (cut, files) = cut_before_the_first(&sshd, 5);
    let files = sshd
        .with_ssh_lines("behind", &files, "Host h? !h1\n ProxyJump h1\n")
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &HOSTS);
    let plans: Vec<Plan> = plans
        .into_iter()
        .map(|plan| Plan {
            style: Style::Reopen,
            ..plan
        })
        .collect();
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &HOSTS, DEADLINE);
    writers.begin_rotations();
    let begin = std::time::Instant::now();
    let mut cuts = 0;
    while cuts < 6 {
        if cut.counts().open > 0 && cut.reset_all() > 0 {
            cuts += 1;
        }
        sleep(700);
        assert!(
            begin.elapsed() < LONG_DEADLINE,
            "{cuts} cuts: {}",
            process.talk()
        );
    }
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(
        account.lost.is_empty() && account.repeated.is_empty() && account.out_of_order.is_empty(),
        "{account}\n{}",
        ended.talk
    );
}

#[test]
fn a_jump_host_that_is_down_is_named_and_stops_nobody_else() {
    let sshd = start(3);
    let routes = [closed_port(), sshd.address(2), sshd.address(3)];
    let files = sshd.client_files("down", &routes).unwrap();
    let files = sshd
        .with_ssh_lines("behind", &files, "Host h2\n ProxyJump h1\n")
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[2, 3]);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &[3], DEADLINE);
    wait_for_message(
        &mut process,
        &["h2", "jump host h1", "connection refused", "check the port"],
    );
    drop(writers);
}

#[test]
fn one_attempt_to_reach_a_silent_jump_host_is_for_all_hosts_behind_it() {
    const HOSTS: usize = 31;
    let sshd = Sshd::start(Settings {
        hosts: HOSTS,
        ..Settings::default()
    })
    .unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let (kept, keeper) = std::sync::mpsc::channel();
    let silent = fake_host({
        let attempts = attempts.clone();
        move |socket| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let _ = kept.send(socket);
        }
    });
    let routes: Vec<SocketAddr> = std::iter::once(silent)
        .chain((2..=HOSTS).map(|host| sshd.address(host)))
        .collect();
    let files = sshd.client_files("silent", &routes).unwrap();
    let files = sshd
        .with_ssh_lines(
            "behind",
            &files,
            "Host h* !h1\n ProxyJump h1\nHost *\n ConnectTimeout 2\n",
        )
        .unwrap();
    let hosts: Vec<u32> = (2..=HOSTS as u32).collect();
    let (_, targets) = plans_and_targets(&sshd, &hosts);
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for_message(
        &mut process,
        &[
            "jump host h1",
            "no answer from",
            "check the port",
            "tried again",
        ],
    );
    wait_for_message(&mut process, &["30 retrying"]);
    let attempts = attempts.load(Ordering::Relaxed);
    assert!(
        attempts < HOSTS / 3,
        "{attempts} attempts for {HOSTS} hosts: {}",
        process.talk()
    );
    drop(keeper);
}

#[test]
fn what_a_jump_host_cannot_or_may_not_reach_is_said() {
    let sshd = Sshd::start(Settings {
        addresses: 3,
        hosts: 3,
        server_lines: format!("PermitOpen *:{}\n", closed_port().port()),
        ..Settings::default()
    })
    .unwrap();
    let files = sshd
        .with_ssh_lines("forbidden", sshd.files(), "Host h2\n ProxyJump h1\n")
        .unwrap();
    let (_, targets) = plans_and_targets(&sshd, &[2]);
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for_message(&mut process, &["h2", "jump host h1", "PermitOpen"]);
    drop(process);

    let sshd = start(2);
    let files = sshd
        .client_files("gone", &[sshd.address(1), closed_port()])
        .unwrap();
    let files = sshd
        .with_ssh_lines("behind", &files, "Host h2\n ProxyJump h1\n")
        .unwrap();
    let (_, targets) = plans_and_targets(&sshd, &[2]);
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for_message(
        &mut process,
        &[
            "h2",
            "jump host h1",
            "cannot connect to 127.0.0.1",
            "check from there",
        ],
    );
}

#[test]
fn a_jump_host_with_a_changed_key_is_refused_by_name() {
    let sshd = start(3);
    let files = sshd
        .with_ssh_lines("behind", sshd.files(), "Host h2\n ProxyJump h1\n")
        .unwrap();
    sshd.change_known_key(&files, 1).unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[2, 3]);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &[3], DEADLINE);
    wait_for_message(&mut process, &["h2", "jump host h1", "key", "changed"]);
    drop(writers);
}

/// Follows a host by a proxy command; no process of it may be left.
fn follow_by_command(sshd: &Sshd, name: &str, command: &str) {
    let files = sshd
        .with_ssh_lines(
            name,
            sshd.files(),
            &format!("Host h2\n ProxyCommand {command}\n"),
        )
        .unwrap();
    let (plans, targets) = plans_and_targets(sshd, &[2]);
    let writers = Writers::start(&plans).unwrap();
    let mark = format!("TAILLL_PROXIES={}-{name}", sshd.port());
    let (key, value) = mark.split_once('=').unwrap();
    let mut command = tailll(&files, &strs(&targets));
    command.env(key, value);
    let mut process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    wait_for(&mut process, &[2], DEADLINE);
    assert!(
        with_environment(&mark).len() > 1,
        "no proxy command runs: {:?}",
        with_environment(&mark)
    );
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
    wait_until_none("proxy commands", DEADLINE, || with_environment(&mark)).unwrap();
}

#[test]
fn ssh_with_a_forwarded_standard_input_may_be_the_proxy_command() {
    let sshd = start(2);
    let command = format!("ssh -F {} -W %h:%p h1", sshd.files().ssh_config.display());
    follow_by_command(&sshd, "ssh", &command);
}

#[test]
fn a_shell_that_copies_may_be_the_proxy_command() {
    let sshd = start(2);
    // A process in the background that would stay, were it not ended with its group.
    let command = "bash -c 'sleep 1000 & exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'";
    follow_by_command(&sshd, "bash", command);
}

#[test]
fn a_proxy_command_that_fails_is_quoted_with_its_words() {
    let sshd = start(2);
    let files = sshd
        .with_ssh_lines(
            "fails",
            sshd.files(),
            "Host h2\n ProxyCommand printf 'no way to %%s\\\\n' %h >&2; exit 3\n",
        )
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[1, 2]);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &[1], DEADLINE);
    wait_for_message(
        &mut process,
        &[
            "h2",
            "ProxyCommand",
            "no way to 127.0.0.2",
            "try it by hand",
        ],
    );
    drop(writers);
}

#[test]
fn hosts_that_are_down_or_silent_or_hang_up_stop_nobody_and_each_is_explained() {
    let sshd = start(4);
    let (kept, keeper) = std::sync::mpsc::channel();
    let silent = fake_host(move |socket| {
        // Kept open without a word.
        let _ = kept.send(socket);
    });
    let hangs_up = fake_host(|mut socket| {
        let _ = socket.write_all(b"SSH-2.0-Busy_1.0\r\n");
        let _ = socket.read(&mut [0; 64]);
    });
    let routes = [closed_port(), silent, hangs_up, sshd.address(4)];
    let files = sshd.client_files("bad", &routes).unwrap();
    let files = sshd
        .with_ssh_lines("impatient", &files, "Host *\n ConnectTimeout 2\n")
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[1, 2, 3, 4]);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &[4], DEADLINE);
    wait_for_message(
        &mut process,
        &["h1", "connection refused", "check the port"],
    );
    wait_for_message(&mut process, &["h2", "no answer from", "check the port"]);
    wait_for_message(
        &mut process,
        &["h3", "hangs up before the login", "MaxStartups"],
    );
    drop(writers);
    drop(keeper);
}

#[test]
fn forty_hosts_are_reached_past_a_server_that_turns_most_dialling_clients_away() {
    const HOSTS: u32 = 40;
    let sshd = Sshd::start(Settings {
        hosts: HOSTS as usize,
        max_startups: "3:50:6".to_owned(),
        ..Settings::default()
    })
    .unwrap();
    let hosts: Vec<u32> = (1..=HOSTS).collect();
    let (plans, targets) = plans_and_targets(&sshd, &hosts);
    let mut written = Vec::new();
    for plan in plans {
        let mut log = Log::create(plan).unwrap();
        log.burst(3).unwrap();
        written.push(log.written());
    }
    let mut process =
        TailProcess::start(&mut tailll(sshd.files(), &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &hosts, LONG_DEADLINE);
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn a_hundred_hosts_behind_one_jump_host_are_all_reached() {
    const HOSTS: u32 = 100;
    let sshd = Sshd::start(Settings {
        hosts: HOSTS as usize,
        max_startups: "10:30:100".to_owned(),
        ..Settings::default()
    })
    .unwrap();
    let mut lines = String::new();
    for host in 2..=HOSTS {
        writeln!(lines, "Host h{host}\n ProxyJump h1").unwrap();
    }
    let files = sshd.with_ssh_lines("behind", sshd.files(), &lines).unwrap();
    let hosts: Vec<u32> = (2..=HOSTS).collect();
    let (plans, targets) = plans_and_targets(&sshd, &hosts);
    let mut written = Vec::new();
    for plan in plans {
        let mut log = Log::create(plan).unwrap();
        log.burst(3).unwrap();
        written.push(log.written());
    }
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &hosts, LONG_DEADLINE);
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn a_flood_through_a_jump_host_stalls_nobody_behind_it() {
    let sshd = start(4);
    let files = sshd
        .with_ssh_lines("behind", sshd.files(), "Host h? !h1\n ProxyJump h1\n")
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[2, 3, 4]);
    let mut written = Vec::new();
    for plan in plans {
        // Far more than the buffers on the way hold.
        let mut log = Log::create(Plan {
            payload_bytes: 1000,
            ..plan
        })
        .unwrap();
        log.burst(20_000).unwrap();
        written.push(log.written());
    }
    let process = TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
}

#[test]
fn a_reader_that_pauses_costs_the_quiet_hosts_behind_a_jump_host_no_connection() {
    let sshd = start(3);
    let quiet = Cut::start(sshd.address(3)).unwrap();
    let routes = [sshd.address(1), sshd.address(2), quiet.address()];
    let files = sshd.client_files("quiet", &routes).unwrap();
    let files = sshd
        .with_ssh_lines(
            "behind",
            &files,
            "Host h? !h1\n ProxyJump h1\nHost *\n ServerAliveInterval 4\n ServerAliveCountMax 3\n",
        )
        .unwrap();
    let (plans, targets) = plans_and_targets(&sshd, &[2, 3]);
    let mut logs: Vec<Log> = plans
        .into_iter()
        .map(|plan| {
            Log::create(Plan {
                payload_bytes: 1000,
                ..plan
            })
            .unwrap()
        })
        .collect();
    for log in &mut logs {
        log.burst(3).unwrap();
    }
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for(&mut process, &[2, 3], DEADLINE);
    process.set_reading(Reading::Stalled);
    // Far more than the buffers on the way hold.
    logs[0].burst(100_000).unwrap();
    // Longer than a server may be silent.
    sleep(16_000);
    logs[1].burst(3).unwrap();
    process.set_reading(Reading::Eager);
    let written: Vec<Written> = logs.iter().map(Log::written).collect();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(
        account.lost.is_empty() && account.repeated.is_empty() && account.out_of_order.is_empty(),
        "{account}\n{}",
        ended.talk
    );
    assert_eq!(quiet.counts().accepted, 1, "{:?}", quiet.counts());
}

#[test]
fn an_ipv6_address_is_a_host_and_a_jump_host() {
    let sshd = Sshd::start(Settings {
        addresses: 3,
        hosts: 3,
        ipv6: Ipv6::Loopback,
        ..Settings::default()
    })
    .unwrap();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, sshd.port()));
    let routes = [six, sshd.address(2), sshd.address(3)];
    let files = sshd.client_files("six", &routes).unwrap();
    let me = e2e::login::own_name().unwrap();
    let port = sshd.port();
    let lines = format!(
        "Host h2\n ProxyJump {me}@[::1]:{port}\nHost h3\n ProxyJump ssh://{me}@127.0.0.1:{port}\n"
    );
    let files = sshd.with_ssh_lines("jump_six", &files, &lines).unwrap();
    follow_exactly(&sshd, &files, &[1, 2, 3], &[]);
    let log = sshd.log();
    assert!(log.contains("from ::1 port"), "{log}");
}

#[test]
fn an_address_of_ours_and_a_family_are_kept_to() {
    let sshd = start(2);
    let files = sshd
        .with_ssh_lines(
            "bind",
            sshd.files(),
            "Host h1\n BindAddress 127.0.0.77\nHost h2\n AddressFamily inet6\n",
        )
        .unwrap();
    follow_exactly(&sshd, &files, &[1], &[]);
    let log = sshd.log();
    assert!(log.contains("from 127.0.0.77 port"), "{log}");
    let (_, targets) = plans_and_targets(&sshd, &[2]);
    let mut process =
        TailProcess::start(&mut tailll(&files, &strs(&targets)), Reading::Eager).unwrap();
    wait_for_message(&mut process, &["h2", "127.0.0.2", "AddressFamily inet6"]);
}

#[test]
fn a_compressed_connection_loses_nothing() {
    let sshd = Sshd::start(Settings {
        addresses: 2,
        hosts: 2,
        // Only then does the server say what was agreed on.
        server_lines: "LogLevel DEBUG1\n".to_owned(),
        ..Settings::default()
    })
    .unwrap();
    let agreed = || sshd.log().matches("compression: zlib@openssh.com").count();
    follow_exactly(&sshd, sshd.files(), &[1], &[]);
    assert_eq!(agreed(), 0, "{}", sshd.log());
    let files = sshd
        .with_ssh_lines("z", sshd.files(), "Host h1\n Compression yes\n")
        .unwrap();
    follow_exactly(&sshd, &files, &[1], &[]);
    // Once for each direction.
    assert_eq!(agreed(), 2, "{}", sshd.log());
    follow_exactly(&sshd, &files, &[2], &["-C"]);
    assert_eq!(agreed(), 4, "{}", sshd.log());
}
