use std::net::{Ipv4Addr, Ipv6Addr};

use archive::AgentId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;
use crate::health::{Health, Pause};
use crate::metrics::Backlog;

/// The time of the tests: 100 s after 1970.
fn wall_ns() -> i64 {
    100_000_000_000
}

struct Served {
    address: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

async fn serve() -> Served {
    serve_with(Patience {
        head: HEAD_TIMEOUT,
        connection: CONNECTION_TIMEOUT,
    })
    .await
}

async fn serve_with(patience: Patience) -> Served {
    let monitor = Monitor::bind((Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("a port");
    let metrics = Metrics::new(AgentId(1));
    let stop = CancellationToken::new();
    Served {
        address: monitor.address(),
        metrics: metrics.clone(),
        stop: stop.clone(),
        ended: tokio::spawn(monitor.serve_with(patience, Asked { metrics, wall_ns }, stop)),
    }
}

/// Sends bytes and reads to the end of the connection.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("to connect");
    // The other side may have heard enough before all is sent.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    ask(address, request.as_bytes()).await
}

#[tokio::test]
async fn metrics_are_scraped() {
    let served = serve().await;
    served.metrics.read(12);
    served.metrics.set_backlog(Backlog {
        bytes: 3,
        oldest_ns: Some(40_000_000_000),
    });
    let answer = get(served.address, "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"));
    assert!(body.contains("\nshipper_read_bytes_total 12\n"), "{body}");
    assert!(body.contains("\nshipper_oldest_unshipped_seconds 60.0\n"));
    assert!(body.ends_with("# EOF\n"));
    served.stop.cancel();
    served.ended.await.expect("no panic");
    TcpStream::connect(served.address)
        .await
        .expect_err("nobody listens any more");
}

#[tokio::test]
async fn health_is_a_status_and_its_reason() {
    let served = serve().await;
    let well = |answer: &str| answer.starts_with("HTTP/1.1 200 OK\r\n");
    let ill = |answer: &str| answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n");
    let answer = get(served.address, "/healthz").await;
    assert!(ill(&answer) && answer.contains("\"starting\""), "{answer}");
    served.metrics.set_health(Health::Running);
    let answer = get(served.address, "/healthz").await;
    assert!(well(&answer), "{answer}");
    assert!(answer.contains("application/json"), "{answer}");
    served.metrics.set_health(Health::Paused {
        why: Pause::DiskFull,
    });
    let answer = get(served.address, "/healthz").await;
    assert!(ill(&answer) && answer.contains("disk_full"), "{answer}");
    served.metrics.set_health(Health::Stuck {
        since_ns: 0,
        what: "denied".to_owned(),
    });
    let answer = get(served.address, "/healthz").await;
    assert!(ill(&answer) && answer.contains("1970-01-01T00:00:00Z"));
}

#[tokio::test]
async fn what_is_not_asked_for_is_refused() {
    let served = serve().await;
    let many: Vec<String> = (0..=MAX_HEADERS).map(|n| format!("x{n}: y")).collect();
    let many = many.join("\r\n");
    let long = "y".repeat(2 * MAX_HEAD_BYTES);
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "404"),
        (
            "GET /metrics/ HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            "404",
        ),
        (
            "DELETE /metrics HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            "405",
        ),
        (
            "POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx".to_owned(),
            "405",
        ),
        (
            "GET /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx".to_owned(),
            "413",
        ),
        (
            "GET /metrics HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "413",
        ),
        (format!("GET /metrics HTTP/1.1\r\n{many}\r\n\r\n"), "431"),
        (format!("GET /metrics HTTP/1.1\r\nx: {long}\r\n\r\n"), "431"),
        ("\u{0}\u{1}garbage\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(served.address, request.as_bytes()).await;
        let status = answer.split(' ').nth(1);
        assert_eq!(status, Some(expected), "{request:.60}: {answer}");
    }
    assert!(get(served.address, "/metrics").await.contains("# EOF"));
}

#[tokio::test]
async fn those_who_say_nothing_do_not_keep_others_or_the_end_waiting() {
    let served = serve().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS - 1 {
        silent.push(
            TcpStream::connect(served.address)
                .await
                .expect("to connect"),
        );
    }
    assert!(get(served.address, "/metrics").await.contains("# EOF"));
    served.stop.cancel();
    served.ended.await.expect("no panic");
    // The other side has gone: no byte, or a reset.
    let read = silent[0].read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_connection_has_its_time() {
    let short = Duration::from_millis(20);
    let long = Duration::from_hours(1);
    for (head, connection) in [(short, long), (long, short)] {
        let served = serve_with(Patience { head, connection }).await;
        let mut slow = TcpStream::connect(served.address)
            .await
            .expect("to connect");
        slow.write_all(b"GET /met").await.expect("to write");
        let mut answer = Vec::new();
        // It ends although we wait for more; with a word about it, or without one.
        let _ = slow.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn only_loopback_is_served() {
    for address in [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        SocketAddr::from(([192, 0, 2, 1], 0)),
    ] {
        let error = Monitor::bind(address).await.expect_err("refused");
        assert!(matches!(error, MonitorError::NotLoopback(_)), "{error}");
    }
}
