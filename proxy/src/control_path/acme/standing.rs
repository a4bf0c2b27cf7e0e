//! How far orders are, for whoever wants to know.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use routing_rules::rules::{Name, RuleSet};
use serde::Serialize;
use utoipa::ToSchema;

use super::kept::Failures;
use super::{Acme, Wanted, challenge_word};
use crate::moment;

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Standing {
    /// At which account.
    pub account: String,
    /// `http_01` or `tls_alpn_01`.
    pub challenge: &'static str,
    /// `issued`; `ordering` while an order is under way here; `failing` after one that has failed; or `waiting` for one to begin.
    pub state: &'static str,
    /// How often in a row it has failed.
    pub failures: u32,
    /// Why it failed last, in the words of the authority; or why it is not ordered at all.
    pub problem: Option<String>,
    /// When it is ordered next (RFC 3339).
    pub next: String,
}

/// What became of orders of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderTotals {
    /// Those with a certificate.
    pub issued: u64,
    /// Those without.
    pub failed: u64,
}

impl Acme {
    /// How far the orders are that rules want, by certificate.
    pub fn standings(&self, rules: &RuleSet) -> Vec<(Name, Standing)> {
        let now_ms = moment::unix_ms();
        Wanted::all(rules).map(|wanted| (wanted.name().clone(), self.standing(&wanted, now_ms))).collect()
    }

    /// How often in a row each order has failed that rules want.
    pub fn failing(&self, rules: &RuleSet) -> Vec<(Name, u32)> {
        let known = |wanted: &Wanted| self.failures(wanted).map_or(0, |failures| failures.known());
        Wanted::all(rules).map(|wanted| (wanted.name().clone(), known(&wanted))).collect()
    }

    pub(super) fn standing(&self, wanted: &Wanted, now_ms: u64) -> Standing {
        let failures = self.failures(wanted);
        let due_ms = self.due_ms(wanted, now_ms);
        let known = failures.as_ref().map_or(0, Failures::known);
        let state = match known {
            _ if self.is_under_way(wanted.name()) => "ordering",
            1.. => "failing",
            0 if self.renewal_ms(wanted, now_ms) > now_ms => "issued",
            0 => "waiting",
        };
        let problem = failures.map(|failures| failures.problem).filter(|problem| !problem.is_empty());
        Standing {
            account: wanted.account.name().to_string(),
            challenge: challenge_word(wanted.challenge),
            state,
            failures: known,
            problem: self.vault.trouble().or(problem),
            next: date(i64::try_from(due_ms.max(now_ms) / 1_000).unwrap_or(i64::MAX)),
        }
    }

    /// What became of orders so far.
    pub fn totals(&self) -> OrderTotals {
        OrderTotals { issued: self.issued.load(Relaxed), failed: self.failed.load(Relaxed) }
    }
}

/// A moment in seconds since 1970 (RFC 3339).
pub fn date(seconds: i64) -> String {
    // As far as dates are written.
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST_DATE);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The end of the year 9999.
const LAST_DATE: u64 = 253_402_300_799;
