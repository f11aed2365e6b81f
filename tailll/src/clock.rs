//! The clock: the one place that reads the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::assemble::Arrival;

/// Reads both clocks; the wall clock is read once and carried on by the other, so that it never jumps while the program runs.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ns: i64,
}

impl Clock {
    /// Reads the wall clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that reads the clock for everybody"
    )]
    pub fn start() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_ns: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        }
    }

    /// When the clock was started.
    pub fn started(&self) -> Arrival {
        Arrival {
            at: self.started,
            wall_ns: self.started_ns,
        }
    }

    /// Now.
    pub fn arrival(&self) -> Arrival {
        let at = Instant::now();
        let since = i64::try_from(at.duration_since(self.started).as_nanos()).unwrap_or(i64::MAX);
        Arrival {
            at,
            wall_ns: self.started_ns.saturating_add(since),
        }
    }
}
