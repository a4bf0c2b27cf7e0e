//! What all sources say, in the order of their precedence.
//!
//! Persistent: to take one change among 100,000 texts, to hand all of them on, and to find out what is different from before
//! costs what the change costs.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Text, TextKind};

/// All texts. The first one that names an object decides. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Texts(OrdMap<Place, Text>);

/// Where a text stands among all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    rank: u32,
    name: Arc<str>,
}

/// One difference that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub place: Place,
    /// What stands there then; nothing if nothing does.
    pub text: Option<Text>,
}

/// One difference between texts.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'t> {
    /// Something else stands here now.
    Here(&'t Place, &'t Text),
    /// Nothing stands here any more.
    Gone(&'t Place),
}

impl Texts {
    /// Puts in what objects of a cluster say, behind all files and keys.
    pub fn put_object(&mut self, text: Text) {
        self.put(OBJECTS, text);
    }

    /// Takes out what an object said.
    pub fn remove_object(&mut self, name: &Arc<str>) {
        self.0.remove(&Place { rank: OBJECTS, name: Arc::clone(name) });
    }

    /// These, and those of another source. Costs what the smaller one has.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }

    /// Puts in what the keys of a store say, behind all files.
    pub fn put_key(&mut self, text: Text) {
        self.put(KEYS, text);
    }

    /// Takes out what a key said.
    pub fn remove_key(&mut self, name: &Arc<str>) -> Option<Text> {
        self.0.remove(&Place { rank: KEYS, name: Arc::clone(name) })
    }

    /// What a key says.
    pub fn key(&self, name: &Arc<str>) -> Option<&Text> {
        self.0.get(&Place { rank: KEYS, name: Arc::clone(name) })
    }

    /// Adds what is no text of a source, but about one: why it says nothing, for example. It stands behind all others.
    pub fn note(&mut self, text: Text) {
        self.put(NOTES, text);
    }

    /// Puts these in front, in this order, which is none of keys.
    pub fn put_files(&mut self, files: impl IntoIterator<Item = Text>) {
        files.into_iter().zip(0..).for_each(|(text, rank)| self.put(rank, text));
    }

    /// The first one, which has the settings.
    pub fn first(&self) -> Option<&Text> {
        self.0.get_min().map(|(_, text)| text)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Text> {
        self.0.values()
    }

    /// Whether every source was heard.
    pub fn is_heard(&self) -> bool {
        let notes = self.0.range(Place { rank: NOTES, name: "".into() }..);
        notes.into_iter().all(|(_, text)| text.kind != TextKind::Unheard)
    }

    /// What `newer` has otherwise.
    pub fn differences<'t>(&'t self, newer: &'t Self) -> impl Iterator<Item = Difference<'t>> {
        self.0.diff(&newer.0).map(|item| match item {
            DiffItem::Add(place, text) | DiffItem::Update { new: (place, text), .. } => Difference::Here(place, text),
            DiffItem::Remove(place, _) => Difference::Gone(place),
        })
    }

    /// The same, to be kept.
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        let kept = |difference: Difference<'_>| match difference {
            Difference::Here(place, text) => Change { place: place.clone(), text: Some(text.clone()) },
            Difference::Gone(place) => Change { place: place.clone(), text: None },
        };
        self.differences(newer).map(kept).collect()
    }

    /// Makes one change.
    pub fn apply(&mut self, change: &Change) {
        match &change.text {
            Some(text) => drop(self.0.insert(change.place.clone(), text.clone())),
            None => drop(self.0.remove(&change.place)),
        }
    }

    /// What stands at a place.
    pub fn at(&self, place: &Place) -> Option<&Text> {
        self.0.get(place)
    }

    /// Whether both say the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.differences(other).next().is_none()
    }

    fn put(&mut self, rank: u32, text: Text) {
        self.0.insert(Place { rank, name: Arc::clone(&text.name) }, text);
    }
}

impl Place {
    /// The name of the text here.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// Files, in this order.
impl From<Vec<Text>> for Texts {
    fn from(files: Vec<Text>) -> Self {
        let mut texts = Self::default();
        texts.put_files(files);
        texts
    }
}

/// Of all keys of a store.
const KEYS: u32 = u32::MAX - 2;

/// Of all objects of a cluster.
const OBJECTS: u32 = u32::MAX - 1;

/// Of what is said about sources.
const NOTES: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, content: &str) -> Text {
        Text { name: name.into(), content: Ok(content.into()), kind: TextKind::Rules }
    }

    fn names(texts: &Texts) -> Vec<&str> {
        texts.iter().map(|text| &*text.name).collect()
    }

    #[test]
    fn files_come_first_then_keys_then_notes() {
        let mut texts = Texts::default();
        let unheard = Text { kind: TextKind::Unheard, ..text("a note", "") };
        texts.note(text("another note", ""));
        ["k2", "k1"].into_iter().for_each(|key| texts.put_key(text(key, "")));
        assert!(texts.is_heard());
        texts.note(unheard);
        texts.put_files([text("z", ""), text("b", "")]);
        assert_eq!(names(&texts), ["z", "b", "k1", "k2", "a note", "another note"]);
        assert_eq!(texts.first().map(|text| &*text.name), Some("z"));
        assert!(!texts.is_heard());
        assert!(texts.key(&"k1".into()).is_some() && texts.key(&"z".into()).is_none());
    }

    #[test]
    fn differences_are_what_changed_and_what_went() {
        let before = Texts::from(vec![text("a", "1"), text("b", "1"), text("c", "1")]);
        let mut after = before.clone();
        assert!(before.is_same(&after));
        after.put_files([text("a", "2")]);
        after.put_key(text("k", "1"));
        let shown = |difference| match difference {
            Difference::Here(place, text) => format!("{}={}", place.name(), text.content.as_deref().unwrap()),
            Difference::Gone(place) => format!("-{}", place.name()),
        };
        assert_eq!(before.differences(&after).map(shown).collect::<Vec<_>>(), ["a=2", "k=1"]);
        let moved = Texts::from(vec![text("a", "1"), text("c", "1")]);
        assert_eq!(before.differences(&moved).map(shown).collect::<Vec<_>>(), ["-b", "c=1", "-c"]);
    }
}
