//! The filters of a route's edge: who is let in, what browsers are told, what is compressed.

mod compression;
mod forward_auth;
mod passwords;

use crate::support::{Origin, Serin};

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

#[test]
fn preflights_are_answered_without_the_endpoint() {
    let origin = Origin::start(|visit| {
        let fields = [
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Private-Network", "true"),
            ("Vary", "Accept"),
            ("X-Total", "7"),
        ];
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
        assert_eq!(reply.header("access-control-allow-private-network"), None);
        assert_eq!(reply.header_lines("vary"), ["Accept", "origin"]);
    }
    assert_eq!((met(&serin, "preflight"), met(&serin, "preflight_refused")), (1.0, 1.0));
}

/// A browser asks with OPTIONS about a request that comes with another method, and to the route of that.
#[test]
fn preflights_find_the_route_of_what_they_ask_about() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&format!(
        "routes:\n  read: {{upstream: app, methods: [GET], filters: [{{cors: {{origins: [\"https://a.test\"]}}}}]}}\n  \
         write: {{upstream: app, methods: [PUT], filters: [{{cors: {{origins: [\"https://b.test\"], methods: [PUT]}}}}]}}\n  \
         plain: {{upstream: app, methods: [DELETE]}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
    let mut client = serin.client();
    let mut ask = |from: &str, method: &str| {
        let fields = [("Origin", from), ("Access-Control-Request-Method", method)];
        let reply = client.request("OPTIONS", "/", &fields, b"");
        (reply.status, reply.header("access-control-allow-origin").map(str::to_owned))
    };
    assert_eq!(ask("https://a.test", "GET"), (204, Some("https://a.test".to_owned())));
    assert_eq!(ask("https://b.test", "PUT"), (204, Some("https://b.test".to_owned())));
    assert_eq!(ask("https://a.test", "PUT"), (204, None));
    assert_eq!(ask("https://a.test", "DELETE"), (404, None), "that route answers nothing by itself");
    assert_eq!(client.request("OPTIONS", "/", &[], b"").status, 404, "no browser asks");
    assert_eq!(origin.requests().len(), 0);
}
