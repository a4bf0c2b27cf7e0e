//! What the process of an endpoint does: HTTP/1.1 with kept connections, a thread for each, until it is told to leave.
//!
//! However it leaves, it takes the connections that are made already, listens no more, and ends a connection behind the
//! answer that is under way, which says so.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How idle connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// After a while in which answers say that their connection ends.
    Patient,
    /// At once and without a word.
    Abrupt,
}

/// Serves until it has left, or there is nobody who could tell it to.
pub(super) fn serve(address: SocketAddr, mut orders: impl Iterator<Item = String>, listens: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind(address).expect("the address is ours");
    let address = listener.local_addr().expect("it is bound");
    let server = Arc::new(Server::default());
    let accepting = Arc::clone(&server);
    let accept = std::thread::spawn(move || accepting.accept(&listener));
    listens(address);
    if let Some(manner) = orders.next().map(|order| Manner::parse(&order)) {
        server.is_leaving.store(true, SeqCst);
        // Wakes who accepts.
        let _ = TcpStream::connect(address);
        accept.join().expect("it accepts");
        server.leave(manner);
    }
    // Not to go back to the test, whose report nobody reads.
    std::process::exit(0);
}

impl Manner {
    fn parse(order: &str) -> Self {
        let manner = [Self::Patient, Self::Abrupt].into_iter().find(|manner| manner.order() == order);
        manner.unwrap_or_else(|| panic!("no such order: {order}"))
    }

    pub(super) fn order(self) -> String {
        format!("{self:?}")
    }
}

#[derive(Default)]
struct Server {
    is_leaving: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    stream: TcpStream,
    /// [`BUSY`], [`IDLE`] or [`ENDED`]. Whoever changes it first, of a request that comes and a server that leaves, has it.
    state: AtomicU8,
}

const BUSY: u8 = 0;
const IDLE: u8 = 1;
const ENDED: u8 = 2;

impl Server {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let _ = stream.set_nodelay(true);
            // Somebody who has just come has something to say.
            let connection = Arc::new(Connection { stream, state: AtomicU8::new(BUSY) });
            self.connections().push(Arc::clone(&connection));
            let server = Arc::clone(self);
            std::thread::spawn(move || {
                let _ = server.converse(&connection);
                let _ = connection.stream.shutdown(Shutdown::Both);
                server.connections().retain(|other| !Arc::ptr_eq(other, &connection));
            });
            if self.is_leaving.load(SeqCst) {
                listener.set_nonblocking(true).expect("a listener");
            }
        }
    }

    fn leave(&self, manner: Manner) {
        if manner == Manner::Patient {
            std::thread::sleep(PATIENCE);
        }
        while !self.connections().is_empty() {
            self.connections().iter().for_each(|connection| connection.end_if_idle());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn converse(&self, connection: &Connection) -> io::Result<()> {
        let mut stream = &connection.stream;
        let (mut unread, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let request = loop {
                if let Some(request) = Request::take(&mut unread) {
                    break request;
                }
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => unread.extend_from_slice(&buffer[..count]),
                }
                if connection.state.compare_exchange(IDLE, BUSY, SeqCst, SeqCst) == Err(ENDED) {
                    return Ok(());
                }
            };
            std::thread::sleep(request.takes);
            let is_last = self.is_leaving.load(SeqCst);
            stream.write_all(request.answer(is_last).as_bytes())?;
            if is_last {
                return Ok(());
            }
            connection.state.store(IDLE, SeqCst);
        }
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn end_if_idle(&self) {
        if self.state.compare_exchange(IDLE, ENDED, SeqCst, SeqCst).is_ok() {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// All that matters of a request.
struct Request {
    is_head: bool,
    takes: Duration,
}

impl Request {
    /// Takes a whole one. Its target says how many milliseconds it takes: `/20`.
    fn take(unread: &mut Vec<u8>) -> Option<Self> {
        let end = crate::support::find(unread, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let whole = end + length.unwrap_or(0_usize);
        if unread.len() < whole {
            return None;
        }
        unread.drain(..whole);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let takes = Duration::from_millis(target.trim_start_matches('/').parse().unwrap_or(2));
        Some(Self { is_head: head.starts_with("head "), takes })
    }

    /// Says which process it is.
    fn answer(&self, is_last: bool) -> String {
        let id = std::process::id().to_string();
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let body = if self.is_head { "" } else { &id };
        format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{body}", id.len())
    }
}

/// Long enough for every connection that is in use to be used once more.
const PATIENCE: Duration = Duration::from_millis(300);
