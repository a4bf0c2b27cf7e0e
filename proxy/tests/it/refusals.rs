//! Heads that never become a request get what every other error gets: a short body with the request id, a line in the
//! log, the counters; and they come behind the answers before them.

use std::fs;
use std::path::Path;

use serin_proxy::server::ConnectionLimits;

use crate::support::client::request;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};

/// A proxy that logs as JSON into a file in this folder.
fn logging(origin: &Origin, folder: &Path, limits: ConnectionLimits) -> Serin {
    let rules = format!(
        "access_log: {{to: \"{}\"}}\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        folder.join("access.log").display(),
        origin.address()
    );
    Serin::serving_with(&rules, limits)
}

fn last_line(folder: &Path, count: usize) -> serde_json::Value {
    let read = || fs::read_to_string(folder.join("access.log")).unwrap_or_default();
    eventually(PATIENCE, "lines", || read().lines().count() >= count);
    let text = read();
    assert_eq!(text.lines().count(), count, "{text}");
    serde_json::from_str(text.lines().last().expect("there is one")).expect("a line is JSON")
}

/// The answer is like every other error's, the connection ends, and the line in the log is about this answer.
fn hold(mut client: Client, status: u16, text: &str, token: &str, folder: &Path, count: usize) {
    let reply = client.reply();
    let id = id_of(&reply).to_owned();
    assert_eq!((reply.status, reply.announces_close()), (status, true), "{reply:?}");
    assert_eq!(reply.text(), format!("{status} {text}\nrequest id: {id}\n"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")), "{reply:?}");
    assert!(client.ends_within(PATIENCE));
    let line = last_line(folder, count);
    assert_eq!(
        (&line["status"], &line["error"], &line["client"]),
        (&status.into(), &token.into(), &"127.0.0.1".into())
    );
    assert_eq!(line["request_id"], *id);
    for unknown in ["method", "host", "target", "protocol", "route", "user_agent"] {
        assert!(line.get(unknown).is_none(), "{unknown} in {line}");
    }
}

fn id_of(reply: &Reply) -> &str {
    let id = reply.header("x-request-id").unwrap_or_else(|| panic!("no request id in {reply:?}"));
    assert_eq!(id.len(), 32, "{id}");
    id
}

#[test]
fn heads_that_cannot_be_read_are_answered_logged_and_counted() {
    let (origin, folder) = (Origin::named("app"), tempfile::tempdir().expect("a temporary folder"));
    let serin = logging(&origin, folder.path(), ConnectionLimits::default());
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nx-long: {}\r\n\r\n", "x".repeat(33 << 10));
    let cases = [
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "invalid request head", "malformed"),
        ("\u{16}\u{3}\u{1}\u{2}", 400, "invalid request head", "malformed"),
        ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 400, "invalid request head", "malformed"),
        (&long, 431, "request head too large", "head_too_large"),
    ];
    for (index, (head, status, text, token)) in cases.into_iter().enumerate() {
        let mut client = serin.client();
        client.send(head);
        hold(client, status, text, token, folder.path(), index + 1);
    }
    let errors = |reason| serin.metric_of("serin_request_errors_total", &format!("reason=\"{reason}\""));
    assert_eq!((errors("malformed"), errors("head_too_large")), (3.0, 1.0));
    assert_eq!(serin.metric_of("serin_requests_total", "code=\"4xx\""), 4.0);
    assert_eq!(serin.metric("serin_requests_in_flight"), 0.0);
    assert_eq!(origin.log().accepted, 0);
}

#[test]
fn a_head_that_comes_too_slowly_is_answered_logged_and_counted() {
    let (origin, folder) = (Origin::named("app"), tempfile::tempdir().expect("a temporary folder"));
    let limits = ConnectionLimits { head_ms: 300, ..Default::default() };
    let serin = logging(&origin, folder.path(), limits);
    let mut client = serin.client();
    client.send("GET / HTT");
    hold(client, 408, "request head came too slowly", "head_timeout", folder.path(), 1);
    assert!(last_line(folder.path(), 1)["duration_ms"].as_f64().is_some_and(|took| took >= 250.0));
    assert_eq!(serin.metric_of("serin_request_errors_total", "reason=\"head_timeout\""), 1.0);
    assert_eq!(serin.metric("serin_request_head_timeouts_total"), 1.0);
}

#[test]
fn answers_before_a_bad_head_are_delivered_first() {
    // More than all buffers on the way take, so that the bad head is met while answers still wait to be read.
    let large = vec![b'x'; 8 << 20];
    let origin = Origin::start(move |visit| {
        visit.read_body()?;
        visit.answer(200, &[], &large)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    let good = [request("GET", "/1", &[], b""), request("POST", "/2", &[], b"body"), request("HEAD", "/3", &[], b"")];
    client.send([&good.concat()[..], b"GET\x01/ HTTP/1.1\r\n\r\n"].concat());
    origin.wait_until("the first request is there", |log| !log.requests.is_empty());
    for _ in 0..2 {
        let reply = client.reply();
        assert_eq!((reply.status, reply.body.len()), (200, 8 << 20));
    }
    assert_eq!(client.try_reply(true).expect("the answer to HEAD").status, 200);
    let reply = client.reply();
    assert_eq!(reply.status, 400);
    id_of(&reply);
    assert!(client.ends_within(PATIENCE));
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_bad_head_behind_a_refused_request_is_answered_once_each() {
    let serin = Serin::serving("");
    let mut client = serin.client();
    client.send([&request("POST", "/", &[], b"body")[..], b"no head at all\r\n\r\n"].concat());
    assert_eq!(client.reply().status, 404);
    assert_eq!(client.reply().status, 400);
    assert!(client.ends_within(PATIENCE));
}

#[test]
fn the_text_log_leaves_out_what_is_not_known() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("access.log");
    let serin = Serin::serving(&format!("access_log: {{to: \"{}\", format: text}}\n", path.display()));
    let mut client = serin.client();
    client.send("nonsense\r\n\r\n");
    let id = id_of(&client.reply()).to_owned();
    let read = || fs::read_to_string(&path).unwrap_or_default();
    eventually(PATIENCE, "a line", || read().ends_with('\n'));
    let line = read();
    let (_, rest) = line.split_once(' ').expect("the time");
    let (begin, end) = (rest.split("ms ").next().unwrap_or_default(), rest.split("ms ").nth(1).unwrap_or_default());
    assert!(begin.starts_with("400 "), "{line}");
    assert_eq!(begin.split(' ').count(), 2, "status and duration: {line}");
    assert_eq!(end, format!("0B client=127.0.0.1 error=malformed id={id}\n"));
}
