//! What is valid: every type here is right by construction.
//!
//! [`RuleSet::from_spec`] reports all problems of a spec at once. An object with a problem is left out of the set,
//! so the others can still be used; whoever keeps the last good version of an object puts it back with
//! [`RuleSet::insert`]. The maps are persistent: a changed set shares everything that did not change with the
//! old one, which is what lets [`crate::table`] compile changes only.

mod acme;
mod address;
mod balance;
mod breaker;
mod certificate;
mod connections;
mod discovery;
mod filter;
mod health;
mod host;
mod limit;
mod listener;
mod mirror;
mod name;
pub(crate) mod overlap;
mod path;
mod release;
mod route;
mod template;
mod template_set;
mod text;
mod upstream;
mod upstream_tls;
mod uses;

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::RuleError;
use crate::spec::{RouteSpec, Spec, UpstreamSpec};

pub use crate::spec::InFlight;
pub use acme::{AcmeAccount, AcmeChallenge, AcmeOrder, ExternalAccount};
pub use address::AddressSet;
pub use balance::{Balance, ConsistentHash, Dwrr, HashKey, Measure};
pub use breaker::{Breaker, GroupBreaker};
pub use certificate::{CIPHER_SUITES, Certificate, ClientCertificates, ListenerTls, Origin, Pem, TlsProtocol};
pub use connections::Connections;
pub use discovery::{Discovery, Dns, Port, Records, Registry, ServicePort};
pub use filter::{
    BasicAuth, Coding, Compress, Cors, Credentials, Edge, Filter, ForwardAuth, HeaderEdit, Hsts, HttpsRedirect,
    Redirect, ReplacePrefix, SecurityHeaders,
};
pub use health::{HealthCheck, HttpProbe, Probe};
pub use host::HostPattern;
pub(crate) use host::{suffixes, wildcard_suffix};
pub use limit::{InFlightPerKey, LimitKey, Queue, RateLimit, Retry, UpstreamLimits};
pub use listener::Listener;
pub use mirror::Mirror;
pub use name::Name;
pub(crate) use path::canonical_pattern;
pub use path::{PathPattern, RegexPattern};
pub use release::{
    AnalysisMode, AudienceRule, Conditions, GeoPattern, KeySource, Override, Phase, Range, Release, ReleaseAnalysis,
    Share, Sticky,
};
pub(crate) use route::RouteConditions;
pub use route::{Route, Target, TextCondition, Timeouts, WeightedUpstream};
pub use template::{Environment, PrefixTemplate, RouteTemplate, Template, UpstreamTemplate};
pub use template_set::TemplateSet;
pub use text::TextPattern;
pub use upstream::{Endpoint, Protocol, Upstream, Weight};
pub use upstream_tls::{Identity, UpstreamTls};
pub use uses::Id;
use uses::Uses;

/// One object of any kind.
#[derive(Clone, Debug)]
pub enum Object {
    /// A listener.
    Listener(Arc<Listener>),
    /// A route.
    Route(Arc<Route>),
    /// An upstream.
    Upstream(Arc<Upstream>),
    /// A release.
    Release(Arc<Release>),
    /// A certificate.
    Certificate(Arc<Certificate>),
    /// An account at an authority.
    AcmeAccount(Arc<AcmeAccount>),
    /// A route that each environment has one like.
    RouteTemplate(Arc<RouteTemplate>),
    /// An upstream that each environment has one like.
    UpstreamTemplate(Arc<UpstreamTemplate>),
}

/// The kinds of objects, in the order of their maps in a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `listeners`
    Listener,
    /// `routes`
    Route,
    /// `upstreams`
    Upstream,
    /// `releases`
    Release,
    /// `certificates`
    Certificate,
    /// `acme_accounts`
    AcmeAccount,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Listener, Self::Route, Self::Upstream, Self::Release, Self::Certificate, Self::AcmeAccount];

    /// The name of the kind's map in a spec, for example `routes`.
    pub fn map_name(self) -> &'static str {
        match self {
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::Upstream => "upstreams",
            Self::Release => "releases",
            Self::Certificate => "certificates",
            Self::AcmeAccount => "acme_accounts",
        }
    }
}

impl Object {
    /// Validates a route, or a template of routes.
    pub fn route(name: &str, spec: &RouteSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        match RouteTemplate::is_meant(spec) {
            true => RouteTemplate::new(name, spec, found).map(Arc::new).map(Self::RouteTemplate),
            false => Route::new(name, spec, found).map(Arc::new).map(Self::Route),
        }
    }

    /// Validates an upstream, or a template of upstreams.
    pub fn upstream(name: &str, spec: &UpstreamSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        match UpstreamTemplate::is_meant(spec) {
            true => UpstreamTemplate::new(name, spec, found).map(Arc::new).map(Self::UpstreamTemplate),
            false => Upstream::new(name, spec, found).map(Arc::new).map(Self::Upstream),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listener,
            Self::Route(_) | Self::RouteTemplate(_) => Kind::Route,
            Self::Upstream(_) | Self::UpstreamTemplate(_) => Kind::Upstream,
            Self::Release(_) => Kind::Release,
            Self::Certificate(_) => Kind::Certificate,
            Self::AcmeAccount(_) => Kind::AcmeAccount,
        }
    }

    /// Whether others are made of it.
    pub fn is_template(&self) -> bool {
        matches!(self, Self::RouteTemplate(_) | Self::UpstreamTemplate(_))
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        match self {
            Self::Listener(listener) => listener.name(),
            Self::Route(route) => route.name(),
            Self::Upstream(upstream) => upstream.name(),
            Self::Release(release) => release.name(),
            Self::Certificate(certificate) => certificate.name(),
            Self::AcmeAccount(account) => account.name(),
            Self::RouteTemplate(template) => template.name(),
            Self::UpstreamTemplate(template) => template.name(),
        }
    }

    /// Whether both are the very same object, not merely equal ones.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listener(one), Self::Listener(other)) => Arc::ptr_eq(one, other),
            (Self::Route(one), Self::Route(other)) => Arc::ptr_eq(one, other),
            (Self::Upstream(one), Self::Upstream(other)) => Arc::ptr_eq(one, other),
            (Self::Release(one), Self::Release(other)) => Arc::ptr_eq(one, other),
            (Self::Certificate(one), Self::Certificate(other)) => Arc::ptr_eq(one, other),
            (Self::AcmeAccount(one), Self::AcmeAccount(other)) => Arc::ptr_eq(one, other),
            (Self::RouteTemplate(one), Self::RouteTemplate(other)) => Arc::ptr_eq(one, other),
            (Self::UpstreamTemplate(one), Self::UpstreamTemplate(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A reference that leads nowhere, or to what does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The kind of the object that refers.
    pub from: Kind,
    /// Its name.
    pub from_name: Name,
    /// The field that refers, for example `split[1].upstream`.
    pub field: String,
    /// The kind that is missing.
    pub to: Kind,
    /// The name that is missing.
    pub to_name: Name,
    /// What is wrong with it.
    pub lack: Lack,
}

/// Why a reference is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is no such object.
    Missing,
    /// It is a template, and the one that refers is not.
    Template,
    /// It is no template, and the one that refers is.
    NoTemplate,
    /// Both are templates, of other captures: its own, and those of the one that refers.
    Captures(Box<str>, Box<str>),
}

impl Dangling {
    /// The reference as a problem of the object that refers.
    pub fn error(&self) -> RuleError {
        let (kind, name) = (self.to.map_name().trim_end_matches('s'), &self.to_name);
        let reason = match &self.lack {
            Lack::Missing => format!("there is no {kind} `{name}`"),
            Lack::Template => {
                format!("{kind} `{name}` is a template: only a route whose hosts have its captures can name it")
            }
            Lack::NoTemplate => {
                format!("{kind} `{name}` has no captures in its prefix, and the hosts of this route have")
            }
            Lack::Captures(its, own) => {
                format!("the prefix of {kind} `{name}` has {its}, and the hosts of this route have {own}")
            }
        };
        RuleError { at: format!("{}.{}.{}", self.from.map_name(), self.from_name, self.field), reason }
    }
}

/// All rules, by name. Cloning is cheap; the maps share structure.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    pub(crate) listeners: OrdMap<Name, Arc<Listener>>,
    pub(crate) routes: OrdMap<Name, Arc<Route>>,
    pub(crate) upstreams: OrdMap<Name, Arc<Upstream>>,
    pub(crate) releases: OrdMap<Name, Arc<Release>>,
    certificates: OrdMap<Name, Arc<Certificate>>,
    acme_accounts: OrdMap<Name, Arc<AcmeAccount>>,
    /// Names are unique among routes and their templates, and among upstreams and theirs.
    route_templates: OrdMap<Name, Arc<RouteTemplate>>,
    upstream_templates: OrdMap<Name, Arc<UpstreamTemplate>>,
    uses: Uses,
}

impl RuleSet {
    /// Validates a whole spec: the objects that are right, and everything that is wrong with the others,
    /// dangling references included.
    pub fn from_spec(spec: &Spec) -> (Self, Vec<RuleError>) {
        let mut problems = Vec::new();
        let mut set = Self::default();
        for (name, spec) in &spec.listeners {
            set.insert_some(Listener::new(name, spec, &mut problems).map(|listener| Object::Listener(listener.into())));
        }
        for (name, spec) in &spec.routes {
            set.insert_some(Object::route(name, spec, &mut problems));
        }
        for (name, spec) in &spec.upstreams {
            set.insert_some(Object::upstream(name, spec, &mut problems));
        }
        for (name, spec) in &spec.releases {
            set.insert_some(Release::new(name, spec, &mut problems).map(|release| Object::Release(release.into())));
        }
        for (name, spec) in &spec.certificates {
            let certificate = Certificate::new(name, spec, &mut problems);
            set.insert_some(certificate.map(|certificate| Object::Certificate(certificate.into())));
        }
        for (name, spec) in &spec.acme_accounts {
            let account = AcmeAccount::new(name, spec, &mut problems);
            set.insert_some(account.map(|account| Object::AcmeAccount(account.into())));
        }
        problems.extend(set.dangling().iter().map(Dangling::error));
        (set, problems)
    }

    fn insert_some(&mut self, object: Option<Object>) {
        object.into_iter().for_each(|object| self.insert(object));
    }

    /// Puts an object in, in the place of one with the same kind and name.
    pub fn insert(&mut self, object: Object) {
        let (new, name) = (object.clone(), object.name().clone());
        let old = match object {
            Object::Listener(listener) => self.listeners.insert(name, listener).map(Object::Listener),
            Object::Route(route) => {
                let old = self.routes.insert(name.clone(), route).map(Object::Route);
                old.or_else(|| self.route_templates.remove(&name).map(Object::RouteTemplate))
            }
            Object::Upstream(upstream) => {
                let old = self.upstreams.insert(name.clone(), upstream).map(Object::Upstream);
                old.or_else(|| self.upstream_templates.remove(&name).map(Object::UpstreamTemplate))
            }
            Object::Release(release) => self.releases.insert(name, release).map(Object::Release),
            Object::Certificate(certificate) => self.certificates.insert(name, certificate).map(Object::Certificate),
            Object::AcmeAccount(account) => self.acme_accounts.insert(name, account).map(Object::AcmeAccount),
            Object::RouteTemplate(template) => {
                let old = self.route_templates.insert(name.clone(), template).map(Object::RouteTemplate);
                old.or_else(|| self.routes.remove(&name).map(Object::Route))
            }
            Object::UpstreamTemplate(template) => {
                let old = self.upstream_templates.insert(name.clone(), template).map(Object::UpstreamTemplate);
                old.or_else(|| self.upstreams.remove(&name).map(Object::Upstream))
            }
        };
        self.uses.change(old.as_ref(), Some(&new));
    }

    /// Puts an object in, and from another set whatever it names that is not here, and what that names.
    pub fn insert_with(&mut self, object: Object, others: &Self) {
        let mut missing = uses::uses_of(&object);
        self.insert(object);
        while let Some((kind, name)) = missing.pop() {
            if let Some(object) = self.object(kind, name.as_str()) {
                // What it names may be missing, if it was here from the beginning.
                missing.extend(
                    uses::uses_of(&object)
                        .into_iter()
                        .filter(|(kind, name)| self.object(*kind, name.as_str()).is_none()),
                );
            } else if let Some(object) = others.object(kind, name.as_str()) {
                missing.extend(uses::uses_of(&object));
                self.insert(object);
            }
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, kind: Kind, name: &str) {
        let old = match kind {
            Kind::Listener => self.listeners.remove(name).map(Object::Listener),
            Kind::Route => {
                let old = self.routes.remove(name).map(Object::Route);
                old.or_else(|| self.route_templates.remove(name).map(Object::RouteTemplate))
            }
            Kind::Upstream => {
                let old = self.upstreams.remove(name).map(Object::Upstream);
                old.or_else(|| self.upstream_templates.remove(name).map(Object::UpstreamTemplate))
            }
            Kind::Release => self.releases.remove(name).map(Object::Release),
            Kind::Certificate => self.certificates.remove(name).map(Object::Certificate),
            Kind::AcmeAccount => self.acme_accounts.remove(name).map(Object::AcmeAccount),
        };
        self.uses.change(old.as_ref(), None);
    }

    /// An object, if it is there.
    pub fn object(&self, kind: Kind, name: &str) -> Option<Object> {
        match kind {
            Kind::Listener => self.listeners.get(name).cloned().map(Object::Listener),
            Kind::Route => {
                let route = self.routes.get(name).cloned().map(Object::Route);
                route.or_else(|| self.route_templates.get(name).cloned().map(Object::RouteTemplate))
            }
            Kind::Upstream => {
                let upstream = self.upstreams.get(name).cloned().map(Object::Upstream);
                upstream.or_else(|| self.upstream_templates.get(name).cloned().map(Object::UpstreamTemplate))
            }
            Kind::Release => self.releases.get(name).cloned().map(Object::Release),
            Kind::Certificate => self.certificates.get(name).cloned().map(Object::Certificate),
            Kind::AcmeAccount => self.acme_accounts.get(name).cloned().map(Object::AcmeAccount),
        }
    }

    /// Every reference to an object that is not in the set, or does not fit.
    pub fn dangling(&self) -> Vec<Dangling> {
        let routes = self.routes.values().flat_map(|route| self.references_of_route(route));
        let upstreams = self.upstreams.values().flat_map(|upstream| self.references_of_upstream(upstream));
        let releases = self.releases.values().flat_map(|release| self.references_of_release(release));
        let listeners = self.listeners.values().flat_map(|listener| references_of_listener(listener));
        let route_templates = self.route_templates.values().flat_map(|route| self.references_of_route(route.example()));
        let upstream_templates =
            self.upstream_templates.values().flat_map(|upstream| self.references_of_upstream(upstream.example()));
        let references = routes.chain(upstreams).chain(releases).chain(route_templates).chain(upstream_templates);
        let certificates = self.certificates.values().flat_map(|certificate| references_of_certificate(certificate));
        let references = references.chain(listeners).chain(certificates);
        references.filter_map(|reference| self.lacking(reference)).collect()
    }

    /// The references of one object that lead nowhere; none if the object is not in the set.
    pub fn dangling_of(&self, kind: Kind, name: &str) -> Vec<Dangling> {
        let references: Vec<Dangling> = match self.object(kind, name) {
            None | Some(Object::AcmeAccount(_)) => Vec::new(),
            Some(Object::Certificate(certificate)) => references_of_certificate(&certificate).collect(),
            Some(Object::Listener(listener)) => references_of_listener(&listener).collect(),
            Some(Object::Route(route)) => self.references_of_route(&route).collect(),
            Some(Object::Upstream(upstream)) => self.references_of_upstream(&upstream).collect(),
            Some(Object::Release(release)) => self.references_of_release(&release).collect(),
            Some(Object::RouteTemplate(template)) => self.references_of_route(template.example()).collect(),
            Some(Object::UpstreamTemplate(template)) => self.references_of_upstream(template.example()).collect(),
        };
        references.into_iter().filter_map(|reference| self.lacking(reference)).collect()
    }

    /// A reference with what is wrong with it, if anything is.
    fn lacking(&self, reference: Dangling) -> Option<Dangling> {
        let (to, field) = (&reference.to_name, reference.field.as_str());
        let by = match (reference.from, field) {
            (Kind::Route, "upstream") => self.route_templates.get(&reference.from_name),
            _ => None,
        };
        let template = match reference.to {
            Kind::Upstream => self.upstream_templates.get(to),
            _ => None,
        };
        let lack = match (by, template) {
            (Some(by), Some(template)) => {
                let its: BTreeSet<Arc<str>> = template.prefix().captures().cloned().collect();
                if its == *by.captures() {
                    return None;
                }
                Lack::Captures(template::names(&its).into(), template::names(by.captures()).into())
            }
            (None, Some(_)) => Lack::Template,
            (_, None) if !self.contains(reference.to, to) => Lack::Missing,
            (Some(_), None) => Lack::NoTemplate,
            (None, None) => return None,
        };
        Some(Dangling { lack, ..reference })
    }

    /// The objects that name this one, whether or not it is there.
    pub fn users(&self, kind: Kind, name: &Name) -> impl Iterator<Item = &Id> {
        self.uses.users(kind, name)
    }

    /// The names of upstreams that another set has in another version, or has not, or has besides.
    pub fn changed_upstreams<'s>(&'s self, next: &'s Self) -> impl Iterator<Item = &'s Name> {
        changed(&self.upstreams, &next.upstreams)
    }

    /// The same for routes.
    pub fn changed_routes<'s>(&'s self, next: &'s Self) -> impl Iterator<Item = &'s Name> {
        changed(&self.routes, &next.routes)
    }

    /// The same for releases.
    pub fn changed_releases<'s>(&'s self, next: &'s Self) -> impl Iterator<Item = &'s Name> {
        changed(&self.releases, &next.releases)
    }

    fn contains(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Listener => self.listeners.contains_key(name),
            Kind::Route => self.routes.contains_key(name),
            Kind::Upstream => self.upstreams.contains_key(name),
            Kind::Release => self.releases.contains_key(name),
            Kind::Certificate => self.certificates.contains_key(name),
            Kind::AcmeAccount => self.acme_accounts.contains_key(name),
        }
    }

    fn references_of_route<'r>(&self, route: &'r Route) -> impl Iterator<Item = Dangling> + use<'r> {
        let from = |at: String, to, name: &Name| Dangling {
            from: Kind::Route,
            from_name: route.name().clone(),
            field: at,
            to,
            to_name: name.clone(),
            lack: Lack::Missing,
        };
        let (single, parts) = match route.target() {
            Target::Upstream(name) => (Some(name), &[][..]),
            Target::Split(parts) => (None, &**parts),
            Target::Redirect(_) => (None, &[][..]),
        };
        let single = single.into_iter().map(move |name| from("upstream".into(), Kind::Upstream, name));
        let parts = parts.iter().enumerate();
        let split =
            parts.map(move |(index, part)| from(format!("split[{index}].upstream"), Kind::Upstream, &part.upstream));
        let mirror = route.mirror().map(|mirror| from("mirror.upstream".into(), Kind::Upstream, &mirror.upstream));
        let auth = route.forward_auth().map(|auth| from(auth.field(), Kind::Upstream, auth.upstream()));
        let one = route.releases().len() == 1;
        let releases = route.releases().iter().enumerate();
        let releases = releases.map(move |(index, name)| {
            from(if one { "release".into() } else { format!("release[{index}]") }, Kind::Release, name)
        });
        let listeners = route.listeners().iter().enumerate();
        let listeners = listeners.map(move |(index, name)| from(format!("listeners[{index}]"), Kind::Listener, name));
        single.chain(split).chain(mirror).chain(auth).chain(releases).chain(listeners)
    }

    fn references_of_upstream<'r>(&self, upstream: &'r Upstream) -> impl Iterator<Item = Dangling> + use<'r> {
        upstream.fallback().into_iter().map(|fallback| Dangling {
            from: Kind::Upstream,
            from_name: upstream.name().clone(),
            field: "group_breaker.fallback".into(),
            to: Kind::Upstream,
            to_name: fallback.clone(),
            lack: Lack::Missing,
        })
    }

    fn references_of_release<'r>(&self, release: &'r Release) -> impl Iterator<Item = Dangling> + use<'r> {
        let upstreams = [("stable", release.stable()), ("canary", release.canary())];
        upstreams.into_iter().map(move |(field, upstream)| Dangling {
            from: Kind::Release,
            from_name: release.name().clone(),
            field: field.into(),
            to: Kind::Upstream,
            to_name: upstream.clone(),
            lack: Lack::Missing,
        })
    }

    /// The listener of this name.
    pub fn listener(&self, name: &Name) -> Option<&Arc<Listener>> {
        self.listeners.get(name)
    }

    /// The listeners, by name.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    /// The routes, by name.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// The upstreams, by name.
    pub fn upstreams(&self) -> impl ExactSizeIterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The releases, by name.
    pub fn releases(&self) -> impl ExactSizeIterator<Item = &Arc<Release>> {
        self.releases.values()
    }

    /// The certificates, by name.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &Arc<Certificate>> {
        self.certificates.values()
    }

    /// A certificate by name.
    pub fn certificate(&self, name: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(name)
    }

    /// An account at an authority, by name.
    pub fn acme_account(&self, name: &Name) -> Option<&Arc<AcmeAccount>> {
        self.acme_accounts.get(name)
    }

    /// The accounts at authorities, by name.
    pub fn acme_accounts(&self) -> impl ExactSizeIterator<Item = &Arc<AcmeAccount>> {
        self.acme_accounts.values()
    }

    /// Whether another set has the very same listeners and certificates, and speaks the same TLS with endpoints.
    pub fn has_same_tls(&self, other: &Self) -> bool {
        let (mut listeners, mut certificates) =
            (changed(&self.listeners, &other.listeners), changed(&self.certificates, &other.certificates));
        let tls = |set: &Self, name: &Name| set.upstreams.get(name).and_then(|upstream| upstream.tls().cloned());
        let mut upstreams = changed(&self.upstreams, &other.upstreams);
        listeners.next().is_none()
            && certificates.next().is_none()
            && upstreams.all(|name| tls(self, name) == tls(other, name))
    }

    /// The templates of routes, by name.
    pub fn route_templates(&self) -> impl ExactSizeIterator<Item = &Arc<RouteTemplate>> {
        self.route_templates.values()
    }

    /// The templates of upstreams, by name.
    pub fn upstream_templates(&self) -> impl ExactSizeIterator<Item = &Arc<UpstreamTemplate>> {
        self.upstream_templates.values()
    }

    /// The templates of upstreams, by name, each with those of its routes.
    pub fn template_sets(&self) -> impl Iterator<Item = TemplateSet> {
        self.upstream_templates.values().map(|upstream| TemplateSet {
            upstream: Arc::clone(upstream),
            routes: self.routes_of_template(upstream.name()).cloned().collect(),
        })
    }

    /// The templates of routes to a template of upstreams, by name.
    pub fn routes_of_template(&self, upstream: &Name) -> impl Iterator<Item = &Arc<RouteTemplate>> {
        let users = self.users(Kind::Upstream, upstream);
        let templates =
            users.filter_map(|(kind, name)| self.route_templates.get(name).filter(|_| *kind == Kind::Route));
        templates.filter(move |template| template.upstream() == upstream)
    }

    /// One upstream.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }
}

fn references_of_listener(listener: &Listener) -> impl Iterator<Item = Dangling> + use<> {
    let default = listener.tls().and_then(ListenerTls::default_certificate).cloned();
    let from = listener.name().clone();
    default.into_iter().map(move |name| Dangling {
        from: Kind::Listener,
        from_name: from.clone(),
        field: "tls.default_certificate".into(),
        to: Kind::Certificate,
        to_name: name,
        lack: Lack::Missing,
    })
}

fn references_of_certificate(certificate: &Certificate) -> impl Iterator<Item = Dangling> + use<> {
    let account = certificate.order().map(|order| order.account.clone());
    let from = certificate.name().clone();
    account.into_iter().map(move |name| Dangling {
        from: Kind::Certificate,
        from_name: from.clone(),
        field: "acme.account".into(),
        to: Kind::AcmeAccount,
        to_name: name,
        lack: Lack::Missing,
    })
}

fn changed<'s, T: PartialEq>(
    before: &'s OrdMap<Name, Arc<T>>,
    next: &'s OrdMap<Name, Arc<T>>,
) -> impl Iterator<Item = &'s Name> {
    before.diff(next).map(|item| match item {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
    })
}
