//! Releases as objects: what they move, where they keep how far they are, and what people see of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kubernetes::{Cluster, Pod, leader_first, says};
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};
use crate::webhooks::receiver::{Receiver, write_secret};

/// A cluster that knows Releases, with an Ingress that leads to the Service `web`, and a Service `next`.
fn cluster(web: &Origin, next: &Origin) -> Cluster {
    let cluster = undefined(web, next);
    cluster.define_releases();
    cluster
}

/// The same before it knows Releases.
fn undefined(web: &Origin, next: &Origin) -> Cluster {
    let cluster = Cluster::with_web(web);
    cluster.0.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serin"}}));
    cluster.service("next");
    cluster.slice("next", "next-1", &[(next.address(), Pod::Ready)]);
    cluster.ingress_of("web", "shop.example.com", "web");
    cluster
}

const LEASE: &str = "lease: serin/serin";

fn release(phases: &Value, more: &Value) -> Value {
    let mut spec = json!({"stable": {"service": "web"}, "canary": {"service": "next"}, "audience": [{"name": "everyone"}],
        "phases": phases, "sticky": {"key": [{"header": "x-user"}]}, "analysis": {"mode": "off"}});
    for (field, value) in more.as_object().expect("fields") {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "serin.dev/v1alpha1", "kind": "Release", "metadata": {"name": "v2", "namespace": "shop"}, "spec": spec})
}

fn percents(all: &[f64]) -> Value {
    all.iter().map(|percent| json!({"percent": percent})).collect()
}

/// Gives an order to one instance.
fn post(serin: &Serin, order: &str, number: &str, body: &Value) -> (u16, Value) {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", number)];
    let body = serde_json::to_vec(body).expect("JSON");
    let reply = Client::connect(admin).request("POST", &format!("/api/v1/releases/shop.v2/{order}"), &fields, &body);
    (reply.status, serde_json::from_slice(&reply.body).expect("an answer"))
}

fn told(serin: &Serin, order: &str) -> Value {
    let (status, answer) = post(serin, order, "*", &json!({"by": "anna", "reason": "why not"}));
    assert_eq!(status, 200, "{order}: {answer}");
    answer
}

/// Waits until the object says so.
fn is(cluster: &Cluster, field: &str, value: &Value) -> Value {
    cluster.0.wait_for("Release", "shop", "v2", |release| &release["status"][field] == value, PATIENCE)
}

const HALF: &[f64] = &[50.0, 100.0];

/// An instance that moves a release with half of the users.
fn at_half(cluster: &Cluster) -> Serin {
    cluster.0.apply(release(&percents(HALF), &json!({})));
    let serin = cluster.followed(LEASE);
    is(cluster, "phase", &json!("1/2"));
    eventually(PATIENCE, "half of them are on the canary", || canary_users(&serin) > 0);
    serin
}

/// How many of 200 users are served by the canary.
fn canary_users(serin: &Serin) -> usize {
    let mut client = serin.client();
    let mut group = |user: u32| {
        let fields = [("Host", "shop.example.com"), ("x-user", &*user.to_string())];
        client.request("GET", "/", &fields, b"").text() == "next"
    };
    (0..200).filter(|user| group(*user)).count()
}

fn asked(cluster: &Cluster, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Reply {
    Client::connect(cluster.0.address()).request(method, target, fields, body.as_bytes())
}

const RELEASES: &str = "/apis/serin.dev/v1alpha1/namespaces/shop/releases";

/// The one row of `kubectl get releases`, without its age.
fn row(cluster: &Cluster) -> Vec<String> {
    let table = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table: Value = serde_json::from_slice(&asked(cluster, "GET", RELEASES, &table, "").body).expect("a table");
    let columns = table["columnDefinitions"].as_array().expect("columns").iter();
    let cells = columns.zip(table["rows"][0]["cells"].as_array().expect("cells"));
    let narrow = cells.filter(|(column, _)| column["priority"].as_i64().unwrap_or(0) == 0);
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    let mut row: Vec<_> = narrow.map(|(_, cell)| text(cell)).collect();
    row.pop();
    row
}

fn origins() -> (Origin, Origin) {
    (Origin::named("web"), Origin::named("next"))
}

#[test]
fn a_version_is_taken_to_everybody_and_the_object_tells_the_story() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let serin = cluster.followed(LEASE);
    says(&serin, "shop.example.com", "/", "web");
    cluster.0.apply(release(&percents(&[0.0, 50.0, 100.0]), &json!({})));
    is(&cluster, "phase", &json!("1/3"));
    let begun = "begin by serin: shop.next.80_released takes over from shop.web.80_released";
    assert_eq!(row(&cluster), ["v2", "web", "next", "running", "1/3", "0.0", "null", begun]);
    assert_eq!(canary_users(&serin), 0);
    told(&serin, "promote");
    let at_half = canary_users(&serin);
    assert!((70..130).contains(&at_half), "{at_half}");
    is(&cluster, "reason", &json!("promote by anna: why not"));
    told(&serin, "rollback");
    assert_eq!(canary_users(&serin), 0);
    let object = is(&cluster, "verdict", &json!("rolled_back"));
    let row = row(&cluster);
    assert_eq!(row[1..], ["web", "next", "rolled_back", "2/3", "0.0", "rolled_back", "rollback by anna: why not"]);
    let status = &object["status"];
    assert_eq!(status["last"]["action"], "rollback");
    let conditions = status["conditions"].as_array().expect("conditions");
    let conditions: Vec<_> = conditions.iter().map(|it| (it["type"].clone(), it["status"].clone())).collect();
    assert_eq!(conditions, [(json!("Accepted"), json!("True")), (json!("Attached"), json!("True"))]);
    told(&serin, "resume");
    let actions: Vec<String> = serin
        .admin_json("/api/v1/releases/shop.v2/history")
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["action"].as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(actions, ["resume", "rollback", "promote", "begin"]);
    cluster.0.remove("Release", "shop", "v2");
    eventually(PATIENCE, "all are on stable", || canary_users(&serin) == 0);
}

#[test]
fn several_instances_are_where_the_object_is_and_one_goes_on_when_the_other_ends() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let (a, b) = (cluster.followed(LEASE), cluster.followed(LEASE));
    cluster.0.apply(release(&json!([{"percent": 0}, {"percent": 50, "lasts": "1s"}, {"percent": 100}]), &json!({})));
    is(&cluster, "phase", &json!("1/3"));
    let number = |serin: &Serin| serin.admin_json("/api/v1/releases/shop.v2")["number"].clone();
    eventually(PATIENCE, "both know it", || number(&a) == 1 && number(&b) == 1);
    // Whoever is asked, and whoever leads.
    told(&b, "pause");
    eventually(PATIENCE, "the other one knows", || number(&a) == 2);
    let stale = post(&a, "promote", "\"1\"", &json!({}));
    assert_eq!(stale.0, 412, "{}", stale.1);
    told(&a, "resume");
    told(&a, "rollback");
    eventually(PATIENCE, "nobody is on the canary", || canary_users(&b) == 0 && number(&b) == 4);
    let (leader, other) = leader_first(a, b);
    told(&other, "resume");
    drop(leader);
    // The phase lasts a second, and ends when there is somebody who sees to it.
    told(&other, "promote");
    let done = |release: &Value| release["status"]["percent"] == 100.0;
    cluster.0.wait_for("Release", "shop", "v2", done, 4 * PATIENCE);
    eventually(PATIENCE, "all are on the canary", || canary_users(&other) == 200);
}

#[test]
fn webhooks_are_told_once_whoever_leads() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start());
    write_secret(folder.path());
    let secret = folder.path().join("secret");
    let webhooks = format!("webhooks: {{chat: {{url: {:?}, secret_file: {secret:?}}}}}\n", receiver.url());
    let begun = || cluster.begun_with(LEASE, &webhooks);
    let (leader, other) = leader_first(begun(), begun());
    cluster.0.apply(release(&percents(HALF), &json!({})));
    receiver.wait_for(&["begin"]);
    told(&other, "pause");
    receiver.wait_for(&["begin", "pause"]);
    let is_noted = |notes: &Value| notes["data"]["chat"].as_str().is_some_and(|told| told.contains("\"number\":2"));
    cluster.0.wait_for("ConfigMap", "serin", "serin-webhooks", is_noted, PATIENCE);
    drop(leader);
    told(&other, "resume");
    receiver.wait_within(4 * PATIENCE, &["begin", "pause", "resume"]);
    assert_eq!(receiver.calls(), 3);
}

#[test]
fn an_instance_that_starts_goes_on_from_the_object() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let serin = at_half(&cluster);
    told(&serin, "rollback");
    let before = is(&cluster, "verdict", &json!("rolled_back"));
    drop(serin);
    let serin = cluster.followed(LEASE);
    assert_eq!(canary_users(&serin), 0);
    let shown = serin.admin_json("/api/v1/releases/shop.v2");
    assert_eq!((&shown["status"], &shown["number"]), (&json!("rolled_back"), &before["status"]["record"]["number"]));
}

#[test]
fn a_rollback_that_cannot_be_written_holds_here_and_is_written_later() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let serin = at_half(&cluster);
    cluster.0.forbid("update", "releases.serin.dev");
    cluster.0.forbid("update", "releases.serin.dev/status");
    let (status, answer) = post(&serin, "rollback", "*", &json!({"by": "anna"}));
    assert_eq!((status, &answer["rolled_back_here"]), (202, &json!(true)), "{answer}");
    eventually(PATIENCE, "nobody is on the canary", || canary_users(&serin) == 0);
    assert_eq!(cluster.0.get("Release", "shop", "v2").expect("a release")["status"]["status"], "running");
    let (status, answer) = post(&serin, "promote", "*", &json!({}));
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].as_str().expect("an error").contains("forbidden"), "{answer}");
    cluster.0.allow("update", "releases.serin.dev");
    cluster.0.allow("update", "releases.serin.dev/status");
    is(&cluster, "status", &json!("rolled_back"));
    assert_eq!(canary_users(&serin), 0);
}

#[test]
fn an_edit_that_would_throw_users_back_is_refused_and_said_on_the_object() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let (serin, phases) = (at_half(&cluster), percents(HALF));
    let nobody = json!({"audience": [{"name": "everyone", "percent": 0}]});
    cluster.0.apply(release(&phases, &nobody));
    let is_told = |event: &Value| {
        event["regarding"]["kind"] == "Release"
            && event["note"].as_str().is_some_and(|note| note.contains("`force: 0`"))
    };
    let event = cluster.0.wait_for_event(is_told, PATIENCE);
    assert_eq!(event["regarding"]["name"], "v2");
    let is_refused = |release: &Value| release["status"]["conditions"][0]["reason"] == "Refused";
    cluster.0.wait_for("Release", "shop", "v2", is_refused, PATIENCE);
    assert!(canary_users(&serin) > 0);
    let forced = json!({"audience": [{"name": "everyone", "percent": 0}], "force": 0});
    cluster.0.apply(release(&phases, &forced));
    eventually(PATIENCE, "nobody is on the canary", || canary_users(&serin) == 0);
    let is_accepted = |release: &Value| release["status"]["conditions"][0]["status"] == "True";
    cluster.0.wait_for("Release", "shop", "v2", is_accepted, PATIENCE);
}

#[test]
fn a_rollback_outlasts_what_happens_to_ingresses_and_names_of_ports() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let (serin, phases) = (at_half(&cluster), percents(HALF));
    told(&serin, "rollback");
    let mut tuned = cluster.0.get("Ingress", "shop", "web").expect("an Ingress");
    tuned["metadata"]["annotations"]["nginx.ingress.kubernetes.io/load-balance"] = "ewma".into();
    tuned["metadata"]["annotations"]["nginx.ingress.kubernetes.io/upstream-hash-by"] = "$remote_addr".into();
    cluster.0.apply(tuned);
    cluster.0.apply(release(&phases, &json!({"stable": {"service": "web", "port": "http"}})));
    cluster.ingress_of("later", "later.example.com", "web");
    says(&serin, "later.example.com", "/", "web");
    let shown = serin.admin_json("/api/v1/releases/shop.v2");
    assert_eq!((&shown["status"], canary_users(&serin)), (&json!("rolled_back"), 0));
}

#[test]
fn the_api_server_refuses_what_is_no_release_and_one_that_makes_no_sense_is_told() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let serin = cluster.followed(LEASE);
    let create = |more: Value| {
        let body = release(&percents(&[1.0]), &more).to_string();
        let reply = asked(&cluster, "POST", RELEASES, &[("Content-Type", "application/json")], &body);
        (reply.status, reply.text().to_owned())
    };
    for (more, place) in [
        (json!({"phases": [{"percent": 101}]}), "spec.phases[0].percent"),
        (json!({"phases": [{"percent": 1, "lasts": "soon"}]}), "spec.phases[0].lasts"),
        (json!({"audience": []}), "spec.audience"),
        (json!({"audience": [{"name": "a", "device": ["toaster"]}]}), "spec.audience[0].device[0]"),
        (json!({"sticky": {"key": [{"header": "a", "cookie": "b"}]}}), "spec.sticky.key[0]"),
        (json!({"analysis": {"mode": "maybe"}}), "spec.analysis.mode"),
        (json!({"canary": {"port": 80}}), "spec.canary.service"),
    ] {
        let (status, text) = create(more);
        assert_eq!(status, 422, "{text}");
        assert!(text.contains(place), "{place}: {text}");
    }
    let (status, text) = create(json!({"audience": [{"name": "a", "ip": ["10.0.0.0/33"]}]}));
    assert_eq!(status, 201, "{text}");
    let refused = |release: &Value| release["status"]["conditions"][0]["status"] == "False";
    let object = cluster.0.wait_for("Release", "shop", "v2", refused, PATIENCE);
    let message = object["status"]["conditions"][0]["message"].as_str().expect("a text");
    assert!(message.starts_with("spec.audience[0].ip[0]: "), "{message}");
    says(&serin, "shop.example.com", "/", "web");
}

#[test]
fn a_cluster_that_knows_no_releases_yet_learns_of_them() {
    let (web, next) = origins();
    let cluster = undefined(&web, &next);
    let serin = cluster.followed(LEASE);
    cluster.define_releases();
    cluster.0.apply(release(&percents(&[100.0]), &json!({})));
    cluster.0.wait_for("Release", "shop", "v2", |it| it["status"]["phase"] == "1/1", Duration::from_secs(60));
    eventually(PATIENCE, "all are on the canary", || canary_users(&serin) == 200);
}

#[test]
fn what_the_analysis_says_stands_on_the_object() {
    let (web, next) = origins();
    let cluster = cluster(&web, &next);
    let serin = cluster.followed(LEASE);
    let judged = json!({"analysis": {"mode": "guard"}});
    cluster.0.apply(release(&percents(&[50.0, 100.0]), &judged));
    is(&cluster, "verdict", &json!("observing"));
    // A canary without pods is one whose users stable serves.
    cluster.slice("next", "next-1", &[]);
    let is_held = |release: &Value| release["status"]["verdict"] == "hold";
    let object = cluster.0.wait_for("Release", "shop", "v2", is_held, 3 * PATIENCE);
    assert_eq!(object["status"]["reason"], "canary_absent: stable serves its users");
    assert_eq!(canary_users(&serin), 0);
}
