//! The load generator on its own: closed, one request per connection, or at a fixed rate.
//!
//! The harness uses the same code in its own process; this is for looking at one proxy by hand.
//! Prints one line of `name=value` pairs, times in microseconds.

use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serin_bench::load::{Plan, Shape, run};
use serin_bench::process::{Interrupt, pin, raise_open_files};

/// Loads one HTTP/1.1 address of this machine and measures latency from when a request was due.
#[derive(Parser)]
struct Args {
    /// Where to, for example 127.0.0.1:8080 (loopback only)
    target: SocketAddrV4,
    #[arg(long, default_value = "/1k")]
    path: String,
    /// Length of the right answer's body
    #[arg(long, default_value_t = 1024)]
    body: u64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second; without it every connection asks as soon as it was answered
    #[arg(long)]
    rate: Option<f64>,
    /// A new connection for every request
    #[arg(long, conflicts_with = "rate")]
    one_each: bool,
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    #[arg(long)]
    core: Option<usize>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match load(&args) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("paced: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load(args: &Args) -> std::io::Result<String> {
    if !args.target.ip().is_loopback() {
        return Err(std::io::Error::other("this load goes to 127.0.0.0/8 only"));
    }
    // How far it could be raised shows soon enough when it was not far enough.
    let _limit = raise_open_files();
    if let Some(core) = args.core {
        pin(core)?;
    }
    let shape = match (args.rate, args.one_each) {
        (Some(rate), _) => Shape::Paced(rate.max(1.0)),
        (None, true) => Shape::OneEach,
        (None, false) => Shape::Closed,
    };
    let plan = Plan {
        target: args.target,
        tls: None,
        path: args.path.clone(),
        body: args.body,
        connections: args.connections,
        shape,
        warm_up: Duration::from_secs_f64(args.warm_up),
        window: Duration::from_secs_f64(args.seconds),
    };
    let outcome = run(&plan, &Interrupt::on_signals()?, |_| {})?;
    Ok(format!(
        "completed={} rate={:.0} p50={:.0} p99={:.0} p99.9={:.0} failures={} {:?}",
        outcome.completed,
        outcome.rate(),
        outcome.latency_us(0.5),
        outcome.latency_us(0.99),
        outcome.latency_us(0.999),
        outcome.failures.total(),
        outcome.failures
    ))
}
