//! A copy of the keys under a prefix that follows every change, and outlives every fault.
//!
//! First a listing, then a watch from the next revision on. A connection that ends, a member that falls silent or loses its
//! leader: another member is asked, and the watch goes on where it was. Where revisions are gone (compaction, a restored
//! backup, another cluster) there is a listing again, and whoever follows is told the differences. A listing once in a while
//! shows whether the watch missed anything.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbEvent as RawEvent;
use etcd_client::{Client, GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::{CALL, Cluster, Trouble, kv, watch, within};
use super::keys::{Keys, Step, Value, first};
use super::pause::{pause, unit};

/// The copy of a prefix.
pub struct Mirror {
    cluster: Cluster,
    prefix: Arc<[u8]>,
    /// The first key behind those that are copied.
    end: Vec<u8>,
    /// How much of a value is of interest, in bytes.
    most_bytes: usize,
    pace: Pace,
    keys: Option<Keys>,
    /// How often in a row the cluster could not be asked, or not for long: how long to pause.
    failures: u32,
    /// How often nothing was heard since something was told.
    untold: u32,
}

/// How often what is done.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How often a watch is asked for a sign of life.
    pub ask: Duration,
    /// How long a watch may be silent.
    pub silence: Duration,
    /// When all is listed again.
    pub reconcile: Range<Duration>,
    /// When all is listed again after a watch has gone on at another connection.
    pub reconcile_soon: Range<Duration>,
    /// The longest pause between two tries.
    pub longest_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            ask: seconds(5),
            silence: seconds(15),
            reconcile: seconds(60)..seconds(300),
            reconcile_soon: seconds(1)..seconds(5),
            longest_pause: seconds(5),
        }
    }
}

/// What is heard of a prefix.
#[derive(Debug)]
pub enum Heard<'m> {
    /// These keys are others now. The first time it is all there are, be it none; a listing may find that there are none.
    Changed {
        /// All of them.
        keys: &'m Keys,
        /// Those that are others.
        changed: BTreeSet<Arc<[u8]>>,
        /// By a listing, not by a watch.
        is_listing: bool,
        /// How often nothing was heard before.
        times: u32,
    },
    /// Nothing is heard for the time being.
    Lost {
        /// Why.
        trouble: &'m Trouble,
        /// How often in a row.
        times: u32,
    },
    /// There is a sign of life, and nothing has changed.
    Same {
        /// The revision up to which all is known.
        revision: i64,
        /// How often there was none before.
        times: u32,
    },
}

/// Why a watch is over.
enum End {
    /// What it would go on from is gone.
    Compacted,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Mirror {
    /// A copy that nothing is known of yet.
    pub fn new(cluster: Cluster, prefix: &[u8], pace: Pace) -> Self {
        let (prefix, end) = (prefix.into(), end_of(prefix));
        Self { cluster, prefix, end, most_bytes: usize::MAX, pace, keys: None, failures: 0, untold: 0 }
    }

    /// The same without this key and all behind it, which others follow.
    #[must_use]
    pub fn before(self, end: &[u8]) -> Self {
        Self { end: end.into(), ..self }
    }

    /// The same without what the keys say: all values are empty, and what only changes them changes nothing.
    #[must_use]
    pub fn keys_only(self) -> Self {
        Self { most_bytes: 0, ..self }
    }

    /// The same with so much of each value, in bytes: whoever may write keys decides how long they are.
    #[must_use]
    pub fn values_up_to(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }

    /// Follows the prefix, until it is dropped.
    pub async fn run(mut self, mut tell: impl FnMut(Heard<'_>)) {
        loop {
            match self.follow(&mut tell).await {
                End::Compacted => {
                    tracing::warn!(prefix = %self.shown(), "etcd has compacted what was not heard yet; listing all");
                    self.forget_revision();
                }
                End::Trouble(trouble) => {
                    self.failures = self.failures.saturating_add(1);
                    self.untold = self.untold.saturating_add(1);
                    tell(Heard::Lost { trouble: &trouble, times: self.untold });
                    sleep(pause(self.failures, self.pace.longest_pause, crate::random::seed())).await;
                }
            }
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.prefix).into_owned()
    }

    fn forget_revision(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.revision = 0;
        }
    }

    /// One connection, from its beginning to its end.
    async fn follow(&mut self, tell: &mut impl FnMut(Heard<'_>)) -> End {
        let connection = match self.cluster.connect().await {
            Ok(connection) => connection,
            Err(trouble) => return End::Trouble(trouble),
        };
        let Err(end) = self.follow_at(&connection.client, tell).await;
        match end {
            End::Compacted => End::Compacted,
            // Another member would say the same.
            End::Trouble(trouble) if trouble.is_refusal => End::Trouble(trouble.at(&connection)),
            End::Trouble(trouble) => {
                self.cluster.turn_away(&connection).await;
                End::Trouble(trouble.at(&connection))
            }
        }
    }

    async fn follow_at(&mut self, client: &Client, tell: &mut impl FnMut(Heard<'_>)) -> Result<Infallible, End> {
        let resumes = self.can_resume(client).await?;
        if !resumes {
            self.take_listing(client, tell).await?;
        }
        let mut stream = self.watch(client).await?;
        let mut reconcile_at = match resumes {
            true => self.later(&self.pace.reconcile_soon),
            false => self.later(&self.pace.reconcile),
        };
        let began = Instant::now();
        let (mut heard_at, mut asked_at) = (began, began);
        let mut fragments = Vec::new();
        loop {
            tokio::select! {
                // What has come already is no silence.
                biased;
                () = sleep_until(reconcile_at), if fragments.is_empty() => {
                    let began = Instant::now();
                    // The watch is as good as it was: its silence would show.
                    if let Err(trouble) = self.take_listing(client, tell).await {
                        tracing::warn!(prefix = %self.shown(), reason = %trouble, "etcd: keys could not be listed to compare them");
                    }
                    // Nobody has listened meanwhile.
                    heard_at += began.elapsed();
                    reconcile_at = self.later(&self.pace.reconcile);
                }
                message = stream.message() => {
                    let message = message.map_err(|error| Trouble::of(&error))?;
                    let message = message.ok_or_else(|| Trouble::new("the member ended the watch"))?;
                    heard_at = Instant::now();
                    if heard_at - began >= SETTLED {
                        self.failures = 0;
                    }
                    self.take_message(message, &mut fragments, tell)?;
                }
                () = sleep_until(heard_at + self.pace.silence) => {
                    return Err(Trouble::new(format_args!("silent for {:?}", heard_at.elapsed())).into());
                }
                () = sleep_until(asked_at + self.pace.ask) => {
                    asked_at = Instant::now();
                    within(CALL, stream.request_progress()).await?;
                }
            }
        }
    }

    fn later(&self, range: &Range<Duration>) -> Instant {
        let width = range.end.saturating_sub(range.start);
        Instant::now() + range.start + width.mul_f64(unit(crate::random::seed()))
    }

    /// Whether a watch can go on from what is known: it is the same cluster, and has not been set back.
    async fn can_resume(&self, client: &Client) -> Result<bool, Trouble> {
        let Some(known) = self.keys.as_ref().filter(|keys| keys.revision > 0) else { return Ok(false) };
        let one = GetOptions::new().with_prefix().with_limit(1).with_keys_only();
        let answer = within(CALL, kv(client).get(&*self.prefix, Some(one))).await?;
        let (cluster, revision) = answer.header().map_or((0, 0), |header| (header.cluster_id(), header.revision()));
        let resumes = cluster == known.cluster && revision >= known.revision;
        if !resumes {
            let (prefix, before) = (self.shown(), known.revision);
            tracing::warn!(prefix, before, now = revision, "etcd is another one, or was set back; listing all");
        }
        Ok(resumes)
    }

    async fn take_listing(&mut self, client: &Client, tell: &mut impl FnMut(Heard<'_>)) -> Result<(), Trouble> {
        let listed = list(client, &self.prefix, &self.end, self.most_bytes).await?;
        let keys = self.keys.get_or_insert_default();
        let changed = keys.replace(listed);
        let times = std::mem::take(&mut self.untold);
        tell(Heard::Changed { keys, changed, is_listing: true, times });
        Ok(())
    }

    async fn watch(&self, client: &Client) -> Result<WatchStream, Trouble> {
        let from = self.keys.as_ref().map_or(0, |keys| keys.revision) + 1;
        let options = WatchOptions::new().with_range(self.end.clone()).with_start_revision(from);
        let options = options.with_fragment().with_progress_notify();
        within(CALL, watch(client).watch(&*self.prefix, Some(options))).await
    }

    fn take_message(
        &mut self,
        mut message: WatchResponse,
        fragments: &mut Vec<Step>,
        tell: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), End> {
        if message.canceled() {
            let compacted = message.compact_revision() > 0;
            let reason = format!("the member cancelled the watch: {}", message.cancel_reason());
            return Err(if compacted { End::Compacted } else { Trouble::new(reason).into() });
        }
        let most_bytes = self.most_bytes;
        let steps = std::mem::take(&mut message.0.events).into_iter().filter_map(|event| step(event, most_bytes));
        fragments.extend(steps);
        if message.0.fragment {
            return Ok(());
        }
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let changed = keys.follow(std::mem::take(fragments));
        let times = std::mem::take(&mut self.untold);
        match changed.is_empty() {
            true => tell(Heard::Same { revision: keys.revision, times }),
            false => tell(Heard::Changed { keys, changed, is_listing: false, times }),
        }
        Ok(())
    }
}

/// All keys from one on and before another, at one revision, page by page, with or without their values.
pub(super) async fn list(client: &Client, from: &[u8], end: &[u8], most_bytes: usize) -> Result<Keys, Trouble> {
    let mut kv = kv(client);
    let (mut keys, mut limit) = (Keys::default(), MOST_KEYS);
    let mut from = from.to_vec();
    loop {
        let page = GetOptions::new().with_range(end).with_limit(limit).with_revision(keys.revision);
        let page = if most_bytes == 0 { page.with_keys_only() } else { page };
        let mut answer = match within(PAGE, kv.get(from.clone(), Some(page))).await {
            Ok(answer) => answer,
            Err(trouble) if trouble.is_size && limit > 1 => {
                limit = (limit / 8).max(1);
                continue;
            }
            Err(trouble) => return Err(trouble),
        };
        if keys.revision == 0 {
            (keys.cluster, keys.revision) =
                answer.header().map_or((0, 0), |header| (header.cluster_id(), header.revision()));
        }
        let more = answer.more();
        for pair in answer.take_kvs() {
            let value = Value::of(&pair, most_bytes);
            let key: Arc<[u8]> = pair.key().into();
            // The next key there can be.
            from = [&key, &[0][..]].concat();
            keys.entries.insert(key, value);
        }
        if !more {
            return Ok(keys);
        }
    }
}

/// What a watch says of one key. A kind of event that is not known yet says nothing.
fn step(event: RawEvent, most_bytes: usize) -> Option<Step> {
    let pair = event.kv?;
    let value = match event.r#type {
        PUT => Some(Value {
            bytes: first(&pair.value, most_bytes),
            mod_revision: pair.mod_revision,
            create_revision: pair.create_revision,
            lease: pair.lease,
        }),
        DELETE => None,
        _ => return None,
    };
    Some(Step { key: pair.key.into(), value, revision: pair.mod_revision })
}

/// The first key behind all that begin with a prefix; `\0` if there is none, which means: to the end.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

const PUT: i32 = 0;
const DELETE: i32 = 1;

/// Keys of one page, as long as they are small.
const MOST_KEYS: i64 = 1_000;

/// A watch that lives as long is no failure.
const SETTLED: Duration = Duration::from_secs(2);

/// The time for one page.
const PAGE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next() {
        assert_eq!(end_of(b"/serin/"), b"/serin0");
        assert_eq!(end_of(&[b'a', 0xff, 0xff]), b"b");
        assert_eq!(end_of(&[0xff]), [0]);
        assert_eq!(end_of(b""), [0]);
    }
}
