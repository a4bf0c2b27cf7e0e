//! The keys of a fleet, in one key of etcd: whoever leads makes them, everybody takes them from the watch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use super::TicketKeys;
use super::ring::Ring;
use crate::control_path::etcd::{Cluster, Trouble};
use crate::control_path::fleet::{self, Fleet};
use crate::moment;

/// Takes part in the keys of a fleet. New ones are made as long as they are `wanted`.
pub async fn share(
    keys: Arc<TicketKeys>,
    fleet: Arc<Fleet>,
    cluster: Cluster,
    wanted: impl Fn() -> bool,
) -> Infallible {
    let (mut told, mut leading) = (fleet.ticket_keys(), fleet.leading());
    let (mut ring, mut behind, mut is_well) = (Ring::default(), 0, true);
    loop {
        let now = moment::unix_ms() / 1_000;
        let text = told.borrow_and_update().clone();
        let revision = text.as_ref().map_or(0, |value| value.mod_revision);
        if revision != behind {
            behind = revision;
            match text.map(|value| Ring::parse(&value.bytes)) {
                Some(Ok(read)) => ring = read,
                Some(Err(reason)) => tracing::warn!(reason, "new keys for session tickets in etcd cannot be used"),
                None => ring = Ring::default(),
            }
            keys.take(&ring, now);
        }
        if *leading.borrow_and_update()
            && wanted()
            && let Ok(Some(renewed)) = ring.renewed(now)
        {
            let written = write(&cluster, fleet.id(), &renewed, behind).await;
            if let (Err(trouble), true) = (&written, is_well) {
                tracing::warn!(reason = %trouble, "no new keys for session tickets can be written to etcd");
            }
            is_well = written.is_ok();
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
    let key = format!("{}{TICKET_KEYS}", cluster.prefix());
    let when = [Compare::mod_revision(&*key, CompareOp::Equal, behind), fleet::leads(cluster, id)];
    let transaction = Txn::new().when(when).and_then([TxnOp::put(key, ring.text(), None)]);
    cluster.transact(transaction).await.map(drop)
}

/// Where the keys are, behind the prefix.
pub const TICKET_KEYS: &str = "state/ticket-keys";

/// How often the leader looks whether it is time for new ones.
const LOOK: Duration = Duration::from_secs(30);
