//! `serin release` through the real program: what it prints, its exit codes, and that what it says was done was done.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::control::Program;
use crate::support::etcd::Etcd;
use crate::support::{Origin, PATIENCE, Serin, eventually};

fn rules(old: &Origin, new: &Origin, phases: &str) -> String {
    let (old, new) = (old.address(), new.address());
    format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams: {{old: {{endpoints: [\"{old}\"]}}, new: {{endpoints: [\"{new}\"]}}}}\n\
         releases: {{next: {{stable: old, canary: new, audience: [{{name: office, ip: [10.0.0.0/8], percent: 100}}, \
         {{name: everyone}}], phases: {phases}, sticky: {{key: [{{header: x-user}}]}}}}}}\n"
    )
}

/// Serves, and its release is written down.
fn serving(phases: &str) -> Serin {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = Serin::serving(&rules(&old, &new, phases));
    eventually(PATIENCE, "the release is written down", || number(&serin) > 0);
    serin
}

fn number(serin: &Serin) -> u64 {
    serin.admin_json("/api/v1/releases/next")["number"].as_u64().expect("a number")
}

fn url(serin: &Serin) -> String {
    format!("http://{}", serin.server().admin().expect("an admin API"))
}

fn command(admin: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.arg("release").args(arguments).args(["--admin", admin]);
    command.env_remove("SERIN_TOKEN_FILE").env("USER", "anna");
    command
}

/// What the program prints on both streams, and its exit code.
fn ask(admin: &str, arguments: &[&str]) -> (String, Option<i32>) {
    let Output { stdout, stderr, status } = command(admin, arguments).output().expect("the program runs");
    (String::from_utf8([stdout, stderr].concat()).expect("text"), status.code())
}

fn json(admin: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let (text, code) = ask(admin, &[arguments, &["--json"]].concat());
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")), code)
}

#[track_caller]
fn says(admin: &str, arguments: &[&str], expected: &str, code: i32) {
    let (text, exit) = ask(admin, arguments);
    assert!(
        text.contains(expected) && exit == Some(code),
        "{arguments:?}: {exit:?} {text}\nexpected {code} {expected}"
    );
}

#[test]
fn one_person_walks_a_release_through_its_phases() {
    let serin = serving("[1, 50, 100]");
    let admin = &url(&serin);
    says(admin, &["promote", "next", "--reason", "looks good"], "next is running at 50 %, number 2\n", 0);
    says(admin, &["set", "next", "75.5", "--by", "ben"], "next is running at 75.5 %, number 3\n", 0);
    says(admin, &["set", "next", "10%"], "from 75.5 % to 10 %; `force` does it all the same", 1);
    says(admin, &["set", "next", "10", "--force"], "next is running at 10 %, number 4\n", 0);
    says(admin, &["pause", "next"], "next is paused at 10 %, number 5\n", 0);
    says(admin, &["pause", "next"], "next is already paused at 10 %, number 5\n", 0);
    says(admin, &["start", "next"], "it has been started", 1);
    says(admin, &["resume", "next"], "next is running at 10 %, number 6\n", 0);
    let (text, code) = ask(admin, &["status", "next"]);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "next  old -> new\n",
        "status     running at 10 % since ",
        "phases     1 - [10] - 50 - 100\n",
        "last       resume by anna@",
        "audience   office      100 %  ####################\n",
        "           everyone     10 %  ##..................  follows the phases\n",
    ] {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("instances"), "{text:?}");
    says(admin, &["complete", "next"], "next is completed, number 7\n", 0);
    says(admin, &["list"], "next     completed       100 %       7  complete by anna@", 0);
    // One that is alone has nobody to wait for.
    says(admin, &["rollback", "next", "--wait"], "next is rolled_back from 10 %, number 8\n", 0);
    let (text, code) = ask(admin, &["history", "next", "--most", "7"]);
    let actions: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(actions, ["rollback", "complete", "resume", "pause", "set", "set", "promote"]);
    assert!(text.contains("running at 75.5 %  by ben\n"), "{text}");
    assert!(text.trim_end().ends_with(": looks good"), "{text}");
}

#[test]
fn whoever_is_slower_is_told_who_was_faster() {
    let serin = serving("[1, 50, 100]");
    let admin = &url(&serin);
    says(admin, &["promote", "next", "--if-number", "1", "--by", "ben"], "number 2\n", 0);
    let faster = "changed meanwhile by ben (promote): it is at number 2";
    says(admin, &["promote", "next", "--if-number", "1"], faster, 1);
    says(admin, &["rollback", "next", "--if-number", "1"], faster, 1);
    let (answer, code) = json(admin, &["promote", "next", "--if-number", "1"]);
    assert!(answer["error"].as_str().is_some_and(|error| error.contains(faster)) && code == Some(1), "{answer}");
    assert_eq!(number(&serin), 2);
    says(admin, &["rollback", "next"], "next is rolled_back from 50 %, number 3\n", 0);
}

/// An order is about what was read before it; a rollback is right in any case.
#[test]
fn an_order_names_the_number_that_was_read_and_a_rollback_none() {
    let stub = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[("content-type", "application/json")], STUB.as_bytes())
    });
    let admin = &format!("http://{}", stub.address());
    for (order, number) in [("promote", Some("\"7\"")), ("rollback", None)] {
        assert_eq!(ask(admin, &[order, "next"]).1, Some(0));
        let request = stub.requests().into_iter().next_back().expect("a request");
        assert_eq!(request.target, format!("/api/v1/releases/next/{order}"));
        assert_eq!(request.header("if-match"), number);
    }
    assert_eq!(stub.requests().len(), 3);
}

/// A release, and what an order to it comes to.
const STUB: &str = r#"{"name": "next", "stable": "a", "canary": "b", "status": "running", "percent": 1, "phases": [], "number": 7,
    "since": null, "phase_seconds": 0, "next_phase_in_seconds": null, "hold": null, "last": null, "rolled_back_here": false,
    "audience": [], "analysis": {"mode": "observe", "report": null}, "changed": true}"#;

#[test]
fn wrong_words_are_usage_and_what_is_not_there_is_no() {
    let serin = serving("[1, 50, 100]");
    let admin = &url(&serin);
    for wrong in [
        &["set", "next", "101"][..],
        &["set", "next", "many"],
        &["set", "next"],
        &["promote", "next", "--timeout", "10s"],
        &["promote", "next", "--wait", "--timeout", "2h"],
        &["promote", "next", "--by", "two\nlines"],
        &["set", "next", "12.345"],
        &["advance", "next"],
        &[],
    ] {
        let (text, code) = ask(admin, wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {text}");
    }
    assert_eq!(json(admin, &["set", "next", "101"]).1, Some(2));
    for order in ["status", "promote", "rollback", "history"] {
        says(admin, &[order, "nexxt"], "no release is called `nexxt`", 1);
        says(admin, &[order, "../routes?a#b"], "no release is called `../routes?a#b`", 1);
    }
    says("https://127.0.0.1:9900", &["list"], "plain HTTP", 2);
    assert_eq!(number(&serin), 1);
}

#[test]
fn who_cannot_be_asked_has_an_exit_code_of_its_own() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    for arguments in [&["list"][..], &["status", "next"], &["status", "next", "--watch"], &["rollback", "next"]] {
        says(&closed, arguments, &format!("cannot ask {closed}: "), 3);
        assert_eq!(json(&closed, arguments).1, Some(3));
    }
    // A web server that is no Serin.
    let other = Origin::named("<html>");
    says(&format!("http://{}", other.address()), &["rollback", "next"], "is it a Serin?", 3);
}

#[test]
fn orders_show_the_token_and_questions_need_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let (right, wrong) = (write("token", "correct-horse-battery\n"), write("other", "wrong-horse-battery\n"));
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nworkers: 1\n\
         admin: {{address: \"127.0.0.1:0\", token_file: \"{right}\"}}\n{}",
        rules(&old, &new, "[1, 100]")
    ));
    let admin = &url(&serin);
    says(admin, &["status", "next"], "running at 1 %", 0);
    says(admin, &["promote", "next"], "changes need the token", 1);
    says(admin, &["rollback", "next", "--token-file", &wrong], "changes need the token", 1);
    says(admin, &["promote", "next", "--token-file", &format!("{right}.gone")], "No such file", 2);
    says(admin, &["promote", "next", "--token-file", &right], "running at 100 %", 0);
    let output = command(admin, &["pause", "next"]).env("SERIN_TOKEN_FILE", &right).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn whoever_follows_a_release_sees_each_change_and_its_end() {
    let serin = serving("[0, 50, 100]");
    let admin = &url(&serin);
    let mut watching = command(admin, &["status", "next", "--watch"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines =
        BufReader::new(watching.stdout.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    let mut sees = |parts: &[&str]| {
        let line = lines.next().expect("another line");
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} in {line}");
    };
    sees(&["begin", "running at 0 %"]);
    for order in [&["promote", "next"][..], &["set", "next", "60"], &["rollback", "next", "--reason", "all is red"]] {
        assert_eq!(ask(admin, order).1, Some(0), "{order:?}");
    }
    // However fast they come.
    sees(&["promote", "running at 50 %"]);
    sees(&["set", "running at 60 %"]);
    sees(&["rollback", "rolled_back from 60 %", ": all is red"]);
    assert_eq!(watching.wait().expect("our own child").code(), Some(1));
    for order in ["resume", "complete"] {
        assert_eq!(ask(admin, &[order, "next"]).1, Some(0));
    }
    let (entry, code) = json(admin, &["status", "next", "--watch"]);
    assert_eq!((entry["action"].as_str(), code), (Some("complete"), Some(0)));
}

#[test]
fn a_pipeline_asks_whether_a_release_may_go_on() {
    let serin = serving("[1, 50, 100]");
    let admin = &url(&serin);
    says(admin, &["verdict", "next"], "next: observing, running at 1 %, number 1\nnothing is known yet", 4);
    says(admin, &["verdict", "nexxt"], "no release is called `nexxt`", 1);
    says(admin, &["verdict", "next", "--wait", "soon"], "--wait", 2);
    // Who waits is told as soon as it is decided.
    let waits = command(admin, &["verdict", "next", "--wait", "1h", "--json"]).stdout(Stdio::piped()).spawn();
    let waits = waits.expect("the program runs");
    says(admin, &["rollback", "next", "--reason", "it is slow"], "next is rolled_back", 0);
    let Output { stdout, status, .. } = waits.wait_with_output().expect("it ends");
    let verdict: Value = serde_json::from_slice(&stdout).expect("JSON");
    assert_eq!(status.code(), Some(1));
    assert_eq!((verdict["verdict"].as_str(), verdict["decided"].as_bool()), (Some("rolled_back"), Some(true)));
    assert!(verdict["reason"].as_str().is_some_and(|reason| reason.ends_with(": it is slow")), "{verdict}");
    says(admin, &["resume", "next"], "next is running at 1 %", 0);
    says(admin, &["pause", "next"], "next is paused", 0);
    says(admin, &["verdict", "next", "--wait", "100ms"], "next: hold, paused at 1 %", 4);
    says(admin, &["complete", "next"], "next is completed", 0);
    says(admin, &["verdict", "next"], "next: promote, completed", 0);
    // The same by the API, which does not wait for longer than a minute.
    let target = "/api/v1/releases/next/verdict";
    assert_eq!(serin.admin_json(&format!("{target}?wait=60s"))["verdict"], "promote");
    for (wrong, status) in [("?wait=61s", 400), ("?wait=10", 400), ("?wiat=1s", 400)] {
        assert_eq!(serin.admin_status(&format!("{target}{wrong}")), status, "{wrong}");
    }
}

#[test]
fn a_release_that_nobody_judges_has_no_verdict() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = Serin::serving(&rules(&old, &new, "[1, 50], analysis: {mode: off}"));
    eventually(PATIENCE, "the release is written down", || number(&serin) > 0);
    says(&url(&serin), &["verdict", "next", "--wait", "1h"], "`analysis.mode` of this release is `off`", 1);
}

#[test]
fn scripts_get_json() {
    let serin = serving("[1, 50, 100]");
    let admin = &url(&serin);
    let (answer, code) = json(admin, &["promote", "next"]);
    assert_eq!((answer["percent"].as_f64(), answer["number"].as_u64(), code), (Some(50.0), Some(2), Some(0)));
    let (answer, code) = json(admin, &["start", "next"]);
    assert!(answer["error"].is_string() && code == Some(1), "{answer}");
    assert_eq!(json(admin, &["list"]).0[0]["name"], "next");
    assert_eq!(json(admin, &["status", "next"]).0["phase"], 2);
    assert_eq!(json(admin, &["history", "next", "--most", "1"]).0[0]["action"], "promote");
    assert_eq!(json(admin, &["status", "nexxt"]).1, Some(1));
}

/// A process of its own that follows etcd, with the release in its file.
fn program(etcd: &Etcd, folder: &Path, rules: &str) -> Program {
    let path: PathBuf = folder.join("serin.yaml");
    let common = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";
    fs::write(&path, format!("{common}sources: {{etcd: {}}}\n{rules}", etcd.source())).expect("a file");
    Program::start(&path)
}

#[test]
fn a_rollback_waits_for_all_and_names_who_has_not_confirmed() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rules = rules(&old, &new, "[1, 100]");
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [stays, stops] = folders.each_ref().map(|folder| program(&etcd, folder.path(), &rules));
    let admin = &format!("http://{}", stays.address("admin"));
    let instances = || {
        let told: Value = serde_json::from_slice(&stays.admin("/api/v1/instances").body).expect("JSON");
        told["instances"].as_array().expect("a list").clone()
    };
    eventually(PATIENCE, "both are there", || instances().len() == 2);
    eventually(PATIENCE, "the release is written down", || {
        json(admin, &["status", "next"]).0["number"].as_u64() > Some(0)
    });
    says(admin, &["promote", "next", "--wait"], "running at 100 %, number 2\napplied by 2 of 2 instances\n", 0);
    says(admin, &["status", "next"], "instances  2 of 2 have applied what is newest\n", 0);
    let other = instances().iter().find(|it| it["this"] == false).expect("the other")["id"].clone();
    let other = other.as_str().expect("an id");
    stops.signal("STOP");
    eventually(PATIENCE, "it stands still", || stops.stands_still());
    let expected =
        format!("rolled_back from 100 %, number 3\napplied by 1 of 2 instances\nnot yet applied by {other}\n");
    says(admin, &["rollback", "next", "--wait", "--timeout", "1s"], &expected, 1);
    says(admin, &["status", "next"], &format!("behind: {other}\n"), 0);
    // Whoever asks again is told the same.
    let (answer, code) = json(admin, &["rollback", "next", "--wait", "--timeout", "100ms"]);
    assert_eq!((&answer["changed"], &answer["waiting"][0], code), (&false.into(), &other.into(), Some(1)), "{answer}");
    stops.signal("CONT");
    says(
        admin,
        &["rollback", "next", "--wait"],
        "already rolled_back from 100 %, number 3\napplied by 2 of 2 instances\n",
        0,
    );
}

#[test]
fn without_etcd_a_rollback_holds_here_and_the_command_says_so() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let rules = rules(&old, &new, "[1, 100]");
    let serin = Serin::serving(&format!("sources: {{etcd: {}}}\n{rules}", etcd.source()));
    eventually(PATIENCE, "the release is written down", || number(&serin) > 0);
    let admin = &url(&serin);
    etcd.kill(0);
    says(admin, &["promote", "next"], "the state of releases cannot be stored", 3);
    says(
        admin,
        &["rollback", "next", "--wait"],
        "rolled back here; other instances are told as soon as that is possible",
        1,
    );
    says(admin, &["status", "next"], "in this instance only: others are told as soon as that is possible", 0);
}
