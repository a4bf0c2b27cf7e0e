//! What kinds of objects there are: how each is called and addressed, and what is particular to it. Objects themselves
//! are the store's.

pub(crate) mod builtin;
pub(crate) mod columns;
pub(crate) mod definition;
pub(crate) mod events;
pub(crate) mod registry;
pub(crate) mod shape;

use serde_json::Value;

use crate::schema::Schema;
use columns::Column;
use shape::Shapes;

/// One kind of objects in one version of its group.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Whether status is written by itself only.
    pub(crate) status: bool,
    /// Whether changes of what is wanted are counted.
    pub(crate) generation: bool,
    /// Whether an update of what is not there creates it.
    pub(crate) create_on_update: bool,
    /// Whether an update may do without the version it was made from.
    pub(crate) unconditional_update: bool,
    /// Under which name its objects are stored: those of all versions are the same objects.
    pub(crate) collection: String,
    /// Which of its lists and maps are merged, and by which keys.
    pub(crate) shapes: Shapes,
    /// Kinds that were defined through the API.
    pub(crate) defined: Option<Defined>,
}

/// What a definition says of its kind.
#[derive(Clone, Debug)]
pub(crate) struct Defined {
    pub(crate) schema: Schema,
    pub(crate) columns: Vec<Column>,
}

impl Resource {
    /// `releases.serin.example`, or `services` for the core group.
    pub(crate) fn qualified(&self) -> String {
        qualified(&self.group, &self.plural)
    }

    /// `serin.example/v1`, or `v1`.
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// The object as this version of its group shows it.
    pub(crate) fn present(&self, stored: &Value) -> Value {
        let mut object = stored.clone();
        if self.is_new_event() {
            events::to_new(&mut object);
        }
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.clone().into();
        object
    }

    /// The other way round.
    pub(crate) fn to_stored(&self, object: &mut Value) {
        if self.is_new_event() {
            events::to_stored(object);
        }
    }

    /// Lists of kinds that were defined say of every item what it is; those of others say it once.
    pub(crate) fn items_say_their_kind(&self) -> bool {
        self.defined.is_some()
    }

    pub(crate) fn is_definition(&self) -> bool {
        self.collection == DEFINITIONS
    }

    pub(crate) fn is_namespace(&self) -> bool {
        self.collection == NAMESPACES
    }

    /// Whether the kind, its plural or its short name is meant; `plural.group` where the group matters.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.kind == name || self.plural == name || self.singular == name || self.qualified() == name
    }

    fn is_new_event(&self) -> bool {
        self.collection == EVENTS && !self.group.is_empty()
    }
}

pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub(crate) const EVENTS: &str = "events";
pub(crate) const NAMESPACES: &str = "namespaces";

pub(crate) fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
