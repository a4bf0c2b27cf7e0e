//! Finds the heads of frames in a stream of bytes that comes in pieces (RFC 9113 §4.1).

use super::super::super::preface::PREFACE;

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Of what follows the head, in bytes.
    pub(super) length: u32,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    /// Why a stream or the connection ends.
    pub(super) code: u32,
}

/// One direction of a connection.
pub(super) struct Walk {
    head: [u8; LONGEST],
    /// How much of a head is there.
    have: usize,
    /// Bytes up to the next head.
    skip: usize,
    kind: u8,
}

impl Default for Walk {
    /// What a server sends: frames from the first byte on.
    fn default() -> Self {
        Self { head: [0; LONGEST], have: 0, skip: 0, kind: u8::MAX }
    }
}

impl Walk {
    /// What a client sends: the preface comes first.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE.len(), ..Self::default() }
    }

    /// The next head that is complete, if there is one; `bytes` is what is behind it then.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        let skipped = self.skip.min(bytes.len());
        *bytes = &bytes[skipped..];
        self.skip -= skipped;
        while !bytes.is_empty() {
            let wanted = self.wanted() - self.have;
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.head[self.have..self.have + taken.len()].copy_from_slice(taken);
            self.have += taken.len();
            *bytes = rest;
            if self.have == self.wanted() {
                return Some(self.complete());
            }
        }
        None
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Whether a piece of a request's head is here in part.
    pub(super) fn is_within_head(&self) -> bool {
        self.skip > 0 && matches!(self.kind, FrameHead::HEADERS | FrameHead::CONTINUATION)
    }

    /// How many bytes are looked at: of those frames that say why something ends, also the reason.
    fn wanted(&self) -> usize {
        match (self.have >= SHORTEST).then(|| (self.head[3], length(&self.head))) {
            Some((FrameHead::RESET, 4)) => SHORTEST + 4,
            Some((FrameHead::GOAWAY, 8..)) => SHORTEST + 8,
            _ => SHORTEST,
        }
    }

    fn complete(&mut self) -> FrameHead {
        let head = &self.head;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = length(head);
        let code = if self.have > SHORTEST { number(self.have - 4) } else { 0 };
        let frame = FrameHead { length, kind: head[3], flags: head[4], stream: number(5) & (u32::MAX >> 1), code };
        self.skip = length as usize - (self.have - SHORTEST);
        self.kind = frame.kind;
        self.have = 0;
        frame
    }
}

fn length(head: &[u8]) -> u32 {
    u32::from_be_bytes([0, head[0], head[1], head[2]])
}

impl FrameHead {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;

    pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

    /// Of DATA and HEADERS.
    pub(super) fn is_end_of_stream(&self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Of HEADERS and CONTINUATION.
    pub(super) fn is_end_of_head(&self) -> bool {
        self.flags & 0x4 != 0
    }

    /// Whether a stream ends by what its client did: not by our or an endpoint's failure, nor because an answer is complete.
    pub(super) fn blames_client(&self) -> bool {
        const NO_ERROR: u32 = 0;
        const INTERNAL_ERROR: u32 = 2;
        const CANCEL: u32 = 8;
        !matches!(self.code, NO_ERROR | INTERNAL_ERROR | CANCEL)
    }
}

/// A head alone, and one with the reason behind it.
const SHORTEST: usize = 9;
const LONGEST: usize = SHORTEST + 8;
