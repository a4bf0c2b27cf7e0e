//! Webhooks: real receivers, which verify what they get with their own library, fail, hang, and are away; restarts and a leader
//! that is killed in between.

pub(crate) mod receiver;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::control::{self, Program};
use crate::support::etcd::Etcd;
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};
use receiver::{Answer, Authority, Receiver, SECRET, encrypted, write_secret};

/// A release that nobody has to serve, named `next`.
const RELEASE: &str = "upstreams: {old: {endpoints: [\"127.0.0.1:9\"]}, new: {endpoints: [\"127.0.0.1:9\"]}}\n\
    releases: {next: {stable: old, canary: new, audience: [{name: all}], phases: [0, 50, 100]}}\n";

fn serving(folder: &Path, webhooks: &str) -> Serin {
    Serin::serving(&rules(folder, webhooks))
}

fn rules(folder: &Path, webhooks: &str) -> String {
    write_secret(folder);
    let (state, secret) = (folder.join("state").display().to_string(), folder.join("secret").display().to_string());
    let webhooks = webhooks.replace("SECRET", &format!("secret_file: \"{secret}\""));
    format!(
        "state_dir: \"{state}\"\nwebhooks: {{{webhooks}}}\n{RELEASE}routes: {{all: {{upstream: old, release: next}}}}\n"
    )
}

/// Gives an order to a release. It must be taken.
fn order(serin: &Serin, what: &str) {
    give(serin.server().admin().expect("an admin API"), &format!("next/{what}"));
}

fn give(admin: std::net::SocketAddr, what: &str) {
    let fields = [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", "*")];
    let reply =
        Client::connect(admin).request("POST", &format!("/api/v1/releases/{what}"), &fields, b"{\"by\": \"anna\"}");
    assert_eq!(reply.status, 200, "{what}: {}", reply.text());
}

fn shown(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/webhooks")
}

#[test]
fn every_change_comes_once_in_order_and_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (all, some) = (Receiver::start(), Receiver::start());
    let serin = serving(
        folder.path(),
        &format!(
            "all: {{url: \"{}\", SECRET}}, some: {{url: \"{}\", SECRET, releases: [other]}}",
            all.url(),
            some.url()
        ),
    );
    all.wait_for(&["begin"]);
    for what in ["promote", "pause", "resume", "rollback", "start"] {
        order(&serin, what);
    }
    all.wait_for(&["begin", "promote", "pause", "resume", "rollback", "start"]);
    let history = serin.admin_json("/api/v1/releases/next/history");
    let history: Vec<&Value> = history.as_array().expect("a list").iter().rev().collect();
    for (message, entry) in all.messages().iter().zip(history) {
        let data = &message["data"];
        assert_eq!((&message["type"], &data["release"]), (&json!("release.changed"), &json!("next")));
        assert_eq!(message["timestamp"], entry["at"]);
        let fields = entry.as_object().expect("an object").iter().filter(|(name, _)| *name != "rules");
        fields.for_each(|(name, value)| assert_eq!(&data[name], value, "{name}"));
        assert!(data["rules"].is_null(), "conditions are not for everybody");
    }
    assert_eq!(all.ids().len(), 6);
    eventually(PATIENCE, "nothing waits any more", || shown(&serin)[0]["backlog"] == 0);
    let shown = shown(&serin);
    assert_eq!((&shown[0]["delivered"], &shown[0]["sends"]), (&json!(6), &json!(true)));
    assert_eq!(shown[0]["last_delivered"]["number"], 6);
    assert_eq!((&shown[1]["delivered"], &shown[1]["releases"]), (&json!(0), &json!(["other"])));
    let metric = |outcome: &str| serin.metric_of("serin_webhook_deliveries_total", outcome);
    assert_eq!((metric("delivered"), metric("failed"), metric("given_up")), (6.0, 0.0, 0.0));
    assert!(some.messages().is_empty());
}

#[test]
fn a_receiver_that_fails_gets_each_change_until_it_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    receiver.answer([Answer::Status(500), Answer::Status(302), Answer::Close, Answer::Status(429)]);
    let serin = serving(folder.path(), &format!("ci: {{url: \"{}\", SECRET}}", receiver.url()));
    receiver.wait_for(&["begin"]);
    order(&serin, "promote");
    receiver.wait_for(&["begin", "promote"]);
    // Each call has its own time and signature, which were verified; the id stays.
    assert_eq!(receiver.calls(), 6);
    assert_eq!(receiver.ids().len(), 2);
    let shown = shown(&serin);
    assert_eq!((&shown[0]["failed"], &shown[0]["last_failure"]["release"]), (&json!(4), &json!("next")));
    // Whoever wants no more of one is not asked again for that one.
    receiver.answer([Answer::Status(410)]);
    order(&serin, "rollback");
    order(&serin, "resume");
    receiver.wait_for(&["begin", "promote", "resume"]);
    assert_eq!(serin.metric_of("serin_webhook_deliveries_total", "given_up"), 1.0);
}

#[test]
fn a_receiver_that_hangs_delays_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hangs, well) = (Receiver::start(), Receiver::start());
    hangs.answer([Answer::Nothing]);
    let webhooks = format!("a: {{url: \"{}\", SECRET}}, b: {{url: \"{}\", SECRET}}", hangs.url(), well.url());
    let serin = serving(folder.path(), &webhooks);
    hangs.wait_for_calls(1);
    let began = Instant::now();
    order(&serin, "promote");
    order(&serin, "rollback");
    well.wait_for(&["begin", "promote", "rollback"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(hangs.messages().is_empty());
    eventually(PATIENCE, "what waits is counted", || shown(&serin)[0]["backlog"] == 3);
    // After ten seconds it is asked again, and takes them all.
    hangs.wait_within(2 * PATIENCE, &["begin", "promote", "rollback"]);
    hangs.answer([Answer::Nothing]);
    order(&serin, "start");
    hangs.wait_for_calls(5);
    let began = Instant::now();
    drop(serin);
    assert!(began.elapsed() < Duration::from_secs(5), "the end waits for nobody: {:?}", began.elapsed());
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let webhook = format!("ci: {{url: \"{}\", SECRET}}", receiver.url());
    let before = serving(folder.path(), "");
    eventually(PATIENCE, "it has begun", || before.admin_json("/api/v1/releases/next")["number"] == 1);
    order(&before, "promote");
    drop(before);
    // A new one is told of what comes from now on.
    let first = serving(folder.path(), &webhook);
    order(&first, "pause");
    receiver.wait_for(&["pause"]);
    eventually(PATIENCE, "that is written down", || {
        fs::read_to_string(folder.path().join("state/webhooks.json")).is_ok_and(|text| text.contains("\"number\":3"))
    });
    receiver.answer(std::iter::repeat_n(Answer::Close, 1_000));
    order(&first, "resume");
    order(&first, "rollback");
    receiver.wait_for_calls(2);
    drop(first);
    // What was made while it was away is told, too; what was told is not told again.
    let deaf = serving(folder.path(), "");
    order(&deaf, "start");
    drop(deaf);
    receiver.answer([]);
    let second = serving(folder.path(), &webhook);
    receiver.wait_for(&["pause", "resume", "rollback", "start"]);
    order(&second, "promote");
    receiver.wait_for(&["pause", "resume", "rollback", "start", "promote"]);
}

#[test]
fn the_successor_of_a_leader_that_is_killed_goes_on_without_a_gap() {
    let Some(etcd) = Etcd::start() else { return };
    let receiver = Receiver::start();
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    etcd.put("/serin/upstreams/old", "{\"endpoints\": [\"127.0.0.1:9\"]}");
    etcd.put("/serin/upstreams/new", "{\"endpoints\": [\"127.0.0.1:9\"]}");
    let release =
        "{\"stable\": \"old\", \"canary\": \"new\", \"audience\": [{\"name\": \"all\"}], \"phases\": [0, 50, 100]}";
    etcd.put("/serin/releases/next", release);
    let mut programs = folders.each_ref().map(|folder| {
        write_secret(folder.path());
        let config = folder.path().join("serin.yaml");
        let text = format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
             sources: {{etcd: {}}}\nwebhooks: {{ci: {{url: \"{}\", secret_file: secret}}}}\n",
            etcd.source(),
            receiver.url()
        );
        fs::write(&config, text).expect("a file");
        Program::start(&config)
    });
    let leads = |program: &Program| program.metric("serin_etcd_leader") == 1;
    eventually(2 * PATIENCE, "one leads", || programs.iter().any(leads));
    let admin = |program: &Program| program.address("admin");
    receiver.wait_for(&["begin"]);
    let first = programs.iter().position(leads).expect("one leads");
    // Whoever takes the order, the one that leads tells.
    give(admin(&programs[1 - first]), "next/promote");
    receiver.wait_for(&["begin", "promote"]);
    receiver.answer(std::iter::repeat_n(Answer::Close, 1_000));
    give(admin(&programs[first]), "next/pause");
    receiver.wait_for_calls(3);
    programs[first].signal("KILL");
    let _ = programs[first].exit_code();
    give(admin(&programs[1 - first]), "next/resume");
    receiver.answer([]);
    receiver.wait_within(3 * PATIENCE, &["begin", "promote", "pause", "resume"]);
    eventually(PATIENCE, "it says that it sends", || {
        let answer: Value =
            serde_json::from_slice(&control::admin(admin(&programs[1 - first]), "/api/v1/webhooks").body)
                .expect("JSON");
        answer[0]["sends"] == true && answer[0]["backlog"] == 0
    });
    let stored: Value = serde_json::from_str(&etcd.get("/serin/state/webhooks/ci").expect("a key")).expect("JSON");
    assert_eq!(stored["releases"]["next"]["number"], 4);
    assert_eq!(programs[1 - first].admin("/api/v1/rejected").text().matches("\"count\":0").count(), 1);
}

#[test]
fn by_tls_a_receiver_must_be_who_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    for (name, authority) in [("good", &good), ("other", &other)] {
        fs::write(folder.path().join(name), authority.pem()).expect("a file");
    }
    let receiver = Receiver::start();
    let port = encrypted(receiver.address(), good.sign());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let hook =
        |name: &str| format!("{name}: {{url: \"https://127.0.0.1:{port}/hook\", SECRET, ca_file: \"{}\"}}", file(name));
    let serin = serving(folder.path(), &format!("{}, {}", hook("good"), hook("other")));
    receiver.wait_for(&["begin"]);
    let reason = || shown(&serin)[1]["last_failure"]["reason"].as_str().unwrap_or_default().to_owned();
    eventually(PATIENCE, "the other one refuses", || reason().starts_with("no TLS: invalid peer certificate"));
    assert_eq!(shown(&serin)[1]["delivered"], 0);
}

/// Neither the secret nor what a URL may have of one.
#[test]
fn no_secret_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    receiver.answer([Answer::Status(500)]);
    let config = folder.path().join("serin.yaml");
    let common = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";
    let hooks = format!(
        "a: {{url: \"{}?token=hush\", SECRET}}, b: {{url: \"http://127.0.0.1:9/hush\", SECRET}}",
        receiver.url()
    );
    fs::write(&config, format!("{common}{}", rules(folder.path(), &hooks))).expect("a file");
    let program = Program::start(&config);
    receiver.wait_for(&["begin"]);
    eventually(PATIENCE, "failures are in the log", || {
        let log = program.log();
        log.contains("\"status 500\"") && log.contains("connection refused")
    });
    let told =
        format!("{}{}{}", program.log(), program.admin("/api/v1/webhooks").text(), program.admin("/metrics").text());
    assert!(!told.contains("hush") && !told.contains(SECRET) && !told.contains(&SECRET[6..]), "{told}");
    // Without its secret there is no start, and why is said.
    fs::write(folder.path().join("secret"), "short").expect("a file");
    let output = control::serin(&["run", "--config", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("webhooks.a: secret_file: ") && said.contains("line 1") && !said.contains("short"), "{said}");
}

/// Somebody has to answer.
#[test]
fn releases_do_not_wait_for_receivers_that_are_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let origin = Origin::named("old");
    let text = rules(folder.path(), "ci: {url: \"http://127.0.0.1:9/\", SECRET}");
    let serin = Serin::serving(
        &text
            .replace("old: {endpoints: [\"127.0.0.1:9\"]}", &format!("old: {{endpoints: [\"{}\"]}}", origin.address())),
    );
    eventually(PATIENCE, "it has begun", || serin.admin_json("/api/v1/releases/next")["number"] == 1);
    for what in ["promote", "rollback", "start"] {
        order(&serin, what);
    }
    assert_eq!(serin.client().get("/").text(), "old");
    eventually(PATIENCE, "all of them wait", || serin.metric("serin_webhook_backlog") == 4.0);
}
