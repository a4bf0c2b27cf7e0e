//! Reloads without end, under load: nothing is lost, nothing is mixed, nothing grows.
//!
//! By default this takes some seconds and judges loosely, because other tests run beside it. Alone it runs longer and
//! judges strictly; `benches/results` has what came out. In memory, because a disk that others keep busy holds up the
//! one who writes the rules:
//!
//! ```text
//! export TMPDIR=/dev/shm
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
use memory::{Sample, Samples};
use rules::Endpoints;
use witness::Witness;
use writer::Writer;

#[test]
fn fifty_reloads_a_second_under_load_lose_nothing() {
    let length = Length::of_environment();
    let stage = Stage::start();
    // Connections have their memory before the first look, so that what grows from then on are reloads.
    stage.load_for(length.quiet());
    let mut run = Run::new(stage.look());
    let witness = Witness::start(stage.program.address("web"));
    // The machine may be another from minute to minute, so load without reloads is measured in between.
    for turn in 1..=TURNS {
        run.quiet.push(stage.load_for(length.quiet()));
        stage.reload(&mut run, |time, reloads| length.is_over(turn, time, reloads));
    }
    let (seen, asked) = witness.end();
    let busy = stage.busy();

    let (quiet, reloading) = (Outcome::of_all(&run.quiet), Outcome::of_all(&run.reloading));
    let (swaps, rate) = (run.samples.reloads(), run.samples.reloads() as f64 / run.time.as_secs_f64());
    let growth = run.samples.growth();
    println!("quiet      {quiet}\nreloading  {reloading}");
    println!(
        "{swaps} reloads of {} written, {rate:.1}/s; {seen} of them seen in {asked} answers, none mixed",
        run.written
    );
    println!("worker threads busy: {:.2} s, {:.2} s\n{growth}", busy.0, busy.1);

    assert_eq!((quiet.failures, reloading.failures), (0, 0), "{}\n{}", reloading.report, stage.program.log());
    let most = quiet.p99 * length.most_p99_factor() + length.p99_allowance();
    assert!(reloading.p99 <= most, "p99 {:?} while reloading, {:?} without", reloading.p99, quiet.p99);
    growth.judge();
    assert!(rate >= length.least_rate(), "{rate:.1} reloads a second");
    if length.is_long() {
        assert!(swaps * 10 >= run.written * 9, "{swaps} of {}", run.written);
        assert!(busy.0.min(busy.1) * 4.0 > busy.0.max(busy.1), "one worker does nearly all: {busy:?}");
    }
}

/// What has come out so far.
struct Run {
    quiet: Vec<Outcome>,
    reloading: Vec<Outcome>,
    samples: Samples,
    /// Rounds of the rules written, and the time that took.
    written: u64,
    time: Duration,
}

impl Run {
    fn new(first: Sample) -> Self {
        let samples = Samples::from(first);
        Self { quiet: Vec::new(), reloading: Vec::new(), samples, written: 0, time: Duration::ZERO }
    }
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

    /// Of each turn.
    fn quiet(self) -> Duration {
        Duration::from_millis(if self.is_long() { 5_000 } else { 700 })
    }

    /// Whether a turn is over after this time of reloads and so many of them, those of earlier turns included.
    fn is_over(self, turn: u32, time: Duration, reloads: u64) -> bool {
        match self {
            Self::Seconds(seconds) => time >= Duration::from_secs(seconds) * turn / TURNS,
            Self::Reloads(wanted) => reloads >= wanted * u64::from(turn) / u64::from(TURNS),
        }
    }

    /// Fifty are written a second, if the machine gives the writer its turns.
    fn least_rate(self) -> f64 {
        if self.is_long() { 30.0 } else { 15.0 }
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
    fn reload(&self, run: &mut Run, is_over: impl Fn(Duration, u64) -> bool) {
        let load = Load::start(self.program.address("web"));
        let began = Instant::now();
        let writer = Writer::start(self.folder.path().join("serin.yaml"), self.endpoints, run.written);
        let (before, mut next) = (run.time, Duration::ZERO);
        while !is_over(before + began.elapsed(), run.samples.reloads()) {
            next += LOOK_EVERY;
            std::thread::sleep(next.saturating_sub(began.elapsed()));
            run.samples.push(self.look());
        }
        run.time += began.elapsed();
        run.written = writer.end();
        run.reloading.push(load.end());
        let last = format!("h{}.test", run.written);
        eventually(PATIENCE, "the last rules", || self.program.admin("/api/v1/routes").text().contains(&last));
        let stored = || fs::read_to_string(self.folder.path().join("state/rules.json")).unwrap_or_default();
        eventually(PATIENCE, "the last rules on disk", || stored().contains(&last));
        run.samples.push(self.look());
    }

    fn look(&self) -> Sample {
        assert_eq!(self.program.admin("/api/v1/routes").status, 200);
        let reloads = self.program.metric("serin_rules_generation");
        assert_eq!(self.program.metric("serin_rules_rejected"), 0, "{}", self.program.log());
        Sample { reloads, resident_kib: self.program.resident_kib() }
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

/// How often load without and with reloads follow each other.
const TURNS: u32 = 3;

const LOOK_EVERY: Duration = Duration::from_secs(1);
