//! gRPC through the proxy: calls of all kinds, how they end, and what is told to a client that is not served.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use h2::Reason;

use crate::support::grpc::{GrpcClient, framed, unframed};
use crate::support::http2_origin::{Call, Http2Origin, fields};
use crate::support::{Origin, PATIENCE, Serin, eventually};

/// One thread that runs a test's client.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

fn rules(origin: &Http2Origin, upstream: &str, route: &str) -> String {
    format!(
        "routes: {{all: {{paths: [{{prefix: /echo.Echo}}], upstream: app{route}}}}}\n\
         upstreams: {{app: {{protocol: h2c, endpoints: [\"{}\"]{upstream}}}}}\n",
        origin.address()
    )
}

/// The next message of a call at its endpoint.
async fn message(call: &mut Call, unread: &mut BytesMut) -> Option<Vec<u8>> {
    loop {
        if let Some(message) = unframed(unread) {
            return Some(message);
        }
        unread.extend_from_slice(&call.data().await?.ok()?);
    }
}

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

/// The end of a call that has no message.
const WELL: [(&str, &str); 2] = [GRPC[0], ("grpc-status", "0")];

/// A service of the four kinds, and of a few ways to fail.
fn echo() -> Http2Origin {
    Http2Origin::start(|mut call| async move {
        let mut unread = BytesMut::new();
        let path = call.path().to_owned();
        let method = path.rsplit('/').next().unwrap_or_default();
        if let Some(code) = method.strip_prefix("Refuse") {
            return call.answer(200, &[GRPC[0], ("grpc-status", code), ("grpc-message", "as%20asked")], b"");
        }
        if method == "Never" {
            let reason = call.is_reset().await;
            return call.note(format!("{reason:?}"));
        }
        let mut answer = call.begin(200, &GRPC, false);
        let mut send = |message: &[u8]| answer.send_data(framed(message), false).is_ok();
        let code = match method {
            "Unary" => {
                let message = message(&mut call, &mut unread).await.unwrap_or_default();
                send(&message);
                "0"
            }
            "Collect" => {
                let mut all = Vec::new();
                while let Some(message) = message(&mut call, &mut unread).await {
                    all.extend_from_slice(&message);
                }
                send(&all);
                "0"
            }
            "Expand" => {
                let message = message(&mut call, &mut unread).await.unwrap_or_default();
                let _ = message.chunks(1).all(&mut send);
                "0"
            }
            "Chat" => {
                while let Some(message) = message(&mut call, &mut unread).await {
                    send(&[b"re: ", &message[..]].concat());
                }
                "0"
            }
            "Ticks" => {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    send(b"tick");
                }
                "0"
            }
            "Hold" => {
                let reason = poll_fn(|cx| answer.poll_reset(cx)).await;
                return call.note(format!("{reason:?}"));
            }
            late => late.strip_prefix("Late").unwrap_or("12"),
        };
        let details = [("grpc-status", code), ("grpc-status-details-bin", "AAE"), ("x-own", "1")];
        answer.send_trailers(fields(&details)).ok();
    })
}

#[test]
fn calls_of_all_kinds_pass() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        assert_eq!(client.unary("/echo.Echo/Unary", &[]).await, (vec![b"message".to_vec()], "0".to_owned()));
        let mut call = client.call("/echo.Echo/Collect", &[]).await;
        [&b"one "[..], b"two "].into_iter().for_each(|message| call.send(message, false));
        call.send(b"three", true);
        assert_eq!(call.finish().await, (vec![b"one two three".to_vec()], "0".to_owned()));
        let (messages, code) = client.unary("/echo.Echo/Expand", &[]).await;
        assert_eq!((messages.concat(), messages.len(), code.as_str()), (b"message".to_vec(), 7, "0"));
        // Each answer is there before the next message is written.
        let mut call = client.call("/echo.Echo/Chat", &[]).await;
        for number in 0..20 {
            call.send(format!("{number}").as_bytes(), false);
            assert_eq!(call.message().await.unwrap().unwrap(), format!("re: {number}").into_bytes());
        }
        call.close();
        assert_eq!(call.finish().await, (Vec::new(), "0".to_owned()));
    });
    assert_eq!(origin.log().accepted, 1);
    assert!(origin.log().calls.iter().all(|call| call.fields["te"] == "trailers"));
    assert_eq!(serin.metric_of("serin_endpoint_requests_total", "2xx"), 4.0);
}

/// A page would be UNKNOWN to a client.
#[test]
fn what_is_not_served_is_said_in_terms_of_grpc() {
    let (origin, slow, old) = (echo(), echo(), Origin::named("old"));
    drop(old);
    let upstreams = format!(
        "upstreams: {{app: {{protocol: h2c, endpoints: [\"{}\"]}}, none: {{protocol: h2c}}, \
         gone: {{protocol: h2c, endpoints: [\"127.0.0.1:1\"]}}, slow: {{protocol: h2c, endpoints: [\"{}\"]}}}}\n",
        origin.address(),
        slow.address()
    );
    let routes = "routes: {app: {paths: [{prefix: /limited}], upstream: app, limits: {rate_limit: {rate: 1/h, burst: 1}}}, \
                  small: {paths: [{prefix: /small}], upstream: app, limits: {body: 4B}}, \
                  none: {paths: [{prefix: /none}], upstream: none}, gone: {paths: [{prefix: /gone}], upstream: gone}, \
                  slow: {paths: [{prefix: /slow}], upstream: slow, timeouts: {request: 100ms}}}\n";
    let serin = Serin::serving(&format!("{routes}{upstreams}"));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        assert_eq!(client.unary("/limited/Unary", &[]).await.1, "0");
        let expected = [
            ("/limited/Unary", "8 too many requests"),
            ("/small/Unary", "8 request body too large"),
            ("/none/Unary", "14 no endpoint available"),
            ("/gone/Unary", "14 no connection to the endpoint"),
            ("/slow/Never", "4 no response from the endpoint in time"),
            ("/nowhere/Unary", "12 no route"),
            ("/a%00/Unary", "13 invalid path"),
        ];
        for (path, said) in expected {
            let mut call = client.call(path, &[]).await;
            call.send(b"message", true);
            assert_eq!(call.finish().await, (Vec::new(), said.to_owned()), "{path}");
            assert_eq!((call.http_status, call.head["content-type"].to_str().unwrap()), (200, "application/grpc"));
            assert!(call.head.contains_key("x-request-id"));
        }
    });
    // They count as what they are.
    let counted = |class: &str| serin.metric_of("serin_requests_total", class);
    eventually(PATIENCE, "counted", || counted("4xx") == 4.0);
    assert_eq!((counted("2xx"), counted("5xx")), (1.0, 3.0));
}

/// The endpoint is not to blame for a client that waits shortly.
#[test]
fn the_deadline_of_the_client_ends_a_call() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        let began = Instant::now();
        let (_, said) = client.unary("/echo.Echo/Never", &[("grpc-timeout", "200m")]).await;
        assert_eq!(said, "4 the client's deadline is over");
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        // In the middle of an answer there is only the end of the stream.
        let mut call = client.call("/echo.Echo/Hold", &[("grpc-timeout", "200000u")]).await;
        call.send(b"message", true);
        assert!(call.finish().await.1.starts_with("reset"));
        // What cannot be read is none.
        assert_eq!(client.unary("/echo.Echo/Unary", &[("grpc-timeout", "0")]).await.1, "0");
    });
    origin.wait_until("the ends", |log| log.notes.len() == 2);
    assert!(origin.log().notes.iter().all(|note| *note == format!("Ok({:?})", Reason::CANCEL)));
    assert_eq!(origin.call_to("Never").fields["grpc-timeout"], "200m");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0);
}

/// Where all clients have deadlines, nothing else would tell of an endpoint that hangs.
#[test]
fn a_deadline_is_held_against_an_endpoint_that_had_the_call_for_long() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        let (_, said) = client.unary("/echo.Echo/Never", &[("grpc-timeout", "1500m")]).await;
        assert_eq!(said, "4 no response from the endpoint in time");
        // It has begun to answer, or was not told all.
        let mut call = client.call("/echo.Echo/Hold", &[("grpc-timeout", "1500m")]).await;
        call.send(b"message", true);
        assert!(call.finish().await.1.starts_with("reset"));
        let mut call = client.call("/echo.Echo/Never", &[("grpc-timeout", "1500m")]).await;
        call.send(b"message", false);
        assert_eq!(call.finish().await.1, "4 the client's deadline is over");
    });
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 1.0);
}

/// The time that a call spent in the queue is not there to be spent again.
#[test]
fn an_endpoint_hears_what_is_left_of_the_deadline() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, ", limits: {in_flight: 1, queue: {length: 1, timeout: 10s}}", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        let mut first = client.call("/echo.Echo/Collect", &[]).await;
        first.send(b"x", false);
        while origin.log().calls.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut second = client.call("/echo.Echo/Unary", &[("grpc-timeout", "60S")]).await;
        second.send(b"message", true);
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.close();
        assert_eq!(first.finish().await.1, "0");
        assert_eq!(second.finish().await.1, "0");
    });
    let call = origin.call_to("Unary");
    let left = call.fields["grpc-timeout"].to_str().unwrap().strip_suffix('m').expect("milliseconds");
    assert!((1..59_900).contains(&left.parse::<u32>().unwrap()), "{left}");
}

#[test]
fn a_call_that_is_cancelled_is_cancelled_at_its_endpoint() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        for (place, method) in ["Never", "Hold"].into_iter().enumerate() {
            let mut call = client.call(&format!("/echo.Echo/{method}"), &[]).await;
            call.send(b"message", false);
            while origin.log().calls.len() <= place {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            call.sending.send_reset(Reason::CANCEL);
            // The connection writes while something is awaited.
            assert!(call.message().await.is_err());
            while origin.log().notes.len() <= place {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(client.unary("/echo.Echo/Unary", &[]).await.1, "0");
    });
    assert!(origin.log().notes.iter().all(|note| *note == format!("Ok({:?})", Reason::CANCEL)));
    assert_eq!((origin.log().accepted, serin.metric("serin_endpoint_errors_total")), (1, 0.0));
}

#[test]
fn a_call_counts_by_how_it_went() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, ", breaker: false", ""));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        for (method, said) in
            [("Refuse14", "14 as%20asked"), ("Refuse5", "5 as%20asked"), ("Late13", "13"), ("Late3", "3")]
        {
            assert_eq!(client.unary(&format!("/echo.Echo/{method}"), &[]).await.1, said);
        }
        assert_eq!(client.unary("/echo.Echo/Unary", &[]).await.1, "0");
    });
    for metric in ["serin_endpoint_requests_total", "serin_requests_total", "serin_route_requests_total"] {
        let counted = |class: &str| serin.metric_of(metric, class);
        eventually(PATIENCE, metric, || (counted("2xx"), counted("4xx"), counted("5xx")) == (1.0, 2.0, 2.0));
    }
}

/// Whether that is known from the head or from what follows the messages.
#[test]
fn a_breaker_opens_by_how_calls_went() {
    for (method, opens) in [("Refuse14", true), ("Late13", true), ("Refuse5", false), ("Late12", false)] {
        let (origin, well) = (echo(), Http2Origin::start(|mut call| async move { call.answer(200, &WELL, b"") }));
        let both = format!("endpoints: [\"{}\", \"{}\"], balance: round_robin", origin.address(), well.address());
        let all = rules(&origin, "", "").replace(&format!("endpoints: [\"{}\"]", origin.address()), &both);
        let serin = Serin::serving(&all);
        run(async {
            let client = GrpcClient::connect(serin.address()).await;
            for _ in 0..14 {
                client.unary(&format!("/echo.Echo/{method}"), &[]).await;
            }
        });
        let opened = || serin.metric_of("serin_endpoint_breaker_openings_total", "streak") > 0.0;
        match opens {
            true => eventually(PATIENCE, method, opened),
            false => assert!(!opened(), "{method}"),
        }
    }
}

/// One direction may be quiet for as long as the other is not.
#[test]
fn a_call_lives_as_long_as_messages_move_either_way() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ", timeouts: {idle: 2s}"));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        let mut call = client.call("/echo.Echo/Ticks", &[]).await;
        call.send(b"message", false);
        let (messages, code) = call.finish().await;
        assert_eq!((messages.len(), code.as_str()), (10, "0"));
        let mut call = client.call("/echo.Echo/Collect", &[]).await;
        for _ in 0..8 {
            call.send(b"x", false);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        call.close();
        assert_eq!(call.finish().await, (vec![b"xxxxxxxx".to_vec()], "0".to_owned()));
        let mut call = client.call("/echo.Echo/Hold", &[]).await;
        call.send(b"message", false);
        assert!(call.finish().await.1.starts_with("reset"));
    });
}

#[test]
fn the_log_says_how_a_call_went() {
    let origin = echo();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("access.log");
    let log = format!("access_log: {{to: \"{}\"}}\n", path.display());
    let serin = Serin::serving(&format!("{log}{}", rules(&origin, "", "")));
    run(async {
        let client = GrpcClient::connect(serin.address()).await;
        client.unary("/echo.Echo/Late13", &[]).await;
        client.unary("/nowhere/Unary", &[]).await;
    });
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually(PATIENCE, "lines", || read().lines().count() == 2);
    let lines: Vec<serde_json::Value> = read().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["status"], &lines[0]["grpc_status"]), (&200.into(), &13.into()));
    assert_eq!((&lines[1]["grpc_status"], &lines[1]["error"]), (&12.into(), &"no_route".into()));
}

/// A request like any other, whose answers are pages.
#[test]
fn grpc_of_browsers_is_no_grpc() {
    let origin = echo();
    let serin = Serin::serving(&rules(&origin, "", ""));
    let reply = serin.client().request("POST", "/nowhere", &[("Content-Type", "application/grpc-web+proto")], b"");
    assert_eq!(reply.status, 404);
    let none = serin.client().request("POST", "/nowhere", &[("Content-Type", "application/grpc")], b"");
    assert_eq!(none.status, 404, "HTTP/1 has no calls");
}
