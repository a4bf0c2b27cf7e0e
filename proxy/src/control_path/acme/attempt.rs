//! One attempt to get a certificate.
//!
//! It is noted before the authority hears of it, so that however it ends, also with this process, the next one comes after a
//! pause. What was issued is kept only if it is what rules want by then, and is never ordered again because it could not be
//! kept at once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use routing_rules::rules::Name;
use tokio::time::Instant;

use super::caller::{Caller, Said};
use super::kept::{Certificate, Failures, MOST_BYTES, text};
use super::order::{self, Failed};
use super::schedule::{self, Life};
use super::{Acme, LOOK_AGAIN, Wanted, date};
use crate::control_path::certificates::{Issued, examine};
use crate::control_path::etcd::unit;
use crate::snapshot::SnapshotCell;
use crate::{moment, thread};

/// What this process knows of attempts, and is not kept.
#[derive(Default)]
pub(super) struct Memory {
    /// What was issued, and could not be kept yet.
    unwritten: BTreeMap<Name, (Wanted, Certificate)>,
    /// Accounts that are to be left alone, by name and directory: until when, and how often in a row.
    paused: BTreeMap<(String, String), (Instant, u32)>,
    /// What was issued last, and when.
    last: BTreeMap<Name, (String, Instant)>,
}

impl Acme {
    /// Orders a certificate, and keeps what comes of it.
    pub(super) async fn carry_out(&self, wanted: &Wanted, snapshots: &SnapshotCell) {
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
        let count = match self.begin(wanted).await {
            Ok(count) => count,
            Err(reason) => {
                tracing::warn!(certificate = name, reason, "it is not ordered: that could not be kept");
                return tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tracing::info!(certificate = name, account = wanted.account.name().as_str(), "ordering a certificate");
        let (ordered, said) = match self.caller(&wanted.account) {
            Ok(caller) => (self.order_in_time(wanted, &caller).await, caller.said()),
            Err(reason) => (Err(Failed::new(reason)), Said::default()),
        };
        self.vault.close_answers(name).await;
        let kept = match ordered {
            Ok(issued) => self.keep(wanted, issued, snapshots).await,
            Err(failed) => Err(failed),
        };
        match kept {
            Ok(()) => {
                self.issued.fetch_add(1, Relaxed);
                self.memory().paused.remove(&wanted.account_key());
            }
            Err(failed) => {
                self.failed.fetch_add(1, Relaxed);
                self.note(wanted, failed, said, count).await;
            }
        }
        self.vault.save().await;
    }

    /// Notes that an order begins, as a failure until it is known to be none. Returns how many there are in a row with it.
    async fn begin(&self, wanted: &Wanted) -> Result<u32, String> {
        let (before, at_ms) = (self.failures(wanted), moment::unix_ms());
        let count = before.as_ref().map_or(0, |failures| failures.count).saturating_add(1);
        let wait_ms = schedule::wait_ms(count, schedule::FIRST_CUT_SHORT, None, draw());
        let problem = before.map(|failures| failures.problem).unwrap_or_default();
        let failures = Failures { what: wanted.what(), count, at_ms, wait_ms, problem, is_open: true };
        self.vault.keep_attempt(wanted.name().as_str(), failures).await?;
        Ok(count)
    }

    async fn order_in_time(&self, wanted: &Wanted, caller: &Caller) -> Result<Issued, Failed> {
        let ordering = unless_it_panics(self.order(wanted, caller));
        let ordered = tokio::time::timeout(LONGEST_ORDER, ordering).await;
        ordered.unwrap_or_else(|_| Err(Failed::new(format!("it took longer than {LONGEST_ORDER:?}")).costly()))
    }

    async fn order(&self, wanted: &Wanted, caller: &Caller) -> Result<Issued, Failed> {
        let account = wanted.account.name().as_str();
        let used = self.vault.account(account);
        let ordered = self.order_once(wanted, caller).await;
        if !ordered.as_ref().is_err_and(|failed| failed.has_no_account) {
            return ordered;
        }
        self.forget_account(account, used.as_ref()).await.map_err(Failed::new)?;
        self.order_once(wanted, caller).await
    }

    async fn order_once(&self, wanted: &Wanted, caller: &Caller) -> Result<Issued, Failed> {
        let account = self.account(&wanted.account, caller).await?;
        let (hosts, challenge) = (&wanted.hosts, wanted.challenge);
        order::order(&account, hosts, challenge, &self.vault, wanted.name().as_str()).await
    }

    /// Keeps what was issued.
    async fn keep(&self, wanted: &Wanted, issued: Issued, snapshots: &SnapshotCell) -> Result<(), Failed> {
        let (name, costly) = (wanted.name(), |reason: String| Failed::new(reason).costly());
        let good = examine(name, wanted.certificate.hosts(), &issued);
        let good = good.map_err(|reason| costly(format!("what was issued cannot be used: {reason}")))?;
        let life = Life { not_before: good.not_before, not_after: good.not_after };
        let now_s = i64::try_from(moment::unix_ms() / 1_000).unwrap_or(i64::MAX);
        check(wanted, wanted_now(snapshots, name).as_ref(), life, now_s).map_err(costly)?;
        let directory = wanted.account.directory().to_owned();
        let kept = Certificate { directory, chain: issued.chain.to_string(), key: issued.key.to_string() };
        if text(&kept).len() > MOST_BYTES {
            return Err(costly(format!("what was issued is longer than {MOST_BYTES} bytes")));
        }
        let is_soon = self.is_soon(wanted, life, Instant::now());
        // First, since this may end with the term.
        self.memory().unwritten.insert(name.clone(), (wanted.clone(), kept.clone()));
        if let Err(reason) = self.vault.keep_certificate(name.as_str(), kept).await {
            tracing::warn!(certificate = name.as_str(), reason, "what was issued could not be kept yet");
            return Ok(());
        }
        self.memory().unwritten.remove(name);
        tracing::info!(certificate = name.as_str(), expires = %date(good.not_after), "a certificate was issued");
        let now_ms = moment::unix_ms();
        match is_soon || self.renewal_ms(wanted, now_ms) <= now_ms {
            // Or one would be ordered after the other.
            true => Err(costly("it was issued, and is to be renewed already: is this machine's clock right?".into())),
            false => Ok(()),
        }
    }

    /// Whether the same was issued a moment ago, for its life.
    fn is_soon(&self, wanted: &Wanted, life: Life, now: Instant) -> bool {
        let before = self.memory().last.insert(wanted.name().clone(), (wanted.what(), now));
        before.is_some_and(|(what, at)| what == wanted.what() && now.duration_since(at) < life.third())
    }

    /// Tries again to keep what was issued and could not be kept, as long as it is wanted. Returns whether something was kept.
    pub(super) async fn keep_unwritten(&self, snapshots: &SnapshotCell) -> bool {
        let (unwritten, now_ms) = (self.memory().unwritten.clone(), moment::unix_ms());
        let mut has_kept = false;
        for (name, (wanted, certificate)) in unwritten {
            if self.is_under_way(&name) {
                continue;
            }
            let is_wanted = wanted_now(snapshots, &name).is_some_and(|now| now.is_same(&wanted));
            // Another instance may have ordered it, or what was written is heard now.
            let is_there = self.renewal_ms(&wanted, now_ms) > now_ms;
            let is_kept =
                is_wanted && !is_there && { self.vault.keep_certificate(name.as_str(), certificate).await.is_ok() };
            if is_kept || is_there || !is_wanted {
                self.memory().unwritten.remove(&name);
            }
            has_kept |= is_kept;
        }
        has_kept
    }

    pub(super) fn is_unwritten(&self, name: &Name) -> bool {
        self.memory().unwritten.contains_key(name)
    }

    /// How long the account is to be left alone yet.
    pub(super) fn pause_of(&self, wanted: &Wanted) -> Duration {
        let paused = self.memory().paused.get(&wanted.account_key()).copied();
        paused.map_or(Duration::ZERO, |(until, _)| until.saturating_duration_since(Instant::now()))
    }

    /// Leaves an account alone whose authority has too much of it. Not for longer than an hour: it may be meant for one
    /// certificate only, which has a pause of its own.
    fn pause_account(&self, wanted: &Wanted, asked: Option<Duration>) {
        let mut memory = self.memory();
        let (until, times) = memory.paused.entry(wanted.account_key()).or_insert_with(|| (Instant::now(), 0));
        *times = times.saturating_add(1);
        let wait_ms = schedule::wait_ms(*times, schedule::FIRST, asked, draw());
        *until = Instant::now() + Duration::from_millis(wait_ms).min(LONGEST_PAUSE);
    }

    /// Keeps that an order has failed, which is so many in a row with it.
    async fn note(&self, wanted: &Wanted, failed: Failed, said: Said, count: u32) {
        let name = wanted.name().as_str();
        let is_busy = failed.is_busy || said.is_busy;
        let count = match is_busy {
            true => {
                self.pause_account(wanted, said.wait);
                count.saturating_sub(1)
            }
            false => {
                self.memory().paused.remove(&wanted.account_key());
                count
            }
        };
        let first = if failed.is_costly { schedule::FIRST_COSTLY } else { schedule::FIRST };
        let wait_ms = schedule::wait_ms(count, first, said.wait, draw());
        let next = humantime::format_duration(Duration::from_secs(wait_ms / 1_000)).to_string();
        let reason = failed.reason;
        tracing::warn!(certificate = name, reason, failures = count, next, "a certificate could not be ordered");
        let (what, at_ms) = (wanted.what(), moment::unix_ms());
        let failures = Failures { what, count, at_ms, wait_ms, problem: reason, is_open: false };
        if let Err(reason) = self.vault.keep_failures(name, failures).await {
            tracing::warn!(certificate = name, reason, "that it could not be ordered is known here only");
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wanted_now(snapshots: &SnapshotCell, name: &Name) -> Option<Wanted> {
    let snapshot = snapshots.load();
    let rules = snapshot.table.rules();
    Wanted::of(rules, rules.certificate(name.as_str())?)
}

/// Whether what was ordered and issued is what is wanted now, and good at this moment.
fn check(ordered: &Wanted, now: Option<&Wanted>, life: Life, now_s: i64) -> Result<(), String> {
    if !now.is_some_and(|now| now.is_same(ordered)) {
        return Err("what was issued is not wanted any more: the rules have changed meanwhile".into());
    }
    if !life.has(now_s) {
        let (from, until) = (date(life.not_before), date(life.not_after));
        return Err(format!(
            "what was issued is good from {from} until {until}, and not now: is this machine's clock right?"
        ));
    }
    Ok(())
}

/// What others have written may panic, for what an authority says; the process goes on.
async fn unless_it_panics<T>(order: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let mut order = pin!(order);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| order.as_mut().poll(cx))) {
        Ok(polled) => polled,
        Err(panic) => Poll::Ready(Err(Failed::new(format!("it panicked: {}", thread::message(&*panic))))),
    })
    .await
}

/// From 0 to 1.
fn draw() -> f64 {
    unit(crate::random::seed())
}

/// Far longer than an authority takes that is well.
const LONGEST_ORDER: Duration = Duration::from_secs(15 * 60);

/// Of an account.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
