//! Reloads without end, under load: nothing is lost, nothing is mixed, nothing grows.
//!
//! By default this takes some seconds and judges loosely, because other tests run beside it. Alone it runs longer and
//! judges strictly; `benches/results` has what came out:
//!
//! ```text
//! SERIN_SOAK_SECONDS=60 cargo test --release -p serin --test it -- --nocapture --test-threads 1 soak::fifty
//! SERIN_SOAK_RELOADS=10000 cargo test --release -p serin --test it -- --nocapture --test-threads 1 soak::fifty
//! ```

mod load;
mod memory;
mod rules;
mod updates;
mod witness;
mod writer;

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::control::{Program, echoing_endpoint, tireless_endpoint};
use crate::support::{PATIENCE, eventually};

use load::{Load, Outcome};
use memory::{Sample, Samples, resident_kib};
use rules::Endpoints;
use witness::Witness;
use writer::Writer;

#[test]
fn fifty_reloads_a_second_under_load_lose_nothing() {
    let length = Length::of_environment();
    let stage = Stage::start();
    let quiet = stage.load_for(length.quiet());
    let witness = Witness::start(stage.program.address("web"));
    let busy_before = stage.busy();
    let (reloading, samples, written) = stage.reload(length);
    let busy = stage.busy().map_each(busy_before, |after, before| after - before);
    let (seen, asked) = witness.end();

    let swaps = samples.last().reloads - samples.first().reloads;
    let rate = swaps as f64 / samples.seconds();
    let growth = samples.growth();
    println!("quiet      {quiet}\nreloading  {reloading}");
    println!("{swaps} reloads of {written} written, {rate:.1}/s; {seen} of them seen by {asked} answers, none mixed");
    println!("worker threads busy: {:.2} s, {:.2} s\n{growth}", busy.0, busy.1);

    assert_eq!((quiet.failures, reloading.failures), (0, 0), "{}\n{}", reloading.report, stage.program.log());
    assert!(rate >= length.least_rate(), "{rate:.1} reloads a second");
    assert!(busy.0.min(busy.1) > busy.0.max(busy.1) / 5.0, "one worker does nearly all: {busy:?}");
    let most = quiet.p99 * length.most_p99_factor() + length.p99_allowance();
    assert!(reloading.p99 <= most, "p99 {:?} while reloading, {:?} without", reloading.p99, quiet.p99);
    growth.judge();
}

/// How long, and with that how strictly.
#[derive(Clone, Copy)]
enum Length {
    Seconds(u64),
    Reloads(u64),
}

impl Length {
    fn of_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        match number("SERIN_SOAK_RELOADS") {
            Some(reloads) => Self::Reloads(reloads),
            None => Self::Seconds(number("SERIN_SOAK_SECONDS").unwrap_or(5)),
        }
    }

    /// Whether somebody asked for a long run, which has the machine to itself.
    fn is_long(self) -> bool {
        matches!(self, Self::Reloads(1_000..) | Self::Seconds(20..))
    }

    fn quiet(self) -> Duration {
        Duration::from_secs(if self.is_long() { 15 } else { 2 })
    }

    fn is_over(self, elapsed: Duration, reloads: u64) -> bool {
        match self {
            Self::Seconds(seconds) => elapsed >= Duration::from_secs(seconds),
            Self::Reloads(wanted) => reloads >= wanted,
        }
    }

    fn least_rate(self) -> f64 {
        if self.is_long() { 45.0 } else { 15.0 }
    }

    /// All cores are saturated, so what a reload takes is missing for requests: by how much p99 then suffers is more
    /// the scheduler's doing than ours. `cargo xtask bench --cases reload` measures it at a rate that can be carried.
    fn most_p99_factor(self) -> u32 {
        if self.is_long() { 3 } else { 5 }
    }

    fn p99_allowance(self) -> Duration {
        Duration::from_millis(if self.is_long() { 5 } else { 100 })
    }
}

/// A proxy with endpoints, in a folder of its own.
struct Stage {
    program: Program,
    endpoints: Endpoints,
    folder: TempDir,
}

impl Stage {
    fn start() -> Self {
        let endpoints = Endpoints {
            stable: ["one", "two", "three"].map(tireless_endpoint),
            canary: tireless_endpoint("canary"),
            echo: echoing_endpoint("x-round"),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("serin.yaml");
        fs::write(&config, endpoints.rules(0)).expect("room");
        let state = folder.path().join("state");
        let program = Program::start_with(&config, &["--state-dir", state.to_str().expect("text")]);
        Self { program, endpoints, folder }
    }

    fn load_for(&self, time: Duration) -> Outcome {
        let load = Load::start(self.program.address("web"));
        std::thread::sleep(time);
        load.end()
    }

    /// Changes the file all the time, and looks at the proxy once a second, as what collects metrics does.
    fn reload(&self, length: Length) -> (Outcome, Samples, u64) {
        let load = Load::start(self.program.address("web"));
        let began = Instant::now();
        let mut samples = Samples::default();
        samples.push(self.look(began));
        let writer = Writer::start(self.folder.path().join("serin.yaml"), self.endpoints);
        while !length.is_over(began.elapsed(), samples.last().reloads - samples.first().reloads) {
            let next = samples.last().at + LOOK_EVERY;
            std::thread::sleep(next.saturating_sub(began.elapsed()));
            samples.push(self.look(began));
        }
        let written = writer.end();
        let outcome = load.end();
        let last = format!("h{written}.test");
        eventually(PATIENCE, "the last rules", || self.program.admin("/api/v1/routes").text().contains(&last));
        let stored = || fs::read_to_string(self.folder.path().join("state/rules.json")).unwrap_or_default();
        eventually(PATIENCE, "the last rules on disk", || stored().contains(&last));
        (outcome, samples, written)
    }

    fn look(&self, began: Instant) -> Sample {
        let at = began.elapsed();
        assert_eq!(self.program.admin("/api/v1/routes").status, 200);
        let reloads = self.program.metric("serin_rules_generation");
        assert_eq!(self.program.metric("serin_rules_rejected"), 0, "{}", self.program.log());
        Sample { at, reloads, resident_kib: resident_kib(self.program.pid()) }
    }

    /// The processor time of each worker's thread so far, in seconds.
    fn busy(&self) -> Busy {
        let threads = fs::read_dir(format!("/proc/{}/task", self.program.pid())).expect("the program runs");
        let threads: Vec<_> = threads.flatten().map(|thread| thread.path()).collect();
        let time = |name: &str| {
            let named =
                |file: &&std::path::PathBuf| fs::read_to_string(file.join("comm")).is_ok_and(|own| own.trim() == name);
            let thread = threads.iter().find(named).unwrap_or_else(|| panic!("no thread {name}"));
            let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or_default() / 1e9
        };
        Busy(time("worker-0"), time("worker-1"))
    }
}

/// Seconds of two workers.
#[derive(Clone, Copy, Debug)]
struct Busy(f64, f64);

impl Busy {
    fn map_each(self, other: Self, map: impl Fn(f64, f64) -> f64) -> Self {
        Self(map(self.0, other.0), map(self.1, other.1))
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
