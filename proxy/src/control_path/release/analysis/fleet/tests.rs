use std::collections::{BTreeMap, BTreeSet};

use routing_rules::analysis::{Arm, Division, Latency, Record, Verdict};
use routing_rules::rules::{Name, Release};
use routing_rules::spec::Percent;

use super::bench::{Bench, Closed};
use super::gathering::Gathering;
use super::kept::{Kept, KeptBlock, Unreadable};
use super::wire;
use crate::control_path::etcd::Value;
use crate::control_path::release::analysis::known::Known;
use crate::control_path::release::analysis::observed::{Seen, Stage};
use crate::control_path::release::analysis::reporter::Report;
use crate::control_path::release::analysis::run::Run;
use crate::control_path::release::analysis::sixteenths::{Sixteenths, ends_block};
use crate::control_path::release::analysis::total::total;
use crate::snapshot::SIXTEEN;

pub(super) fn rules() -> Release {
    let text = r#"{"stable": "old", "canary": "new", "audience": [{"name": "all"}, {"name": "office", "percent": 50}],
                   "phases": [10, 50, 100], "analysis": {"mode": "drive"}}"#;
    Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap()
}

pub(super) fn rules_with_preflight() -> Release {
    let text = r#"{"stable": "old", "canary": "new", "audience": [{"name": "all"}], "analysis": {"mode": "drive"},
                   "phases": [{"percent": 0, "lasts": "7m"}, 10, 100]}"#;
    Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn stage(number: u64) -> Stage {
    let percent = Percent::from_basis_points(1_000).unwrap();
    let (stable, canary) = (name("old"), name("new"));
    Stage { stable, canary, number, began: 1, epoch: 0, salts: 0, has_begun: true, percent, is_active: true }
}

/// Nobody is in yet.
pub(super) fn stage_before(salts: u8) -> Stage {
    Stage { percent: Percent::ZERO, number: 1 + u64::from(salts), salts, has_begun: false, ..stage(1) }
}

fn arm(requests: u64, failed: u64, latency_us: u64) -> Arm {
    let latencies = [(Latency::of_us(latency_us), requests - failed)].into_iter().collect();
    Arm { requests, failed, latencies, failing_users: failed.min(3), without_cookie: 0 }
}

/// So many requests of the canary, so many of them failed, and ten times as many of control.
pub(super) fn seen(requests: u64, failed: u64) -> Seen {
    let record = Record { canary: arm(requests, failed, 20_000), control: arm(10 * requests, requests / 10, 18_000) };
    Seen { stage: stage(1), is_whole: true, rules: [("all".into(), record)].into(), block: None }
}

fn block(random: &mut Random) -> Box<Sixteenths> {
    let mut block = Box::<Sixteenths>::default();
    block.has_many_endpoints = true;
    for place in 0..SIXTEEN {
        for outcomes in [&mut block.users[place], &mut block.endpoints[place]] {
            (outcomes.failed, outcomes.untimed) = (random.below(4), random.below(2));
            outcomes.latencies[30 + random.below(60) as usize] += 50 + random.below(20);
        }
    }
    block
}

/// The same numbers every time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

pub(super) fn report(window: u64, seen: Seen) -> Report {
    Report { window, releases: [(name("r"), seen)].into(), ..Report::default() }
}

#[test]
fn a_report_comes_back_as_it_was() {
    let mut random = Random(1);
    let mut full = seen(500, 20);
    full.rules.insert("office \"b\"".into(), full.rules["all"].clone());
    full.block = Some(block(&mut random));
    let (leaves, left_out) = (true, 3);
    let another = Seen { stage: Stage { salts: 2, ..stage(1) }, ..seen(5, 1) };
    let reports = [
        report(7, another),
        report(7, seen(0, 0)),
        Report { leaves, left_out, ..report(7, full) },
        Report { window: 7, ..Report::default() },
    ];
    for report in reports {
        let (text, left_out) = wire::write(&report);
        assert_eq!((wire::read(7, text.as_bytes()), left_out), (Ok(report), left_out));
    }
    let (text, _) = wire::write(&report(7, seen(500, 20)));
    assert!(text.len() < 300, "{text}");
}

#[test]
fn what_later_versions_add_is_passed_over_and_what_they_change_is_not_guessed() {
    let (text, _) = wire::write(&report(7, seen(5, 1)));
    let more = text.replacen('{', r#"{"more": [1], "#, 1).replace("\"whole\"", "\"besides\":{},\"whole\"");
    assert_eq!(wire::read(7, more.as_bytes()), Ok(report(7, seen(5, 1))));
    // Nor is there anything that earlier versions have not written, while it is none.
    assert!(!text.contains("salts"), "{text}");
    let other = text.replace("\"form\":1", "\"form\":2");
    assert_eq!(wire::read(7, other.as_bytes()), Err("it has form 2, which is not known here".to_owned()));
}

#[test]
fn what_nobody_has_written_is_refused() {
    let (text, _) =
        wire::write(&Report { window: 7, ..report(7, Seen { block: Some(block(&mut Random(2))), ..seen(5, 1) }) });
    let cases = [
        ("", "EOF"),
        ("{}", "missing field"),
        ("[[[[[[", "invalid type"),
        ("\u{0}\u{1}", "expected value"),
        (&text[..text.len() - 2], "EOF"),
        (&text.replace("[5,1,1,0", "[5,6,1,0"), "it counts what cannot be"),
        (&text.replace("[5,1,1,0", "[18446744073709551615,1,1,0"), "it counts what cannot be"),
        (&text.replace("[5,1,1,0", "[-5,1,1,0"), "invalid value"),
        (&text.replace(",1000,true]", ",10001,true]"), "there is no such percent"),
        (&text.replace("\"users\":[", "\"users\":[[0,0,[]],"), "it has 17 sixteenths"),
        (&text.replace("\"users\":[", "\"users\":[[0,0,[[187,1]]],"), "it has a latency that there is not"),
        (&text.replace("\"users\":[", "\"users\":[[0,99999999999999,[]],"), "it counts what cannot be"),
        (&text.replace("[\"old\",\"new\"]", "[\"old\",\"\"]"), ""),
    ];
    for (damaged, reason) in cases {
        let error = wire::read(7, damaged.as_bytes()).expect_err(damaged);
        assert!(error.contains(reason), "{damaged}: {error}");
    }
    let long = " ".repeat(wire::MOST_BYTES + 1);
    assert!(wire::read(7, long.as_bytes()).unwrap_err().contains("longer"));
}

#[test]
fn what_there_is_no_room_for_is_left_out_and_counted() {
    let mut random = Random(3);
    let mut many = |count: usize| -> BTreeMap<Name, Seen> {
        let mut seen = |_| Seen { block: Some(block(&mut random)), ..seen(500, 20) };
        (0..count).map(|number| (name(&format!("release-{number:05}")), seen(number))).collect()
    };
    for (count, keeps_all, keeps_blocks) in [(100, true, true), (3_000, true, false), (8_000, false, false)] {
        let releases = many(count);
        let (text, left_out) = wire::write(&Report { window: 7, releases, ..Report::default() });
        assert!(text.len() <= wire::MOST_BYTES, "{} bytes", text.len());
        let read = wire::read(7, text.as_bytes()).unwrap();
        let blocks = read.releases.values().filter(|seen| seen.block.is_some()).count();
        assert_eq!((read.releases.len() == count, blocks == count), (keeps_all, keeps_blocks), "{count}");
        let missing = count - read.releases.len() + read.releases.len() - blocks;
        assert_eq!((left_out, read.left_out), (missing as u64, missing as u64));
    }
}

#[test]
fn only_those_who_saw_the_same_are_added_up() {
    let rules = rules();
    let sum = |reports: &[Seen], absent| {
        let reports: Vec<_> = reports.iter().map(|seen| report(7, seen.clone())).collect();
        total(&rules, &reports.iter().collect::<Vec<_>>(), absent).unwrap()
    };
    let requests = |total: &crate::control_path::release::analysis::total::Total| total.rules["all"].canary.requests;
    let both = sum(&[seen(50, 1), seen(30, 0)], 0);
    assert_eq!((requests(&both), both.missing, both.is_whole), (80, 0, true));
    let paused = Seen { stage: stage(2), ..seen(50, 1) };
    let one_knows_more = sum(&[paused.clone(), seen(30, 0)], 1);
    assert_eq!((requests(&one_knows_more), one_knows_more.missing, one_knows_more.stage.number), (80, 1, 2));
    let percent = Percent::from_basis_points(5_000).unwrap();
    let grown = Seen { stage: Stage { percent, ..stage(2) }, ..seen(50, 1) };
    let one_is_behind = sum(&[grown.clone(), seen(30, 0)], 0);
    assert_eq!((requests(&one_is_behind), one_is_behind.missing), (50, 1));
    let mixed = Seen { is_whole: false, ..grown };
    let all_changed = sum(&[mixed.clone(), mixed], 0);
    assert_eq!((requests(&all_changed), all_changed.missing, all_changed.is_whole), (100, 0, false));
    let foreign = Seen { stage: Stage { canary: name("other"), ..stage(9) }, ..seen(30, 0) };
    let one_is_foreign = sum(&[seen(50, 1), foreign.clone()], 0);
    assert_eq!((requests(&one_is_foreign), one_is_foreign.missing), (50, 1));
    let foreign = report(7, foreign);
    assert!(total(&rules, &[&foreign], 0).is_none());
    let no_room = Report { window: 7, left_out: 1, ..Report::default() };
    let has_no_such = Report { window: 7, ..Report::default() };
    let said = report(7, seen(50, 1));
    assert_eq!(total(&rules, &[&said, &no_room, &has_no_such], 0).unwrap().missing, 1);
}

/// What etcd has of a fleet's analysis.
#[derive(Default)]
pub(super) struct Stored {
    revision: i64,
    pub(super) state: Option<Value>,
    pub(super) blocks: BTreeMap<String, Value>,
}

impl Stored {
    pub(super) fn value(&mut self, text: &str) -> Value {
        self.revision += 1;
        Value { bytes: text.as_bytes().into(), mod_revision: self.revision, create_revision: 1, lease: 0 }
    }

    pub(super) fn keep(&mut self, closed: &Closed) -> i64 {
        assert_eq!(closed.behind, self.state.as_ref().map_or(0, |state| state.mod_revision));
        for (number, text) in &closed.blocks {
            let value = self.value(text);
            assert!(self.blocks.insert(format!("r/{number}"), value).is_none(), "five minutes are over once");
        }
        self.state = Some(self.value(&closed.text));
        self.revision
    }

    pub(super) fn bench(&self) -> Bench {
        let states = self.state.iter().map(|value| ("r", value));
        Bench::of(states, self.blocks.iter().map(|(rest, value)| (rest.as_str(), value)))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.state.as_ref().unwrap().bytes).unwrap()
    }
}

pub(super) const FIRST: u64 = 1_000;

/// Who has written what, by window.
pub(super) type Recorded = BTreeMap<u64, Vec<(&'static str, String)>>;

/// Half an hour of three instances, as they write it: the percent grows, the rules are edited, one is away for some minutes, and
/// the canary gets worse. By window.
pub(super) fn recorded() -> Recorded {
    let mut random = Random(4);
    let mut recorded = Recorded::new();
    for window in FIRST..FIRST + 400 {
        let since = window - FIRST;
        let percent = Percent::from_basis_points(if since < 150 { 1_000 } else { 5_000 }).unwrap();
        let (number, epoch) = (1 + u64::from(since >= 150) + u64::from(since >= 250), u32::from(since >= 250));
        let is_whole = ![150, 250].contains(&since);
        let mut reports = Vec::new();
        for instance in ["a", "b", "c"] {
            let requests = 20 + random.below(30);
            let failed = if since < 300 { u64::from(random.below(100) < 20) } else { 4 };
            let is_away = instance == "c" && (100..120).contains(&since);
            let block = ends_block(window).then(|| block(&mut random));
            if is_away {
                continue;
            }
            let stage = Stage { percent, number, epoch, ..stage(1) };
            let seen = Seen { stage, is_whole, block, ..seen(requests, failed) };
            reports.push((instance, wire::write(&report(window, seen)).0));
        }
        recorded.insert(window, reports);
    }
    recorded
}

/// A quarter of an hour before a release: those who come in first fail more often than others, until a salt chooses others.
pub(super) fn recorded_before() -> Recorded {
    let mut random = Random(5);
    let mut recorded = Recorded::new();
    for window in FIRST..FIRST + 180 {
        let since = window - FIRST;
        let salts = u8::from(since >= 80);
        let stage = stage_before(salts);
        let reports = ["a", "b", "c"].map(|instance| {
            let failed = if salts == 0 { random.below(8) } else { u64::from(random.below(100) < 20) };
            let block = ends_block(window).then(|| block(&mut random));
            let seen =
                Seen { stage: stage.clone(), is_whole: since != 80, block, ..seen(20 + random.below(30), failed) };
            (instance, wire::write(&report(window, seen)).0)
        });
        recorded.insert(window, reports.into());
    }
    recorded
}

/// What is kept after each window, where another instance leads from each of these windows on.
pub(super) fn replay(changes: &[u64]) -> (BTreeMap<u64, String>, Stored) {
    replay_of(&rules(), &recorded(), changes)
}

pub(super) fn replay_of(rules: &Release, recorded: &Recorded, changes: &[u64]) -> (BTreeMap<u64, String>, Stored) {
    let live: BTreeSet<Box<str>> = ["a", "b", "c"].into_iter().map(Box::from).collect();
    let (mut stored, mut kept) = (Stored::default(), BTreeMap::new());
    let (mut bench, mut gathering) = (stored.bench(), Gathering::default());
    for (window, reports) in recorded {
        // Each is heard a moment after the end of its window.
        let unix_s = 5 * window + 6;
        if changes.contains(window) {
            (bench, gathering) = (stored.bench(), Gathering::default());
            // All that is in etcd yet.
            for (earlier, reports) in recorded.range(window.saturating_sub(150)..*window) {
                hear(&mut gathering, *earlier, reports, unix_s);
            }
        }
        hear(&mut gathering, *window, reports, unix_s);
        while let Some(closable) = gathering.next(&live, unix_s + 10) {
            if let Some(closed) = bench.close(rules, &closable, window + 1) {
                bench.keep(rules.name(), stored.keep(&closed));
                assert!(kept.insert(closable.window, closed.text).is_none(), "a window is closed once");
            }
        }
    }
    (kept, stored)
}

fn hear(gathering: &mut Gathering, window: u64, reports: &[(&str, String)], unix_s: u64) {
    for (instance, text) in reports {
        gathering.take(instance, wire::read(window, text.as_bytes()).unwrap(), unix_s);
    }
}

fn known(text: &str) -> Known {
    Kept::read(text.as_bytes()).unwrap().known(&rules()).unwrap()
}

pub(super) fn run(text: &str) -> Run {
    known(text).run.unwrap()
}

#[test]
fn whoever_leads_the_same_windows_give_the_same_state() {
    let (alone, stored) = replay(&[]);
    assert_eq!(alone.len(), 400);
    let every: Vec<u64> = (FIRST + 1..FIRST + 400).collect();
    let now_and_then = [FIRST + 1, FIRST + 61, FIRST + 111, FIRST + 150, FIRST + 151, FIRST + 251, FIRST + 330];
    for changes in [&every[..], &now_and_then] {
        let (changing, other) = replay(changes);
        for (window, text) in &alone {
            assert_eq!(changing.get(window), Some(text), "window {window}");
        }
        assert_eq!(other.blocks.keys().collect::<Vec<_>>(), stored.blocks.keys().collect::<Vec<_>>());
    }
    // It was no trifle.
    let analysis = run(stored.text()).analysis;
    let report = analysis.report(0);
    assert!(matches!(analysis.verdict(), Verdict::RolledBack(_)), "{}", report.text);
    assert!(report.windows_used > 200 && report.metrics.iter().all(|metric| metric.counts.control > 0), "{report:?}");
    assert!(report.metrics.iter().any(|metric| metric.dispersion > 1.0));
    assert!(stored.blocks.len() >= 6 && stored.text().len() < 6_000, "{} bytes", stored.text().len());
}

#[test]
fn whoever_leads_the_same_windows_say_the_same_of_those_who_come_in_first() {
    let (rules, recorded) = (rules_with_preflight(), recorded_before());
    let (alone, stored) = replay_of(&rules, &recorded, &[]);
    let every: Vec<u64> = (FIRST + 1..FIRST + 180).collect();
    for changes in [&every[..], &[FIRST + 40, FIRST + 80, FIRST + 130]] {
        assert_eq!(replay_of(&rules, &recorded, changes).0, alone);
    }
    let before = |text: &str| Kept::read(text.as_bytes()).unwrap().known(&rules).unwrap().before.unwrap();
    let divisions = [FIRST + 1, FIRST + 79, FIRST + 80, FIRST + 179].map(|window| before(&alone[&window]).division());
    assert_eq!(divisions, [Division::Comparing, Division::NewSalt, Division::Comparing, Division::Even]);
    let report = before(stored.text()).report();
    assert_eq!((report.newcomers.salts, report.seconds), (1, 420));
    assert!(report.trigger.is_some() && report.evidence != 1.0, "{}", report.text);
}

#[test]
fn what_a_later_version_keeps_is_left_alone_and_what_is_damaged_begins_anew() {
    let (kept, mut stored) = replay(&[]);
    let text = kept[&(FIRST + 200)].clone();
    let with = |old: &str, new: &str| text.replacen(old, new, 1);
    assert!(!text.contains("\"before\""), "as it always was: {text}");
    assert_eq!(Kept::read(with("\"form\":1", "\"form\":2").as_bytes()).unwrap_err(), Unreadable::Newer(2));
    assert!(Kept::read(with("{", "{\"more\":{},").as_bytes()).is_ok());
    for damaged in
        ["", "{}", "null", &with("\"form\":1", "\"form\":0"), &with("\"window\":", "\"window\":-"), &text[1..]]
    {
        assert!(matches!(Kept::read(damaged.as_bytes()), Err(Unreadable::Damaged(_))), "{damaged}");
    }
    for damaged in ["", "{}", r#"{"form":1,"of":["old","new"],"number":18446744073709551615,"steps":[]}"#] {
        assert!(matches!(KeptBlock::read(damaged.as_bytes()), Err(Unreadable::Damaged(_))), "{damaged}");
    }
    let mut gathering = Gathering::default();
    gathering.take("a", report(5_000, seen(50, 1)), 25_005);
    let closable = gathering.next(&BTreeSet::new(), 25_005).unwrap();
    stored.state = Some(stored.value(&with("\"form\":1", "\"form\":2")));
    assert_eq!(stored.bench().close(&rules(), &closable, 5_001), None);
    stored.state = Some(stored.value("nothing to read"));
    let closed = stored.bench().close(&rules(), &closable, 5_001).unwrap();
    assert_eq!(closed.behind, stored.revision, "it takes the place of what is there");
    // Other versions of the same name begin anew, too.
    stored.state = Some(stored.value(&text.replace("[\"old\",\"new\"]", "[\"old\",\"newer\"]")));
    let anew = stored.bench().close(&rules(), &closable, 5_001).unwrap();
    assert_eq!(anew.text, closed.text);
}

#[test]
fn a_gap_begins_the_phase_anew_and_keeps_the_evidence() {
    let (_, stored) = replay(&[]);
    let mut bench = stored.bench();
    let mut gathering = Gathering::default();
    let window = FIRST + 460;
    let percent = Percent::from_basis_points(5_000).unwrap();
    let later = Seen { stage: Stage { percent, number: 3, epoch: 1, ..stage(1) }, ..seen(50, 0) };
    gathering.take("a", report(window, later), 5 * window);
    let closable = gathering.next(&BTreeSet::new(), 5 * window).unwrap();
    let closed = bench.close(&rules(), &closable, window).unwrap();
    let (before, after) = (run(stored.text()), run(&closed.text));
    assert_eq!(before.analysis.report(0).evidence, after.analysis.report(0).evidence);
}
