//! What control was like: for the edges between quick and slow, for what is usual, and for how unevenly its events come.
//!
//! Five minutes that are over never change any more, so that they can be kept apart from what is under way.

use std::collections::VecDeque;

use routing_rules::analysis::{Block, Dispersion, Edges, Histogram, WINDOW_S};

use super::sixteenths::{Sixteenths, WINDOWS_OF_BLOCK, block_of, ends_block};
use super::total::Control;

/// Control up to now: in steps of a minute and, further back, of five.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    /// When it was first looked at.
    pub(super) since: Option<u64>,
    pub(super) newest: u64,
    /// The minutes of the five that are under way.
    pub(super) steps: Vec<Step>,
    /// The earliest first.
    blocks: VecDeque<PastBlock>,
}

/// A minute, or five; only if there were requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The window it began with.
    pub(super) window: u64,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) latencies: Histogram,
}

/// Five minutes that are over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PastBlock {
    /// Counts them since 1970.
    pub(super) number: u64,
    pub(super) steps: Vec<Step>,
    /// What came, by sixteenth. None if it was not reported.
    pub(super) by_user: Option<Block>,
    pub(super) by_endpoint: Option<Block>,
}

impl Past {
    /// What was known when `steps` were under way, by all blocks there are of the time before, in their order.
    pub(super) fn resume(
        (since, newest, steps): (Option<u64>, u64, Vec<Step>),
        blocks: impl Iterator<Item = PastBlock>,
    ) -> Self {
        let mut past = Self { since, newest, steps, blocks: VecDeque::new() };
        blocks.for_each(|block| past.push(block));
        past.forget_old();
        past
    }

    /// Takes a window; what is slow in it, the edges say. Returns the numbers of the blocks that are over.
    pub(super) fn take(
        &mut self,
        window: u64,
        control: Control,
        block: Option<&Sixteenths>,
        edges: Option<&Edges>,
    ) -> Vec<u64> {
        self.since.get_or_insert(window);
        self.newest = window;
        let mut over = Vec::new();
        // A window with which five minutes should have ended did not come.
        if let Some(number) = self.begun().filter(|number| *number != block_of(window)) {
            over.push(self.end_block(number, None, None));
        }
        self.step(window, control);
        if ends_block(window) {
            over.push(self.end_block(block_of(window), block, edges));
        }
        self.forget_old();
        over
    }

    fn begun(&self) -> Option<u64> {
        self.steps.first().map(|step| block_of(step.window))
    }

    fn step(&mut self, window: u64, Control { requests, failed, latencies }: Control) {
        if requests == 0 {
            return;
        }
        let step = Step { window, requests, failed, latencies };
        match self.steps.last_mut().filter(|last| last.window / WINDOWS_OF_STEP == window / WINDOWS_OF_STEP) {
            Some(last) => last.add(&step),
            None => self.steps.push(step),
        }
    }

    fn end_block(&mut self, number: u64, block: Option<&Sixteenths>, edges: Option<&Edges>) -> u64 {
        let by_user = block.map(|block| block.by_user(edges));
        let by_endpoint = block.and_then(|block| block.by_endpoint(edges));
        let steps = std::mem::take(&mut self.steps);
        self.push(PastBlock { number, steps, by_user, by_endpoint });
        number
    }

    /// What is older than ten minutes is kept in coarser steps.
    fn push(&mut self, block: PastBlock) {
        self.blocks.push_back(block);
        let old = self.blocks.len().checked_sub(FINE_BLOCKS + 1).and_then(|old| self.blocks.get_mut(old));
        if let Some(old) = old {
            let steps = std::mem::take(&mut old.steps);
            old.steps.extend(steps.into_iter().reduce(|mut sum, step| {
                sum.add(&step);
                sum
            }));
        }
    }

    /// Forgets what is later than a window: the clock was set back.
    pub(super) fn set_back(&mut self, window: u64) {
        self.newest = window;
        self.since = self.since.map(|since| since.min(window));
        self.steps.retain(|step| step.window <= window && block_of(step.window) == block_of(window));
        self.blocks.retain(|block| block.number < block_of(window));
    }

    fn forget_old(&mut self) {
        let oldest = self.newest.saturating_sub(LONGEST);
        while self.blocks.front().is_some_and(|block| block.number < block_of(oldest)) {
            self.blocks.pop_front();
        }
    }

    /// One that is over, if it is not too long ago.
    pub(super) fn block(&self, number: u64) -> Option<&PastBlock> {
        self.blocks.iter().rev().find(|block| block.number == number)
    }

    /// The latest first.
    fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev().chain(self.blocks.iter().rev().flat_map(|block| block.steps.iter().rev()))
    }

    /// For how many windows it has been over that a step began.
    fn age(&self, step: &Step) -> u64 {
        self.newest.saturating_sub(step.window)
    }

    /// The edges between quick and slow, as far as answers are known.
    pub(super) fn edges(&self) -> Option<Edges> {
        Edges::of_history(self.all_steps().map(|step| (WINDOW_S * self.age(step), &step.latencies)))
    }

    /// Whether there are enough answers to say what is slow.
    pub(super) fn knows_enough(&self) -> bool {
        let answers = self.all_steps().fold(0, |sum: u64, step| sum.saturating_add(step.latencies.total()));
        answers >= ENOUGH_ANSWERS || (answers > 0 && self.has_looked_long())
    }

    /// Whether there is no use in waiting for more.
    pub(super) fn has_looked_long(&self) -> bool {
        self.newest.saturating_sub(self.since.unwrap_or(self.newest)) >= LATEST
    }

    /// Control's failure rate in the last hour, from 0 to 1.
    pub(super) fn usual_failure_rate(&self) -> f64 {
        let hour = self.all_steps().filter(|step| self.age(step) < HOUR);
        let mut sum = Step::default();
        hour.for_each(|step| sum.count(step));
        if sum.requests == 0 { 0.0 } else { sum.failed.min(sum.requests) as f64 / sum.requests as f64 }
    }

    /// How unevenly control's events come.
    pub(super) fn dispersion(&self) -> Dispersion {
        let blocks = self.blocks.iter();
        let by_user: Vec<Block> = blocks.clone().filter_map(|block| block.by_user.clone()).collect();
        let by_endpoint: Vec<Block> = blocks.filter_map(|block| block.by_endpoint.clone()).collect();
        Dispersion::of(&by_user, (!by_endpoint.is_empty()).then_some(&by_endpoint))
    }
}

impl Step {
    fn add(&mut self, later: &Self) {
        self.count(later);
        self.latencies.add_all(&later.latencies);
    }

    fn count(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

const WINDOWS_OF_STEP: u64 = 60 / WINDOW_S;
/// Six hours.
const LONGEST: u64 = 6 * 3_600 / WINDOW_S;
/// Ten minutes.
const LATEST: u64 = 600 / WINDOW_S;
/// Those of them that are over and still in minutes.
const FINE_BLOCKS: usize = (LATEST / WINDOWS_OF_BLOCK) as usize;
const HOUR: u64 = 3_600 / WINDOW_S;
const ENOUGH_ANSWERS: u64 = 1_000;
