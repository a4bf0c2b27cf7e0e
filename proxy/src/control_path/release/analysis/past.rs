//! What control was like: for the edges between quick and slow, for what is usual, and for how unevenly its events come.

use std::collections::VecDeque;

use routing_rules::analysis::{Block, Dispersion, Edges, Histogram, Latency, Metric, PerMetric, WINDOW_S};

use super::observed::Seen;
use crate::snapshot::{Outcomes, SIXTEEN};

/// Control up to now, in steps of a window and, further back, of five minutes.
#[derive(Default)]
pub(super) struct Past {
    /// The earliest first.
    steps: VecDeque<Step>,
    /// The five minutes that are under way, and those before.
    block: Blocks,
    windows_of_block: u64,
    blocks: VecDeque<Blocks>,
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
#[derive(Clone, Default)]
struct Blocks {
    users: [Outcomes; SIXTEEN],
    endpoints: [Outcomes; SIXTEEN],
    has_many_endpoints: bool,
}

impl Past {
    /// Takes a window. Returns whether five minutes are full.
    pub(super) fn take(&mut self, window: u64, seen: &Seen) -> bool {
        let mut step = Step { window, windows: 1, ..Step::default() };
        self.block.has_many_endpoints = seen.stable_endpoints >= MANY_ENDPOINTS;
        for rule in &seen.rules {
            let control = &rule.record.control;
            step.requests += control.requests;
            step.failed += control.failed;
            step.latencies.add_all(&control.latencies);
            self.block.add(&rule.totals.users, &rule.totals.endpoints);
        }
        self.steps.push_back(step);
        self.shorten(window);
        self.windows_of_block += 1;
        if self.windows_of_block < WINDOWS_OF_BLOCK {
            return false;
        }
        self.windows_of_block = 0;
        self.blocks.push_back(std::mem::take(&mut self.block));
        while self.blocks.len() > MOST_BLOCKS {
            self.blocks.pop_front();
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
        let newest = self.steps.back()?.window;
        let age_s = |step: &Step| WINDOW_S * newest.saturating_sub(step.window);
        Edges::of_history(self.steps.iter().rev().map(|step| (age_s(step), &step.latencies)))
    }

    /// Whether there are enough answers to say what is slow.
    pub(super) fn knows_enough(&self) -> bool {
        let answers: u64 = self.steps.iter().map(|step| step.latencies.total()).sum();
        answers >= ENOUGH_ANSWERS || self.steps.len() as u64 >= LATEST
    }

    /// Control's failure rate in the last hour, from 0 to 1.
    pub(super) fn usual_failure_rate(&self) -> f64 {
        let newest = self.steps.back().map_or(0, |step| step.window);
        let hour = self.steps.iter().filter(|step| newest.saturating_sub(step.window) < HOUR);
        let (requests, failed) =
            hour.fold((0, 0), |(requests, failed), step| (requests + step.requests, failed + step.failed));
        if requests == 0 { 0.0 } else { failed as f64 / requests as f64 }
    }

    /// How unevenly control's events come, with these edges.
    pub(super) fn dispersion(&self, edges: Option<&Edges>) -> Dispersion {
        let by_user: Vec<Block> = self.blocks.iter().map(|blocks| block(&blocks.users, edges)).collect();
        let many = self.blocks.iter().filter(|blocks| blocks.has_many_endpoints);
        let by_endpoint: Vec<Block> = many.map(|blocks| block(&blocks.endpoints, edges)).collect();
        Dispersion::of(&by_user, (!by_endpoint.is_empty()).then_some(&by_endpoint))
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

impl Blocks {
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
const MOST_BLOCKS: usize = 72;
const LONGEST: u64 = 6 * 3_600 / WINDOW_S;
/// Ten minutes.
const LATEST: u64 = 600 / WINDOW_S;
const HOUR: u64 = 3_600 / WINDOW_S;
/// With fewer of them, one is not a part but half of the whole.
const MANY_ENDPOINTS: usize = 4;
const ENOUGH_ANSWERS: u64 = 1_000;
