//! Releases on their way: what orders, time and a falling canary make of a record.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use routing_rules::release::{
    Canary, Clock, Command, Hold, Pace, ReleaseContext, ReleaseRecord, ReleaseState, SignedCommand, Status,
};
use routing_rules::rules::Release;
use routing_rules::spec::{Percent, ReleaseSpec};

const START_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;

fn release(extra: &str) -> Release {
    release_of(&format!(r#"{{"name": "everyone"}}], {extra}"#))
}

/// With these rules, and what follows them.
fn release_of(audience: &str) -> Release {
    let text = format!(r#"{{"stable": "shop", "canary": "shop-v2", "audience": [{audience}}}"#);
    let spec: ReleaseSpec = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut problems = Vec::new();
    Release::new("next", &spec, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

fn percent(points: f64) -> Percent {
    Percent::from_basis_points((points * 100.0).round() as u16).unwrap()
}

fn by_anna(command: Command) -> SignedCommand<'static> {
    SignedCommand { command, by: "anna", reason: "why not" }
}

/// A release, told orders a minute apart. What each makes of it: status and percent, `=` if nothing changes, or why not.
fn tell(rules: &Release, orders: &[Command]) -> Vec<String> {
    let mut record = ReleaseRecord::begin(rules, 7, None, START_MS);
    let mut now_ms = START_MS;
    let say = |state: ReleaseState| format!("{} {}", state.status, state.percent);
    orders
        .iter()
        .map(|order| {
            now_ms += MINUTE_MS;
            match record.after(&by_anna(*order), rules, now_ms) {
                Ok(Some(next)) => {
                    assert_eq!(next.number, record.number + 1);
                    assert_eq!(next.since_ms, now_ms);
                    let last = (&*next.last.action, &*next.last.by, &*next.last.reason, next.last.at_ms);
                    assert_eq!(last, (order.as_str(), "anna", "why not", now_ms));
                    record = next;
                    say(record.state)
                }
                Ok(None) => "=".into(),
                Err(refusal) => refusal.to_string().split(':').next().unwrap_or_default().into(),
            }
        })
        .collect()
}

#[test]
fn orders() {
    use Command::{Complete, Pause, Promote, Resume, Rollback, Set, Start};
    let rules = release(r#""phases": [1, 10, 100]"#);
    let told = |orders: &[Command]| tell(&rules, orders).join(", ");
    assert_eq!(told(&[Promote, Promote, Promote, Promote]), "running 10, running 100, completed 100, it is completed");
    assert_eq!(
        told(&[Pause, Pause, Promote, Set(percent(12.5)), Promote, Resume, Resume]),
        "paused 1, =, paused 10, paused 12.5, paused 100, running 100, ="
    );
    assert_eq!(
        told(&[Promote, Rollback, Rollback, Promote, Pause, Complete, Set(percent(1.0)), Resume]),
        "running 10, rolled_back 10, =, it is rolled back, it is rolled back, it is rolled back, it is rolled back, running 10"
    );
    assert_eq!(told(&[Promote, Rollback, Start, Start]), "running 10, rolled_back 10, running 1, it has been started");
    assert_eq!(
        told(&[Promote, Complete, Complete, Resume, Rollback, Resume]),
        "running 10, completed 10, =, it is completed, rolled_back 10, running 10"
    );
    assert_eq!(told(&[Complete, Start]), "completed 1, running 1");

    let ends_early = release(r#""phases": [1, 10]"#);
    assert_eq!(
        tell(&ends_early, &[Promote, Promote, Set(Percent::ALL), Promote]).join(", "),
        "running 10, 10 % is its last phase, running 100, completed 100"
    );
    let fixed = release(r#""phases": [1]"#);
    assert_eq!(tell(&fixed, &[Set(Percent::ZERO), Promote]).join(", "), "running 0, running 1");
    let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all", "percent": 5}]}"#;
    let without = Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap();
    assert_eq!(
        tell(&without, &[Promote, Set(percent(1.0)), Pause, Rollback]).join(", "),
        "no rule of its audience follows the phases, no rule of its audience follows the phases, paused 0, rolled_back 0"
    );
}

#[test]
fn a_phase_lasts_while_its_clock_runs() {
    let rules = release(r#""phases": [1, {"percent": 10, "lasts": "10m"}, {"percent": 100, "lasts": "1h"}]"#);
    let minutes = |count: u64| START_MS + count * MINUTE_MS;
    let left = |record: &ReleaseRecord, at: u64| record.time_left(&rules, minutes(at)).map(|left| left.as_secs() / 60);
    let then = |record: &ReleaseRecord, order, at| record.after(&by_anna(order), &rules, minutes(at)).unwrap().unwrap();
    let first = ReleaseRecord::begin(&rules, 7, None, START_MS);
    assert_eq!(left(&first, 99), None, "it has no end");
    let second = then(&first, Command::Promote, 100);
    assert_eq!([100, 104, 110, 999].map(|at| left(&second, at)), [Some(10), Some(6), Some(0), Some(0)]);
    assert_eq!(left(&second, 0), Some(10), "a clock that was set back");
    let paused = then(&second, Command::Pause, 104);
    assert_eq!(left(&paused, 999), None);
    let resumed = then(&paused, Command::Resume, 200);
    assert_eq!([200, 206].map(|at| left(&resumed, at)), [Some(6), Some(0)]);
    let between = then(&resumed, Command::Set(percent(20.0)), 201);
    assert_eq!(left(&between, 999), None, "20 % is no phase");
    let back = then(&between, Command::Set(percent(10.0)), 202);
    assert_eq!(left(&back, 202), Some(10), "it begins anew");
    let last = then(&back, Command::Promote, 203);
    assert_eq!(left(&last, 203), Some(60));
    assert_eq!(then(&last, Command::Promote, 300).state.status, Status::Completed);
    assert_eq!(second.by_itself(&rules, Canary::Up, Pace::Clock, minutes(110) - 1), None);
    let by_itself = second.by_itself(&rules, Canary::Up, Pace::Clock, minutes(110)).unwrap();
    assert_eq!((by_itself.state.percent, &*by_itself.last.by), (last.state.percent, "serin"));
    assert_eq!(&*by_itself.last.reason, "10 % has lasted 600s");
    assert_eq!(first.by_itself(&rules, Canary::Up, Pace::Clock, minutes(999)), None);
    assert_eq!(last.by_itself(&rules, Canary::Up, Pace::Clock, minutes(263)).unwrap().state.status, Status::Completed);
}

#[test]
fn a_phase_waits_for_room_and_no_longer() {
    let rules = release(r#""phases": [1, {"percent": 10, "lasts": "10m"}, 100]"#);
    let at = |minute: u64| START_MS + minute * MINUTE_MS;
    let running =
        ReleaseRecord::begin(&rules, 7, None, at(0)).after(&by_anna(Command::Promote), &rules, at(0)).unwrap().unwrap();
    let look = |record: &ReleaseRecord, canary, minute, shortage: Option<&str>| {
        let shortage = |next: &ReleaseState| {
            assert_eq!(next.percent, Percent::ALL);
            shortage.map(str::to_owned)
        };
        record.by_itself_with_room(&rules, canary, Pace::Clock, at(minute), shortage)
    };
    assert_eq!(look(&running, Canary::Up, 9, Some("too few")), None, "its time is not over");
    let held = look(&running, Canary::Up, 10, Some("too few")).unwrap();
    assert_eq!((held.hold, held.state, held.number), (Some(Hold::Headroom), running.state, running.number + 1));
    assert_eq!((&*held.last.action, &*held.last.by, &*held.last.reason), ("headroom", "serin", "too few"));
    assert_eq!(held.time_left(&rules, at(11)), Some(Duration::ZERO));
    assert_eq!(look(&held, Canary::Up, 11, Some("still too few")), None, "that is known");
    let gone_on = look(&held, Canary::Up, 12, None).unwrap();
    assert_eq!((gone_on.hold, gone_on.state.percent, &*gone_on.last.action), (None, Percent::ALL, "promote"));
    // Who falls meanwhile is down, and what comes after that is asked anew.
    let down = look(&held, Canary::Down, 12, Some("too few")).unwrap();
    assert_eq!((down.hold, down.falls), (Some(Hold::CanaryDown), 1));
    let up = look(&down, Canary::Up, 13, Some("too few")).unwrap();
    assert_eq!((up.hold, look(&up, Canary::Up, 13, Some("too few")).unwrap().hold), (None, Some(Hold::Headroom)));
    assert_eq!(look(&held, Canary::Absent, 12, None).unwrap().hold, Some(Hold::CanaryAbsent));
    // Whoever gives an order has seen it, and an edit may have changed what comes next.
    for command in [Command::Pause, Command::Resume, Command::Set(percent(5.0)), Command::Rollback] {
        assert_eq!(held.after(&by_anna(command), &rules, at(12)).unwrap().unwrap().hold, None, "{command}");
    }
    let edited = release(r#""phases": [1, {"percent": 10, "lasts": "20m"}, 100]"#);
    assert_eq!(held.after_edit(&edited, 7, at(12)).unwrap().hold, None);
    assert_eq!(Hold::parse("headroom"), Some(Hold::Headroom));
}

#[test]
fn only_a_larger_share_takes_users_in() {
    let rules = release(r#""phases": [1, 10, 100]"#);
    let begun = ReleaseRecord::begin(&rules, 7, None, START_MS);
    let then = |record: &ReleaseRecord, command| record.after(&by_anna(command), &rules, START_MS).unwrap().unwrap();
    let takes_in = |record: &ReleaseRecord, command| record.takes_in(&then(record, command));
    let half = then(&begun, Command::Set(percent(50.0)));
    assert!(begun.takes_in(&half) && !half.takes_in(&then(&half, Command::Set(percent(20.0)))));
    assert!(!takes_in(&half, Command::Pause) && !takes_in(&half, Command::Rollback));
    let back = then(&half, Command::Rollback);
    assert!(takes_in(&back, Command::Resume) && takes_in(&back, Command::Start));
    // Those whom the audience leaves out come in with the end.
    assert!(takes_in(&then(&half, Command::Set(Percent::ALL)), Command::Complete));
    assert!(!takes_in(&then(&half, Command::Complete), Command::Rollback));
}

#[test]
fn a_canary_that_falls_twice_is_rolled_back() {
    let rules = release(r#""phases": [1, {"percent": 10, "lasts": "10m"}, 100]"#);
    let at = |minute: u64| START_MS + minute * MINUTE_MS;
    let running =
        ReleaseRecord::begin(&rules, 7, None, at(0)).after(&by_anna(Command::Promote), &rules, at(0)).unwrap().unwrap();
    assert_eq!(running.by_itself(&rules, Canary::Up, Pace::Clock, at(1)), None, "nothing has happened");
    let down = running.by_itself(&rules, Canary::Down, Pace::Clock, at(3)).unwrap();
    assert_eq!((down.hold, down.state, down.since_ms), (Some(Hold::CanaryDown), running.state, running.since_ms));
    assert_eq!(
        (down.time_left(&rules, at(99)), down.by_itself(&rules, Canary::Down, Pace::Clock, at(4))),
        (None, None)
    );
    let up = down.by_itself(&rules, Canary::Up, Pace::Clock, at(5)).unwrap();
    assert_eq!(up.time_left(&rules, at(5)), Some(Duration::from_secs(7 * 60)), "the time it was down does not count");
    let ended = up.by_itself(&rules, Canary::Down, Pace::Clock, at(6)).unwrap();
    assert_eq!((ended.state.status, ended.hold, ended.since_ms), (Status::RolledBack, None, at(6)));
    assert_eq!(ended.by_itself(&rules, Canary::Down, Pace::Clock, at(7)), None);
    assert_eq!((running.began, down.began, ended.began), (1, 1, 1));
    // Whoever resumes it has looked at it: it may fall once more.
    let resumed = ended.after(&by_anna(Command::Resume), &rules, at(8)).unwrap().unwrap();
    assert_eq!(resumed.by_itself(&rules, Canary::Down, Pace::Clock, at(9)).unwrap().state.status, Status::Running);
    assert_eq!(resumed.began, resumed.number, "another run");
    // So has whoever resumes one that has fallen, and runs.
    let looked_at = down.after(&by_anna(Command::Resume), &rules, at(4)).unwrap().unwrap();
    assert_eq!((looked_at.falls, looked_at.hold, looked_at.state, looked_at.began), (0, None, down.state, 1));
    // A paused one is held, too, and stays paused.
    let paused = running
        .after(&by_anna(Command::Pause), &rules, at(1))
        .unwrap()
        .unwrap()
        .by_itself(&rules, Canary::Down, Pace::Clock, at(2))
        .unwrap();
    let up = paused.by_itself(&rules, Canary::Up, Pace::Clock, at(3)).unwrap();
    assert_eq!((up.state.status, up.clock.running_since_ms), (Status::Paused, None));
    // One without endpoints has not fallen.
    let away = running.by_itself(&rules, Canary::Absent, Pace::Clock, at(3)).unwrap();
    assert_eq!((away.hold, away.falls, away.time_left(&rules, at(99))), (Some(Hold::CanaryAbsent), 0, None));
    assert_eq!(away.by_itself(&rules, Canary::Absent, Pace::Clock, at(4)), None);
    assert_eq!(
        away.by_itself(&rules, Canary::Up, Pace::Clock, at(5)).unwrap().time_left(&rules, at(5)),
        Some(Duration::from_secs(7 * 60))
    );
    assert_eq!(away.by_itself(&rules, Canary::Down, Pace::Clock, at(5)).unwrap().hold, Some(Hold::CanaryDown));
    assert_eq!(down.by_itself(&rules, Canary::Absent, Pace::Clock, at(5)), None);
    // While it is down it can be resumed by hand, and be told that nothing is down any more.
    let by_hand = down.after(&by_anna(Command::Set(percent(5.0))), &rules, at(4)).unwrap().unwrap();
    assert_eq!((by_hand.hold, by_hand.clock.running_since_ms), (Some(Hold::CanaryDown), None));
}

#[test]
fn a_fixed_percent_becomes_a_phase_and_takes_nobody_back() {
    let written = |rest: &str| release_of(&format!(r#"{{"name": "everyone"{rest}"#));
    let fixed = written(r#", "percent": 10}]"#);
    let record = ReleaseRecord::begin(&fixed, 7, None, START_MS);
    let record = ReleaseRecord { clock: Clock { ran_ms: MINUTE_MS, ..record.clock }, ..record };
    let less = written(r#"}], "phases": [1, 10, 50]"#);
    let refusal = record.refuses_edit(&less).unwrap().to_string();
    assert!(refusal.contains("`everyone` goes from 10 % to 1 %"), "{refusal}");
    let phases = written(r#"}], "phases": [{"percent": 10, "lasts": "5m"}, 50]"#);
    assert_eq!(record.refuses_edit(&phases), None);
    // Whoever has the rules before the record decides as whoever has both.
    let context = |record: &ReleaseRecord| ReleaseContext {
        records: iter::once((fixed.name().clone(), Arc::new(record.clone()))).collect(),
        ..ReleaseContext::default()
    };
    let now_ms = START_MS + MINUTE_MS;
    // What an order would begin with is not written yet.
    for command in [Command::Promote, Command::Set(percent(20.0))] {
        let refusal = record.after(&by_anna(command), &phases, now_ms).unwrap_err();
        assert!(refusal.to_string().contains("ask again"), "{refusal}");
    }
    assert!(record.after(&by_anna(Command::Rollback), &phases, now_ms).is_ok());
    let edited = record.after_edit(&phases, 8, now_ms).unwrap();
    assert!(edited.after(&by_anna(Command::Promote), &phases, now_ms).is_ok());
    assert_eq!(context(&record).state(&phases), edited.state);
    assert_eq!((edited.state.percent, edited.state.growth, edited.since_ms), (percent(10.0), None, now_ms));
    assert_eq!(edited.time_left(&phases, now_ms), Some(Duration::from_secs(300)));
    // Phases that there were stay where they are.
    let later = ReleaseRecord { state: edited.state.with_percent(percent(50.0)), ..edited };
    assert_eq!(later.state_by(&less), later.state);
}

#[test]
fn who_would_be_thrown_back() {
    let rules = release(r#""phases": [10, 50]"#);
    let record = ReleaseRecord::begin(&rules, 7, None, 0);
    let after = |record: &ReleaseRecord, order| record.after(&by_anna(order), &rules, 1).unwrap().unwrap();
    assert!(!record.throws_back(&after(&record, Command::Promote)));
    assert!(record.throws_back(&after(&record, Command::Set(percent(9.99)))));
    assert!(!record.throws_back(&after(&record, Command::Pause)));
    let completed = after(&record, Command::Complete);
    assert!(completed.throws_back(&after(&completed, Command::Start)));
    let rolled_back = after(&completed, Command::Rollback);
    assert!(!rolled_back.throws_back(&after(&rolled_back, Command::Start)));
}

#[test]
fn a_record_is_of_one_pair_of_versions() {
    let rules = release(r#""phases": [1, 100]"#);
    let mut context = ReleaseContext::default();
    let record =
        ReleaseRecord::begin(&rules, 7, None, 0).after(&by_anna(Command::Rollback), &rules, 1).unwrap().unwrap();
    context.records.insert(rules.name().clone(), record.clone().into());
    assert_eq!(context.state(&rules).status, Status::RolledBack);
    let text = r#"{"stable": "shop", "canary": "shop-v3", "audience": [{"name": "everyone"}], "phases": [5]}"#;
    let next = Release::new("next", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap();
    assert_eq!(context.state(&next), ReleaseState::initial(&next), "the next version begins anew");
    let begun = ReleaseRecord::begin(&next, 7, Some(&record), 2);
    assert_eq!(begun.after_edit(&next, 7, 3), None);
    let edited = begun.after_edit(&next, 8, 3).unwrap();
    assert_eq!((edited.number, edited.epoch, edited.state), (begun.number + 1, 2, begun.state));
    assert_eq!((begun.number, begun.epoch, begun.state.percent), (record.number + 1, 1, percent(5.0)));
}

#[test]
fn phases_that_end_by_themselves_are_checked() {
    let problems = |phases: &str| {
        let text = format!(r#"{{"stable": "a", "canary": "b", "audience": [{{"name": "all"}}], "phases": {phases}}}"#);
        let spec: ReleaseSpec = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_str::<ReleaseSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        let mut problems = Vec::new();
        Release::new("r", &spec, &mut problems);
        problems.iter().map(|problem| format!("{}: {}", problem.at, problem.reason)).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(problems(r#"[{"percent": 1, "lasts": "1s"}, {"percent": 50}, {"percent": 100, "lasts": "1h"}]"#), "");
    assert_eq!(
        problems(r#"[{"percent": 1, "lasts": "999ms"}, {"percent": 50, "lasts": "1h"}]"#),
        "releases.r.phases[0].lasts: 999ms is less than 1s\nreleases.r.phases[1].lasts: no phase follows it"
    );
}

#[test]
fn growth_is_remembered() {
    let rules = release(r#""phases": [10, 50]"#);
    let told = |record: &ReleaseRecord, order, at_ms| record.after(&by_anna(order), &rules, at_ms).unwrap().unwrap();
    let grew = |record: &ReleaseRecord| record.state.growth.map(|growth| (growth.from, growth.at_secs));
    let first = ReleaseRecord::begin(&rules, 7, None, 1_000);
    assert_eq!(grew(&first), Some((Percent::ZERO, 1)));
    let second = told(&first, Command::Promote, 2_000);
    assert_eq!(grew(&second), Some((Percent::ZERO, 2)), "pages from before the first step may be open");
    let third = told(&second, Command::Set(percent(90.0)), 601_000);
    assert_eq!(grew(&third), Some((Percent::ZERO, 601)));
    assert_eq!(grew(&told(&second, Command::Set(percent(90.0)), 602_000)), Some((percent(50.0), 602)));
    assert_eq!(second.after(&by_anna(Command::Set(percent(50.0))), &rules, 3_000), Ok(None));
    let paused = told(&second, Command::Pause, 3_000);
    assert_eq!(grew(&paused), grew(&second), "it has not grown since");
    assert_eq!(grew(&told(&paused, Command::Set(percent(20.0)), 4_000)), None);
    let back = told(&paused, Command::Rollback, 5_000);
    assert_eq!(grew(&back), None);
    assert_eq!(grew(&told(&back, Command::Resume, 6_000)), Some((Percent::ZERO, 6)), "everybody was at stable");
}

#[test]
fn an_analysis_holds_phases_or_ends_them() {
    let rules = release(r#""phases": [1, {"percent": 10, "lasts": "10m"}, 50]"#);
    let at = |minute: u64| START_MS + minute * MINUTE_MS;
    let next = |record: &ReleaseRecord, pace, minute| record.by_itself(&rules, Canary::Up, pace, at(minute));
    let promoted = Pace::Promoted("it is good");
    let first = ReleaseRecord::begin(&rules, 7, None, at(0));
    assert_eq!((next(&first, Pace::Clock, 99), next(&first, Pace::Held, 99)), (None, None));
    let second = next(&first, promoted, 3).unwrap();
    assert_eq!((second.state.percent, &*second.last.reason), (percent(10.0), "it is good"));
    assert_eq!(next(&second, promoted, 12), None, "it has a time of its own");
    assert_eq!(next(&second, Pace::Held, 99), None);
    let third = next(&second, promoted, 13).unwrap();
    assert_eq!(next(&third, promoted, 99), None, "it is the last one, and not of everybody");
    let paused = second.after(&by_anna(Command::Pause), &rules, at(4)).unwrap().unwrap();
    assert_eq!(next(&paused, promoted, 99), None);
}

#[test]
fn others_may_be_the_first_before_anybody_is() {
    let rules = release(r#""phases": [{"percent": 0, "lasts": "10m"}, 1, 100]"#);
    let first = ReleaseRecord::begin(&rules, 7, None, START_MS);
    assert_eq!(first.state.preflight(&rules), Some(percent(1.0)));
    let now_ms = START_MS + 9 * MINUTE_MS;
    let second = first.by_itself(&rules, Canary::Up, Pace::Reshuffled("uneven"), now_ms).unwrap();
    assert_eq!(
        (second.number, second.salts, &*second.last.action, &*second.last.reason),
        (2, 1, "reshuffle", "uneven")
    );
    assert_eq!((second.state, second.began, second.epoch), (first.state, first.began, first.epoch));
    assert_eq!(second.time_left(&rules, now_ms), Some(Duration::from_secs(600)), "the phase begins anew");
    let paused = first.after(&by_anna(Command::Pause), &rules, now_ms).unwrap().unwrap();
    let third = paused.by_itself(&rules, Canary::Up, Pace::Reshuffled("uneven"), now_ms).unwrap();
    assert_eq!((third.salts, third.clock.running_since_ms), (1, None));

    // Never once somebody is in, nor against a salt that was written, nor where a rule has divided users already.
    let begun = first.after(&by_anna(Command::Promote), &rules, now_ms).unwrap().unwrap();
    assert_eq!(begun.state.preflight(&rules), None);
    assert_eq!(begun.by_itself(&rules, Canary::Up, Pace::Reshuffled("uneven"), now_ms), None);
    // Those who were in once are the first to come in again.
    let back = begun.after(&by_anna(Command::Set(Percent::ZERO)), &rules, now_ms).unwrap().unwrap();
    let again = back.after(&by_anna(Command::Rollback), &rules, now_ms).unwrap().unwrap();
    let again = again.after(&by_anna(Command::Start), &rules, now_ms).unwrap().unwrap();
    for record in [back, again] {
        assert!(record.state.preflight(&rules).is_some());
        assert_eq!(record.by_itself(&rules, Canary::Up, Pace::Reshuffled("uneven"), now_ms), None);
    }
    // With the salt that it was given, it is edited like any other; whoever asks may have it with the one or the other.
    let begun = second.after(&by_anna(Command::Promote), &rules, now_ms).unwrap().unwrap();
    let edited = release(r#""phases": [{"percent": 0, "lasts": "10m"}, 1, 50, 100]"#);
    let fewer = release_of(r#"{"name": "everyone", "percent": 0}], "phases": []"#);
    for salts in [0, second.salts] {
        assert_eq!(begun.refuses_edit(&edited.with_another_salt(salts)), None);
        assert!(begun.refuses_edit(&fewer.with_another_salt(salts)).is_some());
    }
    for (extra, may) in [
        (r#""phases": [0, 1], "sticky": {"salt": "000102030405060708090a0b0c0d0e0f"}"#, false),
        (r#""phases": [0, 100]"#, false),
        (r#""phases": [1, 10]"#, false),
        (r#""phases": [0, 1]"#, true),
    ] {
        let rules = release(extra);
        let record = ReleaseRecord::begin(&rules, 7, None, START_MS);
        assert_eq!(record.by_itself(&rules, Canary::Up, Pace::Reshuffled(""), now_ms).is_some(), may, "{extra}");
    }
    for (rule, may) in [("50", false), ("100", true), ("0", true)] {
        let text = format!(
            r#"{{"stable": "a", "canary": "b", "phases": [0, 1], "audience": [{{"name": "office", "ip": ["10.0.0.0/8"], "percent": {rule}}}, {{"name": "all"}}]}}"#
        );
        let rules = Release::new("r", &serde_json::from_str(&text).unwrap(), &mut Vec::new()).unwrap();
        assert_eq!(rules.may_have_another_salt(), may, "{rule}");
    }
    assert_eq!(rules.with_another_salt(0), rules);
    let salts: std::collections::HashSet<_> =
        (0..4).map(|number| rules.with_another_salt(number).sticky().salt).collect();
    assert_eq!(salts.len(), 4);
    assert_eq!(rules.with_another_salt(2).with_another_salt(1), rules.with_another_salt(1));
}
