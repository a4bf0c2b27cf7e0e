//! Frames without end: each flood ends its connection soon, costs endpoints little, and leaves other clients alone.

use std::time::{Duration, Instant};

use super::{echo, waiting};
use crate::support::control::Program;
use crate::support::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, PING, PRIORITY, SETTINGS,
    WINDOW_UPDATE, field, frame, head, request,
};
use crate::support::{Origin, Serin, get};

/// Sends the same frames again and again until the proxy has had enough. Returns the reason it gives.
fn flood(client: &mut Frames, mut frames: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let began = Instant::now();
    for round in 0.. {
        assert!(began.elapsed() < Duration::from_secs(8), "nothing ends the flood: {:?}", client.seen);
        let burst: Vec<u8> = (0..50).flat_map(|place| frames(round * 50 + place)).collect();
        let is_open = client.try_send(&burst).is_ok();
        client.comes(Duration::from_millis(1), |seen| seen.is_over);
        if client.seen.is_over || !is_open {
            break;
        }
    }
    client.comes(Duration::from_secs(2), |seen| seen.is_over);
    client.seen.goaways.last().map_or(0, |(_, reason)| *reason)
}

fn assert_ends(what: &str, open: impl Fn(&mut Frames), frames: impl FnMut(u32) -> Vec<u8>) {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    open(&mut client);
    assert_eq!(flood(&mut client, frames), ENHANCE_YOUR_CALM, "{what}: {:?}", client.seen);
    assert_eq!(serin.metric_of("serin_http2_excesses_total", &format!("\"{what}\"")), 1.0, "{what}");
    assert_eq!(get(serin.address(), "/").status, 200);
    serin.wait_until_quiet(Duration::from_secs(2));
}

#[test]
fn requests_that_are_taken_back_at_once() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "");
    let mut client = Frames::connect(serin.address());
    let reason = flood(&mut client, |number| {
        let stream = 2 * number + 1;
        [head(stream, &request("GET", "/wait"), true), frame(3, 0, stream, &CANCEL.to_be_bytes())].concat()
    });
    assert_eq!(reason, ENHANCE_YOUR_CALM, "{:?}", client.seen);
    assert_eq!(serin.metric_of("serin_http2_excesses_total", "\"resets\""), 1.0);
    serin.wait_until_quiet(Duration::from_secs(2));
    origin.wait_within(Duration::from_secs(1), "the endpoint is free", |log| log.open == 0);
    assert!(origin.requests().len() <= 200, "{}", origin.requests().len());
}

#[test]
fn requests_that_are_taken_back_on_one_connection_after_another() {
    let origin = waiting();
    let serin = Serin::in_front_of(&origin, "");
    let mut reasons = Vec::new();
    // Sixty each: as many as one connection may, and far more than one source may. A window may end in between.
    for _ in 0..6 {
        let mut client = Frames::connect(serin.address());
        let both = |number: u32| {
            let stream = 2 * number + 1;
            [head(stream, &request("GET", "/wait"), true), frame(3, 0, stream, &CANCEL.to_be_bytes())].concat()
        };
        let all: Vec<u8> = (0..60).flat_map(both).chain(frame(PING, 0, 0, b"are you?")).collect();
        let _ = client.try_send(&all);
        client.comes(Duration::from_secs(5), |seen| seen.is_over || !seen.pongs.is_empty());
        client.comes(Duration::from_millis(1), |seen| seen.is_over);
        reasons.push(client.seen.goaways.last().map_or(0, |(_, reason)| *reason));
    }
    assert_eq!(reasons[0], 0, "{reasons:?}");
    assert!(reasons.iter().filter(|reason| **reason == ENHANCE_YOUR_CALM).count() >= 2, "{reasons:?}");
    assert!(serin.metric_of("serin_http2_excesses_total", "\"resets\"") >= 2.0);
    assert_eq!(get(serin.address(), "/").status, 200, "others at the same address are served");
    serin.wait_until_quiet(Duration::from_secs(2));
    assert!(origin.requests().len() <= 200, "{}", origin.requests().len());
}

#[test]
fn requests_whose_reset_is_provoked() {
    // A window that grows beyond what a window can be is an error of its stream.
    assert_ends(
        "resets",
        |_| {},
        |number| {
            let stream = 2 * number + 1;
            [head(stream, &request("GET", "/wait"), true), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])]
                .concat()
        },
    );
}

#[test]
fn a_head_without_end() {
    assert_ends(
        "continuation",
        |client| client.frame(HEADERS, END_STREAM, 1, &field(b":method", b"GET")),
        |_| frame(CONTINUATION, 0, 1, &field(b"x", b"y")),
    );
}

#[test]
fn settings() {
    assert_ends("settings", |_| {}, |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn pings() {
    assert_ends("ping", |_| {}, |_| frame(PING, 0, 0, &[1; 8]));
}

#[test]
fn window_updates() {
    assert_ends("window_update", |_| {}, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn priorities_and_unknown_frames() {
    assert_ends("ignored", |_| {}, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 7]));
    assert_ends("ignored", |_| {}, |_| frame(0xbb, 0, 1, b"?"));
}

#[test]
fn data_frames_without_data() {
    assert_ends("tiny_data", |client| client.post(1, "/"), |_| frame(DATA, 0, 1, &[]));
}

#[test]
fn data_frames_with_next_to_nothing() {
    let (_origin, serin) = echo();
    let mut client = Frames::connect(serin.address());
    client.post(1, "/");
    assert_eq!(flood(&mut client, |_| frame(DATA, 0, 1, b"x").repeat(20)), ENHANCE_YOUR_CALM, "{:?}", client.seen);
    assert_eq!(serin.metric("serin_http2_excesses_total"), 1.0);
}

#[test]
fn a_head_that_unfolds_to_many_times_its_size() {
    let (_origin, serin) = echo();
    let mut client = Frames::connect(serin.address());
    let mut block: Vec<u8> = request("GET", "/").iter().flat_map(|(n, v)| field(n.as_bytes(), v.as_bytes())).collect();
    // One field of 4,000 bytes goes into the table, and is then named a thousand times by a byte each.
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'a'; 4_000]);
    block.extend([0xbe; 1_000]);
    client.frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    assert_eq!(client.farewell().map(|(_, reason)| reason), Some(ENHANCE_YOUR_CALM));
    assert_eq!(serin.metric_of("serin_http2_excesses_total", "\"other\""), 1.0);
}

#[test]
fn small_messages_resets_now_and_then_and_pings_are_no_flood() {
    let (origin, serin) = echo();
    let mut client = Frames::connect(serin.address());
    for number in 0..400u32 {
        let stream = 2 * number + 1;
        client.post(stream, "/");
        for _ in 0..20 {
            client.data(stream, b"\0\0\0\0\x05hello", false);
        }
        client.frame(PING, 0, 0, &[1; 8]);
        if number % 3 == 0 {
            client.reset(stream, CANCEL);
        } else {
            client.data(stream, b"end", true);
            assert_eq!(client.answer(stream).body.len(), 203);
        }
    }
    assert!(!client.seen.is_over && client.seen.goaways.is_empty());
    assert!(origin.requests().len() >= 266);
}

/// h2 warns of each. Whoever can fill the log hides in it.
#[test]
fn what_clients_do_does_not_fill_the_log() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    let rules = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nworkers: 1\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    std::fs::write(&path, rules).expect("room");
    let mut program = Program::start(&path);
    let mut client = Frames::connect(program.address("web"));
    client.send(&frame(PING, 1, 0, b"unwanted").repeat(200));
    assert_eq!(client.get_body(1, "/"), b"app");
    drop(client);
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    assert!(!program.log().contains("PING"), "{}", program.log());
}
