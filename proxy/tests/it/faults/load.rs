//! Clients that ask one after the other, a few hundred times a second in all, and keep account of what they get.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::{Client, Cut, PATIENCE, eventually};

/// Load that goes on until it is ended.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Outcome>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    answers: AtomicUsize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Good answers by method.
    pub(super) good: BTreeMap<&'static str, usize>,
    /// What else there was, by method.
    pub(super) failed: BTreeMap<&'static str, Vec<Failure>>,
    pub(super) longest: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Status(u16),
    Cut,
}

impl Load {
    /// A client for each method.
    pub(super) fn start(address: SocketAddr, methods: &[&'static str]) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |method: &&'static str| {
            let (shared, method) = (Arc::clone(&shared), *method);
            std::thread::spawn(move || ask(address, method, &shared))
        };
        Self { clients: methods.iter().map(client).collect(), shared }
    }

    /// Waits until there have been so many more answers.
    pub(super) fn goes_on(&self, answers: usize) {
        let enough = self.answers() + answers;
        eventually(PATIENCE, "requests are answered", || self.answers() >= enough);
    }

    pub(super) fn answers(&self) -> usize {
        self.shared.answers.load(Relaxed)
    }

    pub(super) fn end(mut self) -> Outcome {
        self.shared.is_over.store(true, Relaxed);
        let clients = self.clients.drain(..).map(|client| client.join().expect("answers are well-formed"));
        clients.fold(Outcome::default(), Outcome::plus)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

impl Outcome {
    fn plus(mut self, other: Self) -> Self {
        for (method, good) in other.good {
            *self.good.entry(method).or_default() += good;
        }
        for (method, failed) in other.failed {
            self.failed.entry(method).or_default().extend(failed);
        }
        Self { longest: self.longest.max(other.longest), ..self }
    }
}

fn ask(address: SocketAddr, method: &'static str, shared: &Shared) -> Outcome {
    let mut client = Client::connect(address);
    let body: &[u8] = if method == "POST" { b"order" } else { b"" };
    let mut outcome = Outcome::default();
    while !shared.is_over.load(Relaxed) {
        let asked = Instant::now();
        let sent = client.try_send(request(method, "/", &[], body)).map_err(|_| Cut::NoAnswer);
        let failure = match sent.and_then(|()| client.try_reply(method == "HEAD")) {
            Ok(reply) if reply.status == 200 => None,
            Ok(reply) => Some(Failure::Status(reply.status)),
            Err(_) => {
                client = Client::connect(address);
                Some(Failure::Cut)
            }
        };
        outcome.longest = outcome.longest.max(asked.elapsed());
        match failure {
            None => *outcome.good.entry(method).or_default() += 1,
            Some(failure) => outcome.failed.entry(method).or_default().push(failure),
        }
        shared.answers.fetch_add(1, Relaxed);
        std::thread::sleep(PAUSE);
    }
    outcome
}

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);
