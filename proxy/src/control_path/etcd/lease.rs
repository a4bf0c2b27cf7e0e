//! A key that is there as long as somebody keeps it, and goes by itself when they cannot any more.
//!
//! The key hangs on a lease that is kept alive at a third of its time. Whatever becomes of the cluster — a member falls
//! silent, the lease expires, a backup is restored — the key is written again, for as long as it is held. It never decides
//! whether it ought to be there; that is up to whoever holds and withdraws it.

use std::convert::Infallible;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp};
use tokio::time::{Instant, sleep, timeout_at};

use super::cluster::{CALL, Cluster, Trouble, within};
use super::pause::pause;

/// A key, and the lease it hangs on.
pub struct LeasedKey {
    cluster: Cluster,
    key: Box<str>,
    value: Box<str>,
    ttl: Duration,
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
    /// The key was written under it.
    is_used: bool,
}

/// What becomes of a key that is held.
#[derive(Debug)]
pub enum Held<'t> {
    /// It was written, under a lease that is new.
    Written,
    /// Its lease has gone, and it with it; both are about to come again.
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
    pub fn new(cluster: Cluster, key: &str, value: &str, ttl: Duration) -> Self {
        Self { cluster, key: key.into(), value: value.into(), ttl, lease: None, failures: 0 }
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
            let was_there = trouble.is_absence && self.lease.take().is_some_and(|lease| lease.is_used);
            if was_there {
                self.failures = 0;
                tell(Held::Lost);
            } else {
                self.failures = self.failures.saturating_add(1);
                tell(Held::Unsure { trouble: &trouble, times: self.failures });
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
        if held.as_ref().is_err_and(|trouble| !trouble.is_absence) {
            self.cluster.turn_away(&connection).await;
        }
        held
    }

    async fn hold_at(&mut self, mut client: Client, tell: &mut impl FnMut(Held<'_>)) -> Result<Infallible, Trouble> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => self.grant(&mut client).await?,
        };
        if !lease.is_used {
            // Whatever is there, perhaps from a process before this one, would go with a lease that nobody keeps.
            let options = PutOptions::new().with_lease(lease.id);
            within(self.patience(), client.put(&*self.key, &*self.value, Some(options))).await?;
            self.lease = Some(Lease { is_used: true, ..lease });
            tell(Held::Written);
        }
        let (mut keeper, mut answers) = within(self.patience(), client.lease_keep_alive(lease.id)).await?;
        loop {
            // Once a connection and once a time to live; a key that is missing is hardly ever seen.
            self.complete(&mut client, lease.id).await?;
            for _ in 0..BEATS {
                let times = std::mem::take(&mut self.failures);
                if times > 0 {
                    tell(Held::Sure { times });
                }
                sleep(self.beat()).await;
                self.keep(&mut keeper, &mut answers).await?;
            }
        }
    }

    async fn grant(&mut self, client: &mut Client) -> Result<Lease, Trouble> {
        let seconds = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = within(self.patience(), client.lease_grant(seconds, None)).await?;
        let ttl = Duration::from_secs(granted.ttl().max(1).cast_unsigned());
        // Known before the key is written: what is not known cannot be withdrawn.
        Ok(*self.lease.insert(Lease { id: granted.id(), ttl, is_used: false }))
    }

    /// Writes the key if it is not there: a backup may have the lease without it. Under another lease it is somebody else's
    /// who holds the same key, such as the next process at the same address, and stays theirs.
    async fn complete(&self, client: &mut Client, lease: i64) -> Result<(), Trouble> {
        // A read is cheap; a transaction that may write costs the cluster an entry in its log.
        let count = GetOptions::new().with_count_only();
        if within(self.patience(), client.get(&*self.key, Some(count))).await?.count() > 0 {
            return Ok(());
        }
        let is_missing = Compare::version(&*self.key, CompareOp::Equal, 0);
        let put = TxnOp::put(&*self.key, &*self.value, Some(PutOptions::new().with_lease(lease)));
        let answer = within(self.patience(), client.txn(Txn::new().when([is_missing]).and_then([put]))).await?;
        if answer.succeeded() {
            tracing::warn!(key = &*self.key, "the key had gone though its lease had not; it is written again");
        }
        Ok(())
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

/// Between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Less would take a busy member for a dead one.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
