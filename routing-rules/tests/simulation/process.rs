//! A proxy process: its workers with their own counters, what they learn together, and how they pick.
//!
//! All that is decided is decided by the types that serve real requests, in the order in which the proxy asks them.

use std::cell::Cell;

use routing_rules::balance::{
    Counts, Learned, Learning, Schedule, Share, Turns, View, Weights, newcomers_ramp, recompute,
};
use routing_rules::breaker::{Outcome, Transition};

use crate::breakers::{Admitted, Breakers, Ticked};
use crate::random::Random;
use crate::scenario::Scenario;

/// How requests are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Dwrr,
    RoundRobin,
    LeastRequest,
}

/// One process.
pub(crate) struct Process {
    policy: Policy,
    view_us: u64,
    configured: Vec<f64>,
    /// What health checks say.
    is_up: Vec<bool>,
    pub(crate) learned: Vec<Learned>,
    breakers: Breakers,
    random: Random,
    schedule: Schedule,
    workers: Vec<Worker>,
}

struct Worker {
    counts: Vec<Counts>,
    turns: Turns,
    random: Random,
    /// What the other workers had in flight at each endpoint when this one last looked there.
    others: Vec<Look>,
    others_total: Look,
}

/// A number that is read anew when it is older than it may be.
#[derive(Clone, Default)]
struct Look(Cell<Option<(u64, u32)>>);

impl Look {
    fn get(&self, [now_us, view_us]: [u64; 2], read: impl FnOnce() -> u32) -> u32 {
        match self.0.get() {
            Some((looked_us, number)) if now_us - looked_us < view_us => number,
            _ => {
                let number = read();
                self.0.set(Some((now_us, number)));
                number
            }
        }
    }
}

impl Process {
    pub(crate) fn new(scenario: &Scenario, random: &mut Random) -> Self {
        let len = scenario.configured.len();
        let worker = |_| Worker {
            counts: vec![Counts::default(); len],
            turns: Turns::new(len, || random.next()),
            random: Random(random.next()),
            others: vec![Look::default(); len],
            others_total: Look::default(),
        };
        Self {
            policy: scenario.policy,
            view_us: scenario.view_us,
            configured: scenario.configured.clone(),
            is_up: vec![true; len],
            learned: vec![Learned::new(Counts::default()); len],
            breakers: Breakers::new(scenario.breaking, len),
            schedule: Schedule::new(&scenario.configured),
            workers: (0..scenario.workers).map(worker).collect(),
            // Of its own: with breakers or without, the same seed is the same traffic.
            random: Random(!random.0),
        }
    }

    /// An endpoint more. Nobody else's weight changes.
    pub(crate) fn join(&mut self, configured: f64, now_us: u64) {
        let mut learned = Learned::new(Counts::default());
        if newcomers_ramp(self.learned.len() + 1, 1) {
            learned.start_ramp(now_us);
        }
        self.configured.push(configured);
        self.learned.push(learned);
        self.is_up.push(true);
        self.breakers.join(now_us);
        for worker in &mut self.workers {
            worker.counts.push(Counts::default());
            worker.others.push(Look::default());
            worker.turns = Turns::new(self.configured.len(), || worker.random.next());
        }
        self.publish(now_us);
    }

    /// Health checks say something else of an endpoint than before.
    pub(crate) fn checked(&mut self, endpoint: usize, is_up: bool, now_us: u64) {
        self.is_up[endpoint] = is_up;
        if is_up {
            self.learned[endpoint].start_ramp(now_us);
        }
        self.publish(now_us);
    }

    /// The endpoint of a worker's next request, whose clock starts. `None` if none takes it.
    pub(crate) fn pick(&mut self, worker: usize, now_us: u64) -> Option<(usize, Admitted)> {
        let Self { policy, view_us, schedule, workers, breakers, .. } = self;
        let (before, rest) = workers.split_at_mut(worker);
        let (own, behind) = rest.split_first_mut()?;
        let Worker { counts, turns, random, others, others_total } = own;
        let (now, in_flight) = ([now_us, *view_us], |counts: &Counts| counts.in_flight.count as u32);
        let others_at =
            |endpoint: usize| before.iter().chain(behind.iter()).map(|other| in_flight(&other.counts[endpoint])).sum();
        let of_others = || before.iter().chain(behind.iter()).flat_map(|other| &other.counts).map(in_flight).sum();
        let load = |endpoint: usize| in_flight(&counts[endpoint]) + others[endpoint].get(now, || others_at(endpoint));
        let load_total = || counts.iter().map(in_flight).sum::<u32>() + others_total.get(now, of_others);
        let view = View { load, load_total: &load_total, admits: |endpoint| breakers.may_pass(endpoint), tried: &[] };
        let picked = match policy {
            Policy::Dwrr => schedule.pick(turns, &view, || random.next()),
            Policy::RoundRobin => schedule.turn(turns, &view),
            Policy::LeastRequest => schedule.two_choices(turns, &view, || random.next()),
        };
        let endpoint = picked?.endpoint;
        counts[endpoint].start(now_us);
        Some((endpoint, breakers.enter(endpoint)))
    }

    /// A request of a worker at an endpoint ended; without an outcome the client had enough.
    pub(crate) fn end(
        &mut self,
        (worker, endpoint): (usize, usize),
        admitted: Admitted,
        outcome: Option<Outcome>,
        [start_us, now_us]: [u64; 2],
    ) {
        let counts = &mut self.workers[worker].counts[endpoint];
        match outcome.map(Outcome::is_failure) {
            Some(true) => counts.fail(start_us, now_us),
            Some(false) => counts.answer(start_us, now_us),
            None => counts.give_up(start_us, now_us),
        }
        self.breakers.judge(endpoint, admitted, outcome, [start_us, now_us]);
    }

    /// Ten times a second: breakers move, and weights follow.
    pub(crate) fn tick_breakers(&mut self, now_us: u64) -> Ticked {
        let ticked = self.breakers.tick(&self.is_up, now_us, || self.random.unit());
        for (learned, transition) in self.learned.iter_mut().zip(&ticked.transitions) {
            if transition.is_some_and(Transition::clears) {
                learned.forget();
            }
        }
        if ticked.moves_weights {
            self.publish(now_us);
        }
        ticked
    }

    /// Every half second: read, learn, publish.
    pub(crate) fn tick(&mut self, learning: &Learning, now_us: u64) {
        for (endpoint, learned) in self.learned.iter_mut().enumerate() {
            let counts = self.workers.iter().map(|worker| worker.counts[endpoint]);
            learned.close_slot(counts.fold(Counts::default(), |sum, counts| sum.plus(&counts)));
        }
        let breakers = &self.breakers;
        let mut group = Vec::new();
        for (_, learned) in self.learned.iter_mut().enumerate().filter(|(endpoint, _)| !breakers.is_out(*endpoint)) {
            let evidence = learned.evidence(learning, now_us);
            group.push((learned, evidence));
        }
        recompute(learning, &mut group);
        self.publish(now_us);
    }

    fn publish(&mut self, now_us: u64) {
        // The others have no use for what was learned.
        let learns = self.policy == Policy::Dwrr;
        let share = |(endpoint, learned): (usize, &Learned)| Share {
            configured: self.configured[endpoint],
            learned: if learns { learned.weight() } else { 1.0 },
            ramp: if learns { learned.ramp(&Learning::default(), now_us) } else { 1.0 },
            breaker: self.breakers.factor(endpoint, now_us),
            is_up: self.is_up[endpoint],
            is_draining: false,
        };
        let shares: Vec<Share> = self.learned.iter().enumerate().map(share).collect();
        self.schedule = Schedule::new(&Weights::new(&shares).effective);
    }
}
