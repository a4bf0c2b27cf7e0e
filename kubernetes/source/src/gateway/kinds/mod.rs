//! The kinds of Gateway API, as far as rules are made of them. Whatever is one of several words is a text: another one must not spoil
//! more than its object.

mod gateway;

mod policy;

mod route;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use serde::Deserialize;

use crate::kind::{Kind, Object};
use crate::objects::{Kept, Objects};

pub(crate) use gateway::{GatewayClassSpec, GatewaySpec, ListenerSpec};
pub(crate) use policy::{BackendTlsPolicySpec, ReferenceGrantSpec, TargetRef};
pub(crate) use route::{
    BackendRef, FilterSpec, GrpcMatch, HeaderChanges, HeaderSpec, HttpMatch, MethodMatch, MirrorSpec, ParentRef,
    PathChange, PathMatch, RedirectSpec, RewriteSpec, RouteSpec, RuleSpec, TextMatch, TimeoutsSpec,
};

pub(crate) type GatewayClass = Object<GatewayClassSpec>;
pub(crate) type Gateway = Object<GatewaySpec>;
pub(crate) type Route<M> = Object<RouteSpec<M>>;
pub(crate) type HttpRoute = Route<HttpMatch>;
pub(crate) type GrpcRoute = Route<GrpcMatch>;
pub(crate) type ReferenceGrant = Object<ReferenceGrantSpec>;
pub(crate) type BackendTlsPolicy = Object<BackendTlsPolicySpec>;

/// The group of all of them.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

impl Kind for GatewayClassSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "GatewayClass";
    const PLURAL: &'static str = "gatewayclasses";
    type Scope = ClusterResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.gateway_classes
    }
}

impl Kind for GatewaySpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "Gateway";
    const PLURAL: &'static str = "gateways";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.gateways
    }
}

impl Kind for RouteSpec<HttpMatch> {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "HTTPRoute";
    const PLURAL: &'static str = "httproutes";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.http_routes
    }
}

impl Kind for RouteSpec<GrpcMatch> {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "GRPCRoute";
    const PLURAL: &'static str = "grpcroutes";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.grpc_routes
    }
}

impl Kind for ReferenceGrantSpec {
    const GROUP: &'static str = GROUP;
    /// What every server knows that knows them at all.
    const VERSION: &'static str = "v1beta1";
    const KIND: &'static str = "ReferenceGrant";
    const PLURAL: &'static str = "referencegrants";
    type Scope = NamespaceResourceScope;

    fn place(objects: &mut Objects) -> &mut Kept<Object<Self>> {
        &mut objects.grants
    }
}

impl Kind for BackendTlsPolicySpec {
    const GROUP: &'static str = GROUP;
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
