//! The last steps of every write: dropping, filling in, checking, counting, storing.

use std::sync::Arc;

use serde_json::Value;

use super::{Options, Target, UnknownFields, Written, effects, kinds, metadata};
use crate::apply::managed::{self, Managed};
use crate::resource::Resource;
use crate::state::State;
use crate::status::Failure;

/// A write about to be done.
pub(super) struct Draft<'d> {
    pub(super) target: &'d Target,
    pub(super) options: &'d Options,
    pub(super) old: Option<Arc<Value>>,
    /// What is to be stored, in the form of storage.
    pub(super) object: Value,
    /// Who wrote what, where the write is an apply; otherwise it follows from what changed.
    pub(super) managed: Option<Managed>,
}

impl Draft<'_> {
    pub(super) fn commit(mut self, state: &mut State) -> Result<Written, Failure> {
        let warnings = self.prune()?;
        self.fill_in(state);
        self.check()?;
        if let Some(old) = &self.old {
            // Through whichever version it is written, it is stored in one.
            self.object["apiVersion"] = old["apiVersion"].clone();
            metadata::count(self.target, old, &mut self.object);
        }
        self.record_writer();
        Ok(Written { created: self.old.is_none(), object: self.store(state), warnings })
    }

    fn prune(&mut self) -> Result<Vec<String>, Failure> {
        let Some(defined) = &self.target.resource.defined else {
            kinds::drop_nulls(&mut self.object);
            return Ok(Vec::new());
        };
        let unknown = defined.schema.prune(&mut self.object);
        let all: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
        match self.options.unknown_fields {
            UnknownFields::Refuse if !all.is_empty() => {
                let Resource { kind, version, .. } = &*self.target.resource;
                let subject = format!("{kind} in version {version:?} cannot be handled as a {kind}");
                Err(Failure::bad_request(format!("{subject}: strict decoding error: {}", all.join(", "))))
            }
            UnknownFields::Warn => Ok(all),
            _ => Ok(Vec::new()),
        }
    }

    fn fill_in(&mut self, state: &State) {
        let (resource, revision) = (&self.target.resource, state.store.revision());
        match &resource.defined {
            Some(defined) => defined.schema.set_defaults(&mut self.object),
            None => kinds::set_defaults(resource, &mut self.object, self.old.as_deref(), revision),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let mut causes = match &self.target.resource.defined {
            Some(defined) => defined.schema.problems(&self.object),
            None => kinds::problems(&self.target.resource, &self.object),
        };
        if let Some(old) = &self.old {
            causes.extend(kinds::changes_refused(&self.target.resource, old, &self.object));
            metadata::check_finalizers(self.target, old, &self.object)?;
        }
        if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(&self.target.resource, &self.target.name, causes)) }
    }

    fn record_writer(&mut self) {
        let managed = self.managed.take().unwrap_or_else(|| self.updated());
        match managed.is_empty() {
            false => self.object["metadata"]["managedFields"] = managed.to_json(),
            true => drop(self.object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"))),
        }
    }

    fn updated(&self) -> Managed {
        let nothing = Value::Object(serde_json::Map::new());
        let old: &Value = self.old.as_deref().unwrap_or(&nothing);
        let mut managed = Managed::of(old);
        let subresource = self.target.subresource();
        let difference = managed::difference(&self.target.resource, old, &self.object, subresource);
        if !difference.written.is_empty() || !difference.removed.is_empty() {
            managed.update(&self.target.writer(self.options, false), &difference);
        }
        managed
    }

    /// A write that changes nothing is none: no revision, no event.
    fn store(self, state: &mut State) -> Arc<Value> {
        if let Some(old) = &self.old
            && **old == self.object
        {
            return Arc::clone(old);
        }
        if self.options.dry_run {
            return Arc::new(self.object);
        }
        let is_going = self.object["metadata"]["deletionTimestamp"].is_string();
        if is_going && !kinds::is_held(&self.target.resource, &self.object) {
            return self.remove(state);
        }
        let object = state.store.put(&self.target.key(), self.object);
        effects::stored(state, &self.target.resource, &object);
        object
    }

    /// What held it is gone. The writer is told so; those who watch see it go as it was stored, finalizers and all.
    fn remove(self, state: &mut State) -> Arc<Value> {
        let last = self.old.map_or_else(|| self.object.clone(), |old| (*old).clone());
        let removed = state.store.remove(&self.target.key(), last);
        effects::removed(state, &self.target.resource, &removed);
        Arc::new(self.object)
    }
}
