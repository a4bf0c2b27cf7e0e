//! `docker/kubernetes/`.

use std::fs;

use super::objects::{Objects, container};
use super::schemas;
use crate::reference::workspace;

/// What is applied together, by files.
const SETS: [&[&str]; 3] = [
    &["rbac.yaml", "serin.yaml"],
    &["rbac.yaml", "serin.yaml", "hpa.yaml", "servicemonitor.yaml"],
    &["rbac.yaml", "daemonset.yaml", "servicemonitor.yaml"],
];

pub(super) fn read(files: &[&str]) -> Objects {
    let folder = workspace().join("docker/kubernetes");
    let text = |file: &&str| fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    Objects::read(&files.join(", "), &files.iter().map(text).collect::<Vec<_>>().join("\n---\n"))
}

#[test]
fn they_fit_each_other() {
    for files in SETS {
        read(files).fit(&["serin-secret"]);
    }
    let image = |files, kind| container(read(files).one(kind))["image"].clone();
    assert_eq!(image(SETS[0], "Deployment"), image(SETS[2], "DaemonSet"));
}

#[test]
fn they_are_as_published_schemas_say() {
    let objects = SETS.iter().flat_map(|files| read(files).all);
    schemas::check(&objects.collect::<Vec<_>>());
}

/// Whoever installs by hand and whoever installs the chart gets the same kinds.
#[test]
fn the_chart_has_the_same_definitions() {
    let ours = workspace().join("docker/kubernetes/crds.yaml");
    let Ok(ours) = fs::read_to_string(ours) else { return };
    let chart = workspace().join("docker/helm/serin/crds/crds.yaml");
    let charts = fs::read_to_string(&chart).unwrap_or_else(|error| panic!("{}: {error}", chart.display()));
    assert!(ours == charts, "docker/helm/serin/crds/crds.yaml is not docker/kubernetes/crds.yaml");
}
