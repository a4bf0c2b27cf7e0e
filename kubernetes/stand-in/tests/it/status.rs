//! The status subresource: written by itself, and by nothing else.

use serde_json::json;

use crate::support::{APPLY, MERGE, RELEASES, get, patch, post, put, release, with_releases};

#[test]
fn status_and_the_rest_are_written_apart() {
    let server = with_releases();
    let mut object = release("r", json!({"weight": 5}));
    object["status"] = json!({"phase": "made up"});
    let created = post(&server, RELEASES, &object).ok();
    assert!(created["status"].is_null());

    let mut update = created.clone();
    update["status"] = json!({"phase": "Running", "unknown": 1});
    update["spec"]["weight"] = json!(99);
    let one = format!("{RELEASES}/r");
    let updated = put(&server, &format!("{one}/status"), &update).ok();
    assert_eq!((&updated["spec"]["weight"], &updated["status"]), (&json!(5), &json!({"phase": "Running"})));
    assert_eq!(updated["metadata"]["generation"], 1);
    assert_eq!(get(&server, &format!("{one}/status")).ok(), updated);

    let mut update = updated.clone();
    update["spec"]["weight"] = json!(6);
    update["status"] = json!({"phase": "made up"});
    let updated = put(&server, &one, &update).ok();
    assert_eq!((&updated["spec"]["weight"], &updated["status"]["phase"]), (&json!(6), &json!("Running")));
    assert_eq!(updated["metadata"]["generation"], 2);

    let merge = json!({"status": {"phase": "Done"}, "spec": {"weight": 7}, "metadata": {"labels": {"a": "b"}}});
    let patched = patch(&server, &format!("{one}/status"), MERGE, &merge).ok();
    assert_eq!((&patched["spec"]["weight"], &patched["status"]["phase"]), (&json!(6), &json!("Done")));
    assert!(patched["metadata"]["labels"].is_null());
}

#[test]
fn status_is_applied_by_itself() {
    let server = with_releases();
    server.apply(release("r", json!({"weight": 5})));
    let one = format!("{RELEASES}/r");
    let mut object = release("r", json!({"weight": 6}));
    object["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let applied = patch(&server, &format!("{one}/status?fieldManager=c"), APPLY, &object).ok();
    assert_eq!((&applied["spec"]["weight"], &applied["status"]), (&json!(5), &object["status"]));
    let entries = applied["metadata"]["managedFields"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["manager"] == "c").unwrap();
    let ready = json!({".": {}, "f:type": {}, "f:status": {}});
    assert_eq!(entry["subresource"], "status");
    assert_eq!(entry["fieldsV1"], json!({"f:status": {"f:conditions": {"k:{\"type\":\"Ready\"}": ready}}}));
    let none = patch(&server, &format!("{RELEASES}/none/status?fieldManager=c"), APPLY, &release("none", json!({})));
    none.failed(404, "NotFound");
}
