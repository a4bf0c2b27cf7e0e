//! Bodies on the way: both directions at once, back-pressure, trailers, interim answers, answers that come early, and
//! endings that must not look whole.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::control::Program;
use crate::support::{Client, Cut, Origin, PATIENCE, Serin, Then, eventually};

const MIB: u64 = 1 << 20;

/// The number of bytes once it has not grown for a while, which is when everything in between is full.
fn settled(counter: &AtomicU64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut since) = (counter.load(Ordering::SeqCst), Instant::now());
    while seen == 0 || since.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "still growing after {PATIENCE:?}: {seen} bytes");
        thread::sleep(Duration::from_millis(5));
        let now = counter.load(Ordering::SeqCst);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

/// Writes `total` bytes piece by piece and counts what was taken.
fn pour(mut to: impl Write, total: u64, counter: &AtomicU64) -> std::io::Result<()> {
    let piece = vec![b'x'; 64 << 10];
    let mut left = total;
    while left > 0 {
        let count = to.write(&piece[..left.min(piece.len() as u64) as usize])?;
        left -= count as u64;
        counter.fetch_add(count as u64, Ordering::SeqCst);
    }
    Ok(())
}

/// Most of this is the kernel's: four socket buffers, which grow up to 6 MiB each. What Serin holds is far below 1 MiB.
const IN_FLIGHT: u64 = 28 * MIB;

#[test]
fn a_download_waits_for_its_reader() {
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let origin = Origin::start(move |visit| {
        visit.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 200 * MIB))?;
        pour(visit.stream(), 200 * MIB, &counter)?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Client::with_small_buffer(serin.address());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let in_flight = settled(&written);
    assert!(in_flight < IN_FLIGHT, "{} MiB of 200 were taken for a client that reads nothing", in_flight / MIB);
    // A little more is read, a little more is let through.
    client.take(4 << 20).unwrap();
    eventually(PATIENCE, "the endpoint may go on", || written.load(Ordering::SeqCst) > in_flight);
    let in_flight = settled(&written);
    assert!(in_flight < 4 * MIB + IN_FLIGHT, "{} MiB were taken", in_flight / MIB);
    drop(client);
    serin.wait_until_quiet(Duration::from_secs(1));
    origin.wait_within(Duration::from_secs(1), "the endpoint is freed", |log| log.open == 0);
}

#[test]
fn an_upload_waits_for_the_endpoint() {
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let open = std::sync::Mutex::new(open);
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let origin = Origin::start(move |visit| {
        let _ = open.lock().unwrap().recv();
        let mut scratch = vec![0; 256 << 10];
        while counter.load(Ordering::SeqCst) < 200 * MIB {
            let count = visit.read_some(&mut scratch)?;
            if count == 0 {
                return Ok(Then::Close);
            }
            counter.fetch_add(count as u64, Ordering::SeqCst);
        }
        visit.answer(200, &[], b"all of it")
    });
    let serin = Serin::in_front_of(&origin, "limits: {body: 1GiB}");
    let mut client = serin.client();
    let written = Arc::new(AtomicU64::new(0));
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 200 * MIB));
    let (stream, counter) = (client.stream().try_clone().unwrap(), Arc::clone(&written));
    let writer = thread::spawn(move || pour(stream, 200 * MIB, &counter));
    let in_flight = settled(&written);
    assert!(in_flight < IN_FLIGHT, "{} MiB of 200 were taken for an endpoint that reads nothing", in_flight / MIB);
    gate.send(()).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(client.reply().text(), "all of it");
    assert_eq!(read.load(Ordering::SeqCst), 200 * MIB);
}

#[test]
fn requests_ahead_of_their_turn_wait_in_the_socket() {
    let origin = Origin::start(|visit| visit.wait_for_end());
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let many = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(1 << 15);
    let mut taken = 0;
    while taken < 200 && client.try_send(&many).is_ok() {
        taken += 1;
    }
    assert!(taken < 20, "{taken} MiB of requests were taken ahead");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn both_directions_flow_at_once() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..3 {
            // A chunk of 4 bytes, as the client sent it: `4\r\nabcd\r\n`.
            let chunk = visit.read_exactly(9)?;
            visit.write(chunk)?;
        }
        visit.read_exactly(5)?;
        visit.write("0\r\n\r\n")?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1).unwrap());
    }
    for piece in ["ping", "pong", "peng"] {
        let chunk = format!("4\r\n{piece}\r\n");
        client.send(&chunk);
        assert_eq!(client.take(9).unwrap(), chunk.as_bytes(), "echoed before the next is sent");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.take(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn large_bodies_arrive_whole() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = std::mem::take(&mut visit.request.body);
        visit.answer(200, &[], &body)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    let body: Vec<u8> = (0..5_000_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..2 {
        let reply = client.request("POST", "/", &[], &body);
        assert!(reply.body == body, "{} bytes came back", reply.body.len());
    }
}

/// Answers with a trailer, and tells which trailers the request had.
fn trailing() -> Origin {
    Origin::start(|visit| {
        visit.read_body()?;
        let names: Vec<&str> = visit.request.trailers.iter().map(|(name, _)| name.as_str()).collect();
        let body = names.join(",").to_ascii_lowercase();
        let chunk = format!("{:x}\r\n{body}\r\n", body.len());
        visit.write(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, x-other\r\n\r\n{}0\r\nx-sum: 7\r\nx-other: 8\r\n\r\n",
            if body.is_empty() { "" } else { &chunk }
        ))?;
        Ok(Then::Keep)
    })
}

const WITH_TRAILERS: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: x-sum, x-other\r\n\
                             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-other: 2\r\n\r\n";

#[test]
fn trailers_are_dropped_by_default() {
    let origin = trailing();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send(WITH_TRAILERS);
    let reply = client.reply();
    assert_eq!((reply.text(), reply.trailers.len()), ("", 0));
    assert_eq!(reply.header_lines("x-sum"), Vec::<&str>::new(), "never merged into the head");
    assert_eq!(origin.request().header_lines("x-sum"), Vec::<&str>::new());
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn trailers_that_the_route_names_pass_in_both_directions() {
    let origin = trailing();
    let serin = Serin::in_front_of(&origin, "trailers: [x-sum]");
    let mut client = serin.client();
    client.send(WITH_TRAILERS);
    let reply = client.reply();
    assert_eq!(reply.text(), "x-sum");
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(origin.request().body, b"abc");
    // A client that did not ask for trailers gets none (RFC 9110 §6.5.1).
    let reply = client.get("/");
    assert_eq!((reply.status, reply.trailers.len()), (200, 0));
}

#[test]
fn expect_continue_is_answered_here() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = visit.request.body.clone();
        visit.answer(200, &[], &body)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for body in ["hello", "again"] {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.take(25).unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(body);
        assert_eq!(client.reply().text(), body);
    }
    assert_eq!(origin.requests()[0].header_lines("expect"), Vec::<&str>::new());
}

#[test]
fn a_refusal_comes_instead_of_the_continue() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "paths: [{prefix: /app}], limits: {body: 10B}");
    for (target, status) in [("/none", 404), ("/app", 413)] {
        let mut client = serin.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n"
        ));
        let reply = client.reply();
        assert_eq!((reply.status, reply.interim.len()), (status, 0), "{target}");
        // The client may send the body or not: nobody knows what its next bytes are.
        assert!(reply.announces_close(), "{target}");
        assert!(client.ends_within(Duration::from_secs(1)));
    }
    assert_eq!(origin.log().accepted, 0);
}

#[test]
fn other_expectations_fail() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of(&origin, "");
    for expectation in ["200-ok", "100-continue, x=1", ""] {
        let reply = serin.client().request("POST", "/", &[("Expect", expectation)], b"body");
        assert_eq!(reply.status, 417, "{expectation:?}");
    }
    assert_eq!(origin.log().accepted, 0);
}

#[test]
fn interim_answers_do_not_disturb_the_final_one() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
        visit.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")?;
        visit.answer(200, &[], b"final")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..2 {
        let reply = client.get("/");
        assert_eq!((reply.status, reply.text()), (200, "final"));
        assert!(reply.interim.iter().all(|status| *status == 103), "{:?}", reply.interim);
        assert_eq!(reply.header_lines("link"), Vec::<&str>::new(), "hints are not the answer's fields");
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.interim.len()), ("final", 0), "never to HTTP/1.0");
    assert_eq!(origin.log().accepted, 1);
}

/// As many interim answers as the target says, then the final one.
fn hinting() -> Origin {
    Origin::start(|visit| {
        let count = visit.request.target.trim_start_matches('/').parse().unwrap_or(u32::MAX);
        for place in 0..count {
            visit.write(match place % 2 {
                0 => "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
                _ => "HTTP/1.1 100 Continue\r\n\r\n",
            })?;
        }
        visit.answer(200, &[], b"final")
    })
}

#[test]
fn interim_answers_are_dropped_up_to_a_limit_for_each_request() {
    let origin = hinting();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..3 {
        let reply = client.get("/32");
        assert_eq!((reply.status, reply.text(), reply.interim.len()), (200, "final", 0));
    }
    assert_eq!(origin.log().accepted, 1, "the connection is as good as before");
    for target in ["/33", "/endless"] {
        assert_eq!(client.get(target).status, 502, "{target}");
        origin.wait_within(PATIENCE, "the endpoint's connection is closed", |log| log.open == 0);
    }
    assert_eq!(serin.metric("serin_endpoint_errors_total"), 2.0);
    assert_eq!(client.get("/1").status, 200);
}

/// The endpoint answers when it has seen the head and `read` bytes of the body, and reads no more.
fn hasty(read: usize) -> Origin {
    Origin::start(move |visit| {
        visit.read_exactly(read)?;
        visit.answer(403, &[], b"not you")?;
        visit.wait_for_end()
    })
}

#[test]
fn an_early_answer_is_read_although_the_body_goes_on() {
    let origin = hasty(10);
    let serin = Serin::in_front_of(&origin, "limits: {body: 1GiB}");
    let mut client = serin.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 100 * MIB));
    let (stream, written) = (client.stream().try_clone().unwrap(), AtomicU64::new(0));
    let writer = thread::spawn(move || {
        let _ = pour(stream, 100 * MIB, &written);
        written.load(Ordering::SeqCst)
    });
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (403, "not you"));
    assert!(reply.announces_close());
    let _ = client.stream().shutdown(Shutdown::Both);
    writer.join().unwrap();
    origin.wait_within(Duration::from_secs(3), "the endpoint's connection is closed", |log| log.open == 0);
    serin.wait_until_quiet(Duration::from_secs(1));
}

/// An endpoint that closes with bytes unread makes its kernel send a reset, and writing to it fails; its answer is
/// here all the same.
#[test]
fn an_early_answer_survives_the_endpoints_close() {
    let origin = Origin::start(|visit| {
        visit.answer(413, &[("Connection", "close")], b"too much")?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    for round in 0..20 {
        let mut client = serin.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000000\r\n\r\n");
        let stream = client.stream().try_clone().unwrap();
        let writer = thread::spawn(move || drop(pour(stream, 4_000_000, &AtomicU64::new(0))));
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (413, "too much"), "round {round}");
        let _ = client.stream().shutdown(Shutdown::Both);
        writer.join().unwrap();
    }
}

#[test]
fn after_an_early_answer_the_connection_ends_soon() {
    let origin = hasty(10);
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n0123456789");
    assert_eq!(client.reply().status, 403);
    // The rest of the body never comes, and neither side needs to wait for it.
    assert!(client.ends_within(Duration::from_secs(4)), "the client's connection stays open");
    origin.wait_within(Duration::from_secs(1), "the endpoint's connection is closed", |log| log.open == 0);
}

/// What follows an unfinished body is more of that body, however long it takes to come.
#[test]
fn the_rest_of_a_body_never_becomes_a_request() {
    let origin = Origin::start(|visit| {
        if visit.request.target == "/first" {
            visit.read_exactly(10)?;
            visit.answer(403, &[], b"not you")?;
            return visit.wait_for_end();
        }
        visit.answer(200, &[], b"smuggled")
    });
    let limits = serin_proxy::server::ConnectionLimits { park_ms: 100, ..Default::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = serin.client();
    client.send("POST /first HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n0123456789");
    assert_eq!(client.reply().status, 403);
    // Long enough for an idle connection to be parked.
    let ended = client.ends_within(Duration::from_millis(700));
    if !ended && client.try_send("GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok() {
        client.hears_within(Duration::from_secs(1));
    }
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/first"]);
}

#[test]
fn a_refused_body_that_is_still_coming_ends_the_connection_with_notice() {
    let serin = Serin::serving("");
    let mut client = serin.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nthe beginning");
    let reply = client.reply();
    assert_eq!(reply.status, 404);
    assert!(reply.announces_close(), "the connection is closed, but the answer does not say so");
    assert!(client.ends_within(Duration::from_secs(1)));
}

#[test]
fn a_refused_body_that_is_here_does_not_end_the_connection() {
    let serin = Serin::serving("");
    let mut client = serin.client();
    for _ in 0..3 {
        let reply = client.request("POST", "/", &[], b"a small body");
        assert_eq!((reply.status, reply.announces_close()), (404, false));
    }
}

#[test]
fn a_cut_answer_is_seen_to_be_cut() {
    let origin = Origin::start(|visit| {
        visit.write(match visit.request.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        })?;
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    for target in ["/length", "/chunked"] {
        let mut client = serin.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let error = client.try_reply(false).unwrap_err();
        assert!(matches!(error, Cut::Incomplete | Cut::NoAnswer), "{target}");
    }
    let reasons = serin.metric("serin_request_errors_total");
    assert_eq!(reasons, 2.0);
}

#[test]
fn a_cut_request_never_looks_whole_to_the_endpoint() {
    let origin = Origin::start(|visit| {
        let mut rest = Vec::new();
        let _ = visit.stream().read_to_end(&mut rest);
        let _ = visit.read_body();
        Ok(Then::Close)
    });
    let serin = Serin::in_front_of(&origin, "");
    for head in ["Content-Length: 100\r\n\r\npart", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let mut client = serin.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{head}"));
        eventually(PATIENCE, "the request is under way", || serin.metric("serin_requests_in_flight") == 1.0);
        drop(client);
        serin.wait_until_quiet(Duration::from_secs(1));
    }
    origin.wait_until("both have ended", |log| log.open == 0);
    assert!(origin.requests().iter().all(|request| !request.complete), "{:?}", origin.requests());
}

#[test]
fn bytes_beyond_the_answer_reach_nobody() {
    let origin = Origin::start(|visit| {
        visit
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
        Ok(Then::Keep)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = serin.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.log().accepted, 5, "such a connection is not used again");
}

/// The last part of an answer must not be lost with the connection that it ends.
#[test]
fn an_answer_that_ends_the_connection_reaches_a_slow_reader_whole() {
    let origin = Origin::start(|visit| {
        let body = vec![b'x'; 8 << 20];
        visit.answer(200, &[], &body)
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Client::with_small_buffer(serin.address());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    // Long enough for the whole answer to be in the buffers of the proxy.
    eventually(PATIENCE, "the answer has begun", || serin.metric("serin_endpoint_requests_total") == 1.0);
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.len()), (200, 8 << 20));
}

/// As above, where the answer comes before the end of a body that the client goes on sending.
#[test]
fn an_early_answer_reaches_a_slow_reader_whole() {
    let origin = Origin::start(|visit| {
        visit.read_exactly(10)?;
        let body = vec![b'x'; 2 << 20];
        visit.answer(403, &[], &body)?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "limits: {body: 1GiB}");
    let mut client = Client::with_small_buffer(serin.address());
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 100 * MIB));
    client.send(vec![b'y'; 64 << 10]);
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.len()), (403, 2 << 20));
}

#[test]
fn hundreds_that_do_not_read_cost_little_memory() {
    const CLIENTS: usize = 400;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let origin = Origin::start(move |visit| {
        visit.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 8 * MIB))?;
        pour(visit.stream(), 8 * MIB, &counter)?;
        Ok(Then::Close)
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    let rules = format!(
        "workers: 1\nlisteners: {{web: {{address: \"127.0.0.1:0\"}}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    std::fs::write(&config, rules).expect("room");
    let program = Program::start(&config);
    let before = program.resident_kib();
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(program.address("web")).expect("a connection");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("room");
            stream
        })
        .collect();
    settled(&sent);
    let grown = program.resident_kib().saturating_sub(before);
    let begun = clients.iter().filter(|stream| stream.peek(&mut [0]).is_ok_and(|count| count == 1)).count();
    assert_eq!(begun, CLIENTS, "some have no answer");
    assert!(grown < 300 * CLIENTS as u64, "{grown} KiB for {CLIENTS} clients");
}
