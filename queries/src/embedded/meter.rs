//! What a run reads, as it reads: one account that all readers of a run write to.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The account of a run.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    expected: AtomicU64,
    requests: AtomicU64,
    damaged: AtomicU64,
    objects: Mutex<HashSet<String>>,
}

impl Meter {
    /// A request was made.
    pub(super) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of an object were read.
    pub(super) fn read(&self, key: &str, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if !objects.contains(key) {
            objects.insert(key.to_owned());
        }
    }

    /// A scan may read so many bytes more.
    pub(super) fn expects(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lines could not be read.
    pub(super) fn damaged(&self, lines: u64) {
        self.damaged.fetch_add(lines, Ordering::Relaxed);
    }

    /// Bytes read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all objects that are scanned.
    pub(super) fn bytes_expected(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// Requests made.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Lines that could not be read.
    pub(super) fn damaged_rows(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Objects of which something was read.
    pub(super) fn objects(&self) -> u64 {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.len() as u64
    }
}
