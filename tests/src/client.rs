//! Transports of the program under test, built as it builds them but without anybody's OpenSSH configuration.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tailll::connection;
use tailll::instance::Login;
use tailll::known_hosts::KnownHosts;
use tailll::pool::{Patience, Pool, PoolOptions, Resolver, SESSIONS_PER_CONNECTION};
use tailll::remote::{RemoteFiles, ShellSettings};
use tailll::ssh::{AgentKeys, Compression, Credentials, Dial, Identities, Trust, Via};
use tailll::ssh_program::{Program, ProgramOptions, Questions};
use tailll::tcp::Route;
use tailll::transport::Transport;

use crate::ssh_server::{Options, SshServer, new_key, openssh_private};

/// How long a connection may take to be there; many tests share few cores.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a connection is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Who logs in where, with what.
#[derive(Debug, Clone)]
pub struct Door {
    /// The server.
    pub address: SocketAddr,
    /// The user.
    pub user: String,
    /// The private key's file.
    pub key: PathBuf,
    /// The servers' keys in OpenSSH's form.
    pub known_hosts: String,
}

impl Door {
    /// A server of its own with one host whose homes are in `folder`, changed by `change`, and the way in. It ends with the
    /// value that is given.
    pub async fn to_new_server(
        folder: &Path,
        change: impl FnOnce(&mut Options),
    ) -> Result<(SshServer, Self)> {
        let key = new_key("test")?;
        let key_file = folder.join("key");
        fs::write(&key_file, openssh_private(&key)?)?;
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
        let mut options = Options::nodes(1, folder, key.public_key().clone());
        change(&mut options);
        let server = SshServer::start(options).await?;
        let host = server.hosts().first().context("a server without a host")?;
        let door = Self {
            address: host.address(),
            user: "somebody".to_owned(),
            key: key_file,
            known_hosts: server.known_hosts(),
        };
        Ok((server, door))
    }

    /// The way to the host's files, over connections of its own.
    pub fn transport(&self, settings: ShellSettings) -> Transport {
        let dial = Dial {
            hostname: self.address.ip().to_string(),
            port: self.address.port(),
            user: self.user.clone(),
            host_key_alias: None,
            known_hosts: Arc::new(KnownHosts::parse(
                "known_hosts".as_ref(),
                self.known_hosts.as_bytes(),
            )),
            identities: Identities {
                agent: None,
                files: vec![self.key.clone()],
                certificates: Vec::new(),
                offer: AgentKeys::All,
            },
            connect_timeout: CONNECT_TIMEOUT,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_max: 3,
            clock: tailll::clock::Clock::start(),
            via: Via::Direct,
            route: Route::default(),
            compression: Compression::Off,
            trust: Trust::default(),
            credentials: Credentials::default(),
        };
        self.over(
            Arc::new(move |_| {
                let dial = dial.clone();
                Box::pin(async move { Ok(connection::Dial::Library(Box::new(dial))) })
            }),
            settings,
        )
    }

    /// The same by a program in place of the library, which reads the servers' keys from a file.
    pub fn transport_by(
        &self,
        command: &str,
        known_hosts: PathBuf,
        settings: ShellSettings,
    ) -> Transport {
        let program = Program::new(
            command.parse().expect("a command"),
            ProgramOptions {
                config: Some("none".into()),
                known_hosts: vec![known_hosts],
                identity_files: vec![self.key.clone()],
            },
            Questions::Never,
            Arc::new(|line| panic!("{line}")),
            // As many folders as there are tests at once.
            self.address.port().into(),
        );
        self.over(program.resolver(), settings)
    }

    fn over(&self, resolve: Resolver, settings: ShellSettings) -> Transport {
        let pool = Pool::new(PoolOptions {
            resolve,
            report: Arc::new(|_, _| {}),
            patience: Patience::Endless,
            sessions_per_connection: SESSIONS_PER_CONNECTION,
            seed: 1,
        });
        let login = Login {
            user: Some(self.user.clone()),
            host: self.address.ip().to_string(),
            port: Some(self.address.port()),
        };
        Transport::Remote(RemoteFiles::new(pool.host(&login), settings))
    }
}
