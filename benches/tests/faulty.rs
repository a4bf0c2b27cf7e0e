//! The program `faulty` does what it is told, and its counts are those of the requests it got.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serin_bench::faulty::Order;
use serin_bench::load::poisson::{self, Plan, Stretch};
use serin_bench::process::{Folder, Interrupt};
use serin_bench::scenario::endpoints::{Endpoints, Make};

/// Two endpoints that serve two requests at a time, each in exactly 20 ms; the second is told things.
struct Pair {
    endpoints: Endpoints,
    interrupt: Interrupt,
    _folder: Folder,
}

const WELL: usize = 0;
const TOLD: usize = 1;

impl Pair {
    fn start(last_alone: bool) -> Self {
        let folder = Folder::new().unwrap();
        let make = Make {
            program: PathBuf::from(env!("CARGO_BIN_EXE_faulty")),
            folder: folder.path().to_owned(),
            core: 0,
            mean_ms: 20.0,
            sigma: 0.0,
            seed: 1,
        };
        let interrupt = Interrupt::on_signals().unwrap();
        let endpoints = Endpoints::start(make, &[2, 2], last_alone, &interrupt).unwrap();
        Self { endpoints, interrupt, _folder: folder }
    }

    fn told(order: Order) -> Self {
        let mut pair = Self::start(false);
        pair.endpoints.tell(TOLD, order).unwrap();
        pair
    }

    fn address(&self, endpoint: usize) -> SocketAddrV4 {
        self.endpoints.addresses()[endpoint]
    }

    /// The status of an answer and how long it took.
    fn ask(&self, endpoint: usize) -> io::Result<(u16, Duration)> {
        ask(&open(self.address(endpoint))?)
    }

    fn recovers(&mut self) {
        self.endpoints.tell(TOLD, Order::Recover).unwrap();
        assert_eq!(self.ask(TOLD).unwrap().0, 200);
    }
}

fn open(address: SocketAddrV4) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn ask(mut stream: &TcpStream) -> io::Result<(u16, Duration)> {
    let asked = Instant::now();
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n")?;
    answer(stream).map(|status| (status, asked.elapsed()))
}

fn answer(mut stream: &TcpStream) -> io::Result<u16> {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    while !bytes.ends_with(&[b'a'; 1024]) {
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&some[..count]),
        }
    }
    Ok(serin_bench::http::status(&bytes))
}

#[test]
fn one_that_is_well_serves_two_at_a_time() {
    let pair = Pair::start(false);
    let streams = [(); 4].map(|()| open(pair.address(WELL)).unwrap());
    let asked = Instant::now();
    for mut stream in &streams {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    }
    assert!(streams.iter().all(|stream| answer(stream).unwrap() == 200));
    assert!(asked.elapsed() >= Duration::from_millis(40), "{:?}", asked.elapsed());
}

#[test]
fn one_that_is_slow_takes_longer_and_the_other_does_not() {
    let mut pair = Pair::told(Order::Slow(20.0));
    let ((slow, slow_took), (well, well_took)) = (pair.ask(TOLD).unwrap(), pair.ask(WELL).unwrap());
    assert_eq!((slow, well), (200, 200));
    assert!(slow_took >= Duration::from_millis(400) && well_took < slow_took, "{slow_took:?} {well_took:?}");
    pair.recovers();
}

#[test]
fn one_that_stalls_answers_when_it_goes_on() {
    let mut pair = Pair::told(Order::Stall);
    let mut stream = open(pair.address(TOLD)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(answer(&stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(pair.ask(WELL).unwrap().0, 200);
    pair.recovers();
    assert_eq!(answer(&stream).unwrap(), 200);
}

#[test]
fn errors_come_at_once_and_flakes_after_the_usual_time() {
    let mut pair = Pair::told(Order::Errors);
    assert_eq!(pair.ask(TOLD).unwrap().0, 500);
    pair.recovers();
    pair.endpoints.tell(TOLD, Order::Flaky(1.0)).unwrap();
    let (status, took) = pair.ask(TOLD).unwrap();
    assert!(status == 500 && took >= Duration::from_millis(20), "{status} {took:?}");
    pair.recovers();
}

#[test]
fn one_that_resets_takes_connections_and_no_requests() {
    let mut pair = Pair::told(Order::Reset);
    assert_eq!(pair.ask(TOLD).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    pair.recovers();
}

#[test]
fn one_that_refuses_resets_what_was_open() {
    let mut pair = Pair::start(false);
    let stream = open(pair.address(TOLD)).unwrap();
    assert_eq!(ask(&stream).unwrap().0, 200);
    pair.endpoints.tell(TOLD, Order::Refuse).unwrap();
    assert!(ask(&stream).is_err());
    assert_eq!(open(pair.address(TOLD)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    pair.recovers();
}

#[test]
fn one_that_flaps_comes_and_goes() {
    let mut pair = Pair::told(Order::Flap(0.05));
    let mut seen = Vec::new();
    let patience = Instant::now() + Duration::from_secs(10);
    while seen.len() < 4 {
        assert!(Instant::now() < patience, "{seen:?}");
        let is_there = open(pair.address(TOLD)).is_ok();
        if seen.last() != Some(&is_there) {
            seen.push(is_there);
        }
    }
    pair.recovers();
}

#[test]
fn one_that_leaves_answers_what_it_has() {
    let mut pair = Pair::told(Order::Slow(10.0));
    let [mut busy, idle] = [(); 2].map(|()| open(pair.address(TOLD)).unwrap());
    assert_eq!(ask(&idle).unwrap().0, 200);
    busy.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // An answer of another endpoint of the process: the request above has been read.
    assert_eq!(pair.ask(WELL).unwrap().0, 200);
    pair.endpoints.tell(TOLD, Order::Leave).unwrap();
    assert_eq!(open(pair.address(TOLD)).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(answer(&busy).unwrap(), 200);
    assert_eq!([busy, idle].map(|mut stream| stream.read(&mut [0]).unwrap()), [0, 0]);
    pair.recovers();
}

#[test]
fn one_that_is_killed_keeps_its_counts_and_its_address() {
    let mut pair = Pair::start(true);
    pair.endpoints.begin().unwrap();
    assert_eq!(pair.ask(TOLD).unwrap().0, 200);
    pair.endpoints.kill(TOLD).unwrap();
    assert!(pair.ask(TOLD).is_err());
    assert_eq!(pair.ask(WELL).unwrap().0, 200);
    pair.endpoints.start_again(TOLD, &pair.interrupt).unwrap();
    assert_eq!(pair.ask(TOLD).unwrap().0, 200);
    let counts = pair.endpoints.counts().unwrap();
    assert_eq!(counts.iter().map(|counts| counts.iter().sum()).collect::<Vec<u32>>(), [1, 2]);
}

#[test]
fn wrong_orders_are_refused_by_name() {
    let mut pair = Pair::start(false);
    let problem = pair.endpoints.tell(7, Order::Stall).unwrap_err().to_string();
    assert!(problem.contains("no endpoint 7"), "{problem}");
    pair.recovers();
}

/// Against an endpoint that is told to fail for all: the load knows what became of every request.
#[test]
fn a_random_load_knows_what_became_of_every_request() {
    let pair = Pair::told(Order::Errors);
    let load = |endpoint: usize| {
        let plan = Plan {
            target: pair.address(endpoint),
            tls: None,
            one_each: false,
            path: "/1k".to_owned(),
            body: 1 << 10,
            stretches: vec![Stretch { rate: 40.0, seconds: 2.0 }],
            seed: 1,
            start: Instant::now(),
            deadline: Duration::from_secs(5),
            connections: 100,
        };
        poisson::run(&plan, &pair.interrupt).unwrap()
    };
    let [good, bad] = [WELL, TOLD].map(load);
    assert!((40..140).contains(&good.fates.len()), "{}", good.fates.len());
    assert!(good.fates.iter().all(|fate| fate.is_good && fate.took_ms >= 20.0 && fate.due_s <= 2.0));
    // The same seed: the same requests.
    assert_eq!(bad.fates.len(), good.fates.len());
    assert!(bad.fates.iter().all(|fate| !fate.is_good));
    assert_eq!((good.failures.total(), bad.failures.status), (0, bad.fates.len() as u64));
}

#[test]
fn who_waits_too_long_is_given_up() {
    let pair = Pair::told(Order::Stall);
    let plan = Plan {
        target: pair.address(TOLD),
        tls: None,
        one_each: false,
        path: "/1k".to_owned(),
        body: 1 << 10,
        stretches: vec![Stretch { rate: 100.0, seconds: 0.3 }],
        seed: 1,
        start: Instant::now(),
        deadline: Duration::from_millis(200),
        // Some wait for a connection, the others for an answer.
        connections: 5,
    };
    let outcome = poisson::run(&plan, &pair.interrupt).unwrap();
    assert!(outcome.fates.len() > 5 && outcome.failures.late == outcome.fates.len() as u64, "{outcome:?}");
    assert!(outcome.fates.iter().all(|fate| !fate.is_good && fate.took_ms >= 200.0));
}
