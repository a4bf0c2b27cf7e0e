//! The thread that asks name services where endpoints are. Those that do not answer are no matter of the threads that
//! serve, hear orders or put rules in force.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::control_path::discovery::{self, Tell};
use crate::snapshot::SnapshotCell;
use crate::thread::{self, Failures};

/// The way to the thread.
pub(super) struct DiscoveryThread {
    thread: JoinHandle<()>,
}

impl DiscoveryThread {
    /// Starts the thread. It looks at the snapshot again when it is told of `swaps`, and ends when nobody can tell any more.
    ///
    /// # Errors
    /// The operating system gives no thread, or no descriptors for it.
    pub(super) fn start(
        snapshots: Arc<SnapshotCell>,
        swaps: watch::Receiver<()>,
        tell: Tell,
        failures: Failures,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || runtime.block_on(discovery::run(snapshots, swaps, tell));
        let thread = thread::start("discovery", failures, run)?;
        Ok(Self { thread })
    }

    /// Waits until the thread has ended, after whoever tells of swaps has. Blocks.
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }
}
