//! How long to wait before the next attempt, and which failures of a store pass by themselves.
//!
//! Owns pauses that grow and differ. Randomness comes from the caller, and so does time, so that tests need not wait.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use archive::StoreError;
use archive::listing::ListError;
use archive::store::Failure;

/// How often something of the store's is tried, in attempts.
pub const MAX_STORE_ATTEMPTS: u32 = 6;

/// The pauses between attempts at a store.
pub const STORE_PAUSES: Pauses = Pauses {
    first: Duration::from_millis(200),
    factor: 2.0,
    longest: Duration::from_secs(5),
};

/// The largest part of a pause that chance takes away, in quarters of it.
const JITTER_QUARTERS: u32 = 1;

/// Time and chance, from the caller: what is waited for, and by what pauses differ.
#[derive(Clone)]
pub struct Outside {
    random: Arc<Mutex<Box<dyn FnMut() -> u64 + Send>>>,
    clock: Clock,
}

#[derive(Clone)]
enum Clock {
    /// As time passes, since this was made.
    Real(Instant),
    /// Time passes only by waiting, which takes none: for tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests make it"))]
    Waited(Arc<Mutex<Duration>>),
}

impl Outside {
    /// Time as it passes, and random numbers from this source.
    pub fn new(random: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self {
            random: Arc::new(Mutex::new(Box::new(random))),
            clock: Clock::Real(Instant::now()),
        }
    }

    /// Time that passes only by waiting, which takes none, and no chance.
    #[cfg(test)]
    pub(crate) fn waited() -> Self {
        Self {
            random: Arc::new(Mutex::new(Box::new(|| 0))),
            clock: Clock::Waited(Arc::default()),
        }
    }

    /// The next random number.
    pub fn random(&self) -> u64 {
        let mut source = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        source()
    }

    /// How much time has passed since this was made.
    pub fn elapsed(&self) -> Duration {
        match &self.clock {
            Clock::Real(start) => start.elapsed(),
            Clock::Waited(waited) => *waited.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        match &self.clock {
            Clock::Real(_) => tokio::time::sleep(time).await,
            Clock::Waited(waited) => {
                *waited.lock().unwrap_or_else(PoisonError::into_inner) += time;
                tokio::task::yield_now().await;
            }
        }
    }
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// Pauses that grow to a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pauses {
    /// The first.
    pub first: Duration,
    /// By what each is longer than the one before.
    pub factor: f64,
    /// The longest.
    pub longest: Duration,
}

impl Pauses {
    /// The pause after `before` others, up to a quarter shorter by chance, so that many callers do not stay together.
    pub fn after(&self, before: u32, random: u64) -> Duration {
        let growth = self
            .factor
            .powi(i32::try_from(before.min(64)).unwrap_or(64));
        let seconds = self.first.as_secs_f64() * growth;
        let full = Duration::from_secs_f64(seconds.min(self.longest.as_secs_f64()));
        let most = full * JITTER_QUARTERS / 4;
        full.saturating_sub(most.mul_f64((random % 1024) as f64 / 1024.0))
    }
}

/// Whether a failure of a store may pass by itself.
pub fn store_may_recover(error: &StoreError) -> bool {
    match error.kind {
        Failure::Throttled | Failure::Unknown | Failure::Other => true,
        Failure::NotFound | Failure::Denied | Failure::Skewed | Failure::Full => false,
    }
}

/// Whether a failure to list may pass by itself.
pub fn listing_may_recover(error: &ListError) -> bool {
    matches!(error, ListError::Store(error) if store_may_recover(error))
}

/// Asks for something of a store's, again while what fails may pass.
pub async fn again<T, E, F: Future<Output = Result<T, E>>>(
    outside: &Outside,
    may_recover: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E> {
    let mut failed = 0;
    loop {
        match ask().await {
            Err(error) if may_recover(&error) && failed + 1 < MAX_STORE_ATTEMPTS => {
                outside
                    .sleep(STORE_PAUSES.after(failed, outside.random()))
                    .await;
                failed += 1;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses = Pauses {
            first: Duration::from_millis(200),
            factor: 1.5,
            longest: Duration::from_secs(3),
        };
        let all: Vec<u128> = (0..9).map(|n| pauses.after(n, 0).as_millis()).collect();
        assert_eq!(all, [200, 300, 450, 675, 1012, 1518, 2278, 3000, 3000]);
        assert_eq!(pauses.after(0, 1023).as_millis(), 150);
        assert_eq!(pauses.after(u32::MAX, 0), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_store_is_asked_until_it_answers_or_says_no() {
        let outside = Outside::waited();
        for (kind, expected) in [(Failure::Throttled, 6), (Failure::Denied, 1)] {
            let mut asked = 0;
            let answer = again(&outside, store_may_recover, || {
                asked += 1;
                let refused = std::io::Error::other("no");
                async move { Err::<(), _>(StoreError::new("get", "a", kind, refused)) }
            });
            assert_eq!(answer.await.unwrap_err().kind, kind);
            assert_eq!(asked, expected);
        }
        let mut asked = 0;
        let answer = again(&outside, store_may_recover, || {
            asked += 1;
            let cut = StoreError::new("get", "a", Failure::Unknown, std::io::Error::other("cut"));
            let result = if asked == 3 { Ok(asked) } else { Err(cut) };
            async move { result }
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_longest(before: u32, random: u64) {
            let pause = STORE_PAUSES.after(before, random);
            prop_assert!(pause <= STORE_PAUSES.longest);
            prop_assert!(pause >= STORE_PAUSES.first * 3 / 4);
        }
    }
}
