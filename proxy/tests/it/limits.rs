//! Limits of routes and upstreams: who is refused, who waits, and that nobody else notices.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::control::{order, replace};
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually, get};

/// What is left of an hour, on a machine with more to do.
const ALMOST_AN_HOUR: RangeInclusive<u64> = 3_500..=3_600;

/// An endpoint that answers as many requests as it is told to.
struct Held {
    origin: Origin,
    release: Sender<()>,
}

impl Held {
    fn start() -> Self {
        let (release, told) = channel();
        let told = Mutex::new(told);
        let origin = Origin::start(move |visit| {
            visit.read_body()?;
            let _ = told.lock().expect("no test panics here").recv();
            visit.answer(200, &[], b"app")
        });
        Self { origin, release }
    }

    fn release(&self, count: usize) {
        (0..count).for_each(|_| self.release.send(()).expect("the endpoint is there"));
    }

    fn has(&self, count: usize) {
        self.origin.wait_until("requests", |log| log.requests.len() == count);
    }
}

/// Rules with these limits of the route; four workers.
fn limited(endpoint: SocketAddr, limits: &str, more: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 4\n\
         routes: {{all: {{upstream: app, limits: {limits}{more}}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n",
    )
}

/// A client whose request is on its way.
fn asking(serin: &Serin) -> Client {
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    client
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, retry_after_s: RangeInclusive<u64>, why: &str) {
    let said_s = reply.header("retry-after").and_then(|seconds| seconds.parse().ok());
    assert!(reply.status == status && said_s.is_some_and(|said| retry_after_s.contains(&said)), "{reply:?}");
    assert!(reply.text().contains(why), "{}", reply.text());
    assert!(!reply.announces_close(), "the connection goes on");
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let origin = Origin::named("app");
    let (one, two) = (("127.0.0.1", "one"), ("127.0.0.2", "two"));
    // Who asks: an address and a value of the header field; and whether a token is there.
    let cases = [
        ("client_ip", vec![(one, true), (("127.0.0.1", "two"), false), (two, true), (two, false)]),
        ("{header: X-Key}", vec![(one, true), (("127.0.0.2", "one"), false), (two, true), (two, false)]),
        ("{header: X-Other}", vec![(one, true), (two, false)]),
        ("all", vec![(one, true), (two, false)]),
    ];
    for (by, asks) in cases {
        let limits = format!("{{rate_limit: {{rate: 1/h, burst: 1, by: {by}}}}}");
        let serin = Serin::start(&limited(origin.address(), &limits, ""));
        for ((address, key), is_admitted) in &asks {
            let reply = Client::from(address, serin.address()).request("GET", "/", &[("X-Key", key)], b"");
            match is_admitted {
                true => assert_eq!(reply.status, 200, "{by}: {address} {key}"),
                false => assert_refused(&reply, 429, ALMOST_AN_HOUR, "429 too many requests"),
            }
        }
        let refused = asks.iter().filter(|(_, is_admitted)| !is_admitted).count() as f64;
        assert_eq!(serin.metric_of("serin_route_refused_total", "route=\"all\",limit=\"rate\""), refused);
        assert_eq!(serin.metric_of("serin_request_errors_total", "rate_limited"), refused);
        assert_eq!(serin.metric("serin_route_rate_evictions_total"), 0.0);
    }
}

#[test]
fn who_comes_again_is_served() {
    let origin = Origin::named("app");
    let serin = Serin::start(&limited(origin.address(), "{rate_limit: {rate: 10/s, burst: 1}}", ""));
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 200);
    assert_refused(&client.get("/"), 429, 1..=1, "too many requests");
    eventually(PATIENCE, "a token", || get(serin.address(), "/").status == 200);
}

#[test]
fn workers_share_the_tokens() {
    let origin = Origin::named("app");
    for by in ["client_ip", "all"] {
        let limits = format!("{{rate_limit: {{rate: 1/h, burst: 30, by: {by}}}}}");
        let serin = Serin::start(&limited(origin.address(), &limits, ""));
        let (serin, ask) = (&serin, |client: &mut Client| usize::from(client.get("/").status == 200));
        let served: usize = std::thread::scope(|scope| {
            let run = move || (0..10).map(|_| ask(&mut serin.client())).sum::<usize>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(served, 30, "{by}");
    }
}

#[test]
fn a_redirect_counts_too() {
    let serin = Serin::serving(
        "routes: {all: {filters: [{redirect: {path: /new}}], limits: {rate_limit: {rate: 1/h, burst: 1}}}}\n",
    );
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 302);
    assert_refused(&client.get("/"), 429, ALMOST_AN_HOUR, "too many requests");
}

#[test]
fn tokens_survive_changes_of_everything_else() {
    let origin = Origin::named("app");
    let limits = "{rate_limit: {rate: 1/h, burst: 1}}";
    let serin = Serin::start(&limited(origin.address(), limits, ""));
    assert_eq!(get(serin.address(), "/").status, 200);
    let more = ", filters: [{add_response_header: {x-new: \"yes\"}}]";
    replace(&serin.config(), &limited(origin.address(), "{body: 1MiB, rate_limit: {rate: 1/h, burst: 1}}", more));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    assert_refused(&get(serin.address(), "/"), 429, ALMOST_AN_HOUR, "too many requests");
    replace(&serin.config(), &limited(origin.address(), "{rate_limit: {rate: 1/h, burst: 2}}", ""));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 3.0);
    let statuses = [(); 3].map(|()| get(serin.address(), "/").status);
    assert_eq!(statuses, [200, 200, 429], "another limit begins anew");
    assert_eq!(serin.metric("serin_route_refused_total"), 2.0, "and what was counted stays");
}

#[test]
fn a_route_has_so_many_in_flight() {
    let held = Held::start();
    let rules = |limit| limited(held.origin.address(), &format!("{{in_flight: {limit}}}"), "");
    let serin = Serin::start(&rules(2));
    let (mut first, mut second) = (asking(&serin), asking(&serin));
    held.has(2);
    let mut third = serin.client();
    assert_refused(&third.get("/"), 503, 1..=1, "503 too many requests in flight");
    replace(&serin.config(), &rules(3));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    third.send(request("GET", "/", &[], b""));
    held.has(3);
    assert_refused(&get(serin.address(), "/"), 503, 1..=1, "too many requests in flight");
    held.release(3);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.reply().status, 200);
    }
    held.release(1);
    assert_eq!(get(serin.address(), "/").status, 200);
    assert_eq!(serin.metric_of("serin_route_refused_total", "limit=\"in_flight\""), 2.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "route_full"), 2.0);
}

#[test]
fn each_client_has_so_many_in_flight() {
    let (one, two) = (("127.0.0.1", "one"), ("127.0.0.2", "two"));
    let cases =
        [("client_ip", [one, ("127.0.0.1", "two")], two), ("{header: X-Key}", [one, ("127.0.0.2", "one")], two)];
    for (by, own, other) in cases {
        let held = Held::start();
        let limits = format!("{{in_flight_per_key: {{limit: 2, by: {by}}}}}");
        let serin = Serin::start(&limited(held.origin.address(), &limits, ""));
        let ask = |(address, key): (&str, &str)| {
            let mut client = Client::from(address, serin.address());
            client.send(request("GET", "/", &[("X-Key", key)], b""));
            client
        };
        let mut served: Vec<Client> = own.into_iter().chain([other]).map(ask).collect();
        held.has(3);
        assert_refused(&ask(own[1]).reply(), 429, 1..=1, "429 too many requests in flight from one client");
        served.push(ask(other));
        held.has(4);
        assert_refused(&ask(other).reply(), 429, 1..=1, "from one client");
        held.release(4);
        assert!(served.iter_mut().all(|client| client.reply().status == 200));
        held.release(1);
        assert_eq!(ask(own[0]).reply().status, 200, "{by}: what was answered is no longer in flight");
        assert_eq!(serin.metric_of("serin_route_refused_total", "limit=\"in_flight_per_key\""), 2.0);
        assert_eq!(serin.metric_of("serin_request_errors_total", "client_full"), 2.0);
        assert_eq!(serin.metric("serin_route_uncounted_requests_total"), 0.0);
    }
}

#[test]
fn a_lower_limit_counts_what_each_client_has_in_flight() {
    let held = Held::start();
    let rules = |limit| limited(held.origin.address(), &format!("{{in_flight_per_key: {{limit: {limit}}}}}"), "");
    let serin = Serin::start(&rules(3));
    let mut clients = [asking(&serin), asking(&serin)];
    held.has(2);
    replace(&serin.config(), &rules(2));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    assert_refused(&get(serin.address(), "/"), 429, 1..=1, "from one client");
    held.release(3);
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
    assert_eq!(get(serin.address(), "/").status, 200);
}

#[test]
fn who_leaves_is_no_longer_in_flight() {
    for limits in ["{in_flight: 1}", "{in_flight_per_key: {limit: 1}}"] {
        let held = Held::start();
        let serin = Serin::start(&limited(held.origin.address(), limits, ""));
        let client = asking(&serin);
        held.has(1);
        drop(client);
        serin.wait_until_quiet(PATIENCE);
        held.release(2);
        assert_eq!(get(serin.address(), "/").status, 200, "{limits}");
    }
}

#[test]
fn the_log_says_which_limit_it_was() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let rules = limited(origin.address(), "{rate_limit: {rate: 1/h, burst: 1}}", "");
    let serin = Serin::start(&format!("access_log: {{to: \"{}\"}}\n{rules}", log.display()));
    let statuses = [(); 2].map(|()| get(serin.address(), "/").status);
    assert_eq!(statuses, [200, 429]);
    let words = ["\"status\":429", "\"route\":\"all\"", "\"error\":\"rate_limited\""];
    let is_told = |line: &str| words.iter().all(|word| line.contains(word));
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(PATIENCE, "the line", || read().lines().any(is_told));
}

/// Rules for these endpoints with these limits of the upstream; four workers.
fn with_upstream(endpoints: &[&Origin], limits: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 4\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [{}], limits: {limits}}}}}\n",
        endpoints.join(", "),
    )
}

/// Waits until so many requests are at the upstream and so many wait.
#[track_caller]
fn stand(serin: &Serin, in_flight: usize, waiting: usize) {
    let level = |name| serin.metric(&format!("serin_upstream_requests_{name}")) as usize;
    eventually(PATIENCE, "inside and waiting", || (level("in_flight"), level("waiting")) == (in_flight, waiting));
}

/// Clients whose requests wait in this order, each asking for its place in it.
fn in_line(serin: &Serin, in_flight: usize, targets: &[&str]) -> Vec<Client> {
    let join = |(place, target): (usize, &&str)| {
        let mut client = serin.client();
        client.send(request("GET", target, &[], b""));
        stand(serin, in_flight, place + 1);
        client
    };
    targets.iter().enumerate().map(join).collect()
}

#[test]
fn an_upstream_has_so_many_in_flight() {
    for limits in ["{in_flight: 2}", "{in_flight_per_endpoint: 2}", "{in_flight: 2, in_flight_per_endpoint: 2}"] {
        let held = Held::start();
        let serin = Serin::start(&with_upstream(&[&held.origin], limits));
        let clients = [asking(&serin), asking(&serin)];
        held.has(2);
        let mut third = serin.client();
        let mut refuse = || {
            let began = Instant::now();
            assert_refused(&third.get("/"), 503, 1..=1, "503 upstream is busy");
            began.elapsed()
        };
        // A machine with more to do may be slow; it is not slow every time.
        let quickest = (0..50).map(|_| refuse()).min().expect("there are fifty");
        assert!(quickest < Duration::from_millis(10), "{quickest:?}");
        held.release(3);
        for mut client in clients {
            assert_eq!(client.reply().status, 200);
        }
        stand(&serin, 0, 0);
        assert_eq!(third.get("/").status, 200);
        assert_eq!(serin.metric_of("serin_upstream_refused_total", "reason=\"full\""), 50.0, "{limits}");
        assert_eq!(serin.metric_of("serin_request_errors_total", "upstream_full"), 50.0);
        assert_eq!(held.origin.requests().len(), 3);
    }
}

#[test]
fn who_waits_is_served_first_come_first_served_over_all_workers() {
    for limits in ["in_flight: 1", "in_flight_per_endpoint: 1"] {
        let held = Held::start();
        let limits = format!("{{{limits}, queue: {{length: 6, timeout: 60s}}}}");
        let serin = Serin::start(&with_upstream(&[&held.origin], &limits));
        let mut first = asking(&serin);
        held.has(1);
        let targets = ["/1", "/2", "/3", "/4", "/5", "/6"];
        let clients = in_line(&serin, 1, &targets);
        assert_refused(&get(serin.address(), "/"), 503, 1..=1, "upstream is busy");
        for count in 1..=targets.len() {
            held.release(1);
            held.has(count + 1);
        }
        held.release(1);
        assert_eq!(first.reply().status, 200);
        for mut client in clients {
            assert_eq!(client.reply().status, 200);
        }
        let seen: Vec<String> = held.origin.requests()[1..].iter().map(|request| request.target.clone()).collect();
        assert_eq!(seen, targets, "{limits}");
        assert_eq!(serin.metric("serin_upstream_waits_total"), 6.0);
        stand(&serin, 0, 0);
    }
}

#[test]
fn who_has_waited_for_too_long_is_told_so() {
    let held = Held::start();
    let limits = "{in_flight: 1, queue: {length: 2, timeout: 200ms}}";
    let serin = Serin::start(&with_upstream(&[&held.origin], limits));
    let mut first = asking(&serin);
    held.has(1);
    let began = Instant::now();
    let reply = get(serin.address(), "/");
    assert_refused(&reply, 503, 1..=1, "upstream was busy for too long");
    // The clock that patience is measured with is up to a sweep old.
    assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
    stand(&serin, 1, 0);
    held.release(2);
    assert_eq!(first.reply().status, 200);
    assert_eq!(get(serin.address(), "/").status, 200);
    assert_eq!(serin.metric_of("serin_upstream_refused_total", "reason=\"timeout\""), 1.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "queue_timeout"), 1.0);
}

#[test]
fn who_leaves_the_line_holds_nobody_up() {
    for leaver in 0..3 {
        let held = Held::start();
        let limits = "{in_flight: 1, queue: {length: 3, timeout: 60s}}";
        let serin = Serin::start(&with_upstream(&[&held.origin], limits));
        let mut first = asking(&serin);
        held.has(1);
        let mut clients = in_line(&serin, 1, &["/1", "/2", "/3"]);
        drop(clients.remove(leaver));
        stand(&serin, 1, 2);
        held.release(3);
        assert_eq!(first.reply().status, 200);
        for client in &mut clients {
            assert_eq!(client.reply().status, 200, "{leaver}");
        }
        stand(&serin, 0, 0);
        assert_eq!(held.origin.requests().len(), 3, "{leaver}");
    }
}

#[test]
fn an_endpoint_at_its_limit_leaves_requests_to_others() {
    let (one, two) = (Held::start(), Held::start());
    let limits = "{in_flight_per_endpoint: 2, queue: {length: 1, timeout: 60s}}";
    let serin = Serin::start(&with_upstream(&[&one.origin, &two.origin], limits));
    let clients = [(); 4].map(|()| asking(&serin));
    one.has(2);
    two.has(2);
    let waiting = in_line(&serin, 4, &["/"]);
    let shown = serin.admin_text("/api/v1/upstreams");
    assert!(shown.contains("\"limits\":{\"in_flight\":4,\"limit\":null,\"per_endpoint\":2,\"waiting\":1,"), "{shown}");
    two.release(1);
    two.has(3);
    assert_eq!(one.origin.requests().len(), 2);
    one.release(2);
    two.release(2);
    for mut client in clients.into_iter().chain(waiting) {
        assert_eq!(client.reply().status, 200);
    }
    stand(&serin, 0, 0);
}

#[test]
fn what_waits_comes_whole() {
    let held = Held::start();
    let limits = "{in_flight: 1, queue: {length: 2, timeout: 60s}}";
    let serin = Serin::start(&with_upstream(&[&held.origin], limits));
    let mut first = asking(&serin);
    held.has(1);
    let body = vec![b'x'; 300 << 10];
    let mut sender = serin.client();
    sender.send(request("POST", "/", &[], b"small"));
    stand(&serin, 1, 1);
    let (mut large, bytes) = (serin.client(), request("POST", "/large", &[], &body));
    let sending = std::thread::spawn(move || {
        large.send(bytes);
        large
    });
    stand(&serin, 1, 2);
    held.release(3);
    assert_eq!(first.reply().status, 200);
    assert_eq!(sender.reply().status, 200);
    assert_eq!(sending.join().expect("the body is taken").reply().status, 200);
    let seen = held.origin.requests();
    assert_eq!((&*seen[1].body, &*seen[2].body), (&b"small"[..], &*body));
}

#[test]
fn an_old_client_without_host_may_wait_too() {
    let held = Held::start();
    let limits = "{in_flight: 1, queue: {length: 1, timeout: 60s}}";
    let serin = Serin::start(&with_upstream(&[&held.origin], limits));
    let _first = asking(&serin);
    held.has(1);
    let mut old = serin.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    stand(&serin, 1, 1);
    held.release(2);
    assert_eq!(old.reply().status, 200);
    let address = serin.address().to_string();
    assert_eq!(held.origin.requests()[1].header("host"), Some(&*address));
}

#[test]
fn a_higher_limit_lets_in_who_waits() {
    for limited in ["in_flight", "in_flight_per_endpoint"] {
        let held = Held::start();
        let rules = |limit| format!("{{{limited}: {limit}, queue: {{length: 3, timeout: 60s}}}}");
        let serin = Serin::start(&with_upstream(&[&held.origin], &rules(1)));
        let first = asking(&serin);
        held.has(1);
        let clients = in_line(&serin, 1, &["/1", "/2", "/3"]);
        replace(&serin.config(), &with_upstream(&[&held.origin], &rules(3)));
        held.has(3);
        stand(&serin, 3, 1);
        held.release(4);
        for mut client in std::iter::once(first).chain(clients) {
            assert_eq!(client.reply().status, 200, "{limited}");
        }
        stand(&serin, 0, 0);
    }
}

#[test]
fn without_limits_nobody_waits_any_longer() {
    let held = Held::start();
    let limited = "{in_flight: 1, queue: {length: 3, timeout: 60s}}";
    let serin = Serin::start(&with_upstream(&[&held.origin], limited));
    let first = asking(&serin);
    held.has(1);
    let clients = in_line(&serin, 1, &["/1", "/2"]);
    replace(&serin.config(), &with_upstream(&[&held.origin], "{}"));
    held.has(3);
    held.release(3);
    for mut client in std::iter::once(first).chain(clients) {
        assert_eq!(client.reply().status, 200);
    }
}

#[test]
fn who_waits_goes_to_an_endpoint_that_is_new_and_to_none_that_is_gone() {
    for limits in ["in_flight_per_endpoint: 1", "in_flight: 2, in_flight_per_endpoint: 1"] {
        let (gone, new) = (Held::start(), Held::start());
        let limits = format!("{{{limits}, queue: {{length: 3, timeout: 60s}}}}");
        let serin = Serin::start(&with_upstream(&[&gone.origin], &limits));
        let first = asking(&serin);
        gone.has(1);
        let waiting = in_line(&serin, 1, &["/1", "/2"]);
        replace(&serin.config(), &with_upstream(&[&new.origin], &limits));
        new.has(1);
        gone.release(1);
        new.release(2);
        for mut client in std::iter::once(first).chain(waiting) {
            assert_eq!(client.reply().status, 200);
        }
        assert_eq!([&gone, &new].map(|held| held.origin.requests().len()), [1, 2], "{limits}");
        stand(&serin, 0, 0);
    }
}

#[test]
fn an_endpoint_that_comes_back_takes_who_waits() {
    let (back, busy) = (Held::start(), Held::start());
    let limits = "{in_flight_per_endpoint: 1, queue: {length: 3, timeout: 60s}}";
    let serin = Serin::start(&with_upstream(&[&back.origin, &busy.origin], limits));
    let admin = serin.server().admin().expect("the rules open the admin API");
    order(admin, back.origin.address(), "drain");
    let first = asking(&serin);
    busy.has(1);
    let waiting = in_line(&serin, 1, &["/waits"]);
    order(admin, back.origin.address(), "undrain");
    back.has(1);
    [&back, &busy].into_iter().for_each(|held| held.release(1));
    for mut client in std::iter::once(first).chain(waiting) {
        assert_eq!(client.reply().status, 200);
    }
    stand(&serin, 0, 0);
}

#[test]
fn without_an_endpoint_nobody_waits() {
    let rules = "routes: {all: {upstream: app}}\nupstreams: {app: {endpoints: [{address: \"127.0.0.1:9\", weight: 0}], \
                 limits: {in_flight: 1, in_flight_per_endpoint: 1, queue: {length: 9, timeout: 60s}}}}\n";
    let serin = Serin::serving(rules);
    for _ in 0..3 {
        assert_refused(&get(serin.address(), "/"), 503, 1..=1, "no endpoint available");
    }
    stand(&serin, 0, 0);
}

/// An endpoint that says how many requests it had at once.
fn counting() -> (Origin, Arc<AtomicUsize>) {
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let origin = Origin::start(move |visit| {
        visit.read_body()?;
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        visit.answer(200, &[], b"app")
    });
    (origin, most)
}

#[test]
fn under_load_nobody_is_forgotten_and_no_limit_exceeded() {
    for limits in ["in_flight: 3", "in_flight_per_endpoint: 2", "in_flight: 3, in_flight_per_endpoint: 2"] {
        let ((one, most_of_one), (two, most_of_two)) = (counting(), counting());
        let limits = format!("{{{limits}, queue: {{length: 100, timeout: 60s}}}}");
        let serin = Serin::start(&with_upstream(&[&one, &two], &limits));
        let run = || {
            let mut client = serin.client();
            (0..100).for_each(|_| assert_eq!(client.get("/").status, 200, "{limits}"));
        };
        std::thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(run))));
        stand(&serin, 0, 0);
        let most = [most_of_one, most_of_two].map(|most| most.load(Ordering::SeqCst));
        let allowed = if limits.contains("endpoint") { 2 } else { 3 };
        assert!(most.iter().all(|most| (1..=allowed).contains(most)), "{limits}: {most:?}");
        assert!(serin.metric("serin_upstream_waits_total") > 0.0, "{limits}: this load makes nobody wait");
    }
}

#[test]
fn an_adaptive_limit_follows_what_is_seen_and_is_kept() {
    let held = Held::start();
    let serin = Serin::start(&with_upstream(&[&held.origin], "{in_flight: auto}"));
    let limit = || serin.metric("serin_upstream_in_flight_limit");
    assert_eq!(limit(), 512.0, "nothing is known");
    // Fifty answers are a base; one at a time is little to do.
    let mut client = serin.client();
    for _ in 0..50 {
        held.release(1);
        assert_eq!(client.get("/").status, 200);
    }
    eventually(PATIENCE, "a base", || limit() == 128.0);
    // Nothing is answered now, so the cap stays.
    let clients: Vec<Client> = (0..128).map(|_| asking(&serin)).collect();
    held.has(50 + 128);
    assert_refused(&client.get("/"), 503, 1..=1, "upstream is busy");
    held.release(128);
    for mut client in clients {
        assert_eq!(client.reply().status, 200);
    }
    stand(&serin, 0, 0);
    held.release(1);
    assert_eq!(client.get("/").status, 200);
    // A fixed number is in force at once, and stays.
    replace(&serin.config(), &with_upstream(&[&held.origin], "{in_flight: 7}"));
    eventually(PATIENCE, "the change", || limit() == 7.0);
}

/// No answer ever comes, so there is nothing else to learn from.
#[test]
fn clients_that_give_up_show_an_adaptive_limit_that_it_is_too_slow() {
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/quick" => visit.answer(200, &[], b"app"),
        _ => visit.wait_for_end(),
    });
    let serin = Serin::start(&with_upstream(&[&origin], "{in_flight: auto}"));
    let limit = || serin.metric("serin_upstream_in_flight_limit");
    let mut client = serin.client();
    (0..60).for_each(|_| assert_eq!(client.get("/quick").status, 200));
    eventually(PATIENCE, "what is usual", || limit() == 128.0);
    let waiting = Mutex::new(VecDeque::new());
    eventually(PATIENCE, "a lower limit", || {
        let mut waiting = waiting.lock().expect("no test panics here");
        waiting.push_back([(); 4].map(|()| asking(&serin)));
        // Far more than twice the usual time later, they leave.
        if waiting.len() > 20 {
            waiting.pop_front();
        }
        limit() < 128.0
    });
}
