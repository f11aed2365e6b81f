//! The dialler: from a [`Dial`] to a connection, whatever lies between: nothing, jump hosts, a `ProxyCommand`.
//!
//! Owns the connections to jump hosts. All hosts behind a jump host share one (several where they are very many); it is dialled
//! again when it breaks and somebody wants through it. How many handshakes run at once is [`DialGate`]'s, and when somebody
//! tries again is [`crate::pool`]'s.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::dial::{DialGate, Handshake, Road};
use crate::lock::lock;
use crate::proxy_command;
use crate::ssh::tunnel::TunnelError;
use crate::ssh::{ConnectError, Connection, Dial, Hop, Stream, Via};
use crate::{connection, ssh_program, tcp};

/// Tunnels through one connection to a jump host, at most; more need another connection.
const TUNNELS_PER_CONNECTION: u32 = 64;

/// Connections to one jump host, at most.
const CONNECTIONS_PER_JUMP: usize = 64;

/// How long a jump host that could not be reached counts as such for everybody behind it.
const FAILURE_SHARED_FOR: Duration = Duration::from_secs(1);

/// Makes connections; cheap to clone.
#[derive(Clone, Default)]
pub struct Dialler {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    gate: DialGate,
    jumps: Mutex<HashMap<String, Arc<Jump>>>,
}

/// A jump host.
#[derive(Default)]
struct Jump {
    state: Mutex<JumpState>,
    /// Held by who dials it: one at a time.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct JumpState {
    connections: Vec<Shaft>,
    next_id: u64,
    /// Times it was dialled.
    dialled: u64,
    failed: Option<(Instant, ConnectError)>,
}

/// A connection to a jump host.
struct Shaft {
    id: u64,
    connection: Arc<Connection>,
    tunnels: u32,
    limit: u32,
}

/// What looks for a place.
type Placing<'a> = Pin<Box<dyn Future<Output = Result<Place, ConnectError>> + Send + 'a>>;

/// A place for a tunnel; given back when dropped.
struct Place {
    jump: Arc<Jump>,
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shaft) = self.jump.state().shaft(self.id) {
            shaft.tunnels = shaft.tunnels.saturating_sub(1);
        }
    }
}

impl Dialler {
    /// Connects and logs in. `on_turn` is called when the handshake with the host itself begins.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::Jump`] where a jump host is the reason.
    pub async fn connect(
        &self,
        dial: &Dial,
        on_turn: impl Fn() + Send,
    ) -> Result<Connection, ConnectError> {
        // Before the place at the gate: the jump host needs one for itself.
        let through = match &dial.via {
            Via::Jump(hop) => Some((hop, self.place(hop).await?)),
            Via::Direct | Via::Command { .. } => None,
        };
        let road = match &through {
            Some((hop, _)) => Road::Through(hop.dial.key()),
            None => Road::Direct,
        };
        let server = format!("{}:{}", dial.hostname, dial.port);
        let slot = self.shared.gate.enter(&road, &server).await;
        on_turn();
        let result = match (&dial.via, through) {
            (Via::Command { command, shell }, _) => by_command(dial, command, shell).await,
            (_, Some((hop, place))) => {
                Connection::open(dial, tunnel(place, hop, &dial.hostname, dial.port)).await
            }
            (_, None) => {
                let stream = async {
                    let socket = tcp::connect(&dial.hostname, dial.port, &dial.route).await?;
                    Ok(Box::new(socket) as Stream)
                };
                Connection::open(dial, stream).await
            }
        };
        slot.finish(if matches!(result, Err(ConnectError::CutOff)) {
            Handshake::CutOff
        } else {
            Handshake::Done
        });
        result
    }

    /// The same by whoever is to make the connection. The system's client finds its own way through jump hosts.
    ///
    /// # Errors
    /// See [`Dialler::connect`].
    pub async fn connect_by(
        &self,
        dial: &connection::Dial,
        on_turn: impl Fn() + Send,
    ) -> Result<connection::Connection, ConnectError> {
        let dial = match dial {
            connection::Dial::Library(dial) => {
                let connected = self.connect(dial, on_turn).await;
                return connected.map(connection::Connection::Library);
            }
            connection::Dial::Program(dial) => dial,
        };
        let slot = self.shared.gate.enter(&Road::Direct, &dial.server()).await;
        on_turn();
        let result = ssh_program::Connection::open(dial).await;
        slot.finish(if matches!(result, Err(ConnectError::CutOff)) {
            Handshake::CutOff
        } else {
            Handshake::Done
        });
        result.map(connection::Connection::Program)
    }

    /// A place on a connection to a jump host, which is dialled if there is none.
    ///
    /// Boxed, since a jump host may be behind another one.
    fn place<'a>(&'a self, hop: &'a Hop) -> Placing<'a> {
        Box::pin(self.find_place(hop))
    }

    async fn find_place(&self, hop: &Hop) -> Result<Place, ConnectError> {
        let jump = lock(&self.shared.jumps)
            .entry(hop.dial.key())
            .or_default()
            .clone();
        let dialled = jump.state().dialled;
        if let Some(place) = jump.take() {
            return Ok(place);
        }
        let _turn = jump.dialling.lock().await;
        if let Some(place) = jump.take() {
            return Ok(place);
        }
        {
            let mut state = jump.state();
            if let Some((at, error)) = &state.failed
                && (state.dialled > dialled || at.elapsed() < FAILURE_SHARED_FOR)
            {
                return Err(error.clone());
            }
            if state.connections.len() >= CONNECTIONS_PER_JUMP {
                return Err(hop.failed(ConnectError::Protocol(format!(
                    "all {CONNECTIONS_PER_JUMP} connections to it are full"
                ))));
            }
            state.dialled += 1;
        }
        let mut result = self.connect(&hop.dial, || {}).await;
        // Asked once for all that want through; with the answer it is dialled again.
        if let Err(ConnectError::UnknownKey(key)) = &result {
            result = match hop.dial.ask_about(key).await {
                Ok(()) => self.connect(&hop.dial, || {}).await,
                Err(why) => Err(ConnectError::HostKey(why)),
            };
        }
        match result {
            Ok(connection) => Ok(jump.add(connection)),
            Err(error) => {
                let error = hop.failed(error);
                jump.state().failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

impl Jump {
    fn state(&self) -> MutexGuard<'_, JumpState> {
        lock(&self.state)
    }

    /// A place on a connection that is there and has room.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        state
            .connections
            .retain(|shaft| !shaft.connection.is_closed());
        let shaft = state
            .connections
            .iter_mut()
            .find(|shaft| shaft.tunnels < shaft.limit)?;
        shaft.tunnels += 1;
        Some(Place {
            jump: self.clone(),
            connection: shaft.connection.clone(),
            id: shaft.id,
        })
    }

    fn add(self: &Arc<Self>, connection: Connection) -> Place {
        let connection = Arc::new(connection);
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.failed = None;
        state.connections.push(Shaft {
            id,
            connection: connection.clone(),
            tunnels: 1,
            limit: TUNNELS_PER_CONNECTION,
        });
        Place {
            jump: self.clone(),
            connection,
            id,
        }
    }
}

impl JumpState {
    fn shaft(&mut self, id: u64) -> Option<&mut Shaft> {
        self.connections.iter_mut().find(|shaft| shaft.id == id)
    }
}

/// The stream to a host from the jump host before it.
async fn tunnel(
    place: Place,
    hop: &Arc<Hop>,
    hostname: &str,
    port: u16,
) -> Result<Stream, ConnectError> {
    let (jump, id) = (place.jump.clone(), place.id);
    let host = hostname.to_owned();
    // Seen through by a task of its own: the answer to a question that was given up still comes, and its channel must be closed.
    let opening = tokio::spawn(async move {
        let connection = place.connection.clone();
        connection.tunnel(&host, port, place).await
    });
    let opened = opening
        .await
        .map_err(|error| ConnectError::Protocol(error.to_string()))?;
    opened.map(|tunnel| Box::new(tunnel) as Stream).map_err(|error| {
        hop.failed(match error {
            TunnelError::Unreachable => ConnectError::Unreachable(format!(
                "it cannot connect to {hostname}:{port}: check from there that the host is up, the port right and the name known"
            )),
            TunnelError::Forbidden => ConnectError::Unreachable(format!(
                "it does not forward to {hostname}:{port}: see AllowTcpForwarding and PermitOpen in its sshd_config"
            )),
            TunnelError::Full => {
                if let Some(shaft) = jump.state().shaft(id) {
                    shaft.limit = shaft.tunnels.max(1);
                }
                ConnectError::CutOff
            }
            TunnelError::Broken(why) => ConnectError::Protocol(why),
        })
    })
}

async fn by_command(dial: &Dial, command: &str, shell: &str) -> Result<Connection, ConnectError> {
    let (stream, ending) = proxy_command::start(command, shell).map_err(|error| {
        ConnectError::Protocol(format!(
            "the shell {shell} cannot be started for a ProxyCommand: {}; see $SHELL",
            tcp::plain(&error)
        ))
    })?;
    let result = Connection::open(dial, async { Ok(Box::new(stream) as Stream) }).await;
    match result {
        // Where the host was reached and said no, the program has done its part.
        Err(error) if error.may_pass() => Err(match ending.reason().await {
            Some(reason) => ConnectError::Unreachable(reason),
            None => error,
        }),
        result => result,
    }
}
