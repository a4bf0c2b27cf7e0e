//! The task that a request has to itself with HTTP/2, and how a time limit reaches it. With HTTP/1 a request is polled
//! by its connection's task, and nothing of this is used.

use std::cell::RefCell;
use std::task::Waker;

use tokio::task::AbortHandle;

/// A request's own task.
#[derive(Default)]
pub(super) struct OwnTask {
    waker: RefCell<Option<Waker>>,
    handle: RefCell<Option<AbortHandle>>,
}

impl OwnTask {
    pub(super) fn set(&self, handle: AbortHandle) {
        *self.handle.borrow_mut() = Some(handle);
    }

    pub(super) fn keep_waker(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Has it look at the request again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends it, and the stream with a reset, because it waits for something that nothing here can bring about.
    pub(super) fn end(&self) {
        if let Some(handle) = &*self.handle.borrow() {
            handle.abort();
        }
    }
}
