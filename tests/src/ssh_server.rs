//! An SSH server inside the process, for several "hosts" that are loopback addresses of this machine.
//!
//! It runs commands as sshd runs them: through a shell, in a process group of their own, with piped input and output,
//! and it leaves them alone when the client goes away (they notice by their pipes). So no sshd and no account is needed.
//! Unlike sshd it lets every user in who holds an authorized key, and every command runs as who runs the server. It ends
//! every process that it started when it is dropped. Faults are set per host while it runs.
//!
//! One difference shows under load only: the SSH library grants a client new window before the command has read its
//! input. Once [`CHANNEL_QUEUE_MESSAGES`] of one channel wait, the whole connection does.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf,
    MethodKind, MethodSet, Pty, Sig,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::processes::{self, MARKER_VARIABLE, Process, Signal};

/// sshd's default for `MaxSessions`.
pub const MAX_SESSIONS_DEFAULT: usize = 10;

/// How many messages (of at most 32 KiB) of one channel wait for the command to read its input.
pub const CHANNEL_QUEUE_MESSAGES: usize = 100;

/// The bytes that one read of a command's output takes at most.
const OUTPUT_CHUNK_BYTES: usize = 32 * 1024;

/// The search path of commands, as sshd sets it for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The hosts, each on an address and port of its own.
    pub hosts: Vec<HostOptions>,
    /// Who is let in, as any user.
    pub authorized_keys: Vec<PublicKey>,
    /// How many sessions one connection may have at once; a session ends with its command, not with its channel.
    pub max_sessions: usize,
    /// The login shell that runs each command with `-c`.
    pub shell: PathBuf,
    /// What is asked of who logs in.
    pub asks: Asks,
}

/// What a server asks of who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// A key.
    Key,
    /// Nothing but questions: these prompts, whose input is hidden, with these answers.
    Questions(Vec<(String, String)>),
    /// A key, and then questions.
    KeyThenQuestions(Vec<(String, String)>),
}

impl Asks {
    fn questions(&self) -> &[(String, String)] {
        match self {
            Self::Key => &[],
            Self::Questions(questions) | Self::KeyThenQuestions(questions) => questions,
        }
    }

    fn first_method(&self) -> MethodKind {
        match self {
            Self::Key | Self::KeyThenQuestions(_) => MethodKind::PublicKey,
            Self::Questions(_) => MethodKind::KeyboardInteractive,
        }
    }
}

/// What a host is to be.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// What it is called.
    pub name: String,
    /// The loopback address it listens on.
    pub address: IpAddr,
    /// The port; 0 for a free one.
    pub port: u16,
    /// The home folder of every user, where commands start.
    pub home: PathBuf,
}

impl Options {
    /// `count` hosts `node1`, `node2`, … on 127.0.0.1, 127.0.0.2, …, all at home in `home`.
    pub fn nodes(count: u8, home: &Path, authorized_key: PublicKey) -> Self {
        let hosts = (1..=count)
            .map(|n| HostOptions {
                name: format!("node{n}"),
                address: IpAddr::from([127, 0, 0, n]),
                port: 0,
                home: home.to_owned(),
            })
            .collect();
        Self {
            hosts,
            authorized_keys: vec![authorized_key],
            max_sessions: MAX_SESSIONS_DEFAULT,
            shell: PathBuf::from("/bin/sh"),
            asks: Asks::Key,
        }
    }
}

/// A new ed25519 key.
pub fn new_key(comment: &str) -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), comment).map_err(io::Error::other)
}

/// A private key as OpenSSH's clients read it from a file.
pub fn openssh_private(key: &PrivateKey) -> io::Result<String> {
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    Ok(text.to_string())
}

/// The running server. Dropping it cuts every connection and ends every process that it started.
#[derive(Debug)]
pub struct SshServer {
    hosts: Vec<Host>,
    marker: String,
    stop: CancellationToken,
}

/// One host of a server: where it is, what happens there, what is wrong with it.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    address: SocketAddr,
    key: PublicKey,
    state: Arc<HostState>,
}

/// Who gets in at a host's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Everybody.
    Open,
    /// Connections are taken and dropped at once, as sshd does above `MaxStartups`.
    Slam,
    /// Nobody listens: connection refused.
    Closed,
}

/// What a host has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections taken.
    pub connections_total: u64,
    /// Connections dropped at the door.
    pub connections_refused: u64,
    /// Connections there are.
    pub connections_open: usize,
    /// Sessions opened.
    pub sessions_total: u64,
    /// Sessions refused for `max_sessions`.
    pub sessions_refused: u64,
    /// Sessions there are: their command has not ended, or their channel has none yet.
    pub sessions_open: usize,
    /// Bytes of commands' output that were sent.
    pub bytes_total: u64,
}

#[derive(Debug)]
struct HostState {
    options: HostOptions,
    address: SocketAddr,
    authorized_keys: Vec<PublicKey>,
    max_sessions: usize,
    shell: PathBuf,
    asks: Asks,
    answers: Mutex<Vec<Vec<String>>>,
    marker: String,
    stop: CancellationToken,
    door: watch::Sender<Door>,
    lines: Mutex<Lines>,
    connections_total: AtomicU64,
    connections_refused: AtomicU64,
    sessions_total: AtomicU64,
    sessions_refused: AtomicU64,
    bytes_total: AtomicU64,
    sessions_open: AtomicUsize,
}

/// The connections of a host, and whether they (and those to come) are frozen.
#[derive(Debug)]
struct Lines {
    flow: Flow,
    open: Vec<Weak<Line>>,
}

/// A number for each server of this process, for their markers.
static SERVERS: AtomicU64 = AtomicU64::new(0);

impl SshServer {
    /// Binds every host's address and starts.
    pub async fn start(options: Options) -> io::Result<Self> {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let marker = format!("ssh-{}-{number}", std::process::id());
        // From here on a failure drops the server, which stops the hosts that run already.
        let mut server = Self {
            hosts: Vec::new(),
            marker,
            stop: CancellationToken::new(),
        };
        for host in &options.hosts {
            server.start_host(host, &options).await?;
        }
        Ok(server)
    }

    async fn start_host(&mut self, host: &HostOptions, options: &Options) -> io::Result<()> {
        let key = new_key(&host.name)?;
        let public = key.public_key().clone();
        let listener = TcpListener::bind((host.address, host.port)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(HostState {
            options: host.clone(),
            address,
            authorized_keys: options.authorized_keys.clone(),
            max_sessions: options.max_sessions,
            shell: options.shell.clone(),
            asks: options.asks.clone(),
            answers: Mutex::default(),
            marker: self.marker.clone(),
            stop: self.stop.clone(),
            door: watch::Sender::new(Door::Open),
            lines: Mutex::new(Lines {
                flow: Flow::Open,
                open: Vec::new(),
            }),
            connections_total: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            sessions_total: AtomicU64::new(0),
            sessions_refused: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            sessions_open: AtomicUsize::new(0),
        });
        let config = Arc::new(server::Config {
            methods: MethodSet::from(&[options.asks.first_method()][..]),
            // Nobody guesses here; a wrong key is to be refused at once.
            auth_rejection_time: Duration::ZERO,
            keys: vec![key],
            channel_buffer_size: CHANNEL_QUEUE_MESSAGES,
            inactivity_timeout: None,
            ..server::Config::default()
        });
        tokio::spawn(listen(state.clone(), config, listener));
        self.hosts.push(Host {
            name: host.name.clone(),
            address,
            key: public,
            state,
        });
        Ok(())
    }

    /// The hosts, in the order they were asked for.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// All hosts' keys in the form of OpenSSH's `known_hosts`.
    pub fn known_hosts(&self) -> String {
        self.hosts.iter().map(Host::known_hosts_line).collect()
    }

    /// The processes that this server has started and that have not ended, their descendants included.
    pub fn processes(&self) -> Vec<Process> {
        processes::marked(&self.marker)
    }

    /// The counters of all hosts, summed.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for host in &self.hosts {
            let one = host.counters();
            sum.connections_total += one.connections_total;
            sum.connections_refused += one.connections_refused;
            sum.connections_open += one.connections_open;
            sum.sessions_total += one.sessions_total;
            sum.sessions_refused += one.sessions_refused;
            sum.sessions_open += one.sessions_open;
            sum.bytes_total += one.bytes_total;
        }
        sum
    }

    /// Drops every connection now. Returns how many there were.
    pub fn cut(&self) -> usize {
        self.hosts.iter().map(Host::cut).sum()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut();
        processes::end_marked(&self.marker);
    }
}

impl Host {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its host key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its line of OpenSSH's `known_hosts`, newline included.
    pub fn known_hosts_line(&self) -> String {
        let key = self.key.key_data();
        let key = PublicKey::new(key.clone(), "")
            .to_openssh()
            .unwrap_or_default();
        format!(
            "[{}]:{} {}\n",
            self.address.ip(),
            self.address.port(),
            key.trim_end()
        )
    }

    /// What it has seen so far.
    pub fn counters(&self) -> Counters {
        let state = &self.state;
        Counters {
            connections_total: state.connections_total.load(Ordering::Relaxed),
            connections_refused: state.connections_refused.load(Ordering::Relaxed),
            connections_open: state
                .lines()
                .open
                .iter()
                .filter(|line| line.strong_count() > 0)
                .count(),
            sessions_total: state.sessions_total.load(Ordering::Relaxed),
            sessions_refused: state.sessions_refused.load(Ordering::Relaxed),
            sessions_open: state.sessions_open.load(Ordering::Relaxed),
            bytes_total: state.bytes_total.load(Ordering::Relaxed),
        }
    }

    /// The answers to its questions so far, try by try.
    pub fn answers(&self) -> Vec<Vec<String>> {
        self.state
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Drops every connection now; new ones are taken. Returns how many there were.
    pub fn cut(&self) -> usize {
        let mut lines = self.state.lines();
        let open = lines.open.drain(..).filter_map(|line| line.upgrade());
        open.map(|line| line.set(Flow::Cut)).count()
    }

    /// Stops every byte in both directions, of new connections too, as a stopped or unreachable host does.
    pub fn freeze(&self) {
        self.state.set_flow(Flow::Frozen);
    }

    /// Ends [`Host::freeze`]: everything goes on where it stopped.
    pub fn thaw(&self) {
        self.state.set_flow(Flow::Open);
    }

    /// Who gets in from now on.
    pub fn set_door(&self, door: Door) {
        self.state.door.send_replace(door);
    }
}

impl HostState {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_flow(&self, flow: Flow) {
        let mut lines = self.lines();
        lines.flow = flow;
        lines
            .open
            .retain(|line| line.upgrade().map(|line| line.set(flow)).is_some());
    }

    /// A new connection's line, which is frozen if the host is.
    fn new_line(&self) -> Arc<Line> {
        let mut lines = self.lines();
        let line = Arc::new(Line(Mutex::new(LineState {
            flow: lines.flow,
            reader: None,
            writer: None,
        })));
        lines.open.retain(|line| line.strong_count() > 0);
        lines.open.push(Arc::downgrade(&line));
        line
    }
}

/// Takes a host's connections until told to stop.
async fn listen(state: Arc<HostState>, config: Arc<server::Config>, listener: TcpListener) {
    /// How long to wait after an error of the listener, such as too many open files.
    const RETRY_DELAY: Duration = Duration::from_millis(20);
    let mut door = state.door.subscribe();
    let mut listener = Some(listener);
    loop {
        let wanted = *door.borrow_and_update();
        match (wanted, &listener) {
            (Door::Closed, Some(_)) => listener = None,
            (Door::Open | Door::Slam, None) => {
                listener = TcpListener::bind(state.address).await.ok();
            }
            _ => {}
        }
        let accepted = async {
            match (&listener, wanted) {
                (Some(listener), _) => listener.accept().await,
                (None, Door::Closed) => std::future::pending().await,
                (None, _) => Err(io::ErrorKind::AddrInUse.into()),
            }
        };
        let accepted = tokio::select! {
            () = state.stop.cancelled() => return,
            changed = door.changed() => if changed.is_ok() { continue } else { return },
            accepted = accepted => accepted,
        };
        match accepted {
            // The door may have been shut since; who shut it expects it to be shut.
            Ok((socket, _)) if *state.door.borrow() != Door::Open => {
                state.connections_refused.fetch_add(1, Ordering::Relaxed);
                drop(socket);
            }
            Ok((socket, peer)) => {
                state.connections_total.fetch_add(1, Ordering::Relaxed);
                let line = state.new_line();
                let connection = serve(state.clone(), config.clone(), socket, peer, line);
                let stop = state.stop.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection => {}
                    }
                });
            }
            Err(_) => tokio::time::sleep(RETRY_DELAY).await,
        }
    }
}

/// One connection, from the first byte to the last.
async fn serve(
    state: Arc<HostState>,
    config: Arc<server::Config>,
    socket: TcpStream,
    peer: SocketAddr,
    line: Arc<Line>,
) {
    // Without it a dialogue of small packets is slow; everything works all the same.
    let _ = socket.set_nodelay(true);
    let connection = Connection {
        host: state,
        peer,
        user: String::new(),
        sessions: Arc::new(AtomicUsize::new(0)),
        waiting: HashMap::new(),
        running: HashMap::new(),
        lost: CancellationToken::new(),
    };
    // A client that breaks off or misbehaves ends its own connection only.
    if let Ok(session) = server::run_stream(config, Gate { socket, line }, connection).await {
        let _ = session.await;
    }
}

/// Whether bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Frozen,
    Cut,
}

/// The switch of one connection's [`Gate`].
#[derive(Debug)]
struct Line(Mutex<LineState>);

#[derive(Debug)]
struct LineState {
    flow: Flow,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Read,
    Write,
}

impl Line {
    fn set(&self, flow: Flow) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.flow = flow;
        for waker in [state.reader.take(), state.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }

    /// Ready when bytes may pass; wakes the task when that changes.
    fn poll(&self, cx: &Context<'_>, way: Way) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match way {
            Way::Read => state.reader = Some(cx.waker().clone()),
            Way::Write => state.writer = Some(cx.waker().clone()),
        }
        match state.flow {
            Flow::Open => Poll::Ready(Ok(())),
            Flow::Frozen => Poll::Pending,
            Flow::Cut => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// A connection's socket behind its [`Line`].
#[derive(Debug)]
struct Gate {
    socket: TcpStream,
    line: Arc<Line>,
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.line.poll(cx, Way::Read))?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.line.poll(cx, Way::Write))?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.line.poll(cx, Way::Write))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// What the server knows of one connection.
struct Connection {
    host: Arc<HostState>,
    peer: SocketAddr,
    user: String,
    sessions: Arc<AtomicUsize>,
    /// Session channels without a command yet.
    waiting: HashMap<ChannelId, Waiting>,
    /// The leaders of the running commands' process groups.
    running: HashMap<ChannelId, u32>,
    /// Cancelled when the connection is gone.
    lost: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

struct Waiting {
    channel: Channel<Msg>,
    slot: Slot,
    terminal: Option<Terminal>,
}

#[derive(Debug)]
struct Terminal {
    name: String,
    columns: u32,
    rows: u32,
}

/// One of the sessions that a connection may have.
struct Slot {
    connection: Arc<AtomicUsize>,
    host: Arc<HostState>,
}

impl Slot {
    /// `None` when all are taken.
    fn take(connection: &Arc<AtomicUsize>, host: &Arc<HostState>) -> Option<Self> {
        // Only this connection's own task takes slots, so nobody takes one between the two steps.
        if connection.load(Ordering::Relaxed) >= host.max_sessions {
            host.sessions_refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        connection.fetch_add(1, Ordering::Relaxed);
        host.sessions_open.fetch_add(1, Ordering::Relaxed);
        host.sessions_total.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            connection: connection.clone(),
            host: host.clone(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.fetch_sub(1, Ordering::Relaxed);
        self.host.sessions_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a session is to run.
enum Program<'a> {
    Command(&'a [u8]),
    LoginShell,
}

impl Connection {
    fn start(
        &mut self,
        id: ChannelId,
        program: &Program<'_>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(waiting) = self.waiting.remove(&id) else {
            return session.channel_failure(id);
        };
        if self.host.stop.is_cancelled() {
            // The server's end is about to look for the last time for what has to be ended.
            return session.channel_failure(id);
        }
        match self.command(program, waiting.terminal.as_ref()).spawn() {
            Err(_) => session.channel_failure(id),
            Ok(child) => {
                if let Some(leader) = child.id() {
                    self.running.insert(id, leader);
                }
                session.channel_success(id)?;
                let lost = self.lost.clone();
                tokio::spawn(run(
                    child,
                    waiting.channel,
                    waiting.slot,
                    session.handle(),
                    lost,
                ));
                Ok(())
            }
        }
    }

    fn command(&self, program: &Program<'_>, terminal: Option<&Terminal>) -> Command {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let host = &self.host;
        let mut command;
        match (terminal, program) {
            (None, Program::Command(text)) => {
                command = Command::new(&host.shell);
                command.arg("-c").arg(OsStr::from_bytes(text));
            }
            (None, Program::LoginShell) => command = Command::new(&host.shell),
            (Some(terminal), _) => {
                // `script` makes the terminal: that needs unsafe code elsewhere.
                command = Command::new("script");
                let shell = host.shell.to_string_lossy();
                // A client that has no terminal itself, but wants one here, knows no size.
                let size = if terminal.rows > 0 && terminal.columns > 0 {
                    format!("stty rows {} cols {}; ", terminal.rows, terminal.columns)
                } else {
                    String::new()
                };
                let what = match program {
                    Program::Command(text) => [size.as_bytes(), text].concat(),
                    Program::LoginShell => format!("{size}exec {shell} -i").into_bytes(),
                };
                command.args([
                    "--quiet",
                    "--return",
                    "--flush",
                    "--echo",
                    "always",
                    "--command",
                ]);
                command
                    .arg(OsStr::from_bytes(&what))
                    .arg("/dev/null")
                    .env("TERM", &terminal.name);
            }
        }
        let term = command
            .as_std()
            .get_envs()
            .find(|(name, _)| *name == "TERM")
            .and_then(|(_, v)| v.map(OsStr::to_owned));
        command.env_clear();
        if let Some(term) = term {
            command.env("TERM", term);
        }
        let (peer, own) = (self.peer, host.address);
        command
            .env("PATH", PATH)
            .env("HOME", &host.options.home)
            .env("USER", &self.user)
            .env("LOGNAME", &self.user)
            .env("SHELL", &host.shell)
            .env(
                "SSH_CONNECTION",
                format!("{} {} {} {}", peer.ip(), peer.port(), own.ip(), own.port()),
            )
            .env("PS1", format!("{}@{}$ ", self.user, host.options.name))
            .env(MARKER_VARIABLE, &host.marker)
            .current_dir(&host.options.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let offered = key.public_key.key_data();
        if self
            .host
            .authorized_keys
            .iter()
            .any(|known| known.key_data() == offered)
        {
            user.clone_into(&mut self.user);
            Ok(match self.host.asks {
                Asks::KeyThenQuestions(_) => Auth::Reject {
                    proceed_with_methods: Some(MethodSet::from(
                        &[MethodKind::KeyboardInteractive][..],
                    )),
                    partial_success: true,
                },
                Asks::Key | Asks::Questions(_) => Auth::Accept,
            })
        } else {
            Ok(Auth::reject())
        }
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<server::Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let questions = self.host.asks.questions();
        let Some(response) = response else {
            let prompts: Vec<_> = questions
                .iter()
                .map(|(prompt, _)| (prompt.clone().into(), false))
                .collect();
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: prompts.into(),
            });
        };
        let given: Vec<String> = response
            .map(|answer| String::from_utf8_lossy(&answer).into_owned())
            .collect();
        let right = given.iter().eq(questions.iter().map(|(_, answer)| answer));
        self.host
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(given);
        user.clone_into(&mut self.user);
        Ok(if right { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let offered = offer.public_key.key_data();
        let known = self
            .host
            .authorized_keys
            .iter()
            .any(|known| known.key_data() == offered);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(slot) = Slot::take(&self.sessions, &self.host) {
            let waiting = Waiting {
                channel,
                slot,
                terminal: None,
            };
            self.waiting.insert(waiting.channel.id(), waiting);
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.waiting.remove(&channel);
        self.running.remove(&channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        col_width: u32,
        row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(waiting) = self.waiting.get_mut(&channel) else {
            return session.channel_failure(channel);
        };
        waiting.terminal = Some(Terminal {
            name: term.to_owned(),
            columns: col_width,
            rows: row_height,
        });
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, &Program::LoginShell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, &Program::Command(data), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let signal = match signal {
            Sig::ABRT => Signal::Abort,
            Sig::HUP => Signal::HangUp,
            Sig::INT => Signal::Interrupt,
            Sig::KILL => Signal::Kill,
            Sig::QUIT => Signal::Quit,
            Sig::TERM => Signal::Terminate,
            Sig::USR1 => Signal::User1,
            _ => return Ok(()),
        };
        if let Some(&leader) = self.running.get(&channel) {
            // The command may have ended in this moment; the client cannot know either. Only while the leader has not
            // been waited for is its number surely its own, which the marker tells.
            let marked = processes::marked(&self.host.marker);
            if marked.iter().any(|process| process.pid == leader) {
                let _ = processes::signal_group(leader, signal);
            }
        }
        Ok(())
    }
}

/// Joins a command and its channel until both are done. The slot is free only then, as with sshd.
async fn run(
    mut child: Child,
    channel: Channel<Msg>,
    slot: Slot,
    handle: server::Handle,
    lost: CancellationToken,
) {
    let (mut input, output) = channel.split();
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    {
        let answers = async {
            tokio::join!(
                async {
                    tokio::join!(
                        forward(stdout, &output, Sink::Stdout, &slot.host.bytes_total),
                        forward(stderr, &output, Sink::Stderr, &slot.host.bytes_total),
                    );
                    let _ = output.eof().await;
                },
                async {
                    if let Ok(status) = child.wait().await {
                        report(status, &output, &handle).await;
                    }
                },
            );
            let _ = output.close().await;
        };
        tokio::select! {
            () = answers => {}
            () = feed(stdin, &mut input) => {}
            () = lost.cancelled() => {}
        }
    }
    // Without its client the command sees its pipes closed and may go on; the session lasts as long.
    let _ = child.wait().await;
    drop(slot);
}

/// Gives the channel's data to the command; returns when the channel is closed.
async fn feed(mut stdin: Option<ChildStdin>, input: &mut ChannelReadHalf) {
    while let Some(message) = input.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&data).await.is_err()
                {
                    // The command does not read any more; what comes is thrown away.
                    stdin = None;
                }
            }
            ChannelMsg::Eof => stdin = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Sink {
    Stdout,
    Stderr,
}

/// Gives a command's output to the channel, no faster than the client grants window.
async fn forward(
    pipe: Option<impl AsyncRead + Unpin>,
    output: &ChannelWriteHalf<Msg>,
    sink: Sink,
    bytes_total: &AtomicU64,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(OUTPUT_CHUNK_BYTES);
        match pipe.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let chunk = buffer.split().freeze();
        let length = chunk.len() as u64;
        let sent = match sink {
            Sink::Stdout => output.data_bytes(chunk).await,
            Sink::Stderr => output.extended_data_bytes(1, chunk).await,
        };
        if sent.is_err() {
            return;
        }
        bytes_total.fetch_add(length, Ordering::Relaxed);
    }
}

/// Tells the client how the command ended.
async fn report(status: ExitStatus, output: &ChannelWriteHalf<Msg>, handle: &server::Handle) {
    if let Some(code) = status.code() {
        let _ = output.exit_status(code as u32).await;
    } else if let Some(signal) = status.signal() {
        let name = match signal {
            1 => Sig::HUP,
            2 => Sig::INT,
            3 => Sig::QUIT,
            4 => Sig::ILL,
            6 => Sig::ABRT,
            8 => Sig::FPE,
            9 => Sig::KILL,
            10 => Sig::USR1,
            11 => Sig::SEGV,
            13 => Sig::PIPE,
            14 => Sig::ALRM,
            15 => Sig::TERM,
            _ => Sig::Custom("SIG@openssh.com".to_owned()),
        };
        let (message, language) = (String::new(), String::new());
        let dumped = status.core_dumped();
        let _ = handle
            .exit_signal_request(output.id(), name, dumped, message, language)
            .await;
    }
}
