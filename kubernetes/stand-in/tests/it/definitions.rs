//! Kinds that are defined through the API.

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

use crate::support::{
    DEFINITION, End, RELEASES, Watching, delete, get, names, post, put, release, send, with_releases,
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[test]
fn a_kind_comes_and_goes_with_its_definition() {
    let server = StandIn::start();
    let absent = get(&server, RELEASES);
    assert_eq!((absent.code, absent.text.trim()), (404, "404 page not found"));

    let yaml = [("Content-Type", "application/yaml")];
    assert_eq!(send(&server, "POST", DEFINITIONS, &yaml, DEFINITION).code, 201);
    let definition = get(&server, &format!("{DEFINITIONS}/releases.serin.example")).ok();
    let conditions = definition["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True"));
    assert_eq!(definition["spec"]["names"]["listKind"], "ReleaseList");

    post(&server, RELEASES, &release("r", json!({"weight": 1}))).ok();
    let list = get(&server, RELEASES).ok();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("ReleaseList"), &json!("Release")));

    let mut watch = Watching::open(&server, &format!("{RELEASES}?resourceVersion={}", server.revision()));
    delete(&server, &format!("{DEFINITIONS}/releases.serin.example")).ok();
    assert_eq!(watch.named(), "DELETED r");
    assert_eq!(watch.end(), End::Whole);
    assert_eq!(get(&server, RELEASES).code, 404);
}

#[test]
fn definitions_are_checked() {
    let server = StandIn::start();
    let mut definition: Value = with_releases().get("CustomResourceDefinition", "", "releases.serin.example").unwrap();
    for name in ["resourceVersion", "uid", "managedFields"] {
        definition["metadata"].as_object_mut().unwrap().remove(name);
    }
    let refused = |path: &str, value: Value, field: &str| {
        let mut wrong = definition.clone();
        *wrong.pointer_mut(path).unwrap() = value;
        let status = post(&server, DEFINITIONS, &wrong).failed(422, "Invalid");
        assert_eq!(status["details"]["causes"][0]["field"], field);
    };
    refused("/metadata/name", json!("other.serin.example"), "metadata.name");
    refused("/spec/versions/0/storage", json!(false), "spec.versions");
    refused("/spec/names/kind", json!(""), "spec.names.kind");
    let schema = "spec.versions[0].schema.openAPIV3Schema";
    refused("/spec/versions/0/schema/openAPIV3Schema", json!({"type": "nothing"}), schema);
    post(&server, DEFINITIONS, &definition).ok();
}

#[test]
fn objects_are_validated_by_their_schema() {
    let server = with_releases();
    let cases = [
        (json!({}), "spec.weight", "FieldValueRequired", "Required value"),
        (json!({"weight": 101}), "spec.weight", "FieldValueInvalid", "should be less than or equal to 100"),
        (json!({"weight": -1}), "spec.weight", "FieldValueInvalid", "should be greater than or equal to 0"),
        (json!({"weight": "x"}), "spec.weight", "FieldValueTypeInvalid", "must be of type integer: \"string\""),
        (
            json!({"weight": 1, "mode": "x"}),
            "spec.mode",
            "FieldValueNotSupported",
            "supported values: \"auto\", \"manual\"",
        ),
        (json!({"weight": 1, "sticky": "A"}), "spec.sticky", "FieldValueInvalid", "should match '^[a-z]+$'"),
        (json!({"weight": null}), "spec.weight", "FieldValueRequired", "Required value"),
        (
            json!({"weight": 1, "sticky": "abcdefghi"}),
            "spec.sticky",
            "FieldValueTooLong",
            "Too long: may not be more than 8 bytes",
        ),
        (
            json!({"weight": 1, "phases": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]}),
            "spec.phases",
            "FieldValueTooMany",
            "Too many: 4: must have at most 3 items",
        ),
        (json!({"weight": 1, "port": true}), "spec.port", "FieldValueTypeInvalid", "must be of type"),
        (json!({"weight": 1, "phases": [{}]}), "spec.phases[0].name", "FieldValueRequired", "Required value"),
        (json!({"weight": 1, "hosts": ["a", "a"]}), "spec.hosts[1]", "FieldValueDuplicate", "Duplicate value: \"a\""),
        (
            json!({"weight": 1, "phases": [{"name": "a"}, {"name": "a"}]}),
            "spec.phases[1]",
            "FieldValueDuplicate",
            "Duplicate value: {\"name\":\"a\"}",
        ),
    ];
    for (spec, field, reason, message) in cases {
        let status = post(&server, RELEASES, &release("r", spec.clone())).failed(422, "Invalid");
        let causes = status["details"]["causes"].as_array().unwrap();
        assert_eq!((&causes[0]["field"], &causes[0]["reason"]), (&json!(field), &json!(reason)), "{spec}: {causes:?}");
        assert!(causes[0]["message"].as_str().unwrap().contains(message), "{spec}: {causes:?}");
        assert_eq!(
            (&status["details"]["kind"], &status["details"]["group"]),
            (&json!("Release"), &json!("serin.example"))
        );
    }
    for spec in [json!({"weight": 1, "port": "web", "note": null}), json!({"weight": 1, "port": 80})] {
        post(&server, &format!("{RELEASES}?dryRun=All"), &release("r", spec)).ok();
    }
}

#[test]
fn unknown_fields_are_dropped_and_defaults_filled_in() {
    let server = with_releases();
    let spec = json!({"weight": 1, "colour": "red", "phases": [{"name": "a", "b": 1}], "extra": {"any": {"thing": 1}}});
    let reply = post(&server, RELEASES, &release("r", spec.clone()));
    assert_eq!(reply.header("warning"), Some("299 - \"unknown field \\\"spec.colour\\\"\""));
    let stored = reply.ok();
    let phases = json!([{"name": "a", "percent": 10}]);
    let expected = json!({"weight": 1, "mode": "auto", "phases": phases, "extra": {"any": {"thing": 1}}});
    assert_eq!(stored["spec"], expected);

    let strict = post(&server, &format!("{RELEASES}?fieldValidation=Strict"), &release("s", spec.clone()));
    let status = strict.failed(400, "BadRequest");
    assert!(status["message"].as_str().unwrap().contains("unknown field \"spec.phases[0].b\""), "{status}");
    let quiet = post(&server, &format!("{RELEASES}?fieldValidation=Ignore"), &release("t", spec));
    assert_eq!((quiet.code, quiet.header("warning")), (201, None));
}

#[test]
fn defined_kinds_are_not_replaced_blindly() {
    let server = with_releases();
    server.apply(release("r", json!({"weight": 1})));
    let blind = put(&server, &format!("{RELEASES}/r"), &release("r", json!({"weight": 2})));
    assert_eq!(blind.failed(422, "Invalid")["details"]["causes"][0]["field"], "metadata.resourceVersion");
    post(&server, RELEASES, &json!({"metadata": {"name": "x"}, "spec": {"weight": 1}})).failed(400, "BadRequest");
    let other = json!({"apiVersion": "serin.example/v1", "kind": "Other", "metadata": {"name": "x"}});
    assert_eq!(post(&server, RELEASES, &other).failed(422, "Invalid")["details"]["causes"][0]["field"], "kind");
}

#[test]
fn versions_of_a_kind_are_the_same_objects() {
    let server = StandIn::start();
    let mut definition =
        serde_json::to_value(with_releases().get("CustomResourceDefinition", "", "releases.serin.example"));
    let definition = definition.as_mut().unwrap();
    let mut second = definition["spec"]["versions"][0].clone();
    (second["name"], second["storage"]) = ("v2".into(), false.into());
    definition["spec"]["versions"].as_array_mut().unwrap().push(second);
    server.apply(&*definition);
    server.apply(release("r", json!({"weight": 1})));
    let list = get(&server, &RELEASES.replace("/v1/", "/v2/")).ok();
    assert_eq!((names(&list), &list["items"][0]["apiVersion"]), (vec!["r"], &json!("serin.example/v2")));
    let revision = server.revision();
    put(&server, &format!("{}/r", RELEASES.replace("/v1/", "/v2/")), &list["items"][0]).ok();
    assert_eq!(server.revision(), revision, "another version is no change");
}
