//! Objects out of the archive, a few at a time, each checked against the digest that its writer stored with it.
//!
//! For those who read much of an archive: the audit and the recovery. They get the objects as they come, not in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use archive::listing::{ListError, LogObject};
use archive::store::{Failure, MAX_GET_BYTES, digest};
use archive::{Store, StoreError};
use bytes::{Bytes, BytesMut};

use crate::upload;

/// How many objects are fetched at once, at most, in objects.
pub const MAX_FETCHES: usize = 16;

/// How many bytes of objects are fetched at once, at most; a single object may be larger.
pub const MAX_FETCH_BYTES: u64 = 128 << 20;

/// The largest object that is read, in bytes: it has to be in memory as a whole. Ours are much smaller.
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// How often something is tried that failed in a way that may pass, in attempts.
pub const MAX_ATTEMPTS: u32 = 6;

/// Why there are no bytes of an object.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unfetched {
    /// It was listed and is not there.
    #[error("it is not there any more")]
    Missing,
    /// It is larger than [`MAX_OBJECT_BYTES`].
    #[error("its {len} bytes are more than the {MAX_OBJECT_BYTES} that can be read")]
    TooLarge {
        /// Its length in bytes.
        len: u64,
    },
    /// Its bytes are not those that its writer took the digest of.
    #[error("its sha256 is not the one that was stored with it")]
    WrongDigest,
    /// The store failed, more than once.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer<'s> = Pin<Box<dyn Future<Output = Result<Bytes, Unfetched>> + Send + 's>>;

/// Fetches objects.
pub struct Fetcher<'s> {
    store: &'s dyn Store,
    waiting: VecDeque<LogObject>,
    running: Vec<(LogObject, Answer<'s>)>,
    running_bytes: u64,
}

impl std::fmt::Debug for Fetcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("waiting", &self.waiting.len())
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl<'s> Fetcher<'s> {
    /// Fetches these objects.
    pub fn new(store: &'s dyn Store, objects: impl IntoIterator<Item = LogObject>) -> Self {
        Self {
            store,
            waiting: objects.into_iter().collect(),
            running: Vec::new(),
            running_bytes: 0,
        }
    }

    /// The next object that is there, or why it is not; `None` after all of them.
    pub async fn next(&mut self) -> Option<(LogObject, Result<Bytes, Unfetched>)> {
        while let Some(object) = self.waiting.front() {
            let has_room = self.running.is_empty()
                || self.running_bytes.saturating_add(object.len) <= MAX_FETCH_BYTES;
            if self.running.len() >= MAX_FETCHES || !has_room {
                break;
            }
            self.running_bytes = self.running_bytes.saturating_add(object.len);
            let key = object.key.to_string();
            let answer: Answer<'s> = Box::pin(fetch(self.store, key));
            self.running
                .extend(self.waiting.pop_front().map(|object| (object, answer)));
        }
        if self.running.is_empty() {
            return None;
        }
        let running = &mut self.running;
        let (at, answer) = poll_fn(|context| {
            for (at, (_, answer)) in running.iter_mut().enumerate() {
                if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                    return Poll::Ready((at, answer));
                }
            }
            Poll::Pending
        })
        .await;
        let (object, _) = self.running.remove(at);
        self.running_bytes = self.running_bytes.saturating_sub(object.len);
        Some((object, answer))
    }
}

async fn fetch(store: &dyn Store, key: String) -> Result<Bytes, Unfetched> {
    let head = again(|| store.head(&key), may_pass)
        .await?
        .ok_or(Unfetched::Missing)?;
    if head.len > MAX_OBJECT_BYTES {
        return Err(Unfetched::TooLarge { len: head.len });
    }
    let bytes = match get(store, &key, head.len).await {
        Err(error) if error.kind == Failure::NotFound => return Err(Unfetched::Missing),
        bytes => bytes?,
    };
    match head.sha256 {
        Some(sha256) if digest(&bytes) != sha256 => Err(Unfetched::WrongDigest),
        _ => Ok(bytes),
    }
}

async fn get(store: &dyn Store, key: &str, len: u64) -> Result<Bytes, StoreError> {
    if len <= MAX_GET_BYTES {
        return again(|| store.get(key, None), may_pass).await;
    }
    let mut whole = BytesMut::with_capacity(len as usize);
    while (whole.len() as u64) < len {
        let from = whole.len() as u64;
        let to = len.min(from + MAX_GET_BYTES);
        let part = again(|| store.get(key, Some(from..to)), may_pass).await?;
        if part.is_empty() {
            break;
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

/// Whether a failure of a store may pass by itself.
pub fn may_pass(error: &StoreError) -> bool {
    match error.kind {
        Failure::Throttled | Failure::Unknown | Failure::Other => true,
        Failure::NotFound | Failure::Denied | Failure::Skewed | Failure::Full => false,
    }
}

/// Whether a failure to list may pass by itself.
pub fn listing_may_pass(error: &ListError) -> bool {
    matches!(error, ListError::Store(error) if may_pass(error))
}

/// Tries something [`MAX_ATTEMPTS`] times, with growing pauses between, while its failures may pass.
pub async fn again<T, E, F>(
    mut attempt: impl FnMut() -> F,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut failures = 0;
    loop {
        match attempt().await {
            Err(error) if may_pass(&error) && failures + 1 < MAX_ATTEMPTS => {
                failures += 1;
                tokio::time::sleep(upload::pause(failures, u64::from(failures) * 389)).await;
            }
            answer => return answer,
        }
    }
}
