//! Routes.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{HeaderName, HeaderValue};

use super::address::parse_network;
use super::filter::{editable, filters};
use super::{
    AddressSet, Cors, Edge, Filter, ForwardAuth, HostPattern, InFlightPerKey, Mirror, Name, PathPattern, RateLimit,
    Redirect, RegexPattern, TextPattern, limit,
};
use crate::RuleError;
use crate::error::Problems;
use crate::request::RequestView;
use crate::request::may_be_trailer;
use crate::spec::{EncodedSlashSpec, LimitsSpec, PathSpec, RouteSpec, SplitSpec, TextMatchSpec, TimeoutsSpec};

/// A route: matches, target, limits and filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    name: Name,
    is_made: bool,
    hosts: Box<[HostPattern]>,
    paths: Box<[PathPattern]>,
    conditions: RouteConditions,
    target: Target,
    releases: Box<[Name]>,
    mirror: Option<Box<Mirror>>,
    hedge_after: Option<Duration>,
    timeouts: Timeouts,
    limits: Limits,
    filters: Box<[Filter]>,
    edge: Option<Arc<Edge>>,
    upgrades: Box<[Box<str>]>,
    trailers: Box<[HeaderName]>,
    samples: bool,
    keep_encoded_slashes: bool,
    order: u64,
}

/// Everything a route asks of a request besides host and path; all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RouteConditions {
    pub(crate) methods: Box<[Method]>,
    pub(crate) headers: Box<[TextCondition<HeaderName>]>,
    pub(crate) query: Box<[TextCondition<Box<str>>]>,
    pub(crate) client_ip: AddressSet,
    pub(crate) listeners: Box<[Name]>,
}

/// A condition on the text of one named thing: a header field, a query parameter, a cookie.
#[derive(Clone, Debug, PartialEq)]
pub struct TextCondition<N> {
    /// What is looked at.
    pub name: N,
    /// What must hold.
    pub pattern: TextPattern,
}

/// Where a route sends its requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One upstream.
    Upstream(Name),
    /// Several, by weight; the sum of the weights is above 0.
    Split(Box<[WeightedUpstream]>),
    /// Nowhere: the answer is a redirect.
    Redirect(Redirect),
}

/// One part of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedUpstream {
    /// The upstream.
    pub upstream: Name,
    /// Its weight, 0 to 1,000,000.
    pub weight: u32,
}

/// Time limits of a route. See [`TimeoutsSpec`] for what each one covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection to an endpoint stands.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub request: Duration,
    /// Without a byte of a body.
    pub idle: Duration,
    /// From the head of the request to the end of the response.
    pub total: Option<Duration>,
    /// An upgraded connection without a byte.
    pub tunnel_idle: Duration,
}

/// Limits of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limits {
    body: u64,
    rate: Option<RateLimit>,
    in_flight: Option<u32>,
    in_flight_per_key: Option<InFlightPerKey>,
}

impl Route {
    /// Validates one route; reports every problem. References are checked by [`super::RuleSet::dangling`].
    pub fn new(name: &str, spec: &RouteSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("routes.{name}"), found);
        let hosts = problems.at("hosts").each(&spec.hosts, |host| HostPattern::new(host));
        let has_captures = !spec.captures.is_empty();
        if has_captures {
            problems.at("captures").report("no host has a capture, such as `{branch}`");
        }
        let paths = paths(&spec.paths, &mut problems);
        let conditions = conditions(spec, &mut problems);
        let filters = filters(name, &spec.filters, problems.at("filters"));
        // A filter that is not right may be the redirect, so nothing can be said about the target then.
        let target = filters.as_ref().and_then(|filters| target(spec, filters.redirect.clone(), &mut problems));
        let releases = problems.at("release").each(&spec.release, |name| Name::new(name));
        let hedge_after = limit::hedge_after(spec.hedge.as_ref(), problems.at("hedge"));
        let mirror = match &spec.mirror {
            Some(mirror) => Mirror::new(mirror, target.as_ref(), problems.at("mirror")).map(Some),
            None => Some(None),
        };
        let timeouts = timeouts(&spec.timeouts, problems.at("timeouts"));
        let limits = limits(&spec.limits, problems.at("limits"));
        let upgrades = upgrades(spec.upgrade.as_deref(), problems.at("upgrade"));
        let trailers = problems.at("trailers").each(&spec.trailers, |name| trailer_name(name));
        let name = problems.ok(Name::new(name));
        if has_captures {
            return None;
        }
        Some(Self {
            name: name?,
            is_made: false,
            hosts: hosts?.into(),
            paths: paths?.into(),
            conditions: conditions?,
            target: target?,
            releases: releases?.into(),
            mirror: mirror?.map(Box::new),
            hedge_after: hedge_after?,
            timeouts: timeouts?,
            limits: limits?,
            edge: filters.as_ref()?.edge.clone(),
            filters: filters?.changes.into(),
            upgrades: upgrades?.into(),
            trailers: trailers?.into(),
            samples: spec.sample.unwrap_or(true),
            keep_encoded_slashes: spec.encoded_slashes == EncodedSlashSpec::Keep,
            order: spec.order,
        })
    }

    /// The route's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The same route, as made of a template and not written by anybody.
    #[must_use]
    pub fn made(self) -> Self {
        Self { is_made: true, ..self }
    }

    /// Whether it was made of a template.
    pub fn is_made(&self) -> bool {
        self.is_made
    }

    /// Host patterns; none means any host.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Path patterns; none means any path.
    pub fn paths(&self) -> &[PathPattern] {
        &self.paths
    }

    /// Whether both take the same requests, if nothing but their own patterns counts.
    pub fn matches_as(&self, other: &Self) -> bool {
        (&self.hosts, &self.paths, &self.conditions) == (&other.hosts, &other.paths, &other.conditions)
    }

    pub(crate) fn conditions(&self) -> &RouteConditions {
        &self.conditions
    }

    /// Whether everything but host and path fits.
    pub(crate) fn takes(&self, request: &RequestView<'_>) -> bool {
        self.conditions.hold(request, |method| method == request.method || self.answers_ahead_of(method, request))
    }

    /// Whether a request is a browser's question, which the route answers, ahead of one with this method: so it is to come to the same
    /// route as that.
    fn answers_ahead_of(&self, method: &Method, request: &RequestView<'_>) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.cors.is_some()) && Cors::preflight(request) == Some(method.as_str())
    }

    /// Names of the listeners the route serves; none means all.
    pub fn listeners(&self) -> &[Name] {
        &self.conditions.listeners
    }

    /// Where requests go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Releases that may move users, in order.
    pub fn releases(&self) -> &[Name] {
        &self.releases
    }

    /// The copies of its requests for another upstream.
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_deref()
    }

    /// How long an endpoint has before another one gets the request, too.
    pub fn hedge_after(&self) -> Option<Duration> {
        self.hedge_after
    }

    /// Time limits.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The largest request body in bytes.
    pub fn body_limit(&self) -> u64 {
        self.limits.body
    }

    /// How often clients may ask.
    pub fn rate_limit(&self) -> Option<&RateLimit> {
        self.limits.rate.as_ref()
    }

    /// How many of its requests may be worked on at once.
    pub fn in_flight_limit(&self) -> Option<u32> {
        self.limits.in_flight
    }

    /// How many of its requests each client may have in flight.
    pub fn in_flight_per_key(&self) -> Option<&InFlightPerKey> {
        self.limits.in_flight_per_key.as_ref()
    }

    /// Changes to request and response, in order.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Filters that let requests in, or change answers as a whole.
    pub fn edge(&self) -> Option<&Arc<Edge>> {
        self.edge.as_ref()
    }

    /// The service that says whether requests may pass.
    pub fn forward_auth(&self) -> Option<&ForwardAuth> {
        self.edge.as_ref()?.forward_auth.as_ref()
    }

    /// Protocols a client may upgrade to, lower case.
    pub fn upgrades(&self) -> &[Box<str>] {
        &self.upgrades
    }

    /// Whether the time its requests take says something about endpoints.
    pub fn samples(&self) -> bool {
        self.samples
    }

    /// Trailer fields that are passed on.
    pub fn trailers(&self) -> &[HeaderName] {
        &self.trailers
    }

    /// Its place among routes that are equally specific.
    pub fn order(&self) -> u64 {
        self.order
    }

    /// Whether `%2F` and `%5C` in a path are kept rather than refused.
    pub fn keeps_encoded_slashes(&self) -> bool {
        self.keep_encoded_slashes
    }
}

impl RouteConditions {
    fn hold(&self, request: &RequestView<'_>, is_method: impl Fn(&Method) -> bool) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && (self.listeners.is_empty() || self.listeners.iter().any(|name| name.as_str() == request.listener))
            && (self.client_ip.is_empty() || self.client_ip.contains(request.client))
            && self.headers.iter().all(|condition| {
                condition.pattern.matches(request.headers.get(&condition.name).map(HeaderValue::as_bytes))
            })
            && self.query.iter().all(|condition| {
                condition.pattern.matches(query_value(request.query, &condition.name).map(str::as_bytes))
            })
    }
}

/// The first value of a query parameter, as written: escapes are not decoded.
fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
            tunnel_idle: Duration::from_secs(3_600),
        }
    }
}

fn paths(specs: &[PathSpec], problems: &mut Problems<'_>) -> Option<Vec<PathPattern>> {
    problems.at("paths").each(specs, |spec| match spec {
        PathSpec::Exact(text) => PathPattern::exact(text),
        PathSpec::Prefix(text) => PathPattern::prefix(text),
        PathSpec::Regex(text) => RegexPattern::new(text).map(PathPattern::Regex),
    })
}

fn conditions(spec: &RouteSpec, problems: &mut Problems<'_>) -> Option<RouteConditions> {
    let methods = problems.at("methods").each(&spec.methods, |method| match method.parse::<Method>() {
        Ok(Method::CONNECT) => Err("CONNECT is for forward proxies and never served".to_owned()),
        // Methods are case-sensitive (RFC 9110 §9.1), so `get` would silently match nothing.
        Ok(parsed) if method.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err(format!("method `{parsed}` is written in capitals: {}", method.to_ascii_uppercase()))
        }
        Ok(parsed) => Ok(parsed),
        Err(_) => Err(format!("`{}` is not a method", method.escape_debug())),
    });
    let headers = text_conditions(&spec.headers, problems.at("headers"), header_name);
    let query = text_conditions(&spec.query, problems.at("query"), |name| Ok(name.into()));
    let client_ip = problems.at("client_ip").each(&spec.client_ip, |text| parse_network(text));
    let listeners = problems.at("listeners").each(&spec.listeners, |name| Name::new(name));
    Some(RouteConditions {
        methods: methods?.into(),
        headers: headers?.into(),
        query: query?.into(),
        client_ip: client_ip?.into_iter().collect(),
        listeners: listeners?.into(),
    })
}

/// Conditions written as a map of names; the position of a problem is that name.
pub(super) fn text_conditions<'a, N>(
    specs: impl IntoIterator<Item = (&'a String, &'a TextMatchSpec)>,
    mut problems: Problems<'_>,
    parse_name: impl Fn(&str) -> Result<N, String>,
) -> Option<Vec<TextCondition<N>>> {
    let mut conditions = Vec::new();
    let mut complete = true;
    for (name, spec) in specs {
        let condition =
            parse_name(name).and_then(|parsed| Ok(TextCondition { name: parsed, pattern: TextPattern::new(spec)? }));
        match problems.at(name).ok(condition) {
            Some(condition) => conditions.push(condition),
            None => complete = false,
        }
    }
    complete.then_some(conditions)
}

fn target(spec: &RouteSpec, redirect: Option<Redirect>, problems: &mut Problems<'_>) -> Option<Target> {
    match (&spec.upstream, spec.split.as_slice(), redirect) {
        (Some(name), [], None) => problems.at("upstream").ok(Name::new(name)).map(Target::Upstream),
        (None, [_, ..], None) => split(&spec.split, problems.at("split")).map(Target::Split),
        (None, [], Some(_)) if !spec.release.is_empty() => {
            problems.at("release").report("a route that redirects has no upstream a release could move users from");
            None
        }
        (None, [], Some(redirect)) => Some(Target::Redirect(redirect)),
        (None, [], None) => {
            problems.report("a route needs one of `upstream`, `split` and a `redirect` filter");
            None
        }
        _ => {
            problems.report("a route has only one of `upstream`, `split` and a `redirect` filter");
            None
        }
    }
}

fn split(specs: &[SplitSpec], mut problems: Problems<'_>) -> Option<Box<[WeightedUpstream]>> {
    let parts = problems.each(specs, |part| {
        if part.weight > 1_000_000 {
            return Err(format!("weight {} is above 1000000, the most a part of a split can have", part.weight));
        }
        Ok(WeightedUpstream { upstream: Name::new(&part.upstream)?, weight: part.weight })
    })?;
    if parts.iter().all(|part| part.weight == 0) {
        problems.report("at least one weight must be above 0");
        return None;
    }
    Some(parts.into())
}

fn timeouts(spec: &TimeoutsSpec, mut problems: Problems<'_>) -> Option<Timeouts> {
    let default = Timeouts::default();
    let fields = [
        ("connect", spec.connect),
        ("request", spec.request),
        ("idle", spec.idle),
        ("total", spec.total),
        ("tunnel_idle", spec.tunnel_idle),
    ];
    let mut complete = true;
    for (field, span) in fields {
        if span.is_some_and(|span| span.duration().is_zero()) {
            problems
                .at(field)
                .report("a time limit of 0 would fail every request; leave the field out for the default");
            complete = false;
        }
    }
    let or = |span: Option<crate::spec::Span>, default| span.map_or(default, |span| span.duration());
    complete.then(|| Timeouts {
        connect: or(spec.connect, default.connect),
        request: or(spec.request, default.request),
        idle: or(spec.idle, default.idle),
        total: spec.total.map(|span| span.duration()),
        tunnel_idle: or(spec.tunnel_idle, default.tunnel_idle),
    })
}

fn limits(spec: &LimitsSpec, mut problems: Problems<'_>) -> Option<Limits> {
    let rate = match &spec.rate_limit {
        Some(rate) => limit::rate_limit(rate, problems.at("rate_limit")).map(Some),
        None => Some(None),
    };
    let in_flight = limit::places(spec.in_flight, problems.at("in_flight"));
    let per_key = match &spec.in_flight_per_key {
        Some(per_key) => limit::in_flight_per_key(per_key, problems.at("in_flight_per_key")).map(Some),
        None => Some(None),
    };
    let body = spec.body.map_or(DEFAULT_BODY_LIMIT, |size| size.bytes());
    Some(Limits { body, rate: rate?, in_flight: in_flight?, in_flight_per_key: per_key? })
}

fn upgrades(specs: Option<&[String]>, mut problems: Problems<'_>) -> Option<Vec<Box<str>>> {
    let Some(specs) = specs else { return Some(vec!["websocket".into()]) };
    problems.each(specs, |token| {
        // A switch to HTTP/2 in clear text by upgrade is a known way around a proxy's rules (RFC 9113 §3.1 dropped it).
        if token.eq_ignore_ascii_case("h2c") || token.eq_ignore_ascii_case("h2") {
            return Err(format!("`{token}` cannot be allowed: the tunnel would carry requests past every rule"));
        }
        HeaderName::from_bytes(token.as_bytes())
            .map_err(|_| format!("`{}` is not a protocol token", token.escape_debug()))?;
        Ok(token.to_ascii_lowercase().into())
    })
}

pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("`{}` is not a header name", text.escape_debug()))
}

/// A trailer field that may be passed on (RFC 9110 §6.5.1 forbids those that frame, route or authenticate).
fn trailer_name(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if editable(text).is_err() {
        return Err(format!("`{name}` is part of the message framing and cannot be a trailer"));
    }
    match may_be_trailer(&name) {
        true => Ok(name),
        false => Err(format!("`{name}` has no meaning, or a dangerous one, in trailers")),
    }
}

const DEFAULT_BODY_LIMIT: u64 = 10 << 20;
