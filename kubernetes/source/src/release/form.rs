//! A Release as it is written: as in a file, but that each thing has one form, which the API server can check.

#![expect(clippy::duplicated_attributes, reason = "each column of a table has a name, a type and a path")]

use std::collections::BTreeMap;

use kube::CustomResource;
use routing_rules::spec::{
    AnalysisModeSpec, AnalysisSpec, AudienceRuleSpec, GeoSpec, KeySourceSpec, OverrideSpec, Percent, PercentSpec,
    PhaseSpec, PortSpec, ReleaseSpec, Span, StickyRangeSpec, StickySpec, TextMatchSpec,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::status::ReleaseStatus;

/// A release moves users of the routes that lead to a port of a Service to another one: sticky, in phases, and back at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(deny_unknown_fields)]
#[kube(
    group = "serin.dev",
    version = "v1alpha1",
    kind = "Release",
    root = "ReleaseObject",
    doc = "A canary release: it moves users of a Service to another one, in phases, and each user always to the same.",
    plural = "releases",
    shortname = "rel",
    category = "serin",
    namespaced,
    status = "ReleaseStatus",
    printcolumn(name = "Stable", type_ = "string", json_path = ".spec.stable.service"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".spec.canary.service"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Percent", type_ = "number", json_path = ".status.percent"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Last", type_ = "string", json_path = ".status.last.action", priority = 1),
    printcolumn(name = "By", type_ = "string", json_path = ".status.last.by", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub(super) struct ReleaseForm {
    /// Which installation of Serin it is for: its `ingress_class`. Default: each that takes releases without a class, as most do.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) class: Option<String>,
    /// Who serves everybody who is not in the canary group. The release is one of all routes of its namespace that lead there.
    pub(super) stable: PortOfService,
    /// Who has the new version. It is spoken to in the same way as `stable`.
    pub(super) canary: PortOfService,
    /// Who may be in the canary group: the first rule whose conditions hold decides.
    #[schemars(length(min = 1))]
    pub(super) audience: Vec<AudienceRule>,
    /// The steps of the percent for rules that follow the phases. The release begins at the first.
    #[serde(default)]
    pub(super) phases: Vec<Phase>,
    /// What identifies a user, and how users stay in their group.
    #[serde(default)]
    pub(super) sticky: Sticky,
    /// A header or cookie that names a group whatever the percent, for tests by hand.
    #[serde(rename = "override", default)]
    pub(super) override_: Option<Override>,
    /// Tell clients their group in the response field `x-serin-group`. Default false.
    #[serde(default)]
    pub(super) expose: bool,
    /// How the canary is compared with stable, and what follows.
    #[serde(default)]
    pub(super) analysis: Analysis,
    /// Accept an edit although it may take users of the canary back to stable: the number of the edits before it, which the refusal
    /// names. It is about that edit only, and means nothing afterwards.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub(super) force: Option<u32>,
}

/// A port of a Service of the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PortOfService {
    /// The name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub(super) service: String,
    /// Its port, by number or name. Default: its only one.
    #[serde(default)]
    #[schemars(schema_with = "port")]
    pub(super) port: Option<PortSpec>,
}

/// All of its conditions must hold; a list in a condition holds if one entry does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AudienceRule {
    /// The rule's name. Unique within the audience.
    #[schemars(length(min = 1))]
    name: String,
    /// Client addresses and networks.
    #[serde(default)]
    ip: Vec<String>,
    /// Device classes.
    #[serde(default)]
    #[schemars(schema_with = "devices")]
    device: Vec<String>,
    /// Where the client's address is, by the geo database.
    #[serde(default)]
    geo: Option<Geo>,
    /// Header conditions by field name.
    #[serde(default)]
    header: BTreeMap<String, TextMatch>,
    /// Cookie conditions by name.
    #[serde(default)]
    cookie: BTreeMap<String, TextMatch>,
    /// The share of these users in the canary group, 0 to 100 with at most two decimals. Default: that of the phase.
    #[serde(default)]
    #[schemars(schema_with = "percent")]
    percent: Option<Percent>,
}

/// Place names as in the geo database, in English; ISO codes for countries and subdivisions. What is given must all hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Geo {
    /// ISO 3166-1 alpha-2 codes, for example `CN`.
    #[serde(default)]
    country: Vec<String>,
    /// Names or ISO codes of provinces, states, regions.
    #[serde(default)]
    subdivision: Vec<String>,
    /// City names, for example `Shanghai`.
    #[serde(default)]
    city: Vec<String>,
}

/// How a text must look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TextMatch {
    /// Equal, byte by byte.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches a regular expression anywhere; anchor with `^` and `$` for the whole text.
    Regex(String),
    /// Is there (`true`) or is not (`false`).
    Present(bool),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Phase {
    /// The share of users in the canary group, 0 to 100 with at most two decimals.
    #[schemars(schema_with = "percent")]
    percent: Percent,
    /// How long it lasts until the next one begins by itself, for example `30m`. Default: until somebody promotes the release.
    #[serde(default)]
    #[schemars(schema_with = "span")]
    lasts: Option<Span>,
}

/// What identifies a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sticky {
    /// Sources of the sticky key; the first that the request has is used. Default: Serin's own cookie, then the client's address.
    #[serde(default)]
    key: Vec<KeySource>,
    /// Give canary users a signed cookie that keeps them in the group when their address changes. Default true.
    #[serde(default)]
    pin: Option<bool>,
    /// 32 hexadecimal digits that decide which users come first. Default: derived from the release's name and its two Services.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{32}$"))]
    salt: Option<String>,
    /// Which end of the hash line the canary takes. Default `low`. Two releases with the same `salt` take different users with `low` and
    /// `high`.
    #[serde(default)]
    #[schemars(schema_with = "ranges")]
    range: StickyRangeSpec,
    /// For how long after the percent has grown scripts, images and data of open pages still come from the version that served the
    /// page. At most 24h; `0s` turns that off. Default 10m.
    #[serde(default)]
    #[schemars(schema_with = "span")]
    page_life: Option<Span>,
}

/// Where a sticky key comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum KeySource {
    /// A request header that identifies the user, set by something you trust.
    Header(String),
    /// A cookie of your application.
    Cookie(String),
    /// Serin's own signed cookie `serin_id`; a navigation without it is given one.
    SerinId {},
    /// The client's address: IPv4 whole, IPv6 by its /64.
    ClientIp {},
}

/// Where an override is read from. Its value is `canary` or `stable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Override {
    /// A request header.
    Header(String),
    /// A cookie.
    Cookie(String),
}

/// How a canary is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Analysis {
    /// What may follow from it. Default `observe`.
    #[serde(default)]
    #[schemars(schema_with = "modes")]
    mode: AnalysisModeSpec,
    /// The largest probability with which a canary is rolled back that is as good as it must be, over the whole release. Default 0.01.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    alpha: Option<f64>,
    /// The largest probability with which a phase lets a canary pass that is worse than allowed. Default 0.05.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    beta: Option<f64>,
    /// The shortest time a phase lasts that `drive` ends, at least 5s. Default 2m.
    #[serde(default)]
    #[schemars(schema_with = "span")]
    min_phase: Option<Span>,
    /// The time after which a phase that has shown neither is `inconclusive`, at most 30 days. Default 1h.
    #[serde(default)]
    #[schemars(schema_with = "span")]
    max_phase: Option<Span>,
    /// How long the users of the next phase are compared with all others during a first phase of 0 % that has no `lasts`, at most 24h.
    /// Default 10m.
    #[serde(default)]
    #[schemars(schema_with = "span")]
    preflight: Option<Span>,
}

impl ReleaseForm {
    /// As rules have it, between these upstreams.
    pub(super) fn spec(self, stable: String, canary: String) -> ReleaseSpec {
        let Self { class: _, stable: _, canary: _, audience, phases, sticky, override_, expose, analysis, force } =
            self;
        ReleaseSpec {
            stable,
            canary,
            audience: audience.into_iter().map(AudienceRule::spec).collect(),
            phases: phases.into_iter().map(|Phase { percent, lasts }| PhaseSpec { percent, lasts }).collect(),
            sticky: sticky.spec(),
            override_: override_.map(|place| match place {
                Override::Header(name) => OverrideSpec::Header(name),
                Override::Cookie(name) => OverrideSpec::Cookie(name),
            }),
            expose,
            analysis: analysis.spec(),
            force,
        }
    }
}

impl AudienceRule {
    fn spec(self) -> AudienceRuleSpec {
        let Self { name, ip, device, geo, header, cookie, percent } = self;
        let geo = geo.map(|Geo { country, subdivision, city }| GeoSpec { country, subdivision, city });
        let percent = percent.map_or(PercentSpec::Phase, PercentSpec::Fixed);
        AudienceRuleSpec { name, ip, device, geo, header: matches(header), cookie: matches(cookie), percent }
    }
}

fn matches(texts: BTreeMap<String, TextMatch>) -> BTreeMap<String, TextMatchSpec> {
    let spec = |text| match text {
        TextMatch::Exact(text) => TextMatchSpec::Exact(text),
        TextMatch::Prefix(text) => TextMatchSpec::Prefix(text),
        TextMatch::Regex(text) => TextMatchSpec::Regex(text),
        TextMatch::Present(is_there) => TextMatchSpec::Present(is_there),
    };
    texts.into_iter().map(|(name, text)| (name, spec(text))).collect()
}

impl Sticky {
    fn spec(self) -> StickySpec {
        let Self { key, pin, salt, range, page_life } = self;
        let key = key.into_iter().map(|source| match source {
            KeySource::Header(name) => KeySourceSpec::Header(name),
            KeySource::Cookie(name) => KeySourceSpec::Cookie(name),
            KeySource::SerinId {} => KeySourceSpec::SerinId,
            KeySource::ClientIp {} => KeySourceSpec::ClientIp,
        });
        StickySpec { key: key.collect(), pin, salt, range, page_life }
    }
}

impl Analysis {
    fn spec(self) -> AnalysisSpec {
        let Self { mode, alpha, beta, min_phase, max_phase, preflight } = self;
        AnalysisSpec { mode, alpha, beta, min_phase, max_phase, preflight }
    }
}

fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "nullable": true})
}

fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "number", "minimum": 0, "maximum": 100})
}

fn span(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"})
}

fn modes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["off", "observe", "guard", "drive"]})
}

fn ranges(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["low", "high"]})
}

fn devices(_: &mut SchemaGenerator) -> Schema {
    let classes =
        ["iphone", "ipad", "android_phone", "android_tablet", "windows", "mac", "linux", "tv", "bot", "other"];
    json_schema!({"type": "array", "items": {"type": "string", "enum": classes}})
}
