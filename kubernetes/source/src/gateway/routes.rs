//! HTTPRoutes and GRPCRoutes: where each belongs, what rules it amounts to, and what it is told.

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::spec::RouteSpec;
use serde_json::{Value, json};

use super::Work;
use super::attach::{Asking, Parent, parent};
use super::backends::{Backends, Referrer};
use super::gateways::Gateways;
use super::hosts::pattern;
use super::kinds::{self, Route};
use super::listeners::listener_name;
use super::matches::Match;
use super::rule;
use crate::ObjectName;
use crate::conditions::{Condition, Refusal, written};
use crate::kind::Kind;

/// Hosts, none for all, and the listeners of Serin by which each comes.
type Hosts = BTreeMap<Option<String>, BTreeSet<String>>;

/// The rules of a route that are right, by their place in it, and what is wrong with the others.
struct Rules {
    right: Vec<(usize, Vec<RouteSpec>)>,
    wrong: Vec<Refusal>,
}

impl<'o> Work<'o> {
    /// All routes of a kind, the oldest first: who came first keeps what later ones also want.
    pub(super) fn routes<M: Match>(&mut self, gateways: &mut Gateways<'o>)
    where
        kinds::RouteSpec<M>: Kind,
    {
        let mut routes: Vec<_> = M::routes(self.objects).iter().collect();
        let second = |route: &Route<M>| {
            let created = route.metadata.creation_timestamp.as_ref();
            created.map_or(0, |created| u64::try_from(created.0.as_second()).unwrap_or_default())
        };
        routes.sort_by_key(|(name, route)| (second(route), *name));
        let mut order = 0;
        for (name, route) in routes {
            // Its age; of those of one second, the place among them. So nobody else's place changes when one comes or goes.
            order = (second(route) * PER_SECOND).max(order + 1);
            self.route(gateways, order, name, route);
        }
    }

    fn route<M: Match>(&mut self, gateways: &mut Gateways<'o>, order: u64, name: &'o ObjectName, route: &'o Route<M>)
    where
        kinds::RouteSpec<M>: Kind,
    {
        let kind = kinds::RouteSpec::<M>::KIND;
        let asking = Asking { kind, namespace: &name.namespace, hostnames: &route.spec.hostnames };
        let parents = route.spec.parent_refs.iter();
        let parents: Vec<_> =
            parents.filter_map(|reference| parent(self.objects, gateways, &asking, reference)).collect();
        let prefix = format!("{}.{}.{}", M::PREFIX, name.namespace, name.name);
        let mut backends = Backends::default();
        let rules = if parents.is_empty() {
            Rules { right: Vec::new(), wrong: Vec::new() }
        } else {
            let from = Referrer { kind, namespace: &name.namespace, prefix: &prefix, is_grpc: M::IS_GRPC };
            self.rules(from, route, &mut backends)
        };
        let is_accepted = !rules.right.is_empty() || rules.wrong.is_empty();
        if is_accepted {
            let hosts = attach(gateways, &parents);
            self.emit(&format!("{kind} {name}"), &prefix, order, &hosts, &rules);
            self.count_policies(&parents, &backends);
            // Whom nobody sends anything to needs no endpoints.
            let upstreams = if hosts.is_empty() { BTreeMap::new() } else { backends.upstreams };
            for ((document, upstream), spec) in upstreams {
                self.drafts.of(document).upstreams.insert(upstream, spec);
            }
        }
        self.tell_route(name, route, &parents, &rules, backends.unresolved.as_ref());
    }

    fn rules<M: Match>(&self, from: Referrer<'_>, route: &Route<M>, backends: &mut Backends) -> Rules
    where
        kinds::RouteSpec<M>: Kind,
    {
        let mut rules = Rules { right: Vec::new(), wrong: Vec::new() };
        for (index, rule) in route.spec.rules.iter().enumerate() {
            match rule::routes(self.objects, from, rule, backends) {
                Ok(routes) => rules.right.push((index, routes)),
                Err(refusal) => rules.wrong.push(refusal.at(&format!("spec.rules[{index}]"))),
            }
        }
        rules
    }

    /// Puts down one route for each match and host, without those that an older one has.
    fn emit(&mut self, document: &str, prefix: &str, order: u64, hosts: &Hosts, rules: &Rules) {
        let routes = rules
            .right
            .iter()
            .flat_map(|(rule, routes)| routes.iter().enumerate().map(move |(asked, route)| (*rule, asked, route)));
        for (rule, asked, route) in routes {
            for (index, (host, listeners)) in hosts.iter().enumerate() {
                let hosts: Vec<_> = host.iter().map(|host| pattern(host)).collect();
                let free = |listener: &&String| self.claims.insert(claim(&hosts, listener, route));
                let listeners: Vec<_> = listeners.iter().filter(free).cloned().collect();
                if listeners.is_empty() {
                    continue;
                }
                // Two digits, so that the alphabet has them in their order.
                let called = format!("{prefix}.{rule:02}.{asked:02}.{index}");
                let route = RouteSpec { hosts, listeners, order, ..route.clone() };
                self.drafts.of(document.to_owned()).routes.insert(called, route);
            }
        }
    }

    fn count_policies(&mut self, parents: &[Parent<'o>], backends: &Backends) {
        for policy in &backends.policies {
            let served = parents.iter().filter(|parent| parent.listeners.is_ok()).map(|parent| parent.gateway);
            self.ancestors.entry(policy.clone()).or_default().extend(served);
        }
    }

    /// Tells a route what has become of it at each Gateway that it names. What other controllers told it stays.
    fn tell_route<M: Match>(
        &mut self,
        name: &ObjectName,
        route: &Route<M>,
        parents: &[Parent<'o>],
        rules: &Rules,
        unresolved: Option<&Refusal>,
    ) where
        kinds::RouteSpec<M>: Kind,
    {
        let before = route.status["parents"].as_array().map_or(&[][..], Vec::as_slice);
        let (ours, others): (Vec<_>, Vec<_>) =
            before.iter().partition(|parent| parent["controllerName"] == *self.options.gateway_controller);
        let told = parents.iter().map(|parent| {
            let reference = json!(parent.reference);
            let known = ours.iter().find(|known| known["parentRef"] == reference);
            let known = known.map_or(&Value::Null, |known| &known["conditions"]);
            let conditions = conditions(parent, rules, unresolved);
            json!({
                "parentRef": reference,
                "controllerName": self.options.gateway_controller,
                "conditions": written(&conditions, route.generation(), known, self.now),
            })
        });
        let told: Vec<_> = told.collect();
        if told.iter().collect::<Vec<_>>() != ours {
            let all: Value = others.into_iter().cloned().chain(told).collect();
            self.tell(name, route, json!({"parents": all}));
        }
    }
}

/// Counts a route at its listeners, and says for which hosts it is served by which.
fn attach(gateways: &mut Gateways<'_>, parents: &[Parent<'_>]) -> Hosts {
    let (mut hosts, mut counted) = (Hosts::new(), BTreeSet::new());
    for parent in parents {
        for (index, common) in parent.listeners.iter().flatten() {
            let found = gateways.get_mut(parent.gateway).and_then(|gateway| gateway.listeners.get_mut(*index));
            let Some(listener) = found else { continue };
            if counted.insert((parent.gateway, *index)) {
                listener.attached += 1;
            }
            if listener.unserved().is_none() {
                for host in common {
                    hosts.entry(host.clone()).or_default().insert(listener_name(listener.port));
                }
            }
        }
    }
    hosts
}

/// What makes a request a match, in one text.
fn claim(hosts: &[String], listener: &str, route: &RouteSpec) -> String {
    format!("{hosts:?} {listener} {:?} {:?} {:?} {:?}", route.paths, route.methods, route.headers, route.query)
}

fn conditions(parent: &Parent<'_>, rules: &Rules, unresolved: Option<&Refusal>) -> Vec<Condition> {
    let wrong = rules.wrong.first();
    let refused = parent.listeners.as_ref().err().or(wrong.filter(|_| rules.right.is_empty()));
    let mut conditions = vec![
        Condition::unless("Accepted", refused, "it is served"),
        Condition::unless("ResolvedRefs", unresolved, "all that it names can be used"),
    ];
    if let (None, Some(Refusal { reason, message })) = (refused, wrong) {
        let message = format!("Dropped Rule: {message}");
        conditions.push(Condition { kind: "PartiallyInvalid", holds: true, reason, message });
    }
    conditions
}

/// More than there are routes made in one second, and few enough for seconds of thousands of years.
const PER_SECOND: u64 = 1_000_000;
