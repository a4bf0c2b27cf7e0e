//! What routes change on the way: paths, header fields, and redirects instead of an endpoint.

use crate::support::{Client, Origin, Reply, Serin};

/// Answers with the target and all request fields, one on each line.
fn mirror() -> Origin {
    Origin::start(|visit| {
        let mut body = format!("{}\n", visit.request.target);
        for (name, value) in &visit.request.headers {
            body.push_str(&format!("{}: {value}\n", name.to_ascii_lowercase()));
        }
        visit.answer(200, &[("x-old", "1"), ("x-old", "2"), ("Server", "endpoint")], body.as_bytes())
    })
}

fn serin(origin: &Origin, filters: &str) -> Serin {
    Serin::in_front_of(origin, &format!("filters: [{filters}]"))
}

fn target(reply: &Reply) -> &str {
    reply.text().lines().next().unwrap()
}

fn check_targets(filters: &str, cases: &[(&str, &str)]) {
    let origin = mirror();
    let serin = serin(&origin, filters);
    let mut client = serin.client();
    for (sent, expected) in cases {
        assert_eq!(target(&client.get(sent)), *expected, "{sent} with {filters}");
    }
}

#[test]
fn strip_prefix_cuts_whole_segments() {
    check_targets(
        "{strip_prefix: /shop}",
        &[
            ("/shop", "/"),
            ("/shop/", "/"),
            ("/shop?q=1", "/?q=1"),
            ("/shop/cart/a%20b?q=%2F&r", "/cart/a%20b?q=%2F&r"),
            ("/shopping", "/shopping"),
            ("/other/shop", "/other/shop"),
            ("/shop//evil.test/x", "/evil.test/x"),
            ("/%73hop/x", "/x"),
            ("/a/../shop/x", "/x"),
            ("/shop/shop/x", "/shop/x"),
            ("/shop%3Fa/x", "/shop%3Fa/x"),
        ],
    );
}

#[test]
fn replace_prefix_puts_other_segments() {
    check_targets(
        "{replace_prefix: {from: /v1, to: /api/one}}",
        &[("/v1", "/api/one"), ("/v1/x?y", "/api/one/x?y"), ("/v1/", "/api/one/"), ("/v10/x", "/v10/x")],
    );
    check_targets("{replace_prefix: {from: /, to: /base}}", &[("/", "/base/"), ("/a", "/base/a")]);
    check_targets("{strip_prefix: /a}, {replace_prefix: {from: /b, to: /c}}", &[("/a/b/d", "/c/d"), ("/b/d", "/c/d")]);
}

#[test]
fn request_fields_are_set_added_and_removed() {
    let origin = mirror();
    let filters = "{set_request_header: {x-edge: \"1\", x-forwarded-proto: https}}, \
                   {add_request_header: {x-list: second}}, {remove_request_header: [x-gone, cookie]}";
    let serin = serin(&origin, filters);
    serin.client().request(
        "GET",
        "/",
        &[("x-edge", "client"), ("x-edge", "again"), ("x-list", "first"), ("x-gone", "1"), ("Cookie", "a=b")],
        b"",
    );
    let seen = origin.request();
    assert_eq!(seen.header_lines("x-edge"), ["1"]);
    assert_eq!(seen.header_lines("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.header_lines("x-list"), ["first", "second"]);
    assert_eq!(seen.header_lines("x-gone").len() + seen.header_lines("cookie").len(), 0);
}

#[test]
fn response_fields_are_set_added_and_removed() {
    let origin = mirror();
    let filters = "{set_response_header: {x-old: new}}, {add_response_header: {set-cookie: a=b}}, \
                   {remove_response_header: [server]}";
    let serin = serin(&origin, filters);
    let reply = serin.client().get("/");
    assert_eq!(reply.header_lines("x-old"), ["new"]);
    assert_eq!(reply.header_lines("set-cookie"), ["a=b"]);
    assert_eq!(reply.header_lines("server"), Vec::<&str>::new());
}

fn location(client: &mut Client, target: &str, host: &str) -> (u16, String) {
    let reply = client.request("GET", target, &[("Host", host)], b"");
    (reply.status, reply.header("location").unwrap_or_default().to_owned())
}

#[test]
fn redirects_change_what_they_name_and_keep_the_rest() {
    let cases = [
        ("scheme: https", "a.test", "/x?y=1", 302, "https://a.test/x?y=1"),
        ("scheme: https", "a.test:8080", "/x", 302, "https://a.test/x"),
        ("scheme: https, port: 8443", "a.test:8080", "/x", 302, "https://a.test:8443/x"),
        ("scheme: https, port: 443", "a.test:8080", "/x", 302, "https://a.test/x"),
        ("host: b.test", "a.test", "/x/%7Ey?z", 302, "http://b.test/x/~y?z"),
        ("host: b.test, status: 301", "A.Test", "/", 301, "http://b.test/"),
        ("path: /new, status: 308", "a.test", "/old?keep=1", 308, "http://a.test/new?keep=1"),
        ("path: /new", "a.test:8080", "/old", 302, "http://a.test:8080/new"),
        ("port: 80", "a.test:8080", "/old", 302, "http://a.test/old"),
        ("port: 81", "[2001:db8::1]:8080", "/old", 302, "http://[2001:db8::1]:81/old"),
    ];
    for (redirect, host, sent, status, expected) in cases {
        let serin = Serin::serving(&format!("routes: {{all: {{filters: [{{redirect: {{{redirect}}}}}]}}}}\n"));
        assert_eq!(location(&mut serin.client(), sent, host), (status, expected.to_owned()), "{redirect}");
    }
}

#[test]
fn a_redirect_keeps_the_connection_and_reads_the_body() {
    let serin = Serin::serving("routes: {all: {filters: [{redirect: {path: /new, status: 307}}]}}\n");
    let mut client = serin.client();
    for _ in 0..2 {
        let reply = client.request("POST", "/old", &[], b"small body");
        assert_eq!((reply.status, reply.header("location")), (307, Some("http://a.test/new")));
        assert_eq!(reply.header("content-length"), Some("0"));
    }
}

/// A redirect must lead somewhere also where the request names no host.
#[test]
fn a_redirect_without_a_host_is_relative() {
    let serin = Serin::serving("routes: {all: {filters: [{redirect: {path: /new}}]}}\n");
    let mut client = serin.client();
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let reply = client.reply();
    assert!(!reply.header("location").unwrap().starts_with("http:///"), "{:?}", reply.header("location"));
}

/// A target that is `//host/path` would be a network-path reference to software behind.
#[test]
fn a_rewritten_target_has_one_slash_in_front() {
    check_targets("{strip_prefix: /a}", &[("/a//b", "/b"), ("/a/%2e/b", "/b"), ("/a/..//b", "/b")]);
}
