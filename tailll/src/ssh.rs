//! SSH: one connection to one server, and commands run over it. The only file that names the SSH library.
//!
//! It owns the handshake, the check of the host's key (by [`crate::known_hosts`]) and the login. Who is dialled when, how many
//! connections there are and what happens after a failure is [`crate::pool`]'s.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, DisconnectReason};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey,
    PublicKeyOrCertificate,
};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred, cipher, compression};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::known_hosts::{HostKey, HostName, KnownHosts};

/// Logins tried on one connection, at most: OpenSSH hangs up at six.
const LOGINS_PER_CONNECTION: usize = 6;

/// Packets that a channel may hold before its connection waits for it; a packet is 32 KiB.
const CHANNEL_PACKETS: usize = 2;

/// Bytes of a command's standard error that are kept for messages.
const STDERR_BYTES: usize = 1024;

/// How long one address of a name may take to answer before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

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
}

/// Where the keys to log in with come from.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Private key files, most preferred first. Missing ones are passed over.
    pub files: Vec<PathBuf>,
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
    #[error("cannot resolve {name}: {why}")]
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
    #[error("the server hangs up before the login (too many connections at once?)")]
    CutOff,
    /// The server's key is not to be trusted; says what to do.
    #[error("{0}")]
    HostKey(String),
    /// No key was accepted; says what was tried.
    #[error("{0}")]
    Login(String),
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
}

impl ConnectError {
    /// Whether trying again can help without somebody changing something first.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::HostKey(_) | Self::Login(_))
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
    /// Connects and logs in.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(dial: &Dial) -> Result<Self, ConnectError> {
        let lost = Arc::new(OnceLock::new());
        let refused = Arc::new(Mutex::new(None));
        let client = Client {
            dial: dial.clone(),
            refused: refused.clone(),
            lost: lost.clone(),
        };
        let handshake = async {
            let socket = tcp(&dial.hostname, dial.port).await?;
            client::connect_stream(Arc::new(config(dial)), socket, client)
                .await
                .map_err(|error| {
                    match refused
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .take()
                    {
                        Some(why) => ConnectError::HostKey(why),
                        None => handshake_error(&error),
                    }
                })
        };
        let mut handle = tokio::time::timeout(dial.connect_timeout, handshake)
            .await
            .map_err(|_| {
                ConnectError::Unreachable(format!(
                    "no answer from {}:{} within {} s",
                    dial.hostname,
                    dial.port,
                    dial.connect_timeout.as_secs()
                ))
            })??;
        match tokio::time::timeout(
            dial.connect_timeout.max(LOGIN_TIMEOUT),
            log_in(&mut handle, dial),
        )
        .await
        {
            Ok(Err(ConnectError::Login(why))) => {
                // The library reports a connection that broke as a key that was not accepted; only a server that says goodbye (as
                // it does after too many wrong keys) meant it.
                return Err(match lost.get() {
                    Some(broke) if !broke.starts_with(HUNG_UP) => {
                        ConnectError::Protocol(format!("the login broke off: {broke}"))
                    }
                    _ => ConnectError::Login(why),
                });
            }
            Ok(result) => result?,
            Err(_) => {
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

async fn tcp(hostname: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let resolve = |why: String| ConnectError::Resolve {
        name: hostname.to_owned(),
        why,
    };
    let addresses = tokio::net::lookup_host((hostname, port))
        .await
        .map_err(|error| resolve(error.to_string()))?;
    let mut last = resolve("it has no address".to_owned());
    for address in addresses {
        match tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Err(_) => {
                last = ConnectError::Unreachable(format!(
                    "{address}: no answer within {} s",
                    ADDRESS_TIMEOUT.as_secs()
                ));
            }
            Ok(Ok(socket)) => {
                // Without it every small packet of the handshake waits for an acknowledgement: 97 ms instead of 27.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) => {
                last = ConnectError::Unreachable(format!("{address}: {}", plain(&error)));
            }
        }
    }
    Err(last)
}

/// An I/O error in words, without the operating system's number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
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
        russh::Error::NoCommonAlgo { kind, theirs, .. } => ConnectError::Protocol(format!(
            "no common {kind:?} algorithm: the server offers {}",
            theirs.join(", ")
        )),
        other => ConnectError::Protocol(other.to_string()),
    }
}

fn config(dial: &Dial) -> client::Config {
    let known_hosts = dial.known_hosts.host(&dial.host_name());
    let known = known_hosts.algorithms();
    let certified = !known_hosts.authorities().is_empty();
    // The kinds of key that we know this host by come first, or a host known by another kind would look unknown.
    let mut keys: Vec<Algorithm> = HOST_KEYS.to_vec();
    keys.sort_by_key(|algorithm| {
        known
            .iter()
            .position(|name| same_kind(algorithm, name))
            .unwrap_or(usize::MAX)
    });
    client::Config {
        channel_buffer_size: CHANNEL_PACKETS,
        keepalive_interval: Some(dial.keepalive_interval),
        keepalive_max: dial.keepalive_max,
        nodelay: true,
        preferred: Preferred {
            host_key_certificates: if certified {
                Cow::Owned(keys.clone())
            } else {
                Cow::Borrowed(&[])
            },
            key: Cow::Owned(keys),
            cipher: Cow::Borrowed(&[
                cipher::AES_256_GCM,
                cipher::AES_128_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
                cipher::AES_192_CTR,
                cipher::AES_128_CTR,
            ]),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// The kinds of host key that are accepted, without SHA-1 signatures.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Whether a key listed under `name` in a known-hosts file can be proven by this algorithm.
fn same_kind(algorithm: &Algorithm, name: &str) -> bool {
    match algorithm {
        Algorithm::Rsa { .. } => name == "ssh-rsa",
        other => other.as_str() == name,
    }
}

async fn log_in(handle: &mut client::Handle<Client>, dial: &Dial) -> Result<(), ConnectError> {
    let mut tried = Vec::new();
    let mut failed = Vec::new();
    let mut agent = connect_agent(dial, &mut failed).await;
    let offered = match &mut agent {
        Some(agent) => agent.request_identities().await.unwrap_or_else(|error| {
            failed.push(format!("the agent gives no keys: {error}"));
            Vec::new()
        }),
        None => Vec::new(),
    };
    let beside: Vec<PublicKey> = dial
        .identities
        .files
        .iter()
        .filter_map(|file| russh::keys::load_public_key(with_pub(file)).ok())
        .collect();
    let of_file = |identity: &AgentIdentity| {
        beside
            .iter()
            .any(|key| key.key_data() == public_of(identity).key_data())
    };
    // As OpenSSH: the agent's keys that the configuration names, then its others, then the files.
    let (named, other): (Vec<_>, Vec<_>) = offered.into_iter().partition(of_file);
    let from_agent = named.into_iter().chain(match dial.identities.offer {
        AgentKeys::All => other,
        AgentKeys::OfFiles => Vec::new(),
    });
    let mut seen: Vec<PublicKey> = Vec::new();
    if let Some(agent) = &mut agent {
        for identity in from_agent.take(LOGINS_PER_CONNECTION) {
            let AgentIdentity::PublicKey { key, comment } = identity else {
                continue;
            };
            let hash = hash_for(handle, &key.algorithm()).await?;
            tried.push(format!("agent key {comment}"));
            seen.push(key.clone());
            match handle
                .authenticate_publickey_with(dial.user.clone(), key, hash, agent)
                .await
            {
                Ok(answer) if answer.success() => return Ok(()),
                Ok(_) => {}
                Err(error) => failed.push(format!("agent key {comment}: {error}")),
            }
        }
    }
    for file in &dial.identities.files {
        if tried.len() >= LOGINS_PER_CONNECTION {
            break;
        }
        let Some(key) = load(file, &mut failed) else {
            continue;
        };
        if seen
            .iter()
            .any(|seen| seen.key_data() == key.public_key().key_data())
        {
            continue;
        }
        let hash = hash_for(handle, &key.algorithm()).await?;
        tried.push(file.display().to_string());
        match handle
            .authenticate_publickey(
                dial.user.clone(),
                PrivateKeyWithHashAlg::new(Arc::new(key), hash),
            )
            .await
        {
            Ok(answer) if answer.success() => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return Err(ConnectError::Protocol(format!(
                    "the login broke off: {error}"
                )));
            }
        }
    }
    Err(ConnectError::Login(login_failure(dial, &tried, &failed)))
}

fn login_failure(dial: &Dial, tried: &[String], failed: &[String]) -> String {
    let mut text = format!("permission denied for user {}", dial.user);
    if tried.is_empty() {
        text.push_str(": there is no key to try");
    } else {
        text.push_str(": not accepted were ");
        text.push_str(&tried.join(", "));
    }
    for failure in failed {
        text.push_str("; ");
        text.push_str(failure);
    }
    text.push_str("; load the right key with ssh-add, name it with IdentityFile, or log in as somebody else with --user");
    text
}

async fn hash_for(
    handle: &client::Handle<Client>,
    algorithm: &Algorithm,
) -> Result<Option<HashAlg>, ConnectError> {
    if !matches!(algorithm, Algorithm::Rsa { .. }) {
        return Ok(None);
    }
    // A server that does not say takes SHA-512 since OpenSSH 7.2.
    let best = handle
        .best_supported_rsa_hash()
        .await
        .map_err(|error| ConnectError::Protocol(error.to_string()))?;
    Ok(best.flatten().or(Some(HashAlg::Sha512)))
}

async fn connect_agent(
    dial: &Dial,
    failed: &mut Vec<String>,
) -> Option<AgentClient<tokio::net::UnixStream>> {
    let path = dial.identities.agent.as_ref()?;
    match AgentClient::connect_uds(path).await {
        Ok(agent) => Some(agent),
        Err(error) => {
            failed.push(format!("no agent answers at {}: {error}", path.display()));
            None
        }
    }
}

fn load(file: &Path, failed: &mut Vec<String>) -> Option<PrivateKey> {
    match russh::keys::load_secret_key(file, None) {
        Ok(key) => Some(key),
        Err(russh::keys::Error::IO(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(russh::keys::Error::KeyIsEncrypted) => {
            failed.push(format!(
                "{} has a passphrase: add it to the agent with ssh-add",
                file.display()
            ));
            None
        }
        Err(error) => {
            failed.push(format!("{}: {error}", file.display()));
            None
        }
    }
}

fn with_pub(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn public_of(identity: &AgentIdentity) -> PublicKey {
    identity.public_key().into_owned()
}

/// Our side of the library's callbacks.
struct Client {
    dial: Dial,
    refused: Arc<Mutex<Option<String>>>,
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

impl Client {
    /// Whether the host is who it should be; why not otherwise.
    fn check(&self, key: &PublicKey) -> Result<(), String> {
        let blob = key.to_bytes().map_err(|error| error.to_string())?;
        let key = HostKey::from_blob(&blob).map_err(|error| error.to_string())?;
        let host = self.dial.host_name();
        match self
            .dial
            .known_hosts
            .check(&host, &key)
            .refusal(&host, &key)
        {
            None => Ok(()),
            Some(why) => Err(why),
        }
    }

    /// Whether an authority that we trust for this host vouches for it now.
    fn check_certificate(&self, certificate: &Certificate) -> Result<(), String> {
        let host = self.dial.host_name();
        let name = host.lookup_name();
        let known = self.dial.known_hosts.host(&host);
        let signer = certificate.signature_key();
        let is_signer =
            |blob: &[u8]| PublicKey::from_bytes(blob).is_ok_and(|key| key.key_data() == signer);
        if !known
            .authorities()
            .iter()
            .any(|authority| is_signer(authority.key.blob()))
        {
            return Err(format!(
                "the host certificate of {name} is signed by no authority that the known hosts trust for it"
            ));
        }
        let certified = PublicKey::from(certificate.public_key().clone());
        let blob = certified.to_bytes().map_err(|error| error.to_string())?;
        if let Ok(key) = HostKey::from_blob(&blob)
            && let Some(place) = known.revocation(&key)
        {
            return Err(format!(
                "the key in the host certificate of {name} is marked as @revoked in {place}"
            ));
        }
        if !certificate.cert_type().is_host() {
            return Err(format!(
                "{name} shows a user's certificate instead of a host's"
            ));
        }
        let principals = certificate.valid_principals();
        if !principals
            .iter()
            .any(|principal| principal.eq_ignore_ascii_case(&host.principal()))
        {
            return Err(format!(
                "the host certificate of {name} is for {}",
                printable(&principals.join(", "))
            ));
        }
        let now_s = u64::try_from(self.dial.clock.arrival().wall_ns / 1_000_000_000).unwrap_or(0);
        certificate
            .validate_at(now_s, [&signer.fingerprint(HashAlg::Sha256)])
            .map_err(|error| format!("the host certificate of {name} is not valid now: {error}"))
    }
}

/// A stranger's text without what could drive a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

impl client::Handler for Client {
    type Error = ClientError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let verdict = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.check(key),
            PublicKeyOrCertificate::Certificate(certificate) => self.check_certificate(certificate),
        };
        match verdict {
            Ok(()) => Ok(true),
            Err(why) => {
                *self
                    .refused
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(why);
                Ok(false)
            }
        }
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
