//! An open load: requests are due at random times, independent of each other and of the answers.
//!
//! A request that finds no free connection gets a new one: users who wait do not keep others from coming. Latency counts
//! from when a request was due. Every request has a fate: a right answer, a wrong one, none, or none before the
//! deadline; after the last one was sent, the load waits for those on the way.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::Failures;
use super::connection::{Connection, host, request};
use crate::poll::{Moved, Poller, Ready};
use crate::process::Interrupt;
use crate::random::Random;
use crate::tls::Tls;

/// What to send where.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: SocketAddrV4,
    /// How, unless in clear text.
    pub tls: Option<Tls>,
    /// Each request asks for the end of its connection.
    pub one_each: bool,
    pub path: String,
    /// Length of the right answer's body.
    pub body: u64,
    /// How much, one after the other.
    pub stretches: Vec<Stretch>,
    pub seed: u64,
    /// The schedule's begin: it may be in the future.
    pub start: Instant,
    /// A request without an answer for so long is given up.
    pub deadline: Duration,
    /// So many connections at once; further requests wait for one.
    pub connections: usize,
}

/// A time of the same load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Requests per second, on average.
    pub rate: f64,
    pub seconds: f64,
}

/// One request and what became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// Since the schedule's begin, in seconds.
    pub due_s: f64,
    /// From when it was due until its end, in milliseconds.
    pub took_ms: f64,
    pub is_good: bool,
    /// Of the answer; 0 without one.
    pub status: u16,
    /// The answer said when to come again.
    pub has_retry_after: bool,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In the order of their ends.
    pub fates: Vec<Fate>,
    pub failures: Failures,
    /// How much later than due each request was sent because this load was late itself, in milliseconds, ascending.
    pub lag_ms: Vec<f64>,
}

/// Sends what `plan` says.
///
/// # Errors
/// When no socket can be made at all, or on interruption. Failures of the proxy are part of the outcome.
pub fn run(plan: &Plan, interrupt: &Interrupt) -> io::Result<Outcome> {
    let mut poller = Poller::new()?;
    let mut load = Load::new(plan);
    loop {
        interrupt.check()?;
        let now = Instant::now();
        load.give_up(now, &poller)?;
        load.send_due(now, &poller)?;
        let Some(wake) = load.wake() else { break };
        // A signal is noticed within a fraction of a second, however little happens.
        let patience = wake.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
        poller.wait(Some(patience), |poller, ready| load.proceed(poller, ready))?;
    }
    load.outcome.lag_ms.sort_unstable_by(f64::total_cmp);
    Ok(load.outcome)
}

/// A connection and the request on it, which `Connection::asked` knows by when it was due.
struct Client {
    connection: Connection,
    /// A part of the answer was wrong.
    wrong: bool,
}

struct Load<'p> {
    plan: &'p Plan,
    request: Vec<u8>,
    random: Random,
    clients: Vec<Option<Client>>,
    /// Places with an idle connection, and places without one.
    free: Vec<usize>,
    empty: Vec<usize>,
    /// Due and unsent, because all connections are taken.
    waiting: VecDeque<Instant>,
    /// On the way, in the order of when they were sent; some of them have ended.
    on_the_way: VecDeque<(Instant, usize)>,
    next_due: Option<Instant>,
    scratch: Vec<u8>,
    outcome: Outcome,
}

impl<'p> Load<'p> {
    fn new(plan: &'p Plan) -> Self {
        let mut load = Self {
            plan,
            request: request(&plan.path, &host(plan.target, plan.tls.as_ref()), plan.one_each),
            random: Random(plan.seed),
            clients: Vec::new(),
            free: Vec::new(),
            empty: Vec::new(),
            waiting: VecDeque::new(),
            on_the_way: VecDeque::new(),
            next_due: None,
            scratch: vec![0; 64 << 10],
            outcome: Outcome::default(),
        };
        load.schedule_after(plan.start);
        load
    }

    /// A pause that goes beyond the end of its stretch begins anew there: random arrivals have no memory.
    fn schedule_after(&mut self, last: Instant) {
        let mut from = last;
        let mut end = self.plan.start;
        for stretch in &self.plan.stretches {
            end += Duration::from_secs_f64(stretch.seconds);
            if from >= end {
                continue;
            }
            let due = from + Duration::from_secs_f64(self.random.exponential(1.0 / stretch.rate));
            if due < end {
                self.next_due = Some(due);
                return;
            }
            from = end;
        }
        self.next_due = None;
    }

    /// When there is something to do without an event; none when all is done.
    fn wake(&self) -> Option<Instant> {
        let oldest = self.on_the_way.front().map(|(due, _)| *due);
        let deadline =
            oldest.into_iter().chain(self.waiting.front().copied()).min().map(|due| due + self.plan.deadline);
        self.next_due.into_iter().chain(deadline).min()
    }

    fn send_due(&mut self, now: Instant, poller: &Poller) -> io::Result<()> {
        while let Some(due) = self.next_due.filter(|due| *due <= now) {
            self.schedule_after(due);
            self.outcome.lag_ms.push(milliseconds(due.elapsed()));
            self.waiting.push_back(due);
            self.send_waiting(poller)?;
        }
        Ok(())
    }

    /// Sends as many of those that wait as there are connections for.
    fn send_waiting(&mut self, poller: &Poller) -> io::Result<()> {
        while !self.waiting.is_empty()
            && let Some(place) = self.place(poller)?
            && let Some(due) = self.waiting.pop_front()
        {
            self.ask(place, due);
        }
        Ok(())
    }

    /// A connection nobody uses, a new one if need be.
    fn place(&mut self, poller: &Poller) -> io::Result<Option<usize>> {
        if let Some(place) = self.free.pop() {
            return Ok(Some(place));
        }
        let place = match self.empty.pop() {
            Some(place) => place,
            None if self.clients.len() < self.plan.connections => {
                self.clients.push(None);
                self.clients.len() - 1
            }
            None => return Ok(None),
        };
        let connection = Connection::open(self.plan.target, self.plan.tls.as_ref())?;
        poller.add(&connection.wire, place as u64)?;
        self.clients[place] = Some(Client { connection, wrong: false });
        Ok(Some(place))
    }

    fn ask(&mut self, place: usize, due: Instant) {
        let Some(client) = self.clients[place].as_mut() else { return };
        client.connection.asked = Some(due);
        client.connection.sent = false;
        // A broken connection shows as readable, and is counted there.
        client.connection.send(&self.request);
        self.on_the_way.push_back((due, place));
    }

    fn proceed(&mut self, poller: &Poller, ready: Ready) -> io::Result<()> {
        let Ok(place) = usize::try_from(ready.token) else { return Ok(()) };
        let Some(client) = self.clients.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        let unsent = client.connection.asked.is_some() && !client.connection.sent;
        if ready.writable && unsent && !client.connection.send(&self.request) {
            self.outcome.failures.connect += 1;
            return self.close(place, poller);
        }
        if ready.readable { self.receive(place, poller) } else { Ok(()) }
    }

    fn receive(&mut self, place: usize, poller: &Poller) -> io::Result<()> {
        while let Some(client) = self.clients[place].as_mut() {
            match Moved::from(client.connection.wire.read(&mut self.scratch)) {
                Moved::Bytes(bytes) => {
                    let before = self.outcome.failures.total();
                    let taken = &self.scratch[..bytes];
                    let complete = client.connection.take(taken, self.plan.body, &mut self.outcome.failures);
                    client.wrong |= self.outcome.failures.total() > before;
                    if complete {
                        return self.answered(place, poller);
                    }
                }
                Moved::Later => return Ok(()),
                Moved::Gone => {
                    self.outcome.failures.cut += u64::from(client.connection.asked.is_some());
                    return self.close(place, poller);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, place: usize, poller: &Poller) -> io::Result<()> {
        let Some(client) = self.clients[place].as_mut() else { return Ok(()) };
        let is_good = !std::mem::take(&mut client.wrong);
        let (status, has_retry_after) = (client.connection.status, client.connection.has_retry_after);
        if let Some(due) = client.connection.asked.take() {
            let fate = Fate { is_good, status, has_retry_after, ..self.fate(due) };
            self.outcome.fates.push(fate);
        }
        if self.clients[place].as_ref().is_some_and(|client| client.connection.close) {
            return self.close(place, poller);
        }
        self.free.push(place);
        self.send_waiting(poller)
    }

    /// Ends the connection at `place`; a request that was on it has no answer.
    fn close(&mut self, place: usize, poller: &Poller) -> io::Result<()> {
        let Some(client) = self.clients[place].take() else { return Ok(()) };
        if let Some(due) = client.connection.asked {
            self.record_none(due);
        }
        self.free.retain(|free| *free != place);
        self.empty.push(place);
        self.send_waiting(poller)
    }

    /// Ends what has been on the way for too long.
    fn give_up(&mut self, now: Instant, poller: &Poller) -> io::Result<()> {
        while let Some(&(due, place)) = self.on_the_way.front() {
            // The same place may have another request by now.
            let is_there = self.clients[place].as_ref().is_some_and(|client| client.connection.asked == Some(due));
            if is_there && now < due + self.plan.deadline {
                break;
            }
            self.on_the_way.pop_front();
            if is_there {
                self.outcome.failures.late += 1;
                self.close(place, poller)?;
            }
        }
        while self.waiting.front().is_some_and(|due| now >= *due + self.plan.deadline)
            && let Some(due) = self.waiting.pop_front()
        {
            self.outcome.failures.late += 1;
            self.record_none(due);
        }
        Ok(())
    }

    fn record_none(&mut self, due: Instant) {
        let fate = self.fate(due);
        self.outcome.fates.push(fate);
    }

    /// Of a request that ends now, without an answer.
    fn fate(&self, due: Instant) -> Fate {
        let due_s = due.saturating_duration_since(self.plan.start).as_secs_f64();
        Fate { due_s, took_ms: milliseconds(due.elapsed()), is_good: false, status: 0, has_retry_after: false }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
