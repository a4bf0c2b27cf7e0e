//! Whom an edit of a release, or another percent, would move of the users who came lately to this instance.

use std::sync::Arc;

use routing_rules::release::{Assigner, Group, Preview, ReleaseState, SeenUser, Status};
use routing_rules::rules::Release;
use routing_rules::spec::Percent;
use routing_rules::table::CompiledRelease;

use crate::snapshot::{RecentUser, Snapshot};

/// A release as it would be with these rules and, if one is given, this percent.
#[must_use]
pub fn as_it_would_be(
    snapshot: &Snapshot,
    release: &CompiledRelease,
    rules: &Release,
    percent: Option<Percent>,
) -> (Assigner, ReleaseState) {
    let (now, context) = (release.assigner.rules(), snapshot.table.context());
    let is_same = (rules.stable(), rules.canary()) == (now.stable(), now.canary());
    let state = if is_same { context.state(rules) } else { ReleaseState::initial(rules) };
    let state = percent.map_or(state, |percent| state.with_percent(percent).with_status(Status::Running));
    let salts = release.record.as_ref().filter(|_| is_same).map_or(0, |record| record.salts);
    (Assigner::new(Arc::new(rules.with_another_salt(salts)), &state, &context.secret), state)
}

/// What is known of a user's last request, without its headers.
#[must_use]
pub fn seen(user: &RecentUser) -> SeenUser {
    let RecentUser { bucket, client, device, rule, is_pinned, .. } = *user;
    SeenUser { bucket, client, device, rule, is_pinned }
}

/// What an edit would do to those who came lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// How many came.
    pub users: usize,
    /// How many of these would go back to stable.
    pub back: usize,
    /// Of how many that cannot be told.
    pub unknown: usize,
}

/// How many of those who came lately an edit would take back to stable. `None` if nobody can tell: nobody has come, or all would be
/// drawn anew.
pub fn taken_back(snapshot: &Snapshot, edited: &Release) -> Option<TakenBack> {
    let id = snapshot.table.release_id(edited.name().as_str())?;
    let release = snapshot.table.release(id)?;
    let users = snapshot.traffic.comparison(id)?.recent_users();
    let (then, _) = as_it_would_be(snapshot, release, edited, None);
    let preview = Preview { now: &release.assigner, then: &then, geo: snapshot.geo.as_deref() };
    if users.is_empty() || preview.redraw().is_some() {
        return None;
    }
    let mut told = TakenBack { users: users.len(), ..TakenBack::default() };
    for forecast in users.iter().map(|user| preview.of(&seen(user))) {
        match (forecast.now, forecast.then) {
            (Some(Group::Canary), Some(Group::Stable)) => told.back += 1,
            (None, _) | (_, None) => told.unknown += 1,
            (Some(_), Some(_)) => {}
        }
    }
    Some(told)
}
