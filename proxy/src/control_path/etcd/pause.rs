//! How long one waits before a cluster, or somebody else, is asked again.

use std::time::Duration;

/// How long one pauses after so many failures: longer each time, and anything down to nothing, so that instances do not come
/// back all at once.
pub(in crate::control_path) fn pause(failures: u32, longest: Duration, draw: u64) -> Duration {
    let exponential = FIRST_PAUSE.saturating_mul(1 << failures.clamp(1, 16) >> 1);
    exponential.min(longest).mul_f64(unit(draw))
}

/// A draw as a number from 0 to 1.
pub(in crate::control_path) fn unit(draw: u64) -> f64 {
    draw as f64 / u64::MAX as f64
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let longest = Duration::from_secs(5);
        let most = [1, 2, 3, 5, 6, 40, u32::MAX].map(|failures| pause(failures, longest, u64::MAX).as_millis());
        assert_eq!(most, [200, 400, 800, 3_200, 5_000, 5_000, 5_000]);
        assert_eq!(pause(9, longest, 0), Duration::ZERO);
    }
}
