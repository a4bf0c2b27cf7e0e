//! The bench of Kubernetes: each contender visited in turn, round by round, with few Ingresses and with many, and a report of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serin_bench::kubernetes::args::Args;
use serin_bench::kubernetes::changes::Pace;
use serin_bench::kubernetes::outcome::Measured;
use serin_bench::kubernetes::report::Report;
use serin_bench::kubernetes::start::Ground;
use serin_bench::kubernetes::storm::Storm;
use serin_bench::kubernetes::visit::Stage;
use serin_bench::kubernetes::{Contender, pods};
use serin_bench::machine;
use serin_bench::peers::{self, Installed, Proxy};
use serin_bench::process::{Folder, Interrupt, pin, raise_open_files};
use serin_bench::report::folder;

fn main() -> ExitCode {
    match run(&Args::parse().resolved()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kubernetes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let mut machine = machine::describe();
    let wanted: Vec<Proxy> = args.only.iter().map(|contender| contender.proxy()).collect();
    if args.fetch {
        peers::fetch(&wanted);
    }
    let (proxies, skipped) = peers::find(&wanted, args.serin.as_deref());
    let _limit = raise_open_files();
    // All else than the proxy: the API server, the pods and the clients, which are threads of this.
    let [_, others] = args.cores();
    pin(others)?;
    let results = play(args, &proxies, &interrupt)?;
    machine.push(("load after the run", machine::load()));
    let report = Report {
        results: &results,
        pods_each: args.endpoints_per_service,
        proxies: &proxies,
        skipped: &skipped,
        machine,
        method: method(args),
        quick: args.quick,
        date: machine::today(),
    };
    let page = report.save(&folder(args.out.as_deref(), args.quick, "kubernetes"))?;
    println!("{}", report.page());
    eprintln!("written to {}", page.display());
    // That others do not get so far is a result. That Serin does not is a failure.
    let broken = results.iter().any(|measured| measured.contender == Contender::Serin && !measured.is_whole());
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Rounds outside, then numbers of Ingresses, then contenders in an order that turns.
fn play(args: &Args, proxies: &[Installed], interrupt: &Interrupt) -> io::Result<Vec<Measured>> {
    let program = |contender: Contender| {
        let installed = proxies.iter().find(|installed| installed.proxy == contender.proxy());
        installed.map(|installed| (contender, installed.program.as_path()))
    };
    let contenders: Vec<(Contender, &Path)> = args.only.iter().filter_map(|contender| program(*contender)).collect();
    let (folder, port) = (Folder::new()?, pods::start()?);
    let mut results: Vec<Measured> = Vec::new();
    for &ingresses in &args.ingresses {
        let new =
            |&(contender, _): &(Contender, _)| Measured { contender, ingresses, visits: Vec::new(), broken: None };
        results.extend(contenders.iter().map(new));
    }
    for round in 0..args.rounds as usize {
        for (size, measured) in results.chunks_mut(contenders.len().max(1)).enumerate() {
            for place in 0..measured.len() {
                let which = (place + round) % measured.len();
                let measured = &mut measured[which];
                // Who has failed once would fail again, and take as long.
                if measured.broken.is_some() {
                    continue;
                }
                eprintln!("{} Ingresses, round {}: {}", measured.ingresses, round + 1, measured.contender.name());
                let folder = folder.path().join(format!("{size}-{round}-{place}"));
                fs::create_dir_all(&folder)?;
                let patience = Duration::from_secs_f64(args.start_within);
                let ground = Ground { folder: &folder, core: args.cores()[0], patience };
                let is_last = size + 1 == args.ingresses.len();
                let stage = stage(args, measured.ingresses, port, args.seed + round as u64, is_last);
                let visit = stage.visit(measured.contender, contenders[which].1, &ground, interrupt);
                // An interruption ends the run; anything else is this contender's own result.
                interrupt.check()?;
                match visit {
                    Ok(visit) => measured.visits.push(visit),
                    Err(error) => measured.broken = Some(error.to_string()),
                }
            }
        }
    }
    Ok(results)
}

fn stage(args: &Args, ingresses: u32, port: u16, seed: u64, has_storm: bool) -> Stage {
    let patience = Duration::from_secs_f64(args.serve_within);
    let storm = Storm {
        time: Duration::from_secs_f64(args.seconds),
        events: args.events,
        requests: args.requests,
        patience,
        seed,
    };
    Stage {
        ingresses,
        pods_each: args.endpoints_per_service,
        port,
        pace: Pace { samples: args.samples, patience, seed },
        storm: has_storm.then_some(storm),
    }
}

fn method(args: &Args) -> String {
    let [proxy, others] = args.cores();
    format!(
        "One proxy at a time on core {proxy}, with one thread for requests; the API server's stand-in, the pods and the clients on core {others}; \
         loopback only. Each Ingress has a host and a Service of its own with {} pods. {} rounds, each with a new cluster and a new process; {} \
         changes of a kind in a round. A change counts from just before the API server is given it until the right pod has answered; from then \
         on its host is asked for all the time. The storm is {} events a second for {:.0} s: nine of ten put another pod in the place of one of a \
         random Service, the tenth leads a path of a random Ingress elsewhere; {} requests a second on eight connections, half of them to the \
         Service that changed last. How to read this: `benches/README.md`.",
        args.endpoints_per_service, args.rounds, args.samples, args.events, args.seconds, args.requests
    )
}
