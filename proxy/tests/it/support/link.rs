//! A way between a client and a server over TCP that faults can be put on: delay, silence, resets, connections of which one
//! end is gone. It carries bytes and knows no protocol; what it carries stays in its order, and what it swallows never comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinSet;

/// A listener of its own, and a thread that carries what comes to its target until this is dropped.
pub(crate) struct Link {
    address: SocketAddr,
    orders: Sender<Orders>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// What happens to bytes under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They arrive.
    Fair,
    /// They arrive so much later.
    Slow(Duration),
    /// They are kept until the weather changes, as are connections: a partition, which TCP outlives if it is short.
    Silent,
    /// Each connection carries so many to the client; more is kept until the weather changes.
    Choked(u64),
}

#[derive(Clone, Copy)]
struct Orders {
    weather: Weather,
    resets: u64,
    halvings: u64,
    is_over: bool,
}

#[derive(Default)]
struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    held: AtomicU64,
}

/// What ends a connection that neither of its ends has ended.
enum End {
    Reset,
    Halved,
    Over,
}

impl Link {
    /// A link to this address.
    pub(crate) fn to(target: &str) -> Self {
        let target = target.parse().expect("an address");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a fresh socket");
        let address = listener.local_addr().expect("a bound listener has an address");
        let fair = Orders { weather: Weather::Fair, resets: 0, halvings: 0, is_over: false };
        let (orders, told) = tokio::sync::watch::channel(fair);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                accept(listener, target, told, counted).await;
            });
        });
        Self { address, orders, counts, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn set(&self, weather: Weather) {
        self.orders.send_modify(|orders| orders.weather = weather);
    }

    /// Both ends of all connections there are hear a reset.
    pub(crate) fn reset(&self) {
        self.orders.send_modify(|orders| orders.resets += 1);
    }

    /// The server's ends of all connections there are close, and the client's stay open: they swallow what comes.
    pub(crate) fn halve(&self) {
        self.orders.send_modify(|orders| orders.halvings += 1);
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> u64 {
        self.counts.open.load(SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.counts.accepted.load(SeqCst)
    }

    /// How often bytes were kept so far.
    pub(crate) fn held(&self) -> u64 {
        self.counts.held.load(SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.is_over = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, orders: Receiver<Orders>, counts: Arc<Counts>) {
    let (mut connections, mut over) = (JoinSet::new(), orders.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                counts.accepted.fetch_add(1, SeqCst);
                counts.open.fetch_add(1, SeqCst);
                let (orders, counts) = (orders.clone(), Arc::clone(&counts));
                connections.spawn(async move {
                    serve(client, target, orders, &counts).await;
                    counts.open.fetch_sub(1, SeqCst);
                });
            }
            _ = over.wait_for(|orders| orders.is_over) => return,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, orders: Receiver<Orders>, counts: &Counts) {
    let _ = client.set_nodelay(true);
    let mut server = None;
    let (mut changes, at_first) = (orders.clone(), *orders.borrow());
    let end = tokio::select! {
        end = end(&mut changes, at_first) => end,
        is_refused = carry(&mut client, &mut server, target, &orders, counts) => match is_refused {
            true => End::Reset,
            false => return,
        },
    };
    match end {
        End::Over => {}
        End::Reset => {
            reset(&client);
            server.iter().for_each(reset);
        }
        End::Halved => {
            drop(server);
            swallow(&mut client, &mut changes, at_first).await;
        }
    }
}

/// Waits for what ends a connection that began when this was said.
async fn end(orders: &mut Receiver<Orders>, at_first: Orders) -> End {
    let is_end = |now: &Orders| now.is_over || now.resets > at_first.resets || now.halvings > at_first.halvings;
    match orders.wait_for(is_end).await {
        Ok(now) if now.resets > at_first.resets => End::Reset,
        Ok(now) if now.halvings > at_first.halvings => End::Halved,
        _ => End::Over,
    }
}

/// Both directions, until one ends. Returns whether the server could not be reached.
async fn carry(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    target: SocketAddr,
    orders: &Receiver<Orders>,
    counts: &Counts,
) -> bool {
    // Whoever was cut off for the time of its connection has not reached anybody.
    let is_silent = |now: &Orders| now.weather == Weather::Silent;
    let _ = orders.clone().wait_for(|now| !is_silent(now)).await;
    let Ok(connected) = TcpStream::connect(target).await else { return true };
    let _ = connected.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.insert(connected).split();
    tokio::select! {
        () = pipe(from_client, to_server, orders.clone(), counts, u64::MAX) => {}
        () = pipe(from_server, to_client, orders.clone(), counts, 0) => {}
    }
    false
}

/// One direction; `free` are bytes that do not count where a connection is choked.
async fn pipe(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut orders: Receiver<Orders>, counts: &Counts, free: u64) {
    let (mut buffer, mut total) = (vec![0; 16 << 10], 0u64);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        total += count as u64;
        let passes = |now: &Orders| match now.weather {
            Weather::Silent => false,
            Weather::Choked(most) => total <= most.max(free),
            Weather::Fair | Weather::Slow(_) => true,
        };
        let now = *orders.borrow();
        if !passes(&now) {
            counts.held.fetch_add(1, SeqCst);
            let _ = orders.wait_for(passes).await;
        }
        if let Weather::Slow(delay) = now.weather {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn swallow(client: &mut TcpStream, orders: &mut Receiver<Orders>, at_first: Orders) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            told = orders.wait_for(|now| now.is_over || now.resets > at_first.resets) => {
                if told.is_ok_and(|now| !now.is_over) {
                    reset(client);
                }
                return;
            }
        }
    }
}

/// What closes without lingering is reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    use super::super::{PATIENCE, eventually};
    use super::*;

    /// A link to a listener, and both ends of a connection through it.
    fn connected() -> (Link, TcpStream, TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let link = Link::to(&listener.local_addr().expect("an address").to_string());
        let mut client = TcpStream::connect(link.address()).expect("a connection");
        let (mut server, _) = listener.accept().expect("it is carried on");
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket");
        }
        // The link knows of the connection a moment later than its ends.
        server.write_all(b"!").expect("it is open");
        assert_eq!(read(&mut client).expect("it is carried"), b"!");
        (link, client, server)
    }

    fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        stream.read(&mut buffer).map(|count| buffer[..count].to_vec())
    }

    #[test]
    fn bytes_are_kept_and_carried_in_their_order() {
        let (link, mut client, mut server) = connected();
        client.write_all(b"one").unwrap();
        assert_eq!(read(&mut server).unwrap(), b"one");
        link.set(Weather::Silent);
        server.write_all(b"two").unwrap();
        eventually(PATIENCE, "it is kept", || link.held() == 1);
        server.write_all(b"three").unwrap();
        link.set(Weather::Fair);
        let mut seen = Vec::new();
        while seen.len() < 8 {
            seen.extend(read(&mut client).unwrap());
        }
        assert_eq!(seen, b"twothree");
    }

    #[test]
    fn a_connection_is_choked_in_one_direction() {
        let (link, mut client, mut server) = connected();
        link.set(Weather::Choked(5));
        server.write_all(b"four").unwrap();
        assert_eq!(read(&mut client).unwrap(), b"four");
        server.write_all(b"more").unwrap();
        eventually(PATIENCE, "it is kept", || link.held() == 1);
        client.write_all(b"the other way").unwrap();
        assert_eq!(read(&mut server).unwrap(), b"the other way");
        link.set(Weather::Fair);
        assert_eq!(read(&mut client).unwrap(), b"more");
    }

    #[test]
    fn ends_hear_a_reset_or_only_one_of_them_an_end() {
        let (link, mut client, mut server) = connected();
        link.reset();
        for stream in [&mut client, &mut server] {
            assert_eq!(read(stream).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        eventually(PATIENCE, "it has gone", || link.open() == 0);

        let (link, mut client, mut server) = connected();
        link.halve();
        assert_eq!(read(&mut server).unwrap(), b"");
        client.write_all(b"is anybody there").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(read(&mut client).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!((link.open(), link.accepted()), (1, 1));
    }
}
