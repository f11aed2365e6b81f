//! A small HTTP client: POST a body, get a bounded answer.
//!
//! A redirect with 307 or 308 sends the same body again, as a scheduler that is not the leader asks for. One that leads from TLS
//! to plain HTTP, as behind a proxy that ends TLS, is not followed: the proxy is asked again, which may know the leader by
//! another of its connections. Compression is not asked for; what a server packs all the same is unpacked within the same bound.
//! Retrying is left to the caller, who knows what may be sent twice.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::causes::plain;
use crate::gzip::{self, GzipError};

/// How many redirects are followed, in redirects.
pub const MAX_REDIRECTS: usize = 3;

/// How much of an error's body is kept for its message, in bytes.
const MAX_ERROR_BODY_BYTES: usize = 4096;

/// Idle connections kept for the next request, in connections a host.
const MAX_IDLE_CONNECTIONS: usize = 1;

/// What a body is, and what the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Plain JSON.
    Json,
    /// Thrift, in its JSON protocol unless something else is said.
    Thrift,
}

impl Media {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Thrift => "application/x-thrift",
        }
    }
}

/// What one request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the first connection to the last byte, redirects included.
    pub whole: Duration,
    /// The largest answer, in bytes.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(30),
            body_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Why there is no answer. Each names the address that was asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody could be reached.
    #[error("{uri}: connecting")]
    Connect {
        /// The address.
        uri: String,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// The connection broke, or the other side does not speak HTTP.
    #[error("{uri}: waiting for the answer")]
    Exchange {
        /// The address.
        uri: String,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer ended early.
    #[error("{uri}: the answer broke off")]
    Truncated {
        /// The address.
        uri: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is too large.
    #[error("{uri}: the answer has more than {limit} bytes")]
    TooLarge {
        /// The address.
        uri: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is packed in a way that is not known, or badly.
    #[error("{uri}: the packed answer (`{encoding}`) cannot be unpacked")]
    Packed {
        /// The address.
        uri: String,
        /// What the server says about it.
        encoding: String,
        /// Why, if the packing is known.
        source: Option<GzipError>,
    },
    /// It took too long.
    #[error("{uri}: no whole answer within {} s", .limit.as_secs_f32())]
    Timeout {
        /// The address asked first.
        uri: String,
        /// The limit.
        limit: Duration,
    },
    /// Redirected in circles.
    #[error("{uri}: more than {MAX_REDIRECTS} redirects")]
    Redirects {
        /// The address asked last.
        uri: String,
    },
    /// Redirected to nowhere.
    #[error("{uri}: redirected to `{location}`, which is no address to go on with ({why})")]
    Location {
        /// The address asked last.
        uri: String,
        /// Where it sent us.
        location: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// An answer that is not a success.
    #[error("{uri}: HTTP {status}{}", after_colon(.message))]
    Status {
        /// The address.
        uri: String,
        /// The status.
        status: StatusCode,
        /// The start of the body, if it is text and no web page.
        message: String,
    },
    /// A request that cannot be made.
    #[error("{uri}: the address cannot be asked")]
    Request {
        /// The address.
        uri: String,
        /// Why.
        source: hyper::http::Error,
    },
    /// The system's certificates cannot be read.
    #[error(
        "{uri}: the system's certificate authorities cannot be loaded; install the package ca-certificates"
    )]
    Roots {
        /// The address.
        uri: String,
        /// Why.
        source: io::Error,
    },
}

/// The client. It keeps connections for the next request.
#[derive(Debug)]
pub struct HttpClient {
    limits: Limits,
    plain: Client<HttpConnector, Full<Bytes>>,
    // Made when first needed: reading the system's certificates takes time, and plain HTTP must work without them.
    tls: OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl HttpClient {
    /// A client with these limits.
    pub fn new(limits: Limits) -> Self {
        let plain = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(connector(limits));
        Self {
            limits,
            plain,
            tls: OnceLock::new(),
        }
    }

    /// Sends the body and gives the body of the answer, if it is a success.
    pub async fn post(&self, uri: &Uri, media: Media, body: Bytes) -> Result<Bytes, HttpError> {
        match tokio::time::timeout(self.limits.whole, self.follow(uri, media, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout {
                uri: uri.to_string(),
                limit: self.limits.whole,
            }),
        }
    }

    async fn follow(&self, first: &Uri, media: Media, body: Bytes) -> Result<Bytes, HttpError> {
        let mut uri = first.clone();
        let mut left = None;
        for _ in 0..=MAX_REDIRECTS {
            match self.once(&uri, media, body.clone()).await? {
                Answer::Body(body) => return Ok(body),
                Answer::Redirect(next) => uri = next,
                Answer::LeavesTls(why) => left = Some(why),
            }
        }
        Err(left.unwrap_or_else(|| HttpError::Redirects {
            uri: uri.to_string(),
        }))
    }

    async fn once(&self, uri: &Uri, media: Media, body: Bytes) -> Result<Answer, HttpError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, media.name())
            .header(ACCEPT, media.name())
            .header(USER_AGENT, concat!("tailll/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|source| HttpError::Request {
                uri: uri.to_string(),
                source,
            })?;
        let sent = if uri.scheme_str() == Some("https") {
            self.tls(uri)?.request(request).await
        } else {
            self.plain.request(request).await
        };
        let response = sent.map_err(|source| {
            let uri = uri.to_string();
            if source.is_connect() {
                HttpError::Connect { uri, source }
            } else {
                HttpError::Exchange { uri, source }
            }
        })?;
        let status = response.status();
        if matches!(
            status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        ) {
            let location = response
                .headers()
                .get(LOCATION)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            return redirect(uri, location.as_deref().unwrap_or_default());
        }
        let encoding = response
            .headers()
            .get(CONTENT_ENCODING)
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .trim()
                    .to_lowercase()
            })
            .filter(|encoding| !encoding.is_empty() && encoding != "identity");
        let limit = if status.is_success() {
            self.limits.body_bytes
        } else {
            MAX_ERROR_BODY_BYTES
        };
        let body = Limited::new(response.into_body(), limit)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        if !status.is_success() {
            let message = body.map(|body| error_text(&body)).unwrap_or_default();
            return Err(HttpError::Status {
                uri: uri.to_string(),
                status,
                message,
            });
        }
        match body {
            Ok(body) => match encoding {
                None => Ok(Answer::Body(body)),
                Some(encoding) => unpack(uri, &encoding, &body, limit).map(Answer::Body),
            },
            Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLarge {
                uri: uri.to_string(),
                limit,
            }),
            Err(source) => Err(HttpError::Truncated {
                uri: uri.to_string(),
                source,
            }),
        }
    }

    fn tls(
        &self,
        uri: &Uri,
    ) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, HttpError> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let mut tcp = connector(self.limits);
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|source| HttpError::Roots {
                uri: uri.to_string(),
                source,
            })?
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(https);
        Ok(self.tls.get_or_init(|| client))
    }
}

enum Answer {
    Body(Bytes),
    Redirect(Uri),
    LeavesTls(HttpError),
}

fn unpack(uri: &Uri, encoding: &str, body: &[u8], limit: usize) -> Result<Bytes, HttpError> {
    let uri = uri.to_string();
    let unpacked = match encoding {
        "gzip" | "x-gzip" => gzip::unpack(body, limit).map_err(Some),
        _ => Err(None),
    };
    match unpacked {
        Ok(body) => Ok(body.into()),
        Err(Some(GzipError::TooLarge(limit))) => Err(HttpError::TooLarge { uri, limit }),
        Err(source) => Err(HttpError::Packed {
            uri,
            encoding: plain(encoding),
            source,
        }),
    }
}

fn connector(limits: Limits) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(limits.connect));
    connector.set_nodelay(true);
    connector
}

/// Where a redirect leads. From https it never leads to http: what is asked over TLS is not to be answered by anybody.
fn redirect(from: &Uri, location: &str) -> Result<Answer, HttpError> {
    let error = |why| HttpError::Location {
        uri: from.to_string(),
        location: plain(location),
        why,
    };
    let mut parts = from.clone().into_parts();
    if location.is_empty() {
        return Err(error("it is empty"));
    }
    if location.starts_with('/') && !location.starts_with("//") {
        parts.path_and_query = Some(location.parse().map_err(|_| error("no path"))?);
        return Uri::from_parts(parts)
            .map(Answer::Redirect)
            .map_err(|_| error("no address"));
    }
    let to: Uri = location.parse().map_err(|_| error("no address"))?;
    match (from.scheme_str(), to.scheme_str()) {
        (Some("https"), Some("http")) => Ok(Answer::LeavesTls(error(
            "it leaves TLS; name the leader's https address as scheduler_uri",
        ))),
        (_, Some("http" | "https")) if to.host().is_some_and(|host| !host.is_empty()) => {
            Ok(Answer::Redirect(to))
        }
        _ => Err(error("neither http nor https")),
    }
}

fn error_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    // A web page says nothing that its status does not.
    if text.starts_with('<') {
        String::new()
    } else {
        plain(text)
    }
}

fn after_colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::causes::chain;

    /// A server on loopback that says what its function returns, byte for byte, and closes the connection. It ends with
    /// the value.
    pub(crate) struct Fake {
        pub(crate) uri: String,
        pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
        task: JoinHandle<()>,
    }

    /// One request.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Seen {
        pub(crate) path: String,
        pub(crate) head: String,
        pub(crate) body: String,
    }

    impl Fake {
        pub(crate) async fn start(
            mut answer: impl FnMut(&Seen) -> String + Send + 'static,
        ) -> Self {
            Self::of_bytes(move |seen| answer(seen).into_bytes()).await
        }

        /// The same for answers that are no text.
        pub(crate) async fn of_bytes(
            mut answer: impl FnMut(&Seen) -> Vec<u8> + Send + 'static,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let uri = format!("http://{}", listener.local_addr().expect("an address"));
            let seen = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&seen);
            let task = tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut bytes = Vec::new();
                    let request = loop {
                        let mut chunk = [0; 4096];
                        let Ok(n) = stream.read(&mut chunk).await else {
                            break None;
                        };
                        if n == 0 {
                            break None;
                        }
                        bytes.extend_from_slice(&chunk[..n]);
                        if let Some(request) = whole_request(&bytes) {
                            break Some(request);
                        }
                    };
                    let Some(request) = request else { continue };
                    let reply = answer(&request);
                    log.lock().expect("no panic").push(request);
                    let _ = stream.write_all(&reply).await;
                    let _ = stream.shutdown().await;
                }
            });
            Self { uri, seen, task }
        }

        pub(crate) fn seen(&self) -> Vec<Seen> {
            self.seen.lock().expect("no panic").clone()
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    fn whole_request(bytes: &[u8]) -> Option<Seen> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length: usize = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|n| n.trim().parse().expect("a length"))
            })
            .unwrap_or(0);
        let path = head.split(' ').nth(1)?.to_owned();
        (body.len() >= length).then(|| Seen {
            path,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn reply(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn quick() -> HttpClient {
        HttpClient::new(Limits {
            connect: Duration::from_secs(2),
            whole: Duration::from_secs(2),
            body_bytes: 1000,
        })
    }

    async fn post(uri: &str) -> Result<Bytes, HttpError> {
        quick()
            .post(
                &uri.parse().expect("an address"),
                Media::Json,
                Bytes::from_static(b"{\"a\":1}"),
            )
            .await
    }

    #[tokio::test]
    async fn a_body_goes_and_a_body_comes() {
        let fake = Fake::start(|_| reply("200 OK", "", "{}")).await;
        assert_eq!(
            post(&format!("{}/x?y", fake.uri)).await.expect("an answer"),
            "{}"
        );
        let [seen] = &fake.seen()[..] else {
            panic!("one request")
        };
        assert_eq!(
            (seen.path.as_str(), seen.body.as_str()),
            ("/x?y", "{\"a\":1}")
        );
        let head = seen.head.to_ascii_lowercase();
        assert!(
            head.starts_with("post ") && head.contains("content-type: application/json"),
            "{head}"
        );
        assert!(
            !head.contains("accept-encoding") && !head.contains("authorization"),
            "{head}"
        );
    }

    #[tokio::test]
    async fn a_redirect_takes_the_body_along() {
        let leader = Fake::start(|_| reply("200 OK", "", "led")).await;
        for (status, location) in [
            ("307 Temporary Redirect", format!("{}/x", leader.uri)),
            ("308 Permanent Redirect", "/y".into()),
        ] {
            let to = location.clone();
            let other = Fake::start(move |seen| match seen.path.as_str() {
                "/y" => reply("200 OK", "", "led"),
                _ => reply(status, &format!("location: {to}\r\n"), ""),
            })
            .await;
            assert_eq!(
                post(&format!("{}/x", other.uri)).await.expect("an answer"),
                "led"
            );
        }
        assert_eq!(leader.seen()[0].body, "{\"a\":1}");
    }

    #[tokio::test]
    async fn circles_and_dead_ends_are_errors() {
        let circle = Fake::start(|_| reply("307 Temporary Redirect", "location: /x\r\n", "")).await;
        assert!(matches!(
            post(&circle.uri).await,
            Err(HttpError::Redirects { .. })
        ));
        assert_eq!(circle.seen().len(), MAX_REDIRECTS + 1);
        for location in ["", "ftp://h/", "x/y", "//h/x"] {
            let headers = format!("location: {location}\r\n");
            let end = Fake::start(move |_| reply("307 Temporary Redirect", &headers, "")).await;
            assert!(
                matches!(post(&end.uri).await, Err(HttpError::Location { .. })),
                "{location}"
            );
        }
        let https: Uri = "https://h/x".parse().expect("an address");
        assert!(matches!(
            redirect(&https, "http://h/x"),
            Ok(Answer::LeavesTls(HttpError::Location { .. }))
        ));
        let Ok(Answer::Redirect(to)) = redirect(&https, "/z") else {
            panic!("a path")
        };
        assert_eq!(to.to_string(), "https://h/z");
    }

    #[tokio::test]
    async fn failures_name_address_and_cause() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let error = post(&format!("http://{address}/"))
            .await
            .expect_err("nobody listens");
        let text = chain(&error);
        assert!(
            text.contains(&address.to_string()) && text.to_lowercase().contains("refused"),
            "{text}"
        );

        for (answer, expected) in [
            (
                reply("503 Service Unavailable", "", "<html>"),
                "HTTP 503 Service Unavailable",
            ),
            (
                reply("400 Bad Request", "", "no \u{1b}such"),
                "HTTP 400 Bad Request: no \\u{1b}such",
            ),
            (reply("302 Found", "location: /x\r\n", ""), "HTTP 302 Found"),
            (
                reply("200 OK", "", &"x".repeat(1001)),
                "more than 1000 bytes",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned(),
                "broke off",
            ),
            ("SSH-2.0-x\r\n".to_owned(), "waiting for the answer"),
            (String::new(), "waiting for the answer"),
        ] {
            let fake = Fake::start(move |_| answer.clone()).await;
            let text = chain(&post(&fake.uri).await.expect_err(expected));
            assert!(
                text.contains(expected) && text.contains(&fake.uri),
                "{expected}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn packed_answers_are_unpacked_within_the_limit() {
        let packed = |encoding: &str, body: &[u8]| {
            let mut answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )
            .into_bytes();
            answer.extend(body);
            answer
        };
        let gzip = crate::gzip::tests::pack;
        for (answer, expected) in [
            (packed("gzip", &gzip(b"packed")), "packed"),
            (packed("identity", b"as it is"), "as it is"),
            (packed("gzip", &gzip(&[b'x'; 1001])), "more than 1000 bytes"),
            (
                packed("gzip", &gzip(b"packed")[..12]),
                "(`gzip`) cannot be unpacked",
            ),
            (packed("br", b"?"), "(`br`) cannot be unpacked"),
        ] {
            let fake = Fake::of_bytes(move |_| answer.clone()).await;
            let said = match post(&fake.uri).await {
                Ok(body) => String::from_utf8_lossy(&body).into_owned(),
                Err(error) => chain(&error),
            };
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri = format!("http://{}/", silent.local_addr().expect("an address"))
            .parse()
            .expect("an address");
        let limits = Limits {
            whole: Duration::from_millis(50),
            ..Limits::default()
        };
        let answer = HttpClient::new(limits)
            .post(&uri, Media::Thrift, Bytes::new())
            .await;
        assert!(
            matches!(answer, Err(HttpError::Timeout { .. })),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn tls_is_spoken_to_https() {
        // The server does not speak TLS: what matters is that the client gets as far as the handshake.
        let fake = Fake::start(|_| reply("200 OK", "", "")).await;
        let answer = post(&fake.uri.replace("http:", "https:")).await;
        assert!(
            matches!(
                answer,
                Err(HttpError::Connect { .. }
                    | HttpError::Roots { .. }
                    | HttpError::Timeout { .. })
            ),
            "{answer:?}"
        );
        assert!(fake.seen().is_empty());
    }
}
