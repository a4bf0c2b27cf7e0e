//! `serin register`: an endpoint is in etcd as long as a command runs and is well.
//!
//! What matters is the order of the end: nobody is sent to an endpoint that is about to stop. The registration goes first,
//! then there is time for all who read it, and only then the command hears the signal.

mod args;

mod process;

mod registrar;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::sleep;

pub(super) use args::RegisterArgs;

use super::{NO, USAGE, complain, refuse, runtime};
use args::Plan;
use process::{Event, Process};
use registrar::Registrar;

pub(super) fn register(args: RegisterArgs) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(reason) => return refuse(false, USAGE, reason),
    };
    serin_proxy::telemetry::tracing::start();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(reason) => {
            complain(reason);
            return ExitCode::from(NO);
        }
    };
    let code = runtime.block_on(carry_out(plan));
    // A lookup of a name that hangs must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// The exit code.
async fn carry_out(plan: Plan) -> u8 {
    let Plan { key, check, command, drain } = plan;
    let mut process = match Process::start(&command) {
        Ok(process) => process,
        Err(trouble) => {
            complain(trouble.reason);
            return trouble.code;
        }
    };
    let mut registrar = Registrar::new(key, check);
    let event = tokio::select! {
        never = registrar.run() => match never {},
        event = process.next() => event,
    };
    // Signals that come meanwhile are heard afterwards; it does not take long.
    registrar.withdraw().await;
    let drain = if registrar.was_registered() { drain } else { Duration::ZERO };
    match event {
        Event::Ended(code) => code,
        Event::Stop(signal) => match drained(&mut process, drain).await {
            Some(Event::Ended(code)) => code,
            Some(Event::Stop(again)) => process.stop(again).await,
            None => process.stop(signal).await,
        },
    }
}

/// Waits for all who read registrations; what happened before that was over.
async fn drained(process: &mut Process, drain: Duration) -> Option<Event> {
    tokio::select! {
        () = sleep(drain) => None,
        event = process.next() => Some(event),
    }
}
