//! Counts the frames of one connection, in both directions, and says when a client sends more of a kind than any honest one.
//!
//! hyper and h2 bound what a client can make us keep, but hardly what it can make us do: frames that ask for nothing, or
//! requests that are taken back at once, cost us more than they cost it. Only heads of frames are looked at and nothing
//! is copied. What may be frequent for a good reason (pings and window updates of a client that receives much, small
//! messages) is held against what we sent it, or has a limit that only a flood reaches.
//!
//! What breaks the framing is left to h2, which sees it after us.

mod walk;

use super::resets::Source;
use crate::moment;
use walk::{FrameHead, Walk};

/// What a client sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Requests that ended in a reset: the client's, or ours for breaking a rule.
    Resets,
    /// Pieces of one head.
    Continuation,
    Settings,
    Ping,
    WindowUpdate,
    /// Frames that mean nothing here: priorities, unknown types.
    Ignored,
    /// Frames of a body with nothing or next to nothing in them.
    TinyData,
    /// What h2 counts by itself, such as heads of many times the allowed size.
    Other,
}

/// The frames of one connection.
pub(super) struct Meter {
    received: Walk,
    sent: Walk,
    /// A head has begun and its last piece has not: so many came.
    pieces: Option<u32>,
    last_stream: u32,
    empty_data: u32,
    data_sent: u64,
    window_began_ms: u64,
    window: Window,
    /// Where its client comes from; nothing if that is a trusted proxy, behind which there are many clients.
    source: Option<Source>,
    /// Requests that the source has not been told of.
    untold_streams: u32,
}

/// What was counted within [`WINDOW_MS`].
#[derive(Default)]
struct Window {
    streams: u32,
    resets: u32,
    settings: u32,
    pings: u32,
    window_updates: u32,
    ignored: u32,
    tiny_data: u32,
    /// Frames with parts of answers.
    answers: u32,
}

/// What can be said when the connection ends.
pub(super) struct Farewell {
    last_stream: u32,
    is_between_frames: bool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            received: Walk::of_client(),
            sent: Walk::default(),
            pieces: None,
            last_stream: 0,
            empty_data: 0,
            data_sent: 0,
            window_began_ms: 0,
            window: Window::default(),
            source: None,
            untold_streams: 0,
        }
    }
}

impl Meter {
    pub(super) fn of(source: Option<Source>) -> Self {
        Self { source, ..Self::default() }
    }

    /// Counts bytes of the client.
    pub(super) fn received(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Excess> {
        self.look_at_clock(now_ms);
        let mut left = bytes;
        while let Some(head) = self.received.next(&mut left) {
            self.count_received(head)?;
        }
        Ok(())
    }

    /// Counts bytes for the client.
    pub(super) fn sent(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), Excess> {
        self.look_at_clock(now_ms);
        let mut left = bytes;
        while let Some(head) = self.sent.next(&mut left) {
            self.count_sent(head)?;
        }
        Ok(())
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_within_head(&self) -> bool {
        self.pieces.is_some() || self.received.is_within_head()
    }

    /// Frames with parts of bodies that were sent.
    pub(super) fn data_frames_sent(&self) -> u64 {
        self.data_sent
    }

    pub(super) fn farewell(self) -> Farewell {
        Farewell { last_stream: self.last_stream, is_between_frames: self.sent.is_between_frames() }
    }

    fn look_at_clock(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.window_began_ms) >= WINDOW_MS {
            self.window_began_ms = now_ms;
            self.window = Window::default();
        }
    }

    /// What the source had of this window, this connection included.
    fn of_source(&mut self, resets: u32) -> (u32, u32) {
        let streams = std::mem::take(&mut self.untold_streams);
        let window = moment::now_us() / (1_000 * WINDOW_MS);
        self.source.as_ref().map_or((0, 0), |source| source.count(window, streams, resets))
    }

    fn count_received(&mut self, head: FrameHead) -> Result<(), Excess> {
        let window = &mut self.window;
        // What a client that works hard may need on top.
        let earned = (window.streams + window.answers).saturating_mul(4);
        match head.kind {
            FrameHead::DATA if head.length == 0 && !head.is_end_of_stream() => {
                self.empty_data += 1;
                within(self.empty_data, EMPTY_DATA, Excess::TinyData)
            }
            // Each body ends once, and often with next to nothing.
            FrameHead::DATA if head.length < TINY && !head.is_end_of_stream() => {
                bump(&mut window.tiny_data, TINY_DATA + earned, Excess::TinyData)
            }
            FrameHead::DATA => Ok(()),
            FrameHead::HEADERS => {
                if head.stream > self.last_stream {
                    self.last_stream = head.stream;
                    window.streams += 1;
                    self.untold_streams = self.untold_streams.saturating_add(1);
                }
                self.pieces = (!head.is_end_of_head()).then_some(0);
                Ok(())
            }
            FrameHead::CONTINUATION => {
                let pieces = self.pieces.map_or(0, |pieces| pieces + 1);
                self.pieces = (!head.is_end_of_head()).then_some(pieces);
                within(pieces, PIECES, Excess::Continuation)
            }
            FrameHead::RESET => self.count_reset(),
            FrameHead::SETTINGS => bump(&mut window.settings, SETTINGS, Excess::Settings),
            FrameHead::PING => bump(&mut window.pings, ASIDES + earned, Excess::Ping),
            FrameHead::WINDOW_UPDATE => bump(&mut window.window_updates, ASIDES + earned, Excess::WindowUpdate),
            _ => bump(&mut window.ignored, ASIDES + earned, Excess::Ignored),
        }
    }

    fn count_sent(&mut self, head: FrameHead) -> Result<(), Excess> {
        match head.kind {
            FrameHead::DATA => {
                self.data_sent += 1;
                self.window.answers += 1;
                Ok(())
            }
            FrameHead::HEADERS => {
                self.window.answers += 1;
                Ok(())
            }
            FrameHead::RESET if head.blames_client() => self.count_reset(),
            FrameHead::GOAWAY if head.code == FrameHead::ENHANCE_YOUR_CALM => Err(Excess::Other),
            _ => Ok(()),
        }
    }

    fn count_reset(&mut self) -> Result<(), Excess> {
        self.window.resets += 1;
        let is_too_much = |(streams, resets): (u32, u32)| resets > RESETS && resets.saturating_mul(2) > streams;
        let (streams, resets) = (self.window.streams, self.window.resets);
        // A connection that resets little is left alone, whatever others do behind the same address.
        let of_source = self.of_source(1);
        match is_too_much((streams, resets)) || resets * 2 > streams && is_too_much(of_source) {
            true => Err(Excess::Resets),
            false => Ok(()),
        }
    }
}

fn bump(count: &mut u32, limit: u32, excess: Excess) -> Result<(), Excess> {
    *count += 1;
    within(*count, limit, excess)
}

fn within(count: u32, limit: u32, excess: Excess) -> Result<(), Excess> {
    if count > limit { Err(excess) } else { Ok(()) }
}

impl Excess {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Resets,
        Self::Continuation,
        Self::Settings,
        Self::Ping,
        Self::WindowUpdate,
        Self::Ignored,
        Self::TinyData,
        Self::Other,
    ];

    /// The word for it in metrics.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Continuation => "continuation",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::WindowUpdate => "window_update",
            Self::Ignored => "ignored",
            Self::TinyData => "tiny_data",
            Self::Other => "other",
        }
    }
}

impl Farewell {
    /// The frame that says why the connection ends; nothing if the client would take it for a part of another one.
    pub(super) fn goaway(&self, reason: u32) -> Option<[u8; 17]> {
        if !self.is_between_frames {
            return None;
        }
        let mut frame = [0; 17];
        frame[2] = 8;
        frame[3] = FrameHead::GOAWAY;
        frame[9..13].copy_from_slice(&self.last_stream.to_be_bytes());
        frame[13..].copy_from_slice(&reason.to_be_bytes());
        Some(frame)
    }
}

/// Over which time is counted, in milliseconds of the worker's clock.
const WINDOW_MS: u64 = 10_000;

/// Resets within it, of a connection or of all that come from one place, if they are more than half of the requests.
const RESETS: u32 = 100;

/// Pieces of a head behind the first. The largest head that is taken fits into three of the usual size.
const PIECES: u32 = 5;

const SETTINGS: u32 = 50;

/// Frames beside the point, besides what a client earns by requests and by what it is sent.
const ASIDES: u32 = 1_000;

/// Frames of a body with fewer bytes are tiny: the smallest message of gRPC is five bytes and what it says.
const TINY: u32 = 8;

const TINY_DATA: u32 = 20_000;

/// Frames of a body with nothing at all, for as long as the connection lasts; h2 allows no more either.
const EMPTY_DATA: u32 = 100;

#[cfg(test)]
mod tests;
