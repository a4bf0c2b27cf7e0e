//! A key that is there as long as somebody keeps it, and goes by itself when they cannot any more.
//!
//! The key hangs on a lease that is kept alive at a third of its time. Whatever becomes of the cluster — a member falls
//! silent, the lease expires, a backup is restored — the key is written again, for as long as it is held. It never decides
//! whether it ought to be there; that is up to whoever holds and withdraws it.
//!
//! One that is contested is written only where it is missing: of all who want it exactly one has it. A process that was stopped
//! for longer than its lease may believe for a moment more that it does; what must not be done twice is written in a
//! transaction that compares the key.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::cluster::{CALL, Cluster, Trouble, within};
use super::pause::pause;

/// A key, and the lease it hangs on.
pub struct LeasedKey {
    cluster: Cluster,
    key: Box<str>,
    /// What the key says; written again whenever it is another.
    value: watch::Receiver<Arc<str>>,
    ttl: Duration,
    /// Written only where it is missing.
    is_contested: bool,
    /// Granted, and not known to be gone.
    lease: Option<Lease>,
    /// How often in a row the cluster could not be asked.
    failures: u32,
}

#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    /// As granted, which may be longer than asked for.
    ttl: Duration,
    /// The key was written under it, and is not known to be somebody else's.
    has_key: bool,
}

/// What becomes of a key that is held.
#[derive(Debug)]
pub enum Held<'t> {
    /// It is there, under a lease that is new, or was nobody's before.
    Written,
    /// It is not there any more: its lease has gone, and is about to come again. Or somebody else has the key.
    Lost,
    /// The cluster could not be asked. As long as the lease lasts, the key is there.
    Unsure {
        /// Why.
        trouble: &'t Trouble,
        /// How often in a row.
        times: u32,
    },
    /// The cluster answers again.
    Sure {
        /// How often it did not before.
        times: u32,
    },
}

impl LeasedKey {
    /// A key that is not there yet. Times to live count in whole seconds.
    pub fn new(cluster: Cluster, key: &str, value: watch::Receiver<Arc<str>>, ttl: Duration) -> Self {
        Self { cluster, key: key.into(), value, ttl, is_contested: false, lease: None, failures: 0 }
    }

    /// One that only one of many has. Whoever does not have it tries again when its value is sent again, and once in each
    /// time to live.
    pub fn contested(cluster: Cluster, key: &str, value: watch::Receiver<Arc<str>>, ttl: Duration) -> Self {
        Self { is_contested: true, ..Self::new(cluster, key, value, ttl) }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it may be there because of us.
    pub fn is_held(&self) -> bool {
        self.lease.is_some()
    }

    /// Writes the key and keeps it there, until this is dropped. Then it is there until it is withdrawn or its time is over.
    pub async fn hold(&mut self, mut tell: impl FnMut(Held<'_>)) -> Infallible {
        loop {
            let Err(trouble) = self.hold_at_one(&mut tell).await;
            let was_there = trouble.is_absence && self.lease.take().is_some_and(|lease| lease.has_key);
            if was_there {
                self.failures = 0;
                tell(Held::Lost);
            } else {
                self.failures = self.failures.saturating_add(1);
                tell(Held::Unsure { trouble: &trouble, times: self.failures });
                if self.is_contested {
                    // Whether it still has it is to be found out.
                    self.lease = self.lease.map(|lease| Lease { has_key: false, ..lease });
                }
            }
            // All others have lost theirs too when a backup was restored.
            sleep(pause(self.failures, self.beat().min(LONGEST_PAUSE), crate::random::seed())).await;
        }
    }

    /// Takes away what was written here; does nothing if that is nothing. After a failure the key goes when its time is over,
    /// unless it is held again.
    ///
    /// # Errors
    /// The cluster could not be asked in this time.
    pub async fn withdraw(&mut self, patience: Duration) -> Result<(), Trouble> {
        let Some(lease) = self.lease else { return Ok(()) };
        let deadline = Instant::now() + patience;
        // Time for another member, if the first one is silent.
        let (each, mut tries) = (patience / 4, 0);
        loop {
            let tried = timeout_at(deadline, self.revoke(lease.id, each)).await;
            let trouble = match tried {
                Ok(Ok(())) => {
                    self.lease = None;
                    return Ok(());
                }
                Ok(Err(trouble)) => trouble,
                Err(_) => Trouble::new(format_args!("no answer within {patience:?}")),
            };
            tries += 1;
            let pause = pause(tries, each, crate::random::seed());
            if Instant::now() + pause >= deadline {
                return Err(trouble);
            }
            sleep(pause).await;
        }
    }

    /// At one member, from the beginning of a connection to its end.
    async fn hold_at_one(&mut self, tell: &mut impl FnMut(Held<'_>)) -> Result<Infallible, Trouble> {
        let connection = self.cluster.connect().await?;
        let held = self.hold_at(connection.client.clone(), tell).await;
        if held.as_ref().is_err_and(|trouble| !trouble.is_absence && !trouble.is_refusal) {
            self.cluster.turn_away(&connection).await;
        }
        held
    }

    async fn hold_at(&mut self, mut client: Client, tell: &mut impl FnMut(Held<'_>)) -> Result<Infallible, Trouble> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => self.grant(&mut client).await?,
        };
        if !lease.has_key && !self.is_contested {
            self.write(&mut client, lease.id).await?;
            self.lease = Some(Lease { has_key: true, ..lease });
            tell(Held::Written);
        }
        let (mut keeper, mut answers) = within(self.patience(), client.lease_keep_alive(lease.id)).await?;
        loop {
            // Once a connection and once a time to live; a key that is missing is hardly ever seen.
            self.claim(&mut client, tell).await?;
            for _ in 0..BEATS {
                let times = std::mem::take(&mut self.failures);
                if times > 0 {
                    tell(Held::Sure { times });
                }
                self.follow_value(&mut client, tell).await?;
                self.keep(&mut keeper, &mut answers).await?;
            }
        }
    }

    /// Until the next sign of life is due.
    async fn follow_value(&mut self, client: &mut Client, tell: &mut impl FnMut(Held<'_>)) -> Result<(), Trouble> {
        let due = Instant::now() + self.beat();
        loop {
            let has_changed = async {
                if self.value.changed().await.is_err() {
                    // It stays what it is.
                    pending::<()>().await;
                }
            };
            tokio::select! {
                () = sleep_until(due) => return Ok(()),
                () = has_changed => {}
            }
            match self.lease {
                Some(lease) if !self.is_contested => self.write(client, lease.id).await?,
                _ => self.claim(client, tell).await?,
            }
            // All who read it are told each time.
            sleep(WRITES).await;
        }
    }

    async fn grant(&mut self, client: &mut Client) -> Result<Lease, Trouble> {
        let seconds = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = within(self.patience(), client.lease_grant(seconds, None)).await?;
        let ttl = Duration::from_secs(granted.ttl().max(1).cast_unsigned());
        // Known before the key is written: what is not known cannot be withdrawn.
        Ok(*self.lease.insert(Lease { id: granted.id(), ttl, has_key: false }))
    }

    /// Whatever is there, perhaps from a process before this one, would go with a lease that nobody keeps.
    async fn write(&mut self, client: &mut Client, lease: i64) -> Result<(), Trouble> {
        let value = Arc::clone(&self.value.borrow_and_update());
        let options = PutOptions::new().with_lease(lease);
        let written = within(self.patience(), client.put(&*self.key, &*value, Some(options))).await;
        if written.is_err() {
            self.value.mark_changed();
        }
        written.map(drop)
    }

    /// Writes the key if it is not there: a backup may have the lease without it. Under another lease it is somebody else's
    /// who holds the same key, such as the next process at the same address, and stays theirs.
    async fn claim(&mut self, client: &mut Client, tell: &mut impl FnMut(Held<'_>)) -> Result<(), Trouble> {
        let Some(lease) = self.lease else { return Ok(()) };
        let is_ours = match self.holder(client).await? {
            Some(holder) => holder == lease.id,
            None => self.write_if_missing(client, lease).await?,
        };
        if self.is_contested && is_ours != lease.has_key {
            self.lease = Some(Lease { has_key: is_ours, ..lease });
            tell(if is_ours { Held::Written } else { Held::Lost });
        }
        Ok(())
    }

    /// The lease that the key hangs on. A read is cheap; a transaction that may write costs the cluster an entry in its log.
    async fn holder(&self, client: &mut Client) -> Result<Option<i64>, Trouble> {
        let answer = within(self.patience(), client.get(&*self.key, None)).await?;
        Ok(answer.kvs().first().map(KeyValue::lease))
    }

    async fn write_if_missing(&mut self, client: &mut Client, lease: Lease) -> Result<bool, Trouble> {
        let value = Arc::clone(&self.value.borrow_and_update());
        let is_missing = Compare::version(&*self.key, CompareOp::Equal, 0);
        let put = TxnOp::put(&*self.key, &*value, Some(PutOptions::new().with_lease(lease.id)));
        let answer = within(self.patience(), client.txn(Txn::new().when([is_missing]).and_then([put]))).await?;
        if answer.succeeded() && lease.has_key {
            tracing::warn!(key = &*self.key, "the key had gone though its lease had not; it is written again");
        }
        Ok(answer.succeeded())
    }

    async fn keep(&self, keeper: &mut LeaseKeeper, answers: &mut LeaseKeepAliveStream) -> Result<(), Trouble> {
        // Not the client's error, which says that there is no lease.
        keeper.keep_alive().await.map_err(|_| Trouble::new("the member ended the stream"))?;
        match within(self.patience(), answers.message()).await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            Some(_) => Err(Trouble::absence()),
            None => Err(Trouble::new("the member ended the stream")),
        }
    }

    async fn revoke(&self, lease: i64, patience: Duration) -> Result<(), Trouble> {
        let connection = self.cluster.connect().await?;
        let mut client = connection.client.clone();
        match within(patience, client.lease_revoke(lease)).await {
            Ok(_) => Ok(()),
            Err(trouble) if trouble.is_absence => Ok(()),
            Err(trouble) => {
                self.cluster.turn_away(&connection).await;
                Err(trouble)
            }
        }
    }

    /// From one sign of life to the next.
    fn beat(&self) -> Duration {
        self.lease.map_or(self.ttl, |lease| lease.ttl) / BEATS
    }

    /// How long a member may take to answer: no longer than leaves time to ask another one before the lease is over.
    fn patience(&self) -> Duration {
        self.beat().clamp(LEAST_PATIENCE, CALL)
    }
}

/// Signs of life in one time to live. The first one that is missed costs nothing.
const BEATS: u32 = 3;

/// From one write of a value to the next.
const WRITES: Duration = Duration::from_millis(250);

/// Between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Less would take a busy member for a dead one.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
