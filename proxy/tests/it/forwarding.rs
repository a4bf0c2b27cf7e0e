//! One request to one endpoint and back: what is passed on, what ends at the proxy, what it adds, what it answers by
//! itself, and how requests are divided.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::witness::SeenRequest;
use crate::support::{Client, Origin, Reply, Serin, Then, get};

fn echo() -> Origin {
    Origin::start(|visit| {
        visit.read_body()?;
        let body = format!("{} {} {}", visit.request.method, visit.request.target, visit.request.body.len());
        visit.answer(200, &[("x-from", "endpoint")], body.as_bytes())
    })
}

/// One request through a proxy: what the endpoint saw, and the answer.
fn pass(route: &str, settings: &str, fields: &[(&str, &str)]) -> (SeenRequest, Reply) {
    let origin = echo();
    let rules = format!(
        "{settings}\nroutes: {{all: {{upstream: app{route}}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    let serin = Serin::serving(&rules);
    let reply = serin.client().request("GET", "/", fields, b"");
    (origin.request(), reply)
}

const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]";

#[test]
fn requests_and_answers_pass() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for method in ["GET", "DELETE", "OPTIONS", "PATCH", "QUERY"] {
        let reply = client.request(method, "/a/b?c=d&e", &[], b"");
        assert_eq!((reply.status, reply.text()), (200, format!("{method} /a/b?c=d&e 0").as_str()));
        assert_eq!(reply.header("x-from"), Some("endpoint"));
    }
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let reply = client.request(method, "/", &[], &[b'x'; 5_000]);
        assert_eq!((reply.status, reply.text()), (200, format!("{method} / 5000").as_str()));
    }
    client.send("POST /chunked HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.reply().text(), "POST /chunked 3");
    let log = origin.log();
    assert_eq!((log.requests.len(), log.accepted), (10, 1), "one connection serves all");
}

#[test]
fn http_1_0_clients_are_served_in_their_version() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send("GET /old HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    assert!(text.ends_with("\r\n\r\nabcdef"), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    assert_eq!(origin.request().header("host"), Some("a.test"));
}

#[test]
fn http_1_0_clients_may_keep_the_connection() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..2 {
        client.send("GET /old HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        let reply = client.reply();
        assert_eq!(reply.text(), "GET /old 0");
        assert_eq!(reply.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
    }
}

#[test]
fn http_1_0_without_host_gets_a_host() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    assert!(origin.request().header("host").is_some());
}

#[test]
fn http_1_0_endpoints_are_understood() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.write("HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\nuntil the end")?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..2 {
        let reply = client.get("/");
        assert_eq!((reply.status, reply.text()), (200, "until the end"));
    }
    assert_eq!(origin.log().accepted, 2, "such a connection is not kept");
}

#[test]
fn answers_without_a_body_keep_their_framing() {
    let origin = Origin::start(|visit| {
        visit.write(match visit.request.target.as_str() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: \"a\"\r\n\r\n",
            "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        })?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    let reply = client.request("HEAD", "/head", &[], b"");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("12345")));
    assert_eq!(reply.header("etag"), Some("\"a\""));
    let reply = client.request("HEAD", "/head-chunked", &[], b"");
    assert_eq!((reply.status, reply.header("content-length")), (200, None));
    assert_eq!(client.get("/204").status, 204);
    let reply = client.get("/304");
    assert_eq!((reply.status, reply.header("etag")), (304, Some("\"a\"")));
    let reply = client.get("/empty");
    assert_eq!((reply.status, reply.header("content-length"), reply.body.len()), (200, Some("0"), 0));
    assert_eq!(origin.log().accepted, 1, "nothing was left on the connection");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = [visit.request.target.as_bytes(), b" ", &visit.request.body].concat();
        visit.answer(200, &[], &body)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    let mut bytes = Vec::new();
    for number in 0..100 {
        let body = format!("body {number}");
        let method = if number % 3 == 0 { "POST" } else { "GET" };
        let body = if method == "POST" { body.as_bytes() } else { b"" };
        bytes.extend(request(method, &format!("/{number}"), &[], body));
    }
    client.send(bytes);
    for number in 0..100 {
        let reply = client.reply();
        assert!(reply.text().starts_with(&format!("/{number} ")), "{number}: {}", reply.text());
    }
    assert_eq!(origin.requests().len(), 100);
}

#[test]
fn hop_by_hop_fields_end_here_in_both_directions() {
    let origin = Origin::start(|visit| {
        visit.answer(
            200,
            &[
                ("Connection", "x-hop, keep-alive"),
                ("x-hop", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authenticate", "Basic"),
                ("Upgrade", "h2c"),
                ("x-end", "1"),
            ],
            b"ok",
        )
    });
    let serin = Serin::in_front_of(&origin, "");
    let reply = serin.client().request(
        "GET",
        "/",
        &[
            ("Connection", "X-Private, keep-alive"),
            ("connection", "te, Authorization"),
            ("x-private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("Authorization", "Bearer t"),
            ("x-public", "1"),
        ],
        b"",
    );
    let seen = origin.request();
    for gone in ["x-private", "keep-alive", "te", "proxy-connection", "proxy-authorization", "connection"] {
        assert_eq!(seen.header_lines(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!((seen.header("authorization"), seen.header("x-public")), (Some("Bearer t"), Some("1")));
    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(reply.header_lines(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!((reply.header("x-end"), reply.text()), (Some("1"), "ok"));
}

#[test]
fn strangers_claims_are_replaced() {
    let fields = [
        ("Host", "shop.test:8080"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("x-forwarded-for", "5.6.7.8"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Real-IP", "1.2.3.4"),
        ("X_Forwarded_For", "1.2.3.4"),
        ("X-Serin-Group", "canary"),
        ("X-Serin-Release", "mine"),
        ("X-Request-Id", "mine"),
    ];
    let (seen, _) = pass("", "", &fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test:8080"));
    assert!(seen.header("x-forwarded-port").is_some_and(|port| port != "443" && port.parse::<u16>().is_ok()));
    assert_eq!(seen.header("host"), Some("shop.test:8080"));
    for gone in ["forwarded", "x-real-ip", "x_forwarded_for", "x-serin-group", "x-serin-release"] {
        assert_eq!(seen.header_lines(gone), Vec::<&str>::new(), "{gone}");
    }
    let id = seen.header("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn trusted_proxies_are_believed_and_appended_to() {
    let fields = [
        ("X-Forwarded-For", "203.0.113.7, 10.0.0.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outside.test"),
        ("X-Forwarded-Port", "443"),
        ("X-Request-Id", "given-1"),
    ];
    let (seen, _) = pass("", TRUSTED, &fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 10.0.0.9, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("outside.test"));
    assert_eq!(seen.header("x-forwarded-port"), Some("443"));
    assert_eq!(seen.header("x-request-id"), Some("given-1"));
}

#[test]
fn unusable_claims_of_trusted_proxies_are_replaced() {
    let fields = [
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Port", "many"),
        ("X-Request-Id", "has space"),
    ];
    let (seen, _) = pass("", TRUSTED, &fields);
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("a.test"));
    assert!(seen.header("x-forwarded-port").unwrap().parse::<u16>().is_ok());
    assert_eq!(seen.header("x-request-id").unwrap().len(), 32);
}

/// An endpoint that took the second line for the truth would disagree with one that took the first.
#[test]
fn a_claim_of_a_trusted_proxy_is_passed_on_once() {
    let fields = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "a.test"),
        ("X-Forwarded-Host", "b.test"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Port", "80"),
        ("X-Request-Id", "one"),
        ("X-Request-Id", "two"),
    ];
    let (seen, _) = pass("", TRUSTED, &fields);
    for name in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id"] {
        assert_eq!(seen.header_lines(name).len(), 1, "{name}: {:?}", seen.header_lines(name));
    }
}

#[test]
fn the_client_is_the_right_most_hop_that_is_not_trusted() {
    let origin = echo();
    let serin = Serin::serving(&format!(
        "{TRUSTED}\nroutes:\n  them: {{client_ip: [203.0.113.7, \"2001:db8::7\"], upstream: app}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
    let mut client = serin.client();
    let cases: &[(&[&str], bool)] = &[
        (&["203.0.113.7"], true),
        (&["203.0.113.7, 10.0.0.9, 10.1.1.1"], true),
        (&["9.9.9.9, 203.0.113.7"], true),
        (&["203.0.113.7, 9.9.9.9"], false),
        (&["203.0.113.7", "10.0.0.9"], true),
        (&["9.9.9.9", "203.0.113.7"], true),
        (&["203.0.113.7", "9.9.9.9"], false),
        (&["203.0.113.7:4711"], true),
        (&["2001:db8::7"], true),
        (&["[2001:db8::7]"], true),
        (&["[2001:db8::7]:4711"], true),
        (&["::ffff:203.0.113.7"], true),
        (&["203.0.113.7, unknown"], false),
        (&["garbage, 203.0.113.7"], true),
        (&["203.0.113.7,, 10.0.0.9"], false),
        (&[" 203.0.113.7 ,10.0.0.9 "], true),
        (&["203.0.113.7."], false),
        (&[""], false),
        (&[], false),
    ];
    for (chain, found) in cases {
        let fields: Vec<(&str, &str)> = chain.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        let status = client.request("GET", "/", &fields, b"").status;
        assert_eq!(status, if *found { 200 } else { 404 }, "{chain:?}");
    }
}

#[test]
fn cookies_arrive_in_one_line() {
    let (seen, _) = pass("", "", &[("Cookie", "a=1; b=\"2\"")]);
    assert_eq!(seen.header("cookie"), Some("a=1; b=\"2\""));
    let (seen, _) = pass("", "", &[("Cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2; c=3")]);
    assert_eq!(seen.header("cookie"), Some("a=1; b=2; c=3"));
}

#[test]
fn absolute_targets_name_the_host() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "hosts: [named.test]");
    let mut client = serin.client();
    client.send("GET http://named.test/x?y HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.reply().text(), "GET /x?y 0");
    assert_eq!(origin.request().header("host"), Some("named.test"));
    assert_eq!(origin.request().header("x-forwarded-host"), Some("named.test"));
}

#[test]
fn paths_are_matched_and_sent_in_one_form() {
    let origin = echo();
    let serin = Serin::in_front_of(&origin, "paths: [{prefix: /public}]");
    let mut client = serin.client();
    assert_eq!(client.get("/x/../public/%7Eme//a?q=%2e").text(), "GET /public/~me/a?q=%2e 0");
    assert_eq!(client.get("/public/../secret").status, 404);
    assert_eq!(client.get("/public/a%2fb").status, 400);
}

#[test]
fn errors_are_short_and_name_the_request() {
    let serin = Serin::serving("trusted_proxies: [127.0.0.1]");
    let mut client = serin.client();
    let reply = client.request("GET", "/none", &[("X-Request-Id", "report-7")], b"");
    assert_eq!((reply.status, reply.text()), (404, "404 no route\nrequest id: report-7\n"));
    assert_eq!(reply.header("x-request-id"), Some("report-7"));
    assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
    let reply = client.get("/none");
    let id = reply.header("x-request-id").unwrap();
    assert_eq!(reply.text(), format!("404 no route\nrequest id: {id}\n"));
    let reply = client.request("HEAD", "/none", &[], b"");
    assert_eq!((reply.status, reply.body.len()), (404, 0));
    assert_eq!(client.get("/again").status, 404, "the connection goes on");
}

#[test]
fn request_ids_differ() {
    let serin = Serin::serving("");
    let mut client = serin.client();
    let mut ids: Vec<String> = (0..50).map(|_| client.get("/").header("x-request-id").unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
}

#[test]
fn an_endpoint_that_is_down_is_a_quick_502() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{closed}\"]}}}}\n"
    ));
    let mut client = serin.client();
    let began = Instant::now();
    for body in [&b""[..], b"some body"] {
        let reply = client.request("POST", "/", &[], body);
        assert_eq!(reply.status, 502);
        assert!(reply.text().starts_with("502 no connection to the endpoint\n"), "{}", reply.text());
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    serin.wait_until_quiet(Duration::from_secs(1));
}

#[test]
fn an_upstream_without_endpoints_is_a_503_to_try_again() {
    let origin = echo();
    for endpoints in [String::new(), format!("{{address: \"{}\", weight: 0}}", origin.address())] {
        let serin = Serin::serving(&format!(
            "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [{endpoints}]}}}}\n"
        ));
        let reply = get(serin.address(), "/");
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    }
}

#[test]
fn an_answer_that_is_not_http_is_a_502() {
    let origin = Origin::start(|visit| {
        if visit.request.target != "/end" {
            visit.write("SSH-2.0-OpenSSH_9.2\r\n")?;
        }
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 502);
    assert_eq!(client.get("/end").status, 502);
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 2.0);
}

fn shares(serin: &Serin, requests: usize) -> BTreeMap<String, usize> {
    let mut client = serin.client();
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(client.get("/").text().to_owned()).or_default() += 1;
    }
    shares
}

#[test]
fn weights_divide_the_requests_of_an_upstream() {
    let (big, small, none) = (Origin::named("big"), Origin::named("small"), Origin::named("none"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [{{address: \"{}\", weight: 3}}, \
         \"{}\", {{address: \"{}\", weight: 0}}]}}}}\n",
        big.address(),
        small.address(),
        none.address()
    ));
    let shares = shares(&serin, 400);
    assert_eq!(shares.len(), 2, "{shares:?}");
    assert!(shares["big"].abs_diff(300) <= 2, "{shares:?}");
}

#[test]
fn a_split_divides_the_requests_of_a_route() {
    let (a, b, none) = (Origin::named("a"), Origin::named("b"), Origin::named("none"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{split: [{{upstream: a, weight: 80}}, {{upstream: b, weight: 20}}, \
         {{upstream: none, weight: 0}}]}}}}\n\
         upstreams: {{a: {{endpoints: [\"{}\"]}}, b: {{endpoints: [\"{}\"]}}, none: {{endpoints: [\"{}\"]}}}}\n",
        a.address(),
        b.address(),
        none.address()
    ));
    let shares = shares(&serin, 1_000);
    assert_eq!(shares.len(), 2, "{shares:?}");
    // The standard deviation is 12.6: five of them fail once in two million runs.
    assert!(shares["a"].abs_diff(800) <= 63, "{shares:?}");
}

#[test]
fn the_gauges_tell_what_is_under_way() {
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::start(move |visit| {
        let _ = gate.lock().unwrap().recv();
        visit.answer(200, &[], b"")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    origin.wait_until("the request", |log| log.requests.len() == 1);
    assert_eq!(serin.metric("serin_requests_in_flight"), 1.0);
    assert_eq!(serin.metric("serin_endpoint_requests_in_flight"), 1.0);
    assert_eq!(serin.metric("serin_connections_open"), 1.0);
    release.send(()).unwrap();
    assert_eq!(client.reply().status, 200);
    serin.wait_until_quiet(Duration::from_secs(1));
    assert_eq!(serin.metric("serin_requests_total"), 1.0);
    drop::<Client>(client);
    crate::support::eventually(Duration::from_secs(1), "no connection", || {
        serin.metric("serin_connections_open") == 0.0
    });
}
