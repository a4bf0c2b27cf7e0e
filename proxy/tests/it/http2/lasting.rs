//! How long things may take, and how a connection ends.

use std::fs;
use std::time::{Duration, Instant};

use serin_proxy::server::{ConnectionLimits, Order};

use super::{echo, large, waiting};
use crate::support::control::Program;
use crate::support::http2::{END_STREAM, Frames, HEADERS, NO_ERROR, PING, PREFACE, Seen, field};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};
use crate::tls;

fn short() -> ConnectionLimits {
    ConnectionLimits {
        handshake_ms: 10_000,
        head_ms: 300,
        idle_ms: 400,
        park_ms: 100,
        write_stall_ms: 60_000,
        stream_stall_ms: 500,
        farewell_ms: 5_000,
    }
}

#[test]
fn half_a_preface_is_half_a_head() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Client::connect(serin.address());
    client.send(&PREFACE[..20]);
    let began = Instant::now();
    assert_eq!(client.reply().status, 408);
    assert_eq!(client.rest(), b"");
    assert!((250..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(serin.metric("serin_request_head_timeouts_total"), 1.0);
}

#[test]
fn half_a_head_ends_the_connection_in_time() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::connect(serin.address());
    // Nothing else may be sent before the end of a head, so what there is to confirm is confirmed before.
    client.until("settings", |seen| !seen.settings.is_empty());
    client.frame(HEADERS, END_STREAM, 1, &field(b":method", b"GET"));
    let began = Instant::now();
    assert_eq!(client.farewell(), Some((1, NO_ERROR)));
    assert!((250..2_500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(serin.metric("serin_request_head_timeouts_total"), 1.0);
}

#[test]
fn a_connection_without_requests_is_told_and_closed_and_pings_do_not_keep_it() {
    let origin = Origin::named("app");
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::connect(serin.address());
    assert_eq!(client.get_body(1, "/"), b"app");
    let began = Instant::now();
    while !client.comes(Duration::from_millis(50), |seen| seen.is_over) && !client.seen.is_over {
        let _ = client.try_send(&crate::support::http2::frame(PING, 0, 0, &[7; 8]));
        assert!(began.elapsed() < PATIENCE, "{:?}", client.seen);
    }
    assert_eq!(client.seen.goaways.last(), Some(&(1, NO_ERROR)), "{:?}", client.seen);
    assert!(client.seen.goaways.len() == 2, "two steps: {:?}", client.seen.goaways);
    assert!((350..3_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    eventually(PATIENCE, "closed", || serin.metric("serin_connections_open") == 0.0);
}

#[test]
fn a_request_under_way_keeps_the_connection() {
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(1_200));
        visit.answer(200, &[], b"late")
    });
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::connect(serin.address());
    assert_eq!(client.get_body(1, "/"), b"late");
}

#[test]
fn each_request_has_its_own_time_limits() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "timeouts: {request: 500ms}");
    let mut client = Frames::connect(serin.address());
    client.get(1, "/wait");
    client.get(3, "/");
    assert_eq!(client.answer(3).body, b"served");
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.has_ended), (Some(504), true));
    origin.wait_within(Duration::from_secs(1), "the endpoint is let go", |log| log.open <= 1);
    assert_eq!(client.get_body(5, "/"), b"served");
}

#[test]
fn an_answer_that_stops_in_its_middle_is_reset() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")?;
        visit.wait_for_end()
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 1s}");
    let mut client = Frames::connect(serin.address());
    client.get(1, "/");
    let answer = client.answer(1);
    assert!(!answer.has_ended && answer.reset.is_some_and(|code| code != NO_ERROR), "{answer:?}");
    assert_eq!(serin.metric_of("serin_request_errors_total", "response_cut"), 1.0);
}

#[test]
fn an_upload_that_stands_still_gets_its_answer_and_the_others_go_on() {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[], b"served")
    });
    let serin = Serin::in_front_of(&origin, "timeouts: {idle: 1s}");
    let mut client = Frames::connect(serin.address());
    client.post(1, "/upload");
    client.data(1, b"part", false);
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.has_ended), (Some(408), true), "{answer:?}");
    assert_eq!(client.get_body(3, "/"), b"served");
}

#[test]
fn a_response_that_its_client_does_not_take_is_reset_and_the_others_go_on() {
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/large" => visit.answer(200, &[], &vec![b'x'; 1 << 20]),
        _ => visit.answer(200, &[], b"s"),
    });
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::that_takes(serin.address(), 100);
    client.get(1, "/large");
    client.get(3, "/small");
    assert_eq!(client.answer(3).body, b"s");
    let began = Instant::now();
    let answer = client.answer(1);
    assert_eq!((answer.reset, answer.body.len()), (Some(crate::support::http2::CANCEL), 100));
    assert!((200..3_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    client.get(5, "/small");
    assert_eq!(client.answer(5).body, b"s");
    serin.wait_until_quiet(Duration::from_secs(2));
    origin.wait_within(Duration::from_secs(1), "the endpoint is let go", |log| log.open <= 1);
    assert_eq!(serin.metric("serin_http2_stalled_responses_total"), 1.0);
    assert_eq!(serin.metric_of("serin_request_errors_total", "client_too_slow"), 1.0);
}

#[test]
fn a_response_of_one_piece_that_its_client_does_not_take_is_reset() {
    let origin = Origin::start(|visit| visit.answer(200, &[], b"small"));
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::that_takes(serin.address(), 0);
    for stream in [1, 3, 5] {
        client.get(stream, "/");
    }
    for stream in [1, 3, 5] {
        let answer = client.answer(stream);
        assert_eq!((answer.reset, answer.body.len()), (Some(crate::support::http2::CANCEL), 0));
    }
    serin.wait_until_quiet(Duration::from_secs(2));
    assert_eq!(serin.metric("serin_http2_stalled_responses_total"), 3.0);
    // Its endpoint has served it long ago.
    assert_eq!(serin.metric_of("serin_request_errors_total", "client_too_slow"), 3.0);
}

#[test]
fn a_client_that_takes_a_little_again_and_again_is_served() {
    const WINDOW: usize = 20_000;
    let origin = large(10 * WINDOW);
    let serin = Serin::in_front_of_with(&origin, "", short());
    let mut client = Frames::that_takes(serin.address(), WINDOW as u32);
    client.window(0, 1 << 20);
    client.get(1, "/");
    for round in 1..10usize {
        client.until("a part", |seen| seen.streams.get(&1).is_some_and(|stream| stream.body.len() == round * WINDOW));
        // Longer than half of what a stall may last, so that several rounds together are longer than the whole.
        std::thread::sleep(Duration::from_millis(300));
        client.window(1, WINDOW as u32);
    }
    let answer = client.answer(1);
    assert_eq!((answer.body.len(), answer.has_ended), (10 * WINDOW, true));
}

#[test]
fn draining_lets_streams_finish_and_says_so_in_two_steps() {
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(700));
        visit.answer(200, &[], b"late")
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         shutdown: {{deadline: 10s}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    fs::write(&path, text).expect("room");
    let mut program = Program::start(&path);
    let mut idle = Frames::connect(program.address("web"));
    let mut busy = Frames::connect(program.address("web"));
    busy.get(1, "/");
    busy.get(3, "/");
    idle.until("settings", |seen| !seen.settings.is_empty());
    origin.wait_until("requests", |log| log.requests.len() == 2);
    let began = Instant::now();
    program.signal("TERM");
    assert_eq!(idle.farewell(), Some((0, NO_ERROR)));
    assert_eq!((busy.answer(1).body, busy.answer(3).body), (b"late".to_vec(), b"late".to_vec()));
    assert_eq!(busy.farewell(), Some((3, NO_ERROR)));
    assert_eq!(busy.seen.goaways, [(u32::MAX >> 1, NO_ERROR), (3, NO_ERROR)]);
    drop((idle, busy));
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn an_answer_that_is_taken_slowly_over_tls_is_whole_though_the_proxy_ends() {
    const WINDOW: usize = 20_000;
    let origin = large(10 * WINDOW);
    let serin = tls::in_front_of(origin.address());
    let mut client = Frames::that_takes(tls::bridge::speaking(serin.address(), &["h2"]), WINDOW as u32);
    client.window(0, 1 << 20);
    client.get(1, "/");
    let came = |count: usize| move |seen: &Seen| seen.streams.get(&1).is_some_and(|stream| stream.body.len() == count);
    client.until("a part", came(WINDOW));
    serin.server().order(Order::Drain);
    client.until("the farewell", |seen| !seen.goaways.is_empty());
    for round in 2..=10 {
        client.window(1, WINDOW as u32);
        client.until("more of it", came(round * WINDOW));
    }
    assert!(client.answer(1).has_ended);
    assert_eq!(client.farewell(), Some((1, NO_ERROR)));
}

#[test]
fn a_client_that_does_not_answer_does_not_hold_up_the_end() {
    let (_origin, serin) = echo();
    let mut client = Frames::connect(serin.address());
    assert_eq!(client.get_body(1, "/x"), b"/x");
    // From now on it reads nothing, so it never says that it has heard.
    let began = Instant::now();
    serin.server().order(Order::Drain);
    eventually(PATIENCE, "the end", || client_is_let_go(&serin));
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    drop(client);
}

fn client_is_let_go(serin: &Serin) -> bool {
    std::net::TcpStream::connect(serin.server().admin().expect("there is an admin API")).is_err()
}

/// From now on it listens at another address.
fn move_listener(serin: &Serin, origin: &Origin) {
    serin.reload(&format!(
        "listeners: {{web: {{address: \"127.0.0.2:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
}

#[test]
fn a_listener_that_goes_lets_its_streams_finish() {
    let origin = Origin::start(|visit| {
        std::thread::sleep(Duration::from_millis(500));
        visit.answer(200, &[], b"late")
    });
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    client.get(1, "/");
    origin.wait_until("the request", |log| log.requests.len() == 1);
    move_listener(&serin, &origin);
    assert_eq!(client.answer(1).body, b"late");
    assert_eq!(client.farewell(), Some((1, NO_ERROR)));
}

#[test]
fn a_client_that_has_long_been_idle_is_told_before_its_listener_goes() {
    let origin = Origin::named("app");
    let limits = ConnectionLimits { farewell_ms: 1, ..ConnectionLimits::default() };
    let serin = Serin::in_front_of_with(&origin, "", limits);
    let mut client = Frames::connect(serin.address());
    assert_eq!(client.get_body(1, "/"), b"app");
    move_listener(&serin, &origin);
    client.until("a first word", |seen| !seen.goaways.is_empty());
    assert_eq!(client.seen.goaways[0], (u32::MAX >> 1, NO_ERROR), "a request that is on its way is served");
}

/// As with HTTP/1, and the client hears of it: a request that was on its way then can be repeated elsewhere.
#[test]
fn idle_connections_make_room_for_others_and_are_told() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    let rules = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nworkers: 2\nlimits: {{connections_per_client: 10000}}\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    fs::write(&path, rules).expect("room");
    // Of these 168 are for clients.
    let program = Program::start_with_descriptors(&path, 300);
    let mut clients: Vec<Frames> = Vec::new();
    for _ in 0..250 {
        let mut client = Frames::connect(program.address("web"));
        assert_eq!(client.get_body(1, "/"), b"app");
        clients.push(client);
    }
    for client in &mut clients {
        client.comes(Duration::from_millis(1), |seen| seen.is_over);
    }
    let (gone, kept): (Vec<_>, Vec<_>) = clients.iter().partition(|client| client.seen.is_over);
    assert!(gone.len() >= 250 - 168 && kept.len() >= 100, "{} gone", gone.len());
    assert!(gone.iter().all(|client| client.seen.goaways == [(1, NO_ERROR)]));
}
