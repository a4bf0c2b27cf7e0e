//! Users who move because a release is hooked to a route or unhooked from it, though the release itself may stay as it is.

use routing_rules::release::Assigner;
use routing_rules::rules::{Override, Release, Route, Target};
use serde::Serialize;

use super::releases::{BucketRange, LINE, beyond, deciders, taken};
use super::{Change, Version};

/// A release that a route uses on one side only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HookChange {
    /// The release.
    pub release: String,
    /// Whether the route uses it now, or did.
    pub change: Change,
    /// Who goes where.
    pub moves: Vec<HookMove>,
}

/// Users of one group that go from one upstream to another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HookMove {
    /// The rule that decides about them; null: none does, or they override it.
    pub rule: Option<String>,
    /// Where their override is, if that decides.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub override_: Option<String>,
    /// The group the release gives them.
    pub group: &'static str,
    /// Their buckets.
    pub buckets: Vec<BucketRange>,
    /// Where they were: an upstream, a split, or what another release says.
    pub from: String,
    /// Where they are.
    pub to: String,
}

/// What became of a route's releases.
pub(super) fn compare(old: &Version, new: &Version, route: &str) -> Vec<HookChange> {
    let sides = [route_of(old, route), route_of(new, route)];
    let [Some(before), Some(after)] = sides else { return Vec::new() };
    let gone = unhooked(old, before, after).into_iter().map(|(release, groups)| HookChange {
        release,
        change: Change::Removed,
        moves: groups.into_iter().map(|group| group.goes(true)).collect(),
    });
    let come = unhooked(new, after, before).into_iter().map(|(release, groups)| HookChange {
        release,
        change: Change::Added,
        moves: groups.into_iter().map(|group| group.goes(false)).collect(),
    });
    gone.chain(come).collect()
}

fn route_of<'v>(version: &'v Version, name: &str) -> Option<&'v Route> {
    let table = &version.snapshot().table;
    Some(table.route(table.route_id(name)?)?.rules())
}

/// The releases that one side's route has and the other's has not, with the groups of users whom that moves.
fn unhooked(version: &Version, with: &Route, without: &Route) -> Vec<(String, Vec<Users>)> {
    let elsewhere = elsewhere(without);
    let releases = with.releases().iter().enumerate().filter(|(_, name)| !without.releases().contains(name));
    let groups = releases.filter_map(|(place, name)| {
        let table = &version.snapshot().table;
        let assigner = &table.release(table.release_id(name.as_str())?)?.assigner;
        // Whom no release takes is the first one's, so only that sends users to its stable upstream.
        Some((name.to_string(), groups(assigner, place == 0, &elsewhere)))
    });
    groups.collect()
}

/// Where users go without the release.
fn elsewhere(route: &Route) -> String {
    match (route.releases(), route.target()) {
        ([first, ..], _) => format!("what release {first} says"),
        ([], Target::Upstream(name)) => format!("upstream {name}"),
        ([], Target::Split(_)) => "the route's split".to_owned(),
        ([], Target::Redirect(_)) => "the route's redirect".to_owned(),
    }
}

/// Users of a release, as long as there are other places for them.
struct Users {
    here: String,
    elsewhere: String,
    rule: Option<String>,
    override_: Option<String>,
    group: &'static str,
    buckets: Vec<BucketRange>,
}

impl Users {
    fn goes(self, is_unhooked: bool) -> HookMove {
        let (from, to) = match is_unhooked {
            true => (self.here, self.elsewhere),
            false => (self.elsewhere, self.here),
        };
        HookMove { rule: self.rule, override_: self.override_, group: self.group, buckets: self.buckets, from, to }
    }
}

fn groups(assigner: &Assigner, has_stable: bool, elsewhere: &str) -> Vec<Users> {
    let release = assigner.rules();
    let users = |group, rule: Option<&str>, buckets| Users {
        here: format!("upstream {}", if group == "canary" { release.canary() } else { release.stable() }),
        elsewhere: elsewhere.to_owned(),
        rule: rule.map(str::to_owned),
        override_: None,
        group,
        buckets,
    };
    let mut found = Vec::new();
    for decider in deciders(Some(assigner)) {
        let canary = taken(&decider);
        found.push(users("canary", decider.rule, beyond(canary, (0, 0))));
        if has_stable {
            found.push(users("stable", decider.rule, beyond((0, LINE), canary)));
        }
    }
    found.retain(|users| !users.buckets.is_empty());
    found.extend(
        override_text(release).map(|text| Users { override_: Some(text), ..users("canary", None, Vec::new()) }),
    );
    found.retain(|users| users.here != users.elsewhere);
    found
}

fn override_text(release: &Release) -> Option<String> {
    Some(match release.override_source()? {
        Override::Header(name) => format!("header {name}"),
        Override::Cookie(name) => format!("cookie {name}"),
    })
}
