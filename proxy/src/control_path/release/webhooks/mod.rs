//! Webhooks: whoever wants to know of changes of releases is called.
//!
//! History drives them: what stands there and is behind a receiver's cursor is sent, in its order, until it is taken or given up. So
//! nothing is lost by a restart or another leader, and some of it may come twice, under the same id. Nobody waits for a
//! receiver, neither releases nor other receivers; and one release does not wait for what became of another, but for the
//! call that is under way.

mod courier;
mod cursors;
mod lane;
mod message;
mod receiver;
mod shown;
mod signature;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use routing_rules::rules::Name;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::control_path::release::Store;
use crate::settings::WebhookSettings;
use crate::snapshot::SnapshotCell;
use courier::Courier;
pub use cursors::{CursorStore, Cursors, FolderCursors, StoredCursors};
use receiver::Receiver;
use shown::Ledger;
pub use shown::{Totals, WebhookView};
use signature::Secrets;

/// Somebody who wants to know.
pub struct Webhook {
    name: Name,
    /// Of which releases; nothing if of all.
    only: Option<Vec<String>>,
    receiver: Receiver,
    secret_file: PathBuf,
    /// What became of messages so far.
    ledger: Ledger,
}

/// What messages are made of, and who sends them.
#[derive(Clone)]
pub struct Source {
    /// The rules in force, with the newest record of each release.
    pub snapshots: Arc<SnapshotCell>,
    /// Where histories are.
    pub store: Arc<dyn Store>,
    /// How far receivers have been told.
    pub cursors: Arc<dyn CursorStore>,
    /// Whether it is this instance that tells them.
    pub is_in_charge: Arc<dyn Fn() -> bool + Send + Sync>,
    /// When this process began, in milliseconds since 1970. A new receiver is told of what came later.
    pub since_ms: u64,
}

impl Webhook {
    /// Reads what belongs to it.
    ///
    /// # Errors
    /// Its secret or its certificates cannot be read; says why.
    pub fn open(name: &str, settings: &WebhookSettings) -> Result<Self, String> {
        let WebhookSettings { url, secret_file, releases: only, ca_file } = settings;
        // It is read again for each call; that it is wrong is better known now.
        Secrets::read_now(secret_file).map_err(|reason| format!("secret_file: {reason}"))?;
        Ok(Self {
            name: Name::new(name)?,
            only: only.clone(),
            receiver: Receiver::new(url, ca_file.as_deref().map(Path::new))?,
            secret_file: secret_file.clone(),
            ledger: Ledger::default(),
        })
    }

    fn wants(&self, release: &Name) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == release.as_str()))
    }
}

/// Tells receivers until nobody is left to tell of swaps. A call that is under way then is not waited for: it comes again.
pub async fn run(webhooks: Vec<Arc<Webhook>>, source: Source, mut swaps: watch::Receiver<()>) {
    let mut couriers = JoinSet::new();
    for webhook in webhooks {
        couriers.spawn(Courier::new(webhook, source.clone()).run(swaps.clone()));
    }
    let ended = async { while swaps.changed().await.is_ok() {} };
    tokio::select! {
        () = ended => {}
        Some(Err(error)) = couriers.join_next() => {
            // A courier does not end by itself.
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[cfg(test)]
mod tests;
