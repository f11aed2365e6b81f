//! The system's SSH client as the connection: what `--ssh-command` names does the connecting, the checking of the host's key
//! and the login, with everything that it can and a library cannot (GSSAPI, smart cards, a company's wrapper).
//!
//! The first session of a connection is what starts it: `ssh … host 'echo MARK; exec sh'`, told to become a multiplexing
//! master. Who sees the mark is logged in. If the master's socket is there, further sessions go through it by processes of
//! their own, without another login; if it is not (another program than OpenSSH's, multiplexing turned off), the connection
//! has this one session, and each further one is a connection of its own.
//!
//! A master goes into the background by itself, so nothing of it can be waited for or killed as a child. What binds it to
//! this program is a connection to its socket: a master that serves nobody ends after a second, and this program's end, of
//! whatever kind, closes the connection. The same connection tells that the master is gone, and takes the word to end at once.
//!
//! Who is dialled when, and what happens after a failure, is [`crate::pool`]'s.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::causes::plain;
use crate::command_line::CommandLine;
use crate::follow::Say;
use crate::instance::Login;
use crate::lock::lock;
use crate::pool::Resolver;
use crate::ssh::{ConnectError, ExecError, Said};
use crate::{connection, ssh_config};

/// How long a login that asks nothing may take.
const LOGIN_LIMIT: Duration = Duration::from_secs(45);

/// How long a login may take that asks somebody on the terminal.
const ASKING_LIMIT: Duration = Duration::from_mins(5);

/// How long a session on a connection that is there may take to begin.
const SESSION_LIMIT: Duration = Duration::from_secs(30);

/// `ConnectTimeout` in seconds, unless the command says otherwise.
const CONNECT_SECONDS: u32 = 15;

/// `ServerAliveInterval` in seconds, unless the command says otherwise.
const ALIVE_SECONDS: u32 = 10;

/// `ControlPersist` in seconds: how long a master lives that nobody is connected to.
const PERSIST_SECONDS: u32 = 1;

/// Bytes of standard error that are kept for messages.
const STDERR_BYTES: usize = 4096;

/// Lines of it that a message has, at most; the last ones.
const MESSAGE_LINES: usize = 3;

/// Bytes that a login may print before the mark, at most.
const PREAMBLE_BYTES: usize = 64 * 1024;

/// Bytes read at once, at most.
const READ_BYTES: usize = 64 * 1024;

/// How long a session's process may live on when its input is closed; then it is killed.
const END_GRACE: Duration = Duration::from_secs(5);

/// How long output is waited for once the process that wrote it has ended.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// The pause after a session that failed although its connection is there.
const BROKEN_PAUSE: Duration = Duration::from_millis(500);

/// The longest path of a socket, in bytes, with what the client appends while it makes it: macOS has 104, Linux 108.
const SOCKET_PATH_BYTES: usize = 104 - 18;

/// Names tried for the folder of the sockets.
const FOLDER_ATTEMPTS: u32 = 16;

/// The command that every connection begins with.
const SHELL: &str = "exec sh";

/// The status of the client itself, as opposed to what it runs.
const OWN_STATUS: i32 = 255;

/// Whether a login may ask something on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questions {
    /// There is nobody to answer.
    Never,
    /// One login at a time may ask.
    OnTerminal,
}

impl Questions {
    /// Whether this process has a terminal on which somebody sees what is asked.
    pub fn of_process() -> Self {
        if io::stderr().is_terminal() && fs::File::open("/dev/tty").is_ok() {
            Self::OnTerminal
        } else {
            Self::Never
        }
    }
}

/// What the client is told besides the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramOptions {
    /// The configuration file that it reads (`-F`).
    pub config: Option<PathBuf>,
    /// Files of known hosts; empty for its own.
    pub known_hosts: Vec<PathBuf>,
    /// Key files; empty for its own.
    pub identity_files: Vec<PathBuf>,
}

/// The client, and what all connections by it share.
pub struct Program {
    command: CommandLine,
    options: ProgramOptions,
    questions: Questions,
    say: Say,
    folder: Option<PathBuf>,
    form: AtomicU8,
    next: AtomicU64,
    asking: tokio::sync::Mutex<()>,
    masters: Mutex<Vec<Weak<Bond>>>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program")
            .field(&self.command.to_string())
            .finish()
    }
}

/// What a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// Not known yet.
    Unknown = 0,
    /// The options of OpenSSH's client.
    OpenSsh = 1,
    /// `[-l USER] [-p PORT] HOST COMMAND` and no more.
    Bare = 2,
}

impl Program {
    /// Makes a private folder for sockets; where that fails there is no multiplexing. `seed` makes its name.
    pub fn new(
        command: CommandLine,
        options: ProgramOptions,
        questions: Questions,
        say: Say,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            command,
            options,
            questions,
            say,
            folder: make_folder(seed),
            form: AtomicU8::new(Form::Unknown as u8),
            next: AtomicU64::new(0),
            asking: tokio::sync::Mutex::default(),
            masters: Mutex::default(),
        })
    }

    /// As a pool wants it.
    pub fn resolver(self: &Arc<Self>) -> Resolver {
        let program = self.clone();
        Arc::new(move |login| {
            let program = program.clone();
            Box::pin(async move { program.dial(&login).map(connection::Dial::Program) })
        })
    }

    /// Everything needed to reach a host.
    fn dial(self: &Arc<Self>, login: &Login) -> Result<Dial, String> {
        ssh_config::check_names(&ssh_config::Wanted {
            host: &login.host,
            user: login.user.as_deref(),
            port: login.port,
        })
        .map_err(|error| error.to_string())?;
        Ok(Dial {
            program: self.clone(),
            login: login.clone(),
        })
    }

    /// Ends all masters and removes the folder. What is dialled later has no multiplexing.
    pub fn end(&self) {
        for bond in lock(&self.masters).drain(..) {
            if let Some(bond) = bond.upgrade() {
                bond.end();
            }
        }
        if let Some(folder) = &self.folder {
            // Nothing can be done about what is left in a temporary folder.
            let _ = fs::remove_dir_all(folder);
        }
    }

    fn form(&self) -> Form {
        match self.form.load(Ordering::Relaxed) {
            1 => Form::OpenSsh,
            2 => Form::Bare,
            _ => Form::Unknown,
        }
    }

    /// A path for the next master's socket.
    fn socket(&self) -> Option<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.as_ref()?.join(number.to_string());
        (path.as_os_str().len() <= SOCKET_PATH_BYTES).then_some(path)
    }

    fn keep(&self, bond: &Arc<Bond>) {
        let mut masters = lock(&self.masters);
        masters.retain(|bond| bond.strong_count() > 0);
        masters.push(Arc::downgrade(bond));
    }

    /// The client with what every session gets.
    fn process(&self) -> Command {
        let mut process = Command::new(self.command.program());
        process
            .args(self.command.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        process
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends the masters of a program when it is dropped, whoever else still knows the program.
#[derive(Debug)]
pub struct EndWith(pub Arc<Program>);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Makes a folder that nobody else may look into, near where such folders are.
fn make_folder(seed: u64) -> Option<PathBuf> {
    let places = [
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        Some(std::env::temp_dir()),
        Some(PathBuf::from("/tmp")),
    ];
    let mut number = seed ^ u64::from(std::process::id()).rotate_left(32);
    for place in places.into_iter().flatten() {
        for _ in 0..FOLDER_ATTEMPTS {
            number = number
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            let folder = place.join(format!("tailll-{:08x}", number >> 32));
            if !place.is_absolute() || folder.as_os_str().len() + 8 > SOCKET_PATH_BYTES {
                break;
            }
            // It fails where there is anything by that name, a link too.
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Some(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
    }
    None
}

/// Everything needed to connect to one host; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dial {
    program: Arc<Program>,
    login: Login,
}

/// What may be asked in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Silent,
    Asking,
}

impl Dial {
    /// What handshakes are counted by.
    pub fn server(&self) -> String {
        format!("{}:{}", self.login.host, self.login.port.unwrap_or(0))
    }

    /// The client, told to log in, to become a master at this socket, and to run a command.
    fn first(&self, form: Form, attempt: Attempt, socket: Option<&Path>, command: &str) -> Command {
        let mut process = self.program.process();
        if form != Form::Bare {
            let options = &self.program.options;
            process.args(["-T", "-a", "-x"]);
            if let Some(file) = &options.config {
                process.arg("-F").arg(file);
            }
            for file in &options.identity_files {
                process.arg("-i").arg(file);
            }
            if !options.known_hosts.is_empty() {
                process.arg("-o").arg(quoted_option(
                    "UserKnownHostsFile",
                    options.known_hosts.iter().map(PathBuf::as_path),
                ));
                process.args(["-o", "GlobalKnownHostsFile=/dev/null"]);
            }
            if let Some(socket) = socket {
                process.args(["-o", "ControlMaster=yes", "-o"]);
                process.arg(quoted_option("ControlPath", std::iter::once(socket)));
                process
                    .arg("-o")
                    .arg(format!("ControlPersist={PERSIST_SECONDS}"));
            }
            process.args(COMMON);
            process.args(["-o", "ClearAllForwardings=yes"]);
            process
                .arg("-o")
                .arg(format!("ConnectTimeout={CONNECT_SECONDS}"));
            process
                .arg("-o")
                .arg(format!("ServerAliveInterval={ALIVE_SECONDS}"));
            process.args(["-o", "ServerAliveCountMax=3"]);
            if attempt == Attempt::Silent {
                process.args(["-o", "BatchMode=yes"]);
            }
        }
        if let Some(user) = &self.login.user {
            process.arg("-l").arg(user);
        }
        if let Some(port) = self.login.port {
            process.arg("-p").arg(port.to_string());
        }
        if form != Form::Bare {
            process.arg("--");
        }
        process.arg(&self.login.host).arg(command);
        match attempt {
            // In the background of the terminal: ^C is for this program, which ends its connections in order.
            Attempt::Silent => {
                process.process_group(0);
            }
            // Who is asked sees everything that the client says about it.
            Attempt::Asking => {
                process.stderr(Stdio::inherit());
            }
        }
        process
    }

    /// The client, told to run a command through the master at this socket.
    fn further(&self, socket: &Path, command: &str) -> Command {
        let mut process = self.program.process();
        process.args([
            "-T",
            "-a",
            "-x",
            "-F",
            "none",
            "-o",
            "ControlMaster=no",
            "-o",
        ]);
        process.arg(quoted_option("ControlPath", std::iter::once(socket)));
        process.args(COMMON);
        // A client whose master takes no session would connect by itself, past all counting: these make it fail.
        process.args([
            "-o",
            "BatchMode=yes",
            "-o",
            "ProxyCommand=false",
            "-o",
            "PreferredAuthentications=none",
            "--",
        ]);
        process.arg(&self.login.host).arg(command);
        process.process_group(0);
        process
    }

    /// Logs in; what is to be known about the failure otherwise.
    async fn attempt(&self, form: Form, attempt: Attempt) -> Result<Connection, Failure> {
        let socket = match form {
            Form::Bare => None,
            Form::OpenSsh | Form::Unknown => self.program.socket(),
        };
        let mark = self.mark();
        let command = format!("echo {mark}; {SHELL}");
        let process = self.first(form, attempt, socket.as_deref(), &command);
        let mut session = Session::start(process).map_err(Failure::Start)?;
        let limit = match attempt {
            Attempt::Silent => LOGIN_LIMIT,
            Attempt::Asking => ASKING_LIMIT,
        };
        match tokio::time::timeout(limit, session.output.read_to(&mark)).await {
            Err(_) => Err(Failure::Slow(limit)),
            Ok(Seen::Ended(status)) => Err(Failure::Ended {
                status,
                words: session.output.words(),
            }),
            Ok(Seen::Endless) => Err(Failure::Endless),
            Ok(Seen::Mark) => {
                let bond = match &socket {
                    Some(socket) => Bond::new(socket).await,
                    None => None,
                };
                let spent = session.input.spent.clone();
                let state = match (bond, socket) {
                    (Some(bond), Some(socket)) => {
                        self.program.keep(&bond);
                        Kind::Master { bond, socket }
                    }
                    _ => Kind::Single { spent },
                };
                Ok(Connection {
                    dial: self.clone(),
                    kind: state,
                    first: Mutex::new(Some(Box::new(session))),
                })
            }
        }
    }

    fn mark(&self) -> String {
        let number = self.program.next.fetch_add(1, Ordering::Relaxed);
        format!("tailll-session-{number:08x}-begins")
    }

    /// What a failure means to who dials.
    fn error(&self, failure: Failure) -> ConnectError {
        let program = plain(self.program.command.program());
        match failure {
            Failure::Start(error) => ConnectError::Program(format!(
                "cannot start `{program}` ({}): correct the SSH command",
                plain(&error.to_string())
            )),
            Failure::Slow(limit) => ConnectError::Unreachable(format!(
                "`{program}` did not log in within {} s",
                limit.as_secs()
            )),
            Failure::Endless => ConnectError::Protocol(
                "the login prints endlessly before it runs the command".to_owned(),
            ),
            Failure::Ended { status, words } => {
                let error = classify(&program, status, &words, &self.login.host);
                match error {
                    // It is an SSH client, so this is the word of something on the host, which may change.
                    ConnectError::Program(text)
                        if status != Some(OWN_STATUS) && self.program.form() != Form::Unknown =>
                    {
                        ConnectError::Unreachable(text)
                    }
                    error => error,
                }
            }
        }
    }
}

/// What every call of OpenSSH's client gets: no command and no word from its configuration may come between.
const COMMON: [&str; 6] = [
    "-o",
    "RemoteCommand=none",
    "-o",
    "PermitLocalCommand=no",
    "-o",
    "LogLevel=ERROR",
];

/// `Name="path" "path"`, with what OpenSSH would expand taken literally.
fn quoted_option<'a>(name: &str, paths: impl Iterator<Item = &'a Path>) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(format!("{name}="));
    for (at, path) in paths.enumerate() {
        text.push(if at > 0 { " \"" } else { "\"" });
        text.push(path.to_string_lossy().replace('%', "%%"));
        text.push("\"");
    }
    text
}

/// Why there was no login.
#[derive(Debug)]
enum Failure {
    Start(io::Error),
    Slow(Duration),
    Endless,
    /// The client ended with this status, or by a signal.
    Ended {
        status: Option<i32>,
        words: String,
    },
}

/// What the client's last words mean.
fn classify(program: &str, status: Option<i32>, words: &str, host: &str) -> ConnectError {
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let text = if words.is_empty() {
        let how = status.map_or_else(
            || "by a signal".to_owned(),
            |status| format!("with status {status}"),
        );
        format!("`{program}` ended {how} without a word: is it an SSH client?")
    } else {
        format!("`{program}` says: {words}")
    };
    if status != Some(OWN_STATUS) {
        return match status {
            None => ConnectError::Unreachable(text),
            Some(_) => ConnectError::Program(text),
        };
    }
    if has(&[
        "Host key verification failed",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "No matching host key type found",
    ]) {
        return ConnectError::HostKey(format!("{text}; try `{program} {host}` by hand"));
    }
    if has(&[
        "Permission denied (",
        "Too many authentication failures",
        "No more authentication methods",
        "Bad configuration option",
        "Bad owner or permissions on",
        "no argument after keyword",
        "no matching",
    ]) {
        return ConnectError::Program(format!("{text}; try `{program} {host}` by hand"));
    }
    if has(&[
        "kex_exchange_identification:",
        "ssh_exchange_identification:",
        "banner exchange:",
        "Connection closed by",
        "Connection reset by",
    ]) {
        return ConnectError::CutOff;
    }
    ConnectError::Unreachable(text)
}

/// A connection that is logged in. Its sessions end with it.
#[derive(Debug)]
pub struct Connection {
    dial: Dial,
    kind: Kind,
    /// The session that the login came with, until somebody wants one.
    first: Mutex<Option<Box<Session>>>,
}

#[derive(Debug)]
enum Kind {
    /// Sessions go through a master.
    Master { bond: Arc<Bond>, socket: PathBuf },
    /// There is the first session and no other; whether its input is closed.
    Single { spent: Arc<AtomicBool> },
}

impl Connection {
    /// Connects and logs in: silently at first, so that many can at once, and with questions on the terminal where that is
    /// refused and somebody can answer.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(dial: &Dial) -> Result<Self, ConnectError> {
        let form = dial.program.form();
        let learn = |form: Form| dial.program.form.store(form as u8, Ordering::Relaxed);
        let failure = match dial.attempt(form, Attempt::Silent).await {
            Ok(connection) => {
                if form == Form::Unknown {
                    learn(Form::OpenSsh);
                }
                return Ok(connection);
            }
            Err(failure) => failure,
        };
        // OpenSSH says 255; anything else may not have understood its options.
        if form == Form::Unknown
            && let Failure::Ended {
                status: Some(status),
                ..
            } = &failure
            && *status != OWN_STATUS
        {
            return match dial.attempt(Form::Bare, Attempt::Silent).await {
                Ok(connection) => {
                    learn(Form::Bare);
                    Ok(connection)
                }
                Err(bare @ Failure::Ended { .. }) if !bare.is_silent() => Err(dial.error(bare)),
                Err(_) => Err(dial.error(failure)),
            };
        }
        let error = dial.error(failure);
        let asks = dial.program.questions == Questions::OnTerminal && form != Form::Bare;
        if !asks || error.may_pass() {
            return Err(error);
        }
        let _turn = dial.program.asking.lock().await;
        (dial.program.say)(format!(
            "{}: `{}` may ask here",
            dial.login,
            dial.program.command.program()
        ));
        // What it said then has been seen; the reason for the record is the first one.
        dial.attempt(form, Attempt::Asking).await.map_err(|_| error)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        match &self.kind {
            Kind::Master { bond, .. } => bond.is_lost(),
            Kind::Single { spent } => spent.load(Ordering::Relaxed),
        }
    }

    /// See [`connection::Connection::sessions_at_most`].
    pub fn sessions_at_most(&self) -> u32 {
        match &self.kind {
            Kind::Master { .. } => u32::MAX,
            Kind::Single { .. } => 1,
        }
    }

    /// Starts a command through the login's shell.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn exec(&self, command: &str) -> Result<(Input, Output), ExecError> {
        let first = lock(&self.first).take();
        match (first, &self.kind) {
            (Some(session), _) => self.hand_over(*session, command).await,
            (None, Kind::Single { spent }) => {
                spent.store(true, Ordering::Relaxed);
                Err(ExecError::Broken("the session was used already".to_owned()))
            }
            (None, Kind::Master { bond, socket }) => self.further(bond, socket, command).await,
        }
    }

    /// Lets the first session's shell become what is wanted.
    async fn hand_over(
        &self,
        mut session: Session,
        command: &str,
    ) -> Result<(Input, Output), ExecError> {
        if command != SHELL {
            // The shell may have read ahead what it was sent; until it has said this, nothing else is.
            let mark = self.dial.mark();
            session
                .input
                .send(format!("echo {mark}; {command}\n").into())
                .await?;
            match tokio::time::timeout(SESSION_LIMIT, session.output.read_to(&mark)).await {
                Ok(Seen::Mark) => {}
                _ => return Err(ExecError::Broken("the first session is gone".to_owned())),
            }
        }
        Ok((session.input, session.output))
    }

    async fn further(
        &self,
        bond: &Bond,
        socket: &Path,
        command: &str,
    ) -> Result<(Input, Output), ExecError> {
        let mark = self.dial.mark();
        let process = self
            .dial
            .further(socket, &format!("echo {mark}; {command}"));
        let mut session = match Session::start(process) {
            Ok(session) => session,
            Err(error) => {
                tokio::time::sleep(BROKEN_PAUSE).await;
                return Err(ExecError::Broken(plain(&error.to_string())));
            }
        };
        let seen = tokio::time::timeout(SESSION_LIMIT, session.output.read_to(&mark)).await;
        let why = match seen {
            Ok(Seen::Mark) => return Ok((session.input, session.output)),
            // The login's shell ended by itself: that is the command's answer.
            Ok(Seen::Ended(Some(status))) if status != OWN_STATUS => {
                return Ok((session.input, session.output));
            }
            Ok(Seen::Ended(_)) => {
                let words = session.output.words();
                if words.contains("Session open refused") || words.contains("open failed") {
                    return Err(ExecError::NoMoreSessions);
                }
                words
            }
            Ok(Seen::Endless) => "the login prints endlessly".to_owned(),
            Err(_) => format!("no session within {} s", SESSION_LIMIT.as_secs()),
        };
        if !bond.is_lost() {
            // A connection that is there and gives no session is not worth keeping, nor dialling again at once.
            tokio::time::sleep(BROKEN_PAUSE).await;
            bond.lost.store(true, Ordering::Relaxed);
        }
        Err(ExecError::Broken(why))
    }
}

/// What keeps a master alive: a connection to its socket.
#[derive(Debug)]
struct Bond {
    to_master: OwnedWriteHalf,
    lost: Arc<AtomicBool>,
    _watch: DropGuard,
}

impl Bond {
    /// Nothing if there is no master.
    async fn new(socket: &Path) -> Option<Arc<Self>> {
        let (mut from_master, to_master) = UnixStream::connect(socket).await.ok()?.into_split();
        let lost = Arc::new(AtomicBool::new(false));
        let dropped = CancellationToken::new();
        let watch = {
            let (lost, dropped) = (lost.clone(), dropped.clone());
            async move {
                let mut greeting = [0; 256];
                loop {
                    let read = tokio::select! {
                        read = from_master.read(&mut greeting) => read,
                        () = dropped.cancelled() => return,
                    };
                    if !read.is_ok_and(|length| length > 0) {
                        lost.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        };
        tokio::spawn(watch);
        Some(Arc::new(Self {
            to_master,
            lost,
            _watch: dropped.drop_guard(),
        }))
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells the master to end now, with all its sessions.
    fn end(&self) {
        // OpenSSH's PROTOCOL.mux: a greeting of version 4, then "terminate" with a number for the answer. Each message is
        // preceded by its length. The socket's buffer is empty, so all of it fits; if not, the master ends a little later.
        const GREETING: [u32; 3] = [8, 1, 4];
        const TERMINATE: [u32; 3] = [8, 0x1000_0005, 0];
        let bytes: Vec<u8> = [GREETING, TERMINATE]
            .iter()
            .flatten()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let _ = self.to_master.try_write(&bytes);
        self.lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        self.end();
    }
}

/// A running process of the client.
#[derive(Debug)]
struct Session {
    input: Input,
    output: Output,
}

/// Whether a process is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// With this status, or by a signal.
    Ended(Option<i32>),
}

impl Session {
    fn start(mut process: Command) -> io::Result<Self> {
        let mut child = process.spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (said_all, all_said) = watch::channel(false);
        let kept = stderr.clone();
        let pipe = child.stderr.take();
        tokio::spawn(async move {
            if let Some(pipe) = pipe {
                keep_stderr(pipe, &kept).await;
            }
            // Nobody may be there any more to hear it.
            let _ = said_all.send(true);
        });
        let closed = CancellationToken::new();
        let (life, ended) = watch::channel(Life::Running);
        let input_closed = closed.clone();
        // Sees the process through, whoever else is gone by then.
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                () = input_closed.cancelled() => {
                    if let Ok(status) = tokio::time::timeout(END_GRACE, child.wait()).await {
                        status
                    } else {
                        // It may have ended just now.
                        let _ = child.start_kill();
                        child.wait().await
                    }
                }
            };
            let _ = life.send(Life::Ended(status.ok().and_then(|status| status.code())));
        });
        Ok(Self {
            input: Input {
                stdin,
                ended: ended.clone(),
                spent: Arc::default(),
                _closed: closed.drop_guard(),
            },
            output: Output {
                stdout,
                rest: Bytes::new(),
                buffer: BytesMut::new(),
                ended,
                stderr,
                all_said,
            },
        })
    }
}

async fn keep_stderr(mut pipe: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 1024];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        let mut kept = lock(kept);
        let room = STDERR_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
}

/// A running command's standard input. The command's session is closed when it is dropped.
#[derive(Debug)]
pub struct Input {
    stdin: Option<ChildStdin>,
    ended: watch::Receiver<Life>,
    spent: Arc<AtomicBool>,
    _closed: DropGuard,
}

impl Input {
    /// Sends bytes, waiting for the client to take them.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), ExecError> {
        let broken = || ExecError::Broken("the SSH client is gone".to_owned());
        let stdin = self.stdin.as_mut().ok_or_else(broken)?;
        stdin.write_all(&bytes).await.map_err(|_| broken())
    }

    /// Closes the session and waits for its process to end, which gives its place on the server free.
    pub async fn close(mut self) {
        self.stdin = None;
        let mut ended = self.ended.clone();
        drop(self);
        // It is killed if it does not end by itself, so this does not wait for ever.
        let _ = ended.wait_for(|life| *life != Life::Running).await;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.spent.store(true, Ordering::Relaxed);
    }
}

/// A running command's output.
#[derive(Debug)]
pub struct Output {
    /// There until its end.
    stdout: Option<ChildStdout>,
    /// What was read with a mark.
    rest: Bytes,
    buffer: BytesMut,
    ended: watch::Receiver<Life>,
    stderr: Arc<Mutex<Vec<u8>>>,
    all_said: watch::Receiver<bool>,
}

/// What was found while looking for a mark.
enum Seen {
    Mark,
    /// The process ended without it; what it wrote can still be read.
    Ended(Option<i32>),
    /// More than a login prints.
    Endless,
}

impl Output {
    /// Waits for the next output. Safe to drop while waiting.
    pub async fn next(&mut self) -> Said {
        if !self.rest.is_empty() {
            return Said::Bytes(std::mem::take(&mut self.rest));
        }
        if let Some(bytes) = self.read().await {
            return Said::Bytes(bytes);
        }
        match self.status().await {
            Some(status) if status != OWN_STATUS => {
                Said::Exited(u32::try_from(status).unwrap_or(1))
            }
            _ => {
                let words = self.words();
                Said::Broken(if words.is_empty() {
                    "connection lost".to_owned()
                } else {
                    words
                })
            }
        }
    }

    /// The next bytes of the pipe; nothing at its end.
    async fn read(&mut self) -> Option<Bytes> {
        let stdout = self.stdout.as_mut()?;
        self.buffer.reserve(READ_BYTES);
        let mut ended = self.ended.clone();
        // A process that is gone may have left the pipe to another one.
        let silent = async {
            let _ = ended.wait_for(|life| *life != Life::Running).await;
            tokio::time::sleep(OUTPUT_GRACE).await;
        };
        let read = tokio::select! {
            biased;
            read = stdout.read_buf(&mut self.buffer) => read,
            () = silent => Ok(0),
        };
        if read.is_ok_and(|length| length > 0) {
            return Some(self.buffer.split().freeze());
        }
        self.stdout = None;
        None
    }

    /// How the process ended, and all its words.
    async fn status(&mut self) -> Option<i32> {
        let status = match self.ended.wait_for(|life| *life != Life::Running).await {
            Ok(life) => match *life {
                Life::Ended(status) => status,
                Life::Running => None,
            },
            Err(_) => None,
        };
        // Its words may still be on their way; a background process may keep the pipe open.
        let _ = tokio::time::timeout(OUTPUT_GRACE, self.all_said.wait_for(|all| *all)).await;
        status
    }

    /// Throws away what a login prints before this mark.
    async fn read_to(&mut self, mark: &str) -> Seen {
        let mark = format!("{mark}\n").into_bytes();
        let mut seen = BytesMut::new();
        while let Some(bytes) = self.read().await {
            seen.extend_from_slice(&bytes);
            if let Some(at) = memchr::memmem::find(&seen, &mark) {
                self.rest = seen.split_off(at + mark.len()).freeze();
                return Seen::Mark;
            }
            if seen.len() > PREAMBLE_BYTES {
                return Seen::Endless;
            }
        }
        self.rest = seen.freeze();
        Seen::Ended(self.status().await)
    }

    /// What was said on standard error so far, cut to a limit.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&lock(&self.stderr))
            .trim()
            .to_owned()
    }

    /// The same in few words, safe to show.
    fn words(&self) -> String {
        words(&self.stderr())
    }
}

/// The last lines of what a client said, on one line, without its ornaments.
fn words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .collect();
    let last = &lines[lines.len().saturating_sub(MESSAGE_LINES)..];
    plain(&last.join("; "))
}

impl Failure {
    /// Whether the client ended without a word.
    fn is_silent(&self) -> bool {
        matches!(self, Self::Ended { words, .. } if words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: Option<i32>, words: &str) -> &'static str {
        match classify("ssh", status, words, "h1") {
            ConnectError::HostKey(_) => "host key",
            ConnectError::Program(_) => "refused",
            ConnectError::CutOff => "cut off",
            ConnectError::Unreachable(_) => "retried",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_clients_words_say_what_to_do_next() {
        for (status, words, expected) in [
            (
                Some(255),
                "me@h1: Permission denied (publickey).",
                "refused",
            ),
            (
                Some(255),
                "Received disconnect from ::1 port 22:2: Too many authentication failures",
                "refused",
            ),
            (
                Some(255),
                "command-line: line 0: Bad configuration option: x",
                "refused",
            ),
            (
                Some(255),
                "No ED25519 host key is known for h1; Host key verification failed.",
                "host key",
            ),
            (
                Some(255),
                "ssh: connect to host h1 port 22: Connection refused",
                "retried",
            ),
            (
                Some(255),
                "ssh: connect to host h1 port 22: Connection timed out",
                "retried",
            ),
            (
                Some(255),
                "ssh: Could not resolve hostname h1: Name or service not known",
                "retried",
            ),
            (Some(255), "", "retried"),
            (
                Some(255),
                "kex_exchange_identification: read: Connection reset by peer",
                "cut off",
            ),
            (
                Some(255),
                "Connection closed by 10.0.0.1 port 22",
                "cut off",
            ),
            (Some(1), "", "refused"),
            (Some(127), "sh: ssh: not found", "refused"),
            (None, "", "retried"),
        ] {
            assert_eq!(kind(status, words), expected, "{status:?} {words}");
        }
        let silent = classify("false", Some(1), "", "h1").to_string();
        assert!(
            silent.contains("`false` ended with status 1 without a word"),
            "{silent}"
        );
    }

    #[test]
    fn words_are_the_last_lines_and_cannot_drive_a_terminal() {
        let said = "@@@@@@@@\n@ WARNING @\n\none\r\ntwo\nthree \u{1b}[2J\n\nfour\n";
        assert_eq!(words(said), "two; three \\u{1b}[2J; four");
        assert_eq!(words(""), "");
    }

    #[test]
    fn paths_in_options_are_taken_literally() {
        let paths = [Path::new("/a b/100%"), Path::new("/c")];
        assert_eq!(
            quoted_option("X", paths.into_iter()),
            "X=\"/a b/100%%\" \"/c\""
        );
    }

    #[test]
    fn the_folder_of_the_sockets_is_private_and_goes_with_the_program() {
        use std::os::unix::fs::PermissionsExt as _;
        let program = Program::new(
            "ssh".parse().expect("a command"),
            ProgramOptions::default(),
            Questions::Never,
            Arc::new(|_| {}),
            7,
        );
        let socket = program.socket().expect("a path for a socket");
        let folder = socket.parent().expect("its folder").to_owned();
        let mode = fs::metadata(&folder)
            .expect("the folder")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(program);
        assert!(!folder.exists());
    }

    #[test]
    fn a_host_that_looks_like_an_option_is_refused() {
        let program = Program::new(
            "ssh".parse().expect("a command"),
            ProgramOptions::default(),
            Questions::Never,
            Arc::new(|_| {}),
            8,
        );
        let login = Login {
            user: None,
            host: "-oProxyCommand=x".to_owned(),
            port: None,
        };
        assert!(program.dial(&login).is_err());
    }
}
