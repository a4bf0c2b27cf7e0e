//! When a certificate is ordered: at once if it is missing, after two thirds of its life if it is there, and later each time
//! that does not work.
//!
//! Clocks may be wrong and jump: whatever they say, a failure is followed by the pause that belongs to it, and no longer one.
//! One from times to come is therefore to be [`pulled`] to the moment at which that is seen.

use std::time::Duration;

use super::kept::Failures;

/// From when until when a certificate is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// When to order, in milliseconds since 1970. `life` is that of a certificate that is what is wanted, if there is one;
/// `share` draws lots between certificates that were issued together, from 0 to 1.
pub(super) fn due_ms(life: Option<(Life, f64)>, failures: Option<&Failures>, now_ms: u64) -> u64 {
    let wanted_ms = life.map_or(0, |(life, share)| life.renewal_ms(share));
    let paused_ms = failures.map_or(0, |failures| {
        // Of a failure in times to come the clock knows no more than that it was.
        failures.at_ms.saturating_add(failures.wait_ms).min(now_ms.saturating_add(failures.wait_ms))
    });
    wanted_ms.max(paused_ms)
}

/// The same failures as of now, if the clock says that they are from times to come.
pub(super) fn pulled(failures: &Failures, now_ms: u64) -> Option<Failures> {
    (failures.at_ms > now_ms).then(|| Failures { at_ms: now_ms, ..failures.clone() })
}

impl Life {
    /// Whether it is good at this moment, in seconds since 1970.
    pub(super) fn has(self, now_s: i64) -> bool {
        (self.not_before..self.not_after).contains(&now_s)
    }

    /// A third of it.
    pub(super) fn third(self) -> Duration {
        Duration::from_secs(u64::try_from(self.not_after.saturating_sub(self.not_before)).unwrap_or(0) / 3)
    }

    /// When two thirds of it are over, or a little before.
    fn renewal_ms(self, share: f64) -> u64 {
        let milliseconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
        let (from, until) = (milliseconds(self.not_before), milliseconds(self.not_after));
        let whole = until.saturating_sub(from);
        from.saturating_add(whole / 3 * 2).saturating_sub((whole as f64 / SPREAD * share) as u64)
    }
}

/// How long to wait after so many failures in a row, in milliseconds, if the authority asks for no longer wait. `first` is the
/// pause after one, `draw` is from 0 to 1.
pub(super) fn wait_ms(failures: u32, first: Duration, asked: Option<Duration>, draw: f64) -> u64 {
    let doubled = (first.as_millis() as u64).saturating_mul(1 << (failures.clamp(1, 32) - 1)).min(LONGEST_MS);
    // A quarter more or less, so that those who failed together come back apart.
    let drawn = doubled as f64 * (0.75 + draw / 2.0);
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED).as_millis() as u64;
    (drawn as u64).max(asked)
}

/// The part of its life by which the renewal of one certificate is earlier than that of another at most: a thirtieth.
const SPREAD: f64 = 30.0;

/// After the first failure.
pub(super) const FIRST: Duration = Duration::from_secs(60);

/// After an order that was cut short, as when its instance was killed: nobody has said no yet.
pub(super) const FIRST_CUT_SHORT: Duration = Duration::from_secs(15);

/// After one that has cost the authority a certificate, of which it signs few.
pub(super) const FIRST_COSTLY: Duration = Duration::from_secs(3_600);

/// Authorities forget failures within hours, and count those of a week.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// Nobody is waited for longer than that, whatever he says: a certificate has to be renewed at some time.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(2 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;

    fn failed(at_ms: u64, wait_ms: u64) -> Failures {
        Failures { what: String::new(), count: 1, at_ms, wait_ms, problem: String::new(), is_open: false }
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let life = Life { not_before: 1_000_000, not_after: 1_000_000 + 90 * 24 * 3_600 };
        let begin_ms = 1_000_000_000;
        assert_eq!(due_ms(Some((life, 0.0)), None, 0), begin_ms + 60 * DAY_MS);
        assert_eq!(due_ms(Some((life, 1.0)), None, 0), begin_ms + 57 * DAY_MS);
        assert_eq!(due_ms(None, None, 5), 0, "one that is missing at once");
        let nonsense = [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (5, 5), (-5, -7)];
        for (not_before, not_after) in nonsense {
            due_ms(Some((Life { not_before, not_after }, 0.5)), None, u64::MAX);
        }
    }

    #[test]
    fn failures_are_further_and_further_apart() {
        let most: Vec<u64> = [1, 2, 3, 11, 12, u32::MAX].map(|count| wait_ms(count, FIRST, None, 0.5) / 1_000).into();
        assert_eq!(most, [60, 120, 240, 61_440, 86_400, 86_400]);
        assert_eq!((wait_ms(1, FIRST, None, 0.0), wait_ms(1, FIRST, None, 1.0)), (45_000, 75_000));
        assert_eq!((wait_ms(2, FIRST_COSTLY, None, 0.5), wait_ms(9, FIRST_COSTLY, None, 0.5)), (7_200_000, DAY_MS));
        let asked = |seconds| wait_ms(1, FIRST, Some(Duration::from_secs(seconds)), 0.0);
        assert_eq!((asked(10), asked(7_200), asked(u64::MAX / 2_000)), (45_000, 7_200_000, 2 * DAY_MS));
    }

    /// Draws that cover what there is: edges, and everything between.
    fn moments() -> impl Iterator<Item = u64> {
        let spread = (0..40).map(|power| 3_u64.saturating_pow(power));
        spread.flat_map(|moment| [moment - 1, moment, moment + 1]).chain([u64::MAX - 1, u64::MAX])
    }

    #[test]
    fn whatever_the_clock_does_a_failure_is_followed_by_its_pause_and_no_longer_one() {
        for at_ms in moments() {
            for wait_ms in [0, 1, 60_000, DAY_MS] {
                for now_ms in moments() {
                    let noted = failed(at_ms, wait_ms);
                    let noted = pulled(&noted, now_ms).unwrap_or(noted);
                    let due = due_ms(None, Some(&noted), now_ms);
                    assert!(due <= now_ms.saturating_add(wait_ms), "{at_ms} {wait_ms} {now_ms}");
                    // Time goes on, and what is noted stays.
                    for (later_ms, has_come) in [(due.saturating_sub(1), false), (due, true)] {
                        if later_ms >= now_ms && due > now_ms {
                            assert!(pulled(&noted, later_ms).is_none());
                            let is_due = due_ms(None, Some(&noted), later_ms) <= later_ms;
                            assert_eq!(is_due, has_come, "{at_ms} {wait_ms} {now_ms} {later_ms}");
                        }
                    }
                }
            }
        }
    }
}
