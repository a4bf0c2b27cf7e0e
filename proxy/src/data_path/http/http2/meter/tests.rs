use std::sync::Arc;

use super::super::resets::Resets;
use super::walk::FrameHead;
use super::*;
use crate::data_path::http::preface::PREFACE;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A connection on which a client sends these frames, in pieces of so many bytes.
fn excess_of(frames: &[Vec<u8>], piece: usize) -> Result<(), Excess> {
    let bytes = [&PREFACE[..], &frames.concat()].concat();
    let mut meter = Meter::default();
    bytes.chunks(piece).try_for_each(|piece| meter.received(piece, 1))
}

fn flood(frame: Vec<u8>, count: usize) -> Result<(), Excess> {
    let frames = vec![frame; count];
    let result = excess_of(&frames, 16 << 10);
    assert_eq!(result, excess_of(&frames, 7), "however it is cut");
    result
}

#[test]
fn each_flood_is_found_at_its_limit_however_it_is_cut() {
    let ping = frame(FrameHead::PING, 0, 0, &[0; 8]);
    let update = frame(FrameHead::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let (priority, unknown) = (frame(2, 0, 1, &[0; 5]), frame(0xbe, 0, 1, b"what"));
    let cases = [
        (ping, ASIDES, Excess::Ping),
        (update, ASIDES, Excess::WindowUpdate),
        (priority, ASIDES, Excess::Ignored),
        (unknown, ASIDES, Excess::Ignored),
        (frame(FrameHead::SETTINGS, 0, 0, &[]), SETTINGS, Excess::Settings),
        (frame(FrameHead::DATA, 0, 1, &[]), EMPTY_DATA, Excess::TinyData),
        (frame(FrameHead::DATA, 0, 1, b"x"), TINY_DATA, Excess::TinyData),
        (frame(FrameHead::RESET, 0, 1, &[0, 0, 0, 8]), RESETS, Excess::Resets),
    ];
    for (frame, limit, excess) in cases {
        assert_eq!(flood(frame.clone(), limit as usize), Ok(()), "{excess:?}");
        assert_eq!(flood(frame, limit as usize + 1), Err(excess));
    }
}

#[test]
fn a_head_has_few_pieces_and_each_head_begins_anew() {
    let begin = frame(FrameHead::HEADERS, 0, 1, b"head");
    let (more, last) = (frame(FrameHead::CONTINUATION, 0, 1, b"s"), frame(FrameHead::CONTINUATION, 4, 1, b"end"));
    let of = |pieces: usize| [vec![begin.clone()], vec![more.clone(); pieces]].concat();
    assert_eq!(excess_of(&of(PIECES as usize), 3), Ok(()));
    assert_eq!(excess_of(&of(PIECES as usize + 1), 3), Err(Excess::Continuation));
    let whole = [of(2), vec![last]].concat();
    assert_eq!(excess_of(&[&whole[..]; 50].concat(), 3), Ok(()));
}

#[test]
fn small_messages_and_the_updates_of_a_client_that_is_sent_much_are_no_flood() {
    let mut meter = Meter::default();
    meter.received(PREFACE, 1).unwrap();
    let update = frame(FrameHead::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let answer = frame(FrameHead::DATA, 0, 1, &[0; 100]);
    let message = frame(FrameHead::DATA, 0, 1, b"\0\0\0\0\x05hello");
    let nothing = frame(FrameHead::DATA, 0, 1, &[0; 5]);
    let last = frame(FrameHead::DATA, 1, 1, &[0; 5]);
    for _ in 0..100_000 {
        meter.sent(&answer, 1).unwrap();
        meter.received(&[&update[..], &update, &message, &nothing, &last].concat(), 1).unwrap();
    }
}

#[test]
fn resets_of_fewer_than_half_of_the_requests_and_those_that_answers_bring_are_allowed() {
    let mut meter = Meter::default();
    meter.received(PREFACE, 1).unwrap();
    for number in 0..1_000 {
        let stream = 2 * number + 1;
        meter.received(&frame(FrameHead::HEADERS, 5, stream, b"head"), 1).unwrap();
        meter.sent(&frame(FrameHead::RESET, 0, stream, &[0, 0, 0, 0]), 1).unwrap();
        if number % 3 == 0 {
            meter.received(&frame(FrameHead::RESET, 0, stream, &[0, 0, 0, 8]), 1).unwrap();
        }
    }
    let refused = frame(FrameHead::RESET, 0, 1, &[0, 0, 0, 7]);
    let excess = (0..1_000).find_map(|_| meter.sent(&refused, 1).err());
    assert_eq!(excess, Some(Excess::Resets), "those that it provokes count");
}

#[test]
fn a_window_that_is_over_is_forgotten() {
    let mut meter = Meter::default();
    meter.received(PREFACE, 1).unwrap();
    let ping = frame(FrameHead::PING, 0, 0, &[0; 8]);
    for round in 0..10 {
        for _ in 0..ASIDES {
            meter.received(&ping, 1 + round * WINDOW_MS).unwrap();
        }
    }
}

#[test]
fn a_farewell_names_the_last_request_and_waits_for_the_end_of_a_frame() {
    let mut meter = Meter::default();
    meter.received(PREFACE, 1).unwrap();
    meter.received(&frame(FrameHead::HEADERS, 5, 7, b"head"), 1).unwrap();
    let bytes = frame(FrameHead::DATA, 0, 7, b"hello");
    meter.sent(&bytes[..12], 1).unwrap();
    assert_eq!(Farewell { is_between_frames: false, last_stream: 7 }.goaway(11), None);
    assert!(!meter.sent.is_between_frames());
    meter.sent(&bytes[12..], 1).unwrap();
    let goaway = meter.farewell().goaway(11).unwrap();
    assert_eq!(goaway, frame(FrameHead::GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11])[..]);
}

#[test]
fn it_is_known_whether_a_head_is_under_way() {
    let mut meter = Meter::default();
    meter.received(PREFACE, 1).unwrap();
    let (begin, last) = (frame(FrameHead::HEADERS, 0, 1, b"head"), frame(FrameHead::CONTINUATION, 4, 1, b"end"));
    let (half, rest) = begin.split_at(11);
    let told: Vec<bool> = [half, rest, &last[..10], &last[10..], &frame(FrameHead::DATA, 0, 1, b"x")[..9]]
        .into_iter()
        .map(|bytes| {
            meter.received(bytes, 1).unwrap();
            meter.is_within_head()
        })
        .collect();
    assert_eq!(told, [true, true, true, false, false]);
}

#[test]
fn resets_are_counted_over_the_connections_of_a_source() {
    let resets = Arc::new(Resets::new());
    let source = || Some(resets.of([192, 0, 2, 1].into()));
    let begin = |number: u32| frame(FrameHead::HEADERS, 5, 2 * number + 1, b"head");
    let reset = |number: u32| frame(FrameHead::RESET, 0, 2 * number + 1, &8u32.to_be_bytes());
    let run = |source, streams: u32, resets: u32| {
        let mut meter = Meter::of(source);
        meter.received(PREFACE, 1)?;
        (0..streams).try_for_each(|number| meter.received(&begin(number), 1))?;
        (0..resets).try_for_each(|number| meter.received(&reset(number), 1))
    };
    // The window of sources may change once within the test; then those of both windows are below the limit, once.
    let at_limit = || (0..4).map(|_| run(source(), 60, 60)).find(Result::is_err);
    assert_eq!(at_limit(), Some(Err(Excess::Resets)));
    assert_eq!(run(source(), 60, 20), Ok(()), "one that resets little, behind the same address");
    assert_eq!(run(None, 60, 60), Ok(()), "behind a proxy that is trusted there are many clients");
}
