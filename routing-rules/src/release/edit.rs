//! Whether an edit of a release under way may take users of its canary back to stable.
//!
//! Decided from the rules alone, whoever the users are: for each pair of an old and a new rule that may decide of one user before
//! and after, the share must not shrink. Pairs that no user can be in are left out as far as the conditions show it, so an edit that is
//! refused may be harmless; but one that is not takes nobody back. Testers who name their group are nobody's users here.

use std::fmt;

use super::{ReleaseRecord, ReleaseState};
use crate::rules::overlap::{conditions_cover, conditions_meet};
use crate::rules::{AudienceRule, Conditions, Release, Share};
use crate::spec::{Percent, ReleaseSpec};

/// Why an edit may take users of the canary back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThrowsBack {
    /// The path within the edited release, for example `audience[1].percent`.
    pub at: String,
    /// What does it, as a sentence begins.
    pub reason: String,
}

/// Why an edit is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditRefusal {
    /// What it would do.
    pub cause: ThrowsBack,
    /// The number that `force` has to name.
    pub epoch: u32,
    /// The number it names, if any.
    pub force: Option<u32>,
}

impl fmt::Display for EditRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, epoch, force } = self;
        write!(
            f,
            "users of the canary may go back to stable: {}; the release stays as it was accepted. ",
            cause.reason
        )?;
        match force {
            Some(other) => write!(f, "`force: {other}` is about another edit; this one takes `force: {epoch}`"),
            None => write!(f, "Write `force: {epoch}` into it to do it all the same"),
        }
    }
}

impl ReleaseRecord {
    /// Why an edit of the release is not accepted. `accepted` is what [`ReleaseRecord::accepted`] says, validated. The same for
    /// everybody who knows the record.
    pub fn refuses(&self, accepted: &Release, edited: &Release) -> Option<EditRefusal> {
        let force = edited.written().force;
        if !self.is_of(edited) || !self.is_of(accepted) || force == Some(self.epoch) {
            return None;
        }
        let cause = throws_back(accepted, edited, self.state_by(edited))?;
        Some(EditRefusal { cause, epoch: self.epoch, force })
    }

    /// The same for whoever has not validated what was accepted. What an earlier version accepted may not be right any more, and then
    /// nothing is refused.
    pub fn refuses_edit(&self, edited: &Release) -> Option<EditRefusal> {
        let accepted = self.accepted.as_ref().filter(|_| !self.has_accepted(edited))?;
        let accepted = Release::new(edited.name().as_str(), accepted, &mut Vec::new())?;
        // Whoever asks may have it with the salt that it was given instead of the one that was written.
        let with_salt = |rules: &Release| rules.with_another_salt(self.salts);
        self.refuses(&with_salt(&accepted), &with_salt(edited))
    }
}

/// Why an edit of a release in this state may take users of its canary back to stable; `None` if it only adds some.
pub fn throws_back(before: &Release, after: &Release, state: ReleaseState) -> Option<ThrowsBack> {
    if !state.is_active() {
        return None;
    }
    let edit = Edit { before, after, state, keeps: Keeps::of(before, after) };
    let in_canary = before.audience().iter().enumerate().filter(|(_, rule)| edit.share(rule) > Percent::ZERO);
    in_canary.into_iter().find_map(|(index, rule)| edit.throws_back_by_rule(index, rule).or_else(|| edit.unpins(rule)))
}

/// An edit, and how far the release is.
struct Edit<'a> {
    before: &'a Release,
    after: &'a Release,
    state: ReleaseState,
    keeps: Keeps,
}

/// Which users are at the same place on the line as before.
#[derive(Clone, Copy)]
struct Keeps {
    /// All whom the sticky key identifies.
    drawn: bool,
    /// Those who have a pin.
    pinned: bool,
    /// What is another one, if all are not.
    because: &'static str,
}

impl Keeps {
    fn of(before: &Release, after: &Release) -> Self {
        let (before, after) = (before.sticky(), after.sticky());
        let differs = [
            ("salt", before.salt != after.salt),
            ("range", before.range != after.range),
            ("key", before.key != after.key),
        ];
        let because = differs.iter().find(|(_, differs)| *differs).map_or("", |(field, _)| field);
        let is_line = before.salt == after.salt && before.range == after.range;
        Self { drawn: is_line && before.key == after.key, pinned: is_line && after.pin, because }
    }
}

/// Whether whoever was in one share is in the other one. Who stands elsewhere on the line is in only if everybody is.
fn holds(from: Percent, to: Percent, same_line: bool) -> bool {
    to == Percent::ALL || same_line && from <= to
}

impl Edit<'_> {
    fn share(&self, rule: &AudienceRule) -> Percent {
        match rule.share {
            Share::Phase => self.state.percent,
            Share::Fixed(percent) => percent,
        }
    }

    /// Whom this rule took, others may take then, with less.
    fn throws_back_by_rule(&self, index: usize, rule: &AudienceRule) -> Option<ThrowsBack> {
        let from = self.share(rule);
        let earlier = &self.before.audience()[..index];
        for (place, other) in self.after.audience().iter().enumerate() {
            let to = self.share(other);
            if !holds(from, to, self.keeps.drawn) && self.may_follow(earlier, rule, place, other) {
                return Some(self.shrinks(rule, place, other));
            }
        }
        let is_left_out = !self.after.audience().iter().any(|other| covers(&other.conditions, &[rule]));
        is_left_out.then(|| ThrowsBack {
            at: "audience".into(),
            reason: format!("whom `{}` ({from} %) takes may come under no rule", rule.name),
        })
    }

    /// Whether there may be a user of whom one rule decided before, and the other one would then.
    fn may_follow(&self, earlier: &[AudienceRule], rule: &AudienceRule, place: usize, other: &AudienceRule) -> bool {
        let both = [rule, other];
        let is_anothers = |rules: &[AudienceRule]| rules.iter().any(|first| covers(&first.conditions, &both));
        conditions_meet(&rule.conditions, &other.conditions)
            && !is_anothers(earlier)
            && !is_anothers(&self.after.audience()[..place])
    }

    fn shrinks(&self, rule: &AudienceRule, place: usize, other: &AudienceRule) -> ThrowsBack {
        let (from, to) = (self.share(rule), self.share(other));
        if from <= to && !self.keeps.drawn {
            let because = self.keeps.because;
            return ThrowsBack {
                at: format!("sticky.{because}"),
                reason: format!("another `{because}` of `sticky` draws all users anew"),
            };
        }
        let (at, reason) = match rule.name == other.name {
            true => (format!("audience[{place}].percent"), format!("`{}` goes from {from} % to {to} %", rule.name)),
            false => (
                format!("audience[{place}]"),
                format!("whom `{}` ({from} %) takes may come under `{}` ({to} %)", rule.name, other.name),
            ),
        };
        ThrowsBack { at, reason }
    }

    /// Users with a pin of this rule stay by it wherever they go, and without it may be anybody's.
    fn unpins(&self, rule: &AudienceRule) -> Option<ThrowsBack> {
        let from = self.share(rule);
        let is_kept = |other: &AudienceRule| other.name == rule.name && holds(from, self.share(other), true);
        let audience = self.after.audience();
        if !self.before.sticky().pin || self.keeps.pinned && audience.iter().any(is_kept) {
            return None;
        }
        let is_reached =
            |place: usize| !audience[..place].iter().any(|first| covers(&first.conditions, &[&audience[place]]));
        let is_in = |(place, other): (usize, &AudienceRule)| {
            holds(from, self.share(other), self.keeps.pinned) || !is_reached(place)
        };
        let takes_all = audience.iter().any(|other| covers(&other.conditions, &[]));
        if takes_all && audience.iter().enumerate().all(is_in) {
            return None;
        }
        let (at, what) = match self.keeps.pinned {
            true => (
                "audience",
                format!("users with a pin of `{}` ({from} %) may come under another rule, or none", rule.name),
            ),
            false => ("sticky", format!("pins that users have by `{}` ({from} %) would mean nothing", rule.name)),
        };
        Some(ThrowsBack { at: at.into(), reason: what })
    }
}

fn covers(wide: &Conditions, rules: &[&AudienceRule]) -> bool {
    let everybody = Conditions::default();
    let narrow: Vec<&Conditions> =
        std::iter::once(&everybody).chain(rules.iter().map(|rule| &rule.conditions)).collect();
    conditions_cover(wide, &narrow)
}

/// Whether two releases are written alike, whatever they force.
pub(super) fn is_same_but_for_force(one: &ReleaseSpec, other: &ReleaseSpec) -> bool {
    let ReleaseSpec { stable, canary, audience, phases, sticky, override_, expose, analysis, force: _ } = one;
    (stable, canary, audience, phases) == (&other.stable, &other.canary, &other.audience, &other.phases)
        && (sticky, override_, expose, analysis) == (&other.sticky, &other.override_, &other.expose, &other.analysis)
}
