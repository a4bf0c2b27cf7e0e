//! The tick: twice a second, what endpoints were seen to do becomes weights (`routing_rules::balance`, which decides).
//!
//! What is learned belongs to the endpoint and lives through every swap; what is published belongs to one version of an
//! upstream. Upstreams without requests are passed by.

use std::sync::MutexGuard;

use routing_rules::balance::{Counts, Evidence, Learned, Learning, Share, TICK_US, Weights, recompute};

use crate::snapshot::{Balancer, Endpoint, Snapshot, Upstream};

/// One tick of all upstreams.
pub fn tick(snapshot: &Snapshot, now_us: u64) {
    for upstream in snapshot.upstreams.iter().flatten() {
        if let Balancer::Dwrr { learning, .. } = &upstream.balancer
            && upstream.weighing.take_use()
        {
            tick_one(upstream, learning, now_us);
        }
    }
}

/// How long a tick is, in µs.
pub const PERIOD_US: u64 = TICK_US;

/// The weight of a newcomer rises from here on.
pub(super) fn start_ramp(endpoint: &Endpoint, now_us: u64) {
    known(&mut endpoint.learned()).start_ramp(now_us);
}

/// Puts in force what is known of the endpoints. Only `dwrr` uses what was learned; breakers are for all.
pub(super) fn publish(upstream: &Upstream, now_us: u64) {
    let learning = match &upstream.balancer {
        Balancer::Dwrr { learning, .. } => Some(learning),
        _ => None,
    };
    let shares = upstream.endpoints.iter().map(|member| {
        let (learned, breaker) = (member.endpoint.learned(), member.endpoint.breaker());
        let learned = learning.zip(learned.as_ref());
        let breaker = breaker.as_ref().filter(|_| member.results.is_some());
        Share {
            configured: f64::from(member.weight),
            learned: learned.map_or(1.0, |(_, learned)| learned.weight()),
            ramp: learned.map_or(1.0, |(learning, learned)| learned.ramp(learning, now_us)),
            breaker: breaker.map_or(1.0, |state| state.breaker.factor(now_us / 1_000)),
            is_up: true,
            is_draining: member.weight == 0,
        }
    });
    let shares: Vec<Share> = shares.collect();
    let weights = Weights::new(&shares);
    if weights.is_panic {
        upstream.weighing.panicked();
    }
    upstream.weighing.publish(&weights.effective);
}

fn tick_one(upstream: &Upstream, learning: &Learning, now_us: u64) {
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
    if group.iter().any(|(learned, evidence)| is_moving(learned, evidence, learning, now_us)) {
        upstream.weighing.look_again();
    }
    drop(learned);
    publish(upstream, now_us);
}

/// Whether the next tick would change something even if no request came.
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
