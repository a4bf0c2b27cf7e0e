//! From a `CustomResourceDefinition` to the kinds it defines, one for each served version.

use serde_json::{Value, json};

use super::columns::Column;
use super::shape::Shapes;
use super::{Defined, Resource, qualified};
use crate::clock;
use crate::schema::Schema;
use crate::status::Cause;

/// The kinds of a definition that is right.
pub(crate) fn resources(definition: &Value) -> Vec<Resource> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.filter(|version| version["served"] == true).map(|version| resource(definition, version)).collect()
}

/// What is wrong with a definition.
pub(crate) fn problems(definition: &Value) -> Vec<Cause> {
    let spec = &definition["spec"];
    let mut problems = missing(spec);
    let (plural, group) = (text(&spec["names"], "plural"), text(spec, "group"));
    let name = qualified(&group, &plural);
    if definition["metadata"]["name"] != name.as_str() {
        let why = "must be spec.names.plural+\".\"+spec.group";
        problems.push(Cause::invalid("metadata.name", &definition["metadata"]["name"], why));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        problems.push(Cause::invalid("spec.versions", &spec["versions"], why));
    }
    for (index, version) in versions.iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        let place = format!("spec.versions[{index}].schema.openAPIV3Schema");
        match Schema::problem(schema) {
            _ if !schema.is_object() => problems.push(Cause::required(place, "schemas are required")),
            Some(why) => problems.push(Cause::invalid(place, schema, &why)),
            None => {}
        }
    }
    problems
}

/// What nobody has said: the names that follow from others.
pub(crate) fn set_defaults(definition: &mut Value) {
    let names = &mut definition["spec"]["names"];
    let Some(kind) = names["kind"].as_str().map(str::to_owned) else { return };
    for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if names[field].is_null() {
            names[field] = value.into();
        }
    }
    if definition["spec"]["conversion"].is_null() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
}

/// The status of a definition whose kind can be used.
pub(crate) fn established(definition: &Value) -> Value {
    let spec = &definition["spec"];
    let condition = |kind, reason, message| {
        let now = clock::now();
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now})
    };
    let storage = spec["versions"].as_array().into_iter().flatten().find(|version| version["storage"] == true);
    json!({
        "acceptedNames": spec["names"],
        "storedVersions": [storage.map(|version| &version["name"])],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}

fn missing(spec: &Value) -> Vec<Cause> {
    let paths = ["/group", "/scope", "/names/plural", "/names/kind", "/versions"];
    let absent = |path: &&str| spec.pointer(path).is_none_or(|value| value.is_null() || *value == "");
    paths
        .iter()
        .filter(|path| absent(path))
        .map(|path| Cause::required(format!("spec{}", path.replace('/', ".")), ""))
        .collect()
}

fn resource(definition: &Value, version: &Value) -> Resource {
    let spec = &definition["spec"];
    let (group, names) = (text(spec, "group"), &spec["names"]);
    let schema = &version["schema"]["openAPIV3Schema"];
    let columns = version["additionalPrinterColumns"].as_array();
    Resource {
        version: text(version, "name"),
        plural: text(names, "plural"),
        singular: text(names, "singular"),
        kind: text(names, "kind"),
        list_kind: text(names, "listKind"),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        status: version["subresources"]["status"].is_object(),
        generation: true,
        create_on_update: false,
        unconditional_update: false,
        collection: qualified(&group, &text(names, "plural")),
        shapes: Shapes::of_schema(schema),
        defined: Some(Defined {
            schema: Schema::new(schema),
            columns: columns.map_or_else(|| vec![Column::age()], |columns| columns.iter().map(Column::new).collect()),
        }),
        group,
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
