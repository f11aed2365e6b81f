//! A server that speaks S3's protocol, in this process and in memory, with the faults that the store claims to survive.
//!
//! Owns one bucket: PutObject with conditions and checksums, HeadObject, GetObject with ranges, ListObjectsV2. Signatures are
//! looked at (their parts, the key's id, the date), not computed again. Faults are given by hand with [`S3Server::fault`], or
//! drawn from a seed with [`S3Server::storm`]; the same requests in the same order meet the same faults.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use archive::store::{S3Settings, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::writers::Rng;

/// The only bucket.
pub const BUCKET: &str = "logs";

/// How far a request's date may be off, in minutes; S3's own limit.
const MAX_SKEW_MINUTES: i64 = 15;

/// The longest key, in bytes; S3's own limit.
const MAX_KEY_BYTES: usize = 1024;

/// The most objects in an answer to a listing; S3's own limit.
const MAX_KEYS: usize = 1000;

/// How much of a slow body comes or goes at a time, in bytes.
const SLOW_CHUNK_BYTES: usize = 16 * 1024;

/// The most further requests after which a late object of a storm lands, in requests.
const MAX_LATE_REQUESTS: u64 = 4;

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

/// What an object is, and what was sent with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// The headers of its request whose names begin with `x-amz-`.
    pub headers: BTreeMap<String, String>,
    /// How often it was written. More than once is what conditions are to prevent.
    pub writes: u32,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it asked for.
    pub on: On,
    /// The key, or the prefix of a listing.
    pub key: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// The kinds of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum On {
    /// PutObject.
    Put,
    /// HeadObject.
    Head,
    /// GetObject.
    Get,
    /// ListObjectsV2.
    List,
    /// In a rule: all of them.
    Any,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It is done, and the connection breaks before the answer.
    BreakAfter,
    /// It is not done; the connection breaks.
    BreakBefore,
    /// The connection breaks, and the object lands after so many further requests, or with [`S3Server::land_late`].
    Late {
        /// How many requests come first.
        after: u64,
    },
    /// It is not done; the answer is a success that holds an error.
    ErrorAsSuccess(&'static str),
    /// It is not done; the answer has this status and code.
    Refuse(u16, &'static str),
    /// It is not done, and there never is an answer.
    Silence,
    /// It is done; the body comes and goes in small pieces with a pause before each.
    Slow(Duration),
    /// It is done; half of the answer's body comes, then the connection breaks.
    Truncate,
}

/// What is done about `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conditions {
    /// What S3 does.
    #[default]
    Honoured,
    /// It is passed over, as older servers do.
    Ignored,
    /// The request is refused as not implemented, as others do.
    Refused,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    seen: Vec<Seen>,
    rules: Vec<Rule>,
    storm: Option<Storm>,
    late: Vec<Late>,
    conditions: Conditions,
    /// How far this server's clock is ahead.
    ahead: SignedDuration,
    /// The only id of a key that is taken, if not all are.
    key_id: Option<String>,
}

#[derive(Debug)]
struct Rule {
    on: On,
    fault: Fault,
    times: u32,
}

#[derive(Debug)]
struct Storm {
    random: Rng,
    chances: Vec<(On, Fault, u32)>,
}

/// An object on its way.
#[derive(Debug)]
struct Late {
    key: String,
    put: Arriving,
    after: u64,
}

#[derive(Debug, Clone)]
struct Arriving {
    bytes: Bytes,
    headers: BTreeMap<String, String>,
}

impl S3Server {
    /// Starts one on loopback, with an empty bucket.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("bind")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let stop = CancellationToken::new();
        let served = Arc::clone(&state);
        let serving = serve(listener, move |request| {
            answer(Arc::clone(&served), request)
        });
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
        let server = Self {
            address,
            folder: tempfile::tempdir()?,
            state,
            stop,
        };
        server.write_credentials("AKIDEXAMPLE")?;
        Ok(server)
    }

    /// Goes away, with all connections. What it has and has seen can still be looked at.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a store has to be told to come here.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Some(self.endpoint()),
            region: Some("eu-west-1".to_owned()),
            credentials_file: Some(self.folder.path().join("credentials")),
            ..S3Settings::default()
        }
    }

    /// Writes the file of credentials that [`S3Server::settings`] names.
    pub fn write_credentials(&self, key_id: &str) -> Result<()> {
        let text = format!(
            "[default]\naws_access_key_id = {key_id}\naws_secret_access_key = not-a-secret\n"
        );
        std::fs::write(self.folder.path().join("credentials"), text).context("credentials")
    }

    /// The next requests of a kind meet a fault. Rules hold in the order in which they were given.
    pub fn fault(&self, on: On, fault: Fault, times: u32) {
        self.state().rules.push(Rule { on, fault, times });
    }

    /// From now on every request of a kind meets a fault with so many chances in a thousand.
    pub fn storm(&self, seed: u64, chances: &[(On, Fault, u32)]) {
        self.state().storm = Some(Storm {
            random: Rng::new(seed),
            chances: chances.to_vec(),
        });
    }

    /// Ends all faults. What is late stays late.
    pub fn heal(&self) {
        let mut state = self.state();
        state.storm = None;
        state.rules.clear();
    }

    /// Lets what is late land. Returns how many requests it were.
    pub fn land_late(&self) -> usize {
        let mut state = self.state();
        let late = std::mem::take(&mut state.late);
        let landed = late.len();
        for late in late {
            let _ = state.put(&late.key, late.put);
        }
        landed
    }

    /// What is done about conditions from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state().conditions = conditions;
    }

    /// Sets this server's clock.
    pub fn set_clock_ahead(&self, ahead: SignedDuration) {
        self.state().ahead = ahead;
    }

    /// From now on only requests signed with the key of this id are taken.
    pub fn take_only(&self, key_id: &str) {
        self.state().key_id = Some(key_id.to_owned());
    }

    /// Puts an object there that is not ours.
    pub fn plant(&self, key: &str, bytes: &[u8]) {
        let object = Object {
            bytes: Bytes::copy_from_slice(bytes),
            headers: BTreeMap::new(),
            writes: 1,
        };
        self.plant_object(key, object);
    }

    /// Puts any object there, in place of what there was.
    pub fn plant_object(&self, key: &str, object: Object) {
        self.state().objects.insert(key.to_owned(), object);
    }

    /// All objects.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.state().objects.clone()
    }

    /// All requests so far, in their order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A token service that lets everybody assume any role, and gives credentials of one id.
#[derive(Debug)]
pub struct StsServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
}

impl StsServer {
    /// Starts one on loopback.
    pub async fn start(key_id: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("bind")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let expiry = clock::now() + SignedDuration::from_hours(1);
        let text = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
             <Arn>arn:aws:sts::123456789012:assumed-role/a/b</Arn><AssumedRoleId>A:b</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>not-a-secret</SecretAccessKey>\
             <SessionToken>a-token</SessionToken><Expiration>{expiry:.0}</Expiration></Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>"
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = serve(listener, move |request| {
            let (kept, text) = (Arc::clone(&kept), text.clone());
            async move {
                let body = received(request.into_body(), None).await?;
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(String::from_utf8_lossy(&body).into_owned());
                Ok(Response::new(Outgoing::new(text.into())))
            }
        });
        tokio::spawn(async move { stopped.run_until_cancelled(serving).await });
        Ok(Self {
            address,
            asked,
            stop,
        })
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for StsServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until this is dropped; then all connections go with it.
pub(crate) async fn serve<A, F, B>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, Broken>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, say; the next one may come through.
            tokio::task::yield_now().await;
            continue;
        };
        let service = hyper::service::service_fn(answer.clone());
        connections.spawn(async move {
            // A connection that breaks is a fault of ours, or the client's right.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The answer, or the end of the connection.
async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Broken> {
    let (parts, body) = request.into_parts();
    let asked = match Asked::new(&parts) {
        Ok(asked) => asked,
        Err(refusal) => {
            let now = clock::now() + lock(&state).ahead;
            return Ok(refusal.response(&parts.method, now));
        }
    };
    let (fault, now) = {
        let mut state = lock(&state);
        state.land_due();
        state.seen.push(Seen {
            on: asked.on,
            key: asked.key.clone(),
            headers: asked.headers.clone(),
        });
        let fault = state.next_fault(asked.on);
        (fault, clock::now() + state.ahead)
    };
    let pause = match fault {
        Some(Fault::Slow(pause)) => Some(pause),
        _ => None,
    };
    let bytes = received(body, pause).await?;
    let put = Arriving {
        bytes,
        headers: asked.headers.clone(),
    };
    let answered = match fault {
        Some(Fault::BreakBefore) => return Err(Broken),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Refuse(status, code)) => Err(Refusal { status, code }),
        Some(Fault::ErrorAsSuccess(code)) => Ok(Answer {
            body: error_text(code).into(),
            ..Answer::default()
        }),
        Some(Fault::Late { after }) => {
            let key = asked.key.clone();
            lock(&state).late.push(Late { key, put, after });
            return Err(Broken);
        }
        None | Some(Fault::BreakAfter | Fault::Slow(_) | Fault::Truncate) => {
            lock(&state).act(&asked, put, now)
        }
    };
    if fault == Some(Fault::BreakAfter) {
        return Err(Broken);
    }
    let mut response = match answered {
        Ok(answer) => answer.response(&parts.method, now),
        Err(refusal) => refusal.response(&parts.method, now),
    };
    match fault {
        Some(Fault::Truncate) => response.body_mut().truncate(),
        Some(Fault::Slow(pause)) => response.body_mut().slow_down(pause),
        _ => {}
    }
    Ok(response)
}

/// The connection is to be broken.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

async fn received(mut body: Incoming, pause: Option<Duration>) -> Result<Bytes, Broken> {
    let mut bytes = Vec::new();
    let mut since = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Broken)?.into_data() {
            since += data.len();
            bytes.extend_from_slice(&data);
        }
        if let Some(pause) = pause
            && since >= SLOW_CHUNK_BYTES
        {
            since = 0;
            tokio::time::sleep(pause).await;
        }
    }
    Ok(bytes.into())
}

/// A request, taken apart.
#[derive(Debug)]
struct Asked {
    on: On,
    /// The key, or the prefix of a listing.
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

impl Asked {
    fn new(parts: &Parts) -> Result<Self, Refusal> {
        let headers: BTreeMap<String, String> = parts
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decoded(name)?, decoded(value)?))
            })
            .collect::<Option<_>>()
            .ok_or(Refusal::INVALID)?;
        // The bucket stands in the path, or before the host.
        let path = parts.uri.path().trim_start_matches('/');
        let host = headers.get("host").map(String::as_str).unwrap_or_default();
        let (bucket, key) = if host.starts_with(&format!("{BUCKET}.")) {
            (BUCKET, path)
        } else {
            path.split_once('/').unwrap_or((path, ""))
        };
        if bucket != BUCKET {
            return Err(Refusal::new(404, "NoSuchBucket"));
        }
        let key = decoded(key).ok_or(Refusal::INVALID)?;
        if key.len() > MAX_KEY_BYTES {
            return Err(Refusal::new(400, "KeyTooLongError"));
        }
        let listing = query.get("list-type").is_some_and(|kind| kind == "2");
        let on = match (&parts.method, key.is_empty()) {
            (&Method::PUT, false) => On::Put,
            (&Method::HEAD, false) => On::Head,
            (&Method::GET, false) => On::Get,
            (&Method::GET, true) if listing => On::List,
            _ => return Err(Refusal::new(501, "NotImplemented")),
        };
        let key = if on == On::List {
            query.get("prefix").cloned().unwrap_or_default()
        } else {
            key
        };
        Ok(Self {
            on,
            key,
            query,
            headers,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Looks at the signature: at all but whether it is the right one.
    fn check_signature(&self, key_id: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        let denied = Refusal::new(403, "AccessDenied");
        let signed = self
            .header("authorization")
            .and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 "))
            .ok_or(denied)?;
        let mut fields = BTreeMap::new();
        for field in signed.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(Refusal::INVALID)?;
            fields.insert(name, value);
        }
        let field = |name: &str| fields.get(name).copied().ok_or(denied);
        let scope: Vec<&str> = field("Credential")?.split('/').collect();
        let date = self.header("x-amz-date").ok_or(denied)?;
        let signature = field("Signature")?;
        let covered: Vec<&str> = field("SignedHeaders")?.split(';').collect();
        let shaped = matches!(scope[..], [_, day, _, "s3", "aws4_request"] if date.starts_with(day))
            && signature.len() == 64
            && signature.bytes().all(|byte| byte.is_ascii_hexdigit())
            && ["host", "x-amz-date", "x-amz-content-sha256"]
                .iter()
                .all(|name| covered.contains(name));
        if !shaped {
            return Err(Refusal::new(403, "SignatureDoesNotMatch"));
        }
        if key_id.is_some_and(|id| id != scope[0]) {
            return Err(Refusal::new(403, "InvalidAccessKeyId"));
        }
        let date = DateTime::strptime("%Y%m%dT%H%M%SZ", date)
            .and_then(|date| TimeZone::UTC.to_timestamp(date))
            .map_err(|_| denied)?;
        let off = now.duration_since(date);
        if off.abs() > SignedDuration::from_mins(MAX_SKEW_MINUTES) {
            return Err(Refusal::new(403, "RequestTimeTooSkewed"));
        }
        Ok(())
    }
}

impl State {
    fn next_fault(&mut self, on: On) -> Option<Fault> {
        let meets = |rule: On| rule == on || rule == On::Any;
        let at = self
            .rules
            .iter()
            .position(|rule| rule.times > 0 && meets(rule.on));
        if let Some(at) = at {
            let rule = self.rules.get_mut(at)?;
            rule.times -= 1;
            return Some(rule.fault);
        }
        let storm = self.storm.as_mut()?;
        let mut drawn = storm.random.below(1000);
        let after = 1 + storm.random.below(MAX_LATE_REQUESTS);
        for (rule, fault, per_mille) in &storm.chances {
            if !meets(*rule) {
                continue;
            }
            if drawn < u64::from(*per_mille) {
                return Some(match fault {
                    Fault::Late { .. } => Fault::Late { after },
                    fault => *fault,
                });
            }
            drawn -= u64::from(*per_mille);
        }
        None
    }

    /// Counts a request towards what is late.
    fn land_due(&mut self) {
        let late = std::mem::take(&mut self.late);
        for mut late in late {
            if late.after == 0 {
                let _ = self.put(&late.key, late.put);
            } else {
                late.after -= 1;
                self.late.push(late);
            }
        }
    }

    fn act(&mut self, asked: &Asked, put: Arriving, now: Timestamp) -> Result<Answer, Refusal> {
        asked.check_signature(self.key_id.as_deref(), now)?;
        match asked.on {
            On::Put => self.put(&asked.key, put),
            On::Head => self.get(asked, now).map(|answer| Answer {
                head: Some(answer.body.len()),
                body: Bytes::new(),
                ..answer
            }),
            On::Get => self.get(asked, now),
            On::List => Ok(self.list(asked)),
            On::Any => Err(Refusal::INVALID),
        }
    }

    fn put(&mut self, key: &str, put: Arriving) -> Result<Answer, Refusal> {
        let header = |name: &str| put.headers.get(name).map(String::as_str);
        if header("content-encoding").is_some_and(|coding| coding.contains("aws-chunked")) {
            return Err(Refusal::new(501, "NotImplemented"));
        }
        if header("content-length").is_none() {
            return Err(Refusal::new(411, "MissingContentLength"));
        }
        let sha256 = digest(&put.bytes);
        let wrong = |name, expected: String| header(name).is_some_and(|given| given != expected);
        if wrong("x-amz-checksum-sha256", BASE64.encode(sha256)) {
            return Err(Refusal::new(400, "BadDigest"));
        }
        let hashed = header("x-amz-content-sha256").is_some_and(|text| text.len() == 64);
        if hashed && wrong("x-amz-content-sha256", hex(&sha256)) {
            return Err(Refusal::new(400, "XAmzContentSHA256Mismatch"));
        }
        if let Some(condition) = header("if-none-match") {
            match self.conditions {
                Conditions::Honoured if condition != "*" => {
                    return Err(Refusal::new(501, "NotImplemented"));
                }
                Conditions::Honoured if self.objects.contains_key(key) => {
                    return Err(Refusal::new(412, "PreconditionFailed"));
                }
                Conditions::Honoured | Conditions::Ignored => {}
                Conditions::Refused => return Err(Refusal::new(501, "NotImplemented")),
            }
        }
        let writes = self.objects.get(key).map_or(0, |object| object.writes) + 1;
        let object = Object {
            bytes: put.bytes,
            headers: put
                .headers
                .into_iter()
                .filter(|(name, _)| name.starts_with("x-amz-"))
                .collect(),
            writes,
        };
        self.objects.insert(key.to_owned(), object);
        Ok(Answer {
            headers: vec![("etag", etag(&sha256))],
            ..Answer::default()
        })
    }

    fn get(&self, asked: &Asked, now: Timestamp) -> Result<Answer, Refusal> {
        let object = self
            .objects
            .get(&asked.key)
            .ok_or(Refusal::new(404, "NoSuchKey"))?;
        let mut headers: Vec<(&'static str, String)> = vec![
            ("etag", etag(&digest(&object.bytes))),
            ("accept-ranges", "bytes".to_owned()),
            ("last-modified", http_date(now)),
            ("content-type", "binary/octet-stream".to_owned()),
        ];
        if let Some(sha256) = object.headers.get("x-amz-meta-sha256") {
            headers.push(("x-amz-meta-sha256", sha256.clone()));
        }
        let len = object.bytes.len();
        let Some(range) = asked.header("range") else {
            let wanted = asked.header("x-amz-checksum-mode") == Some("ENABLED");
            if let Some(checksum) = object.headers.get("x-amz-checksum-sha256")
                && wanted
            {
                headers.push(("x-amz-checksum-sha256", checksum.clone()));
                headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
            }
            return Ok(Answer {
                status: 200,
                headers,
                body: object.bytes.clone(),
                head: None,
            });
        };
        let (start, end) = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .and_then(|(start, end)| Some((start.parse().ok()?, end.parse::<u64>().ok()?)))
            .ok_or(Refusal::INVALID)?;
        if start >= len {
            return Err(Refusal::new(416, "InvalidRange"));
        }
        let end = (end as usize).saturating_add(1).min(len);
        let range = format!("bytes {start}-{}/{len}", end.saturating_sub(1));
        headers.push(("content-range", range));
        Ok(Answer {
            status: 206,
            headers,
            body: object.bytes.slice(start..end.max(start)),
            head: None,
        })
    }

    fn list(&self, asked: &Asked) -> Answer {
        let given = |name: &str| asked.query.get(name).cloned();
        let most = given("max-keys").and_then(|text| text.parse().ok());
        let most = most.unwrap_or(MAX_KEYS).min(MAX_KEYS);
        // The token is the last key, as far as anybody else knows.
        let after = given("continuation-token").or_else(|| given("start-after"));
        let encoded = given("encoding-type").is_some_and(|kind| kind == "url");
        let mut matching = self.objects.iter().filter(|(key, _)| {
            key.starts_with(&asked.key) && after.as_ref().is_none_or(|after| *key > after)
        });
        let shown = |key: &str| {
            if encoded {
                url_encoded(key)
            } else {
                xml_escaped(key)
            }
        };
        let mut contents = String::new();
        let mut last = None;
        let mut count = 0;
        for (key, object) in matching.by_ref().take(most) {
            let _ = write!(
                contents,
                "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag>\
                 <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                shown(key),
                hex(&digest(&object.bytes)),
                object.bytes.len(),
            );
            last = Some(key);
            count += 1;
        }
        let more = matching.next().is_some();
        let token = last.filter(|_| more).map(|key| {
            format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                xml_escaped(key)
            )
        });
        let coding = if encoded {
            "<EncodingType>url</EncodingType>"
        } else {
            ""
        };
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{BUCKET}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys>{coding}\
             <IsTruncated>{more}</IsTruncated>{}{contents}</ListBucketResult>",
            shown(&asked.key),
            token.unwrap_or_default(),
        );
        Answer {
            headers: vec![("content-type", "application/xml".to_owned())],
            body: text.into(),
            ..Answer::default()
        }
    }
}

/// An answer to a request that was done.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// The length of the body that a HEAD does not get.
    head: Option<usize>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Bytes::new(),
            head: None,
        }
    }
}

impl Answer {
    fn response(self, method: &Method, now: Timestamp) -> Response<Outgoing> {
        let is_head = *method == Method::HEAD;
        let len = self.head.unwrap_or(self.body.len());
        let mut response = Response::new(Outgoing::new(if is_head {
            Bytes::new()
        } else {
            self.body
        }));
        *response.status_mut() = self.status.try_into().unwrap_or_default();
        let headers = response.headers_mut();
        let ours = [
            ("date", http_date(now)),
            ("server", "AmazonS3".to_owned()),
            ("x-amz-request-id", "0123456789ABCDEF".to_owned()),
            ("content-length", len.to_string()),
        ];
        for (name, value) in self.headers.into_iter().chain(ours) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// An answer to a request that was not done.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    status: u16,
    code: &'static str,
}

impl Refusal {
    const INVALID: Self = Self::new(400, "InvalidRequest");

    const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code }
    }

    fn response(self, method: &Method, now: Timestamp) -> Response<Outgoing> {
        let body = Bytes::from(error_text(self.code));
        Answer {
            status: self.status,
            headers: vec![("content-type", "application/xml".to_owned())],
            head: (*method == Method::HEAD).then_some(0),
            body,
        }
        .response(method, now)
    }
}

fn error_text(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as the test wants it</Message>\
         <RequestId>0123456789ABCDEF</RequestId></Error>"
    )
}

/// The body of an answer.
#[derive(Debug)]
struct Outgoing {
    chunks: VecDeque<Bytes>,
    left: u64,
    pause: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    fn new(bytes: Bytes) -> Self {
        Self {
            left: bytes.len() as u64,
            chunks: VecDeque::from([bytes]),
            pause: None,
            waiting: None,
        }
    }

    fn slow_down(&mut self, pause: Duration) {
        let mut all: Bytes = self.chunks.pop_front().unwrap_or_default();
        while !all.is_empty() {
            let chunk = all.split_to(all.len().min(SLOW_CHUNK_BYTES));
            self.chunks.push_back(chunk);
        }
        self.pause = Some(pause);
    }

    /// Leaves half of it out, without a word.
    fn truncate(&mut self) {
        if let Some(all) = self.chunks.front_mut() {
            all.truncate(all.len() / 2);
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(pause) = self.pause
            && !self.chunks.is_empty()
        {
            let waiting = self
                .waiting
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if waiting.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.waiting = None;
        }
        Poll::Ready(match self.chunks.pop_front() {
            Some(chunk) => {
                self.left -= chunk.len() as u64;
                Some(Ok(Frame::data(chunk)))
            }
            None if self.left > 0 => Some(Err(io::ErrorKind::ConnectionReset.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn http_date(at: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .unwrap_or_default()
}

fn etag(digest: &[u8]) -> String {
    format!("\"{}\"", &hex(digest)[..32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn xml_escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// As S3 does it in listings: a space is `+`, a slash stays.
fn url_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'-' | b'_' | b'.' | b'*' | b'/' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
