//! Puts the events of a reader together to a tree, and keeps the limits: depth, and keys that are scalars and occur once.

use std::sync::Arc;

use super::tree::{Entry, Kind, Mapping, Node, Scalar};
use super::{MAX_DEPTH, MAX_KEY_BYTES, Place, Problem, join_index, join_key, shorten};

/// A tree under construction.
pub(super) struct Builder<'s> {
    source: &'s Arc<str>,
    /// What is open, the outermost first.
    open: Vec<Open>,
    next_id: u32,
    /// The finished document.
    root: Option<Node>,
}

struct Open {
    id: u32,
    place: Place,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    /// The entries so far, and the key whose value comes next.
    Mapping(Vec<Entry>, Option<(Box<str>, Place)>),
}

impl<'s> Builder<'s> {
    pub(super) fn new(source: &'s Arc<str>) -> Self {
        Self { source, open: Vec::new(), next_id: 0, root: None }
    }

    pub(super) fn open_sequence(&mut self, place: Place) -> Result<(), Problem> {
        self.open(place, Items::Sequence(Vec::new()))
    }

    pub(super) fn open_mapping(&mut self, place: Place) -> Result<(), Problem> {
        self.open(place, Items::Mapping(Vec::new(), None))
    }

    /// A scalar is a key where a mapping waits for one, and a value elsewhere.
    pub(super) fn scalar(&mut self, place: Place, text: &str, plain: bool) -> Result<(), Problem> {
        if self.awaits_key() {
            return self.key(place, text);
        }
        let place = match text.is_empty() && plain {
            true => self.place_of_block(place),
            false => place,
        };
        let id = self.id();
        self.add(Node { id, place, kind: Kind::Scalar(Scalar { text: text.into(), plain }) });
        Ok(())
    }

    /// Ends the innermost mapping or sequence.
    pub(super) fn close(&mut self) -> Result<(), Problem> {
        let Some(Open { id, place, items }) = self.open.pop() else {
            return Ok(());
        };
        let kind = match items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping(entries, _) => Kind::Mapping(self.mapping(entries)?),
        };
        self.add(Node { id, place, kind });
        Ok(())
    }

    /// The document; one without content is an empty mapping, so that an empty file means "no rules".
    pub(super) fn finish(mut self) -> Node {
        match self.root.take() {
            Some(root) if root.text() != Some("") || !root.is_null() => root,
            _ => Node {
                id: self.id(),
                place: Place::START,
                kind: Kind::Mapping(Mapping { entries: Vec::new(), by_key: Box::default() }),
            },
        }
    }

    /// Whether the next scalar will be a key.
    pub(super) fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Mapping(_, None), .. }))
    }

    /// A problem at the value that would come next.
    pub(super) fn problem(&self, place: Place, reason: impl Into<String>) -> Problem {
        Problem::new(self.source, place, self.path(), reason)
    }

    fn open(&mut self, place: Place, items: Items) -> Result<(), Problem> {
        if self.awaits_key() {
            return Err(self.problem(place, "a key must be plain text, not a mapping or a sequence"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.problem(place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (id, place) = (self.id(), self.place_of_block(place));
        self.open.push(Open { id, place, items });
        Ok(())
    }

    fn key(&mut self, place: Place, text: &str) -> Result<(), Problem> {
        if text.len() > MAX_KEY_BYTES {
            return Err(self.problem(place, format!("this key is longer than {MAX_KEY_BYTES} bytes")));
        }
        if let Some(Open { items: Items::Mapping(_, key), .. }) = self.open.last_mut() {
            *key = Some((text.into(), place));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::Sequence(items)) => items.push(node),
            Some(Items::Mapping(entries, key)) => {
                if let Some((key, key_place)) = key.take() {
                    entries.push(Entry { key, key_place, value: node });
                }
            }
        }
    }

    /// Orders the keys, which is also how duplicates meet. The order among equals is kept, so the second one is the culprit.
    fn mapping(&self, entries: Vec<Entry>) -> Result<Mapping, Problem> {
        let mut ordered: Vec<(u32, &Entry)> = (0_u32..).zip(&entries).collect();
        ordered.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        let twins = ordered.windows(2).filter_map(|pair| match pair {
            [(_, first), (_, second)] if first.key == second.key => Some((*first, *second)),
            _ => None,
        });
        if let Some((first, second)) = twins.min_by_key(|(_, second)| (second.key_place.line, second.key_place.column))
        {
            return Err(self.duplicate(first, second));
        }
        let by_key = ordered.into_iter().map(|(index, _)| index).collect();
        Ok(Mapping { entries, by_key })
    }

    fn duplicate(&self, first: &Entry, second: &Entry) -> Problem {
        let reason =
            format!("duplicate key `{}`, first written on line {}", shorten(&second.key), first.key_place.line);
        let mut problem = self.problem(second.key_place, reason);
        join_key(&mut problem.path, &second.key);
        problem
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.items {
                Items::Sequence(items) => join_index(&mut path, items.len()),
                Items::Mapping(_, Some((key, _))) => join_key(&mut path, key),
                Items::Mapping(_, None) => {}
            }
        }
        path
    }

    /// A block that begins on a line below its key is placed at the key, as is a value that was left out.
    fn place_of_block(&self, place: Place) -> Place {
        match self.open.last().map(|open| &open.items) {
            Some(Items::Mapping(_, Some((_, key_place)))) if place.line > key_place.line => *key_place,
            _ => place,
        }
    }

    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}
