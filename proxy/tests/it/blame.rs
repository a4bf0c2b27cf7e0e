//! What is counted for and against an endpoint, and what is its clients' doing.

use std::fs;
use std::time::Duration;

use crate::support::client::request;
use crate::support::{Cut, Origin, PATIENCE, Serin, Then, eventually};

const PAUSE: Duration = Duration::from_millis(500);

fn errors(serin: &Serin) -> f64 {
    serin.metric("serin_endpoint_errors_total")
}

/// The head of an answer of 100 bytes, and four of them.
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";

#[test]
fn an_answer_that_breaks_off_counts_against_the_endpoint() {
    let origin = Origin::start(|visit| {
        visit.write(PART)?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    assert!(client.try_reply(false).is_err());
    serin.wait_until_quiet(PATIENCE);
    assert_eq!((errors(&serin), serin.metric("serin_endpoint_requests_total")), (1.0, 1.0));
}

#[test]
fn an_answer_that_pauses_for_too_long_counts_against_the_endpoint() {
    let origin = Origin::start(|visit| {
        visit.write(PART)?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 300ms}");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    assert_eq!(client.try_reply(false), Err(Cut::Incomplete));
    serin.wait_until_quiet(PATIENCE);
    assert_eq!(errors(&serin), 1.0);
}

#[test]
fn an_answer_that_nobody_reads_in_time_does_not() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
        let piece = vec![b'x'; 1 << 20];
        loop {
            visit.write(&piece)?;
        }
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {total: 500ms}");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    eventually(PATIENCE, "the limit", || serin.metric("serin_request_errors_total") == 1.0);
    assert_eq!(errors(&serin), 0.0);
}

#[test]
fn a_request_that_is_not_sent_in_time_does_not() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "timeouts: {total: 300ms}");
    for _ in 0..5 {
        let mut client = serin.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\npart");
        assert_eq!(client.reply().status, 408);
    }
    serin.wait_until_quiet(PATIENCE);
    assert_eq!(errors(&serin), 0.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "reason=\"client_too_slow\""), 5.0);
}

#[test]
fn a_client_that_leaves_counts_against_nobody() {
    let origin = Origin::start(|visit| {
        visit.write(PART)?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    eventually(PATIENCE, "the answer has begun", || serin.metric("serin_endpoint_requests_total") == 1.0);
    client.reset();
    serin.wait_until_quiet(PATIENCE);
    assert_eq!(errors(&serin), 0.0);
}

#[test]
fn a_slow_upload_is_not_the_endpoints_time() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let serin = Serin::serving(&format!(
        "access_log: {{to: \"{}\"}}\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        log.display(),
        origin.address()
    ));
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nslow");
    // The time of the request begins when Serin reads its head: before the endpoint has it, and after it was sent.
    origin.wait_until("the head", |log| log.requests.len() == 1);
    std::thread::sleep(PAUSE);
    client.send("poke");
    assert_eq!(client.reply().text(), "app");
    let took = serin.metric("serin_endpoint_response_head_seconds_total");
    assert!(took > 0.0 && took < PAUSE.as_secs_f64(), "{took}");
    assert_eq!(serin.metric("serin_endpoint_response_heads_timed_total"), 1.0);
    eventually(PATIENCE, "a line", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&log).expect("a log")).expect("a line");
    let ms = |field: &str| line[field].as_f64().unwrap_or_else(|| panic!("no {field} in {line}"));
    assert!(ms("head_ms") < 500.0 && ms("duration_ms") >= 500.0, "{line}");
}

#[test]
fn a_slow_endpoint_is() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        std::thread::sleep(PAUSE);
        visit.answer(200, &[], b"slow")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), "slow");
    assert_eq!(client.request("POST", "/", &[], b"body").text(), "slow");
    let took = serin.metric("serin_endpoint_response_head_seconds_total");
    assert!(took >= 2.0 * PAUSE.as_secs_f64(), "{took}");
}

#[test]
fn an_answer_before_the_end_of_the_request_has_no_time() {
    let origin = Origin::start(|visit| {
        visit.answer(403, &[], b"not you")?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\npart");
    assert_eq!(client.reply().status, 403);
    assert_eq!(serin.metric("serin_endpoint_requests_total"), 1.0);
    assert_eq!(serin.metric("serin_endpoint_response_heads_timed_total"), 0.0);
}
