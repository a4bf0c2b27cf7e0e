//! The kinds of Gateway API, as far as rules are made of them.
//!
//! Written here, and not generated of their schema, because what a value may be is asked late: an object with a value of tomorrow must
//! spoil itself alone, and not the list it stands in. So whatever is one of several words is a text.

mod gateway;

mod policy;

mod route;

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::{Kept, Objects};

pub(crate) use gateway::{GatewayClassSpec, GatewaySpec, ListenerSpec};
pub(crate) use policy::{BackendTlsPolicySpec, ReferenceGrantSpec, TargetRef};
pub(crate) use route::{
    BackendRef, FilterSpec, GrpcMatch, HeaderChanges, HeaderSpec, HttpMatch, MethodMatch, MirrorSpec, ParentRef,
    PathChange, PathMatch, RedirectSpec, RewriteSpec, RouteSpec, RuleSpec, TextMatch, TimeoutsSpec,
};

/// An object of one of these kinds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(bound(deserialize = "S: DeserializeOwned"))]
pub(crate) struct Object<S> {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: S,
    /// As it is at the server: it may be another controller's in part.
    #[serde(default)]
    pub(crate) status: Value,
}

/// What tells a kind by its spec.
pub(crate) trait Kind: Clone + Debug + PartialEq + DeserializeOwned + Send + Sync + 'static {
    const KIND: &'static str;
    const PLURAL: &'static str;
    const VERSION: &'static str = "v1";
    type Scope;

    /// Where they are kept.
    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>>;
}

pub(crate) type GatewayClass = Object<GatewayClassSpec>;
pub(crate) type Gateway = Object<GatewaySpec>;
pub(crate) type Route<M> = Object<RouteSpec<M>>;
pub(crate) type HttpRoute = Route<HttpMatch>;
pub(crate) type GrpcRoute = Route<GrpcMatch>;
pub(crate) type ReferenceGrant = Object<ReferenceGrantSpec>;
pub(crate) type BackendTlsPolicy = Object<BackendTlsPolicySpec>;

/// The group of all of them.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

impl<S: Kind> Resource for Object<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        S::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        S::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        S::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<S> Object<S> {
    pub(crate) fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }
}

impl Kind for GatewayClassSpec {
    const KIND: &'static str = "GatewayClass";
    const PLURAL: &'static str = "gatewayclasses";
    type Scope = ClusterResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.gateway_classes
    }
}

impl Kind for GatewaySpec {
    const KIND: &'static str = "Gateway";
    const PLURAL: &'static str = "gateways";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.gateways
    }
}

impl Kind for RouteSpec<HttpMatch> {
    const KIND: &'static str = "HTTPRoute";
    const PLURAL: &'static str = "httproutes";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.http_routes
    }
}

impl Kind for RouteSpec<GrpcMatch> {
    const KIND: &'static str = "GRPCRoute";
    const PLURAL: &'static str = "grpcroutes";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.grpc_routes
    }
}

impl Kind for ReferenceGrantSpec {
    const KIND: &'static str = "ReferenceGrant";
    const PLURAL: &'static str = "referencegrants";
    /// What every server knows that knows them at all.
    const VERSION: &'static str = "v1beta1";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.grants
    }
}

impl Kind for BackendTlsPolicySpec {
    const KIND: &'static str = "BackendTLSPolicy";
    const PLURAL: &'static str = "backendtlspolicies";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.tls_policies
    }
}

/// Another object, of a kind that is usual there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ObjectRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
}
