//! Time limits and size limits: each ends with the right answer, in time, and frees what was held.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serin_proxy::server::ConnectionLimits;

use crate::support::client::request;
use crate::support::{Client, Cut, Origin, PATIENCE, Serin, Then, eventually};

const SECOND: Duration = Duration::from_secs(1);

fn silent() -> Origin {
    Origin::start(|visit| visit.wait_for_end())
}

/// Runs and says how long it took.
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = run();
    (result, began.elapsed())
}

#[test]
fn no_answer_in_time_is_a_504() {
    let origin = silent();
    let serin = Serin::in_front_of(&origin, "timeouts: {request: 300ms}");
    let mut client = serin.client();
    for body in [&b""[..], b"body"] {
        let (reply, took) = timed(|| client.request("POST", "/", &[], body));
        assert_eq!(reply.status, 504);
        assert!(reply.text().starts_with("504 no response from the endpoint in time\n"), "{}", reply.text());
        assert!((Duration::from_millis(250)..SECOND).contains(&took), "{took:?}");
    }
    origin.wait_within(SECOND, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 2.0);
}

#[test]
fn a_head_that_trickles_from_the_endpoint_is_a_504() {
    let origin = Origin::start(|visit| {
        for byte in b"HTTP/1.1 200 OK\r\nx-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            visit.write([*byte])?;
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {request: 300ms, idle: 10s}");
    let (reply, took) = timed(|| serin.client().get("/"));
    assert_eq!(reply.status, 504);
    assert!(took < SECOND, "{took:?}");
}

/// An address whose kernel takes no more connections: the queue of a listener that accepts nothing is full.
struct Blackhole {
    _listener: socket2::Socket,
    _queue: Vec<socket2::Socket>,
    address: SocketAddr,
}

impl Blackhole {
    fn dig() -> Self {
        let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = tcp();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        loop {
            let socket = tcp();
            if socket.connect_timeout(&address, Duration::from_millis(200)).is_err() {
                break;
            }
            queue.push(socket);
        }
        Self { _listener: listener, _queue: queue, address: address.as_socket().unwrap() }
    }
}

#[test]
fn no_connection_in_time_is_a_504() {
    let hole = Blackhole::dig();
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app, timeouts: {{connect: 300ms}}}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        hole.address
    ));
    let (reply, took) = timed(|| serin.client().request("POST", "/", &[], b"body"));
    assert_eq!(reply.status, 504);
    assert!(reply.text().starts_with("504 no connection to the endpoint in time\n"), "{}", reply.text());
    assert!((Duration::from_millis(250)..SECOND).contains(&took), "{took:?}");
    serin.wait_until_quiet(SECOND);
}

#[test]
fn a_slow_head_is_a_408() {
    let origin = Origin::named("app");
    let limits = ConnectionLimits { head_ms: 400, ..Default::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = serin.client();
    let began = Instant::now();
    // A byte now and then does not help: the deadline counts from the first one.
    for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if client.try_send([*byte]).is_err() || began.elapsed() > 2 * SECOND {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let reply = client.reply();
    assert_eq!((reply.status, reply.announces_close()), (408, true));
    assert!(client.ends_within(3 * SECOND));
    assert_eq!((serin.metric("serin_request_head_timeouts_total"), origin.log().accepted), (1.0, 0));
}

#[test]
fn a_slow_head_on_a_used_connection_is_a_408() {
    let origin = Origin::named("app");
    let limits = ConnectionLimits { head_ms: 300, ..Default::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 200);
    client.send("GET / HTT");
    assert_eq!(client.reply().status, 408);
}

#[test]
fn a_slow_head_on_a_parked_connection_is_a_408() {
    let origin = Origin::named("app");
    let limits = ConnectionLimits { head_ms: 300, park_ms: 100, ..Default::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = serin.client();
    eventually(PATIENCE, "parked", || serin.metric("serin_connections_parked") == 1.0);
    client.send("G");
    assert_eq!(client.reply().status, 408);
}

#[test]
fn a_body_that_stops_is_a_408() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"")
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 300ms}");
    for head in ["Content-Length: 100\r\n\r\npart", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let mut client = serin.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{head}"));
        let (reply, took) = timed(|| client.reply());
        assert_eq!((reply.status, reply.announces_close()), (408, true), "{head}");
        assert!(took < SECOND, "{took:?}");
        assert!(client.ends_within(3 * SECOND));
    }
    origin.wait_within(SECOND, "the endpoint is freed", |log| log.open == 0);
    assert!(origin.requests().iter().all(|request| !request.complete));
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0, "not the endpoint's fault");
}

/// The limit for the answer begins with the end of the request.
#[test]
fn a_long_upload_does_not_use_up_the_time_for_the_answer() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"all here")
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {request: 300ms}");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(70));
        client.send("x");
    }
    assert_eq!(client.reply().text(), "all here");
}

#[test]
fn a_body_that_was_promised_and_never_begins_is_a_408() {
    let origin = silent();
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 300ms}");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.interim), (408, vec![100]));
}

/// The endpoint takes the connection and nothing of the body. The client is ready, so waiting is not its fault, and
/// it must not last for ever.
#[test]
fn an_endpoint_that_takes_nothing_of_a_body_is_a_504() {
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let origin = Origin::start(move |_| {
        let _ = hold.lock().unwrap().recv();
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "limits: {body: 1GiB}, timeouts: {idle: 300ms, request: 600ms}");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n");
    let mut writing = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..95 {
            if writing.write_all(&piece).is_err() {
                break;
            }
        }
    });
    eventually(3 * SECOND, "the request has ended", || serin.metric("serin_requests_in_flight") == 0.0);
    assert_eq!(client.reply().status, 504);
    drop(release);
    drop(client);
    drop(origin);
    writer.join().unwrap();
}

#[test]
fn an_answer_that_stops_is_cut() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 300ms}");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    let (reply, took) = timed(|| client.try_reply(false));
    assert_eq!(reply, Err(Cut::Incomplete));
    assert!(took < SECOND, "{took:?}");
    origin.wait_within(SECOND, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
}

#[test]
fn an_answer_that_keeps_coming_is_not_cut() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(110));
            visit.write("1\r\nx\r\n")?;
        }
        visit.write("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 1s, request: 1s}");
    assert_eq!(serin.client().get("/").body.len(), 12);
}

#[test]
fn the_total_limit_ends_what_keeps_coming() {
    let origin = Origin::start(|visit| {
        if visit.request.target == "/silent" {
            return visit.wait_for_end();
        }
        visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            visit.write("1\r\nx\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {total: 400ms}");
    let mut client = serin.client();
    assert_eq!(client.get("/silent").status, 504);
    client.send(request("GET", "/endless", &[], b""));
    let (reply, took) = timed(|| client.try_reply(false));
    assert_eq!(reply, Err(Cut::Incomplete));
    assert!(took < 2 * SECOND, "{took:?}");
    serin.wait_until_quiet(SECOND);
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
        let piece = vec![b'x'; 1 << 20];
        loop {
            visit.write(&piece)?;
        }
    });
    let limits = ConnectionLimits { write_stall_ms: 400, ..Default::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = Client::with_small_buffer(serin.address());
    client.send(request("GET", "/", &[], b""));
    origin.wait_until("the request", |log| log.requests.len() == 1);
    origin.wait_within(4 * SECOND, "the endpoint is freed", |log| log.open == 0);
    serin.wait_until_quiet(SECOND);
}

/// The idle limit of a route is about bytes from the endpoint: a client that reads slowly does not use it up.
#[test]
fn a_slow_reader_is_not_the_endpoints_fault() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n")?;
        visit.write(vec![b'x'; 30_000_000])?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 200ms}");
    let mut client = Client::with_small_buffer(serin.address());
    client.send(request("GET", "/", &[], b""));
    origin.wait_until("the request", |log| log.requests.len() == 1);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(client.reply().body.len(), 30_000_000);
}

// Sizes.

fn limited() -> (Origin, Serin) {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], visit.request.body.len().to_string().as_bytes())
    });
    let serin = Serin::in_front_of(&origin, "limits: {body: 1000B}");
    (origin, serin)
}

#[test]
fn a_body_over_the_limit_is_a_413() {
    let (origin, serin) = limited();
    let mut client = serin.client();
    assert_eq!(client.request("POST", "/", &[], &[b'x'; 1_000]).text(), "1000");
    let reply = client.request("POST", "/", &[], &[b'x'; 1_001]);
    assert_eq!((reply.status, reply.announces_close()), (413, true));
    assert!(client.ends_within(3 * SECOND));
    assert_eq!(origin.requests().len(), 1, "the endpoint was not bothered");
}

#[test]
fn a_chunked_body_over_the_limit_is_a_413() {
    let (origin, serin) = limited();
    let mut client = serin.client();
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("{chunk}{chunk}0\r\n\r\n"));
    assert_eq!(client.reply().text(), "1000");
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&chunk);
    origin.wait_until("the second request", |log| log.requests.len() == 2);
    client.send(format!("{chunk}{chunk}"));
    let reply = client.reply();
    assert_eq!((reply.status, reply.announces_close()), (413, true));
    assert!(client.ends_within(3 * SECOND));
    origin.wait_within(SECOND, "the endpoint's connection is closed", |log| log.open == 0);
    assert!(!origin.requests()[1].complete, "a part must not look whole");
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 0.0, "not the endpoint's fault");
}

#[test]
fn the_answer_to_an_upload_over_the_limit_can_be_read() {
    let (_origin, serin) = limited();
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200000\r\n\r\n");
    // All of it is on the way before the answer is looked at; within what is read to be polite.
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.reply().status, 413);
    assert!(client.ends_within(3 * SECOND));
}

#[test]
fn a_limit_of_zero_refuses_bodies_and_nothing_else() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "limits: {body: 0}");
    assert_eq!(serin.client().get("/").status, 200);
    assert_eq!(serin.client().request("POST", "/", &[("Content-Length", "0")], b"").status, 200);
    assert_eq!(serin.client().request("POST", "/", &[], b"x").status, 413);
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.reply().status, 413);
}

#[test]
fn heads_over_the_limit_are_refused() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    let long = |length: usize| format!("GET / HTTP/1.1\r\nHost: a.test\r\nx-long: {}\r\n\r\n", "x".repeat(length));
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "x-f: 1\r\n".repeat(count - 1));
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(length - 1));
    let cases = [
        (long(31 << 10), 200),
        (long(33 << 10), 431),
        (many(100), 200),
        (many(101), 431),
        (target(8 << 10), 200),
        (target((8 << 10) + 1), 414),
        (target(30 << 10), 414),
    ];
    for (index, (head, status)) in cases.iter().enumerate() {
        let mut client = serin.client();
        client.send(head);
        let reply = client.reply();
        assert_eq!(reply.status, *status, "case {index}");
        if *status != 200 {
            assert!(reply.announces_close(), "case {index}");
            assert!(client.ends_within(PATIENCE), "case {index}");
        }
    }
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn answer_heads_over_the_limit_are_a_502() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        match visit.request.target.as_str() {
            "/long" => visit.answer(200, &[("x-long", &"x".repeat(33 << 10))], b""),
            "/many" => visit.answer(200, &[("x-f", "1"); 101], b""),
            _ => visit.answer(200, &[("x-long", &"x".repeat(31 << 10))], b""),
        }
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    assert_eq!(client.get("/long").status, 502);
    assert_eq!(client.get("/many").status, 502);
    assert_eq!(client.get("/fits").status, 200);
}
