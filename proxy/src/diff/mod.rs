//! What changes for requests and users when one set of files takes the place of another.
//!
//! Rules are compared as written, field by field; shares are compared as buckets, so that who enters or leaves a canary
//! is exact and not an estimate. [`replay`] runs recorded requests through the decisions of both sides.
//!
//! What it does not do: look at a running Serin. Releases stand where files put them, in their first phase.
//! Invariant: whatever could give some request another route, upstream, endpoint or group makes [`Diff::moves`] true.

mod version;

mod fields;

mod releases;

mod hooks;

mod handovers;

mod text;

pub mod replay;

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::spec::{RouteSpec, Spec, UpstreamSpec};
use serde::Serialize;
use serde_json::Value;

pub use fields::FieldChange;
pub use handovers::{Extent, Handover};
pub use hooks::{HookChange, HookMove};
pub use releases::{BucketRange, Redraw, ReleaseChange, RuleChange, Transition};
pub use version::Version;

/// What differs between two versions of the rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Whether some request gets another route, upstream, endpoint or group, or might.
    pub moves: bool,
    /// Process settings, by field.
    pub settings: Vec<FieldChange>,
    /// Listeners that differ, by name.
    pub listeners: Vec<ObjectChange>,
    /// Certificates.
    pub certificates: Vec<ObjectChange>,
    /// Accounts at authorities that sign certificates.
    pub acme_accounts: Vec<ObjectChange>,
    /// Routes that differ, by name.
    pub routes: Vec<RouteChange>,
    /// Requests that another route serves, or none, or one for the first time.
    pub handovers: Vec<Handover>,
    /// Upstreams that differ, by name.
    pub upstreams: Vec<UpstreamChange>,
    /// Releases that differ, by name.
    pub releases: Vec<ReleaseChange>,
    /// What recorded requests say, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<replay::Replay>,
}

/// What happened to something that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the new side has it.
    Added,
    /// Only the old side has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

/// A listener that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
    /// Whether it moves requests.
    pub moves: bool,
    /// What differs, if both sides have it.
    pub fields: Vec<FieldChange>,
}

/// A route that differs. Which requests it takes from others or leaves to them is in [`Diff::handovers`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
    /// Whether it moves requests.
    pub moves: bool,
    /// What differs, if both sides have it.
    pub fields: Vec<FieldChange>,
    /// Releases that only one side's route uses, and whom that moves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<HookChange>,
}

/// An upstream that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: Change,
    /// Whether it moves requests.
    pub moves: bool,
    /// What differs besides the endpoints.
    pub fields: Vec<FieldChange>,
    /// Endpoints that differ, by address.
    pub endpoints: Vec<EndpointChange>,
}

/// An endpoint that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointChange {
    /// Its address.
    pub address: String,
    /// What happened to it.
    pub change: Change,
    /// Its configured weight before.
    pub old_weight: Option<u32>,
    /// Its configured weight after.
    pub new_weight: Option<u32>,
    /// Its share of the upstream's configured weight before, in percent.
    pub old_percent: f64,
    /// Its share of the upstream's configured weight after, in percent.
    pub new_percent: f64,
}

/// Compares two versions.
pub fn compare(old: &Version, new: &Version) -> Diff {
    let mut settings = fields::compare(old.settings(), new.settings());
    for field in &mut settings {
        field.moves = SETTINGS_THAT_MOVE.contains(&field.root());
    }
    let listeners = listeners(old.spec(), new.spec());
    let certificates = certificates(old.spec(), new.spec());
    let acme_accounts = acme_accounts(old.spec(), new.spec());
    let routes = routes(old, new);
    let handovers = handovers::compare(old, new);
    let upstreams = upstreams(old.spec(), new.spec());
    let releases = releases::compare(old, new);
    let moves = settings.iter().any(|field| field.moves)
        || listeners.iter().any(|listener| listener.moves)
        || certificates.iter().any(|certificate| certificate.moves)
        || routes.iter().any(|route| route.moves)
        || upstreams.iter().any(|upstream| upstream.moves)
        || releases.iter().any(|release| release.moves);
    Diff {
        moves,
        settings,
        listeners,
        certificates,
        acme_accounts,
        routes,
        handovers,
        upstreams,
        releases,
        sample: None,
    }
}

impl Diff {
    /// Adds what recorded requests say.
    #[must_use]
    pub fn with_sample(self, sample: replay::Replay) -> Self {
        Self { moves: self.moves || sample.moved > 0, sample: Some(sample), ..self }
    }

    /// Whether both sides say the same.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
            && self.listeners.is_empty()
            && self.certificates.is_empty()
            && self.acme_accounts.is_empty()
            && self.routes.is_empty()
            && self.upstreams.is_empty()
            && self.releases.is_empty()
    }
}

/// A new listener is a new way in and moves nobody; another address or none cuts an existing way off.
fn listeners(old: &Spec, new: &Spec) -> Vec<ObjectChange> {
    changed_objects(&old.listeners, &new.listeners)
        .map(|(name, change, fields)| ObjectChange { name, change, moves: change != Change::Added, fields })
        .collect()
}

/// Clients of a certificate that goes cannot come any more. What is in one is not for a terminal, least of all a key.
fn certificates(old: &Spec, new: &Spec) -> Vec<ObjectChange> {
    changed_objects(&old.certificates, &new.certificates)
        .map(|(name, change, mut fields)| {
            hide(&mut fields, &["cert", "key"]);
            ObjectChange { name, change, moves: change == Change::Removed, fields }
        })
        .collect()
}

/// Where certificates are ordered moves nobody.
fn acme_accounts(old: &Spec, new: &Spec) -> Vec<ObjectChange> {
    changed_objects(&old.acme_accounts, &new.acme_accounts)
        .map(|(name, change, mut fields)| {
            hide(&mut fields, &["ca", "external_account"]);
            ObjectChange { name, change, moves: false, fields }
        })
        .collect()
}

/// Says that fields are other ones, and not what is in them.
fn hide(fields: &mut [FieldChange], hidden: &[&str]) {
    let is_within =
        |path: &str, whole: &str| path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    for field in fields.iter_mut().filter(|field| hidden.iter().any(|whole| is_within(&field.field, whole))) {
        for value in [&mut field.old, &mut field.new].into_iter().filter(|value| !value.is_null()) {
            *value = "(not shown)".into();
        }
    }
}

/// A new route may take requests from others, a removed one leaves them to others.
fn routes(old: &Version, new: &Version) -> Vec<RouteChange> {
    let redirects = |version: &Version, name: &str| version.spec().routes.get(name).is_some_and(is_redirect);
    changed_objects(&old.spec().routes, &new.spec().routes)
        .map(|(name, change, mut fields)| {
            let redirects = redirects(old, &name) || redirects(new, &name);
            for field in &mut fields {
                field.moves = ROUTE_FIELDS_THAT_MOVE.contains(&field.root()) || redirects && field.root() == "filters";
            }
            let moves = change != Change::Changed || fields.iter().any(|field| field.moves);
            let releases = hooks::compare(old, new, &name);
            RouteChange { name, change, moves, fields, releases }
        })
        .collect()
}

fn is_redirect(route: &RouteSpec) -> bool {
    route.filters.iter().any(|filter| matches!(filter, routing_rules::spec::FilterSpec::Redirect(_)))
}

/// A new or removed upstream moves nobody by itself: what refers to it has changed too, and says so.
fn upstreams(old: &Spec, new: &Spec) -> Vec<UpstreamChange> {
    let in_use = &upstreams_in_use(old) | &upstreams_in_use(new);
    changed_objects(&old.upstreams, &new.upstreams)
        .map(|(name, change, mut fields)| {
            fields.retain(|field| field.root() != "endpoints");
            hide(&mut fields, &["tls.ca", "tls.cert", "tls.key"]);
            for field in &mut fields {
                field.moves = UPSTREAM_FIELDS_THAT_MOVE.contains(&field.root());
            }
            let sides = old.upstreams.get(&name).zip(new.upstreams.get(&name));
            let endpoints = sides.map(|(old, new)| endpoints(old, new)).unwrap_or_default();
            let differs = !endpoints.is_empty() || fields.iter().any(|field| field.moves);
            let moves = differs && in_use.contains(name.as_str());
            UpstreamChange { name, change, moves, fields, endpoints }
        })
        .collect()
}

fn upstreams_in_use(spec: &Spec) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for route in spec.routes.values() {
        names.extend(route.upstream.as_deref());
        names.extend(route.split.iter().map(|part| part.upstream.as_str()));
        for release in route.release.iter().filter_map(|name| spec.releases.get(name)) {
            names.extend([release.stable.as_str(), release.canary.as_str()]);
        }
    }
    names
}

fn endpoints(old: &UpstreamSpec, new: &UpstreamSpec) -> Vec<EndpointChange> {
    let weights = |spec: &UpstreamSpec| -> BTreeMap<String, u32> {
        spec.endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.weight)).collect()
    };
    let (old, new) = (weights(old), weights(new));
    let percent = |weights: &BTreeMap<String, u32>, address: &str| {
        let total: f64 = weights.values().map(|weight| f64::from(*weight)).sum();
        let weight = weights.get(address).copied().map_or(0.0, f64::from);
        if total > 0.0 { 100.0 * weight / total } else { 0.0 }
    };
    let addresses: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = addresses.into_iter().filter_map(|address| {
        let (old_weight, new_weight) = (old.get(address).copied(), new.get(address).copied());
        Some(EndpointChange {
            address: address.clone(),
            change: change(old_weight.as_ref(), new_weight.as_ref())?,
            old_weight,
            new_weight,
            old_percent: percent(&old, address),
            new_percent: percent(&new, address),
        })
    });
    changes.collect()
}

/// What differs between two maps of objects, by name. Fields are given only for what both have.
fn changed_objects<'s, S: Serialize + PartialEq>(
    old: &'s BTreeMap<String, S>,
    new: &'s BTreeMap<String, S>,
) -> impl Iterator<Item = (String, Change, Vec<FieldChange>)> + use<'s, S> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter_map(|name| {
        let (old, new) = (old.get(name), new.get(name));
        let change = change(old, new)?;
        let fields = old.zip(new).map(|(old, new)| fields::compare(&value(old), &value(new))).unwrap_or_default();
        Some((name.clone(), change, fields))
    })
}

fn change<T: PartialEq>(old: Option<&T>, new: Option<&T>) -> Option<Change> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(old), Some(new)) => (old != new).then_some(Change::Changed),
    }
}

/// What was decoded from text can be written as text.
fn value(spec: &impl Serialize) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// They say who the client is.
const SETTINGS_THAT_MOVE: [&str; 2] = ["trusted_proxies", "geo"];

/// They say which requests a route takes and where it sends them; the others say what happens on the way.
const ROUTE_FIELDS_THAT_MOVE: [&str; 12] = [
    "hosts",
    "captures",
    "paths",
    "methods",
    "headers",
    "query",
    "client_ip",
    "listeners",
    "upstream",
    "split",
    "release",
    "encoded_slashes",
];

/// They say which endpoints there are and how requests are divided over them.
const UPSTREAM_FIELDS_THAT_MOVE: [&str; 2] = ["balance", "discovery"];
