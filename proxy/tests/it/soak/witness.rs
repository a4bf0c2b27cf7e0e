//! A client that reads what the answers say: each is of one version of the rules, and no version comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::support::{Client, Reply};

/// A thread that asks until this is dropped.
pub(super) struct Witness {
    running: Arc<AtomicBool>,
    thread: Option<JoinHandle<(u64, u64)>>,
}

impl Witness {
    pub(super) fn start(address: SocketAddr) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&running);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            let (mut last, mut seen, mut asked) = (0, 0, 0);
            while goes_on.load(Ordering::Relaxed) {
                let round = round(&client.get("/round"));
                assert!(round >= last, "round {round} after round {last}");
                seen += u64::from(round > last);
                last = round;
                asked += 1;
            }
            (seen, asked)
        });
        Self { running, thread: Some(thread) }
    }

    /// How many versions it saw, in how many answers.
    pub(super) fn end(mut self) -> (u64, u64) {
        self.running.store(false, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("every answer is right")
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

/// The round of the rules by which the request was changed and its answer, which must be one.
fn round(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200);
    let field = |name| reply.header(name).unwrap_or_else(|| panic!("no {name} in {reply:?}"));
    assert_eq!(field("x-seen"), field("x-round"), "the request went by one version, the answer by another");
    field("x-round").parse().expect("a number")
}
