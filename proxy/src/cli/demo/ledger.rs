//! What was measured: every number the demo shows is counted here, from responses.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use super::acts::{ACTS, RULES};

/// An endpoint as the admin API lists it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) is_canary: bool,
}

/// One response.
pub(super) struct Answer {
    pub(super) user: usize,
    /// The round in which the request was sent.
    pub(super) round: u64,
    pub(super) status: StatusCode,
    pub(super) group: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) latency: Duration,
}

/// All counts.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) endpoints: Vec<EndpointCounts>,
    pub(super) acts: Vec<ActCounts>,
    /// The shares in force, by rule.
    pub(super) shares: Vec<String>,
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// Users who changed their group against the direction of an act.
    pub(super) changed_back: u64,
    /// What went wrong, in words; the first few.
    pub(super) troubles: Vec<String>,
    users: Vec<UserState>,
    act: usize,
    round: u64,
    /// The endpoints of the last requests, by place.
    recent: VecDeque<usize>,
}

/// Counts of one endpoint.
#[derive(Clone)]
pub(super) struct EndpointCounts {
    pub(super) place: Place,
    pub(super) requests: u64,
    latencies: VecDeque<Duration>,
}

/// Counts of one act.
#[derive(Clone, Default)]
pub(super) struct ActCounts {
    pub(super) stage: ActStage,
    /// Users in the canary now or at the end of the act, by rule.
    pub(super) inside: [usize; RULES.len()],
    /// Users who came into the canary.
    pub(super) came: u64,
    /// Users who went out of the canary.
    pub(super) went: u64,
    /// From writing the file to its rules being in force.
    pub(super) reload: Option<Duration>,
}

/// How far an act is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ActStage {
    #[default]
    Ahead,
    Now,
    Over,
}

#[derive(Clone, Copy)]
struct UserState {
    /// The rule that decides about the user.
    rule: Option<usize>,
    /// Whether the user was in the canary when last seen; nothing: never seen.
    inside: Option<bool>,
    /// The last round in which the user came.
    round: u64,
}

impl Ledger {
    /// Nothing counted yet. `rules`: which audience rule decides about each user.
    pub(super) fn new(rules: Vec<Option<usize>>, endpoints: Vec<Place>) -> Self {
        let endpoints = endpoints.into_iter();
        Self {
            endpoints: endpoints
                .map(|place| EndpointCounts { place, requests: 0, latencies: VecDeque::new() })
                .collect(),
            acts: vec![ActCounts::default(); ACTS.len()],
            shares: vec![String::new(); RULES.len()],
            requests: 0,
            failed: 0,
            changed_back: 0,
            troubles: Vec::new(),
            users: rules.into_iter().map(|rule| UserState { rule, inside: None, round: 0 }).collect(),
            act: 0,
            round: 0,
            recent: VecDeque::new(),
        }
    }

    /// An act begins. Called before its rules are written, so that nobody moves before it.
    pub(super) fn begin(&mut self, act: usize) {
        self.act = act;
        self.acts[act].stage = ActStage::Now;
        self.acts[act].inside = self.inside();
    }

    /// The rules of the act are in force: from now on everybody must be seen once more.
    pub(super) fn in_force(&mut self, shares: Vec<String>, reload: Option<Duration>) {
        self.shares = shares;
        self.acts[self.act].reload = reload;
        self.round += 1;
    }

    /// The act is over; what it promised must hold.
    pub(super) fn end(&mut self) {
        self.acts[self.act].stage = ActStage::Over;
        let inside: usize = self.acts[self.act].inside.iter().sum();
        let unseen = self.users.iter().filter(|user| user.round != self.round).count();
        let act = &ACTS[self.act];
        if unseen > 0 {
            self.trouble(format!("{unseen} users did not come in time at {}", act.label));
        } else if act.is_complete() && inside != self.users.len() {
            self.trouble(format!("at 100 % only {inside} of {} users are in the canary", self.users.len()));
        } else if act.is_rollback() && inside != 0 {
            self.trouble(format!("after the rollback {inside} users are still in the canary"));
        }
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Whether every user was served by the rules in force.
    pub(super) fn has_seen_everybody(&self) -> bool {
        self.round > 0 && self.users.iter().all(|user| user.round == self.round)
    }

    /// Counts a response.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.requests += 1;
        let endpoint = answer.endpoint.as_deref().and_then(|address| self.place_of(address));
        let inside = match answer.group.as_deref() {
            Some("canary") => Some(true),
            Some("stable") => Some(false),
            _ => None,
        };
        let (Some(endpoint), Some(inside), true) = (endpoint, inside, answer.status.is_success()) else {
            self.failed += 1;
            self.trouble(format!("status {} without group or endpoint", answer.status.as_u16()));
            return;
        };
        if self.endpoints[endpoint].place.is_canary != inside {
            self.failed += 1;
            self.trouble("a request went to an endpoint of the other group".into());
        }
        self.endpoints[endpoint].count(answer.latency);
        push_bounded(&mut self.recent, endpoint, RECENT);
        self.user_came(answer.user, inside, answer.round);
    }

    /// Counts a request without a response.
    pub(super) fn failed(&mut self, error: &str) {
        self.requests += 1;
        self.failed += 1;
        self.trouble(error.to_owned());
    }

    fn user_came(&mut self, number: usize, inside: bool, round: u64) {
        let user = &mut self.users[number];
        user.round = user.round.max(round);
        let before = user.inside.replace(inside).unwrap_or(false);
        if before == inside {
            return;
        }
        let act = &mut self.acts[self.act];
        match inside {
            true => act.came += 1,
            false => act.went += 1,
        }
        if inside == ACTS[self.act].is_rollback() {
            self.changed_back += 1;
        }
        self.acts[self.act].inside = self.inside();
    }

    fn inside(&self) -> [usize; RULES.len()] {
        let mut counts = [0; RULES.len()];
        for user in self.users.iter().filter(|user| user.inside == Some(true)) {
            if let Some(rule) = user.rule {
                counts[rule] += 1;
            }
        }
        counts
    }

    /// How many users each rule decides about.
    pub(super) fn audience(&self) -> [usize; RULES.len()] {
        let mut counts = [0; RULES.len()];
        self.users.iter().filter_map(|user| user.rule).for_each(|rule| counts[rule] += 1);
        counts
    }

    pub(super) fn user_count(&self) -> usize {
        self.users.len()
    }

    /// The act that is on, or was last.
    pub(super) fn act(&self) -> &ActCounts {
        &self.acts[self.act]
    }

    /// How many of the last requests went to an endpoint, from 0 to 1.
    pub(super) fn recent_share(&self, endpoint: usize) -> f64 {
        let hits = self.recent.iter().filter(|recent| **recent == endpoint).count();
        hits as f64 / self.recent.len().max(1) as f64
    }

    /// The same for all requests.
    pub(super) fn whole_share(&self, endpoint: usize) -> f64 {
        let all: u64 = self.endpoints.iter().map(|endpoint| endpoint.requests).sum();
        self.endpoints[endpoint].requests as f64 / all.max(1) as f64
    }

    /// Whether no request failed, no user changed back, and every act kept its promise.
    pub(super) fn all_is_well(&self) -> bool {
        self.failed == 0 && self.changed_back == 0 && self.troubles.is_empty()
    }

    fn place_of(&self, address: &str) -> Option<usize> {
        let address: SocketAddr = address.parse().ok()?;
        self.endpoints.iter().position(|endpoint| endpoint.place.address == address)
    }

    fn trouble(&mut self, text: String) {
        if self.troubles.len() < TROUBLES && !self.troubles.contains(&text) {
            self.troubles.push(text);
        }
    }
}

impl EndpointCounts {
    fn count(&mut self, latency: Duration) {
        self.requests += 1;
        push_bounded(&mut self.latencies, latency, LATENCIES);
    }

    /// Of the last requests.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// How many requests "now" is: three seconds of them.
pub(super) const RECENT: usize = 1_000;

/// How many latencies of an endpoint count.
const LATENCIES: usize = 200;

/// How many troubles are told.
const TROUBLES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let place = |port, is_canary| Place { address: ([127, 0, 0, 1], port).into(), is_canary };
        Ledger::new(vec![Some(0), Some(2)], vec![place(1, false), place(2, true)])
    }

    fn answer(ledger: &mut Ledger, user: usize, canary: bool) {
        let (group, endpoint) = if canary { ("canary", "127.0.0.1:2") } else { ("stable", "127.0.0.1:1") };
        ledger.answered(&Answer {
            user,
            round: ledger.round(),
            status: StatusCode::OK,
            group: Some(group.into()),
            endpoint: Some(endpoint.into()),
            latency: Duration::from_millis(4),
        });
    }

    #[test]
    fn whoever_changes_back_is_counted() {
        let mut ledger = ledger();
        ledger.begin(0);
        ledger.in_force(Vec::new(), None);
        answer(&mut ledger, 0, true);
        answer(&mut ledger, 1, false);
        assert!(ledger.has_seen_everybody());
        assert_eq!((ledger.acts[0].came, ledger.acts[0].inside), (1, [1, 0, 0]));
        ledger.end();
        assert!(ledger.all_is_well());
        answer(&mut ledger, 0, false);
        assert_eq!(ledger.changed_back, 1);
        assert!(!ledger.all_is_well());
    }

    #[test]
    fn a_rollback_turns_the_direction() {
        let mut ledger = ledger();
        ledger.begin(0);
        ledger.in_force(Vec::new(), None);
        answer(&mut ledger, 0, true);
        ledger.begin(ACTS.len() - 1);
        ledger.in_force(Vec::new(), None);
        answer(&mut ledger, 0, false);
        assert_eq!((ledger.act().went, ledger.changed_back), (1, 0));
        answer(&mut ledger, 1, true);
        assert_eq!(ledger.changed_back, 1);
    }

    #[test]
    fn a_response_of_the_wrong_group_is_a_failure() {
        let mut ledger = ledger();
        ledger.begin(0);
        ledger.answered(&Answer {
            user: 0,
            round: 0,
            status: StatusCode::OK,
            group: Some("canary".into()),
            endpoint: Some("127.0.0.1:1".into()),
            latency: Duration::ZERO,
        });
        assert_eq!(ledger.failed, 1);
    }
}
