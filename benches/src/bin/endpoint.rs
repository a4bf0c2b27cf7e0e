//! The endpoint behind every proxy: answers `/1k`, `/100k` and `/1m` (anything else like `/1k`) from memory.
//!
//! One thread, one epoll, answers built before the first request: it must never be what a measurement waits for.
//! Request bodies are read and thrown away. Invariant: while an answer is not fully written, no further request is read.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use serin_bench::http::{self, Drain, Head};
use serin_bench::poll::{Moved, Places, Poller, Ready, listen};
use serin_bench::process;

struct Connection {
    stream: TcpStream,
    /// The start of a head or of a chunk's size that came in pieces.
    partial: Vec<u8>,
    body: Drain,
    /// The answer being written, and how much of it is out.
    answer: Option<(usize, usize)>,
    /// A request was taken and its body is not yet gone; its answer comes after.
    owed: Option<usize>,
    close: bool,
    readable: bool,
}

struct Endpoint {
    answers: [Vec<u8>; 3],
    connections: Places<Connection>,
    scratch: Vec<u8>,
}

fn main() -> io::Result<()> {
    process::end_with_parent();
    let listeners = std::env::args()
        .skip(1)
        .map(|address| listen(address.parse().map_err(io::Error::other)?))
        .collect::<io::Result<Vec<_>>>()?;
    let mut poller = Poller::new()?;
    for (token, listener) in (0_u64..).zip(&listeners) {
        poller.add(listener, token)?;
    }
    let mut endpoint = Endpoint {
        answers: [1 << 10, 100_000, 1 << 20].map(answer),
        connections: Places::default(),
        scratch: vec![0; 64 << 10],
    };
    loop {
        poller.wait(None, |poller, ready| {
            let place = usize::try_from(ready.token).map_err(io::Error::other)?;
            match listeners.get(place) {
                Some(listener) => endpoint.accept(poller, listener, listeners.len()),
                None => endpoint.proceed(place - listeners.len(), ready),
            }
            Ok(())
        })?;
    }
}

impl Endpoint {
    fn accept(&mut self, poller: &Poller, listener: &TcpListener, first: usize) {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that cannot be set up is dropped; its client will count it as a failure.
            let Ok(()) = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)) else {
                continue;
            };
            let connection = Connection {
                stream,
                partial: Vec::new(),
                body: Drain::Bytes(0),
                answer: None,
                owed: None,
                close: false,
                readable: false,
            };
            let place = self.connections.insert(connection);
            let added = self.connections.find(place).map(|new| poller.add(&new.stream, (place + first) as u64));
            if !matches!(added, Some(Ok(()))) {
                self.connections.remove(place);
            }
        }
    }

    fn proceed(&mut self, place: usize, ready: Ready) {
        let Some(connection) = self.connections.find(place) else {
            return;
        };
        connection.readable |= ready.readable;
        if !connection.proceed(&self.answers, &mut self.scratch) {
            self.connections.remove(place);
        }
    }
}

impl Connection {
    /// Writes and reads as far as the socket allows; false when the connection is over.
    fn proceed(&mut self, answers: &[Vec<u8>; 3], scratch: &mut [u8]) -> bool {
        loop {
            while let Some((which, written)) = self.answer {
                match Moved::from(self.stream.write(&answers[which][written..])) {
                    Moved::Bytes(bytes) if written + bytes == answers[which].len() => self.answer = None,
                    Moved::Bytes(bytes) => self.answer = Some((which, written + bytes)),
                    Moved::Later => return true,
                    Moved::Gone => return false,
                }
                if self.answer.is_none() && self.close {
                    return false;
                }
            }
            if self.owed.is_none() && self.take_request() {
                continue;
            }
            if !self.readable {
                return true;
            }
            match Moved::from(self.stream.read(scratch)) {
                Moved::Bytes(bytes) => {
                    // A read that does not fill the buffer has emptied the socket: no need to ask again.
                    self.readable = bytes == scratch.len();
                    self.take(&scratch[..bytes]);
                }
                Moved::Later => self.readable = false,
                Moved::Gone => return false,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.drain();
        self.take_request();
    }

    /// Takes the next request out of what has been read; true when there is an answer to write.
    fn take_request(&mut self) -> bool {
        if self.answer.is_some() || self.owed.is_some() {
            return self.answer.is_some();
        }
        let Some(head) = Head::find(&self.partial) else {
            return false;
        };
        self.close = head.close;
        self.owed = Some(which(http::path(&self.partial)));
        self.body = Drain::new(head.framing);
        self.partial.drain(..head.len);
        self.drain();
        self.answer.is_some()
    }

    fn drain(&mut self) {
        let taken = self.body.take(&self.partial);
        self.partial.drain(..taken);
        if self.body.done()
            && let Some(which) = self.owed.take()
        {
            self.answer = Some((which, 0));
        }
    }
}

fn which(path: &[u8]) -> usize {
    match path {
        b"/100k" => 1,
        b"/1m" => 2,
        _ => 0,
    }
}

/// An answer with the headers an ordinary application sends.
fn answer(size: usize) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nserver: endpoint\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain; charset=utf-8\r\n\
         cache-control: no-store\r\ncontent-length: {size}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend((0..size).map(|at| if at % 64 == 63 { b'\n' } else { b'a' + u8::try_from(at % 26).unwrap_or(0) }));
    bytes
}
