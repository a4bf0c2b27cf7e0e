//! What a fleet keeps of an analysis: the state after each window, and five minutes of control when they are over. Whoever leads
//! next goes on from there as if there had been no change.

use routing_rules::analysis::{Block, Metric, PerMetric};
use routing_rules::rules::{Name, Release};
use serde::{Deserialize, Serialize};

use super::super::before::StoredBefore;
use super::super::course::Course;
use super::super::known::{Known, StoredAnalysis};
use super::super::past::{Past, PastBlock, Step};
use super::super::run::StoredRun;
use super::super::sixteenths::block_of;
use super::wire::{Counts, MOST, counts, read_counts};

/// The state after a window. Later versions may add fields.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    form: u32,
    /// The upstreams: stable, canary.
    of: (String, String),
    /// The last window that was taken.
    pub(super) window: u64,
    run: Option<StoredRun>,
    /// The comparison before the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<StoredBefore>,
    since: Option<u64>,
    /// The minutes of the five that are under way.
    steps: Vec<StepText>,
}

/// Five minutes of control.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptBlock {
    form: u32,
    of: (String, String),
    number: u64,
    steps: Vec<StepText>,
    by_user: Option<BlockText>,
    by_endpoint: Option<BlockText>,
}

/// The window it began with, requests, failed ones, latencies.
type StepText = (u64, u64, u64, Counts);

/// Requests by sixteenth, and events of each metric.
type BlockText = ([u64; 16], [[u64; 16]; Metric::ALL.len()]);

/// Why a text is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A later version has written it, which knows what it does.
    Newer(u32),
    /// Nobody can read it.
    Damaged(String),
}

impl Kept {
    pub(super) fn of(course: &Course) -> Option<Self> {
        let (past, StoredAnalysis { before, run }) = (&course.past, course.stored());
        Some(Self {
            form: FORM,
            of: of(course),
            window: course.window?,
            run,
            before,
            since: past.since,
            steps: past.steps.iter().map(step).collect(),
        })
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }

    pub(super) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let kept: Self = read(text)?;
        let before = kept.before.as_ref().and_then(StoredBefore::window);
        let last = kept.run.as_ref().map(StoredRun::window).max(before);
        let is_right = kept.window <= MOST && last.is_none_or(|last| last <= kept.window);
        is_right.then_some(kept).ok_or_else(|| Unreadable::Damaged("there is no such window".to_owned()))
    }

    /// What was found, if it is about these versions.
    pub(super) fn known(self, rules: &Release) -> Option<Known> {
        let is_of = self.of == (rules.stable().to_string(), rules.canary().to_string());
        is_of.then(|| StoredAnalysis { before: self.before, run: self.run }.known(rules))
    }

    /// All that was known after that window, with the five minutes before, in their order.
    pub(super) fn course(self, blocks: Vec<KeptBlock>) -> Result<Course, Unreadable> {
        let steps = self.steps.into_iter().map(read_step).collect::<Result<_, _>>().map_err(Unreadable::Damaged)?;
        let blocks = blocks.into_iter().filter(|block| block.of == self.of && block.number <= block_of(self.window));
        // One that cannot be read is one that is not known.
        let blocks = blocks.filter_map(|block| block.block().ok());
        let past = Past::resume((self.since, self.window, steps), blocks);
        let name = |text: &str| Name::new(text).map_err(Unreadable::Damaged);
        let versions = (name(&self.of.0)?, name(&self.of.1)?);
        let stored = StoredAnalysis { before: self.before, run: self.run };
        Ok(Course::resume(versions, Some(self.window), past, stored))
    }
}

impl KeptBlock {
    /// One of a course, if it still has it.
    pub(super) fn of(course: &Course, number: u64) -> Option<Self> {
        let PastBlock { number, steps, by_user, by_endpoint } = course.past.block(number)?;
        Some(Self {
            form: FORM,
            of: of(course),
            number: *number,
            steps: steps.iter().map(step).collect(),
            by_user: by_user.as_ref().map(block),
            by_endpoint: by_endpoint.as_ref().map(block),
        })
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }

    pub(super) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let kept: Self = read(text)?;
        (kept.number <= MOST).then_some(kept).ok_or_else(|| Unreadable::Damaged("there is no such block".to_owned()))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn block(self) -> Result<PastBlock, String> {
        Ok(PastBlock {
            number: self.number,
            steps: self.steps.into_iter().map(read_step).collect::<Result<_, _>>()?,
            by_user: self.by_user.map(read_block).transpose()?,
            by_endpoint: self.by_endpoint.map(read_block).transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct Form {
    form: u32,
}

fn read<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, Unreadable> {
    let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
    if text.len() > MOST_BYTES {
        return Err(Unreadable::Damaged(format!("it is longer than {MOST_BYTES} bytes")));
    }
    match serde_json::from_slice::<Form>(text).map_err(damaged)?.form {
        FORM => serde_json::from_slice(text).map_err(damaged),
        form if form > FORM => Err(Unreadable::Newer(form)),
        form => Err(Unreadable::Damaged(format!("there was never a form {form}"))),
    }
}

fn of(course: &Course) -> (String, String) {
    (course.stable.to_string(), course.canary.to_string())
}

fn step(Step { window, requests, failed, latencies }: &Step) -> StepText {
    (*window, *requests, *failed, counts(latencies))
}

fn read_step((window, requests, failed, latencies): StepText) -> Result<Step, String> {
    Ok(Step { window, requests, failed, latencies: read_counts(latencies)? })
}

fn block(Block { requests, events }: &Block) -> BlockText {
    (*requests, Metric::ALL.map(|metric| events[metric]))
}

fn read_block((requests, events): BlockText) -> Result<Block, String> {
    if requests.iter().chain(events.iter().flatten()).any(|count| *count > MOST) {
        return Err("it counts what cannot be".to_owned());
    }
    Ok(Block { requests, events: PerMetric::new(|metric| events[metric as usize]) })
}

/// The only form there has been.
const FORM: u32 = 1;

/// Far more than is ever written.
const MOST_BYTES: usize = 256 << 10;
