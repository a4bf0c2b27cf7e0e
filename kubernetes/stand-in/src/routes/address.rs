//! Paths of the API, and the verbs requests to them are.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::query::Query;
use crate::resource::registry::Registry;
use crate::resource::{Resource, qualified};

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    Health,
    Version,
    CoreVersions,
    Groups,
    Group(String),
    Resources(String, String),
    OpenApi,
    OpenApiOf(String, String),
    Objects(Place),
    Unknown,
}

/// One object, or all of a kind, or of a kind in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    /// Empty for all.
    pub(super) name: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
}

/// What a request does, in the words rules about permissions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// A method the API does not know.
    Other,
}

impl Address {
    pub(super) fn of(path: &str) -> Self {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Self::Health,
            ["version"] => Self::Version,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group((*group).to_owned()),
            ["api", version] => Self::Resources(String::new(), (*version).to_owned()),
            ["apis", group, version] => Self::Resources((*group).to_owned(), (*version).to_owned()),
            ["openapi", "v3"] => Self::OpenApi,
            ["openapi", "v3", "api", version] => Self::OpenApiOf(String::new(), (*version).to_owned()),
            ["openapi", "v3", "apis", group, version] => Self::OpenApiOf((*group).to_owned(), (*version).to_owned()),
            ["api", version, rest @ ..] => Self::objects("", version, rest),
            ["apis", group, version, rest @ ..] => Self::objects(group, version, rest),
            _ => Self::Unknown,
        }
    }

    fn objects(group: &str, version: &str, rest: &[&str]) -> Self {
        let (namespace, rest) = match rest {
            // A namespace itself is an object, too, with what belongs to it.
            ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Self::Unknown,
        };
        Self::Objects(Place {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            namespace,
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }

    /// How it is counted: `services`, `releases.serin.example/status`, `/version`.
    pub(super) fn counted(&self) -> String {
        match self {
            Self::Objects(place) if place.subresource.is_empty() => qualified(&place.group, &place.plural),
            Self::Objects(place) => format!("{}/{}", qualified(&place.group, &place.plural), place.subresource),
            Self::Health => "/healthz".to_owned(),
            Self::Version => "/version".to_owned(),
            Self::CoreVersions | Self::Groups | Self::Group(_) | Self::Resources(..) => "/apis".to_owned(),
            Self::OpenApi | Self::OpenApiOf(..) => "/openapi".to_owned(),
            Self::Unknown => "/".to_owned(),
        }
    }
}

impl Place {
    pub(super) fn resource(&self, registry: &Registry) -> Option<Arc<Resource>> {
        registry.find(&self.group, &self.version, &self.plural)
    }
}

impl Verb {
    pub(super) fn of(method: &Method, address: &Address, query: &Query) -> Self {
        let Address::Objects(place) = address else { return Self::Get };
        let all = place.name.is_empty();
        match *method {
            Method::GET if query.is_set("watch") => Self::Watch,
            Method::GET if all => Self::List,
            Method::GET => Self::Get,
            Method::POST if all => Self::Create,
            Method::PUT if !all => Self::Update,
            Method::PATCH if !all => Self::Patch,
            Method::DELETE if all => Self::DeleteCollection,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        }
    }
}
