//! What kubectl makes of it, where it is installed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use kubernetes_stand_in::StandIn;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{DEFINITION, with_releases};

/// kubectl, with a configuration of its own.
struct Kubectl {
    folder: TempDir,
}

impl Kubectl {
    /// Nothing where it is not installed.
    fn of(server: &StandIn) -> Option<Self> {
        if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
            // It is required nowhere: Debian's is of a time when kubectl checked fields by itself.
            eprintln!("SKIPPED: kubectl is not installed (https://kubernetes.io/docs/tasks/tools, 1.27 or later)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("config"), server.kubeconfig_yaml()).expect("room");
        Some(Self { folder })
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.folder.path().join("config"))
            .arg("--cache-dir")
            .arg(self.folder.path().join("cache"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it was there a moment ago");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("a text")
    }
}

const RELEASE: &str = "{apiVersion: serin.example/v1, kind: Release, metadata: {name: shop}, spec: {weight: 5}}";

#[test]
fn kubectl_applies_gets_and_patches() {
    let server = StandIn::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    kubectl.ok(&["apply", "-f", "-"], DEFINITION);
    kubectl.ok(&["wait", "--for=condition=Established", "crd/releases.serin.example"], "");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], RELEASE), "release.serin.example/shop created\n");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], RELEASE), "release.serin.example/shop unchanged\n");
    let changed = RELEASE.replace("weight: 5", "weight: 6");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &changed), "release.serin.example/shop configured\n");
    let changed = RELEASE.replace("weight: 5", "weight: 7");
    kubectl.ok(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &changed);

    let table = kubectl.ok(&["get", "releases"], "");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["NAME", "WEIGHT", "READY"], vec!["shop", "7"]]);

    let status = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}"#;
    kubectl.ok(&["patch", "rel", "shop", "--type=merge", "--subresource=status", "-p", status], "");
    kubectl.ok(&["wait", "--for=condition=Ready", "rel/shop"], "");
    kubectl.ok(&["label", "rel", "shop", "tier=web"], "");
    assert_eq!(kubectl.ok(&["get", "rel", "-l", "tier=web", "-o", "name"], ""), "release.serin.example/shop\n");
    kubectl.ok(&["delete", "rel", "shop"], "");
}

#[test]
fn kubectl_hears_what_is_wrong() {
    let server = with_releases();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let heard = |object: String| String::from_utf8(kubectl.run(&["apply", "-f", "-"], &object).stderr).expect("a text");
    let invalid = heard(RELEASE.replace("weight: 5", "weight: 101"));
    assert!(invalid.contains("spec.weight: Invalid value: 101"), "{invalid}");
    let unknown = heard(RELEASE.replace("weight: 5", "weight: 5, colour: red"));
    assert!(unknown.contains("unknown field \"spec.colour\""), "{unknown}");
}

#[test]
fn kubectl_applies_built_in_kinds() {
    let server = StandIn::start();
    let Some(kubectl) = Kubectl::of(&server) else { return };
    let service = |port: u16| {
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: shop}}, spec: {{ports: [{{port: {port}}}]}}}}")
    };
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &service(80)), "service/shop created\n");
    assert_eq!(kubectl.ok(&["apply", "-f", "-"], &service(81)), "service/shop configured\n");
    let ports = &server.get("Service", "default", "shop").unwrap()["spec"]["ports"];
    assert_eq!(ports, &json!([{"port": 81, "protocol": "TCP", "targetPort": 81}]));
    let table = kubectl.ok(&["get", "services,secrets", "-A"], "");
    assert!(table.contains("NAMESPACE   NAME") && table.contains("default     "), "{table}");
    // `create namespace` would send a binary form, which only real servers read.
    kubectl.ok(&["apply", "-f", "-"], "{apiVersion: v1, kind: Namespace, metadata: {name: mail}}");
    kubectl.ok(&["delete", "namespace", "mail"], "");
}
