//! `serin run`.

use std::path::PathBuf;
use std::process::ExitCode;

use serin_proxy::server::{Order, Server, StartOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

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
    let options = StartOptions { config: args.config.config, state_dir: args.state_dir, ..StartOptions::default() };
    let server = match Server::start(options) {
        Ok(server) => server,
        Err(error) => {
            complain(error);
            return ExitCode::from(NO);
        }
    };
    say(ready_line(&server));
    if let Err(error) = spawn_signals(server.orders()) {
        complain(format_args!("cannot handle signals: {error}"));
        return ExitCode::from(NO);
    }
    server.join();
    ExitCode::SUCCESS
}

/// `serin ready: web 127.0.0.1:8080, admin 127.0.0.1:9900`
fn ready_line(server: &Server) -> String {
    let listeners = server.listeners().into_iter().map(|(name, address)| format!("{name} {address}"));
    let admin = server.admin().map(|address| format!("admin {address}"));
    let places: Vec<String> = listeners.chain(admin).collect();
    format!("serin ready: {}", places.join(", "))
}

fn spawn_signals(orders: UnboundedSender<Order>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
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
        });
    })?;
    Ok(())
}
