//! The Lease that says who of several instances writes.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::ObjectName;
use crate::options::Options;

/// Tries to hold the Lease, and tells whether this instance does, until `end` comes. Then it is let go, so that another one need not wait.
pub(crate) async fn hold(
    client: &Client,
    options: &Options,
    leads: &watch::Sender<bool>,
    end: impl Future<Output = ()>,
) {
    let trying = async {
        let mut failures = 0_u32;
        loop {
            match try_to_hold(client, options).await {
                Ok(manager) => return manager,
                Err(error) => lost(leads, &error, &mut failures),
            }
            sleep(TRY_AGAIN).await;
        }
    };
    let mut end = std::pin::pin!(end);
    let manager = tokio::select! {
        manager = trying => manager,
        () = &mut end => return,
    };
    let following = async {
        let mut failures = 0_u32;
        loop {
            match manager.changed().await {
                Ok(is_leader) => {
                    failures = 0;
                    tracing::info!(is_leader, "the Lease has changed hands");
                    leads.send_replace(is_leader);
                }
                Err(error) => {
                    lost(leads, &error, &mut failures);
                    sleep(TRY_AGAIN).await;
                }
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = &mut end => {
            let released = timeout(PATIENCE, manager.release()).await;
            if !matches!(released, Ok(Ok(()))) {
                tracing::warn!("the Lease could not be let go; it ends by itself");
            }
        }
    }
}

async fn try_to_hold(client: &Client, options: &Options) -> kube_lease_manager::Result<LeaseManager> {
    let ObjectName { namespace, name } = options.lease.clone().unwrap_or_else(|| {
        let namespace = client.default_namespace();
        ObjectName::new(namespace, "serin")
    });
    let builder = LeaseManagerBuilder::new(client.clone(), &*name).with_namespace(&*namespace);
    builder.with_identity(&options.identity).with_duration(LASTS_S).with_grace(RENEW_BEFORE_S).build().await
}

/// Who cannot say that he leads does not.
fn lost(leads: &watch::Sender<bool>, error: &LeaseManagerError, failures: &mut u32) {
    leads.send_replace(false);
    *failures = failures.saturating_add(1);
    if failures.is_power_of_two() {
        tracing::warn!(%error, failures, "the Lease cannot be held: nothing is written on objects meanwhile, unless another instance holds it");
    }
}

/// How long others wait for one that has gone without a word.
const LASTS_S: u64 = 15;

const RENEW_BEFORE_S: u64 = 5;

/// How long the end of the process waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

const TRY_AGAIN: Duration = Duration::from_secs(2);
