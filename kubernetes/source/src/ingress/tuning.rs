//! What annotations change of the routes and upstreams of an Ingress.

use routing_rules::spec::{
    ByteSize, FilterSpec, HttpsRedirectSpec, LimitsSpec, MirrorSpec, RedirectSpec, RouteSpec, TimeoutsSpec,
    UpstreamSpec,
};

use super::annotations::{PathReading, Url};

/// What is other than usual. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Tuning {
    /// Nobody is let in: what keeps somebody out could not be understood.
    pub(super) is_closed: bool,
    pub(super) paths: PathReading,
    /// Other names of its hosts.
    pub(super) aliases: Vec<String>,
    pub(super) to_https: ToHttps,
    /// Whether the names with and without `www.` in front lead to its hosts.
    pub(super) has_www: bool,
    /// Where `/` leads.
    pub(super) app_root: Option<String>,
    /// Where all lead, instead of endpoints.
    pub(super) redirect: Option<RedirectSpec>,
    pub(super) filters: Vec<FilterSpec>,
    pub(super) question: Option<Question>,
    pub(super) copies: Option<Copies>,
    pub(super) limits: LimitsSpec,
    /// Clients for whom the limits of number are none.
    pub(super) unlimited: Vec<String>,
    pub(super) timeouts: TimeoutsSpec,
    /// All but where its endpoints come from.
    pub(super) upstream: UpstreamSpec,
}

/// Which hosts send clients to TLS that came without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ToHttps {
    /// Those that the Ingress has TLS for.
    #[default]
    WithTls,
    Always,
    Never,
}

/// A service that is asked whether requests may pass.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) url: Url,
    /// Fields of its answer that endpoints get.
    pub(super) fields: Vec<String>,
}

/// Copies of requests.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    pub(super) url: Url,
    pub(super) max_body: ByteSize,
}

impl Tuning {
    /// A route of the Ingress to an upstream, but for what its path becomes, and who is asked. `has_tls`: whether its host has TLS.
    pub(super) fn route(&self, mut route: RouteSpec, has_tls: bool) -> RouteSpec {
        route.filters.splice(..0, self.edge(has_tls));
        if let Some(redirect) = &self.redirect {
            route.upstream = None;
            route.mirror = None;
            route.filters.push(FilterSpec::Redirect(redirect.clone()));
        }
        RouteSpec { limits: self.limits.clone(), timeouts: self.timeouts.clone(), ..route }
    }

    /// A route that leads elsewhere, past the endpoints.
    pub(super) fn leading_to(&self, redirect: RedirectSpec, mut route: RouteSpec, has_tls: bool) -> RouteSpec {
        route.filters = self.edge(has_tls);
        route.filters.push(FilterSpec::Redirect(redirect));
        route
    }

    /// The same route for clients without limits of number, if there are some.
    pub(super) fn without_limits(&self, route: &RouteSpec) -> Option<RouteSpec> {
        let limits = LimitsSpec { rate_limit: None, in_flight_per_key: None, ..route.limits.clone() };
        let client_ip = self.unlimited.clone();
        (!client_ip.is_empty()).then(|| RouteSpec { client_ip, limits, ..route.clone() })
    }

    /// Whether somebody is kept out.
    pub(super) fn guards(&self) -> bool {
        let is_guard = |filter: &FilterSpec| {
            matches!(filter, FilterSpec::AllowIp(_) | FilterSpec::DenyIp(_) | FilterSpec::BasicAuth(_))
        };
        self.is_closed || self.question.is_some() || self.filters.iter().any(is_guard)
    }

    fn edge(&self, has_tls: bool) -> Vec<FilterSpec> {
        if self.is_closed {
            return vec![nobody()];
        }
        let to_https = match self.to_https {
            ToHttps::WithTls => has_tls,
            ToHttps::Always => true,
            ToHttps::Never => false,
        };
        let to_https = to_https.then(|| FilterSpec::HttpsRedirect(HttpsRedirectSpec::default()));
        to_https.into_iter().chain(self.filters.clone()).collect()
    }
}

impl Copies {
    pub(super) fn to(&self, upstream: String) -> MirrorSpec {
        MirrorSpec { upstream, percent: None, max_body: Some(self.max_body) }
    }
}

/// Lets nobody in, of the requests that a route is for. One that is left out instead would leave them to a route with a shorter path, which
/// may let them in.
pub(super) fn closed(route: RouteSpec) -> RouteSpec {
    let mut filters = vec![nobody()];
    if route.upstream.is_none() {
        // A route leads somewhere, also one whose door is closed.
        filters.push(FilterSpec::Redirect(RedirectSpec { path: Some("/".into()), ..RedirectSpec::default() }));
    }
    RouteSpec { hosts: route.hosts, paths: route.paths, upstream: route.upstream, filters, ..RouteSpec::default() }
}

fn nobody() -> FilterSpec {
    FilterSpec::DenyIp(vec!["0.0.0.0/0".into(), "::/0".into()])
}
