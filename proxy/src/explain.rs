//! Why a request goes where it goes. Nothing is computed a second way: these are the functions a request runs.

mod question;

mod listener;

mod text;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Which table of devices decides; instances that differ may see one user differently.
pub use routing_rules::release::DEVICE_TABLE_VERSION;
use routing_rules::release::Moment;
use routing_rules::request::RequestView;
use routing_rules::rules::{Credentials, ForwardAuth, Mirror, Redirect, Target};
use routing_rules::table::{CompiledTarget, RouteMatch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::data_path::decide::{self, Placement, Placing};
use crate::data_path::edge::{self, Obstacle};
use crate::data_path::error::RequestError;
use crate::data_path::headers;
use crate::data_path::request::{self, Head};
use crate::snapshot::{Member, Snapshot, Transport, Upstream};

pub use listener::{ListenerExplanation, OtherListener};
pub use question::{BadQuestion, Question};

/// What a request meets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The time for which it holds, if that is not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The canonical host.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// The client's address after trusted proxies.
    #[schema(value_type = String)]
    pub client: IpAddr,
    /// The listener, where it may make a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<ListenerExplanation>,
    /// The route, if one matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The template of routes whose hosts look like this one, where no route matches: there is no such environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The release that had a say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseExplanation>,
    /// The upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The upstream whose breaker as a whole is open, so that another one serves, or nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stands_in_for: Option<String>,
    /// The upstreams of a split, one of which is drawn for each request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<UpstreamShare>,
    /// Where endpoints come from that are discovered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discovery: Vec<DiscoveryExplanation>,
    /// The endpoints with their shares of the requests.
    pub endpoints: Vec<EndpointShare>,
    /// Who is asked whether the request may pass; the rest is what becomes of it if it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<AuthExplanation>,
    /// What the client gets instead of an endpoint's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Where a copy may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorExplanation>,
}

/// The service that is asked before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuthExplanation {
    /// Its upstream.
    pub upstream: String,
    /// The path, and query, that it is asked for.
    pub path: String,
}

/// The copies of a route's requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MirrorExplanation {
    /// The upstream that gets them.
    pub upstream: String,
    /// How many of the requests are copied, in percent.
    pub percent: String,
}

/// The user's group, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseExplanation {
    /// The release.
    pub name: String,
    /// `stable` or `canary`.
    #[schema(value_type = String)]
    pub group: Cow<'static, str>,
    /// A stable word: override, pin, rule, page, no_rule, no_key, inactive, canary_down.
    #[schema(value_type = String)]
    pub reason: Cow<'static, str>,
    /// The same in words, with rule, percent and bucket.
    pub text: String,
    /// The audience rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The user's place on the line from 0 to 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// The rule's share, in percent.
    pub percent: String,
    /// Why the request's pin was ignored, if it had one that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_refused: Option<PinExplanation>,
}

/// Why a pin was ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PinExplanation {
    /// A stable word: malformed, signature, no_secret, expired, future.
    #[schema(value_type = String)]
    pub reason: Cow<'static, str>,
    /// The same in words.
    pub text: String,
}

/// One upstream of a split and its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamShare {
    /// The upstream.
    pub name: String,
    /// Its share of the route's requests, in percent.
    pub percent: f64,
}

/// Where the endpoints of an upstream come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiscoveryExplanation {
    /// The upstream.
    pub upstream: String,
    /// What is asked for them.
    pub asks: String,
    /// Whether it was. Files alone are explained without.
    pub looked_up: bool,
    /// Why the last lookup failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One endpoint and its share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointShare {
    /// Its address.
    #[schema(value_type = String)]
    pub address: std::net::SocketAddr,
    /// Its configured weight.
    pub weight: u16,
    /// Its share of the requests by the weights of this moment, in percent.
    pub percent: f64,
    /// Why there was no TLS with it the last time, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_failure: Option<String>,
}

/// Explains a request against a snapshot.
///
/// # Errors
/// The question is not a request that could exist, or names a listener that does not.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, BadQuestion> {
    explain_at(snapshot, question, crate::moment::unix_ms())
}

/// As [`explain`], with a clock that shows so many milliseconds since 1970.
///
/// # Errors
/// As those of [`explain`].
pub fn explain_at(snapshot: &Snapshot, question: &Question, now_ms: u64) -> Result<Explanation, BadQuestion> {
    let parts = question.parts()?;
    let head = Head::check(&parts).map_err(|error| BadQuestion(refusal(error)))?;
    let client =
        headers::client_address(&parts.headers, question.ip.to_canonical(), |address| snapshot.trusts(address));
    let listener = listener::choose(snapshot, question)?;
    let view = RequestView {
        method: &parts.method,
        host: head.host.name(),
        path: &head.path,
        query: head.query.as_deref(),
        headers: &parts.headers,
        client,
        listener: listener.map_or("", |listener| listener.name().as_str()),
        geo: snapshot.geo.as_deref(),
    };
    let found = decide::find(snapshot, &view);
    let mut explanation = Explanation {
        at: None,
        host: head.host.name().to_owned(),
        path: head.path.clone().into_owned(),
        client,
        listener: listener::explain(snapshot, question, &view),
        route: found.map(|found| found.route().name().to_string()),
        template: found.is_none().then(|| template(snapshot, head.host.name())).flatten(),
        release: None,
        upstream: None,
        stands_in_for: None,
        split: Vec::new(),
        discovery: Vec::new(),
        endpoints: Vec::new(),
        asks: None,
        answer: None,
        mirror: None,
    };
    // Without a listener at all, a port has to be made up: that of HTTP.
    let port = listener.map_or(80, |listener| listener.address().port());
    let is_trusted = snapshot.trusts(question.ip.to_canonical());
    let is_secure = edge::is_secure(&parts.headers, is_trusted, question.is_secure());
    let refused = |found: &RouteMatch<'_>| {
        let admitted = head.admitted_by(found.route().rules());
        answer_of_edge(found, &view, &head, is_secure, port).or_else(|| admitted.err().map(refusal))
    };
    explanation.answer = match found.map(|found| (found, refused(&found))) {
        None => Some(refusal(RequestError::NoRoute)),
        Some((_, Some(answer))) => Some(answer),
        Some((found, None)) => {
            let auth = found.route().rules().forward_auth();
            explanation.asks = auth.map(|auth| AuthExplanation::new(auth, &head));
            match found.route().rules().target() {
                Target::Redirect(redirect) => Some(redirection(redirect, &head, is_secure, port)),
                _ => explanation.follow(snapshot, &found, &view, now_ms / 1_000),
            }
        }
    };
    Ok(explanation)
}

/// What the filters of the route's edge answer.
fn answer_of_edge(
    found: &RouteMatch<'_>,
    view: &RequestView<'_>,
    head: &Head<'_>,
    is_secure: bool,
    port: u16,
) -> Option<String> {
    let rules = found.route().rules().edge()?;
    match edge::obstacle(rules, view, is_secure) {
        Some(Obstacle::Address) => Some(refusal(RequestError::AddressDenied)),
        Some(Obstacle::HttpsRedirect) => {
            let redirect = rules.https_redirect.as_ref()?.redirect();
            Some(redirection(redirect, head, is_secure, port))
        }
        Some(Obstacle::Preflight(true)) => Some("204 the page may ask".into()),
        Some(Obstacle::Preflight(false)) => Some("204 pages of this origin may not ask".into()),
        None if needs_password(found) && Credentials::of(view.headers).is_none() => {
            Some(refusal(RequestError::Unauthorized))
        }
        None => None,
    }
}

/// Whether a password is asked for.
fn needs_password(found: &RouteMatch<'_>) -> bool {
    found.route().rules().edge().is_some_and(|edge| edge.basic_auth.is_some())
}

fn redirection(redirect: &Redirect, head: &Head<'_>, is_secure: bool, port: u16) -> String {
    format!("{} redirect to {}", redirect.status.as_u16(), request::location(redirect, head, is_secure, port))
}

/// The template that may have been meant by a host.
fn template(snapshot: &Snapshot, host: &str) -> Option<String> {
    let mut templates = snapshot.table.rules().route_templates();
    templates.find(|template| template.may_have(host)).map(|template| template.name().to_string())
}

fn refusal(error: RequestError) -> String {
    format!("{} {}", error.status().as_u16(), error.reason())
}

impl Explanation {
    /// From the route to the endpoints. Returns what the client gets instead of an endpoint's answer.
    fn follow(
        &mut self,
        snapshot: &Snapshot,
        found: &RouteMatch<'_>,
        view: &RequestView<'_>,
        unix_secs: u64,
    ) -> Option<String> {
        let moment = Moment { unix_secs, draw: [crate::random::seed(), crate::random::seed()] };
        let placement = decide::place(snapshot, found, view, &moment)?;
        self.release = placement.release.as_ref().map(|placing| ReleaseExplanation::new(snapshot, placing));
        if let Some(error) = self.divide(snapshot, found, &placement, view) {
            return Some(refusal(error));
        }
        let is_down = self.endpoints.iter().all(|endpoint| endpoint.percent == 0.0);
        let is_known = self.discovery.iter().all(|discovery| discovery.looked_up);
        if is_down && is_known {
            let is_asked = |upstream: &&Arc<Upstream>| self.upstream.as_deref() == Some(upstream.name().as_str());
            let upstream = snapshot.upstreams.iter().flatten().find(is_asked);
            let error = upstream.map_or(RequestError::NoEndpoint, |upstream| decide::without_endpoint(upstream));
            return Some(refusal(error));
        }
        // Who serves the request gets no copy of it.
        let serves = |mirror: &&Mirror| self.upstream.as_deref() == Some(mirror.upstream.as_str());
        let mirror = found.route().rules().mirror().filter(|mirror| !serves(mirror));
        self.mirror = mirror.map(MirrorExplanation::new);
        None
    }

    /// Says which upstream gets the request, or each how much of them. An error is what the client gets.
    fn divide(
        &mut self,
        snapshot: &Snapshot,
        found: &RouteMatch<'_>,
        placement: &Placement<'_>,
        view: &RequestView<'_>,
    ) -> Option<RequestError> {
        match (found.route().target(), found.route().rules().target(), &placement.release) {
            (CompiledTarget::Split { upstreams, .. }, Target::Split(parts), None) => {
                let total: f64 = parts.iter().map(|part| f64::from(part.weight)).sum();
                for (part, upstream) in parts.iter().zip(upstreams) {
                    let percent = 100.0 * f64::from(part.weight) / total;
                    self.split.push(UpstreamShare { name: part.upstream.to_string(), percent });
                    self.send_to(snapshot.upstream(*upstream), percent);
                }
            }
            _ => {
                let mut serves = snapshot.upstream(placement.upstream)?;
                if !serves.lets_in(placement.line, view.method.is_idempotent()) {
                    self.stands_in_for = Some(serves.name().to_string());
                    let fallback = placement.fallback(snapshot, serves).and_then(|id| snapshot.upstream(id));
                    match fallback {
                        Some(fallback) => serves = fallback,
                        None => return Some(RequestError::BreakerOpen(1)),
                    }
                }
                self.upstream = Some(serves.name().to_string());
                self.send_to(Some(serves), 100.0);
                if matches!(serves.transport, Transport::Closed) {
                    return Some(RequestError::TlsUnusable);
                }
            }
        }
        None
    }

    /// An upstream gets so much.
    fn send_to(&mut self, upstream: Option<&Arc<Upstream>>, percent: f64) {
        let Some(upstream) = upstream else { return };
        self.discovery.extend(DiscoveryExplanation::new(upstream));
        self.endpoints.extend(shares(upstream, percent));
    }
}

impl DiscoveryExplanation {
    fn new(upstream: &Upstream) -> Option<Self> {
        let discovered = upstream.discovered.as_ref()?;
        Some(Self {
            upstream: upstream.name().to_string(),
            asks: discovered.rules().to_string(),
            looked_up: !upstream.is_assumed,
            failure: discovered.state().failure.map(|failed| failed.reason.into()),
        })
    }
}

impl AuthExplanation {
    fn new(auth: &ForwardAuth, head: &Head<'_>) -> Self {
        let path = auth.path().map_or_else(|| head.target(), ToString::to_string);
        Self { upstream: auth.upstream().to_string(), path }
    }
}

impl MirrorExplanation {
    fn new(mirror: &Mirror) -> Self {
        Self { upstream: mirror.upstream.to_string(), percent: mirror.percent.to_string() }
    }
}

impl ReleaseExplanation {
    fn new(snapshot: &Snapshot, placing: &Placing<'_>) -> Self {
        let assignment = &placing.assignment;
        Self {
            name: placing.name(snapshot).unwrap_or_default().into(),
            group: placing.group().as_str().into(),
            reason: placing.reason().into(),
            text: match placing.canary_is_down {
                true => format!("{assignment}; the canary has no endpoint or its breaker is open, so stable serves"),
                false => assignment.to_string(),
            },
            rule: assignment.rule.map(Into::into),
            bucket: assignment.bucket.map(|bucket| bucket.line()),
            percent: assignment.share.to_string(),
            pin_refused: assignment
                .pin_refused
                .map(|refusal| PinExplanation { reason: refusal.as_str().into(), text: refusal.to_string() }),
        }
    }
}

/// The endpoints of an upstream that gets `percent` of the requests.
fn shares(upstream: &Upstream, percent: f64) -> Vec<EndpointShare> {
    let weights: Vec<f64> = (0..upstream.endpoints.len()).map(|place| upstream.weighing.share(place)).collect();
    let total: f64 = weights.iter().sum();
    let share = |(member, weight): (&Member, &f64)| EndpointShare {
        address: member.endpoint.address(),
        weight: member.weight,
        percent: if total > 0.0 { percent * weight / total } else { 0.0 },
        tls_failure: upstream.tls_failure(member),
    };
    upstream.endpoints.iter().zip(&weights).map(share).collect()
}
