//! Attacks on Serin: one after the other with other users beside it, and a report of what these noticed.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use serin_bench::attacks::args::Args;
use serin_bench::attacks::outcome::Measured;
use serin_bench::attacks::report::Report;
use serin_bench::attacks::run::Stage;
use serin_bench::attacks::{Attack, Honest};
use serin_bench::machine;
use serin_bench::peers::{self, Bench, Installed, Proxy};
use serin_bench::process::{Interrupt, pin, raise_open_files};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("attacks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let machine = machine::describe();
    let (proxies, _) = peers::find(&[Proxy::Serin], args.serin.as_deref());
    let serin = proxies.first().ok_or_else(|| io::Error::other("there is no Serin"))?;
    pin(args.cores()[2])?;
    let bench = Bench::start_endpoint(args.cores(), raise_open_files(), &interrupt)?;
    let stage = Stage { bench, seconds: args.seconds(), seed: args.seed };
    let results = play(args, &stage, serin, &interrupt)?;
    let report = Report {
        results: &results,
        proxies: &proxies,
        machine,
        method: method(args),
        quick: args.quick,
        date: machine::today(),
    };
    let page = report.save(&args.out())?;
    println!("{}", report.page());
    eprintln!("written to {}", page.display());
    let is_well = |result: &Result<Measured, String>| result.as_ref().is_ok_and(|measured| measured.failed().0 == 0);
    Ok(if results.iter().all(|(_, result)| is_well(result)) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Results = Vec<(Attack, Result<Measured, String>)>;

fn play(args: &Args, stage: &Stage, serin: &Installed, interrupt: &Interrupt) -> io::Result<Results> {
    let mut results = Vec::new();
    for &attack in args.attacks() {
        eprintln!("{}", attack.name());
        let result = stage.run(attack, serin, interrupt);
        // An interruption ends the run; anything else is this attack's own result.
        interrupt.check()?;
        results.push((attack, result.map_err(|error| error.to_string())));
    }
    Ok(results)
}

fn method(args: &Args) -> String {
    let [proxy, endpoint, load] = args.cores();
    let seconds = args.seconds();
    let users: Vec<String> =
        Honest::ALL.iter().map(|honest| format!("{} {} requests/s", honest.name(), honest.rate())).collect();
    format!(
        "Serin on core {proxy} with one worker, started anew for each attack; the endpoint on core {endpoint}, users and attackers on core \
         {load}, attackers with the lowest priority and from addresses of their own; loopback only. {} s of quiet, {seconds} s of attack, {} s of \
         quiet; all along users over TLS 1.3: {}, at random times (seed {}), each for 1 KiB. How to read this: `benches/README.md`.",
        seconds / 2.0,
        seconds / 2.0,
        users.join(", "),
        args.seed
    )
}
