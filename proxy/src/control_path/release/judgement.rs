//! What is to be said of a release: what it is and what its analysis says, in one word, for pipelines and people.
//!
//! Nothing is judged here.

use routing_rules::analysis::{Division, PreflightReport, Verdict};
use routing_rules::release::{Hold, ReleaseRecord, Status};
use routing_rules::rules::{AnalysisMode, Release};
use routing_rules::spec::Percent;

use super::Finding;

/// What is said of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// `promote`, `rolled_back`, `hold`, `observing` or `inconclusive`.
    pub verdict: &'static str,
    /// Whether it stays so unless somebody changes the release.
    pub is_decided: bool,
    /// The same in words.
    pub reason: String,
}

impl Judgement {
    /// What is said of a release. `None` if nobody judges.
    pub fn of(rules: &Release, record: Option<&ReleaseRecord>, finding: Option<&Finding>) -> Option<Self> {
        let decided = |verdict, reason: &str| Some(Self::decided(verdict, reason));
        let waits = |verdict, reason: &str| Some(Self::waits(verdict, reason));
        let mode = rules.analysis().mode;
        let Some(record) = record else { return waits("observing", "the release is about to begin") };
        match record.state.status {
            Status::RolledBack => return decided("rolled_back", &by(record)),
            Status::Completed => return decided("promote", &by(record)),
            Status::Running | Status::Paused if mode == AnalysisMode::Off => return None,
            Status::Paused => return waits("hold", &by(record)),
            Status::Running => {}
        }
        if let Some(hold) = record.hold.filter(|hold| hold.is_canary_out()) {
            return waits("hold", &format!("{}: stable serves its users", hold.as_str()));
        }
        let said = said_running(rules, record, finding);
        // It is no answer to what is wrong with the canary, which its users have all the while.
        let waits_for_room = record.hold == Some(Hold::Headroom) && matches!(said.verdict, "promote" | "observing");
        match waits_for_room {
            true => waits("hold", "headroom: its endpoints have no room for the users of the next phase"),
            false => Some(said),
        }
    }

    fn decided(verdict: &'static str, reason: &str) -> Self {
        Self { verdict, is_decided: true, reason: reason.to_owned() }
    }

    fn waits(verdict: &'static str, reason: &str) -> Self {
        Self { verdict, is_decided: false, reason: reason.to_owned() }
    }
}

/// Of a release that runs, whose canary serves.
fn said_running(rules: &Release, record: &ReleaseRecord, finding: Option<&Finding>) -> Judgement {
    let mode = rules.analysis().mode;
    let (is_driven, lasts) = (mode == AnalysisMode::Drive, record.phase(rules).and_then(|phase| phase.lasts));
    if record.state.preflight(rules).is_some() {
        let before = finding.and_then(|finding| finding.before(record));
        return said_before(mode, lasts.is_some(), before);
    }
    match record.state.percent {
        Percent::ZERO | Percent::ALL if lasts.is_some() => {
            return Judgement::waits("observing", "there is nobody to compare, and the phase ends by itself");
        }
        Percent::ZERO => {
            return Judgement::decided(
                "inconclusive",
                "nobody is in the canary group by the phase: there is nobody to compare",
            );
        }
        Percent::ALL if is_driven => return Judgement::decided("promote", "everybody is in the canary group"),
        Percent::ALL => {
            return Judgement::decided(
                "inconclusive",
                "everybody is in the canary group: there is nobody to compare with",
            );
        }
        _ => {}
    }
    let finding = finding.filter(|finding| finding.of == Some(record.number));
    let Some(report) = finding.and_then(|finding| finding.report.as_ref()) else {
        return Judgement::waits("observing", NOTHING_YET);
    };
    let is_last = rules.phases().iter().all(|phase| phase.percent <= record.state.percent);
    match report.verdict {
        // Serin does it in a moment, or another verdict is about to come.
        Verdict::RolledBack(_) if mode >= AnalysisMode::Guard => Judgement::waits("observing", &report.text),
        // It is about a phase that Serin ends by itself, and the release goes on.
        Verdict::Promote if is_driven && !is_last => Judgement::waits("observing", &report.text),
        Verdict::RolledBack(_) => Judgement::decided("rolled_back", &report.text),
        Verdict::Promote => Judgement::decided("promote", &report.text),
        Verdict::Inconclusive => Judgement::decided("inconclusive", &report.text),
        Verdict::HoldData(_) | Verdict::HoldCommon | Verdict::Suspect(_) => Judgement::waits("hold", &report.text),
        Verdict::Observing => Judgement::waits("observing", &report.text),
    }
}

/// Whether it may begin. What happens by itself is not for somebody to carry out.
fn said_before(mode: AnalysisMode, has_end: bool, before: Option<&PreflightReport>) -> Judgement {
    let is_held = mode >= AnalysisMode::Guard;
    let begins = has_end || mode == AnalysisMode::Drive;
    let decided = match before.map(|before| before.division) {
        Some(Division::Even) if !begins => Some("promote"),
        Some(Division::Uneven) if is_held || !has_end => Some("inconclusive"),
        Some(Division::NewSalt) if !is_held && !has_end => Some("inconclusive"),
        _ => None,
    };
    let reason = before.map_or_else(|| NOTHING_YET.to_owned(), |before| before.text.clone());
    Judgement { verdict: decided.unwrap_or("observing"), is_decided: decided.is_some(), reason }
}

/// `rollback by anna: checkout is slow`
pub(super) fn by(record: &ReleaseRecord) -> String {
    let last = &record.last;
    match &*last.reason {
        "" => format!("{} by {}", last.action, last.by),
        reason => format!("{} by {}: {reason}", last.action, last.by),
    }
}

const NOTHING_YET: &str = "nothing is known yet of the release as it is now";

#[cfg(test)]
mod tests {
    use routing_rules::analysis::{Analysis, Metric, Newcomers, Phase, Preflight, Report, Settings, Start};
    use routing_rules::release::{Canary, Command, Pace, SignedCommand};

    use super::*;

    fn rules(mode: &str) -> Release {
        let text = format!(
            r#"{{"stable": "a", "canary": "b", "audience": [{{"name": "all"}}], "phases": [0, 10, 50, 100], "analysis": {{"mode": "{mode}"}}}}"#
        );
        Release::new("r", &serde_json::from_str(&text).unwrap(), &mut Vec::new()).unwrap()
    }

    /// What an analysis of a phase of so many percent might say.
    fn finding(of: u64, percent: u16, verdict: Verdict) -> Finding {
        let first = Phase::new(1, 100 * percent, 10_000).unwrap();
        let start = Start { phases: 3, first, edges: None, usual_failure_rate: 1.0, window: 1 };
        let report = Analysis::new(Settings::default(), start).report(5);
        let report = Report { verdict, text: "so it is".to_owned(), ..report };
        Finding { report: Some(report), of: Some(of), before: None }
    }

    /// An hour after these orders.
    fn after(rules: &Release, orders: &[Command]) -> ReleaseRecord {
        let begun = ReleaseRecord::begin(rules, 0, None, 0);
        orders.iter().fold(begun, |record, command| {
            let order = SignedCommand { command: *command, by: "anna", reason: "why not" };
            record.after(&order, rules, 0).unwrap().unwrap()
        })
    }

    #[track_caller]
    fn check(mode: &str, orders: &[Command], verdict: Option<Verdict>, expected: (&'static str, bool)) {
        let rules = rules(mode);
        let record = after(&rules, orders);
        let finding = verdict.map(|verdict| finding(record.number, 10, verdict));
        let said = Judgement::of(&rules, Some(&record), finding.as_ref()).unwrap();
        assert_eq!((said.verdict, said.is_decided), expected, "{mode} {orders:?}: {}", said.reason);
    }

    const AT_TEN: &[Command] = &[Command::Promote];

    #[test]
    fn what_a_release_is_goes_before_what_is_said_of_it() {
        let good = || Some(Verdict::Promote);
        check("guard", AT_TEN, good(), ("promote", true));
        check("guard", &[Command::Promote, Command::Rollback], good(), ("rolled_back", true));
        check("guard", &[Command::Promote, Command::Pause], good(), ("hold", false));
        check("guard", &[Command::Complete], None, ("promote", true));
        check("guard", &[], None, ("observing", false));
        check("guard", &[Command::Set(Percent::ALL)], None, ("inconclusive", true));
        check("drive", &[Command::Set(Percent::ALL)], None, ("promote", true));
        let rules = rules("guard");
        assert_eq!(Judgement::of(&rules, None, None).unwrap().verdict, "observing");
        let down = after(&rules, AT_TEN).by_itself(&rules, Canary::Down, Pace::Clock, 0).unwrap();
        assert_eq!(
            Judgement::of(&rules, Some(&down), Some(&finding(2, 10, Verdict::Promote))).unwrap().verdict,
            "hold"
        );
    }

    #[test]
    fn before_it_begins_it_is_asked_whether_it_may() {
        use Division::{Comparing, Even, NewSalt, Uneven};
        let newcomers = Newcomers { share: 1_000, lasts_s: 600, salts: 0, may_have_another: true };
        for (mode, has_end, division, expected) in [
            ("guard", false, Comparing, ("observing", false)),
            ("guard", false, Even, ("promote", true)),
            ("guard", true, Even, ("observing", false)),
            ("drive", false, Even, ("observing", false)),
            ("guard", false, NewSalt, ("observing", false)),
            ("observe", false, NewSalt, ("inconclusive", true)),
            ("observe", true, NewSalt, ("observing", false)),
            ("guard", true, Uneven, ("inconclusive", true)),
            ("observe", true, Uneven, ("observing", false)),
        ] {
            let report = Preflight::new(Settings::default(), newcomers).report();
            let report = PreflightReport { division, ..report };
            let Judgement { verdict, is_decided, reason } =
                said_before(rules(mode).analysis().mode, has_end, Some(&report));
            assert_eq!((verdict, is_decided), expected, "{mode} {has_end} {division:?}");
            assert_eq!(reason, report.text);
        }
    }

    #[test]
    fn a_phase_that_waits_for_room_is_not_to_be_ended_by_others() {
        let rules = rules("drive");
        let record = ReleaseRecord { hold: Some(Hold::Headroom), ..after(&rules, AT_TEN) };
        let said = Judgement::of(&rules, Some(&record), Some(&finding(record.number, 10, Verdict::Promote))).unwrap();
        assert_eq!((said.verdict, said.is_decided), ("hold", false));
        assert!(said.reason.starts_with("headroom: "), "{}", said.reason);
        // Its users are on the canary all the while.
        let (rules, worse) = (super::tests::rules("observe"), Verdict::RolledBack(Metric::Errors));
        let said = Judgement::of(&rules, Some(&record), Some(&finding(record.number, 10, worse))).unwrap();
        assert_eq!((said.verdict, said.is_decided), ("rolled_back", true));
    }

    #[test]
    fn nothing_is_said_by_what_was_before() {
        check("guard", AT_TEN, None, ("observing", false));
        let rules = rules("observe");
        let record = after(&rules, AT_TEN);
        let of = |number| {
            Judgement::of(&rules, Some(&record), Some(&finding(number, 10, Verdict::Promote))).unwrap().verdict
        };
        assert_eq!((of(record.number - 1), of(record.number)), ("observing", "promote"));
        let stale = Finding { of: None, ..finding(1, 10, Verdict::Promote) };
        assert_eq!(Judgement::of(&rules, Some(&record), Some(&stale)).unwrap().verdict, "observing");
    }

    #[test]
    fn who_carries_a_verdict_out_depends_on_the_mode() {
        let worse = || Some(Verdict::RolledBack(Metric::Errors));
        check("observe", AT_TEN, worse(), ("rolled_back", true));
        check("guard", AT_TEN, worse(), ("observing", false));
        check("drive", AT_TEN, Some(Verdict::Promote), ("observing", false));
        check("guard", AT_TEN, Some(Verdict::Suspect(Metric::Errors)), ("hold", false));
        check("drive", AT_TEN, Some(Verdict::Inconclusive), ("inconclusive", true));
        let off = rules("off");
        assert_eq!(Judgement::of(&off, Some(&after(&off, AT_TEN)), None), None);
        let over = after(&off, &[Command::Promote, Command::Rollback]);
        assert_eq!(Judgement::of(&off, Some(&over), None).unwrap().reason, "rollback by anna: why not");
    }
}
