//! What became of messages so far, for whoever asks this instance.

use std::sync::{Mutex, MutexGuard, PoisonError};

use routing_rules::rules::Name;
use serde::Serialize;
use utoipa::ToSchema;

use super::Webhook;
use crate::control_path::release::time;
use crate::moment;

/// A webhook, and what became of its messages since this instance started.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    name: String,
    /// The releases that it is about; null if all.
    releases: Option<Vec<String>>,
    /// Whether this instance sends: alone, or as the one that leads.
    sends: bool,
    /// Changes that are not delivered yet, as far as this instance knows.
    backlog: u64,
    #[serde(flatten)]
    totals: Totals,
    /// What was delivered last.
    last_delivered: Option<DeliveredView>,
    /// What failed last.
    last_failure: Option<FailureView>,
}

/// Calls by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Totals {
    /// Changes that were taken.
    pub delivered: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Changes that were given up.
    pub given_up: u64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookDelivered)]
struct DeliveredView {
    release: String,
    /// The number of the change.
    number: u64,
    /// When.
    at: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WebhookFailure)]
struct FailureView {
    release: Option<String>,
    /// When.
    at: String,
    reason: String,
}

/// What is known.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Known>);

#[derive(Default)]
struct Known {
    sends: bool,
    backlog: u64,
    /// Whether it has not worked since something was delivered last.
    fails: bool,
    totals: Totals,
    delivered: Option<DeliveredView>,
    failure: Option<FailureView>,
}

impl Ledger {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that is set can be half set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sends(&self, sends: bool, backlog: u64) {
        let mut known = self.known();
        (known.sends, known.backlog) = (sends, backlog);
    }

    /// Returns whether it did not work before.
    pub(super) fn delivered(&self, release: &Name, number: u64) -> bool {
        let mut known = self.known();
        known.totals.delivered += 1;
        known.delivered = Some(DeliveredView { release: release.to_string(), number, at: time(moment::unix_ms()) });
        std::mem::take(&mut known.fails)
    }

    /// A call, or something before one, has failed. Returns whether that is new.
    pub(super) fn failed(&self, release: Option<&Name>, reason: &str) -> bool {
        let mut known = self.known();
        known.totals.failed += u64::from(release.is_some());
        let failed_before = std::mem::replace(&mut known.fails, true);
        let is_new = !failed_before || known.failure.as_ref().is_none_or(|before| before.reason != reason);
        let (release, reason) = (release.map(Name::to_string), reason.to_owned());
        known.failure = Some(FailureView { release, at: time(moment::unix_ms()), reason });
        is_new
    }

    pub(super) fn given_up(&self, count: u64) {
        self.known().totals.given_up += count;
    }
}

impl Webhook {
    /// As it is shown.
    pub fn view(&self) -> WebhookView {
        let known = self.ledger.known();
        WebhookView {
            name: self.name.to_string(),
            releases: self.only.clone(),
            sends: known.sends,
            backlog: known.backlog,
            totals: known.totals,
            last_delivered: known.delivered.clone(),
            last_failure: known.failure.clone(),
        }
    }

    /// Its name, what became of messages, and how many changes are not delivered yet.
    pub fn totals(&self) -> (&str, Totals, u64) {
        let known = self.ledger.known();
        (self.name.as_str(), known.totals, known.backlog)
    }
}
