//! `docker/helm/serin`, rendered by Helm with each of the files of values in its folder `ci`, and installed into an API server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

use super::objects::{Objects, container};
use super::{manifests, program, schemas};
use crate::reference::workspace;

fn chart() -> PathBuf {
    workspace().join("docker/helm/serin")
}

/// Files of values.
fn values() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(chart().join("ci")).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    files
}

fn helm(program: &Path, words: &[&str], more: &[&str]) -> Output {
    // Nothing that is on this machine of Helm's is looked at.
    let nothing = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(program);
    command.args(words).arg(chart()).args(more).env("HOME", nothing.path()).env_remove("KUBECONFIG");
    command.output().expect("helm runs")
}

fn render(program: &Path, more: &[&str]) -> Result<Objects, String> {
    let output = helm(program, &["template", "edge", "--namespace", "web"], more);
    match output.status.success() {
        true => Ok(Objects::read(&more.join(" "), &String::from_utf8_lossy(&output.stdout))),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn of_file(program: &Path, file: &str) -> Objects {
    let path = chart().join("ci").join(file);
    render(program, &["--values", path.to_str().expect("text")]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn whatever_is_chosen_fits_together_and_is_as_published_schemas_say() {
    let Some(program) = program("helm") else { return };
    let mut all = Vec::new();
    let sets = values();
    assert!(sets.len() >= 4, "{sets:?}");
    let sets: Vec<Vec<&str>> = sets.iter().map(|file| vec!["--values", file.to_str().expect("text")]).collect();
    for set in [vec![]].iter().chain(&sets) {
        let linted = helm(&program, &["lint", "--strict"], set);
        assert!(linted.status.success(), "{set:?}: {}", String::from_utf8_lossy(&linted.stdout));
        let objects = render(&program, set).unwrap_or_else(|error| panic!("{set:?}: {error}"));
        objects.fit(&["shop-pins"]);
        all.extend(objects.all);
    }
    schemas::check(&all);
}

/// Who reads the manifests knows what the chart makes, but for names.
#[test]
fn without_values_it_is_what_the_manifests_are() {
    let Some(program) = program("helm") else { return };
    let chart = render(&program, &[]).expect("it needs no values");
    let manifests = manifests::read(&["rbac.yaml", "serin.yaml"]);
    let rules =
        |objects: &Objects| -> Vec<Value> { objects.of("ClusterRole").map(|role| role["rules"].clone()).collect() };
    assert_eq!(rules(&chart), rules(&manifests));
    let (ours, theirs) = (chart.one("Deployment"), manifests.one("Deployment"));
    for field in ["securityContext", "terminationGracePeriodSeconds"] {
        let of = |workload: &Value| workload["spec"]["template"]["spec"][field].clone();
        assert_eq!(of(ours), of(theirs), "{field}");
    }
    for field in ["image", "ports", "securityContext", "readinessProbe", "livenessProbe", "resources", "volumeMounts"] {
        assert_eq!(container(ours)[field], container(theirs)[field], "{field}");
    }
    assert_eq!(ours["spec"]["strategy"]["rollingUpdate"], theirs["spec"]["strategy"]["rollingUpdate"]);
    let (mut ours, mut theirs) = (chart.settings(), manifests.settings());
    for settings in [&mut ours, &mut theirs] {
        let kubernetes = settings["sources"]["kubernetes"].as_object_mut().expect("it is followed");
        // Defaults that the chart writes out, and names.
        kubernetes.retain(|field, _| !["controller", "lease", "publish_service"].contains(&field.as_str()));
    }
    assert_eq!(ours, theirs);
}

#[test]
fn values_have_their_effect() {
    let Some(program) = program("helm") else { return };
    let restricted = of_file(&program, "restricted-values.yaml");
    let bound = restricted.of("RoleBinding").map(|binding| binding["metadata"]["namespace"].as_str());
    let mut bound: Vec<&str> = bound.map(|namespace| namespace.expect("it is in one")).collect();
    bound.sort_unstable();
    assert_eq!(bound, ["pay", "shop", "shop", "web"]);
    let whole: Vec<&Value> = restricted.of("ClusterRoleBinding").map(|binding| &binding["roleRef"]["name"]).collect();
    assert_eq!(whole, [&Value::from("web-edge-serin-classes")]);
    assert_eq!(restricted.of("Secret").count(), 0);
    assert_eq!(restricted.settings()["sources"]["kubernetes"]["namespaces"], serde_json::json!(["shop", "pay"]));

    let everything = of_file(&program, "everything-values.yaml");
    assert_eq!(everything.one("Deployment")["spec"]["replicas"], Value::Null);
    assert_eq!(everything.settings()["access_log"]["to"], "stderr");
    assert!(everything.one("ConfigMap")["data"]["rules.yaml"].is_string());

    let nodes = of_file(&program, "daemonset-values.yaml");
    let ports = &container(nodes.one("DaemonSet"))["ports"];
    assert_eq!((&ports[0]["hostPort"], &ports[1]["hostPort"]), (&80.into(), &443.into()));
    assert_eq!(nodes.of("Service").count() + nodes.of("PodDisruptionBudget").count(), 0);
}

/// The commands and the values of docs/kubernetes.md.
#[test]
fn what_the_page_shows_is_taken() {
    let Some(program) = program("helm") else { return };
    let page = std::fs::read_to_string(workspace().join("docs/kubernetes.md")).expect("it is there");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("helm upgrade --install ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        let (name, flags) = command.split_once(" docker/helm/serin ").expect("the chart");
        let flags = flags.replace(" --create-namespace", "");
        let output = helm(&program, &["template", name], &flags.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let values = page.split("```yaml file=values.yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.expect("it has values")).expect("room");
    let objects =
        render(&program, &["--values", file.to_str().expect("text")]).unwrap_or_else(|error| panic!("{error}"));
    objects.fit(&[]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let Some(program) = program("helm") else { return };
    for (value, reason) in [
        ("hostPorts.enabled=true", "hostPorts need kind: DaemonSet"),
        ("kind=DaemonSet,autoscaling.enabled=true", "autoscaling needs kind: Deployment"),
        ("serviceAccount.create=false", "serviceAccount.name is the account"),
        ("sevice.enabled=false", "additional properties 'sevice' not allowed"),
        ("kind=StatefulSet", "/kind"),
        ("configMaps={rules}", "/configMaps/0"),
    ] {
        let refused = render(&program, &["--set", value]).err().unwrap_or_else(|| panic!("{value} is taken"));
        assert!(refused.contains(reason), "{value}: {refused}");
    }
}

/// As Helm renders it who looks into the cluster.
#[test]
fn an_upgrade_keeps_the_secret_and_restarts_pods_only_for_settings() {
    let Some(program) = program("helm") else { return };
    let cluster = StandIn::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig_yaml()).expect("room");
    let kubeconfig = kubeconfig.to_str().expect("text");
    let upgrade = |value: &str| {
        // The stand-in has no schemas.
        let flags = ["--dry-run=server", "--disable-openapi-validation", "--kubeconfig", kubeconfig, "--set", value];
        let objects = render(&program, &flags).unwrap_or_else(|error| panic!("{error}"));
        let template = &objects.one("Deployment")["spec"]["template"];
        (objects.one("Secret").clone(), template["metadata"]["annotations"]["checksum/settings"].clone())
    };
    let one_endpoint = "rules.upstreams.a.endpoints={10.0.0.1:80}";
    let (secret, settings) = upgrade(one_endpoint);
    assert_eq!(secret["data"]["secret"].as_str().expect("in base64").len(), 44, "32 bytes: {secret}");
    assert_ne!(upgrade(one_endpoint).0, secret, "it comes by chance");
    // As Helm marks what it installs.
    let mut installed = secret.clone();
    let marks = ["meta.helm.sh/release-name", "meta.helm.sh/release-namespace"];
    installed["metadata"]["annotations"] = json!({marks[0]: "edge", marks[1]: "web"});
    cluster.apply(&installed);
    assert_eq!(upgrade("rules.upstreams.a.endpoints={10.0.0.2:80}"), (secret.clone(), settings.clone()));
    let (kept, newer) = upgrade("shutdown.delaySeconds=5");
    assert_eq!(kept, secret);
    assert_ne!(newer, settings);
}
