//! Certificates that are ordered by ACME (RFC 8555), and renewed in time.
//!
//! What rules want and what is kept say together what is to be ordered, and when; nothing else is remembered. In a fleet the
//! instance that leads orders for all. What an authority gets to see and what clients are shown comes to all instances by
//! the same way as the rules. Nothing here is on the way of a request, and whatever an authority says, what was issued
//! before stays.

mod account;
mod answers;
mod attempt;
mod caller;
mod kept;
mod order;
mod schedule;
mod standing;
mod vault;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imbl::OrdMap;
use routing_rules::rules::{self, AcmeAccount, AcmeChallenge, Name, Pem, RuleSet};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::certificates::Issued;
use super::etcd::{Cluster, Value};
use super::fleet::Fleet;
use super::state_dir::StateDir;
use super::{folder_of, hex};
use crate::moment;
use crate::snapshot::{AnswerCell, SnapshotCell};
use attempt::Memory;
use kept::Failures;
pub use kept::StoredOrders;
use schedule::Life;
pub use standing::{OrderTotals, Standing, date};
use vault::Vault;

/// Orders certificates.
#[derive(Default)]
pub struct Acme {
    /// Where relative paths begin.
    folder: PathBuf,
    vault: Vault,
    /// For which certificates orders are under way, and the hosts of these.
    under_way: Mutex<UnderWay>,
    memory: Mutex<Memory>,
    /// One account is opened at a time, or many orders would open many.
    opening: tokio::sync::Mutex<()>,
    issued: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct UnderWay {
    names: BTreeSet<Name>,
    hosts: BTreeSet<String>,
}

/// A certificate as the rules want it.
#[derive(Clone)]
struct Wanted {
    certificate: Arc<rules::Certificate>,
    account: Arc<AcmeAccount>,
    challenge: AcmeChallenge,
    hosts: Vec<String>,
}

impl Wanted {
    /// All that rules want.
    fn all(rules: &RuleSet) -> impl Iterator<Item = Self> {
        rules.certificates().filter_map(|certificate| Self::of(rules, certificate))
    }

    /// Nothing if it is not ordered.
    fn of(rules: &RuleSet, certificate: &Arc<rules::Certificate>) -> Option<Self> {
        let order = certificate.order()?;
        let account = Arc::clone(rules.acme_account(&order.account)?);
        let hosts = certificate.hosts().iter().map(ToString::to_string).collect();
        Some(Self { certificate: Arc::clone(certificate), account, challenge: order.challenge, hosts })
    }

    fn name(&self) -> &Name {
        self.certificate.name()
    }

    fn account_key(&self) -> (String, String) {
        (self.account.name().to_string(), self.account.directory().to_owned())
    }

    /// Whether a certificate that was ordered for the other is one for this.
    fn is_same(&self, other: &Self) -> bool {
        self.hosts == other.hosts && self.account_key() == other.account_key()
    }

    /// What stands for all that is ordered, and where: failures of something else do not count.
    fn what(&self) -> String {
        let (account, mut digest) = (&self.account, Sha256::new());
        let authorities = account.authorities().map(written);
        let external = account.external().map(|external| [&*external.key_id, written(&external.key)]);
        let first = [account.directory(), challenge_word(self.challenge)];
        let all = first.into_iter().chain(authorities).chain(external.into_iter().flatten());
        for text in all.chain(self.hosts.iter().map(String::as_str)) {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        hex(&digest.finalize()[..16])
    }
}

impl Acme {
    /// Of one instance that follows no others. Paths in the rules begin beside this file.
    pub fn alone(main: &Path, state_dir: Option<StateDir>) -> Self {
        let vault = state_dir.map(Vault::in_folder).unwrap_or_default();
        Self { folder: folder_of(main), vault, ..Self::default() }
    }

    /// Of an instance of a fleet. The folder has a copy of what was issued, for a start without etcd.
    pub fn of_fleet(main: &Path, cluster: Cluster, fleet: Arc<Fleet>, copy: Option<StateDir>) -> Self {
        Self { folder: folder_of(main), vault: Vault::of_fleet(cluster, fleet, copy), ..Self::default() }
    }

    /// What authorities are answered.
    pub fn answers(&self) -> Arc<AnswerCell> {
        self.vault.answers()
    }

    /// What was issued, by certificate.
    pub fn issued(&self) -> OrdMap<Name, Issued> {
        self.vault.issued()
    }

    /// Takes what keys say behind [`KEPT_ORDERS`]. Answers are in force then. Returns whether certificates are others.
    pub fn hear(&self, keys: &OrdMap<Box<str>, Value>) -> bool {
        self.vault.hear(keys)
    }

    /// Orders what the rules want until nobody is left to tell of swaps. `tell` is called when something may have been issued.
    pub async fn run(
        self: Arc<Self>,
        snapshots: Arc<SnapshotCell>,
        tell: impl Fn() + Send + Sync + 'static,
        mut swaps: watch::Receiver<()>,
    ) {
        let (tell, mut orders) = (Arc::new(tell), JoinSet::new());
        loop {
            self.vault.save().await;
            let rest = match self.vault.may_order() {
                true => {
                    self.pull(&snapshots).await;
                    if self.keep_unwritten(&snapshots).await {
                        tell();
                    }
                    self.begin_due(&snapshots, &tell, &mut orders)
                }
                false => {
                    orders.abort_all();
                    self.vault.end_term();
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                told = swaps.changed() => match told {
                    // There may be very many of both, and nothing here is in a hurry.
                    Ok(()) => tokio::time::sleep(AFTER_SWAP).await,
                    Err(_) => {
                        orders.shutdown().await;
                        return self.vault.save().await;
                    }
                },
                Some(ended) = orders.join_next() => {
                    // It is noted that it has begun, so it comes again after a pause.
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "an order has ended with a panic");
                    }
                }
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Begins the orders that are due, as many as may be under way. Returns when to look again.
    fn begin_due(
        self: &Arc<Self>,
        snapshots: &Arc<SnapshotCell>,
        tell: &Arc<impl Fn() + Send + Sync + 'static>,
        orders: &mut JoinSet<()>,
    ) -> Duration {
        if self.vault.trouble().is_some() {
            return LOOK_AGAIN;
        }
        let now_ms = moment::unix_ms();
        let snapshot = snapshots.load();
        let mut all: Vec<(u64, Wanted)> = Wanted::all(snapshot.table.rules())
            .filter(|wanted| !self.is_under_way(wanted.name()) && !self.is_unwritten(wanted.name()))
            .map(|wanted| (self.due_ms(&wanted, now_ms), wanted))
            .collect();
        all.sort_by_key(|(due_ms, _)| *due_ms);
        let mut rest = LOOK_AGAIN;
        for (due_ms, wanted) in all {
            if due_ms > now_ms {
                rest = rest.min(Duration::from_millis(due_ms - now_ms));
                break;
            }
            if orders.len() >= MOST_ORDERS {
                break;
            }
            let Some(place) = Place::take(self, &wanted) else { continue };
            let (acme, tell, snapshots) = (Arc::clone(self), Arc::clone(tell), Arc::clone(snapshots));
            orders.spawn(async move {
                acme.carry_out(&wanted, &snapshots).await;
                drop(place);
                tell();
            });
        }
        rest
    }

    /// Failures that a clock which was ahead has noted are of now.
    async fn pull(&self, snapshots: &SnapshotCell) {
        let now_ms = moment::unix_ms();
        if !self.vault.has_failures_after(now_ms) {
            return;
        }
        let snapshot = snapshots.load_full();
        for wanted in Wanted::all(snapshot.table.rules()).filter(|wanted| !self.is_under_way(wanted.name())) {
            let pulled = self.failures(&wanted).and_then(|failures| schedule::pulled(&failures, now_ms));
            if let Some(pulled) = pulled
                && let Err(reason) = self.vault.keep_failures(wanted.name().as_str(), pulled).await
            {
                tracing::warn!(certificate = wanted.name().as_str(), reason, "when it has failed is known here only");
            }
        }
    }

    fn due_ms(&self, wanted: &Wanted, now_ms: u64) -> u64 {
        let paused_ms = self.pause_of(wanted).as_millis() as u64;
        let due_ms = schedule::due_ms(self.life(wanted), self.failures(wanted).as_ref(), now_ms);
        if paused_ms > 0 { due_ms.max(now_ms.saturating_add(paused_ms)) } else { due_ms }
    }

    /// When it would be ordered if nothing had failed.
    fn renewal_ms(&self, wanted: &Wanted, now_ms: u64) -> u64 {
        schedule::due_ms(self.life(wanted), None, now_ms)
    }

    /// That of what is in hand, if it is what is wanted.
    fn life(&self, wanted: &Wanted) -> Option<(Life, f64)> {
        let name = wanted.name().as_str();
        let in_hand = self.vault.in_hand(name).filter(|in_hand| {
            in_hand.directory == wanted.account.directory() && wanted.hosts.iter().all(|host| in_hand.covers(host))
        });
        in_hand.map(|it| (it.life, it.share))
    }

    fn failures(&self, wanted: &Wanted) -> Option<Failures> {
        self.vault.failures(wanted.name().as_str()).filter(|failures| failures.what == wanted.what())
    }

    fn is_under_way(&self, name: &Name) -> bool {
        self.under_way().names.contains(name)
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order's place among those under way, until it is dropped.
struct Place {
    acme: Arc<Acme>,
    name: Name,
    hosts: Vec<String>,
}

impl Place {
    /// Nothing if an order for one of the hosts is under way: an authority would find the answers of the other.
    fn take(acme: &Arc<Acme>, wanted: &Wanted) -> Option<Self> {
        let mut under_way = acme.under_way();
        if wanted.hosts.iter().any(|host| under_way.hosts.contains(host)) {
            return None;
        }
        under_way.names.insert(wanted.name().clone());
        under_way.hosts.extend(wanted.hosts.iter().cloned());
        Some(Self { acme: Arc::clone(acme), name: wanted.name().clone(), hosts: wanted.hosts.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.acme.under_way();
        under_way.names.remove(&self.name);
        under_way.hosts.retain(|host| !self.hosts.contains(host));
    }
}

/// What rules say of it: the text, or where it is.
fn written(pem: &Pem) -> &str {
    let (Pem::File(text) | Pem::Text(text)) = pem;
    text
}

/// As rules say it.
fn challenge_word(challenge: AcmeChallenge) -> &'static str {
    match challenge {
        AcmeChallenge::Http01 => "http_01",
        AcmeChallenge::TlsAlpn01 => "tls_alpn_01",
    }
}

/// What keys begin with in which orders are kept, behind the prefix.
pub const KEPT_ORDERS: &str = "state/acme/";

/// Orders under way at once.
const MOST_ORDERS: usize = 4;

/// Nothing tells when another instance leads, a clock is set, or a disk takes again what it did not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Many swaps are looked at together.
const AFTER_SWAP: Duration = Duration::from_millis(200);
