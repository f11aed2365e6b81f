//! The port on loopback where metrics and health are asked for: `/metrics` and `/healthz`, nothing else.
//!
//! One question a connection, within a time; so many connections at once; nothing is read of a body. The configuration lets only
//! addresses of loopback through, and so does [`Monitor::bind`]: what is told names the host's rules and has no login.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use hyper::body::Body as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// The most connections that are served at once, in connections; more of them wait.
pub const MAX_CONNECTIONS: usize = 16;

/// The most that is kept of a request's head, in bytes; a larger one is refused.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The most headers of a request, in headers; one with more is refused.
pub const MAX_HEADERS: usize = 64;

/// The largest body of a request, in bytes: none. A request with one is refused.
pub const MAX_BODY_BYTES: u64 = 0;

/// How long a request's head may take to come.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may last, from its beginning to the last byte of the answer.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long connections may go on after the token said stop.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

/// How long nothing is accepted after that failed: as a rule there are too many open files.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

/// What OpenMetrics text is called.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The address is not of loopback.
    #[error("[metrics] listen: {0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The system does not give it to us.
    #[error("listen on {address} for metrics")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The port.
#[derive(Debug)]
pub struct Monitor {
    listener: TcpListener,
    address: SocketAddr,
}

impl Monitor {
    /// Takes the port; 0 lets the system choose one. Within a runtime of tokio with I/O and time.
    pub async fn bind(address: SocketAddr) -> Result<Self, MonitorError> {
        if !address.ip().is_loopback() {
            return Err(MonitorError::NotLoopback(address));
        }
        let failed = |source| MonitorError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the token says stop, and what is being answered then to its end, for [`STOP_GRACE`] at most. `wall_ns` is
    /// the wall clock, in ns since 1970.
    pub async fn serve(self, metrics: Metrics, wall_ns: fn() -> i64, stop: CancellationToken) {
        let patience = Patience {
            head: HEAD_TIMEOUT,
            connection: CONNECTION_TIMEOUT,
        };
        self.serve_with(patience, Asked { metrics, wall_ns }, stop)
            .await;
    }

    async fn serve_with(self, patience: Patience, asked: Asked, stop: CancellationToken) {
        let router = Router::new()
            .route("/metrics", any(answer_metrics))
            .route("/healthz", any(answer_health))
            .with_state(asked);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        let ended = CancellationToken::new();
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (self.listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                accepted = accepted => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_DELAY) => continue,
                    () = stop.cancelled() => break,
                }
            };
            let answered = answer(stream, router.clone(), patience);
            let ended = ended.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = answered => {}
                    () = ended.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(STOP_GRACE, connections.wait())
            .await
            .is_err()
        {
            ended.cancel();
            connections.wait().await;
        }
    }
}

/// How long others may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    connection: Duration,
}

/// Answers the one question of a connection. That the other side broke it off, or took too long, is its own affair.
async fn answer(stream: TcpStream, router: Router, patience: Patience) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false);
    let service = TowerToHyperService::new(router);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(patience.connection, connection).await;
}

#[derive(Clone)]
struct Asked {
    metrics: Metrics,
    wall_ns: fn() -> i64,
}

async fn answer_metrics(
    State(asked): State<Asked>,
    request: Request<axum::body::Body>,
) -> Response {
    if let Some(refused) = refuse(&request) {
        return refused;
    }
    let text = asked.metrics.text((asked.wall_ns)());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

async fn answer_health(State(asked): State<Asked>, request: Request<axum::body::Body>) -> Response {
    if let Some(refused) = refuse(&request) {
        return refused;
    }
    let health = asked.metrics.health();
    let status = if health.is_well() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = health.json() + "\n";
    (status, [(header::CONTENT_TYPE, JSON)], text).into_response()
}

/// The answer to a request that is none of a reader's.
fn refuse(request: &Request<axum::body::Body>) -> Option<Response> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow).into_response());
    }
    let most = request.body().size_hint().upper();
    most.is_none_or(|bytes| bytes > MAX_BODY_BYTES)
        .then(|| StatusCode::PAYLOAD_TOO_LARGE.into_response())
}

#[cfg(test)]
mod tests;
