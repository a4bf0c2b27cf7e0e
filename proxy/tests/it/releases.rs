//! Releases under way: orders by the admin API, phases that end by themselves, canaries that fall, and where all that is kept.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::link::{Link, Weather};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

const RULES: &str = "routes: {all: {upstream: old, release: next}}\n";

fn upstreams(old: &Origin, new: &Origin) -> String {
    upstreams_with(old, new, "")
}

fn upstreams_with(old: &Origin, new: &Origin, more: &str) -> String {
    let (old, new) = (old.address(), new.address());
    format!("upstreams:\n  old: {{endpoints: [\"{old}\"]}}\n  new: {{endpoints: [\"{new}\"]{more}}}\n")
}

fn release(phases: &str) -> String {
    format!("releases: {{next: {}}}\n", written(phases))
}

fn written(phases: &str) -> String {
    format!(
        "{{stable: old, canary: new, audience: [{{name: everyone}}], phases: {phases}, sticky: {{key: [{{header: x-user}}]}}}}"
    )
}

/// Posts an order; `If-Match` is any if it is empty.
fn post(serin: &Serin, order: &str, number: &str, body: &Value) -> (u16, Value) {
    let admin = serin.server().admin().expect("an admin API");
    let mut fields = vec![("Content-Type", "application/json"), ("Host", "localhost")];
    if !number.is_empty() {
        fields.push(("If-Match", number));
    }
    let body = serde_json::to_vec(body).expect("JSON");
    let reply = Client::connect(admin).request("POST", &format!("/api/v1/releases/{order}"), &fields, &body);
    let answer = serde_json::from_slice(&reply.body);
    (reply.status, answer.unwrap_or_else(|error| panic!("{error}: {}", reply.text())))
}

fn told(serin: &Serin, order: &str) -> Value {
    let (status, answer) = post(serin, &format!("next/{order}"), "*", &json!({"by": "anna", "reason": "why not"}));
    assert_eq!(status, 200, "{order}: {answer}");
    answer
}

fn shown(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/releases/next")
}

/// Where a release is: status and percent.
fn stands(serin: &Serin) -> (String, f64) {
    let shown = shown(serin);
    (shown["status"].as_str().expect("a status").to_owned(), shown["percent"].as_f64().expect("a percent"))
}

fn at(status: &str, percent: f64) -> (String, f64) {
    (status.to_owned(), percent)
}

/// How many of 200 users are served by the canary.
fn canary_users(serin: &Serin) -> usize {
    let mut client = serin.client();
    let mut group = |user: u32| client.request("GET", "/", &[("x-user", &user.to_string())], b"").text() == "new";
    (0..200).filter(|user| group(*user)).count()
}

fn history(serin: &Serin) -> Vec<(String, String)> {
    let entries = serin.admin_json("/api/v1/releases/next/history");
    let text = |entry: &Value, field: &str| entry[field].as_str().expect("a text").to_owned();
    entries.as_array().expect("a list").iter().map(|entry| (text(entry, "action"), text(entry, "by"))).collect()
}

fn begun(serin: &Serin) {
    eventually(PATIENCE, "the release is written down", || shown(serin)["number"].as_u64() > Some(0));
}

fn phases_by_order(serin: &Serin) {
    begun(serin);
    assert_eq!(stands(serin), at("running", 0.0));
    assert_eq!(canary_users(serin), 0);
    told(serin, "promote");
    let at_half = canary_users(serin);
    assert!((70..130).contains(&at_half), "{at_half}");
    assert_eq!(post(serin, "next/set", "*", &json!({"percent": 75.5})).1["percent"], 75.5);
    assert!(canary_users(serin) > at_half);
    told(serin, "pause");
    told(serin, "rollback");
    assert_eq!((stands(serin), canary_users(serin)), (at("rolled_back", 75.5), 0));
    told(serin, "resume");
    told(serin, "promote");
    assert_eq!((stands(serin), canary_users(serin)), (at("running", 100.0), 200));
    told(serin, "promote");
    assert_eq!((stands(serin), canary_users(serin)), (at("completed", 100.0), 200));
    let actions: Vec<String> = history(serin).into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["promote", "promote", "resume", "rollback", "pause", "set", "promote", "begin"]);
    assert_eq!(shown(serin)["last"]["by"], "anna");
    assert_eq!(shown(serin)["last"]["reason"], "why not");
}

#[test]
fn one_person_takes_a_version_to_everybody() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rules = format!("{RULES}{}{}", upstreams(&old, &new), release("[0, 50, 100]"));
    phases_by_order(&Serin::serving(&rules));
}

#[test]
fn the_same_through_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = || Serin::serving(&format!("sources: {{etcd: {}}}\n{RULES}{}", etcd.source(), upstreams(&old, &new)));
    etcd.put("/serin/releases/next", written("[0, 50, 100]"));
    let (a, b) = (serin(), serin());
    phases_by_order(&a);
    eventually(PATIENCE, "the other one follows", || stands(&b) == at("completed", 100.0));
    assert_eq!(canary_users(&b), 200);
    // The other one gives an order, and has an answer when both have it.
    let (status, answer) = post(&b, "next/rollback?wait=applied", "", &json!({"by": "ben"}));
    assert_eq!((status, answer["applied"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    assert_eq!((canary_users(&a), canary_users(&b)), (0, 0));
    // What a later process finds.
    drop((a, b));
    let c = serin();
    assert_eq!(stands(&c), at("rolled_back", 100.0));
}

#[test]
fn where_a_release_is_outlives_the_process() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let serin = |phases: &str| {
        let state = format!("state_dir: \"{}\"\n", state.display());
        Serin::serving(&format!("{state}{RULES}{}{}", upstreams(&old, &new), release(phases)))
    };
    let first = serin("[0, 50, 100]");
    begun(&first);
    told(&first, "promote");
    let before = (stands(&first), canary_users(&first), history(&first));
    drop(first);
    let second = serin("[0, 50, 100]");
    assert_eq!((stands(&second), canary_users(&second), history(&second)), before);
    told(&second, "rollback");
    drop(second);
    // Another pair of versions under the same name begins anew, behind the same history.
    let text = format!(
        "{RULES}{}{}",
        upstreams(&old, &new),
        release("[100]").replace("stable: old, canary: new", "stable: new, canary: old")
    );
    let third = Serin::serving(&format!("state_dir: \"{}\"\n{text}", state.display()));
    eventually(PATIENCE, "it has begun", || history(&third).len() == 4);
    assert_eq!(stands(&third), at("running", 100.0));
    assert_eq!(shown(&third)["number"], 4);
}

#[test]
fn orders_that_make_no_sense_change_nothing() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rules = format!("{RULES}{}{}", upstreams(&old, &new), release("[1, 50]"));
    let serin = Serin::serving(&rules);
    begun(&serin);
    let before = shown(&serin)["number"].clone();
    let refused = |order: &str, number: &str, body: Value, code: u16, reason: &str| {
        let (status, answer) = post(&serin, order, number, &body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(status == code && error.contains(reason), "{order}: {status} {answer}");
        assert_eq!(shown(&serin)["number"], before, "{order}");
    };
    refused("next/promote", "", json!({}), 428, "\"1\" is the newest");
    refused("next/promote", "\"7\"", json!({}), 412, "it is at number 1");
    refused("next/rollback", "\"7\"", json!({}), 412, "it is at number 1");
    refused("next/promote", "abc", json!({}), 400, "If-Match");
    refused("next/set", "*", json!({}), 400, "`set` needs a percent");
    refused("next/set", "*", json!({"percent": 101}), 422, "percent 101 is above 100");
    refused("next/set", "*", json!({"percent": 0.5}), 409, "from 1 % to 0.5 %; `force` does it all the same");
    refused("next/promote", "*", json!({"percent": 20}), 400, "only `set` takes a percent");
    refused("next/promote", "*", json!({"why": "x"}), 422, "unknown field `why`");
    refused("next/promote", "*", json!({"by": "a\nb"}), 400, "by: at most 100 bytes on one line");
    refused("next/promote", "*", json!({"reason": "x".repeat(1_001)}), 400, "reason: at most 1000");
    refused("next/start", "*", json!({}), 409, "it has been started");
    refused("next/advance", "*", json!({}), 404, "a release knows no `advance`, but start, promote");
    refused("nexxt/promote", "*", json!({}), 404, "no release is called `nexxt`");
    assert_eq!(serin.admin_status("/api/v1/releases/nexxt"), 404);
    assert_eq!(serin.admin_status("/api/v1/releases/nexxt/history"), 404);
    assert_eq!(serin.admin_status("/api/v1/releases/next/history?least=1"), 400);
    let (status, answer) = post(&serin, "next/set", "\"1\"", &json!({"percent": 0.5, "force": true}));
    assert_eq!((status, &answer["number"]), (200, &json!(2)));
    // What is so already is no error, and no change.
    assert_eq!(told(&serin, "pause")["changed"], true);
    assert_eq!(told(&serin, "pause")["changed"], false);
}

#[test]
fn of_two_operators_one_wins() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = || {
        let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[0, 100]"));
        Serin::serving(&format!("sources: {{etcd: {}}}\n{rest}", etcd.source()))
    };
    let instances = [serin(), serin()];
    begun(&instances[0]);
    for round in 1..=10 {
        let number = format!("\"{round}\"");
        eventually(PATIENCE, "both know the newest", || {
            instances.iter().all(|serin| shown(serin)["number"].as_u64() == Some(round))
        });
        let results: Vec<u16> = thread::scope(|scope| {
            let racing = instances.iter().enumerate().map(|(place, serin)| {
                let percent = json!({"percent": 2 * round + place as u64, "force": true});
                let number = &number;
                scope.spawn(move || post(serin, "next/set", number, &percent).0)
            });
            racing.collect::<Vec<_>>().into_iter().map(|racer| racer.join().expect("an answer")).collect()
        });
        let mut sorted = results.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [200, 412], "round {round}");
    }
}

#[test]
fn a_phase_with_an_end_is_over_by_itself() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let phases = "[{percent: 0, lasts: 1s}, {percent: 50, lasts: 1s}, 100]";
    let serin = Serin::serving(&format!("{RULES}{}{}", upstreams(&old, &new), release(phases)));
    eventually(PATIENCE, "the last phase", || stands(&serin) == at("running", 100.0));
    let actions = history(&serin);
    assert_eq!(actions[0], ("promote".to_owned(), "serin".to_owned()));
    assert_eq!(actions.len(), 3);
    assert_eq!(canary_users(&serin), 200);
}

#[test]
fn a_canary_that_falls_holds_the_phase_and_the_second_time_ends_the_release() {
    let old = Origin::named("old");
    let ill = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_ill = std::sync::Arc::clone(&ill);
    let new = Origin::start(move |visit| {
        let status = if is_ill.load(std::sync::atomic::Ordering::Relaxed) { 503 } else { 200 };
        visit.answer(status, &[], b"new")
    });
    let breaker = ", breaker: false, group_breaker: {condition: \"ResponseCodeRatio(500, 600, 0, 600) > 0.5\", min_requests: 10, open: 1s}";
    let rules = format!("{RULES}{}{}", upstreams_with(&old, &new, breaker), release("[{percent: 50, lasts: 1h}, 100]"));
    let serin = Serin::serving(&rules);
    begun(&serin);
    let set_ill = |is_ill| ill.store(is_ill, std::sync::atomic::Ordering::Relaxed);
    let until_hold = |hold: Value| {
        eventually(Duration::from_secs(30), "the hold", || {
            canary_users(&serin);
            let shown = shown(&serin);
            shown["hold"] == hold || shown["status"] == "rolled_back"
        });
    };
    set_ill(true);
    until_hold(json!("canary_down"));
    let held = shown(&serin);
    assert_eq!((&held["status"], &held["next_phase_in_seconds"]), (&json!("running"), &Value::Null));
    let clock = held["phase_seconds"].clone();
    // One of them may try whether it is up again.
    assert!(canary_users(&serin) <= 1, "stable serves its users");
    set_ill(false);
    until_hold(Value::Null);
    let up = shown(&serin);
    assert_eq!(up["status"], "running");
    assert!(up["next_phase_in_seconds"].as_f64().is_some() && up["phase_seconds"].as_f64() >= clock.as_f64());
    set_ill(true);
    until_hold(json!("never"));
    assert_eq!(stands(&serin), at("rolled_back", 50.0));
    let actions: Vec<String> = history(&serin).into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["rollback", "canary_up", "canary_down", "begin"]);
    // Whoever resumes it knows better.
    set_ill(false);
    told(&serin, "resume");
    assert_eq!(stands(&serin).0, "running");
}

#[test]
fn a_rollback_works_without_etcd_and_is_written_later() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = || {
        let rest = format!(
            "{RULES}{}{}",
            upstreams(&old, &new),
            release("[{percent: 0, lasts: 1h}, {percent: 100, lasts: 3s}]")
        );
        Serin::serving(&format!("sources: {{etcd: {}}}\n{rest}", etcd.source()))
    };
    let (a, b) = (serin(), serin());
    begun(&a);
    told(&a, "promote");
    eventually(PATIENCE, "both follow", || stands(&b) == at("running", 100.0));
    etcd.kill(0);
    let (status, answer) = post(&a, "next/promote", "*", &json!({}));
    assert_eq!(status, 503, "{answer}");
    let (status, answer) = post(&a, "next/rollback", "", &json!({"by": "anna", "reason": "all is red"}));
    assert_eq!((status, &answer["rolled_back_here"]), (202, &json!(true)), "{answer}");
    eventually(PATIENCE, "it is rolled back here", || stands(&a).0 == "rolled_back");
    assert_eq!((canary_users(&a), shown(&a)["rolled_back_here"].as_bool()), (0, Some(true)));
    assert_eq!(canary_users(&b), 200, "the other one cannot know, and nothing goes on by itself");
    etcd.restart(0);
    eventually(Duration::from_secs(40), "the other one has it", || stands(&b).0 == "rolled_back");
    eventually(PATIENCE, "it is written", || shown(&a)["rolled_back_here"] == false);
    assert_eq!((stands(&a).0.as_str(), shown(&b)["last"]["by"].as_str()), ("rolled_back", Some("anna")));
}

#[test]
fn a_start_without_etcd_finds_releases_where_they_were() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[100]"));
    let text = format!("state_dir: \"{}\"\nsources: {{etcd: {}}}\n{rest}", folder.path().display(), etcd.source());
    let first = Serin::serving(&text);
    begun(&first);
    told(&first, "rollback");
    drop(first);
    etcd.kill(0);
    let second = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n{text}"
    ));
    assert_eq!((stands(&second).0.as_str(), canary_users(&second)), ("rolled_back", 0));
}

#[test]
fn changes_show_the_token() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    fs::write(&token, "correct horse battery staple\n".replace(' ', "-")).expect("a file");
    let admin = format!("admin: {{address: \"127.0.0.1:0\", token_file: \"{}\"}}\n", token.display());
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[1, 100]"));
    let serin = Serin::start(&format!("listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\n{admin}workers: 1\n{rest}"));
    begun(&serin);
    let promote = |token: &str| {
        let fields =
            [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", "*"), ("Authorization", token)];
        let admin = serin.server().admin().expect("an admin API");
        let reply = Client::connect(admin).request("POST", "/api/v1/releases/next/promote", &fields, b"{}");
        (reply.status, reply.header("www-authenticate").map(str::to_owned))
    };
    assert_eq!(promote("Bearer correct-horse"), (401, Some("Bearer".to_owned())));
    assert_eq!(stands(&serin), at("running", 1.0));
    assert_eq!(promote("Bearer correct-horse-battery-staple"), (200, None));
    assert_eq!(stands(&serin), at("running", 100.0));
}

/// Asks where the user `7` is, or was at a time.
fn explained(serin: &Serin, at: Option<&str>) -> (u16, Value) {
    let question = json!({"url": "http://a.test/", "headers": [["x-user", "7"]], "at": at});
    let fields = [("Content-Type", "application/json"), ("Host", "localhost")];
    let admin = serin.server().admin().expect("an admin API");
    let body = serde_json::to_vec(&question).expect("JSON");
    let reply = Client::connect(admin).request("POST", "/api/v1/explain", &fields, &body);
    (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
}

/// Until it is another millisecond: history tells times no finer.
fn later() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
    let before = now();
    eventually(PATIENCE, "time goes by", || now() > before);
}

#[test]
fn history_tells_who_was_where() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rules = |audience: &str| {
        let release = release("[0, 100]").replace("[{name: everyone}]", audience);
        format!("{RULES}{}{release}", upstreams(&old, &new))
    };
    let folder = tempfile::tempdir().expect("a folder");
    let state = format!("state_dir: \"{}\"\n", folder.path().display());
    let serin = Serin::serving(&format!("{state}{}", rules("[{name: everyone}]")));
    begun(&serin);
    later();
    told(&serin, "promote");
    later();
    told(&serin, "rollback");
    later();
    serin.reload_serving(&format!("{state}{}", rules("[{name: nobody, ip: [192.0.2.0/24]}]")));
    eventually(PATIENCE, "the edit is written down", || history(&serin).len() == 4);
    later();
    told(&serin, "resume");
    let entries = serin.admin_json("/api/v1/releases/next/history");
    let at = |place: usize| entries[place]["at"].as_str().expect("a time");
    let was = |at: &str| {
        let (status, answer) = explained(&serin, Some(at));
        assert_eq!(status, 200, "{answer}");
        let release = &answer["release"];
        format!("{} {} {}", release["group"], release["reason"], release["rule"]).replace('"', "")
    };
    let actions: Vec<_> = (0..5).map(|place| entries[place]["action"].as_str().expect("a word")).collect();
    assert_eq!(actions, ["resume", "edit", "rollback", "promote", "begin"]);
    assert_eq!(was(at(4)), "stable rule everyone");
    assert_eq!(was(at(3)), "canary rule everyone");
    assert_eq!(was(at(2)), "stable inactive null");
    assert_eq!(was(at(0)), "stable no_rule null", "by the rules as they were written then");
    assert_eq!(explained(&serin, None).1["release"]["reason"], "no_rule");
    let (status, answer) = explained(&serin, Some("2001-01-01T00:00:00Z"));
    assert!(status == 404 && answer["error"].as_str().is_some_and(|error| error.contains("begins at")), "{answer}");
    for wrong in ["yesterday", "-", "-x", "2999-01-01T00:00:00Z"] {
        assert_eq!(explained(&serin, Some(wrong)).0, 400, "{wrong}");
    }
    assert_eq!(explained(&serin, Some("-0s")).0, 200);
}

#[test]
fn a_rollback_is_quick_where_etcd_hangs_and_outlives_a_restart() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[100]"));
    let shared = format!("sources: {{etcd: {}}}\n{rest}", etcd.source());
    let text = format!("state_dir: \"{}\"\n{shared}", folder.path().display());
    let (a, b) = (Serin::serving(&text), Serin::serving(&shared));
    begun(&a);
    eventually(PATIENCE, "both have it", || shown(&b)["number"] == 1);
    etcd.signal(0, "STOP");
    let began = Instant::now();
    assert_eq!(post(&a, "next/rollback", "", &json!({"by": "anna"})).0, 202);
    assert!(began.elapsed() < PATIENCE, "nobody waits for an etcd that hangs");
    eventually(PATIENCE, "it holds here", || stands(&a).0 == "rolled_back");
    assert_eq!((canary_users(&a), canary_users(&b)), (0, 200));
    drop(a);
    let head = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\n";
    let a = Serin::start(&format!("{head}{text}"));
    assert_eq!((stands(&a).0.as_str(), canary_users(&a)), ("rolled_back", 0), "also after a restart");
    etcd.signal(0, "CONT");
    eventually(Duration::from_secs(40), "the other one has it", || stands(&b).0 == "rolled_back");
    eventually(PATIENCE, "it is written", || shown(&a)["rolled_back_here"] == false);
    assert_eq!(shown(&b)["last"]["by"], "anna");
    told(&b, "resume");
    eventually(PATIENCE, "it may go on", || stands(&a).0 == "running");
}

#[test]
fn processes_with_one_folder_do_not_undo_what_the_other_did() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[1, 50, 100]"));
    let text = format!("state_dir: \"{}\"\n{rest}", folder.path().display());
    let (first, second) = (Serin::serving(&text), Serin::serving(&text));
    begun(&first);
    told(&first, "rollback");
    // The other one has not heard of it; what it is told comes after that all the same.
    let (status, answer) = post(&second, "next/promote", "*", &json!({}));
    assert_eq!(status, 409, "{answer}");
    assert_eq!(stands(&first), at("rolled_back", 1.0));
    eventually(PATIENCE, "what it has met is in force there, too", || stands(&second) == at("rolled_back", 1.0));
}

#[test]
fn a_file_that_cannot_be_read_puts_nobody_into_the_canary_group() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[100]"));
    let text = format!("state_dir: \"{}\"\n{rest}", folder.path().display());
    for name in ["releases.json", "releases.previous.json"] {
        fs::write(folder.path().join(name), "no record").expect("a file");
    }
    let serin = Serin::serving(&text);
    assert_eq!((stands(&serin).0.as_str(), canary_users(&serin)), ("rolled_back", 0));
    let (status, answer) = post(&serin, "next/resume", "*", &json!({}));
    assert!(
        status == 503 && answer["error"].as_str().is_some_and(|error| error.contains("cannot be read")),
        "{answer}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("releases.json")).expect("it is there"), "no record");
}

#[test]
fn what_the_store_has_lost_is_written_again() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[50, 100]"));
    let serin = Serin::serving(&format!("sources: {{etcd: {}}}\n{rest}", etcd.source()));
    begun(&serin);
    told(&serin, "rollback");
    etcd.delete("/serin/state/releases/next");
    let (status, answer) = post(&serin, "next/promote", "*", &json!({}));
    assert_eq!(status, 409, "{answer}");
    assert_eq!(stands(&serin), at("rolled_back", 50.0));
    assert!(etcd.get("/serin/state/releases/next").is_some_and(|text| text.contains("rolled_back")));
    let actions: Vec<String> = history(&serin).into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["restore", "rollback", "begin"]);
}

#[test]
fn a_rollback_that_others_have_gone_beyond_is_void() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rest = format!("{RULES}{}{}", upstreams(&old, &new), release("[100]"));
    let link = Link::to(&etcd.address(0));
    let text = |source: &str| format!("sources: {{etcd: {source}}}\n{rest}");
    let cut_off = Serin::serving(&text(&format!("{{endpoints: [\"http://{}\"]}}", link.address())));
    let other = Serin::serving(&text(&etcd.source()));
    begun(&cut_off);
    eventually(PATIENCE, "both have it", || shown(&other)["number"] == 1);
    link.set(Weather::Silent);
    assert_eq!(post(&cut_off, "next/rollback", "", &json!({"by": "anna"})).0, 202);
    eventually(PATIENCE, "it holds here", || stands(&cut_off).0 == "rolled_back");
    told(&other, "rollback");
    told(&other, "resume");
    link.reset();
    link.set(Weather::Fair);
    eventually(Duration::from_secs(40), "it follows the others", || shown(&cut_off)["number"] == 3);
    eventually(PATIENCE, "its own rollback is void", || stands(&cut_off).0 == "running");
    assert_eq!((stands(&other).0.as_str(), shown(&other)["number"].as_u64()), ("running", Some(3)));
    assert_eq!(shown(&cut_off)["rolled_back_here"], false);
}

#[test]
fn what_a_folder_has_lost_is_known_as_long_as_the_process_runs() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let another = written("[1, 100]").replace("canary: new", "canary: third");
    let third = format!("  third: {{endpoints: [\"{}\"]}}\n", new.address());
    let releases = format!("releases:\n  next: {}\n  another: {another}\n", written("[1, 100]"));
    let rest = format!("{RULES}{}{third}{releases}", upstreams(&old, &new));
    let serin = Serin::serving(&format!("state_dir: \"{}\"\n{rest}", state.display()));
    begun(&serin);
    eventually(PATIENCE, "both are written down", || {
        serin.admin_json("/api/v1/releases/another")["number"].as_u64() > Some(0)
    });
    told(&serin, "rollback");
    fs::remove_dir_all(&state).expect("the folder goes");
    assert_eq!(post(&serin, "another/promote", "*", &json!({})).0, 200);
    assert_eq!(stands(&serin), at("rolled_back", 1.0));
    assert!(fs::read_to_string(state.join("releases.json")).is_ok_and(|text| text.contains("rolled_back")));
}
