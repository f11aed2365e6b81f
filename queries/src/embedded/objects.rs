//! The archive's store, metered, and as the Parquet reader wants it: the one way to the objects' bytes.
//!
//! Only what readers need is there. Nothing is ever written, and listings go through `archive::listing`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use archive::store::{Body, Conditional, Digest, Failure, Head, MAX_GET_BYTES, Page, Pending, Put};
use archive::{Store, StoreError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};

use super::meter::Meter;

/// Ranges of an object that are less than so many bytes apart are read in one request: a request costs more than the bytes between.
const COALESCE_BYTES: u64 = 64 << 10;

/// The name of this kind of store in errors.
const NAME: &str = "archive";

/// A store whose reads are counted.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    store: Arc<dyn Store>,
    meter: Arc<Meter>,
}

impl Objects {
    pub(super) fn new(store: Arc<dyn Store>, meter: Arc<Meter>) -> Self {
        Self { store, meter }
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// A range of an object, however long.
    async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.end.saturating_sub(range.start) <= MAX_GET_BYTES {
            return self.get(key, Some(range)).await;
        }
        let mut whole = BytesMut::new();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + MAX_GET_BYTES);
            let part = self.get(key, Some(start..end)).await?;
            if part.is_empty() {
                break;
            }
            start += part.len() as u64;
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}

impl Store for Objects {
    fn put_new<'a>(&'a self, key: &'a str, body: Body, sha256: Digest) -> Pending<'a, Put> {
        self.store.put_new(key, body, sha256)
    }

    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Head>> {
        self.meter.requested();
        self.store.head(key)
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Bytes> {
        Box::pin(async move {
            self.meter.requested();
            let bytes = self.store.get(key, range).await?;
            self.meter.read(key, bytes.len());
            Ok(bytes)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page> {
        self.meter.requested();
        self.store.list(prefix, after)
    }

    fn probe<'a>(&'a self, key: &'a str) -> Pending<'a, Conditional> {
        self.store.probe(key)
    }

    fn root(&self) -> String {
        self.store.root()
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.store.root())
    }
}

/// What the Parquet reader sees. It finds the objects' lengths in the plan, so that nobody asks for them.
#[async_trait]
impl ObjectStore for Objects {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult, Error> {
        let key = location.as_ref();
        let wanted = match options.range {
            Some(GetRange::Bounded(range)) if !options.head => range,
            other => {
                let head = self.head(key).await.map_err(generic)?;
                let Some(head) = head else {
                    return Err(generic(StoreError::new(
                        "head",
                        key,
                        Failure::NotFound,
                        std::io::Error::from(std::io::ErrorKind::NotFound),
                    )));
                };
                match other {
                    None => 0..head.len,
                    Some(GetRange::Bounded(range)) => range.start..range.end.min(head.len),
                    Some(GetRange::Offset(start)) => start.min(head.len)..head.len,
                    Some(GetRange::Suffix(len)) => head.len.saturating_sub(len)..head.len,
                }
            }
        };
        let bytes = if options.head {
            Bytes::new()
        } else {
            self.range(key, wanted.clone()).await.map_err(generic)?
        };
        let range = wanted.start..wanted.start + bytes.len() as u64;
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
            meta: meta(location.clone(), wanted.end),
            range,
            attributes: Attributes::new(),
        })
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        let key = location.as_ref();
        object_store::coalesce_ranges(
            ranges,
            |range| async move { self.range(key, range).await.map_err(generic) },
            COALESCE_BYTES,
        )
        .await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult, Error> {
        Err(read_only())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>, Error> {
        Err(read_only())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path, Error>>,
    ) -> BoxStream<'static, Result<Path, Error>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta, Error>> {
        stream::once(async { Err(read_only()) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult, Error> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<(), Error> {
        Err(read_only())
    }
}

/// What is known of an object from a listing. When it was written plays no part.
#[expect(
    clippy::default_trait_access,
    reason = "the type is of a crate that nothing else of ours needs"
)]
pub(super) fn meta(location: Path, size: u64) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: Default::default(),
        size,
        e_tag: None,
        version: None,
    }
}

fn generic(error: StoreError) -> Error {
    Error::Generic {
        store: NAME,
        source: Box::new(error),
    }
}

fn read_only() -> Error {
    Error::NotSupported {
        source: "the archive is only read, by key".into(),
    }
}
