//! Where orders to releases are carried out: read, decide, write, and again if somebody else was faster.

use std::sync::Arc;
use std::time::Duration;

use routing_rules::release::{Canary, Change, Command, Pace, Refusal, ReleaseRecord, SignedCommand};
use routing_rules::rules::{Name, Release};
use routing_rules::spec::{Percent, ReleaseSpec};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::{Entry, Loads, Store, StoreError};
use crate::moment;

/// Carries orders out.
#[derive(Clone)]
pub struct Desk {
    store: Arc<dyn Store>,
    /// Who knows whether there is room for more users; without, there is.
    loads: Option<Arc<Loads>>,
}

/// What whoever gives an order takes for the newest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The one with this number, or 0 for one that was not written down yet: with another one, the order is void.
    Number(u64),
    /// Whichever it is.
    Any,
}

/// What an order came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// The newest record.
    pub record: Arc<ReleaseRecord>,
    /// Whether the order has changed anything.
    pub has_changed: bool,
    /// The revision of the store that wrote it; 0 if nobody else follows.
    pub revision: i64,
}

/// What an order came to that must not fail.
#[derive(Clone, Debug)]
pub enum RolledBack {
    /// It is written.
    Written(Done),
    /// It holds here, and is written as soon as the store takes it.
    Here(StoreError),
}

/// Why an order was not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// It makes no sense now.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Users of the canary would be thrown back.
    #[error("it would take users of the canary back to stable: from {from} % to {to} %; `force` does it all the same")]
    ThrowsBack {
        /// The share that is in the canary group.
        from: Percent,
        /// The share that would be.
        to: Percent,
    },
    /// The canary's endpoints would get more than any has carried; says how much.
    #[error("{0}; add endpoints, or `force` does it all the same")]
    NoRoom(String),
    /// Somebody has changed the release since whoever gives the order looked.
    #[error("the release was changed meanwhile by {by} ({action}): it is at number {number}; look again")]
    Overtaken {
        /// The number of the newest record.
        number: u64,
        /// What was done.
        action: Box<str>,
        /// By whom.
        by: Box<str>,
    },
    /// What is stored is of other versions, which the rules here have not, or no longer.
    #[error(
        "what is stored is of the release from {stable} to {canary}: the rules here are older, or have just changed"
    )]
    Foreign {
        /// The stable upstream of that.
        stable: Name,
        /// Its canary.
        canary: Name,
    },
    /// The store did not take it.
    #[error("{0}")]
    Store(StoreError),
}

impl Desk {
    /// One that writes there.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, loads: None }
    }

    /// The same, which takes users in only where there is room for them.
    #[must_use]
    pub fn with_loads(self, loads: Arc<Loads>) -> Self {
        Self { loads: Some(loads), ..self }
    }

    /// The last entries of a release, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn history(&self, release: &Name, most: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.history(release, most).await
    }

    /// Carries out an order, unless `expected` is not so any more. `known` is the newest record that came into force here. With `force` also where that throws users back, or takes
    /// in more than there is room for.
    ///
    /// # Errors
    /// It was not carried out.
    pub async fn order(
        &self,
        rules: &Release,
        known: Option<&ReleaseRecord>,
        order: &SignedCommand<'_>,
        expected: Expected,
        force: bool,
    ) -> Result<Done, OrderError> {
        let change = |newest: &ReleaseRecord| {
            if !expected.holds_for(newest) {
                return Err(overtaken(newest));
            }
            let next = newest.after(order, rules, moment::unix_ms())?;
            match &next {
                Some(next) if order.command != Command::Rollback && !force => self.may_follow(rules, newest, next)?,
                _ => {}
            }
            Ok(next)
        };
        // Who looks after releases is about to begin the one that was just written. A rollback waits for nobody.
        let waits = order.command != Command::Rollback;
        let deadline = Instant::now() + if waits { BEGINS } else { Duration::ZERO };
        loop {
            match self.change(rules, known, false, change).await {
                Err(OrderError::Foreign { .. }) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                done => return done,
            }
        }
    }

    /// Whether a record may follow another one without force.
    fn may_follow(&self, rules: &Release, now: &ReleaseRecord, next: &ReleaseRecord) -> Result<(), OrderError> {
        if now.throws_back(next) {
            return Err(OrderError::ThrowsBack { from: now.state.share(), to: next.state.share() });
        }
        let loads = self.loads.as_ref().filter(|_| now.takes_in(next));
        match loads.and_then(|loads| loads.shortage(rules, &next.state)) {
            Some(shortage) => Err(OrderError::NoRoom(shortage)),
            None => Ok(()),
        }
    }

    /// Writes a rollback that has held elsewhere since it was ordered, unless a later run was begun meanwhile. Returns the
    /// newest number; 0 if the rollback is void.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn write_rollback(&self, rules: &Release, rollback: &ReleaseRecord) -> Result<u64, OrderError> {
        let Change { by, reason, at_ms, .. } = &rollback.last;
        let order = SignedCommand { command: Command::Rollback, by, reason };
        let is_void = |newest: &ReleaseRecord| newest.began > rollback.began && newest.last.at_ms > *at_ms;
        let change = |newest: &ReleaseRecord| match is_void(newest) {
            true => Ok(None),
            false => Ok(newest.after(&order, rules, moment::unix_ms())?),
        };
        let Done { record: newest, has_changed, .. } = self.change(rules, Some(rollback), false, change).await?;
        Ok(if !has_changed && is_void(&newest) { 0 } else { newest.number })
    }

    /// Writes what becomes of a release by itself, if anything does. The first time it is written down; over one of other
    /// versions only if `may_replace`. What its analysis says holds for the record that is known.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn look_after(
        &self,
        rules: &Release,
        known: Option<&ReleaseRecord>,
        may_replace: bool,
        canary: Canary,
        pace: Pace<'_>,
    ) -> Result<Done, OrderError> {
        let change = |newest: &ReleaseRecord| {
            let now_ms = moment::unix_ms();
            let is_known = known.is_some_and(|known| known.number == newest.number);
            let pace = if is_known { pace } else { Pace::Held };
            // It was accepted under another record: whether it may be under this one, the next look says.
            if newest.refuses_edit(rules).is_some() {
                return Ok(None);
            }
            let edited = newest.after_edit(rules, mark(rules), now_ms);
            Ok(edited.or_else(|| self.by_itself(rules, newest, canary, pace, now_ms)))
        };
        self.change(rules, known, may_replace, change).await
    }

    /// What becomes of a release by itself, where a phase goes on only if there is room.
    pub(super) fn by_itself(
        &self,
        rules: &Release,
        now: &ReleaseRecord,
        canary: Canary,
        pace: Pace<'_>,
        now_ms: u64,
    ) -> Option<ReleaseRecord> {
        let shortage = |next: &_| self.loads.as_ref()?.shortage_of_phase(rules, now, next);
        now.by_itself_with_room(rules, canary, pace, now_ms, shortage)
    }

    async fn change(
        &self,
        rules: &Release,
        known: Option<&ReleaseRecord>,
        may_replace: bool,
        change: impl Fn(&ReleaseRecord) -> Result<Option<ReleaseRecord>, OrderError>,
    ) -> Result<Done, OrderError> {
        let name = rules.name();
        let known = known.filter(|known| known.is_of(rules));
        let mut tries = 0;
        loop {
            tries += 1;
            let now_ms = moment::unix_ms();
            let stored = self.store.newest(name).await.map_err(OrderError::Store)?;
            let revision = stored.as_ref().map_or(0, |(_, revision)| *revision);
            let (next, before) = match stored.map(|(entry, _)| entry.record) {
                Some(newest) if newest.is_of(rules) => match change(&newest)? {
                    // Whoever asks again wants to know, too, whether all have it.
                    None => return Ok(Done { record: newest, has_changed: false, revision }),
                    Some(next) => (next, Some(newest)),
                },
                Some(newest) if may_replace => (ReleaseRecord::begin(rules, mark(rules), Some(&newest), now_ms), None),
                Some(newest) => return Err(foreign(&newest)),
                // What is known must not begin anew because its store has lost it.
                None => match known {
                    Some(known) => (known.after_loss(now_ms), None),
                    None => (ReleaseRecord::begin(rules, mark(rules), None, now_ms), None),
                },
            };
            let is_first = before.is_none();
            let entry = entry(next, before.as_deref());
            match self.store.add(name, &entry, revision).await {
                Ok(_) if is_first => tries = 0,
                Ok(revision) => return Ok(Done { record: entry.record, has_changed: true, revision }),
                Err(StoreError::Overtaken) if tries < TRIES => {}
                Err(error) => return Err(OrderError::Store(error)),
            }
        }
    }
}

/// An entry of history. Rules that are new are part of it, and others now and then: entries are not kept for ever.
fn entry(record: ReleaseRecord, before: Option<&ReleaseRecord>) -> Entry {
    let is_same = before.is_some_and(|before| before.accepted == record.accepted);
    let is_told = is_same && !record.number.is_multiple_of(RETELL);
    let rules = record.accepted.clone().filter(|_| !is_told);
    Entry { record: Arc::new(record), rules }
}

impl Expected {
    /// One that was not written down when somebody looked is written down before anything else happens.
    fn holds_for(self, newest: &ReleaseRecord) -> bool {
        match self {
            Self::Any => true,
            Self::Number(0) => &*newest.last.action == "begin",
            Self::Number(number) => number == newest.number,
        }
    }
}

/// Stands for what in the rules says who is where. Phases do not.
pub(super) fn mark(rules: &Release) -> u64 {
    let ReleaseSpec { audience, sticky, override_, .. } = &**rules.written();
    let text = serde_json::to_string(&(audience, sticky, override_)).expect("maps of texts and numbers are JSON");
    let digest: [u8; 32] = Sha256::digest(text).into();
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}

fn overtaken(newest: &ReleaseRecord) -> OrderError {
    OrderError::Overtaken { number: newest.number, action: newest.last.action.clone(), by: newest.last.by.clone() }
}

fn foreign(newest: &ReleaseRecord) -> OrderError {
    OrderError::Foreign { stable: newest.stable.clone(), canary: newest.canary.clone() }
}

/// How long an order waits until a release that was just written is begun, and how often it looks.
const BEGINS: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// So many entries have the rules among them.
const RETELL: u64 = 100;

/// Whoever is overtaken so often meets something that never rests.
const TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_path::release::FolderStore;

    fn rules() -> Release {
        let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1, 10, 50, 100]}"#;
        Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn a_verdict_promotes_from_the_phase_it_is_about_and_no_other() {
        let desk = Desk::new(Arc::new(FolderStore::open(None, |_| {})));
        let rules = rules();
        let begun = desk.look_after(&rules, None, true, Canary::Up, Pace::Held).await.unwrap().record;
        let promoted = Pace::Promoted("it is good");
        let look = async |known: &ReleaseRecord| {
            desk.look_after(&rules, Some(known), true, Canary::Up, promoted).await.unwrap().record
        };
        let at_ten = look(&begun).await;
        assert_eq!((at_ten.number, at_ten.state.percent.basis_points()), (2, 1_000));
        assert_eq!(look(&begun).await, at_ten, "the same verdict, told once more before the first has come into force");
        assert_eq!(look(&at_ten).await.state.percent.basis_points(), 5_000);
    }

    #[tokio::test]
    async fn a_rollback_that_waited_is_void_once_a_later_run_has_begun() {
        let desk = Desk::new(Arc::new(FolderStore::open(None, |_| {})));
        let rules = rules();
        let begun = desk.look_after(&rules, None, true, Canary::Up, Pace::Held).await.unwrap().record;
        let order = |command, by| SignedCommand { command, by, reason: "" };
        let waiting = begun.after(&order(Command::Rollback, "anna"), &rules, begun.last.at_ms).unwrap().unwrap();
        let newest = async |command| {
            let done = desk.order(&rules, None, &order(command, "ben"), Expected::Any, true).await.unwrap();
            done.record
        };
        newest(Command::Promote).await;
        assert_eq!(desk.write_rollback(&rules, &waiting).await, Ok(3), "of the same run");
        let earlier =
            ReleaseRecord { last: Change { at_ms: waiting.last.at_ms - 1, ..waiting.last.clone() }, ..waiting };
        newest(Command::Resume).await;
        assert_eq!(desk.write_rollback(&rules, &earlier).await, Ok(0));
        assert_eq!(newest(Command::Pause).await.number, 5, "nothing was written");
    }
}
