//! Small numbers for names, so that the data path indexes arrays instead of hashing names.
//!
//! A name keeps its number for as long as it exists, through any number of updates; a number that becomes free goes to
//! the next new name, the smallest first, so arrays beside the table stay as small as the most objects there ever were.

use imbl::{OrdMap, OrdSet, Vector};

use crate::rules::Name;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) u32);

        impl $name {
            /// The number as an index into an array.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A route of one table.
    RouteId
}
id! {
    /// An upstream of one table.
    UpstreamId
}
id! {
    /// A release of one table.
    ReleaseId
}

/// Values by name and by number.
#[derive(Clone, Debug)]
pub(super) struct Slots<T: Clone> {
    indexes: OrdMap<Name, u32>,
    values: Vector<Option<T>>,
    free: OrdSet<u32>,
}

impl<T: Clone> Default for Slots<T> {
    fn default() -> Self {
        Self { indexes: OrdMap::new(), values: Vector::new(), free: OrdSet::new() }
    }
}

impl<T: Clone> Slots<T> {
    pub(super) fn at(&self, index: usize) -> Option<&T> {
        self.values.get(index)?.as_ref()
    }

    pub(super) fn index_of(&self, name: &str) -> Option<u32> {
        self.indexes.get(name).copied()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&T> {
        self.at(self.index_of(name)? as usize)
    }

    /// By name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.indexes.values().filter_map(|&index| Some((index, self.at(index as usize)?)))
    }

    /// How long an array must be to have a place for every number.
    pub(super) fn capacity(&self) -> usize {
        self.values.len()
    }

    /// The number the name has, or would get now.
    pub(super) fn index_for(&self, name: &str) -> u32 {
        let next = || self.free.get_min().copied().unwrap_or(self.values.len() as u32);
        self.index_of(name).unwrap_or_else(next)
    }

    pub(super) fn insert(&mut self, name: &Name, value: T) {
        let index = self.index_for(name.as_str());
        match self.values.get_mut(index as usize) {
            Some(place) => *place = Some(value),
            None => self.values.push_back(Some(value)),
        }
        self.free.remove(&index);
        self.indexes.insert(name.clone(), index);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<T> {
        let index = self.indexes.remove(name)?;
        self.free.insert(index);
        self.values.get_mut(index as usize)?.take()
    }
}
