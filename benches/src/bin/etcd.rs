//! The bench of etcd: each contender visited in turn, round by round, with few routes and with many, and a report of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serin_bench::etcd::args::Args;
use serin_bench::etcd::outcome::Measured;
use serin_bench::etcd::report::Report;
use serin_bench::etcd::start::Ground;
use serin_bench::etcd::store::{Store, version};
use serin_bench::etcd::visit::Stage;
use serin_bench::etcd::{Contender, endpoint};
use serin_bench::machine;
use serin_bench::peers::{self, Installed, Proxy};
use serin_bench::process::{Folder, Interrupt, pin, raise_open_files};
use serin_bench::report::folder;

fn main() -> ExitCode {
    match run(&Args::parse().resolved()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("etcd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let interrupt = Interrupt::on_signals()?;
    let mut machine = machine::describe();
    machine.push(("etcd", version().unwrap_or_else(|| "not installed".to_owned())));
    let mut wanted: Vec<Proxy> = args.only.iter().map(|contender| contender.proxy()).collect();
    wanted.dedup();
    if args.fetch {
        peers::fetch(&wanted);
    }
    let (proxies, skipped) = peers::find(&wanted, args.serin.as_deref());
    let _limit = raise_open_files();
    // All else than the proxy: this, the endpoints and the clients, which are threads of this, and etcd.
    let [_, others] = args.cores();
    pin(others)?;
    let results = play(args, &proxies, &interrupt)?;
    machine.push(("load after the run", machine::load()));
    let report = Report {
        results: &results,
        proxies: &proxies,
        skipped: &skipped,
        machine,
        method: method(args),
        quick: args.quick,
        date: machine::today(),
    };
    let page = report.save(&folder(args.out.as_deref(), args.quick, "etcd"))?;
    println!("{}", report.page(None));
    eprintln!("written to {}", page.display());
    // That others do not get so far is a result. That Serin does not is a failure.
    let broken = results.iter().any(|measured| measured.contender == Contender::Serin && !measured.is_whole());
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn play(args: &Args, proxies: &[Installed], interrupt: &Interrupt) -> io::Result<Vec<Measured>> {
    let program = |contender: Contender| {
        let installed = proxies.iter().find(|installed| installed.proxy == contender.proxy());
        installed.map(|installed| (contender, installed.program.as_path()))
    };
    let contenders: Vec<(Contender, &Path)> = args.only.iter().filter_map(|contender| program(*contender)).collect();
    let (folder, endpoints) = (Folder::new()?, [endpoint::start()?, endpoint::start()?]);
    let mut results = Vec::new();
    for &routes in &args.routes {
        let folder = folder.path().join(routes.to_string());
        fs::create_dir_all(&folder)?;
        // A new etcd for each number: nothing of the one before is left.
        let store = Store::start(&folder, args.cores()[1], interrupt)?;
        for &(contender, _) in &contenders {
            store.write(contender.all(routes, endpoints[0]), interrupt)?;
        }
        let stage = Stage {
            store: &store,
            endpoints,
            samples: args.samples,
            time: Duration::from_secs_f64(args.seconds),
            patience: Duration::from_secs_f64(args.serve_within),
            longest_pause: if args.quick { Duration::from_millis(200) } else { Duration::MAX },
        };
        results.extend(rounds(args, &contenders, &stage, routes, &folder, interrupt)?);
    }
    Ok(results)
}

fn rounds(
    args: &Args,
    contenders: &[(Contender, &Path)],
    stage: &Stage,
    routes: u32,
    folder: &Path,
    interrupt: &Interrupt,
) -> io::Result<Vec<Measured>> {
    let new =
        |(contender, _): &(Contender, _)| Measured { contender: *contender, routes, visits: Vec::new(), broken: None };
    let mut all: Vec<Measured> = contenders.iter().map(new).collect();
    for round in 0..args.rounds as usize {
        for place in 0..contenders.len() {
            let which = (place + round) % contenders.len();
            let (contender, program) = contenders[which];
            let measured = &mut all[which];
            // Who has failed once would fail again, and take as long.
            if measured.broken.is_some() {
                continue;
            }
            eprintln!("{routes} routes, round {}: {}", round + 1, contender.name());
            let folder = folder.join(format!("{round}-{place}"));
            fs::create_dir_all(&folder)?;
            let ground = Ground {
                folder: &folder,
                core: args.cores()[0],
                etcd: stage.store.address(),
                routes,
                patience: Duration::from_secs_f64(args.start_within),
                seed: args.seed + round as u64,
            };
            let visit = stage.visit(contender, program, &ground, interrupt);
            // An interruption ends the run; anything else is this contender's own result.
            interrupt.check()?;
            match visit {
                Ok(visit) => measured.visits.push(visit),
                Err(error) => measured.broken = Some(error.to_string()),
            }
        }
    }
    Ok(all)
}

fn method(args: &Args) -> String {
    let [proxy, others] = args.cores();
    format!(
        "One proxy at a time on core {proxy} with one thread (and what else it starts), etcd, the endpoints and the client on core \
         {others}; loopback only. etcd is one member without `fsync`. {} rounds, the contenders in another order in each; up to {} \
         changes of a kind in a round, as far as {:.0} s suffice. A change is put at a random time, and from then on its host is \
         asked for until the right endpoint has answered. Waited is {:.0} s for a start and {:.0} s for a change. \
         How to read this: `benches/README.md`.",
        args.rounds, args.samples, args.seconds, args.start_within, args.serve_within
    )
}
