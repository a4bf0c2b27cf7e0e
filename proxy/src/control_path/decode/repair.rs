//! All problems of an object, where serde stops at the first.
//!
//! Each problem found is mended and the object decoded again: a refused value gets a [`super::placeholder`] in its stead, and if the
//! type does not take that either, it is left out. What then fails only because of the mending is not reported.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::draft::{Doubts, Draft};
use super::refusal::{Error, Kind, Refusal, StandIn};
use super::tree::Node;
use super::{Place, Problem, deserializer};

/// The value that `node`, found at `path` of the document, stands for; or `None`, and every problem in it added to `problems`.
///
/// A document of many objects is best decoded object by object: one bad object then neither hides the others nor has them decoded
/// again for each of its problems.
pub fn decode<T: DeserializeOwned>(
    source: &Arc<str>,
    node: &Node,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    draft(source, node, path, problems).filter(|draft| draft.doubts.is_empty()).map(|draft| draft.value)
}

/// The same, and what is left of the value where it has problems, so that more of them can be found in it. There is nothing
/// if nothing is left.
pub fn draft<T: DeserializeOwned>(
    source: &Arc<str>,
    node: &Node,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Draft<T>> {
    let mut search = Search::new(source, path);
    let value = search.run(node);
    search.found.sort_by_key(|problem| (problem.line, problem.column));
    problems.append(&mut search.found);
    Some(Draft { value: value?, doubts: search.doubts })
}

/// Nobody reads more problems of one object at once, and an attacker's object costs no more than this many readings.
const MOST_PASSES: usize = 64;

/// What to pretend about the tree. Nodes are named by their id.
#[derive(Default)]
pub(super) struct Repairs {
    replaced: HashSet<u32>,
    removed: HashSet<u32>,
    added: HashMap<u32, Vec<&'static str>>,
    as_text: HashSet<u32>,
    /// Nodes in which something was changed: an error of the whole may be our doing.
    changed: HashSet<u32>,
    /// Fields that will be missed because their entry was left out, by mapping.
    expected_missing: HashMap<u32, Vec<Box<str>>>,
}

impl Repairs {
    pub(super) fn is_replaced(&self, node: u32) -> bool {
        self.replaced.contains(&node)
    }

    pub(super) fn is_removed(&self, node: u32) -> bool {
        self.removed.contains(&node)
    }

    pub(super) fn is_text(&self, node: u32) -> bool {
        self.as_text.contains(&node)
    }

    pub(super) fn fields_added_to(&self, node: u32) -> slice::Iter<'_, &'static str> {
        self.added.get(&node).map(Vec::as_slice).unwrap_or_default().iter()
    }

    fn is_added(&self, mapping: u32, field: &str) -> bool {
        self.fields_added_to(mapping).any(|added| *added == field)
    }

    fn expect_missing(&mut self, mapping: u32, field: &str) {
        self.expected_missing.entry(mapping).or_default().push(field.into());
    }

    fn expects_missing(&self, mapping: u32, field: &str) -> bool {
        self.expected_missing.get(&mapping).is_some_and(|fields| fields.iter().any(|expected| **expected == *field))
    }
}

/// The search for the problems of one object.
struct Search<'s> {
    source: &'s Arc<str>,
    prefix: &'s str,
    repairs: Repairs,
    found: Vec<Problem>,
    doubts: Doubts,
    /// What was wrong with a scalar before its text was tried.
    deferred: HashMap<u32, Problem>,
}

impl<'s> Search<'s> {
    fn new(source: &'s Arc<str>, prefix: &'s str) -> Self {
        let (repairs, doubts) = (Repairs::default(), Doubts::default());
        Self { source, prefix, repairs, found: Vec::new(), doubts, deferred: HashMap::new() }
    }

    /// Decodes again and again, until it succeeds or there is nothing left to look at. A value says that nothing was wrong only if
    /// nothing was found.
    fn run<T: DeserializeOwned>(&mut self, node: &Node) -> Option<T> {
        for _ in 0..MOST_PASSES {
            match deserializer::read(PhantomData::<T>, node, &self.repairs) {
                Ok(value) => return Some(value),
                Err(Error(refusal)) if self.mend(node, &refusal) => {}
                Err(_) => return None,
            }
        }
        if self.found.is_empty() {
            let reason = "too many numbers or booleans where text belongs; write them in quotes";
            self.found.push(Problem::new(self.source, node.place, self.prefix.to_owned(), reason));
        }
        None
    }

    /// Notes the problem and mends it; false when that left nothing to look at.
    fn mend(&mut self, root: &Node, refusal: &Refusal) -> bool {
        let Some(culprit) = refusal.culprit else {
            return false;
        };
        self.doubt(culprit, refusal);
        match (refusal.stand_in, &refusal.kind) {
            (Some(StandIn::Node(node)), _) => self.leave_out(node, refusal),
            (Some(StandIn::FieldOf(node)), _) => self.replace(node, refusal),
            (None, Kind::Resolved) if self.repairs.as_text.insert(culprit) => self.defer(culprit, refusal),
            (None, Kind::UnknownField(_, near)) => self.unknown_field(culprit, *near, refusal),
            (None, Kind::MissingField(field)) => self.missing_field(culprit, field, refusal),
            (None, Kind::Type | Kind::Resolved | Kind::Other) => self.refused(culprit, refusal),
        }
        !self.repairs.replaced.contains(&root.id) && !self.repairs.removed.contains(&root.id)
    }

    fn doubt(&mut self, culprit: u32, refusal: &Refusal) {
        let path = refusal.path(self.prefix);
        match &refusal.kind {
            // Asking again with the text of a number changes nothing that was written.
            Kind::Resolved if refusal.stand_in.is_none() && !self.repairs.is_text(culprit) => {}
            Kind::MissingField(field) if !self.repairs.is_added(culprit, field) => {
                self.doubts.add(join(&path, field));
            }
            _ => self.doubts.add(path),
        }
    }

    fn defer(&mut self, scalar: u32, refusal: &Refusal) {
        let problem = self.problem(refusal);
        self.deferred.insert(scalar, problem);
    }

    fn unknown_field(&mut self, value: u32, near: Option<&'static str>, refusal: &Refusal) {
        self.found.push(self.problem(refusal));
        self.repairs.removed.insert(value);
        // The field that was meant will be missed; that is the same problem, not another one.
        if let (Some(near), Some((parent, _))) = (near, refusal.parent_of(value)) {
            self.repairs.expect_missing(parent, near);
            self.changed_around(refusal);
        }
    }

    fn missing_field(&mut self, mapping: u32, field: &'static str, refusal: &Refusal) {
        let added = self.repairs.added.entry(mapping).or_default();
        if added.contains(&field) {
            return self.replace(mapping, refusal);
        }
        added.push(field);
        if !self.repairs.expects_missing(mapping, field) {
            self.found.push(self.problem(refusal));
        }
        self.changed_around(refusal);
    }

    fn refused(&mut self, culprit: u32, refusal: &Refusal) {
        // The text was refused as well; if for its type, then what it looked like says more.
        let deferred = self.deferred.remove(&culprit).filter(|_| refusal.kind == Kind::Resolved);
        if !self.repairs.changed.contains(&culprit) {
            let problem = deferred.unwrap_or_else(|| self.problem(refusal));
            self.found.push(problem);
        }
        match refusal.about_key {
            true => self.leave_out(culprit, refusal),
            false => self.replace(culprit, refusal),
        }
    }

    fn replace(&mut self, node: u32, refusal: &Refusal) {
        match self.repairs.replaced.insert(node) {
            true => self.changed_around(refusal),
            false => self.leave_out(node, refusal),
        }
    }

    fn leave_out(&mut self, node: u32, refusal: &Refusal) {
        self.repairs.removed.insert(node);
        if let Some((parent, Some(key))) = refusal.parent_of(node) {
            self.repairs.expect_missing(parent, key);
        }
        self.changed_around(refusal);
    }

    fn changed_around(&mut self, refusal: &Refusal) {
        self.repairs.changed.extend(&refusal.around);
    }

    fn problem(&self, refusal: &Refusal) -> Problem {
        let place = refusal.place.unwrap_or(Place::START);
        Problem::new(self.source, place, refusal.path(self.prefix), refusal.reason.as_str())
    }
}

fn join(path: &str, key: &str) -> String {
    let mut path = path.to_owned();
    super::join_key(&mut path, key);
    path
}
