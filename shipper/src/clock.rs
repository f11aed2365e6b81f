//! What time it is. The one place of this crate that asks the system; tests pass a clock of their own.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::file_id::nanoseconds;

/// A clock.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock, in ns since 1970.
    fn wall_ns(&self) -> i64;

    /// The time since the system started, sleep included, in ns. It never jumps.
    fn boot_ns(&self) -> i64;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: everything else is given this clock"
    )]
    fn wall_ns(&self) -> i64 {
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        }
    }

    fn boot_ns(&self) -> i64 {
        let now = clock_gettime(ClockId::Boottime);
        nanoseconds(now.tv_sec, now.tv_nsec as u32)
    }
}
