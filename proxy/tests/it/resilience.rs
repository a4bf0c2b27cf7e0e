//! What keeps users from noticing an endpoint that is slow, fails or is gone.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::control::{admin, replace};
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

/// An endpoint that can be told to fail or to be slow.
struct Moody {
    origin: Origin,
    mood: Arc<Mood>,
}

#[derive(Default)]
struct Mood {
    fails: AtomicBool,
    slow_ms: AtomicUsize,
    served: AtomicUsize,
}

impl Moody {
    fn start(name: &'static str) -> Self {
        let mood = Arc::new(Mood::default());
        let shared = Arc::clone(&mood);
        let origin = Origin::start(move |visit| {
            visit.read_body()?;
            shared.served.fetch_add(1, Relaxed);
            std::thread::sleep(Duration::from_millis(shared.slow_ms.load(Relaxed) as u64));
            let status = if shared.fails.load(Relaxed) { 500 } else { 200 };
            visit.answer(status, &[], name.as_bytes()).map(|_| Then::Keep)
        });
        Self { origin, mood }
    }

    fn served(&self) -> usize {
        self.mood.served.load(Relaxed)
    }
}

fn rules(endpoints: &[String], more: &str) -> String {
    format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: {endpoints:?}{more}}}}}\n")
}

fn serving(endpoints: &[&Origin], more: &str) -> Serin {
    let endpoints: Vec<String> = endpoints.iter().map(|origin| origin.address().to_string()).collect();
    Serin::serving(&rules(&endpoints, more))
}

fn generation(serin: &Serin) -> u64 {
    serin.server().snapshot().generation
}

/// An address of this machine where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

fn endpoint(serin: &Serin, address: &str) -> serde_json::Value {
    let reply = admin(serin.server().admin().expect("the rules open the admin API"), "/api/v1/upstreams");
    let upstreams: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    let endpoints = upstreams[0]["endpoints"].as_array().expect("a list").clone();
    endpoints.into_iter().find(|endpoint| endpoint["address"] == address).expect("the endpoint is there")
}

#[test]
fn nobody_notices_an_endpoint_that_is_gone() {
    let good = Origin::named("good");
    let gone = nobody();
    let serin = Serin::serving(&rules(&[good.address().to_string(), gone.clone()], ""));
    let mut client = serin.client();
    for method in ["GET", "POST"].into_iter().cycle().take(40) {
        let body: &[u8] = if method == "POST" { b"hello" } else { b"" };
        assert_eq!(client.request(method, "/", &[], body).text(), "good", "{method}");
    }
    assert!(serin.metric("serin_endpoint_retries_total") > 0.0);
    assert_eq!(serin.metric("serin_requests_total"), 40.0);
}

/// One of one cannot be left out, and there is nobody else to try.
#[test]
fn the_only_endpoint_is_never_left_out() {
    let gone = nobody();
    let serin = Serin::serving(&rules(std::slice::from_ref(&gone), ""));
    let mut client = serin.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 502);
    }
    assert_eq!(endpoint(&serin, &gone)["requests"], 20);
    assert_eq!(serin.metric("serin_endpoint_breaker_openings_total"), 0.0);
}

#[test]
fn failures_in_a_row_open_a_breaker_and_probes_close_it() {
    let (good, bad) = (Moody::start("good"), Moody::start("bad"));
    let more = ", balance: round_robin, breaker: {open: 100ms, max_open: 100ms}";
    let third = Origin::named("third");
    let serin = serving(&[&good.origin, &bad.origin, &third], more);
    let address = bad.origin.address().to_string();
    let state = || endpoint(&serin, &address)["breaker"]["state"].as_str().unwrap_or_default().to_owned();
    let mut client = serin.client();
    // The tick gives leave to shut an endpoint at once.
    eventually(PATIENCE, "a tick", || {
        serin.client().get("/");
        state() == "closed"
    });
    bad.mood.fails.store(true, Relaxed);
    let failed = (0..300).filter(|_| client.get("/").status == 500).count();
    assert!(failed <= 20, "{failed} of 300 requests met the endpoint that fails");
    let opened = |cause| serin.metric_of("serin_endpoint_breaker_openings_total", cause);
    eventually(PATIENCE, "the breaker opens", || opened("cause=\"streak\"") == 1.0);
    assert_eq!(opened("cause=\"condition\""), 0.0);
    bad.mood.fails.store(false, Relaxed);
    eventually(PATIENCE, "probes succeed", || {
        serin.client().get("/");
        state() == "ramp"
    });
    let before = bad.served();
    eventually(2 * PATIENCE, "its share comes back", || {
        serin.client().get("/");
        bad.served() > before + 10
    });
}

#[test]
fn an_endpoint_comes_back_where_no_request_may_be_repeated() {
    let (good, bad) = (Moody::start("good"), Moody::start("bad"));
    let third = Origin::named("third");
    let more = ", balance: round_robin, breaker: {open: 100ms, max_open: 100ms}";
    let serin = serving(&[&good.origin, &bad.origin, &third], more);
    let post = || serin.client().request("POST", "/", &[], b"hello");
    bad.mood.fails.store(true, Relaxed);
    eventually(PATIENCE, "the breaker opens", || {
        post();
        serin.metric("serin_endpoint_breaker_open") == 1.0
    });
    bad.mood.fails.store(false, Relaxed);
    let address = bad.origin.address().to_string();
    eventually(PATIENCE, "probes succeed", || {
        post();
        endpoint(&serin, &address)["breaker"]["state"] == "ramp"
    });
}

#[test]
fn a_condition_opens_a_breaker_and_a_swap_does_not_close_it() {
    let (good, bad) = (Moody::start("good"), Moody::start("bad"));
    let third = Origin::named("third");
    let more = ", balance: round_robin, breaker: {condition: \"ResponseCodeRatio(500, 600, 0, 600) > 0.25\", streak: 0, open: 1h, max_open: 1h}";
    let serin = serving(&[&good.origin, &bad.origin, &third], more);
    bad.mood.fails.store(true, Relaxed);
    eventually(PATIENCE, "the breaker opens", || {
        serin.client().get("/");
        serin.metric("serin_endpoint_breaker_open") == 1.0
    });
    let mut client = serin.client();
    let before = bad.served();
    let before_swap = generation(&serin);
    let text = std::fs::read_to_string(serin.config()).expect("the rules are there");
    replace(&serin.config(), &text.replace("balance: round_robin", "balance: least_request"));
    eventually(PATIENCE, "the swap", || generation(&serin) > before_swap);
    (0..50).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(bad.served(), before);
}

/// A fault that all endpoints have is behind them: leaving some out would only load the rest.
#[test]
fn endpoints_that_all_fail_alike_stay() {
    let endpoints = [Moody::start("a"), Moody::start("b"), Moody::start("c"), Moody::start("d")];
    let serin = serving(&endpoints.each_ref().map(|moody| &moody.origin), ", balance: round_robin");
    endpoints.iter().for_each(|moody| moody.mood.fails.store(true, Relaxed));
    let mut client = serin.client();
    (0..400).for_each(|_| assert_eq!(client.get("/").status, 500));
    assert_eq!(serin.metric("serin_endpoint_breaker_openings_total"), 0.0);
}

#[test]
fn a_slow_endpoint_gets_less_and_keeps_what_it_learned_over_a_swap() {
    let (one, two, slow) = (Moody::start("one"), Moody::start("two"), Moody::start("slow"));
    let serin = serving(&[&one.origin, &two.origin, &slow.origin], "");
    slow.mood.slow_ms.store(30, Relaxed);
    let address = slow.origin.address().to_string();
    let learned = |serin: &Serin| endpoint(serin, &address)["learned"]["weight"].as_f64().unwrap_or(1.0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = serin.client();
                while !over.load(Relaxed) {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
        let over = crate::listeners::Over(&over);
        eventually(2 * PATIENCE, "the weight falls", || learned(&serin) < 0.3);
        let before_swap = generation(&serin);
        let text = std::fs::read_to_string(serin.config()).expect("the rules are there");
        replace(&serin.config(), &text.replace("{app: {", "{app: {balance: {dwrr: {window: 4s}}, "));
        eventually(PATIENCE, "the swap", || generation(&serin) > before_swap);
        assert!(learned(&serin) < 0.5);
        drop(over);
    });
    assert!(serin.metric_of("serin_endpoint_weight", &address) < 0.5);
}

#[test]
fn requests_that_wait_by_design_convict_nobody() {
    let endpoints = [Moody::start("a"), Moody::start("b"), Moody::start("c")];
    let condition = "LatencyAtQuantileMS(50) > 5";
    let text = rules(
        &endpoints.each_ref().map(|moody| moody.origin.address().to_string()),
        &format!(", balance: round_robin, breaker: {{condition: \"{condition}\", min_requests: 5}}"),
    );
    let serin = Serin::serving(
        &text.replace("{all: {", "{poll: {sample: false, paths: [{exact: /poll}], upstream: app}, all: {"),
    );
    endpoints[0].mood.slow_ms.store(20, Relaxed);
    let mut client = serin.client();
    let opened = || serin.metric("serin_endpoint_breaker_openings_total") > 0.0;
    (0..60).for_each(|_| assert_eq!(client.get("/poll").status, 200));
    assert!(!opened(), "twenty of them in four ticks");
    (0..15).for_each(|_| assert_eq!(client.get("/").status, 200));
    eventually(PATIENCE, "what counts opens it", opened);
}

#[test]
fn the_same_key_finds_the_same_endpoint() {
    let endpoints = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let serin = serving(&endpoints.each_ref(), ", balance: {consistent_hash: {by: {header: x-user}, bound: 10}}");
    let mut client = serin.client();
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    for user in 0..30 {
        let user = user.to_string();
        let mut serve = || client.request("GET", "/", &[("x-user", &user)], b"").text().to_owned();
        let first = serve();
        assert!((0..5).all(|_| serve() == first), "{user}");
        *at.entry(first).or_default() += 1;
    }
    assert_eq!(at.len(), 3, "{at:?}");
}

/// Where keys decide, weights have no say: an endpoint that comes back gets its keys one after the other all the same.
#[test]
fn keys_come_back_to_an_endpoint_as_it_recovers() {
    let bad = Moody::start("bad");
    let others = [Origin::named("b"), Origin::named("c")];
    let hash =
        ", balance: {consistent_hash: {by: {header: x-user}, bound: 10}}, breaker: {open: 100ms, max_open: 100ms}";
    let serin = serving(&[&bad.origin, &others[0], &others[1]], hash);
    let mut client = serin.client();
    let users: Vec<String> = (0..300).map(|user| user.to_string()).collect();
    let mut served_by_bad = || -> usize {
        let served = |user: &&String| client.request("GET", "/", &[("x-user", user)], b"").text() == "bad";
        users.iter().filter(served).count()
    };
    let all = served_by_bad();
    assert!(all > 50, "{all} of 300 keys");
    bad.mood.fails.store(true, Relaxed);
    let ask_all = || {
        let mut client = serin.client();
        users.iter().for_each(|user| drop(client.request("GET", "/", &[("x-user", user)], b"")));
    };
    eventually(PATIENCE, "the breaker opens", || {
        ask_all();
        serin.metric("serin_endpoint_breaker_open") == 1.0
    });
    bad.mood.fails.store(false, Relaxed);
    let address = bad.origin.address().to_string();
    eventually(PATIENCE, "probes succeed", || {
        ask_all();
        endpoint(&serin, &address)["breaker"]["state"] == "ramp"
    });
    // Of the ten seconds of the ramp next to nothing is over.
    let some = served_by_bad();
    assert!((1..all / 2).contains(&some), "{some} of {all}");
    eventually(2 * PATIENCE, "all are back", || {
        ask_all();
        endpoint(&serin, &address)["breaker"]["state"] == "closed"
    });
    assert_eq!(served_by_bad(), all);
}

/// Without a retry the client is told; that an idle connection was closed says nothing of who closed it.
#[test]
fn a_closed_idle_connection_counts_against_nobody_though_it_is_not_tried_again() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        // Closes without a word behind the first answer on each connection.
        visit.answer(200, &[], b"app").map(|_| Then::Close)
    });
    let serin = serving(&[&origin], ", retry: {tries: 1}");
    let mut client = serin.client();
    let statuses: Vec<u16> = (0..40).map(|_| client.get("/").status).collect();
    assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
}

#[test]
fn round_robin_takes_turns_by_weight() {
    let endpoints = [Origin::named("a"), Origin::named("b")];
    let [a, b] = endpoints.each_ref().map(Origin::address);
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{balance: round_robin, endpoints: [{{address: \"{a}\", weight: 3}}, \"{b}\"]}}}}\n"
    ));
    let mut client = serin.client();
    let count = (0..40).filter(|_| client.get("/").text() == "a").count();
    assert!((29..=31).contains(&count), "{count}");
}

const GROUP: &str = "condition: \"NetworkErrorRatio() > 0.9\", open: 200ms, max_open: 200ms";

#[test]
fn an_upstream_that_fails_as_a_whole_is_stood_in_for() {
    let (app, spare) = (Moody::start("app"), Origin::named("spare"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams:\n  app: {{endpoints: [\"{}\"], group_breaker: {{{GROUP}, fallback: spare}}}}\n  \
         spare: {{endpoints: [\"{}\"]}}\n",
        app.origin.address(),
        spare.address()
    ));
    app.mood.fails.store(true, Relaxed);
    let mut client = serin.client();
    eventually(PATIENCE, "a tick", || {
        serin.client().get("/");
        serin.metric("serin_upstream_breaker_openings_total") > 0.0
    });
    eventually(PATIENCE, "the fallback serves", || serin.client().get("/").text() == "spare");
    eventually(PATIENCE, "and is explained", || {
        let told = serin.admin_text("/api/v1/explain?url=http://a.test/");
        told.contains("\"upstream\":\"spare\",\"stands_in_for\":\"app\"")
    });
    app.mood.fails.store(false, Relaxed);
    eventually(PATIENCE, "the upstream comes back", || serin.client().get("/").text() == "app");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn without_a_fallback_requests_are_refused_at_once() {
    let app = Moody::start("app");
    let serin =
        Serin::serving(&rules(&[app.origin.address().to_string()], &shut_for_an_hour("NetworkErrorRatio() > 0.9")));
    app.mood.fails.store(true, Relaxed);
    eventually(PATIENCE, "the breaker opens", || {
        serin.client().get("/");
        is_shut(&serin)
    });
    assert_refused_for_an_hour(&serin);
    // The mind of whoever edits the condition in the middle of it is not changed by that.
    serin.reload_serving(&rules(
        &[app.origin.address().to_string()],
        &shut_for_an_hour("LatencyAtQuantileMS(99) > 500"),
    ));
    assert_refused_for_an_hour(&serin);
    assert!(is_shut(&serin));
}

/// The ticks looked when the requests came, and nobody comes after them.
#[test]
fn failures_that_take_long_open_a_breaker_though_nobody_asks_again() {
    let app = Moody::start("app");
    let more = format!("{}, breaker: false", shut_for_an_hour("NetworkErrorRatio() > 0.9"));
    let serin = Serin::serving(&rules(&[app.origin.address().to_string()], &more));
    app.mood.fails.store(true, Relaxed);
    app.mood.slow_ms.store(700, Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(serin.client().get("/").status, 500));
        }
    });
    eventually(PATIENCE, "the breaker opens", || is_shut(&serin));
    assert_refused_for_an_hour(&serin);
}

fn shut_for_an_hour(condition: &str) -> String {
    format!(", group_breaker: {{condition: \"{condition}\", streak: 5, open: 1h, max_open: 1h}}")
}

fn is_shut(serin: &Serin) -> bool {
    serin.metric("serin_upstream_breaker_open") == 1.0
}

#[track_caller]
fn assert_refused_for_an_hour(serin: &Serin) {
    let reply = serin.client().get("/");
    // Give or take a fifth.
    let seconds: u64 = reply.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
    assert!(reply.status == 503 && (2_800..=4_400).contains(&seconds), "{reply:?}");
}

#[test]
fn a_breaker_that_was_switched_off_begins_anew() {
    let (good, bad, third) = (Moody::start("good"), Moody::start("bad"), Origin::named("third"));
    let endpoints: Vec<String> =
        [&good.origin, &bad.origin, &third].iter().map(|origin| origin.address().to_string()).collect();
    let open = ", balance: round_robin, breaker: {open: 1h, max_open: 1h}";
    let serin = Serin::serving(&rules(&endpoints, open));
    bad.mood.fails.store(true, Relaxed);
    let is_open = || serin.metric("serin_endpoint_breaker_open") == 1.0;
    eventually(PATIENCE, "the breaker opens", || {
        serin.client().get("/");
        is_open()
    });
    bad.mood.fails.store(false, Relaxed);
    serin.reload_serving(&rules(&endpoints, ", balance: round_robin, breaker: false"));
    eventually(PATIENCE, "no breaker, none that is open", || !is_open());
    serin.reload_serving(&rules(&endpoints, open));
    let before = bad.served();
    let mut client = serin.client();
    (0..30).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert!(bad.served() > before && !is_open());
}

/// When the canary falls, its users do not.
#[test]
fn users_of_a_canary_that_fails_are_served_by_stable() {
    let (stable, canary) = (Origin::named("stable"), Moody::start("canary"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app, release: v2}}}}\nreleases: {{v2: {{stable: app, canary: v2, expose: true, audience: [{{name: all, percent: 100}}]}}}}\n\
         upstreams:\n  app: {{endpoints: [\"{}\"]}}\n  v2: {{endpoints: [\"{}\"], group_breaker: {{{GROUP}}}}}\n",
        stable.address(),
        canary.origin.address()
    ));
    assert_eq!(serin.client().get("/").text(), "canary");
    canary.mood.fails.store(true, Relaxed);
    eventually(PATIENCE, "stable serves", || {
        let reply = serin.client().get("/");
        reply.text() == "stable" && reply.header("x-serin-group") == Some("stable")
    });
    canary.mood.fails.store(false, Relaxed);
    eventually(2 * PATIENCE, "the canary is back", || serin.client().get("/").text() == "canary");
}

/// The least busy: one that holds its requests gets no more of them.
#[test]
fn who_is_busy_gets_nothing_more() {
    let release = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&release);
    let stuck = Origin::start(move |visit| {
        let deadline = Instant::now() + PATIENCE;
        while !held.load(Relaxed) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        visit.answer(200, &[], b"stuck").map(|_| Then::Keep)
    });
    let free = Origin::named("free");
    let serin = serving(&[&stuck, &free], "");
    let mut waiting: Vec<Client> = (0..8).map(|_| serin.client()).collect();
    for client in &mut waiting {
        client.send(crate::support::client::request("GET", "/", &[("Host", "a")], b""));
    }
    eventually(PATIENCE, "somebody waits", || stuck.log().requests.len() + free.log().requests.len() == 8);
    assert!((1..=5).contains(&stuck.log().requests.len()));
    let mut client = serin.client();
    assert_eq!((0..40).filter(|_| client.get("/").text() == "stuck").count(), 0);
    release.store(true, Relaxed);
    waiting.iter_mut().for_each(|client| assert_eq!(client.reply().status, 200));
}
