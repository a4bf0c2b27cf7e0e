//! Which kinds there are at the moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Resource, builtin};

/// The kinds, by group, version and plural.
#[derive(Debug)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    /// What every server has.
    pub(crate) fn new() -> Self {
        let mut registry = Self { resources: BTreeMap::new() };
        builtin::always().into_iter().for_each(|resource| registry.insert(resource));
        registry
    }

    /// Adds the kinds of a group this crate knows; whether it does.
    pub(crate) fn install(&mut self, group: &str) -> bool {
        let kinds = builtin::installable(group);
        let known = !kinds.is_empty();
        kinds.into_iter().for_each(|resource| self.insert(resource));
        known
    }

    /// From now on nothing is known of this group.
    pub(crate) fn uninstall(&mut self, group: &str) {
        self.resources.retain(|(of, ..), _| of != group);
    }

    pub(crate) fn insert(&mut self, resource: Resource) {
        let place = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.resources.insert(place, Arc::new(resource));
    }

    /// Removes all versions of a kind.
    pub(crate) fn remove(&mut self, collection: &str) {
        self.resources.retain(|_, resource| resource.collection != collection);
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    /// As an object says it.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all().find(|resource| resource.kind == kind && resource.api_version() == api_version).cloned()
    }

    /// As a person says it.
    pub(crate) fn called(&self, name: &str) -> Option<Arc<Resource>> {
        self.all().find(|resource| resource.is_called(name)).cloned()
    }

    /// Any version of a kind.
    pub(crate) fn of_collection(&self, collection: &str) -> Option<Arc<Resource>> {
        self.all().find(|resource| resource.collection == collection).cloned()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// Groups with their versions, without the core group.
    pub(crate) fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for (group, version, _) in self.resources.keys().filter(|(group, ..)| !group.is_empty()) {
            let versions = groups.entry(group.as_str()).or_default();
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
        groups
    }
}
