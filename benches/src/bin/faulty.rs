//! Endpoints that fail as they are told: N of them on N ports, each serving some requests at a time.
//!
//! One thread, one epoll, times from the work's own queue: it must stay cheap beside the proxy it is behind. Answers are
//! those of `/1k` whatever is asked; request bodies are read and thrown away. Orders come in over a connection to the
//! control address, one controller at a time. Further lines there: `begin MS` counts requests in half seconds since so
//! many milliseconds ago, `counts` prints a line of these for each endpoint.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::net::sockopt;
use serin_bench::faulty::Order;
use serin_bench::faulty::work::Work;
use serin_bench::http::{Drain, Head};
use serin_bench::poll::{Moved, Places, Poller, Ready, listen};
use serin_bench::process;
use serin_bench::random::Random;

/// Endpoints of this machine that can be told to be slow, to fail or to be gone.
#[derive(Parser)]
struct Args {
    /// Where orders come in
    #[arg(long)]
    control: SocketAddr,
    /// How long a request takes, on average
    #[arg(long, default_value_t = 10.0)]
    mean_ms: f64,
    /// How much that varies: sigma of the lognormal distribution
    #[arg(long, default_value_t = 0.8)]
    sigma: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Endpoints: an address and how many requests it serves at a time, as in 127.0.0.1:9001/4
    #[arg(required = true, value_parser = endpoint)]
    endpoints: Vec<(SocketAddr, usize)>,
}

fn endpoint(text: &str) -> Result<(SocketAddr, usize), String> {
    let (address, slots) = text.split_once('/').ok_or("write ADDRESS/SLOTS")?;
    let slots = slots.parse().ok().filter(|slots| *slots > 0).ok_or("SLOTS is a number above 0")?;
    Ok((address.parse().map_err(|error| format!("{error}"))?, slots))
}

fn main() -> io::Result<()> {
    process::end_with_parent();
    let args = Args::parse();
    let mut poller = Poller::new()?;
    let mut endpoints = Endpoints::new(&args, &poller)?;
    // Last: who reaches it may count on the endpoints.
    let control = listen(args.control)?;
    poller.add(&control, CONTROL)?;
    loop {
        let timeout = endpoints.next().map(|next| next.saturating_duration_since(Instant::now()));
        poller.wait(timeout, |poller, ready| endpoints.happen(poller, &control, ready))?;
        endpoints.work(&poller)?;
    }
}

const CONTROL: u64 = 0;
const CONTROLLER: u64 = 1;
/// The first token of the endpoints' listeners; those of connections come after them.
const LISTENERS: u64 = 2;
const BIN_MS: u128 = 500;

/// What is wrong with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Reset,
    Errors,
    Flaky(f64),
    Leaving,
}

struct Endpoint {
    address: SocketAddr,
    /// None while it refuses.
    listener: Option<TcpListener>,
    work: Work,
    fault: Fault,
    /// How long each half of a flap is, and when the next begins.
    flap: Option<(Duration, Instant)>,
    received: Vec<u32>,
}

struct Connection {
    stream: TcpStream,
    endpoint: usize,
    /// What was read and not yet taken.
    partial: Vec<u8>,
    body: Drain,
    /// The head of a request was taken; it counts when its body is there.
    has_head: bool,
    close: bool,
    /// The request that is served or waits.
    job: Option<u64>,
}

struct Endpoints {
    /// Zero of the work's microseconds.
    epoch: Instant,
    counts_from: Instant,
    endpoints: Vec<Endpoint>,
    connections: Places<Connection>,
    controller: Option<(TcpStream, Vec<u8>)>,
    /// Numbers jobs.
    serial: u32,
    random: Random,
    scratch: Vec<u8>,
}

impl Endpoints {
    fn new(args: &Args, poller: &Poller) -> io::Result<Self> {
        let now = Instant::now();
        let seeds = args.seed..;
        let mut endpoints: Vec<Endpoint> = seeds
            .zip(&args.endpoints)
            .map(|(seed, &(address, slots))| Endpoint {
                address,
                listener: None,
                work: Work::new(slots, args.mean_ms * 1e3, args.sigma, seed),
                fault: Fault::None,
                flap: None,
                received: Vec::new(),
            })
            .collect();
        for (place, endpoint) in endpoints.iter_mut().enumerate() {
            endpoint.listen(poller, place)?;
        }
        Ok(Self {
            epoch: now,
            counts_from: now,
            endpoints,
            connections: Places::default(),
            controller: None,
            serial: 0,
            random: Random(!args.seed),
            scratch: vec![0; 64 << 10],
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When there is something to do without an event.
    fn next(&self) -> Option<Instant> {
        let work = |endpoint: &Endpoint| endpoint.work.next_us().map(|at_us| self.epoch + Duration::from_micros(at_us));
        let flap = |endpoint: &Endpoint| endpoint.flap.map(|(_, next)| next);
        self.endpoints.iter().flat_map(|endpoint| [work(endpoint), flap(endpoint)]).flatten().min()
    }

    /// Does what is due.
    fn work(&mut self, poller: &Poller) -> io::Result<()> {
        for place in 0..self.endpoints.len() {
            let now_us = self.now_us();
            while let Some(job) = self.endpoints[place].work.finish(now_us) {
                self.finished(job);
            }
            self.flap(poller, place)?;
        }
        Ok(())
    }

    fn flap(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        let endpoint = &mut self.endpoints[place];
        let Some((half, next)) = endpoint.flap.filter(|(_, next)| *next <= Instant::now()) else { return Ok(()) };
        endpoint.flap = Some((half, next + half));
        if endpoint.listener.is_none() {
            return endpoint.listen(poller, place);
        }
        self.refuse(place);
        Ok(())
    }

    fn happen(&mut self, poller: &Poller, control: &TcpListener, ready: Ready) -> io::Result<()> {
        let first = LISTENERS + self.endpoints.len() as u64;
        let place = |from: u64| usize::try_from(ready.token - from).map_err(io::Error::other);
        match ready.token {
            CONTROL => self.take_controller(poller, control),
            CONTROLLER => self.obey(poller),
            token if token < first => self.accept(poller, place(LISTENERS)?, first),
            _ => {
                self.proceed(place(first)?);
                Ok(())
            }
        }
    }

    fn accept(&mut self, poller: &Poller, endpoint: usize, first: u64) -> io::Result<()> {
        while let Some(listener) = &self.endpoints[endpoint].listener
            && let Ok((stream, _)) = listener.accept()
        {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let connection = Connection {
                stream,
                endpoint,
                partial: Vec::new(),
                body: Drain::Bytes(0),
                has_head: false,
                close: false,
                job: None,
            };
            let place = self.connections.insert(connection);
            if let Some(connection) = self.connections.find(place) {
                poller.add(&connection.stream, place as u64 + first)?;
            }
        }
        Ok(())
    }

    fn proceed(&mut self, place: usize) {
        while let Some(connection) = self.connections.find(place) {
            match Moved::from(connection.stream.read(&mut self.scratch)) {
                Moved::Bytes(bytes) => {
                    connection.partial.extend_from_slice(&self.scratch[..bytes]);
                    self.take_request(place);
                }
                Moved::Later => return,
                Moved::Gone => self.end(place, false),
            }
        }
    }

    fn take_request(&mut self, place: usize) {
        let now_us = self.now_us();
        let Some(connection) = self.connections.find(place) else { return };
        if connection.job.is_some() || !connection.complete() {
            return;
        }
        let endpoint = &mut self.endpoints[connection.endpoint];
        endpoint.count(self.counts_from);
        self.serial = self.serial.wrapping_add(1);
        let job = ((place as u64) << 32) | u64::from(self.serial);
        connection.job = Some(job);
        match endpoint.fault {
            Fault::Reset => self.end(place, true),
            Fault::Errors => self.finished(job),
            _ => endpoint.work.enter(now_us, job),
        }
    }

    /// Answers the request of `job`, if its connection is still there.
    fn finished(&mut self, job: u64) {
        let place = usize::try_from(job >> 32).unwrap_or(usize::MAX);
        let Some(connection) = self.connections.find(place).filter(|connection| connection.job == Some(job)) else {
            return;
        };
        connection.job = None;
        let fault = self.endpoints[connection.endpoint].fault;
        let fails = match fault {
            Fault::Errors => true,
            Fault::Flaky(part) => self.random.unit() <= part,
            _ => false,
        };
        let close = connection.close || fault == Fault::Leaving;
        let answer = answer(fails, close);
        // An answer of a kilobyte fits an empty socket buffer; one that does not take it is broken.
        let written = Moved::from(connection.stream.write(&answer));
        if written != Moved::Bytes(answer.len()) || close {
            return self.end(place, false);
        }
        self.take_request(place);
    }

    fn end(&mut self, place: usize, reset: bool) {
        let Some(connection) = self.connections.remove(place) else { return };
        if let Some(job) = connection.job {
            self.endpoints[connection.endpoint].work.abandon(job);
        }
        if reset {
            // Without it the kernel would close in order; what cannot be reset is broken already.
            let _broken = sockopt::set_socket_linger(&connection.stream, Some(Duration::ZERO));
        }
    }

    /// Ends those connections of an endpoint that `which` says.
    fn end_all(&mut self, endpoint: usize, reset: bool, which: impl Fn(&Connection) -> bool) {
        let of = |connection: &Connection| connection.endpoint == endpoint && which(connection);
        for place in self.connections.which(of) {
            self.end(place, reset);
        }
    }

    fn refuse(&mut self, endpoint: usize) {
        self.endpoints[endpoint].listener = None;
        self.end_all(endpoint, true, |_| true);
    }

    fn take_controller(&mut self, poller: &Poller, control: &TcpListener) -> io::Result<()> {
        while let Ok((stream, _)) = control.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            poller.add(&stream, CONTROLLER)?;
            self.controller = Some((stream, Vec::new()));
        }
        Ok(())
    }

    /// Reads orders and answers them.
    fn obey(&mut self, poller: &Poller) -> io::Result<()> {
        while let Some((stream, partial)) = &mut self.controller {
            match Moved::from(stream.read(&mut self.scratch)) {
                Moved::Bytes(bytes) => partial.extend_from_slice(&self.scratch[..bytes]),
                Moved::Later => return Ok(()),
                Moved::Gone => self.controller = None,
            }
            while let Some(line) = self.next_line() {
                let reply = self.order(poller, &line).unwrap_or_else(|problem| format!("error: {problem}\n"));
                self.reply(&reply)?;
            }
        }
        Ok(())
    }

    fn next_line(&mut self) -> Option<String> {
        let (_, partial) = self.controller.as_mut()?;
        let end = memchr::memchr(b'\n', partial)?;
        let line = partial.drain(..=end).collect::<Vec<u8>>();
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// Counts may be longer than the socket takes at once, and the controller waits for them.
    fn reply(&mut self, text: &str) -> io::Result<()> {
        let Some((stream, _)) = &mut self.controller else { return Ok(()) };
        stream.set_nonblocking(false)?;
        let written = stream.write_all(text.as_bytes());
        stream.set_nonblocking(true)?;
        if written.is_err() {
            self.controller = None;
        }
        Ok(())
    }

    fn order(&mut self, poller: &Poller, line: &str) -> Result<String, String> {
        if line == "counts" {
            return Ok(self.counts() + "ok\n");
        }
        let (first, rest) = line.split_once(' ').ok_or_else(|| format!("`{line}` is no order"))?;
        if first == "begin" {
            let ago_ms = rest.parse().map_err(|error| format!("{rest}: {error}"))?;
            self.begin_counts(Duration::from_millis(ago_ms));
            return Ok("ok\n".to_owned());
        }
        let place: usize = first.parse().map_err(|_| format!("`{first}` is no endpoint's number"))?;
        if place >= self.endpoints.len() {
            return Err(format!("there is no endpoint {place}"));
        }
        self.apply(poller, place, rest.parse()?).map_err(|error| error.to_string())?;
        Ok("ok\n".to_owned())
    }

    fn begin_counts(&mut self, ago: Duration) {
        self.counts_from = Instant::now().checked_sub(ago).unwrap_or(self.epoch);
        self.endpoints.iter_mut().for_each(|endpoint| endpoint.received.clear());
    }

    fn counts(&self) -> String {
        let mut text = String::new();
        for endpoint in &self.endpoints {
            let counts: Vec<String> = endpoint.received.iter().map(u32::to_string).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", counts.join(" "));
        }
        text
    }

    fn apply(&mut self, poller: &Poller, place: usize, order: Order) -> io::Result<()> {
        let now_us = self.now_us();
        let endpoint = &mut self.endpoints[place];
        match order {
            Order::Slow(factor) => endpoint.work.slow = factor,
            Order::Stall => endpoint.work.stall(now_us),
            Order::Errors => endpoint.fault = Fault::Errors,
            Order::Flaky(part) => endpoint.fault = Fault::Flaky(part),
            Order::Reset => {
                endpoint.fault = Fault::Reset;
                self.end_all(place, true, |connection| connection.job.is_some());
            }
            Order::Refuse => self.refuse(place),
            Order::Leave => {
                endpoint.fault = Fault::Leaving;
                endpoint.listener = None;
                self.end_all(place, false, |connection| connection.job.is_none());
            }
            Order::Flap(seconds) => {
                let half = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
                endpoint.flap = Some((half, Instant::now() + half));
                self.refuse(place);
            }
            Order::Recover => {
                endpoint.work.go_on(now_us);
                endpoint.work.slow = 1.0;
                endpoint.fault = Fault::None;
                endpoint.flap = None;
                endpoint.listen(poller, place)?;
            }
        }
        Ok(())
    }
}

impl Endpoint {
    /// Listens, if it does not yet.
    fn listen(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        if self.listener.is_none() {
            let listener = listen(self.address)?;
            poller.add(&listener, LISTENERS + place as u64)?;
            self.listener = Some(listener);
        }
        Ok(())
    }

    fn count(&mut self, from: Instant) {
        let bin = usize::try_from(from.elapsed().as_millis() / BIN_MS).unwrap_or(0);
        if self.received.len() <= bin {
            self.received.resize(bin + 1, 0);
        }
        self.received[bin] += 1;
    }
}

impl Connection {
    /// Takes the head and the body of the next request, if they are there.
    fn complete(&mut self) -> bool {
        if !self.has_head {
            let Some(head) = Head::find(&self.partial) else { return false };
            self.has_head = true;
            self.close = head.close;
            self.body = Drain::new(head.framing);
            self.partial.drain(..head.len);
        }
        let taken = self.body.take(&self.partial);
        self.partial.drain(..taken);
        if self.body.done() {
            self.has_head = false;
        }
        self.body.done()
    }
}

fn answer(fails: bool, close: bool) -> Vec<u8> {
    let status = if fails { "500 Internal Server Error" } else { "200 OK" };
    let close = if close { "connection: close\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nserver: faulty\r\ncontent-type: text/plain\r\n{close}content-length: 1024\r\n\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + 1024, b'a');
    bytes
}
