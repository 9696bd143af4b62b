//! The clock.

use std::time::Duration;
use twinlake_core::Timestamp;

/// Returns the current time.
pub trait Clock {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// The time since an arbitrary moment, on a clock that nobody sets and that never goes back.
    fn monotonic(&self) -> Duration;
}
