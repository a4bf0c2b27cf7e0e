//! A rule of a route, as routes of Serin: one for each of its matches, alike in all but what they match.

use routing_rules::rules;
use routing_rules::spec::{MirrorSpec, PathSpec, RouteSpec};

use super::backends::{Backends, Referrer};
use super::filters::Filters;
use super::kinds::{self, RuleSpec};
use super::matches::{Conditions, Match};
use super::timeouts::timeouts;
use crate::conditions::{Refusal, first};
use crate::kind::Kind;
use crate::objects::Objects;

/// The routes of a rule, without hosts and listeners.
///
/// # Errors
/// There is no rule of Serin for something of it. What is wrong with backends is told to `backends` all the same.
pub(super) fn routes<M: Match>(
    objects: &Objects,
    from: Referrer<'_>,
    rule: &RuleSpec<M>,
    backends: &mut Backends,
) -> Result<Vec<RouteSpec>, Refusal>
where
    kinds::RouteSpec<M>: Kind,
{
    let is_redirect = rule.filters.iter().any(|filter| filter.r#type == "RequestRedirect");
    // Also of a rule that is refused, whose author wants to know of everything.
    let parts = if is_redirect { Vec::new() } else { backends.parts(objects, from, &rule.backend_refs) };
    if rule.backend_refs.iter().any(|reference| !reference.filters.is_empty()) {
        return Err(Refusal::unsupported("backendRefs: filters of a backend are not supported; those of a rule are"));
    }
    let target = match parts.as_slice() {
        [only] => RouteSpec { upstream: Some(only.upstream.clone()), ..RouteSpec::default() },
        _ => RouteSpec { split: parts, ..RouteSpec::default() },
    };
    let target = RouteSpec { timeouts: timeouts(&rule.timeouts)?, ..target };
    let every = [M::default()];
    let matches = if rule.matches.is_empty() { &every[..] } else { &rule.matches };
    let route = |(index, asked): (usize, &M)| {
        let at = |refusal: Refusal| refusal.at(&format!("matches[{index}]"));
        let conditions = asked.conditions().map_err(at)?;
        let filters = Filters::new(&rule.filters, prefix(&conditions))?;
        let mirror = filters.mirror.and_then(|(backend, percent)| {
            let upstream = backends.upstream(objects, from, backend, "filters: requestMirror")?;
            Some(MirrorSpec { upstream, percent: Some(percent), max_body: None })
        });
        let spec = RouteSpec {
            paths: conditions.path.into_iter().collect(),
            methods: conditions.method.into_iter().collect(),
            headers: conditions.headers,
            query: conditions.query,
            filters: filters.changes,
            mirror,
            ..target.clone()
        };
        check(from.prefix, &spec).map_err(at)?;
        Ok(spec)
    };
    matches.iter().enumerate().map(route).collect()
}

/// What a path begins with that has a prefix, or has no condition on it at all.
fn prefix(conditions: &Conditions) -> Option<&str> {
    match &conditions.path {
        None => Some("/"),
        Some(PathSpec::Prefix(prefix)) => Some(prefix),
        Some(_) => None,
    }
}

/// Whether it is right, and leaves room for what is put behind its name.
fn check(prefix: &str, spec: &RouteSpec) -> Result<(), Refusal> {
    let (mut problems, name) = (Vec::new(), format!("{prefix}.00.00.00"));
    rules::Route::new(&name, spec, &mut problems);
    match first(&problems, &format!("routes.{name}")) {
        None => Ok(()),
        Some((place, reason)) => {
            let place = if place.is_empty() { "name" } else { place.trim_start_matches('.') };
            Err(Refusal::unsupported(format!("{place}: {reason}")))
        }
    }
}
