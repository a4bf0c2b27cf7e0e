//! Control in sixteenths of its users and of its endpoints, over five minutes: how unlike they are is what chance is measured
//! by.

use routing_rules::analysis::{Block, Edges, Latency, Metric, PerMetric, WINDOW_S};

use crate::snapshot::{Outcomes, SIXTEEN};

/// Control as it was counted. The edges need not be known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sixteenths {
    pub(super) users: [Outcomes; SIXTEEN],
    pub(super) endpoints: [Outcomes; SIXTEEN],
    /// Whether there are enough endpoints for a sixteenth of them to say something.
    pub(super) has_many_endpoints: bool,
}

impl Sixteenths {
    /// Adds what came of some users, which is the same as what came of some endpoints.
    pub(super) fn add_rows(&mut self, users: &[Outcomes; SIXTEEN], endpoints: &[Outcomes; SIXTEEN]) {
        let sums = [(&mut self.users, users), (&mut self.endpoints, endpoints)];
        for (sums, more) in sums {
            sums.iter_mut().zip(more).for_each(|(sum, more)| sum.add(more));
        }
    }

    /// Adds what others have counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.add_rows(&other.users, &other.endpoints);
        self.has_many_endpoints |= other.has_many_endpoints;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.iter().all(|outcomes| outcomes.requests() == 0)
    }

    pub(super) fn by_user(&self, edges: Option<&Edges>) -> Block {
        block(&self.users, edges)
    }

    pub(super) fn by_endpoint(&self, edges: Option<&Edges>) -> Option<Block> {
        self.has_many_endpoints.then(|| block(&self.endpoints, edges))
    }
}

/// The five minutes that a window is in.
pub(super) fn block_of(window: u64) -> u64 {
    window / WINDOWS_OF_BLOCK
}

/// Whether five minutes end with a window.
pub(super) fn ends_block(window: u64) -> bool {
    block_of(window) != block_of(window.saturating_add(1))
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

pub(super) const WINDOWS_OF_BLOCK: u64 = 300 / WINDOW_S;

/// With fewer of them, one is not a part but half of the whole.
pub(super) const MANY_ENDPOINTS: usize = 4;
