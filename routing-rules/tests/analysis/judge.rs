//! The states of an analysis in their order, phases and edits, and everything that may come in.

use routing_rules::analysis::{
    Analysis, Arm, Dispersion, Edges, Histogram, Latency, Limits, Metric, Missing, Options, PerMetric, Phase, Record,
    Refused, Settings, Start, Verdict, Window,
};

/// Failures and requests of the canary, failures and requests of control.
type Row = [u64; 4];

const QUIET: Row = [0, 50, 2, 450];

#[test]
fn a_canary_that_fails_is_suspected_and_rolled_back_for_good() {
    let mut run = Run::new();
    run.repeat(12, QUIET);
    // V2, whose evidence after these is 1.18, 9.05 and 261.8.
    assert_eq!(run.close([3, 50, 2, 450]), Verdict::Observing);
    assert_eq!(run.close([4, 50, 1, 450]), Verdict::Observing);
    assert_eq!(run.close([5, 50, 3, 450]), Verdict::RolledBack(Metric::Errors));
    let state = run.analysis.state().clone();
    assert_eq!(run.repeat(50, QUIET), Verdict::RolledBack(Metric::Errors));
    run.analysis.begin_phase(phase(2, 2_000), None);
    run.analysis.edit(1_000).unwrap();
    assert_eq!(run.analysis.state(), &state, "nothing changes after a rollback");
    assert_eq!(run.analysis.verdict_at(u64::MAX), Verdict::RolledBack(Metric::Errors));
}

#[test]
fn suspicion_keeps_the_percent_where_it_is_and_may_pass() {
    let mut run = Run::with_dispersion(2.5);
    run.repeat(12, QUIET);
    for row in [[3, 50, 2, 450], [4, 50, 1, 450], [5, 50, 3, 450]] {
        assert_eq!(run.close(row), Verdict::Observing);
    }
    assert_eq!(run.close([4, 50, 2, 450]), Verdict::Suspect(Metric::Errors), "E is 16.6");
    assert_eq!(run.analysis.report(0).suspect_since_s, Some(16 * 5));
    let calm = (0..600).any(|_| !matches!(run.close(QUIET), Verdict::Suspect(_)));
    assert!(calm, "{:?}", run.analysis.report(0));
}

#[test]
fn a_good_canary_is_promoted_after_the_shortest_phase() {
    let mut run = Run::new();
    // Shown safe after 12 windows (V5), but a phase lasts two minutes.
    assert_eq!(run.repeat(23, QUIET), Verdict::Observing);
    assert_eq!(run.close(QUIET), Verdict::Promote);
    run.analysis.begin_phase(phase(2, 2_000), None);
    assert_eq!(run.analysis.verdict(), Verdict::Observing, "a phase has to be shown safe anew");
    assert_eq!(run.repeat(23, [0, 100, 2, 400]), Verdict::Observing);
    assert_eq!(run.close([0, 100, 2, 400]), Verdict::Promote);
}

/// What it once was does not count.
#[test]
fn a_canary_that_has_become_worse_is_not_promoted() {
    let mut run = Run::new();
    run.repeat(16, QUIET);
    let safe = |run: &Run| run.analysis.report(0).metrics[0].is_safe();
    assert!(safe(&run));
    assert_eq!(run.repeat(8, [1, 50, 2, 450]), Verdict::Observing);
    assert!(!safe(&run));
}

#[test]
fn a_phase_that_shows_neither_asks_somebody() {
    let mut run = Run::new();
    // One request a window says next to nothing.
    let row = [0, 1, 0, 9];
    assert_eq!(run.repeat(719, row), Verdict::Observing);
    assert!(!run.analysis.verdict().is_alert());
    assert_eq!(run.close(row), Verdict::Inconclusive);
    assert!(run.analysis.verdict().is_alert());
    run.analysis.extend(60);
    assert_eq!(run.analysis.verdict(), Verdict::Observing);
    assert_eq!(run.repeat(12, row), Verdict::Inconclusive);
}

#[test]
fn stable_that_fails_holds() {
    let mut run = Run::new();
    run.repeat(30, QUIET);
    // Usual is 0.4 %, so the limit is 1.2 %. Evidence goes on: both fail alike.
    assert_eq!(run.close([5, 50, 100, 450]), Verdict::HoldCommon);
    assert_eq!(run.repeat(11, QUIET), Verdict::HoldCommon, "for a minute");
    assert_eq!(run.close(QUIET), Verdict::Promote);
    // At a usual rate of zero, up to 1 % is no outage.
    let mut run = Run::usual(0.0);
    assert_eq!(run.close([0, 100, 10, 1_000]), Verdict::Observing);
    assert_eq!(run.close([0, 100, 11, 1_000]), Verdict::HoldCommon);
}

/// Windows that are missing leave the last minute.
#[test]
fn the_last_minute_passes_also_without_windows() {
    let mut run = Run::new();
    assert_eq!(run.close([0, 50, 200, 450]), Verdict::HoldCommon);
    run.window += 11;
    assert_eq!(run.close(QUIET), Verdict::Observing);
}

#[test]
fn data_that_is_missing_holds() {
    let mut run = Run::new();
    assert_eq!(run.analysis.verdict_at(5 + 31), Verdict::HoldData(Missing::Windows(31)), "none has ever come");
    run.repeat(40, QUIET);
    assert_eq!(run.analysis.verdict(), Verdict::Promote);
    let end_s = (run.window + 1) * 5;
    assert_eq!(run.analysis.verdict_at(end_s + 30), Verdict::Promote);
    assert_eq!(run.analysis.verdict_at(end_s + 31), Verdict::HoldData(Missing::Windows(31)));
    assert_eq!(run.analysis.verdict_at(0), Verdict::Promote, "a clock that went back");
    // A proxy that does not report for more than 30 s.
    let missing = |run: &mut Run| {
        let window = run.window(QUIET).with_missing(1);
        run.analysis.close(&window).unwrap()
    };
    (0..6).for_each(|_| assert_eq!(missing(&mut run), Verdict::Promote));
    assert_eq!(missing(&mut run), Verdict::HoldData(Missing::Records(35)));
    assert_eq!(run.close(QUIET), Verdict::Promote);
}

#[test]
fn a_canary_that_gets_nothing_holds() {
    let mut run = Run::new();
    run.repeat(40, QUIET);
    // Control's 90 requests are 10 of a canary of 10 %.
    assert_eq!(run.close([0, 0, 0, 90]), Verdict::Promote);
    assert_eq!(run.close([0, 0, 0, 90]), Verdict::HoldData(Missing::Canary(20)));
    assert_eq!(run.close(QUIET), Verdict::Promote);
}

#[test]
fn each_window_counts_once_and_in_order() {
    let mut run = Run::new();
    run.repeat(5, QUIET);
    let before = run.analysis.clone();
    for number in [1, 4, 5] {
        let window = Window::new(number).with("all", &record([50, 50, 0, 450]));
        assert_eq!(run.analysis.close(&window), Err(Refused::Done { window: number, last: 5 }));
        assert_eq!(run.analysis.edit(number), Err(Refused::Done { window: number, last: 5 }));
    }
    assert_eq!(run.analysis, before);
    // A gap is no reason to stop, and takes no time of the phase.
    run.window = 100;
    run.close(QUIET);
    assert_eq!((run.analysis.state().window(), run.analysis.phase_s()), (101, 30));
}

#[test]
fn a_clock_that_was_set_back_begins_the_phase_anew_and_keeps_the_evidence() {
    let mut run = Run::new();
    run.window = 1_000;
    run.repeat(24, QUIET);
    run.close([4, 50, 2, 450]);
    let before = run.analysis.report(0);
    run.analysis.set_back(2_000);
    assert_eq!(run.analysis.report(0), before, "it was not");
    run.analysis.set_back(500);
    assert_eq!((run.analysis.report(0).evidence, run.analysis.phase_s()), (before.evidence, 0));
    run.window = 500;
    run.close(QUIET);
    assert_eq!((run.analysis.state().window(), run.analysis.phase_s()), (501, 5));
}

#[test]
fn an_edit_keeps_the_evidence_for_a_rollback_only() {
    let mut run = Run::new();
    run.repeat(24, QUIET);
    run.close([4, 50, 2, 450]);
    let before = run.analysis.report(0);
    run.analysis.edit(26).unwrap();
    let after = run.analysis.report(0);
    assert_eq!((after.evidence, after.windows_used), (before.evidence, before.windows_used));
    assert_eq!((after.metrics[0].promotion, after.metrics[0].counts.canary), (1.0, 0));
    assert_eq!(run.analysis.state().epoch(), 1);
    assert_eq!(run.analysis.close(&Window::new(26)), Err(Refused::Done { window: 26, last: 26 }), "it was dropped");
    run.window = 26;
    assert_eq!(run.close(QUIET), Verdict::Observing);
}

/// Every phase has a series of stakes, as many as were said; all together never exceed 1.
#[test]
fn stakes_of_all_phases_are_one() {
    let mut run = Run::new();
    run.close(QUIET);
    assert_eq!(reserve(&run), 1.0 - 1.0 / 8.0);
    for number in [2, 3, 2, 4, 0, 5, 9] {
        run.analysis.begin_phase(phase(number, 1_000), None);
        run.close(QUIET);
    }
    // Four series: 1/2 + 1/2 + (1/2 + 1/6) + (1/2 + 1/6 + 1/12 + 1/20) of a quarter each.
    let staked = [2.0, 2.0, 2.0, 6.0, 2.0, 6.0, 12.0, 20.0].iter().map(|turn| 1.0 / turn).sum::<f64>() / 4.0;
    assert!((1.0 - staked - reserve(&run)).abs() < 1e-12, "{} {}", 1.0 - staked, reserve(&run));
    (0..2_000).for_each(|round| {
        run.analysis.begin_phase(phase(round, 1_000), None);
        run.close([0, 0, 0, 0]);
    });
    assert!(reserve(&run) > 0.0);
}

/// What is left of the evidence when nothing was ever won: the state as it is stored says it first.
fn reserve(run: &Run) -> f64 {
    use base64::Engine as _;
    let state = serde_json::to_value(run.analysis.state()).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(state["numbers"].as_str().unwrap()).unwrap();
    f64::from_le_bytes(bytes[..8].try_into().unwrap())
}

#[test]
fn latency_is_judged_after_half_a_minute() {
    let slow = Record { canary: latencies(60, 50), control: latencies(40, 450) };
    let mut run = Run::all_metrics();
    let canary_slow = |run: &Run| run.analysis.report(0).metric(Metric::P50).unwrap().counts.canary_events;
    for _ in 0..6 {
        run.close_record(&slow);
        assert_eq!(canary_slow(&run), 0);
    }
    run.close_record(&slow);
    assert_eq!(canary_slow(&run), 50);
    let verdict = (0..100).map(|_| run.close_record(&slow)).find(|verdict| matches!(verdict, Verdict::RolledBack(_)));
    assert_eq!(verdict, Some(Verdict::RolledBack(Metric::P50)));
}

/// A phase without edges can roll back for errors, but is never shown safe; edges may be given later, once.
#[test]
fn a_phase_without_edges() {
    let mut run = Run::all_metrics();
    let even = Record { canary: latencies(40, 50), control: latencies(40, 450) };
    run.analysis.begin_phase(phase(1, 1_000), None);
    let verdicts: Vec<Verdict> = (0..720).map(|_| run.close_record(&even)).collect();
    assert!(!verdicts.contains(&Verdict::Promote));
    assert_eq!(verdicts.last(), Some(&Verdict::Inconclusive));
    assert!(run.analysis.report(0).text.contains("p50 not judged, stable had no answers before the phase"));
    run.analysis.fix_edges(edges(40));
    run.analysis.fix_edges(edges(10));
    assert_eq!(run.analysis.state().edges(), Some(edges(40)));
    assert!((0..100).any(|_| run.close_record(&even) == Verdict::Promote));
}

#[test]
fn strata_are_compared_each_with_itself() {
    // The canary has most of its users where everybody fails more often: thrown together it looks worse.
    let [far, near] = [[45, 900, 5, 100], [1, 100, 9, 900]];
    let mut apart = Run::usual(0.05);
    let mut together = Run::usual(0.05);
    let verdicts: Vec<[Verdict; 2]> = (0..60)
        .map(|_| {
            let window = Window::new(apart.next()).with("far", &record(far)).with("near", &record(near));
            [apart.analysis.close(&window).unwrap(), together.close([46, 1_000, 14, 1_000])]
        })
        .collect();
    let is_rolled_back = |verdict: Verdict| matches!(verdict, Verdict::RolledBack(_));
    assert!(verdicts.iter().all(|[apart, _]| !is_rolled_back(*apart)));
    assert!(verdicts.iter().any(|[_, together]| is_rolled_back(*together)));
}

#[test]
fn records_of_one_stratum_add_up_in_any_order() {
    let parts = [record([1, 20, 0, 200]), record([2, 30, 3, 100]), record([0, 0, 0, 150])];
    let one = Window::new(1).with("a", &parts[0]).with("b", &parts[1]).with("a", &parts[2]);
    let other = Window::new(1).with("b", &parts[1]).with("a", &parts[2]).with("a", &parts[0]);
    assert_eq!(one, other);
}

#[test]
fn nothing_at_all_says_nothing() {
    let mut run = Run::new();
    for _ in 0..719 {
        let window = Window::new(run.next());
        assert_eq!(run.analysis.close(&window).unwrap(), Verdict::Observing);
    }
    for row in [[0, 0, 0, 0], [0, 0, 100, 100], [50, 50, 0, 0]] {
        let mut run = Run::new();
        for _ in 0..100 {
            run.close(row);
            let report = run.analysis.report(0);
            assert!((report.evidence - 1.0).abs() < 1e-9, "{row:?}: {report:?}");
            assert_eq!(report.metrics[0].promotion, 1.0);
            assert_eq!((report.difference.lower, report.difference.upper), (-1.0, 1.0));
        }
    }
}

/// Counts that are as large as they can be, more failures than requests, all in one window: always a number.
#[test]
fn huge_and_impossible_counts_stay_numbers() {
    let counts = [0, 1, 50, u64::from(u32::MAX), u64::MAX / 2, u64::MAX];
    let mut rows = Vec::new();
    for canary in counts {
        for control in counts {
            rows.extend([[canary, canary, 0, control], [0, canary, control, control], [u64::MAX, canary, 7, control]]);
        }
    }
    for row in rows {
        let mut run = Run::all_metrics();
        let arm = |failed, requests| Arm {
            requests,
            failed,
            latencies: [(Latency::SLOWEST, failed), (Latency::QUICKEST, requests)].into_iter().collect(),
            failing_users: failed,
            without_cookie: requests,
        };
        let record = Record { canary: arm(row[0], row[1]), control: arm(row[2], row[3]) };
        for _ in 0..40 {
            let window = Window::new(run.next()).with("a", &record).with("a", &record).with("b", &record);
            run.analysis.close(&window).unwrap();
        }
        let report = run.analysis.report(u64::MAX);
        let numbers = [report.evidence, report.difference.lower, report.difference.upper];
        let metrics = report.metrics.iter().flat_map(|metric| [metric.promotion, metric.ratio.unwrap_or(1.0)]);
        assert!(numbers.into_iter().chain(metrics).all(f64::is_finite), "{row:?}: {report:?}");
        let text = serde_json::to_string(run.analysis.state()).unwrap();
        assert_eq!(&serde_json::from_str::<routing_rules::analysis::State>(&text).unwrap(), run.analysis.state());
    }
}

#[test]
fn a_phase_has_both_groups_and_grows() {
    for (share, next_share) in [(0, 100), (10_000, 10_000), (100, 100), (100, 10_001), (5_000, 1_000)] {
        assert_eq!(Phase::new(1, share, next_share), None, "{share} to {next_share}");
    }
    assert!(Phase::new(4, 9_500, 10_000).is_some());
}

/// Errors alone are judged, unless said otherwise, in a phase at 10 % of a release with four of them.
struct Run {
    analysis: Analysis,
    window: u64,
}

impl Run {
    fn new() -> Self {
        Self::usual(0.004)
    }

    fn usual(failure_rate: f64) -> Self {
        let mut options = Options::default();
        options.metrics = PerMetric::new(|metric| Limits {
            weight: if metric == Metric::Errors { 1.0 } else { 0.0 },
            ..options.metrics[metric]
        });
        Self::with(Settings::new(options).unwrap(), failure_rate, 1.0)
    }

    fn with_dispersion(dispersion: f64) -> Self {
        let mut run = Self::new();
        run.analysis.set_dispersion(Dispersion::at(PerMetric::new(|_| dispersion)).unwrap());
        run
    }

    fn all_metrics() -> Self {
        Self::with(Settings::default(), 0.004, 1.0)
    }

    fn with(settings: Settings, failure_rate: f64, dispersion: f64) -> Self {
        let first = Phase::new(1, 1_000, 2_000).unwrap();
        let mut analysis = Analysis::new(
            settings,
            Start { phases: 4, first, edges: Some(edges(40)), usual_failure_rate: failure_rate, window: 0 },
        );
        analysis.set_dispersion(Dispersion::at(PerMetric::new(|_| dispersion)).unwrap());
        Self { analysis, window: 0 }
    }

    fn next(&mut self) -> u64 {
        self.window += 1;
        self.window
    }

    fn window(&mut self, row: Row) -> Window {
        Window::new(self.next()).with("all", &record(row))
    }

    fn close(&mut self, row: Row) -> Verdict {
        self.close_record(&record(row))
    }

    fn close_record(&mut self, record: &Record) -> Verdict {
        let window = Window::new(self.next()).with("all", record);
        self.analysis.close(&window).unwrap()
    }

    /// The verdict after the last of so many windows.
    fn repeat(&mut self, times: usize, row: Row) -> Verdict {
        (0..times).map(|_| self.close(row)).last().unwrap()
    }
}

fn phase(number: u32, share: u16) -> Phase {
    Phase::new(number, share, share + 1_000).unwrap()
}

fn record([canary_failed, canary, control_failed, control]: Row) -> Record {
    let arm = |failed, requests| Arm { requests, failed, ..Arm::default() };
    Record { canary: arm(canary_failed, canary), control: arm(control_failed, control) }
}

fn latencies(index: i32, requests: u64) -> Arm {
    Arm { requests, latencies: [(Latency::at(index), requests)].into_iter().collect(), ..Arm::default() }
}

/// All four in one step.
fn edges(index: i32) -> Edges {
    let history: Histogram = [(Latency::at(index), 1_000)].into_iter().collect();
    Edges::of_history([(600, &history)]).unwrap()
}
