use std::sync::Arc;

use routing_rules::analysis::{Arm, Division, Latency, PreflightReport, Record};
use routing_rules::release::{Canary, Command, Pace, ReleaseRecord, SignedCommand};
use routing_rules::rules::Release;
use routing_rules::spec::Percent;

use super::Finding;
use super::advice::Advice;
use super::course::Course;
use super::known::StoredAnalysis;
use super::observed::{Seen, Stage};
use super::reporter::Report;
use super::total::total;

/// Two minutes of 0 % come first.
fn rules(mode: &str, more: &str) -> Release {
    let text = format!(
        r#"{{"stable": "old", "canary": "new", "audience": [{{"name": "all"}}], "phases": [{{"percent": 0, "lasts": "2m"}}, 10, 100],
            "analysis": {{"mode": "{mode}"}}{more}}}"#
    );
    Release::new("r", &serde_json::from_str(&text).unwrap(), &mut Vec::new()).unwrap()
}

fn arm(requests: u64, failed: u64) -> Arm {
    let latencies = [(Latency::of_us(18_000), requests - failed)].into_iter().collect();
    Arm { requests, failed, latencies, ..Arm::default() }
}

/// Five seconds in which so many requests of the users who come in first fail, of a tenth of all.
fn all(requests: u64, failed: u64) -> [(&'static str, Record); 1] {
    let others = arm(9 * requests, requests / 20);
    [("all", Record { canary: arm(requests, failed), control: others })]
}

/// A release under way, as its analysis sees it.
struct Trial {
    rules: Arc<Release>,
    record: ReleaseRecord,
    course: Course,
    window: u64,
}

impl Trial {
    fn new(rules: Release) -> Self {
        let record = ReleaseRecord::begin(&rules, 7, None, 0);
        let course = Course::new(&rules, StoredAnalysis::default());
        Self { rules: rules.into(), record, course, window: 1_000 }
    }

    /// A window of the release as it stands, or as it stood.
    fn take(&mut self, record: &ReleaseRecord, is_whole: bool, rules: &[(&str, Record)]) {
        self.window += 1;
        let rules = rules.iter().map(|(name, record)| (Box::from(*name), record.clone())).collect();
        let seen = Seen { stage: Stage::of(record), is_whole, rules, block: None };
        let releases = [(self.rules.name().clone(), seen)].into();
        let report = Report { window: self.window, releases, ..Report::default() };
        self.course.take(&self.rules, self.window, &total(&self.rules, &[&report], 0).unwrap());
    }

    fn take_many(&mut self, windows: usize, rules: &[(&str, Record)]) {
        let record = self.record.clone();
        (0..windows).for_each(|_| self.take(&record, true, rules));
    }

    fn unix_s(&self) -> u64 {
        5 * (self.window + 1)
    }

    fn advice(&self) -> Advice {
        Advice::of(Some(self.course.known()), &self.rules, Some(&self.record), self.unix_s())
    }

    /// In a word.
    fn advised(&self) -> &'static str {
        match self.advice() {
            Advice::Clock => "clock",
            Advice::Held => "held",
            Advice::Promote(_) => "promote",
            Advice::Reshuffle(_) => "reshuffle",
            Advice::RollBack(_) => "roll back",
        }
    }

    fn shown(&self) -> Finding {
        Finding::of(self.course.known(), &self.rules, Some(&self.record), self.unix_s())
    }

    fn before(&self) -> Option<PreflightReport> {
        self.shown().before(&self.record).cloned()
    }

    fn seconds(&self) -> Option<u64> {
        self.before().map(|before| before.seconds)
    }

    fn division(&self) -> Option<Division> {
        self.before().map(|before| before.division)
    }

    fn order(&mut self, command: Command) {
        let order = SignedCommand { command, by: "anna", reason: "" };
        self.record = self.record.after(&order, &self.rules, 1_000 * self.unix_s()).unwrap().unwrap();
    }

    /// What becomes of it by itself.
    fn go_on(&mut self) -> bool {
        let next = self.record.by_itself(&self.rules, Canary::Up, self.advice().pace(), 1_000 * self.unix_s());
        next.map(|next| self.record = next).is_some()
    }
}

#[test]
fn who_is_like_all_others_may_come_in_when_the_time_is_over() {
    for (mode, over) in [("guard", "clock"), ("drive", "promote"), ("observe", "clock")] {
        let mut trial = Trial::new(rules(mode, ""));
        let meanwhile = if mode == "observe" { "clock" } else { "held" };
        assert_eq!(trial.advised(), meanwhile, "nothing is known yet");
        // Some 1000 answers say what is slow.
        trial.take_many(1, &all(200, 1));
        assert_eq!((trial.seconds(), trial.division()), (Some(0), Some(Division::Comparing)));
        trial.take_many(23, &all(200, 1));
        assert_eq!((trial.seconds(), trial.advised()), (Some(115), meanwhile), "{mode}");
        trial.take_many(1, &all(200, 1));
        assert_eq!((trial.seconds(), trial.division(), trial.advised()), (Some(120), Some(Division::Even), over));
        assert!(trial.go_on(), "{mode}");
        assert_eq!(trial.record.state.percent.basis_points(), 1_000);
        // The run begins with the first users, and what was before is over.
        trial.take_many(2, &all(200, 1));
        assert!(trial.course.known().before.is_none() && trial.course.known().run.is_some());
        assert_eq!(trial.shown().of, Some(trial.record.number));
    }
}

#[test]
fn without_an_end_of_the_phase_the_option_says_how_long_it_takes() {
    let text = r#"{"stable": "old", "canary": "new", "audience": [{"name": "all"}], "phases": [0, 10, 100],
        "analysis": {"mode": "drive", "preflight": "30s"}}"#;
    let mut trial = Trial::new(Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap());
    trial.take_many(6, &all(200, 1));
    assert_eq!(trial.advised(), "held");
    trial.take_many(1, &all(200, 1));
    assert_eq!(trial.advised(), "promote");
}

#[test]
fn three_other_salts_are_tried_each_for_one_reason_and_then_it_waits_for_somebody() {
    let mut trial = Trial::new(rules("drive", ""));
    for salts in 0..3 {
        assert_eq!(trial.record.salts, salts);
        let before = trial.record.clone();
        while trial.advised() == "held" {
            trial.take_many(1, &all(200, 20));
        }
        assert_eq!(trial.advised(), "reshuffle");
        assert!(trial.go_on());
        assert_eq!((trial.record.salts, &*trial.record.last.action), (salts + 1, "reshuffle"));
        let reason = &trial.record.last.reason;
        assert!(reason.starts_with("Before the release: the next 10 % are unlike all others"), "{reason}");
        // What was counted with the last salt says nothing of this one, nor what is of both.
        assert_eq!((trial.advised(), trial.seconds()), ("held", None));
        trial.take(&before, true, &all(200, 20));
        assert_eq!((trial.advised(), trial.seconds()), ("held", None));
        let now = trial.record.clone();
        trial.take(&now, false, &all(200, 20));
        assert_eq!((trial.advised(), trial.seconds()), ("held", Some(0)));
    }
    trial.take_many(200, &all(200, 20));
    assert_eq!((trial.advised(), trial.division()), ("held", Some(Division::Uneven)));
    assert!(!trial.go_on());
    let text = trial.before().unwrap().text;
    assert!(
        text.ends_with("So were those whom other salts chose. Look into it, or promote the release by hand."),
        "{text}"
    );
    trial.order(Command::Promote);
    assert_eq!(trial.record.state.percent.basis_points(), 1_000);
}

#[test]
fn an_observer_only_shows_it_and_a_salt_that_was_written_stays() {
    let mut trial = Trial::new(rules("observe", ""));
    trial.take_many(20, &all(200, 20));
    assert_eq!((trial.advised(), trial.division()), ("clock", Some(Division::NewSalt)));
    for more in [
        r#", "sticky": {"salt": "000102030405060708090a0b0c0d0e0f"}"#,
        r#", "audience": [{"name": "office", "percent": 50}, {"name": "all"}]"#,
    ] {
        let text = rules("guard", "").written().clone();
        let mut spec = serde_json::to_value(&*text).unwrap();
        let more: serde_json::Value = serde_json::from_str(&format!("{{{}}}", &more[1..])).unwrap();
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = serde_json::from_value(spec).unwrap();
        let mut trial = Trial::new(Release::new("r", &spec, &mut Vec::new()).unwrap());
        trial.take_many(20, &all(200, 20));
        assert_eq!((trial.advised(), trial.division()), ("held", Some(Division::Uneven)), "{more:?}");
    }
}

#[test]
fn rules_with_a_percent_of_their_own_have_a_canary_already_and_are_not_compared() {
    let audience = r#"{"stable": "old", "canary": "new", "audience": [{"name": "office", "percent": 50}, {"name": "all"}],
        "phases": [{"percent": 0, "lasts": "2m"}, 10, 100], "analysis": {"mode": "guard"}}"#;
    let mut trial = Trial::new(Release::new("r", &serde_json::from_str(audience).unwrap(), &mut Vec::new()).unwrap());
    let bad = Record { canary: arm(500, 250), control: arm(500, 0) };
    trial.take_many(30, &[("office", bad), all(200, 1)[0].clone()]);
    assert_eq!((trial.advised(), trial.division()), ("clock", Some(Division::Even)));
}

#[test]
fn it_begins_when_stable_is_known_and_does_not_wait_for_ever() {
    let mut trial = Trial::new(rules("guard", ""));
    // With few answers it takes ten minutes until they say what is slow.
    let few = [("all", Record { canary: arm(1, 0), control: arm(2, 0) })];
    trial.take_many(121, &few);
    assert_eq!((trial.seconds(), trial.advised()), (Some(0), "held"));
    trial.take_many(24, &few);
    assert_eq!((trial.seconds(), trial.advised()), (Some(120), "clock"));
    let mut idle = Trial::new(rules("guard", ""));
    idle.take_many(145, &[]);
    assert_eq!((idle.seconds(), idle.advised()), (Some(120), "clock"));
}

#[test]
fn what_comes_between_begins_it_anew_or_takes_no_time() {
    let mut trial = Trial::new(rules("guard", ""));
    trial.take_many(11, &all(200, 1));
    assert_eq!(trial.seconds(), Some(50));
    // A pause changes nothing of who is compared; what was found before it says nothing until a window knows of it.
    trial.order(Command::Pause);
    assert_eq!(trial.seconds(), None);
    trial.take_many(1, &all(200, 1));
    assert_eq!(trial.seconds(), Some(55));
    // Other rules choose others.
    trial.record = ReleaseRecord { epoch: 1, number: trial.record.number + 1, ..trial.record.clone() };
    trial.take_many(1, &all(200, 1));
    assert_eq!(trial.seconds(), Some(5));
}

#[test]
fn a_run_that_goes_back_to_nobody_is_compared_before_again_and_keeps_its_evidence() {
    let mut trial = Trial::new(rules("guard", ""));
    trial.order(Command::Promote);
    trial.take_many(30, &all(200, 1));
    let evidence = |trial: &Trial| trial.shown().report.unwrap().evidence;
    let before = evidence(&trial);
    trial.order(Command::Set(Percent::ZERO));
    trial.take_many(3, &all(200, 1));
    assert_eq!((trial.seconds(), trial.advised()), (Some(15), "held"));
    trial.order(Command::Promote);
    let now = trial.record.clone();
    trial.take(&now, false, &all(200, 1));
    assert_eq!((evidence(&trial), trial.seconds()), (before, None));
}

#[test]
fn a_process_that_starts_again_goes_on_and_reads_what_earlier_versions_stored() {
    let mut trial = Trial::new(rules("guard", ""));
    trial.take_many(11, &all(200, 1));
    let stored = trial.course.stored();
    let text = serde_json::to_string(&stored).unwrap();
    assert_eq!(serde_json::from_str::<StoredAnalysis>(&text).unwrap(), stored, "{text}");
    trial.course = Course::new(&trial.rules, stored);
    trial.take_many(1, &all(200, 1));
    assert_eq!(trial.seconds(), Some(55), "though this process knows nothing of stable yet");

    trial.order(Command::Promote);
    trial.take_many(5, &all(200, 1));
    let stored = trial.course.stored();
    let value = serde_json::to_value(&stored).unwrap();
    assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["run"]);
    // The run alone, as it was once.
    assert_eq!(serde_json::from_value::<StoredAnalysis>(value["run"].clone()).unwrap(), stored);
    let with = |state: serde_json::Value| {
        let mut value = value.clone();
        value["run"]["state"] = state;
        serde_json::from_value::<StoredAnalysis>(value)
    };
    assert!(with("nothing to read".into()).is_err());
}

#[test]
fn counts_of_another_salt_are_not_added_up() {
    let trial = Trial::new(rules("guard", ""));
    let stage = Stage::of(&trial.record);
    let number = trial.record.number + 1;
    let other = trial.record.by_itself(&trial.rules, Canary::Up, Pace::Reshuffled("uneven"), 0).unwrap();
    assert!(!stage.is_like(&Stage::of(&other)) && stage.is_like(&Stage { number, ..stage.clone() }));
    let seen = |stage: Stage, requests| {
        let rules = all(requests, 0).into_iter().map(|(name, record)| (name.into(), record)).collect();
        let seen = Seen { stage, is_whole: true, rules, block: None };
        Report { window: 7, releases: [(trial.rules.name().clone(), seen)].into(), ..Report::default() }
    };
    let (one, another) = (seen(stage, 50), seen(Stage::of(&other), 30));
    let sum = total(&trial.rules, &[&one, &another], 0).unwrap();
    assert_eq!((sum.rules["all"].canary.requests, sum.missing, sum.stage.salts), (30, 1, 1));
}
