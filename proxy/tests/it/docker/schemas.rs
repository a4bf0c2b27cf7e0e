//! Objects against the schemas that Kubernetes and the Prometheus operator publish, in which no unknown field is let be.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::program;

/// The oldest version that the chart promises, and a new one.
const VERSIONS: [&str; 2] = ["1.25", "1.37"];

/// Checks them all, because starting it takes longer than all of them.
pub(super) fn check(objects: &[Value]) {
    let Some(python) = program("python") else { return };
    let problems = problems(&python, objects);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn problems(python: &std::path::Path, objects: &[Value]) -> Vec<String> {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("schemas.py")]).args(VERSIONS).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python runs");
    let text = serde_json::to_vec(objects).expect("JSON");
    child.stdin.take().expect("it is piped").write_all(&text).expect("it reads");
    let output = child.wait_with_output().expect("our own child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the schemas could not be asked: {said}");
    said.lines().map(str::to_owned).collect()
}

/// The judge judges.
#[test]
fn a_misspelt_field_is_found() {
    let Some(python) = program("python") else { return };
    let object = |version: &str, kind: &str, spec: Value| serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    let deployment = serde_json::json!({"replicsa": 2, "selector": {}, "template": {}});
    let monitor = serde_json::json!({"selector": {"matchLabels": {}}, "endpoints": [{"prot": "admin"}]});
    let wrong = [
        object("apps/v1", "Deployment", deployment),
        object("monitoring.coreos.com/v1", "ServiceMonitor", monitor),
        object("example.com/v1", "Unknown", Value::Null),
    ];
    let found = problems(&python, &wrong);
    for word in ["replicsa", "prot", "example.com/v1"] {
        assert!(found.iter().any(|problem| problem.contains(word)), "{word}: {found:?}");
    }
}
