//! What the guide's start script does in etcd: a lease, a key with it, and the lease kept alive until the script ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::Origin;
use crate::support::etcd::Etcd;

pub(super) const PREFIX: &str = "/shop_PRO/";
/// In seconds, and how often it is kept alive.
const LEASE: i64 = 4;
const EVERY: Duration = Duration::from_secs(1);

/// Begun for an instance. Ends in order when told to, and without a word, as a process that is killed does, when dropped.
pub(super) struct Script {
    etcd: Arc<Etcd>,
    lease: i64,
    is_over: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Script {
    pub(super) fn start(etcd: &Arc<Etcd>, instance: &Origin) -> Self {
        let lease = etcd.put_leased(&[(&key(instance), &instance.address().to_string())], LEASE);
        let (etcd, is_over) = (Arc::clone(etcd), Arc::new(AtomicBool::new(false)));
        let (keeps, over) = (Arc::clone(&etcd), Arc::clone(&is_over));
        let keeper = thread::spawn(move || {
            while !over.load(SeqCst) {
                keeps.keep_alive(lease);
                thread::park_timeout(EVERY);
            }
        });
        Self { etcd, lease, is_over, keeper: Some(keeper) }
    }

    /// Revokes the lease, and the key goes if it is still the lease's.
    pub(super) fn end(mut self) {
        self.stop();
        self.etcd.revoke(self.lease);
    }

    fn stop(&mut self) {
        self.is_over.store(true, SeqCst);
        if let Some(keeper) = self.keeper.take() {
            keeper.thread().unpark();
            let _ = keeper.join();
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `IP-PORT` below the prefix.
pub(super) fn key(instance: &Origin) -> String {
    format!("{PREFIX}{}", instance.address().to_string().replace(':', "-"))
}
