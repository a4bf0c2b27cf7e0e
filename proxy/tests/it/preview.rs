//! Whom another percent or an edit would move: what the API and the command say, and that it is what comes.

use std::collections::HashSet;
use std::fs;
use std::process::Command;

use routing_rules::release::{Bucket, Salt};
use routing_rules::rules::Name;
use serde_json::{Value, json};

use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

const AUDIENCE: &str = "[{name: office, ip: [10.0.0.0/8], percent: 100}, {name: beta, header: {x-plan: beta}, percent: 50}, {name: everyone}]";

fn release(audience: &str, more: &str) -> String {
    format!(
        "{{stable: old, canary: new, audience: {audience}, phases: [10, 20, 100], sticky: {{key: [{{header: x-user}}]{more}}}}}"
    )
}

fn serving() -> (Serin, [Origin; 2]) {
    let origins = [Origin::named("old"), Origin::named("new")];
    let [old, new] = origins.each_ref().map(Origin::address);
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams: {{old: {{endpoints: [\"{old}\"]}}, new: {{endpoints: [\"{new}\"]}}}}\n\
         releases: {{next: {}}}\n",
        release(AUDIENCE, "")
    ));
    eventually(PATIENCE, "the release is written down", || {
        serin.admin_json("/api/v1/releases/next")["number"].as_u64() > Some(0)
    });
    (serin, origins)
}

fn ask(serin: &Serin, question: &Value) -> (u16, Value) {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Content-Type", "application/json"), ("Host", "localhost")];
    let target = "/api/v1/releases/next/preview";
    let reply = Client::connect(admin).request("POST", target, &fields, question.to_string().as_bytes());
    (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
}

fn told(serin: &Serin, question: &Value) -> Value {
    let (status, answer) = ask(serin, question);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn post(serin: &Serin, order: &str, body: &Value) {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", "*")];
    let target = format!("/api/v1/releases/next/{order}");
    let reply = Client::connect(admin).request("POST", &target, &fields, body.to_string().as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// 200 users, of whom none takes the place of another in the instance's memory.
fn users() -> Vec<usize> {
    let [name, stable, canary] = ["next", "old", "new"].map(|name| Name::new(name).expect("a name"));
    let salt = Salt::derive(&name, &stable, &canary);
    let mut places = HashSet::new();
    let mut is_first = |user: &usize| places.insert(Bucket::of(&salt, user.to_string().as_bytes()).hash() % 4_096);
    (0..).filter(|user| is_first(user)).take(200).collect()
}

/// The group of each: every fourth has a plan, every tenth an iPhone.
fn visit(serin: &Serin) -> Vec<String> {
    let mut client = serin.client();
    let group = |(number, user): (usize, usize)| {
        let name = user.to_string();
        let mut fields = vec![("x-user", name.as_str())];
        fields.extend((number % 4 == 0).then_some(("x-plan", "beta")));
        let device = if number % 10 == 0 { "iPhone" } else { "Windows NT 10.0" };
        let agent = format!("Mozilla/5.0 ({device})");
        fields.push(("user-agent", &agent));
        client.request("GET", "/", &fields, b"").text().to_owned()
    };
    users().into_iter().enumerate().map(group).collect()
}

fn counts(moves: &Value) -> [u64; 4] {
    ["to_canary", "to_stable", "stay", "unknown"].map(|field| moves[field].as_u64().expect("a number"))
}

fn part<'v>(answer: &'v Value, list: &str, field: &str, name: &str) -> &'v Value {
    let all = answer[list].as_array().expect("a list");
    all.iter().find(|part| part[field] == name).unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn what_a_percent_moves_is_what_was_foretold() {
    let (serin, _origins) = serving();
    let nobody = told(&serin, &json!({"percent": 60}));
    assert_eq!((&nobody["users"], &nobody["since"], counts(&nobody["moves"])), (&json!(0), &Value::Null, [0; 4]));
    let before = visit(&serin);
    let answer = told(&serin, &json!({"percent": 60}));
    assert_eq!((&answer["users"], &answer["percent"]), (&json!(200), &json!(60.0)), "{answer}");
    let [to_canary, to_stable, stay, unknown] = counts(&answer["moves"]);
    // Of `beta`, which has a percent of its own, nobody moves.
    assert_eq!(counts(part(&answer, "rules", "rule", "beta")), [0, 0, 50, 0]);
    assert_eq!(counts(part(&answer, "rules", "rule", "everyone")), [to_canary, 0, 150 - to_canary, 0]);
    assert_eq!(part(&answer, "devices", "device", "iphone")["unknown"], 0);
    assert_eq!(answer["instance"], serin.admin_json("/api/v1/instances")["instances"][0]["id"]);
    assert_eq!(answer["samples"].as_array().map(Vec::len), Some(5));
    assert_eq!((&answer["samples"][0]["to"], &answer["samples"][0]["client"]), (&json!("canary"), &json!("127.0.0.1")));
    // It was a question.
    assert_eq!(visit(&serin), before);
    assert_eq!(serin.admin_json("/api/v1/releases/next")["number"], 1);
    post(&serin, "set", &json!({"percent": 60}));
    let after = visit(&serin);
    let moved = |from: &str, to: &str| {
        let pairs = before.iter().zip(&after);
        pairs.filter(|(before, after)| **before == from && **after == to).count() as u64
    };
    assert_eq!((moved("old", "new"), moved("new", "old")), (to_canary, to_stable));
    assert!(to_canary > 50 && to_stable == 0 && stay == 200 - to_canary && unknown == 0, "{answer}");
    // And back: it was at 10 %.
    assert_eq!(counts(&told(&serin, &json!({"percent": 10}))["moves"]), [0, to_canary, stay, 0]);
}

#[test]
fn edits_are_foretold_as_far_as_anybody_knows() {
    let (serin, _origins) = serving();
    visit(&serin);
    let edited = |audience: &str, more: &str| -> Value {
        let release = release(audience, more);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("edited.yaml");
        fs::write(&file, release).expect("a file");
        let admin = format!("http://{}", serin.server().admin().expect("an admin API"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.args(["release", "preview", "next", "--json", "--admin", &admin, "--file"]).arg(&file);
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let same = edited(AUDIENCE, "");
    assert_eq!(counts(&same["moves"]), [0, 0, 200, 0]);
    // Whom `beta` took is with everyone then.
    let without = edited("[{name: everyone}]", "");
    assert!(without["refused"].as_str().is_some_and(|reason| reason.contains("`force: 0`")), "{without}");
    assert_eq!(same["refused"], Value::Null);
    let [to_canary, to_stable, stay, unknown] = counts(&without["moves"]);
    assert!(to_canary == 0 && to_stable > 5 && stay == 200 - to_stable && unknown == 0, "{without}");
    assert_eq!(counts(part(&without, "rules", "rule", "everyone")), counts(&without["moves"]));
    assert!(without["samples"].as_array().expect("a list").iter().all(|sample| sample["to"] == "stable"));
    // Whether those who have no beta plan have a gold one, nobody remembers.
    let gold = edited("[{name: gold, header: {x-plan: gold}, percent: 100}, {name: everyone}]", "");
    let [to_canary, to_stable_then, _, unknown] = counts(&gold["moves"]);
    assert!(to_canary == 0 && to_stable_then == to_stable && unknown > 100, "{gold}");
    // Who is drawn anew, nobody knows at all; but how many.
    for (more, because) in [(", salt: \"00112233445566778899aabbccddeeff\"", "sticky.salt"), ("", "sticky.key")] {
        let key = if more.is_empty() { ", salt: null" } else { more };
        let text = release("[{name: everyone, percent: 30}]", key);
        let text = if more.is_empty() { text.replace("{header: x-user}", "client_ip") } else { text };
        let rules: Value = serde_json::to_value(yaml(&text)).expect("JSON");
        let drawn = told(&serin, &json!({"rules": rules}));
        assert_eq!(counts(&drawn["moves"]), [0, 0, 0, 200]);
        assert_eq!(
            (&drawn["redraw"]["because"], &drawn["redraw"]["canary_percent_then"]),
            (&json!(because), &json!(30.0))
        );
        assert!(
            drawn["samples"].as_array().is_some_and(Vec::is_empty)
                && drawn["redraw"]["canary_percent_now"].as_f64() > Some(5.0)
        );
    }
}

/// A release as it is written.
fn yaml(text: &str) -> routing_rules::spec::ReleaseSpec {
    use serin_proxy::control_path::decode;
    let source: std::sync::Arc<str> = "text".into();
    let root = decode::parse(&source, text).expect("YAML");
    decode::decode(&source, &root, "", &mut Vec::new()).expect("a release")
}

#[test]
fn the_command_says_whom_a_percent_moves() {
    let (serin, _origins) = serving();
    let admin = format!("http://{}", serin.server().admin().expect("an admin API"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        let output = command.args(["release", "preview"]).args(arguments).args(["--admin", &admin]).output();
        let output = output.expect("the program runs");
        (String::from_utf8([output.stdout, output.stderr].concat()).expect("text"), output.status.code())
    };
    let (text, code) = run(&["next", "--percent", "20"]);
    assert!(code == Some(0) && text.starts_with("next at 20 %\nusers      none has come to instance "), "{text}");
    visit(&serin);
    let (text, code) = run(&["next", "--percent", "60"]);
    for part in [
        "next at 60 %\nusers      200 who came to instance ",
        "\nmoves      ",
        " to the canary (",
        ", 0 back to stable, ",
        "\nrules      beta      0 to the canary, 0 back to stable, 50 stay\n",
        "\ndevices    iphone  ",
        "\nsuch as    127.0.0.1  windows  everyone  bucket ",
    ] {
        assert!(code == Some(0) && text.contains(part), "{part}\nin\n{text}");
    }
    for (arguments, said, code) in [
        (&["next"][..], "--percent", 2),
        (&["next", "--percent", "101"], "a percent is from 0 to 100", 2),
        (&["next", "--file", "/nowhere.yaml"], "/nowhere.yaml: No such file", 2),
        (&["nexxt", "--percent", "20"], "no release is called `nexxt`", 1),
    ] {
        let (text, exit) = run(arguments);
        assert!(text.contains(said) && exit == Some(code), "{arguments:?}: {exit:?} {text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yaml");
    let file_text = file.to_str().expect("text");
    for (text, said, code) in [
        ("releases: {other: {}}", "no release is called `next`", 2),
        ("releases: {next: {stable: old, canary: new, audiense: []}}", "rules.yaml:1:", 2),
        (
            "releases: {next: {stable: old, canary: new, audience: []}}",
            "audience: an audience needs at least one rule",
            2,
        ),
        (
            "releases: {next: {stable: old, canary: new, audience: [{name: all, percent: 100}], sticky: {key: [{header: x-user}]}}}",
            "to the canary",
            0,
        ),
        (
            "releases: {next: {stable: old, canary: newer, audience: [{name: all, percent: 25}]}}",
            "stable, canary draws all users anew",
            0,
        ),
    ] {
        fs::write(&file, text).expect("a file");
        let (answer, exit) = run(&["next", "--file", file_text]);
        assert!(answer.contains(said) && exit == Some(code), "{text}: {exit:?} {answer}");
    }
    assert_eq!(ask(&serin, &json!({})).0, 400);
    assert_eq!(
        ask(
            &serin,
            &json!({"percent": 20, "rules": yaml("{stable: old, canary: new, audience: [{name: all, percent: 1}]}")})
        )
        .0,
        409
    );
}
