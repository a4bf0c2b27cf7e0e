//! Options that would break a promise are refused, by name.

use routing_rules::analysis::{Metric, Options, Settings};

#[test]
fn what_is_proposed_will_do() {
    assert_eq!(Settings::new(Options::default()), Ok(Settings::default()));
}

#[test]
fn what_would_break_a_promise_is_refused() {
    type Change = fn(&mut Options);
    let cases: &[(Change, &str)] = &[
        (|it| it.alpha = 0.0, "alpha: 0 is not from 0.000001 to 0.5"),
        (|it| it.alpha = f64::NAN, "alpha: NaN is not from 0.000001 to 0.5"),
        (|it| it.beta = 1.0, "beta: 1 is not from 0.000001 to 0.5"),
        (|it| it.suspect = 101.0, "suspect: 101 is not from 1 to 100"),
        (|it| it.clip = f64::INFINITY, "clip: inf is not from 0.1 to 100"),
        (|it| it.min_phase_s = 3_601, "min_phase_s: 3601 is not from 5 to 3600"),
        (|it| it.max_phase_s = 0, "max_phase_s: 0 is not from 60 to 2592000"),
        (|it| it.latency_after_s = 3_601, "latency_after_s: 3601 is not from 0 to 3600"),
        (|it| it.preflight_s = u32::MAX, "preflight_s: 4294967295 is not from 0 to 86400"),
        (
            |it| it.metrics[Metric::P50].weight = 0.25,
            "the sum of all weights: 1.125 is not from 0.999999999 to 1.000000001",
        ),
        (|it| it.metrics[Metric::P50].weight = -1.0, "weight: -1 is not from 0 to 1"),
        (|it| it.metrics[Metric::Errors].rollback_ratio = 0.9, "rollback_ratio: 0.9 is not from 1 to 100"),
        (|it| it.metrics[Metric::Errors].rollback_difference = 1.1, "rollback_difference: 1.1 is not from 0 to 1"),
        (|it| it.metrics[Metric::P75].rollback_shift = 33, "rollback_shift: 33 is not from 0 to 32"),
        (|it| it.metrics[Metric::P99].promotion_ratio = f64::NAN, "promotion_ratio: NaN is not from 1 to 100"),
        (|it| it.metrics[Metric::P99].harm_budget = -0.1, "harm_budget: -0.1 is not from 0 to 1"),
        (|it| it.metrics[Metric::P99].promotion_shift = 255, "promotion_shift: 255 is not from 0 to 32"),
    ];
    for (change, expected) in cases {
        let mut options = Options::default();
        change(&mut options);
        assert_eq!(Settings::new(options).unwrap_err().to_string(), *expected);
    }
}
