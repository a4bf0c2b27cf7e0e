//! The tick of the breakers: ten times a second, what was counted at endpoints moves their breakers
//! (`routing_rules::breaker`, which decides).
//!
//! Workers shut an endpoint at once when failures in a row fill its streak; the tick confirms it or takes it back, and does
//! everything else. Where a breaker stands belongs to the endpoint and lives through every swap.

use std::sync::{Arc, MutexGuard};

use routing_rules::breaker::{Layout, Member, State, Transition, tick as decide};
use routing_rules::rules;

use super::weights;
use crate::snapshot::{BreakerState, Endpoint, Group, Look, Results, Snapshot, Upstream};

/// How long a tick is, in µs.
pub const PERIOD_US: u64 = 100_000;

/// One tick of all upstreams. `draw` gives numbers from 0 to 1.
pub fn tick(snapshot: &Snapshot, now_us: u64, draw: impl Fn() -> f64) {
    for place in snapshot.activity.take(Look::Breakers) {
        let Some(Some(upstream)) = snapshot.upstreams.get(place) else { continue };
        let (own, group) = (upstream.rules.breaker(), upstream.group.as_ref().zip(upstream.rules.group_breaker()));
        let endpoints_move = own.is_some_and(|breaker| tick_endpoints(upstream, breaker, now_us, &draw));
        let group_moves =
            group.is_some_and(|(group, rules)| tick_group(upstream, group, rules, now_us / 1_000, draw()));
        if endpoints_move || group_moves {
            snapshot.activity.mark_for(place, Look::Breakers);
        }
    }
}

/// The group breaker of an upstream under these rules, which stands where it stood.
pub(super) fn group(rules: &rules::Upstream, old: Option<&Upstream>, workers: usize) -> Option<Group> {
    Some(Group::new(rules.group_breaker()?, old.and_then(|old| old.group.as_ref()), workers))
}

/// Whether the next tick has something to look at even if no request came.
fn tick_group(upstream: &Upstream, group: &Group, rules: &rules::GroupBreaker, now_ms: u64, draw: f64) -> bool {
    if let Some(transition) = group.tick(rules, now_ms, draw).transition {
        match transition.opening() {
            Some(_) => tracing::warn!(upstream = %upstream.name(), "group breaker: {transition}"),
            None => tracing::info!(upstream = %upstream.name(), "group breaker: {transition}"),
        }
    }
    group.stands() != State::Closed
}

/// The counters of an endpoint under these rules: those it has, if they count the same.
pub(super) fn results(
    rules: &rules::Upstream,
    old: Option<&Upstream>,
    endpoint: &Arc<Endpoint>,
    workers: usize,
) -> Option<Arc<Results>> {
    let Some(breaker) = rules.breaker() else {
        // One that is switched on again later begins closed, and not where it stood days ago.
        *endpoint.breaker() = None;
        endpoint.gate().reset();
        return None;
    };
    let (layout, streak) = (Layout::of(breaker.condition.as_ref()), breaker.settings.streak);
    let known = old.and_then(|old| old.endpoints.iter().find(|member| Arc::ptr_eq(&member.endpoint, endpoint)));
    let known = known.and_then(|member| member.results.as_ref()).filter(|known| known.is_for(&layout, streak));
    Some(known.map_or_else(|| Arc::new(Results::new(layout, streak, workers)), Arc::clone))
}

/// Whether the next tick has something to look at even if no request came.
fn tick_endpoints(upstream: &Upstream, rules: &rules::Breaker, now_us: u64, draw: &impl Fn() -> f64) -> bool {
    let now_ms = now_us / 1_000;
    let mut states: Vec<MutexGuard<'_, Option<BreakerState>>> =
        upstream.endpoints.iter().map(|member| member.endpoint.breaker()).collect();
    let mut members = Vec::with_capacity(states.len());
    for (member, state) in upstream.endpoints.iter().zip(&mut states) {
        // With a breaker all endpoints of an upstream have results.
        let Some(results) = &member.results else { return false };
        let state = state.get_or_insert_with(|| BreakerState::new(rules.settings, results));
        state.look(rules.settings, results, now_ms);
        let gate = member.endpoint.gate();
        members.push(Member {
            breaker: &mut state.breaker,
            window: &mut state.window,
            gate: gate.load(),
            streak: gate.streak(),
            available: member.endpoint.is_up() && !member.is_draining(),
            check_fails: !member.endpoint.is_up(),
        });
    }
    let gates: Vec<_> = members.iter().map(|member| member.gate).collect();
    let ticked = decide(&mut members, rules.condition.as_ref(), now_ms, draw);
    drop(members);
    upstream.weighing.allow_trips(ticked.trips_left);
    for ((member, change), before) in upstream.endpoints.iter().zip(&ticked.changes).zip(gates) {
        if let Some(transition) = change.transition {
            tell(&member.endpoint, transition);
        }
        member.endpoint.gate().follow(before, change, now_ms);
    }
    let is_moving = states.iter().any(|state| state.as_ref().is_some_and(|state| !state.is_at_rest()));
    let is_ramp = |state: &Option<BreakerState>| state.as_ref().is_some_and(|state| state.breaker.is_ramping());
    let weights_change =
        ticked.changes.iter().any(|change| change.transition.is_some()) || states.iter().any(|state| is_ramp(state));
    drop(states);
    if weights_change {
        weights::publish(upstream, now_us);
    } else if is_moving && let Some(door) = &upstream.door {
        // Probes may be anybody's by now.
        door.ring();
    }
    is_moving
}

/// Tells the weights, the counters and the log that a breaker moved.
fn tell(endpoint: &Endpoint, transition: Transition) {
    if transition.clears()
        && let Some(learned) = &mut *endpoint.learned()
    {
        learned.forget();
    }
    let (upstream, address) = (endpoint.upstream(), endpoint.address());
    if let Some(opening) = transition.opening() {
        endpoint.opened(opening);
        tracing::warn!(%upstream, endpoint = %address, "breaker: {transition}");
    } else {
        tracing::info!(%upstream, endpoint = %address, "breaker: {transition}");
    }
}
