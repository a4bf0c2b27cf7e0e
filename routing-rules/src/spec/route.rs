//! Routes as written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::filter::{
    BasicAuthSpec, CompressSpec, CorsSpec, ForwardAuthSpec, HstsSpec, HttpsRedirectSpec, SecurityHeadersSpec,
};
use super::limit::{HedgeSpec, InFlightPerKeySpec, RateLimitSpec};
use super::mirror::MirrorSpec;
use super::scalar::{ByteSize, Span};

/// A route: which requests, and where they go.
///
/// Of all routes that match a request the most specific one serves it; `docs/routing.md` has the order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSpec {
    /// Host names: exact (`shop.example.com`) or with one wildcard label in front
    /// (`*.example.com`, which matches `a.example.com` and neither `example.com` nor `a.b.example.com`), or with one and more
    /// (`**.example.com`, which matches the last one, too).
    /// Empty: any host. With captures, as in `{app}-{branch}.dev.example.com`, the route is a template: there is one like it for
    /// each environment of its upstream, whose prefix has the same captures.
    pub hosts: Vec<String>,
    /// What the values of captures look like, by name: a regular expression that the whole value must match. Values have
    /// lower-case letters, digits and `-` in any case. Default: any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub captures: BTreeMap<String, String>,
    /// Paths: `{exact: /a}`, `{prefix: /a}` (whole segments) or `{regex: "^/a/[0-9]+$"}`. Empty: any path.
    pub paths: Vec<PathSpec>,
    /// Methods, for example `[GET, POST]`. Empty: any. `GET` does not imply `HEAD`.
    pub methods: Vec<String>,
    /// Header conditions by field name; all must hold.
    pub headers: BTreeMap<String, TextMatchSpec>,
    /// Query parameter conditions by name; all must hold. The first value of a repeated name counts.
    pub query: BTreeMap<String, TextMatchSpec>,
    /// Client addresses and networks, for example `[10.0.0.0/8]`. Empty: any.
    pub client_ip: Vec<String>,
    /// Names of the listeners this route serves. Empty: all.
    pub listeners: Vec<String>,
    /// The upstream that serves the route. Exactly one of `upstream`, `split` and a `redirect` filter.
    pub upstream: Option<String>,
    /// A weighted division over several upstreams, without stickiness.
    pub split: Vec<SplitSpec>,
    /// The release, or releases in order, that may move users of this route to a canary.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<String>,
    /// Copies of the requests for another upstream, whose answers nobody gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// Whether requests that take long are sent to a second endpoint. Default: they are not.
    pub hedge: Option<HedgeSpec>,
    /// Time limits.
    pub timeouts: TimeoutsSpec,
    /// Limits of size and number.
    pub limits: LimitsSpec,
    /// Who may come in, and changes to the request and the response. Changes of one kind are made in this order; who is let in is
    /// asked first, in an order of its own (`docs/filters.md`).
    pub filters: Vec<FilterSpec>,
    /// Protocols a client may upgrade to. Default: `[websocket]`; `[]` allows none.
    pub upgrade: Option<Vec<String>>,
    /// Trailer fields that are passed on, in both directions. Default: none.
    pub trailers: Vec<String>,
    /// Whether the time that requests take says something about their endpoints. `false` for requests that wait by design, such as
    /// long polls: they then count in no weight, no adaptive limit and no `LatencyAtQuantileMS`. Default `true`.
    pub sample: Option<bool>,
    /// What to do with `%2F` and `%5C` in a path: `reject` (400, default) or `keep` them encoded.
    pub encoded_slashes: EncodedSlashSpec,
    /// Of routes that are equally specific, the one with the smaller number goes first. Default 0; where it is the same, their
    /// names say.
    #[serde(skip_serializing_if = "is_zero")]
    pub order: u64,
}

/// How a path must look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathSpec {
    /// The whole path, `/` at the end included.
    Exact(String),
    /// The first segments: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`.
    Prefix(String),
    /// A regular expression on the canonical path (linear-time syntax: no look-around, no back-references).
    Regex(String),
}

/// A condition on a text: a plain string means equality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "TextMatchForm", into = "TextMatchForm")]
pub enum TextMatchSpec {
    /// Equal, byte by byte.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches a regular expression anywhere; anchor with `^` and `$` for the whole text.
    Regex(String),
    /// Is there (`true`) or is not (`false`).
    Present(bool),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TextMatchTagged {
    Exact(String),
    Prefix(String),
    Regex(String),
    Present(bool),
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text (numbers in quotes), or one of {exact: …}, {prefix: …}, {regex: …}, {present: true|false}"
)]
enum TextMatchForm {
    Text(String),
    Tagged(TextMatchTagged),
}

impl From<TextMatchForm> for TextMatchSpec {
    fn from(form: TextMatchForm) -> Self {
        match form {
            TextMatchForm::Text(text) | TextMatchForm::Tagged(TextMatchTagged::Exact(text)) => Self::Exact(text),
            TextMatchForm::Tagged(TextMatchTagged::Prefix(text)) => Self::Prefix(text),
            TextMatchForm::Tagged(TextMatchTagged::Regex(text)) => Self::Regex(text),
            TextMatchForm::Tagged(TextMatchTagged::Present(there)) => Self::Present(there),
        }
    }
}

impl From<TextMatchSpec> for TextMatchForm {
    fn from(spec: TextMatchSpec) -> Self {
        match spec {
            TextMatchSpec::Exact(text) => Self::Text(text),
            TextMatchSpec::Prefix(text) => Self::Tagged(TextMatchTagged::Prefix(text)),
            TextMatchSpec::Regex(text) => Self::Tagged(TextMatchTagged::Regex(text)),
            TextMatchSpec::Present(there) => Self::Tagged(TextMatchTagged::Present(there)),
        }
    }
}

/// One part of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// The upstream of this part.
    pub upstream: String,
    /// Its weight, 0 to 1,000,000; the share is the weight over the sum of all weights.
    pub weight: u32,
}

/// Time limits of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    /// Until the connection to an endpoint stands. Default 2s.
    pub connect: Option<Span>,
    /// From the end of the request to the head of the response, retries included. Then 504. Default 60s.
    pub request: Option<Span>,
    /// Without a byte of a body in either direction. Default 60s.
    pub idle: Option<Span>,
    /// From the head of the request to the end of the response. Default: no limit.
    pub total: Option<Span>,
    /// An upgraded connection without a byte in either direction. Default 1h.
    pub tunnel_idle: Option<Span>,
}

/// Limits of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// The largest request body; larger ones get 413. Default 10MiB. `0` refuses every body.
    pub body: Option<ByteSize>,
    /// How often clients may ask. Default: no limit.
    pub rate_limit: Option<RateLimitSpec>,
    /// Requests of the route worked on at once, 1 to 1,000,000; further ones get 503 with Retry-After. Default: no limit.
    pub in_flight: Option<u32>,
    /// Requests of the route that each client may have in flight. Default: no limit.
    pub in_flight_per_key: Option<InFlightPerKeySpec>,
}

/// See [`RouteSpec::encoded_slashes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashSpec {
    /// Such a request gets 400.
    #[default]
    Reject,
    /// The path is matched and forwarded with the escape as it is.
    Keep,
}

/// A change to the request or the response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterSpec {
    /// Cuts these whole segments off the front of the path.
    StripPrefix(String),
    /// Puts other segments in the place of the first ones.
    ReplacePrefix(ReplacePrefixSpec),
    /// Puts another path in the place of the whole one.
    ReplacePath(String),
    /// Puts another host name in the place of the one that endpoints would be told.
    ReplaceHost(String),
    /// Sets request header fields; existing ones of the same name are replaced.
    SetRequestHeader(BTreeMap<String, String>),
    /// Adds request header fields beside existing ones.
    AddRequestHeader(BTreeMap<String, String>),
    /// Removes request header fields.
    RemoveRequestHeader(Vec<String>),
    /// Sets response header fields; existing ones of the same name are replaced.
    SetResponseHeader(BTreeMap<String, String>),
    /// Adds response header fields beside existing ones.
    AddResponseHeader(BTreeMap<String, String>),
    /// Removes response header fields.
    RemoveResponseHeader(Vec<String>),
    /// Answers with a redirect instead of forwarding.
    Redirect(RedirectSpec),
    /// Only clients in these networks are let in, for example `[10.0.0.0/8]`; others get 403.
    AllowIp(Vec<String>),
    /// Clients in these networks get 403, also where `allow_ip` has them.
    DenyIp(Vec<String>),
    /// Sends clients that came in clear text to the same place at `https://`.
    HttpsRedirect(HttpsRedirectSpec),
    /// Tells browsers to come by TLS only (RFC 6797). Said in answers over TLS alone.
    Hsts(HstsSpec),
    /// Fields that make browsers more careful; what the endpoint says itself stays.
    SecurityHeaders(SecurityHeadersSpec),
    /// Whether clients are told the `x-request-id` of every answer, and not only of those that Serin makes itself.
    ExposeRequestId(bool),
    /// Asks for a name and a password (RFC 7617).
    BasicAuth(BasicAuthSpec),
    /// Asks a service whether the request may pass.
    ForwardAuth(ForwardAuthSpec),
    /// Lets pages of other origins read the answers (CORS), and answers what browsers ask before.
    Cors(CorsSpec),
    /// Compresses answers that the endpoint has not.
    Compress(CompressSpec),
}

/// See [`FilterSpec::ReplacePrefix`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacePrefixSpec {
    /// Segments at the front of the path; a path that does not begin with them is left alone.
    pub from: String,
    /// What stands there instead.
    pub to: String,
}

/// Where a redirect leads; parts that are not given stay as in the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectSpec {
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: Option<u16>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Port; left out where it is the scheme's default.
    pub port: Option<u16>,
    /// The whole path.
    pub path: Option<String>,
    /// Other segments in the place of the first ones, if `path` is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<ReplacePrefixSpec>,
}

fn is_zero(order: &u64) -> bool {
    *order == 0
}

/// `release: a` and `release: [a, b]` both work.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a name or a list of names")]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    })
}
