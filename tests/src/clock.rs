//! The wall clock, read in this one place of the rig.

use jiff::Timestamp;

/// The time now.
#[expect(
    clippy::disallowed_methods,
    reason = "the rig writes real times into real logs"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
