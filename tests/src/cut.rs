//! A TCP proxy on loopback that breaks connections on command: at once with a reset, silently by no longer passing
//! anything on, by turning new ones away as a busy server does, or by being slow. What flows is not looked at.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What one turn of passing on takes at most, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// A running proxy; it and its connections end when this value is dropped.
#[derive(Debug)]
pub struct Cut {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Dropped last: the tasks live on it.
    _runtime: Runtime,
}

/// What has happened at a [`Cut`] so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were passed on.
    pub accepted: u64,
    /// Connections turned away by [`Cut::refuse_next`].
    pub refused: u64,
    /// Connections reset by [`Cut::reset_all`].
    pub reset: u64,
    /// Connections that are open now.
    pub open: u64,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    accepted: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    open: AtomicU64,
    refuse: AtomicU64,
    /// How data flows now; every pump watches it.
    flow: watch::Sender<Flow>,
    /// Cancelled and replaced by every reset.
    cut: watch::Sender<CancellationToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Each chunk is passed on after this time.
    After(Duration),
    /// Nothing is passed on, and nobody is told.
    Frozen,
}

impl Cut {
    /// Listens on a free port of 127.0.0.1 and passes every connection on to `upstream`.
    pub fn start(upstream: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cut")
            .enable_all()
            .build()
            .context("a runtime for the proxy")?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the proxy's port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reset: AtomicU64::new(0),
            open: AtomicU64::new(0),
            refuse: AtomicU64::new(0),
            flow: watch::Sender::new(Flow::After(Duration::ZERO)),
            cut: watch::Sender::new(CancellationToken::new()),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _runtime: runtime,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every open connection at both ends, and returns how many there were.
    pub fn reset_all(&self) -> u64 {
        let open = self.shared.open.load(Ordering::SeqCst);
        self.shared.reset.fetch_add(open, Ordering::SeqCst);
        self.shared
            .cut
            .send_replace(CancellationToken::new())
            .cancel();
        open
    }

    /// From now on nothing is passed on in either direction, on old connections and new ones; nobody is told.
    pub fn freeze(&self) {
        self.shared.flow.send_replace(Flow::Frozen);
    }

    /// Ends [`Cut::freeze`] and [`Cut::delay`]; what was held back flows on.
    pub fn thaw(&self) {
        self.shared.flow.send_replace(Flow::After(Duration::ZERO));
    }

    /// From now on every chunk waits for `delay` before it is passed on.
    pub fn delay(&self, delay: Duration) {
        self.shared.flow.send_replace(Flow::After(delay));
    }

    /// Closes the next `count` connections as soon as they are made, without a word, as a server does that has too
    /// many clients logging in (`MaxStartups`).
    pub fn refuse_next(&self, count: u64) {
        self.shared.refuse.store(count, Ordering::SeqCst);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.shared.accepted.load(Ordering::SeqCst),
            refused: self.shared.refused.load(Ordering::SeqCst),
            reset: self.shared.reset.load(Ordering::SeqCst),
            open: self.shared.open.load(Ordering::SeqCst),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the runtime ends this and every pump.
    while let Ok((client, _)) = listener.accept().await {
        let refuse = shared
            .refuse
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if refuse.is_ok() {
            shared.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let cut = shared.cut.borrow().clone();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            pass_on(client, &shared, &cut).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn pass_on(client: TcpStream, shared: &Shared, cut: &CancellationToken) {
    let Ok(server) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let ends = tokio::join!(
        pump(client_in, server_out, shared.flow.subscribe(), cut),
        pump(server_in, client_out, shared.flow.subscribe(), cut),
    );
    if cut.is_cancelled() {
        // Without lingering, closing sends a reset instead of a proper end.
        let ((client_in, server_out), (server_in, client_out)) = ends;
        for stream in [
            client_in.reunite(client_out).ok(),
            server_in.reunite(server_out).ok(),
        ]
        .into_iter()
        .flatten()
        {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
    cut: &CancellationToken,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let work = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length) = from.read(&mut chunk).await {
            loop {
                let now = *flow.borrow_and_update();
                match now {
                    Flow::Frozen => {
                        if flow.changed().await.is_err() {
                            return;
                        }
                    }
                    Flow::After(delay) => {
                        if !delay.is_zero() {
                            tokio::time::sleep(delay).await;
                        }
                        break;
                    }
                }
            }
            if length == 0 || to.write_all(&chunk[..length]).await.is_err() {
                let _ = to.shutdown().await;
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::select! {
        () = work => {}
        () = cut.cancelled() => {}
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net;
    use std::time::Instant;

    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    std::io::copy(&mut stream, &mut back).ok();
                });
            }
        });
        address
    }

    fn ask(stream: &mut net::TcpStream) -> std::io::Result<[u8; 2]> {
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(b"hi")?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn connections_are_passed_on_reset_and_accepted_again() {
        let cut = Cut::start(echo()).unwrap();
        let mut stream = net::TcpStream::connect(cut.address()).unwrap();
        assert_eq!(ask(&mut stream).unwrap(), *b"hi");
        assert_eq!(cut.reset_all(), 1);
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        let mut again = net::TcpStream::connect(cut.address()).unwrap();
        assert_eq!(ask(&mut again).unwrap(), *b"hi");
        assert_eq!(
            cut.counts(),
            Counts {
                accepted: 2,
                refused: 0,
                reset: 1,
                open: 1
            }
        );
    }

    #[test]
    fn a_frozen_connection_is_silent_and_flows_on_when_thawed() {
        let cut = Cut::start(echo()).unwrap();
        let mut stream = net::TcpStream::connect(cut.address()).unwrap();
        assert_eq!(ask(&mut stream).unwrap(), *b"hi");
        cut.freeze();
        assert_eq!(ask(&mut stream).unwrap_err().kind(), ErrorKind::WouldBlock);
        cut.thaw();
        let mut answer = [0; 2];
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"hi");
        cut.delay(Duration::from_millis(60));
        let start = Instant::now();
        assert_eq!(ask(&mut stream).unwrap(), *b"hi");
        assert!(start.elapsed() >= Duration::from_millis(120));
    }

    #[test]
    fn as_many_connections_as_told_are_turned_away() {
        let cut = Cut::start(echo()).unwrap();
        cut.refuse_next(2);
        for _ in 0..2 {
            let mut stream = net::TcpStream::connect(cut.address()).unwrap();
            assert!(ask(&mut stream).is_err());
        }
        let mut stream = net::TcpStream::connect(cut.address()).unwrap();
        assert_eq!(ask(&mut stream).unwrap(), *b"hi");
        assert_eq!(
            cut.counts(),
            Counts {
                accepted: 1,
                refused: 2,
                reset: 0,
                open: 1
            }
        );
    }
}
