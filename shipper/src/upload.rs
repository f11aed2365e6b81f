//! A planned object into the archive: on condition that there is none of its key, and again until it is there.

use std::path::Path;
use std::time::Duration;

use archive::Store;
use archive::store::{Body, Failure, Put, StoreError};

use crate::state::Planned;

/// The first pause after a failure. Each further one doubles it.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause after a failure.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// In the archive, with our bytes.
    Done,
    /// There is another object under its key.
    Conflict {
        /// The key.
        key: String,
    },
}

/// Tries once to put an object. What a failed attempt left is found by the next: the bytes are the same.
pub async fn put_once(
    store: &dyn Store,
    planned: &Planned,
    staged: &Path,
) -> Result<Uploaded, StoreError> {
    let body = Body::File {
        path: staged.to_owned(),
        len: planned.len,
    };
    match store.put_new(&planned.key, body, planned.sha256).await? {
        Put::Created => Ok(Uploaded::Done),
        Put::Exists => {
            let Some(head) = store.head(&planned.key).await? else {
                let gone = std::io::Error::other("it was there and is not");
                return Err(StoreError::new("head", &planned.key, Failure::Other, gone));
            };
            Ok(if head.sha256 == Some(planned.sha256) {
                Uploaded::Done
            } else {
                Uploaded::Conflict {
                    key: planned.key.clone(),
                }
            })
        }
    }
}

/// The pause before the attempt after `failures` failed ones: doubled each time, between half of that and all of it by the
/// random number, so that hosts do not come back together.
pub fn pause(failures: u32, random: u64) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE);
    let half = full / 2;
    half + half.mul_f64((random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        assert!(pause(1, 0) >= FIRST_PAUSE / 2);
        assert!(pause(1, 1023) <= FIRST_PAUSE);
        assert!(pause(40, 1023) <= LONGEST_PAUSE);
        assert!(pause(40, 0) >= LONGEST_PAUSE / 2);
        assert_ne!(pause(9, 1), pause(9, 500));
    }
}
