//! Releases: which buckets enter or leave the canary.
//!
//! A user's group follows from the rule that decides and from the bucket. So for each pair of an old and a new rule that
//! can have decided about the same user, the buckets that change are the difference of two ranges. Pairs that no user
//! can be in are left out as far as equal conditions show it; the others hold for such users as there are.

use routing_rules::release::Assigner;
use routing_rules::rules::{Conditions, KeySource, Range, Release};
use routing_rules::spec::{Percent, ReleaseSpec, Spec};
use serde::Serialize;
use serde_json::json;

use super::fields::{self, FieldChange};
use super::{Change, Version, changed_objects, value};

/// A release that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReleaseChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
    /// Whether it moves users. One that no route uses moves nobody.
    pub moves: bool,
    /// The routes that use it, on either side.
    pub routes: Vec<String>,
    /// What differs besides the audience.
    pub fields: Vec<FieldChange>,
    /// Why every user is drawn anew, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redraw: Option<Redraw>,
    /// The rules of the audience that differ.
    pub audience: Vec<RuleChange>,
    /// Who enters or leaves the canary.
    pub transitions: Vec<Transition>,
}

/// Why buckets of before say nothing about buckets of now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Redraw {
    /// `sticky.salt` or `sticky.key`.
    pub because: &'static str,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// Whether canary users whose browser has a pin keep their bucket all the same.
    pub pins_hold: bool,
}

/// A rule of an audience that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
    /// What differs; `place` counts from 1.
    pub fields: Vec<FieldChange>,
}

/// What happens to users about whom one rule decided before and one decides now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// The rule that decided; null: none did, they were in the stable group.
    pub old_rule: Option<String>,
    /// The rule that decides; null: none does, they are in the stable group.
    pub new_rule: Option<String>,
    /// The share of these users that was in the canary.
    pub old_percent: f64,
    /// The share of these users that is in the canary.
    pub new_percent: f64,
    /// Whether both rules have the same conditions. Otherwise there may be no such users.
    pub same_conditions: bool,
    /// The share of these users that enters the canary; exact, and expected where users are drawn anew.
    pub enter_percent: f64,
    /// The share of these users that leaves the canary.
    pub leave_percent: f64,
    /// Which buckets enter. Empty where users are drawn anew.
    pub enter: Vec<BucketRange>,
    /// Which buckets leave. Empty where users are drawn anew.
    pub leave: Vec<BucketRange>,
}

/// Buckets on the line from 0 to 9999, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BucketRange {
    /// The first bucket.
    pub first: u16,
    /// The last bucket.
    pub last: u16,
}

/// The releases that differ.
pub(super) fn compare(old: &Version, new: &Version) -> Vec<ReleaseChange> {
    changed_objects(&old.spec().releases, &new.spec().releases)
        .map(|(name, change, fields)| compare_one(old, new, name, change, fields))
        .collect()
}

fn compare_one(
    old: &Version,
    new: &Version,
    name: String,
    change: Change,
    mut fields: Vec<FieldChange>,
) -> ReleaseChange {
    // The audience is compared rule by rule, and `redraw` says what became of the hash.
    fields.retain(|field| field.root() != "audience" && !["sticky.salt", "sticky.key"].contains(&field.field.as_str()));
    for field in &mut fields {
        field.moves = FIELDS_THAT_MOVE.contains(&field.field.as_str()) || field.root() == "override";
    }
    let assigners = [assigner(old, &name), assigner(new, &name)];
    let redraw = match assigners {
        [Some(old), Some(new)] => redraw(old.rules(), new.rules()),
        _ => None,
    };
    let specs = [old.spec().releases.get(&name), new.spec().releases.get(&name)];
    let audience = specs[0].zip(specs[1]).map(|(old, new)| audience(old, new)).unwrap_or_default();
    let transitions = transitions(assigners[0], assigners[1], redraw.is_some());
    let routes = routes_of(old.spec(), new.spec(), &name);
    let differs = !transitions.is_empty() || fields.iter().any(|field| field.moves);
    ReleaseChange { moves: differs && !routes.is_empty(), name, change, routes, fields, redraw, audience, transitions }
}

fn assigner<'v>(version: &'v Version, name: &str) -> Option<&'v Assigner> {
    let table = &version.snapshot().table;
    Some(&table.release(table.release_id(name)?)?.assigner)
}

fn routes_of(old: &Spec, new: &Spec, release: &str) -> Vec<String> {
    let mut names: Vec<String> = [old, new]
        .iter()
        .flat_map(|spec| &spec.routes)
        .filter(|(_, route)| route.release.iter().any(|name| name == release))
        .map(|(name, _)| name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn redraw(old: &Release, new: &Release) -> Option<Redraw> {
    let (before, after) = (old.sticky(), new.sticky());
    if before.salt != after.salt {
        let (old, new) = (before.salt.to_string(), after.salt.to_string());
        // A pin is signed for one salt.
        return Some(Redraw { because: "sticky.salt", old, new, pins_hold: false });
    }
    (before.key != after.key).then(|| Redraw {
        because: "sticky.key",
        old: key_text(&before.key),
        new: key_text(&after.key),
        pins_hold: before.pin && after.pin,
    })
}

fn key_text(sources: &[KeySource]) -> String {
    let texts = sources.iter().map(|source| match source {
        KeySource::Header(name) => format!("header {name}"),
        KeySource::Cookie(name) => format!("cookie {name}"),
        KeySource::SerinId => "serin_id".to_owned(),
        KeySource::ClientIp => "client_ip".to_owned(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The rules that differ, in the order of the new audience and then of the old one.
fn audience(old: &ReleaseSpec, new: &ReleaseSpec) -> Vec<RuleChange> {
    let place = |spec: &ReleaseSpec, name: &str| spec.audience.iter().position(|rule| rule.name == name);
    let mut found = Vec::new();
    for (index, rule) in new.audience.iter().enumerate() {
        let Some(before) = place(old, &rule.name) else {
            found.push(RuleChange { name: rule.name.clone(), change: Change::Added, fields: Vec::new() });
            continue;
        };
        let mut fields = fields::compare(&value(&old.audience[before]), &value(rule));
        if before != index {
            let (old, new) = (json!(before + 1), json!(index + 1));
            fields.push(FieldChange { field: "place".into(), old, new, moves: false });
        }
        if !fields.is_empty() {
            found.push(RuleChange { name: rule.name.clone(), change: Change::Changed, fields });
        }
    }
    let gone = old.audience.iter().filter(|rule| place(new, &rule.name).is_none());
    found.extend(gone.map(|rule| RuleChange { name: rule.name.clone(), change: Change::Removed, fields: Vec::new() }));
    found
}

/// Something that decides about users: a rule, or the end of the audience, where users stay in the stable group.
pub(super) struct Decider<'r> {
    pub(super) rule: Option<&'r str>,
    /// Absent at the end of the audience.
    conditions: Option<&'r Conditions>,
    percent: Percent,
    range: Range,
}

/// In the order in which they are asked, up to the first that takes everybody.
pub(super) fn deciders(assigner: Option<&Assigner>) -> Vec<Decider<'_>> {
    let mut list = Vec::new();
    let range = assigner.map_or(Range::Low, |assigner| assigner.rules().sticky().range);
    for (index, rule) in assigner.into_iter().flat_map(|assigner| assigner.rules().audience()).enumerate() {
        let percent = assigner.map_or(Percent::ZERO, |assigner| assigner.share(index));
        list.push(Decider { rule: Some(&rule.name), conditions: Some(&rule.conditions), percent, range });
        if rule.conditions == Conditions::default() {
            return list;
        }
    }
    list.push(Decider { rule: None, conditions: None, percent: Percent::ZERO, range });
    list
}

fn transitions(old: Option<&Assigner>, new: Option<&Assigner>, redrawn: bool) -> Vec<Transition> {
    let (old, new) = (deciders(old), deciders(new));
    let mut found = Vec::new();
    for (after, new_decider) in new.iter().enumerate() {
        for (before, old_decider) in old.iter().enumerate() {
            // Whoever meets the conditions of a rule that comes earlier on the other side is decided there.
            let is_taken = earlier_has(&old[..before], new_decider) || earlier_has(&new[..after], old_decider);
            if !is_taken {
                found.extend(transition(old_decider, new_decider, redrawn));
            }
        }
    }
    found
}

fn earlier_has(earlier: &[Decider<'_>], decider: &Decider<'_>) -> bool {
    decider.conditions.is_some() && earlier.iter().any(|other| other.conditions == decider.conditions)
}

/// `None` if nobody changes.
fn transition(old: &Decider<'_>, new: &Decider<'_>, redrawn: bool) -> Option<Transition> {
    let (before, after) = (taken(old), taken(new));
    let (enter, leave) = match redrawn {
        true => (Vec::new(), Vec::new()),
        false => (beyond(after, before), beyond(before, after)),
    };
    // From zero, because the sum of nothing is -0.0.
    let share = |ranges: &[BucketRange]| ranges.iter().fold(0.0, |sum, range| sum + range.share_percent());
    let (enter_percent, leave_percent) = match redrawn {
        true => (product(new.percent, rest(old.percent)), product(old.percent, rest(new.percent))),
        false => (share(&enter), share(&leave)),
    };
    let moves = enter_percent > 0.0 || leave_percent > 0.0;
    moves.then(|| Transition {
        old_rule: old.rule.map(str::to_owned),
        new_rule: new.rule.map(str::to_owned),
        old_percent: percent(old.percent),
        new_percent: percent(new.percent),
        same_conditions: old.conditions == new.conditions,
        enter_percent,
        leave_percent,
        enter,
        leave,
    })
}

/// The buckets in the canary, from the first up to but not including the last.
pub(super) fn taken(decider: &Decider<'_>) -> (u16, u16) {
    let points = decider.percent.basis_points();
    match decider.range {
        Range::Low => (0, points),
        Range::High => (LINE - points, LINE),
    }
}

/// What the first range has beyond the second.
pub(super) fn beyond((first, end): (u16, u16), (other_first, other_end): (u16, u16)) -> Vec<BucketRange> {
    let below = (first, end.min(other_first));
    let above = (first.max(other_end), end);
    // An empty second range cuts nothing, and must not be counted from both of its sides.
    let pieces = if other_first >= other_end { [(first, end), (0, 0)] } else { [below, above] };
    let pieces = pieces.into_iter().filter(|(first, end)| first < end);
    pieces.map(|(first, end)| BucketRange { first, last: end - 1 }).collect()
}

impl BucketRange {
    fn share_percent(self) -> f64 {
        f64::from(self.last - self.first + 1) / 100.0
    }
}

fn percent(percent: Percent) -> f64 {
    f64::from(percent.basis_points()) / 100.0
}

fn rest(percent: Percent) -> Percent {
    Percent::from_basis_points(Percent::ALL.basis_points() - percent.basis_points()).unwrap_or_default()
}

/// Two draws that know nothing of each other; whole numbers first, so that the result is exact.
fn product(one: Percent, other: Percent) -> f64 {
    f64::from(u32::from(one.basis_points()) * u32::from(other.basis_points())) / 1_000_000.0
}

/// One more than the last bucket.
pub(super) const LINE: u16 = 10_000;

/// Where the groups go, which end of the line the canary takes, and whether users keep a bucket by pin.
const FIELDS_THAT_MOVE: [&str; 3] = ["stable", "canary", "sticky.pin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_beyond_each_other() {
        let check = |one, other, expected: &[(u16, u16)]| {
            let found: Vec<(u16, u16)> = beyond(one, other).iter().map(|range| (range.first, range.last)).collect();
            assert_eq!(found, expected, "{one:?} beyond {other:?}");
        };
        check((0, 1_000), (0, 100), &[(100, 999)]);
        check((0, 100), (0, 1_000), &[]);
        check((0, 100), (0, 0), &[(0, 99)]);
        check((9_000, 10_000), (10_000, 10_000), &[(9_000, 9_999)]);
        check((0, 0), (0, 100), &[]);
        // From one end of the line to the other.
        check((9_900, 10_000), (0, 100), &[(9_900, 9_999)]);
        check((0, 10_000), (4_000, 5_000), &[(0, 3_999), (5_000, 9_999)]);
    }

    #[test]
    fn two_draws() {
        let points = |points| Percent::from_basis_points(points).unwrap();
        assert_eq!(product(points(1_000), rest(points(1_000))), 9.0);
        assert_eq!(product(points(1), rest(points(1))), 0.009_999);
        assert_eq!(product(Percent::ALL, rest(Percent::ALL)), 0.0);
    }
}
