//! Accepts connections. Every worker accepts from the same listening socket, so a busy worker takes fewer, and no
//! connection that waits in the socket's queue is lost when a worker stops accepting.

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

use per_client::ClientKey;
pub(crate) use per_client::PerClient;

/// A listening socket for one worker.
pub(crate) struct OpenListener {
    /// The listener's name.
    pub(crate) name: Arc<str>,
    /// The bound socket; each worker gets a duplicate.
    pub(crate) socket: StdListener,
}

/// What requests need to know of the listener they came through.
pub(crate) struct ListenerContext {
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    clients: Arc<PerClient>,
}

/// A connection's place among those of its client; given back when dropped.
pub(crate) struct Place {
    listener: Rc<ListenerContext>,
    /// `None` for a trusted proxy: behind its address are many clients, and they are its to limit.
    key: Option<ClientKey>,
}

impl Place {
    /// `None` if the client has its maximum.
    pub(crate) fn take(listener: &Rc<ListenerContext>, peer: IpAddr, is_trusted: bool) -> Option<Self> {
        let key = if is_trusted { None } else { Some(listener.clients.enter(peer)?) };
        Some(Self { listener: Rc::clone(listener), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.listener.clients.leave(key);
        }
    }
}

/// The listeners one worker accepts from.
#[derive(Default)]
pub(crate) struct LocalListeners {
    /// Dropping the sender tells the accepting task to end.
    open: RefCell<Vec<(Arc<str>, oneshot::Sender<()>)>>,
}

/// Binds an address so that all workers can accept from it.
///
/// # Errors
/// What the operating system says, for example that the address is in use.
pub(crate) fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A restart must not wait for connections of the old process to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit these from the listening one, which saves as many system calls per connection.
    // A response head and its body leave in one write; waiting for more would only add latency.
    socket.set_tcp_nodelay(true)?;
    socket
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl LocalListeners {
    /// Starts to accept.
    pub(crate) fn open(&self, worker: &Rc<Worker>, listener: OpenListener) {
        let OpenListener { name, socket } = listener;
        let port = socket.local_addr().map_or(0, |address| address.port());
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(listener = %name, %error, "cannot accept connections");
                return;
            }
        };
        let clients = Arc::clone(&worker.clients);
        let context = Rc::new(ListenerContext { name: Arc::clone(&name), port, clients });
        let (close, closed) = oneshot::channel();
        tokio::task::spawn_local(accept_all(Rc::clone(worker), socket, context, closed));
        self.open.borrow_mut().push((name, close));
    }

    /// Stops to accept on one listener.
    pub(crate) fn close(&self, name: &str) {
        self.open.borrow_mut().retain(|(open, _)| **open != *name);
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
    closed: oneshot::Receiver<()>,
) {
    tokio::select! {
        () = accept_until_closed(&worker, &socket, &context) => {}
        _ = closed => {}
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

/// After this time without a byte the kernel asks a client's host whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);

/// And asks again this often, nine times at most.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection whose peer acknowledges nothing for so long is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// How long accepting rests when there is no room.
const PAUSE: Duration = Duration::from_millis(50);
