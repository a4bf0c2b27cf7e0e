//! The keys of a fleet, in one key of etcd: whoever leads makes them, everybody takes them from the watch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use super::TicketKeys;
use super::ring::Ring;
use crate::control_path::etcd::{Cluster, Trouble};
use crate::control_path::fleet::{Fleet, LEADER};
use crate::moment;

/// Takes part in the keys of a fleet.
pub async fn share(keys: Arc<TicketKeys>, fleet: Arc<Fleet>, cluster: Cluster) -> Infallible {
    let (mut told, mut leading) = (fleet.ticket_keys(), fleet.leading());
    let mut is_well = true;
    loop {
        let text = told.borrow_and_update().clone();
        let ring = text.as_ref().map(|value| Ring::parse(&value.bytes)).transpose();
        let ring = ring.unwrap_or_else(|reason| {
            tracing::warn!(reason, "the keys for session tickets in etcd cannot be used");
            None
        });
        keys.take(ring.as_ref().unwrap_or(&Ring::default()));
        if *leading.borrow_and_update() {
            let now = moment::unix_ms() / 1_000;
            if let Some(Some(renewed)) = ring.unwrap_or_default().renewed(now) {
                let behind = text.map_or(0, |value| value.mod_revision);
                let written = write(&cluster, fleet.id(), &renewed, behind).await;
                if let (Err(trouble), true) = (&written, is_well) {
                    tracing::warn!(reason = %trouble, "no new keys for session tickets can be written to etcd");
                }
                is_well = written.is_ok();
            }
        }
        tokio::select! {
            _ = told.changed() => {}
            _ = leading.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Writes them, unless somebody else has, or leads.
async fn write(cluster: &Cluster, id: &str, ring: &Ring, behind: i64) -> Result<(), Trouble> {
    let key = |name: &str| format!("{}{name}", cluster.prefix());
    let when = [
        Compare::mod_revision(key(TICKET_KEYS), CompareOp::Equal, behind),
        Compare::value(key(LEADER), CompareOp::Equal, id),
    ];
    let transaction = Txn::new().when(when).and_then([TxnOp::put(key(TICKET_KEYS), ring.text(), None)]);
    cluster.transact(transaction).await.map(drop)
}

/// Where the keys are, behind the prefix.
pub const TICKET_KEYS: &str = "state/ticket-keys";

/// How often the leader looks whether it is time for new ones.
const LOOK: Duration = Duration::from_secs(30);
