//! A bare relay: finds where heads end and how long bodies are, forwards bytes, keeps connections to the endpoint.
//!
//! It is no proxy (it matches nothing, rewrites nothing, checks nothing, retries nothing) but the least any proxy on
//! this kernel pays for a request: read, write, read, write. Chunked bodies are not understood and end the connection.
//! Invariant: an endpoint connection in `idle` owes nothing to anybody.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serin_bench::http::{Framing, Head};
use serin_bench::poll::{Moved, Places, Poller, listen};
use serin_bench::process;

/// Client and endpoint connections share the numbering: one list of places, one kind of side.
struct Side {
    stream: TcpStream,
    /// The connection on the other side of the current exchange.
    other: Option<usize>,
    /// A head that came in pieces.
    partial: Vec<u8>,
    /// Bytes for this side that its socket did not take yet.
    unsent: Vec<u8>,
    /// Body bytes still to come from this side; none while a head is awaited.
    body_left: Option<u64>,
    readable: bool,
    faces: Faces,
    /// The client asked for the connection's end after this exchange.
    close: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Faces {
    Client,
    Endpoint,
}

/// What became of a side after it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Waits,
    Over,
}

struct Relay {
    endpoint: SocketAddr,
    sides: Places<Side>,
    idle: Vec<usize>,
    scratch: Vec<u8>,
}

const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    process::end_with_parent();
    let mut addresses = std::env::args().skip(1).map(|text| text.parse::<SocketAddr>().map_err(io::Error::other));
    let (Some(here), Some(endpoint)) = (addresses.next(), addresses.next()) else {
        return Err(io::Error::other("usage: relay LISTEN ENDPOINT"));
    };
    let (listener, endpoint) = (listen(here?)?, endpoint?);
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER)?;
    let mut relay = Relay { endpoint, sides: Places::default(), idle: Vec::new(), scratch: vec![0; 256 << 10] };
    loop {
        poller.wait(None, |poller, ready| {
            if ready.token == LISTENER {
                relay.accept(poller, &listener);
            } else {
                relay.proceed(poller, usize::try_from(ready.token).map_err(io::Error::other)?, ready.readable);
            }
            Ok(())
        })?;
    }
}

impl Relay {
    fn accept(&mut self, poller: &Poller, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that cannot be set up is dropped; its client will count it as a failure.
            drop(self.join(poller, stream, Faces::Client));
        }
    }

    fn join(&mut self, poller: &Poller, stream: TcpStream, faces: Faces) -> io::Result<usize> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let side = Side {
            stream,
            other: None,
            partial: Vec::new(),
            unsent: Vec::new(),
            body_left: None,
            readable: false,
            faces,
            close: false,
        };
        let place = self.sides.insert(side);
        let added = self.sides.find(place).map_or(Ok(()), |side| poller.add(&side.stream, place as u64));
        if added.is_err() {
            self.sides.remove(place);
        }
        added.map(|()| place)
    }

    fn proceed(&mut self, poller: &Poller, place: usize, readable: bool) {
        let Some(side) = self.sides.find(place) else {
            return;
        };
        side.readable |= readable;
        let other = side.other;
        // Writable again: what its other side holds back can move.
        if !side.unsent.is_empty() {
            if self.flush(place) == After::Over {
                return self.end(place);
            }
            if self.sides.find(place).is_some_and(|side| side.close && side.other.is_none() && side.unsent.is_empty()) {
                return self.end(place);
            }
            if let Some(other) = other {
                self.pump(poller, other);
            }
        }
        self.pump(poller, place);
    }

    fn flush(&mut self, place: usize) -> After {
        let Some(side) = self.sides.find(place) else {
            return After::Waits;
        };
        while !side.unsent.is_empty() {
            match Moved::from(side.stream.write(&side.unsent)) {
                Moved::Bytes(bytes) => drop(side.unsent.drain(..bytes)),
                Moved::Later => return After::Waits,
                Moved::Gone => return After::Over,
            }
        }
        After::Waits
    }

    /// Reads from `place` and forwards while there is something to read and the other side takes it.
    fn pump(&mut self, poller: &Poller, place: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let after = self.pump_with(poller, place, &mut scratch);
        self.scratch = scratch;
        if after == After::Over {
            self.end(place);
        }
    }

    fn pump_with(&mut self, poller: &Poller, place: usize, scratch: &mut [u8]) -> After {
        loop {
            let Some(side) = self.sides.find(place) else {
                return After::Waits;
            };
            let other = side.other;
            // A client's next request waits until this exchange is over.
            if !side.readable || (side.faces == Faces::Client && other.is_some() && side.body_left.is_none()) {
                return After::Waits;
            }
            if other.and_then(|other| self.sides.find(other)).is_some_and(|other| !other.unsent.is_empty()) {
                return After::Waits;
            }
            let Some(side) = self.sides.find(place) else {
                return After::Waits;
            };
            let bytes = match Moved::from(side.stream.read(scratch)) {
                Moved::Bytes(bytes) => bytes,
                Moved::Later => {
                    side.readable = false;
                    return After::Waits;
                }
                Moved::Gone => return After::Over,
            };
            side.readable = bytes == scratch.len();
            if self.forward(poller, place, &mut scratch[..bytes]) == After::Over {
                return After::Over;
            }
        }
    }

    /// Sends what was read on its way, and notices when the message, and with it the exchange, is complete.
    fn forward(&mut self, poller: &Poller, place: usize, bytes: &mut [u8]) -> After {
        let Some(side) = self.sides.find(place) else {
            return After::Waits;
        };
        let mut joined;
        let mut message = bytes;
        if side.body_left.is_none() {
            if !side.partial.is_empty() {
                joined = std::mem::take(&mut side.partial);
                joined.extend_from_slice(message);
                message = &mut joined;
            }
            let Some(head) = Head::find(message) else {
                side.partial = message.to_vec();
                return After::Waits;
            };
            let Framing::Length(length) = head.framing else {
                return After::Over;
            };
            side.body_left = Some(head.len as u64 + length);
            if let (Faces::Client, Some(at)) = (side.faces, head.close_at) {
                side.close = true;
                // Between this relay and the endpoint the connection stays: the header becomes an unknown one.
                message[at] = b'x';
            }
        }
        if side.faces == Faces::Client && side.other.is_none() && self.pair(poller, place).is_err() {
            return After::Over;
        }
        let Some(side) = self.sides.find(place) else {
            return After::Waits;
        };
        let left = side.body_left.unwrap_or(0).saturating_sub(message.len() as u64);
        side.body_left = (left > 0).then_some(left);
        let (faces, Some(other)) = (side.faces, side.other) else {
            return After::Over;
        };
        if self.send(other, message) == After::Over {
            return After::Over;
        }
        match (left, faces) {
            (0, Faces::Endpoint) => self.finish(poller, place, other),
            _ => After::Waits,
        }
    }

    fn pair(&mut self, poller: &Poller, client: usize) -> io::Result<()> {
        let endpoint = match self.idle.pop() {
            Some(place) => place,
            None => self.join(poller, TcpStream::connect(self.endpoint)?, Faces::Endpoint)?,
        };
        for (place, other) in [(client, endpoint), (endpoint, client)] {
            if let Some(side) = self.sides.find(place) {
                side.other = Some(other);
            }
        }
        Ok(())
    }

    fn send(&mut self, place: usize, bytes: &[u8]) -> After {
        let Some(side) = self.sides.find(place) else {
            return After::Over;
        };
        let sent = match Moved::from(side.stream.write(bytes)) {
            Moved::Bytes(sent) => sent,
            Moved::Later => 0,
            Moved::Gone => return After::Over,
        };
        side.unsent.extend_from_slice(&bytes[sent..]);
        After::Waits
    }

    /// The response is read: the endpoint's connection is free, the client's waits for its next request or ends.
    fn finish(&mut self, poller: &Poller, endpoint: usize, client: usize) -> After {
        if let Some(side) = self.sides.find(endpoint) {
            side.other = None;
            self.idle.push(endpoint);
        }
        let Some(side) = self.sides.find(client) else {
            return After::Waits;
        };
        side.other = None;
        if side.close && side.unsent.is_empty() {
            self.sides.remove(client);
        } else if side.readable {
            let mut own = vec![0; 16 << 10];
            if self.pump_with(poller, client, &mut own) == After::Over {
                self.end(client);
            }
        }
        After::Waits
    }

    fn end(&mut self, place: usize) {
        let Some(side) = self.sides.remove(place) else {
            return;
        };
        self.idle.retain(|&idle| idle != place);
        if let Some(other) = side.other {
            self.sides.remove(other);
        }
    }
}
