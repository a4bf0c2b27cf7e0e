//! Releases that take their way by themselves, from the office to everybody or back: with real users, who are all watched.
//!
//! Each takes minutes, so `cargo test` leaves them out; `cargo xtask rollout` runs them one after the other, with the program as
//! it is released, and shows a line for each.

mod stage;
mod users;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::support::link::Weather;
use crate::support::{PATIENCE, eventually};
use stage::{Stage, Version, order, shown};
use users::{COUNT, OFFICE};

/// Makes a release go its way, and says in one line what came of it.
fn rollout<T: Display>(name: &str, instances: usize, canary: Version, go: impl FnOnce(&mut Stage) -> T) {
    let Some(mut stage) = Stage::set(instances, canary) else { return };
    let outcome = catch_unwind(AssertUnwindSafe(|| go(&mut stage)));
    let met = stage.users.met();
    match outcome {
        Ok(said) => println!("\nrollout: {name}: good: {said}; {met}"),
        Err(panic) => {
            stage.instances.iter().for_each(|instance| println!("{}", instance.log()));
            println!("\nrollout: {name}: FAILED: {met}; {}", stage.shown());
            resume_unwind(panic);
        }
    }
}

/// A canary that is good comes to everybody, and nobody on it ever goes back.
fn comes_to_everybody(stage: &mut Stage, step: impl FnMut(&mut Stage, f64)) -> String {
    let took = stage.through_all_phases(step);
    eventually(PATIENCE, "everybody is on the canary", || stage.users.on_canary() == COUNT as u64);
    let met = stage.users.met();
    assert_eq!(met.moved_back, 0, "somebody went back to stable");
    assert_eq!(met.bad, 0, "somebody met a failure");
    format!("with everybody after {} s, nobody moved back", took.as_secs())
}

/// A canary that is bad is rolled back by itself.
fn is_rolled_back(stage: &mut Stage, most: Duration, trigger: &str) -> String {
    let took = stage.until(most, "a rollback", |shown| shown["status"] == "rolled_back");
    let (shown, met) = (stage.shown(), stage.users.met());
    eventually(PATIENCE, "everybody is back", || stage.users.on_canary() == 0);
    assert_eq!(shown["last"]["by"], "serin", "{shown}");
    let report = &shown["analysis"]["report"];
    let by = report["trigger"].as_str().filter(|by| by.starts_with(trigger)).unwrap_or_else(|| panic!("{report}"));
    let (percent, hit) = (shown["percent"].as_f64().unwrap_or_default(), stage.users.end());
    let (since, of) = match met.first_bad {
        Some(first) => (took - first, "the first failure"),
        None => (took, "the users came"),
    };
    let bad = met.bad;
    format!(
        "rolled back at {percent} % because of {by}, {} s after {of}, {bad} failures hit {hit} users",
        since.as_secs()
    )
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn good() {
    rollout("good", 1, Version::Good, |stage| {
        eventually(PATIENCE, "the office is on the canary", || stage.users.on_canary() == OFFICE as u64);
        assert_eq!(stage.shown()["percent"], 0.0);
        comes_to_everybody(stage, |_, _| {})
    });
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn failing() {
    rollout("failing", 2, Version::Failing(30), |stage| is_rolled_back(stage, VERDICT, "err"));
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn slow() {
    rollout("slow", 1, Version::Slow, |stage| is_rolled_back(stage, VERDICT, "p"));
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn failing_for_iphones() {
    rollout("failing_for_iphones", 1, Version::FailingForIphones, |stage| is_rolled_back(stage, VERDICT, "err"));
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn leaders_die() {
    rollout("leaders_die", 3, Version::Good, |stage| {
        let said = comes_to_everybody(stage, |stage, percent| {
            // At the last step there is nothing left to lead.
            if percent < 100.0 {
                let mut leader = stage.instances.remove(stage.leader());
                stage.users.ask(&stage.addresses());
                leader.signal("KILL");
                leader.exit_code();
                stage.start_instance();
                stage.users.ask(&stage.addresses());
            }
        });
        format!("{said}; the leader was killed in each phase")
    });
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn etcd_is_away() {
    rollout("etcd_is_away", 2, Version::Good, |stage| {
        let in_phase = |percent: f64| move |shown: &serde_json::Value| shown["percent"].as_f64() == Some(percent);
        stage.until(VERDICT, "10 %", in_phase(10.0));
        stage.etcd.as_mut().expect("it is there").signal(0, "STOP");
        // Long enough for a promotion, were it to come.
        stage.stays(Duration::from_secs(90), in_phase(10.0));
        let met = stage.users.met();
        assert_eq!((met.moved_back, met.bad), (0, 0), "etcd is nobody's problem");
        for instance in &stage.instances {
            let (status, text) = order(instance, "rollback");
            assert_eq!(status, 202, "{text}");
        }
        eventually(PATIENCE, "everybody is back", || stage.users.on_canary() == 0);
        stage.etcd.as_mut().expect("it is there").signal(0, "CONT");
        let is_written = |shown: &serde_json::Value| shown["status"] == "rolled_back" && shown["last"]["by"] == "anna";
        let all = || stage.instances.iter().all(|instance| is_written(&shown(instance)));
        eventually(2 * PATIENCE, "the rollback is written", all);
        stage.stays(Duration::from_secs(20), is_written);
        "held at 10 % for 90 s, then rolled back on each instance, and for good when etcd was back".to_owned()
    });
}

#[test]
#[ignore = "takes minutes: cargo xtask rollout"]
fn one_of_three_is_cut_off() {
    rollout("one_of_three_is_cut_off", 3, Version::Good, |stage| {
        let is_bystander = |place: &usize| *place != stage.leader();
        let bystander = (0..3).find(is_bystander).expect("two are");
        let mut percent_then = 0.0;
        let said = comes_to_everybody(stage, |stage, percent| {
            if percent == 10.0 {
                stage.links[bystander].set(Weather::Silent);
                percent_then = percent;
            }
            if percent == 50.0 {
                stage.links[bystander].set(Weather::Fair);
            }
        });
        format!("{said}; one of three was cut off from {percent_then} % until 50 %")
    });
}

/// Longer than any verdict here takes.
const VERDICT: Duration = Duration::from_secs(240);
