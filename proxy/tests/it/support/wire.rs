//! Bytes on a wire, under exact control: cases read from tables, a client that sends them, and a strict reader of what
//! comes back. Nothing here knows what a right answer is; that is `wire_cases`.

mod answer;
mod case;
mod literal;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) use answer::{Answer, lenient_answer, parse_answers};
pub(crate) use case::{Assertion, CaseSet, EndpointCase, EndpointOutcome, Expect, HttpTwoCase, RequestCase, load};

/// What a client saw on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawOutcome {
    pub(crate) bytes: Vec<u8>,
    /// The other side ended the connection before we did.
    pub(crate) closed: bool,
    /// It ended with a reset.
    pub(crate) reset: bool,
    /// Nothing had come until we closed our sending side.
    pub(crate) only_after_half_close: bool,
}

/// How long to listen, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listening {
    /// Final answers to wait for before a short quiet time ends the exchange.
    pub(crate) answers: usize,
    /// The request is a HEAD: its answer has no body.
    pub(crate) to_head: bool,
    /// The longest wait for an answer.
    pub(crate) patience: Duration,
    /// How long an open connection stays silent before we believe that nothing more comes.
    pub(crate) quiet: Duration,
}

/// Sends bytes and listens until the other side closes or `timeout` has passed.
pub(crate) fn send_raw(address: SocketAddr, bytes: &[u8], timeout: Duration) -> RawOutcome {
    let mut ear = Ear::connect(address, bytes);
    ear.listen(Instant::now() + timeout, |_| false);
    ear.outcome
}

/// Sends bytes and listens as long as an answer can be expected. Our sending side stays open until then: a proxy may
/// take a half-closed client for one that has left.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8], listening: &Listening) -> RawOutcome {
    let mut ear = Ear::connect(address, bytes);
    let enough = |seen: &[u8]| finals(seen, listening.to_head).len() >= listening.answers;
    ear.listen(Instant::now() + listening.patience, enough);
    if !ear.ended && !enough(&ear.outcome.bytes) {
        let before = ear.outcome.bytes.len();
        ear.close_sending_side();
        ear.listen(Instant::now() + listening.patience, enough);
        ear.outcome.only_after_half_close = ear.outcome.bytes.len() > before || ear.ended;
    }
    let closing = finals(&ear.outcome.bytes, listening.to_head).iter().any(Answer::announces_close);
    let grace = if closing { listening.patience } else { listening.quiet };
    ear.listen(Instant::now() + grace, |_| false);
    ear.outcome
}

/// What follows the head of a 101 has no end of its own.
fn finals(seen: &[u8], to_head: bool) -> Vec<Answer> {
    let answers = parse_answers(seen, to_head, false).unwrap_or_default();
    let is_final = |answer: &Answer| !answer.is_interim() && (answer.complete || answer.status == 101);
    answers.into_iter().filter(is_final).collect()
}

/// One connection and what was heard on it.
struct Ear {
    stream: Option<TcpStream>,
    outcome: RawOutcome,
    ended: bool,
    half_closed: bool,
}

impl Ear {
    fn connect(address: SocketAddr, bytes: &[u8]) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok();
        if let Some(mut stream) = stream.as_ref() {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_write_timeout(Some(Duration::from_secs(2)));
            // A proxy may refuse before it has read everything; its answer is still to be read.
            let _ = stream.write_all(bytes);
        }
        let ended = stream.is_none();
        Self { stream, outcome: RawOutcome::default(), ended, half_closed: false }
    }

    fn close_sending_side(&mut self) {
        self.half_closed = true;
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn listen(&mut self, deadline: Instant, enough: impl Fn(&[u8]) -> bool) {
        let mut chunk = vec![0; 16 * 1024];
        while !self.ended && !enough(&self.outcome.bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(mut stream) = self.stream.as_ref().filter(|_| !left.is_zero()) else {
                return;
            };
            let _ = stream.set_read_timeout(Some(left));
            match stream.read(&mut chunk) {
                Ok(0) => self.end(false),
                Ok(count) => self.outcome.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.end(true),
            }
        }
    }

    fn end(&mut self, reset: bool) {
        self.ended = true;
        self.outcome.reset = reset;
        self.outcome.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// An endpoint for one connection that reads up to `expected` and writes `answer`.
    fn one_shot(expected: &'static [u8], answer: &'static [u8], keep: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![0; expected.len()];
            stream.read_exact(&mut seen).unwrap();
            stream.write_all(answer).unwrap();
            std::thread::sleep(keep);
        });
        address
    }

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn tells_a_closed_connection_from_an_open_one() {
        let listening = Listening {
            answers: 1,
            to_head: false,
            patience: Duration::from_millis(500),
            quiet: Duration::from_millis(30),
        };
        let closed = exchange(one_shot(b"x", ANSWER, Duration::ZERO), b"x", &listening);
        assert_eq!((closed.bytes.as_slice(), closed.closed), (ANSWER, true));
        let open = exchange(one_shot(b"x", ANSWER, Duration::from_millis(400)), b"x", &listening);
        assert_eq!((open.bytes.as_slice(), open.closed), (ANSWER, false));
    }

    #[test]
    fn send_raw_listens_to_the_end() {
        let outcome = send_raw(one_shot(b"hello", ANSWER, Duration::ZERO), b"hello", Duration::from_secs(2));
        assert_eq!((outcome.bytes.as_slice(), outcome.closed), (ANSWER, true));
    }
}
