//! The scenarios: each before every proxy, one after the other, and a report of it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serin_bench::machine;
use serin_bench::peers::{self, Installed, Proxy};
use serin_bench::process::{Folder, Interrupt, pin, raise_open_files};
use serin_bench::scenario::args::Args;
use serin_bench::scenario::outcome::Measured;
use serin_bench::scenario::report::{Played, Report};
use serin_bench::scenario::run::Stage;
use serin_bench::scenario::{Lengths, MEAN_MS, Name, SIGMA, Scenario};

fn main() -> ExitCode {
    match run(&Args::parse().resolved()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scenario: {error}");
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
    let (able, mut skipped): (Vec<Proxy>, Vec<Proxy>) =
        args.only.iter().partition(|proxy| !matches!(proxy, Proxy::Relay | Proxy::Pingora));
    let (proxies, missing) = peers::find(&able, args.serin.as_deref());
    let skipped: Vec<_> =
        skipped.drain(..).map(|proxy| (proxy, "takes one endpoint only".to_owned())).chain(missing).collect();
    let first = proxies.first().ok_or_else(|| io::Error::other("none of the proxies is installed"))?;
    let [proxy, endpoints, load] = args.cores();
    pin(load)?;
    let mut stage = Stage {
        folder: Folder::new()?,
        cores: [proxy, endpoints],
        open_files: raise_open_files(),
        slower: args.slower.unwrap_or(1.0),
        seed: args.seed,
    };
    if args.slower.is_none() {
        stage.slower = bearable(&mut stage, first, &interrupt)?;
    }
    let played = play_all(args, &stage, &proxies, &interrupt)?;

    let report = Report {
        played: &played,
        proxies: &proxies,
        skipped: &skipped,
        machine,
        method: method(args, &stage),
        slower: stage.slower,
        quick: args.quick,
        date: machine::today(),
    };
    let page = report.save(&args.out.clone().unwrap_or_else(|| default_folder(args.quick)))?;
    println!("{}", report.page(None));
    eprintln!("written to {}", page.display());
    // A proxy that could not be measured is said above; the run as a whole has failed only for those who count on it.
    let broken = played.iter().flat_map(|played| &played.results).any(|(_, result)| result.is_err());
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How much slower everything must be for this machine to carry the load: tried for a few seconds with nothing wrong.
fn bearable(stage: &mut Stage, proxy: &Installed, interrupt: &Interrupt) -> io::Result<f64> {
    let lengths = Lengths { before_s: 1.0, fault_s: 1.0, after_s: 0.0, stall_s: 0.0 };
    let scenario = Name::Equal.scenario(&lengths);
    for slower in [1.0, 2.0, 4.0] {
        stage.slower = slower;
        let measured = stage.run(&scenario, proxy, interrupt)?;
        // A generator that is late, or answers that wait for a processor, would be taken for the proxy's balancing.
        let is_calm = measured.lag_p99_ms < 2.0 && measured.during.p50_ms < 1.5 * MEAN_MS * slower;
        eprintln!(
            "{:.0} requests/s: load generator late by {:.1} ms (p99), answers within {:.1} ms (p50){}",
            scenario.rate(MEAN_MS * slower),
            measured.lag_p99_ms,
            measured.during.p50_ms,
            if is_calm { "" } else { ": too much for this machine now" }
        );
        if is_calm {
            return Ok(slower);
        }
    }
    eprintln!("going on with the last; do not believe the times");
    Ok(4.0)
}

fn play_all(args: &Args, stage: &Stage, proxies: &[Installed], interrupt: &Interrupt) -> io::Result<Vec<Played>> {
    let mut all = Vec::new();
    for (turn, name) in args.names.iter().enumerate() {
        let scenario = name.scenario(&args.lengths());
        let mut results = Vec::new();
        for index in 0..proxies.len() {
            let installed = &proxies[(index + turn) % proxies.len()];
            let mut result = stage.run(&scenario, installed, interrupt);
            if !args.quick && result.as_ref().is_ok_and(Measured::is_disturbed) {
                eprintln!("the load generator was late: once more");
                result = stage.run(&scenario, installed, interrupt);
            }
            // An interruption ends the run; anything else is this proxy's own result.
            interrupt.check()?;
            say(&scenario, installed.proxy, &result);
            results.push((installed.proxy, result.map_err(|error| error.to_string())));
        }
        results.sort_by_key(|(proxy, _)| *proxy);
        all.push(Played { scenario, results });
    }
    Ok(all)
}

fn say(scenario: &Scenario, proxy: Proxy, result: &io::Result<Measured>) {
    let place = format!("{:10} {:8}", scenario.name.text(), proxy.name());
    match result {
        Ok(measured) => eprintln!(
            "{place} share {:.2}  p99 {:>5.0} ms  lost {:>5} of {:>6}{}",
            measured.share,
            measured.during.p99_ms,
            measured.lost,
            measured.requests,
            measured.back_s.map_or(String::new(), |back_s| format!("  back after {back_s:.1} s"))
        ),
        Err(error) => eprintln!("{place} not measured: {error}"),
    }
}

fn method(args: &Args, stage: &Stage) -> String {
    let [proxy, endpoints, load] = args.cores();
    let Lengths { fault_s, stall_s, .. } = args.lengths();
    let scaled = if stage.slower == 1.0 {
        String::new()
    } else {
        format!(
            " **Scaled down:** requests take {0} times longer than by design and come {0} times slower; bars of times are {0} times higher.",
            stage.slower
        )
    };
    format!(
        "One proxy at a time on core {proxy} with one thread, the endpoints on core {endpoints}, the load generator on core {load}; loopback only. \
         Requests come at random times (seed {}) and take {} ms on average (lognormal, σ {SIGMA}); faults last {fault_s} s, a stall at least {stall_s} s, \
         where the numbers to reach were set for 30 s. No retries. Clients give up after 11 s, proxies after 10.{scaled} \
         How to read this: `benches/README.md`.",
        stage.seed,
        MEAN_MS * stage.slower
    )
}

fn default_folder(quick: bool) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    if quick { here.join("target/scenarios") } else { here.join("results") }
}
