//! A proxy process: its workers with their own counters, what they learn together, and how they pick.
//!
//! All that is decided is decided by the types that serve real requests. There is no breaker: its factor is 1 and every
//! endpoint admits.

use routing_rules::balance::{
    Counts, Learned, Learning, Schedule, Share, Turns, View, Weights, newcomers_ramp, recompute,
};

use crate::random::Random;
use crate::world::Scenario;

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
    pub(crate) learned: Vec<Learned>,
    schedule: Schedule,
    workers: Vec<Worker>,
}

struct Worker {
    counts: Vec<Counts>,
    turns: Turns,
    random: Random,
    /// What the other workers had in flight when this one last looked.
    others: Vec<u32>,
    looked_us: u64,
}

impl Process {
    pub(crate) fn new(scenario: &Scenario, random: &mut Random) -> Self {
        let len = scenario.configured.len();
        let worker = |_| Worker {
            counts: vec![Counts::default(); len],
            turns: Turns::new(len, || random.next()),
            random: Random(random.next()),
            others: vec![0; len],
            looked_us: 0,
        };
        Self {
            policy: scenario.policy,
            view_us: scenario.view_us,
            configured: scenario.configured.clone(),
            learned: vec![Learned::new(Counts::default()); len],
            schedule: Schedule::new(&scenario.configured),
            workers: (0..scenario.workers).map(worker).collect(),
        }
    }

    /// An endpoint more. Nobody else's weight changes.
    pub(crate) fn join(&mut self, configured: f64, now_us: u64) {
        let mut learned = Learned::new(Counts::default());
        if newcomers_ramp(false, self.learned.len() + 1, 1) {
            learned.start_ramp(now_us);
        }
        self.configured.push(configured);
        self.learned.push(learned);
        for worker in &mut self.workers {
            worker.counts.push(Counts::default());
            worker.others.push(0);
            worker.turns = Turns::new(self.configured.len(), || worker.random.next());
        }
        self.publish(now_us);
    }

    /// The endpoint of a worker's next request, whose clock starts.
    pub(crate) fn pick(&mut self, worker: usize, now_us: u64) -> usize {
        self.look(worker, now_us);
        let Self { policy, schedule, workers, .. } = self;
        let Worker { counts, turns, random, others, .. } = &mut workers[worker];
        let load = |endpoint: usize| counts[endpoint].in_flight.count as u32 + others[endpoint];
        let view = View { load, admits: |_| true, tried: &[] };
        let picked = match policy {
            Policy::Dwrr => schedule.pick(turns, &view, || random.next()),
            Policy::RoundRobin => schedule.turn(turns, &view),
            Policy::LeastRequest => schedule.two_choices(turns, &view, || random.next()),
        };
        let endpoint = picked.expect("all endpoints admit").endpoint;
        counts[endpoint].start(now_us);
        endpoint
    }

    /// The counters of a worker for an endpoint.
    pub(crate) fn counts(&mut self, worker: usize, endpoint: usize) -> &mut Counts {
        &mut self.workers[worker].counts[endpoint]
    }

    /// Every half second: read, learn, publish.
    pub(crate) fn tick(&mut self, learning: &Learning, now_us: u64) {
        for (endpoint, learned) in self.learned.iter_mut().enumerate() {
            let counts = self.workers.iter().map(|worker| worker.counts[endpoint]);
            learned.close_slot(counts.fold(Counts::default(), |sum, counts| sum.plus(&counts)));
        }
        let evidence: Vec<_> = self.learned.iter().map(|learned| learned.evidence(learning, now_us)).collect();
        let mut group: Vec<_> = self.learned.iter_mut().zip(evidence).collect();
        recompute(learning, &mut group);
        self.publish(now_us);
    }

    fn publish(&mut self, now_us: u64) {
        // The others are static: they have no use for what was learned.
        if self.policy != Policy::Dwrr {
            self.schedule = Schedule::new(&self.configured);
            return;
        }
        let share = |(learned, configured): (&Learned, &f64)| Share {
            configured: *configured,
            learned: learned.weight(),
            ramp: learned.ramp(&Learning::default(), now_us),
            breaker: 1.0,
            is_up: true,
            is_draining: false,
        };
        let shares: Vec<Share> = self.learned.iter().zip(&self.configured).map(share).collect();
        self.schedule = Schedule::new(&Weights::new(&shares).effective);
    }

    /// A worker reads what the others have in flight, if it has not done so for a while.
    fn look(&mut self, worker: usize, now_us: u64) {
        if now_us - self.workers[worker].looked_us < self.view_us {
            return;
        }
        let mut others = std::mem::take(&mut self.workers[worker].others);
        others.fill(0);
        for (_, other) in self.workers.iter().enumerate().filter(|(index, _)| *index != worker) {
            others.iter_mut().zip(&other.counts).for_each(|(sum, counts)| *sum += counts.in_flight.count as u32);
        }
        let worker = &mut self.workers[worker];
        (worker.others, worker.looked_us) = (others, now_us);
    }
}
