//! An endpoint that answers with what its connection began with, and how many requests came over it before. It reads headers of the
//! PROXY protocol by itself, byte by byte, so that nothing of the proxy says what they are.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{PATIENCE, eventually, find, websocket_accept};
use crate::tls::Pair;

/// The endpoint.
pub(super) struct Told {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A connection that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Came {
    /// The header as it was; nothing if there was none.
    pub(super) header: Vec<u8>,
    /// Targets of its requests.
    pub(super) asked: Vec<String>,
    pub(super) is_open: bool,
}

#[derive(Default)]
struct Shared {
    came: Mutex<Vec<Came>>,
    streams: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

impl Told {
    pub(super) fn start() -> Self {
        Self::with(None)
    }

    /// One that speaks TLS behind the header.
    pub(super) fn secured(pair: &Pair) -> Self {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("there are versions");
        let config = builder.with_no_client_auth().with_single_cert(vec![pair.der()], pair.key_der());
        Self::with(Some(Arc::new(config.expect("they belong together"))))
    }

    fn with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { tls, ..Shared::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let place = accepting.accept(&stream);
                let shared = Arc::clone(&accepting);
                // There may be a thousand.
                let small = thread::Builder::new().stack_size(256 << 10);
                let serving = small.spawn(move || {
                    let _ = shared.converse(&stream, place);
                    let _ = stream.shutdown(Shutdown::Both);
                    shared.came()[place].is_open = false;
                });
                serving.expect("there is room for a thread");
            }
        });
        Self { address, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All connections so far.
    pub(super) fn came(&self) -> Vec<Came> {
        self.shared.came().clone()
    }

    /// Waits until the connections are as wanted.
    pub(super) fn wait_until(&self, what: &str, reached: impl Fn(&[Came]) -> bool) {
        eventually(PATIENCE, what, || reached(&self.shared.came()));
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.streams().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The accepting thread looks only when somebody connects.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn came(&self) -> MutexGuard<'_, Vec<Came>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, stream: &TcpStream) -> usize {
        let _ = stream.set_nodelay(true);
        self.streams().extend(stream.try_clone());
        let mut came = self.came();
        came.push(Came { is_open: true, ..Came::default() });
        came.len() - 1
    }

    fn converse(&self, mut stream: &TcpStream, place: usize) -> io::Result<()> {
        let mut first = [0; 12];
        stream.peek(&mut first[..1])?;
        let mut header = Vec::new();
        // What begins like no request, and like no TLS.
        if first[0] == b'\r' {
            stream.read_exact(&mut first)?;
            let mut rest = [0; 4];
            stream.read_exact(&mut rest)?;
            let mut addresses = vec![0; u16::from_be_bytes([rest[2], rest[3]]).into()];
            stream.read_exact(&mut addresses)?;
            header = [&first[..], &rest, &addresses].concat();
        }
        self.came()[place].header.clone_from(&header);
        match &self.tls {
            None => self.answer(&mut stream, place, &header),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                self.answer(&mut StreamOwned::new(session, stream.try_clone()?), place, &header)
            }
        }
    }

    /// Answers requests without a body; `/held` never, and whoever wants to upgrade gets the same in a tunnel.
    fn answer(&self, wire: &mut dyn Wire, place: usize, header: &[u8]) -> io::Result<()> {
        let mut unread = Vec::new();
        for before in 0.. {
            let end = loop {
                if let Some(at) = find(&unread, b"\r\n\r\n") {
                    break at + 4;
                }
                let mut chunk = [0; 4 << 10];
                match wire.read(&mut chunk)? {
                    0 => return Ok(()),
                    count => unread.extend_from_slice(&chunk[..count]),
                }
            };
            let head: Vec<u8> = unread.drain(..end).collect();
            let head = String::from_utf8_lossy(&head);
            let field = |wanted: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(": "));
                fields.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value))
            };
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.came()[place].asked.push(target.clone());
            let upgrades = field("upgrade").is_some();
            if upgrades {
                let accept = websocket_accept(field("sec-websocket-key").unwrap_or_default());
                let fields = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}");
                let said = format!("{} {before}", shown(header));
                wire.write_all(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n{said}").as_bytes())?;
            }
            if target == "/held" || upgrades {
                while wire.read(&mut [0; 1 << 10])? > 0 {}
                return Ok(());
            }
            let body = format!("{} {before}", shown(header));
            wire.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
            wire.flush()?;
        }
        Ok(())
    }
}

/// What a header says, in words: `nothing` without one, `local`, or from where to where.
pub(super) fn shown(header: &[u8]) -> String {
    let Some((head, addresses)) = header.split_at_checked(16) else { return "nothing".to_owned() };
    assert_eq!(&head[..12], b"\r\n\r\n\0\r\nQUIT\n", "{header:x?}");
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let v4 = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&addresses[at..at + 4]).expect("four bytes"));
    let v6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&addresses[at..at + 16]).expect("sixteen bytes"));
    let [from, to]: [SocketAddr; 2] = match (head[12], head[13], addresses.len()) {
        (0x20, 0, 0) => return "local".to_owned(),
        (0x21, 0x11, 12) => [(v4(0), port(8)).into(), (v4(4), port(10)).into()],
        (0x21, 0x21, 36) => [(v6(0), port(32)).into(), (v6(16), port(34)).into()],
        _ => panic!("no header of TCP: {header:x?}"),
    };
    format!("{from} {to}")
}
