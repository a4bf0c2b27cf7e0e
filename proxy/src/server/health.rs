//! The thread that asks endpoints whether they are well. Connections to endpoints that do not answer are no matter of the
//! threads that serve, hear orders or put rules in force.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::control_path::health;
use crate::snapshot::SnapshotCell;
use crate::thread::{self, Failures};

/// The way to the thread.
pub(super) struct HealthThread {
    thread: JoinHandle<()>,
}

impl HealthThread {
    /// Starts the thread. It looks at the snapshot again when it is told of `swaps`, and ends when nobody can tell any more.
    ///
    /// # Errors
    /// The operating system gives no thread, or no descriptors for it.
    pub(super) fn start(
        snapshots: Arc<SnapshotCell>,
        swaps: watch::Receiver<()>,
        failures: Failures,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::start("health", failures, move || runtime.block_on(health::run(snapshots, swaps)))?;
        Ok(Self { thread })
    }

    /// Waits until the thread has ended, after whoever tells of swaps has. Blocks.
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }
}
