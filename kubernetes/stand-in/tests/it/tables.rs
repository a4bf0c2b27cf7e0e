//! Tables, as kubectl prints them.

use serde_json::{Value, json};

use crate::support::{MAPS, RELEASES, map, release, send, with_releases};

const TABLE: (&str, &str) = ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");

fn columns(table: &Value) -> Vec<&str> {
    table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect()
}

#[test]
fn a_definition_says_its_columns() {
    let server = with_releases();
    let mut object = release("r", json!({"weight": 5}));
    object["status"] =
        json!({"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]});
    server.apply(object);
    server.apply(release("s", json!({"weight": 6})));
    let table = send(&server, "GET", RELEASES, &[TABLE], "").ok();
    assert_eq!((&table["kind"], columns(&table)), (&json!("Table"), vec!["Name", "Weight", "Ready"]));
    assert_eq!(table["rows"][0]["cells"], json!(["r", 5, "True"]));
    assert_eq!(table["rows"][1]["cells"], json!(["s", 6, null]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["metadata"]["resourceVersion"], server.revision().to_string());

    let whole = send(&server, "GET", &format!("{RELEASES}/r?includeObject=Object"), &[TABLE], "").ok();
    assert_eq!(whole["rows"][0]["object"]["spec"]["weight"], 5);
}

#[test]
fn other_kinds_show_their_names_and_ages() {
    let server = with_releases();
    let mut object = map("a", json!({}));
    object["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
    server.apply(object);
    let table = send(&server, "GET", MAPS, &[TABLE], "").ok();
    assert_eq!(columns(&table), ["Name", "Age"]);
    assert!(table["rows"][0]["cells"][1].as_str().unwrap().ends_with('d'));
    send(&server, "GET", MAPS, &[("Accept", "text/html")], "").failed(406, "NotAcceptable");
}
