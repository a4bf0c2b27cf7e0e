//! The tick: twice a second, what endpoints were seen to do becomes weights (`routing_rules::balance`, which decides).
//!
//! What is learned belongs to the endpoint and lives through every swap; what is published belongs to one version of an
//! upstream. Upstreams without requests are passed by.

use std::sync::MutexGuard;

use routing_rules::balance::{Counts, Evidence, Learned, Learning, Share, TICK_US, Weights, recompute};

use crate::moment;
use crate::snapshot::{Endpoint, Look, Member, Snapshot, Upstream};

/// One tick of all upstreams.
pub fn tick(snapshot: &Snapshot, now_us: u64) {
    for place in snapshot.activity.take(Look::Weights) {
        let Some(Some(upstream)) = snapshot.upstreams.get(place) else { continue };
        if let Some(learning) = upstream.balancer.learning()
            && tick_one(upstream, learning, now_us)
        {
            snapshot.activity.mark_for(place, Look::Weights);
        }
    }
}

/// How long a tick is, in µs.
pub const PERIOD_US: u64 = TICK_US;

/// The weight of a newcomer rises from here on.
pub(super) fn start_ramp(endpoint: &Endpoint, now_us: u64) {
    known(&mut endpoint.learned()).start_ramp(now_us);
}

/// Weights are learned from here on: what an endpoint was seen to do under another balance is no evidence of the last seconds.
pub(super) fn start_learning(endpoint: &Endpoint) {
    if let Some(counts) = endpoint.evidence() {
        known(&mut endpoint.learned()).restart(counts);
    }
}

/// Puts in force what is known of the endpoints, whatever divides requests over them.
pub(super) fn publish(upstream: &Upstream, now_us: u64) {
    upstream.weighing.publish(|| {
        let shares: Vec<Share> = upstream.endpoints.iter().map(|member| share(upstream, member, now_us)).collect();
        Weights::new(&shares)
    });
    // Who waits may find room at an endpoint that has come back.
    if let Some(door) = &upstream.door {
        door.ring();
    }
}

/// The same for the upstream of an endpoint, if the snapshot still has it.
pub fn publish_for(snapshot: &Snapshot, endpoint: &Endpoint) {
    let Some((id, upstream)) = snapshot.upstream_of(endpoint) else { return };
    // A ramp goes on with the next tick, though nobody asks for anything.
    snapshot.activity.mark(id.index());
    publish(upstream, moment::now_us());
}

fn share(upstream: &Upstream, member: &Member, now_us: u64) -> Share {
    let configured = f64::from(member.weight);
    let (is_up, is_draining) = (member.endpoint.is_up(), member.is_draining());
    let breaker = match (&*member.endpoint.breaker(), &member.results) {
        (Some(state), Some(_)) => state.breaker.factor(now_us / 1_000),
        _ => 1.0,
    };
    let usual = Share { configured, learned: 1.0, ramp: 1.0, breaker, is_up, is_draining };
    match (upstream.balancer.learning(), &*member.endpoint.learned()) {
        (Some(learning), Some(learned)) => {
            Share { learned: learned.weight(), ramp: learned.ramp(learning, now_us), ..usual }
        }
        _ => usual,
    }
}

/// Whether the next tick would change something even if no request came.
fn tick_one(upstream: &Upstream, learning: &Learning, now_us: u64) -> bool {
    let mut learned: Vec<MutexGuard<'_, Option<Learned>>> =
        upstream.endpoints.iter().map(|member| member.endpoint.learned()).collect();
    let mut group: Vec<(&mut Learned, Evidence)> = Vec::with_capacity(learned.len());
    for (member, learned) in upstream.endpoints.iter().zip(&mut learned) {
        let learned = known(learned);
        if let Some(counts) = member.endpoint.evidence() {
            learned.close_slot(counts);
        }
        let is_out =
            member.results.is_some() && member.endpoint.breaker().as_ref().is_some_and(|state| state.breaker.is_out());
        if !is_out {
            let evidence = learned.evidence(learning, now_us);
            group.push((learned, evidence));
        }
    }
    recompute(learning, &mut group);
    let is_moving = group.iter().any(|(learned, evidence)| is_moving(learned, evidence, learning, now_us));
    drop(learned);
    publish(upstream, now_us);
    is_moving
}

fn is_moving(learned: &Learned, evidence: &Evidence, learning: &Learning, now_us: u64) -> bool {
    let has_evidence = *evidence != Evidence::default();
    has_evidence || learned.ln_weight().abs() > SETTLED || learned.ramp(learning, now_us) < 1.0
}

/// Counters begin with the endpoint, so nothing was counted before this.
fn known(learned: &mut Option<Learned>) -> &mut Learned {
    learned.get_or_insert_with(|| Learned::new(Counts::default()))
}

/// A learned weight this near to the usual one, in units of the logarithm, moves nobody.
const SETTLED: f64 = 0.001;
