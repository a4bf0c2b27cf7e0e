//! The thread that puts rules in force, and frees the snapshots they replace.
//!
//! Compiling very many routes takes a second, freeing them a tenth of one. Here nobody waits for either: not the data
//! path, and not the rest of the control path. Only the newest texts count; what came in between is passed over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use crate::control_path::publish::Publisher;
use crate::control_path::source::Text;
use crate::thread::{self, Failures};

/// The way to the thread.
pub(super) struct RulesThread {
    texts: Sender<Vec<Text>>,
    thread: JoinHandle<()>,
}

impl RulesThread {
    /// Starts the thread. It tells `swaps` whenever there may be a new snapshot.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(
        publisher: Publisher,
        shared: Arc<Shared>,
        swaps: watch::Sender<()>,
        failures: Failures,
    ) -> std::io::Result<Self> {
        let (texts, inbox) = channel();
        let thread = thread::start("rules", failures, move || run(publisher, &inbox, &shared, &swaps))?;
        Ok(Self { texts, thread })
    }

    /// Puts these texts in force soon, unless newer ones follow.
    pub(super) fn update(&self, texts: Vec<Text>) {
        // A thread that has ended has said so.
        let _ = self.texts.send(texts);
    }

    /// Waits until the newest rules are in force and stored. Blocks.
    pub(super) fn join(self) {
        drop(self.texts);
        let _ = self.thread.join();
    }
}

fn run(mut publisher: Publisher, inbox: &Receiver<Vec<Text>>, shared: &Shared, swaps: &watch::Sender<()>) {
    loop {
        let received = match publisher.has_replaced() {
            true => inbox.recv_timeout(LOOK_AGAIN),
            false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(texts) => update(&mut publisher, inbox.try_iter().last().unwrap_or(texts)),
            Err(RecvTimeoutError::Timeout) => {
                publisher.free_replaced();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.status.store(Arc::new(publisher.status()));
        swaps.send_replace(());
    }
}

/// What makes this panic is in a file, and would do so again after a restart: the rules in force stay. The publisher works
/// on copies, so the next update finds everything as it was.
fn update(publisher: &mut Publisher, texts: Vec<Text>) {
    let updated = catch_unwind(AssertUnwindSafe(|| publisher.update(texts)));
    if let Err(panic) = updated {
        publisher.note_panic(thread::message(&*panic));
    }
}

/// How often replaced snapshots are looked at, as long as there are any. Workers let go of them about as often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
