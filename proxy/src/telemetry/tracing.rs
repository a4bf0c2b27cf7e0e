//! The process's own log, on stderr: readable on a terminal, JSON otherwise. `SERIN_LOG` sets the level.

use std::backtrace::Backtrace;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. A second call in one process does nothing.
pub fn start() {
    // h2 warns of what clients do, as often as they do it.
    let filter = EnvFilter::try_from_env("SERIN_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,h2=error,kube_client=off,kube_runtime=off,kube_lease_manager=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match std::io::stderr().is_terminal() {
        true => log.compact().try_init(),
        false => log.json().flatten_event(true).try_init(),
    };
    // A panic is a fault of Serin's, and belongs where operators look for faults.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), backtrace = %Backtrace::capture(), "{panic}");
    }));
}
