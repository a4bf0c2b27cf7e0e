//! Where accounts, certificates and failures are kept: in the state folder, or in etcd for all instances of a fleet.
//!
//! In a fleet only the one that leads writes, and only over what it has read. What is written comes back by the watch of the
//! rules, here as elsewhere; an answer counts as open when all instances have applied it.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use routing_rules::rules::Name;
use sha2::{Digest, Sha256};

use super::KEPT_ORDERS;
use super::kept::{Account, Answer, Certificate, Failures, Part, StoredOrders, text};
use crate::control_path::certificates::Issued;
use crate::control_path::etcd::{Cluster, Value};
use crate::control_path::fleet::{self, Fleet};
use crate::control_path::hex;
use crate::control_path::state_dir::{RestoreError, StateDir};
use crate::snapshot::AnswerCell;
use state::{InHand, State, put};

/// What is kept.
#[derive(Default)]
pub(super) struct Vault {
    place: Place,
    /// Why nobody knows what the folder has. Then it is not written over.
    unknown: Option<Trouble>,
    saving: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    answers: Arc<AnswerCell>,
}

#[derive(Default)]
enum Place {
    /// Then nothing is ordered.
    #[default]
    Nowhere,
    Folder(StateDir),
    /// And a copy of it in the state folder, for a start without etcd.
    Fleet {
        cluster: Cluster,
        fleet: Arc<Fleet>,
        copy: Option<StateDir>,
    },
}

/// Why something could not be kept: what is said to people.
type Trouble = String;

impl Vault {
    /// In a folder.
    pub(super) fn in_folder(state_dir: StateDir) -> Self {
        let (stored, unknown) = restore(&state_dir);
        Self { place: Place::Folder(state_dir), unknown, state: Mutex::new(State::begin(stored)), ..Self::default() }
    }

    /// In etcd.
    pub(super) fn of_fleet(cluster: Cluster, fleet: Arc<Fleet>, copy: Option<StateDir>) -> Self {
        let (stored, unknown) = copy.as_ref().map(restore).unwrap_or_default();
        // Accounts are told by etcd alone.
        let stored = StoredOrders { certificates: stored.certificates, ..StoredOrders::default() };
        let place = Place::Fleet { cluster, fleet, copy };
        Self { place, unknown, state: Mutex::new(State::begin(stored)), ..Self::default() }
    }

    /// What authorities are answered.
    pub(super) fn answers(&self) -> Arc<AnswerCell> {
        Arc::clone(&self.answers)
    }

    /// Whether this instance is the one to order, and knows all that was ordered before.
    pub(super) fn may_order(&self) -> bool {
        match &self.place {
            Place::Nowhere => false,
            Place::Folder(_) => self.unknown.is_none(),
            Place::Fleet { fleet, .. } => fleet.leads() && self.lock().is_heard,
        }
    }

    /// Why nothing may be ordered here that could otherwise be: it could not be kept.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        if !matches!(self.place, Place::Folder(_)) {
            return None;
        }
        if let Some(reason) = &self.unknown {
            return Some(format!("nothing is ordered: what is stored cannot be read: {reason}"));
        }
        let complaint = self.lock().complaint.clone();
        (!complaint.is_empty()).then(|| format!("nothing is ordered: it could not be stored: {complaint}"))
    }

    /// What can be shown to clients, by certificate.
    pub(super) fn issued(&self) -> OrdMap<Name, Issued> {
        let state = self.lock();
        let named = state.in_hand.iter().filter_map(|(name, it)| Some((Name::new(name).ok()?, it.issued.clone())));
        named.collect()
    }

    pub(super) fn in_hand(&self, name: &str) -> Option<Arc<InHand>> {
        self.lock().in_hand.get(name).cloned()
    }

    pub(super) fn failures(&self, name: &str) -> Option<Failures> {
        self.lock().stored.failures.get(name).cloned()
    }

    pub(super) fn account(&self, name: &str) -> Option<Account> {
        self.lock().stored.accounts.get(name).cloned()
    }

    /// Takes what keys say, by what is behind [`KEPT_ORDERS`]. Returns whether certificates are others.
    pub(super) fn hear(&self, keys: &OrdMap<Box<str>, Value>) -> bool {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.heard, keys.clone());
        let changed: Vec<(Box<str>, Option<Value>)> = before
            .diff(keys)
            .map(|item| match item {
                DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
                    (key.clone(), Some(value.clone()))
                }
                DiffItem::Remove(key, _) => (key.clone(), None),
            })
            .collect();
        let (mut is_other, mut has_answers) = (false, false);
        if !state.is_heard {
            // What the folder had and etcd has not is of another time.
            state.is_heard = true;
            let gone = |name: &String| !keys.contains_key(&*format!("certificates/{name}"));
            let gone: Vec<String> = state.stored.certificates.keys().filter(|name| gone(name)).cloned().collect();
            is_other |= !gone.is_empty();
            gone.iter().for_each(|name| state.put_certificate(name, None));
        }
        for (key, value) in changed {
            match Part::of(&key) {
                Some(Part::Certificate(_)) => is_other = true,
                Some(Part::Answer) => has_answers = true,
                _ => {}
            }
            state.hear(&key, value.as_ref());
        }
        if has_answers {
            self.put_answers_in_force(&mut state);
        }
        is_other
    }

    /// Others write from now on: what is heard counts, also if it is older, as from a backup.
    pub(super) fn end_term(&self) {
        let mut state = self.lock();
        for key in std::mem::take(&mut state.own).into_keys() {
            let heard = state.heard.get(&*key).cloned();
            state.hear(&key, heard.as_ref());
        }
    }

    /// Whether nobody else has written of this certificate and this account what this instance has not read yet.
    ///
    /// # Errors
    /// etcd could not be asked.
    pub(super) async fn is_newest(&self, certificate: &str, account: &str) -> Result<bool, Trouble> {
        let Place::Fleet { cluster, .. } = &self.place else { return Ok(true) };
        let keys = [certificate_key(certificate), failures_key(certificate), account_key(account)];
        for key in keys {
            let full = format!("{}{KEPT_ORDERS}{key}", cluster.prefix());
            let value = cluster.get(&full).await.map_err(|trouble| trouble.to_string())?;
            let known = self.lock().revisions.get(&key).copied().unwrap_or(0);
            if value.map_or(0, |value| value.mod_revision) != known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps an account, or forgets it.
    pub(super) async fn keep_account(&self, name: &str, account: Option<Account>) -> Result<(), Trouble> {
        self.write(&[(account_key(name), account.as_ref().map(text))]).await?;
        let mut state = self.lock();
        put(&mut state.stored.accounts, name, account);
        state.is_unsaved = true;
        Ok(())
    }

    /// Keeps a certificate, with which there are no failures any more.
    pub(super) async fn keep_certificate(&self, name: &str, certificate: Certificate) -> Result<(), Trouble> {
        let writes = [(certificate_key(name), Some(text(&certificate))), (failures_key(name), None)];
        self.write(&writes).await?;
        let mut state = self.lock();
        state.put_certificate(name, Some(certificate));
        state.stored.failures.remove(name);
        state.is_unsaved = true;
        Ok(())
    }

    /// Keeps that an order begins.
    ///
    /// # Errors
    /// It could not be kept, and is not to begin.
    pub(super) async fn keep_attempt(&self, name: &str, attempt: Failures) -> Result<(), Trouble> {
        self.write(&[(failures_key(name), Some(text(&attempt)))]).await?;
        let before = {
            let mut state = self.lock();
            state.is_unsaved = true;
            state.stored.failures.insert(name.to_owned(), attempt)
        };
        self.save().await;
        let Some(reason) = self.trouble() else { return Ok(()) };
        put(&mut self.lock().stored.failures, name, before);
        Err(reason)
    }

    /// Keeps how often it has failed.
    pub(super) async fn keep_failures(&self, name: &str, failures: Failures) -> Result<(), Trouble> {
        let kept = self.write(&[(failures_key(name), Some(text(&failures)))]).await;
        // Without being kept it counts here.
        let mut state = self.lock();
        state.stored.failures.insert(name.to_owned(), failures);
        state.is_unsaved = true;
        kept
    }

    /// Has authorities be answered, and waits until all instances do so.
    pub(super) async fn open_answers(&self, name: &str, answers: Vec<Answer>) -> Result<(), Trouble> {
        let Place::Fleet { cluster, fleet, .. } = &self.place else {
            let mut state = self.lock();
            let numbered = answers.into_iter().enumerate();
            state.answers.extend(numbered.map(|(number, answer)| (format!("{name}/{number}"), answer)));
            self.put_answers_in_force(&mut state);
            return Ok(());
        };
        let in_words = |trouble: crate::control_path::etcd::Trouble| trouble.to_string();
        // If this process ends, they end with the lease.
        let lease = cluster.grant(OPEN).await.map_err(in_words)?;
        let put = |answer: &Answer| {
            let key = format!("{}{KEPT_ORDERS}{}", cluster.prefix(), answer_key(answer));
            TxnOp::put(key, text(answer), Some(PutOptions::new().with_lease(lease)))
        };
        let puts: Vec<TxnOp> = answers.iter().map(put).collect();
        let written = cluster.transact(Txn::new().when([fleet::leads(cluster, fleet.id())]).and_then(puts)).await;
        let revision = written.map_err(in_words)?.ok_or(NOT_LEADING)?;
        let keys = answers.iter().map(answer_key);
        self.lock().answers_of.insert(name.to_owned(), keys.collect());
        let progress = fleet.applied(revision, PATIENCE).await;
        if !progress.is_done() {
            let waiting = progress.waiting.join(", ");
            tracing::warn!(
                certificate = name,
                waiting,
                "not all instances answer the authority yet; going on without them"
            );
        }
        Ok(())
    }

    /// Nobody asks any more.
    pub(super) async fn close_answers(&self, name: &str) {
        let Place::Fleet { cluster, .. } = &self.place else {
            let mut state = self.lock();
            let own = format!("{name}/");
            state.answers.retain(|key, _| !key.starts_with(&own));
            return self.put_answers_in_force(&mut state);
        };
        let keys = self.lock().answers_of.remove(name).unwrap_or_default();
        let delete = |key: &String| TxnOp::delete(format!("{}{KEPT_ORDERS}{key}", cluster.prefix()), None);
        let deletes: Vec<TxnOp> = keys.iter().map(delete).collect();
        if !deletes.is_empty()
            && let Err(trouble) = cluster.transact(Txn::new().and_then(deletes)).await
        {
            tracing::warn!(certificate = name, reason = %trouble, "answers to an authority stay until their lease is over");
        }
    }

    /// Writes to the state folder what is not there yet. A disk that does not take it is asked again.
    pub(super) async fn save(&self) {
        let state_dir = match &self.place {
            Place::Folder(state_dir) | Place::Fleet { copy: Some(state_dir), .. } => state_dir.clone(),
            Place::Fleet { copy: None, .. } | Place::Nowhere => return,
        };
        if self.unknown.is_some() {
            return;
        }
        let saving = Arc::clone(&self.saving).lock_owned().await;
        let stored = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.is_unsaved) {
                return;
            }
            state.stored.clone()
        };
        let saved = tokio::task::spawn_blocking(move || {
            // Until it is over, also if nobody waits for it any more.
            let _saving = saving;
            state_dir.save_orders(&stored)
        })
        .await;
        let reason = match saved {
            Ok(Ok(())) => return self.lock().complaint.clear(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let mut state = self.lock();
        state.is_unsaved = true;
        if state.complaint != reason {
            tracing::error!(reason, "accounts and certificates cannot be stored; a restart would forget them");
            state.complaint = reason;
        }
    }

    /// Whether a failure is noted as one of times to come.
    pub(super) fn has_failures_after(&self, now_ms: u64) -> bool {
        self.lock().stored.failures.values().any(|failures| failures.at_ms > now_ms)
    }

    /// Writes keys, or takes them away, over what is known of them, while this instance leads.
    async fn write(&self, writes: &[(String, Option<String>)]) -> Result<(), Trouble> {
        let Place::Fleet { cluster, fleet, .. } = &self.place else { return Ok(()) };
        let full = |key: &String| format!("{}{KEPT_ORDERS}{key}", cluster.prefix());
        let mut when = vec![fleet::leads(cluster, fleet.id())];
        when.extend(writes.iter().map(|(key, _)| {
            let known = self.lock().revisions.get(key).copied().unwrap_or(0);
            Compare::mod_revision(full(key), CompareOp::Equal, known)
        }));
        let write = |(key, text): &(String, Option<String>)| match text {
            Some(text) => TxnOp::put(full(key), text.as_str(), None),
            None => TxnOp::delete(full(key), None),
        };
        let writes_all: Vec<TxnOp> = writes.iter().map(write).collect();
        let written = cluster.transact(Txn::new().when(when).and_then(writes_all)).await;
        let revision = written.map_err(|trouble| trouble.to_string())?.ok_or(NOT_LEADING)?;
        let mut state = self.lock();
        for (key, text) in writes {
            state.own.insert(key.clone(), revision);
            match text {
                Some(_) => drop(state.revisions.insert(key.clone(), revision)),
                None => drop(state.revisions.remove(key)),
            }
        }
        Ok(())
    }

    fn put_answers_in_force(&self, state: &mut State) {
        let State { answers, handshakes, .. } = state;
        self.answers.store(Arc::new(handshakes.answers(answers.values())));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic could leave half made is mended by what is heard or ordered next.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is stored, and why it may be more than that.
fn restore(state_dir: &StateDir) -> (StoredOrders, Option<Trouble>) {
    let unknown = state_dir.why_orders_are_unknown();
    if let Some(reason) = &unknown {
        tracing::error!(reason, "what is stored of certificates cannot be read; it stays as it is until a restart");
    }
    let stored = match state_dir.restore_orders() {
        Ok(stored) => stored,
        Err(RestoreError::Io(..)) => StoredOrders::default(),
        Err(error) => {
            tracing::error!(%error, "what is stored of certificates is damaged; they are ordered again");
            StoredOrders::default()
        }
    };
    (stored, unknown)
}

fn account_key(name: &str) -> String {
    format!("accounts/{name}")
}

fn certificate_key(name: &str) -> String {
    format!("certificates/{name}")
}

fn failures_key(name: &str) -> String {
    format!("failures/{name}")
}

/// What it is called matters to nobody.
fn answer_key(answer: &Answer) -> String {
    format!("answers/{}", hex(&Sha256::digest(text(answer))[..16]))
}

/// How long an answer is open at most.
const OPEN: Duration = Duration::from_secs(15 * 60);

/// How long instances may take to answer. One that cannot be reached does not keep all others from being renewed.
const PATIENCE: Duration = Duration::from_secs(10);

const NOT_LEADING: &str = "another instance orders now";

#[cfg(test)]
mod tests;
