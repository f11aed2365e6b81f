//! The whole program with the system's SSH client in place of the library (`--ssh-command`), against the real server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::processes::{self, Process, Signal, wait_until_none, wait_until_some};
use e2e::rotation::{Plan, Style, Writers, finish};
use e2e::sshd::{Settings, Sshd, with_all_descriptors};
use e2e::tail_process::{Reading, TailProcess};

/// For whatever should take a second or two; many tests share few cores.
const DEADLINE: Duration = Duration::from_mins(2);

/// How long something may still be there that ends by itself, on a busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// The program, with a folder for its sockets that tells its clients from all others.
struct Rig {
    sshd: Sshd,
    sockets: PathBuf,
}

impl Rig {
    fn start(settings: Settings) -> Self {
        let sshd = Sshd::start(settings).unwrap();
        let sockets = sshd.dir().join("mux");
        fs::create_dir(&sockets).unwrap();
        Self { sshd, sockets }
    }

    fn tailll(&self, ssh_command: &str, arguments: &[&str]) -> Command {
        let mut command = with_all_descriptors(env!("CARGO_BIN_EXE_tailll-dup"));
        command
            .arg("--config")
            .arg(&self.sshd.files().tailll_toml)
            .args(["-n", "all", "--ssh-command", ssh_command])
            .args(arguments)
            .env("TMPDIR", &self.sockets);
        for variable in [
            "TAILLL_CONFIG",
            "SSH_AUTH_SOCK",
            "NO_COLOR",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// One log for each host, with the host's number as the writer's; and their targets.
    fn plans_and_targets(&self, hosts: u32) -> (Vec<Plan>, Vec<String>) {
        (1..=hosts)
            .map(|host| {
                let folder = self.sshd.logs().join(format!("h{host}"));
                let plan = Plan {
                    writer: host,
                    path: folder.join("app.log"),
                    style: Style::None,
                    rotate_every: Duration::from_millis(700),
                    lines_per_second: 200,
                    payload_bytes: 100,
                };
                (plan, format!("h{host}:{}/*.log", folder.display()))
            })
            .unzip()
    }

    /// Clients of this program, masters included.
    fn clients(&self) -> Vec<Process> {
        processes::naming(self.sockets.to_str().unwrap())
    }

    /// Those in the background that hold the connections.
    fn masters(&self) -> Vec<u32> {
        self.clients()
            .into_iter()
            .filter(|one| one.command.contains("[mux]"))
            .map(|one| one.pid)
            .collect()
    }

    fn logins(&self) -> usize {
        self.sshd.log().matches("Accepted publickey").count()
    }

    fn nothing_is_left(&self) {
        wait_until_none("remote processes", GRACE, || self.sshd.remote_processes()).unwrap();
        wait_until_none("clients", GRACE, || self.clients()).unwrap();
    }

    /// Runs to the end without following; what it wrote, what it said, and its exit code.
    fn run(&self, ssh_command: &str, arguments: &[&str]) -> (String, String, Option<i32>) {
        let ended = TailProcess::start(
            self.tailll(ssh_command, &["--no-follow"]).args(arguments),
            Reading::Eager,
        )
        .unwrap()
        .wait_for_end(DEADLINE)
        .unwrap();
        let out: Vec<u8> = ended
            .lines
            .iter()
            .flat_map(|line| line.bytes.clone())
            .collect();
        (
            String::from_utf8_lossy(&out).into_owned(),
            ended.talk,
            ended.status.code(),
        )
    }

    fn log(&self, text: &str) -> String {
        let path = self.sshd.logs().join("one.log");
        fs::write(&path, text).unwrap();
        format!("h1:{}", path.display())
    }
}

fn one_host() -> Settings {
    Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    }
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

fn wait_for_some(process: &mut TailProcess, lines: usize) {
    process
        .wait_for_lines("lines", DEADLINE, |seen| seen.len() >= lines)
        .unwrap();
}

#[test]
fn eight_hosts_are_followed_with_one_login_each_and_nothing_is_left() {
    let rig = Rig::start(Settings::default());
    let (plans, targets) = rig.plans_and_targets(8);
    let writers = Writers::start(&plans).unwrap();
    let process =
        TailProcess::start(&mut rig.tailll("ssh", &strs(&targets)), Reading::Eager).unwrap();
    sleep(3_000);
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(account.is_exact(), "{account}\n{}", ended.talk);
    assert_eq!(rig.logins(), 8, "{}", ended.talk);
    rig.nothing_is_left();
    let sockets: Vec<_> = fs::read_dir(&rig.sockets).unwrap().collect();
    assert!(sockets.is_empty(), "{sockets:?}");
}

#[test]
fn a_killed_master_is_replaced_and_nothing_is_lost_or_repeated() {
    const KILLS: usize = 6;
    let rig = Rig::start(one_host());
    let (plans, targets) = rig.plans_and_targets(1);
    let writers = Writers::start(&plans).unwrap();
    let mut process =
        TailProcess::start(&mut rig.tailll("ssh", &strs(&targets)), Reading::Eager).unwrap();
    wait_for_some(&mut process, 1);
    for kill in 0..KILLS {
        let start = std::time::Instant::now();
        let masters = loop {
            let masters = rig.masters();
            if !masters.is_empty() {
                break masters;
            }
            assert!(start.elapsed() < DEADLINE, "no master: {}", process.talk());
            sleep(20);
        };
        let signal = if kill % 2 == 0 {
            Signal::Kill
        } else {
            Signal::Terminate
        };
        processes::signal(&masters, signal).unwrap();
        let seen = process.line_count();
        wait_for_some(&mut process, seen + 50);
    }
    let written = writers.stop().unwrap();
    let (account, ended) = finish(process, &written, DEADLINE).unwrap();
    assert!(
        account.lost.is_empty() && account.repeated.is_empty() && account.out_of_order.is_empty(),
        "{account}\n{}",
        ended.talk
    );
    assert!(rig.logins() > KILLS, "{} logins", rig.logins());
    rig.nothing_is_left();
}

#[test]
fn nothing_is_left_of_a_program_that_is_killed() {
    for command in ["ssh", "ssh -o ControlMaster=no"] {
        let rig = Rig::start(one_host());
        let (plans, targets) = rig.plans_and_targets(1);
        let writers = Writers::start(&plans).unwrap();
        let mut process =
            TailProcess::start(&mut rig.tailll(command, &strs(&targets)), Reading::Eager).unwrap();
        wait_for_some(&mut process, 50);
        wait_until_some("client", GRACE, || rig.clients(), |_| true).unwrap();
        wait_until_some(
            "remote process",
            GRACE,
            || rig.sshd.remote_processes(),
            |_| true,
        )
        .unwrap();
        process.signal(Signal::Kill).unwrap();
        rig.nothing_is_left();
        writers.stop().unwrap();
    }
}

#[test]
fn a_key_that_is_not_accepted_is_said_in_the_clients_words() {
    let rig = Rig::start(one_host());
    let target = rig.log("2026-11-23 10:00:00 INFO never seen\n");
    let key = rig.sshd.dir().join("wrong_key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success());
    let config = fs::read_to_string(&rig.sshd.files().ssh_config).unwrap();
    let wrong = rig.sshd.dir().join("wrong.ssh_config");
    let right = rig.sshd.client_key().display().to_string();
    fs::write(&wrong, config.replace(&right, key.to_str().unwrap())).unwrap();
    let (out, talk, code) = rig.run("ssh", &["-F", wrong.to_str().unwrap(), &target]);
    assert_eq!((out.as_str(), code), ("", Some(4)), "{talk}");
    assert!(
        talk.contains("`ssh` says: ") && talk.contains("Permission denied (publickey)"),
        "{talk}"
    );
    rig.nothing_is_left();
}

#[test]
fn a_changed_host_key_is_said_in_the_clients_words() {
    let rig = Rig::start(one_host());
    let target = rig.log("2026-11-23 10:00:00 INFO never seen\n");
    rig.sshd.change_known_key(rig.sshd.files(), 1).unwrap();
    let (out, talk, code) = rig.run("ssh", &[&target]);
    assert_eq!((out.as_str(), code), ("", Some(4)), "{talk}");
    assert!(talk.contains("Host key verification failed"), "{talk}");
    rig.nothing_is_left();
}

#[test]
fn a_command_that_is_no_client_is_a_clear_error() {
    let rig = Rig::start(one_host());
    let target = rig.log("2026-11-23 10:00:00 INFO never seen\n");
    for (command, expected) in [
        (
            "false",
            "`false` ended with status 1 without a word: is it an SSH client?",
        ),
        ("/nowhere/ssh -v", "cannot start `/nowhere/ssh`"),
    ] {
        let (out, talk, code) = rig.run(command, &[&target]);
        assert_eq!((out.as_str(), code), ("", Some(4)), "{talk}");
        assert!(talk.contains(expected), "{talk}");
    }
    for command in ["", "ssh 'x"] {
        let (_, talk, code) = rig.run(command, &[&target]);
        assert_eq!(code, Some(2), "{talk}");
        assert!(talk.contains("--ssh-command"), "{talk}");
    }
    assert_eq!(rig.logins(), 0);
}

/// Writes a program into the rig's folder.
fn script(rig: &Rig, name: &str, text: &str) -> PathBuf {
    let path = rig.sshd.dir().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn follows(rig: &Rig, command: &Path) {
    let folder = rig.sshd.logs().join("many");
    fs::create_dir(&folder).unwrap();
    let mut expected = Vec::new();
    for number in 0..12 {
        let line = format!("2026-11-23 10:00:{number:02} INFO file {number}\n");
        fs::write(folder.join(format!("{number}.log")), &line).unwrap();
        expected.push(line);
    }
    let quoted = format!("'{}'", command.display());
    let target = format!("h1:{}/*.log", folder.display());
    let (out, talk, code) = rig.run(&quoted, &["-o", "raw", &target]);
    let mut lines: Vec<&str> = out.split_inclusive('\n').collect();
    lines.sort_unstable();
    assert_eq!(lines, expected, "{talk}");
    assert_eq!(code, Some(0), "{talk}");
    rig.nothing_is_left();
}

#[test]
fn a_wrapper_that_knows_nothing_but_host_and_command_is_enough() {
    let rig = Rig::start(one_host());
    let config = rig.sshd.files().ssh_config.display().to_string();
    let text = format!(
        "#!/bin/sh\ncase $1 in -[!lp]*) echo \"usage: bare [-l user] [-p port] host command\" >&2; exit 2;; esac\n\
         exec ssh -F '{config}' \"$@\"\n"
    );
    let wrapper = script(&rig, "bare client", &text);
    follows(&rig, &wrapper);
    assert!(
        rig.logins() >= 12,
        "each file has a login of its own: {}",
        rig.logins()
    );
}

#[test]
fn a_wrapper_around_the_client_keeps_its_masters() {
    let rig = Rig::start(one_host());
    let wrapper = script(&rig, "wrapper", "#!/bin/sh\nexec ssh \"$@\"\n");
    follows(&rig, &wrapper);
    assert!(
        rig.logins() <= 4,
        "{} logins for twelve files",
        rig.logins()
    );
}

#[test]
fn the_client_asks_on_the_terminal_where_it_must() {
    let rig = Rig::start(one_host());
    let target = rig.log("2026-11-23 10:00:00 INFO by a key with a passphrase\n");
    let key = rig.sshd.dir().join("locked_key");
    fs::copy(rig.sshd.client_key(), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(locked.success());
    let config = fs::read_to_string(&rig.sshd.files().ssh_config).unwrap();
    let asking = rig.sshd.dir().join("asking.ssh_config");
    let right = rig.sshd.client_key().display().to_string();
    let text = config
        .replace(&right, key.to_str().unwrap())
        .replace("BatchMode yes", "BatchMode no");
    fs::write(&asking, text).unwrap();
    let command = format!(
        "'{}' --config '{}' -F '{}' --no-follow -n all --ssh-command ssh '{target}'",
        env!("CARGO_BIN_EXE_tailll-dup"),
        rig.sshd.files().tailll_toml.display(),
        asking.display(),
    );
    let mut process = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TMPDIR", &rig.sockets)
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("TAILLL_CONFIG")
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("SSH_ASKPASS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = process.stdin.take().unwrap();
    let mut terminal = process.stdout.take().unwrap();
    let mut shown = String::new();
    let mut answered = false;
    let mut chunk = [0; 4096];
    // The program ends by itself, whatever becomes of the login.
    while let Ok(length @ 1..) = terminal.read(&mut chunk) {
        shown.push_str(&String::from_utf8_lossy(&chunk[..length]));
        if !answered && shown.contains("Enter passphrase for key") {
            answers.write_all(b"open sesame\n").unwrap();
            answered = true;
        }
    }
    let status = process.wait().unwrap();
    assert!(answered, "{shown}");
    assert!(shown.contains("by a key with a passphrase"), "{shown}");
    assert_eq!(status.code(), Some(0), "{shown}");
    rig.nothing_is_left();
}
