//! HTTPRoutes and GRPCRoutes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GROUP, GatewaySpec, Kind, ObjectRef};

/// HTTPRoute and GRPCRoute, which differ in their matches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "M: DeserializeOwned"))]
pub(crate) struct RouteSpec<M> {
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    #[serde(default)]
    pub(crate) hostnames: Vec<String>,
    #[serde(default = "Vec::new")]
    pub(crate) rules: Vec<RuleSpec<M>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentRef {
    #[serde(default = "gateway_group")]
    pub(crate) group: String,
    #[serde(default = "gateway_kind")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) section_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<i32>,
}

fn gateway_group() -> String {
    GROUP.into()
}

fn gateway_kind() -> String {
    GatewaySpec::KIND.into()
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "M: DeserializeOwned"))]
pub(crate) struct RuleSpec<M> {
    #[serde(default = "Vec::new")]
    pub(crate) matches: Vec<M>,
    #[serde(default)]
    pub(crate) filters: Vec<FilterSpec>,
    #[serde(default)]
    pub(crate) backend_refs: Vec<BackendRef>,
    #[serde(default)]
    pub(crate) timeouts: TimeoutsSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HttpMatch {
    pub(crate) path: Option<PathMatch>,
    pub(crate) headers: Vec<TextMatch>,
    pub(crate) query_params: Vec<TextMatch>,
    pub(crate) method: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PathMatch {
    pub(crate) r#type: Option<String>,
    pub(crate) value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TextMatch {
    pub(crate) r#type: Option<String>,
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct GrpcMatch {
    pub(crate) method: Option<MethodMatch>,
    pub(crate) headers: Vec<TextMatch>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct MethodMatch {
    pub(crate) r#type: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) method: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct FilterSpec {
    pub(crate) r#type: String,
    pub(crate) request_header_modifier: HeaderChanges,
    pub(crate) response_header_modifier: HeaderChanges,
    pub(crate) request_mirror: Option<MirrorSpec>,
    pub(crate) request_redirect: RedirectSpec,
    pub(crate) url_rewrite: RewriteSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct HeaderChanges {
    pub(crate) set: Vec<HeaderSpec>,
    pub(crate) add: Vec<HeaderSpec>,
    pub(crate) remove: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct HeaderSpec {
    pub(crate) name: String,
    pub(crate) value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct MirrorSpec {
    pub(crate) backend_ref: BackendRef,
    pub(crate) percent: Option<u32>,
    pub(crate) fraction: Option<Fraction>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Fraction {
    pub(crate) numerator: u32,
    #[serde(default = "hundred")]
    pub(crate) denominator: u32,
}

fn hundred() -> u32 {
    100
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RedirectSpec {
    pub(crate) scheme: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) path: Option<PathChange>,
    pub(crate) port: Option<u16>,
    pub(crate) status_code: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct RewriteSpec {
    pub(crate) hostname: Option<String>,
    pub(crate) path: Option<PathChange>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PathChange {
    pub(crate) r#type: String,
    pub(crate) replace_full_path: Option<String>,
    pub(crate) replace_prefix_match: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct BackendRef {
    #[serde(flatten)]
    pub(crate) object: ObjectRef,
    pub(crate) port: Option<i32>,
    pub(crate) weight: Option<u32>,
    pub(crate) filters: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TimeoutsSpec {
    pub(crate) request: Option<String>,
    pub(crate) backend_request: Option<String>,
}
