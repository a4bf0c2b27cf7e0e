//! From rules to a snapshot, carrying over what did not change and what endpoints have learned.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imbl::Vector;
use routing_rules::balance::Schedule;
use routing_rules::release::ReleaseContext;
use routing_rules::request::GeoDatabase;
use routing_rules::rules::{self, AddressSet, Name, RuleSet};
use tokio::time::Instant;

use super::traffic::TrafficMemory;
use crate::snapshot::{Endpoint, Member, Snapshot, Upstream};

/// Builds snapshots one after another.
pub struct Assembler {
    workers: usize,
    context: ReleaseContext,
    trusted_proxies: Arc<AddressSet>,
    geo: Option<Arc<dyn GeoDatabase>>,
    endpoints: HashMap<(Name, SocketAddr), Known>,
    traffic: TrafficMemory,
    built_from: Vector<Option<Arc<rules::Upstream>>>,
}

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
        Self {
            workers,
            context,
            trusted_proxies: Arc::new(trusted_proxies),
            geo,
            endpoints: HashMap::new(),
            traffic: TrafficMemory::new(workers),
            built_from: Vector::new(),
        }
    }

    /// Believes the forwarding headers of these peers from the next snapshot on.
    pub fn trust(&mut self, proxies: AddressSet) {
        self.trusted_proxies = Arc::new(proxies);
    }

    /// The snapshot that follows `before` when the rules become these.
    pub fn next(&mut self, before: &Snapshot, rules: &RuleSet) -> Snapshot {
        let table = before.table.update(rules, &self.context);
        let mut upstreams = before.upstreams.clone();
        let slots = table.upstream_slots();
        while upstreams.len() < slots {
            upstreams.push_back(None);
            self.built_from.push_back(None);
        }
        let mut present = vec![false; slots];
        for (id, rules) in table.upstreams() {
            present[id.index()] = true;
            let same = self.built_from[id.index()].as_ref().is_some_and(|built| Arc::ptr_eq(built, rules));
            if !same {
                upstreams[id.index()] = Some(Arc::new(self.upstream(rules)));
                self.built_from[id.index()] = Some(Arc::clone(rules));
            }
        }
        for (index, _) in present.iter().enumerate().filter(|(_, present)| !**present) {
            if self.built_from[index].is_some() {
                upstreams[index] = None;
                self.built_from[index] = None;
            }
        }
        self.forget_old_endpoints(&upstreams);
        Snapshot {
            generation: before.generation + 1,
            traffic: self.traffic.next(&before.traffic, &table),
            table,
            upstreams,
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            geo: self.geo.clone(),
        }
    }

    fn upstream(&mut self, rules: &rules::Upstream) -> Upstream {
        let endpoints: Box<[Member]> = rules
            .endpoints()
            .iter()
            .map(|endpoint| Member {
                endpoint: self.endpoint(rules.name(), endpoint.address),
                weight: endpoint.weight.get(),
            })
            .collect();
        let weights: Vec<f64> = endpoints.iter().map(|member| f64::from(member.weight)).collect();
        Upstream { name: rules.name().clone(), endpoints, schedule: Arc::new(Schedule::new(&weights)) }
    }

    fn endpoint(&mut self, upstream: &Name, address: SocketAddr) -> Arc<Endpoint> {
        let known = self.endpoints.entry((upstream.clone(), address)).or_insert_with(|| Known {
            endpoint: Arc::new(Endpoint::new(upstream.clone(), address, self.workers)),
            unused_since: None,
        });
        known.unused_since = None;
        Arc::clone(&known.endpoint)
    }

    /// An endpoint that comes back within a minute is still the same.
    fn forget_old_endpoints(&mut self, upstreams: &Vector<Option<Arc<Upstream>>>) {
        let used: usize = upstreams.iter().flatten().map(|upstream| upstream.endpoints.len()).sum();
        if used == self.endpoints.len() {
            return;
        }
        let in_use: std::collections::HashSet<*const Endpoint> = upstreams
            .iter()
            .flatten()
            .flat_map(|upstream| upstream.endpoints.iter().map(|member| Arc::as_ptr(&member.endpoint)))
            .collect();
        let now = Instant::now();
        self.endpoints.retain(|_, known| {
            if in_use.contains(&Arc::as_ptr(&known.endpoint)) {
                return true;
            }
            now.duration_since(*known.unused_since.get_or_insert(now)) < REMEMBER
        });
    }
}

/// How long an endpoint is remembered after it has gone.
const REMEMBER: Duration = Duration::from_secs(60);
