//! Whether rules would accept what an annotation amounts to: asked of the rules themselves, so that there is one opinion.

use routing_rules::rules::{Release, Route, Upstream};
use routing_rules::spec::{FilterSpec, ReleaseSpec, RouteSpec, UpstreamSpec};

/// A filter that rules accept.
///
/// # Errors
/// They do not, for this reason.
pub(super) fn filter(filter: FilterSpec) -> Result<FilterSpec, String> {
    // Redirects stand for an upstream.
    let upstream = (!matches!(filter, FilterSpec::Redirect(_))).then(|| NAME.to_owned());
    let spec = RouteSpec { upstream, filters: vec![filter.clone()], ..RouteSpec::default() };
    route(&spec).map(|()| filter)
}

/// Whether rules accept a route.
///
/// # Errors
/// They do not, for this reason.
pub(in crate::ingress) fn route(spec: &RouteSpec) -> Result<(), String> {
    let mut problems = Vec::new();
    Route::new(NAME, spec, &mut problems);
    first(problems)
}

/// Whether rules accept an upstream.
///
/// # Errors
/// They do not, for this reason.
pub(super) fn upstream(spec: &UpstreamSpec) -> Result<(), String> {
    let mut problems = Vec::new();
    Upstream::new(NAME, spec, &mut problems);
    first(problems)
}

/// Whether rules accept a release.
///
/// # Errors
/// They do not, for this reason.
pub(super) fn release(spec: &ReleaseSpec) -> Result<(), String> {
    let mut problems = Vec::new();
    Release::new(NAME, spec, &mut problems);
    first(problems)
}

fn first(problems: Vec<routing_rules::RuleError>) -> Result<(), String> {
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(problem.reason),
    }
}

const NAME: &str = "trial";
