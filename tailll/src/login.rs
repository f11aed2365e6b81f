//! From a login to everything needed to dial it: OpenSSH's configuration, the known hosts and the keys, put together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};

use crate::causes::{chain, plain};
use crate::clock::Clock;
use crate::connection;
use crate::follow::Say;
use crate::instance::Login;
use crate::known_hosts::KnownHosts;
use crate::known_hosts::shell_word;
use crate::lock::lock;
use crate::new_keys::NewKeys;
use crate::output;
use crate::pool::Resolver;
use crate::prompt::Prompter;
use crate::revoked_keys::RevokedKeys;
use crate::ssh::{AgentKeys, Compression, Credentials, Dial, Hop, Identities, Secrets, Trust, Via};
use crate::ssh_config::rules::Questions;
use crate::ssh_config::{
    self, HostConfig, HostKeyChecking, IdentityAgent, LocalFacts, Proxy, Source, Wanted, hops,
};
use crate::tcp::Route;

/// Copies of `ssh -G` that run at once; each may run a program of the user's (`Match exec`).
const RESOLVED_AT_ONCE: usize = 8;

/// The limit on connecting where OpenSSH's configuration has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// After how much silence a server is asked whether it is there, where OpenSSH's configuration does not say.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Jump hosts on the way to one host, at most.
const MAX_JUMPS: usize = 8;

/// The shell that runs a `ProxyCommand` where the environment names none.
const DEFAULT_SHELL: &str = "/bin/sh";

/// OpenSSH's configuration for one login, found out once.
type Found = Arc<OnceCell<Result<Arc<HostConfig>, String>>>;

/// Why it is not known how to dial.
#[derive(Debug, thiserror::Error)]
enum WayError {
    /// A jump host is behind itself.
    #[error(
        "its jump hosts go in a circle: {0} (ProxyJump); end it with ProxyJump none for one of them"
    )]
    Circle(String),
    /// There are too many jump hosts.
    #[error("more than {MAX_JUMPS} jump hosts are on the way to it: shorten its ProxyJump")]
    TooLong,
    /// Something about one login.
    #[error("{0}")]
    Other(String),
}

impl From<String> for WayError {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

/// Finds out how to dial.
pub struct Logins {
    source: Source,
    facts: LocalFacts,
    known_hosts: Vec<PathBuf>,
    identity_files: Vec<PathBuf>,
    unknown: UnknownHosts,
    secrets: Arc<Secrets>,
    new_keys: Arc<NewKeys>,
    revoked: Mutex<HashMap<PathBuf, Arc<RevokedKeys>>>,
    compression: Compression,
    clock: Clock,
    say: Say,
    running: Semaphore,
    found: Mutex<HashMap<Login, Found>>,
    loaded: Mutex<HashMap<Vec<PathBuf>, Arc<KnownHosts>>>,
    warned: Mutex<std::collections::HashSet<String>>,
}

/// What our own configuration says in place of OpenSSH's.
#[derive(Debug, Clone, Default)]
pub struct LoginOptions {
    /// The file that OpenSSH's client is told to read; `none` for no configuration.
    pub config: Option<PathBuf>,
    /// Files of known hosts.
    pub known_hosts: Vec<PathBuf>,
    /// Key files.
    pub identity_files: Vec<PathBuf>,
    /// What to do about unknown hosts.
    pub unknown: UnknownHosts,
    /// Whether to ask for compression where OpenSSH's configuration does not.
    pub compression: Compression,
    /// What else is written to the terminal, to keep it quiet while somebody is asked.
    pub output: Option<output::Pauser>,
}

/// What to do about hosts whose key nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownHosts {
    /// What OpenSSH's configuration says.
    #[default]
    AsConfigured,
    /// Trust and remember them.
    Accept,
}

impl Logins {
    /// Reads the facts of this process.
    pub fn new(options: LoginOptions, clock: Clock, say: Say) -> Self {
        let facts = LocalFacts::read();
        let source = Source::detect(options.config.as_deref(), &facts);
        let prompter = Prompter::new(&facts.environment, options.output);
        Self {
            unknown: options.unknown,
            secrets: Arc::new(Secrets::new(prompter.clone())),
            new_keys: Arc::new(NewKeys::new(prompter, say.clone())),
            revoked: Mutex::default(),
            source,
            facts,
            known_hosts: options.known_hosts,
            identity_files: options.identity_files,
            compression: options.compression,
            clock,
            say,
            running: Semaphore::new(RESOLVED_AT_ONCE),
            found: Mutex::default(),
            loaded: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    /// As a pool wants it.
    pub fn resolver(self) -> Resolver {
        let logins = Arc::new(self);
        Arc::new(move |login| {
            let logins = logins.clone();
            Box::pin(async move {
                logins
                    .dial(&login, None, &[])
                    .await
                    .map(|dial| connection::Dial::Library(Box::new(dial)))
                    .map_err(|error| error.to_string())
            })
        })
    }

    /// How to dial a login. `through` is the jump host before it in a list of them, and goes before what its own configuration
    /// says; `behind` is who wants through it, to find circles.
    async fn dial(
        &self,
        login: &Login,
        through: Option<Arc<Hop>>,
        behind: &[Login],
    ) -> Result<Dial, WayError> {
        let mut trail = behind.to_vec();
        trail.push(login.clone());
        if behind.contains(login) {
            let trail: Vec<String> = trail.iter().map(Login::to_string).collect();
            return Err(WayError::Circle(plain(&trail.join(" -> "))));
        }
        if trail.len() > MAX_JUMPS + 1 {
            return Err(WayError::TooLong);
        }
        let config = self.config(login).await?;
        let via = match through {
            Some(hop) => Via::Jump(hop),
            None => self.via(&config, login, &trail).await?,
        };
        let mut jumps = 0;
        let mut next = &via;
        while let Via::Jump(hop) = next {
            jumps += 1;
            next = &hop.dial.via;
        }
        if jumps > MAX_JUMPS {
            return Err(WayError::TooLong);
        }
        Ok(Dial {
            known_hosts: self.known_hosts(&config)?,
            identities: self.identities(&config),
            trust: self.trust(login, &config)?,
            credentials: Credentials {
                shown: login.host.clone(),
                rules: config.rules.clone(),
                secrets: self.secrets.clone(),
            },
            hostname: config.hostname.clone(),
            port: config.port,
            user: config.user.clone(),
            host_key_alias: config.host_key_alias.clone(),
            connect_timeout: config.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            keepalive_interval: config.server_alive_interval.unwrap_or(KEEPALIVE),
            keepalive_max: config.server_alive_count_max as usize,
            clock: self.clock,
            via,
            route: Route {
                family: config.address_family,
                bind: config.bind_address.clone(),
            },
            compression: if config.compression {
                Compression::On
            } else {
                self.compression
            },
        })
    }

    /// What OpenSSH's configuration says about a login; a jump host is asked about once for all that are behind it.
    async fn config(&self, login: &Login) -> Result<Arc<HostConfig>, String> {
        let found = lock(&self.found).entry(login.clone()).or_default().clone();
        let find = || async {
            let _permit = self
                .running
                .acquire()
                .await
                .map_err(|error| error.to_string())?;
            let wanted = Wanted {
                host: &login.host,
                user: login.user.as_deref(),
                port: login.port,
            };
            let config = ssh_config::resolve(&self.source, &wanted, &self.facts)
                .await
                .map_err(|error| chain(&error))?;
            for warning in &config.warnings {
                self.warn(warning);
            }
            Ok(Arc::new(config))
        };
        found.get_or_init(find).await.clone()
    }

    /// What lies between, by the configuration of a login.
    async fn via(
        &self,
        config: &HostConfig,
        login: &Login,
        trail: &[Login],
    ) -> Result<Via, WayError> {
        let expand = |text: &str, keyword: &str| {
            config
                .expand(text, &login.host, &self.facts)
                .map_err(|error| WayError::Other(format!("{keyword} {}: {error}", plain(text))))
        };
        match &config.proxy {
            Proxy::Direct => Ok(Via::Direct),
            Proxy::Command(command) if command.trim().eq_ignore_ascii_case("none") => {
                Ok(Via::Direct)
            }
            Proxy::Command(command) => Ok(Via::Command {
                command: expand(command, "ProxyCommand")?,
                shell: self
                    .facts
                    .environment
                    .get("SHELL")
                    .filter(|shell| !shell.is_empty())
                    .map_or_else(|| DEFAULT_SHELL.to_owned(), Clone::clone),
            }),
            Proxy::Jump(jump) => {
                let hops = hops::parse(&expand(jump, "ProxyJump")?)
                    .map_err(|error| WayError::Other(plain(&error.to_string())))?;
                let mut before = None;
                for hop in hops {
                    let name = hop.to_string();
                    let dial = Box::pin(self.dial(&hop, before, trail))
                        .await
                        .map_err(|why| match why {
                            WayError::Other(why) => {
                                WayError::Other(format!("jump host {name}: {why}"))
                            }
                            of_all_of_it => of_all_of_it,
                        })?;
                    before = Some(Arc::new(Hop { name, dial }));
                }
                Ok(before.map_or(Via::Direct, Via::Jump))
            }
        }
    }

    fn trust(&self, login: &Login, config: &HostConfig) -> Result<Trust, String> {
        let file = if self.known_hosts.is_empty() {
            config.user_known_hosts_files.first()
        } else {
            self.known_hosts.first()
        };
        Ok(Trust {
            shown: login.host.clone(),
            connect: self.ssh_command(login),
            checking: match (self.unknown, config.rules.questions) {
                (UnknownHosts::Accept, _) => HostKeyChecking::AcceptNew,
                (UnknownHosts::AsConfigured, Questions::Off)
                    if config.strict_host_key_checking == HostKeyChecking::Ask =>
                {
                    HostKeyChecking::Yes
                }
                (UnknownHosts::AsConfigured, _) => config.strict_host_key_checking,
            },
            algorithms: config.host_key_algorithms.clone(),
            revoked: self.revoked_keys(config.revoked_host_keys.as_deref())?,
            new_keys: Some(self.new_keys.clone()),
            file: file.cloned(),
            names: config.rules.names,
        })
    }

    /// What connects to the host by OpenSSH's client with the same configuration.
    fn ssh_command(&self, login: &Login) -> String {
        let mut words = vec!["ssh".to_owned()];
        let file = match &self.source {
            Source::OpenSsh { file } | Source::OwnParser { file } => file.clone(),
            Source::None => Some("none".into()),
        };
        if let Some(file) = file {
            words.extend(["-F".to_owned(), shell_word(&file.display().to_string())]);
        }
        if let Some(port) = login.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &login.user {
            words.extend(["-l".to_owned(), shell_word(user)]);
        }
        words.push(shell_word(&login.host));
        words.join(" ")
    }

    /// Read once for all hosts.
    fn revoked_keys(&self, file: Option<&Path>) -> Result<Arc<RevokedKeys>, String> {
        let Some(file) = file else {
            return Ok(Arc::default());
        };
        let mut loaded = lock(&self.revoked);
        if let Some(keys) = loaded.get(file) {
            return Ok(keys.clone());
        }
        let keys = Arc::new(RevokedKeys::load(file)?);
        loaded.insert(file.to_owned(), keys.clone());
        Ok(keys)
    }

    fn warn(&self, warning: &str) {
        if lock(&self.warned).insert(warning.to_owned()) {
            (self.say)(warning.to_owned());
        }
    }

    /// Read once for all hosts that share the files.
    fn known_hosts(&self, config: &HostConfig) -> Result<Arc<KnownHosts>, String> {
        let files = if self.known_hosts.is_empty() {
            [
                config.user_known_hosts_files.as_slice(),
                config.global_known_hosts_files.as_slice(),
            ]
            .concat()
        } else {
            self.known_hosts.clone()
        };
        let mut loaded = lock(&self.loaded);
        if let Some(known) = loaded.get(&files) {
            return Ok(known.clone());
        }
        let known = Arc::new(KnownHosts::load(&files).map_err(|error| chain(&error))?);
        for problem in known.problems() {
            self.warn(&problem.to_string());
        }
        loaded.insert(files, known.clone());
        Ok(known)
    }

    fn identities(&self, config: &HostConfig) -> Identities {
        let agent = match &config.identity_agent {
            IdentityAgent::Off => None,
            IdentityAgent::Socket(socket) => Some(socket.clone()),
            IdentityAgent::Variable(name) => self
                .facts
                .environment
                .get(name)
                .filter(|path| !path.is_empty())
                .map(|path| Path::new(path).to_owned()),
        };
        let files = if self.identity_files.is_empty() {
            config.identity_files.clone()
        } else {
            self.identity_files.clone()
        };
        Identities {
            agent,
            files,
            certificates: config.certificate_files.clone(),
            offer: if config.identities_only {
                AgentKeys::OfFiles
            } else {
                AgentKeys::All
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(config: &str) -> (tempfile::TempDir, Logins) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        std::fs::write(
            &file,
            format!("{config}\nHost *\n UserKnownHostsFile none\n GlobalKnownHostsFile none\n"),
        )
        .expect("to write");
        let mut logins = Logins::new(LoginOptions::default(), Clock::start(), Arc::new(|_| {}));
        // Our own parser, so that it does not matter what is installed here.
        logins.source = Source::OwnParser { file: Some(file) };
        (folder, logins)
    }

    async fn way(config: &str, host: &str) -> String {
        let (_folder, logins) = logins(config);
        let login = Login {
            user: Some("me".to_owned()),
            host: host.to_owned(),
            port: None,
        };
        let mut dial = match logins.dial(&login, None, &[]).await {
            Ok(dial) => dial,
            Err(error) => return error.to_string(),
        };
        let mut way = String::new();
        loop {
            let Dial {
                user,
                hostname,
                port,
                via,
                ..
            } = &dial;
            way += &[user, "@", hostname, ":", &port.to_string()].concat();
            match via {
                Via::Direct => return way,
                Via::Command { command, .. } => return format!("{way} by {command}"),
                Via::Jump(hop) => {
                    way.push_str(" < ");
                    dial = hop.dial.clone();
                }
            }
        }
    }

    #[tokio::test]
    async fn each_jump_host_has_its_own_configuration() {
        let config = "Host web\n ProxyJump b\nHost b\n HostName b.x\n User bee\n Port 2222\n ProxyJump ay@a:23\n\
                      Host list\n ProxyJump a,ssh://q@b:24,[::1]:25\n\
                      Host off\n ProxyJump none\nHost * \n User u\n";
        assert_eq!(
            way(config, "web").await,
            "me@web:22 < bee@b.x:2222 < ay@a:23"
        );
        // Of a list, only the first asks its own configuration what is before it.
        assert_eq!(
            way(config, "list").await,
            "me@list:22 < u@::1:25 < q@b.x:24 < u@a:22"
        );
        assert_eq!(way(config, "off").await, "me@off:22");
    }

    #[tokio::test]
    async fn commands_are_expanded_and_none_is_none() {
        let config = "Host a\n HostName a.x\n Port 2222\n ProxyCommand nc %h %p # %r %n %%\n\
                      Host b\n ProxyCommand none\nHost c\n ProxyCommand nc %Q\n\
                      Host d\n ProxyJump a\n";
        assert_eq!(
            way(config, "a").await,
            "me@a.x:2222 by nc a.x 2222 # me a %"
        );
        assert_eq!(way(config, "b").await, "me@b:22");
        assert!(way(config, "c").await.contains("%Q"));
        let behind = way(config, "d").await;
        assert!(behind.contains("by nc a.x 2222"), "{behind}");
    }

    #[tokio::test]
    async fn circles_and_long_chains_are_refused_with_what_to_do() {
        let circle = way(
            "Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump b\n",
            "a",
        )
        .await;
        assert!(circle.contains("me@a -> b -> c -> b"), "{circle}");
        assert!(circle.contains("ProxyJump none"), "{circle}");
        let itself = way("Host *\n ProxyJump gate\n", "a").await;
        assert!(itself.contains("gate -> gate"), "{itself}");
        let nine = "Host a\n ProxyJump 1,2,3,4,5,6,7,8,9\n";
        assert!(way(nine, "a").await.contains("more than 8"));
        let eight = "Host a\n ProxyJump 1,2,3,4,5,6,7,8\n";
        assert!(way(eight, "a").await.contains("@1:22"));
        let endless = way("Host *\n ProxyJump x%n\n", "a").await;
        assert!(endless.contains("more than 8"), "{endless}");
    }

    #[tokio::test]
    async fn a_wrong_jump_host_is_named() {
        let text = way("Host a\n ProxyJump b\nHost b\n ProxyCommand nc %Q\n", "a").await;
        assert!(
            text.starts_with("jump host b: ProxyCommand nc %Q"),
            "{text}"
        );
    }
}
