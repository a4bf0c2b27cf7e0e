//! Draining one endpoint because somebody asked for it. It is kept nowhere: a process that starts anew drains nobody.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Shared;
use crate::control_path::weights;
use crate::snapshot::{Endpoint, Snapshot};

impl Shared {
    /// Lets an endpoint take no new requests, or take them again, whichever rules come. `None`: there is no such endpoint.
    pub(crate) fn drain(&self, upstream: &str, address: SocketAddr, is_drained: bool) -> Option<Arc<Endpoint>> {
        let endpoint = find(&self.snapshots.load(), upstream, address)?;
        if endpoint.is_drained() != is_drained {
            tracing::info!(upstream, endpoint = %address, is_drained, "an endpoint was asked to drain, or no longer to");
        }
        endpoint.drain(is_drained);
        // Also if nothing has changed: whoever asked before may not have come so far.
        weights::publish_for(&self.snapshots.load(), &endpoint);
        Some(endpoint)
    }
}

fn find(snapshot: &Snapshot, upstream: &str, address: SocketAddr) -> Option<Arc<Endpoint>> {
    let upstream = snapshot.upstream(snapshot.table.upstream_id(upstream)?)?;
    let member = upstream.endpoints.iter().find(|member| member.endpoint.address() == address)?;
    Some(Arc::clone(&member.endpoint))
}
