//! What the API server is told of Releases.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::form::ReleaseObject;

/// The kind `Release`, as `kubectl apply` takes it.
///
/// It says no defaults: what was left out is then left out in what is read, too, and a later version may have other ones.
pub fn definition() -> Value {
    let mut definition = json!(ReleaseObject::crd());
    drop_defaults(&mut definition);
    definition
}

fn drop_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("default");
            fields.values_mut().for_each(drop_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_defaults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The file is what people apply: `SERIN_BLESS=1` writes it anew.
    #[test]
    fn the_file_is_what_the_types_say() {
        let text = serde_saphyr::to_string(&definition()).unwrap();
        let head = "# Generated from the types of Serin (kubernetes/source/src/release/form.rs). `kubectl apply -f` makes the API server know \
                    Releases.\n";
        let written = format!("{head}{text}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/kubernetes/crds.yaml");
        if std::env::var_os("SERIN_BLESS").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let is = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(is == written, "{} is another one: make it with SERIN_BLESS=1", path.display());
        let read: Value = serde_saphyr::from_str(&is).unwrap();
        assert_eq!(read, definition(), "YAML is read as it was written");
        assert!(!is.contains("default:"));
    }
}
