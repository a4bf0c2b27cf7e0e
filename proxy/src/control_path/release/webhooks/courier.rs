//! Who calls one receiver: one call at a time, of the release that has waited longest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use routing_rules::rules::Name;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::cursors::Cursors;
use super::lane::Lane;
use super::message::Message;
use super::receiver::Outcome;
use super::{Secrets, Source, Webhook};
use crate::control_path::etcd::pause;
use crate::control_path::release::StoreError;
use crate::control_path::release::store::MOST_ENTRIES;
use crate::moment;

pub(super) struct Courier {
    webhook: Arc<Webhook>,
    source: Source,
    /// As long as this instance is in charge.
    turn: Option<Turn>,
    /// Failures in a row of beginning one.
    failures: u32,
}

/// What is known while this instance is in charge. Another one may have gone on meanwhile, so the next turn begins with what
/// is stored.
struct Turn {
    cursors: Cursors,
    /// At which they were stored.
    revision: i64,
    /// Whether that is behind. Nothing more is sent then: it would come twice.
    is_unsaved: bool,
    save_failures: u32,
    lanes: BTreeMap<Name, Lane>,
}

impl Courier {
    pub(super) fn new(webhook: Arc<Webhook>, source: Source) -> Self {
        Self { webhook, source, turn: None, failures: 0 }
    }

    /// Goes on for ever.
    pub(super) async fn run(mut self, mut swaps: watch::Receiver<()>) {
        loop {
            let due = self.step().await;
            tokio::select! {
                told = swaps.changed() => if told.is_err() { return std::future::pending().await },
                () = sleep_until(due) => {}
            }
        }
    }

    /// Does one thing, if there is one to do. Returns when to look again.
    async fn step(&mut self) -> Instant {
        let now = Instant::now();
        if !(self.source.is_in_charge)() {
            self.turn = None;
            self.webhook.ledger.sends(false, 0);
            return now + LOOK_AGAIN;
        }
        let turn = match self.turn.take() {
            Some(turn) => turn,
            None => match self.begin().await {
                Ok(turn) => turn,
                Err(error) => return now + self.stays(&error),
            },
        };
        let next = self.go_on(turn).await;
        let due = match next {
            Ok((turn, due)) => {
                self.webhook.ledger.sends(true, turn.lanes.values().map(Lane::backlog).sum());
                self.turn = Some(turn);
                due
            }
            Err(error) => now + self.stays(&error),
        };
        due.min(Instant::now() + LOOK_AGAIN)
    }

    /// A turn has not begun, or is over. Returns how long to wait.
    fn stays(&mut self, error: &StoreError) -> Duration {
        self.failures += 1;
        // Whoever was faster leads, or led.
        if !matches!(error, StoreError::NotInCharge | StoreError::Overtaken)
            && self.webhook.ledger.failed(None, &error.to_string())
        {
            tracing::warn!(webhook = self.webhook.name.as_str(), %error, "how far it has been told is not known");
        }
        pause(self.failures, LONGEST_PAUSE, crate::random::seed())
    }

    async fn begin(&mut self) -> Result<Turn, StoreError> {
        let Webhook { name, only, .. } = &*self.webhook;
        let (stored, revision) = self.source.cursors.load(name).await?;
        let since_ms = self.source.since_ms;
        let begun = || Cursors::begin(since_ms, only.clone());
        let cursors = stored.clone().map_or_else(begun, |stored| stored.go_on(since_ms, only.as_ref()));
        self.failures = 0;
        // A receiver that is new is written down at once: from then on it is told of everything.
        let is_unsaved = stored.as_ref() != Some(&cursors);
        Ok(Turn { cursors, revision, is_unsaved, save_failures: 0, lanes: BTreeMap::new() })
    }

    async fn go_on(&self, mut turn: Turn) -> Result<(Turn, Instant), StoreError> {
        if let Some(due) = self.settle(&mut turn).await? {
            return Ok((turn, due));
        }
        self.look(&mut turn);
        let due = turn.lanes.iter().filter_map(|(name, lane)| Some((lane.due()?, name))).min();
        let Some((due, name)) = due.map(|(due, name)| (due, name.clone())) else {
            return Ok((turn, Instant::now() + LOOK_AGAIN));
        };
        if due > Instant::now() {
            return Ok((turn, due));
        }
        match turn.lanes.get(&name).is_some_and(|lane| lane.first().is_some()) {
            true => self.send(&name, &mut turn).await,
            false => self.read(&name, &mut turn).await,
        }
        let due = self.settle(&mut turn).await?;
        Ok((turn, due.unwrap_or_else(Instant::now)))
    }

    /// Writes down how far the receiver has been told. Returns when to try again, if the store does not take it.
    async fn settle(&self, turn: &mut Turn) -> Result<Option<Instant>, StoreError> {
        if !turn.is_unsaved {
            return Ok(None);
        }
        let saved = self.source.cursors.save(&self.webhook.name, &turn.cursors, turn.revision).await;
        match saved {
            Ok(revision) => {
                (turn.revision, turn.is_unsaved, turn.save_failures) = (revision, false, 0);
                Ok(None)
            }
            Err(error @ StoreError::Unreachable(_)) => {
                turn.save_failures += 1;
                if self.webhook.ledger.failed(None, &error.to_string()) {
                    tracing::warn!(webhook = self.webhook.name.as_str(), %error, "how far it has been told is not stored");
                }
                Ok(Some(Instant::now() + pause(turn.save_failures, LONGEST_PAUSE, crate::random::seed())))
            }
            Err(error) => Err(error),
        }
    }

    /// Which releases have come further, and which have gone.
    fn look(&self, turn: &mut Turn) {
        let (snapshot, now) = (self.source.snapshots.load_full(), Instant::now());
        let records = &snapshot.table.context().records;
        turn.lanes.retain(|name, _| records.contains_key(name));
        for (name, record) in records.iter().filter(|(name, _)| self.webhook.wants(name)) {
            let told = turn.cursors.releases.get(name.as_str()).map_or(0, |cursor| cursor.number);
            let lane = turn.lanes.entry(name.clone()).or_insert_with(|| Lane::new(told, now));
            lane.see(record.number, now);
        }
    }

    async fn read(&self, release: &Name, turn: &mut Turn) {
        let Some(lane) = turn.lanes.get_mut(release) else { return };
        let history = self.source.store.history(release, MOST_ENTRIES).await;
        let now = Instant::now();
        match history {
            Ok(history) => {
                let newest = history.first().map_or(0, |entry| entry.record.number);
                let (ahead, gone) = turn.cursors.ahead(release, history);
                self.webhook.ledger.given_up(gone);
                lane.fill(ahead, newest, now);
            }
            Err(error) => {
                lane.fail(None, now);
                if self.webhook.ledger.failed(None, &error.to_string()) {
                    let (webhook, release) = (self.webhook.name.as_str(), release.as_str());
                    tracing::warn!(webhook, release, %error, "a webhook cannot be told what became of a release");
                }
            }
        }
    }

    /// Calls the receiver.
    async fn send(&self, release: &Name, turn: &mut Turn) {
        let Some(lane) = turn.lanes.get_mut(release) else { return };
        let Some(record) = lane.first().map(|entry| Arc::clone(&entry.record)) else { return };
        let Webhook { name, receiver, secret_file, ledger, .. } = &*self.webhook;
        let (webhook, release_name, number) = (name.as_str(), release.as_str(), record.number);
        let outcome = match Secrets::read(secret_file).await {
            Ok(secrets) => receiver.post(&Message::of(release, &record), &secrets, moment::unix_ms() / 1_000).await,
            Err(reason) => Outcome::Failed { reason: format!("secret_file: {reason}"), wait: None },
        };
        let now = Instant::now();
        match outcome {
            Outcome::Delivered => {
                if ledger.delivered(release, number) {
                    tracing::info!(webhook, release = release_name, number, "a webhook takes changes again");
                }
            }
            Outcome::Gone => {
                ledger.failed(Some(release), "status 410");
                ledger.given_up(1);
                tracing::warn!(webhook, release = release_name, number, "the receiver wants no more of it (410)");
            }
            Outcome::Failed { reason, wait } => {
                if ledger.failed(Some(release), &reason) {
                    tracing::warn!(webhook, release = release_name, number, reason, "a webhook does not take a change");
                }
                let failures = lane.fail(wait, now);
                if failures < LEAST_TRIES || moment::unix_ms().saturating_sub(record.last.at_ms) < LONGEST_MS {
                    return;
                }
                ledger.given_up(1);
                tracing::error!(
                    webhook,
                    release = release_name,
                    number,
                    reason,
                    "given up telling a webhook of a change"
                );
            }
        }
        if let Some(entry) = lane.pass(now) {
            turn.cursors.pass(release, &entry);
            turn.is_unsaved = true;
        }
    }
}

/// How long a change is tried, in milliseconds since it was made: a day.
const LONGEST_MS: u64 = 24 * 3_600 * 1_000;

/// But so often at least: the process may have been away for longer.
const LEAST_TRIES: u32 = 3;

/// Between two calls for one change. A receiver that comes back is told within this time.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Nothing tells when another instance leads.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
