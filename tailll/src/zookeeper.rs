//! Who leads, from ZooKeeper: a client of its wire protocol that asks two questions and hangs up.
//!
//! A scheduler that leads has an ephemeral node `member_…` below the cluster's path, whose data says where it answers. Owns the
//! protocol (jute: numbers in network order, texts and lists with their length before them), and what the nodes mean. When to ask
//! again is up to `aurora.rs`. No watch is set and no session kept, so nothing has to be kept alive.

use std::fmt;
use std::io;
use std::time::Duration;

use hyper::Uri;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::causes::{chain, plain};
use crate::instance::check_host;

/// ZooKeeper's port where none is given.
pub const DEFAULT_PORT: u16 = 2181;

/// The most servers of an ensemble, in servers.
pub const MAX_SERVERS: usize = 64;

/// The longest answer, in bytes; ZooKeeper's own limit is about 1 MiB unless it was raised.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// The most answers passed over while waiting for the one asked for, in answers.
const MAX_STRAY_ANSWERS: usize = 64;

/// The longest path of nodes, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// For how long a session that is not closed would stay on the server.
const SESSION: Duration = Duration::from_secs(10);

/// The first letters of a leader's node.
const MEMBER: &str = "member_";

const GET_DATA: i32 = 4;
const GET_CHILDREN: i32 = 8;
const CLOSE_SESSION: i32 = -11;

const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;

/// Where a cluster's leader is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensemble {
    servers: Vec<(String, u16)>,
    path: String,
}

impl Ensemble {
    /// Reads `zk` (a comma list of hosts; `port` is for those that name none) and `scheduler_zk_path`.
    pub fn parse(zk: &str, port: u16, path: &str) -> Result<Self, String> {
        let mut servers = Vec::new();
        for text in zk.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (host, port) = match text.split_once(':') {
                // More than one colon is an IPv6 address.
                Some((host, number)) if !number.contains(':') => {
                    let port = number
                        .parse()
                        .ok()
                        .filter(|port| *port != 0)
                        .ok_or_else(|| format!("`{}` is no port", number.escape_debug()))?;
                    (host, port)
                }
                _ => (text, port),
            };
            check_host(host).map_err(|error| error.to_string())?;
            servers.push((host.to_owned(), port));
        }
        if servers.is_empty() {
            return Err("the list of hosts is empty".to_owned());
        }
        if servers.len() > MAX_SERVERS {
            return Err(format!("more than {MAX_SERVERS} hosts"));
        }
        let trimmed = path.trim_end_matches('/');
        let good = trimmed.starts_with('/')
            && trimmed.len() <= MAX_PATH_BYTES
            && !trimmed.contains("//")
            && !trimmed.chars().any(char::is_control);
        if !good {
            return Err(format!(
                "`{}` is no path of ZooKeeper; write it as `/aurora/scheduler`",
                plain(path)
            ));
        }
        Ok(Self {
            servers,
            path: trimmed.to_owned(),
        })
    }

    /// Asks who leads. The servers are asked in turn, beginning with one that `seed` chooses, until one answers.
    pub async fn leader(&self, limits: Limits, seed: u64) -> Result<Uri, ZooKeeperError> {
        let count = self.servers.len();
        let first = (seed % count as u64) as usize;
        let mut failures = Vec::new();
        for (host, port) in self.servers.iter().cycle().skip(first).take(count) {
            let server = format!("{}:{port}", bracketed(host));
            let asked = match tokio::time::timeout(
                limits.connect,
                TcpStream::connect((host.as_str(), *port)),
            )
            .await
            {
                Ok(Ok(stream)) => {
                    match tokio::time::timeout(limits.whole, ask(stream, &self.path)).await {
                        Ok(asked) => asked,
                        Err(_) => Err(Failure::Timeout(limits.whole)),
                    }
                }
                Ok(Err(error)) => Err(Failure::Connect(error)),
                Err(_) => Err(Failure::Timeout(limits.connect)),
            };
            match asked {
                Ok(nodes) => return self.judge(&server, nodes),
                Err(failure) => failures.push(format!("{server}: {}", chain(&failure))),
            }
        }
        Err(ZooKeeperError::Unreachable {
            failures: failures.join("; "),
        })
    }

    fn judge(&self, server: &str, nodes: Nodes) -> Result<Uri, ZooKeeperError> {
        let place = Place {
            server: server.to_owned(),
            path: self.path.clone(),
        };
        match nodes {
            Nodes::NoPath => Err(ZooKeeperError::NoPath(place)),
            Nodes::Denied => Err(ZooKeeperError::Denied(place)),
            Nodes::None => Err(ZooKeeperError::NoLeader(place)),
            Nodes::Several(count) => Err(ZooKeeperError::Ambiguous { place, count }),
            Nodes::One { name, data } => {
                endpoint(&data).map_err(|why| ZooKeeperError::Data { place, name, why })
            }
        }
    }
}

impl fmt::Display for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (host, port)) in self.servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{port}", bracketed(host))?;
        }
        f.write_str(&self.path)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// What asking one server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// From then on, until all is answered.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(10),
        }
    }
}

/// Which server was asked about which path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    server: String,
    path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZooKeeper {}, {}", self.server, self.path)
    }
}

/// Why nobody is known to lead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZooKeeperError {
    /// No server answered.
    #[error("no ZooKeeper server answers ({failures})")]
    Unreachable {
        /// Each server and why.
        failures: String,
    },
    /// There is no such path.
    #[error("{0}: there is no such path; check scheduler_zk_path")]
    NoPath(Place),
    /// The path may not be read.
    #[error(
        "{0}: reading it is not allowed without authentication, which is not there; name scheduler_uri instead"
    )]
    Denied(Place),
    /// Nobody leads.
    #[error("{0}: no scheduler leads now")]
    NoLeader(Place),
    /// Several seem to lead.
    #[error(
        "{place}: {count} schedulers seem to lead; this passes once the session of the old one has ended"
    )]
    Ambiguous {
        /// Where.
        place: Place,
        /// How many.
        count: usize,
    },
    /// What the leader wrote cannot be used.
    #[error("{place}/{}: {why}", plain(.name))]
    Data {
        /// Where.
        place: Place,
        /// The node.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl ZooKeeperError {
    /// Whether asking again in a moment may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NoLeader(_) | Self::Ambiguous { .. })
    }
}

/// Why one server gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("connecting")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("an answer of {0} bytes; it may be no ZooKeeper server")]
    Frame(i64),
    #[error("an answer that ends early; it may be no ZooKeeper server")]
    Short,
    #[error("it refuses the session")]
    Session,
    #[error("none of its answers is to what was asked")]
    Stray,
    #[error("error {0} of ZooKeeper")]
    Code(i32),
}

/// What lies below the path.
#[derive(Debug, PartialEq, Eq)]
enum Nodes {
    NoPath,
    Denied,
    None,
    Several(usize),
    One { name: String, data: Vec<u8> },
}

/// Asks over a connection.
async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Result<Nodes, Failure> {
    write_frame(&mut stream, &connect_request()).await?;
    check_session(&read_frame(&mut stream).await?)?;
    let nodes = look(&mut stream, path).await;
    // Only politeness: without it the session ends by itself.
    let _ = write_frame(&mut stream, &header(3, CLOSE_SESSION)).await;
    nodes
}

async fn look(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
) -> Result<Nodes, Failure> {
    write_frame(stream, &path_request(1, GET_CHILDREN, path)).await?;
    let names = match read_reply(stream, 1).await {
        Ok(body) => children(&body)?,
        Err(Failure::Code(NO_NODE)) => return Ok(Nodes::NoPath),
        Err(Failure::Code(NO_AUTH)) => return Ok(Nodes::Denied),
        Err(error) => return Err(error),
    };
    let mut members: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(MEMBER))
        .collect();
    let name = match (members.pop(), members.len()) {
        (None, _) => return Ok(Nodes::None),
        (Some(name), 0) => name,
        (Some(_), others) => return Ok(Nodes::Several(others + 1)),
    };
    write_frame(
        stream,
        &path_request(2, GET_DATA, &format!("{path}/{name}")),
    )
    .await?;
    match read_reply(stream, 2).await {
        Ok(body) => Ok(Nodes::One {
            name,
            data: Bytes(&body).buffer()?.to_vec(),
        }),
        // It has stepped down in between.
        Err(Failure::Code(NO_NODE)) => Ok(Nodes::None),
        Err(Failure::Code(NO_AUTH)) => Ok(Nodes::Denied),
        Err(error) => Err(error),
    }
}

/// Protocol 0, nothing seen yet, a new session without password, and no server that may only read.
fn connect_request() -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(0_i32.to_be_bytes());
    request.extend(0_i64.to_be_bytes());
    request.extend((SESSION.as_millis() as i32).to_be_bytes());
    request.extend(0_i64.to_be_bytes());
    request.extend(16_i32.to_be_bytes());
    request.extend([0; 16]);
    request.push(0);
    request
}

fn header(xid: i32, operation: i32) -> Vec<u8> {
    [xid.to_be_bytes(), operation.to_be_bytes()].concat()
}

/// A question about a path, without a watch.
fn path_request(xid: i32, operation: i32, path: &str) -> Vec<u8> {
    let mut request = header(xid, operation);
    request.extend((path.len() as i32).to_be_bytes());
    request.extend(path.as_bytes());
    request.push(0);
    request
}

fn check_session(answer: &[u8]) -> Result<(), Failure> {
    let mut bytes = Bytes(answer);
    let _protocol = bytes.int()?;
    let timeout = bytes.int()?;
    let _session = bytes.long()?;
    if timeout <= 0 {
        return Err(Failure::Session);
    }
    Ok(())
}

fn children(body: &[u8]) -> Result<Vec<String>, Failure> {
    let mut bytes = Bytes(body);
    let count = bytes.int()?;
    // Each name has at least its length before it, so a wrong count ends with the bytes.
    (0..count)
        .map(|_| Ok(String::from_utf8_lossy(bytes.buffer()?).into_owned()))
        .collect()
}

async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), Failure> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame).await?;
    Ok(stream.flush().await?)
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Failure> {
    let length = stream.read_i32().await?;
    let bytes = usize::try_from(length)
        .ok()
        .filter(|bytes| *bytes <= MAX_FRAME_BYTES)
        .ok_or(Failure::Frame(i64::from(length)))?;
    let mut frame = Vec::new();
    stream.take(bytes as u64).read_to_end(&mut frame).await?;
    if frame.len() < bytes {
        return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(frame)
}

/// The body of the answer to the question of this number. News of watches and pings are passed over.
async fn read_reply(stream: &mut (impl AsyncRead + Unpin), xid: i32) -> Result<Vec<u8>, Failure> {
    for _ in 0..MAX_STRAY_ANSWERS {
        let frame = read_frame(stream).await?;
        let mut bytes = Bytes(&frame);
        let answers = bytes.int()?;
        let _zxid = bytes.long()?;
        let code = bytes.int()?;
        if answers != xid {
            continue;
        }
        return if code == 0 {
            Ok(bytes.0.to_vec())
        } else {
            Err(Failure::Code(code))
        };
    }
    Err(Failure::Stray)
}

/// What is left to read of an answer.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Failure::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Failure> {
        let bytes = self.take(4)?.try_into().map_err(|_| Failure::Short)?;
        Ok(i32::from_be_bytes(bytes))
    }

    fn long(&mut self) -> Result<i64, Failure> {
        let bytes = self.take(8)?.try_into().map_err(|_| Failure::Short)?;
        Ok(i64::from_be_bytes(bytes))
    }

    /// Bytes with their length before them; a length of -1 stands for none.
    fn buffer(&mut self) -> Result<&'a [u8], Failure> {
        match self.int()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| Failure::Short)?),
        }
    }
}

/// Where the leader answers: its https endpoint, else its http one.
fn endpoint(data: &[u8]) -> Result<Uri, String> {
    let data: Value = serde_json::from_slice(data)
        .map_err(|error| format!("its data is no JSON ({})", plain(&error.to_string())))?;
    let endpoints = data.get("additionalEndpoints");
    for scheme in ["https", "http"] {
        let Some(endpoint) = endpoints.and_then(|endpoints| endpoints.get(scheme)) else {
            continue;
        };
        let host = endpoint
            .get("host")
            .and_then(Value::as_str)
            .ok_or_else(|| format!("its {scheme} endpoint has no host"))?;
        check_host(host).map_err(|error| format!("its {scheme} endpoint: {error}"))?;
        let port = endpoint
            .get("port")
            .and_then(Value::as_u64)
            .filter(|port| (1..=65535).contains(port))
            .ok_or_else(|| format!("its {scheme} endpoint has no port"))?;
        return format!("{scheme}://{}:{port}/", bracketed(host))
            .parse()
            .map_err(|_| format!("its {scheme} endpoint is no address"));
    }
    Err("it has no endpoint `https` or `http`".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// Nodes below `/aurora/scheduler`: names and data.
    pub(crate) type Tree = Arc<Mutex<Vec<(String, String)>>>;

    /// A ZooKeeper server on loopback that knows one path. It ends with the value.
    pub(crate) struct Fake {
        pub(crate) port: u16,
        pub(crate) tree: Tree,
        /// The operations asked for.
        pub(crate) asked: Arc<Mutex<Vec<i32>>>,
        task: JoinHandle<()>,
    }

    impl Fake {
        pub(crate) async fn start(nodes: &[(&str, &str)]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let tree: Tree = Arc::default();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let (nodes_of_task, asked_of_task) = (tree.clone(), asked.clone());
            let task = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that hangs up is no failure.
                    let _ = serve(stream, &nodes_of_task, &asked_of_task).await;
                }
            });
            let fake = Self {
                port,
                tree,
                asked,
                task,
            };
            fake.set(nodes);
            fake
        }

        pub(crate) fn set(&self, nodes: &[(&str, &str)]) {
            *self.tree.lock().expect("no panic") = nodes
                .iter()
                .map(|(name, data)| ((*name).to_owned(), (*data).to_owned()))
                .collect();
        }

        pub(crate) fn ensemble(&self, path: &str) -> Ensemble {
            Ensemble::parse("127.0.0.1", self.port, path).expect("an ensemble")
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    pub(crate) fn member(scheme: &str, host: &str, port: u16) -> String {
        format!(
            r#"{{"serviceEndpoint":{{"host":"never","port":1}},"additionalEndpoints":{{"{scheme}":{{"host":"{host}","port":{port}}}}},"status":"ALIVE"}}"#
        )
    }

    /// The path that the fake knows.
    pub(crate) const PATH: &str = "/aurora/scheduler";

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as i32).to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    fn reply(xid: i32, code: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = xid.to_be_bytes().to_vec();
        bytes.extend(77_i64.to_be_bytes());
        bytes.extend(code.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    async fn serve(
        mut stream: TcpStream,
        tree: &Tree,
        asked: &Mutex<Vec<i32>>,
    ) -> Result<(), Failure> {
        read_frame(&mut stream).await?;
        let mut session = Vec::new();
        session.extend(0_i32.to_be_bytes());
        session.extend(4000_i32.to_be_bytes());
        session.extend(9_i64.to_be_bytes());
        session.extend(16_i32.to_be_bytes());
        session.extend([7; 16]);
        session.push(0);
        write_frame(&mut stream, &session).await?;
        loop {
            let request = read_frame(&mut stream).await?;
            let mut bytes = Bytes(&request);
            let (xid, operation) = (bytes.int()?, bytes.int()?);
            asked.lock().expect("no panic").push(operation);
            if operation == CLOSE_SESSION {
                return Ok(());
            }
            let path = String::from_utf8_lossy(bytes.buffer()?).into_owned();
            let nodes = tree.lock().expect("no panic").clone();
            let answer = match (operation, path.strip_prefix(PATH)) {
                (GET_CHILDREN, Some("")) => {
                    let mut body = (nodes.len() as i32).to_be_bytes().to_vec();
                    for (name, _) in &nodes {
                        body.extend(text(name));
                    }
                    reply(xid, 0, &body)
                }
                (GET_DATA, Some(name)) => {
                    match nodes.iter().find(|(known, _)| name == format!("/{known}")) {
                        Some((_, data)) => reply(xid, 0, &[text(data), vec![0; 68]].concat()),
                        None => reply(xid, NO_NODE, &[]),
                    }
                }
                _ => reply(xid, NO_NODE, &[]),
            };
            // News of a watch that nobody set, as a server sends them for a session.
            write_frame(&mut stream, &reply(-1, 0, b"news")).await?;
            write_frame(&mut stream, &answer).await?;
        }
    }

    async fn leader(ensemble: &Ensemble) -> String {
        let limits = Limits {
            connect: Duration::from_secs(5),
            whole: Duration::from_secs(5),
        };
        match ensemble.leader(limits, 0).await {
            Ok(uri) => uri.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn requests_are_written_as_the_protocol_says() {
        assert_eq!(
            connect_request(),
            [
                &[0, 0, 0, 0][..],
                &[0; 8],
                &[0, 0, 0x27, 0x10],
                &[0; 8],
                &[0, 0, 0, 16],
                &[0; 16],
                &[0],
            ]
            .concat()
        );
        assert_eq!(
            path_request(1, GET_CHILDREN, "/a"),
            [0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 2, b'/', b'a', 0]
        );
        assert_eq!(
            path_request(2, GET_DATA, "/a/b"),
            [
                0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, b'/', b'a', b'/', b'b', 0
            ]
        );
        assert_eq!(
            header(3, CLOSE_SESSION),
            [0, 0, 0, 3, 0xff, 0xff, 0xff, 0xf5]
        );
    }

    #[tokio::test]
    async fn answers_are_read_as_the_protocol_says() {
        let names = [0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 2, b'b', b'c'];
        assert_eq!(children(&names).expect("names"), ["a", "bc"]);
        for cut in 0..names.len() {
            assert!(children(&names[..cut]).is_err(), "{cut}");
        }
        assert!(children(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
        assert_eq!(
            Bytes(&[0xff, 0xff, 0xff, 0xff]).buffer().expect("none"),
            b""
        );
        // An old server leaves out the last byte; a session of no length is a refused one.
        assert!(check_session(&[0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 0, 0, 0, 0, 0, 0, 9]).is_ok());
        assert!(matches!(check_session(&[0; 16]), Err(Failure::Session)));
        let mut frame = &[0, 0, 0, 2, b'h', b'i', b'!'][..];
        assert_eq!(read_frame(&mut frame).await.expect("a frame"), b"hi");
        let mut short = &[0, 0, 0, 9, b'h'][..];
        assert!(matches!(read_frame(&mut short).await, Err(Failure::Io(_))));
        let mut http = &b"HTTP/1.1 400"[..];
        assert!(matches!(
            read_frame(&mut http).await,
            Err(Failure::Frame(1_213_486_160))
        ));
    }

    #[tokio::test]
    async fn the_only_member_leads() {
        let fake = Fake::start(&[
            ("singleton_candidate_0000000001", "other"),
            ("member_0000000007", &member("http", "h1", 8081)),
        ])
        .await;
        assert_eq!(leader(&fake.ensemble(PATH)).await, "http://h1:8081/");
        assert_eq!(
            *fake.asked.lock().expect("no panic"),
            [GET_CHILDREN, GET_DATA]
        );
        fake.set(&[("member_1", &member("https", "::1", 443))]);
        assert_eq!(
            leader(&fake.ensemble("/aurora/scheduler/")).await,
            "https://[::1]:443/"
        );
    }

    #[tokio::test]
    async fn no_leader_and_two_leaders_are_said() {
        let fake = Fake::start(&[("singleton_candidate_1", "")]).await;
        let ensemble = fake.ensemble(PATH);
        let place = format!("ZooKeeper 127.0.0.1:{}, {PATH}", fake.port);
        assert_eq!(
            leader(&ensemble).await,
            format!("{place}: no scheduler leads now")
        );
        fake.set(&[("member_1", ""), ("member_2", "")]);
        assert!(
            leader(&ensemble)
                .await
                .starts_with(&format!("{place}: 2 schedulers seem to lead"))
        );
        assert_eq!(
            leader(&fake.ensemble("/elsewhere")).await,
            format!(
                "ZooKeeper 127.0.0.1:{}, /elsewhere: there is no such path; check scheduler_zk_path",
                fake.port
            )
        );
        for (data, expected) in [
            ("{", "its data is no JSON"),
            (
                r#"{"serviceEndpoint":{"host":"h","port":1}}"#,
                "no endpoint `https` or `http`",
            ),
            (
                r#"{"additionalEndpoints":{"http":{"host":"-x","port":1}}}"#,
                "begins with `-`",
            ),
            (
                r#"{"additionalEndpoints":{"http":{"host":"h","port":0}}}"#,
                "has no port",
            ),
        ] {
            fake.set(&[("member_1", data)]);
            let said = leader(&ensemble).await;
            assert!(
                said.contains(&format!("{PATH}/member_1: ")) && said.contains(expected),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn servers_are_asked_in_turn() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let down = free.local_addr().expect("an address").port();
        drop(free);
        let fake = Fake::start(&[("member_1", &member("http", "h1", 1))]).await;
        let both = Ensemble::parse(
            &format!("127.0.0.1:{down},127.0.0.1"),
            fake.port,
            "/aurora/scheduler",
        )
        .expect("an ensemble");
        assert_eq!(leader(&both).await, "http://h1:1/");
        let alone = Ensemble::parse("127.0.0.1", down, PATH).expect("an ensemble");
        let said = leader(&alone).await;
        assert!(
            said.starts_with(&format!(
                "no ZooKeeper server answers (127.0.0.1:{down}: connecting: "
            )),
            "{said}"
        );
    }

    #[tokio::test]
    async fn other_servers_and_silent_ones_are_not_waited_for() {
        let http = crate::http::tests::Fake::start(|_| String::new()).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent_port = silent.local_addr().expect("an address").port();
        let limits = Limits {
            connect: Duration::from_secs(5),
            whole: Duration::from_millis(100),
        };
        let other = http.uri.trim_start_matches("http://");
        let ensemble =
            Ensemble::parse(&format!("{other},127.0.0.1"), silent_port, PATH).expect("an ensemble");
        let said = ensemble
            .leader(limits, 0)
            .await
            .expect_err("nobody")
            .to_string();
        assert_eq!(said.matches("no answer within 0.1 s").count(), 2, "{said}");
    }

    #[test]
    fn ensembles_are_checked() {
        let three = Ensemble::parse("a, b:2182,,::1", 2181, "/x/").expect("an ensemble");
        assert_eq!(three.to_string(), "a:2181,b:2182,[::1]:2181/x");
        for (zk, path) in [
            ("", "/x"),
            (",", "/x"),
            ("a:0", "/x"),
            ("a:b", "/x"),
            ("-a", "/x"),
            ("a b", "/x"),
            ("a", "x"),
            ("a", ""),
            ("a", "/"),
            ("a", "/x//y"),
            ("a", "/x\n"),
        ] {
            assert!(Ensemble::parse(zk, 2181, path).is_err(), "{zk} {path}");
        }
        let many = vec!["a"; MAX_SERVERS + 1].join(",");
        assert!(Ensemble::parse(&many, 2181, "/x").is_err());
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in any::<Vec<u8>>()) {
            let _ = children(&body);
            let _ = check_session(&body);
            let _ = endpoint(&body);
            let _ = Bytes(&body).buffer();
        }
    }
}
