//! SSH: one connection to one server, and commands run over it. Only this file and those below it name the SSH library.
//!
//! It owns the handshake; the check of the host's key is `host_key`'s, the login `auth`'s. The stream to the server is
//! [`crate::dialler`]'s; who is dialled when, how many connections there are and what happens after a failure is
//! [`crate::pool`]'s.

mod auth;
mod ciphers;
mod host_key;
mod secrets;
pub mod tunnel;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;
use russh::{AlgorithmKind, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred, compression};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock::Clock;
use crate::known_hosts::{HostName, KnownHosts};
use crate::lock::lock;
use crate::new_keys::NewKey;
use crate::prompt::{Confirmed, Unanswered, strangers};
use crate::tcp::{Route, plain};

use host_key::Judgement;
use secrets::OpenQuestions;

pub use auth::Credentials;
pub use host_key::Trust;
pub use secrets::Secrets;

/// Packets that a channel may hold before its connection waits for it; a packet is 32 KiB.
const CHANNEL_PACKETS: usize = 2;

/// Bytes of a command's standard error that are kept for messages.
const STDERR_BYTES: usize = 1024;

/// Everything needed to connect to one server.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The name or address to connect to.
    pub hostname: String,
    /// The port.
    pub port: u16,
    /// Who to log in as.
    pub user: String,
    /// The name that the server's key is looked up by instead of its own (`HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// The known keys.
    pub known_hosts: Arc<KnownHosts>,
    /// The keys to log in with.
    pub identities: Identities,
    /// How long the connection and the key exchange may take together.
    pub connect_timeout: Duration,
    /// After how long a silence the server is asked whether it is there; it is given up after [`Dial::keepalive_max`] such questions.
    pub keepalive_interval: Duration,
    /// Unanswered questions after which the connection counts as lost.
    pub keepalive_max: usize,
    /// The clock, for the validity of host certificates.
    pub clock: Clock,
    /// What lies between.
    pub via: Via,
    /// From which address to which; of a server that is dialled directly.
    pub route: Route,
    /// Whether to ask for compression.
    pub compression: Compression,
    /// Which keys of the server are trusted beside the known ones.
    pub trust: Trust,
    /// How to log in beside the keys.
    pub credentials: Credentials,
}

/// What lies between here and a server.
#[derive(Debug, Clone, Default)]
pub enum Via {
    /// Nothing.
    #[default]
    Direct,
    /// Another server, which connects on to this one.
    Jump(Arc<Hop>),
    /// A program whose input and output are the connection.
    Command {
        /// The command, with everything expanded.
        command: String,
        /// The shell that runs it.
        shell: String,
    },
}

/// A server to jump through.
#[derive(Debug)]
pub struct Hop {
    /// As the configuration calls it.
    pub name: String,
    /// How it is reached itself.
    pub dial: Dial,
}

/// Whether a connection is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// It is not.
    #[default]
    Off,
    /// It is where the server can do it, once the login is through.
    On,
}

/// What a connection runs over.
pub type Stream = Box<dyn Duplex>;

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Where the keys to log in with come from.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Private key files, most preferred first. Missing ones are passed over.
    pub files: Vec<PathBuf>,
    /// Certificate files; without any, those that lie beside the key files.
    pub certificates: Vec<PathBuf>,
    /// Whether the agent may offer keys that are not among the files.
    pub offer: AgentKeys,
}

/// Which of an agent's keys are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgentKeys {
    /// All of them.
    #[default]
    All,
    /// Only those whose public half is beside one of the files (`IdentitiesOnly`).
    OfFiles,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error(
        "cannot resolve {name}: {why}; check the name, or say where it is with HostName in the SSH configuration"
    )]
    Resolve {
        /// The name.
        name: String,
        /// The resolver's words.
        why: String,
    },
    /// Nothing answers there.
    #[error("{0}")]
    Unreachable(String),
    /// The server hung up before the login, as one does that has too many connections.
    #[error(
        "the server hangs up before the login (too many connections at once? see MaxStartups in its sshd_config, and its log)"
    )]
    CutOff,
    /// A server on the way to it is the reason.
    #[error("jump host {name}: {why}")]
    Jump {
        /// What the configuration calls it.
        name: String,
        /// Its failure.
        why: Box<ConnectError>,
    },
    /// The server's key is not to be trusted; says what to do.
    #[error("{0}")]
    HostKey(String),
    /// Nobody has said yet whether the server's key is to be trusted: see [`Dial::ask_about`].
    #[error("nobody has said yet whether the host key of {} is to be trusted", .0.shown)]
    UnknownKey(Box<NewKey>),
    /// What is configured cannot be done; says what to do.
    #[error("{0}")]
    Configuration(String),
    /// No key was accepted; says what was tried.
    #[error("{0}")]
    Login(String),
    /// The system's client cannot be used for this; its words.
    #[error("{0}")]
    Program(String),
    /// Anything else.
    #[error("{0}")]
    Protocol(String),
}

impl Dial {
    fn host_name(&self) -> HostName<'_> {
        HostName {
            name: &self.hostname,
            port: self.port,
            alias: self.host_key_alias.as_deref(),
        }
    }

    /// The same for all that may share a connection.
    pub fn key(&self) -> String {
        let Self {
            user,
            hostname,
            port,
            host_key_alias: alias,
            via,
            route,
            compression,
            credentials,
            ..
        } = self;
        let algorithms = &credentials.rules.algorithms;
        let via = match via {
            Via::Direct => format!("{route:?}"),
            Via::Jump(hop) => hop.dial.key(),
            Via::Command { command, .. } => command.clone(),
        };
        format!("{user:?}@{hostname:?}:{port} {alias:?} {compression:?} {algorithms:?} via ({via})")
    }
}

impl Dial {
    /// Has somebody asked about an unknown key, after which dialling again may help.
    ///
    /// # Errors
    /// Why the host is not to be trusted.
    pub async fn ask_about(&self, key: &NewKey) -> Result<(), String> {
        let answer = match &self.trust.new_keys {
            Some(new_keys) => new_keys.ask(key).await,
            None => Err(Unanswered::Nobody),
        };
        match answer {
            Ok(Confirmed::Yes) => Ok(()),
            Ok(Confirmed::No) | Err(Unanswered::Nobody | Unanswered::Declined) => {
                Err(host_key::not_trusted(self, key))
            }
            Err(error) => Err(format!("{}; {error}", host_key::not_trusted(self, key))),
        }
    }
}

impl Hop {
    /// What went wrong with it, for who wanted through.
    pub fn failed(&self, why: ConnectError) -> ConnectError {
        ConnectError::Jump {
            name: crate::causes::plain(&self.name),
            why: Box::new(why),
        }
    }
}

impl ConnectError {
    /// Whether trying again can help without somebody changing something first.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::HostKey(_) | Self::Configuration(_) | Self::Login(_) | Self::Program(_) => false,
            Self::Jump { why, .. } => why.may_pass(),
            Self::Resolve { .. }
            | Self::Unreachable(_)
            | Self::CutOff
            | Self::UnknownKey(_)
            | Self::Protocol(_) => true,
        }
    }

    /// Whether a server has too much to do: no failure until it lasts.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::CutOff => true,
            Self::Jump { why, .. } => why.is_busy(),
            _ => false,
        }
    }
}

/// A connection that is logged in. Closed when dropped.
pub struct Connection {
    handle: client::Handle<Client>,
    lost: Arc<OnceLock<String>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Why a command could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The server allows no more sessions on this connection.
    #[error("the server allows no more sessions on this connection")]
    NoMoreSessions,
    /// The connection is gone.
    #[error("{0}")]
    Broken(String),
}

impl Connection {
    /// Logs in over the stream that `connecting` comes to; the limit on connecting holds for both together.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(
        dial: &Dial,
        connecting: impl Future<Output = Result<Stream, ConnectError>>,
    ) -> Result<Self, ConnectError> {
        let lost = Arc::new(OnceLock::new());
        let refused = Arc::new(Mutex::new(None));
        let client = Client {
            dial: dial.clone(),
            refused: refused.clone(),
            lost: lost.clone(),
        };
        let config = Arc::new(config(dial).map_err(ConnectError::Configuration)?);
        let connected = AtomicBool::new(false);
        let handshake = async {
            let stream = connecting.await?;
            connected.store(true, Ordering::Relaxed);
            client::connect_stream(config, stream, client)
                .await
                .map_err(|error| match lock(&refused).take() {
                    Some(error) => error,
                    None => handshake_error(&error),
                })
        };
        let mut handle = tokio::time::timeout(dial.connect_timeout, handshake)
            .await
            .map_err(|_| {
                let remedy = if connected.load(Ordering::Relaxed) {
                    "what listens there says nothing; check the port, and how the host is (ConnectTimeout is the limit)"
                } else {
                    "check that the host is up, and that no firewall is between"
                };
                ConnectError::Unreachable(format!(
                    "no answer from {}:{} within {} s: {remedy}",
                    dial.hostname,
                    dial.port,
                    dial.connect_timeout.as_secs()
                ))
            })??;
        let open = OpenQuestions::default();
        let limit = dial.connect_timeout.max(LOGIN_TIMEOUT);
        // Boxed, since it is large and every reader waits for a connection.
        let login = Box::pin(auth::log_in(&mut handle, dial, &open));
        match within(limit, &open, login).await {
            Some(Err(ConnectError::Login(why))) => {
                // The library reports a connection that broke as a key that was not accepted; only a server that says goodbye (as
                // it does after too many wrong keys) meant it.
                return Err(match lost.get() {
                    Some(broke) if !broke.starts_with(HUNG_UP) => {
                        ConnectError::Protocol(format!("the login broke off: {broke}"))
                    }
                    _ => ConnectError::Login(why),
                });
            }
            Some(result) => result?,
            None => {
                return Err(ConnectError::Unreachable(format!(
                    "{} did not answer the login in time",
                    dial.hostname
                )));
            }
        }
        Ok(Self { handle, lost })
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Starts a command through the login's shell.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn exec(&self, command: &str) -> Result<(Input, Output), ExecError> {
        let channel = match self.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(_)) => return Err(ExecError::NoMoreSessions),
            Err(error) => return Err(ExecError::Broken(self.why_lost(&error.to_string()))),
        };
        channel
            .exec(true, command)
            .await
            .map_err(|error| ExecError::Broken(self.why_lost(&error.to_string())))?;
        let (read, write) = channel.split();
        Ok((
            Input { write: Some(write) },
            Output {
                read,
                exit: None,
                stderr: Vec::new(),
                lost: self.lost.clone(),
            },
        ))
    }

    fn why_lost(&self, otherwise: &str) -> String {
        self.lost
            .get()
            .cloned()
            .unwrap_or_else(|| otherwise.to_lowercase())
    }
}

/// Waits for a login, for so long; the time in which somebody is asked does not count.
async fn within<T>(
    limit: Duration,
    open: &OpenQuestions,
    login: impl Future<Output = T>,
) -> Option<T> {
    /// How often the time is looked at.
    const TICK: Duration = Duration::from_millis(500);
    tokio::pin!(login);
    let mut left = limit;
    loop {
        tokio::select! {
            result = &mut login => return Some(result),
            () = tokio::time::sleep(TICK) => {}
        }
        if !open.any() {
            left = left.checked_sub(TICK)?;
        }
    }
}

/// What begins the reason of a connection that the server ended with a word.
const HUNG_UP: &str = "the server hung up";

/// How long the login may take at least, an agent's question to its user included.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A running command's standard input. The channel is closed when it is dropped.
#[derive(Debug)]
pub struct Input {
    /// There until it is closed.
    write: Option<ChannelWriteHalf<client::Msg>>,
}

impl Input {
    /// Sends bytes, waiting for the server to take them.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ExecError> {
        match &self.write {
            Some(write) => write
                .data_bytes(bytes)
                .await
                .map_err(|error| ExecError::Broken(error.to_string())),
            None => Err(ExecError::Broken("the channel is closed".to_owned())),
        }
    }

    /// Closes the channel: the command sees the end of its input, and its output is thrown away.
    pub async fn close(mut self) {
        if let Some(write) = self.write.take() {
            // A connection that is gone has closed the channel already.
            let _ = write.close().await;
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // The library leaves a channel open that is dropped, and with it the command and its place among the server's sessions.
        if let Some(write) = self.write.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { write.close().await });
        }
    }
}

/// A running command's output.
#[derive(Debug)]
pub struct Output {
    read: ChannelReadHalf,
    exit: Option<u32>,
    stderr: Vec<u8>,
    lost: Arc<OnceLock<String>>,
}

/// What comes out of a command.
#[derive(Debug)]
pub enum Said {
    /// Bytes of standard output.
    Bytes(Bytes),
    /// It ended with this status; 255 for a signal.
    Exited(u32),
    /// The connection broke; why.
    Broken(String),
}

impl Output {
    /// Waits for the next output. Safe to drop while waiting.
    pub async fn next(&mut self) -> Said {
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => return Said::Bytes(data),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = STDERR_BYTES.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(exit_status),
                Some(ChannelMsg::ExitSignal { .. }) => self.exit = Some(255),
                Some(ChannelMsg::Failure) => {
                    return Said::Broken("the server runs no commands for this login".to_owned());
                }
                Some(ChannelMsg::Close) | None => {
                    return match self.exit {
                        Some(status) => Said::Exited(status),
                        None => Said::Broken(
                            self.lost
                                .get()
                                .cloned()
                                .unwrap_or_else(|| "connection lost".to_owned()),
                        ),
                    };
                }
                Some(_) => {}
            }
        }
    }

    /// What the command said on standard error so far, cut to a kibibyte.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

fn handshake_error(error: &ClientError) -> ConnectError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match &error.0 {
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::Version => {
            ConnectError::CutOff
        }
        russh::Error::IO(io)
            if matches!(
                io.kind(),
                ConnectionReset | BrokenPipe | UnexpectedEof | ConnectionAborted
            ) =>
        {
            ConnectError::CutOff
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let (what, keyword) = match kind {
                AlgorithmKind::Kex => ("key exchange", "KexAlgorithms"),
                AlgorithmKind::Key => ("host key algorithm", "HostKeyAlgorithms"),
                AlgorithmKind::Cipher => ("cipher", "Ciphers"),
                AlgorithmKind::Compression => ("compression", "Compression"),
                AlgorithmKind::Mac => ("MAC", "MACs"),
            };
            ConnectError::Protocol(format!(
                "no common {what}: the server offers {}; allow one of them by {keyword} in the SSH configuration, or connect by the system's ssh with --ssh-command ssh",
                strangers(&theirs.join(", "))
            ))
        }
        other => ConnectError::Protocol(other.to_string()),
    }
}

fn config(dial: &Dial) -> Result<client::Config, String> {
    let offered = host_key::offered(dial)?;
    let protection = ciphers::allowed(&dial.credentials.rules.algorithms)?;
    Ok(client::Config {
        channel_buffer_size: CHANNEL_PACKETS,
        keepalive_interval: Some(dial.keepalive_interval),
        keepalive_max: dial.keepalive_max,
        nodelay: true,
        preferred: Preferred {
            host_key_certificates: Cow::Owned(offered.certificates),
            key: Cow::Owned(offered.keys),
            kex: Cow::Owned(protection.key_exchanges),
            cipher: Cow::Owned(protection.ciphers),
            mac: Cow::Owned(protection.macs),
            compression: Cow::Borrowed(match dial.compression {
                Compression::Off => &[compression::NONE],
                Compression::On => &[compression::ZLIB_LEGACY, compression::NONE],
            }),
        },
        ..client::Config::default()
    })
}

/// Our side of the library's callbacks.
struct Client {
    dial: Dial,
    refused: Arc<Mutex<Option<ConnectError>>>,
    lost: Arc<OnceLock<String>>,
}

/// The library wants an error type of ours.
#[derive(Debug)]
struct ClientError(russh::Error);

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        Self(error)
    }
}

impl client::Handler for Client {
    type Error = ClientError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let verdict = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => host_key::check(&self.dial, key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                host_key::check_certificate(&self.dial, certificate)
            }
        };
        let error = match verdict {
            Judgement::Accept => return Ok(true),
            Judgement::Refuse(why) => ConnectError::HostKey(why),
            Judgement::Ask(key) => ConnectError::UnknownKey(key),
        };
        *lock(&self.refused) = Some(error);
        Ok(false)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let (why, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                (format!("{HUNG_UP}: {}", info.message), Ok(()))
            }
            DisconnectReason::Error(error) => {
                let why = match &error.0 {
                    russh::Error::KeepaliveTimeout => "the host no longer answers".to_owned(),
                    russh::Error::IO(io) => plain(io),
                    russh::Error::HUP | russh::Error::Disconnect => {
                        "the server closed the connection".to_owned()
                    }
                    other => other.to_string().to_lowercase(),
                };
                (why, Err(error))
            }
        };
        let _ = self.lost.set(why);
        result
    }
}
