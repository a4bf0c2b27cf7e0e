//! Rules and requests to measure with.
//!
//! Routes come ten to a host, one prefix each; upstreams come one to a host, with three endpoints. So 100,000 routes are
//! 10,000 hosts, 10,000 upstreams and 30,000 endpoints.

use std::fmt::Write;

use routing_rules::rules::RuleSet;
use routing_rules::spec::{EndpointSpec, PathSpec, RouteSpec, Spec, UpstreamSpec};

/// The sizes of the tables that are compared.
pub const SIZES: [usize; 3] = [100, 10_000, 100_000];

const ROUTES_PER_HOST: usize = 10;

/// A spec with this many routes.
pub fn spec(routes: usize) -> Spec {
    let mut spec = Spec::default();
    for index in 0..routes {
        let host = index / ROUTES_PER_HOST;
        let upstream = format!("app-{host}");
        let route = RouteSpec {
            hosts: vec![format!("shop-{host}.example.com")],
            paths: vec![PathSpec::Prefix(format!("/part-{}", index % ROUTES_PER_HOST))],
            upstream: Some(upstream.clone()),
            ..RouteSpec::default()
        };
        spec.routes.insert(format!("route-{index}"), route);
        spec.upstreams
            .entry(upstream)
            .or_insert_with(|| UpstreamSpec { endpoints: endpoints(host), ..UpstreamSpec::default() });
    }
    spec
}

fn endpoints(host: usize) -> Vec<EndpointSpec> {
    let address = |pod: usize| format!("10.{}.{}.{}:8080", host >> 8 & 255, host & 255, pod + 1);
    (0..3).map(|pod| EndpointSpec { address: address(pod), weight: 1 }).collect()
}

/// The same spec after somebody changed the weight of one endpoint.
pub fn with_other_endpoint(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    if let Some(upstream) = spec.upstreams.get_mut("app-5") {
        upstream.endpoints[1].weight = 2;
    }
    spec
}

/// The same spec after somebody changed the prefix of one route.
pub fn with_other_route(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    if let Some(route) = spec.routes.get_mut("route-57") {
        route.paths = vec![PathSpec::Prefix("/other".into())];
    }
    spec
}

/// The rules of a spec that is right.
///
/// # Panics
/// It is not.
pub fn rules(spec: &Spec) -> RuleSet {
    let (rules, problems) = RuleSet::from_spec(spec);
    assert!(problems.is_empty(), "{problems:?}");
    rules
}

/// The rules of a changed spec, sharing every object that did not change, as the proxy's catalog keeps them.
///
/// # Panics
/// An object of the changed spec is not right.
pub fn changed(before: &RuleSet, of: &Spec, to: &Spec) -> RuleSet {
    use routing_rules::rules::{Object, Route, Upstream};
    let (mut next, mut problems) = (before.clone(), Vec::new());
    for (name, route) in to.routes.iter().filter(|(name, route)| of.routes.get(*name) != Some(route)) {
        next.insert(Object::Route(Route::new(name, route, &mut problems).expect("the route is right").into()));
    }
    for (name, upstream) in to.upstreams.iter().filter(|(name, upstream)| of.upstreams.get(*name) != Some(upstream)) {
        let upstream = Upstream::new(name, upstream, &mut problems).expect("the upstream is right");
        next.insert(Object::Upstream(upstream.into()));
    }
    next
}

/// Writes host and path of the route with this number into one small text that stays in the processor's cache, as the
/// buffer of a connection does. A list of 100,000 prepared requests would measure the list.
#[derive(Default)]
pub struct Target {
    host: String,
    path: String,
}

impl Target {
    /// Host and path for a route.
    pub fn of(&mut self, route: usize) -> (&str, &str) {
        self.host.clear();
        self.path.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.host, "shop-{}.example.com", route / ROUTES_PER_HOST);
        let _ = write!(self.path, "/part-{}/cart", route % ROUTES_PER_HOST);
        (&self.host, &self.path)
    }
}

/// Numbers below a limit, every one as likely, in an order that no cache can guess: splitmix64.
pub struct Draws(u64);

impl Draws {
    /// The same numbers for every run.
    pub fn new() -> Self {
        Self(7)
    }

    /// The next number.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * limit as u128) >> 64) as usize
    }
}

impl Default for Draws {
    fn default() -> Self {
        Self::new()
    }
}
