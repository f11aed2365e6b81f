//! A store in a bucket. The only file that names the library that talks to S3.
//!
//! An object is written by one request with `If-None-Match: *`, so it appears whole or not at all, and is never changed; its
//! digest lies in its metadata. Nothing is retried here: the library's own retries are off, and each failure is told by its kind.
//!
//! - **Credentials** come from where AWS's tools look for them, with the first operation. After [`Failure::Denied`] they are
//!   read anew by the next one: files, environment, instance, role.
//! - **The clock**: requests are signed by the other side's date, which every answer tells. A wrong clock here costs one failure.
//! - **Time**: a request is given up when no byte has moved for a while, not when it takes long.
//! - **Servers that do not know conditions**: once [`Store::probe`] has found this out, [`Store::put_new`] asks whether the object
//!   is there, and writes only if it is not. Two writers can then both win, and a late request can write over what is there.
//!   Who plans first and sends the same bytes again is safe all the same; the caller compares digests as with any `Exists`.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_lc_rs::digest::{Context as Hash, SHA256};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ConfigBag, Intercept, RequestChecksumCalculation, ResponseChecksumValidation,
    RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types as s3;
use aws_smithy_async::time::{SystemTimeSource, TimeSource};
use aws_smithy_types::date_time::{DateTime, Format};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::settings::{Addressing, Checksums, StorageClass};
use super::{
    Body, Conditional, Digest, Failure, Head, Listed, MAX_GET_BYTES, MAX_KEY_BYTES,
    MAX_OBJECT_BYTES, PROBE_BODIES, Page, Pending, Put, Root, S3Settings, Store, StoreError, aws,
    digest,
};

/// What the digest is called in the metadata; S3 puts `x-amz-meta-` before it.
const DIGEST_NAME: &str = "sha256";

/// What the keys of the state begin with, which never have another storage class than `STANDARD`.
const STATE_PREFIX: &str = "_state/";

/// How much of a body is read and sent at a time, in bytes.
const CHUNK_BYTES: usize = 128 * 1024;

/// How many of these wait between the file and the network, in chunks.
const QUEUED_CHUNKS: usize = 2;

/// How far the date of a request may be off before a refusal counts as the clock's fault, in milliseconds; S3 allows 15 minutes.
const SKEW_TOLERANCE_MS: i64 = 4 * 60 * 1000;

/// How many answers without any object are passed over in one page of a listing, in answers.
const MAX_EMPTY_PAGES: u32 = 100;

/// The longest text of the other side's that is told, in bytes.
const MAX_TOLD_BYTES: usize = 512;

/// A store in a bucket.
#[derive(Debug)]
pub struct S3Store {
    bucket: String,
    prefix: String,
    settings: S3Settings,
    clock: Clock,
    connection: Mutex<Connection>,
    /// Set once a probe has found that conditions are not honoured.
    unconditional: AtomicBool,
}

/// An operation under way. The library's futures are large, so they are kept out of each other.
type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// The client, and how often one was made.
#[derive(Debug, Default)]
struct Connection {
    client: Option<Client>,
    generation: u64,
}

/// A client, and which one it is.
struct Lent {
    client: Client,
    generation: u64,
    /// How far the clock was known to be off before the request, in milliseconds.
    offset_ms: i64,
}

impl S3Store {
    /// A store below `prefix` in a bucket. Asks nobody.
    pub fn new(bucket: &str, prefix: &str, settings: &S3Settings) -> Self {
        let system = SystemTimeSource::new();
        Self::with_clock(bucket, prefix, settings, move || system.now())
    }

    /// The same with a clock of the caller's in place of the system's.
    pub fn with_clock(
        bucket: &str,
        prefix: &str,
        settings: &S3Settings,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            settings: settings.clone(),
            clock: Clock {
                now: Arc::new(now),
                offset_ms: Arc::default(),
            },
            connection: Mutex::default(),
            unconditional: AtomicBool::new(false),
        }
    }

    /// The client, made if there is none.
    async fn lend(&self) -> Result<Lent, Refused> {
        let mut connection = self.connection.lock().await;
        let client = if let Some(client) = &connection.client {
            client.clone()
        } else {
            let client = self.connect().await?;
            connection.generation += 1;
            connection.client = Some(client.clone());
            client
        };
        Ok(Lent {
            client,
            generation: connection.generation,
            offset_ms: self.clock.offset_ms.load(Ordering::Relaxed),
        })
    }

    /// Reads the configuration and the credentials. Asks instance and token services where it comes to that, never the bucket.
    async fn connect(&self) -> Result<Client, Refused> {
        let settings = &self.settings;
        let loader =
            aws_config::defaults(BehaviorVersion::latest()).time_source(self.clock.clone());
        let shared = aws::load(settings, loader).await.map_err(other)?;
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            // Progress is watched here; see `watched`.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(settings.connect_timeout_seconds))
                    .disable_read_timeout()
                    .disable_operation_timeout()
                    .disable_operation_attempt_timeout()
                    .build(),
            )
            // Corrected by our own clock, which outlives a client.
            .disable_clock_skew_correction(true)
            .interceptor(Listener(self.clock.clone()))
            .force_path_style(match settings.addressing {
                Addressing::Auto => settings.endpoint.is_some(),
                Addressing::Path => true,
                Addressing::VirtualHost => false,
            });
        config = match settings.checksums {
            Checksums::WhenSupported => config
                .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
                .response_checksum_validation(ResponseChecksumValidation::WhenSupported),
            Checksums::WhenRequired => config
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired),
        };
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Client::from_conf(config.build()))
    }

    /// Runs an operation until it is done or nothing has moved for too long, and tells how it failed.
    async fn run<T>(
        &self,
        operation: &'static str,
        key: &str,
        moved: &Moved,
        work: Work<'_, T>,
    ) -> Result<T, StoreError> {
        let limit = Duration::from_secs(self.settings.request_timeout_seconds);
        let refused = match watched(limit, moved, work).await {
            Some(Ok(done)) => return Ok(done),
            Some(Err(refused)) => refused,
            None => Refused {
                kind: Failure::Unknown,
                cause: format!("nothing has moved for {} s", limit.as_secs()).into(),
            },
        };
        Err(StoreError {
            operation,
            key: key.to_owned(),
            kind: refused.kind,
            cause: Arc::from(refused.cause),
        })
    }

    /// What a failed request means. Credentials that were not taken are forgotten.
    async fn refused<E>(&self, lent: &Lent, error: SdkError<E, HttpResponse>) -> Refused
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let offset_ms = self.clock.offset_ms.load(Ordering::Relaxed);
        let skewed = (offset_ms - lent.offset_ms).abs() > SKEW_TOLERANCE_MS;
        let refused = refused(error, skewed);
        if refused.kind == Failure::Denied {
            let mut connection = self.connection.lock().await;
            if connection.generation == lent.generation {
                connection.client = None;
            }
        }
        refused
    }

    /// The key as the bucket knows it. Keys that mean something else to servers or to other stores are refused.
    fn full_key(&self, key: &str) -> Result<String, Refused> {
        let full = Root::full_key(&self.prefix, key);
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..") && !part.contains(|char: char| char.is_control())
        };
        if full.len() > MAX_KEY_BYTES || !key.split('/').all(plain) {
            return Err(Refused {
                kind: Failure::Other,
                cause: "no object can have this key".into(),
            });
        }
        Ok(full)
    }

    /// One put, with or without the condition.
    async fn put(
        &self,
        key: &str,
        body: Body,
        sha256: Digest,
        moved: &Moved,
        condition: Option<&str>,
    ) -> Result<Put, Refused> {
        let full = self.full_key(key)?;
        let Outgoing { body, len, fault } = outgoing(body, sha256, moved.clone()).await?;
        let lent = self.lend().await?;
        let settings = &self.settings;
        let tags = (!settings.tags.is_empty()).then(|| tagging(settings));
        let class = settings
            .storage_class
            .filter(|_| !key.starts_with(STATE_PREFIX))
            .map(storage_class);
        let checksum =
            (settings.checksums == Checksums::WhenSupported).then(|| BASE64.encode(sha256));
        let key_id = settings.kms_key_id.clone();
        let sent = lent
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(full)
            .set_if_none_match(condition.map(ToOwned::to_owned))
            .metadata(DIGEST_NAME, hex(&sha256))
            .set_checksum_sha256(checksum)
            .set_server_side_encryption(
                key_id.is_some().then_some(s3::ServerSideEncryption::AwsKms),
            )
            .set_ssekms_key_id(key_id)
            .set_storage_class(class)
            .set_tagging(tags)
            .content_length(len as i64)
            .body(body)
            .send()
            .await;
        let Err(error) = sent else {
            return Ok(Put::Created);
        };
        // What was wrong with our own bytes says more than that the request broke off.
        if let Some(fault) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(local(fault));
        }
        if condition.is_some() && status(&error) == Some(412) {
            return Ok(Put::Exists);
        }
        Err(self.refused(&lent, error).await)
    }

    async fn head_now(&self, key: &str) -> Result<Option<Head>, Refused> {
        let full = self.full_key(key)?;
        let lent = self.lend().await?;
        let sent = lent.client.head_object().bucket(&self.bucket).key(full);
        let found = match sent.send().await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(self.refused(&lent, error).await),
        };
        let sha256 = found.metadata().and_then(|all| all.get(DIGEST_NAME));
        Ok(Some(Head {
            len: length(found.content_length())?,
            sha256: sha256.and_then(|text| from_hex(text)),
        }))
    }

    async fn get_now(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        moved: &Moved,
    ) -> Result<Bytes, Refused> {
        let full = self.full_key(key)?;
        if range.as_ref().is_some_and(Range::is_empty) {
            return match Box::pin(self.head_now(key)).await? {
                Some(_) => Ok(Bytes::new()),
                None => Err(Refused {
                    kind: Failure::NotFound,
                    cause: "there is no such object".into(),
                }),
            };
        }
        let lent = self.lend().await?;
        let asked = range
            .as_ref()
            .map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let sent = lent
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(full)
            .set_range(asked)
            .send()
            .await;
        let mut found = match sent {
            Ok(found) => found,
            // The range begins at the end of the object, or after it.
            Err(error) if range.is_some() && status(&error) == Some(416) => return Ok(Bytes::new()),
            Err(error) => return Err(self.refused(&lent, error).await),
        };
        let len = length(found.content_length())?;
        if len > MAX_GET_BYTES {
            return Err(other(format!(
                "{len} bytes are more than the {MAX_GET_BYTES} that are read at once"
            )));
        }
        if let Some(range) = &range {
            let whole = format!("bytes {}-", range.start);
            let given = found.content_range().unwrap_or_default();
            if !given.starts_with(&whole) || len > range.end - range.start {
                return Err(other(format!("another range was answered: `{given}`")));
            }
        }
        let mut bytes = BytesMut::with_capacity(len as usize);
        while let Some(chunk) = found.body.next().await {
            let chunk = chunk.map_err(|error| Refused {
                kind: Failure::Unknown,
                cause: Box::new(error),
            })?;
            moved.moved();
            if bytes.len() as u64 + chunk.len() as u64 > len {
                return Err(other("more bytes came than were announced"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != len {
            return Err(Refused {
                kind: Failure::Unknown,
                cause: format!("{} of {len} bytes came", bytes.len()).into(),
            });
        }
        let sha256 = found.metadata.as_ref().and_then(|all| all.get(DIGEST_NAME));
        if range.is_none()
            && let Some(expected) = sha256.and_then(|text| from_hex(text))
            && expected != digest(&bytes)
        {
            return Err(other("the bytes that came do not have the object's digest"));
        }
        Ok(bytes.freeze())
    }

    async fn list_now(
        &self,
        prefix: &str,
        after: Option<&str>,
        moved: &Moved,
    ) -> Result<Page, Refused> {
        let below = Root::full_key(&self.prefix, "");
        let lent = self.lend().await?;
        let mut token = None;
        for _ in 0..MAX_EMPTY_PAGES {
            let sent = lent
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{below}{prefix}"))
                .set_start_after(after.map(|after| format!("{below}{after}")))
                .set_continuation_token(token.take())
                // Keys of others may hold what XML cannot.
                .encoding_type(s3::EncodingType::Url)
                .send()
                .await;
            let found = match sent {
                Ok(found) => found,
                Err(error) => return Err(self.refused(&lent, error).await),
            };
            moved.moved();
            let encoded = found.encoding_type() == Some(&s3::EncodingType::Url);
            let mut page = Page {
                objects: Vec::with_capacity(found.contents().len()),
                more: found.is_truncated() == Some(true),
            };
            for object in found.contents() {
                let key = object.key().unwrap_or_default();
                let key = if encoded {
                    decoded(key).ok_or_else(|| other(format!("a key is not UTF-8: {key}")))?
                } else {
                    key.to_owned()
                };
                let Some(key) = key.strip_prefix(&below) else {
                    return Err(other(format!("a key of another prefix was listed: {key}")));
                };
                page.objects.push(Listed {
                    key: key.to_owned(),
                    len: length(object.size())?,
                });
            }
            if !page.objects.is_empty() || !page.more {
                return Ok(page);
            }
            token = found.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        Err(other("a listing went on without any object"))
    }
}

impl Store for S3Store {
    fn put_new<'a>(&'a self, key: &'a str, body: Body, sha256: Digest) -> Pending<'a, Put> {
        Box::pin(async move {
            let moved = Moved::default();
            let work = async {
                if !self.unconditional.load(Ordering::Relaxed) {
                    return Box::pin(self.put(key, body, sha256, &moved, Some("*"))).await;
                }
                if Box::pin(self.head_now(key)).await?.is_some() {
                    return Ok(Put::Exists);
                }
                moved.moved();
                Box::pin(self.put(key, body, sha256, &moved, None)).await
            };
            self.run("put", key, &moved, Box::pin(work)).await
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Head>> {
        Box::pin(async move {
            let moved = Moved::default();
            let work = Box::pin(self.head_now(key));
            self.run("head", key, &moved, work).await
        })
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Bytes> {
        Box::pin(async move {
            let moved = Moved::default();
            let work = Box::pin(self.get_now(key, range, &moved));
            self.run("get", key, &moved, work).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page> {
        Box::pin(async move {
            let moved = Moved::default();
            let work = Box::pin(self.list_now(prefix, after, &moved));
            self.run("list", prefix, &moved, work).await
        })
    }

    fn probe<'a>(&'a self, key: &'a str) -> Pending<'a, Conditional> {
        Box::pin(async move {
            let moved = Moved::default();
            let work = async {
                for body in PROBE_BODIES {
                    let bytes = Bytes::from_static(body);
                    let sha256 = digest(&bytes);
                    let put = self.put(key, Body::Bytes(bytes), sha256, &moved, Some("*"));
                    match Box::pin(put).await {
                        Ok(Put::Created) => moved.moved(),
                        Ok(Put::Exists) => return Ok(Conditional::Honoured),
                        Err(refused) if refused.is_not_implemented() => break,
                        Err(refused) => return Err(refused),
                    }
                }
                Ok(Conditional::Ignored)
            };
            let found = self.run("probe", key, &moved, Box::pin(work)).await?;
            self.unconditional
                .store(found == Conditional::Ignored, Ordering::Relaxed);
            Ok(found)
        })
    }

    fn root(&self) -> String {
        Root::S3 {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
        }
        .to_string()
    }
}

/// The time by which requests are signed: the caller's clock, put right by what the other side says.
#[derive(Clone)]
struct Clock {
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// How far the other side's clock is ahead of ours, in milliseconds.
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Learns from the date of an answer that has just come. It is exact to a second and to the time the answer took.
    fn learn(&self, date: SystemTime) {
        let now = (self.now)();
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let offset = match date.duration_since(now) {
            Ok(ahead) => ms(ahead),
            Err(error) => -ms(error.duration()),
        };
        self.offset_ms.store(offset, Ordering::Relaxed);
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let now = (self.now)();
        let offset = self.offset_ms.load(Ordering::Relaxed);
        let by = Duration::from_millis(offset.unsigned_abs());
        let corrected = if offset < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        corrected.unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("offset_ms", &self.offset_ms)
            .finish_non_exhaustive()
    }
}

/// Listens to the date of every answer. (That an error may come with a status of success is known to the library.)
#[derive(Debug)]
struct Listener(Clock);

impl Intercept for Listener {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // What comes from a cache has an old date.
        let date = headers
            .get("date")
            .filter(|_| headers.get("age").is_none())
            .and_then(|text| DateTime::from_str(text, Format::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        if let Some(date) = date {
            self.0.learn(date);
        }
        Ok(())
    }
}

/// Why an operation failed, before it is said of what.
struct Refused {
    kind: Failure,
    cause: Box<dyn Error + Send + Sync>,
}

impl Refused {
    /// Whether the other side says that it cannot do what a header asks for.
    fn is_not_implemented(&self) -> bool {
        let told = self.cause.downcast_ref::<Told>();
        told.is_some_and(|told| told.status == 501)
    }
}

/// What the other side said.
#[derive(Debug, thiserror::Error)]
#[error("{status} {code}{}{message}{}{request}", sep(.message, ": "), sep(.request, ", request "))]
struct Told {
    status: u16,
    code: String,
    message: String,
    request: String,
}

/// What stands before a text, if there is one.
fn sep<'a>(text: &str, separator: &'a str) -> &'a str {
    if text.is_empty() { "" } else { separator }
}

fn other(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Refused {
    Refused {
        kind: Failure::Other,
        cause: cause.into(),
    }
}

/// What is wrong with a file of ours.
fn local(error: io::Error) -> Refused {
    other(error)
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    Some(error.raw_response()?.status().as_u16())
}

/// What a failed request means. `skewed` says that it was signed with a wrong date.
fn refused<E>(error: SdkError<E, HttpResponse>, skewed: bool) -> Refused
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Some(response) = error.raw_response() else {
        let kind = if aws::of_credentials(&error) {
            Failure::Denied
        } else {
            match &error {
                SdkError::ConstructionFailure(_) => Failure::Other,
                _ => Failure::Unknown,
            }
        };
        return Refused {
            kind,
            cause: without_shell(error),
        };
    };
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    let service = error.as_service_error();
    let code = service
        .and_then(ProvideErrorMetadata::code)
        .map(ToOwned::to_owned)
        .or_else(|| error_code(body));
    let message = service
        .and_then(ProvideErrorMetadata::message)
        .unwrap_or_default();
    if service.is_none() && code.is_none() {
        // The answer broke off, or is none.
        return Refused {
            kind: Failure::Unknown,
            cause: without_shell(error),
        };
    }
    let request = response.headers().get("x-amz-request-id");
    Refused {
        kind: classify(status, code.as_deref(), skewed),
        cause: Box::new(Told {
            status,
            code: told(code.as_deref().unwrap_or("without a reason")),
            message: told(message),
            request: told(request.unwrap_or_default()),
        }),
    }
}

/// The error within the library's own, which says nothing itself.
fn without_shell<E>(error: SdkError<E, HttpResponse>) -> Box<dyn Error + Send + Sync>
where
    E: Error + Send + Sync + 'static,
{
    match error.into_source() {
        Ok(source) => source,
        Err(error) => Box::new(io::Error::other(error.to_string())),
    }
}

/// The kind of a refusal, by its code where there is one; answers to HEAD have none.
fn classify(status: u16, code: Option<&str>, skewed: bool) -> Failure {
    match code.unwrap_or_default() {
        "NoSuchKey" | "NoSuchBucket" => return Failure::NotFound,
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => return Failure::Skewed,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "ServiceUnavailable"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => return Failure::Throttled,
        // Another request for the same key is under way: perhaps an earlier one of ours.
        "ConditionalRequestConflict" | "OperationAborted" | "RequestTimeout" => {
            return Failure::Unknown;
        }
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" => return Failure::Full,
        "AccessDenied"
        | "AccessDeniedException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "AuthFailure"
            if skewed =>
        {
            return Failure::Skewed;
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "SignatureDoesNotMatch"
        | "InvalidSecurity" => {
            return Failure::Denied;
        }
        _ => {}
    }
    match status {
        401 | 403 if skewed && code.is_none() => Failure::Skewed,
        401 | 403 => Failure::Denied,
        // Expired credentials are told by 400, and the answer to HEAD has no room for the code.
        400 if code.is_none() => Failure::Denied,
        404 => Failure::NotFound,
        408 | 409 | 504 => Failure::Unknown,
        429 | 503 => Failure::Throttled,
        507 => Failure::Full,
        _ => Failure::Other,
    }
}

/// The code in the XML of an error; none if it is no such text.
fn error_code(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, error) = text.split_once("<Error>")?;
    let (_, code) = error.split_once("<Code>")?;
    let (code, _) = code.split_once("</Code>")?;
    Some(code.trim().to_owned())
}

/// A text of the other side's, fit for one line.
fn told(text: &str) -> String {
    let mut told = String::new();
    for char in text.chars() {
        if told.len() + char.len_utf8() > MAX_TOLD_BYTES {
            break;
        }
        told.push(if char.is_control() { ' ' } else { char });
    }
    told
}

/// Counts what moves, so that who waits can see whether it still does.
#[derive(Debug, Clone, Default)]
struct Moved(Arc<AtomicU64>);

impl Moved {
    fn moved(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits for as long as something moves at least once in every `limit`; `None` if it has stopped.
async fn watched<T>(limit: Duration, moved: &Moved, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let before = moved.count();
        match timeout(limit, &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if moved.count() != before => {}
            Err(_) => return None,
        }
    }
}

/// A body on its way, and what went wrong with it on this side.
struct Outgoing {
    body: ByteStream,
    len: u64,
    fault: Fault,
}

type Fault = Arc<Lock<Option<io::Error>>>;

/// Makes a body of what is to be sent. Bytes that do not have the digest are never sent to their end, so no object comes of them.
async fn outgoing(body: Body, sha256: Digest, moved: Moved) -> Result<Outgoing, Refused> {
    let fault = Fault::default();
    let (len, from) = match body {
        Body::Bytes(bytes) => {
            if digest(&bytes) != sha256 {
                return Err(local(not_those()));
            }
            (bytes.len() as u64, Source::Memory(bytes))
        }
        Body::File { path, len } => {
            let (first, rest) = mpsc::channel(QUEUED_CHUNKS);
            let shared = Arc::clone(&fault);
            let opened = tokio::task::spawn_blocking(move || open(&path))
                .await
                .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
                .map_err(local)?;
            if len == 0 {
                // Nobody asks an empty body for its bytes.
                check_empty(opened, &sha256).map_err(local)?;
                (0, Source::Memory(Bytes::new()))
            } else {
                // Ends with the file, or when nobody takes what it reads.
                tokio::task::spawn_blocking(move || read(opened, len, &sha256, &first, &shared));
                (len, Source::File(rest))
            }
        }
    };
    if len > MAX_OBJECT_BYTES {
        return Err(other(format!(
            "{len} bytes are more than the {MAX_OBJECT_BYTES} of one object"
        )));
    }
    let body = Feed {
        left: len,
        from,
        moved,
    };
    Ok(Outgoing {
        body: ByteStream::new(SdkBody::from_body_1_x(body)),
        len,
        fault,
    })
}

fn open(path: &Path) -> io::Result<File> {
    File::open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn check_empty(mut file: File, sha256: &Digest) -> io::Result<()> {
    if file.read(&mut [0])? == 0 && digest(&[]) == *sha256 {
        Ok(())
    } else {
        Err(not_those())
    }
}

fn not_those() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the bytes to be written are not those of the length and digest given",
    )
}

/// Reads a file into the channel. The last chunk goes only when all have been seen to be right.
fn read(
    mut file: File,
    len: u64,
    sha256: &Digest,
    to: &mpsc::Sender<io::Result<Bytes>>,
    fault: &Lock<Option<io::Error>>,
) {
    let mut hash = Hash::new(&SHA256);
    let mut left = len;
    let mut chunk = || -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(left.min(CHUNK_BYTES as u64) as usize);
        file.read_exact(&mut bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                not_those()
            } else {
                error
            }
        })?;
        hash.update(&bytes);
        left -= bytes.len() as u64;
        if left == 0
            && (file.read(&mut [0])? != 0 || hash.clone().finish().as_ref() != sha256.as_slice())
        {
            return Err(not_those());
        }
        Ok(bytes.freeze())
    };
    for _ in 0..len.div_ceil(CHUNK_BYTES as u64) {
        let sent = match chunk() {
            Ok(bytes) => to.blocking_send(Ok(bytes)),
            Err(error) => {
                let kind = error.kind();
                *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // The body ends with it.
                let _ = to.blocking_send(Err(kind.into()));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The bytes of a body, as the connection asks for them.
struct Feed {
    left: u64,
    from: Source,
    moved: Moved,
}

enum Source {
    Memory(Bytes),
    File(mpsc::Receiver<io::Result<Bytes>>),
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.from {
            Source::Memory(bytes) if bytes.is_empty() => None,
            Source::Memory(bytes) => Some(Ok(bytes.split_to(bytes.len().min(CHUNK_BYTES)))),
            Source::File(chunks) => match chunks.poll_recv(context) {
                Poll::Ready(next) => next,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.moved.moved();
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                self.left -= bytes.len() as u64;
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
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

fn length(len: Option<i64>) -> Result<u64, Refused> {
    len.and_then(|len| u64::try_from(len).ok())
        .ok_or_else(|| other("the answer has no length"))
}

fn storage_class(class: StorageClass) -> s3::StorageClass {
    match class {
        StorageClass::Standard => s3::StorageClass::Standard,
        StorageClass::StandardIa => s3::StorageClass::StandardIa,
        StorageClass::OnezoneIa => s3::StorageClass::OnezoneIa,
        StorageClass::IntelligentTiering => s3::StorageClass::IntelligentTiering,
        StorageClass::GlacierIr => s3::StorageClass::GlacierIr,
    }
}

/// The tags as a header carries them.
fn tagging(settings: &S3Settings) -> String {
    let mut text = String::new();
    for (name, value) in &settings.tags {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

fn encode(plain: &str, to: &mut String) {
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// A key of a listing without its encoding, in which a space is `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
                rest = after;
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals_are_told_by_their_kind() {
        use Failure::{Denied, Full, NotFound, Other, Skewed, Throttled, Unknown};
        for (status, code, kind) in [
            (404, Some("NoSuchKey"), NotFound),
            (404, Some("NoSuchBucket"), NotFound),
            (404, None, NotFound),
            (400, Some("ExpiredToken"), Denied),
            (403, Some("InvalidAccessKeyId"), Denied),
            (403, Some("SignatureDoesNotMatch"), Denied),
            (403, Some("AccessDenied"), Denied),
            (403, None, Denied),
            (400, None, Denied),
            (400, Some("InvalidArgument"), Other),
            (400, Some("BadDigest"), Other),
            (403, Some("RequestTimeTooSkewed"), Skewed),
            (503, Some("SlowDown"), Throttled),
            (503, Some("ServiceUnavailable"), Throttled),
            (503, None, Throttled),
            (429, None, Throttled),
            (200, Some("SlowDown"), Throttled),
            (200, Some("InternalError"), Other),
            (409, Some("ConditionalRequestConflict"), Unknown),
            (400, Some("RequestTimeout"), Unknown),
            (504, None, Unknown),
            (500, Some("InternalError"), Other),
            (501, Some("NotImplemented"), Other),
            (301, Some("PermanentRedirect"), Other),
            (507, None, Full),
            (403, Some("QuotaExceeded"), Full),
        ] {
            assert_eq!(classify(status, code, false), kind, "{status} {code:?}");
        }
        for (status, code, kind) in [
            (403, None, Skewed),
            (403, Some("SignatureDoesNotMatch"), Skewed),
            (403, Some("InvalidAccessKeyId"), Denied),
            (400, Some("ExpiredToken"), Denied),
            (503, Some("SlowDown"), Throttled),
        ] {
            assert_eq!(classify(status, code, true), kind, "{status} {code:?}");
        }
    }

    #[test]
    fn the_clock_follows_the_other_side_either_way() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let clock = Clock {
            now: Arc::new(move || at(10_000)),
            offset_ms: Arc::default(),
        };
        for date in [10_000, 17_200, 2_800, 0] {
            clock.learn(at(date));
            assert_eq!(clock.now(), at(date));
        }
    }

    #[test]
    fn tags_are_written_as_a_query_is() {
        let settings: S3Settings =
            serde_json::from_str(r#"{"tags": {"team": "a b&c=d", "é": ""}}"#).unwrap();
        assert_eq!(tagging(&settings), "team=a%20b%26c%3Dd&%C3%A9=");
    }

    #[test]
    fn an_error_is_found_in_its_text_only() {
        let code = |text: &str| error_code(text.as_bytes());
        assert_eq!(
            code(
                "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>x</Message></Error>"
            ),
            Some("SlowDown".to_owned())
        );
        assert_eq!(code("<Code>SlowDown</Code>"), None);
        assert_eq!(code("<ListBucketResult></ListBucketResult>"), None);
        assert_eq!(code(""), None);
        assert_eq!(error_code(&[0xFF]), None);
    }

    proptest! {
        #[test]
        fn a_digest_is_read_as_it_was_written(digest: Digest) {
            prop_assert_eq!(from_hex(&hex(&digest)), Some(digest));
        }

        #[test]
        fn no_text_of_others_panics(text in ".{0,80}", hexadecimal in "[0-9a-fé]{62,66}") {
            let _ = (decoded(&text), from_hex(&hexadecimal), error_code(text.as_bytes()));
            prop_assert!(told(&text.repeat(100)).len() <= MAX_TOLD_BYTES);
        }

        #[test]
        fn a_key_is_decoded_as_it_was_encoded(key in "\\PC{0,40}") {
            let mut encoded = String::new();
            encode(&key, &mut encoded);
            prop_assert_eq!(decoded(&encoded), Some(key));
        }
    }
}
