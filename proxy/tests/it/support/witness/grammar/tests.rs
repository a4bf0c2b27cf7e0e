use super::*;

/// The error or the faults of hand-made bytes, as one line; empty when they are strictly valid.
fn verdict(bytes: &[u8]) -> String {
    match next_request(bytes) {
        Ok(Progress::Complete(request, length)) if length == bytes.len() => faults(&request).join("; "),
        Ok(Progress::Complete(..)) => "more than one request".to_owned(),
        Ok(Progress::Partial) => "partial".to_owned(),
        Err(violation) => violation,
    }
}

fn with_fields(fields: &str) -> String {
    verdict(format!("POST /p HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").as_bytes())
}

fn with_target(target: &str) -> String {
    verdict(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes())
}

fn with_host(host: &str) -> String {
    verdict(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

fn with_chunks(chunks: &str) -> String {
    verdict(format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes())
}

#[test]
fn honest_requests_pass() {
    assert_eq!(with_fields("Content-Length: 0\r\nCookie: a=1; b=2\r\nX-Odd!#$: \u{a0}é\r\n"), "");
    assert_eq!(with_fields("Connection: close\r\n"), "");
    assert_eq!(with_fields("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "");
    assert_eq!(with_target("/a/b;c=d?e=%&f={}|"), "");
    assert_eq!(verdict(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"), "");
    assert_eq!(with_chunks("4\r\nabcd\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"), "");
    for host in ["a.test:8080", "A-b_c.test.", "127.0.0.1:0", "[::1]", "[2001:db8::1]:443"] {
        assert_eq!(with_host(host), "", "{host}");
    }
}

#[test]
fn line_structure() {
    assert_eq!(verdict(b"GET / HTTP/1.1\nHost: a.test\r\n\r\n"), "bare LF as line end");
    assert_eq!(with_fields("X: a\nY: b\r\n"), "bare LF as line end");
    assert_eq!(with_fields("X: a\rY: b\r\n"), "bare CR in a line");
    assert_eq!(with_fields("X: a\r\r\n"), "bare CR in a line");
    assert_eq!(with_fields("NoColon\r\n"), "field line without colon");
    assert_eq!(with_fields("X : y\r\n"), "field name is not a token");
    assert_eq!(with_fields(": y\r\n"), "field name is not a token");
    assert_eq!(with_fields("X: y\r\n folded: z\r\n"), "field name is not a token");
    assert_eq!(with_fields("X\u{e9}: y\r\n"), "field name is not a token");
    assert_eq!(with_fields("X: a\0b\r\n"), "control byte in a field value");
    assert_eq!(with_fields("X: a\x7f\r\n"), "control byte in a field value");
}

#[test]
fn request_line() {
    assert_eq!(verdict(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "request line is not three words");
    assert_eq!(verdict(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "request line is not three words");
    assert_eq!(verdict(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), "request line is not three words");
    assert_eq!(verdict(b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"), "method is not a token");
    assert_eq!(verdict(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"), "version is not HTTP/1.1");
    assert_eq!(with_target("*"), "target is not in origin-form");
    assert_eq!(with_target("http://a.test/"), "target is not in origin-form");
    for target in ["/a#b", "/a\\b", "/a\0b", "/a\x7f", "/é"] {
        assert_eq!(with_target(target), "control, non-ASCII, fragment or backslash in the target", "{target}");
    }
    assert_eq!(with_target("/a%2"), "broken percent-escape in the path");
    assert_eq!(with_target("/a%zz"), "broken percent-escape in the path");
}

#[test]
fn host() {
    assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n"), "0 Host lines");
    assert_eq!(with_fields("hOST: a.test\r\n"), "2 Host lines");
    for host in
        ["", "a,b", "a/b", "u@a", "a b", "a:b", "a:65536", "a:1:2", "[::1", "::1", "[a]", "[::1]x", "a%2", "a?b"]
    {
        assert_eq!(with_host(host), "Host is not host[:port]", "{host}");
    }
}

#[test]
fn framing_fields() {
    assert_eq!(with_fields("Content-Length: 1\r\nContent-Length: 1\r\n"), "several framing fields");
    for length in ["", "+1", "0x1", "1,1", "1 1", "-1"] {
        assert_eq!(with_fields(&format!("Content-Length: {length}\r\n")), format!("Content-Length is {length:?}"));
    }
    assert_eq!(with_fields("Content-Length: 18446744073709551616\r\n"), "Content-Length out of range");
    for coding in ["Chunked", "gzip, chunked", "chunked, chunked", "identity", ""] {
        assert_eq!(
            with_fields(&format!("Transfer-Encoding: {coding}\r\n")),
            format!("Transfer-Encoding is {coding:?}")
        );
    }
    let both = "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(with_fields(both), "Content-Length with Transfer-Encoding");
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(with_fields(twice), "several framing fields");
}

#[test]
fn chunks() {
    for size in ["0x4", "-4", "4;a=b", "4 ", " 4", "", "g"] {
        assert_eq!(with_chunks(&format!("{size}\r\n")), "chunk size line is not only hex digits", "{size}");
    }
    assert_eq!(with_chunks("4\nabcd\r\n0\r\n\r\n"), "bare LF as line end");
    assert_eq!(with_chunks("4\r\nabcd0\r\n\r\n"), "chunk data does not end with CRLF");
    assert_eq!(with_chunks("3\r\nabcd\r\n0\r\n\r\n"), "chunk data does not end with CRLF");
    assert_eq!(with_chunks("10000000000000004\r\n"), "chunk size out of range");
    assert_eq!(with_chunks("FFFFFFFFFFFFFFFF\r\nx"), "chunk size out of range");
    assert_eq!(with_chunks("4\r\nab"), "partial");
    assert_eq!(with_chunks("0\r\nBroken\r\n\r\n"), "field line without colon");
}

#[test]
fn what_must_not_be_forwarded() {
    assert_eq!(with_chunks("0\r\nContent-Length: 4\r\n\r\n"), "trailer Content-Length");
    assert_eq!(with_chunks("0\r\nhost: b\r\nAuthorization: x\r\n\r\n"), "trailer host; trailer Authorization");
    assert_eq!(with_chunks("0\r\nCookie: a=b\r\n\r\n"), "trailer Cookie");
    assert_eq!(with_fields("Cookie: a=1\r\nCookie: b=2\r\n"), "several Cookie lines");
    assert_eq!(with_fields("Content_Length: 4\r\n"), "underscore alias content_length");
    assert_eq!(with_fields("X_Forwarded-For: 1\r\n"), "underscore alias x_forwarded-for");
    assert_eq!(with_fields("my_own: 4\r\n"), "");
    assert_eq!(with_fields("Keep-Alive: 4\r\n"), "hop-by-hop leftover keep-alive: 4");
    assert_eq!(with_fields("TE: trailers\r\n"), "hop-by-hop leftover te: trailers");
    assert_eq!(with_fields("Expect: 100-continue\r\n"), "hop-by-hop leftover expect: 100-continue");
    assert_eq!(with_fields("Connection: close, X\r\n"), "connection [\"close, X\"] with upgrade []");
    let h2c = "Connection: upgrade\r\nUpgrade: h2c\r\n";
    assert_eq!(with_fields(h2c), "connection [\"upgrade\"] with upgrade [\"h2c\"]");
    assert_eq!(with_fields("Upgrade: h2c\r\n"), "connection [] with upgrade [\"h2c\"]");
}

#[test]
fn an_unfinished_request_still_has_a_name() {
    assert_eq!(unfinished(b"GET /a HTTP/1.1\r\nHost").target, "/a");
    assert_eq!(unfinished(b"GE").method, "GE");
}
