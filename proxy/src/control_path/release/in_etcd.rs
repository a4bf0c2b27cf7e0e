//! Records that all instances of a fleet follow: `state/releases/<name>` for the newest, `history/releases/<name>/<number>` for
//! each, `state/webhooks/<webhook>` for how far a receiver has been told. What is written comes back by the watch of the source, here as elsewhere.

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use routing_rules::rules::Name;

use super::store::{Answer, MOST_ENTRIES};
use super::webhooks::{CursorStore, Cursors};
use super::{Entry, Store, StoreError};
use crate::control_path::etcd::{Cluster, Trouble};
use crate::control_path::fleet::{self, LEADER};

/// Keeps records in etcd.
pub struct EtcdStore {
    cluster: Cluster,
    /// Writes only as long as this instance leads.
    leader: Option<Box<str>>,
}

impl EtcdStore {
    /// For orders, which anybody may give anywhere.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster, leader: None }
    }

    /// For what happens by itself, and only once: as the instance of this id, while it leads.
    pub fn of_leader(cluster: Cluster, id: &str) -> Self {
        Self { cluster, leader: Some(id.into()) }
    }

    fn key(&self, release: &Name) -> String {
        format!("{}{RECORDS}{release}", self.cluster.prefix())
    }

    /// Numbers with leading zeros, so that keys are in their order.
    fn history_key(&self, release: &Name, number: u64) -> String {
        format!("{}{HISTORY}{release}/{number:010}", self.cluster.prefix())
    }

    async fn read(&self, release: &Name) -> Result<Option<(Entry, i64)>, StoreError> {
        let value = self.cluster.get(&self.key(release)).await.map_err(unreachable)?;
        let Some(value) = value else { return Ok(None) };
        let entry = Entry::parse(&value.bytes).map_err(StoreError::Damaged)?;
        Ok(Some((entry, value.mod_revision)))
    }

    async fn write(&self, release: &Name, entry: &Entry, behind: i64) -> Result<i64, StoreError> {
        let number = entry.record.number;
        let newest = Entry { record: entry.record.clone(), rules: entry.record.accepted.clone() };
        let mut writes = vec![
            TxnOp::put(self.key(release), newest.text(), None),
            TxnOp::put(self.history_key(release, number), entry.text(), None),
        ];
        if let Some(too_old) = number.checked_sub(MOST_ENTRIES as u64) {
            writes.push(TxnOp::delete(self.history_key(release, too_old), None));
        }
        self.commit(&self.key(release), behind, writes).await
    }

    /// Writes all of it, unless the key has changed since that revision, or another instance leads where this one has to. Returns
    /// the revision.
    async fn commit(&self, key: &str, behind: i64, writes: Vec<TxnOp>) -> Result<i64, StoreError> {
        // A key that is not there has the revision 0.
        let mut when = vec![Compare::mod_revision(key, CompareOp::Equal, behind)];
        if let Some(id) = &self.leader {
            when.push(fleet::leads(&self.cluster, id));
        }
        let transaction = Txn::new().when(when).and_then(writes);
        match self.cluster.transact(transaction).await.map_err(unreachable)? {
            Some(revision) => Ok(revision),
            None if self.leads().await? => Err(StoreError::Overtaken),
            None => Err(StoreError::NotInCharge),
        }
    }

    async fn leads(&self) -> Result<bool, StoreError> {
        let Some(id) = &self.leader else { return Ok(true) };
        let leader = self.cluster.get(&format!("{}{LEADER}", self.cluster.prefix())).await.map_err(unreachable)?;
        Ok(leader.is_some_and(|leader| *leader.bytes == *id.as_bytes()))
    }

    async fn list(&self, release: &Name, most: usize) -> Result<Vec<Entry>, StoreError> {
        let prefix = format!("{}{HISTORY}{release}/", self.cluster.prefix());
        let keys = self.cluster.list(&prefix).await.map_err(unreachable)?;
        // Those of another version that cannot be read here are left out.
        Ok(keys.entries.iter().rev().take(most).filter_map(|(_, value)| Entry::parse(&value.bytes).ok()).collect())
    }
}

impl Store for EtcdStore {
    fn newest<'a>(&'a self, release: &'a Name) -> Answer<'a, Option<(Entry, i64)>> {
        Box::pin(self.read(release))
    }

    fn add<'a>(&'a self, release: &'a Name, entry: &'a Entry, behind: i64) -> Answer<'a, i64> {
        Box::pin(self.write(release, entry, behind))
    }

    fn history<'a>(&'a self, release: &'a Name, most: usize) -> Answer<'a, Vec<Entry>> {
        Box::pin(self.list(release, most))
    }
}

impl CursorStore for EtcdStore {
    fn load<'a>(&'a self, webhook: &'a Name) -> Answer<'a, (Option<Cursors>, i64)> {
        Box::pin(async move {
            let key = format!("{}{WEBHOOKS}{webhook}", self.cluster.prefix());
            let value = self.cluster.get(&key).await.map_err(unreachable)?;
            let Some(value) = value else { return Ok((None, 0)) };
            Ok((Some(Cursors::parse(&value.bytes).map_err(StoreError::Damaged)?), value.mod_revision))
        })
    }

    fn save<'a>(&'a self, webhook: &'a Name, cursors: &'a Cursors, behind: i64) -> Answer<'a, i64> {
        Box::pin(async move {
            let key = format!("{}{WEBHOOKS}{webhook}", self.cluster.prefix());
            self.commit(&key, behind, vec![TxnOp::put(key.as_str(), cursors.text(), None)]).await
        })
    }
}

fn unreachable(trouble: Trouble) -> StoreError {
    StoreError::Unreachable(trouble.to_string())
}

/// What keys of records begin with, behind the prefix.
pub const RECORDS: &str = "state/releases/";
const HISTORY: &str = "history/releases/";

/// What keys begin with that say how far the receivers of webhooks have been told.
const WEBHOOKS: &str = "state/webhooks/";
