//! Writes the rule file anew at a fixed rate.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::rules::Endpoints;
use crate::support::control::replace;

/// A thread that replaces the file until this is dropped.
pub(super) struct Writer {
    running: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Writer {
    /// Goes on after round `last`.
    pub(super) fn start(config: PathBuf, endpoints: Endpoints, last: u64) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&running);
        let thread = std::thread::spawn(move || {
            let (mut round, mut next) = (last, Instant::now());
            while goes_on.load(Ordering::Relaxed) {
                round += 1;
                replace(&config, &endpoints.rules(round));
                // A late one is not made up for: two at once would be one change.
                next = (next + EVERY).max(Instant::now());
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            round
        });
        Self { running, thread: Some(thread) }
    }

    /// Stops, and says which round was the last.
    pub(super) fn end(mut self) -> u64 {
        self.running.store(false, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("the folder takes files")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

/// Fifty a second.
const EVERY: Duration = Duration::from_millis(20);
