//! The objects that rules are made of, as they were last heard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Resource;
use serde_json::{Value, json};

use crate::ObjectName;
use crate::gateway::kinds::{BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::kind::{Kind, Object};
use crate::release::Release;

/// All of them, by kind and name.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) ingresses: Kept<Ingress>,
    pub(crate) classes: Kept<IngressClass>,
    pub(crate) services: Kept<Service>,
    pub(crate) secrets: Kept<Secret>,
    pub(crate) config_maps: Kept<ConfigMap>,
    pub(crate) namespaces: Kept<Namespace>,
    pub(crate) gateway_classes: Kept<GatewayClass>,
    pub(crate) gateways: Kept<Gateway>,
    pub(crate) http_routes: Kept<HttpRoute>,
    pub(crate) grpc_routes: Kept<GrpcRoute>,
    pub(crate) grants: Kept<ReferenceGrant>,
    pub(crate) tls_policies: Kept<BackendTlsPolicy>,
    pub(crate) releases: Kept<Release>,
}

/// The objects of one kind.
pub(crate) type Kept<K> = BTreeMap<ObjectName, K>;

/// The oldest first: who came first keeps what later ones also want.
pub(crate) fn by_age<'o, K: Resource>(
    objects: impl Iterator<Item = (&'o ObjectName, &'o K)>,
) -> Vec<(&'o ObjectName, &'o K)> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_cached_key(|(name, object)| (object.meta().creation_timestamp.clone(), *name));
    objects
}

/// One that is kept.
pub(crate) trait Keep: Sized {
    /// Whether rules can be made without them, where the server does not know them or does not show them.
    const IS_OPTIONAL: bool = false;

    /// Whether rules made of one are the same as those made of the other. What only says what has become of an object changes nothing.
    fn says_the_same(&self, other: &Self) -> bool;

    /// Whether its status is the one it had, or what it was to become. What others write there is put right.
    fn has_status(&self, _before: &Self, _wanted: Option<&Value>) -> bool {
        true
    }

    /// Where.
    fn place(objects: &mut Objects) -> &mut Kept<Self>;
}

impl Keep for Ingress {
    fn says_the_same(&self, other: &Self) -> bool {
        self.spec == other.spec && self.metadata.annotations == other.metadata.annotations
    }

    fn has_status(&self, before: &Self, wanted: Option<&Value>) -> bool {
        self.status == before.status || wanted.is_some_and(|wanted| json!(self.status) == *wanted)
    }

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.ingresses
    }
}

impl Keep for IngressClass {
    /// They belong to no namespace: who may read one namespace only may not read them.
    const IS_OPTIONAL: bool = true;

    fn says_the_same(&self, other: &Self) -> bool {
        self.spec == other.spec && self.metadata.annotations == other.metadata.annotations
    }

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.classes
    }
}

impl Keep for Service {
    fn says_the_same(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.status == other.status
            && self.metadata.annotations == other.metadata.annotations
    }

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.services
    }
}

impl Keep for Secret {
    fn says_the_same(&self, other: &Self) -> bool {
        self.data == other.data && self.type_ == other.type_
    }

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.secrets
    }
}

impl Keep for ConfigMap {
    fn says_the_same(&self, other: &Self) -> bool {
        self.data == other.data
    }

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.config_maps
    }
}

impl Keep for Namespace {
    /// They belong to no namespace, and only listeners that choose by labels look at them.
    const IS_OPTIONAL: bool = true;

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        &mut objects.namespaces
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
    }
}

/// Kinds that are not built into servers, of which many know none, or not all.
impl<S: Kind> Keep for Object<S> {
    const IS_OPTIONAL: bool = true;

    fn place(objects: &mut Objects) -> &mut Kept<Self> {
        S::place(objects)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let (is, was) = (&self.metadata, &other.metadata);
        let is_same_object = is.uid == was.uid && is.generation == was.generation;
        is_same_object && is.annotations == was.annotations && self.spec == other.spec
    }

    fn has_status(&self, before: &Self, wanted: Option<&Value>) -> bool {
        let statuses = [&self.status, &before.status].into_iter().filter_map(Value::as_object);
        statuses.flat_map(|status| status.keys()).all(|field| {
            let is_as_wanted = |value| self.shows(field, value);
            self.status.get(field) == before.status.get(field)
                || wanted.and_then(|wanted| wanted.get(field)).is_some_and(is_as_wanted)
        })
    }
}
