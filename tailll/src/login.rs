//! From a login to everything needed to dial it: OpenSSH's configuration, the known hosts and the keys, put together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::causes::chain;
use crate::clock::Clock;
use crate::follow::Say;
use crate::instance::Login;
use crate::known_hosts::KnownHosts;
use crate::pool::Resolver;
use crate::ssh::{AgentKeys, Dial, Identities};
use crate::ssh_config::{self, HostConfig, IdentityAgent, LocalFacts, Proxy, Source, Wanted};

/// Copies of `ssh -G` that run at once; each may run a program of the user's (`Match exec`).
const RESOLVED_AT_ONCE: usize = 8;

/// The limit on connecting where OpenSSH's configuration has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// After how much silence a server is asked whether it is there, where OpenSSH's configuration does not say.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Finds out how to dial.
pub struct Logins {
    source: Source,
    facts: LocalFacts,
    known_hosts: Vec<PathBuf>,
    identity_files: Vec<PathBuf>,
    clock: Clock,
    say: Say,
    running: Semaphore,
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
}

impl Logins {
    /// Reads the facts of this process.
    pub fn new(options: LoginOptions, clock: Clock, say: Say) -> Self {
        let facts = LocalFacts::read();
        let source = Source::detect(options.config.as_deref(), &facts);
        Self {
            source,
            facts,
            known_hosts: options.known_hosts,
            identity_files: options.identity_files,
            clock,
            say,
            running: Semaphore::new(RESOLVED_AT_ONCE),
            loaded: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    /// As a pool wants it.
    pub fn resolver(self) -> Resolver {
        let logins = Arc::new(self);
        Arc::new(move |login| {
            let logins = logins.clone();
            Box::pin(async move { logins.dial(&login).await })
        })
    }

    async fn dial(&self, login: &Login) -> Result<Dial, String> {
        let wanted = Wanted {
            host: &login.host,
            user: login.user.as_deref(),
            port: login.port,
        };
        let config = {
            let _permit = self
                .running
                .acquire()
                .await
                .map_err(|error| error.to_string())?;
            ssh_config::resolve(&self.source, &wanted, &self.facts)
                .await
                .map_err(|error| chain(&error))?
        };
        for warning in &config.warnings {
            self.warn(warning);
        }
        match &config.proxy {
            Proxy::Direct => {}
            Proxy::Jump(jump) => {
                return Err(format!(
                    "it is behind the jump host {jump} (ProxyJump), which tailll cannot go through yet"
                ));
            }
            Proxy::Command(command) => {
                return Err(format!(
                    "it is behind a ProxyCommand ({command}), which tailll cannot run yet"
                ));
            }
        }
        Ok(Dial {
            known_hosts: self.known_hosts(&config)?,
            identities: self.identities(&config),
            hostname: config.hostname,
            port: config.port,
            user: config.user,
            host_key_alias: config.host_key_alias,
            connect_timeout: config.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            keepalive_interval: config.server_alive_interval.unwrap_or(KEEPALIVE),
            keepalive_max: config.server_alive_count_max as usize,
            clock: self.clock,
        })
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
            offer: if config.identities_only {
                AgentKeys::OfFiles
            } else {
                AgentKeys::All
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
