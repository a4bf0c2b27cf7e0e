//! The thread that judges endpoints by what they were seen to do: ten times a second it moves their breakers and the limits
//! that find themselves, twice a second weights.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::control_path::{breakers, limits, weights};
use crate::moment;
use crate::random::Draws;
use crate::snapshot::SnapshotCell;
use crate::thread::{self, Failures};

/// The way to the thread.
pub(super) struct WeightsThread {
    /// Nothing is sent: that it is gone is the word to end.
    alive: Sender<()>,
    thread: JoinHandle<()>,
}

impl WeightsThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(snapshots: Arc<SnapshotCell>, failures: Failures) -> std::io::Result<Self> {
        let (alive, ended) = channel();
        let thread = thread::start("weights", failures, move || run(&snapshots, &ended))?;
        Ok(Self { alive, thread })
    }

    /// Ends the thread. Blocks.
    pub(super) fn join(self) {
        drop(self.alive);
        let _ = self.thread.join();
    }
}

fn run(snapshots: &SnapshotCell, ended: &Receiver<()>) {
    // Many processes that are started together must not all shift their load at the same moment.
    let mut due_us = moment::now_us() + crate::random::seed() % weights::PERIOD_US;
    let mut weights_due_us = due_us;
    let draws = Draws::new();
    loop {
        let wait = Duration::from_micros(due_us.saturating_sub(moment::now_us()));
        if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let (now_us, snapshot) = (moment::now_us(), snapshots.load());
        breakers::tick(&snapshot, now_us, || draws.unit());
        limits::tick(&snapshot);
        // A tick that was missed is not made up for: its slot is longer, and the next one is as long as any other.
        due_us = now_us.max(due_us) + TICK_US;
        if now_us >= weights_due_us {
            weights::tick(&snapshot, now_us);
            weights_due_us = now_us + weights::PERIOD_US - TICK_US / 2;
        }
    }
}

/// Breakers and limits move at the same time.
const TICK_US: u64 = breakers::PERIOD_US;
const _: () = assert!(limits::PERIOD_US == TICK_US);
