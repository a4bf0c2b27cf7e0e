//! What the API shows of a snapshot.

use std::net::SocketAddr;

use routing_rules::balance::Evidence;
use routing_rules::health::State;
use routing_rules::rules::Target;
use serde::Serialize;
use utoipa::ToSchema;

use super::discovery::DiscoveryView;
use crate::moment;
use crate::snapshot::{DoorTotals, Endpoint, Member, Snapshot, Transport, Upstream};

/// A route.
#[derive(Serialize, ToSchema)]
pub(super) struct RouteView {
    name: String,
    hosts: Vec<String>,
    paths: Vec<String>,
    upstream: Option<String>,
    split: Vec<SplitView>,
    redirect: bool,
    releases: Vec<String>,
    mirror: Option<MirrorView>,
}

/// Where copies of requests go.
#[derive(Serialize, ToSchema)]
struct MirrorView {
    upstream: String,
    percent: String,
}

/// A part of a split.
#[derive(Serialize, ToSchema)]
struct SplitView {
    upstream: String,
    weight: u32,
}

/// An upstream.
#[derive(Serialize, ToSchema)]
pub(super) struct UpstreamView {
    name: String,
    balance: &'static str,
    /// How often no endpoint was left, so that all got requests again.
    panics: u64,
    /// How connections to its endpoints are secured: `none`, `tls`, or `unusable` if what TLS takes cannot be used, so that there
    /// are none.
    security: &'static str,
    group_breaker: Option<BreakerView>,
    discovery: Option<DiscoveryView>,
    limits: Option<LimitsView>,
    endpoints: Vec<EndpointView>,
}

/// The limits of an upstream, over all workers.
#[derive(Serialize, ToSchema)]
struct LimitsView {
    in_flight: u32,
    /// How many may be in flight now, if that is limited.
    limit: Option<u32>,
    per_endpoint: Option<u32>,
    waiting: u32,
    waited: u64,
    refused: u64,
    timed_out: u64,
}

/// An endpoint.
#[derive(Serialize, ToSchema)]
struct EndpointView {
    #[schema(value_type = String)]
    address: SocketAddr,
    /// As configured.
    weight: u16,
    /// As it is now, relative to the largest: 0 to 1.
    effective_weight: f64,
    learned: Option<LearnedView>,
    breaker: Option<BreakerView>,
    /// What active checks found, where there are any.
    health: Option<HealthView>,
    /// Why the last handshake failed, if it did.
    tls_failure: Option<String>,
    /// Whether it takes no new requests.
    draining: bool,
    in_flight: u64,
    requests: u64,
    errors: u64,
    responses: Responses,
    mean_head_ms: Option<f64>,
    connections_opened: u64,
    retries: u64,
    hedges: u64,
    guard_skips: u64,
}

/// Where a breaker stands.
#[derive(Serialize, ToSchema)]
struct BreakerView {
    /// `closed`, `open`, `probing` or `ramp`.
    state: String,
    /// Why it would open and does not.
    held: Option<String>,
    openings: u64,
}

/// What `dwrr` learned of an endpoint.
#[derive(Serialize, ToSchema)]
struct LearnedView {
    /// 1 is the usual.
    weight: f64,
    /// How much slower than usual it is, logarithmic; 0 where chance explains it.
    slowness: f64,
    /// How far its slow start is, 0.1 to 1.
    ramp: f64,
    /// Results in the look-back.
    answered: f64,
    errors: f64,
    mean_ms: Option<f64>,
}

/// What active checks found of an endpoint.
#[derive(Serialize, ToSchema)]
struct HealthView {
    /// `up`, `down`, or `unknown` before the first result.
    state: &'static str,
    /// Since when.
    since: String,
    /// What the last check found.
    last: String,
}

/// Responses by status class.
#[derive(Serialize, ToSchema)]
struct Responses {
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

pub(super) fn routes(snapshot: &Snapshot) -> Vec<RouteView> {
    let rules = snapshot.table.rules();
    rules
        .routes()
        .map(|route| {
            let (upstream, split) = match route.target() {
                Target::Upstream(name) => (Some(name.to_string()), Vec::new()),
                Target::Split(parts) => {
                    let parts =
                        parts.iter().map(|part| SplitView { upstream: part.upstream.to_string(), weight: part.weight });
                    (None, parts.collect())
                }
                Target::Redirect(_) => (None, Vec::new()),
            };
            RouteView {
                name: route.name().to_string(),
                hosts: route.hosts().iter().map(ToString::to_string).collect(),
                paths: route.paths().iter().map(ToString::to_string).collect(),
                upstream,
                split,
                redirect: matches!(route.target(), Target::Redirect(_)),
                releases: route.releases().iter().map(ToString::to_string).collect(),
                mirror: route.mirror().map(|mirror| MirrorView {
                    upstream: mirror.upstream.to_string(),
                    percent: mirror.percent.to_string(),
                }),
            }
        })
        .collect()
}

pub(super) fn upstreams(snapshot: &Snapshot) -> Vec<UpstreamView> {
    let mut views: Vec<UpstreamView> = snapshot
        .upstreams
        .iter()
        .flatten()
        .map(|upstream| {
            let endpoints = upstream.endpoints.iter().enumerate().map(|(place, member)| {
                let totals = member.endpoint.totals();
                let [_, success, redirection, client_error, server_error] = totals.statuses;
                let timed = totals.heads_timed;
                EndpointView {
                    address: member.endpoint.address(),
                    weight: member.weight,
                    effective_weight: upstream.weighing.share(place),
                    learned: learned(upstream, &member.endpoint),
                    breaker: breaker(member),
                    health: health(&member.endpoint),
                    tls_failure: upstream.tls_failure(member),
                    draining: member.is_draining(),
                    in_flight: totals.in_flight,
                    requests: totals.requests,
                    errors: totals.errors,
                    responses: Responses { success, redirection, client_error, server_error },
                    mean_head_ms: (timed > 0).then(|| totals.head_time_us as f64 / 1_000.0 / timed as f64),
                    connections_opened: totals.connections.opened,
                    retries: totals.retries,
                    hedges: totals.hedges,
                    guard_skips: totals.guard_skips,
                }
            });
            UpstreamView {
                name: upstream.name().to_string(),
                balance: upstream.balancer.name(),
                panics: upstream.weighing.panics(),
                security: match upstream.transport {
                    Transport::Clear => "none",
                    Transport::Tls(_) => "tls",
                    Transport::Closed => "unusable",
                },
                group_breaker: upstream.group.as_ref().map(|group| BreakerView {
                    state: group.stands().to_string(),
                    held: None,
                    openings: group.openings(),
                }),
                discovery: upstream.discovered.as_deref().map(DiscoveryView::new),
                limits: limits(upstream),
                endpoints: endpoints.collect(),
            }
        })
        .collect();
    views.sort_by(|one, other| one.name.cmp(&other.name));
    views
}

fn breaker(member: &Member) -> Option<BreakerView> {
    member.results.as_ref()?;
    let state = member.endpoint.breaker();
    let breaker = &state.as_ref()?.breaker;
    Some(BreakerView {
        state: breaker.state().to_string(),
        held: breaker.held().map(|(cause, hold)| format!("{cause}, but {hold}")),
        openings: member.endpoint.openings().map(|(_, count)| count).sum(),
    })
}

fn limits(upstream: &Upstream) -> Option<LimitsView> {
    let DoorTotals { in_flight, waiting, limit, refused, waited, timed_out } = upstream.door.as_ref()?.totals();
    let per_endpoint = upstream.rules.limits().in_flight_per_endpoint;
    Some(LimitsView { in_flight, limit, per_endpoint, waiting, waited, refused, timed_out })
}

fn learned(upstream: &Upstream, endpoint: &Endpoint) -> Option<LearnedView> {
    let learning = upstream.balancer.learning()?;
    let learned = endpoint.learned();
    let (learned, now_us) = (learned.as_ref()?, moment::now_us());
    let Evidence { answered, answered_time, errors, .. } = learned.evidence(learning, now_us);
    Some(LearnedView {
        weight: learned.weight(),
        slowness: learned.slowness(),
        ramp: learned.ramp(learning, now_us),
        answered,
        errors,
        mean_ms: (answered > 0.0).then(|| answered_time * 1_000.0 / answered),
    })
}

fn health(endpoint: &Endpoint) -> Option<HealthView> {
    let checked = endpoint.checked();
    let checked = checked.as_ref()?;
    let state = match checked.health().state() {
        State::Unknown => "unknown",
        State::Up => "up",
        State::Down => "down",
    };
    let since = humantime::format_rfc3339_millis(checked.since()).to_string();
    Some(HealthView { state, since, last: checked.last().to_owned() })
}
