//! The breakers of one upstream's endpoints together: who may open when others must stay.
//!
//! [`tick`] is run every 100 ms on the control path. An endpoint is not opened when too few would be left, nor when the
//! others are no better (the peer rule): then the fault is behind all of them, and taking one out only loads the rest.

use super::{Breaker, Cause, Condition, Gate, Hold, Layout, Signs, Transition, Window};

/// An endpoint of the upstream at the moment of a tick.
#[derive(Debug)]
pub struct Member<'a> {
    /// Its breaker.
    pub breaker: &'a mut Breaker,
    /// Its results, fed up to now.
    pub window: &'a mut Window,
    /// Its gate, as read.
    pub gate: Gate,
    /// Its streak, as read.
    pub streak: u64,
    /// Neither down nor draining.
    pub available: bool,
    /// Its active checks fail.
    pub check_fails: bool,
}

/// What a tick says of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The gate to publish: by compare-and-exchange with the one read, or in any case if there is a transition. If a
    /// worker changed the gate meanwhile and there is no transition, the next tick looks at it.
    pub gate: Gate,
    /// What happened. If it [clears](Transition::clears), the streak starts anew; the window is cleared already.
    pub transition: Option<Transition>,
}

/// What a tick says of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticked {
    /// By the place of the members.
    pub changes: Vec<Change>,
    /// How many gates workers may trip until the next tick, together.
    pub trips_left: usize,
}

/// Moves the breakers of all endpoints of an upstream. `draw` gives numbers from 0 to 1.
pub fn tick(
    members: &mut [Member<'_>],
    condition: Option<&Condition>,
    now_ms: u64,
    mut draw: impl FnMut() -> f64,
) -> Ticked {
    for member in members.iter_mut() {
        member.window.advance(now_ms);
    }
    let everybody = sum(members);
    let must_stay = members.len().div_ceil(2).max(1);
    let mut available = members.iter().filter(|member| member.available && !member.breaker.is_out()).count();
    let change = |member: &mut Member<'_>| {
        let counted = member.available && !member.breaker.is_out();
        let too_few = (counted && available <= must_stay).then_some(Hold::TooFewLeft);
        let others_fail = others_fail_too(member.window.total(), &everybody);
        let cause = cause(member, condition);
        let by_peers = |cause| match cause {
            Cause::Streak => others_fail.then_some(Hold::PeersFailToo),
            Cause::Condition => others_alike(member, &everybody, condition).then_some(Hold::PeersAlike),
        };
        let hold = too_few.or_else(|| by_peers(cause?));
        let check_fails = member.check_fails;
        let transition =
            member.breaker.step(&Signs { now_ms, draw: draw(), gate: member.gate, cause, hold, check_fails });
        if transition.is_some_and(Transition::clears) {
            member.window.clear();
        }
        available -= usize::from(counted && member.breaker.is_out());
        let may_trip = too_few.is_none() && !others_fail;
        Change { gate: member.breaker.gate(now_ms, member.gate, may_trip), transition }
    };
    let changes = members.iter_mut().map(change).collect();
    Ticked { changes, trips_left: available.saturating_sub(must_stay) }
}

/// Why a member wants to open. A streak comes first: it is the more certain of the two.
fn cause(member: &Member<'_>, condition: Option<&Condition>) -> Option<Cause> {
    let settings = member.breaker.settings();
    if member.gate.is_tripped() || settings.streak.is_full(member.streak) {
        return Some(Cause::Streak);
    }
    let holds = |condition: &Condition| condition.holds_with(settings.min_requests, member.window.total());
    condition.is_some_and(holds).then_some(Cause::Condition)
}

/// Whether the share of failures of the others exceeds half of the own one. The own one counts a failure more, so that an endpoint
/// without results is not held by the first failure of another.
fn others_fail_too(own: &[u64], everybody: &[u64]) -> bool {
    let others = |count: fn(&[u64]) -> u64| count(everybody).saturating_sub(count(own));
    let (failures, results) = (others(Layout::failures), others(Layout::results));
    let own_share = (Layout::failures(own) as f64 + 1.0) / (Layout::results(own) as f64 + 1.0);
    results > 0 && failures as f64 / results as f64 > own_share / 2.0
}

/// Whether the condition holds for the others together as well.
fn others_alike(member: &Member<'_>, everybody: &[u64], condition: Option<&Condition>) -> bool {
    let Some(condition) = condition else { return false };
    let own = member.window.total();
    let others = everybody.iter().take(condition.layout().cells()).enumerate();
    let others: Vec<u64> = others.map(|(cell, all)| all.saturating_sub(own.get(cell).copied().unwrap_or(0))).collect();
    condition.holds_with(member.breaker.settings().min_requests, &others)
}

fn sum(members: &[Member<'_>]) -> Vec<u64> {
    let mut sum = Vec::new();
    for member in members {
        let row = member.window.total();
        sum.resize(sum.len().max(row.len()), 0_u64);
        sum.iter_mut().zip(row).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
    }
    sum
}
