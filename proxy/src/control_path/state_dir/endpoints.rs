//! Endpoints that were found, as they are kept for a start while whoever knows them is away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imbl::Vector;
use routing_rules::rules::{Discovery, Endpoint, Environment, Registry, UpstreamTemplate, Weight};
use serde::{Deserialize, Serialize};

use crate::snapshot::Upstream;

/// By the name of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEndpoints(BTreeMap<Box<str>, Answer>);

/// What was found for one upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    /// The question, in words: it answers no other.
    asks: Box<str>,
    endpoints: Vec<(SocketAddr, u16)>,
    /// When the last good answer came, in seconds since 1970. There is none if the question had changed since.
    answered_at: Option<u64>,
}

impl StoredEndpoints {
    /// What is known of these upstreams.
    pub fn of(upstreams: &Vector<Option<Arc<Upstream>>>) -> Self {
        let all = upstreams.iter().flatten().filter_map(|upstream| {
            let discovered = upstream.discovered.as_ref()?;
            let (asks, state) = (discovered.rules().to_string().into(), discovered.state());
            let endpoints = state.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight.get())).collect();
            let answered_at = state.answered_at().map(seconds);
            Some((upstream.name().as_str().into(), Answer { asks, endpoints, answered_at }))
        });
        Self(all.filter(|(_, answer)| !answer.endpoints.is_empty()).collect())
    }

    /// What was found for an upstream that asks the same, and when it was answered last.
    pub fn for_upstream(&self, name: &str, discovery: &Discovery) -> Option<(Vec<Endpoint>, Option<SystemTime>)> {
        let answer = self.0.get(name).filter(|answer| *answer.asks == discovery.to_string())?;
        let endpoint = |&(address, weight): &(SocketAddr, u16)| {
            Weight::new(weight.into()).ok().map(|weight| Endpoint { address, weight })
        };
        // No clock says what is too far away for a time.
        let answered_at = answer.answered_at.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Some((answer.endpoints.iter().filter_map(endpoint).collect(), answered_at))
    }

    /// The environments of a template that had endpoints.
    pub fn environments_of(&self, template: &UpstreamTemplate) -> Arc<[Environment]> {
        let first: Box<str> = format!("{}.", template.name()).into();
        let named = self.0.range(first.clone()..).take_while(|(name, _)| name.starts_with(&*first));
        let answered = named.filter_map(|(name, answer)| {
            let environment = template.environment_of(name)?;
            let prefix = template.prefix().fill(&environment).into();
            // An upstream of this name may have been another one's.
            (*answer.asks == Discovery::Etcd(Registry { prefix }).to_string()).then_some(environment)
        });
        answered.take(template.most()).collect()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
