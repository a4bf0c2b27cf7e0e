//! A whole Serin in front of a strict endpoint, for what only the whole of it can show: that whatever comes in, what goes out is
//! right.
//!
//! Both live in the fuzzer's process, so that it sees which code an input reaches, and end with it.
#![allow(dead_code, reason = "no target needs all of it")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arbitrary::Arbitrary;
use serin_proxy::server::{Server, StartOptions};
use socket2::{Domain, Socket, Type};

#[path = "../../proxy/tests/it/support/witness/grammar.rs"]
pub mod grammar;
#[path = "../../proxy/tests/it/support/http2.rs"]
pub mod http2;

use grammar::{Progress, SeenRequest};

/// Where an input is sent to.
pub struct House {
    server: Server,
}

static SEEN: Mutex<Vec<SeenRequest>> = Mutex::new(Vec::new());

/// Whoever asks first builds it.
pub static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || listener.incoming().flatten().for_each(|it| drop(std::thread::spawn(|| converse(it)))));
    let folder = std::env::temp_dir().join(format!("serin-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("serin.yaml");
    let rules = format!(
        "workers: 1\nlisteners:\n  plain: {{address: \"127.0.0.1:0\"}}\n  announced: {{address: \"127.0.0.1:0\", \
         proxy_protocol: {{from: [127.0.0.0/8]}}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
    );
    std::fs::write(&config, rules).expect("room");
    let server = Server::start(StartOptions { config, ..StartOptions::default() }).expect("the rules are right");
    let _ = std::fs::remove_dir_all(&folder);
    House { server }
});

/// What the endpoint answers and Serin never does, which tells a call of gRPC with 200 that it is refused.
pub const SERVED: u16 = 299;

/// Reads requests as strictly as can be, and answers them.
fn converse(mut stream: TcpStream) {
    let (mut unread, mut piece) = (Vec::new(), [0; 16_384]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        unread.extend_from_slice(&piece[..count]);
        loop {
            match grammar::next_request(&unread) {
                Ok(Progress::Partial) => break,
                Ok(Progress::Complete(request, length)) => {
                    let faults = grammar::faults(&request);
                    assert!(faults.is_empty(), "{faults:?} in {request:?}");
                    unread.drain(..length);
                    lock(&SEEN).push(request);
                    if write!(stream, "HTTP/1.1 {SERVED} Served\r\ncontent-length: 0\r\n\r\n").is_err() {
                        return;
                    }
                }
                Err(violation) => panic!("{violation} in {:?}", String::from_utf8_lossy(&unread)),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One input's connection.
pub struct Visit {
    pub stream: TcpStream,
    pub source: IpAddr,
    /// Told apart by this in what arrives: something of an earlier input may be late.
    pub run: String,
}

impl House {
    /// Connects to a listener, each time from another address so that no limit of a client is met.
    pub fn visit(&self, listener: &str) -> Visit {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Relaxed);
        let listeners = self.server.listeners();
        let (_, address) = listeners.iter().find(|(name, _)| name == listener).expect("it is open");
        let [_, low, middle, high] = run.to_be_bytes();
        let source = IpAddr::from(Ipv4Addr::new(127, 1 + low % 200, middle, high));
        let stream = loop {
            match connect(source, *address) {
                // By libFuzzer's clock.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                connected => break connected.expect("Serin listens"),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Visit { stream, source, run: format!("run-{run}") }
    }
}

fn connect(source: IpAddr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Ports are few; they are not to wait for what might still come.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

impl Visit {
    /// Whatever comes until the end of the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut answers = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut answers) {
            let said = String::from_utf8_lossy(&answers);
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "no end of the connection behind {said:?}");
        }
        answers
    }

    /// What came of it to the endpoint, whole.
    pub fn seen(&self) -> Vec<SeenRequest> {
        let mut seen = std::mem::take(&mut *lock(&SEEN));
        seen.retain(|request| request.header("x-run") == Some(&*self.run));
        seen
    }
}

/// What nobody has said anything within hangs.
const PATIENCE: Duration = Duration::from_secs(8);

/// A field's name: one that means something, or anything.
#[derive(Arbitrary, Debug)]
pub enum Name {
    Known(u8),
    Raw(Vec<u8>),
}

/// A field's value.
#[derive(Arbitrary, Debug)]
pub enum Value {
    Known(u8),
    Names(Vec<u8>),
    Raw(Vec<u8>),
}

impl Name {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(place) => known(NAMES, *place).into(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

impl Value {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Known(place) => known(VALUES, *place).into(),
            Self::Names(places) => {
                let names: Vec<&str> = places.iter().take(8).map(|place| known(NAMES, *place)).collect();
                names.join(", ").into()
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

fn known(all: &'static [&'static str], place: u8) -> &'static str {
    all[usize::from(place) % all.len()]
}

const NAMES: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "host",
    "expect",
    "cookie",
    "http2-settings",
    "authorization",
    "proxy-authorization",
    "proxy-authenticate",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
    "via",
    "client-cert",
    "x-request-id",
    "x-serin-group",
    "content_length",
    "transfer_encoding",
    "x_forwarded_for",
    "x-other",
    "X-Other",
    "grpc-timeout",
    "content-type",
    "sec-websocket-key",
    "sec-websocket-version",
    "range",
    "max-forwards",
    ":method",
    ":path",
    ":status",
    "x-a",
];

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "5",
    "05",
    "+5",
    "5, 5",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "trailers",
    "close",
    "keep-alive",
    "upgrade",
    "websocket",
    "h2c",
    "100-continue",
    "a.example",
    "a.example:80",
    "b.example",
    "127.0.0.1",
    "for=1.2.3.4",
    "a=1",
    "identity",
    "application/grpc",
    "x\ty",
    "x y",
    " x ",
];
