//! Edits of a release under way that may take users of its canary back: refused until somebody writes that it is meant, the same on
//! each instance and after each start.

use std::fs;

use serde_json::{Value, json};

use crate::support::control::{Program, replace};
use crate::support::etcd::Etcd;
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

const COMMON: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";
const ROUTES: &str = "routes: {all: {upstream: old, release: next}}\n";

fn upstreams(old: &Origin, new: &Origin) -> String {
    let (old, new) = (old.address(), new.address());
    format!("upstreams: {{old: {{endpoints: [\"{old}\"]}}, new: {{endpoints: [\"{new}\"]}}}}\n")
}

/// A release for everyone, with these fields of the rule and of the release.
fn release(rule: &str, more: &str) -> String {
    format!(
        "{{stable: old, canary: new, audience: [{{name: everyone{rule}}}], phases: [50, 100], sticky: {{key: [{{header: x-user}}]}}{more}}}"
    )
}

fn releases(rule: &str, more: &str) -> String {
    format!("releases: {{next: {}}}\n", release(rule, more))
}

fn shown(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/releases/next")
}

fn begun(serin: &Serin) {
    eventually(PATIENCE, "the release is written down", || shown(serin)["number"].as_u64() > Some(0));
}

fn edited(serin: &Serin, epoch: u64) {
    eventually(PATIENCE, "the edit is written down", || shown(serin)["epoch"] == epoch);
}

/// How many of 200 users are served by the canary.
fn canary_users(serin: &Serin) -> usize {
    let mut client = serin.client();
    let mut is_canary = |user: u32| client.request("GET", "/", &[("x-user", &user.to_string())], b"").text() == "new";
    (0..200).filter(|user| is_canary(*user)).count()
}

/// What is written and not in force.
fn rejected(serin: &Serin) -> Vec<Value> {
    serin.admin_json("/api/v1/rejected")["problems"].as_array().expect("a list").clone()
}

/// Waits for the refusal, and nothing else, of an edit that takes `force` with this number.
fn is_refused(serin: &Serin, path: &str, force: u64) {
    let is_it = |problem: &Value| {
        let reason = problem["reason"].as_str().unwrap_or_default();
        problem["path"] == path && reason.contains(&format!("`force: {force}`"))
    };
    eventually(PATIENCE, "the edit is refused", || matches!(&rejected(serin)[..], [only] if is_it(only)));
}

fn is_accepted(serin: &Serin) {
    eventually(PATIENCE, "all is in force", || rejected(serin).is_empty());
}

fn order(serin: &Serin, order: &str) {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", "*")];
    let reply = Client::connect(admin).request("POST", &format!("/api/v1/releases/next/{order}"), &fields, b"{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn an_edit_of_files_is_refused_until_it_is_meant() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let text = |more_routes: &str, rule: &str, more: &str| {
        let routes = ROUTES.replace("}}", &format!("}}{more_routes}}}"));
        format!("{COMMON}state_dir: state\n{routes}{}{}", upstreams(&old, &new), releases(rule, more))
    };
    let mut serin = Serin::start(&text("", "", ""));
    begun(&serin);
    let at_half = canary_users(&serin);
    assert!((70..130).contains(&at_half), "{at_half}");
    let narrowed = ", ip: [10.0.0.0/8]";
    replace(&serin.config(), &text(", other: {hosts: [other.test], upstream: old}", narrowed, ""));
    is_refused(&serin, "releases.next.audience", 0);
    let reason = rejected(&serin)[0]["reason"].to_string();
    assert!(reason.contains("users who came to this instance lately, ") && !reason.contains(", 0 would"), "{reason}");
    // All else of the edit is in force.
    assert!(serin.admin_json("/api/v1/routes").as_array().is_some_and(|routes| routes.len() == 2));
    assert_eq!(canary_users(&serin), at_half);
    // So it is for who starts anew and has never seen anything else.
    for _ in 0..2 {
        serin = serin.restart();
        is_refused(&serin, "releases.next.audience", 0);
        assert_eq!((canary_users(&serin), shown(&serin)["epoch"].as_u64()), (at_half, Some(0)));
    }
    // A preview of what waits says so, too.
    let lower = ", percent: 20";
    replace(&serin.config(), &text("", lower, ", force: 7"));
    is_refused(&serin, "releases.next.audience[0].percent", 0);
    replace(&serin.config(), &text("", lower, ", force: 0"));
    edited(&serin, 1);
    is_accepted(&serin);
    let at_fifth = canary_users(&serin);
    assert!(at_fifth < at_half, "{at_fifth} of {at_half}");
    // It was about that edit, and is no licence for others.
    replace(&serin.config(), &text("", ", percent: 5", ", force: 0"));
    is_refused(&serin, "releases.next.audience[0].percent", 1);
    replace(&serin.config(), &text("", ", percent: 30", ", force: 0"));
    edited(&serin, 2);
    is_accepted(&serin);
    assert!(canary_users(&serin) > at_fifth);
}

#[test]
fn an_edit_that_waits_is_accepted_once_nobody_can_lose_by_it() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let text = |rule: &str| format!("{COMMON}{ROUTES}{}{}", upstreams(&old, &new), releases(rule, ""));
    let serin = Serin::start(&text(""));
    begun(&serin);
    let everybody = canary_users(&serin);
    replace(&serin.config(), &text(", percent: 10"));
    is_refused(&serin, "releases.next.audience[0].percent", 0);
    order(&serin, "rollback");
    is_accepted(&serin);
    edited(&serin, 1);
    order(&serin, "resume");
    let some = canary_users(&serin);
    assert!(some > 0 && some < everybody / 2, "{some} of {everybody}");
    // What does not say who is where was never in question.
    replace(&serin.config(), &text(", percent: 10").replace("phases: [50, 100]", "phases: [1, 2]"));
    eventually(PATIENCE, "other phases", || shown(&serin)["phases"][0]["percent"] == 1.0);
    is_accepted(&serin);
    assert_eq!(canary_users(&serin), some);
}

#[test]
fn a_fleet_comes_to_one_answer_also_where_somebody_starts_anew() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serving = || {
        let rules = format!("{COMMON}sources: {{etcd: {}}}\n{ROUTES}{}", etcd.source(), upstreams(&old, &new));
        Serin::start(&rules)
    };
    etcd.put("/serin/releases/next", release("", ""));
    let (a, b) = (serving(), serving());
    [&a, &b].into_iter().for_each(begun);
    let at_half = canary_users(&a);
    // Refused by who leads and by who does not; another key of the same moment is taken.
    let lower = release(", percent: 20", "");
    etcd.write(&[
        ("/serin/releases/next", Some(&lower)),
        ("/serin/routes/other", Some("{\"hosts\": [\"other.test\"], \"upstream\": \"old\"}")),
    ]);
    let path = "releases.next.audience[0].percent";
    [&a, &b].into_iter().for_each(|serin| is_refused(serin, path, 0));
    assert!(rejected(&a)[0]["revision"].as_i64() > Some(0), "{:?}", rejected(&a));
    assert_eq!(a.admin_json("/api/v1/routes").as_array().map(Vec::len), Some(2));
    // One that has seen nothing of it, with no folder to remember it.
    drop(b);
    let c = serving();
    is_refused(&c, path, 0);
    assert_eq!((canary_users(&a), canary_users(&c)), (at_half, at_half));
    // And when nobody of before is left.
    drop((a, c));
    let (d, e) = (serving(), serving());
    [&d, &e].into_iter().for_each(|serin| is_refused(serin, path, 0));
    assert_eq!((canary_users(&d), canary_users(&e)), (at_half, at_half));
    etcd.put("/serin/releases/next", release(", percent: 20", ", force: 0"));
    [&d, &e].into_iter().for_each(|serin| edited(serin, 1));
    [&d, &e].into_iter().for_each(is_accepted);
    assert!(canary_users(&d) < at_half);
    assert_eq!(canary_users(&d), canary_users(&e));
    let history = d.admin_json("/api/v1/releases/next/history");
    assert_eq!((&history[0]["action"], &history[0]["rules"]["force"]), (&json!("edit"), &json!(0)), "{history}");
}

#[test]
fn whoever_takes_a_release_from_its_route_ends_it_there_and_the_log_says_so() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("serin.yaml");
    let text = |routes: &str, releases: &str| format!("{COMMON}{routes}{}{releases}", upstreams(&old, &new));
    fs::write(&config, text(ROUTES, &releases("", ""))).expect("a file");
    let program = Program::start(&config);
    let told = |target: &str| -> Value { serde_json::from_slice(&program.admin(target).body).expect("JSON") };
    eventually(PATIENCE, "the release is written down", || told("/api/v1/releases/next")["number"].as_u64() > Some(0));
    replace(&config, &text("routes: {all: {upstream: old}}\n", ""));
    eventually(PATIENCE, "the log says so", || {
        program.log().lines().any(|line| line.contains("taken from a route") && line.contains("next"))
    });
    eventually(PATIENCE, "it has gone", || told("/api/v1/releases").as_array().is_some_and(Vec::is_empty));
    assert_eq!(told("/api/v1/rejected")["count"], 0);
    // It comes back where it was, and what was accepted of it with it.
    replace(&config, &text(ROUTES, &releases(", percent: 1", "")));
    eventually(PATIENCE, "the edit is refused", || told("/api/v1/rejected")["count"] == 1);
    assert_eq!(told("/api/v1/releases/next")["audience"][0]["percent"], 50.0);
}
