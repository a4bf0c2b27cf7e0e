//! Filters of the edge: who is let in, what browsers are told, what is compressed.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use routing_rules::RuleError;
use routing_rules::request::RequestView;
use routing_rules::rules::{Coding, Cors, Credentials, Edge, ForwardAuth, Route};
use routing_rules::spec::RouteSpec;

fn route(filters: &str) -> Result<Route, Vec<String>> {
    let json = format!(r#"{{"upstream": "app", "filters": [{filters}]}}"#);
    let spec: RouteSpec = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let mut found = Vec::new();
    let route = Route::new("shop", &spec, &mut found);
    match found.is_empty() {
        true => Ok(route.expect("a route without problems")),
        false => Err(found.iter().map(RuleError::to_string).collect()),
    }
}

fn edge(filters: &str) -> Edge {
    let route = route(filters).unwrap_or_else(|problems| panic!("{problems:?}"));
    Edge::clone(route.edge().expect("a filter of the edge"))
}

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

/// Hashes of `password`, made by glibc and by the reference implementation of argon2, as cheap as can be.
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm";
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

#[test]
fn routes_without_them_have_nothing_to_look_at() {
    for filters in ["", r#"{"strip_prefix": "/a"}"#, r#"{"expose_request_id": false}"#] {
        assert!(route(filters).expect("a route").edge().is_none(), "{filters}");
    }
}

#[test]
fn problems_say_what_would_be_right() {
    let cases = [
        (r#"{"allow_ip": []}"#, "filters[0].allow_ip: without a network nobody would be let in"),
        (r#"{"allow_ip": ["10.0.0.1/8"]}"#, "filters[0].allow_ip[0]: `10.0.0.1/8` has bits set"),
        (r#"{"deny_ip": ["10.0.0.0/8"]}, {"deny_ip": ["::1"]}"#, "filters[1].deny_ip: a route has at most one"),
        (r#"{"https_redirect": {"status": 303}}"#, "https_redirect.status: status 303 is none of"),
        (r#"{"https_redirect": {"port": 0}}"#, "https_redirect.port: nobody can connect to port 0"),
        (r#"{"hsts": {"max_age": "8760h", "preload": true}}"#, "hsts.preload: the lists of browsers ask for"),
        (r#"{"hsts": {"max_age": "1h", "preload": true, "include_subdomains": true}}"#, "hsts.preload: the lists"),
        (r#"{"security_headers": {"referrer_policy": "none"}}"#, "referrer_policy: `none` is none of no-referrer,"),
        (r#"{"basic_auth": {"users": {}}}"#, "basic_auth.users: without a user nobody"),
        (
            r#"{"basic_auth": {"users": {"a": "secret"}}}"#,
            "basic_auth.users.a: it is neither a bcrypt nor an argon2 hash",
        ),
        (r#"{"basic_auth": {"users": {"a": "$apr1$x$y"}}}"#, "basic_auth.users.a: an MD5 hash is broken"),
        (r#"{"basic_auth": {"users": {"a": "{SHA}abc"}}}"#, "basic_auth.users.a: a SHA-1 hash"),
        (r#"{"basic_auth": {"users": {"a": "$2y$04$short"}}}"#, "basic_auth.users.a: the bcrypt hash is not whole"),
        (
            r#"{"basic_auth": {"users": {"a": "$2y$17$abcdefghijklmnopqrstuughE8Ev8uGFaUgY2cNEySvxngrb/Jzdm"}}}"#,
            "basic_auth.users.a: a bcrypt cost of 17 takes seconds",
        ),
        (
            r#"{"basic_auth": {"users": {"a": "$argon2id$v=19$m=8"}}}"#,
            "basic_auth.users.a: the argon2 hash is not whole",
        ),
        (r#"{"forward_auth": {"upstream": ""}}"#, "filters[0].forward_auth.upstream: a name is empty"),
        (
            r#"{"forward_auth": {"upstream": "a", "path": "verify"}}"#,
            "forward_auth.path: `verify` is not a path, such as",
        ),
        (r#"{"forward_auth": {"upstream": "a", "path": "http://a/"}}"#, "forward_auth.path: `http://a/` is not"),
        (r#"{"forward_auth": {"upstream": "a", "path": "/a#b"}}"#, "forward_auth.path: `/a#b` is not a path"),
        (r#"{"forward_auth": {"upstream": "a", "path": "/a b"}}"#, "forward_auth.path: `/a b` is not a path"),
        (r#"{"forward_auth": {"upstream": "a", "timeout": "0s"}}"#, "forward_auth.timeout: a time limit of 0"),
        (r#"{"forward_auth": {"upstream": "a", "timeout": "61s"}}"#, "forward_auth.timeout: it is above 1m"),
        (r#"{"forward_auth": {"upstream": "a", "request_headers": ["te"]}}"#, "request_headers[0]: `te` is part of"),
        (
            r#"{"forward_auth": {"upstream": "a", "request_headers": ["proxy-authorization"]}}"#,
            "request_headers[0]: `proxy-authorization` is about the connection",
        ),
        (
            r#"{"forward_auth": {"upstream": "a", "response_headers": ["remote-user", "x-serin-user"]}}"#,
            "response_headers[1]: `x-serin-user` is said by Serin itself",
        ),
        (
            r#"{"forward_auth": {"upstream": "a", "response_headers": ["X-Forwarded-For"]}}"#,
            "response_headers[0]: `x-forwarded-for` is said by Serin itself",
        ),
        (
            r#"{"forward_auth": {"upstream": "a", "response_headers": ["content-length"]}}"#,
            "response_headers[0]: `content-length` is part of the message framing",
        ),
        (
            r#"{"forward_auth": {"upstream": "a"}}, {"forward_auth": {"upstream": "b"}}"#,
            "filters[1].forward_auth: a route has at most one of these",
        ),
        (r#"{"cors": {"origins": []}}"#, "cors.origins: without an origin"),
        (r#"{"cors": {"origins": ["*"], "credentials": true}}"#, "cors.credentials: with the origin `*` every page"),
        (r#"{"cors": {"origins": ["https://a.test"], "headers": ["*"], "credentials": true}}"#, "cors.headers: with"),
        (r#"{"cors": {"origins": ["https://a.test"], "expose": ["*"], "credentials": true}}"#, "cors.expose: with"),
        (r#"{"cors": {"origins": ["https://a.test"], "methods": ["*"], "credentials": true}}"#, "cors.methods: with"),
        (r#"{"cors": {"origins": ["shop.example.com"]}}"#, "cors.origins[0]: `shop.example.com` is not an origin"),
        (r#"{"cors": {"origins": ["https://a.test/"]}}"#, "cors.origins[0]: `https://a.test/` is not an origin"),
        (r#"{"cors": {"origins": ["https://a.test:443"]}}"#, "browsers leave a default port out"),
        (r#"{"cors": {"origins": ["https://A.test"]}}"#, "cors.origins[0]: `https://A.test` is not an origin"),
        (r#"{"cors": {"origins": ["null"]}}"#, "cors.origins[0]: `null` is not an origin"),
        (r#"{"cors": {"origins": [{"prefix": "https://a"}]}}"#, "cors.origins[0]: a prefix of an origin"),
        (r#"{"cors": {"origins": ["https://a.test"], "methods": ["get"]}}"#, "cors.methods[0]: `get` is not a method"),
        (r#"{"compress": {"types": []}}"#, "compress.types: without a type"),
        (r#"{"compress": {"types": ["json"]}}"#, "compress.types[0]: `json` is not a content type"),
        (r#"{"compress": {"algorithms": []}}"#, "compress.algorithms: without a coding"),
    ];
    for (filters, expected) in cases {
        let problems = route(filters).expect_err(filters);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{filters}: {problems:?}");
    }
}

#[test]
fn addresses_are_let_in_or_not() {
    let edge = edge(r#"{"allow_ip": ["10.0.0.0/8", "2001:db8::/32"]}, {"deny_ip": ["10.1.0.0/16"]}"#);
    let cases = [
        ("10.0.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("10.1.0.1", false),
        ("192.0.2.1", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
    ];
    for (client, expected) in cases {
        assert_eq!(edge.lets_in(client.parse().expect("an address")), expected, "{client}");
    }
}

#[test]
fn a_service_sees_what_it_needs() {
    let auth = |fields: &str| {
        let edge = edge(&format!(r#"{{"forward_auth": {{"upstream": "auth"{fields}}}}}"#));
        edge.forward_auth.expect("a service")
    };
    let sees = |auth: &ForwardAuth, name| auth.sees(&HeaderName::from_static(name));
    let plain = auth("");
    assert_eq!((plain.upstream().as_str(), plain.path(), plain.timeout().as_secs()), ("auth", None, 2));
    assert!(plain.response_headers().is_empty());
    for (name, expected) in [("cookie", true), ("authorization", true), ("accept", true), ("x-key", false)] {
        assert_eq!(sees(&plain, name), expected, "{name}");
    }
    let other = auth(
        r#", "path": "/verify?for=shop", "request_headers": ["X-Key"], "response_headers": ["Remote-User", "remote-user"],
            "timeout": "500ms""#,
    );
    assert_eq!(other.path().map(|path| path.as_str()), Some("/verify?for=shop"));
    assert_eq!(other.response_headers(), [HeaderName::from_static("remote-user")], "names are the same in capitals");
    assert_eq!(other.timeout().as_millis(), 500);
    for (name, expected) in [("cookie", false), ("user-agent", true), ("x-key", true)] {
        assert_eq!(sees(&other, name), expected, "{name}");
    }
}

#[test]
fn hsts_says_how_long_and_for_whom() {
    let cases = [
        (r#"{"max_age": "8760h"}"#, "max-age=31536000"),
        (r#"{"max_age": "0s"}"#, "max-age=0"),
        (
            r#"{"max_age": "8760h", "include_subdomains": true, "preload": true}"#,
            "max-age=31536000; includeSubDomains; preload",
        ),
    ];
    for (spec, expected) in cases {
        let edge = edge(&format!(r#"{{"hsts": {spec}}}"#));
        assert_eq!(edge.hsts.expect("hsts").value(), expected);
    }
}

#[test]
fn security_headers_leave_what_the_endpoint_says() {
    let edge = edge(r#"{"security_headers": {"frames": "deny", "content_security_policy": "default-src 'self'"}}"#);
    let mut headers = fields(&[("x-frame-options", "SAMEORIGIN")]);
    edge.security_headers.expect("the filter").add_to(&mut headers);
    assert_eq!(
        headers,
        fields(&[
            ("x-frame-options", "SAMEORIGIN"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("content-security-policy", "default-src 'self'"),
        ])
    );
}

#[test]
fn passwords_are_those_of_their_users() {
    let filter = format!(r#"{{"basic_auth": {{"users": {{"ann": "{BCRYPT}", "bob": "{ARGON2}"}}}}}}"#);
    let auth = edge(&filter).basic_auth.expect("the filter");
    let cases = [
        ("ann:password", true),
        ("ann:password ", false),
        ("ann:", false),
        ("bob:password", true),
        ("bob:wrong", false),
        ("carl:password", false),
        (":password", false),
        ("Ann:secret", false),
    ];
    for (pair, expected) in cases {
        let credentials = credentials(&basic(pair)).expect("credentials");
        assert_eq!(auth.verify(&credentials), expected, "{pair}");
    }
    assert_eq!(auth.challenge(), "Basic realm=\"shop\", charset=\"UTF-8\"");
}

fn basic(pair: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn credentials(value: &str) -> Option<Credentials> {
    Credentials::of(&fields(&[("authorization", value)]))
}

#[test]
fn credentials_have_one_reading() {
    let read = credentials(&basic("ann:a:b")).expect("credentials");
    assert_eq!((read.user(), read.password()), ("ann", &b"a:b"[..]));
    assert!(!format!("{read:?}").contains("a:b"), "a password is shown nowhere");
    for wrong in ["", "Basic", "Basic !", "Bearer YTpi", "Basic YTpi,", &basic("no colon")] {
        assert_eq!(credentials(wrong), None, "{wrong}");
    }
    let twice = fields(&[("authorization", &basic("a:b")), ("authorization", &basic("c:d"))]);
    assert_eq!(Credentials::of(&twice), None);
}

#[test]
fn origins_are_allowed_as_a_whole() {
    let cors = cors(
        r#"{"origins": ["https://a.test", "http://*.b.test:8080", {"regex": "https://c[0-9]+\\.test"}], "credentials": true}"#,
    );
    let cases = [
        ("https://a.test", true),
        ("http://a.test", false),
        ("https://a.test:8443", false),
        ("https://a.test.evil.test", false),
        ("https://xa.test", false),
        ("http://x.b.test:8080", true),
        ("http://b.test:8080", false),
        ("http://x.y.b.test:8080", false),
        ("http://evil.test/.b.test:8080", false),
        ("https://c12.test", true),
        ("https://c12.test.evil.test", false),
        ("https://evil.test?https://c12.test", false),
        ("null", false),
        ("", false),
    ];
    for (origin, expected) in cases {
        assert_eq!(cors.allows(&HeaderValue::from_str(origin).expect("a value")), expected, "{origin}");
    }
}

fn cors(spec: &str) -> Cors {
    edge(&format!(r#"{{"cors": {spec}}}"#)).cors.expect("the filter")
}

#[test]
fn pages_are_told_what_they_may() {
    let cors = cors(
        r#"{"origins": ["https://a.test"], "methods": ["GET", "PUT"], "headers": ["x-a"], "expose": ["x-b"], "max_age": "10m", "credentials": true}"#,
    );
    let of_endpoint = [("access-control-allow-origin", "*"), ("access-control-max-age", "1"), ("x-other", "1")];
    let listed = HeaderValue::from_static("https://a.test");
    let mut answer = fields(&of_endpoint);
    cors.apply(Some(&listed), false, &mut answer);
    let expected = [
        ("access-control-allow-origin", "https://a.test"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-b"),
        ("x-other", "1"),
    ];
    assert_eq!(answer, fields(&expected));
    let mut preflight = HeaderMap::new();
    cors.apply(Some(&listed), true, &mut preflight);
    let expected = [
        ("access-control-allow-origin", "https://a.test"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-a"),
        ("access-control-max-age", "600"),
    ];
    assert_eq!(preflight, fields(&expected));
    for (origin, is_preflight) in [(Some("https://evil.test"), false), (Some("https://evil.test"), true), (None, false)]
    {
        let mut answer = fields(&of_endpoint);
        cors.apply(origin.map(HeaderValue::from_static).as_ref(), is_preflight, &mut answer);
        assert_eq!(answer, fields(&[("x-other", "1")]), "{origin:?}");
    }
}

#[test]
fn preflights_are_told_from_other_options() {
    let asks = [("origin", "https://a.test"), ("access-control-request-method", "PUT")];
    let cases = [
        (Method::OPTIONS, &asks[..], true),
        (Method::OPTIONS, &asks[..1], false),
        (Method::OPTIONS, &asks[1..], false),
        (Method::GET, &asks[..], false),
    ];
    for (method, lines, expected) in cases {
        let headers = fields(lines);
        let view = RequestView::new(&method, "a.test", "/", &headers, [192, 0, 2, 1].into());
        assert_eq!(Cors::is_preflight(&view), expected, "{method} {lines:?}");
    }
}

#[test]
fn the_coding_is_what_the_client_likes_most() {
    let cases = [
        ("gzip", Some(Coding::Gzip)),
        ("x-gzip", Some(Coding::Gzip)),
        ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
        ("gzip, br", Some(Coding::Br)),
        ("GZIP;Q=1, br;q=0.5", Some(Coding::Gzip)),
        ("br;q=0.501, gzip;q=0.500", Some(Coding::Br)),
        ("*", Some(Coding::Zstd)),
        ("zstd;q=0, *;q=0.1", Some(Coding::Br)),
        ("*;q=0", None),
        ("gzip;q=0", None),
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("identity", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", Some(Coding::Gzip)),
        ("identity;q=0, gzip;q=0.1", Some(Coding::Gzip)),
        ("identity;q=0", None),
        ("deflate", None),
        ("", None),
        (",;,;q=", None),
    ];
    let compress = edge(r#"{"compress": {}}"#).compress.expect("the filter");
    for (accepted, expected) in cases {
        let headers = fields(&[("accept-encoding", accepted)]);
        assert_eq!(compress.coding_for(&Method::GET, &headers), expected, "{accepted}");
    }
    let lines = fields(&[("accept-encoding", "br;q=0.1"), ("accept-encoding", "gzip")]);
    assert_eq!(compress.coding_for(&Method::GET, &lines), Some(Coding::Gzip));
    assert_eq!(compress.coding_for(&Method::GET, &HeaderMap::new()), None);
}

#[test]
fn answers_with_secrets_are_left_alone() {
    let (careful, bold) = (r#"{"compress": {}}"#, r#"{"compress": {"with_credentials": true}}"#);
    for (filter, expected) in [(careful, None), (bold, Some(Coding::Gzip))] {
        let compress = edge(filter).compress.expect("the filter");
        for secret in [("cookie", "a=b"), ("authorization", "Basic YTpi")] {
            let headers = fields(&[("accept-encoding", "gzip"), secret]);
            assert_eq!(compress.coding_for(&Method::GET, &headers), expected, "{secret:?}");
        }
        let answer = fields(&[("content-type", "text/html"), ("set-cookie", "a=b")]);
        assert_eq!(compress.fits(StatusCode::OK, &answer), expected.is_some());
    }
    let compress = edge(bold).compress.expect("the filter");
    let headers = fields(&[("accept-encoding", "gzip"), ("cache-control", "no-cache, No-Transform")]);
    assert_eq!(compress.coding_for(&Method::GET, &headers), None);
}

#[test]
fn what_is_compressed_fits() {
    let compress = edge(r#"{"compress": {"min_size": "100B"}}"#).compress.expect("the filter");
    let html = ("content-type", "text/html; charset=utf-8");
    type Fields<'a> = &'a [(&'static str, &'a str)];
    let cases: &[(u16, Fields<'_>, bool)] = &[
        (200, &[html], true),
        (404, &[html], true),
        (204, &[html], false),
        (205, &[html], false),
        (206, &[html], false),
        (304, &[html], false),
        (200, &[html, ("content-length", "99")], false),
        (200, &[html, ("content-length", "100")], true),
        (200, &[html, ("content-encoding", "gzip")], false),
        (200, &[html, ("content-range", "bytes 0-1/2")], false),
        (200, &[html, ("cache-control", "private,no-transform")], false),
        (200, &[("content-type", "Application/Problem+JSON")], true),
        (200, &[("content-type", "application/json")], true),
        (200, &[("content-type", "image/png")], false),
        (200, &[("content-type", "application/grpc")], false),
        (200, &[("content-type", "text/event-stream")], false),
        (200, &[], false),
    ];
    for (status, lines, expected) in cases {
        let status = StatusCode::from_u16(*status).expect("a status");
        assert_eq!(compress.fits(status, &fields(lines)), *expected, "{status} {lines:?}");
    }
    let streams = edge(r#"{"compress": {"types": ["text/event-stream"]}}"#).compress.expect("the filter");
    assert!(streams.fits(StatusCode::OK, &fields(&[("content-type", "text/event-stream")])));
}
