//! Logging in and trusting hosts as OpenSSH's client does, against the real server: certificates of users and of hosts, new
//! and changed host keys, passphrases, passwords, codes. What cannot be is said with host, cause and remedy, and never keeps
//! the other hosts from being followed.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::login::{self, Login};
use e2e::ssh_server::{Asks, Options, SshServer, new_key, openssh_private};
use e2e::sshd::{Settings, Sshd, keygen, make_key};

/// For whatever should take a second or two; many tests share few cores.
const DEADLINE: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

/// What the key files in these tests are encrypted with.
const PASSPHRASE: &str = "correct horse";

/// A log on the hosts, which are all this machine, and an OpenSSH configuration.
struct Client {
    ssh_config: PathBuf,
    log: PathBuf,
    folder: tempfile::TempDir,
}

impl Client {
    /// With these lines for all hosts, before which `hosts` says what is different for some.
    fn new(sshd: &Sshd, hosts: &str, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = sshd.logs().join("a.log");
        fs::write(&log, "2026-11-23 10:00:00 INFO here it is\n").unwrap();
        let all = fs::read_to_string(&sshd.files().ssh_config).unwrap();
        let names = all.split("Host *").next().unwrap();
        let ssh_config = folder.path().join("ssh_config");
        fs::write(
            &ssh_config,
            format!(
                "{names}{hosts}Host *\n  GlobalKnownHostsFile /dev/null\n  UpdateHostKeys no\n  LogLevel ERROR\n{lines}"
            ),
        )
        .unwrap();
        Self {
            ssh_config,
            log,
            folder,
        }
    }

    fn targets(&self, hosts: &[&str]) -> Vec<String> {
        hosts
            .iter()
            .map(|host| format!("{host}:{}", self.log.display()))
            .collect()
    }

    /// Without a terminal.
    fn command(&self, hosts: &[&str], flags: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command
            .args(["--wait", PROGRAM, "--no-follow", "-F"])
            .arg(&self.ssh_config)
            .args(flags)
            .args(self.targets(hosts))
            .stdin(Stdio::null());
        self.clean(&mut command);
        command
    }

    fn clean(&self, command: &mut Command) {
        command
            .env("HOME", self.folder.path())
            .env("TERM", "xterm")
            .env_remove("XDG_CONFIG_HOME");
        for variable in [
            "TAILLL_CONFIG",
            "SSH_AUTH_SOCK",
            "SSH_ASKPASS",
            "SSH_ASKPASS_REQUIRE",
            "DISPLAY",
            "WAYLAND_DISPLAY",
            "NO_COLOR",
        ] {
            command.env_remove(variable);
        }
    }

    fn run(&self, hosts: &[&str], flags: &[&str]) -> Said {
        Said::of(&self.command(hosts, flags).output().unwrap())
    }

    /// In a terminal of its own.
    fn terminal(&self, hosts: &[&str], flags: &[&str]) -> Terminal {
        let words: Vec<String> = flags
            .iter()
            .map(|flag| (*flag).to_owned())
            .chain(self.targets(hosts))
            .map(|word| format!("'{word}'"))
            .collect();
        // ^C reaches the shell too, and not every shell outlives it without a handler.
        let line = format!(
            "trap : INT; stty cols 200; '{PROGRAM}' --no-follow -F '{}' {}; echo ended with $?; stty -a",
            self.ssh_config.display(),
            words.join(" ")
        );
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh");
        self.clean(&mut command);
        Terminal::start(&mut command)
    }
}

/// What a run wrote, and how it ended.
struct Said {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Whether the host's log was shown.
    fn shows(&self, host: &str) -> bool {
        self.stdout
            .lines()
            .any(|line| line.contains(host) && line.contains("here it is"))
    }

    /// The line on standard error about the host.
    fn about(&self, host: &str) -> &str {
        self.stderr
            .lines()
            .find(|line| line.starts_with(&format!("tailll: {host}: ")))
            .unwrap_or_else(|| panic!("nothing about {host}: {}", self.stderr))
    }

    fn expect(&self, host: &str, all: &[&str]) {
        let line = self.about(host);
        for expected in all {
            assert!(line.contains(expected), "no {expected:?} in: {line}");
        }
        assert!(!self.shows(host), "{host} was followed: {}", self.stdout);
    }
}

/// A program in a pseudo terminal: what it shows is collected, and answers are typed.
struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script (package bsdutils)");
        let mut output = child.stdout.take().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let screen = screen.clone();
            move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = output.read(&mut bytes) {
                    screen.lock().unwrap().extend_from_slice(&bytes[..read]);
                }
            }
        });
        Self {
            keyboard: child.stdin.take(),
            child,
            screen,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    /// Waits until this is on the screen so often, and types.
    fn answer(&mut self, question: &str, times: usize, answer: &str) {
        let start = Instant::now();
        while self.text().matches(question).count() < times {
            assert!(
                start.elapsed() < DEADLINE,
                "no {question:?} in:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        // Also that what is said is really waited for: the screen does not go on by itself.
        std::thread::sleep(Duration::from_millis(100));
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(answer.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits for the end of the program and of the terminal.
    fn finish(mut self) -> String {
        let start = Instant::now();
        while !self.text().contains("ended with ") || !self.text().contains("-iuclc") {
            assert!(start.elapsed() < DEADLINE, "no end in:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.keyboard.take());
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.text()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended, if the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encrypted_copy(key: &Path, to: &Path) {
    fs::copy(key, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    keygen(
        &["-q", "-p", "-P", "", "-N", PASSPHRASE, "-a", "1", "-f"],
        to,
    )
    .unwrap();
}

fn settings(hosts: u8) -> Settings {
    Settings {
        addresses: hosts,
        hosts: usize::from(hosts),
        ..Settings::default()
    }
}

const HOSTS: [&str; 8] = ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"];

/// A key pair `user` and what the user's authority has signed, each certificate beside a copy of the key.
fn user_certificates(dir: &Path) -> Result<()> {
    make_key(&dir.join("user_ca"))?;
    let me = login::own_name()?;
    for (name, arguments) in [
        ("good", vec!["-n", me.as_str(), "-V", "-1h:+1h"]),
        ("beside", vec!["-n", me.as_str()]),
        (
            "expired",
            vec!["-n", me.as_str(), "-V", "20200101:20200201"],
        ),
        ("principal", vec!["-n", "somebody-else"]),
        ("revoked", vec!["-n", me.as_str()]),
    ] {
        let key = dir.join(name);
        make_key(&key)?;
        let ca = dir.join("user_ca");
        let mut all = vec!["-q", "-s", ca.to_str().unwrap_or_default(), "-I", "rig-id"];
        all.extend(arguments);
        keygen(&all, &key.with_extension("pub"))?;
    }
    fs::copy(dir.join("revoked.pub"), dir.join("revoked_keys"))?;
    Ok(())
}

#[test]
fn user_certificates_log_in_and_refused_ones_are_named_with_their_validity() {
    let sshd = Sshd::start(Settings {
        server_lines: "TrustedUserCAKeys {dir}/user_ca.pub\nRevokedKeys {dir}/revoked_keys\n"
            .to_owned(),
        prepare: user_certificates,
        ..settings(5)
    })
    .unwrap();
    let dir = sshd.dir().display();
    let mut hosts = String::new();
    for (host, name) in [
        ("h1", "good"),
        ("h3", "expired"),
        ("h4", "principal"),
        ("h5", "revoked"),
    ] {
        writeln!(
            hosts,
            "Host {host}\n  IdentityFile {dir}/{name}\n  CertificateFile {dir}/{name}-cert.pub"
        )
        .unwrap();
    }
    writeln!(hosts, "Host h2\n  IdentityFile {dir}/beside").unwrap();
    let known = sshd.files().known_hosts.display().to_string();
    let lines = format!("  IdentityAgent none\n  UserKnownHostsFile {known}\n  BatchMode yes\n");
    let client = Client::new(&sshd, &hosts, &lines);
    let said = client.run(&HOSTS[..5], &[]);
    assert!(said.shows("h1") && said.shows("h2"), "{}", said.stderr);
    said.expect(
        "h3",
        &[
            "expired-cert.pub",
            "until 2020-0",
            "permission denied",
            "ssh-add",
        ],
    );
    said.expect("h4", &["principal-cert.pub", "for somebody-else", "rig-id"]);
    said.expect("h5", &["revoked-cert.pub", "for ever"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);

    // The same from an agent, which has no file to look beside.
    let socket = client.folder.path().join("agent");
    let agent = Agent::start(&socket, &sshd.dir().join("beside"));
    let lines = format!(
        "  IdentityFile none\n  IdentityAgent {}\n  UserKnownHostsFile {known}\n  BatchMode yes\n",
        socket.display()
    );
    let said = Client::new(&sshd, "", &lines).run(&["h1"], &[]);
    assert!(said.shows("h1"), "{}", said.stderr);
    drop(agent);
}

/// An agent with one key; ended when dropped.
struct Agent(Child);

impl Agent {
    fn start(socket: &Path, key: &Path) -> Self {
        let agent = Self(
            Command::new("ssh-agent")
                .args(["-D", "-a"])
                .arg(socket)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let start = Instant::now();
        loop {
            let added = Command::new("ssh-add")
                .arg("-q")
                .arg(key)
                .env("SSH_AUTH_SOCK", socket)
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if added.success() {
                return agent;
            }
            assert!(start.elapsed() < DEADLINE, "ssh-add gives {added}");
            std::thread::sleep(Duration::from_millis(50));
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

fn host_certificate(dir: &Path, arguments: &[&str]) -> Result<()> {
    make_key(&dir.join("host_ca"))?;
    let ca = dir.join("host_ca");
    let mut all = vec![
        "-q",
        "-s",
        ca.to_str().unwrap_or_default(),
        "-h",
        "-I",
        "rig",
    ];
    all.extend(arguments);
    keygen(&all, &dir.join("host_key.pub"))
}

/// Known hosts with these lines; `CA` and `KEY` stand for the authority and the hosts' own key.
fn with_known_hosts(sshd: &Sshd, lines: &str) -> Client {
    let read = |name: &str| {
        fs::read_to_string(sshd.dir().join(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let known = sshd.dir().join("own_known_hosts");
    fs::write(
        &known,
        lines
            .replace("CA", &read("host_ca.pub"))
            .replace("KEY", &read("host_key.pub")),
    )
    .unwrap();
    let lines = format!(
        "  IdentityFile {}\n  IdentityAgent none\n  UserKnownHostsFile {}\n  BatchMode yes\n",
        sshd.client_key().display(),
        known.display()
    );
    Client::new(sshd, "", &lines)
}

#[test]
fn host_certificates_are_trusted_for_their_hosts_while_they_are_valid_and_not_revoked() {
    let server_lines = "HostCertificate {dir}/host_key-cert.pub\n".to_owned();
    let sshd = Sshd::start(Settings {
        server_lines: server_lines.clone(),
        prepare: |dir| host_certificate(dir, &["-n", "127.0.0.1"]),
        ..settings(2)
    })
    .unwrap();
    let said = with_known_hosts(&sshd, "@cert-authority * CA\n").run(&["h1", "h2"], &[]);
    assert!(said.shows("h1"), "{}", said.stderr);
    said.expect(
        "h2",
        &[
            "host certificate",
            "is for 127.0.0.1 and not for 127.0.0.2",
            "ask",
        ],
    );
    let said = with_known_hosts(&sshd, "@cert-authority * CA\n@revoked * CA\n").run(&["h1"], &[]);
    said.expect(
        "h1",
        &[
            "the authority that signed",
            "own_known_hosts:2",
            "do not log in",
        ],
    );
    let said = with_known_hosts(&sshd, "@cert-authority * CA\n@revoked * KEY\n").run(&["h1"], &[]);
    said.expect(
        "h1",
        &["the key in the host certificate", "own_known_hosts:2"],
    );

    let sshd = Sshd::start(Settings {
        server_lines,
        prepare: |dir| host_certificate(dir, &["-V", "20200101:20200201", "-n", "127.0.0.1"]),
        ..settings(1)
    })
    .unwrap();
    let said = with_known_hosts(&sshd, "@cert-authority * CA\n").run(&["h1"], &[]);
    said.expect("h1", &["not valid now", "until 2020-0", "renew"]);
}

#[test]
fn algorithms_are_those_that_the_configuration_allows() {
    // A server of another age: one cipher that nobody offers unasked, and one way to exchange keys.
    let sshd = Sshd::start(Settings {
        server_lines: "Ciphers aes128-cbc\nKexAlgorithms ecdh-sha2-nistp384\n".to_owned(),
        ..settings(4)
    })
    .unwrap();
    let hosts = "Host h1\n  Ciphers +aes128-cbc\nHost h3\n  Ciphers +aes128-cbc\n  KexAlgorithms -ecdh*\n\
                 Host h4\n  Ciphers aes128-cbc\n  PubkeyAcceptedAlgorithms -ssh-ed25519\n";
    let lines = format!(
        "  IdentityFile {}\n  IdentityAgent none\n  StrictHostKeyChecking accept-new\n  UserKnownHostsFile {}\n",
        sshd.client_key().display(),
        sshd.dir().join("known_by_then").display(),
    );
    let said = Client::new(&sshd, hosts, &lines).run(&["h1", "h2", "h3", "h4"], &[]);
    assert!(said.shows("h1"), "{}", said.stderr);
    said.expect("h2", &["no common cipher", "aes128-cbc", "Ciphers"]);
    said.expect(
        "h3",
        &[
            "no common key exchange",
            "ecdh-sha2-nistp384",
            "KexAlgorithms",
        ],
    );
    said.expect("h4", &["is left out by PubkeyAcceptedAlgorithms"]);
}

fn with_empty_known_hosts(sshd: &Sshd, more: &str) -> (Client, PathBuf) {
    let known = tempfile::tempdir().unwrap().keep().join("known_hosts");
    let lines = format!(
        "  IdentityFile {}\n  IdentityAgent none\n  UserKnownHostsFile {}\n{more}",
        sshd.client_key().display(),
        known.display()
    );
    (Client::new(sshd, "", &lines), known)
}

#[test]
fn new_hosts_are_refused_with_the_command_that_helps_or_accepted_once_and_for_all() {
    let sshd = Sshd::start(settings(2)).unwrap();
    for hashed in ["no", "yes"] {
        let (client, known) =
            with_empty_known_hosts(&sshd, &format!("  HashKnownHosts {hashed}\n"));
        let said = client.run(&["h1", "h2"], &[]);
        let help = format!("`ssh -F {} h1`", client.ssh_config.display());
        said.expect("h1", &["no host key is known", "SHA256:", &help]);
        assert_eq!(said.code, Some(4), "{}", said.stderr);
        assert!(!known.exists());

        let said = client.run(&["h1", "h2"], &["--accept-new"]);
        assert!(said.shows("h1") && said.shows("h2"), "{}", said.stderr);
        let text = fs::read_to_string(&known).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(text.contains("127.0.0.1"), hashed == "no", "{text}");
        assert_eq!(text.starts_with("|1|"), hashed == "yes", "{text}");
        let mode = fs::metadata(&known).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let said = client.run(&["h1", "h2"], &[]);
        assert!(said.shows("h1") && said.shows("h2"), "{}", said.stderr);
        assert_eq!(fs::read_to_string(&known).unwrap(), text);
        // OpenSSH reads it the same way.
        let status = Command::new("ssh")
            .arg("-F")
            .arg(&client.ssh_config)
            .args([
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "BatchMode=yes",
                "h1",
                "true",
            ])
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        fs::remove_dir_all(known.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_changed_or_revoked_key_is_never_accepted() {
    let sshd = Sshd::start(settings(3)).unwrap();
    sshd.change_known_key(sshd.files(), 1).unwrap();
    let key = fs::read_to_string(sshd.dir().join("host_key.pub")).unwrap();
    let revoked = sshd.dir().join("revoked_hosts");
    fs::write(&revoked, &key).unwrap();
    let krl = sshd.dir().join("krl");
    fs::write(&krl, b"SSHKRL\n\0\0\0\0\x01").unwrap();
    let hosts = format!(
        "Host h2\n  RevokedHostKeys {}\nHost h3\n  RevokedHostKeys {}\n",
        revoked.display(),
        krl.display()
    );
    let known = sshd.files().known_hosts.display().to_string();
    let lines = format!(
        "  IdentityFile {}\n  IdentityAgent none\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking no\n",
        sshd.client_key().display()
    );
    let client = Client::new(&sshd, &hosts, &lines);
    let said = client.run(&["h1", "h2", "h3"], &["--accept-new"]);
    let forget = format!("`ssh-keygen -f {known} -R '[127.0.0.1]:{}'`", sshd.port());
    said.expect("h1", &["has changed", &forget]);
    said.expect("h2", &["is revoked by", "revoked_hosts"]);
    said.expect("h3", &["krl", "binary list (KRL)", "--ssh-command"]);
    assert_eq!(said.code, Some(4), "{}", said.stderr);
}

#[test]
fn one_question_is_asked_about_all_new_hosts() {
    let sshd = Sshd::start(settings(8)).unwrap();
    let (client, known) = with_empty_known_hosts(&sshd, "");
    let mut terminal = client.terminal(&HOSTS, &[]);
    terminal.answer("(yes/no)?", 1, "perhaps\n");
    terminal.answer("type yes or no", 1, "yes\n");
    let text = terminal.finish();
    assert_eq!(text.matches("here it is").count(), 8, "{text}");
    assert!(
        text.contains("no host keys are known for these 8 hosts"),
        "{text}"
    );
    assert_eq!(text.matches("SHA256:").count(), 8, "{text}");
    assert!(text.contains("ended with 0"), "{text}");
    assert_eq!(fs::read_to_string(&known).unwrap().lines().count(), 8);

    fs::remove_file(&known).unwrap();
    let mut terminal = client.terminal(&HOSTS[..2], &[]);
    terminal.answer("(yes/no)?", 1, "no\n");
    let text = terminal.finish();
    assert_eq!(
        text.matches("no host key is known for").count(),
        2,
        "{text}"
    );
    assert!(text.contains("ended with 4"), "{text}");
    assert!(!known.exists());
    fs::remove_dir_all(known.parent().unwrap()).unwrap();
}

fn with_encrypted_key(sshd: &Sshd) -> Client {
    let key = sshd.dir().join("encrypted");
    encrypted_copy(&sshd.client_key(), &key);
    let lines = format!(
        "  IdentityFile {}\n  IdentityAgent none\n  UserKnownHostsFile {}\n",
        key.display(),
        sshd.files().known_hosts.display()
    );
    Client::new(sshd, "", &lines)
}

#[test]
fn a_passphrase_is_asked_for_once_for_all_hosts_and_never_shown() {
    let sshd = Sshd::start(settings(8)).unwrap();
    let client = with_encrypted_key(&sshd);
    let mut terminal = client.terminal(&HOSTS, &[]);
    terminal.answer("Enter passphrase for key", 1, "wrong one\n");
    terminal.answer("Bad passphrase", 1, &format!("{PASSPHRASE}\n"));
    let text = terminal.finish();
    assert_eq!(text.matches("here it is").count(), 8, "{text}");
    assert_eq!(text.matches("passphrase").count(), 2, "{text}");
    assert!(
        !text.contains(PASSPHRASE) && !text.contains("wrong one"),
        "{text}"
    );
    assert!(text.contains("ended with 0"), "{text}");
    assert!(
        text.contains(" echo "),
        "the terminal is left without echo: {text}"
    );
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let sshd = Sshd::start(settings(1)).unwrap();
    let client = with_encrypted_key(&sshd);
    let mut terminal = client.terminal(&["h1"], &[]);
    terminal.answer("Enter passphrase for key", 1, "\x03");
    let text = terminal.finish();
    assert!(text.contains("ended with 130"), "{text}");
    assert!(
        text.contains(" echo "),
        "the terminal is left without echo: {text}"
    );
}

fn askpass(folder: &Path, script: &str) -> PathBuf {
    let program = folder.join("askpass");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o755)
        .open(&program)
        .unwrap();
    write!(file, "#!/bin/sh\n{script}\n").unwrap();
    program
}

#[test]
fn without_a_terminal_a_program_asks_or_the_message_says_what_to_do() {
    let sshd = Sshd::start(settings(2)).unwrap();
    let client = with_encrypted_key(&sshd);
    let said = client.run(&["h1", "h2"], &[]);
    said.expect("h1", &["has a passphrase", "SSH_ASKPASS", "ssh-add "]);
    assert_eq!(said.code, Some(4), "{}", said.stderr);

    let log = client.folder.path().join("asked");
    let program = askpass(
        client.folder.path(),
        &format!("echo \"$1\" >>{}\necho '{PASSPHRASE}'", log.display()),
    );
    let mut command = client.command(&["h1", "h2"], &[]);
    command
        .env("SSH_ASKPASS", &program)
        .env("SSH_ASKPASS_REQUIRE", "force");
    let said = Said::of(&command.output().unwrap());
    assert!(said.shows("h1") && said.shows("h2"), "{}", said.stderr);
    let asked = fs::read_to_string(&log).unwrap();
    assert_eq!(asked.lines().count(), 1, "{asked}");
    assert!(asked.contains("Enter passphrase for key"), "{asked}");
}

#[test]
fn a_password_of_an_account_is_asked_for_once_for_all_hosts() {
    let sshd = Sshd::start(Settings {
        server_lines: "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no\n"
            .to_owned(),
        ..settings(3)
    })
    .unwrap();
    let account = Login::add(Path::new("/bin/sh"), sshd.dir());
    if !login::is_root().unwrap() {
        assert!(account.unwrap_err().to_string().contains("root"));
        return;
    }
    let account = account.unwrap();
    account.set_password("s3cret words").unwrap();
    let lines = format!(
        "  IdentityFile none\n  IdentityAgent none\n  UserKnownHostsFile {}\n  User {}\n",
        sshd.files().known_hosts.display(),
        account.name()
    );
    let client = Client::new(&sshd, "", &lines);
    let mut terminal = client.terminal(&HOSTS[..3], &[]);
    terminal.answer("Password: ", 1, "not it\n");
    terminal.answer("Password: ", 2, "s3cret words\n");
    let text = terminal.finish();
    assert_eq!(
        text.matches("here it is").count(),
        3,
        "{text}\n{}",
        sshd.log()
    );
    assert_eq!(text.matches("Password: ").count(), 2, "{text}");
    assert!(!text.contains("s3cret"), "{text}");

    // By the method for passwords too, and BatchMode asks nothing.
    let said = Client::new(&sshd, "", &format!("{lines}  BatchMode yes\n")).run(&["h1"], &[]);
    said.expect("h1", &["BatchMode", "keyboard-interactive"]);
}

/// Two hosts in this process that ask, and what leads to them.
async fn asking(asks: Asks) -> (SshServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key("test").unwrap();
    let mut options = Options::nodes(2, folder.path(), key.public_key().clone());
    options.asks = asks;
    let server = SshServer::start(options).await.unwrap();
    let identity = folder.path().join("id");
    fs::write(&identity, openssh_private(&key).unwrap()).unwrap();
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o600)).unwrap();
    let known = folder.path().join("known_hosts");
    fs::write(&known, server.known_hosts()).unwrap();
    let log = folder.path().join("a.log");
    fs::write(&log, "2026-11-23 10:00:00 INFO here it is\n").unwrap();
    let mut config = String::new();
    for host in server.hosts() {
        writeln!(
            config,
            "Host {}\n  HostName {}\n  Port {}",
            host.name(),
            host.address().ip(),
            host.address().port()
        )
        .unwrap();
    }
    writeln!(
        config,
        "Host *\n  User me\n  IdentityFile {}\n  IdentityAgent none\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null",
        identity.display(),
        known.display()
    )
    .unwrap();
    let ssh_config = folder.path().join("ssh_config");
    fs::write(&ssh_config, config).unwrap();
    let client = Client {
        ssh_config,
        log,
        folder,
    };
    (server, client)
}

fn questions(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(prompt, answer)| ((*prompt).to_owned(), (*answer).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_used_again_and_a_code_never() {
    let asks = Asks::Questions(questions(&[
        ("Password: ", "words"),
        ("Verification\x1b[2J code: ", "123"),
    ]));
    let (server, client) = asking(asks).await;
    let text = tokio::task::spawn_blocking(move || {
        let mut terminal = client.terminal(&["node1", "node2"], &[]);
        terminal.answer("Password: ", 1, "words\n");
        terminal.answer("code: ", 1, "999\n");
        // The code was wrong, and so maybe the password: both are asked for again.
        terminal.answer("Password: ", 2, "words\n");
        terminal.answer("code: ", 2, "123\n");
        terminal.answer("code: ", 3, "123\n");
        terminal.finish()
    })
    .await
    .unwrap();
    assert_eq!(text.matches("here it is").count(), 2, "{text}");
    assert_eq!(text.matches("Password: ").count(), 2, "{text}");
    assert_eq!(text.matches("code: ").count(), 3, "{text}");
    assert!(text.contains("\\x1b[2J"), "{text}");
    assert!(!text.contains("words") && !text.contains("123"), "{text}");
    let mut answers: Vec<Vec<String>> = server
        .hosts()
        .iter()
        .flat_map(e2e::ssh_server::Host::answers)
        .collect();
    answers.sort();
    assert_eq!(
        answers,
        [["words", "123"], ["words", "123"], ["words", "999"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_may_be_wanted_after_a_key() {
    let asks = Asks::KeyThenQuestions(questions(&[("Code: ", "42")]));
    let (_server, client) = asking(asks).await;
    let (text, said) = tokio::task::spawn_blocking(move || {
        let mut terminal = client.terminal(&["node1"], &[]);
        terminal.answer("(me@node1) Code: ", 1, "42\n");
        let text = terminal.finish();
        (text, client.run(&["node1"], &[]))
    })
    .await
    .unwrap();
    assert_eq!(text.matches("here it is").count(), 1, "{text}");
    said.expect(
        "node1",
        &["keyboard-interactive", "nobody can be asked", "terminal"],
    );
}
