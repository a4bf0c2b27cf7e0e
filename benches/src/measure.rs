//! One measurement: a proxy in a case.
//!
//! Every measurement starts its proxy anew and ends it after: nothing learned, cached or fragmented is carried from one
//! case into another, and no other proxy is there to disturb. The endpoint runs through.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::cases::{Case, Lengths, Quiet, Sample};
use crate::load::idle::{Idle, Wanted};
use crate::load::{self, Edge, Failures, Outcome, Plan, Shape, h2load};
use crate::peers::{Bench, Installed, Started};
use crate::process::Interrupt;
use crate::reload::Reloads;
use crate::tls::{Tickets, Tls};
use crate::usage::{self, CpuReading, CpuTime, Memory};

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
    let started = bench.start(proxy, case.setup(), interrupt)?;
    let pids = usage::tree(started.running.pid());
    let measurement = Measurement { bench, pids: &pids, started: &started, case, lengths, interrupt };
    match case {
        Case::Small | Case::Medium | Case::Large => measurement.loaded(Shape::Closed, 64, None),
        Case::Many | Case::ManyMedium | Case::ManyLarge => measurement.loaded(Shape::Closed, 1_000, None),
        Case::OneEach => measurement.loaded(Shape::OneEach, 64, None),
        Case::Paced => measurement.paced(),
        Case::Reload => measurement.reloading(),
        Case::TlsSmall | Case::TlsMedium => {
            measurement.loaded(Shape::Closed, 64, Some(bench.tls(HTTP1, Tickets::Forgotten)?))
        }
        Case::TlsFull => measurement.loaded(Shape::OneEach, 64, Some(bench.tls(HTTP1, Tickets::Forgotten)?)),
        Case::TlsResumed => measurement.loaded(Shape::OneEach, 64, Some(bench.tls(HTTP1, Tickets::Shown)?)),
        Case::Http2 => measurement.multiplexed(started.target, true),
        Case::Http2Clear => measurement.multiplexed(started.clear, false),
        Case::Idle => measurement.idle(None),
        Case::TlsIdle => measurement.idle(Some(HTTP1)),
        Case::Http2Idle => measurement.idle(Some(HTTP2)),
    }
}

/// What clients offer in the handshake.
const HTTP1: &str = "http/1.1";
const HTTP2: &str = "h2";

struct Measurement<'m> {
    bench: &'m Bench,
    pids: &'m [u32],
    started: &'m Started,
    case: Case,
    lengths: Lengths,
    interrupt: &'m Interrupt,
}

impl Measurement<'_> {
    fn loaded(&self, shape: Shape, connections: usize, tls: Option<Tls>) -> io::Result<Sample> {
        let (path, body) = self.case.path();
        let plan = Plan {
            target: self.started.target,
            tls,
            path: path.to_owned(),
            body,
            connections,
            shape,
            warm_up: self.lengths.warm_up,
            window: self.lengths.window,
        };
        self.window(Edge::End, |at_edge| load::run(&plan, self.interrupt, at_edge))
    }

    /// HTTP/2, in which a connection has many requests under way.
    fn multiplexed(&self, target: SocketAddrV4, is_tls: bool) -> io::Result<Sample> {
        let (path, body) = self.case.path();
        let plan = h2load::Plan {
            target,
            is_tls,
            path,
            body,
            connections: 16,
            streams: 32,
            warm_up: self.lengths.warm_up,
            window: self.lengths.window,
            folder: &self.started.folder,
            core: self.bench.cores()[2],
        };
        self.window(Edge::Middle, |at_edge| h2load::run(&plan, self.interrupt, at_edge))
    }

    /// A sample of what `load` does between the edges it tells of; memory is read at one of them.
    fn window(
        &self,
        memory_at: Edge,
        load: impl FnOnce(&mut dyn FnMut(Edge)) -> io::Result<Outcome>,
    ) -> io::Result<Sample> {
        let mut edges = Vec::with_capacity(2);
        let mut memory = Memory::default();
        let outcome = load(&mut |edge| {
            if edge != Edge::Middle {
                edges.push(Reading::now(self.bench, self.pids));
            }
            if edge == memory_at {
                memory = Memory::of(self.pids);
            }
        })?;
        let [before, after] = edges.as_slice() else {
            return Err(io::Error::other(format!("failed before anything could be measured: {:?}", outcome.failures)));
        };
        if outcome.completed == 0 {
            return Err(io::Error::other(format!("no request was answered: {:?}", outcome.failures)));
        }
        self.check_handshakes(&outcome)?;
        Ok(sample(&outcome, &Used::between(before, after), memory))
    }

    /// With a connection for every answer, the handshakes must be of the kind that the case is about.
    fn check_handshakes(&self, outcome: &Outcome) -> io::Result<()> {
        let is_right = match self.case {
            Case::TlsFull => outcome.resumed == 0,
            // Tickets that came too late for the next connection are no reason to throw the rest away.
            Case::TlsResumed => outcome.resumed * 100 >= outcome.completed * 99,
            _ => true,
        };
        let Outcome { resumed, completed, .. } = outcome;
        if is_right {
            Ok(())
        } else {
            Err(io::Error::other(format!("{resumed} of {completed} handshakes went on with an earlier session")))
        }
    }

    /// Latency at 70 % of what this proxy carries, found out just before: minutes later the machine may be another.
    fn paced(&self) -> io::Result<Sample> {
        let offered = self.saturation()? * 0.7;
        Ok(Sample { offered, ..self.loaded(Shape::Paced(offered), 64, None)? })
    }

    fn saturation(&self) -> io::Result<f64> {
        let short = Lengths { window: self.lengths.window / 2, ..self.lengths };
        let saturated = Measurement { case: Case::Small, lengths: short, ..*self };
        Ok(saturated.loaded(Shape::Closed, 64, None)?.rate)
    }

    /// The same load twice on one proxy, first without reloads.
    fn reloading(&self) -> io::Result<Sample> {
        let offered = self.saturation()? * 0.7;
        let paced = || self.loaded(Shape::Paced(offered), 64, None);
        let before = paced()?;
        let reloads = Reloads::start(self.started)?;
        let sample = paced()?;
        let reloads_per_s = reloads.end()?;
        let quiet = Quiet { cpu_us: before.cpu_us(), typical_p99_us: before.typical_p99_us };
        Ok(Sample { offered, quiet, reloads_per_s, failures: before.failures.and(sample.failures), ..sample })
    }

    /// In clear text, or over TLS with this protocol.
    fn idle(&self, protocol: Option<&str>) -> io::Result<Sample> {
        let count = self.lengths.idle_connections;
        let (path, body) = self.case.path();
        let tls = protocol.map(|protocol| self.bench.tls(protocol, Tickets::Forgotten)).transpose()?;
        let wanted = Wanted { target: self.started.target, tls, is_http2: protocol == Some(HTTP2), path, body };
        // Code and tables that the first requests touch are not the connections' memory.
        for _ in 0..200 {
            drop(Idle::open(&wanted, 1, self.interrupt)?);
        }
        self.interrupt.sleep(Duration::from_secs(1))?;
        let before = Memory::of(self.pids);
        let mut idle = Idle::open(&wanted, count, self.interrupt)?;
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
