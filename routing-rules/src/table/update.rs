//! From one table to the next: what changed, what that touches, and nothing else.
//!
//! The order matters. Upstreams first, because releases and routes point to them; then releases, because routes point to
//! them too. An object that only changed keeps its number, so nothing that points to it is touched; one that
//! appeared or went touches everything that names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::slots::RouteId;
use super::{CompiledRelease, CompiledRoute, RouteTable};
use crate::release::ReleaseContext;
use crate::rules::{Kind, Name, PathPattern, Route, RuleSet};

/// An update on its way.
pub(super) struct Update<'a> {
    before: &'a RouteTable,
    rules: &'a RuleSet,
    context: &'a ReleaseContext,
    next: RouteTable,
    releases: BTreeSet<Name>,
    routes: BTreeSet<Name>,
}

impl<'a> Update<'a> {
    pub(super) fn new(before: &'a RouteTable, rules: &'a RuleSet, context: &'a ReleaseContext) -> Self {
        let next = before.clone();
        Self { before, rules, context, next, releases: BTreeSet::new(), routes: BTreeSet::new() }
    }

    pub(super) fn run(mut self) -> RouteTable {
        self.find_changed_objects();
        self.find_changed_states();
        self.apply_listeners();
        self.apply_upstreams();
        self.apply_releases();
        self.apply_routes();
        self.next.rules = self.rules.clone();
        self.next.context = self.context.clone();
        self.next
    }

    fn find_changed_objects(&mut self) {
        let before: &'a RuleSet = &self.before.rules;
        self.releases.extend(before.releases.diff(&self.rules.releases).map(|item| name_of(&item).clone()));
        self.routes.extend(before.routes.diff(&self.rules.routes).map(|item| name_of(&item).clone()));
    }

    fn find_changed_states(&mut self) {
        let before = &self.before.context;
        if before.secret != self.context.secret {
            self.releases.extend(self.rules.releases.keys().cloned());
        }
        let records = before.records.diff(&self.context.records).map(|item| name_of(&item).clone());
        // The store may still have records of releases that are gone.
        self.releases.extend(records.filter(|name| self.rules.releases.contains_key(name)));
    }

    fn apply_listeners(&mut self) {
        for item in self.before.rules.listeners.diff(&self.rules.listeners) {
            if !matches!(item, DiffItem::Update { .. }) {
                self.touch_users(Kind::Listener, name_of(&item));
            }
        }
    }

    fn apply_upstreams(&mut self) {
        for item in self.before.rules.upstreams.diff(&self.rules.upstreams) {
            match item {
                DiffItem::Update { new: (name, upstream), .. } => {
                    self.next.upstreams.insert(name, Arc::clone(upstream))
                }
                DiffItem::Add(name, upstream) => {
                    self.next.upstreams.insert(name, Arc::clone(upstream));
                    self.touch_users(Kind::Upstream, name);
                }
                DiffItem::Remove(name, _) => {
                    self.next.upstreams.remove(name.as_str());
                    self.touch_users(Kind::Upstream, name);
                }
            }
        }
    }

    fn apply_releases(&mut self) {
        for name in std::mem::take(&mut self.releases) {
            let new = self.rules.releases.get(&name);
            let compiled = new.and_then(|rules| CompiledRelease::new(rules, &self.next.upstreams, self.context));
            self.note_skipped(Kind::Release, &name, new.is_some() && compiled.is_none());
            let was_there = self.next.releases.index_of(name.as_str()).is_some();
            if was_there != compiled.is_some() {
                self.touch_users(Kind::Release, &name);
            }
            match compiled {
                Some(compiled) => self.next.releases.insert(&name, Arc::new(compiled)),
                None => drop(self.next.releases.remove(name.as_str())),
            }
        }
    }

    /// All old routes leave the index before the first new one comes, and sets of expressions are compiled at the very end,
    /// once for all changes.
    fn apply_routes(&mut self) {
        let names = std::mem::take(&mut self.routes);
        let mut unfinished = Vec::new();
        for name in &names {
            if let Some(old) = self.next.routes.by_name(name.as_str()).cloned() {
                self.next.hosts.remove(&old);
                unfinished.extend(has_regex(&old).then_some(old));
            }
        }
        for name in &names {
            let new = self.rules.routes.get(name);
            let compiled = new.and_then(|rules| self.compile_route(rules)).map(Arc::new);
            self.note_skipped(Kind::Route, name, new.is_some() && compiled.is_none());
            match compiled {
                Some(compiled) => {
                    self.next.hosts.insert(&compiled);
                    self.next.routes.insert(name, Arc::clone(&compiled));
                    unfinished.extend(has_regex(&compiled).then_some(compiled));
                }
                None => drop(self.next.routes.remove(name.as_str())),
            }
        }
        for route in unfinished {
            self.next.hosts.finish(&route);
        }
    }

    fn compile_route(&self, rules: &Arc<Route>) -> Option<CompiledRoute> {
        if !rules.listeners().iter().all(|name| self.rules.listeners.contains_key(name)) {
            return None;
        }
        let id = RouteId(self.next.routes.index_for(rules.name().as_str()));
        CompiledRoute::new(id, rules, &self.next.upstreams, &self.next.releases)
    }

    /// Everything that names an object must be compiled again. Rules that are new or changed are known already, so the
    /// uses of the old ones are enough.
    fn touch_users(&mut self, kind: Kind, name: &Name) {
        for (kind, name) in self.before.rules.users(kind, name) {
            match kind {
                Kind::Release => drop(self.releases.insert(name.clone())),
                Kind::Route => drop(self.routes.insert(name.clone())),
                Kind::Listener | Kind::Upstream | Kind::Certificate | Kind::AcmeAccount => {}
            }
        }
    }

    fn note_skipped(&mut self, kind: Kind, name: &Name, skipped: bool) {
        match skipped {
            true => drop(self.next.skipped.insert((kind, name.clone()))),
            false => drop(self.next.skipped.remove(&(kind, name.clone()))),
        }
    }
}

fn name_of<'i, V>(item: &DiffItem<'i, 'i, Name, V>) -> &'i Name {
    match item {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
    }
}

fn has_regex(route: &CompiledRoute) -> bool {
    route.rules().paths().iter().any(|path| matches!(path, PathPattern::Regex(_)))
}
