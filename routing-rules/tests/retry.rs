//! Retries: the whole table of what may be tried again, and what a budget never exceeds.

use routing_rules::retry::{Attempt, Budget, Failed, Obstacle, Reason, Verdict};

/// What failed, and the answer when all else is in favour; then what a method that must not be repeated makes of it.
const FAILURES: &[(Failed, Verdict, Verdict)] = {
    use Failed as F;
    use Verdict::{GiveUp, Retry};
    const NEVER: Verdict = GiveUp(Obstacle::NotThatFailure);
    &[
        (F::Connect, Retry(Reason::NothingSent), Retry(Reason::NothingSent)),
        (F::ReusedConnectionClosed, Retry(Reason::Idempotent), GiveUp(Obstacle::NotIdempotent)),
        (F::NotSent, Retry(Reason::NothingSent), Retry(Reason::NothingSent)),
        (F::NotProcessed, Retry(Reason::NotProcessed), Retry(Reason::NotProcessed)),
        (F::NewConnectionClosed, NEVER, NEVER),
        (F::Timeout, NEVER, NEVER),
        (F::Malformed, NEVER, NEVER),
        (F::Answered, NEVER, NEVER),
    ]
};

#[test]
fn every_case_is_decided() {
    for (failed, repeatable, unrepeatable) in FAILURES {
        for bits in 0..16 {
            let [idempotent, replayable, response_seen, first] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let attempt =
                Attempt { failed: *failed, idempotent, replayable, response_seen, tries: if first { 1 } else { 2 } };
            let expected = match if idempotent { *repeatable } else { *unrepeatable } {
                _ if response_seen => Verdict::GiveUp(Obstacle::ResponseSeen),
                Verdict::Retry(_) if !replayable => Verdict::GiveUp(Obstacle::BodyGone),
                Verdict::Retry(_) if !first => Verdict::GiveUp(Obstacle::NoTriesLeft),
                decided => decided,
            };
            assert_eq!(attempt.verdict(2), expected, "{attempt:?}");
            assert!(!matches!(attempt.verdict(1), Verdict::Retry(_)), "one try is no retry: {attempt:?}");
            assert!(!matches!(attempt.verdict(0), Verdict::Retry(_)), "{attempt:?}");
        }
    }
}

#[test]
fn a_fifth_of_the_requests_may_be_retried_and_three_in_any_case() {
    let mut budget = Budget::new(2_000);
    let taken = |budget: &mut Budget, now_ms| (0..1_000).filter(|_| budget.withdraw(now_ms).is_ok()).count();
    assert_eq!(taken(&mut budget, 0), 3);
    assert_eq!(budget.withdraw(9_999), Err(Obstacle::NoBudget));
    assert_eq!(taken(&mut budget, 10_000), 3);
    (0..100).for_each(|_| budget.request(10_000));
    assert_eq!(taken(&mut budget, 10_000), 17, "the three are part of the share");
    (0..100).for_each(|_| budget.request(15_000));
    assert_eq!(taken(&mut budget, 19_999), 20);
    assert_eq!(taken(&mut budget, 24_999), 0, "these requests are still paid for");
    assert_eq!(taken(&mut budget, 25_000), 0, "their retries were made later than they, and weigh longer");
    assert_eq!(taken(&mut budget, 30_000), 3);
}

#[test]
fn shares_of_nothing_and_of_all() {
    let mut none = Budget::new(0);
    (0..1_000).for_each(|_| none.request(0));
    assert_eq!(none.withdraw(0), Err(Obstacle::NoBudget));
    let mut all = Budget::new(u16::MAX);
    (0..1_000).for_each(|_| all.request(u64::MAX));
    assert_eq!((0..2_000).filter(|_| all.withdraw(u64::MAX).is_ok()).count(), 1_000);
    all.request(0);
    assert_eq!(all.withdraw(5), Ok(()), "time that goes back stands still");
}

/// Whatever comes when: the retries never exceed the share of the requests and three for every ten seconds begun.
#[test]
fn retries_stay_within_the_budget() {
    let mut random = Random(1);
    for case in 0..200 {
        let share = [500, 2_000, 10_000][case % 3];
        let mut budget = Budget::new(share);
        let (mut now_ms, mut requests, mut retries) = (0, 0_u64, 0_u64);
        let pace = [1, 20, 500, 5_000][random.below(4) as usize];
        for _ in 0..2_000 {
            now_ms += random.below(pace);
            let asked = random.below(4);
            budget.request(now_ms);
            requests += 1;
            retries += (0..asked).filter(|_| budget.withdraw(now_ms).is_ok()).count() as u64;
            let floor = 3 * (now_ms / 10_000 + 2);
            let most = requests * u64::from(share) / 10_000 + floor;
            assert!(retries <= most, "case {case}: {retries} retries of {requests} requests by {now_ms} ms");
        }
    }
}

/// Everything fails at 100 requests a second: what reaches the endpoints is 1.2 times what came.
#[test]
fn a_dead_upstream_gets_a_fifth_more() {
    let mut budget = Budget::new(2_000);
    let mut sent = 0;
    for request in 0..6_000_u64 {
        let now_ms = request * 10;
        budget.request(now_ms);
        sent += 1 + u64::from(budget.withdraw(now_ms).is_ok());
    }
    assert_eq!(sent, 7_200);
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}
