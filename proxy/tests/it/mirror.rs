//! Copies of requests for another upstream: what is in them, how many there are, and that nobody notices whatever becomes
//! of them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::request;
use crate::support::control::{Program, admin, replace, serin};
use crate::support::witness::{SeenRequest, Witness};
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

/// A route to one endpoint with a mirror to another.
fn rules(app: SocketAddr, next: SocketAddr, mirror: &str, route: &str) -> String {
    format!(
        "routes: {{all: {{upstream: app, mirror: {{upstream: next{mirror}}}{route}}}}}\n\
         upstreams: {{app: {{endpoints: [\"{app}\"]}}, next: {{endpoints: [\"{next}\"]}}}}\n"
    )
}

fn count(serin: &Serin, outcome: &str) -> f64 {
    serin.metric_of("serin_mirrored_requests_total", &format!("route=\"all\",outcome=\"{outcome}\""))
}

#[track_caller]
fn wait_for(serin: &Serin, outcome: &str, wanted: usize) {
    eventually(PATIENCE, outcome, || count(serin, outcome) == wanted as f64);
}

fn all_copies(serin: &Serin) -> f64 {
    serin.metric("serin_mirrored_requests_total")
}

/// An address that nobody listens at.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    listener.local_addr().expect("it is bound")
}

/// An endpoint that reads a request and never answers.
fn stalled() -> Origin {
    Origin::start(|visit| {
        visit.read_body()?;
        visit.wait_for_end()
    })
}

/// A body in chunks, with a trailer.
fn chunked(target: &str, chunks: &[&str]) -> String {
    let head = format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("{head}{chunks}0\r\nx-sum: 7\r\nx-other: 1\r\n\r\n")
}

/// Requests as they can be compared: a copy goes its own way, and may overtake another one.
fn comparable(mut requests: Vec<SeenRequest>) -> Vec<SeenRequest> {
    for request in &mut requests {
        request.connection = 0;
        request.headers.sort();
    }
    requests.sort_by(|one, other| one.target.cmp(&other.target));
    requests
}

/// What a mirror must get of these.
fn copies_of(mut requests: Vec<SeenRequest>) -> Vec<SeenRequest> {
    requests.iter_mut().for_each(|request| request.headers.push(("x-serin-mirror".into(), "true".into())));
    comparable(requests)
}

#[test]
fn a_copy_is_the_request_and_says_what_it_is() {
    let (app, next) = (Witness::start(), Witness::start());
    let route = ", filters: [{replace_prefix: {from: /old, to: /new}}, {set_request_header: {x-set: \"1\"}}]";
    let serin = Serin::serving(&rules(app.address(), next.address(), "", route));
    let mut client = serin.client();
    let fields = [("X-Serin-Mirror", "false"), ("Cookie", "a=1"), ("Connection", "x-hop"), ("x-hop", "1")];
    assert_eq!(client.request("GET", "/old/a%7e?q=1", &fields, b"").status, 200);
    assert_eq!(client.request("HEAD", "/old", &[], b"").status, 200);
    assert_eq!(client.request("POST", "/post", &[("Expect", "100-continue")], b"hello").status, 200);
    assert_eq!(client.request("PUT", "/empty", &[("Content-Length", "0")], b"").status, 200);
    let odd = chunked("/chunks", &["a", "bc", "def"]);
    for part in odd.as_bytes().chunks(7) {
        client.send(part);
    }
    assert_eq!(client.reply().status, 200);
    client.send(chunked("/no-chunk", &[]));
    assert_eq!(client.reply().status, 200);
    assert!(next.wait_for_requests(6, PATIENCE), "{:?}", next.requests());
    // A body that is empty is sent as none at all, if that is known in time.
    let but_empty = |mut requests: Vec<SeenRequest>| {
        requests.retain(|request| request.target != "/no-chunk");
        requests
    };
    let expected = copies_of(but_empty(app.requests()));
    assert_eq!(comparable(but_empty(next.requests())), expected);
    assert_eq!(
        expected.iter().find(|request| request.target == "/chunks").map(|seen| &*seen.body),
        Some(&b"abcdef"[..])
    );
    assert!(expected.iter().any(|request| request.target == "/new/a~?q=1"), "{expected:?}");
    assert_eq!((app.violations(), next.violations()), (vec![], vec![]));
    wait_for(&serin, "answered", 6);
    assert_eq!(all_copies(&serin), 6.0);
}

#[test]
fn trailers_that_may_pass_are_copied() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    let serin = Serin::serving(&rules(app.address(), next.address(), "", ", trailers: [x-sum]"));
    let mut client = serin.client();
    client.send(chunked("/chunks", &["a", "bc"]));
    assert_eq!(client.reply().text(), "app");
    wait_for(&serin, "answered", 1);
    let copy = next.request();
    assert_eq!((&*copy.body, &*copy.trailers), (&b"abc"[..], &[("x-sum".to_owned(), "7".to_owned())][..]));
    assert_eq!(comparable(next.requests()), copies_of(app.requests()));
}

/// The bounds are five standard deviations away.
#[test]
fn as_many_are_copied_as_the_percent_says() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    for (percent, least, most) in [("0", 0, 0), ("50", 888, 1_112), ("99.99", 1_980, 2_000), ("100", 2_000, 2_000)] {
        let mirror = format!(", percent: {percent}");
        let serin = Serin::serving(&rules(app.address(), next.address(), &mirror, ""));
        let mut client = serin.client();
        (0..2_000).for_each(|_| assert_eq!(client.get("/").text(), "app"));
        serin.wait_until_quiet(PATIENCE);
        let what = format!("{least} to {most} of 2000 at {percent} %");
        eventually(PATIENCE, &what, || (least..=most).contains(&(all_copies(&serin) as usize)));
    }
}

#[test]
fn who_is_copied_has_nothing_to_do_with_groups() {
    let (old, new, next) = (Origin::named("old"), Origin::named("new"), Origin::named("next"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: r, mirror: {{upstream: next, percent: 50}}}}}}\n\
         releases: {{r: {{stable: old, canary: new, audience: [{{name: all, percent: 50}}], sticky: {{key: [{{header: x-user}}]}}}}}}\n\
         upstreams: {{old: {{endpoints: [\"{}\"]}}, new: {{endpoints: [\"{}\"]}}, next: {{endpoints: [\"{}\"]}}}}\n",
        old.address(),
        new.address(),
        next.address()
    ));
    let mut client = serin.client();
    for user in 0..2_000 {
        assert_eq!(client.request("GET", "/", &[("x-user", &user.to_string())], b"").status, 200);
    }
    serin.wait_until_quiet(PATIENCE);
    let copies = next.requests();
    for (origin, group) in [(&old, "stable"), (&new, "canary")] {
        let all = origin.requests().len() as f64;
        let copied = copies.iter().filter(|copy| copy.header("x-serin-group") == Some(group)).count() as f64;
        let bound = 5.0 * (all / 4.0).sqrt();
        assert!((copied - all / 2.0).abs() < bound, "{copied} of {all} in {group}");
    }
}

#[test]
fn bodies_have_a_limit_and_clients_do_not_notice() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    let serin = Serin::serving(&rules(app.address(), next.address(), ", max_body: 10B", ""));
    let mut client = serin.client();
    assert_eq!(client.request("POST", "/", &[], b"0123456789").text(), "app");
    client.send(chunked("/", &["01234", "56789"]));
    assert_eq!(client.reply().text(), "app");
    wait_for(&serin, "answered", 2);
    assert_eq!(client.request("POST", "/", &[], b"0123456789a").text(), "app");
    client.send(chunked("/", &["01234", "56789", "a"]));
    assert_eq!(client.reply().text(), "app");
    wait_for(&serin, "too_large", 2);
    assert_eq!(all_copies(&serin), 4.0);
    let bodies = |origin: &Origin| origin.requests().iter().map(|request| request.body.len()).collect::<Vec<_>>();
    assert_eq!((bodies(&app), bodies(&next)), (vec![10, 10, 11, 11], vec![10, 10]));
}

#[test]
fn what_does_not_come_whole_is_not_copied() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
    let mut slow = serin.client();
    slow.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab");
    let mut gone = serin.client();
    gone.send("POST /gone HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab");
    app.wait_until("two requests", |log| log.requests.len() == 2);
    gone.reset();
    wait_for(&serin, "incomplete", 1);
    assert_eq!(next.log().accepted, 0, "nothing is sent before all of it is here");
    slow.send("cd");
    assert_eq!(slow.reply().text(), "app");
    wait_for(&serin, "answered", 1);
    let request = next.request();
    assert_eq!((&*request.target, &*request.body), ("/slow", &b"abcd"[..]));
    assert_eq!(all_copies(&serin), 2.0);
}

/// Requests written are requests accepted, and copies of those that came whole.
#[test]
fn hostile_bytes_reach_a_mirror_no_more_than_an_endpoint() {
    let (app, next) = (Witness::start(), Witness::start());
    let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
    let chunked =
        |target: &str| format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let refused = [
        "GET /two-hosts HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n".to_owned(),
        "POST /lengths HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nabcd".to_owned(),
        format!("{}3\r\nabc\r\nZZ\r\n", chunked("/chunk")),
    ];
    for bytes in refused {
        let mut client = serin.client();
        client.send(bytes);
        assert_eq!(client.reply().status, 400);
    }
    let mut late = serin.client();
    late.send(format!("{}3\r\nabc\r\n", chunked("/late")));
    eventually(PATIENCE, "half a request", || !app.raw_bytes().is_empty());
    late.send("ZZ\r\n");
    late.rest();
    let mut client = serin.client();
    client.send(
        "GET /one HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /two HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab",
    );
    assert_eq!([client.reply().status, client.reply().status], [200, 200]);
    assert!(next.wait_for_requests(2, PATIENCE) && app.wait_for_requests(2, PATIENCE));
    let whole = app.requests().into_iter().filter(|request| request.complete).collect();
    assert_eq!(comparable(next.requests()), copies_of(whole));
    assert_eq!((app.violations(), next.violations()), (vec![], vec![]));
    // Half of a request went to the endpoint; the chunk that was refused at once did not, and neither was copied.
    wait_for(&serin, "answered", 2);
    wait_for(&serin, "incomplete", 2);
}

/// An endpoint that answers as many requests as it is told to.
fn held() -> (Origin, Sender<()>) {
    let (release, told) = channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |visit| {
        visit.read_body()?;
        let _ = told.lock().expect("no test panics here").recv();
        visit.answer(200, &[], b"app")
    });
    (origin, release)
}

/// The same rules with one request in flight and a queue.
fn queueing(app: SocketAddr, next: SocketAddr, patience: &str) -> String {
    format!(
        "routes: {{all: {{upstream: app, mirror: {{upstream: next}}, trailers: [x-sum]}}}}\n\
         upstreams: {{next: {{endpoints: [\"{next}\"]}}, app: {{endpoints: [\"{app}\"], \
         limits: {{in_flight: 1, queue: {{length: 5, timeout: {patience}}}}}}}}}\n"
    )
}

/// A client whose request is at the endpoint and has been copied.
fn first_of(serin: &Serin, app: &Origin) -> Client {
    let mut client = serin.client();
    client.send(request("GET", "/first", &[], b""));
    app.wait_until("the first request", |log| log.requests.len() == 1);
    wait_for(serin, "answered", 1);
    client
}

#[test]
fn who_is_refused_in_the_queue_is_not_copied() {
    let ((app, release), next) = (held(), Origin::named("next"));
    let serin = Serin::serving(&queueing(app.address(), next.address(), "200ms"));
    let mut first = first_of(&serin, &app);
    assert_eq!(serin.client().request("GET", "/late", &[], b"").status, 503);
    assert_eq!(serin.client().request("POST", "/late", &[], b"small").status, 503);
    (0..2).for_each(|_| release.send(()).expect("the endpoint is there"));
    assert_eq!(first.reply().status, 200);
    assert_eq!(first.get("/after").status, 200);
    wait_for(&serin, "answered", 2);
    let targets: Vec<String> = next.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/first", "/after"]);
    assert_eq!(serin.metric_of("serin_request_errors_total", "queue_timeout"), 2.0);
    assert_eq!(all_copies(&serin), 2.0);
}

#[test]
fn who_has_waited_is_copied_whole() {
    let ((app, release), next) = (held(), Origin::named("next"));
    let serin = Serin::serving(&queueing(app.address(), next.address(), "60s"));
    let waiting = |count: usize| {
        eventually(PATIENCE, "waiting", || serin.metric("serin_upstream_requests_waiting") == count as f64);
    };
    let first = first_of(&serin, &app);
    let mut clients = vec![first];
    let requests = [
        request("GET", "/get", &[], b""),
        request("POST", "/small", &[], b"small"),
        // More than is looked at while it waits.
        request("POST", "/longer", &[], &[b'x'; 40 << 10]),
        chunked("/chunks", &["a", "bc"]).into_bytes(),
    ];
    for bytes in requests {
        let mut client = serin.client();
        client.send(bytes);
        waiting(clients.len());
        clients.push(client);
    }
    let mut gone = serin.client();
    gone.send(request("POST", "/gone", &[], b"small"));
    waiting(5);
    drop(gone);
    waiting(4);
    assert_eq!(next.requests().len(), 1, "nobody is copied before it is his turn");
    clients.iter().for_each(|_| release.send(()).expect("the endpoint is there"));
    clients.iter_mut().for_each(|client| assert_eq!(client.reply().status, 200));
    wait_for(&serin, "answered", 5);
    let expected = copies_of(app.requests());
    assert_eq!(comparable(next.requests()), expected);
    let lengths: Vec<_> = expected.iter().map(|request| (&*request.target, request.body.len())).collect();
    assert_eq!(lengths, [("/chunks", 3), ("/first", 0), ("/get", 0), ("/longer", 40 << 10), ("/small", 5)]);
    assert_eq!(all_copies(&serin), 5.0);
}

#[test]
fn upgrades_are_not_copied() {
    let app = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        visit.wait_for_end()
    });
    let next = Origin::named("next");
    let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
    let mut client = serin.client();
    assert_eq!(client.request("GET", "/", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], b"").status, 101);
    drop(client);
    serin.wait_until_quiet(PATIENCE);
    assert_eq!((all_copies(&serin), next.log().accepted), (0.0, 0));
}

/// Sends requests one after the other; none may take long, or another answer.
fn ask(serin: &Serin, requests: usize) {
    let mut client = serin.client();
    for _ in 0..requests {
        let began = Instant::now();
        assert_eq!(client.request("POST", "/", &[], b"12345").text(), "app");
        assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    }
}

/// Far less than anything that waits for a mirror would take, and enough for a machine with more to do.
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn mirrors_that_fail_are_nobodys_problem() {
    let app = Origin::named("app");
    let next = [
        Origin::start(|visit| {
            socket2::SockRef::from(visit.stream()).set_linger(Some(Duration::ZERO))?;
            Ok(Then::Close)
        }),
        Origin::start(|_| Ok(Then::Close)),
        Origin::start(|visit| {
            visit.write("no HTTP\r\n\r\n")?;
            visit.wait_for_end()
        }),
        Origin::start(|visit| {
            visit.read_body()?;
            visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            visit.wait_for_end()
        }),
        Origin::start(|visit| {
            visit.read_body()?;
            visit.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")?;
            visit.wait_for_end()
        }),
        Origin::start(|visit| {
            visit.read_body()?;
            visit.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")?;
            Ok(Then::Close)
        }),
    ];
    for address in next.iter().map(Origin::address).chain([nobody()]) {
        let serin = Serin::serving(&format!(
            "routes: {{all: {{upstream: app, mirror: {{upstream: next}}}}}}\n\
             upstreams: {{app: {{endpoints: [\"{}\"]}}, next: {{endpoints: [\"{address}\"], breaker: false}}}}\n",
            app.address()
        ));
        ask(&serin, 50);
        wait_for(&serin, "failed", 50);
        assert_eq!(all_copies(&serin), 50.0);
        let errors =
            |upstream: &str| serin.metric_of("serin_endpoint_errors_total", &format!("upstream=\"{upstream}\""));
        assert_eq!((errors("app"), errors("next")), (0.0, 50.0), "what a copy meets counts where it was");
        assert_eq!(
            (serin.metric("serin_endpoint_retries_total"), serin.metric("serin_request_errors_total")),
            (0.0, 0.0)
        );
        assert_eq!(serin.metric_of("serin_requests_total", "2xx"), 50.0);
    }
}

#[test]
fn a_kept_connection_that_was_closed_is_nobodys_fault() {
    let app = Origin::named("app");
    for (method, errors) in [("GET", 0.0), ("POST", 5.0)] {
        let next = Origin::start(|visit| match visit.place {
            0 => visit.answer(200, &[], b"next"),
            _ => Ok(Then::Close),
        });
        let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
        let mut client = serin.client();
        for round in 1..=5 {
            for outcome in ["answered", "failed"] {
                assert_eq!(client.request(method, "/", &[], b"").text(), "app");
                wait_for(&serin, outcome, round);
            }
        }
        assert_eq!(serin.metric_of("serin_endpoint_errors_total", "upstream=\"next\""), errors, "{method}");
        assert_eq!(next.requests().len(), 10, "nothing is tried again");
    }
}

#[test]
fn a_mirror_that_stalls_has_so_many_copies_and_no_more() {
    let (app, next) = (Origin::named("app"), stalled());
    let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
    ask(&serin, 300);
    wait_for(&serin, "too_many", 300 - 256);
    let in_flight = || serin.metric_of("serin_endpoint_requests_in_flight", "upstream=\"next\"");
    eventually(PATIENCE, "the others are under way", || in_flight() == 256.0);
    next.wait_until("connections", |log| log.open == 256);
    drop(next);
    wait_for(&serin, "failed", 256);
    assert_eq!(in_flight(), 0.0);
    ask(&serin, 1);
    wait_for(&serin, "failed", 257);
}

#[test]
fn a_copy_has_the_time_of_its_route() {
    let route = ", timeouts: {request: 300ms}";
    let (app, next) = (Origin::named("app"), stalled());
    let serin = Serin::serving(&rules(app.address(), next.address(), "", route));
    ask(&serin, 10);
    wait_for(&serin, "timed_out", 10);
    next.wait_until("closed", |log| log.accepted == 10 && log.open == 0);
    // An answer that does not end has been given all the same.
    let next = Origin::start(|visit| {
        visit.read_body()?;
        visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")?;
        visit.wait_for_end()
    });
    let serin = Serin::serving(&rules(app.address(), next.address(), "", route));
    ask(&serin, 10);
    wait_for(&serin, "answered", 10);
    next.wait_until("closed", |log| log.open == 0);
    assert_eq!(serin.metric_of("serin_endpoint_errors_total", "upstream=\"next\""), 0.0);
}

#[test]
fn answers_are_read_for_the_sake_of_their_connection() {
    let app = Origin::named("app");
    for (length, connections) in [(0, 1), (5, 1), (1 << 20, 1), ((1 << 20) + 1, 20)] {
        let next = Origin::start(move |visit| {
            visit.read_body()?;
            visit.answer(503, &[], &vec![b'x'; length])
        });
        let serin = Serin::serving(&rules(app.address(), next.address(), "", ""));
        for copies in 1..=20 {
            ask(&serin, 1);
            wait_for(&serin, "answered", copies);
        }
        assert_eq!(next.log().accepted, connections, "{length}");
        assert_eq!(serin.metric_of("serin_endpoint_requests_total", "upstream=\"next\""), 20.0);
        assert_eq!(serin.metric_of("serin_requests_total", "5xx"), 0.0);
    }
}

#[test]
fn a_copy_goes_to_its_upstream_and_no_other() {
    let app = Origin::named("app");
    let address = app.address();
    let next = [
        "{}".to_owned(),
        format!("{{endpoints: [{{address: \"{address}\", weight: 0}}]}}"),
        format!(
            "{{endpoints: [\"{}\"], breaker: false, group_breaker: {{condition: \"NetworkErrorRatio() > 0.5\", fallback: app}}}}",
            nobody()
        ),
    ];
    for next in next {
        let serin = Serin::serving(&format!(
            "routes: {{all: {{upstream: app, mirror: {{upstream: next}}}}}}\n\
             upstreams: {{app: {{endpoints: [\"{address}\"]}}, next: {next}}}\n"
        ));
        let before = app.requests().len();
        eventually(PATIENCE, "a copy that is not sent", || {
            ask(&serin, 1);
            count(&serin, "no_endpoint") > 0.0
        });
        serin.wait_until_quiet(PATIENCE);
        let asked = serin.metric("serin_requests_total") as usize;
        assert_eq!(app.requests().len() - before, asked, "{next}");
    }
}

#[test]
fn who_serves_a_request_gets_no_copy() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: old, release: r, mirror: {{upstream: new}}}}}}\n\
         releases: {{r: {{stable: old, canary: new, audience: [{{name: all, percent: 0}}], override: {{header: x-group}}}}}}\n\
         upstreams: {{old: {{endpoints: [\"{}\"]}}, new: {{endpoints: [\"{}\"]}}}}\n",
        old.address(),
        new.address()
    ));
    let mut client = serin.client();
    assert_eq!(client.request("GET", "/canary", &[("x-group", "canary")], b"").text(), "new");
    assert_eq!(client.request("GET", "/stable", &[], b"").text(), "old");
    wait_for(&serin, "answered", 1);
    let targets: Vec<String> = new.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/canary", "/stable"]);
    assert_eq!(all_copies(&serin), 1.0);
}

#[test]
fn copies_are_hashed_like_requests() {
    let (app, one, two) = (Origin::named("app"), Origin::named("one"), Origin::named("two"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app, mirror: {{upstream: next}}}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}, next: {{endpoints: [\"{}\", \"{}\"], balance: {{consistent_hash: {{by: {{header: x-user}}, bound: 10}}}}}}}}\n",
        app.address(),
        one.address(),
        two.address()
    ));
    let mut client = serin.client();
    for round in 0..60 {
        assert_eq!(client.request("GET", "/", &[("x-user", &(round % 20).to_string())], b"").text(), "app");
        wait_for(&serin, "answered", round + 1);
    }
    let users = |origin: &Origin| {
        let mut users: Vec<String> =
            origin.requests().iter().filter_map(|copy| copy.header("x-user").map(str::to_owned)).collect();
        users.sort();
        users.dedup();
        users.len()
    };
    assert_eq!(users(&one) + users(&two), 20);
    assert!(users(&one) > 0 && users(&two) > 0);
}

#[test]
fn a_mirror_that_is_taken_out_gets_nothing_more() {
    let (app, next) = (Origin::named("app"), stalled());
    let with = rules(app.address(), next.address(), "", "");
    let without =
        format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n", app.address());
    let common = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";
    let serin = Serin::serving(&with);
    let mut slow = serin.client();
    slow.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab");
    app.wait_until("the request", |log| log.requests.len() == 1);
    ask(&serin, 3);
    next.wait_until("copies", |log| log.requests.len() == 3);
    replace(&serin.config(), &format!("{common}{without}"));
    eventually(PATIENCE, "the change", || serin.metric("serin_rules_generation") == 2.0);
    slow.send("cd");
    assert_eq!(slow.reply().text(), "app");
    wait_for(&serin, "no_endpoint", 1);
    ask(&serin, 3);
    assert_eq!(next.requests().len(), 3);
    drop(next);
    wait_for(&serin, "failed", 3);
}

#[test]
fn an_end_does_not_wait_for_copies() {
    let (app, next) = (Origin::named("app"), stalled());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         shutdown: {{deadline: 60s}}\n{}",
        rules(app.address(), next.address(), "", "")
    );
    std::fs::write(&path, text).expect("room");
    let mut program = Program::start(&path);
    let mut client = Client::connect(program.address("web"));
    (0..10).for_each(|_| assert_eq!(client.get("/").text(), "app"));
    next.wait_until("copies", |log| log.requests.len() == 10);
    client.send(request("POST", "/", &[("Content-Length", "1")], b""));
    app.wait_until("the last request", |log| log.requests.len() == 11);
    program.signal("TERM");
    eventually(PATIENCE, "draining", || program.admin("/readyz").status == 503);
    client.send("x");
    assert_eq!(client.reply().text(), "app");
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    next.wait_until("closed", |log| log.open == 0);
}

#[test]
fn mirrors_are_shown() {
    let app = Origin::named("app");
    let serin = Serin::serving(&rules(app.address(), nobody(), ", percent: 12.5", ""));
    let address = serin.server().admin().expect("the rules open the admin API");
    let routes: Value = serde_json::from_str(admin(address, "/api/v1/routes").text()).expect("JSON");
    let expected: Value = serde_json::json!({"upstream": "next", "percent": "12.5"});
    let mirror = |value: &Value| value.pointer("/0/mirror").or(value.pointer("/routes/0/mirror")).cloned();
    assert_eq!(mirror(&routes), Some(expected), "{routes}");
}

#[test]
fn diff_tells_of_a_mirror_and_that_nobody_moves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, mirror: &str| {
        let path = folder.path().join(name);
        let text = format!(
            "routes: {{all: {{upstream: app{mirror}}}}}\n\
             upstreams: {{app: {{endpoints: [\"127.0.0.1:1\"]}}, next: {{endpoints: [\"127.0.0.1:2\"]}}}}\n"
        );
        std::fs::write(&path, text).expect("room");
        path.display().to_string()
    };
    let (none, ten) = (write("none.yaml", ""), write("ten.yaml", ", mirror: {upstream: next, percent: 10}"));
    let twenty = write("twenty.yaml", ", mirror: {upstream: next, percent: 20}");
    let diff = |old: &str, new: &str| {
        let output = serin(&["diff", old, new]);
        String::from_utf8(output.stdout).expect("text")
    };
    let added = diff(&none, &ten);
    assert!(added.contains("mirror.upstream") && added.contains("mirror.percent"), "{added}");
    let changed = diff(&ten, &twenty);
    assert!(changed.contains("mirror.percent: 10 -> 20"), "{changed}");
    for told in [added, changed] {
        assert!(!told.contains("Requests move."), "{told}");
    }
}
