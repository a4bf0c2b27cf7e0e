//! What the fleet found, as every instance reads it, whoever leads.

use std::collections::HashMap;
use std::sync::Arc;

use routing_rules::rules::{AnalysisMode, Name, Release};

use super::super::known::Known;
use super::kept::Kept;
use crate::control_path::etcd::Value;
use crate::control_path::fleet::Fleet;
use crate::snapshot::Snapshot;

/// Follows what is kept.
pub(in super::super) struct Followed {
    fleet: Arc<Fleet>,
    found: HashMap<Name, Read>,
}

/// What was read of a release.
struct Read {
    revision: i64,
    rules: Arc<Release>,
    known: Option<Known>,
}

impl Followed {
    pub(in super::super) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet, found: HashMap::new() }
    }

    /// Returns whether there is any news.
    pub(in super::super) fn look(&mut self, snapshot: &Snapshot) -> bool {
        let kept = self.fleet.analyses();
        let mut before = std::mem::take(&mut self.found);
        let mut is_news = false;
        for (_, release) in snapshot.table.releases() {
            let rules = release.assigner.rules();
            let Some(value) = kept.get(rules.name().as_str()) else { continue };
            let read = before.remove(rules.name()).filter(|read| read.is_of(value, rules));
            let read = read.unwrap_or_else(|| {
                is_news = true;
                Read::of(value, rules)
            });
            self.found.insert(rules.name().clone(), read);
        }
        is_news || !before.is_empty()
    }

    /// Whether nothing can have been found that is not known here.
    pub(in super::super) fn is_current(&self) -> bool {
        self.fleet.knows_analyses()
    }

    pub(in super::super) fn known(&self, rules: &Release) -> Option<&Known> {
        self.found.get(rules.name())?.known.as_ref()
    }
}

impl Read {
    fn is_of(&self, value: &Value, rules: &Arc<Release>) -> bool {
        self.revision == value.mod_revision && Arc::ptr_eq(&self.rules, rules)
    }

    /// What cannot be read is found by nobody: whoever leads says why.
    fn of(value: &Value, rules: &Arc<Release>) -> Self {
        let is_judged = rules.analysis().mode != AnalysisMode::Off;
        let known = is_judged.then(|| Kept::read(&value.bytes).ok()?.known(rules)).flatten();
        Self { revision: value.mod_revision, rules: Arc::clone(rules), known }
    }
}
