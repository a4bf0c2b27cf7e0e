//! The load: one thread, one epoll, the same generator for every proxy and every case.
//!
//! Three shapes. *Closed*: each connection sends its next request when the answer is complete. *One each*: a new
//! connection for every request, its latency counted from before the connect. *Paced*: requests are due at a fixed
//! rate whatever the answers do, and latency counts from when a request was due, not from when it could be sent
//! (a slow answer must not hide the wait of those behind it).
//!
//! Every answer is checked: status 2xx and the body length asked for; anything else is a failure, and counted from the
//! first connection on, warm-up included. Latencies are kept whole, not in buckets.
//!
//! Connections are in clear text or speak TLS (`wire`), and then a request of its own connection has its handshake in it.
//!
//! `poisson` is a load of its own: requests come at random times, as many as may be on the way at once. `idle` waits for one
//! answer after the other, also in HTTP/2; `h2load` is another program, for HTTP/2 under load.

pub(crate) mod connection;
pub(crate) mod wire;

pub(crate) mod http2;
pub mod idle;

pub mod h2load;
pub mod poisson;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use self::connection::{Connection, host, request};
use crate::compare::Spread;
use crate::poll::{Moved, Poller, Ready};
use crate::process::Interrupt;
use crate::tls::Tls;

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Closed,
    OneEach,
    /// Requests per second.
    Paced(f64),
}

/// What to send where.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: SocketAddrV4,
    /// How, unless in clear text.
    pub tls: Option<Tls>,
    pub path: String,
    /// Length of the right answer's body.
    pub body: u64,
    pub connections: usize,
    pub shape: Shape,
    /// Load before anything counts but failures.
    pub warm_up: Duration,
    pub window: Duration,
}

/// What went wrong, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// No connection.
    pub connect: u64,
    /// A connection ended before its answer was complete.
    pub cut: u64,
    /// A status that is not 2xx.
    pub status: u64,
    /// An answer of another length than the right one's.
    pub length: u64,
    /// No answer within `PATIENCE` when the window ended.
    pub late: u64,
}

impl Failures {
    #[must_use]
    pub fn total(self) -> u64 {
        self.connect + self.cut + self.status + self.length + self.late
    }

    /// Of two runs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            connect: self.connect + other.connect,
            cut: self.cut + other.cut,
            status: self.status + other.status,
            length: self.length + other.length,
            late: self.late + other.late,
        }
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers completed within the window.
    pub completed: u64,
    /// Of these, over connections whose handshake went on with an earlier session.
    pub resumed: u64,
    pub window: Duration,
    pub failures: Failures,
    /// Of the requests answered within the window, in microseconds, ascending.
    latencies_us: Vec<f32>,
    /// The median of the 99th percentiles of the window's quarter seconds, in microseconds: one stall of the machine
    /// (a virtual machine's core taken away for 30 ms) spoils a whole window's percentile, but only one of these.
    pub typical_p99_us: f64,
}

impl Outcome {
    /// What answers with these latencies, in the order in which they came, say of a window.
    fn of(mut latencies_us: Vec<f32>, window: Duration, failures: Failures) -> Self {
        let typical_p99_us = typical_p99_us(&latencies_us, window);
        latencies_us.sort_unstable_by(f32::total_cmp);
        Self { completed: latencies_us.len() as u64, resumed: 0, window, failures, latencies_us, typical_p99_us }
    }

    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "requests of a window are far below 2^53")]
    pub fn rate(&self) -> f64 {
        if self.window.is_zero() { 0.0 } else { self.completed as f64 / self.window.as_secs_f64() }
    }

    /// The latency that `share` of the requests did not exceed, in microseconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list in memory"
    )]
    pub fn latency_us(&self, share: f64) -> f64 {
        let rank = (self.latencies_us.len() as f64 * share).ceil() as usize;
        self.latencies_us.get(rank.saturating_sub(1)).copied().map_or(0.0, f64::from)
    }
}

/// An edge of the window in which things count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Start,
    /// For who is gone at the end, with all connections.
    Middle,
    End,
}

const PATIENCE: Duration = Duration::from_secs(2);

/// A proxy that fails this often will not get better; the run ends with what it has.
const HOPELESS: u64 = 20_000;

/// Runs `plan`; `at_edge` is called on this thread exactly when the window begins and ends, to read counters.
///
/// # Errors
/// When no socket can be made at all or on interruption. Failures of the proxy are not errors but part of the outcome.
pub fn run(plan: &Plan, interrupt: &Interrupt, mut at_edge: impl FnMut(Edge)) -> io::Result<Outcome> {
    let mut poller = Poller::new()?;
    let mut load = Load::new(plan);
    load.open_all(&poller)?;
    let start = Instant::now();
    load.pace_from = start;
    let (opens, closes) = (start + plan.warm_up, start + plan.warm_up + plan.window);
    loop {
        let now = Instant::now();
        if load.window_start.is_none() && now >= opens {
            at_edge(Edge::Start);
            load.window_start = Some(Instant::now());
        }
        if now >= closes || load.outcome.failures.total() > HOPELESS {
            load.outcome.window = load.window_start.map_or(Duration::ZERO, |start| start.elapsed());
            at_edge(Edge::End);
            break;
        }
        interrupt.check()?;
        load.send_due(now);
        let boundary = if load.window_start.is_none() { opens } else { closes };
        let wake = load.next_due().map_or(boundary, |due| due.min(boundary));
        poller
            .wait(Some(wake.saturating_duration_since(Instant::now())), |poller, ready| load.proceed(poller, ready))?;
    }
    Ok(load.finish())
}

struct Load<'p> {
    plan: &'p Plan,
    request: Vec<u8>,
    connections: Vec<Option<Connection>>,
    scratch: Vec<u8>,
    outcome: Outcome,
    window_start: Option<Instant>,
    /// Paced: the start of the schedule, how many requests of it were due, those due and unsent, the free connections.
    pace_from: Instant,
    due: u64,
    waiting: VecDeque<Instant>,
    free: Vec<usize>,
}

impl<'p> Load<'p> {
    fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            request: request(&plan.path, &host(plan.target, plan.tls.as_ref()), plan.shape == Shape::OneEach),
            connections: Vec::with_capacity(plan.connections),
            scratch: vec![0; 256 << 10],
            outcome: Outcome::default(),
            window_start: None,
            pace_from: Instant::now(),
            due: 0,
            waiting: VecDeque::new(),
            free: Vec::new(),
        }
    }

    fn open_all(&mut self, poller: &Poller) -> io::Result<()> {
        for place in 0..self.plan.connections {
            self.connections.push(None);
            self.open(poller, place)?;
        }
        Ok(())
    }

    fn open(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        let asked = Instant::now();
        let mut connection = Connection::open(self.plan.target, self.plan.tls.as_ref())?;
        poller.add(&connection.wire, place as u64)?;
        let paced = matches!(self.plan.shape, Shape::Paced(_));
        connection.asked = (!paced).then_some(asked);
        self.connections[place] = Some(connection);
        if paced {
            self.free.push(place);
        }
        Ok(())
    }

    fn proceed(&mut self, poller: &Poller, ready: Ready) -> io::Result<()> {
        let Ok(place) = usize::try_from(ready.token) else {
            return Ok(());
        };
        let Some(connection) = self.connections.get_mut(place).and_then(Option::as_mut) else {
            return Ok(());
        };
        if ready.writable && connection.asked.is_some() && !connection.sent && !connection.send(&self.request) {
            self.outcome.failures.connect += 1;
            return self.open_again(poller, place);
        }
        if ready.readable { self.receive(poller, place) } else { Ok(()) }
    }

    fn receive(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        loop {
            let Some(connection) = self.connections[place].as_mut() else {
                return Ok(());
            };
            match Moved::from(connection.wire.read(&mut self.scratch)) {
                Moved::Bytes(bytes) => {
                    let answered = connection.take(&self.scratch[..bytes], self.plan.body, &mut self.outcome.failures);
                    if answered {
                        return self.answered(poller, place);
                    }
                    if connection.wire.is_empty_after(bytes, self.scratch.len()) {
                        return Ok(());
                    }
                }
                Moved::Later => return Ok(()),
                Moved::Gone => {
                    self.outcome.failures.cut += u64::from(connection.asked.is_some());
                    return self.open_again(poller, place);
                }
            }
        }
    }

    fn answered(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        let Some(connection) = self.connections[place].as_mut() else {
            return Ok(());
        };
        let asked = connection.asked.take();
        let close = connection.close || self.plan.shape == Shape::OneEach;
        if let (Some(asked), true) = (asked, self.window_start.is_some()) {
            self.outcome.completed += 1;
            self.outcome.resumed += u64::from(connection.wire.is_resumed());
            #[expect(clippy::cast_possible_truncation, reason = "microseconds with 24 bits of precision")]
            self.outcome.latencies_us.push(asked.elapsed().as_secs_f64() as f32 * 1e6);
        }
        if close {
            return self.open_again(poller, place);
        }
        match self.plan.shape {
            Shape::Paced(_) => match self.waiting.pop_front() {
                Some(due) => self.ask(place, due),
                None => self.free.push(place),
            },
            _ => self.ask(place, Instant::now()),
        }
        Ok(())
    }

    /// Closes the connection of `place` and opens another there; a paced request that was on it is lost, and counted.
    fn open_again(&mut self, poller: &Poller, place: usize) -> io::Result<()> {
        self.connections[place] = None;
        self.free.retain(|&free| free != place);
        self.open(poller, place)
    }

    fn ask(&mut self, place: usize, at: Instant) {
        let Some(connection) = self.connections[place].as_mut() else {
            return;
        };
        connection.asked = Some(at);
        connection.sent = false;
        // A broken connection shows as readable, and is counted there.
        connection.send(&self.request);
    }

    fn send_due(&mut self, now: Instant) {
        while let Some(due) = self.next_due().filter(|&due| due <= now) {
            self.due += 1;
            match self.free.pop() {
                Some(place) => self.ask(place, due),
                None => self.waiting.push_back(due),
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
    fn next_due(&self) -> Option<Instant> {
        match self.plan.shape {
            Shape::Paced(rate) => Some(self.pace_from + Duration::from_secs_f64(self.due as f64 / rate)),
            _ => None,
        }
    }

    fn finish(mut self) -> Outcome {
        let asked = self.connections.iter().flatten().filter_map(|connection| connection.asked);
        let late = asked.chain(self.waiting.iter().copied()).filter(|asked| asked.elapsed() > PATIENCE).count();
        self.outcome.failures.late += late as u64;
        let Outcome { latencies_us, window, failures, resumed, .. } = self.outcome;
        Outcome { resumed, ..Outcome::of(latencies_us, window, failures) }
    }
}

/// `latencies` in the order of their answers.
fn typical_p99_us(latencies: &[f32], window: Duration) -> f64 {
    let quarters = usize::try_from(window.as_millis() / 250).unwrap_or(1).max(1);
    let each = latencies.len().div_ceil(quarters).max(1);
    let p99s = latencies.chunks(each).map(|quarter| {
        let mut quarter = quarter.to_vec();
        quarter.sort_unstable_by(f32::total_cmp);
        f64::from(quarter[(quarter.len() * 99).div_ceil(100) - 1])
    });
    Spread::of(p99s.collect()).map_or(0.0, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stall_does_not_make_the_typical_p99() {
        let mut latencies = vec![100.0; 1_000];
        latencies[500..550].fill(30_000.0);
        let outcome = Outcome::of(latencies, Duration::from_secs(1), Failures::default());
        assert_eq!(outcome.completed, 1_000);
        assert_eq!(outcome.latency_us(0.99), 30_000.0);
        assert_eq!(outcome.typical_p99_us, 100.0);
        assert_eq!(typical_p99_us(&[], Duration::from_secs(1)), 0.0);
    }
}
