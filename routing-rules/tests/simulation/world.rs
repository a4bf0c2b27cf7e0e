//! The world of a scenario: clients, processes and endpoints under one clock.
//!
//! Requests come at random times, wait at their endpoint and are answered, or are cut off by the deadline or by their
//! client. A request that is cut off while it waits is gone; one that is being served is served to the end, for
//! nothing: most servers do not look whether somebody is still there.

use routing_rules::balance::{Learning, TICK_US};
use routing_rules::breaker;

use crate::breakers::Admitted;
use crate::endpoint::Endpoint;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{Change, MEAN_S, SECOND, Scenario};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// The endpoint may have done its work.
    Worked(usize, u64),
    Answer(usize, u64),
    Cut(usize, u64),
    Tick(usize),
    BreakerTick(usize),
    Change(usize),
}

/// A request on its way. Places are used again; the number tells whether an event still means the same request.
#[derive(Clone, Copy)]
struct Request {
    number: u64,
    process: usize,
    worker: usize,
    endpoint: usize,
    admitted: Admitted,
    start_us: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Until the endpoint's clock shows this.
    Served(u64),
    /// The same, but nobody waits for it any more.
    Abandoned(u64),
    /// The answer is on its way.
    Answered,
    Gone,
}

struct World<'s> {
    scenario: &'s Scenario,
    random: Random,
    endpoints: Vec<Endpoint>,
    processes: Vec<Process>,
    requests: Vec<Request>,
    free: Vec<usize>,
    queue: Queue<Event>,
    outcome: Outcome,
    number: u64,
}

impl Scenario {
    /// What happens with this seed.
    pub(crate) fn run(&self, seed: u64) -> Outcome {
        let mut world = World::new(self, seed);
        while let Some((now_us, event)) = world.queue.next() {
            if now_us >= self.end_s * SECOND {
                break;
            }
            world.happen(now_us, event);
        }
        world.outcome
    }
}

impl<'s> World<'s> {
    fn new(scenario: &'s Scenario, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let process = |_| Process::new(scenario, &mut random);
        let processes: Vec<Process> = (0..scenario.processes).map(process).collect();
        let mut queue = Queue::new();
        for process in 0..scenario.processes {
            let phase_us = random.next() % TICK_US;
            queue.plan(phase_us % BREAKER_TICK_US, Event::BreakerTick(process));
            queue.plan(phase_us, Event::Tick(process));
        }
        for (index, (at_us, _)) in scenario.script.iter().enumerate() {
            queue.plan(*at_us, Event::Change(index));
        }
        queue.plan(0, Event::Arrival);
        Self {
            scenario,
            random,
            endpoints: scenario.slots.iter().map(|slots| Endpoint::new(*slots)).collect(),
            processes,
            requests: Vec::new(),
            free: Vec::new(),
            queue,
            outcome: Outcome::new(scenario),
            number: 0,
        }
    }

    fn happen(&mut self, now_us: u64, event: Event) {
        match event {
            Event::Arrival => self.arrive(now_us),
            Event::Worked(place, number) if self.is(place, number) => self.worked(now_us, place),
            Event::Answer(place, number) if self.is(place, number) => self.answer(now_us, place),
            Event::Cut(place, number) if self.is(place, number) => self.cut(now_us, place),
            Event::Worked(..) | Event::Answer(..) | Event::Cut(..) => {}
            Event::Tick(process) => self.tick(now_us, process),
            Event::BreakerTick(process) => self.breaker_tick(now_us, process),
            Event::Change(index) => self.change(now_us, self.scenario.script[index].1),
        }
    }

    fn is(&self, place: usize, number: u64) -> bool {
        self.requests[place].number == number && self.requests[place].state != State::Gone
    }

    fn arrive(&mut self, now_us: u64) {
        let wait_us = self.random.exponential(1e6 / self.scenario.per_second).round() as u64;
        self.queue.plan(now_us + wait_us, Event::Arrival);
        let process = self.random.below(self.scenario.processes);
        let worker = self.random.below(self.scenario.workers);
        let Some((endpoint, admitted)) = self.processes[process].pick(worker, now_us) else {
            return self.outcome.refused();
        };
        self.outcome.picked(now_us, endpoint);
        self.number += 1;
        let number = self.number;
        let request = Request { number, process, worker, endpoint, admitted, start_us: now_us, state: State::Waiting };
        let place = self.free.pop().unwrap_or(self.requests.len());
        match place == self.requests.len() {
            true => self.requests.push(request),
            false => self.requests[place] = request,
        }
        let patience_us = self.scenario.patience_us.unwrap_or(u64::MAX);
        self.queue.plan(now_us + self.scenario.deadline_us.min(patience_us), Event::Cut(place, number));
        if self.endpoints[endpoint].broken.is_some() {
            self.requests[place].state = State::Answered;
            self.queue.plan(now_us + REFUSAL_US, Event::Answer(place, number));
        } else if self.endpoints[endpoint].enter(place, number) {
            self.serve(now_us, place);
        }
    }

    fn serve(&mut self, now_us: u64, place: usize) {
        let is_long = self.scenario.long > 0.0 && self.random.unit() <= self.scenario.long;
        let service_s = if is_long { 5.0 } else { lognormal(&mut self.random, MEAN_S, 0.8) };
        let endpoint = &self.endpoints[self.requests[place].endpoint];
        let work_us = ((service_s * endpoint.slowdown * 1e6) as u64).max(1);
        let done_us = endpoint.clock_us(now_us) + work_us;
        self.requests[place].state = State::Served(done_us);
        let at_us = endpoint.until(now_us, done_us).expect("there is work to do");
        self.queue.plan(at_us, Event::Worked(place, self.requests[place].number));
    }

    fn worked(&mut self, now_us: u64, place: usize) {
        let Request { endpoint, number, state, .. } = self.requests[place];
        let (State::Served(done_us) | State::Abandoned(done_us)) = state else { return };
        // It stood still meanwhile.
        if let Some(at_us) = self.endpoints[endpoint].until(now_us, done_us) {
            return self.queue.plan(at_us, Event::Worked(place, number));
        }
        self.free_slot(now_us, endpoint);
        if let State::Abandoned(_) = state {
            return self.forget(place);
        }
        self.requests[place].state = State::Answered;
        match self.endpoints[endpoint].distance_us {
            0 => self.answer(now_us, place),
            distance_us => self.queue.plan(now_us + distance_us, Event::Answer(place, number)),
        }
    }

    fn free_slot(&mut self, now_us: u64, endpoint: usize) {
        let requests = &self.requests;
        let is_there = |place: usize, number| {
            let request: &Request = &requests[place];
            request.number == number && request.state == State::Waiting
        };
        if let Some(next) = self.endpoints[endpoint].leave(is_there) {
            self.serve(now_us, next);
        }
    }

    fn answer(&mut self, now_us: u64, place: usize) {
        let Endpoint { error_rate, broken, .. } = self.endpoints[self.requests[place].endpoint];
        let fails = error_rate > 0.0 && self.random.unit() <= error_rate;
        let usual = breaker::Outcome::Answer(if fails { 500 } else { 200 });
        self.end(now_us, place, Some(broken.unwrap_or(usual)));
        self.forget(place);
    }

    /// The deadline, which is an error of the endpoint, or the end of the client's patience, which is not.
    fn cut(&mut self, now_us: u64, place: usize) {
        let is_client = self.scenario.patience_us.is_some();
        self.end(now_us, place, (!is_client).then_some(breaker::Outcome::Timeout));
        match self.requests[place].state {
            State::Served(done_us) => self.requests[place].state = State::Abandoned(done_us),
            _ => self.forget(place),
        }
    }

    fn end(&mut self, now_us: u64, place: usize, outcome: Option<breaker::Outcome>) {
        let Request { process, worker, endpoint, admitted, start_us, .. } = self.requests[place];
        self.processes[process].end((worker, endpoint), admitted, outcome, [start_us, now_us]);
        self.outcome.ended(start_us, now_us, outcome.is_some_and(|outcome| !outcome.is_failure()));
    }

    fn forget(&mut self, place: usize) {
        self.requests[place].state = State::Gone;
        self.free.push(place);
    }

    fn tick(&mut self, now_us: u64, process: usize) {
        self.processes[process].tick(&Learning::default(), now_us);
        self.outcome.learned(now_us, process, &self.processes[process].learned);
        self.queue.plan(now_us + TICK_US, Event::Tick(process));
    }

    fn breaker_tick(&mut self, now_us: u64, process: usize) {
        let ticked = self.processes[process].tick_breakers(now_us);
        self.outcome.broke(now_us, &ticked);
        self.queue.plan(now_us + BREAKER_TICK_US, Event::BreakerTick(process));
    }

    fn change(&mut self, now_us: u64, change: Change) {
        match change {
            Change::Slow(endpoint, factor) => self.endpoints[endpoint].slowdown = factor,
            Change::Stall(endpoint, length_us) => self.endpoints[endpoint].stall(now_us, length_us),
            Change::Fail(endpoint, rate) => self.endpoints[endpoint].error_rate = rate,
            Change::Break(endpoint, outcome) => self.endpoints[endpoint].broken = Some(outcome),
            Change::Mend(endpoint) => self.endpoints[endpoint].broken = None,
            Change::Down(endpoint) => self.checked(now_us, endpoint, false),
            Change::Up(endpoint) => self.checked(now_us, endpoint, true),
            Change::Away(endpoint, distance_us) => self.endpoints[endpoint].distance_us = distance_us,
            Change::Join(slots, slowdown) => {
                let mut newcomer = Endpoint::new(slots);
                newcomer.slowdown = slowdown;
                self.endpoints.push(newcomer);
                self.processes.iter_mut().for_each(|process| process.join(1.0, now_us));
            }
        }
    }

    fn checked(&mut self, now_us: u64, endpoint: usize, is_up: bool) {
        self.processes.iter_mut().for_each(|process| process.checked(endpoint, is_up, now_us));
    }
}

const BREAKER_TICK_US: u64 = SECOND / 10;
/// How long it takes to say no.
const REFUSAL_US: u64 = 500;

/// The exponential of a normal distribution.
fn lognormal(random: &mut Random, mean: f64, sigma: f64) -> f64 {
    mean * (sigma * random.normal() - sigma * sigma / 2.0).exp()
}
