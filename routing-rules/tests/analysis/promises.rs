//! What the analysis promises, by calculation and by experiment.

use routing_rules::analysis::{Analysis, Counts, Margin, Metric, Phase, Settings, State, Verdict, Window, evidence};

use crate::parallel;
use crate::random::Random;
use crate::traffic::{ALIKE, Source, Traffic};

/// A bet is a fair game at best: at the margin, what it pays has a mean of at most 1. The mean is calculated, not
/// drawn, so nothing hides in noise.
#[test]
fn a_bet_at_the_margin_pays_at_most_its_stake() {
    let mut random = Random(1);
    let mut closest = 0.0_f64;
    for _ in 0..2_000 {
        let (canary, control) = (1 + random.below(120), 1 + random.below(120));
        let margin = Margin { ratio: 0.5 + 1.5 * random.unit(), difference: 0.1 * random.unit() - 0.02 };
        let failing = 0.4 * random.unit().powi(3);
        let canary_failing = margin.ratio * failing + margin.difference;
        if !(0.0..=1.0).contains(&canary_failing) {
            continue;
        }
        // Above 1 and below.
        let bet = (8.0 * random.unit() - 4.0).exp();
        let mut mean = 0.0;
        for (canary_events, canary_part) in binomial(canary, canary_failing) {
            for (control_events, control_part) in binomial(control, failing) {
                let counts = Counts { canary_events, canary: canary as u64, control_events, control: control as u64 };
                mean += canary_part * control_part * evidence(&counts, margin, bet).exp();
            }
        }
        closest = closest.max(mean);
        assert!(mean <= 1.0 + 1e-9, "{mean} of {canary} and {control}, {failing}, {margin:?}, bet {bet}");
    }
    assert!(closest > 0.98, "no case is near the bound, the largest mean is {closest}");
}

/// The counts that are likely enough to matter, each with its probability.
fn binomial(requests: usize, failing: f64) -> Vec<(u64, f64)> {
    let mut part = (1.0 - failing).powi(requests as i32);
    let mut parts = Vec::new();
    for events in 0..=requests {
        parts.push((events as u64, part));
        part *= (requests - events) as f64 / (events + 1) as f64 * failing / (1.0 - failing);
    }
    parts
}

#[test]
fn two_that_are_alike_are_not_rolled_back() {
    let rolled_back = parallel::runs(1_000, |seed| {
        let mut run = Run::new(ALIKE, seed);
        (0..720).any(|_| matches!(run.step(), Verdict::RolledBack(_)))
    });
    assert_eq!(rolled_back.into_iter().filter(|it| *it).count(), 0, "in 1000 hours");
}

#[test]
fn five_times_the_errors_are_rolled_back_in_twenty_seconds() {
    let worse = Traffic { canary_failing: 0.025, ..ALIKE };
    let mut times: Vec<u64> = (0..200)
        .map(|seed| {
            let mut run = Run::new(worse, seed);
            let windows = (1..=720).find(|_| run.step() == Verdict::RolledBack(Metric::Errors));
            windows.expect("within an hour") * 5
        })
        .collect();
    times.sort_unstable();
    eprintln!("5 times the errors: median {} s, 9 of 10 in {} s, all in {} s", times[100], times[180], times[199]);
    assert!((10..=25).contains(&times[100]) && times[180] <= 45, "median {} s, 90 % {} s", times[100], times[180]);
}

/// A canary just as bad as it may not be is promoted at most once in twenty phases; a good one is.
#[test]
fn at_the_margin_promotion_is_rare() {
    // From 10 to 20 %: 1.5 times stable's rate and 0.001 / 0.2 on top.
    let at_the_margin = Traffic { canary_failing: 1.5 * 0.005 + 0.005, ..ALIKE };
    let promoted = |traffic, seed| {
        let mut run = Run::new(traffic, seed);
        (0..360).map(|_| run.step()).find(|verdict| matches!(verdict, Verdict::Promote | Verdict::RolledBack(_)))
            == Some(Verdict::Promote)
    };
    let worse = (0..200).filter(|seed| promoted(at_the_margin, *seed)).count();
    let good = (0..200).filter(|seed| promoted(ALIKE, *seed)).count();
    eprintln!("promoted within half an hour: {good} good ones, {worse} at the margin, of 200 each");
    assert!(worse <= 10 && good >= 190, "{worse} {good}");
}

/// The same windows give the same bits, with a new leader after every one of them, or at any.
#[test]
fn a_new_leader_goes_on_bit_for_bit() {
    let traffic = Traffic { canary_failing: 0.008, canary_p99_times: 1.1, ..ALIKE };
    let (mut one, mut other) = (Run::new(traffic, 7), Run::new(traffic, 7));
    let mut random = Random(3);
    for window in 0..400 {
        assert_eq!(one.step(), other.step(), "window {window}");
        let text = serde_json::to_string(other.analysis.state()).unwrap();
        let state: State = serde_json::from_str(&text).unwrap();
        assert_eq!(&state, one.analysis.state(), "window {window}");
        assert_eq!(serde_json::to_string(&state).unwrap(), text, "window {window}");
        if window < 200 || random.below(10) == 0 {
            other.analysis = Analysis::resume(Settings::default(), state);
        }
        if window == 250 {
            let phase = Phase::new(2, 2_000, 5_000).unwrap();
            for run in [&mut one, &mut other] {
                run.analysis.begin_phase(phase, Some(run.source.edges()));
            }
        }
    }
    assert_eq!(one.analysis.report(0), other.analysis.report(0));
}

/// A phase at 10 % of a release with five, the next one at 20 %.
struct Run {
    source: Source,
    analysis: Analysis,
    window: u64,
}

impl Run {
    fn new(traffic: Traffic, seed: u64) -> Self {
        let mut source = Source::new(traffic, seed);
        let analysis = source.analysis(5);
        Self { source, analysis, window: 0 }
    }

    fn step(&mut self) -> Verdict {
        self.window += 1;
        let window = Window::new(self.window).with("all", &self.source.record());
        self.analysis.close(&window).unwrap()
    }
}
