//! People with browsers: they come back all the time, keep their cookies, and remember which version served them.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::Client;

/// Users who go on until this is dropped.
pub(super) struct Users {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<User>>>,
    began: Instant,
}

#[derive(Default)]
struct Shared {
    /// Who can be asked; each request goes to another one.
    instances: Mutex<Vec<SocketAddr>>,
    is_over: AtomicBool,
    requests: AtomicU64,
    on_canary: AtomicU64,
    moved_back: AtomicU64,
    bad: AtomicU64,
    /// Milliseconds since the beginning, from 1.
    first_bad_ms: AtomicU64,
}

/// One of them, with the cookies of its browser.
struct User {
    number: usize,
    cookies: HashMap<String, String>,
    is_on_canary: bool,
    has_met_failure: bool,
}

/// What they have met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Met {
    pub(super) requests: u64,
    /// How often somebody who had been served by the canary was served by stable. After a rollback that is as it should be.
    pub(super) moved_back: u64,
    /// Answers that were failures.
    pub(super) bad: u64,
    /// When the first came.
    pub(super) first_bad: Option<Duration>,
}

/// How many of them there are.
pub(super) const COUNT: usize = 2_400;
/// How many of these are in the office.
pub(super) const OFFICE: usize = 24;
/// Requests a second of all of them.
const RATE: usize = 1_200;
/// Each has a few connections to each instance, as a load balancer in front would have.
const THREADS: usize = 48;

impl Users {
    pub(super) fn start(instances: &[SocketAddr]) -> Self {
        let shared = Arc::new(Shared { instances: Mutex::new(instances.to_vec()), ..Shared::default() });
        let began = Instant::now();
        let thread = |thread| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.browse(thread, began))
        };
        Self { threads: (0..THREADS).map(thread).collect(), shared, began }
    }

    /// From now on these are asked.
    pub(super) fn ask(&self, instances: &[SocketAddr]) {
        *self.shared.instances.lock().expect("nobody panics with it") = instances.to_vec();
    }

    pub(super) fn met(&self) -> Met {
        let count = |count: &AtomicU64| count.load(Relaxed);
        let first_bad_ms = count(&self.shared.first_bad_ms);
        Met {
            requests: count(&self.shared.requests),
            moved_back: count(&self.shared.moved_back),
            bad: count(&self.shared.bad),
            first_bad: (first_bad_ms > 0).then(|| Duration::from_millis(first_bad_ms)),
        }
    }

    /// How many are served by the canary now.
    pub(super) fn on_canary(&self) -> u64 {
        self.shared.on_canary.load(Relaxed)
    }

    pub(super) fn since_they_began(&self) -> Duration {
        self.began.elapsed()
    }

    /// They stop. Says how many met a failure.
    pub(super) fn end(&mut self) -> usize {
        self.shared.is_over.store(true, Relaxed);
        let users = self.threads.drain(..).flat_map(|thread| thread.join().expect("every answer is well-formed"));
        users.filter(|user| user.has_met_failure).count()
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

impl Shared {
    /// The users of one thread come one after the other, at its part of the rate.
    fn browse(&self, thread: usize, began: Instant) -> Vec<User> {
        let mut users: Vec<User> = (thread..COUNT).step_by(THREADS).map(User::new).collect();
        let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
        let pause = Duration::from_secs(1) * THREADS as u32 / RATE as u32;
        let mut next = began + pause * thread as u32 / THREADS as u32;
        for turn in 0.. {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = (next + pause).max(Instant::now());
            if self.is_over.load(Relaxed) {
                break;
            }
            let place = turn % users.len();
            let instances = self.instances.lock().expect("nobody panics with it").clone();
            // All users meet all instances.
            let instance = instances[(turn / users.len() + users[place].number) % instances.len()];
            self.visit(&mut users[place], instance, &mut clients, began);
        }
        users
    }

    fn visit(&self, user: &mut User, instance: SocketAddr, clients: &mut HashMap<SocketAddr, Client>, began: Instant) {
        let client = match clients.remove(&instance) {
            Some(client) => Some(client),
            None => std::net::TcpStream::connect_timeout(&instance, Duration::from_secs(1)).ok().map(Client::of),
        };
        // An instance that has just ended is the load balancer's business: the request goes elsewhere next time.
        let Some(mut client) = client else { return };
        if client.try_send(user.request()).is_err() {
            return;
        }
        let Ok(reply) = client.try_reply(false) else { return };
        clients.insert(instance, client);
        self.requests.fetch_add(1, Relaxed);
        for line in reply.header_lines("set-cookie") {
            if let Some((name, value)) = line.split(';').next().and_then(|pair| pair.split_once('=')) {
                user.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        if reply.status >= 500 {
            self.bad.fetch_add(1, Relaxed);
            user.has_met_failure = true;
            let ms = began.elapsed().as_millis().try_into().unwrap_or(u64::MAX).max(1);
            let _ = self.first_bad_ms.compare_exchange(0, ms, Relaxed, Relaxed);
        }
        let is_on_canary = reply.text().starts_with("new");
        match (user.is_on_canary, is_on_canary) {
            (false, true) => drop(self.on_canary.fetch_add(1, Relaxed)),
            (true, false) => {
                self.on_canary.fetch_sub(1, Relaxed);
                self.moved_back.fetch_add(1, Relaxed);
            }
            _ => {}
        }
        user.is_on_canary = is_on_canary;
    }
}

impl User {
    fn new(number: usize) -> Self {
        Self { number, cookies: HashMap::new(), is_on_canary: false, has_met_failure: false }
    }

    /// Opens a page. One in four has an iPhone, and the first ones are in the office.
    fn request(&self) -> Vec<u8> {
        let device = match self.number.is_multiple_of(4) {
            true => {
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
            }
            false => "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        };
        let network = if self.number < OFFICE { 10 } else { 198 };
        let address = format!("{network}.51.{}.{}", self.number / 200, self.number % 200 + 1);
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) };
        format!(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: {device}\r\nX-Forwarded-For: {address}\r\n\
             Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n{cookie}\r\n"
        )
        .into_bytes()
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests of {COUNT} users", self.requests)
    }
}
