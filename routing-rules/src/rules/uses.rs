//! Who names whom: what must be looked at again when an object appears or goes.

use std::ops::Bound;

use imbl::OrdSet;

use super::{Certificate, Kind, Listener, ListenerTls, Name, Object, Release, Route, Target, Upstream};

/// An object by kind and name.
pub type Id = (Kind, Name);

/// All references, from who is named to who names. Kept up to date with every change, so that no question walks all rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses(OrdSet<Use>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    of: Id,
    /// Nothing stands for the place before the first.
    by: Option<Id>,
}

impl Uses {
    /// The objects that name this one.
    pub(super) fn users(&self, kind: Kind, name: &Name) -> impl Iterator<Item = &Id> {
        let of = (kind, name.clone());
        let start = Use { of: of.clone(), by: None };
        let users = self.0.range((Bound::Excluded(start), Bound::Unbounded));
        users.take_while(move |found| found.of == of).filter_map(|found| found.by.as_ref())
    }

    /// One version of an object takes the place of another, or appears or goes.
    pub(super) fn change(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let (gone, come) = (old.map(uses_of).unwrap_or_default(), new.map(uses_of).unwrap_or_default());
        if gone == come {
            return;
        }
        let by = |object: Option<&Object>| object.map(|object| (object.kind(), object.name().clone()));
        for of in gone {
            self.0.remove(&Use { of, by: by(old) });
        }
        for of in come {
            self.0.insert(Use { of, by: by(new) });
        }
    }
}

/// What an object names.
pub(super) fn uses_of(object: &Object) -> Vec<Id> {
    match object {
        Object::Listener(listener) => uses_of_listener(listener),
        Object::Certificate(certificate) => uses_of_certificate(certificate),
        Object::AcmeAccount(_) => Vec::new(),
        Object::Route(route) => uses_of_route(route),
        Object::Upstream(upstream) => uses_of_upstream(upstream),
        Object::RouteTemplate(template) => uses_of_route(template.example()),
        Object::UpstreamTemplate(template) => uses_of_upstream(template.example()),
        Object::Release(release) => uses_of_release(release),
    }
}

fn uses_of_listener(listener: &Listener) -> Vec<Id> {
    let default = listener.tls().and_then(ListenerTls::default_certificate);
    default.map(|name| (Kind::Certificate, name.clone())).into_iter().collect()
}

fn uses_of_certificate(certificate: &Certificate) -> Vec<Id> {
    certificate.order().map(|order| (Kind::AcmeAccount, order.account.clone())).into_iter().collect()
}

fn uses_of_upstream(upstream: &Upstream) -> Vec<Id> {
    upstream.fallback().map(|fallback| (Kind::Upstream, fallback.clone())).into_iter().collect()
}

fn uses_of_release(release: &Release) -> Vec<Id> {
    vec![(Kind::Upstream, release.stable().clone()), (Kind::Upstream, release.canary().clone())]
}

fn uses_of_route(route: &Route) -> Vec<Id> {
    let mut uses = match route.target() {
        Target::Upstream(name) => vec![(Kind::Upstream, name.clone())],
        Target::Split(parts) => parts.iter().map(|part| (Kind::Upstream, part.upstream.clone())).collect(),
        Target::Redirect(_) => Vec::new(),
    };
    uses.extend(route.mirror().map(|mirror| (Kind::Upstream, mirror.upstream.clone())));
    uses.extend(route.forward_auth().map(|auth| (Kind::Upstream, auth.upstream().clone())));
    uses.extend(route.releases().iter().map(|name| (Kind::Release, name.clone())));
    uses.extend(route.listeners().iter().map(|name| (Kind::Listener, name.clone())));
    uses
}
