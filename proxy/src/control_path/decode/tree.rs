//! The tree a document becomes: mappings, sequences and scalars that remember where they were written.
//!
//! Scalars stay text here. Whether `1.10` is a number or a name depends on who asks, so it is decided while decoding.

use std::sync::Arc;

use super::{MAX_KEY_BYTES, Place, Problem};

/// A value of the document with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique within its document; says which node an error was about.
    pub(super) id: u32,
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: Box<str>,
    /// Written without quotes, so it may mean a number, a boolean or nothing.
    pub(super) plain: bool,
}

/// Entries in the order they were written; no key occurs twice.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) entries: Vec<Entry>,
    /// The entries' indexes ordered by key: documents with 100,000 routes are looked up by name.
    pub(super) by_key: Box<[u32]>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// A mapping with this node as the value of its only key, at the node's own place.
    pub(crate) fn within(self, key: &str) -> Self {
        let (id, place) = (self.id.wrapping_sub(1), self.place);
        let entry = Entry { key: key.into(), key_place: place, value: self };
        Self { id, place, kind: Kind::Mapping(Mapping { entries: vec![entry], by_key: [0].into() }) }
    }

    /// Counted from 1. A block below its key counts as beginning at the key: that is the line a reader looks for.
    pub fn line(&self) -> u32 {
        self.place.line
    }

    /// In characters, counted from 1.
    pub fn column(&self) -> u32 {
        self.place.column
    }

    /// The entries of a mapping as written; `None` for anything else.
    pub fn entries(&self) -> Option<impl Iterator<Item = (&str, &Self)>> {
        let mapping = self.mapping()?;
        Some(mapping.entries.iter().map(|entry| (&*entry.key, &entry.value)))
    }

    /// The items of a sequence; `None` for anything else.
    pub fn items(&self) -> Option<impl Iterator<Item = &Self>> {
        match &self.kind {
            Kind::Sequence(items) => Some(items.iter()),
            _ => None,
        }
    }

    /// The text of a scalar, numbers and booleans included; `None` for anything else.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Nothing was written, or `null`, or `~`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The value of `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.mapping()?.get(key).map(|entry| &entry.value)
    }

    /// Line and column of the key itself, for problems that are about the name.
    pub fn key_position(&self, key: &str) -> Option<(u32, u32)> {
        let place = self.mapping()?.get(key)?.key_place;
        Some((place.line, place.column))
    }

    /// The deepest node that exists on `path`, a path such as `routes.shop.hosts[1]`.
    ///
    /// Keys may contain dots and brackets themselves. Of several readings of a path the one that leads furthest is taken, and of
    /// those the one with the longest first key.
    pub fn at(&self, path: &str) -> &Self {
        self.walk(path).0
    }

    /// Whether all of a path is there.
    pub fn has(&self, path: &str) -> bool {
        self.walk(path).1 == 0
    }

    /// A problem at `path` below this node, at the place of what exists of that path.
    pub fn problem(&self, source: &Arc<str>, path: &str, reason: impl Into<String>) -> Problem {
        Problem::new(source, self.at(path).place, path.to_owned(), reason)
    }

    /// The deepest node on `path` and how much of the path remained.
    fn walk(&self, path: &str) -> (&Self, usize) {
        let mut best = (self, path.len());
        for (step, rest) in self.steps(path) {
            let found = step.walk(rest);
            if found.1 < best.1 {
                best = found;
            }
            if best.1 == 0 {
                break;
            }
        }
        best
    }

    /// Every child that the beginning of `path` can name, the longest name first, with the rest of the path.
    fn steps<'n, 'p>(&'n self, path: &'p str) -> Vec<(&'n Self, &'p str)> {
        match &self.kind {
            Kind::Scalar(_) => Vec::new(),
            Kind::Sequence(items) => {
                split_index(path).and_then(|(index, rest)| Some((items.get(index)?, rest))).into_iter().collect()
            }
            Kind::Mapping(mapping) => key_ends(path)
                .filter_map(|end| Some((&mapping.get(path.get(..end)?)?.value, without_dot(path.get(end..)?))))
                .collect(),
        }
    }

    fn mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            Kind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }
}

impl Mapping {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let entry = |index: u32| usize::try_from(index).ok().and_then(|index| self.entries.get(index));
        let found =
            self.by_key.binary_search_by_key(&Some(key), |&index| entry(index).map(|entry| &*entry.key)).ok()?;
        entry(*self.by_key.get(found)?)
    }
}

/// Where a first key of `path` can end, the longest first; no key is longer than [`MAX_KEY_BYTES`].
fn key_ends(path: &str) -> impl Iterator<Item = usize> {
    let longest = path.len().min(MAX_KEY_BYTES);
    (0..=longest).rev().filter(|&end| match path.as_bytes().get(end) {
        Some(byte) => matches!(byte, b'.' | b'['),
        None => end > 0,
    })
}

/// `[3].c` is 3 and `c`.
fn split_index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, without_dot(rest)))
}

fn without_dot(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}
