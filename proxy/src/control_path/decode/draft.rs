//! A value that is not right, for whoever looks for what else is wrong with it. It must never be put in force.

use super::tree::Node;

/// What a text says as far as it can be understood: in place of what cannot there is something plain, or nothing.
pub struct Draft<T> {
    /// The value; right if there are no doubts.
    pub value: T,
    /// Where something is put in, left out or missing.
    pub doubts: Doubts,
}

/// The paths of a draft that do not say what was written there.
#[derive(Debug, Default)]
pub struct Doubts(Vec<String>);

impl<T> Draft<T> {
    /// The same doubts about what is made of the value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Draft<U> {
        Draft { value: make(self.value), doubts: self.doubts }
    }
}

impl Doubts {
    pub(super) fn add(&mut self, path: String) {
        self.0.push(path);
    }

    /// Whether everything is as it was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a problem of the value at this path may come from a doubt and not from the text. That may be so above and
    /// below a doubt, and for what is not written at all: what seems to be missing may be what could not be understood.
    pub fn concern(&self, root: &Node, path: &str) -> bool {
        let near = |doubt: &String| is_within(doubt, path) || is_within(path, doubt);
        let is_written = || root.has(path) || path.strip_suffix("[0]").is_some_and(|only| root.has(only));
        !self.is_empty() && (self.0.iter().any(near) || !is_written())
    }
}

/// Whether a path is the outer one or leads further into it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
