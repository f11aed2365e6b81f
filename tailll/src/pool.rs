//! The pool: connections to each (user, host, port, jump), and a session on one of them for who asks.
//!
//! A server lets a connection run a few sessions (`MaxSessions`, ten by default), so a host with many files needs several
//! connections; how many sessions fit is learned. A connection that breaks is dialled again, for as long as somebody asks:
//! asking for a session simply waits. Only what waiting cannot mend (a wrong host key, a refused login) is an error at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use crate::connection::{Connection, Dial, Input, Output};
use crate::dialler::Dialler;
use crate::instance::Login;
use crate::lock::lock;
use crate::ssh::{ConnectError, ExecError};
use crate::status::State as HostState;
use crate::transport::OpenError;

/// Sessions on one connection, unless the configuration says otherwise: one less than OpenSSH's default limit.
pub const SESSIONS_PER_CONNECTION: u32 = 9;

/// Connections to one host, at most; who needs more waits for a session to end.
pub const CONNECTIONS_PER_HOST: usize = 64;

/// The first wait after a failure; doubled at each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// The longest wait after being cut off by a busy server.
const BUSY_MAX: Duration = Duration::from_secs(3);

/// How long a session that was refused is taken as the server's limit; sessions of ended commands linger.
const LOWERED_FOR: Duration = Duration::from_secs(30);

/// Refused first sessions on a connection after which the server counts as allowing none.
const FIRST_SESSIONS_REFUSED: u32 = 20;

/// How long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For as long as the program runs.
    Endless,
    /// This often in a row; then it is an error.
    Attempts(u32),
}

/// Finds out how to dial a login; asked once for each.
pub type Resolver = Arc<dyn Fn(Login) -> ResolveFuture + Send + Sync>;

/// What a [`Resolver`] returns.
pub type ResolveFuture = std::pin::Pin<Box<dyn Future<Output = Result<Dial, String>> + Send>>;

/// Told whenever a host's state changes.
pub type Reporter = Arc<dyn Fn(&Login, HostState) + Send + Sync>;

/// All connections of the program; cheap to clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    dialler: Dialler,
    resolve: Resolver,
    report: Reporter,
    patience: Patience,
    sessions: u32,
    hosts: Mutex<HashMap<Login, Arc<Host>>>,
    jitter: Mutex<u64>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("hosts", &lock(&self.shared.hosts).len())
            .finish_non_exhaustive()
    }
}

/// How a [`Pool`] behaves.
pub struct PoolOptions {
    /// Finds out how to dial.
    pub resolve: Resolver,
    /// Told of states.
    pub report: Reporter,
    /// How long to try.
    pub patience: Patience,
    /// Sessions on one connection, at most.
    pub sessions_per_connection: u32,
    /// Where the jitter of retries starts.
    pub seed: u64,
}

impl Pool {
    /// A pool without connections.
    pub fn new(options: PoolOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                dialler: Dialler::default(),
                resolve: options.resolve,
                report: options.report,
                patience: options.patience,
                sessions: options.sessions_per_connection.max(1),
                hosts: Mutex::default(),
                jitter: Mutex::new(options.seed | 1),
            }),
        }
    }

    /// The connections of one login. Nothing is dialled before a session is asked for.
    pub fn host(&self, login: &Login) -> HostPool {
        let host = lock(&self.shared.hosts)
            .entry(login.clone())
            .or_insert_with(|| Arc::new(Host::new(login.clone())))
            .clone();
        HostPool {
            shared: self.shared.clone(),
            host,
        }
    }
}

/// The connections of one login; cheap to clone.
#[derive(Clone)]
pub struct HostPool {
    shared: Arc<Shared>,
    host: Arc<Host>,
}

impl fmt::Debug for HostPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostPool").field(&self.host.login).finish()
    }
}

struct Host {
    login: Login,
    dial: OnceCell<Result<Dial, String>>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    connections: Vec<Pooled>,
    next_id: u64,
    dialling: u32,
    waiting: u32,
    failures: u32,
    cut_off: u32,
    retry: Option<(Instant, String)>,
    refused: Option<String>,
    /// How many sessions the last connection could have by its nature.
    sessions_a_dial: Option<u32>,
}

struct Pooled {
    id: u64,
    connection: Arc<Connection>,
    in_use: u32,
    limit: u32,
    /// What the limit is when the server has refused nothing.
    most: u32,
    lowered: Option<Instant>,
}

/// A command running in a session of the pool; the session is given back when it is dropped.
#[derive(Debug)]
pub struct Session {
    /// The command's standard input; taken by who feeds it.
    pub input: Input,
    /// The command's output.
    pub output: Output,
    /// Gives the session back.
    pub place: Place,
}

/// A session's place on a connection.
pub struct Place {
    host: HostPool,
    connection: u64,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.connection)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pooled) = self
            .host
            .state()
            .connections
            .iter_mut()
            .find(|pooled| pooled.id == self.connection)
        {
            pooled.in_use = pooled.in_use.saturating_sub(1);
        }
        self.host.host.changed.notify_waiters();
    }
}

/// What to do next for who asks for a session.
enum Step {
    Use(Arc<Connection>, Place),
    Dial,
    Wait(Option<Instant>),
    Refused(String),
}

impl Host {
    fn new(login: Login) -> Self {
        Self {
            login,
            dial: OnceCell::new(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl HostPool {
    /// Starts a command in a session of its own, dialling as needed. Waits as long as the pool's patience lasts.
    ///
    /// # Errors
    /// [`OpenError::Refused`] where trying again cannot help, [`OpenError::Failed`] when the patience is over.
    pub async fn exec(&self, command: &str) -> Result<Session, OpenError> {
        let mut refused_first = 0;
        loop {
            let changed = self.host.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.step() {
                Step::Use(connection, place) => {
                    // Seen through by a task of its own: whoever waits here may go any time, but a session that was asked for comes,
                    // and holds its place until it is closed.
                    let command = command.to_owned();
                    let started =
                        tokio::spawn(async move { (connection.exec(&command).await, place) });
                    let (result, place) = started.await.map_err(|error| {
                        OpenError::Failed(format!("starting a command failed: {error}"))
                    })?;
                    match result {
                        Ok((input, output)) => {
                            return Ok(Session {
                                input,
                                output,
                                place,
                            });
                        }
                        Err(ExecError::NoMoreSessions) => {
                            if self.lower(&place) == 0 {
                                refused_first += 1;
                            }
                            drop(place);
                            if refused_first >= FIRST_SESSIONS_REFUSED {
                                return Err(OpenError::Failed("the server allows no session on its connections (MaxSessions?)".to_owned()));
                            }
                            if refused_first > 0 {
                                tokio::time::sleep(Duration::from_millis(100)).await;
                            }
                        }
                        Err(ExecError::Broken(_)) => drop(place),
                    }
                }
                Step::Dial => self.dial().await?,
                Step::Wait(until) => {
                    let waiter = Waiter::new(self);
                    match until {
                        Some(at) => {
                            tokio::select! { () = tokio::time::sleep_until(at) => {}, () = changed => {} }
                        }
                        None => changed.await,
                    }
                    drop(waiter);
                }
                Step::Refused(why) => return Err(OpenError::Refused(why)),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.host.state)
    }

    fn report(&self, state: HostState) {
        (self.shared.report)(&self.host.login, state);
    }

    fn step(&self) -> Step {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(why) = &state.refused {
            return Step::Refused(why.clone());
        }
        state
            .connections
            .retain(|pooled| !pooled.connection.is_closed());
        let sessions = state.sessions_a_dial.unwrap_or(self.shared.sessions);
        for pooled in &mut state.connections {
            if pooled
                .lowered
                .is_some_and(|at| now.duration_since(at) > LOWERED_FOR)
            {
                pooled.lowered = None;
                pooled.limit = pooled.most;
            }
            if pooled.in_use < pooled.limit {
                pooled.in_use += 1;
                return Step::Use(
                    pooled.connection.clone(),
                    Place {
                        host: self.clone(),
                        connection: pooled.id,
                    },
                );
            }
        }
        if let Some((at, _)) = &state.retry
            && *at > now
        {
            return Step::Wait(Some(*at));
        }
        // One dial serves as many as there are sessions on a connection.
        let served = state.dialling * sessions;
        if state.connections.len() + state.dialling as usize >= CONNECTIONS_PER_HOST
            || (state.dialling > 0 && state.waiting < served)
        {
            return Step::Wait(None);
        }
        state.dialling += 1;
        Step::Dial
    }

    /// Takes the sessions in use on this place's connection as all that it allows; returns their number.
    fn lower(&self, place: &Place) -> u32 {
        let mut state = self.state();
        let Some(pooled) = state
            .connections
            .iter_mut()
            .find(|pooled| pooled.id == place.connection)
        else {
            return 1;
        };
        let others = pooled.in_use - 1;
        pooled.limit = others.max(1);
        pooled.lowered = Some(Instant::now());
        others
    }

    async fn dial(&self) -> Result<(), OpenError> {
        let _dialling = Dialling(self);
        let dial = match self
            .host
            .dial
            .get_or_init(|| (self.shared.resolve)(self.host.login.clone()))
            .await
        {
            Ok(dial) => dial,
            Err(why) => return Err(self.give_up(why.clone())),
        };
        if self.state().connections.is_empty() && self.state().failures == 0 {
            self.report(HostState::Waiting);
        }
        let on_turn = || {
            if self.state().connections.is_empty() && self.state().failures == 0 {
                self.report(HostState::Connecting);
            }
        };
        let result = self.shared.dialler.connect_by(dial, on_turn).await;
        match result {
            Ok(connection) => {
                let mut state = self.state();
                let id = state.next_id;
                state.next_id += 1;
                state.failures = 0;
                state.cut_off = 0;
                state.retry = None;
                let most = self.shared.sessions.min(connection.sessions_at_most());
                state.sessions_a_dial = Some(most);
                state.connections.push(Pooled {
                    id,
                    connection: Arc::new(connection),
                    in_use: 0,
                    limit: most,
                    most,
                    lowered: None,
                });
                drop(state);
                self.report(HostState::Connected);
                Ok(())
            }
            // The place is free again while somebody thinks about it.
            Err(ConnectError::UnknownKey(key)) => match Box::pin(dial.ask_about(&key)).await {
                Ok(()) => Ok(()),
                Err(why) => Err(self.give_up(why)),
            },
            Err(error) if !error.may_pass() => Err(self.give_up(error.to_string())),
            Err(error) => self.back_off(&error),
        }
    }

    fn give_up(&self, why: String) -> OpenError {
        self.state().refused = Some(why.clone());
        self.host.changed.notify_waiters();
        self.report(HostState::Failed { why: why.clone() });
        OpenError::Refused(why)
    }

    fn back_off(&self, error: &ConnectError) -> Result<(), OpenError> {
        let why = error.to_string();
        let busy = error.is_busy();
        let failures = {
            let mut state = self.state();
            // A server that is busy is no failure until it has been so for long.
            let (count, most) = if busy && state.cut_off < 10 {
                state.cut_off += 1;
                (state.cut_off, BUSY_MAX)
            } else {
                state.failures += 1;
                (state.failures, BACKOFF_MAX)
            };
            let full = BACKOFF_FIRST
                .saturating_mul(1 << (count - 1).min(8))
                .min(most);
            let wait = full.mul_f64(0.5 + self.jitter() / 2.0);
            state.retry = Some((Instant::now() + wait, why.clone()));
            state.failures
        };
        if let Patience::Attempts(most) = self.shared.patience
            && failures >= most
        {
            self.report(HostState::Failed { why: why.clone() });
            return Err(OpenError::Failed(why));
        }
        self.report(if failures == 0 {
            HostState::Waiting
        } else {
            HostState::Retrying { why }
        });
        Ok(())
    }

    /// A number in `0.0..1.0`.
    fn jitter(&self) -> f64 {
        let mut x = lock(&self.shared.jitter);
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        (*x >> 11) as f64 / (1_u64 << 53) as f64
    }
}

struct Waiter<'a>(&'a HostPool);

impl<'a> Waiter<'a> {
    fn new(host: &'a HostPool) -> Self {
        host.state().waiting += 1;
        Self(host)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

struct Dialling<'a>(&'a HostPool);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.state().dialling -= 1;
        self.0.host.changed.notify_waiters();
    }
}
