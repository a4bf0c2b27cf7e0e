//! Accepts connections. Every worker accepts from the same listening socket, so a busy worker takes fewer, and no
//! connection that waits in the socket's queue is lost when a worker stops accepting.

mod bind;
mod per_client;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::http;
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
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clients.leave(key);
        }
    }
}

/// The listeners one worker accepts from. An address has one socket at most.
#[derive(Default)]
pub(crate) struct LocalListeners {
    open: RefCell<Vec<LocalListener>>,
}

struct LocalListener {
    bound: SocketAddr,
    end: oneshot::Sender<End>,
}

/// How accepting ends. Without a word it ends at once.
enum End {
    /// No new handshake begins, and those that have begun are awaited.
    Softly,
}

impl LocalListeners {
    /// Starts to accept.
    pub(crate) fn open(&self, worker: &Rc<Worker>, listener: OpenListener) {
        let OpenListener { name, bound, socket } = listener;
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(listener = %name, %error, "cannot accept connections");
                return;
            }
        };
        let context = Rc::new(ListenerContext { name, bound });
        let (end, ended) = oneshot::channel();
        tokio::task::spawn_local(accept_all(Rc::clone(worker), socket, context, ended));
        self.open.borrow_mut().push(LocalListener { bound, end });
    }

    /// Stops to accept at one address.
    pub(crate) fn close(&self, bound: SocketAddr) {
        let closing = self.open.borrow_mut().extract_if(.., |open| open.bound == bound).collect::<Vec<_>>();
        for listener in closing {
            let _ = listener.end.send(End::Softly);
        }
    }

    /// Stops to accept.
    pub(crate) fn close_all(&self) {
        self.open.borrow_mut().clear();
    }
}

async fn accept_all(
    worker: Rc<Worker>,
    socket: TcpListener,
    context: Rc<ListenerContext>,
    mut ended: oneshot::Receiver<End>,
) {
    let end = tokio::select! {
        () = accept_until_closed(&worker, &socket, &context) => None,
        end = &mut ended => end.ok(),
    };
    if let Some(End::Softly) = end {
        worker.close_after_response(&context);
        let _ = tokio::time::timeout(LAST_HANDSHAKES, accept_until_closed(&worker, &socket, &context)).await;
    }
    // Connections that the kernel has already accepted for us would be reset with the socket: take them first. The
    // bare socket is asked, because tokio knows only of those it has been told of.
    let Ok(socket) = socket.into_std() else { return };
    while let Ok((stream, peer)) = socket.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            http::accept(&worker, &context, stream, peer);
        }
    }
    worker.drain_connections(Some(&context));
}

async fn accept_until_closed(worker: &Rc<Worker>, socket: &TcpListener, context: &Rc<ListenerContext>) {
    loop {
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
                tokio::task::yield_now().await;
                continue;
            }
            Ok(_) => io::Error::other("the descriptors left are reserved"),
            Err(error) if is_of_the_connection(&error) => continue,
            Err(error) => error,
        };
        // Out of descriptors or memory. Trying again at once would spin; closing idle connections helps.
        worker.counters.accept_failed();
        tracing::warn!(listener = %context.name, %error, "cannot accept a connection");
        worker.make_room();
        tokio::time::sleep(PAUSE).await;
    }
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

/// How long accepting rests when there is no room.
const PAUSE: Duration = Duration::from_millis(50);
