//! Everything that may happen to etcd, one fault a test: a real etcd, the real program, clients that never stop.
//!
//! After each fault no request has failed, what serves is what a process finds that starts now, and memory is as it was.
//! By default faults are short, because other tests run beside them; `cargo xtask faults etcd` runs them one after the other,
//! at their full length, with the program as it is released, and shows a line for each.

mod agree;
mod stage;
mod steady;

mod access;
mod members;
mod network;
mod revisions;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use stage::{Setting, Stage};

/// Makes a fault happen, judges what came of it, and says it in one line. `what` is what is done, for whoever reads that.
fn fault(name: &str, what: &str, setting: Setting, happen: impl FnOnce(&mut Stage)) {
    let Some(mut stage) = Stage::set(setting) else { return };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        happen(&mut stage);
        stage.judge();
    }));
    let verdict = match outcome {
        Ok(()) => "good",
        Err(_) => {
            println!("{}", stage.serin.log());
            "FAILED"
        }
    };
    println!("\nfault: {name}: {verdict}: {what}: {stage}");
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// One of two lengths: of a test among others, or of the whole program.
fn length(brief: u64, full: u64) -> Duration {
    Duration::from_secs(if is_full() { full } else { brief })
}

fn is_full() -> bool {
    std::env::var_os("SERIN_FAULTS").is_some_and(|length| length == "full")
}
