//! Moments as numbers that threads can compare: microseconds since the process first asked.

use std::sync::LazyLock;

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
