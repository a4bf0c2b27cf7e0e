//! From rules to a snapshot, carrying over what did not change and what endpoints have learned.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::ordmap::DiffItem;
use imbl::{HashMap, OrdSet, Vector};
use routing_rules::balance::newcomers_ramp;
use routing_rules::release::ReleaseContext;
use routing_rules::request::GeoDatabase;
use routing_rules::rules::{self, AddressSet, Name, Object, RuleSet};
use routing_rules::table::UpstreamId;
use tokio::time::Instant;

use super::certificates::Transports;
use super::release::Records;
use super::state_dir::StoredEndpoints;
use super::traffic::TrafficMemory;
use super::{breakers, health, limits, weights};
use crate::moment;
use crate::snapshot::{
    Balancer, Discovered, Endpoint, KnownEnvironments, LiveEnvironments, Mark, Member, Snapshot, Transport, Upstream,
    Weighing,
};

/// Builds snapshots one after another. Cheap to clone.
#[derive(Clone)]
pub struct Assembler {
    workers: usize,
    context: ReleaseContext,
    trusted_proxies: Arc<AddressSet>,
    geo: Option<Arc<dyn GeoDatabase>>,
    /// Whether somebody looks endpoints up.
    looks_up: bool,
    /// Endpoints that an earlier process found.
    stored: Arc<StoredEndpoints>,
    endpoints: HashMap<Identity, Known>,
    /// Endpoints that went out of use, the earliest first; some may be in use again.
    unused: Vector<(Instant, Identity)>,
    traffic: TrafficMemory,
    environments: Arc<KnownEnvironments>,
    transports: Transports,
    /// The upstreams whose endpoints are connected to in another way since the last snapshot.
    turned: Vec<Name>,
}

/// An upstream's name and an address.
type Identity = (Name, SocketAddr);

#[derive(Clone)]
struct Known {
    endpoint: Arc<Endpoint>,
    unused_since: Option<Instant>,
}

impl Assembler {
    /// What all snapshots of this process have in common.
    pub fn new(
        workers: usize,
        context: ReleaseContext,
        trusted_proxies: AddressSet,
        geo: Option<Arc<dyn GeoDatabase>>,
    ) -> Self {
        let (endpoints, unused) = (HashMap::new(), Vector::new());
        let traffic = TrafficMemory::new(workers);
        let trusted_proxies = Arc::new(trusted_proxies);
        let stored = Arc::default();
        let environments = Arc::default();
        Self {
            workers,
            context,
            trusted_proxies,
            geo,
            looks_up: true,
            stored,
            endpoints,
            unused,
            traffic,
            environments,
            transports: Transports::new(),
            turned: Vec::new(),
        }
    }

    /// What stands for the secret that signs pins.
    pub fn secret_fingerprint(&self) -> String {
        self.context.secret.fingerprint()
    }

    /// Upstreams of the first rules whose endpoints are looked up begin with these.
    pub fn with_stored(self, stored: StoredEndpoints) -> Self {
        Self { stored: Arc::new(stored), ..self }
    }

    /// Upstreams that come later begin without: what is stored is of the start, and may be old by then.
    pub fn forget_stored(&mut self) {
        self.stored = Arc::default();
    }

    /// The environments of a template that are known; at first those of an earlier process.
    pub fn known_environments(&self, template: &rules::UpstreamTemplate) -> LiveEnvironments {
        self.environments.of_or(template.name(), || self.stored.environments_of(template))
    }

    /// For snapshots of which only questions are asked: upstreams whose endpoints would be looked up are taken to have some.
    pub fn without_lookups(self) -> Self {
        Self { looks_up: false, ..self }
    }

    /// If something was stored of releases that cannot be read, nobody is in the canary group of those of which nothing is known.
    pub fn without_records(mut self, is_lost: bool) -> Self {
        self.context.is_lost = is_lost;
        self
    }

    /// Where releases are from the next snapshot on. Returns whether that is news.
    pub fn set_records(&mut self, records: &Records) -> bool {
        let is_news = self.context.records != *records;
        self.context.records.clone_from(records);
        is_news
    }

    /// Where releases are.
    pub fn records(&self) -> &Records {
        &self.context.records
    }

    /// Connections to endpoints begin so from the next snapshot on. What is to be secured and is not among these has no connections.
    pub fn secure(&mut self, transports: &Transports) {
        let changed = self.transports.diff(transports).map(|item| match item {
            DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name,
            DiffItem::Update { new: (name, _), .. } => name,
        });
        self.turned.extend(changed.cloned());
        self.transports = transports.clone();
    }

    /// Believes the forwarding headers of these peers from the next snapshot on.
    pub fn trust(&mut self, proxies: AddressSet) {
        self.trusted_proxies = Arc::new(proxies);
    }

    /// The snapshot that follows `before` when the rules become these.
    pub fn next(&mut self, before: &Snapshot, rules: &RuleSet) -> Snapshot {
        let table = before.table.update(rules, &self.context);
        let (mut upstreams, mut warm, mut announcing) =
            (before.upstreams.clone(), before.warm.clone(), before.announcing.clone());
        let activity = before.activity.with_room(table.upstream_slots());
        while upstreams.len() < table.upstream_slots() {
            upstreams.push_back(None);
        }
        let changed: Vec<&Name> = before.table.rules().changed_upstreams(rules).collect();
        // A number that becomes free may be another one's already, so what has gone goes first.
        for name in changed.iter().filter(|name| rules.upstream(name.as_str()).is_none()) {
            let Some(id) = before.table.upstream_id(name.as_str()) else { continue };
            self.replace(upstreams.get_mut(id.index()), None);
            warm.remove(&id);
            announcing.remove(&id);
        }
        for rules in changed.iter().filter_map(|name| rules.upstream(name.as_str())) {
            let Some(id) = table.upstream_id(rules.name().as_str()) else { continue };
            let place = upstreams.get_mut(id.index());
            let is_known = place.as_deref().is_some_and(Option::is_some);
            self.replace(place, Some((rules, activity.mark_of(id.index()))));
            put_if(&mut warm, id, rules.connections().warm > 0);
            put_if(&mut announcing, id, rules.announces_clients());
            // Among the endpoints that are known there may be new ones, whose weights rise.
            if is_known {
                activity.mark(id.index());
            }
        }
        for name in std::mem::take(&mut self.turned) {
            let Some(id) = table.upstream_id(name.as_str()) else { continue };
            let Some(place) = upstreams.get_mut(id.index()) else { continue };
            let has_turned =
                |upstream: &&Arc<Upstream>| self.transport(&upstream.rules, Some(upstream)) != upstream.transport;
            let others = place.as_ref().filter(has_turned);
            let Some(rules) = others.map(|upstream| Arc::clone(&upstream.rules)) else { continue };
            self.replace(Some(place), Some((&rules, activity.mark_of(id.index()))));
        }
        self.forget_old_endpoints();
        Snapshot {
            generation: before.generation + 1,
            traffic: self.traffic.next(before, &table),
            route_limits: limits::of_routes(before, &table),
            route_edges: limits::edges(before, &table),
            table,
            upstreams,
            warm,
            announcing,
            activity,
            listeners: Arc::clone(&before.listeners),
            tls: Arc::clone(&before.tls),
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            geo: self.geo.clone(),
            environments: Arc::clone(&self.environments),
        }
    }

    /// The snapshot that follows `before` if upstreams that these rules bring are there already, and nobody is sent to them; with
    /// those of them whose endpoints have to be looked up. Nothing, if there are none of these.
    pub fn ahead(&mut self, before: &Snapshot, rules: &RuleSet) -> Option<(Snapshot, Vec<Arc<Upstream>>)> {
        let known = before.table.rules();
        let changed = known.changed_upstreams(rules).filter_map(|name| rules.upstream(name.as_str()));
        let new: Vec<_> = changed.filter(|new| known.upstream(new.name().as_str()).is_none()).collect();
        if new.iter().all(|new| new.discovery().is_none()) {
            return None;
        }
        let mut both = known.clone();
        new.iter().for_each(|new| both.insert(Object::Upstream(Arc::clone(new))));
        let trusted_proxies = Arc::clone(&before.trusted_proxies);
        let snapshot = Snapshot { generation: before.generation, trusted_proxies, ..self.next(before, &both) };
        let ids = new.iter().filter_map(|new| snapshot.table.upstream_id(new.name().as_str()));
        let upstreams = ids.filter_map(|id| snapshot.upstreams.get(id.index())?.clone());
        let looked_up = upstreams.filter(|upstream| upstream.discovered.is_some()).collect();
        Some((snapshot, looked_up))
    }

    /// The snapshot that follows `before` if other endpoints have been found for some of these upstreams. It looks at them
    /// alone.
    pub fn with_found(&mut self, before: &Snapshot, upstreams_found: &[Name]) -> Option<Snapshot> {
        let mut upstreams = before.upstreams.clone();
        let mut has_changed = false;
        for id in upstreams_found.iter().filter_map(|name| before.table.upstream_id(name.as_str())) {
            let Some(place) = upstreams.get_mut(id.index()) else { continue };
            // One that has gone meanwhile, or is written down now, has nothing to be found.
            let others = place.as_ref().filter(|upstream| has_found_others(upstream));
            let Some(rules) = others.map(|upstream| Arc::clone(&upstream.rules)) else { continue };
            self.replace(Some(place), Some((&rules, before.activity.mark_of(id.index()))));
            before.activity.mark(id.index());
            has_changed = true;
        }
        self.forget_old_endpoints();
        has_changed.then(|| before.with_upstreams(upstreams))
    }

    /// Builds an upstream, and notes the endpoints that its former version had and it has not.
    fn replace(
        &mut self,
        place: Option<&mut Option<Arc<Upstream>>>,
        rules: Option<(&Arc<rules::Upstream>, Option<Mark>)>,
    ) {
        let Some(place) = place else { return };
        let old = place.take();
        let before: Vec<Identity> = old.iter().flat_map(|upstream| &upstream.endpoints).map(identity).collect();
        let now = Instant::now();
        for identity in &before {
            self.endpoints.entry(identity.clone()).and_modify(|known| known.unused_since = Some(now));
        }
        *place = rules.map(|(rules, mark)| Arc::new(self.upstream(rules, mark, old.as_deref())));
        let is_unused = |known: Option<&Known>| known.is_some_and(|known| known.unused_since.is_some());
        let unused = before.into_iter().filter(|identity| is_unused(self.endpoints.get(identity)));
        self.unused.extend(unused.map(|identity| (now, identity)));
    }

    fn upstream(&mut self, rules: &Arc<rules::Upstream>, mark: Option<Mark>, old: Option<&Upstream>) -> Upstream {
        let now_us = moment::now_us();
        let workers = self.workers;
        let mut newcomers = Vec::new();
        let discovered = discovered(rules, old, &self.stored);
        let found = discovered.as_ref().map(|discovered| discovered.endpoints());
        let members = found.as_deref().unwrap_or(rules.endpoints()).iter().map(|endpoint| {
            let (known, is_new) = self.endpoint(rules.name(), endpoint.address);
            newcomers.extend(is_new.then(|| Arc::clone(&known)));
            let results = breakers::results(rules, old, &known, workers);
            Member { endpoint: known, weight: endpoint.weight.get(), results }
        });
        let members: Box<[Member]> = members.collect();
        let is_joined = newcomers_ramp(members.len(), newcomers.len());
        let is_checked = rules.health().is_some();
        newcomers.iter().for_each(|endpoint| health::prepare(endpoint, is_checked, is_joined));
        members.iter().for_each(|member| health::prepare(&member.endpoint, is_checked, false));
        if is_joined {
            newcomers.iter().for_each(|endpoint| weights::start_ramp(endpoint, now_us));
        }
        let balancer = Balancer::new(rules, &members, &self.context.secret);
        if balancer.learning().is_some() && old.is_some_and(|old| old.balancer.learning().is_none()) {
            members.iter().for_each(|member| weights::start_learning(&member.endpoint));
        }
        let transport = self.transport(rules, old);
        if old.is_some_and(|old| old.transport != transport) {
            members.iter().for_each(|member| member.endpoint.forget_handshakes());
        }
        let upstream = Upstream {
            balancer,
            weighing: Weighing::new(&members),
            group: breakers::group(rules, old, workers),
            door: limits::door(rules, old, workers),
            transport,
            endpoints: members,
            is_assumed: !self.looks_up && discovered.is_some(),
            discovered,
            mark,
            rules: Arc::clone(rules),
        };
        weights::publish(&upstream, now_us);
        upstream
    }

    /// How connections to the endpoints of an upstream begin. What is known may be of other rules than these, for a moment.
    fn transport(&self, rules: &rules::Upstream, old: Option<&Upstream>) -> Transport {
        let Some(tls) = rules.tls() else { return Transport::Clear };
        let made = self.transports.get(rules.name()).filter(|(rules, _)| rules == tls);
        let kept = || old.filter(|old| old.rules.tls() == Some(tls)).map(|old| old.transport.clone());
        made.map(|(_, transport)| transport.clone()).or_else(kept).unwrap_or(Transport::Closed)
    }

    /// The endpoint of an identity, and whether it is new.
    fn endpoint(&mut self, upstream: &Name, address: SocketAddr) -> (Arc<Endpoint>, bool) {
        let mut is_new = false;
        let known = self.endpoints.entry((upstream.clone(), address)).or_insert_with(|| {
            is_new = true;
            Known { endpoint: Arc::new(Endpoint::new(upstream.clone(), address, self.workers)), unused_since: None }
        });
        known.unused_since = None;
        (Arc::clone(&known.endpoint), is_new)
    }

    /// An endpoint that comes back within a minute is still the same.
    fn forget_old_endpoints(&mut self) {
        let now = Instant::now();
        while let Some((since, _)) = self.unused.front().filter(|(since, _)| now.duration_since(*since) >= REMEMBER) {
            let since = *since;
            let Some((_, identity)) = self.unused.pop_front() else { return };
            // One that has come back meanwhile is in use, or has gone again later.
            if self.endpoints.get(&identity).is_some_and(|known| known.unused_since == Some(since)) {
                self.endpoints.remove(&identity);
            }
        }
    }
}

/// Has an upstream among some, or not.
fn put_if(set: &mut OrdSet<UpstreamId>, id: UpstreamId, belongs: bool) {
    match belongs {
        true => set.insert(id),
        false => set.remove(&id),
    };
}

/// What is discovered under these rules: what was, if the same is asked. Another question begins with the endpoints that
/// serve, and the first one with those that were stored, so that nobody waits for its answer.
fn discovered(rules: &rules::Upstream, old: Option<&Upstream>, stored: &StoredEndpoints) -> Option<Arc<Discovered>> {
    let discovery = rules.discovery()?;
    let Some(old) = old else {
        let (endpoints, answered_at) = stored.for_upstream(rules.name().as_str(), discovery).unwrap_or_default();
        return Some(Arc::new(Discovered::restored(Arc::clone(discovery), &endpoints, answered_at)));
    };
    let before = old.discovered.as_ref();
    if let Some(same) = before.filter(|before| before.rules() == discovery) {
        return Some(Arc::clone(same));
    }
    let endpoints = before.map(|before| before.endpoints());
    Some(Arc::new(Discovered::new(Arc::clone(discovery), endpoints.as_deref().unwrap_or(old.rules.endpoints()))))
}

/// Whether other endpoints have been found than an upstream has.
fn has_found_others(upstream: &Upstream) -> bool {
    let Some(discovered) = &upstream.discovered else { return false };
    let found = discovered.endpoints();
    let is_same = |(member, endpoint): (&Member, &rules::Endpoint)| {
        (member.endpoint.address(), member.weight) == (endpoint.address, endpoint.weight.get())
    };
    found.len() != upstream.endpoints.len() || !upstream.endpoints.iter().zip(&*found).all(is_same)
}

fn identity(member: &Member) -> Identity {
    (member.endpoint.upstream().clone(), member.endpoint.address())
}

/// How long an endpoint is remembered after it has gone.
const REMEMBER: Duration = Duration::from_secs(60);
