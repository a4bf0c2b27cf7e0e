//! What is wrong, and what follows from it for objects that are right themselves.
//!
//! A cause is one problem: a route whose release is wrong is named in the release's problem and makes none of its own.

use std::collections::BTreeMap;

use super::Key;
use crate::control_path::decode::Problem;

/// Problems on their way to whoever mends them.
#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<Problem>,
    /// Why objects are not in force, as places in the list of problems.
    causes: BTreeMap<Key, usize>,
    /// The objects that a problem keeps from being what is written, and whether an older version of them is in force.
    consequences: BTreeMap<usize, BTreeMap<Key, bool>>,
}

impl Findings {
    /// Adds a problem and returns its place in the list.
    pub(super) fn add(&mut self, problem: Problem) -> usize {
        self.problems.push(problem);
        self.problems.len() - 1
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.problems.extend(problems);
    }

    /// How many problems there are.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// An object is not in force because of a problem. The first one found stays.
    pub(super) fn blame(&mut self, object: Key, problem: usize) {
        self.causes.entry(object).or_insert(problem);
    }

    /// An object needs another one that is not in force. Returns whether it is known why; then that is said there.
    pub(super) fn follows(&mut self, object: &Key, needs: &Key, is_kept: bool) -> bool {
        let Some(&cause) = self.causes.get(needs) else { return false };
        self.consequences.entry(cause).or_default().insert(object.clone(), is_kept);
        self.blame(object.clone(), cause);
        true
    }

    /// All problems in the order of their places, with what follows from them.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for (cause, objects) in &self.consequences {
            let held = list(names(objects, false), "is not in force", "are not in force");
            let kept = list(names(objects, true), "stays as before", "stay as before");
            let clauses: Vec<String> = held.into_iter().chain(kept).collect();
            self.problems[*cause].reason.push_str(&format!("; so {}", clauses.join(", and ")));
        }
        self.problems.sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        self.problems
    }
}

fn names(objects: &BTreeMap<Key, bool>, is_kept: bool) -> Vec<String> {
    let chosen = objects.iter().filter(|(_, kept)| **kept == is_kept);
    chosen.map(|((kind, name), _)| format!("{}.{name}", kind.map_name())).collect()
}

/// `a is`, `a and b are`, `a, b, c and 7 more are`
fn list(names: Vec<String>, one: &str, many: &str) -> Option<String> {
    let (shown, more) = names.split_at(names.len().min(MOST_NAMED));
    match (shown, more.len()) {
        ([], _) => None,
        ([only], 0) => Some(format!("{only} {one}")),
        ([all @ .., last], 0) => Some(format!("{} and {last} {many}", all.join(", "))),
        (shown, more) => Some(format!("{} and {more} more {many}", shown.join(", "))),
    }
}

/// A wrong upstream can have very many routes.
const MOST_NAMED: usize = 3;
