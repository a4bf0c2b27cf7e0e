//! A template of upstreams together with the templates of routes that lead to it: what keys come to, and what is made of it.

use std::sync::Arc;

use super::{Environment, RouteTemplate, UpstreamTemplate};

/// Templates that belong together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TemplateSet {
    /// The upstream that each environment has one like.
    pub upstream: Arc<UpstreamTemplate>,
    /// The routes that lead there.
    pub routes: Vec<Arc<RouteTemplate>>,
}

impl TemplateSet {
    /// Whether both are of the very same templates.
    pub fn is_same(&self, other: &Self) -> bool {
        let mut routes = self.routes.iter().zip(&other.routes);
        let same_routes = self.routes.len() == other.routes.len() && routes.all(|(one, two)| Arc::ptr_eq(one, two));
        same_routes && Arc::ptr_eq(&self.upstream, &other.upstream)
    }

    /// Whether a route would be made for an environment.
    pub fn takes(&self, environment: &Environment) -> bool {
        let has_route = |route: &Arc<RouteTemplate>| route.takes(environment) && route.hosts_of(environment).is_ok();
        let has_name = self.upstream.name_of(environment).is_ok();
        has_name && self.upstream.prefix().is_of(environment) && self.routes.iter().any(has_route)
    }

    /// The environment that a key registers, if any route takes it.
    ///
    /// # Errors
    /// One does, but would have no host, or no name.
    pub fn read(&self, key: &[u8]) -> Result<Option<Environment>, String> {
        let Some(environment) = self.upstream.prefix().read(key) else { return Ok(None) };
        if self.routes.iter().any(|route| route.takes(&environment)) {
            self.upstream.name_of(&environment)?;
        }
        let mut wrong = None;
        for route in self.routes.iter().filter(|route| route.takes(&environment)) {
            match route.hosts_of(&environment) {
                Ok(_) => return Ok(Some(environment)),
                Err(reason) => wrong = wrong.or(Some(reason)),
            }
        }
        wrong.map_or(Ok(None), Err)
    }
}
