//! Hostile requests of HTTP/2, each between two honest ones on the same connection: what is refused must not cost the
//! others anything, unless it leaves the connection itself in doubt.
//!
//! What came of a request is told in the terms of the other cases, so that the same judge hears all: a stream that was
//! reset, or whose connection ended, is a refusal.

use std::time::Duration;

use crate::support::Serin;
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, HEADERS, field, frame};
use crate::support::wire::{Answer, Expect, HttpTwoCase, RawOutcome, RequestCase};
use crate::support::witness::{Witness, echo_body};

use super::lane::{HONEST, HonestClients, accusations, hostile, with};
use super::verdict::{self, Observed, Report};

/// A lane for hostile clients of HTTP/2.
pub(super) struct HttpTwoLane {
    witness: Witness,
    serin: Serin,
    honest: HonestClients,
}

impl HttpTwoLane {
    pub(super) fn start(number: usize) -> Self {
        let witness = Witness::start();
        let serin = Serin::with_endpoint(witness.address());
        Self { witness, serin, honest: HonestClients { lane: number, sent: 0 } }
    }

    /// Runs a case twice: as one piece, and byte by byte.
    pub(super) fn run(&mut self, case: &HttpTwoCase) -> Report {
        let whole = self.run_in_pieces(case, usize::MAX);
        match whole.failures.is_empty() {
            true => self.run_in_pieces(case, 1),
            false => whole,
        }
    }

    fn run_in_pieces(&mut self, case: &HttpTwoCase, piece: usize) -> Report {
        let mut failures = accusations(&self.witness, "late, from the case before");
        self.witness.clear();
        let mut client = Frames::connect(self.serin.address());
        failures.extend(neighbour(&mut client, BEFORE));
        let _ = request(case).chunks(piece).try_for_each(|piece| client.try_send(piece));
        client.comes(PATIENCE, |seen| seen.streams.get(&HOSTILE).is_some_and(|stream| stream.is_over()));
        let mut notes = Vec::new();
        match client.seen.is_over {
            true if case.text.contains(IN_DOUBT) || ENDS_ALL.contains(&&*case.id) => {}
            true => failures.push(format!("the connection ended: {:?}", client.seen.goaways)),
            false => failures.extend(neighbour(&mut client, BEHIND)),
        }
        let outcome = client.stream(HOSTILE);
        if let Some(reset) = outcome.reset.filter(|_| outcome.status.is_none()) {
            notes.push(format!("reset for reason {reset}"));
        }
        failures.extend(self.honest.visit(self.serin.address(), 1));
        failures.extend(accusations(&self.witness, "witness"));
        let seen = hostile(&self.witness);
        self.witness.clear();
        let status = outcome.status.or((outcome.reset.is_some() || client.seen.is_over).then_some(400));
        let is_whole = outcome.has_ended || status.is_some_and(|status| status >= 400);
        let answer =
            status.map(|status| Answer { status, body: outcome.body, complete: is_whole, ..Answer::default() });
        let closed = status.is_some_and(|status| status >= 400);
        let raw = RawOutcome { closed, ..RawOutcome::default() };
        let observed = Observed { outcome: raw, answers: Ok(answer.into_iter().collect()), seen };
        let told = RequestCase {
            id: case.id.clone(),
            expect: if DROPPED.contains(&&*case.id) { Expect::Either } else { case.expect },
            bytes: Vec::new(),
            text: case.text.clone(),
            assertions: case.assertions.clone(),
        };
        let mut report = with(verdict::of_request(&told, &observed), failures);
        report.notes.extend(notes);
        report
    }
}

/// An honest request on the same connection.
fn neighbour(client: &mut Frames, stream: u32) -> Option<String> {
    let target = format!("{HONEST}neighbour-{stream}");
    client.get(stream, &target);
    client.comes(PATIENCE, |seen| seen.streams.get(&stream).is_some_and(|stream| stream.is_over()));
    let answer = client.stream(stream);
    let own = echo_body("GET", &target).into_bytes();
    let is_served = answer.status == Some(200) && answer.has_ended && answer.body == own;
    (!is_served).then(|| format!("the neighbour on stream {stream} got {answer:?}"))
}

/// The frames of a request. A field `#trailers` is no field but one of the trailers: `name=value`.
fn request(case: &HttpTwoCase) -> Vec<u8> {
    let bytes = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let (trailers, fields): (Vec<_>, Vec<_>) = case.fields.iter().partition(|(name, _)| name == "#trailers");
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(&bytes(name), &bytes(value))).collect();
    let trailing: Vec<u8> = trailers
        .iter()
        .filter_map(|(_, trailer)| trailer.split_once('='))
        .flat_map(|(name, value)| field(&bytes(name), &bytes(value)))
        .collect();
    let ends = |is_last: bool| if is_last { END_STREAM } else { 0 };
    let is_alone = case.data.is_none() && trailers.is_empty();
    let mut pieces = block.chunks(16_384);
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<&[u8]> = pieces.collect();
    let end_of_head = |is_last: bool| if is_last { END_HEADERS } else { 0 };
    let mut frames = frame(HEADERS, end_of_head(rest.is_empty()) | ends(is_alone), HOSTILE, first);
    for (place, piece) in rest.iter().enumerate() {
        frames.extend(frame(crate::support::http2::CONTINUATION, end_of_head(place + 1 == rest.len()), HOSTILE, piece));
    }
    if let Some(data) = &case.data {
        frames.extend(frame(crate::support::http2::DATA, ends(trailers.is_empty()), HOSTILE, data));
    }
    if !trailers.is_empty() {
        frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, HOSTILE, &trailing));
    }
    frames
}

/// Says in the description of a case that the connection may end with it: h2 treats what it cannot even decode as an
/// error of the compression that all requests of a connection share, although the RFC asks for less (§8.1.1).
const IN_DOUBT: &str = "(connection)";

/// Cases of the open table of which the same holds.
const ENDS_ALL: [&str; 5] = ["F06", "F07", "F08", "F11", "F24"];

/// A pseudo-field among trailers makes them malformed (RFC 9113 §8.1), but h2 does not tell of it: it is dropped with all other
/// trailers that no route allows, and the request is served as if it had none.
const DROPPED: [&str; 3] = ["F27", "F4-09", "F4-10"];

const BEFORE: u32 = 1;
const HOSTILE: u32 = 3;
const BEHIND: u32 = 5;

const PATIENCE: Duration = Duration::from_millis(2_000);
