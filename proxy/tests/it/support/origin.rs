//! An endpoint that does what a test tells it, request by request. It hands each request's head to the test's own
//! code, which reads the body and writes the answer, or does not. Honest heads only: hostile bytes are the witness's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::witness::grammar::{self, Progress, SeenRequest};
use super::{PATIENCE, find};

/// A programmable endpoint on a loopback port of its own.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What becomes of the connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
}

/// One request at the endpoint, and the connection it came on.
pub(crate) struct Visit<'a> {
    /// The head; the body once it has been read.
    pub(crate) request: SeenRequest,
    /// How many requests came before on the same connection.
    pub(crate) place: usize,
    stream: &'a TcpStream,
    /// Read from the connection and not used, beginning with the body of this request.
    unread: &'a mut Vec<u8>,
    head: Vec<u8>,
    body_read: bool,
    entry: usize,
    shared: &'a Shared,
}

/// What the endpoint has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Every request whose head came, in that order.
    pub(crate) requests: Vec<SeenRequest>,
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Connections of these that are still open.
    pub(crate) open: u64,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

impl Origin {
    /// Starts an endpoint; `serve` runs for every request, on a thread of the request's connection.
    pub(crate) fn start(serve: impl Fn(&mut Visit<'_>) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").expect("a loopback port is free"), serve)
    }

    /// The same on a socket of the test's.
    pub(crate) fn start_on(
        listener: TcpListener,
        serve: impl Fn(&mut Visit<'_>) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let (accepting, serve) = (Arc::clone(&shared), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = accepting.accept(&stream);
                let (shared, serve) = (Arc::clone(&accepting), Arc::clone(&serve));
                thread::spawn(move || {
                    let _ = converse(&stream, connection, &shared, &*serve);
                    let _ = stream.shutdown(Shutdown::Both);
                    shared.change(|log| log.open -= 1);
                });
            }
        });
        Self { address, shared }
    }

    /// An endpoint that answers every request with its own name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::named_on(TcpListener::bind("127.0.0.1:0").expect("a loopback port is free"), name)
    }

    /// The same on a socket of the test's.
    pub(crate) fn named_on(listener: TcpListener, name: &'static str) -> Self {
        Self::start_on(listener, move |visit| {
            visit.read_body()?;
            visit.answer(200, &[], name.as_bytes())
        })
    }

    /// An endpoint that closes its connection some time behind the answer to `/first`: when it is told to.
    pub(crate) fn closing_when_told() -> (Self, Sender<()>) {
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let origin = Self::start(move |visit| {
            visit.read_body()?;
            visit.answer(200, &[], b"served")?;
            if visit.request.target != "/first" {
                return Ok(Then::Keep);
            }
            // Without a test there is nothing to wait for.
            let _ = told.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(Then::Close)
        });
        (origin, tell)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> Log {
        self.shared.log().clone()
    }

    /// The requests seen so far.
    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.log().requests
    }

    /// The only request seen so far.
    pub(crate) fn request(&self) -> SeenRequest {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "the endpoint saw {requests:?}");
        requests.into_iter().next().expect("there is one")
    }

    /// Waits until the log is as wanted.
    pub(crate) fn wait_until(&self, what: &str, reached: impl Fn(&Log) -> bool) {
        self.wait_within(PATIENCE, what, reached);
    }

    /// As [`Self::wait_until`] with a deadline that is part of what is tested.
    pub(crate) fn wait_within(&self, patience: Duration, what: &str, reached: impl Fn(&Log) -> bool) {
        let deadline = Instant::now() + patience;
        let mut log = self.shared.log();
        while !reached(&log) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {patience:?}: {what}; the endpoint saw {log:?}");
            log = self.shared.changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for stream in self.shared.streams().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The accepting thread looks at the flag only when somebody connects.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log());
        self.changed.notify_all();
        result
    }

    fn accept(&self, stream: &TcpStream) -> u64 {
        let _ = stream.set_nodelay(true);
        self.streams().extend(stream.try_clone());
        self.change(|log| {
            log.accepted += 1;
            log.open += 1;
            log.accepted - 1
        })
    }
}

/// Serves the requests of one connection until one side has had enough.
fn converse(
    mut stream: &TcpStream,
    connection: u64,
    shared: &Shared,
    serve: &dyn Fn(&mut Visit<'_>) -> io::Result<Then>,
) -> io::Result<()> {
    let mut unread = Vec::new();
    for place in 0.. {
        let head_length = loop {
            if let Some(at) = find(&unread, b"\r\n\r\n") {
                break at + 4;
            }
            if receive(&mut stream, &mut unread)? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = unread.drain(..head_length).collect();
        let request = SeenRequest { connection, ..grammar::unfinished(&head) };
        let entry = shared.change(|log| {
            log.requests.push(request.clone());
            log.requests.len() - 1
        });
        let mut visit = Visit { request, place, stream, unread: &mut unread, head, body_read: false, entry, shared };
        let then = serve(&mut visit)?;
        // What the test did not want to read is not the next request.
        if then == Then::Close || (!visit.body_read && visit.has_body()) {
            return Ok(());
        }
    }
    Ok(())
}

fn receive(stream: &mut impl Read, unread: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 64 << 10];
    let count = stream.read(&mut chunk)?;
    unread.extend_from_slice(&chunk[..count]);
    Ok(count)
}

impl Visit<'_> {
    fn has_body(&self) -> bool {
        self.request.headers.iter().any(|(name, value)| match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => true,
            "content-length" => value != "0",
            _ => false,
        })
    }

    /// Reads the whole body; it and its trailers are in `request` then, and in the log.
    pub(crate) fn read_body(&mut self) -> io::Result<()> {
        if self.has_body() {
            let length = self.body_end()?;
            self.unread.drain(..length);
        }
        self.body_read = true;
        self.request.complete = true;
        let request = self.request.clone();
        self.shared.change(|log| log.requests[self.entry] = request);
        Ok(())
    }

    /// Reads until the body is complete and takes it over. Returns its length on the wire.
    fn body_end(&mut self) -> io::Result<usize> {
        // The framing is read anew with every piece, so pieces must not be small.
        let mut whole = self.head.clone();
        let mut wanted = 0;
        loop {
            if self.unread.len() >= wanted {
                whole.truncate(self.head.len());
                whole.extend_from_slice(self.unread);
                match grammar::next_request(&whole).map_err(io::Error::other)? {
                    Progress::Complete(request, length) => {
                        self.request = SeenRequest { connection: self.request.connection, ..request };
                        return Ok(length - self.head.len());
                    }
                    Progress::Partial => wanted = self.unread.len() + self.unread.len() / 8,
                }
            }
            let mut stream = self.stream;
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            match receive(&mut stream, self.unread) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // Nothing more comes for now: look at what there is.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wanted = 0,
                Err(error) => return Err(error),
            }
            let _ = stream.set_read_timeout(None);
        }
    }

    /// Reads bytes as they come; 0 at the end of the connection.
    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            let mut stream = self.stream;
            return stream.read(buffer);
        }
        let count = self.unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }

    /// Reads exactly this many bytes.
    pub(crate) fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            match self.read_some(&mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(bytes)
    }

    /// Waits until the other side ends the connection, in whatever way.
    pub(crate) fn wait_for_end(&mut self) -> io::Result<Then> {
        let mut scratch = [0; 64 << 10];
        while matches!(self.read_some(&mut scratch), Ok(1..)) {}
        Ok(Then::Close)
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(bytes.as_ref())
    }

    /// An answer with a Content-Length; the connection is kept.
    pub(crate) fn answer(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) -> io::Result<Then> {
        let mut answer = format!("HTTP/1.1 {status} Testing\r\nContent-Length: {}\r\n", body.len());
        fields.iter().for_each(|(name, value)| answer.push_str(&format!("{name}: {value}\r\n")));
        answer.push_str("\r\n");
        let mut answer = answer.into_bytes();
        if self.request.method != "HEAD" {
            answer.extend_from_slice(body);
        }
        self.write(answer)?;
        Ok(Then::Keep)
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream
    }
}
