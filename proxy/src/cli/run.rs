//! `serin run`.

use std::path::PathBuf;
use std::process::ExitCode;

use serin_proxy::server::{Order, Server, StartOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArg, NO, complain, say};

#[derive(clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The state folder, instead of the one in the file. With it, Serin starts with the last good rules even if the
    /// file is broken or gone.
    #[arg(long, value_name = "DIR", env = "SERIN_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

pub(super) fn run(args: RunArgs) -> ExitCode {
    serin_proxy::telemetry::tracing::start();
    // Before anything is started: a signal that comes during the start must be heard too.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            complain(format_args!("cannot handle signals: {error}"));
            return ExitCode::from(NO);
        }
    };
    let options = StartOptions { config: args.config.config, state_dir: args.state_dir, ..StartOptions::default() };
    let server = match Server::start(options) {
        Ok(server) => server,
        Err(error) => {
            complain(error);
            return ExitCode::from(NO);
        }
    };
    if let Err(error) = signals.send_to(&server) {
        complain(format_args!("cannot handle signals: {error}"));
        return ExitCode::from(NO);
    }
    say(ready_line(&server));
    match server.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(failure);
            ExitCode::from(NO)
        }
    }
}

/// `serin ready: web 127.0.0.1:8080, admin 127.0.0.1:9900`
fn ready_line(server: &Server) -> String {
    let listeners = server.listeners().into_iter().map(|(name, address)| format!("{name} {address}"));
    let admin = server.admin().map(|address| format!("admin {address}"));
    let places: Vec<String> = listeners.chain(admin).collect();
    format!("serin ready: {}", places.join(", "))
}

/// The signals that mean something to a server.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        drop(guard);
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// Turns signals into orders until nobody takes them.
    fn send_to(self, server: &Server) -> std::io::Result<()> {
        let orders = server.orders();
        let Self { runtime, mut terminate, mut interrupt, mut hangup } = self;
        let forward = async move {
            loop {
                let order = tokio::select! {
                    _ = terminate.recv() => Order::Drain,
                    _ = interrupt.recv() => Order::Drain,
                    _ = hangup.recv() => Order::Reload,
                };
                if orders.send(order).is_err() {
                    return;
                }
            }
        };
        server.spawn("signals", move || runtime.block_on(forward))
    }
}
