//! Hands a fresh HTTP/2 connection to the worker that has the fewest.
//!
//! A connection of HTTP/1 carries one request at a time, and there are many: the worker that wakes first takes it, and busy
//! ones take fewer. One of HTTP/2 may carry all requests of a client for hours, and sixteen of them on one worker would leave
//! the others idle.

use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio_rustls::StartHandshake;

use super::super::{ClientStream, ConnectionState, Order, Phase};
use super::resets::{Resets, Source};
use super::serve;
use crate::connect::Ends;
use crate::data_path::deadline::Registered;
use crate::data_path::headers::ForwardingFacts;
use crate::data_path::listener::ClientPlace;
use crate::data_path::tls::{self, HandshakeEnd, Hello};
use crate::snapshot::Tls;
use crate::worker::{Command, Worker};

/// What workers share of HTTP/2: who has how many connections, and who resets too much.
pub(crate) struct Share {
    /// Those of each worker.
    open: Box<[AtomicUsize]>,
    resets: Arc<Resets>,
    workers: OnceLock<Vec<UnboundedSender<Command>>>,
}

/// A connection's place among those of its worker; given back when dropped.
pub(crate) struct Place {
    share: Arc<Share>,
    worker: usize,
}

/// A connection on its way to another worker. Of it nothing was answered yet.
pub(crate) struct Handed {
    stream: StdStream,
    carries: Carries,
    ends: Ends,
    forwarding: ForwardingFacts,
    listener: (Arc<str>, SocketAddr, Arc<Tls>),
    client: ClientPlace,
    place: Place,
}

/// What came through it already.
enum Carries {
    /// The first bytes of HTTP/2, in clear text.
    Preface(Bytes),
    /// The beginning of a handshake, which is so many milliseconds old.
    Hello(Box<Hello>, u64),
}

impl Share {
    pub(crate) fn new(workers: usize) -> Self {
        let open = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Self { open, resets: Arc::new(Resets::new()), workers: OnceLock::new() }
    }

    /// From now on there is somebody to hand connections to.
    pub(crate) fn introduce(&self, workers: Vec<UnboundedSender<Command>>) {
        let _ = self.workers.set(workers);
    }

    /// Where a client comes from, among those whose resets are counted.
    pub(super) fn source(&self, peer: IpAddr) -> Source {
        self.resets.of(peer)
    }

    /// Takes a place with the worker that has the fewest, and in doubt here.
    fn place(self: &Arc<Self>, here: usize, must_stay: bool) -> Place {
        let load = |worker: &usize| (self.open[*worker].load(Relaxed), *worker != here);
        let least = (0..self.open.len()).min_by_key(load).unwrap_or(here);
        let worker = if must_stay { here } else { least };
        self.open[worker].fetch_add(1, Relaxed);
        Place { share: Arc::clone(self), worker }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.open[self.worker].fetch_sub(1, Relaxed);
    }
}

/// Serves a connection that turned out to be HTTP/2, here or elsewhere.
pub(in crate::data_path::http) fn begin(
    worker: &Rc<Worker>,
    stream: ClientStream,
    unread: Bytes,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
) {
    // Who is draining may be about to end, and so may the others. Keys of TLS stay where they were agreed on.
    let must_stay = state.is_draining() || matches!(stream, ClientStream::Tls(_));
    let place = worker.http2.place(worker.index, must_stay);
    let elsewhere = worker.http2.workers.get().and_then(|workers| workers.get(place.worker));
    let elsewhere = elsewhere.filter(|_| place.worker != worker.index);
    match (elsewhere, stream) {
        (Some(elsewhere), ClientStream::Plain(socket)) => {
            hand(worker, elsewhere, socket, Carries::Preface(unread), &state, place);
        }
        (_, stream) => {
            state.enter(Phase::Idle, worker.clock.now_ms());
            tokio::task::spawn_local(serve(Rc::clone(worker), stream, unread, state, registered, place));
        }
    }
}

/// Goes on with the handshake of a client that offers HTTP/2, here or elsewhere.
pub(in crate::data_path) fn begin_handshake(
    worker: &Rc<Worker>,
    hello: StartHandshake<TcpStream>,
    connection: tls::Connection,
) {
    let place = worker.http2.place(worker.index, connection.state.is_draining());
    let elsewhere = worker.http2.workers.get().and_then(|workers| workers.get(place.worker));
    let Some(elsewhere) = elsewhere.filter(|_| place.worker != worker.index) else {
        return tls::go_on(worker, hello, connection, Some(place));
    };
    let StartHandshake { accepted, io, .. } = hello;
    let state = connection.state;
    let waited_ms = worker.clock.now_ms().saturating_sub(state.since_ms());
    hand(worker, elsewhere, io, Carries::Hello(Box::new(accepted), waited_ms), &state, place);
}

/// Serves a client with which HTTP/2 was agreed on in the handshake.
pub(in crate::data_path) fn serve_secured(
    worker: &Rc<Worker>,
    stream: ClientStream,
    state: Rc<ConnectionState>,
    registered: Registered<ConnectionState>,
    place: Place,
) {
    state.turned_http2();
    tokio::task::spawn_local(serve(Rc::clone(worker), stream, Bytes::new(), state, registered, place));
}

fn hand(
    worker: &Rc<Worker>,
    elsewhere: &UnboundedSender<Command>,
    stream: TcpStream,
    carries: Carries,
    state: &ConnectionState,
    place: Place,
) {
    let listener = (Arc::clone(&state.listener.name), state.listener.bound, state.listener.last_tls());
    // A socket that cannot be let go of is lost: nothing was promised to it.
    let Ok(stream) = stream.into_std() else { return };
    let Some(client) = state.leave() else { return };
    let forwarding = state.forwarding.clone();
    let handed = Handed { stream, carries, ends: **state.ends(), forwarding, listener, client, place };
    if let Err(SendError(Command::TakeOver(handed))) = elsewhere.send(Command::TakeOver(Box::new(handed))) {
        // That worker has ended. Its place stays taken, or all that follow would go there.
        take_over(worker, *handed);
    }
}

/// Serves a connection that another worker has accepted.
pub(crate) fn take_over(worker: &Rc<Worker>, handed: Handed) {
    let Handed { stream, carries, ends, forwarding, listener: (name, bound, tls), client, place } = handed;
    let listener = worker.listener_at(name, bound, tls);
    let waited_ms = match carries {
        Carries::Preface(_) => 0,
        Carries::Hello(_, waited_ms) => waited_ms,
    };
    let since_ms = worker.clock.now_ms().saturating_sub(waited_ms);
    let state = ConnectionState::new(ends, forwarding, &listener, client, &worker.counters, since_ms);
    let state = Rc::new(state);
    if listener.is_closing() {
        // Those of the listener have been told already.
        state.order(Order::Drain);
    }
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let registered = worker.connections.insert(Rc::clone(&state));
    match carries {
        Carries::Preface(unread) => {
            state.turned_http2();
            let stream = ClientStream::Plain(stream);
            tokio::task::spawn_local(serve(Rc::clone(worker), stream, unread, state, registered, place));
        }
        Carries::Hello(hello, _) => {
            let Some(under_way) = worker.handshakes.take_over(worker.clock.now_ms()) else {
                return worker.counters.handshake(HandshakeEnd::Excess);
            };
            let hello = StartHandshake::from_parts(*hello, stream);
            tls::go_on(worker, hello, tls::Connection { state, registered, under_way }, Some(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_goes_to_whoever_has_fewest_and_in_doubt_stays() {
        let share = Arc::new(Share::new(3));
        let at = |here, must_stay| share.place(here, must_stay);
        let placed: Vec<Place> = (0..9).map(|_| at(1, false)).collect();
        let counts: Vec<usize> = share.open.iter().map(|open| open.load(Relaxed)).collect();
        assert_eq!(counts, [3, 3, 3]);
        assert_eq!(placed[0].worker, 1);
        drop(placed);
        let stayed: Vec<Place> = (0..4).map(|_| at(2, true)).collect();
        assert!(stayed.iter().all(|place| place.worker == 2));
        assert_eq!(at(2, false).worker, 0);
    }
}
