//! The listening sockets of the process: each is held here and accepted from by all workers.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::control_path::publish::Listeners;
use crate::data_path::listener::{self, OpenListener};
use crate::worker::Command;

/// Opens, renames and closes listeners on all workers at once.
pub(super) struct WorkerListeners {
    workers: Vec<UnboundedSender<Command>>,
    held: BTreeMap<SocketAddr, TcpListener>,
    closed: Option<Instant>,
}

impl WorkerListeners {
    pub(super) fn new(workers: Vec<UnboundedSender<Command>>) -> Self {
        Self { workers, held: BTreeMap::new(), closed: None }
    }

    /// Sockets that workers are about to let go of may still be in the way, if an edit takes back the one before.
    fn bind(&self, address: SocketAddr, leaving: &[SocketAddr]) -> io::Result<TcpListener> {
        let is_beside = |(held, _): &(&SocketAddr, _)| held.port() == address.port() && leaving.contains(held);
        let beside: Vec<&TcpListener> = self.held.iter().filter(is_beside).map(|(_, socket)| socket).collect();
        loop {
            match listener::bind_beside(address, &beside) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && self.is_closing() => std::thread::sleep(RETRY),
                result => return result,
            }
        }
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
        for (worker, socket) in self.workers.iter().zip(copies?) {
            let _ = worker.send(Command::Open(OpenListener { name: Arc::clone(name), bound, socket }));
        }
        self.held.insert(bound, socket);
        Ok(bound)
    }

    fn rename(&mut self, bound: SocketAddr, name: &Arc<str>) {
        for worker in &self.workers {
            let _ = worker.send(Command::Rename(bound, Arc::clone(name)));
        }
    }

    fn close(&mut self, bound: SocketAddr) {
        let Some(socket) = self.held.remove(&bound) else { return };
        if let Err(error) = listener::refuse_new(&socket) {
            tracing::debug!(%bound, %error, "a connection that opens just now may be reset");
        }
        for worker in &self.workers {
            let _ = worker.send(Command::Close(bound));
        }
        self.closed = Some(Instant::now());
    }

    fn release(&mut self) {
        self.held.clear();
    }
}

/// What workers may need to let go of a socket, besides the time they wait for handshakes.
const SLACK: Duration = Duration::from_millis(250);

/// Between two tries to bind.
const RETRY: Duration = Duration::from_millis(5);
