//! The leave of a request to go to an upstream that has a breaker as a whole, and the duty to tell how it ended.

use std::rc::Rc;

use routing_rules::breaker::Outcome;

use super::LocalUpstream;
use crate::moment;
use crate::snapshot::Admitted;

/// A request that the breaker of an upstream let pass.
pub(crate) struct GroupPass {
    upstream: Rc<LocalUpstream>,
    admitted: Option<Admitted>,
    began_us: u64,
    samples: bool,
}

/// The breaker of the upstream lets nobody pass.
pub(crate) struct Shut;

impl GroupPass {
    /// The pass of a user at this place from 0 to 9,999, for a request that is `repeatable` or not; `None` for an upstream without
    /// such a breaker.
    pub(crate) fn take(upstream: &Rc<LocalUpstream>, place: u16, repeatable: bool) -> Result<Option<Self>, Shut> {
        let Some(group) = &upstream.shared().group else { return Ok(None) };
        let admitted = Some(group.enter(place, repeatable).ok_or(Shut)?);
        Ok(Some(Self { upstream: Rc::clone(upstream), admitted, began_us: moment::now_us(), samples: true }))
    }

    /// How long it takes says nothing of the upstream.
    pub(crate) fn leave_no_sample(&mut self) {
        self.samples = false;
    }

    /// What the client got in the end, and after how many µs. The first word counts.
    pub(crate) fn judge(&mut self, outcome: Outcome) {
        let now_us = moment::now_us();
        let took_us = self.samples.then(|| now_us.saturating_sub(self.began_us));
        self.settle(Some((outcome, took_us)), now_us);
    }

    fn settle(&mut self, result: Option<(Outcome, Option<u64>)>, now_us: u64) {
        if let (Some(admitted), Some(group)) = (self.admitted.take(), &self.upstream.shared().group) {
            group.judge(self.upstream.worker(), admitted, result, now_us / 1_000);
        }
    }
}

impl Drop for GroupPass {
    fn drop(&mut self) {
        self.settle(None, moment::now_us());
    }
}
