//! Endpoints that were found, as they are kept for a start while whoever knows them is away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use imbl::Vector;
use routing_rules::rules::{Discovery, Endpoint, Weight};
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
}

impl StoredEndpoints {
    /// What is known of these upstreams.
    pub fn of(upstreams: &Vector<Option<Arc<Upstream>>>) -> Self {
        let all = upstreams.iter().flatten().filter_map(|upstream| {
            let discovered = upstream.discovered.as_ref()?;
            let endpoints = discovered.endpoints();
            let endpoints = endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight.get())).collect();
            Some((upstream.name().as_str().into(), Answer { asks: discovered.rules().to_string().into(), endpoints }))
        });
        Self(all.filter(|(_, answer)| !answer.endpoints.is_empty()).collect())
    }

    /// What was found for an upstream that asks the same.
    pub fn for_upstream(&self, name: &str, discovery: &Discovery) -> Option<Vec<Endpoint>> {
        let answer = self.0.get(name).filter(|answer| *answer.asks == discovery.to_string())?;
        let endpoint = |&(address, weight): &(SocketAddr, u16)| {
            Weight::new(weight.into()).ok().map(|weight| Endpoint { address, weight })
        };
        Some(answer.endpoints.iter().filter_map(endpoint).collect())
    }
}
