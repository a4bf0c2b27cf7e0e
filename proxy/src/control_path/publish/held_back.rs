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

    /// Holds back changes of one text among these, which stay in force.
    pub(super) fn add(&mut self, of_one: &[Change], texts: &Texts, message: &str) {
        let is_known = of_one.iter().any(|change| texts.at(&change.place).is_some());
        of_one.iter().for_each(|change| self.add_one(change, texts, is_known, message));
    }

    fn add_one(&mut self, change: &Change, texts: &Texts, is_known: bool, message: &str) {
        let reason = format!("Serin failed on this edit: {message}; what was in force stays. Please report this");
        let revision = change.text.as_ref().and_then(Text::revision);
        let source = change.place.name().clone();
        let problem = Problem { source, line: 0, column: 0, path: String::new(), reason, revision };
        tracing::error!("{problem}");
        // One that stood nowhere before may have been stored, and stays as one does that cannot be read.
        let unread = |text: &Text| Text { content: Err(problem.reason.clone()), ..text.clone() };
        let unread = change.text.as_ref().filter(|_| !is_known).map(unread);
        let instead = texts.at(&change.place).cloned().or(unread);
        self.0.insert(change.place.clone(), One { wanted: change.text.clone(), instead, problem });
    }

    /// What is to be said of them.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        let is_told = |one: &&One| one.wanted.is_some() && one.instead.as_ref().is_none_or(|text| text.content.is_ok());
        // Of the others the catalog tells.
        self.0.values().filter(is_told).map(|one| &one.problem)
    }
}
