//! Clients that ask all the time and look at every answer. Each request that fails, or that is answered by whom it is not for,
//! is counted and remembered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::request;
use crate::support::{Client, PATIENCE, Reply, eventually};

/// Threads with a connection each, until this is dropped.
pub(super) struct Steady {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What is asked: a host, and whether an answer is right.
pub(super) type Question = (String, fn(&Reply) -> bool);

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    reasons: Mutex<Vec<String>>,
}

impl Steady {
    pub(super) fn start(address: SocketAddr, questions: &[Question], pause: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = |start: usize| {
            let (shared, questions) = (Arc::clone(&shared), questions.to_vec());
            std::thread::spawn(move || ask(address, &questions, start, pause, &shared))
        };
        let threads = (0..CLIENTS).map(thread).collect();
        Self { shared, threads }
    }

    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(SeqCst)
    }

    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(SeqCst)
    }

    /// Why the first of those that failed did.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.shared.reasons().clone()
    }

    /// Waits for so many more answers.
    pub(super) fn goes_on(&self, requests: u64) {
        let before = self.sent();
        eventually(2 * PATIENCE, "clients go on", || self.sent() >= before + requests);
    }

    /// Waits so long, and that clients are answered at the end as they were before.
    pub(super) fn goes_on_for(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.goes_on(20);
        }
    }

    /// Ends the clients. A thread that panicked has read what no proxy may write, or nothing for too long.
    pub(super) fn end(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.fail("a client gave up: its message is above".to_owned());
            }
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn reasons(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, reason: String) {
        self.failed.fetch_add(1, SeqCst);
        let mut reasons = self.reasons();
        if reasons.len() < MOST_REASONS {
            reasons.push(reason);
        }
    }
}

fn ask(address: SocketAddr, questions: &[Question], start: usize, pause: Duration, shared: &Shared) {
    let mut client = Client::connect(address);
    for (host, is_right) in questions.iter().cycle().skip(start) {
        if shared.is_over.load(SeqCst) {
            return;
        }
        let sent = client.try_send(request("GET", "/", &[("Host", host)], b""));
        let failure = match sent.map(|()| client.try_reply(false)) {
            Ok(Ok(reply)) if is_right(&reply) => None,
            Ok(Ok(reply)) => Some(format!("{host}: {reply:?}")),
            Ok(Err(cut)) => Some(format!("{host}: {cut:?}")),
            Err(error) => Some(format!("{host}: {error}")),
        };
        if let Some(reason) = failure {
            shared.fail(reason);
            client = Client::connect(address);
        }
        shared.sent.fetch_add(1, SeqCst);
        std::thread::sleep(pause);
    }
}

const CLIENTS: usize = 3;

const MOST_REASONS: usize = 10;

#[test]
fn failures_and_wrong_answers_are_counted() {
    let origin = crate::support::Origin::named("app");
    let right: Question = ("a.test".to_owned(), |reply| reply.text() == "app");
    let wrong: Question = ("b.test".to_owned(), |reply| reply.text() == "other");
    let mut steady = Steady::start(origin.address(), std::slice::from_ref(&right), Duration::from_millis(1));
    steady.goes_on(30);
    steady.end();
    assert!(steady.failed() == 0 && steady.sent() >= 30, "{:?}", steady.reasons());
    let mut steady = Steady::start(origin.address(), &[right.clone(), wrong], Duration::from_millis(1));
    steady.goes_on(30);
    steady.end();
    assert!((10..=20).contains(&(steady.failed() * 30 / steady.sent())), "{:?}", steady.reasons());
    let silent = crate::support::Origin::start(|_| Ok(crate::support::Then::Close));
    let mut steady = Steady::start(silent.address(), &[right], Duration::from_millis(1));
    steady.goes_on(30);
    steady.end();
    assert_eq!((steady.failed(), steady.reasons().len()), (steady.sent(), MOST_REASONS));
}
