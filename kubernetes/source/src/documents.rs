//! Rules as texts, by what they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::spec::{CertificateSpec, ListenerSpec, RouteSpec, Spec, UpstreamSpec};
use serde::Serialize;
use serde_json::{Map, Value};

/// Texts of rules (JSON, or what a ConfigMap has) by the object they come from, for example `rules of Ingress shop/web`. Cheap to clone, and what is
/// the same as before costs nothing to compare.
pub type Documents = OrdMap<Arc<str>, Arc<str>>;

/// Rules while they are gathered.
#[derive(Default)]
pub(crate) struct Drafts {
    rules: BTreeMap<String, Spec>,
    texts: BTreeMap<String, String>,
}

impl Drafts {
    /// What comes from an object.
    pub(crate) fn of(&mut self, object: String) -> &mut Spec {
        self.rules.entry(object).or_default()
    }

    /// All upstreams so far, by name.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (&str, &UpstreamSpec)> {
        let all = self.rules.values().flat_map(|spec| &spec.upstreams);
        all.map(|(name, spec)| (name.as_str(), spec))
    }

    /// The routes that come from objects of a namespace, with these objects.
    pub(crate) fn routes_of(&self, namespace: &str) -> impl Iterator<Item = (&str, &RouteSpec)> {
        let all = self.rules.iter().filter(move |(object, _)| is_in(object, namespace));
        all.flat_map(|(object, spec)| spec.routes.values().map(move |route| (object.as_str(), route)))
    }

    /// The same, to be changed.
    pub(crate) fn routes_of_mut(&mut self, namespace: &str) -> impl Iterator<Item = (&str, &mut RouteSpec)> {
        let all = self.rules.iter_mut().filter(move |(object, _)| is_in(object, namespace));
        all.flat_map(|(object, spec)| spec.routes.values_mut().map(move |route| (object.as_str(), route)))
    }

    /// What an object says itself.
    pub(crate) fn put_text(&mut self, document: String, text: String) {
        self.texts.insert(document, text);
    }

    /// All of it. Texts that are as they were `before` are the same ones: to write them is most of the work.
    pub(crate) fn finish(self, before: &Made) -> Made {
        let mut made = Made::default();
        for (object, spec) in self.rules {
            let name = format!("{RULES_OF}{object}");
            let same = before.rules.get_key_value(&*name).filter(|(_, known)| **known == spec);
            let kept = same.and_then(|(name, _)| Some((Arc::clone(name), Arc::clone(before.documents.get(name)?))));
            let (name, text) = kept.unwrap_or_else(|| (name.into(), text_of(&spec).into()));
            made.documents.insert(Arc::clone(&name), text);
            made.rules.insert(name, spec);
        }
        for (name, text) in self.texts {
            let kept = before.documents.get(&*name).filter(|kept| ***kept == *text);
            let text = kept.cloned().unwrap_or_else(|| text.into());
            made.documents.insert(name.into(), text);
        }
        made
    }
}

/// Rules as texts, and what those were written of that are not the object's own.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) documents: Documents,
    rules: BTreeMap<Arc<str>, Spec>,
}

/// Whether an object, as in `Ingress shop/web`, is in a namespace.
fn is_in(object: &str, namespace: &str) -> bool {
    let name = object.split_once(' ').and_then(|(_, name)| name.split_once('/'));
    name.is_some_and(|(of, _)| of == namespace)
}

/// They are called otherwise than the object itself, of which there may be something to say, too.
pub(crate) const RULES_OF: &str = "rules of ";

/// As somebody would write it: without what is usual.
fn text_of(spec: &Spec) -> String {
    let mut maps = Map::new();
    let mut add = |name: &str, objects: Map<String, Value>| {
        if !objects.is_empty() {
            maps.insert(name.into(), Value::Object(objects));
        }
    };
    add("listeners", objects(&spec.listeners, &ListenerSpec::default()));
    add("routes", objects(&spec.routes, &RouteSpec::default()));
    add("upstreams", objects(&spec.upstreams, &UpstreamSpec::default()));
    add("certificates", objects(&spec.certificates, &CertificateSpec::default()));
    let releases = spec.releases.iter().map(|(name, release)| (name.clone(), value(release)));
    add("releases", releases.collect());
    Value::Object(maps).to_string()
}

fn objects<S: Serialize>(specs: &BTreeMap<String, S>, usual: &S) -> Map<String, Value> {
    let usual = value(usual);
    let trimmed = |spec: &S| {
        let mut value = value(spec);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, value| usual.get(name) != Some(value));
        }
        value
    };
    specs.iter().map(|(name, spec)| (name.clone(), trimmed(spec))).collect()
}

fn value(spec: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    drop_nulls(&mut value);
    value
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_nulls);
            fields.retain(|_, value| !value.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
