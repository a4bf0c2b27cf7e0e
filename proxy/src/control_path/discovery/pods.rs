//! Endpoints that are pods of Kubernetes: whoever follows its API server knows them, and tells of every change.

use std::sync::Arc;

use kubernetes_source::Pods;
use routing_rules::discovery::of_sockets;
use routing_rules::rules::{Name, ServicePort};

use super::{Tell, fail, take_found};
use crate::snapshot::Discovered;

/// Follows the pods of one port until it is dropped.
pub(super) async fn follow(
    upstream: Name,
    discovered: Arc<Discovered>,
    port: ServicePort,
    tell: Tell,
    pods: Option<Arc<Pods>>,
) {
    let Some(pods) = pods else {
        fail(&upstream, &discovered, "there is no cluster to ask: `sources.kubernetes` is not set");
        tell(&upstream);
        return std::future::pending().await;
    };
    let mut subscription = pods.subscribe(&port);
    loop {
        let is_first = !discovered.was_asked();
        let has_changed = match subscription.pods() {
            // That there is none left is an answer like any other.
            Ok(addresses) => take_found(&upstream, &discovered, &of_sockets(addresses), None),
            Err(reason) => {
                fail(&upstream, &discovered, &reason);
                false
            }
        };
        if has_changed || is_first {
            tell(&upstream);
        }
        subscription.changed().await;
    }
}
