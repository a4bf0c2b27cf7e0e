//! Texts at which Serin fails. They are held back, so that one of them keeps no other out, and looked at again when they change.

use std::collections::BTreeMap;

use crate::control_path::decode::Problem;
use crate::control_path::source::{Change, Place, Text, Texts};

/// All of them.
#[derive(Default)]
pub(super) struct HeldBack(BTreeMap<Place, One>);

struct One {
    /// What stands here; nothing if it is the removal that fails.
    wanted: Option<Text>,
    /// What stood here before, and stays.
    instead: Option<Text>,
    problem: Problem,
}

impl HeldBack {
    /// The texts with what is good in the place of those. One that is another now gets another chance.
    pub(super) fn replace_in(&mut self, texts: &mut Texts) {
        self.0.retain(|place, one| texts.at(place) == one.wanted.as_ref());
        for (place, one) in &self.0 {
            texts.apply(&Change { place: place.clone(), text: one.instead.clone() });
        }
    }

    /// Holds back a change of these texts, which stay in force.
    pub(super) fn add(&mut self, change: &Change, texts: &Texts, message: &str) {
        let reason = format!("Serin failed on this edit: {message}; what was in force stays. Please report this");
        let revision = change.text.as_ref().and_then(Text::revision);
        let source = change.place.name().clone();
        let problem = Problem { source, line: 0, column: 0, path: String::new(), reason, revision };
        tracing::error!("{problem}");
        let instead = texts.at(&change.place).cloned();
        self.0.insert(change.place.clone(), One { wanted: change.text.clone(), instead, problem });
    }

    /// What is to be said of them.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().map(|one| &one.problem)
    }
}
