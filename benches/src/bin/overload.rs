//! The overload: each contestant alone under the same load, and a report of it.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use serin_bench::machine;
use serin_bench::overload::args::Args;
use serin_bench::overload::outcome::Measured;
use serin_bench::overload::report::Report;
use serin_bench::overload::run::Stage;
use serin_bench::overload::{Contestant, DEADLINE_MS, MEAN_MS, SIGMA, SLOTS, capacity};
use serin_bench::peers::{self, Installed, Proxy};
use serin_bench::process::{Folder, Interrupt, pin, raise_open_files};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("overload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let machine = machine::describe();
    let mut wanted: Vec<Proxy> = args.contestants().iter().map(|contestant| contestant.proxy()).collect();
    wanted.dedup();
    let (proxies, skipped) = peers::find(&wanted, args.serin.as_deref());
    let [proxy, endpoints, load] = args.cores();
    pin(load)?;
    let stage = Stage {
        folder: Folder::new()?,
        cores: [proxy, endpoints],
        open_files: raise_open_files(),
        seconds: args.seconds,
        seed: args.seed,
    };
    let results = play(args, &stage, &proxies, &interrupt)?;
    let (seconds, date) = (args.seconds, machine::today());
    let report = Report {
        results: &results,
        proxies: &proxies,
        skipped: &skipped,
        machine,
        method: method(args),
        seconds,
        date,
    };
    let page = report.save(&args.out)?;
    println!("{}", report.page(None));
    eprintln!("written to {}", page.display());
    // Who could not be measured is said above; the run as a whole has failed for those who count on it.
    let broken = results.iter().any(|(_, result)| result.is_err());
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Results = Vec<(Contestant, Result<Measured, String>)>;

fn play(args: &Args, stage: &Stage, proxies: &[Installed], interrupt: &Interrupt) -> io::Result<Results> {
    let mut results = Vec::new();
    for &contestant in args.contestants() {
        let Some(installed) = proxies.iter().find(|installed| installed.proxy == contestant.proxy()) else { continue };
        eprintln!("{}", contestant.name());
        let result = stage.run(contestant, installed, interrupt);
        // An interruption ends the run; anything else is this contestant's own result.
        interrupt.check()?;
        results.push((contestant, result.map_err(|error| error.to_string())));
    }
    Ok(results)
}

fn method(args: &Args) -> String {
    let [proxy, endpoints, load] = args.cores();
    format!(
        "One proxy at a time on core {proxy} with one thread, the endpoints on core {endpoints}, the load generator on core {load}; \
         loopback only. {} endpoints serve {} requests at a time each and let others wait, first come first served; a request takes \
         {MEAN_MS} ms on average (lognormal, σ {SIGMA}): {:.0} requests a second in all. Requests come at random times (seed {}), \
         for {} s at each rate; clients give up after {DEADLINE_MS} ms, and what comes later is no goodput. \
         How to read this: `benches/README.md`.",
        SLOTS.len(),
        SLOTS[0],
        capacity(),
        args.seed,
        args.seconds
    )
}
