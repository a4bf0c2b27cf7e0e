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
}

/// The breaker of the upstream lets nobody pass.
pub(crate) struct Shut {
    /// After how many seconds it is worth while to come again.
    pub(crate) retry_after_s: u64,
}

impl GroupPass {
    /// The pass of a user at this place from 0 to 9,999, for a request that is `repeatable` or not; `None` for an upstream without
    /// such a breaker.
    pub(crate) fn take(upstream: &Rc<LocalUpstream>, place: u16, repeatable: bool) -> Result<Option<Self>, Shut> {
        let Some(group) = &upstream.shared().group else { return Ok(None) };
        match group.enter(place, repeatable) {
            Some(admitted) => Ok(Some(Self { upstream: Rc::clone(upstream), admitted: Some(admitted) })),
            None => Err(Shut { retry_after_s: group.retry_after_s(moment::now_us() / 1_000) }),
        }
    }

    /// What the client got in the end, and how long the endpoint took for it in µs, if that says something. The first word
    /// counts.
    pub(crate) fn judge(&mut self, outcome: Outcome, took_us: Option<u64>) {
        self.settle(Some((outcome, took_us)), moment::now_us());
    }

    fn settle(&mut self, result: Option<(Outcome, Option<u64>)>, now_us: u64) {
        if let (Some(admitted), Some(group)) = (self.admitted.take(), &self.upstream.shared().group) {
            group.judge(self.upstream.worker(), admitted, result, now_us / 1_000);
            self.upstream.shared().has_news();
        }
    }
}

impl Drop for GroupPass {
    fn drop(&mut self) {
        self.settle(None, moment::now_us());
    }
}
