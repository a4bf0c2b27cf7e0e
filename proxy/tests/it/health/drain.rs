//! Draining one endpoint because somebody asks for it.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use serde_json::Value;

use super::{BALANCERS, CHECK, Patient, admin_address, rules, served, shown, wait_for_weight};
use crate::support::control::{admin, order};
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};

/// Answers with its name, but `/wait` only when it is told to.
fn waiting_origin(name: &'static str) -> (Origin, Sender<()>) {
    let (go_on, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |visit| {
        if visit.request.target == "/wait" {
            let _ = gate.lock().unwrap().recv();
        }
        visit.answer(200, &[], name.as_bytes())
    });
    (origin, go_on)
}

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn write(serin: &Serin, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
    Client::connect(admin_address(serin)).request(method, target, fields, body)
}

#[test]
fn one_that_drains_gets_nothing_new_and_finishes_what_it_has() {
    for balance in BALANCERS {
        let ((one, go_one), (other, go_other)) = (waiting_origin("one"), waiting_origin("other"));
        let balance = format!("balance: {balance}");
        let serin = Serin::serving(&rules(&[one.address(), other.address()], &balance));
        let mut waiting = serin.client();
        waiting.send("GET /wait HTTP/1.1\r\nHost: a.test\r\nx-user: 7\r\n\r\n");
        let is_at = |origin: &Origin| origin.requests().iter().any(|request| request.target == "/wait");
        eventually(PATIENCE, "the request", || is_at(&one) || is_at(&other));
        let (drained, go_on, stays) = match is_at(&one) {
            true => (one.address(), go_one, "other"),
            false => (other.address(), go_other, "one"),
        };
        let name = if stays == "one" { "other" } else { "one" };
        for _ in 0..2 {
            let answer = order(admin_address(&serin), drained, "drain");
            let expected = serde_json::json!({
                "upstream": "app", "endpoint": drained.to_string(), "draining": true, "in_flight": 1
            });
            assert_eq!(answer, expected, "{balance}");
            assert_eq!(served(&serin, 40), [stays], "{balance}");
        }
        // It is the endpoint that drains, whatever place it has.
        serin.reload_serving(&rules(&[other.address(), one.address()], &format!("{balance}, retry: {{}}")));
        assert_eq!(served(&serin, 40), [stays], "{balance}");
        go_on.send(()).unwrap();
        assert_eq!(waiting.reply().text(), name, "{balance}");
        eventually(PATIENCE, "nothing in flight", || order(admin_address(&serin), drained, "drain")["in_flight"] == 0);
        let place = usize::from(drained == one.address());
        assert_eq!(shown(&serin, "app", place)["draining"], true);
        assert_eq!(order(admin_address(&serin), drained, "undrain")["draining"], false);
        assert_eq!(served(&serin, 40), ["one", "other"], "{balance}");
        assert_eq!(serin.metric("serin_upstream_panics_total"), 0.0);
    }
}

#[test]
fn one_that_drains_serves_nobody_even_if_nobody_else_is_left() {
    let (well, ill) = (Patient::new("well", 200), Patient::new("ill", 503));
    let serin = Serin::serving(&rules(&[well.address(), ill.address()], CHECK));
    wait_for_weight(&serin, ill.address(), false);
    order(admin_address(&serin), well.address(), "drain");
    assert_eq!(served(&serin, 20), ["ill"], "trying is better than refusing");
    let explained = admin(admin_address(&serin), "/api/v1/explain?url=http://a.test/").text().to_owned();
    let percents: Value = serde_json::from_str(&explained).unwrap();
    let percent = |place: usize| percents["endpoints"][place]["percent"].as_f64().unwrap();
    assert_eq!((percent(0), percent(1)), (0.0, 100.0), "{explained}");
    order(admin_address(&serin), ill.address(), "drain");
    assert_eq!(serin.client().get("/").status, 503);
    order(admin_address(&serin), well.address(), "undrain");
    assert_eq!(served(&serin, 20), ["well"]);
}

#[test]
fn a_canary_that_drains_leaves_its_users_to_stable() {
    let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams: {{old: {{endpoints: [\"{}\"]}}, app: {{endpoints: [\"{}\"]}}}}\n\
         releases: {{next: {{stable: old, canary: app, audience: [{{name: all, percent: 100}}]}}}}\n",
        stable.address(),
        canary.address()
    ));
    assert_eq!(served(&serin, 20), ["canary"]);
    order(admin_address(&serin), canary.address(), "drain");
    assert_eq!(served(&serin, 20), ["stable"]);
    order(admin_address(&serin), canary.address(), "undrain");
    assert_eq!(served(&serin, 20), ["canary"]);
}

#[test]
fn orders_are_refused_that_are_not_json_or_not_of_this_site() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&rules(&[origin.address()], ""));
    let target = |upstream: &str, endpoint: &str| format!("/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain");
    let (local, at) = (("Host", "localhost"), origin.address().to_string());
    let good = target("app", &at);
    let large = format!("{{{}}}", " ".repeat(65 << 10));
    let cases: [(u16, &str, &str, &[(&str, &str)], &str); 14] = [
        (405, "GET", &good, &[local], ""),
        (405, "PUT", &good, &[local, JSON], "{}"),
        (405, "DELETE", &good, &[local, JSON], "{}"),
        (415, "POST", &good, &[local], "{}"),
        (415, "POST", &good, &[local, ("Content-Type", "text/plain")], "{}"),
        (415, "POST", &good, &[local, ("Content-Type", "application/x-www-form-urlencoded")], "{}"),
        (400, "POST", &good, &[local, JSON], ""),
        (400, "POST", &good, &[local, JSON], "{"),
        (422, "POST", &good, &[local, JSON], "{\"draining\": true}"),
        (413, "POST", &good, &[local, JSON], &large),
        (403, "POST", &good, &[local, JSON, ("Origin", "http://example.com")], "{}"),
        (421, "POST", &good, &[("Host", "serin.example.com"), JSON], "{}"),
        (404, "POST", &target("nobody", &at), &[local, JSON], "{}"),
        (404, "POST", &target("app", "127.0.0.1:1"), &[local, JSON], "{}"),
    ];
    for (status, method, target, fields, body) in cases {
        let reply = write(&serin, method, target, fields, body.as_bytes());
        assert_eq!(reply.status, status, "{method} {target} {fields:?} {body:.20}: {}", reply.text());
        if status != 405 {
            assert!(reply.text().starts_with("{\"error\":"), "{}", reply.text());
        }
    }
    assert_eq!(write(&serin, "POST", &target("app", "nonsense"), &[local, JSON], b"{}").status, 404);
    assert_eq!(shown(&serin, "app", 0)["draining"], false);
    assert_eq!(served(&serin, 3), ["app"]);
}

#[test]
fn orders_do_not_pass_through_a_route_to_the_api() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&rules(&[origin.address()], ""));
    let through = Serin::with_endpoint(admin_address(&serin));
    let target = format!("/api/v1/upstreams/app/endpoints/{}/drain", origin.address());
    let reply = through.client().request("POST", &target, &[("Host", "localhost"), JSON], b"{}");
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(shown(&serin, "app", 0)["draining"], false);
}
