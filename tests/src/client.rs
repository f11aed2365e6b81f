//! Transports of the program under test, built as it builds them but without anybody's OpenSSH configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tailll::instance::Login;
use tailll::known_hosts::KnownHosts;
use tailll::pool::{Patience, Pool, PoolOptions, SESSIONS_PER_CONNECTION};
use tailll::remote::{RemoteFiles, ShellSettings};
use tailll::ssh::{AgentKeys, Dial, Identities};
use tailll::transport::Transport;

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
                offer: AgentKeys::All,
            },
            connect_timeout: CONNECT_TIMEOUT,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_max: 3,
            clock: tailll::clock::Clock::start(),
        };
        let pool = Pool::new(PoolOptions {
            resolve: Arc::new(move |_| {
                let dial = dial.clone();
                Box::pin(async move { Ok(dial) })
            }),
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
