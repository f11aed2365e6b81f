//! Taking a lock that a panic elsewhere may have left behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state behind a lock. What is kept under locks here is whole between any two statements, so a task that panicked while it
/// held one does no harm to the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
