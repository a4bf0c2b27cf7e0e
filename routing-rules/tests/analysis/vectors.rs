//! The vectors V1 to V6 of the specification (§10), to six significant digits.

use routing_rules::analysis::{
    Block, Counts, Difference, Dispersion, Limits, Margin, Metric, Options, PerMetric, Promotion, Rollback, Settings,
    evidence,
};

/// Four counts as the vectors are written: failures and requests of the canary, failures and requests of control.
type Row = [u64; 4];

#[test]
fn v1_evidence() {
    let cases: [(Row, [f64; 3], f64); 9] = [
        ([0, 50, 2, 450], [1.25, 1e-4, 2.2], -0.277747),
        ([3, 50, 2, 450], [1.25, 1e-4, 2.2], 1.6779),
        ([1, 25, 0, 2475], [1.25, 1e-4, 50.0], 3.36009),
        ([5, 250, 5, 250], [1.0, 0.0, 1.4], -0.140854),
        ([0, 0, 7, 500], [1.25, 1e-4, 3.0], 0.0),
        ([4, 40, 0, 0], [1.25, 1e-4, 3.0], 0.0),
        ([0, 50, 2, 450], [1.5, 0.01, 0.1], 0.717866),
        ([1, 50, 2, 450], [1.5, 0.01, 0.55], -0.192395),
        ([12, 250, 30, 250], [1.0, 0.005, 0.4], 4.52057),
    ];
    for (row, [ratio, difference, bet], expected) in cases {
        six_digits(&format!("{row:?}"), evidence(&counts(row), Margin { ratio, difference }, bet), expected);
    }
}

/// The windows of V2: a quiet minute, then the canary fails.
fn v2_windows() -> Vec<Row> {
    let mut windows = vec![[0, 50, 2, 450]; 12];
    windows.extend([[3, 50, 2, 450], [4, 50, 1, 450], [5, 50, 3, 450], [4, 50, 2, 450]]);
    windows
}

#[test]
fn v2_errors_only() {
    let chance = played(4, &errors_only(), &Dispersion::NONE, v2_windows().into_iter().map(only_errors));
    let windows = [1, 6, 12, 13, 14, 15, 16];
    for (window, expected) in windows.into_iter().zip([0.875, 0.875, 0.875, 0.833333, 0.833333, 0.833333, 0.833333]) {
        six_digits(&format!("R after {window}"), chance[window - 1].0.reserve(), expected);
    }
    let expected = [0.958923, 0.921618, 0.908115, 1.18462, 9.0543, 261.844, 8110.43];
    for (window, expected) in windows.into_iter().zip(expected) {
        six_digits(&format!("E after {window}"), chance[window - 1].1, expected);
    }
    let uneven = Dispersion::at(PerMetric::new(|_| 2.5)).unwrap();
    let uneven = played(4, &errors_only(), &uneven, v2_windows().into_iter().map(only_errors));
    let expected = [0.975385, 0.941047, 0.926273, 0.981498, 1.36066, 3.76049, 16.6494];
    for (window, expected) in windows.into_iter().zip(expected) {
        six_digits(&format!("E after {window}, phi 2.5"), uneven[window - 1].1, expected);
    }
}

#[test]
fn v3_clip() {
    let windows = std::iter::repeat_n(only_errors([50, 50, 2, 450]), 3);
    let played = played(4, &errors_only(), &Dispersion::NONE, windows);
    for (window, expected) in [4.70496, 125.119, 4093.67].into_iter().enumerate() {
        six_digits(&format!("E after {}", window + 1), played[window].1, expected);
    }
}

#[test]
fn v4_all_metrics() {
    let dispersion = |metric| match metric {
        Metric::Errors => 1.2,
        Metric::P50 | Metric::P75 => 1.0,
        Metric::P95 => 1.5,
        Metric::P99 => 2.0,
    };
    let window = PerMetric::new(|metric| {
        let row = match metric {
            Metric::Errors => [1, 50, 2, 450],
            Metric::P50 => [30, 50, 215, 450],
            Metric::P75 => [14, 50, 110, 450],
            Metric::P95 => [4, 50, 22, 450],
            Metric::P99 => [1, 50, 4, 450],
        };
        vec![counts(row)]
    });
    let dispersion = Dispersion::at(PerMetric::new(dispersion)).unwrap();
    let played = played(5, &Settings::default(), &dispersion, std::iter::repeat_n(window, 25));
    let expected = [(1, 0.990206), (6, 1.20853), (13, 7.31385), (20, 334.241), (25, 6774.22)];
    for (window, expected) in expected {
        six_digits(&format!("E after {window}"), played[window - 1].1, expected);
    }
    assert_eq!(played[24].0.trigger(), Some(Metric::P50));
}

#[test]
fn v5_promotion_and_interval() {
    let (mut promotion, mut difference) = (Promotion::default(), Difference::default());
    let expected = [(1, 1.56509), (3, 4.57627), (4, 1.877), (8, 14.2701), (9, 6.49008), (12, 31.3677), (16, 349.19)];
    for window in 1..=30 {
        let row = if window == 4 || window == 9 { [1, 50, 2, 450] } else { [0, 50, 2, 450] };
        let counts = only_errors(row);
        // The next phase has 10 % of the users, so a budget of 0.001 is a difference of 0.01.
        promotion.pay(&counts, 0.1, &Dispersion::NONE, &errors_only());
        difference.add(&counts[Metric::Errors], &Dispersion::NONE, &errors_only());
        if let Some((_, expected)) = expected.iter().find(|(at, _)| *at == window) {
            let evidence = promotion.ln_evidence(Metric::Errors).exp();
            six_digits(&format!("G after {window}"), evidence, *expected);
            assert_eq!(promotion.is_safe(&errors_only()), *expected >= 20.0);
        }
    }
    let interval = difference.interval();
    six_digits("lower", interval.lower, -0.00579992);
    six_digits("upper", interval.upper, 0.0017879);
}

#[test]
fn v6_dispersion() {
    let block = |requests: [u64; 16], events: [u64; 16]| Block { requests, events: PerMetric::new(|_| events) };
    let events = [[3, 0, 1, 2, 9, 0, 4, 1, 0, 2, 7, 0, 1, 3, 0, 2], [0, 1, 2, 0, 1, 6, 0, 3, 1, 0, 0, 2, 8, 1, 0, 1]];
    let dispersion = |requests| {
        let blocks = events.map(|events| block(requests, events));
        Dispersion::of(&blocks, None).of_metric(Metric::Errors)
    };
    six_digits("equal requests", dispersion([1_000; 16]), 3.13992);
    let shares = [10, 5, 10, 5, 10, 5, 10, 5, 5, 5, 5, 5, 5, 5, 5, 5];
    six_digits("unequal requests", dispersion(shares.map(|share| share * 100)), 3.08602);

    // Of two groupings the larger counts.
    let even = [block([1_000; 16], [2; 16])];
    let uneven = events.map(|events| block([1_000; 16], events));
    let both = Dispersion::of(&even, Some(&uneven));
    assert_eq!(both, Dispersion::of(&uneven, Some(&even)));
    six_digits("the larger", both.of_metric(Metric::P95), 3.13992);
}

/// A service of which nothing is known, or nothing that could be uneven, is taken for uneven.
#[test]
fn dispersion_of_little() {
    let all_in_one = Block { requests: one(9_000), events: PerMetric::new(|_| one(900)) };
    let quiet = Block { requests: [1_000; 16], events: PerMetric::default() };
    for blocks in [vec![], vec![all_in_one.clone()], vec![quiet.clone()], vec![quiet, all_in_one]] {
        assert_eq!(Dispersion::of(&blocks, None).of_metric(Metric::Errors), 3.0, "{blocks:?}");
    }
    let huge = Block { requests: [u64::MAX; 16], events: PerMetric::new(|_| one(u64::MAX)) };
    assert!(Dispersion::of(&[huge.clone(), huge], None).of_metric(Metric::Errors).is_finite());
    let even = vec![Block { requests: [1_000; 16], events: PerMetric::new(|_| [10; 16]) }; 72];
    assert_eq!(Dispersion::of(&even, None).of_metric(Metric::Errors), 1.0);
    for wrong in [0.99, f64::NAN, f64::INFINITY, -3.0] {
        assert_eq!(Dispersion::at(PerMetric::new(|_| wrong)), None);
    }
}

fn one(count: u64) -> [u64; 16] {
    let mut counts = [0; 16];
    counts[3] = count;
    counts
}

/// The evidence and the game after each window of one phase.
fn played(
    phases: u32,
    settings: &Settings,
    dispersion: &Dispersion,
    windows: impl IntoIterator<Item = PerMetric<Vec<Counts>>>,
) -> Vec<(Rollback, f64)> {
    let mut rollback = Rollback::new(phases);
    rollback.begin_phase(1);
    let play = |(index, counts): (usize, PerMetric<Vec<Counts>>)| {
        if index % 12 == 0 {
            rollback.stake(settings);
        }
        rollback.pay(&counts, dispersion, settings);
        (rollback.clone(), rollback.ln_evidence().exp())
    };
    windows.into_iter().enumerate().map(play).collect()
}

/// With errors alone to judge by.
pub(crate) fn errors_only() -> Settings {
    let mut options = Options::default();
    options.metrics = PerMetric::new(|metric| Limits {
        weight: if metric == Metric::Errors { 1.0 } else { 0.0 },
        ..options.metrics[metric]
    });
    Settings::new(options).unwrap()
}

fn only_errors(row: Row) -> PerMetric<Vec<Counts>> {
    PerMetric::new(|metric| if metric == Metric::Errors { vec![counts(row)] } else { Vec::new() })
}

fn counts([canary_events, canary, control_events, control]: Row) -> Counts {
    Counts { canary_events, canary, control_events, control }
}

#[track_caller]
fn six_digits(what: &str, measured: f64, expected: f64) {
    assert!(
        (measured - expected).abs() <= 5.0e-6 * expected.abs(),
        "{what}: {measured}, but the vector says {expected}"
    );
}
