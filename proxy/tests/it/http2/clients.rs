//! Clients as people use them: curl, nghttp, h2load, and hyper's.

use std::convert::Infallible;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::echo;
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually, said_by};

/// What a program prints; nothing if it is not installed and does not have to be.
fn output(program: &str, args: &[&str]) -> Option<String> {
    said_by(Command::new(program).args(args))
}

#[test]
fn curl_gets_and_posts() {
    let (origin, serin) = echo();
    let url = format!("http://{}/hello?x=1", serin.address());
    let of = "%{http_version} %{response_code} %{content_type}\n%{header_json}";
    let Some(got) = output("curl", &["-sS", "--http2-prior-knowledge", "-w", of, &url]) else { return };
    assert!(got.starts_with("/hello?x=12 200"), "{got}");
    assert!(!got.contains("transfer-encoding") && !got.contains("connection"), "{got}");
    let posted = output("curl", &["-sS", "--http2-prior-knowledge", "-d", "a=b", &url]);
    assert_eq!(posted.as_deref(), Some("a=b"));
    let request = origin.requests().pop().expect("it came");
    assert_eq!((request.method.as_str(), request.header("content-length")), ("POST", Some("3")));
    assert_eq!(request.header("host"), Some(serin.address().to_string().as_str()));
    assert_eq!(request.header_lines("transfer-encoding"), [""; 0]);
}

#[test]
fn nghttp_gets_many_at_once_and_h2load_loses_nothing() {
    let (_origin, serin) = echo();
    let url = format!("http://{}/x", serin.address());
    let Some(got) = output("nghttp", &["-m", "20", &url]) else { return };
    assert_eq!(got.matches("/x").count(), 20, "{got}");
    let Some(load) = output("h2load", &["-n", "5000", "-c", "4", "-m", "50", &url]) else { return };
    assert!(load.contains("5000 succeeded, 0 failed, 0 errored"), "{load}");
    assert_eq!(serin.metric("serin_http2_connections_total"), 5.0);
    assert_eq!(serin.metric("serin_http2_excesses_total"), 0.0);
}

/// Sends one request with hyper's client; the trailers are those of the answer.
fn ask(serin: &Serin, request: Request<Full<Bytes>>) -> (Response<Bytes>, Option<HeaderMap>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(serin.address()).await.expect("the proxy accepts connections");
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("a handshake");
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let (parts, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body");
        let trailers = body.trailers().cloned();
        (Response::from_parts(parts, body.to_bytes()), trailers)
    })
}

/// A body that does not say how long it is, beginning with its last frame.
struct Unmeasured(Vec<Frame<Bytes>>);

impl Body for Unmeasured {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://a.test{path}"))
}

#[test]
fn an_answer_says_nothing_of_the_connection_it_came_over() {
    let origin = Origin::start(|visit| {
        visit.write(
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n\
             X-Hop: 1\r\nX-End: 1\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n",
        )?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "");
    let (answer, trailers) = ask(&serin, request("GET", "/").body(Full::default()).unwrap());
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"hello"[..]));
    let mut names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "x-end"]);
    assert_eq!(trailers, None, "no route allows any");
}

#[test]
fn trailers_that_a_route_allows_pass_both_ways() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let sum = visit.request.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
        let sum = sum.map_or("none", |(_, value)| value.as_str());
        visit.write(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: {sum}!\r\nx-other: 1\r\n\r\n"
        ))?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "trailers: [x-sum]");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let trailers = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(serin.address()).await.expect("the proxy accepts connections");
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("a handshake");
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
        let body = Unmeasured([Frame::trailers(sum), Frame::data(Bytes::from("body"))].into());
        let answer = sender.send_request(request("POST", "/").body(body).unwrap()).await.expect("an answer");
        answer.into_body().collect().await.expect("a whole body").trailers().cloned()
    });
    let request = origin.request();
    assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(request.header_lines("transfer-encoding"), ["chunked"]);
    let trailers = trailers.expect("trailers come back");
    assert_eq!((trailers.len(), trailers.get("x-sum").map(|value| value.as_bytes())), (1, Some(&b"7!"[..])));
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/204" => {
            visit.write("HTTP/1.1 204 No Content\r\n\r\n")?;
            Ok(Then::Keep)
        }
        "/304" => {
            visit.write("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")?;
            Ok(Then::Keep)
        }
        _ => visit.answer(200, &[], b"hello"),
    });
    let serin = Serin::in_front_of(&origin, "");
    for (method, path, status, length) in
        [("HEAD", "/", 200, Some("5")), ("GET", "/204", 204, None), ("GET", "/304", 304, Some("5"))]
    {
        let (answer, _) = ask(&serin, request(method, path).body(Full::default()).unwrap());
        let told = answer.headers().get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told, answer.body().len()), (status, length, 0), "{method} {path}");
    }
}

#[test]
fn errors_of_ours_are_answers_like_all_others() {
    let serin = Serin::serving("routes: {one: {hosts: [b.test], upstream: app}}\nupstreams: {app: {endpoints: []}}\n");
    let (answer, _) = ask(&serin, request("GET", "/").body(Full::default()).unwrap());
    assert_eq!(answer.status(), 404);
    assert!(answer.body().starts_with(b"404 no route\nrequest id: "));
    assert!(answer.headers().get("connection").is_none());
    assert!(answer.headers().get("x-request-id").is_some());
}

#[test]
fn the_other_version_is_served_at_the_same_address() {
    let (_origin, serin) = echo();
    let mut http1 = Client::connect(serin.address());
    assert_eq!(http1.get("/one").text(), "/one");
    let (answer, _) = ask(&serin, request("GET", "/two").body(Full::default()).unwrap());
    assert_eq!(&answer.body()[..], b"/two");
    assert_eq!(http1.get("/three").text(), "/three");
}

#[test]
fn the_log_says_which_version_a_client_spoke() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let serin = Serin::serving(&format!(
        "access_log: {{to: \"{}\"}}\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        log.display(),
        origin.address()
    ));
    ask(&serin, request("GET", "/x").body(Full::default()).unwrap());
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(PATIENCE, "a line", || read().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&read()).expect("a line is JSON");
    let told = [&line["method"], &line["host"], &line["target"], &line["protocol"]];
    assert_eq!(told, ["GET", "a.test", "/x", "HTTP/2.0"]);
}
