//! The Lease that says who of several instances writes.

use std::time::Duration;

use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::options::Options;
use crate::{ObjectName, client};

/// Tries to hold the Lease, and tells whether this instance does, until `end` comes. Then it is let go, so that another one need not wait.
pub(crate) async fn hold(options: &Options, leads: &watch::Sender<bool>, end: impl Future<Output = ()>) {
    let (mut end, mut failures) = (std::pin::pin!(end), 0_u32);
    loop {
        let manager = tokio::select! {
            manager = try_to_hold(options) => manager,
            () = &mut end => return,
        };
        // A manager tells changes alone: one that has failed would not say that the Lease is held all the same. A new one does.
        let trouble = match manager {
            Err(trouble) => trouble,
            Ok(manager) => tokio::select! {
                trouble = tell_changes(&manager, leads, &mut failures) => trouble,
                () = &mut end => return let_go(&manager).await,
            },
        };
        lost(leads, &trouble, &mut failures);
        tokio::select! {
            () = sleep(TRY_AGAIN) => {}
            () = &mut end => return,
        }
    }
}

/// As long as the API server answers; else says why it does not.
async fn tell_changes(manager: &LeaseManager, leads: &watch::Sender<bool>, failures: &mut u32) -> String {
    loop {
        match manager.changed().await {
            Ok(is_leader) => {
                *failures = 0;
                tracing::info!(is_leader, "the Lease has changed hands");
                leads.send_replace(is_leader);
            }
            Err(error) => return error.to_string(),
        }
    }
}

async fn let_go(manager: &LeaseManager) {
    if !matches!(timeout(LAST_WORD, manager.release()).await, Ok(Ok(()))) {
        tracing::warn!("the Lease could not be let go; it ends by itself");
    }
}

async fn try_to_hold(options: &Options) -> Result<LeaseManager, String> {
    let client = client::impatient(options, PATIENCE).await.map_err(|error| error.to_string())?;
    let ObjectName { namespace, name } = options.lease(&client);
    let builder = LeaseManagerBuilder::new(client, &*name).with_namespace(&*namespace);
    let builder = builder.with_identity(&options.identity).with_duration(LASTS_S).with_grace(RENEW_BEFORE_S);
    builder.build().await.map_err(|error| error.to_string())
}

/// Who cannot say that he leads does not.
fn lost(leads: &watch::Sender<bool>, trouble: &str, failures: &mut u32) {
    leads.send_replace(false);
    *failures = failures.saturating_add(1);
    if failures.is_power_of_two() {
        tracing::warn!(
            trouble,
            failures,
            "the Lease cannot be held: nothing is written on objects meanwhile, unless another instance holds it"
        );
    }
}

/// How long others wait for one that has gone without a word.
const LASTS_S: u64 = 15;

/// How long before that it is renewed: in time to be told that it is not, and to stop, before another one takes it.
const RENEW_BEFORE_S: u64 = 10;

/// How long the API server has for a connection, and for each answer: a renewal takes two.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end of the process waits for it.
const LAST_WORD: Duration = Duration::from_secs(2);

const TRY_AGAIN: Duration = Duration::from_secs(2);
