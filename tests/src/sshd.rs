//! OpenSSH's real server on loopback addresses, with keys and configuration of its own in a temporary folder, and the
//! files a client needs to reach it. It ends its servers and everything that their sessions started. Accounts are made
//! by [`crate::login`]; breaking connections is left to [`crate::cut`].

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::login;
use crate::processes::{self, Process, Signal};

/// Where Debian and Ubuntu install the server; it insists on being started by an absolute path.
const SSHD: &str = "/usr/sbin/sshd";

/// The folder that the server, started by root, wants to exist.
const PRIVILEGE_SEPARATION_FOLDER: &str = "/run/sshd";

/// How long a server may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How many ports are tried, since a free one may be taken before the server binds it.
const PORT_ATTEMPTS: u32 = 10;

/// The most addresses that one server process listens on (`MAX_LISTEN_SOCKS` of OpenSSH).
pub const MAX_ADDRESSES_PER_PROCESS: usize = 16;

/// What the servers should be like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many loopback addresses are listened on, from 127.0.0.1 up.
    pub addresses: u8,
    /// How many host names `h1`, `h2`, … the client's configuration has, dealt out to the addresses in turn.
    pub hosts: usize,
    /// How many addresses share one server process and with it one `MaxStartups`.
    pub addresses_per_process: usize,
    /// `MaxStartups`: `start:rate:full`, or one number.
    pub max_startups: String,
    /// `MaxSessions` of one connection.
    pub max_sessions: u32,
    /// `ClientAliveInterval` in seconds; 0 turns it off, as OpenSSH's default does.
    pub client_alive_seconds: u32,
    /// What every session's environment has besides the defaults.
    pub environment: Vec<(String, String)>,
    /// After how many seconds without a heartbeat the followers on the hosts give up; the program's default if `None`.
    pub heartbeat_seconds: Option<u32>,
    /// More lines for the servers' configuration, which count before the others; `{dir}` is the rig's folder.
    pub server_lines: String,
    /// Called with the rig's folder before the servers start: makes what [`Settings::server_lines`] names.
    pub prepare: fn(&Path) -> Result<()>,
    /// Whether the first server listens on `[::1]` too.
    pub ipv6: Ipv6,
}

/// Whether there is an IPv6 address besides the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// There is none.
    Off,
    /// `[::1]`, with the port of all.
    Loopback,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: 8,
            hosts: 8,
            addresses_per_process: MAX_ADDRESSES_PER_PROCESS,
            max_startups: "500".to_owned(),
            max_sessions: 10,
            client_alive_seconds: 0,
            environment: Vec::new(),
            heartbeat_seconds: None,
            ipv6: Ipv6::Off,
            server_lines: String::new(),
            prepare: |_| Ok(()),
        }
    }
}

/// What a client needs to reach the hosts.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// For `ssh -F`.
    pub ssh_config: PathBuf,
    /// The keys of all hosts.
    pub known_hosts: PathBuf,
    /// For `tailll --config`; names the other two.
    pub tailll_toml: PathBuf,
}

/// Running servers; they end when this value is dropped.
#[derive(Debug)]
pub struct Sshd {
    listeners: Vec<Listener>,
    settings: Settings,
    port: u16,
    marker: String,
    files: ClientFiles,
    dir: TempDir,
}

impl Sshd {
    /// Starts the servers and waits until they listen.
    pub fn start(settings: Settings) -> Result<Self> {
        if !Path::new(SSHD).exists() {
            bail!("{SSHD} is not installed (package openssh-server)");
        }
        if login::is_root()? {
            fs::create_dir_all(PRIVILEGE_SEPARATION_FOLDER).context(PRIVILEGE_SEPARATION_FOLDER)?;
        }
        // The path is handed out with links resolved, so that it can be compared with what `/proc` shows.
        let root =
            fs::canonicalize(std::env::temp_dir()).context("the folder for temporary files")?;
        let dir = tempfile::Builder::new()
            .prefix("tailll-rig-")
            .tempdir_in(root)?;
        // Other accounts have to reach the authorized keys and the logs in it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        for folder in ["logs", "home"] {
            fs::create_dir(dir.path().join(folder))?;
            fs::set_permissions(dir.path().join(folder), fs::Permissions::from_mode(0o755))?;
        }
        make_key(&dir.path().join("host_key"))?;
        make_key(&dir.path().join("client_key"))?;
        fs::copy(
            dir.path().join("client_key.pub"),
            dir.path().join("authorized_keys"),
        )?;
        fs::set_permissions(
            dir.path().join("authorized_keys"),
            fs::Permissions::from_mode(0o644),
        )?;
        (settings.prepare)(dir.path())?;
        let name = dir
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut sshd = Self {
            listeners: Vec::new(),
            port: 0,
            marker: format!("TAILLL_RIG={name}"),
            files: ClientFiles {
                ssh_config: PathBuf::new(),
                known_hosts: PathBuf::new(),
                tailll_toml: PathBuf::new(),
            },
            settings,
            dir,
        };
        let mut complaint = String::new();
        for _ in 0..PORT_ATTEMPTS {
            sshd.port = free_port(sshd.settings.addresses)?;
            match sshd.listen() {
                Ok(()) => {
                    let routes: Vec<SocketAddr> = (1..=sshd.settings.hosts)
                        .map(|host| sshd.address(host))
                        .collect();
                    sshd.files = sshd.client_files("direct", &routes)?;
                    return Ok(sshd);
                }
                Err(error) => complaint = format!("{error:#}"),
            }
            sshd.listeners.clear();
            if !complaint.contains("Cannot bind") && !complaint.contains("Address already in use") {
                break;
            }
        }
        bail!("{complaint}")
    }

    /// The temporary folder; other accounts can read in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A folder for the logs to follow.
    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// The port of all addresses.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where host `h<number>` listens; numbers start at 1.
    pub fn address(&self, number: usize) -> SocketAddr {
        let addresses = usize::from(self.settings.addresses).max(1);
        self.nth_address((number + addresses - 1) % addresses)
    }

    /// How to reach all hosts directly.
    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    /// Writes files, told apart by `name`, that lead to host `h<i+1>` by `routes[i]`.
    pub fn client_files(&self, name: &str, routes: &[SocketAddr]) -> Result<ClientFiles> {
        let files = ClientFiles {
            ssh_config: self.dir.path().join(format!("{name}.ssh_config")),
            known_hosts: self.dir.path().join(format!("{name}.known_hosts")),
            tailll_toml: self.dir.path().join(format!("{name}.toml")),
        };
        let mut config = String::new();
        for (index, route) in routes.iter().enumerate() {
            write!(
                config,
                "Host h{}\n  HostName {}\n  Port {}\n",
                index + 1,
                route.ip(),
                route.port()
            )?;
        }
        write!(
            config,
            "Host *\n  IdentityFile \"{key}\"\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile \"{known}\"\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  \
             UpdateHostKeys no\n  BatchMode yes\n  LogLevel ERROR\n  ControlMaster no\n  ControlPath none\n",
            key = self.client_key().display(),
            known = files.known_hosts.display(),
        )?;
        fs::write(&files.ssh_config, config)?;

        let key = fs::read_to_string(self.dir.path().join("host_key.pub"))?;
        // A host behind a jump host is known by its own address, whatever the way.
        let mut lines: Vec<String> = routes
            .iter()
            .copied()
            .chain((1..=usize::from(self.settings.addresses)).map(|number| self.address(number)))
            .map(|route| known_host(route, &key))
            .collect();
        lines.sort();
        lines.dedup();
        fs::write(&files.known_hosts, lines.concat())?;

        let mut toml = format!("[ssh]\nconfig = \"{}\"\n", files.ssh_config.display());
        if let Some(seconds) = self.settings.heartbeat_seconds {
            writeln!(toml, "heartbeat_seconds = {seconds}")?;
        }
        fs::write(&files.tailll_toml, toml)?;
        Ok(files)
    }

    /// The same hosts by another configuration of OpenSSH's: `lines` go before what `files` says, and win.
    pub fn with_ssh_lines(
        &self,
        name: &str,
        files: &ClientFiles,
        lines: &str,
    ) -> Result<ClientFiles> {
        let changed = ClientFiles {
            ssh_config: self.dir.path().join(format!("{name}.ssh_config")),
            known_hosts: files.known_hosts.clone(),
            tailll_toml: self.dir.path().join(format!("{name}.toml")),
        };
        let old = fs::read_to_string(&files.ssh_config)?;
        fs::write(&changed.ssh_config, format!("{lines}\n{old}"))?;
        let (from, to) = (
            files.ssh_config.display().to_string(),
            changed.ssh_config.display().to_string(),
        );
        let toml = fs::read_to_string(&files.tailll_toml)?;
        fs::write(&changed.tailll_toml, toml.replace(&from, &to))?;
        Ok(changed)
    }

    /// Makes `files` say that host `number` has another key than it presents.
    pub fn change_known_key(&self, files: &ClientFiles, number: usize) -> Result<()> {
        let other = self.dir.path().join(format!("other_key_{number}"));
        make_key(&other)?;
        let key = fs::read_to_string(other.with_extension("pub"))?;
        let address = self.address(number);
        let changed = format!("[{}]:{} ", address.ip(), address.port());
        let mut text: String = fs::read_to_string(&files.known_hosts)?
            .lines()
            .filter(|line| !line.starts_with(&changed))
            .flat_map(|line| [line, "\n"])
            .collect();
        text.push_str(&known_host(address, &key));
        fs::write(&files.known_hosts, text)?;
        Ok(())
    }

    /// The private key that the servers accept for the own user and for the accounts of [`crate::login`].
    pub fn client_key(&self) -> PathBuf {
        self.dir.path().join("client_key")
    }

    /// The system's `ssh`, set up to reach the hosts.
    pub fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(&self.files.ssh_config)
            .stdin(Stdio::null());
        command
    }

    /// What the servers have said so far.
    pub fn log(&self) -> String {
        self.listeners
            .iter()
            .map(|one| fs::read_to_string(&one.log).unwrap_or_default())
            .collect()
    }

    /// What runs in the servers' sessions now: shells and all they started, not the servers' own processes.
    pub fn remote_processes(&self) -> Vec<Process> {
        processes::with_environment(&self.marker)
    }

    fn nth_address(&self, index: usize) -> SocketAddr {
        SocketAddr::from((loopback(index), self.port))
    }

    fn listen(&mut self) -> Result<()> {
        let per_process = self
            .settings
            .addresses_per_process
            .clamp(1, MAX_ADDRESSES_PER_PROCESS);
        let mut all: Vec<SocketAddr> = (0..usize::from(self.settings.addresses))
            .map(|index| self.nth_address(index))
            .collect();
        if self.settings.ipv6 == Ipv6::Loopback {
            all.insert(0, SocketAddr::from((Ipv6Addr::LOCALHOST, self.port)));
        }
        for (number, addresses) in all.chunks(per_process).enumerate() {
            let config = self.dir.path().join(format!("sshd_{number}.conf"));
            let mut text = self.server_config(addresses)?;
            // Newer servers punish an address for failed logins; older ones do not know the word.
            let without_penalties = format!("{text}PerSourcePenalties no\n");
            fs::write(&config, &without_penalties)?;
            let known = Command::new(SSHD)
                .arg("-t")
                .arg("-f")
                .arg(&config)
                .stdin(Stdio::null())
                .output()?;
            if known.status.success() {
                text = without_penalties;
            }
            fs::write(&config, &text)?;
            let log = self.dir.path().join(format!("sshd_{number}.log"));
            self.listeners
                .push(Listener::start(&config, log, &self.marker)?);
            if let Some(listener) = self.listeners.last_mut() {
                listener.wait(addresses.len())?;
            }
        }
        Ok(())
    }

    fn server_config(&self, addresses: &[SocketAddr]) -> Result<String> {
        let dir = self.dir.path().display();
        let mut text = self
            .settings
            .server_lines
            .replace("{dir}", &dir.to_string());
        for address in addresses {
            writeln!(text, "ListenAddress {address}")?;
        }
        // An own HOME keeps the user's shell start-up files out of the sessions.
        write!(text, "SetEnv {} HOME={dir}/home", self.marker)?;
        for (name, value) in &self.settings.environment {
            write!(text, " \"{name}={value}\"")?;
        }
        write!(
            text,
            "\nHostKey {dir}/host_key\nPidFile none\nAuthorizedKeysFile {dir}/authorized_keys\nAllowUsers {me} {logins}*\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPermitUserRC no\nX11Forwarding no\nPrintMotd no\nLogLevel INFO\n\
             AcceptEnv PSSH_*\nMaxStartups {startups}\nMaxSessions {sessions}\nClientAliveInterval {alive}\n",
            me = login::own_name()?,
            logins = login::NAME_PREFIX,
            startups = self.settings.max_startups,
            sessions = self.settings.max_sessions,
            alive = self.settings.client_alive_seconds,
        )?;
        Ok(text)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.listeners.clear();
        // Sessions whose server is gone no longer descend from it, but still carry its mark.
        let left: Vec<u32> = self
            .remote_processes()
            .into_iter()
            .map(|one| one.pid)
            .collect();
        let _ = processes::signal(&left, Signal::Kill);
    }
}

/// One server process.
#[derive(Debug)]
struct Listener {
    sshd: Child,
    /// Ends the server and its sessions when this process vanishes without having dropped them: its input is a pipe
    /// from us.
    guard: Child,
    log: PathBuf,
}

impl Listener {
    fn start(config: &Path, log: PathBuf, marker: &str) -> Result<Self> {
        let sshd = with_all_descriptors(SSHD)
            .arg("-f")
            .arg(config)
            .args(["-D", "-e"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("sshd")?;
        let script = "read -r _; kill \"$1\"; \
             for environ in $(grep -slxzF \"$2\" /proc/[0-9]*/environ); do \
             environ=${environ#/proc/}; kill -s KILL \"${environ%/environ}\"; done";
        let guard = Command::new("sh")
            .args(["-c", script, "sh", &sshd.id().to_string(), marker])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("sh, to guard sshd")?;
        Ok(Self { sshd, guard, log })
    }

    fn wait(&mut self, addresses: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log)?;
            if log.matches("Server listening on").count() == addresses {
                return Ok(());
            }
            let ended = self.sshd.try_wait()?.is_some();
            if ended || log.contains("Cannot bind") || start.elapsed() > START_DEADLINE {
                bail!(
                    "sshd does not listen on {addresses} addresses: {}",
                    log.trim()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let sessions = processes::descendants(self.sshd.id());
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        let _ = processes::signal(&sessions, Signal::Kill);
    }
}

/// A command that runs `program` with as many file descriptors as may be had.
pub fn with_all_descriptors(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n \"$(ulimit -H -n)\" 2>/dev/null; exec \"$@\"",
        "sh",
        program,
    ]);
    command
}

fn loopback(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(index + 1).unwrap_or(u8::MAX))
}

fn free_port(addresses: u8) -> Result<u16> {
    for _ in 0..PORT_ATTEMPTS {
        let first = TcpListener::bind((loopback(0), 0)).context("a free port on 127.0.0.1")?;
        let port = first.local_addr()?.port();
        let all: std::io::Result<Vec<TcpListener>> = (1..usize::from(addresses))
            .map(|index| TcpListener::bind((loopback(index), port)))
            .collect();
        if all.is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free on {addresses} loopback addresses")
}

fn known_host(address: SocketAddr, key: &str) -> String {
    format!("[{}]:{} {}\n", address.ip(), address.port(), key.trim())
}

/// Makes an ed25519 key without a passphrase, and its public half beside it.
pub fn make_key(path: &Path) -> Result<()> {
    keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f"], path)
}

/// Runs `ssh-keygen` with these arguments and a path.
pub fn keygen(arguments: &[&str], path: &Path) -> Result<()> {
    let output = Command::new("ssh-keygen")
        .args(arguments)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context("ssh-keygen (package openssh-client)")?;
    if !output.status.success() {
        bail!(
            "ssh-keygen: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_answers_and_nothing_is_left_of_a_session_or_a_server() {
        let sshd = Sshd::start(Settings {
            addresses: 3,
            hosts: 5,
            addresses_per_process: 2,
            ..Settings::default()
        })
        .unwrap();
        for host in 1..=5 {
            let output = sshd
                .ssh()
                .args([&format!("h{host}"), "echo $SSH_CONNECTION"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let expected = format!("{} {}", sshd.address(host).ip(), sshd.port());
            assert!(
                text.trim().ends_with(&expected),
                "h{host}: {text:?}, {output:?}"
            );
        }
        let mut session = sshd
            .ssh()
            .args(["h1", "echo up; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(session.stdout.as_mut().unwrap(), &mut up).unwrap();
        processes::wait_until_some(
            "sleep on the host",
            Duration::from_secs(5),
            || sshd.remote_processes(),
            |one| one.command == "sleep 1000",
        )
        .unwrap();
        let marker = sshd.marker.clone();
        let address = sshd.address(1);
        drop(sshd);
        session.wait().unwrap();
        processes::wait_until_none("remote", Duration::from_secs(5), || {
            processes::with_environment(&marker)
        })
        .unwrap();
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_changed_key_is_seen_by_ssh_for_that_host_alone() {
        let sshd = Sshd::start(Settings {
            addresses: 2,
            hosts: 2,
            ..Settings::default()
        })
        .unwrap();
        sshd.change_known_key(sshd.files(), 1).unwrap();
        assert!(!sshd.ssh().args(["h1", "true"]).status().unwrap().success());
        assert!(sshd.ssh().args(["h2", "true"]).status().unwrap().success());
    }
}
