//! Threads, and long-lived tasks, that say so when they end without having been asked to.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::JoinError;

/// A part of the process has ended, and the process with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} has ended: {reason}")]
pub struct Failure {
    part: String,
    reason: String,
}

/// Where failures are told.
pub(crate) type Failures = UnboundedSender<Failure>;

impl Failure {
    /// Of a thread.
    pub(crate) fn of_panic(thread: &str, panic: &(dyn Any + Send)) -> Self {
        Self { part: format!("the {thread} thread"), reason: message(panic).to_owned() }
    }

    /// Of a task that should have gone on.
    pub(crate) fn of_task(part: impl Into<String>, error: JoinError) -> Self {
        let reason = match error.try_into_panic() {
            Ok(panic) => message(&*panic).to_owned(),
            Err(cancelled) => cancelled.to_string(),
        };
        Self { part: part.into(), reason }
    }
}

/// Starts a thread. What it might have left half done when it panics is nobody's but its own.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn start(
    name: &str,
    failures: Failures,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let thread = name.to_owned();
    Builder::new().name(thread.clone()).spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            // Without a listener the process is ending anyway.
            let _ = failures.send(Failure::of_panic(&thread, &*panic));
        }
    })
}

/// Starts a thread for one task that must not keep others waiting. It ends with the task.
///
/// # Errors
/// The operating system gives no thread, or no descriptors for its event loop.
pub(crate) fn start_task(
    name: &str,
    failures: Failures,
    task: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // It may be large, and is moved from stack to stack until the thread runs.
    let task = Box::pin(task);
    start(name, failures, move || {
        runtime.block_on(task);
        // A name server or a disk that does not answer must not keep the process from ending.
        runtime.shutdown_background();
    })
}

/// Comes when a task is to end.
pub(crate) type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread for a task that does not end by itself.
pub(crate) struct Following {
    /// The task ends when this is dropped.
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Following {
    /// Starts one that ends by itself when it is told to.
    ///
    /// # Errors
    /// As those of [`start_task`].
    pub(crate) fn start_until<T: Future<Output = ()> + Send + 'static>(
        name: &str,
        failures: Failures,
        task: impl FnOnce(Ended) -> T,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel::<()>();
        let ended: Ended = Box::pin(async { drop(ended.await) });
        let thread = start_task(name, failures, task(ended))?;
        Ok(Self { end, thread })
    }

    /// Starts one that is dropped when it is to end.
    ///
    /// # Errors
    /// As those of [`start_task`].
    pub(crate) fn start(
        name: &str,
        failures: Failures,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_until(name, failures, |ended| async move {
            tokio::select! {
                () = task => {}
                () = ended => {}
            }
        })
    }

    /// Ends it. Blocks until it has.
    pub(crate) fn join(self) {
        drop(self.end);
        // How it ended is among the failures.
        let _ = self.thread.join();
    }
}

/// What a panic says.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::start;

    #[test]
    fn a_thread_that_panics_says_why_and_one_that_ends_says_nothing() {
        let (failures, mut told) = unbounded_channel();
        start("good", failures.clone(), || {}).unwrap().join().unwrap();
        assert!(told.try_recv().is_err());
        start("bad", failures, || panic!("no {}", "luck")).unwrap().join().unwrap();
        assert_eq!(told.try_recv().unwrap().to_string(), "the bad thread has ended: no luck");
    }
}
