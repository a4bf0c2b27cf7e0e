//! The listening sockets of the process: each is held here and accepted from by all workers.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::control_path::publish::Listeners;
use crate::data_path::listener::{self, OpenListener};
use crate::worker::Command;

/// The sockets. Workers have duplicates, so a socket closes when it has gone from here and from all of them.
#[derive(Clone, Default)]
pub(super) struct HeldSockets(Arc<Mutex<Sockets>>);

#[derive(Default)]
struct Sockets {
    by_address: BTreeMap<SocketAddr, TcpListener>,
    are_released: bool,
}

impl HeldSockets {
    /// Leaves all sockets to the workers, which are about to stop accepting: then the addresses are free. From now on
    /// none is opened.
    pub(super) fn release(&self) {
        let mut sockets = self.lock();
        sockets.by_address.iter().for_each(|(bound, socket)| close_softly(*bound, socket));
        sockets.by_address.clear();
        sockets.are_released = true;
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens and closes listeners on all workers at once.
pub(super) struct WorkerListeners {
    workers: Vec<UnboundedSender<Command>>,
    held: HeldSockets,
    closed: Option<Instant>,
}

impl WorkerListeners {
    pub(super) fn new(workers: Vec<UnboundedSender<Command>>, held: HeldSockets) -> Self {
        Self { workers, held, closed: None }
    }

    /// Sockets that workers are about to let go of may still be in the way, if an edit takes back the one before.
    fn bind(&self, address: SocketAddr, leaving: &[SocketAddr]) -> io::Result<TcpListener> {
        loop {
            match self.try_bind(address, leaving) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && self.is_closing() => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }

    fn try_bind(&self, address: SocketAddr, leaving: &[SocketAddr]) -> io::Result<TcpListener> {
        let held = self.held.lock();
        let is_beside = |(held, _): &(&SocketAddr, _)| held.port() == address.port() && leaving.contains(held);
        let beside: Vec<&TcpListener> = held.by_address.iter().filter(is_beside).map(|(_, socket)| socket).collect();
        listener::bind_beside(address, &beside)
    }

    fn is_closing(&self) -> bool {
        self.closed.is_some_and(|at| at.elapsed() < listener::LAST_HANDSHAKES + SLACK)
    }
}

impl Listeners for WorkerListeners {
    fn open(&mut self, name: &Arc<str>, address: SocketAddr, leaving: &[SocketAddr]) -> io::Result<SocketAddr> {
        let socket = self.bind(address, leaving)?;
        let bound = socket.local_addr()?;
        let copies: Result<Vec<_>, _> = self.workers.iter().map(|_| socket.try_clone()).collect();
        let mut held = self.held.lock();
        if held.are_released {
            return Err(io::Error::other("the process is about to end"));
        }
        let copies = copies?;
        held.by_address.insert(bound, socket);
        for (worker, socket) in self.workers.iter().zip(copies) {
            let _ = worker.send(Command::Open(OpenListener { name: Arc::clone(name), bound, socket }));
        }
        Ok(bound)
    }

    fn close(&mut self, bound: SocketAddr) {
        let Some(socket) = self.held.lock().by_address.remove(&bound) else { return };
        close_softly(bound, &socket);
        for worker in &self.workers {
            let _ = worker.send(Command::Close(bound));
        }
        self.closed = Some(Instant::now());
    }
}

/// Workers are about to accept the last connections of a socket, so none may begin.
fn close_softly(bound: SocketAddr, socket: &TcpListener) {
    if let Err(error) = listener::refuse_new(socket) {
        tracing::debug!(%bound, %error, "a connection that opens just now may be reset");
    }
}

/// What workers may need to let go of a socket, besides the time they wait for handshakes.
const SLACK: Duration = Duration::from_millis(250);

/// Between two tries to bind.
const RETRY: Duration = Duration::from_millis(5);
