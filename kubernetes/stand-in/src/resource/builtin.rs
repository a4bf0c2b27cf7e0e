//! The kinds the server knows without being told, and those of the Gateway API, which a test installs.

use super::shape::Shapes;
use super::{Resource, qualified};

/// Kinds every server has.
pub(super) fn always() -> Vec<Resource> {
    let mut kinds = vec![
        core("configmaps", "ConfigMap", &["cm"]),
        core("events", "Event", &["ev"]).creating(),
        core("namespaces", "Namespace", &["ns"]).with_status().for_all(),
        core("nodes", "Node", &["no"]).with_status().for_all(),
        core("pods", "Pod", &["po"]).with_status(),
        core("secrets", "Secret", &[]),
        core("serviceaccounts", "ServiceAccount", &["sa"]),
        core("services", "Service", &["svc"]).with_status().creating(),
        kind("apps", "daemonsets", "DaemonSet", &["ds"]).with_status().counted(),
        kind("apps", "deployments", "Deployment", &["deploy"]).with_status().counted(),
        kind("coordination.k8s.io", "leases", "Lease", &[]).creating().conditional(),
        kind("discovery.k8s.io", "endpointslices", "EndpointSlice", &[]).counted(),
        kind("events.k8s.io", "events", "Event", &["ev"]).creating(),
        kind("networking.k8s.io", "ingresses", "Ingress", &["ing"]).with_status().counted(),
        kind("networking.k8s.io", "ingressclasses", "IngressClass", &[]).for_all().counted(),
        kind("policy", "poddisruptionbudgets", "PodDisruptionBudget", &["pdb"]).with_status().counted(),
        kind(RBAC, "clusterrolebindings", "ClusterRoleBinding", &[]).for_all(),
        kind(RBAC, "clusterroles", "ClusterRole", &[]).for_all(),
        kind(RBAC, "rolebindings", "RoleBinding", &[]),
        kind(RBAC, "roles", "Role", &[]),
        kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", &["crd", "crds"])
            .with_status()
            .for_all()
            .counted(),
    ];
    for resource in &mut kinds {
        // One set of objects with two faces.
        if resource.plural == super::EVENTS {
            resource.collection = super::EVENTS.to_owned();
        }
    }
    kinds
}

/// Its rules are kept, and rule nothing.
const RBAC: &str = "rbac.authorization.k8s.io";

/// The group that is there only where somebody has installed it. Its definitions set defaults and check more; a test
/// that needs them creates the definitions themselves instead.
pub(crate) const GATEWAY: &str = "gateway.networking.k8s.io";

/// Kinds of a group a test may install.
pub(super) fn installable(group: &str) -> Vec<Resource> {
    if group != GATEWAY {
        return Vec::new();
    }
    let gateway = |plural, kind_name, short: &[&str]| {
        let resource = kind(GATEWAY, plural, kind_name, short).with_status().counted();
        // Behind it are definitions, which say no other thing.
        Resource { unconditional_update: false, ..resource }
    };
    let mut grants = kind(GATEWAY, "referencegrants", "ReferenceGrant", &["refgrant"]).counted();
    grants.version = "v1beta1".to_owned();
    grants.unconditional_update = false;
    vec![
        gateway("gatewayclasses", "GatewayClass", &["gc"]).for_all(),
        gateway("gateways", "Gateway", &["gtw"]),
        gateway("httproutes", "HTTPRoute", &[]),
        gateway("grpcroutes", "GRPCRoute", &[]),
        gateway("backendtlspolicies", "BackendTLSPolicy", &["btlspolicy"]),
        grants,
    ]
}

fn core(plural: &str, kind_name: &str, short_names: &[&str]) -> Resource {
    kind("", plural, kind_name, short_names)
}

fn kind(group: &str, plural: &str, kind: &str, short_names: &[&str]) -> Resource {
    Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        short_names: short_names.iter().map(ToString::to_string).collect(),
        categories: Vec::new(),
        namespaced: true,
        status: false,
        generation: false,
        create_on_update: false,
        unconditional_update: true,
        collection: qualified(group, plural),
        shapes: Shapes::builtin(kind),
        defined: None,
    }
}

impl Resource {
    fn with_status(self) -> Self {
        Self { status: true, ..self }
    }

    fn counted(self) -> Self {
        Self { generation: true, ..self }
    }

    fn creating(self) -> Self {
        Self { create_on_update: true, ..self }
    }

    fn conditional(self) -> Self {
        Self { unconditional_update: false, ..self }
    }

    /// It belongs to no namespace.
    fn for_all(self) -> Self {
        Self { namespaced: false, ..self }
    }
}
