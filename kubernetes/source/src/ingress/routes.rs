//! Routes of Ingresses: of their paths, and those that annotations add.

use k8s_openapi::api::networking::v1::IngressBackend;
use routing_rules::spec::{FilterSpec, RedirectSpec, RouteSpec};

use super::annotations::{Reading, accepted, app_root, ask, head};
use super::canaries::Main;
use super::served::{Asked, Served};
use super::tuning::closed;
use super::{Claim, Path, Work};

impl<'w> Work<'w> {
    pub(super) fn take(&mut self, served: &'w Served<'w>) {
        for asked in served.paths() {
            let place = &asked.place;
            let reading = served.tuning.paths.read(asked.path);
            let target = reading.and_then(|reading| Ok((reading, self.target(served, &asked.path.backend)?)));
            let (reading, upstream) = match target {
                Ok(target) => target,
                Err(reason) => {
                    self.reject(served, &asked, &reason);
                    continue;
                }
            };
            if reading.lacks_change {
                let message =
                    format!("{place}: what rewrite-target makes of it cannot be made here: it is passed on as it is");
                self.warn(served.name, "Annotation", message);
            }
            let written = asked.written();
            let stable = upstream.clone();
            let routes = self.route(served, &asked.id, place, asked.host, reading, upstream);
            if !routes.is_empty() {
                self.mains.entry(written).or_insert(Main { served, routes, stable, canary: None });
            }
        }
        if let Some(default) = &served.spec.default_backend {
            match self.target(served, default) {
                Ok(upstream) => self.defaults(served, upstream.as_deref()),
                Err(reason) => self.warn(served.name, "Rejected", format!("spec.defaultBackend: {reason}")),
            }
        }
        self.lead_root(served);
        self.lead_www(served);
    }

    /// Leaves out a path that is not right. Its requests would come to a shorter one, which may let everybody in: if this one would not,
    /// nobody is let in, as far as it can be told where it would have been.
    fn reject(&mut self, served: &'w Served<'w>, asked: &Asked<'_>, reason: &str) {
        let Asked { place, id, host, path } = asked;
        if !served.tuning.guards() {
            return self.warn(served.name, "Rejected", format!("{place}: {reason}"));
        }
        let head = head(path);
        self.warn(served.name, "Closed", format!("{place}: nobody is let in below {:?}: {reason}", head.spec()));
        if self.claim(served, place, &(host.clone(), head.clone())) {
            self.put(served, id, closed(matching(host.clone(), &head)));
        }
    }

    /// The upstream for a backend; none where all requests are sent elsewhere, whatever the backend is.
    fn target(&mut self, served: &Served<'_>, backend: &IngressBackend) -> Result<Option<String>, String> {
        match served.tuning.redirect {
            Some(_) => Ok(None),
            None => self.backend(served.name, backend, &served.tuning.upstream).map(Some),
        }
    }

    /// A default backend has what no path of the Ingress matches: of its hosts, or where it has none, of all.
    fn defaults(&mut self, served: &'w Served<'w>, upstream: Option<&str>) {
        for (index, host) in served.hosts().into_iter().enumerate() {
            let path = Path::Prefix("/".into());
            // A path of its own goes first.
            if self.claims.get(&(host.clone(), path.clone())) != Some(&served.name) {
                let reading = Reading { path, change: None, lacks_change: false };
                let id = format!("default.{index}");
                self.route(served, &id, "spec.defaultBackend", host, reading, upstream.map(str::to_owned));
            }
        }
    }

    /// Where `/` leads.
    fn lead_root(&mut self, served: &'w Served<'w>) {
        let Some(root) = &served.tuning.app_root else { return };
        for (index, host) in served.hosts().into_iter().enumerate() {
            let path = Path::Exact("/".into());
            self.lead(served, &format!("root.{index}"), "app-root", (host, path), app_root(root));
        }
    }

    /// From the names with `www.` to those without, or the other way about. A host with rules of its own goes first.
    fn lead_www(&mut self, served: &'w Served<'w>) {
        if !served.tuning.has_www {
            return;
        }
        for (index, host) in served.hosts().into_iter().enumerate() {
            let Some(host) = host.filter(|host| !host.starts_with('*')) else {
                let message = "from-to-www-redirect: only a host with a name of its own has another one";
                self.warn(served.name, "Annotation", message.into());
                continue;
            };
            let other = host.strip_prefix("www.").map_or_else(|| format!("www.{host}"), str::to_owned);
            if self.hosts.contains(&other) {
                self.warn(served.name, "Conflict", format!("from-to-www-redirect: {other} has rules of its own"));
                continue;
            }
            let redirect = RedirectSpec { status: Some(308), host: Some(host), ..RedirectSpec::default() };
            let path = Path::Prefix("/".into());
            self.lead(served, &format!("www.{index}"), "from-to-www-redirect", (Some(other), path), redirect);
        }
    }

    fn lead(&mut self, served: &'w Served<'w>, id: &str, place: &str, claim: Claim, redirect: RedirectSpec) {
        if !self.claim(served, place, &claim) {
            return;
        }
        let (host, path) = claim;
        let has_tls = served.has_tls(host.as_deref());
        let route = served.tuning.leading_to(redirect, matching(host, &path), has_tls);
        self.put(served, id, route);
    }

    /// Makes the routes of a path, and gives their names.
    fn route(
        &mut self,
        served: &'w Served<'w>,
        id: &str,
        place: &str,
        host: Option<String>,
        reading: Reading,
        upstream: Option<String>,
    ) -> Vec<String> {
        let claim = (host, reading.path);
        if !self.claim(served, place, &claim) {
            return Vec::new();
        }
        let (host, path) = claim;
        let aliases = if host.is_some() { self.aliases(served, place, &path) } else { Vec::new() };
        let has_tls = served.has_tls(host.as_deref());
        let mut route =
            RouteSpec { upstream, filters: reading.change.into_iter().collect(), ..matching(host.clone(), &path) };
        route.hosts.extend(aliases);
        if !served.tuning.is_closed {
            self.copy(served, &mut route, host.as_deref());
        }
        let mut route = served.tuning.route(route, has_tls);
        match self.question(served, host.as_deref()) {
            Ok(question) => route.filters.extend(question),
            Err(reason) => {
                self.warn(served.name, "Closed", format!("{place}: nobody is let in: auth-url: {reason}"));
                route = closed(route);
            }
        }
        let free = served.tuning.without_limits(&route).map(|free| self.put(served, &format!("{id}.unlimited"), free));
        std::iter::once(self.put(served, id, route)).chain(free).collect()
    }

    /// What asks the service that says who may pass, if there is one.
    ///
    /// # Errors
    /// It cannot be asked, so nobody may pass.
    fn question(&mut self, served: &Served<'_>, host: Option<&str>) -> Result<Option<FilterSpec>, String> {
        let Some(question) = served.tuning.question.as_ref().filter(|_| !served.tuning.is_closed) else {
            return Ok(None);
        };
        let upstream = self.place(served, &question.url, "auth", host)?;
        Ok(Some(ask(upstream, &question.url, question.fields.clone())))
    }

    fn copy(&mut self, served: &Served<'_>, route: &mut RouteSpec, host: Option<&str>) {
        let Some(copies) = &served.tuning.copies else { return };
        match self.place(served, &copies.url, "mirror", host) {
            Ok(upstream) if route.upstream.as_ref() == Some(&upstream) => {
                let message = format!("mirror-target: Service and port serve {:?} themselves", route.paths);
                self.warn(served.name, "Annotation", message);
            }
            Ok(upstream) => route.mirror = Some(copies.to(upstream)),
            Err(reason) => self.warn(served.name, "Annotation", format!("mirror-target: {reason}")),
        }
    }

    /// Other names of a host that are nobody's for this path.
    fn aliases(&mut self, served: &'w Served<'w>, place: &str, path: &Path) -> Vec<String> {
        let mut free = Vec::new();
        for alias in &served.tuning.aliases {
            if self.hosts.contains(alias) {
                self.warn(served.name, "Conflict", format!("server-alias: {alias} has rules of its own"));
            } else if self.claim(served, place, &(Some(alias.clone()), path.clone())) {
                free.push(alias.clone());
            }
        }
        free
    }

    /// Whether a path of a host is the Ingress's from now on.
    fn claim(&mut self, served: &'w Served<'w>, place: &str, claim: &Claim) -> bool {
        let name = served.name;
        let Some(owner) = self.claims.get(claim) else {
            self.claims.insert(claim.clone(), name);
            return true;
        };
        let (host, path) = (claim.0.as_deref().unwrap_or("all hosts"), claim.1.spec());
        let whose =
            if *owner == name { "this Ingress has it twice".into() } else { format!("Ingress {owner} is older") };
        self.warn(name, "Conflict", format!("{place}: {host} has {path:?} already: {whose}"));
        false
    }

    /// Puts down a route. One that rules would leave out must not leave its requests to another that lets everybody in.
    fn put(&mut self, served: &Served<'_>, id: &str, mut route: RouteSpec) -> String {
        let name = served.name;
        let route_name = format!("ingress.{}.{}.{id}", name.namespace, name.name);
        if let Some(Err(reason)) = served.tuning.guards().then(|| accepted(&route)) {
            self.warn(name, "Closed", format!("{route_name}: nobody is let in: {reason}"));
            route = closed(route);
        }
        self.drafts.of(format!("Ingress {name}")).routes.insert(route_name.clone(), route);
        route_name
    }
}

/// A route for a path of a host.
fn matching(host: Option<String>, path: &Path) -> RouteSpec {
    // Every path begins with it.
    let paths = if *path == Path::Prefix("/".into()) { Vec::new() } else { vec![path.spec()] };
    RouteSpec { hosts: Vec::from_iter(host), paths, ..RouteSpec::default() }
}
