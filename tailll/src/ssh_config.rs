//! What OpenSSH would do for a host: where to connect, as whom, with which keys, trusting which files.
//!
//! Owns the answer ([`HostConfig`]) and the choice of who gives it ([`Source`]): `ssh -G` where OpenSSH is installed
//! (`ssh_g`), our own parser of the common keywords where it is not (`own`). Tokens and `~` are expanded here
//! (`tokens`). Connecting, and reading the files that are named here, are left to others; so are a cache and a limit
//! on how many hosts are resolved at once (`Match exec` can take a good part of a second each).

pub mod algorithms;
pub mod hops;
pub mod own;
pub mod rules;
pub mod ssh_g;
pub mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules::{LoginRules, RuleWords};
use tokens::Tokens;

use crate::open_files;

/// How a host is to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// The name or address to connect to.
    pub hostname: String,
    /// The port to connect to.
    pub port: u16,
    /// The user to log in as: the one wanted, else the configuration's, else the local user.
    pub user: String,
    /// Private keys to try, in this order. The defaults among them need not exist.
    pub identity_files: Vec<PathBuf>,
    /// Whether the agent's other keys must not be tried.
    pub identities_only: bool,
    /// Which agent to ask.
    pub identity_agent: IdentityAgent,
    /// Certificates to try besides those that lie beside the private keys.
    pub certificate_files: Vec<PathBuf>,
    /// The user's known hosts; asked first.
    pub user_known_hosts_files: Vec<PathBuf>,
    /// The system's known hosts.
    pub global_known_hosts_files: Vec<PathBuf>,
    /// What to do about a host key that is not known.
    pub strict_host_key_checking: HostKeyChecking,
    /// Under which name to look up the host key instead of name and port.
    pub host_key_alias: Option<String>,
    /// The limit on connecting; `None` leaves it to the system.
    pub connect_timeout: Option<Duration>,
    /// After how much silence the server is asked whether it is there; `None` is never.
    pub server_alive_interval: Option<Duration>,
    /// How many of these questions may go unanswered.
    pub server_alive_count_max: u32,
    /// What lies between.
    pub proxy: Proxy,
    /// Host key algorithms in the order of preference.
    pub host_key_algorithms: Vec<String>,
    /// Whether to ask for compression.
    pub compression: bool,
    /// Which addresses of the name to try.
    pub address_family: AddressFamily,
    /// The local address to connect from.
    pub bind_address: Option<String>,
    /// How to log in, and what is remembered of new host keys.
    pub rules: LoginRules,
    /// A file of host keys that are never accepted.
    pub revoked_host_keys: Option<PathBuf>,
    /// What the configuration asks for that is not done here, as sentences without a full stop.
    pub warnings: Vec<String>,
}

/// Which agent to ask for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAgent {
    /// The one that an environment variable names; `SSH_AUTH_SOCK` unless configured.
    Variable(String),
    /// None.
    Off,
    /// The one at this socket.
    Socket(PathBuf),
}

/// What to do about a host key that is not known. A changed or revoked one is never accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyChecking {
    /// Refuse it.
    Yes,
    /// Ask where there is somebody to ask; refuse it otherwise.
    Ask,
    /// Accept and remember it.
    AcceptNew,
    /// Accept it.
    No,
}

/// What lies between here and the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing.
    Direct,
    /// Other hosts: `[user@]host[:port]`, separated by commas, as configured.
    Jump(String),
    /// A command whose input and output are the connection. Its tokens are not expanded yet: see
    /// [`HostConfig::expand`].
    Command(String),
}

/// Which addresses of a name to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// All.
    #[default]
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl HostConfig {
    /// Expands the tokens in a [`Proxy::Command`] for this host. `host` is the name as it was asked for.
    pub fn expand(
        &self,
        text: &str,
        host: &str,
        facts: &LocalFacts,
    ) -> Result<String, tokens::ExpandError> {
        let jump = if let Proxy::Jump(jump) = &self.proxy {
            jump
        } else {
            ""
        };
        let alias = self.host_key_alias.as_deref();
        Tokens {
            facts,
            host,
            hostname: &self.hostname,
            port: self.port,
            user: &self.user,
            alias,
            jump,
        }
        .percent(text)
    }
}

/// What is asked for: the host as typed, and what the command line or the target says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The host: a name, an alias, an address without brackets.
    pub host: &'a str,
    /// The user, which then wins over the configuration's.
    pub user: Option<&'a str>,
    /// The port, which then wins over the configuration's.
    pub port: Option<u16>,
}

/// What the configuration depends on besides the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFacts {
    /// The user's home: what the system's list of users says, as with OpenSSH, and not `$HOME`.
    pub home: PathBuf,
    /// The local user's name.
    pub user: String,
    /// The local user's number.
    pub uid: u32,
    /// This host's name.
    pub host: String,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl LocalFacts {
    /// The facts of this process.
    pub fn read() -> Self {
        let environment: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let text = |path: &str| std::fs::read_to_string(path).ok();
        let uid = text("/proc/self/status").and_then(|status| {
            status.lines().find_map(|line| {
                line.strip_prefix("Uid:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
        });
        // Without `/proc`, as on macOS, nothing safe tells it; one's home is one's own.
        let uid = uid.or_else(|| owner(Path::new(&std::env::var_os("HOME")?)));
        let users = text("/etc/passwd").unwrap_or_default();
        let entry = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find_map(|fields| match fields[..] {
                [name, _, id, _, _, home, ..] if uid.is_some() && id.parse().ok() == uid => {
                    Some((name.to_owned(), home.into()))
                }
                _ => None,
            });
        let variable = |name: &str| {
            environment
                .get(name)
                .filter(|value| !value.is_empty())
                .cloned()
        };
        let (user, home) = entry.unwrap_or_else(|| {
            let user = variable("LOGNAME")
                .or_else(|| variable("USER"))
                .unwrap_or_else(|| "root".into());
            (user, variable("HOME").unwrap_or_else(|| "/".into()).into())
        });
        let host = text("/proc/sys/kernel/hostname")
            .or_else(|| variable("HOSTNAME"))
            .or_else(node_name)
            .unwrap_or_default();
        Self {
            home,
            user,
            uid: uid.unwrap_or(0),
            host: host.trim().to_owned(),
            environment,
        }
    }
}

/// Who says how a host is to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// OpenSSH's own client: exact.
    OpenSsh {
        /// The file to read instead of the user's and the system's.
        file: Option<PathBuf>,
    },
    /// Our own parser of the common keywords.
    OwnParser {
        /// The file to read instead of the user's and the system's.
        file: Option<PathBuf>,
    },
    /// Nobody: OpenSSH's defaults.
    None,
}

impl Source {
    /// OpenSSH's client where `ssh` is in `$PATH`, our own parser where it is not. The file `none` means no
    /// configuration at all, as with `ssh -F none`.
    pub fn detect(file: Option<&Path>, facts: &LocalFacts) -> Self {
        if file == Some(Path::new("none")) {
            return Self::None;
        }
        let file = file.map(Path::to_owned);
        let folders = facts
            .environment
            .get("PATH")
            .map(String::as_str)
            .unwrap_or_default();
        if std::env::split_paths(folders).any(|folder| is_program(&folder.join("ssh"))) {
            Self::OpenSsh { file }
        } else {
            Self::OwnParser { file }
        }
    }
}

/// The number of whom a file belongs to.
fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(path.metadata().ok()?.uid())
}

/// This host's name as every Unix tells it.
fn node_name() -> Option<String> {
    let output = std::process::Command::new("uname")
        .arg("-n")
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Asks `source` how to connect to a host. Waits for a child where that is OpenSSH's client.
pub async fn resolve(
    source: &Source,
    wanted: &Wanted<'_>,
    facts: &LocalFacts,
) -> Result<HostConfig, ConfigError> {
    check_names(wanted)?;
    match source {
        Source::OpenSsh { file } => {
            let (output, defaults) =
                tokio::join!(ssh_g::run(file.as_deref(), wanted), ssh_g::defaults());
            ssh_g::parse(&output?, defaults, wanted, facts)
        }
        Source::OwnParser { file } => {
            own::OwnConfig::load(file.as_deref(), facts)?.resolve(wanted, facts)
        }
        Source::None => own::OwnConfig::default().resolve(wanted, facts),
    }
}

/// Refuses names that OpenSSH, or a command in its configuration, could take for something else: names come from
/// schedulers too, and `%h` ends up in shell commands.
pub fn check_names(wanted: &Wanted<'_>) -> Result<(), ConfigError> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "'`\"$\\;&<>|(){}".contains(c);
    let host = wanted.host;
    if host.is_empty() || host.starts_with('-') || host.contains(|c| odd(c) || "@/,".contains(c)) {
        return Err(ConfigError::BadHost {
            host: host.to_owned(),
        });
    }
    match wanted.user {
        Some(user) if user.is_empty() || user.starts_with('-') || user.contains(odd) => {
            Err(ConfigError::BadUser {
                user: user.to_owned(),
                host: host.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// Why it is not known how to connect to a host.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The host's name is none.
    #[error(
        "connect to {host:?}: that is no host name; it must not be empty, begin with '-', or hold blanks or any of @/,'`\"$\\;&<>|(){{}}"
    )]
    BadHost {
        /// The name.
        host: String,
    },
    /// The user's name is none.
    #[error(
        "connect to {host} as {user:?}: that is no user name; it must not be empty, begin with '-', or hold blanks or any of '`\"$\\;&<>|(){{}}"
    )]
    BadUser {
        /// The user.
        user: String,
        /// The host.
        host: String,
    },
    /// `ssh` could not be run.
    #[error(
        "run `ssh -G {host}` to read its configuration: {}",
        open_files::remedy(source).unwrap_or("install openssh-client, or go without by the configuration's ssh.config = \"none\"")
    )]
    Run {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `ssh` did not answer within [`ssh_g::RUN_LIMIT`].
    #[error("run `ssh -G {host}` to read its configuration: no answer within {} s; a `Match exec` in it may hang", ssh_g::RUN_LIMIT.as_secs())]
    Slow {
        /// The host.
        host: String,
    },
    /// `ssh` refused: its own words say why.
    #[error("run `ssh -G {host}` to read its configuration: it ended with {status}: {stderr}")]
    Refused {
        /// The host.
        host: String,
        /// How it ended.
        status: String,
        /// What it said, on one line.
        stderr: String,
    },
    /// The answer of `ssh` is not understood.
    #[error("read the answer of `ssh -G {host}`: {why}")]
    Answer {
        /// The host.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read.
    #[error("read the SSH configuration {file}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit is exceeded.
    #[error("read the SSH configuration {file}: {why}")]
    Limit {
        /// The file.
        file: PathBuf,
        /// Which limit.
        why: String,
    },
    /// A line is wrong.
    #[error("read the SSH configuration {file}:{line}: {why}")]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A value has a token that cannot be expanded and is needed.
    #[error("read the SSH configuration for {host}: {why}")]
    Expand {
        /// The host.
        host: String,
        /// Which.
        #[source]
        why: tokens::ExpandError,
    },
}

/// Values as configured, before tokens are expanded; what both sources come to.
#[derive(Debug, Clone)]
struct Values {
    hostname: String,
    port: u16,
    user: String,
    identity_files: Vec<String>,
    identities_only: bool,
    identity_agent: Option<String>,
    certificate_files: Vec<String>,
    user_known_hosts_files: Vec<PathBuf>,
    global_known_hosts_files: Vec<PathBuf>,
    strict_host_key_checking: HostKeyChecking,
    host_key_alias: Option<String>,
    connect_timeout: Option<Duration>,
    server_alive_interval: Option<Duration>,
    server_alive_count_max: u32,
    proxy: Proxy,
    host_key_algorithms: Vec<String>,
    compression: bool,
    address_family: AddressFamily,
    bind_address: Option<String>,
    rule_words: RuleWords,
    warnings: Vec<String>,
}

impl Values {
    /// Expands what is still to expand. A file whose name cannot be expanded is left out with a warning: another key
    /// may serve.
    fn finish(mut self, host: &str, facts: &LocalFacts) -> Result<HostConfig, String> {
        let rules = self.rule_words.rules()?;
        let jump = if let Proxy::Jump(jump) = &self.proxy {
            jump
        } else {
            ""
        };
        let alias = self.host_key_alias.as_deref();
        let tokens = Tokens {
            facts,
            host,
            hostname: &self.hostname,
            port: self.port,
            user: &self.user,
            alias,
            jump,
        };
        let warnings = &mut self.warnings;
        let mut expand = |keyword: &str, names: &[String]| {
            let names = names
                .iter()
                .filter(|name| !name.eq_ignore_ascii_case("none"));
            names
                .filter_map(|name| {
                    let problem = match tokens.path(name) {
                        Ok(path) => return Some(path),
                        Err(problem) => problem,
                    };
                    warnings.push(format!("{keyword} {name} is left out: {problem}"));
                    None
                })
                .collect::<Vec<_>>()
        };
        let identity_files = expand("IdentityFile", &self.identity_files);
        let certificate_files = expand("CertificateFile", &self.certificate_files);
        let identity_agent = match self.identity_agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => IdentityAgent::Variable("SSH_AUTH_SOCK".into()),
            Some(name) if name.eq_ignore_ascii_case("none") => IdentityAgent::Off,
            Some(name) => match name.strip_prefix('$') {
                Some(variable) if !variable.starts_with('{') => {
                    IdentityAgent::Variable(variable.to_owned())
                }
                _ => expand("IdentityAgent", &[name.to_owned()])
                    .pop()
                    .map_or(IdentityAgent::Off, IdentityAgent::Socket),
            },
        };
        // Going on without it could accept a revoked key, so that a name that cannot be read is an error.
        let revoked_host_keys = rules
            .revoked_host_keys
            .as_deref()
            .map(|name| {
                tokens
                    .path(name)
                    .map_err(|why| format!("RevokedHostKeys {name:?}: {why}"))
            })
            .transpose()?;
        if let Some(provider) = &rules.pkcs11_provider {
            self.warnings.push(format!(
                "PKCS11Provider {provider} is not supported: its keys are not tried; log in by the system's ssh with --ssh-command"
            ));
        }
        Ok(HostConfig {
            hostname: self.hostname,
            port: self.port,
            user: self.user,
            identity_files,
            identities_only: self.identities_only,
            identity_agent,
            certificate_files,
            user_known_hosts_files: self.user_known_hosts_files,
            global_known_hosts_files: self.global_known_hosts_files,
            strict_host_key_checking: self.strict_host_key_checking,
            host_key_alias: self.host_key_alias,
            connect_timeout: self.connect_timeout,
            server_alive_interval: self.server_alive_interval,
            server_alive_count_max: self.server_alive_count_max,
            proxy: self.proxy,
            host_key_algorithms: self.host_key_algorithms,
            compression: self.compression,
            address_family: self.address_family,
            bind_address: self.bind_address,
            rules,
            revoked_host_keys,
            warnings: self.warnings,
        })
    }
}

#[cfg(test)]
mod tests;
