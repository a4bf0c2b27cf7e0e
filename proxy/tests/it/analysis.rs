//! Canaries that are judged while they serve: by real requests through real sockets, in real windows of five seconds.

mod fleet;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Origin, Serin, eventually};

/// Longer than any verdict here takes on a busy machine.
const VERDICT: Duration = Duration::from_secs(240);

/// A canary of which so many requests in a hundred fail.
fn failing(percent: u32) -> Origin {
    let count = AtomicU32::new(0);
    Origin::start(move |visit| {
        let fails = count.fetch_add(1, Relaxed) % 100 < percent;
        visit.answer(if fails { 500 } else { 200 }, &[], b"new")
    })
}

/// A version that takes 10 ms. One that takes nothing is measured by how cold its thread is: the canary's, with a tenth of the requests,
/// is colder, and that is more than 19 % of nothing.
fn steady(name: &'static str) -> Origin {
    Origin::start(move |visit| {
        thread::sleep(Duration::from_millis(10));
        visit.answer(200, &[], name.as_bytes())
    })
}

fn serving(old: &Origin, new: &Origin, more: &str) -> Serin {
    let (old, new) = (old.address(), new.address());
    Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams:\n  old: {{endpoints: [\"{old}\"]}}\n  new: {{endpoints: [\"{new}\"], breaker: false}}\n\
         releases:\n  next: {{stable: old, canary: new, audience: [{{name: everyone}}], sticky: {{key: [{{header: x-user}}]}}, {more}}}\n"
    ))
}

fn shown(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/releases/next")
}

/// Ends the load.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Requests of 500 users, about 400 a second, until `is_over`; meanwhile nobody may come back from the canary, unless it is
/// rolled back.
fn until(serin: &Serin, what: &str, is_over: impl Fn(&Value) -> bool) -> Value {
    let is_done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        for part in 0..8_u32 {
            let is_done = Arc::clone(&is_done);
            scope.spawn(move || {
                let mut client = serin.client();
                for round in 0_u32.. {
                    let user = (round * 8 + part) % 500;
                    client.request("GET", "/", &[("x-user", &user.to_string())], b"");
                    if is_done.load(Relaxed) {
                        return;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        // Also when it does not come: nobody waits for the load then.
        let _ends = Ends(is_done);
        eventually(VERDICT, what, || is_over(&shown(serin)));
    });
    shown(serin)
}

#[test]
fn a_canary_that_fails_is_rolled_back_and_told_why() {
    let (old, new) = (Origin::named("old"), failing(20));
    let serin = serving(&old, &new, "phases: [20, 50], analysis: {mode: guard}");
    let after = until(&serin, "a rollback", |shown| shown["status"] == "rolled_back");
    assert_eq!(
        (&after["last"]["by"], &after["analysis"]["report"]["verdict"]),
        (&"serin".into(), &"rolled_back".into())
    );
    let reason = after["last"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("Errors: canary ") && reason.contains("a false alarm has probability"), "{reason}");
    assert_eq!(after["analysis"]["report"]["trigger"], "err");
    assert!(after["analysis"]["report"]["evidence"].as_f64() >= Some(100.0), "{after}");
}

#[test]
fn an_observer_rolls_nothing_back() {
    let (old, new) = (Origin::named("old"), failing(30));
    let serin = serving(&old, &new, "phases: [20, 50]");
    let after = until(&serin, "a verdict", |shown| shown["analysis"]["report"]["verdict"] == "rolled_back");
    assert_eq!((&after["analysis"]["mode"], &after["status"]), (&"observe".into(), &"running".into()));
}

#[test]
fn a_good_canary_is_promoted_when_it_is_shown_to_be_good() {
    let (old, new) = (steady("old"), steady("new"));
    // The smaller the next step, the less there is to show, and what is shown must not depend on how busy the machine is.
    let serin = serving(&old, &new, "phases: [10, 20], analysis: {mode: drive, min_phase: 10s, beta: 0.3}");
    let after = until(&serin, "a promotion", |shown| shown["percent"] != 10.0);
    assert_eq!(after["percent"], 20.0);
    assert_eq!((&after["last"]["action"], &after["last"]["by"]), (&"promote".into(), &"serin".into()));
    let reason = after["last"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("Shown safe for 20 %"), "{reason}");
}

#[test]
fn a_phase_does_not_end_while_its_canary_is_suspected() {
    let (old, new) = (Origin::named("old"), failing(100));
    let serin = serving(&old, &new, "phases: [{percent: 20, lasts: 20s}, 50], analysis: {mode: guard}");
    let after = until(&serin, "a rollback", |shown| shown["status"] == "rolled_back");
    assert_eq!(after["percent"], 20.0, "it never got to the second phase");
}

/// Versions without breakers, and a release that says who is in which group.
fn telling(old: &Origin, new: &Origin, phases: &str) -> Serin {
    let (old, new) = (old.address(), new.address());
    Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams:\n  old: {{endpoints: [\"{old}\"], breaker: false}}\n  new: {{endpoints: [\"{new}\"], breaker: false}}\n\
         releases:\n  next: {{stable: old, canary: new, audience: [{{name: everyone}}], sticky: {{key: [{{header: x-user}}]}}, expose: true, \
         phases: {phases}, analysis: {{mode: guard}}}}\n"
    ))
}

/// Those of 500 users who are in the canary group.
fn in_canary(serin: &Serin) -> HashSet<String> {
    let mut client = serin.client();
    let users = (0..500).map(|user| user.to_string());
    let is_in =
        |user: &String| client.request("GET", "/", &[("x-user", user)], b"").header("x-serin-group") == Some("canary");
    users.filter(is_in).collect()
}

/// A release begins with the users whom its salt puts first. Stable fails for just these.
#[test]
fn who_is_worse_off_before_the_release_is_not_who_comes_in_first() {
    let unlucky = Arc::new(OnceLock::<HashSet<String>>::new());
    let (those, count) = (Arc::clone(&unlucky), AtomicU32::new(0));
    let old = Origin::start(move |visit| {
        let is_one =
            visit.request.header("x-user").is_some_and(|user| those.get().is_some_and(|them| them.contains(user)));
        let fails = is_one && count.fetch_add(1, Relaxed).is_multiple_of(3);
        visit.answer(if fails { 500 } else { 200 }, &[], b"old")
    });
    let new = Origin::named("new");
    let first = in_canary(&telling(&old, &new, "[20, 50]"));
    assert!((60..140).contains(&first.len()), "{}", first.len());
    unlucky.set(first.clone()).expect("once");

    let serin = telling(&old, &new, "[{percent: 0, lasts: 20s}, 20, 50]");
    let salt = shown(&serin)["salt"].clone();
    let reshuffled = until(&serin, "another salt", |shown| shown["salt"] != salt);
    assert_eq!((&reshuffled["percent"], &reshuffled["last"]["action"]), (&0.0.into(), &"reshuffle".into()));
    let reason = reshuffled["last"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("Before the release: the next 20 % are unlike all others"), "{reason}");
    let seen = until(&serin, "a comparison", |shown| shown["analysis"]["preflight"]["seconds"].as_u64() > Some(0));
    let preflight = &seen["analysis"]["preflight"];
    assert_eq!((&preflight["salts"], &preflight["lasts_seconds"]), (&1.into(), &20.into()), "{preflight}");

    let begun = until(&serin, "the first phase", |shown| shown["percent"] == 20.0);
    assert_eq!((&begun["last"]["action"], &begun["last"]["by"]), (&"promote".into(), &"serin".into()));
    assert_eq!(begun["analysis"]["preflight"], Value::Null);
    let now = in_canary(&serin);
    assert!(!now.is_empty() && now.intersection(&first).count() * 2 < now.len(), "others came in first");
}

#[test]
fn off_is_off() {
    let (old, new) = (Origin::named("old"), failing(100));
    let serin = serving(&old, &new, "phases: [20, 50], analysis: {mode: \"off\"}");
    let after =
        until(&serin, "requests", |shown| shown["audience"][0]["compared"]["canary"]["failed"].as_u64() > Some(50));
    let analysis = &after["analysis"];
    assert_eq!((&analysis["mode"], &analysis["report"]), (&"off".into(), &serde_json::Value::Null));
    assert!(analysis["failing_users"]["canary"].as_u64() > Some(20), "users are counted all the same: {analysis}");
}
