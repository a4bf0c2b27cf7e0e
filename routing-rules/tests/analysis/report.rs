//! What people read.

use routing_rules::analysis::{
    Analysis, Arm, Dispersion, Edges, Histogram, Latency, PerMetric, Phase, Record, Settings, Start, Verdict, Window,
};

use crate::vectors::errors_only;

type Row = [u64; 4];

const QUIET: Row = [0, 50, 2, 450];

fn analysis(settings: Settings) -> Analysis {
    let history: Histogram = [(Latency::at(40), 1_000)].into_iter().collect();
    let edges = Edges::of_history([(600, &history)]);
    let first = Phase::new(1, 1_000, 2_000).unwrap();
    let start = Start { phases: 4, first, edges, usual_failure_rate: 0.004, window: 0 };
    let mut analysis = Analysis::new(settings, start);
    analysis.set_dispersion(Dispersion::NONE);
    analysis
}

fn close(analysis: &mut Analysis, rows: impl IntoIterator<Item = Row>) -> Verdict {
    let arm = |failed, requests| Arm { requests, failed, ..Arm::default() };
    for [canary_failed, canary, control_failed, control] in rows {
        let record = Record { canary: arm(canary_failed, canary), control: arm(control_failed, control) };
        let number = analysis.state().window() + 1;
        analysis.close(&Window::new(number).with("all", &record)).unwrap();
    }
    analysis.verdict()
}

fn text(analysis: &Analysis) -> String {
    let end_s = (analysis.state().window() + 1) * 5;
    analysis.report(end_s).text
}

/// V2 of the specification and its text (§8), whose bound is 0.06: with everything clipped that a window says, of any
/// difference. Clipped as it is here it is 0.0545, which is on the safe side of it.
#[test]
fn a_rollback() {
    let mut analysis = analysis(errors_only());
    close(&mut analysis, [QUIET; 12]);
    close(&mut analysis, [[3, 50, 2, 450], [4, 50, 1, 450], [5, 50, 3, 450]]);
    assert_eq!(
        text(&analysis),
        "Errors: canary 1.60 % (12/750), stable 0.44 % (30/6750), 3.6 times; allowed 1.25 times + 0.01 pt. Difference \
         at least 0.05 pt. Evidence 262 >= 100: a false alarm has probability <= 1 % over this release."
    );
}

#[test]
fn a_suspicion() {
    let mut analysis = analysis(errors_only());
    analysis.set_dispersion(Dispersion::at(PerMetric::new(|_| 2.5)).unwrap());
    close(&mut analysis, [QUIET; 12]);
    close(&mut analysis, [[3, 50, 2, 450], [4, 50, 1, 450], [5, 50, 3, 450], [4, 50, 2, 450]]);
    let text = text(&analysis);
    assert!(text.starts_with("Errors: canary 2.00 % (16/800), stable 0.44 % (32/7200), 4.5 times;"), "{text}");
    assert!(text.ends_with("Evidence 16.6 of 100 for a rollback. The percent stays."), "{text}");
}

#[test]
fn waiting_and_promotion() {
    let mut analysis = analysis(errors_only());
    close(&mut analysis, [[0, 25, 1, 225]; 6]);
    assert_eq!(text(&analysis), "Errors not yet shown safe, G = 2.7 of 20.");
    close(&mut analysis, [[0, 25, 1, 225]; 7]);
    assert_eq!(text(&analysis), "Errors not yet shown safe, G = 11.6 of 20, about 15 s.");
    close(&mut analysis, [QUIET; 4]);
    assert_eq!(text(&analysis), "Shown safe so far: errors G = 76.8 of 20. The phase lasts 2 min at least.");
    close(&mut analysis, [QUIET; 8]);
    assert_eq!(text(&analysis), "Shown safe for 20 %: errors G = 4548 of 20.");
}

#[test]
fn a_phase_that_has_lasted_too_long() {
    let mut analysis = analysis(errors_only());
    close(&mut analysis, std::iter::repeat_n([0, 1, 0, 9], 720));
    assert_eq!(
        text(&analysis),
        "Not decided after 60 min: errors not yet shown safe, G = 11.1 of 20, about 13 min. The percent stays. Let the \
         phase last longer, promote it or roll it back."
    );
}

#[test]
fn holds() {
    let mut analysis = analysis(errors_only());
    close(&mut analysis, [QUIET, [9, 50, 45, 450]]);
    assert_eq!(
        text(&analysis),
        "Stable itself fails: errors 5.22 % in the last minute (47/900), 0.40 % is usual and 1.20 % the limit. It is an \
         outage, or damage that both have. The percent stays."
    );
    assert_eq!(analysis.report(65).text, "Nothing has been counted for 50 s. The percent stays.");
}

#[test]
fn slow_answers() {
    let mut analysis = analysis(Settings::default());
    let arm = |slow, answers| Arm {
        requests: answers,
        latencies: [(Latency::at(30), answers - slow), (Latency::at(44), slow)].into_iter().collect(),
        ..Arm::default()
    };
    let record = Record { canary: arm(20, 50), control: arm(20, 450) };
    let mut number = 0;
    while !matches!(analysis.verdict(), Verdict::RolledBack(_)) {
        number += 1;
        analysis.close(&Window::new(number).with("all", &record)).unwrap();
    }
    assert_eq!(
        text(&analysis),
        "p50: canary 40.00 % slower than 34.9 ms (60/150), stable 4.44 % slower than 32 ms (60/1350), 9.0 times; allowed \
         1 times. Evidence 1623 >= 100: a false alarm has probability <= 1 % over this release."
    );
}

#[test]
fn who_is_affected() {
    let mut analysis = analysis(errors_only());
    let arm = |failing_users, without_cookie| Arm {
        requests: 100,
        failed: failing_users,
        failing_users,
        without_cookie,
        ..Arm::default()
    };
    for (number, users) in [(1, 2), (2, 7), (3, 1)] {
        let record = Record { canary: arm(users, 30), control: arm(1, 10) };
        analysis.close(&Window::new(number).with("all", &record)).unwrap();
    }
    analysis.count_late();
    let report = analysis.report(20);
    assert_eq!((report.failing_users_canary, report.failing_users_control), (7, 1));
    assert_eq!((report.without_cookie, report.windows_used, report.records_late), (Some(0.2), 3, 1));
    assert_eq!((report.phase, report.share, report.phase_s), (1, 1_000, 15));
}
