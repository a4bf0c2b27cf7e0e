//! Which environments are known of each template, for whoever makes routes and upstreams of them or wants to see it.
//!
//! Whoever follows their registrations writes it down here, and what was known last stays when nobody is heard. It belongs to
//! the template's name and lives through every swap; no request looks at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use routing_rules::rules::{Environment, Name};

/// The environments of all templates.
#[derive(Default)]
pub struct KnownEnvironments(Mutex<BTreeMap<Name, LiveEnvironments>>);

/// Those of one template at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveEnvironments {
    /// Those that are live, who came first before the others.
    pub live: Arc<[Environment]>,
    /// How many wait for a place.
    pub waiting: usize,
    /// The next one to get a place.
    pub next: Option<Environment>,
    /// Keys whose values would make no host or name.
    pub refused: usize,
    /// Why the first of them is refused.
    pub refusal: Option<Box<str>>,
    /// Whether registrations were asked for, however that ended.
    pub was_asked: bool,
    /// Why nothing is heard, if nothing is.
    pub failure: Option<Box<str>>,
}

impl KnownEnvironments {
    /// What is known of a template's environments.
    pub fn of(&self, template: &Name) -> Option<LiveEnvironments> {
        self.lock().get(template).cloned()
    }

    /// The same; at first it is what an earlier process had.
    pub fn of_or(&self, template: &Name, stored: impl FnOnce() -> Arc<[Environment]>) -> LiveEnvironments {
        let mut all = self.lock();
        all.entry(template.clone())
            .or_insert_with(|| LiveEnvironments { live: stored(), ..LiveEnvironments::default() })
            .clone()
    }

    /// Puts down what is known now. Returns whether others are to be made, or something else is wrong, than before.
    pub fn put(&self, template: &Name, known: LiveEnvironments) -> bool {
        let mut all = self.lock();
        let before = all.entry(template.clone()).or_default();
        let is_news =
            |known: &LiveEnvironments| (known.live.clone(), known.next.clone(), known.refusal.clone(), known.was_asked);
        let has_changed = is_news(before) != is_news(&known);
        *before = known;
        has_changed
    }

    /// Nothing is heard for the time being. Returns whether that is the first thing that was asked.
    pub fn fail(&self, template: &Name, reason: &str) -> bool {
        let mut all = self.lock();
        let known = all.entry(template.clone()).or_default();
        known.failure = Some(reason.into());
        !std::mem::replace(&mut known.was_asked, true)
    }

    /// A template has gone.
    pub fn forget(&self, template: &Name) {
        self.lock().remove(template);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, LiveEnvironments>> {
        // No change of the map can be left half made by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
