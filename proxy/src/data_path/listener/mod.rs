//! Accepts connections. Every worker accepts from the same listening socket, so a busy worker takes fewer, and no
//! connection that waits in the socket's queue is lost when a worker stops accepting.

mod bind;
mod per_client;
pub(crate) mod proxy_protocol;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use super::http;
use crate::snapshot::{Listening, Snapshot, Tls};
use crate::worker::Worker;
pub(crate) use bind::{bind, bind_beside, refuse_new};

use per_client::ClientKey;
pub(crate) use per_client::PerClient;

/// A listening socket for one worker.
pub(crate) struct OpenListener {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// Where it is bound.
    pub(crate) bound: SocketAddr,
    /// The bound socket; each worker gets a duplicate.
    pub(crate) socket: StdListener,
}

/// What requests need to know of the listener they came through.
pub(crate) struct ListenerContext {
    /// The name it was opened with. The snapshot's name for the address counts for more, as soon as there is one.
    pub(crate) name: Arc<str>,
    pub(crate) bound: SocketAddr,
    is_closing: Cell<bool>,
    /// The last table that knew the listener here, for connections that come when its rules have gone elsewhere.
    tls: RefCell<Arc<Tls>>,
}

impl ListenerContext {
    /// Of a listener from which nothing is accepted any more. Its connections are held to this table, which was the last that
    /// knew it.
    pub(crate) fn closed(name: Arc<str>, bound: SocketAddr, tls: Arc<Tls>) -> Self {
        Self { is_closing: Cell::new(true), tls: RefCell::new(tls), ..Self::new(name, bound) }
    }

    fn new(name: Arc<str>, bound: SocketAddr) -> Self {
        Self { name, bound, is_closing: Cell::new(false), tls: RefCell::default() }
    }

    /// Looks at what is in force for the listener, if anybody knows. It goes with the address: of a listener that moves, those who
    /// still come to the old place are met as they always were.
    pub(crate) fn in_force<T>(&self, snapshot: &Snapshot, look: impl FnOnce(&Tls, &Listening) -> T) -> Option<T> {
        let name = snapshot.listener_at(self.bound).map_or(&*self.name, |name| name.as_str());
        let mut last = self.tls.borrow_mut();
        if !Arc::ptr_eq(&last, &snapshot.tls) && snapshot.tls.listener(name, self.bound).is_some() {
            *last = Arc::clone(&snapshot.tls);
        }
        Some(look(&last, last.listener(name, self.bound)?))
    }

    /// The last table that knew it.
    pub(crate) fn last_tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls.borrow())
    }

    /// Whether the listener accepts its last connections, all of which end with their next response.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.get()
    }
}

/// A connection's place among those of its client; given back when dropped.
pub(crate) struct ClientPlace {
    clients: Arc<PerClient>,
    /// `None` for a trusted proxy: behind its address are many clients, and they are its to limit.
    key: Option<ClientKey>,
}

impl ClientPlace {
    /// `None` if the client has its maximum.
    pub(crate) fn take(clients: &Arc<PerClient>, peer: IpAddr, is_trusted: bool) -> Option<Self> {
        let key = if is_trusted { None } else { Some(clients.enter(peer)?) };
        Some(Self { clients: Arc::clone(clients), key })
    }

    /// One more request of the client is under way.
    pub(crate) fn begins_request(&self) {
        self.key.iter().for_each(ClientKey::begins_request);
    }

    /// It is over.
    pub(crate) fn ends_request(&self) {
        self.key.iter().for_each(ClientKey::ends_request);
    }

    /// Whether the client has more than its share of requests under way, this one included.
    pub(crate) fn is_full(&self) -> bool {
        self.key.as_ref().is_some_and(|key| self.clients.is_full(key))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.clients.leave(key);
        }
    }
}

/// The listeners one worker accepts from. An address has one socket at most.
#[derive(Default)]
pub(crate) struct LocalListeners {
    open: RefCell<Vec<LocalListener>>,
    /// A task for each socket. It ends some time after the listener has closed.
    accepting: RefCell<JoinSet<()>>,
}

struct LocalListener {
    context: Rc<ListenerContext>,
    end: oneshot::Sender<()>,
}

impl LocalListeners {
    /// Starts to accept.
    pub(crate) fn open(&self, worker: &Rc<Worker>, listener: OpenListener) {
        let OpenListener { name, bound, socket } = listener;
        let context = Rc::new(ListenerContext::new(name, bound));
        context.in_force(&worker.snapshot(), |_, _| ());
        let (end, ended) = oneshot::channel();
        let accepting = accept_all(Rc::clone(worker), socket, Rc::clone(&context), ended);
        self.accepting.borrow_mut().spawn_local(accepting);
        self.open.borrow_mut().push(LocalListener { context, end });
    }

    /// What is known of the listener at one address, while it is open.
    pub(crate) fn context(&self, bound: SocketAddr) -> Option<Rc<ListenerContext>> {
        let open = self.open.borrow();
        open.iter().find(|open| open.context.bound == bound).map(|open| Rc::clone(&open.context))
    }

    /// Stops to accept at one address.
    pub(crate) fn close(&self, bound: SocketAddr) {
        self.close_those(|open| open.context.bound == bound);
    }

    /// Stops to accept.
    pub(crate) fn close_all(&self) {
        self.close_those(|_| true);
    }

    fn close_those(&self, goes: impl Fn(&LocalListener) -> bool) {
        for listener in self.open.borrow_mut().extract_if(.., |open| goes(open)) {
            let _ = listener.end.send(());
        }
    }

    /// Waits until a task that accepts fails.
    pub(crate) async fn failed(&self) -> JoinError {
        poll_fn(|cx| {
            loop {
                match self.accepting.borrow_mut().poll_join_next(cx) {
                    Poll::Ready(Some(Ok(()))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(error),
                    // Who opens a listener asks again.
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Whether nothing is accepted any more, as far as [`LocalListeners::failed`] has seen.
    pub(crate) fn have_ended(&self) -> bool {
        self.accepting.borrow().is_empty()
    }
}

/// Accepts until the listener is to close, then what has been promised: no new handshake begins, those that have begun
/// are awaited, and connections end with their next response, so that a client that is just about to send a request
/// loses nothing.
async fn accept_all(
    worker: Rc<Worker>,
    socket: StdListener,
    context: Rc<ListenerContext>,
    ended: oneshot::Receiver<()>,
) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %context.name, %error, "cannot accept connections");
            return;
        }
    };
    tokio::select! {
        () = accept_until_closed(&worker, &socket, &context) => {}
        _ = ended => {}
    }
    context.is_closing.set(true);
    let _ = tokio::time::timeout(LAST_HANDSHAKES, accept_until_closed(&worker, &socket, &context)).await;
    // The bare socket is asked, because tokio knows only of those it has been told of.
    if let Ok(socket) = socket.into_std()
        && tokio::time::timeout(LAST_CONNECTIONS, accept_waiting(&worker, &socket, &context)).await.is_err()
    {
        tracing::warn!(listener = %context.name, "closing with connections that could not be accepted");
    }
    worker.drain_connections(Some(&context));
}

/// Takes the connections that the kernel has accepted for us already: they would be reset with the socket.
async fn accept_waiting(worker: &Rc<Worker>, socket: &StdListener, context: &Rc<ListenerContext>) {
    loop {
        let accepted = socket.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => http::accept(worker, context, stream, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => rest_after(worker, context, error).await,
        }
    }
}

async fn accept_until_closed(worker: &Rc<Worker>, socket: &TcpListener, context: &Rc<ListenerContext>) {
    for count in 1u64.. {
        if worker.connections.len() >= worker.max_connections {
            worker.counters.connection_limit_reached();
            worker.shed_idle();
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let error = match socket.accept().await {
            Ok((stream, peer)) if worker.has_room_for(&stream) => {
                http::accept(worker, context, stream, peer);
                // The first worker to wake would otherwise take all of a burst before the others are awake, and
                // connections that are kept stay where they are.
                if count.is_multiple_of(BATCH) {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Ok(_) => io::Error::other("the descriptors left are reserved"),
            Err(error) => error,
        };
        rest_after(worker, context, error).await;
    }
}

/// What is to be done before the next try to accept, if anything.
async fn rest_after(worker: &Worker, context: &ListenerContext, error: io::Error) {
    if is_of_the_connection(&error) {
        return;
    }
    // Out of descriptors or memory. Trying again at once would spin; closing idle connections helps.
    worker.counters.accept_failed();
    tracing::warn!(listener = %context.name, %error, "cannot accept a connection");
    worker.make_room();
    tokio::time::sleep(PAUSE).await;
}

/// Errors of a connection that died before it was accepted, rather than of the socket.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// How long a closing listener waits for handshakes under way and for requests on idle connections: several round trips
/// around the world. Clients repeat the first packet of a handshake after a second, when what takes the listener's place
/// answers.
pub(crate) const LAST_HANDSHAKES: Duration = Duration::from_millis(400);

/// How many connections are accepted in a row. Whoever yields goes on when the runtime has next looked at its sockets, and
/// a busy one does that every 61 tasks: one at a time, a thousand new clients waited for seconds.
const BATCH: u64 = 8;

/// How long connections that wait to be accepted are waited for in turn, when there is no room for them.
const LAST_CONNECTIONS: Duration = Duration::from_secs(10);

/// How long accepting rests when there is no room.
const PAUSE: Duration = Duration::from_millis(50);
