//! Heads, bodies and trailers, from clients of both versions.

use bytes::Bytes;
use h2::Reason;

use super::{rules, serving};
use crate::support::Serin;
use crate::support::http2::{Frames, request};
use crate::support::http2_origin::{Http2Origin, fields};

#[test]
fn nothing_of_http1_reaches_an_endpoint() {
    let origin = Http2Origin::named("app");
    let serin = serving(origin.address());
    let sent = [
        ("Host", "Shop.Test:8080"),
        ("Connection", "keep-alive, x-mine, te"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers, gzip"),
        ("X-Mine", "1"),
        ("X-Own", "2"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Transfer-Encoding", "chunked"),
    ];
    let mut client = serin.client();
    assert_eq!(client.request("POST", "/a?b=c", &sent, b"3\r\nabc\r\n0\r\n\r\n").text(), "app");
    let call = origin.call();
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "http://shop.test:8080/a?b=c"));
    let mut names: Vec<&str> = call.fields.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let added = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"];
    assert_eq!(names, [&["cookie"], &added[..], &["x-own", "x-request-id"]].concat());
    assert_eq!(call.fields["cookie"], "a=1; b=2");
}

#[test]
fn what_comes_as_http2_goes_on_as_http2() {
    let origin = Http2Origin::named("app");
    let serin = serving(origin.address());
    let mut client = Frames::connect(serin.address());
    let head = [&request("POST", "/x")[..], &[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]].concat();
    client.head(1, &head, false);
    client.data(1, b"body", true);
    assert_eq!(client.answer(1).body, b"app");
    let call = origin.call();
    assert_eq!(call.target, "http://a.test/x");
    assert!(call.fields.get("te").is_none() && call.fields.get("transfer-encoding").is_none(), "{call:?}");
    assert_eq!(call.fields.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}

#[test]
fn a_request_without_a_body_ends_with_its_head() {
    let origin = Http2Origin::start(|mut call| async move {
        let ends = call.head.method == http::Method::HEAD || call.data().await.is_none();
        call.answer(200, &[("content-length", "5")], if call.head.method == "HEAD" { b"" } else { b"whole" });
        call.note(format!("{} {ends}", call.head.method));
    });
    let serin = serving(origin.address());
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), "whole");
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let reply = client.try_reply(true).unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("5")));
    assert_eq!(client.request("OPTIONS", "*", &[], b"").text(), "whole");
    assert_eq!(origin.log().notes, ["GET true", "HEAD true", "OPTIONS true"]);
}

/// More than all windows, in both directions at once.
#[test]
fn bodies_pass_whole_in_both_directions() {
    let origin = Http2Origin::start(|mut call| async move {
        let mut answer = call.begin(200, &[], false);
        while let Some(Ok(piece)) = call.data().await {
            let mut left = piece;
            while !left.is_empty() {
                answer.reserve_capacity(left.len());
                let Some(Ok(room)) = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await else { return };
                answer.send_data(left.split_to(room.min(left.len())), false).unwrap();
            }
        }
        answer.send_data(Bytes::new(), true).ok();
    });
    let serin = serving(origin.address());
    let body: Vec<u8> = (0..3_000_000u32).map(|place| (place % 251) as u8).collect();
    let mut client = serin.client();
    let head = format!("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut sending = client.stream().try_clone().unwrap();
    let reply = std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut sending, &[head.as_bytes(), &body].concat()).unwrap());
        client.reply()
    });
    assert!(reply.status == 200 && reply.body == body);
    let mut client = Frames::connect(serin.address());
    client.post(1, "/echo");
    // One window's worth, which comes back.
    client.data(1, &body[..16_000], false);
    client.data(1, &body[..16_000], true);
    assert_eq!(client.answer(1).body.len(), 32_000);
}

#[test]
fn trailers_pass_by_name() {
    let origin = Http2Origin::start(|mut call| async move {
        call.read().await.unwrap();
        let came = call.trailers().await.unwrap_or_default();
        call.note(format!("{came:?}"));
        let mut answer = call.begin(200, &[("trailer", "x-sum, x-other")], false);
        answer.send_data(Bytes::from_static(b"body"), false).unwrap();
        answer.send_trailers(fields(&[("x-sum", "7"), ("x-other", "8"), ("grpc-status", "0")])).unwrap();
    });
    let serin = Serin::serving(&rules(&[origin.address()], "", "trailers: [x-sum]"));
    let mut client = serin.client();
    let body = b"1\r\na\r\n0\r\nX-Sum: 3\r\nX-Other: 4\r\n\r\n";
    let reply = client.request("POST", "/", &[("Transfer-Encoding", "chunked"), ("TE", "trailers")], body);
    let passed: Vec<_> = reply.trailers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    assert_eq!((reply.text(), format!("{passed:?}").contains("x-other")), ("body", false));
    assert_eq!(passed.len(), 1, "{passed:?}");
    assert_eq!(origin.log().notes, ["{\"x-sum\": \"3\"}"]);
    assert_eq!(origin.call().fields["te"], "trailers");
}

/// The early answer is for the client to read, whatever it has not sent yet.
#[test]
fn an_answer_may_come_before_the_end_of_its_request() {
    let origin = Http2Origin::start(|mut call| async move {
        match call.path() {
            "/early" => {
                call.answer(413, &[], b"too much");
                let reason = call.is_reset().await;
                call.note(format!("{reason:?}"));
            }
            _ => call.answer(200, &[], b"served"),
        }
    });
    let serin = serving(origin.address());
    let mut client = serin.client();
    client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nbeginning");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (413, "too much"));
    origin.wait_until("the stream ends", |log| !log.notes.is_empty());
    assert_eq!(origin.log().notes, [format!("Ok({:?})", Reason::CANCEL)]);
    assert_eq!(serin.client().get("/").text(), "served");
    assert_eq!(origin.log().accepted, 1);
}

#[test]
fn interim_answers_are_not_the_answer() {
    let origin = Http2Origin::start(|mut call| async move {
        for _ in 0..3 {
            call.hint();
        }
        call.answer(200, &[], b"served");
    });
    let serin = serving(origin.address());
    assert_eq!(serin.client().get("/").text(), "served");
}

#[test]
fn a_head_without_measure_is_a_bad_response() {
    let origin = Http2Origin::start(|mut call| async move {
        let many: Vec<(String, String)> = match call.path() {
            "/many" => (0..101).map(|number| (format!("x-{number}"), "1".to_owned())).collect(),
            "/large" => (0..40).map(|number| (format!("x-{number}"), "v".repeat(1_200))).collect(),
            _ => Vec::new(),
        };
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        call.answer(200, &many, b"served");
    });
    let serin = serving(origin.address());
    for path in ["/many", "/large"] {
        assert_eq!(serin.client().get(path).status, 502, "{path}");
    }
    assert_eq!(serin.client().get("/").text(), "served");
    assert_eq!(origin.log().accepted, 1);
}

#[test]
fn a_field_that_http1_has_no_name_for_makes_a_bad_response() {
    let origin = Http2Origin::start(|mut call| async move {
        let name = if call.path() == "/odd" { "x\"y" } else { "x-y" };
        call.answer(200, &[(name, "1")], b"");
    });
    let serin = serving(origin.address());
    assert_eq!(serin.client().get("/odd").status, 502);
    assert_eq!(serin.client().get("/").status, 200);
}

#[test]
fn an_upgrade_is_refused_with_a_word() {
    let origin = Http2Origin::named("app");
    let serin = serving(origin.address());
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let reply = serin.client().request("GET", "/", &fields, b"");
    assert_eq!(reply.status, 501);
    assert!(reply.text().contains("no upgrade over HTTP/2"), "{}", reply.text());
    assert_eq!(origin.log().calls.len(), 0);
}
