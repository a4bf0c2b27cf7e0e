//! The filters of a route's edge: who is let in, what browsers are told, what is compressed.

use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::http2::{self, Frames};
use crate::support::{Client, Cut, Origin, PATIENCE, Reply, Serin, Then, eventually};

/// A hash of `password`, made by glibc, as cheap as can be.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";

fn serin(origin: &Origin, filters: &str) -> Serin {
    Serin::in_front_of(origin, &format!("filters: [{filters}]"))
}

/// Believes what `x-forwarded-*` say.
fn behind_proxy(origin: &Origin, filters: &str) -> Serin {
    Serin::serving(&format!(
        "trusted_proxies: [127.0.0.1]\nroutes: {{all: {{upstream: app, filters: [{filters}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ))
}

fn met(serin: &Serin, what: &str) -> f64 {
    serin.metric_of("serin_route_edge_answers_total", &format!("route=\"all\",met=\"{what}\""))
}

#[test]
fn addresses_are_refused() {
    let origin = Origin::named("app");
    let serin = behind_proxy(&origin, "{allow_ip: [10.0.0.0/8]}, {deny_ip: [10.1.0.0/16]}");
    let mut client = serin.client();
    for (address, status) in [("10.0.0.1", 200), ("10.1.0.1", 403), ("192.0.2.1", 403)] {
        let reply = client.request("POST", "/", &[("X-Forwarded-For", address)], b"small body");
        assert_eq!(reply.status, status, "{address}");
        assert!(!reply.announces_close());
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(met(&serin, "address"), 2.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "address_denied"), 2.0);
}

#[test]
fn who_comes_in_clear_text_is_sent_to_tls() {
    let origin = Origin::named("app");
    let serin = behind_proxy(&origin, "{https_redirect: {}}, {hsts: {max_age: 1h}}");
    let mut client = serin.client();
    let reply = client.request("POST", "/a?b", &[("Host", "a.test:8080")], b"body");
    assert_eq!((reply.status, reply.header("location")), (308, Some("https://a.test/a?b")));
    assert_eq!(reply.header("strict-transport-security"), None, "RFC 6797 §7.2");
    let reply = client.request("GET", "/", &[("X-Forwarded-Proto", "https")], b"");
    assert_eq!((reply.status, reply.header("strict-transport-security")), (200, Some("max-age=3600")));
    let reply = client.request("GET", "/", &[("X-Forwarded-Proto", "http")], b"");
    assert_eq!(reply.status, 308);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply().status, 400, "there is nowhere to be sent to");
    assert_eq!(met(&serin, "https_redirect"), 3.0);
    let serin = self::serin(&origin, "{https_redirect: {port: 8443, status: 307}}");
    let reply = serin.client().request("GET", "/", &[("X-Forwarded-Proto", "https")], b"");
    assert_eq!((reply.status, reply.header("location")), (307, Some("https://a.test:8443/")), "nobody is believed");
}

#[test]
fn browsers_are_told_to_be_careful() {
    let origin = Origin::start(|visit| visit.answer(200, &[("Referrer-Policy", "no-referrer")], b"app"));
    let serin = serin(&origin, "{security_headers: {}}, {expose_request_id: true}");
    let reply = serin.client().get("/");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "the endpoint knows better");
    assert_eq!(reply.header_lines("x-request-id"), origin.request().header_lines("x-request-id"));
}

#[test]
fn answers_of_serin_itself_have_the_fields_too() {
    let serin = Serin::serving(
        "routes: {all: {upstream: app, filters: [{security_headers: {}}, {cors: {origins: [\"https://a.test\"]}}]}}\n\
         upstreams: {app: {endpoints: []}}\n",
    );
    let reply = serin.client().request("GET", "/", &[("Origin", "https://a.test")], b"");
    assert_eq!((reply.status, reply.header("x-content-type-options")), (503, Some("nosniff")));
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.test"), "the page may see that it failed");
}

fn basic(pair: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn ask(client: &mut Client, authorization: &str) -> Reply {
    client.request("POST", "/", &[("Authorization", authorization), ("X-Serin-User", "root")], b"a small body")
}

#[test]
fn passwords_open_the_route() {
    let origin = Origin::named("app");
    let serin = serin(&origin, &format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}, realm: staff}}}}"));
    let mut client = serin.client();
    let reply = client.get("/");
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"staff\", charset=\"UTF-8\""));
    for wrong in ["ann:wrong", "bob:password", ":"] {
        let reply = ask(&mut client, &basic(wrong));
        assert_eq!((reply.status, reply.header_lines("www-authenticate").len()), (401, 1), "{wrong}");
        assert!(!reply.announces_close(), "the connection goes on");
    }
    assert_eq!(origin.requests().len(), 0);
    for _ in 0..2 {
        assert_eq!(ask(&mut client, &basic("ann:password")).status, 200);
        let seen = origin.requests().pop().expect("the request came");
        assert_eq!(seen.header_lines("x-serin-user"), ["ann"]);
        assert_eq!(seen.header_lines("authorization"), Vec::<&str>::new(), "the password ends here");
        assert_eq!(seen.body, b"a small body");
    }
    assert_eq!((met(&serin, "no_password"), met(&serin, "wrong_password")), (1.0, 3.0));
}

#[test]
fn a_password_that_changes_is_forgotten() {
    let origin = Origin::named("app");
    let rules = |users: &str| {
        format!(
            "routes: {{all: {{upstream: app, filters: [{{basic_auth: {{keep_authorization: true, users: {{{users}}}}}}}]}}}}\n\
             upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            origin.address()
        )
    };
    let ann = format!("ann: \"{HASH}\"");
    let serin = Serin::serving(&rules(&ann));
    let mut client = serin.client();
    assert_eq!(ask(&mut client, &basic("ann:password")).status, 200);
    assert_eq!(origin.request().header_lines("authorization"), [basic("ann:password")]);
    serin.reload_serving(&rules(&ann.replace("ann", "bob")));
    assert_eq!(ask(&mut client, &basic("ann:password")).status, 401);
    assert_eq!(ask(&mut client, &basic("bob:password")).status, 200);
}

#[test]
fn who_tries_too_many_passwords_has_to_wait() {
    let origin = Origin::named("app");
    let filter = format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}, attempts: 2/h}}}}");
    let serin = behind_proxy(&origin, &filter);
    let mut client = serin.client();
    let mut ask = |from: &str, pair: &str| {
        let fields = [("X-Forwarded-For", from), ("Authorization", &*basic(pair))];
        client.request("GET", "/", &fields, b"")
    };
    assert_eq!(ask("192.0.2.1", "ann:password").status, 200);
    assert_eq!(ask("192.0.2.1", "ann:wrong").status, 401);
    let reply = ask("192.0.2.1", "ann:guess");
    assert!(reply.status == 429 && reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(ask("192.0.2.1", "ann:password").status, 200, "what is known needs no look");
    assert_eq!(ask("192.0.2.2", "ann:wrong").status, 401, "others are not concerned");
    assert_eq!(met(&serin, "attempts"), 1.0);
}

/// One that takes tens of milliseconds to look at, as those in earnest do.
const SLOW_HASH: &str = "$2y$08$abcdefghijklmnopqrstuub/LlVfC1A62K0uqLz37ReP6nxxZrYNe";

/// More passwords than may wait come at once. Those who serve go on serving, and who is turned away is told so.
#[test]
fn passwords_hold_nobody_else_up() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&format!(
        "routes: {{\n  all: {{upstream: app, filters: [{{basic_auth: {{users: {{ann: \"{SLOW_HASH}\"}}, attempts: 1000/s}}}}]}},\n  \
         open: {{upstream: app, paths: [{{exact: /open}}]}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
    let guess = |number: usize| {
        let mut client = serin.client();
        client.send(request("GET", "/", &[("Authorization", &basic(&format!("ann:{number}")))], b""));
        client
    };
    let mut guesses: Vec<Client> = (0..100).map(guess).collect();
    assert_eq!(serin.client().get("/open").status, 200);
    let looked_at = met(&serin, "wrong_password");
    assert!(looked_at < 60.0, "the open route waited for {looked_at} passwords");
    let replies: Vec<Reply> = guesses.iter_mut().map(Client::reply).collect();
    let (wrong, busy): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.status == 401);
    assert!(wrong.len() >= 65, "{} were looked at", wrong.len());
    assert!(
        !busy.is_empty() && busy.iter().all(|reply| reply.status == 503 && reply.header("retry-after") == Some("1"))
    );
    assert_eq!(met(&serin, "busy"), busy.len() as f64);
}

#[test]
fn preflights_are_answered_without_the_endpoint() {
    let origin = Origin::start(|visit| {
        let fields = [("Access-Control-Allow-Origin", "*"), ("Vary", "Accept"), ("X-Total", "7")];
        visit.answer(200, &fields, b"app")
    });
    let cors = "{cors: {origins: [\"https://*.a.test\"], methods: [PUT], headers: [x-key], expose: [x-total], max_age: 10m, credentials: true}}";
    let auth = format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}}}}}");
    let serin = serin(&origin, &format!("{auth}, {cors}"));
    let mut client = serin.client();
    let asks = |origin| [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
    let reply = client.request("OPTIONS", "/", &asks("https://shop.a.test"), b"");
    assert_eq!(reply.status, 204, "browsers ask without a password");
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://shop.a.test"));
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(reply.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("x-key"));
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    assert_eq!(reply.header("vary"), Some("origin"));
    assert_eq!(reply.header("content-length"), None, "RFC 9110 §8.6");
    let reply = client.request("OPTIONS", "/", &asks("https://evil.test"), b"");
    assert_eq!((reply.status, reply.header("vary")), (204, Some("origin")));
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{:?}", reply.headers);
    assert_eq!(origin.requests().len(), 0);
    for (from, expected) in [("https://shop.a.test", Some("https://shop.a.test")), ("https://evil.test", None)] {
        let fields = [("Origin", from), ("Authorization", &*basic("ann:password"))];
        let reply = client.request("GET", "/", &fields, b"");
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, expected));
        assert_eq!(reply.header("access-control-expose-headers"), expected.map(|_| "x-total"));
        assert_eq!(reply.header_lines("vary"), ["Accept", "origin"]);
    }
    assert_eq!((met(&serin, "preflight"), met(&serin, "preflight_refused")), (1.0, 1.0));
}

fn decoded(reply: &Reply) -> String {
    let mut text = String::new();
    let body = &*reply.body;
    match reply.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4_096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_string(&mut text),
        other => panic!("{other:?}"),
    }
    .expect("a whole body");
    text
}

fn page() -> String {
    (0..20_000).map(|number| format!("<p>{number}</p>")).collect()
}

fn origin_of_pages() -> Origin {
    Origin::start(|visit| match visit.request.target.as_str() {
        "/chunked" => {
            let mut answer = String::from(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for piece in page().as_bytes().chunks(3_000) {
                answer.push_str(&format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
            }
            answer.push_str("0\r\nx-sum: 1\r\n\r\n");
            visit.write(answer)?;
            Ok(Then::Keep)
        }
        "/cookie" => visit.answer(200, &[("Content-Type", "text/html"), ("Set-Cookie", "a=b")], page().as_bytes()),
        "/picture" => visit.answer(200, &[("Content-Type", "image/png")], page().as_bytes()),
        "/small" => visit.answer(200, &[("Content-Type", "text/html")], b"small"),
        "/not-modified" => {
            visit.write("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n")?;
            Ok(Then::Keep)
        }
        _ => {
            let fields = [("Content-Type", "text/html"), ("ETag", "\"1\""), ("Accept-Ranges", "bytes")];
            visit.answer(200, &fields, page().as_bytes())
        }
    })
}

#[test]
fn answers_are_compressed_as_the_client_likes() {
    let origin = origin_of_pages();
    let serin = Serin::in_front_of(&origin, "trailers: [x-sum], filters: [{compress: {}}]");
    let mut client = serin.client();
    for (accepted, coding) in [("gzip", "gzip"), ("gzip, br", "br"), ("gzip, deflate, br, zstd", "zstd")] {
        for target in ["/", "/chunked"] {
            let fields = [("Accept-Encoding", accepted), ("TE", "trailers"), ("Connection", "te")];
            let reply = client.request("GET", target, &fields, b"");
            assert_eq!(reply.header("content-encoding"), Some(coding));
            assert_eq!(reply.header("vary"), Some("accept-encoding"));
            assert_eq!(reply.header("content-length"), None);
            assert!(reply.body.len() < page().len() / 3, "{coding}: {}", reply.body.len());
            assert!(decoded(&reply) == page(), "{coding}");
            let trailers: &[(String, String)] = match target {
                "/chunked" => &[("x-sum".into(), "1".into())],
                _ => &[],
            };
            assert_eq!(reply.trailers, trailers);
            if target == "/" {
                assert_eq!(reply.header("etag"), Some("W/\"1\""), "other bytes, so it is strong no longer");
                assert_eq!(reply.header("accept-ranges"), None);
            }
        }
        assert_eq!(serin.metric_of("serin_route_compressed_responses_total", coding), 2.0);
    }
    assert_eq!(origin.log().accepted, 1, "connections to the endpoint are kept");
}

#[test]
fn other_answers_stay_as_they_are() {
    let origin = origin_of_pages();
    let serin = serin(&origin, "{compress: {}}");
    let mut client = serin.client();
    let gzip = ("Accept-Encoding", "gzip");
    let cases: [(&str, &[(&str, &str)], Option<&str>); 7] = [
        ("/", &[], Some("accept-encoding")),
        ("/", &[("Accept-Encoding", "gzip;q=0")], Some("accept-encoding")),
        ("/", &[gzip, ("Cookie", "session=1")], Some("accept-encoding")),
        ("/", &[gzip, ("Authorization", "Basic YTpi")], Some("accept-encoding")),
        ("/cookie", &[gzip], None),
        ("/picture", &[gzip], None),
        ("/small", &[gzip], None),
    ];
    for (target, fields, vary) in cases {
        let reply = client.request("GET", target, fields, b"");
        assert_eq!((reply.status, reply.header("content-encoding")), (200, None), "{target} {fields:?}");
        assert_eq!(reply.header("vary"), vary, "{target} {fields:?}");
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
    }
    let reply = client.request("GET", "/not-modified", &[gzip], b"");
    assert_eq!((reply.status, reply.header("vary")), (304, Some("accept-encoding")));
    assert_eq!(reply.header("content-encoding"), None);
    let head = client.request("HEAD", "/", &[gzip], b"");
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), None));
    assert_eq!(head.header("etag"), Some("W/\"1\""));
    assert_eq!(client.request("HEAD", "/picture", &[gzip], b"").header("content-encoding"), None);
    assert_eq!(client.get("/small").text(), "small", "the connection goes on behind a HEAD");
}

#[test]
fn streams_of_http2_meet_the_same() {
    let origin = origin_of_pages();
    let serin = serin(
        &origin,
        &format!("{{compress: {{with_credentials: true}}}}, {{basic_auth: {{users: {{ann: \"{HASH}\"}}}}}}"),
    );
    let mut client = Frames::connect(serin.address());
    let password = basic("ann:password");
    let mut ask = |stream: u32, more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> =
            http2::request("GET", "/chunked").into_iter().chain(more.iter().copied()).collect();
        client.head(stream, &fields, true);
        client.answer(stream)
    };
    assert_eq!(ask(1, &[]).status, Some(401));
    let answer = ask(3, &[("authorization", &password), ("accept-encoding", "br")]);
    let body = answer.body.clone();
    let reply = Reply { headers: vec![("content-encoding".into(), "br".into())], body, ..Reply::default() };
    assert!(answer.status == Some(200) && decoded(&reply) == page());
}

/// Bytes that were sent must not wait in the encoder for those that come later.
#[test]
fn what_comes_slowly_is_given_on_at_once() {
    let (go, told) = channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |visit| {
        visit.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        )?;
        told.lock().expect("no test panics here").recv().expect("the test goes on");
        visit.write("6\r\nsecond\r\n0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    for coding in ["gzip", "br", "zstd"] {
        let serin = serin(&origin, "{compress: {types: [text/event-stream]}}");
        let mut client = serin.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let (mut answer, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        // The head, and a chunk from which the first event can be read.
        while !first_event_is_in(&answer, coding) {
            assert!(Instant::now() < deadline, "{coding}: {:?}", String::from_utf8_lossy(&answer));
            answer.extend(client.take(1).expect("more"));
        }
        go.send(()).expect("the endpoint waits");
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            answer.extend(client.take(1).expect("more"));
        }
        let body = unchunked(&answer);
        let reply =
            Reply { status: 200, headers: vec![("content-encoding".into(), coding.into())], body, ..Reply::default() };
        assert_eq!(decoded(&reply), "firstsecond");
    }
}

/// What the chunks hold that came behind a head so far.
fn unchunked(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let Some(at) = crate::support::find(bytes, b"\r\n\r\n") else { return body };
    let mut rest = &bytes[at + 4..];
    while let Some(at) = crate::support::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).expect("a size"), 16).expect("a size");
        if size == 0 || rest.len() < at + 2 + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
    }
    body
}

fn first_event_is_in(bytes: &[u8], coding: &str) -> bool {
    let body = unchunked(bytes);
    let mut first = [0; 5];
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(&*body).read_exact(&mut first),
        "br" => brotli::Decompressor::new(&*body, 4_096).read_exact(&mut first),
        _ => zstd::stream::read::Decoder::new(&*body).expect("a decoder").read_exact(&mut first),
    };
    read.is_ok() && &first == b"first"
}

#[test]
fn what_breaks_off_breaks_off_for_the_client() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10000\r\n\r\nonly so much")?;
        Ok(Then::Close)
    });
    let serin = serin(&origin, "{compress: {}}");
    for coding in ["gzip", "br", "zstd"] {
        let mut client = serin.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: {coding}\r\n\r\n"));
        assert_eq!(client.try_reply(false).expect_err("not whole"), Cut::Incomplete, "{coding}");
    }
    assert_eq!(serin.metric_of("serin_request_errors_total", "response_cut"), 3.0);
}

/// A client that reads nothing takes no memory, and the endpoint waits.
#[test]
fn a_client_that_does_not_read_holds_the_endpoint_up() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let origin = Origin::start(move |visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000000\r\n\r\n")?;
        let mut state = 1_u64;
        loop {
            // Nothing that could be compressed.
            let piece: Vec<u8> = (0..8_192)
                .flat_map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_le_bytes()
                })
                .collect();
            visit.write(&piece)?;
            counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    });
    let serin = serin(&origin, "{compress: {algorithms: [gzip]}}");
    let mut client = Client::with_small_buffer(serin.address());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let before = std::cell::Cell::new(0);
    eventually(PATIENCE, "an endpoint that waits", || {
        thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::SeqCst);
        before.replace(now) == now && now > 0
    });
    assert!(before.get() < 28 << 20, "{} bytes were taken", before.get());
}
