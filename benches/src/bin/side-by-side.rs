//! The harness: every proxy in every case, interleaved, and a report of it.
//!
//! Rounds on the outside, then cases, then proxies in an order that turns from one to the next: whatever the machine
//! does over the minutes, it does to all of them.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serin_bench::args::Args;
use serin_bench::cases::{Case, Lengths, Sample};
use serin_bench::compare::Results;
use serin_bench::machine;
use serin_bench::measure::measure;
use serin_bench::peers::{self, Bench, Installed, Proxy, Setup};
use serin_bench::process::{Interrupt, pin, raise_open_files};
use serin_bench::report::Report;
use serin_bench::tls::{CIPHER, GROUP};

fn main() -> ExitCode {
    match run(&Args::parse().resolved()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("side-by-side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let machine = machine::describe();
    if args.fetch {
        peers::fetch(&args.only);
    }
    let (proxies, skipped) = peers::find(&args.only, args.serin.as_deref());
    if proxies.is_empty() {
        return Err(io::Error::other("none of the proxies is installed"));
    }
    let open_files = raise_open_files();
    let lengths = lengths(args, open_files);
    // The load is made on this thread, and readings of the kernel's counters too: away from the proxy.
    pin(args.cores()[2])?;
    let bench = Bench::start_endpoint(args.cores(), open_files, &interrupt)?;
    let results = measure_all(args, &bench, &proxies, lengths, &interrupt)?;

    let report = Report {
        results: &results,
        cases: &args.cases,
        proxies: &proxies,
        skipped: &skipped,
        machine,
        method: method(args, lengths),
        quick: args.quick,
        date: machine::today(),
    };
    let folder = args.out.clone().unwrap_or_else(|| default_folder(args.quick));
    let page = report.save(&folder)?;
    println!("{}", report.page(None));
    eprintln!("written to {}", page.display());
    // A proxy that could not be measured is said above; the run as a whole has failed only for those who count on it.
    Ok(if results.broken().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lengths(args: &Args, open_files: u64) -> Lengths {
    // The proxy and this process each need one descriptor a connection, and some for themselves.
    let room = usize::try_from(open_files.saturating_sub(1_200)).unwrap_or(usize::MAX);
    if args.idle_connections > room {
        eprintln!("idle: only {room} connections, the limit of open files is {open_files}");
    }
    Lengths {
        warm_up: Duration::from_secs_f64(if args.quick { 0.2 } else { 0.5 }),
        window: Duration::from_secs_f64(args.seconds.max(0.1)),
        idle_connections: args.idle_connections.min(room).max(1),
        idle_for: Duration::from_secs(if args.quick { 1 } else { 5 }),
    }
}

fn measure_all(
    args: &Args,
    bench: &Bench,
    proxies: &[Installed],
    lengths: Lengths,
    interrupt: &Interrupt,
) -> io::Result<Results> {
    let mut results = Results::default();
    for round in 0..args.rounds {
        for (turn, &case) in args.cases.iter().enumerate() {
            for index in 0..proxies.len() {
                let installed = &proxies[(index + round + turn) % proxies.len()];
                if case.leaves_out(installed.proxy).is_some() {
                    continue;
                }
                let result = measure(bench, installed, case, lengths, interrupt);
                // An interruption ends the run; anything else is this proxy's own result.
                interrupt.check()?;
                say(args, round, case, installed.proxy, &result);
                results.record(case, installed.proxy, round, result.map_err(|error| error.to_string()));
            }
        }
    }
    Ok(results)
}

fn say(args: &Args, round: usize, case: Case, proxy: Proxy, result: &io::Result<Sample>) {
    let place = format!("{}/{} {:11} {:8}", round + 1, args.rounds, case.name(), proxy.name());
    match result {
        Ok(sample) => eprintln!(
            "{place} {:>8}  {:>6.0}/s  p99 {:>6.0} µs  failures {}  others on its core {:.0} %, on the load's {:.0} %",
            case.figure().write(case.figure().of(sample)),
            sample.rate,
            sample.p99_us,
            sample.failures.total(),
            sample.disturbance * 100.0,
            sample.load_disturbance * 100.0
        ),
        Err(error) => eprintln!("{place} not measured: {error}"),
    }
}

fn method(args: &Args, lengths: Lengths) -> String {
    let [proxy, endpoint, load] = args.cores();
    let tls = if args.cases.iter().any(|case| case.setup() == Setup::Tls) {
        format!(" TLS is 1.3 with {CIPHER}, {GROUP} and a certificate of ECDSA P-256 for all.")
    } else {
        String::new()
    };
    format!(
        "{} rounds of {} s a measurement after {} s of warm-up, proxies in turning order, each started anew. One proxy at a time on core {proxy} \
         with one thread, the endpoint on core {endpoint}, the load generator on core {load}; loopback only. Medians over rounds; ratios are taken \
         within a round first. The idle cases: {} connections.{tls} How to read this: `benches/README.md`.",
        args.rounds,
        lengths.window.as_secs_f64(),
        lengths.warm_up.as_secs_f64(),
        lengths.idle_connections
    )
}

fn default_folder(quick: bool) -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if quick { here.join("target/side-by-side") } else { here.join("results") }
}
