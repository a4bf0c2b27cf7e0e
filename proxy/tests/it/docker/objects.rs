//! Objects that are applied together, and whether they fit each other.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use serin_proxy::control_path::check::check;

/// Objects that are applied together.
pub(super) struct Objects {
    /// Where they are from.
    pub(super) place: String,
    pub(super) all: Vec<Value>,
}

impl Objects {
    pub(super) fn read(place: &str, yaml: &str) -> Self {
        let all: Vec<Value> =
            serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{place}: {error} in:\n{yaml}"));
        let all = all.into_iter().filter(|object| !object.is_null()).collect();
        Self { place: place.to_owned(), all }
    }

    pub(super) fn of(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.all.iter().filter(move |object| object["kind"] == kind)
    }

    pub(super) fn one(&self, kind: &'static str) -> &Value {
        let mut all = self.of(kind);
        let one = all.next().unwrap_or_else(|| panic!("{}: no {kind}", self.place));
        assert!(all.next().is_none(), "{}: several {kind}", self.place);
        one
    }

    fn has(&self, kind: &str, namespace: &Value, name: &Value) -> bool {
        let is_it = |it: &Value| it["metadata"]["name"] == *name && it["metadata"]["namespace"] == *namespace;
        self.all.iter().any(|it| it["kind"] == kind && is_it(it))
    }

    /// Whether they fit each other. Secrets of these names are made otherwise.
    pub(super) fn fit(&self, given: &[&str]) {
        for workload in self.workloads() {
            self.workload_fits(workload, given);
            self.settings_fit(workload);
        }
        self.of("Service").for_each(|service| self.service_fits(service));
        self.of("ServiceMonitor").for_each(|monitor| self.monitor_fits(monitor));
        self.of("HorizontalPodAutoscaler").for_each(|scaler| self.scaler_fits(scaler));
        for budget in self.of("PodDisruptionBudget") {
            self.chosen(budget, &budget["spec"]["selector"]["matchLabels"]);
        }
        let bindings = self.of("RoleBinding").chain(self.of("ClusterRoleBinding"));
        bindings.for_each(|binding| self.binding_fits(binding));
    }

    /// The workload whose pods an object chooses.
    fn chosen(&self, by: &Value, selector: &Value) -> &Value {
        let chosen = self
            .workloads()
            .find(|workload| is_beside(workload, by) && chooses(selector, &pod(workload)["metadata"]["labels"]));
        chosen.unwrap_or_else(|| panic!("{}: nothing has the labels {selector}", self.place))
    }

    fn service_fits(&self, service: &Value) {
        let chosen = self.chosen(service, &service["spec"]["selector"]);
        for port in list(&service["spec"]["ports"]) {
            assert!(has_port(chosen, &port["targetPort"]), "{}: no container has {port}", self.place);
            let is_open = port["targetPort"] == "admin" && service["spec"]["clusterIP"] != "None";
            assert!(!is_open, "{}: clients come to the admin API", self.place);
        }
    }

    fn monitor_fits(&self, monitor: &Value) {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        let services = || self.of("Service").filter(|service| is_beside(service, monitor));
        let monitored = services().find(|service| chooses(selector, &service["metadata"]["labels"]));
        let monitored = monitored.unwrap_or_else(|| panic!("{}: no Service has {selector}", self.place));
        let ports = list(&monitored["spec"]["ports"]);
        for endpoint in list(&monitor["spec"]["endpoints"]) {
            assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{}: {endpoint}", self.place);
        }
    }

    fn scaler_fits(&self, scaler: &Value) {
        let target = &scaler["spec"]["scaleTargetRef"];
        let is_target = |it: &&Value| it["kind"] == target["kind"] && it["metadata"]["name"] == target["name"];
        let scaled = self.workloads().filter(is_target).find(|workload| is_beside(workload, scaler));
        let scaled = scaled.unwrap_or_else(|| panic!("{}: there is no {target}", self.place));
        let requests = &container(scaled)["resources"]["requests"];
        assert!(requests["cpu"].is_string(), "{}: a share of what the pods do not request", self.place);
    }

    fn binding_fits(&self, binding: &Value) {
        let role = &binding["roleRef"];
        let kind = role["kind"].as_str().expect("a kind");
        let namespace = if kind == "Role" { &binding["metadata"]["namespace"] } else { &Value::Null };
        assert!(self.has(kind, namespace, &role["name"]), "{}: {role}", self.place);
        for subject in list(&binding["subjects"]) {
            assert!(self.has("ServiceAccount", &subject["namespace"], &subject["name"]), "{subject}");
        }
    }

    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.of("Deployment").chain(self.of("DaemonSet"))
    }

    fn workload_fits(&self, workload: &Value, given: &[&str]) {
        let place = &self.place;
        let (template, namespace) = (pod(workload), &workload["metadata"]["namespace"]);
        assert!(chooses(&workload["spec"]["selector"]["matchLabels"], &template["metadata"]["labels"]), "{place}");
        let account = &template["spec"]["serviceAccountName"];
        assert!(self.has("ServiceAccount", namespace, account), "{place}: {account}");
        let container = container(workload);
        for probe in ["readinessProbe", "livenessProbe"] {
            assert!(has_port(workload, &container[probe]["httpGet"]["port"]), "{place}: {probe}");
        }
        let volumes = list(&template["spec"]["volumes"]);
        for mount in list(&container["volumeMounts"]) {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{place}: {mount}");
        }
        for volume in volumes {
            let (map, secret) = (&volume["configMap"]["name"], &volume["secret"]["secretName"]);
            assert!(map.is_null() || self.has("ConfigMap", namespace, map), "{place}: {map}");
            let is_given = secret.as_str().is_some_and(|name| given.contains(&name));
            assert!(secret.is_null() || is_given || self.has("Secret", namespace, secret), "{place}: {secret}");
        }
    }

    /// Serin takes its settings, and finds in the pod what they name.
    fn settings_fit(&self, workload: &Value) {
        let place = &self.place;
        let settings = self.settings();
        let container = container(workload);
        let number = |name: &str| {
            let port = list(&container["ports"]).iter().find(|port| port["name"] == name);
            port.and_then(|port| port["containerPort"].as_u64()).unwrap_or_else(|| panic!("{place}: no port {name}"))
        };
        let is_at = |address: &Value, port: u64| address.as_str().is_some_and(|it| it == format!("[::]:{port}"));
        assert!(is_at(&settings["admin"]["address"], number("admin")), "{place}");
        let kubernetes = &settings["sources"]["kubernetes"];
        if kubernetes["gateway_ports"].is_null() {
            assert!(is_at(&settings["listeners"]["web"]["address"], number("http")), "{place}");
            assert!(is_at(&settings["listeners"]["secure"]["address"], number("https")), "{place}");
            assert!(!settings["listeners"]["secure"]["tls"].is_null(), "{place}");
        } else {
            let ports = serde_json::json!({"80": number("http"), "443": number("https")});
            assert_eq!(kubernetes["gateway_ports"], ports, "{place}");
        }
        for path in ["state_dir", "secret_file"] {
            let path = settings[path].as_str().unwrap_or_else(|| panic!("{place}: no {path}"));
            let is_below = |mount: &Value| mount["mountPath"].as_str().is_some_and(|folder| path.starts_with(folder));
            assert!(list(&container["volumeMounts"]).iter().any(is_below), "{place}: {path} is nowhere");
        }
        let grace = pod(workload)["spec"]["terminationGracePeriodSeconds"].as_u64().expect("it is said");
        let lasts = span(&settings["shutdown"]["delay"]) + span(&settings["shutdown"]["deadline"]);
        assert!(Duration::from_secs(grace) > lasts, "{place}: {grace} s");
        if let Some((namespace, name)) = kubernetes["publish_service"].as_str().and_then(|name| name.split_once('/')) {
            assert!(self.has("Service", &namespace.into(), &name.into()), "{place}: {kubernetes}");
        }
        for class in self.of("IngressClass") {
            assert_eq!(class["metadata"]["name"], kubernetes["ingress_class"], "{place}");
            let controller = kubernetes["controller"].as_str().unwrap_or("serin.dev/ingress");
            assert_eq!(class["spec"]["controller"], controller, "{place}");
        }
        for class in self.of("GatewayClass") {
            assert_eq!(class["spec"]["controllerName"], kubernetes["gateway_controller"], "{place}");
        }
    }

    /// What Serin reads in a pod of them, which must be right.
    pub(super) fn settings(&self) -> Value {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("secret"), [b'x'; 32]).expect("room");
        let data: BTreeMap<String, String> =
            serde_json::from_value(self.one("ConfigMap")["data"].clone()).expect("texts");
        for (name, text) in &data {
            fs::write(folder.path().join(name), text.replace("/etc/serin-secret/", "")).expect("room");
        }
        let problems = check(&folder.path().join("serin.yaml")).problems;
        assert!(problems.is_empty(), "{}: {problems:?}", self.place);
        serde_saphyr::from_str(&data["serin.yaml"]).expect("it is right")
    }
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]
}

pub(super) fn container(workload: &Value) -> &Value {
    &pod(workload)["spec"]["containers"][0]
}

fn has_port(workload: &Value, name: &Value) -> bool {
    list(&container(workload)["ports"]).iter().any(|port| port["name"] == *name)
}

fn is_beside(one: &Value, other: &Value) -> bool {
    one["metadata"]["namespace"] == other["metadata"]["namespace"]
}

/// Whether a selector, which must say something, chooses what has these labels.
fn chooses(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn span(text: &Value) -> Duration {
    let seconds = text.as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_else(|| panic!("{text} is not in seconds")))
}
