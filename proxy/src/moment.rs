//! Moments as numbers that threads can compare: microseconds since the process first asked.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds from the process's first question to `at`.
pub(crate) fn micros(at: Instant) -> u64 {
    at.saturating_duration_since(*BEGIN).as_micros() as u64
}

/// The same for now.
pub(crate) fn now_us() -> u64 {
    micros(Instant::now())
}

/// Milliseconds since 1970, by the machine's clock: for what is kept, and for other machines.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
