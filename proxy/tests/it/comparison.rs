//! What counts when the groups of a release are compared: the first attempt of every request, for the group its user is
//! assigned to, and nothing that was the client's or our own doing.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::request;
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

/// Does what the target says: answers with that status, closes the connection, or keeps silent.
fn obedient(name: &'static str) -> Origin {
    Origin::start(move |visit| {
        let order = visit.request.target.trim_start_matches('/').to_owned();
        match order.as_str() {
            "close" => return Ok(Then::Close),
            "silence" => return visit.wait_for_end(),
            "switch" => {
                visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")?;
                return visit.wait_for_end();
            }
            "nap" => std::thread::sleep(NAP),
            _ => {}
        }
        visit.read_body()?;
        visit.answer(order.parse().unwrap_or(200), &[], name.as_bytes())
    })
}

const NAP: Duration = Duration::from_millis(200);

/// An address that refuses connections for as long as the listener is kept.
fn refusing() -> (socket2::Socket, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a loopback port is free");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("an address");
    (socket, address.to_string())
}

/// At 50 % the first is in the canary group and the second is not.
const CANARY: &str = "user-42";
const CONTROL: &str = "user-1";

const EVERYONE: &str = "{name: everyone, percent: 50}";

/// Rules with these fields of the upstreams, of the audience and of the route.
struct Rules {
    stable: String,
    canary: String,
    audience: String,
    route: String,
}

impl Rules {
    fn new(stable: &Origin, canary: &str) -> Self {
        Self {
            stable: format!("endpoints: [\"{}\"], breaker: false", stable.address()),
            canary: format!("endpoints: [{canary}], breaker: false"),
            audience: EVERYONE.into(),
            route: String::new(),
        }
    }

    fn of(stable: &Origin, canary: &Origin) -> Self {
        Self::new(stable, &format!("\"{}\"", canary.address()))
    }

    fn text(&self) -> String {
        let Self { stable, canary, audience, route } = self;
        format!(
            "trusted_proxies: [127.0.0.1]\n\
             routes: {{shop: {{upstream: stable, release: v2{route}}}}}\n\
             upstreams: {{stable: {{{stable}}}, canary: {{{canary}}}}}\n\
             releases: {{v2: {{stable: stable, canary: canary, audience: [{audience}], override: {{header: x-choose}}, \
             sticky: {{salt: 000102030405060708090a0b0c0d0e0f, key: [{{header: x-user}}]}}}}}}\n"
        )
    }

    fn serving(&self) -> Serin {
        Serin::serving(&self.text())
    }
}

fn as_user(client: &mut Client, user: &str, method: &str, target: &str) -> (u16, String) {
    let reply = client.request(method, target, &[("x-user", user)], b"");
    (reply.status, reply.text().to_owned())
}

fn release(serin: &Serin) -> Value {
    serin.admin_json("/api/v1/releases")[0].take()
}

/// Requests and failures of the canary and of the control of the first rule.
fn counts(serin: &Serin) -> [u64; 4] {
    counts_of(serin, 0, 0)
}

fn counts_of(serin: &Serin, release: usize, rule: usize) -> [u64; 4] {
    let compared = serin.admin_json("/api/v1/releases")[release]["audience"][rule]["compared"].take();
    let number = |arm: &str, of: &str| compared[arm][of].as_u64().unwrap_or_else(|| panic!("no {of} in {compared}"));
    [
        number("canary", "requests"),
        number("canary", "failed"),
        number("control", "requests"),
        number("control", "failed"),
    ]
}

#[test]
fn users_with_failures_are_counted_and_some_are_shown() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules::of(&stable, &canary).serving();
    let mut client = serin.client();
    for target in ["/500", "/200", "/503"] {
        as_user(&mut client, CANARY, "GET", target);
    }
    for user in 0..40 {
        as_user(&mut client, &format!("failing-{user}"), "GET", "/500");
        as_user(&mut client, &format!("well-{user}"), "GET", "/404");
    }
    let shown = release(&serin);
    let (failing, recent) = (&shown["analysis"]["failing_users"], &shown["recent_users"]);
    let count = |of: &Value, group: &str| of[group].as_u64().expect("a number");
    // Of very many users it would be a sample; two of these may have one place.
    let all = count(failing, "canary") + count(failing, "stable");
    assert!((35..=41).contains(&all) && all < count(recent, "canary") + count(recent, "stable"), "{failing} {recent}");
    let samples = failing["samples"].as_array().expect("a list");
    assert_eq!(samples.len(), 10);
    for sample in samples {
        assert_eq!(
            (&sample["rule"], &sample["device"], &sample["client"]),
            (&"everyone".into(), &"other".into(), &"127.0.0.1".into())
        );
        assert!(sample["last_seen"].as_str().is_some_and(|at| at.starts_with("20")), "{sample}");
    }
    let of = |group: &str| samples.iter().filter(|sample| sample["group"] == group).count();
    assert_eq!((of("canary"), of("stable")), (5, 5));
}

#[test]
fn answers_of_the_versions_count_for_their_users() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules::of(&stable, &canary).serving();
    let mut client = serin.client();
    for target in ["/200", "/404", "/500", "/503", "/nap"] {
        as_user(&mut client, CANARY, "GET", target);
    }
    for target in ["/200", "/301", "/502", "/200"] {
        as_user(&mut client, CONTROL, "GET", target);
    }
    // Not repeated, because it might have done something.
    assert_eq!(as_user(&mut client, CANARY, "POST", "/close").0, 502);
    assert_eq!(counts(&serin), [6, 3, 4, 1]);
    let rule = release(&serin)["audience"][0]["compared"].take();
    let ms = |arm: &str, what: &str| rule[arm][what].as_f64().unwrap_or_else(|| panic!("no {what} in {rule}"));
    let is_napping = |ms: f64| ms >= 200.0;
    assert!(is_napping(ms("canary", "p99_ms")) && !is_napping(ms("canary", "p50_ms")), "{rule}");
    assert!(ms("canary", "mean_ms") > 60.0, "{rule}");
    assert!(!is_napping(ms("control", "p99_ms")) && !is_napping(ms("control", "mean_ms")), "{rule}");
}

#[test]
fn a_version_nobody_can_connect_to_fails() {
    let (stable, (_kept, canary)) = (obedient("stable"), refusing());
    let serin = Rules::new(&stable, &format!("\"{canary}\"")).serving();
    let mut client = serin.client();
    assert_eq!(as_user(&mut client, CANARY, "GET", "/").0, 502);
    assert_eq!(as_user(&mut client, CONTROL, "GET", "/").0, 200);
    assert_eq!(counts(&serin), [1, 1, 1, 0]);
}

#[test]
fn a_version_that_does_not_answer_in_time_fails() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules { route: ", timeouts: {request: 200ms}".into(), ..Rules::of(&stable, &canary) }.serving();
    assert_eq!(as_user(&mut serin.client(), CANARY, "GET", "/silence").0, 504);
    assert_eq!(counts(&serin), [1, 1, 0, 0]);
}

#[test]
fn what_was_repaired_elsewhere_has_failed_all_the_same() {
    let (stable, canary, (_kept, refusing)) = (obedient("stable"), obedient("canary"), refusing());
    let mut rules = Rules::new(&stable, &format!("\"{}\", \"{refusing}\"", canary.address()));
    rules.canary += ", balance: round_robin, retry: {budget: 100%}";
    let serin = rules.serving();
    let mut client = serin.client();
    for _ in 0..10 {
        assert_eq!(as_user(&mut client, CANARY, "GET", "/"), (200, "canary".into()));
    }
    let retries = serin.metric("serin_endpoint_retries_total") as u64;
    assert!((1..=10).contains(&retries), "{retries}");
    assert_eq!(counts(&serin), [10, retries, 0, 0]);
}

#[test]
fn a_connection_that_had_been_closed_is_no_failure() {
    let (origin, close) = Origin::closing_when_told();
    let stable = obedient("stable");
    let serin = Rules::of(&stable, &origin).serving();
    let mut client = serin.client();
    assert_eq!(as_user(&mut client, CANARY, "GET", "/first").0, 200);
    drop(close);
    assert_eq!(as_user(&mut client, CANARY, "GET", "/second").0, 200);
    assert_eq!(counts(&serin), [2, 0, 0, 0]);
}

#[test]
fn a_second_endpoint_asked_meanwhile_counts_once() {
    let (stable, slow, quick) = (obedient("stable"), obedient("slow"), Origin::named("quick"));
    let mut rules = Rules::new(&stable, &format!("\"{}\", \"{}\"", slow.address(), quick.address()));
    rules.canary += ", balance: round_robin, retry: {budget: 100%}";
    rules.route = ", hedge: {after: 20ms}".into();
    let serin = rules.serving();
    let mut client = serin.client();
    for _ in 0..6 {
        assert_eq!(as_user(&mut client, CANARY, "GET", "/silence"), (200, "quick".into()));
    }
    let hedges = serin.metric("serin_endpoint_hedges_total");
    assert!((1.0..=6.0).contains(&hedges), "{hedges}");
    assert_eq!(counts(&serin), [6, 0, 0, 0]);
    // Whoever is asked second has not been waited for as long as the user has.
    let slowest = release(&serin)["audience"][0]["compared"]["canary"]["p99_ms"].as_f64().expect("it was answered");
    assert!(slowest >= 20.0, "{slowest}");
}

#[test]
fn users_whom_stable_serves_for_a_canary_that_is_down_have_failed() {
    let stable = obedient("stable");
    let serin = Rules::new(&stable, "").serving();
    let mut client = serin.client();
    for (user, target) in [(CANARY, "/200"), (CANARY, "/500"), (CONTROL, "/200")] {
        as_user(&mut client, user, "GET", target);
    }
    assert_eq!(counts(&serin), [2, 2, 1, 0]);
    assert_eq!(serin.metric_of("serin_release_requests_total", "group=\"stable\""), 3.0, "it served");
}

#[test]
fn so_have_those_of_an_upstream_whose_breaker_sends_them_elsewhere() {
    let (stable, canary, spare) = (obedient("stable"), obedient("canary"), obedient("spare"));
    let breaker = "group_breaker: {condition: \"NetworkErrorRatio() > 0.9\", open: 1h, max_open: 1h";
    let mut rules = Rules::of(&stable, &canary);
    rules.stable += &format!(", {breaker}, fallback: spare}}");
    let upstreams = format!("upstreams: {{spare: {{endpoints: [\"{}\"]}}, ", spare.address());
    let serin = Serin::serving(&rules.text().replace("upstreams: {", &upstreams));
    let mut failed = 0;
    loop {
        let (status, text) = as_user(&mut serin.client(), CONTROL, "POST", "/close");
        failed += 1;
        if text == "spare" || serin.metric("serin_upstream_breaker_open") == 1.0 {
            break;
        }
        assert_eq!(status, 502);
        assert!(failed < 10_000, "the breaker does not open");
    }
    assert_eq!(as_user(&mut serin.client(), CONTROL, "GET", "/200"), (200, "spare".into()));
    assert_eq!(as_user(&mut serin.client(), CANARY, "GET", "/200"), (200, "canary".into()));
    assert_eq!(counts(&serin), [1, 0, failed + 1, failed + 1]);
}

#[test]
fn a_version_without_endpoints_fails_also_if_it_is_the_old_one() {
    let canary = obedient("canary");
    let mut rules = Rules::of(&canary, &canary);
    rules.stable = "endpoints: []".into();
    let serin = rules.serving();
    assert_eq!(as_user(&mut serin.client(), CONTROL, "GET", "/").0, 503);
    assert_eq!(counts(&serin), [0, 0, 1, 1]);
}

#[test]
fn what_clients_do_counts_for_nobody() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules { route: ", timeouts: {total: 300ms}".into(), ..Rules::of(&stable, &canary) }.serving();
    let mut client = serin.client();
    client.send(request("GET", "/silence", &[("x-user", CANARY)], b""));
    canary.wait_until("the request", |log| log.requests.len() == 1);
    client.reset();
    eventually(PATIENCE, "the client is missed", || {
        serin.metric_of("serin_request_errors_total", "reason=\"client_gone\"") == 1.0
    });
    let mut client = serin.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nX-User: {CANARY}\r\nContent-Length: 100\r\n\r\npart"));
    assert_eq!(client.reply().status, 408);
    serin.wait_until_quiet(PATIENCE);
    assert_eq!(counts(&serin), [0, 0, 0, 0]);
}

#[test]
fn our_own_limits_count_for_nobody() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let mut rules = Rules::of(&stable, &canary);
    rules.canary += ", limits: {in_flight: 1}";
    rules.route = ", limits: {rate_limit: {rate: 1/h, burst: 2, by: client_ip}}".into();
    let serin = rules.serving();
    let from = |address: &str, user: &str, target: &str| {
        request("GET", target, &[("x-forwarded-for", address), ("x-user", user)], b"")
    };
    let mut waiting = serin.client();
    waiting.send(from("192.0.2.1", CANARY, "/silence"));
    canary.wait_until("the request", |log| log.requests.len() == 1);
    let mut client = serin.client();
    for (address, user, status) in [
        ("192.0.2.2", CANARY, 503),
        ("192.0.2.2", CONTROL, 200),
        ("192.0.2.2", CONTROL, 429),
        ("192.0.2.2", CANARY, 429),
    ] {
        client.send(from(address, user, "/"));
        assert_eq!(client.reply().status, status, "{address} {user}");
    }
    assert_eq!(counts(&serin), [0, 0, 1, 0]);
}

#[test]
fn a_tunnel_counts_at_its_beginning_and_has_no_latency() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules { route: ", upgrade: [echo]".into(), ..Rules::of(&stable, &canary) }.serving();
    let mut client = serin.client();
    let fields = [("x-user", CANARY), ("Connection", "upgrade"), ("Upgrade", "echo")];
    assert_eq!(client.request("GET", "/switch", &fields, b"").status, 101);
    assert_eq!(counts(&serin), [1, 0, 0, 0]);
    assert!(release(&serin)["audience"][0]["compared"]["canary"]["p50_ms"].is_null());
}

#[test]
fn only_users_for_whom_the_same_rule_decides_are_compared() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let audience = "{name: office, ip: [10.0.0.0/8], percent: 100}, {name: lab, ip: [172.16.0.0/12], percent: 0}, \
                    {name: campus, ip: [203.0.113.0/24], percent: 70}, {name: everyone, percent: 50}";
    let serin = Rules { audience: audience.into(), ..Rules::of(&stable, &canary) }.serving();
    let mut client = serin.client();
    let mut ask = |fields: &[(&str, &str)], text: &str| {
        let reply = client.request("GET", "/", fields, b"");
        assert_eq!(reply.text(), text, "{fields:?}");
        let pin = reply.header("set-cookie").and_then(|line| line.split(';').next());
        pin.unwrap_or_default().to_owned()
    };
    ask(&[("x-forwarded-for", "10.0.0.1"), ("x-user", CANARY)], "canary");
    ask(&[("x-forwarded-for", "172.16.0.1"), ("x-user", CANARY)], "stable");
    ask(&[("x-user", CANARY), ("x-choose", "canary")], "canary");
    ask(&[("x-user", CONTROL), ("x-choose", "stable")], "stable");
    ask(&[], "stable");
    let all = |serin: &Serin| [0, 1, 2, 3].map(|rule| counts_of(serin, 0, rule));
    // The lab has nobody in the canary group yet; what it is like before is what it will be compared with.
    assert_eq!(all(&serin), [[0; 4], [0, 0, 1, 0], [0; 4], [0; 4]]);
    // Users with a pin stay when they leave the campus, and are not compared there.
    let pin = ask(&[("x-forwarded-for", "203.0.113.1"), ("x-user", CONTROL)], "canary");
    ask(&[("x-forwarded-for", "203.0.113.1"), ("cookie", &pin)], "canary");
    ask(&[("x-forwarded-for", "192.0.2.1"), ("x-user", CONTROL), ("cookie", &pin)], "canary");
    ask(&[("x-forwarded-for", "192.0.2.1"), ("x-user", CONTROL)], "stable");
    assert_eq!(all(&serin), [[0; 4], [0, 0, 1, 0], [2, 0, 0, 0], [0, 0, 1, 0]]);
}

#[test]
fn counts_stay_with_the_names_of_release_and_rule() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules::of(&stable, &canary).serving();
    let mut client = serin.client();
    as_user(&mut client, CANARY, "GET", "/500");
    as_user(&mut client, CONTROL, "GET", "/200");
    let lab = format!("{{name: lab, ip: [10.0.0.0/8], percent: 50}}, {EVERYONE}");
    serin.reload_serving(&Rules { audience: lab, ..Rules::of(&stable, &canary) }.text());
    as_user(&mut client, CANARY, "GET", "/200");
    assert_eq!((counts_of(&serin, 0, 0), counts_of(&serin, 0, 1)), ([0; 4], [2, 1, 1, 0]));
    // Gone by a slip of the pen, and back.
    let text = Rules::of(&stable, &canary).text();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("releases:")).collect();
    serin.reload_serving(&without.join("\n").replace(", release: v2", ""));
    assert_eq!(serin.admin_json("/api/v1/releases"), Value::Array(Vec::new()));
    serin.reload_serving(&text);
    as_user(&mut client, CONTROL, "GET", "/500");
    assert_eq!(counts(&serin), [2, 1, 2, 1]);
    assert_eq!(release(&serin)["recent_users"], serde_json::json!({"canary": 1, "stable": 1}));
    serin.reload_serving(&text.replace("everyone", "somebody"));
    assert_eq!(counts(&serin), [0; 4]);
}

#[test]
fn a_request_that_ends_after_a_change_counts_where_it_began() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules { route: ", timeouts: {request: 1s}".into(), ..Rules::of(&stable, &canary) }.serving();
    let mut client = serin.client();
    client.send(request("GET", "/silence", &[("x-user", CANARY)], b""));
    canary.wait_until("the request", |log| log.requests.len() == 1);
    let audience = format!("{{name: lab, percent: 100}}, {EVERYONE}");
    serin.reload_serving(&Rules { audience, ..Rules::of(&stable, &canary) }.text());
    assert_eq!(client.reply().status, 504);
    assert_eq!((counts_of(&serin, 0, 0), counts_of(&serin, 0, 1)), ([0; 4], [1, 1, 0, 0]));
}

#[test]
fn workers_are_added_up() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let rules = Rules::of(&stable, &canary).text();
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n{rules}"
    ));
    // Whichever worker accepts them: of so many connections in one hand there would be more than one in 10^9 runs.
    for _ in 0..32 {
        let mut client = serin.client();
        as_user(&mut client, CANARY, "GET", "/500");
        as_user(&mut client, CONTROL, "GET", "/200");
    }
    assert_eq!(counts(&serin), [32, 32, 32, 0]);
    assert_eq!(release(&serin)["recent_users"], serde_json::json!({"canary": 1, "stable": 1}), "each once");
}

/// Who is served by stable is compared by all releases that might have moved it: else only the first would have a control.
#[test]
fn each_release_of_a_route_has_its_own_control() {
    let (stable, canary, third) = (obedient("stable"), obedient("canary"), obedient("third"));
    let text = Rules::of(&stable, &canary).text();
    let two = text
        .replace("release: v2", "release: [v2, v3]")
        .replace("upstreams: {", &format!("upstreams: {{third: {{endpoints: [\"{}\"]}}, ", third.address()))
        .replace(
            "releases: {",
            "releases: {v3: {stable: stable, canary: third, audience: [{name: all, percent: 50}], \
             sticky: {salt: 6d0c6a0e9f1b4c57a3e2d81f40b7c9aa, key: [{header: x-user}]}}, ",
        );
    let serve = |serin: &Serin| -> Vec<String> {
        let mut client = serin.client();
        (0..40).map(|user| as_user(&mut client, &user.to_string(), "GET", "/").1).collect()
    };
    let serin = Serin::serving(&two);
    let served = serve(&serin);
    let of = |name: &str| served.iter().filter(|text| *text == name).count() as u64;
    let [by_stable, by_third] = [of("stable"), of("third")];
    // The first has no control among those whom the second takes, so of its canary they are left out, too.
    let alone = serve(&Serin::serving(&two.replace("[v2, v3]", "v3")));
    let both = served.iter().zip(&alone).filter(|(text, alone)| *text == "canary" && *alone == "third").count() as u64;
    let by_canary = of("canary") - both;
    assert!([by_stable, by_third, by_canary, both].iter().all(|count| *count > 0), "{served:?}");
    assert_eq!(counts_of(&serin, 0, 0), [by_canary, 0, by_stable, 0]);
    assert_eq!(counts_of(&serin, 1, 0), [by_third, 0, by_stable, 0]);
}

#[test]
fn users_who_came_lately_are_known() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let serin = Rules::of(&stable, &canary).serving();
    let recent = || release(&serin)["recent_users"].take();
    assert_eq!(recent(), serde_json::json!({"canary": 0, "stable": 0}));
    let mut client = serin.client();
    for user in [CANARY, CONTROL, CANARY] {
        as_user(&mut client, user, "GET", "/");
    }
    client.get("/");
    client.request("GET", "/", &[("x-user", "user-7"), ("x-choose", "canary")], b"");
    assert_eq!(recent(), serde_json::json!({"canary": 1, "stable": 1}), "neither who has no key nor a test by hand");
}

#[test]
fn before_anybody_comes_in_all_are_users_of_stable() {
    let (stable, canary) = (obedient("stable"), obedient("canary"));
    let audience = "{name: everyone}], phases: [0, 50, 100], analysis: {mode: observe".to_owned();
    let text = Rules { audience, ..Rules::of(&stable, &canary) }.text().replace("observe]", "observe}");
    let serin = Serin::serving(&text);
    let mut client = serin.client();
    for user in [CANARY, CONTROL] {
        assert_eq!(as_user(&mut client, user, "GET", "/500").1, "stable");
    }
    assert_eq!(counts(&serin), [0, 0, 2, 2]);
}
