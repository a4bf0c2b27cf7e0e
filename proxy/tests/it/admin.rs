//! The admin API: what it says, and to whom.

use crate::support::control::admin;
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

fn ask(serin: &Serin, method: &str, target: &str, fields: &[(&str, &str)]) -> u16 {
    let address = serin.server().admin().expect("the rules open the admin API");
    Client::connect(address).request(method, target, fields, b"").status
}

fn text(serin: &Serin, target: &str) -> String {
    admin(serin.server().admin().expect("the rules open the admin API"), target).text().to_owned()
}

#[test]
fn names_that_could_be_rebound_and_scripts_of_other_sites_are_refused() {
    let serin = Serin::in_front_of(&Origin::named("app"), "");
    let address = serin.server().admin().expect("admin").to_string();
    let cases: [(u16, &[(&str, &str)]); 9] = [
        (200, &[("Host", "localhost")]),
        (200, &[("Host", "LOCALHOST:9900")]),
        (200, &[("Host", &address)]),
        (200, &[("Host", "[::1]:9900")]),
        (421, &[("Host", "serin.example.com")]),
        (421, &[("Host", "localhost.example.com")]),
        (403, &[("Host", "localhost"), ("Origin", "http://example.com")]),
        (403, &[("Host", "localhost"), ("Origin", "null")]),
        (200, &[("Host", &address), ("Origin", &format!("http://{address}"))]),
    ];
    for (status, fields) in cases {
        for target in ["/healthz", "/metrics", "/api/v1/routes"] {
            assert_eq!(ask(&serin, "GET", target, fields), status, "{target} {fields:?}");
        }
    }
}

#[test]
fn unknown_resources_and_methods_are_refused() {
    let serin = Serin::in_front_of(&Origin::named("app"), "");
    let host = [("Host", "localhost")];
    assert_eq!(ask(&serin, "GET", "/nonsense", &host), 404);
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(ask(&serin, method, "/api/v1/routes", &host), 405, "{method}");
    }
}

#[test]
fn the_rules_in_force_are_shown() {
    let serin = Serin::serving(
        "routes: {shop: {hosts: [shop.test], upstream: old, release: next}}\n\
         upstreams: {old: {endpoints: [\"127.0.0.1:1\"]}, new: {endpoints: [\"127.0.0.1:2\"]}}\n\
         releases: {next: {stable: old, canary: new, audience: [{name: all}], phases: [10], sticky: {key: [client_ip]}}}\n",
    );
    let routes = text(&serin, "/api/v1/routes");
    for part in ["\"name\":\"shop\"", "\"hosts\":[\"shop.test\"]", "\"upstream\":\"old\"", "\"releases\":[\"next\"]"] {
        assert!(routes.contains(part), "{part} in {routes}");
    }
    let upstreams = text(&serin, "/api/v1/upstreams");
    for part in ["\"name\":\"new\"", "\"address\":\"127.0.0.1:2\"", "\"in_flight\":0"] {
        assert!(upstreams.contains(part), "{part} in {upstreams}");
    }
    let releases = text(&serin, "/api/v1/releases");
    for part in ["\"name\":\"next\"", "\"stable\":\"old\"", "\"canary\":\"new\"", "\"percent\":10"] {
        assert!(releases.contains(part), "{part} in {releases}");
    }
    let explained = text(&serin, "/api/v1/explain?url=http://shop.test/&ip=192.0.2.1");
    for part in ["shop", "next", "bucket"] {
        assert!(explained.contains(part), "{part} in {explained}");
    }
    assert_eq!(ask(&serin, "GET", "/api/v1/explain", &[("Host", "localhost")]), 400);
}

#[test]
fn readiness_says_why_not() {
    let serin = Serin::start("admin: {address: \"127.0.0.1:0\"}\nworkers: 1\n");
    let address = serin.server().admin().expect("admin");
    let answer = admin(address, "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("no listener is open"), "{}", answer.text());
    let text = "admin: {address: \"127.0.0.1:0\"}\nworkers: 1\nlisteners: {web: {address: \"127.0.0.1:0\"}}\n";
    crate::support::control::replace(&serin.config(), text);
    eventually(PATIENCE, "ready", || admin(address, "/readyz").status == 200);
}

#[test]
fn metrics_are_as_prometheus_reads_them() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    assert_eq!(serin.client().get("/").status, 200);
    eventually(PATIENCE, "the count", || serin.metric("serin_requests_total") == 1.0);
    let metrics = text(&serin, "/metrics");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(name.starts_with("serin_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for name in ["serin_rules_rejected 0", "serin_rules_stale 0", "serin_rules_objects{kind=\"route\"} 1"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    assert!(metrics.contains("# TYPE serin_requests_total counter"));
}
