//! Users during the storm: requests at a steady rate on connections that are kept, each of which must be answered.
//!
//! A request that is late does not keep the next one from coming: latency counts from when it was due.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::cluster::host;
use crate::client::{Answer, Client};
use crate::random::Random;

/// A request that was answered with 200.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub sent: Instant,
    /// From when it was due.
    pub took_ms: f64,
    pub by: Ipv4Addr,
}

/// What the users got.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub answered: Vec<Answered>,
    /// Another status than 200, an answer of nobody, or none.
    pub failed: u64,
    /// What the first of them was.
    pub first_failure: Option<String>,
}

/// Who is asked, and how often.
#[derive(Clone, Debug)]
pub struct Users {
    pub target: SocketAddrV4,
    pub services: u32,
    pub per_second: u32,
    /// The Service whose pods changed last: every second request goes there, where something can be wrong.
    pub changed: Arc<AtomicU32>,
    pub seed: u64,
}

/// Nothing has changed yet.
pub const NONE: u32 = u32::MAX;
const CONNECTIONS: u32 = 8;

/// Asks until this is dropped or ended.
#[derive(Debug)]
pub struct Asking {
    goes_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Asked>>,
}

impl Asking {
    #[must_use]
    pub fn start(users: &Users) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let ask = |number| {
            let (users, goes_on) = (users.clone(), Arc::clone(&goes_on));
            thread::spawn(move || users.ask(number, &goes_on))
        };
        Self { threads: (0..CONNECTIONS).map(ask).collect(), goes_on }
    }

    #[must_use]
    pub fn end(mut self) -> Asked {
        self.goes_on.store(false, Ordering::Relaxed);
        let mut all = Asked::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(asked) => all.take(asked),
                Err(_) => all.fail("a client panicked".to_owned()),
            }
        }
        all
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
    }
}

impl Users {
    /// One connection's share.
    fn ask(&self, connection: u32, goes_on: &AtomicBool) -> Asked {
        let (mut asked, mut client) = (Asked::default(), Client::new(self.target));
        let mut random = Random(self.seed + u64::from(connection));
        let every = Duration::from_secs(CONNECTIONS.into()) / self.per_second;
        let mut due = Instant::now() + every * connection / CONNECTIONS;
        while goes_on.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let changed = Some(self.changed.load(Ordering::Relaxed)).filter(|_| random.below(2) == 0);
            let service = changed.filter(|changed| *changed != NONE).unwrap_or_else(|| random.below(self.services));
            let (host, sent) = (host(service), Instant::now());
            match client.ask(&host) {
                Ok(answer) => asked.note(&host, &answer, sent, due),
                Err(error) => asked.fail(format!("{host}: {error}")),
            }
            due += every;
        }
        asked
    }
}

impl Asked {
    fn note(&mut self, host: &str, answer: &Answer, sent: Instant, due: Instant) {
        match answer.body.parse() {
            Ok(by) if answer.status == 200 => {
                self.answered.push(Answered { sent, took_ms: due.elapsed().as_secs_f64() * 1e3, by });
            }
            _ => self.fail(format!("{host}: {}", answer.status)),
        }
    }

    fn fail(&mut self, how: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(how);
    }

    fn take(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    /// Ascending.
    #[must_use]
    pub fn took_ms(&self) -> Vec<f64> {
        super::outcome::ascending(self.answered.iter().map(|answered| answered.took_ms))
    }
}
