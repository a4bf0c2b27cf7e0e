//! Room for more users: what a canary's endpoints would have to carry is said before a phase grows, and phases and orders wait for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::control::{serin_asking, serve_tirelessly};
use crate::support::{Client, PATIENCE, Serin, eventually};

/// Users who go on until this is dropped: always so many requests at once, each of somebody else.
struct Load {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(serin: &Serin, at_once: usize) -> Self {
        let (is_over, user, proxy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), serin.address());
        let browse = |_| {
            let (is_over, user) = (Arc::clone(&is_over), Arc::clone(&user));
            thread::spawn(move || {
                let mut client = Client::connect(proxy);
                while !is_over.load(Relaxed) {
                    let user = user.fetch_add(1, Relaxed).to_string();
                    assert_eq!(client.request("GET", "/", &[("x-user", &user)], b"").status, 200);
                }
            })
        };
        Self { threads: (0..at_once).map(browse).collect(), is_over }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn slow_endpoint() -> SocketAddr {
    serve_tirelessly(|_| {
        thread::sleep(Duration::from_millis(50));
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
    })
}

fn rules(old: &[SocketAddr], new: &[SocketAddr], limits: &str) -> String {
    let list = |all: &[SocketAddr]| all.iter().map(|it| format!("\"{it}\"")).collect::<Vec<_>>().join(", ");
    let (old, new) = (list(old), list(new));
    format!(
        "routes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams:\n  old: {{endpoints: [{old}]}}\n  new: {{endpoints: [{new}]{limits}}}\n\
         releases: {{next: {{stable: old, canary: new, audience: [{{name: everyone}}], \
         phases: [0, {{percent: 10, lasts: 1s}}, 50, 100], sticky: {{key: [{{header: x-user}}]}}, \
         analysis: {{mode: off}}}}}}\n"
    )
}

fn shown(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/releases/next")
}

fn order(serin: &Serin, order: &str, body: &Value) -> (u16, String) {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Content-Type", "application/json"), ("Host", "localhost"), ("If-Match", "*")];
    let body = serde_json::to_vec(body).expect("JSON");
    let reply = Client::connect(admin).request("POST", &format!("/api/v1/releases/next/{order}"), &fields, &body);
    (reply.status, reply.text().to_owned())
}

/// What `serin release` prints, wherever.
fn said(serin: &Serin, arguments: &[&str]) -> String {
    let admin = format!("http://{}", serin.server().admin().expect("an admin API"));
    let arguments: Vec<String> = ["release"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let output = serin_asking(&admin, &arguments);
    String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
}

/// Waits until it is known what the load means for the next phase: at least so many requests in flight.
fn until_known(serin: &Serin, least: f64) {
    let is_known = || shown(serin)["headroom"]["predicted"].as_f64() > Some(least);
    eventually(3 * PATIENCE, "what endpoints have to carry", is_known);
}

#[test]
fn more_users_come_where_there_is_room_for_them() {
    let (old, new): (Vec<_>, Vec<_>) =
        ((0..6).map(|_| slow_endpoint()).collect(), (0..4).map(|_| slow_endpoint()).collect());
    let serin = Serin::serving(&rules(&old, &new[..1], ""));
    // Nothing is known, and nothing stands in the way.
    assert_eq!(order(&serin, "set", &json!({"percent": 50})).0, 200);
    assert_eq!(order(&serin, "set", &json!({"percent": 0, "force": true})).0, 200);
    assert_eq!(shown(&serin)["headroom"], Value::Null);

    // Stable's endpoints have 4 requests in flight each; half of all would be 12 for the canary's.
    let _load = Load::start(&serin, 24);
    until_known(&serin, 2.0);
    let before = shown(&serin);
    let (status, answer) = order(&serin, "set", &json!({"percent": 50}));
    assert_eq!(status, 409, "{answer}");
    let words = [
        "1 endpoint of new would have 1",
        " requests in flight at 50 %; no endpoint of old or new has carried more than ",
    ];
    assert!(words.iter().all(|words| answer.contains(words)) && answer.contains("`force`"), "{answer}");
    assert!(said(&serin, &["set", "next", "50"]).contains(words[0]));
    assert_eq!(order(&serin, "complete", &json!({})).0, 409);
    let after = shown(&serin);
    assert_eq!(
        (&after["number"], &after["percent"], &after["status"]),
        (&before["number"], &json!(0.0), &json!("running"))
    );
    assert_eq!(order(&serin, "set", &json!({"percent": 50, "force": true})).0, 200);
    assert_eq!(order(&serin, "set", &json!({"percent": 0, "force": true})).0, 200);

    // There is room for a tenth, but not for what comes behind it.
    assert_eq!(order(&serin, "promote", &json!({})).0, 200);
    eventually(PATIENCE, "the phase waits", || shown(&serin)["hold"] == "headroom");
    let held = shown(&serin);
    assert_eq!(
        (&held["percent"], &held["headroom"]["enough"], &held["last"]["by"]),
        (&json!(10.0), &json!(false), &json!("serin"))
    );
    assert!(held["last"]["reason"].as_str().is_some_and(|reason| reason.contains(words[1])), "{held}");
    let status = said(&serin, &["status", "next"]);
    assert!(status.contains("hold       headroom: ") && status.contains("headroom   1 endpoint of new"), "{status}");
    assert!(
        serin.metric("serin_release_headroom_predicted_requests")
            > 1.5 * serin.metric("serin_release_headroom_carried_requests")
    );

    serin.reload_serving(&rules(&old, &new, ""));
    eventually(PATIENCE, "it goes on", || shown(&serin)["percent"] == json!(50.0));
    assert_eq!(shown(&serin)["hold"], Value::Null);
}

#[test]
fn limits_of_the_canary_are_as_much_as_it_takes() {
    let (old, new) = ([slow_endpoint()], [slow_endpoint()]);
    let serin = Serin::serving(&rules(&old, &new, ", limits: {in_flight_per_endpoint: 3}"));
    let _load = Load::start(&serin, 8);
    until_known(&serin, 0.65);
    let (status, answer) = order(&serin, "set", &json!({"percent": 75}));
    assert!(status == 409 && answer.contains("; its limits let in no more than 3; "), "{status} {answer}");
    assert_eq!(shown(&serin)["headroom"]["limit"], 3.0);
}
