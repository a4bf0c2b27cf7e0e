//! What a release does by itself where there may be no room: its phase waits.

use crate::release::record::Change;
use crate::release::{Canary, Hold, Pace, ReleaseRecord, ReleaseState, Status};
use crate::rules::Release;

impl ReleaseRecord {
    /// As [`ReleaseRecord::by_itself`], where a phase goes on only if there is room for those who come: `shortage` says why there
    /// is none in a state. Then the phase is held, and goes on as soon as there is.
    pub fn by_itself_with_room(
        &self,
        rules: &Release,
        canary: Canary,
        pace: Pace<'_>,
        now_ms: u64,
        shortage: impl FnOnce(&ReleaseState) -> Option<String>,
    ) -> Option<Self> {
        let next = self.by_itself(rules, canary, pace, now_ms)?;
        match self.takes_in(&next).then(|| shortage(&next.state)).flatten() {
            None => Some(next),
            Some(_) if self.hold == Some(Hold::Headroom) => None,
            Some(reason) => {
                let last = Change::own(Hold::Headroom.as_str(), &reason, now_ms);
                Some(Self { number: self.number + 1, hold: Some(Hold::Headroom), last, ..self.clone() })
            }
        }
    }

    /// Whether more users would have the canary by another record.
    pub fn takes_in(&self, next: &Self) -> bool {
        let completes = |state: ReleaseState| state.status == Status::Completed;
        next.state.share() > self.state.share() || completes(next.state) && !completes(self.state)
    }
}
