//! Releases as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::route::TextMatchSpec;
use super::scalar::{Percent, PercentSpec, Span};

/// A release moves users of a route from its stable to its canary upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSpec {
    /// The upstream that serves everybody who is not in the canary group.
    pub stable: String,
    /// The upstream with the new version.
    pub canary: String,
    /// Who may be in the canary group: the first rule whose conditions hold decides.
    pub audience: Vec<AudienceRuleSpec>,
    /// The steps of the percent for rules that follow the phases: `10`, or `{percent: 10, lasts: 30m}` for one that is
    /// over by itself. The release begins at the first.
    #[serde(default)]
    pub phases: Vec<PhaseSpec>,
    /// What identifies a user, and how users stay in their group.
    #[serde(default)]
    pub sticky: StickySpec,
    /// A header or cookie that names a group whatever the percent, for tests by hand.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub override_: Option<OverrideSpec>,
    /// Tell clients their group in the response field `x-serin-group`. Default false.
    #[serde(default)]
    pub expose: bool,
    /// How the canary is compared with stable, and what follows.
    #[serde(default)]
    pub analysis: AnalysisSpec,
    /// Accept an edit although it may take users of the canary back to stable: the number of the edits before it (`epoch`), which
    /// the refusal names. It is about that edit only, and means nothing afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<u32>,
}

/// How a canary is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnalysisSpec {
    /// What may follow from it: `observe` (default), `guard`, `drive` or `off`.
    pub mode: AnalysisModeSpec,
    /// The largest probability with which a canary is rolled back that is as good as it must be, over the whole release.
    /// Default 0.01.
    pub alpha: Option<f64>,
    /// The largest probability with which a phase lets a canary pass that is worse than allowed. Default 0.05.
    pub beta: Option<f64>,
    /// The shortest time a phase lasts that `drive` ends, at least 5s. Default 2m.
    pub min_phase: Option<Span>,
    /// The time after which a phase that has shown neither is `inconclusive`, at most 30 days. Default 1h.
    pub max_phase: Option<Span>,
    /// How long the users of the next phase are compared with all others during a first phase of 0 % that has no `lasts`, at most
    /// 24h. Default 10m.
    pub preflight: Option<Span>,
}

/// See [`AnalysisSpec::mode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisModeSpec {
    /// Nothing is compared.
    Off,
    /// It is shown, and nothing follows.
    #[default]
    Observe,
    /// It may roll back, and keeps a phase from ending by itself.
    Guard,
    /// It may also promote.
    Drive,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "PhaseForm", into = "PhaseForm")]
pub struct PhaseSpec {
    /// The share of users in the canary group.
    pub percent: Percent,
    /// How long it lasts until the next one begins by itself. Default: until somebody promotes the release.
    pub lasts: Option<Span>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseFields {
    percent: Percent,
    lasts: Option<Span>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a percent from 0 to 100, or {percent: 10, lasts: 30m}")]
enum PhaseForm {
    Percent(Percent),
    Fields(PhaseFields),
}

/// One without an end.
impl From<Percent> for PhaseSpec {
    fn from(percent: Percent) -> Self {
        Self { percent, lasts: None }
    }
}

impl From<PhaseForm> for PhaseSpec {
    fn from(form: PhaseForm) -> Self {
        match form {
            PhaseForm::Percent(percent) => percent.into(),
            PhaseForm::Fields(PhaseFields { percent, lasts }) => Self { percent, lasts },
        }
    }
}

impl From<PhaseSpec> for PhaseForm {
    fn from(PhaseSpec { percent, lasts }: PhaseSpec) -> Self {
        match lasts {
            None => Self::Percent(percent),
            Some(_) => Self::Fields(PhaseFields { percent, lasts }),
        }
    }
}

/// One rule of an audience. All of its conditions must hold; a list in a condition holds if one entry does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudienceRuleSpec {
    /// The rule's name, as shown by `explain`, logs and metrics. Unique within the audience.
    pub name: String,
    /// Client addresses and networks.
    pub ip: Vec<String>,
    /// Device classes: iphone, ipad, android_phone, android_tablet, windows, mac, linux, tv, bot, other.
    pub device: Vec<String>,
    /// Where the client's address is, by the geo database.
    pub geo: Option<GeoSpec>,
    /// Header conditions by field name.
    pub header: BTreeMap<String, TextMatchSpec>,
    /// Cookie conditions by name.
    pub cookie: BTreeMap<String, TextMatchSpec>,
    /// The share of these users in the canary group, or `phase` (default) to follow the phases.
    pub percent: PercentSpec,
}

/// Place names as in the geo database, in English; ISO codes for countries and subdivisions. What is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeoSpec {
    /// ISO 3166-1 alpha-2 codes, for example `CN`.
    pub country: Vec<String>,
    /// Names or ISO codes of provinces, states, regions.
    pub subdivision: Vec<String>,
    /// City names, for example `Shanghai`.
    pub city: Vec<String>,
}

/// What identifies a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StickySpec {
    /// Sources of the sticky key; the first that the request has is used.
    /// Default: `[serin_id, client_ip]`.
    pub key: Vec<KeySourceSpec>,
    /// Give canary users a signed cookie that keeps them in the group when their address changes. Default true.
    pub pin: Option<bool>,
    /// 32 hexadecimal digits that decide which users come first. Default: derived from the release's name and
    /// its two upstreams, so that every instance agrees and another canary begins with other users.
    pub salt: Option<String>,
    /// Which end of the hash line the canary takes. Two releases of one route with the same `salt` take
    /// different users with `low` and `high`.
    pub range: StickyRangeSpec,
    /// For how long after the percent has grown scripts, images and data of open pages still come from the version that
    /// served the page. At most 24h; `0s` turns that off. Default 10m.
    pub page_life: Option<Span>,
}

/// See [`StickySpec::range`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StickyRangeSpec {
    /// The users with the lowest hashes.
    #[default]
    Low,
    /// The users with the highest hashes.
    High,
}

/// Where a sticky key comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySourceSpec {
    /// A request header that identifies the user, set by something you trust.
    Header(String),
    /// A cookie of your application.
    Cookie(String),
    /// Serin's own signed cookie `serin_id`; a navigation without it is given one.
    SerinId,
    /// The client's address: IPv4 whole, IPv6 by its /64.
    ClientIp,
}

/// Where an override is read from. Its value is `canary` or `stable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideSpec {
    /// A request header.
    Header(String),
    /// A cookie.
    Cookie(String),
}
