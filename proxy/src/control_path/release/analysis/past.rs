//! What control was like: for the edges between quick and slow, for what is usual, and for how unevenly its events come.

use std::collections::VecDeque;

use routing_rules::analysis::{Block, Dispersion, Edges, Histogram, Latency, Metric, PerMetric, WINDOW_S};

use super::observed::Seen;
use crate::snapshot::{Outcomes, SIXTEEN};

/// Control up to now, in steps of a window and, further back, of five minutes.
#[derive(Default)]
pub(super) struct Past {
    /// The earliest first; only those with requests.
    steps: VecDeque<Step>,
    /// When it was first looked at.
    since: Option<u64>,
    newest: u64,
    /// The five minutes that are under way, if there was a request, and since when.
    block: Option<Box<Sixteenths>>,
    block_since: u64,
    /// What came of those before, by the window they ended with.
    by_user: VecDeque<(u64, Block)>,
    by_endpoint: VecDeque<(u64, Block)>,
}

#[derive(Default)]
struct Step {
    /// When it began.
    window: u64,
    windows: u64,
    requests: u64,
    failed: u64,
    latencies: Histogram,
}

/// Control in sixteenths, as it was counted.
#[derive(Default)]
struct Sixteenths {
    users: [Outcomes; SIXTEEN],
    endpoints: [Outcomes; SIXTEEN],
    has_many_endpoints: bool,
}

impl Past {
    /// Takes a window; what is slow in it, its edges say. Returns whether five minutes are full.
    pub(super) fn take(&mut self, window: u64, seen: &Seen, edges: Option<Edges>) -> bool {
        self.since.get_or_insert(window);
        self.newest = window;
        let mut step = Step { window, windows: 1, ..Step::default() };
        for rule in &seen.rules {
            let control = &rule.record.control;
            if control.requests == 0 {
                continue;
            }
            step.requests += control.requests;
            step.failed += control.failed;
            step.latencies.add_all(&control.latencies);
            let block = self.block.get_or_insert_default();
            block.has_many_endpoints = seen.stable_endpoints >= MANY_ENDPOINTS;
            block.add(&rule.totals.users, &rule.totals.endpoints);
        }
        if step.requests > 0 {
            self.steps.push_back(step);
        }
        self.shorten(window);
        if window.saturating_sub(self.block_since) < WINDOWS_OF_BLOCK {
            return false;
        }
        self.block_since = window;
        if let Some(full) = self.block.take() {
            self.by_user.push_back((window, block(&full.users, edges.as_ref())));
            if full.has_many_endpoints {
                self.by_endpoint.push_back((window, block(&full.endpoints, edges.as_ref())));
            }
        }
        for blocks in [&mut self.by_user, &mut self.by_endpoint] {
            while blocks.front().is_some_and(|(ended, _)| window.saturating_sub(*ended) > LONGEST) {
                blocks.pop_front();
            }
        }
        true
    }

    /// What is older than ten minutes is kept in coarser steps, and nothing for longer than six hours.
    fn shorten(&mut self, window: u64) {
        let age = |step: &Step| window.saturating_sub(step.window);
        while self.steps.front().is_some_and(|step| age(step) > LONGEST) {
            self.steps.pop_front();
        }
        let Some(fine) = self.steps.iter().position(|step| step.windows < WINDOWS_OF_BLOCK) else { return };
        let old = self.steps.iter().skip(fine).take_while(|step| age(step) > LATEST).count();
        if old as u64 >= WINDOWS_OF_BLOCK {
            let tail = self.steps.split_off(fine + old);
            let coarse = self.steps.split_off(fine).into_iter().reduce(Step::and);
            self.steps.extend(coarse);
            self.steps.extend(tail);
        }
    }

    /// The edges between quick and slow, as far as answers are known.
    pub(super) fn edges(&self) -> Option<Edges> {
        let age_s = |step: &Step| WINDOW_S * self.newest.saturating_sub(step.window);
        Edges::of_history(self.steps.iter().rev().map(|step| (age_s(step), &step.latencies)))
    }

    /// Whether there are enough answers to say what is slow.
    pub(super) fn knows_enough(&self) -> bool {
        let answers: u64 = self.steps.iter().map(|step| step.latencies.total()).sum();
        let looked = self.newest.saturating_sub(self.since.unwrap_or(self.newest));
        answers >= ENOUGH_ANSWERS || (answers > 0 && looked >= LATEST)
    }

    /// Control's failure rate in the last hour, from 0 to 1.
    pub(super) fn usual_failure_rate(&self) -> f64 {
        let hour = self.steps.iter().filter(|step| self.newest.saturating_sub(step.window) < HOUR);
        let (requests, failed) =
            hour.fold((0, 0), |(requests, failed), step| (requests + step.requests, failed + step.failed));
        if requests == 0 { 0.0 } else { failed as f64 / requests as f64 }
    }

    /// How unevenly control's events come.
    pub(super) fn dispersion(&self) -> Dispersion {
        let of = |blocks: &VecDeque<(u64, Block)>| blocks.iter().map(|(_, block)| block.clone()).collect::<Vec<_>>();
        let by_endpoint = of(&self.by_endpoint);
        Dispersion::of(&of(&self.by_user), (!by_endpoint.is_empty()).then_some(&by_endpoint))
    }
}

impl Step {
    fn and(mut self, later: Self) -> Self {
        self.windows += later.windows;
        self.requests += later.requests;
        self.failed += later.failed;
        self.latencies.add_all(&later.latencies);
        self
    }
}

impl Sixteenths {
    fn add(&mut self, users: &[Outcomes; SIXTEEN], endpoints: &[Outcomes; SIXTEEN]) {
        let sums = [(&mut self.users, users), (&mut self.endpoints, endpoints)];
        for (sums, more) in sums {
            sums.iter_mut().zip(more).for_each(|(sum, more)| sum.add(more));
        }
    }
}

/// Requests and events of each sixteenth.
fn block(sixteenths: &[Outcomes; SIXTEEN], edges: Option<&Edges>) -> Block {
    let events = |metric: Metric| {
        let edge = edges.and_then(|edges| edges.of(metric));
        std::array::from_fn(|place| match (metric, edge) {
            (Metric::Errors, _) => sixteenths[place].failed,
            (_, Some(edge)) => slower(&sixteenths[place], edge),
            (_, None) => 0,
        })
    };
    Block { requests: std::array::from_fn(|place| sixteenths[place].requests()), events: PerMetric::new(events) }
}

fn slower(outcomes: &Outcomes, edge: Latency) -> u64 {
    outcomes.latencies.iter().skip(edge.place() + 1).sum()
}

const WINDOWS_OF_BLOCK: u64 = 300 / WINDOW_S;
/// Six hours.
const LONGEST: u64 = 6 * 3_600 / WINDOW_S;
/// Ten minutes.
const LATEST: u64 = 600 / WINDOW_S;
const HOUR: u64 = 3_600 / WINDOW_S;
/// With fewer of them, one is not a part but half of the whole.
const MANY_ENDPOINTS: usize = 4;
const ENOUGH_ANSWERS: u64 = 1_000;
