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
        let Some(next) = self.by_itself(rules, canary, pace, now_ms) else {
            return self.after_shortage(rules, canary, now_ms, shortage);
        };
        match self.takes_in(&next).then(|| shortage(&next.state)).flatten() {
            None => Some(next),
            Some(_) if self.hold == Some(Hold::Headroom) => None,
            Some(reason) => {
                let last = Change::own(Hold::Headroom.as_str(), &reason, now_ms);
                Some(Self { number: self.number + 1, hold: Some(Hold::Headroom), last, ..self.clone() })
            }
        }
    }

    /// A phase that waited for room does not end now for another reason, which is the one to be told.
    fn after_shortage(
        &self,
        rules: &Release,
        canary: Canary,
        now_ms: u64,
        shortage: impl FnOnce(&ReleaseState) -> Option<String>,
    ) -> Option<Self> {
        if self.hold != Some(Hold::Headroom) || canary != Canary::Up {
            return None;
        }
        let promoted = self.by_itself(rules, canary, Pace::Promoted(""), now_ms)?;
        let has_room = shortage(&promoted.state).is_none();
        let last = Change::own("room", "its endpoints have room for the users of the next phase", now_ms);
        has_room.then(|| Self { number: self.number + 1, hold: None, last, ..self.clone() })
    }

    /// Whether more users would have the canary by another record.
    pub fn takes_in(&self, next: &Self) -> bool {
        let completes = |state: ReleaseState| state.status == Status::Completed;
        next.state.share() > self.state.share() || completes(next.state) && !completes(self.state)
    }
}
