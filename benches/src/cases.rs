//! What is measured: the cases, and one measurement of one proxy in one of them.
//!
//! Every measurement starts its proxy anew and ends it after: nothing learned, cached or fragmented is carried from one
//! case into another, and no other proxy is there to disturb. The endpoint runs through.

use std::io;
use std::time::Duration;

use clap::ValueEnum;

use crate::load::{self, Edge, Failures, Outcome, Plan, Shape};
use crate::peers::{Bench, Installed, Proxy, Started};
use crate::process::Interrupt;
use crate::reload::Reloads;
use crate::usage::{self, CpuReading, CpuTime, Memory};

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Case {
    #[value(name = "1k-64")]
    Small,
    #[value(name = "100k-64")]
    Medium,
    #[value(name = "1m-64")]
    Large,
    #[value(name = "1k-1000")]
    Many,
    #[value(name = "100k-1000")]
    ManyMedium,
    #[value(name = "1m-1000")]
    ManyLarge,
    #[value(name = "1k-close")]
    OneEach,
    #[value(name = "p99")]
    Paced,
    #[value(name = "idle")]
    Idle,
    #[value(name = "reload")]
    Reload,
}

/// Which number of a case is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Processor time per request, µs.
    Cpu,
    /// 99th percentile of latency, µs, of the median quarter second.
    P99,
    /// Memory per idle connection, KiB.
    PerConnection,
    /// The p99 with reloads as a multiple of the same proxy's without, just before.
    P99TimesQuiet,
}

impl Case {
    /// As on the command line and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "1k-64",
            Self::Medium => "100k-64",
            Self::Large => "1m-64",
            Self::Many => "1k-1000",
            Self::ManyMedium => "100k-1000",
            Self::ManyLarge => "1m-1000",
            Self::OneEach => "1k-close",
            Self::Paced => "p99",
            Self::Idle => "idle",
            Self::Reload => "reload",
        }
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Small => "1 KiB, 64 connections",
            Self::Medium => "100 KB, 64 connections",
            Self::Large => "1 MiB, 64 connections",
            Self::Many => "1 KiB, 1,000 connections",
            Self::ManyMedium => "100 KB, 1,000 connections",
            Self::ManyLarge => "1 MiB, 1,000 connections",
            Self::OneEach => "1 KiB, one request per connection, 64 at a time",
            Self::Paced => "1 KiB at 70 % of saturation, 64 connections",
            Self::Idle => "idle keep-alive connections, each after one request",
            Self::Reload => "50 reloads a second under 1 KiB at 70 % of saturation, 64 connections",
        }
    }

    #[must_use]
    pub fn figure(self) -> Figure {
        match self {
            Self::Paced => Figure::P99,
            Self::Idle => Figure::PerConnection,
            Self::Reload => Figure::P99TimesQuiet,
            _ => Figure::Cpu,
        }
    }

    /// Serin's reloads are compared with Serin without: what others call a reload starts processes and ends connections.
    #[must_use]
    pub fn measures(self, proxy: Proxy) -> bool {
        self != Self::Reload || proxy == Proxy::Serin
    }

    fn path(self) -> (&'static str, u64) {
        match self {
            Self::Medium | Self::ManyMedium => ("/100k", 100_000),
            Self::Large | Self::ManyLarge => ("/1m", 1 << 20),
            _ => ("/1k", 1 << 10),
        }
    }
}

impl Figure {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "processor time per request, µs (user, then system)",
            Self::P99 => "99th percentile of latency, µs, from when a request was due; median of quarter seconds",
            Self::PerConnection => "resident memory per connection, KiB",
            Self::P99TimesQuiet => "99th percentile of latency while reloading, as a multiple of that without reloads",
        }
    }

    /// How much somebody else disturbed what this figure depends on, 0 to 1: latency suffers on either side,
    /// processor time per request only on the proxy's own core.
    #[must_use]
    pub fn disturbance(self, sample: &Sample) -> f64 {
        match self {
            Self::Cpu => sample.disturbance,
            Self::P99 | Self::P99TimesQuiet => sample.disturbance.max(sample.load_disturbance),
            Self::PerConnection => 0.0,
        }
    }

    #[must_use]
    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Cpu => sample.cpu_us(),
            Self::P99 => sample.typical_p99_us,
            Self::PerConnection => sample.per_connection_kib,
            Self::P99TimesQuiet => sample.typical_p99_us / sample.quiet.typical_p99_us.max(f64::MIN_POSITIVE),
        }
    }
}

/// What one measurement gave. Numbers a case does not produce are zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Processor time per request of the proxy, µs.
    pub user_us: f64,
    pub system_us: f64,
    /// Answers per second.
    pub rate: f64,
    /// Requests per second that were due (case p99).
    pub offered: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// The median over the window's quarter seconds.
    pub typical_p99_us: f64,
    pub p999_us: f64,
    /// Of the proxy, under load (idle: with the connections open).
    pub memory: Memory,
    pub per_connection_kib: f64,
    /// The same, pages shared with other processes counted in proportion.
    pub per_connection_pss_kib: f64,
    /// The same load without reloads (case reload).
    pub quiet: Quiet,
    pub reloads_per_s: f64,
    pub failures: Failures,
    /// How much of its core the proxy used, 0 to 1.
    pub core_use: f64,
    /// How much of that core somebody else used meanwhile, 0 to 1.
    pub disturbance: f64,
    /// How much of the endpoint's and the generator's cores somebody else used meanwhile, 0 to 1.
    pub load_disturbance: f64,
}

/// What a measurement with reloads is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    pub cpu_us: f64,
    pub typical_p99_us: f64,
}

impl Sample {
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// How long a measurement takes, and how many connections idle.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub warm_up: Duration,
    pub window: Duration,
    pub idle_connections: usize,
    /// How long idle connections are left alone before memory is read.
    pub idle_for: Duration,
}

/// Measures `proxy` in `case`.
///
/// # Errors
/// When the proxy does not start or the measurement cannot be made; failed requests are part of the sample.
pub fn measure(
    bench: &Bench,
    proxy: &Installed,
    case: Case,
    lengths: Lengths,
    interrupt: &Interrupt,
) -> io::Result<Sample> {
    let started = bench.start(proxy, interrupt)?;
    let pids = usage::tree(started.running.pid());
    let measurement = Measurement { bench, pids: &pids, started: &started, lengths, interrupt };
    match case {
        Case::Small | Case::Medium | Case::Large => measurement.loaded(case, Shape::Closed, 64),
        Case::Many | Case::ManyMedium | Case::ManyLarge => measurement.loaded(case, Shape::Closed, 1_000),
        Case::OneEach => measurement.loaded(case, Shape::OneEach, 64),
        Case::Paced => measurement.paced(),
        Case::Idle => measurement.idle(),
        Case::Reload => measurement.reloading(),
    }
}

struct Measurement<'m> {
    bench: &'m Bench,
    pids: &'m [u32],
    started: &'m Started,
    lengths: Lengths,
    interrupt: &'m Interrupt,
}

impl Measurement<'_> {
    fn loaded(&self, case: Case, shape: Shape, connections: usize) -> io::Result<Sample> {
        let (path, body) = case.path();
        let plan = Plan {
            target: self.started.target,
            path: path.to_owned(),
            body,
            connections,
            shape,
            warm_up: self.lengths.warm_up,
            window: self.lengths.window,
        };
        let mut edges = Vec::with_capacity(2);
        let mut memory = Memory::default();
        let outcome = load::run(&plan, self.interrupt, |edge| {
            edges.push(Reading::now(self.bench, self.pids));
            if edge == Edge::End {
                memory = Memory::of(self.pids);
            }
        })?;
        let [before, after] = edges.as_slice() else {
            return Err(io::Error::other(format!("failed before anything could be measured: {:?}", outcome.failures)));
        };
        if outcome.completed == 0 {
            return Err(io::Error::other(format!("no request was answered: {:?}", outcome.failures)));
        }
        Ok(sample(&outcome, &Used::between(before, after), memory))
    }

    /// Latency at 70 % of what this proxy carries, found out just before: minutes later the machine may be another.
    fn paced(&self) -> io::Result<Sample> {
        let offered = self.saturation()? * 0.7;
        Ok(Sample { offered, ..self.loaded(Case::Paced, Shape::Paced(offered), 64)? })
    }

    fn saturation(&self) -> io::Result<f64> {
        let short = Lengths { window: self.lengths.window / 2, ..self.lengths };
        let saturated = Measurement { lengths: short, ..*self };
        Ok(saturated.loaded(Case::Small, Shape::Closed, 64)?.rate)
    }

    /// The same load twice on one proxy, first without reloads.
    fn reloading(&self) -> io::Result<Sample> {
        let offered = self.saturation()? * 0.7;
        let paced = || self.loaded(Case::Reload, Shape::Paced(offered), 64);
        let before = paced()?;
        let reloads = Reloads::start(self.started)?;
        let sample = paced()?;
        let reloads_per_s = reloads.end()?;
        let quiet = Quiet { cpu_us: before.cpu_us(), typical_p99_us: before.typical_p99_us };
        Ok(Sample { offered, quiet, reloads_per_s, failures: before.failures.and(sample.failures), ..sample })
    }

    fn idle(&self) -> io::Result<Sample> {
        let count = self.lengths.idle_connections;
        let (path, body) = Case::Idle.path();
        // Code and tables that the first requests touch are not the connections' memory.
        for _ in 0..200 {
            load::probe(self.started.target, path, body)?;
        }
        self.interrupt.sleep(Duration::from_secs(1))?;
        let before = Memory::of(self.pids);
        let idle = load::Idle::open(self.started.target, path, body, count, self.interrupt)?;
        self.interrupt.sleep(self.lengths.idle_for)?;
        let after = Memory::of(self.pids);
        #[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
        let each = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
        Ok(Sample {
            memory: after,
            per_connection_kib: each(before.rss_kib, after.rss_kib),
            per_connection_pss_kib: each(before.pss_kib, after.pss_kib),
            failures: Failures { cut: idle.dead(), ..Failures::default() },
            ..Sample::default()
        })
    }
}

/// The counters at an edge of the window.
struct Reading {
    proxy: CpuReading,
    proxy_core_us: f64,
    /// The endpoint and this process.
    load: CpuReading,
    load_cores_us: f64,
}

impl Reading {
    fn now(bench: &Bench, proxy: &[u32]) -> Self {
        let [core, load_cores @ ..] = bench.cores();
        let mut load_cores = load_cores.to_vec();
        load_cores.dedup();
        Self {
            proxy: CpuReading::of(proxy),
            proxy_core_us: usage::core_busy_us(core),
            load: CpuReading::of(&[bench.endpoint_pid(), std::process::id()]),
            load_cores_us: load_cores.into_iter().map(usage::core_busy_us).sum(),
        }
    }
}

/// What went by between two readings, and how much of it was somebody else's, in microseconds.
struct Used {
    proxy: CpuTime,
    others_us: f64,
    load_others_us: f64,
}

impl Used {
    fn between(before: &Reading, after: &Reading) -> Self {
        let proxy = after.proxy.since(before.proxy);
        let load = after.load.since(before.load);
        Self {
            proxy,
            others_us: (after.proxy_core_us - before.proxy_core_us - proxy.total_us()).max(0.0),
            load_others_us: (after.load_cores_us - before.load_cores_us - load.total_us()).max(0.0),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests of a window are far below 2^53")]
fn sample(outcome: &Outcome, used: &Used, memory: Memory) -> Sample {
    let requests = outcome.completed as f64;
    let window_us = (outcome.window.as_secs_f64() * 1e6).max(1.0);
    Sample {
        user_us: used.proxy.user_us / requests,
        system_us: used.proxy.system_us / requests,
        rate: outcome.rate(),
        p50_us: outcome.latency_us(0.5),
        p99_us: outcome.latency_us(0.99),
        typical_p99_us: outcome.typical_p99_us,
        p999_us: outcome.latency_us(0.999),
        memory,
        failures: outcome.failures,
        core_use: used.proxy.total_us() / window_us,
        disturbance: used.others_us / window_us,
        load_disturbance: used.load_others_us / window_us,
        ..Sample::default()
    }
}
