use std::time::{Duration, SystemTime};

use serde_json::json;

use super::super::answer::{Entry, Fleet, Outcome, Release, read};
use super::*;

fn release(changes: serde_json::Value) -> Release {
    let mut value = json!({
        "name": "next", "stable": "shop", "canary": "shop-v2", "status": "running", "percent": 20.0,
        "phases": [
            {"percent": 1.0, "lasts_seconds": null}, {"percent": 20.0, "lasts_seconds": 1800.0},
            {"percent": 50.0, "lasts_seconds": null}, {"percent": 100.0, "lasts_seconds": null},
        ],
        "number": 4, "since": "2026-05-01T12:00:00.000Z", "phase_seconds": 305.2, "next_phase_in_seconds": 1494.8,
        "hold": null, "rolled_back_here": false,
        "last": {"action": "promote", "by": "anna@desk", "reason": "looks good", "at": "2026-05-01T12:00:00.000Z"},
        "audience": [
            {"name": "office", "percent": 100.0, "follows_phase": false, "compared": {"canary": arm(0), "control": arm(0)}},
            {"name": "campus iPhones", "percent": 12.5, "follows_phase": false, "compared": {"canary": arm(0), "control": arm(0)}},
            {"name": "everyone", "percent": 20.0, "follows_phase": true, "compared": {"canary": arm(0), "control": arm(0)}},
        ],
        "analysis": {"mode": "guard", "report": null},
    });
    let changes = changes.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(changes);
    read(value).unwrap()
}

fn arm(requests: u64) -> serde_json::Value {
    let latency = |ms: f64| (requests > 0).then_some(ms);
    json!({"requests": requests, "failed": requests / 50, "p50_ms": latency(1.5), "p99_ms": latency(12.25)})
}

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-05-01T12:05:05Z").unwrap()
}

fn drawn(release: &Release, fleet: &Fleet) -> String {
    status(release, fleet, now(), &Style::plain()).join("\n")
}

fn alone() -> Fleet {
    Fleet { instances: Vec::new(), heard: true }
}

#[test]
fn a_running_release_at_a_glance() {
    let expected = "\
next  shop -> shop-v2
status     running at 20 % since 5m 5s, number 4
phases     1 - [20 for 30m] - 50 - 100
           this one has lasted 5m 5s; the next begins in 24m 54s
last       promote by anna@desk, 5m 5s ago
           looks good
audience   office            100 %  ####################
           campus iPhones   12.5 %  ###.................
           everyone           20 %  ####................  follows the phases";
    assert_eq!(drawn(&release(json!({})), &alone()), expected);
}

#[test]
fn a_phase_that_waits_says_for_what() {
    let headroom = |enough: bool| json!({"enough": enough, "text": "1 endpoint would have 41 requests in flight"});
    let drawn = |changes| drawn(&release(changes), &alone());
    let expected = "\
hold       headroom: the next phase begins as soon as there is room for its users
headroom   1 endpoint would have 41 requests in flight
audience ";
    assert!(drawn(json!({"hold": "headroom", "headroom": headroom(false)})).contains(expected));
    assert!(!drawn(json!({"headroom": headroom(true)})).contains("headroom"));
}

#[test]
fn what_was_found_is_shown_when_there_is_something_to_compare() {
    let count = |requests: u64| json!({"events": requests / 50, "requests": requests});
    let analysis = json!({"mode": "guard", "report": {
        "verdict": "suspect", "text": "Errors: canary 2 %.", "evidence": 12.34, "threshold": 100.0,
        "metrics": [{"name": "err", "canary": count(500), "control": count(4_500)}],
    }});
    let rule = json!({
        "name": "everyone", "percent": 10.0, "follows_phase": true,
        "compared": {"canary": arm(500), "control": arm(4_500)},
    });
    let drawn = drawn(&release(json!({"audience": [rule], "analysis": analysis})), &alone());
    let expected = "\
audience   everyone     10 %  ##..................  follows the phases
compared   everyone
             canary  500 requests, 2.00 % failed, half within 1.500 ms, 99 % within 12.250 ms
             stable  4500 requests, 2.00 % failed, half within 1.500 ms, 99 % within 12.250 ms
analysis   suspect (guard), evidence 12.3 of 100
           Errors: canary 2 %.";
    assert_eq!(&drawn[drawn.find("audience").unwrap()..], expected);
}

#[test]
fn before_a_release_it_is_shown_how_those_fare_who_come_in_first() {
    let preflight = json!({"division": "comparing", "text": "Before the release: 6 min of 10 min."});
    let analysis = json!({"mode": "guard", "preflight": preflight, "report": null});
    let drawn = drawn(&release(json!({"analysis": analysis})), &alone());
    let expected = "\
analysis   comparing (guard)
           Before the release: 6 min of 10 min.";
    assert_eq!(&drawn[drawn.find("analysis").unwrap()..], expected);
}

#[test]
fn a_release_in_trouble_says_what_that_means() {
    let fallen = json!({
        "percent": 33.3, "hold": "canary_down", "next_phase_in_seconds": null, "audience": [],
        "last": {"action": "canary_down", "by": "serin", "reason": "", "at": "2026-05-01T12:05:00.000Z"},
    });
    let fleet = json!({
        "heard": false,
        "instances": [
            {"id": "edge-1", "applied": 40, "ready": true}, {"id": "edge-2", "applied": 39, "ready": false},
            {"id": "edge-3"},
        ],
    });
    let expected = "\
next  shop -> shop-v2
status     running at 33.3 % since 5m 5s, number 4
phases     1 - 20 for 30m - [33.3] - 50 - 100
last       canary_down by serin, 5s ago
hold       canary_down: the breaker of the canary's upstream is open
           stable serves the canary's users, and the clock of the phase stands
instances  1 of 3 have applied what is newest
           behind: edge-2, edge-3
           not ready: edge-2
           etcd is not heard: it may be otherwise by now";
    assert_eq!(drawn(&release(fallen), &read(fleet).unwrap()), expected);
}

#[test]
fn a_rollback_that_nobody_else_knows_of_says_so() {
    let here = json!({"status": "rolled_back", "rolled_back_here": true, "phases": [], "audience": [], "last": null, "since": null});
    let expected = "\
next  shop -> shop-v2
status     rolled_back from 20 %, number 4; in this instance only: others are told as soon as that is possible
last       nothing was written down yet
audience   everybody has shop";
    assert_eq!(drawn(&release(here), &alone()), expected);
}

#[test]
fn a_list_is_a_table() {
    let held = json!({"name": "a-long-name", "status": "paused", "percent": 0.5, "hold": "canary_absent"});
    let over = json!({"name": "over", "status": "completed"});
    let releases = [release(held), release(json!({"number": 12})), release(over)];
    let lines = list(&releases, &Style::plain()).join("\n");
    let expected = "\
RELEASE      STATUS        PERCENT  NUMBER  LAST
a-long-name  paused          0.5 %       4  promote by anna@desk  canary_absent
next         running          20 %      12  promote by anna@desk
over         completed       100 %       4  promote by anna@desk";
    assert_eq!(lines, expected);
    assert_eq!(list(&[], &Style::plain()), ["there is no release"]);
}

#[test]
fn entries_and_outcomes_are_lines() {
    let mut value = json!({
        "number": 4, "action": "set", "by": "anna@desk", "reason": "", "at": "2026-05-01T12:00:00.000Z",
        "status": "running", "percent": 12.5, "hold": null, "epoch": 0, "stable": "a", "canary": "b", "rules": null,
    });
    let plain: Entry = read(value.clone()).unwrap();
    assert_eq!(entry(&plain), "   4  2026-05-01T12:00:00.000Z  set            running at 12.5 %  by anna@desk");
    value["reason"] = "\u{1b}[31m\nx".into();
    let hostile: Entry = read(value).unwrap();
    assert!(entry(&hostile).ends_with("by anna@desk: \\u{1b}[31m\\nx"), "{}", entry(&hostile));
    let value = json!({"name": "next", "changed": false, "number": 4, "status": "paused", "percent": 20.0});
    let unchanged: Outcome = read(value).unwrap();
    assert_eq!(outcome(&unchanged), "next is already paused at 20 %, number 4");
    assert_eq!(applied(1, &["edge-2".to_owned()]), "applied by 1 of 2 instances");
    assert_eq!(waiting(&["edge-2".to_owned(), "edge-3".to_owned()]), "not yet applied by edge-2, edge-3");
}

#[test]
fn times_have_two_parts() {
    assert_eq!(span(Duration::from_millis(93_784_999)), "1day 2h");
    assert_eq!(span(Duration::ZERO), "0s");
    assert_eq!((seconds(f64::NAN), seconds(-1.0), seconds(1e300)), Default::default());
}
