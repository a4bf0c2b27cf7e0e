//! Events have two faces, `v1` and `events.k8s.io/v1`, of the same objects: what one calls `message` is `note` to the
//! other. They are stored as the first.

use serde_json::Value;

/// Names of the first face and of the second. `count` is no field of the new face but for old events.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(super) fn to_new(event: &mut Value) {
    for (stored, new) in NAMES {
        rename(event, stored, new);
    }
}

pub(super) fn to_stored(event: &mut Value) {
    for (stored, new) in NAMES {
        rename(event, new, stored);
    }
}

fn rename(event: &mut Value, from: &str, to: &str) {
    let Some(fields) = event.as_object_mut() else { return };
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}
