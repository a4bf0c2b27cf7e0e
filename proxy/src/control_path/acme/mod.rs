//! Certificates that are ordered by ACME (RFC 8555), and renewed in time.
//!
//! What rules want and what is kept say together what is to be ordered, and when; nothing else is remembered. In a fleet the
//! instance that leads orders for all. What an authority gets to see and what clients are shown comes to all instances by
//! the same way as the rules. Nothing here is on the way of a request, and whatever an authority says, what was issued
//! before stays.

mod account;
mod answers;
mod caller;
mod kept;
mod order;
mod schedule;
mod standing;
mod vault;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imbl::OrdMap;
use routing_rules::rules::{self, AcmeAccount, AcmeOrder, ExternalKey, Name, Pem, RuleSet};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::certificates::{Issued, examine};
use super::etcd::{Cluster, Value};
use super::fleet::Fleet;
use super::state_dir::StateDir;
use crate::moment;
use crate::snapshot::{AnswerCell, SnapshotCell};
use caller::Caller;
pub use kept::StoredOrders;
use kept::{Certificate, Failures};
use order::Failed;
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
    order: AcmeOrder,
    hosts: Vec<String>,
}

impl Wanted {
    /// All that rules want.
    fn all(rules: &RuleSet) -> impl Iterator<Item = Self> {
        rules.certificates().filter_map(|certificate| {
            let order = certificate.order()?.clone();
            let account = Arc::clone(rules.acme_account(&order.account)?);
            let hosts = certificate.hosts().iter().map(ToString::to_string).collect();
            Some(Self { certificate: Arc::clone(certificate), account, order, hosts })
        })
    }

    fn name(&self) -> &Name {
        self.certificate.name()
    }

    /// What stands for all that is ordered, and where: failures of something else do not count.
    fn what(&self) -> String {
        let (account, mut digest) = (&self.account, Sha256::new());
        let authorities = account.authorities().map(|pem| match pem {
            Pem::File(text) | Pem::Text(text) => &**text,
        });
        let external = account.external().map(|external| match &external.key {
            ExternalKey::File(text) | ExternalKey::Text(text) => [&*external.key_id, &**text],
        });
        let challenge = format!("{:?}", self.order.challenge);
        let all =
            [account.directory(), &*challenge].into_iter().chain(authorities).chain(external.into_iter().flatten());
        let contact = account.contact().iter().map(|address| &**address);
        for text in all.chain(contact).chain(self.hosts.iter().map(String::as_str)) {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Acme {
    /// Of one instance that follows no others. Paths in the rules begin beside this file.
    pub fn alone(main: &Path, state_dir: Option<StateDir>) -> Self {
        let vault = state_dir.map(Vault::in_folder).unwrap_or_default();
        Self { folder: beside(main), vault, ..Self::default() }
    }

    /// Of an instance of a fleet. The folder has a copy of what was issued, for a start without etcd.
    pub fn of_fleet(main: &Path, cluster: Cluster, fleet: Arc<Fleet>, copy: Option<StateDir>) -> Self {
        Self { folder: beside(main), vault: Vault::of_fleet(cluster, fleet, copy), ..Self::default() }
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
                true => self.begin_due(&snapshots, &tell, &mut orders),
                false => {
                    orders.abort_all();
                    self.vault.end_term();
                    LOOK_AGAIN
                }
            };
            let rest = if self.vault.is_unsaved() { rest.min(SAVE_AGAIN) } else { rest };
            tokio::select! {
                told = swaps.changed() => match told {
                    // There may be very many of both, and nothing here is in a hurry.
                    Ok(()) => tokio::time::sleep(AFTER_SWAP).await,
                    Err(_) => return,
                },
                Some(ended) = orders.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Begins the orders that are due, as many as may be under way. Returns when to look again.
    fn begin_due(
        self: &Arc<Self>,
        snapshots: &SnapshotCell,
        tell: &Arc<impl Fn() + Send + Sync + 'static>,
        orders: &mut JoinSet<()>,
    ) -> Duration {
        let now_ms = moment::unix_ms();
        let snapshot = snapshots.load();
        let mut all: Vec<(u64, Wanted)> = Wanted::all(snapshot.table.rules())
            .filter(|wanted| !self.under_way().names.contains(wanted.name()))
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
            let (acme, tell) = (Arc::clone(self), Arc::clone(tell));
            orders.spawn(async move {
                acme.carry_out(&wanted).await;
                drop(place);
                tell();
            });
        }
        rest
    }

    fn due_ms(&self, wanted: &Wanted, now_ms: u64) -> u64 {
        let name = wanted.name().as_str();
        let in_hand = self.vault.in_hand(name).filter(|in_hand| {
            in_hand.directory == wanted.account.directory() && wanted.hosts.iter().all(|host| in_hand.covers(host))
        });
        let failures = self.failures(wanted);
        schedule::due_ms(in_hand.map(|it| (it.life, it.share)), failures.as_ref(), now_ms)
    }

    fn failures(&self, wanted: &Wanted) -> Option<Failures> {
        self.vault.failures(wanted.name().as_str()).filter(|failures| failures.what == wanted.what())
    }

    /// Orders a certificate, and keeps what comes of it.
    async fn carry_out(&self, wanted: &Wanted) {
        let name = wanted.name().as_str();
        match self.vault.is_newest(name, wanted.account.name().as_str()).await {
            Ok(true) => {}
            // It is about to be heard of.
            Ok(false) => return tokio::time::sleep(LOOK_AGAIN).await,
            Err(reason) => {
                tracing::warn!(certificate = name, reason, "nobody knows whether it was ordered already");
                return tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        tracing::info!(certificate = name, account = wanted.account.name().as_str(), "ordering a certificate");
        let mut wait = None;
        let ordered = tokio::time::timeout(LONGEST_ORDER, self.order(wanted, &mut wait)).await;
        let ordered = ordered.unwrap_or_else(|_| Err(Failed::new(format!("it took longer than {LONGEST_ORDER:?}"))));
        self.vault.close_answers(name).await;
        match ordered {
            Ok(()) => _ = self.issued.fetch_add(1, Relaxed),
            Err(failed) => {
                self.failed.fetch_add(1, Relaxed);
                self.note(wanted, failed, wait).await;
            }
        }
    }

    async fn order(&self, wanted: &Wanted, wait: &mut Option<Duration>) -> Result<(), Failed> {
        let name = wanted.name();
        let caller = self.caller(&wanted.account).map_err(Failed::new)?;
        let mut ordered = self.order_once(wanted, &caller).await;
        if ordered.as_ref().is_err_and(|failed| failed.has_no_account) {
            tracing::warn!(
                account = wanted.account.name().as_str(),
                "the authority does not know the account; opening another"
            );
            self.vault.keep_account(wanted.account.name().as_str(), None).await.map_err(Failed::new)?;
            ordered = self.order_once(wanted, &caller).await;
        }
        *wait = caller.wait();
        let issued = ordered?;
        let good = examine(name, wanted.certificate.hosts(), &issued);
        let good = good.map_err(|reason| Failed::new(format!("what was issued cannot be used: {reason}")))?;
        let directory = wanted.account.directory().to_owned();
        let kept = Certificate { directory, chain: issued.chain.to_string(), key: issued.key.to_string() };
        self.vault.keep_certificate(name.as_str(), kept).await.map_err(Failed::new)?;
        tracing::info!(certificate = name.as_str(), expires = %date(good.not_after), "a certificate was issued");
        match self.due_ms(wanted, moment::unix_ms()) <= moment::unix_ms() {
            // Or one would be ordered after the other.
            true => Err(Failed::new("it was issued, and is to be renewed already: is this machine's clock right?")),
            false => Ok(()),
        }
    }

    async fn order_once(&self, wanted: &Wanted, caller: &Caller) -> Result<Issued, Failed> {
        let account = self.account(&wanted.account, caller).await?;
        let (hosts, challenge) = (&wanted.hosts, wanted.order.challenge);
        order::order(&account, hosts, challenge, &self.vault, wanted.name().as_str()).await
    }

    /// Keeps that an order has failed.
    async fn note(&self, wanted: &Wanted, failed: Failed, wait: Option<Duration>) {
        let name = wanted.name().as_str();
        let count = self.failures(wanted).map_or(0, |failures| failures.count).saturating_add(1);
        let draw = crate::random::seed() as f64 / u64::MAX as f64;
        let wait_ms = schedule::wait_ms(count, wait, draw);
        let next = humantime::format_duration(Duration::from_secs(wait_ms / 1_000)).to_string();
        let reason = failed.reason;
        tracing::warn!(certificate = name, reason, failures = count, next, "a certificate could not be ordered");
        let failures = Failures { what: wanted.what(), count, at_ms: moment::unix_ms(), wait_ms, problem: reason };
        if let Err(reason) = self.vault.keep_failures(name, failures).await {
            tracing::warn!(certificate = name, reason, "that it could not be ordered is known here only");
        }
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

fn beside(main: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).to_owned()
}

/// What keys begin with in which orders are kept, behind the prefix.
pub const KEPT_ORDERS: &str = "state/acme/";

/// Orders under way at once.
const MOST_ORDERS: usize = 4;

/// Far longer than an authority takes that is well.
const LONGEST_ORDER: Duration = Duration::from_secs(15 * 60);

/// Nothing tells when another instance leads, or a clock is set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Many swaps are looked at together.
const AFTER_SWAP: Duration = Duration::from_millis(200);

/// When a disk that was full is asked again.
const SAVE_AGAIN: Duration = Duration::from_secs(10);
