//! A client that asks all the time, on the route that changes and on one that does not, and counts what it does not get.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::layout::{MOVING, first_host};
use crate::client::Client;

/// So 250 requests a second.
const EVERY: Duration = Duration::from_millis(4);

/// What it got.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    pub asked: u64,
    /// Another status than 200, or no answer.
    pub lost: u64,
    /// What the first of them was.
    pub first_loss: Option<String>,
    /// From when a request was sent until its answer, of those answered.
    pub took_ms: Vec<f64>,
}

/// Asks until this is dropped or ended.
#[derive(Debug)]
pub struct Asking {
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<Steady>>,
}

impl Asking {
    #[must_use]
    pub fn start(target: SocketAddrV4) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let asks = Arc::clone(&goes_on);
        Self { goes_on, thread: Some(thread::spawn(move || ask(target, &asks))) }
    }

    #[must_use]
    pub fn end(mut self) -> Steady {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
    }
}

fn ask(target: SocketAddrV4, goes_on: &AtomicBool) -> Steady {
    let (mut steady, mut client) = (Steady::default(), Client::new(target));
    let hosts = [MOVING.to_owned(), first_host()];
    let mut due = Instant::now();
    for host in hosts.iter().cycle() {
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        steady.asked += 1;
        match client.ask(host) {
            Ok(answer) if answer.status == 200 => steady.took_ms.push(began.elapsed().as_secs_f64() * 1e3),
            Ok(answer) => steady.lose(format!("{host}: {}", answer.status)),
            Err(error) => steady.lose(format!("{host}: {error}")),
        }
        due = (due + EVERY).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    steady
}

impl Steady {
    fn lose(&mut self, how: String) {
        self.lost += 1;
        self.first_loss.get_or_insert(how);
    }
}
