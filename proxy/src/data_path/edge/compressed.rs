//! The body of an answer while it is compressed: no more is read of it than the client takes, and what an endpoint has sent
//! reaches the client before the next byte is waited for.
//!
//! Invariant: an end is told only where the endpoint told one. What breaks off breaks off for the client, too.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use routing_rules::rules::Coding;

use super::encoder::Encoder;
use super::memory::{EncoderMemory, Share};
use crate::data_path::error::RequestError;

/// What was taken of a body and is not yet given on.
pub(crate) struct Compressed {
    encoder: Encoder,
    /// What the encoder takes, as long as it does.
    share: Option<Share>,
    /// Whether the encoder may keep something.
    keeps: bool,
    ready: Bytes,
    has_ended: bool,
    trailers: Option<HeaderMap>,
}

/// A frame of a body, its end, or an error.
type Next = Option<Result<Frame<Bytes>, RequestError>>;

impl Compressed {
    /// For content of so many bytes, if that is known. `None` if there is no memory for it.
    pub(crate) fn new(coding: Coding, length: Option<u64>, memory: &EncoderMemory) -> Option<Self> {
        let share = Some(memory.take(Encoder::memory(coding, length))?);
        let encoder = Encoder::new(coding, length).ok()?;
        Some(Self { encoder, share, keeps: false, ready: Bytes::new(), has_ended: false, trailers: None })
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.has_ended && self.ready.is_empty() && self.trailers.is_none()
    }

    /// The next frame, of `piece` bytes at most, made of what `source` gives.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        piece: usize,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Next>,
    ) -> Poll<Next> {
        for _ in 0..MOST_AT_ONCE {
            if !self.ready.is_empty() {
                let data = self.ready.split_to(piece.min(self.ready.len()));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.has_ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let encoded = match source(cx) {
                Poll::Pending if self.keeps => self.flush(),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => self.take(frame),
                Poll::Ready(None) => self.finish(None),
            };
            match encoded {
                Ok(bytes) => self.ready = bytes.into(),
                // Only memory can be short.
                Err(_) => return Poll::Ready(Some(Err(RequestError::Unavailable))),
            }
        }
        // Others are to be served, too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, frame: Frame<Bytes>) -> std::io::Result<Vec<u8>> {
        match frame.into_data() {
            Ok(data) => {
                self.keeps = true;
                self.encoder.write(&data)
            }
            Err(frame) => self.finish(frame.into_trailers().ok()),
        }
    }

    fn flush(&mut self) -> std::io::Result<Vec<u8>> {
        self.keeps = false;
        self.encoder.flush()
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> std::io::Result<Vec<u8>> {
        self.has_ended = true;
        self.trailers = trailers;
        let rest = self.encoder.finish();
        self.share = None;
        rest
    }
}

/// Pieces of content that are compressed without letting others in between: 64 KiB, a millisecond or two.
const MOST_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::task::Waker;

    use super::*;

    fn text(text: &'static str) -> Poll<Next> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }

    /// All that comes of these steps, until one that gives nothing.
    fn run(compressed: &mut Compressed, steps: Vec<Poll<Next>>) -> (Vec<u8>, Poll<Next>) {
        let (mut steps, mut bytes) = (steps.into_iter(), Vec::new());
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match compressed.poll(&mut cx, 7, |_| steps.next().unwrap_or(Poll::Pending)) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    let data = frame.into_data().expect("data");
                    assert!((1..=7).contains(&data.len()), "{}", data.len());
                    bytes.extend_from_slice(&data);
                }
                other => return (bytes, other),
            }
        }
    }

    #[test]
    fn what_has_come_is_given_before_more_is_waited_for() {
        let mut compressed = Compressed::new(Coding::Gzip, None, &EncoderMemory::default()).expect("an encoder");
        let (mut bytes, next) = run(&mut compressed, vec![text("one "), text("two")]);
        assert!(next.is_pending());
        let mut first = [0; 7];
        flate2::read::GzDecoder::new(&*bytes).read_exact(&mut first).expect("what has come");
        assert_eq!(&first, b"one two");
        let (nothing, next) = run(&mut compressed, vec![]);
        assert!(nothing.is_empty() && next.is_pending(), "nothing is said twice");
        let (rest, next) = run(&mut compressed, vec![text(" three"), Poll::Ready(None)]);
        bytes.extend(rest);
        assert!(matches!(next, Poll::Ready(None)) && compressed.is_done());
        let mut all = String::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut all).expect("all");
        assert_eq!(all, "one two three");
    }

    #[test]
    fn trailers_come_last() {
        let mut compressed = Compressed::new(Coding::Zstd, None, &EncoderMemory::default()).expect("an encoder");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        let frame = Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        let (bytes, next) = run(&mut compressed, vec![text("one"), frame]);
        assert_eq!(zstd::stream::decode_all(&*bytes).expect("all"), b"one");
        let Poll::Ready(Some(Ok(frame))) = next else { panic!("trailers") };
        assert_eq!(frame.into_trailers().expect("trailers"), trailers);
        assert!(compressed.is_done());
    }

    #[test]
    fn what_breaks_off_does_not_end() {
        for coding in Coding::ALL {
            let mut compressed = Compressed::new(coding, None, &EncoderMemory::default()).expect("an encoder");
            let broken = Poll::Ready(Some(Err(RequestError::ResponseCut)));
            let (_, next) = run(&mut compressed, vec![text("one"), Poll::Pending, broken]);
            assert!(matches!(next, Poll::Ready(Some(Err(RequestError::ResponseCut)))));
            assert!(!compressed.is_done());
        }
    }
}
