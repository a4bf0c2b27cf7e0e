//! Whom another percent, or an edit of the rules, would move among users who were seen lately.
//!
//! They are assigned as requests are, before and after. What their headers and cookies said is gone; but which rule decided is
//! known, and so is something of the conditions that held then and of those that did not. It is taken to be so still. Where that is
//! not enough to tell a user's group, it is unknown, and never guessed.

use std::net::IpAddr;

use http::{HeaderMap, Method};

use super::audience::Facts;
use super::{Assigner, Assignment, Bucket, DeviceClass, Group, KnownUser};
use crate::request::{GeoDatabase, RequestView};
use crate::rules::Conditions;
use crate::rules::overlap::{is_implied, texts_may_meet};
use crate::spec::Percent;

/// A release now, and as it would be.
#[derive(Clone, Copy)]
pub struct Preview<'a> {
    /// As it is.
    pub now: &'a Assigner,
    /// As it would be.
    pub then: &'a Assigner,
    /// Where addresses are.
    pub geo: Option<&'a dyn GeoDatabase>,
}

/// A user of whom one request was seen.
#[derive(Clone, Copy, Debug)]
pub struct SeenUser {
    /// The user's bucket under the release as it is.
    pub bucket: Bucket,
    /// Where the request came from.
    pub client: IpAddr,
    /// From what.
    pub device: DeviceClass,
    /// The place of the rule that decided, in the audience as it is. `None` if that is not known.
    pub rule: Option<usize>,
    /// Whether a pin decided, which names that rule.
    pub is_pinned: bool,
}

/// Where a user is, and would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The group now; `None` if that cannot be told.
    pub now: Option<Group>,
    /// The group then; `None` if that cannot be told.
    pub then: Option<Group>,
    /// The place of the rule that would decide, in the audience of then; `None` if none would, or that cannot be told.
    pub rule: Option<usize>,
    /// The share of that rule's users who would be in the canary group, if that can be told: what is to be expected of a user
    /// who is drawn anew.
    pub share: Option<Percent>,
}

/// Why buckets of before say nothing about buckets of then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redraw {
    /// It is another release, which begins anew.
    Versions,
    /// The salt is another one.
    Salt,
    /// The sticky key is another one. Pins hold: they carry the bucket.
    Key,
}

impl Forecast {
    /// The group into which the user would move.
    pub fn moves_to(&self) -> Option<Group> {
        self.now.zip(self.then).filter(|(now, then)| now != then).map(|(_, then)| then)
    }
}

impl Redraw {
    /// What of the rules does it, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Versions => "stable, canary",
            Self::Salt => "sticky.salt",
            Self::Key => "sticky.key",
        }
    }
}

impl<'a> Preview<'a> {
    /// Why users would be drawn anew, if they would. Then only shares can be foretold.
    pub fn redraw(&self) -> Option<Redraw> {
        if self.then.ended().is_some() {
            // Nobody is drawn.
            return None;
        }
        let [now, then] = [self.now, self.then].map(Assigner::rules);
        if (now.stable(), now.canary()) != (then.stable(), then.canary()) {
            return Some(Redraw::Versions);
        }
        if now.sticky().salt != then.sticky().salt {
            return Some(Redraw::Salt);
        }
        (now.sticky().key != then.sticky().key).then_some(Redraw::Key)
    }

    /// What becomes of a user.
    pub fn of(&self, user: &SeenUser) -> Forecast {
        let headers = HeaderMap::new();
        let mut request = RequestView::new(&Method::GET, "", "/", &headers, user.client);
        request.geo = self.geo;
        let seen = Seen {
            audience: self.now,
            rule: user.rule.filter(|_| !user.is_pinned),
            facts: Facts::of_device(&request, user.device),
        };
        let assigned = |assigner: &'a Assigner| {
            let rule = user.rule.and_then(|place| self.now.rules().audience().get(place));
            let pinned_by = rule.filter(|_| user.is_pinned && assigner.rules().sticky().pin).map(|rule| &*rule.name);
            let known = KnownUser { bucket: user.bucket, pinned_by };
            assigner.assign_possible(&known, &request, |conditions| seen.holds(conditions))
        };
        let (now, then) = (assigned(self.now), assigned(self.then));
        Forecast {
            now: common(&now, |assignment| assignment.group),
            then: common(&then, |assignment| assignment.group),
            rule: common(&then, |assignment| assignment.place).flatten(),
            share: common(&then, |assignment| assignment.share),
        }
    }
}

/// What all possible assignments agree on.
fn common<T: PartialEq>(possible: &[Assignment<'_>], of: impl Fn(&Assignment<'_>) -> T) -> Option<T> {
    let first = of(possible.first()?);
    possible.iter().all(|assignment| of(assignment) == first).then_some(first)
}

/// What is known of a request that is gone.
struct Seen<'a> {
    audience: &'a Assigner,
    rule: Option<usize>,
    facts: Facts<'a>,
}

impl Seen<'_> {
    /// Whether conditions hold; `None` if nobody knows.
    fn holds(&self, conditions: &Conditions) -> Option<bool> {
        match self.facts.fulfil_other_than_texts(conditions) {
            false => Some(false),
            true if asks_nothing(conditions) => Some(true),
            true => self.text_holds(conditions),
        }
    }

    /// The rule that decided tells of headers and cookies what held, and those before it what did not.
    fn text_holds(&self, conditions: &Conditions) -> Option<bool> {
        let audience = self.audience.rules().audience();
        let (before, decided) = (audience.get(..self.rule?)?, &audience.get(self.rule?)?.conditions);
        if texts_cover(conditions, decided) {
            return Some(true);
        }
        let is_apart = |other: &Conditions| {
            !texts_may_meet(&conditions.header, &other.header) || !texts_may_meet(&conditions.cookie, &other.cookie)
        };
        let has_failed = |other: &Conditions| {
            self.facts.fulfil_other_than_texts(other) && !asks_nothing(other) && texts_cover(other, conditions)
        };
        let is_false = is_apart(decided) || before.iter().any(|rule| has_failed(&rule.conditions));
        is_false.then_some(false)
    }
}

fn asks_nothing(conditions: &Conditions) -> bool {
    conditions.header.is_empty() && conditions.cookie.is_empty()
}

/// Whether whatever headers and cookies fulfil the one fulfil the other.
fn texts_cover(wide: &Conditions, narrow: &Conditions) -> bool {
    wide.header.iter().all(|condition| is_implied(condition, &narrow.header))
        && wide.cookie.iter().all(|condition| is_implied(condition, &narrow.cookie))
}
