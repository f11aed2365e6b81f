//! Where objects lie: a bucket or a directory. A trait, since tests wrap it with faults.
//!
//! Owns what every store promises, and how one is opened. Nothing here retries: who knows what is at stake does.

pub mod aws;
pub mod dir;
pub mod s3;
pub mod settings;
pub mod url;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use settings::{S3Settings, SettingsError};
pub use url::{Root, RootError};

/// The longest key of an object with its root's prefix, in bytes: what S3 allows.
pub const MAX_KEY_BYTES: usize = 1024;

/// The largest object that can be written, in bytes: what S3 takes in one request. Objects are meant to be much smaller.
pub const MAX_OBJECT_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// The most that one [`Store::get`] returns, in bytes. What is larger is read in ranges.
pub const MAX_GET_BYTES: u64 = 256 * 1024 * 1024;

/// What the keys of probes begin with.
pub const PROBE_PREFIX: &str = "_state/v1/probe/";

/// What a probe writes. The second never gets there where conditions are honoured.
const PROBE_BODIES: [&[u8]; 2] = [b"conditional put: first\n", b"conditional put: second\n"];

/// What an operation of a [`Store`] returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The bytes of an object to be.
#[derive(Debug, Clone)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
    /// A whole file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
}

/// SHA-256 of an object's bytes.
pub type Digest = [u8; 32];

/// What a conditional put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Put {
    /// The object is there now, written by this call.
    Created,
    /// There was an object of this key before; nothing was written. Whether it is the same one, [`Store::head`] tells.
    Exists,
}

/// Whether the other side does what a conditional put asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conditional {
    /// An object that is there is never written over.
    Honoured,
    /// The condition is passed over, or refused: two writers of one key can both win. [`Store::put_new`] looks before it writes,
    /// which leaves a gap between the two; writers have to keep their keys apart by other means.
    Ignored,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes.
    pub len: u64,
    /// The digest that its writer stored with it; none if the object is not ours.
    pub sha256: Option<Digest>,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key, below the store's root.
    pub key: String,
    /// Its length in bytes.
    pub len: u64,
}

/// Part of a listing, in the order of the keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Whether there are more: the next page begins after the last of these.
    pub more: bool,
}

/// Why an operation failed. Who retries decides by the kind alone.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} {key}")]
pub struct StoreError {
    /// What was tried: `put`, `head`, `get`, `list`.
    pub operation: &'static str,
    /// On what: a key or a prefix.
    pub key: String,
    /// What kind of failure it is.
    pub kind: Failure,
    /// What the other side, or the system, said.
    #[source]
    pub cause: Arc<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An operation on a key, or a prefix, that failed.
    pub fn new(
        operation: &'static str,
        key: &str,
        kind: Failure,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            operation,
            key: key.to_owned(),
            kind,
            cause: Arc::new(cause),
        }
    }
}

/// The kinds of failure of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The object or the bucket is not there.
    NotFound,
    /// The credentials are missing, expired or not allowed: read them anew, and tell the operator.
    Denied,
    /// The other side asks for less.
    Throttled,
    /// The clock differs too much from the other side's.
    Skewed,
    /// The disk is full.
    Full,
    /// No answer in time, or a broken connection: what was asked for may have happened.
    Unknown,
    /// The other side, or the system, failed.
    Other,
}

/// A place for objects. Keys are below the store's root, with `/` between their parts; they are never changed once written.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Writes an object if there is none of this key yet. The digest is stored with it; bytes that do not have it are refused.
    /// When this returns, whatever it says of the object holds after a crash, too.
    fn put_new<'a>(&'a self, key: &'a str, body: Body, sha256: Digest) -> Pending<'a, Put>;

    /// What is known of an object; `None` if there is none.
    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Head>>;

    /// The bytes of an object, or of a range of it, which is cut at the object's end: nothing is left of one beyond it. At most
    /// [`MAX_GET_BYTES`]; an object that is not there is [`Failure::NotFound`].
    fn get<'a>(&'a self, key: &'a str, range: Option<std::ops::Range<u64>>) -> Pending<'a, Bytes>;

    /// The objects whose keys begin with `prefix` and come after `after`, a page of them. A root that is not there is
    /// [`Failure::NotFound`].
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page>;

    /// Tells whether conditional puts are honoured, by writing two different objects to `key`, which is to be below
    /// [`PROBE_PREFIX`]. The first one stays there, so that the next probe of the same key writes nothing.
    fn probe<'a>(&'a self, key: &'a str) -> Pending<'a, Conditional> {
        Box::pin(async move {
            for body in PROBE_BODIES {
                let bytes = Bytes::from_static(body);
                let sha256 = digest(&bytes);
                if self.put_new(key, Body::Bytes(bytes), sha256).await? == Put::Exists {
                    return Ok(Conditional::Honoured);
                }
            }
            Ok(Conditional::Ignored)
        })
    }

    /// The root, as a person would write it.
    fn root(&self) -> String;
}

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

/// The store at `root`. Asks nobody: that a bucket cannot be reached is seen by the first operation, which can be tried again.
/// Wants to be used within a tokio runtime with time and I/O.
pub fn open(root: &Root, settings: &S3Settings) -> Result<Arc<dyn Store>, SettingsError> {
    settings.check()?;
    match root {
        Root::Dir(path) => Ok(Arc::new(dir::DirStore::new(path))),
        Root::S3 { bucket, prefix } => Ok(Arc::new(s3::S3Store::new(bucket, prefix, settings))),
    }
}
