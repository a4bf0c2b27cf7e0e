//! Writing what a plan says: all of it or nothing, and only where nobody has written meanwhile.

use std::fmt;

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use serde::Serialize;

use super::plan::{Change, What};
use crate::control_path::etcd::{Cluster, Trouble};

/// Who writes, and why: kept under `history/push/`.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// Who.
    pub by: String,
    /// When, as in RFC 3339.
    pub at: String,
    /// Why.
    pub message: Option<String>,
}

/// Why nothing, or not all, was written.
#[derive(Debug)]
pub enum Refusal {
    /// More than etcd takes at once.
    TooMuch {
        /// Keys of one transaction.
        keys: usize,
        /// Bytes of one transaction.
        bytes: usize,
    },
    /// Somebody has written one of the keys since they were read.
    Overtaken,
    /// etcd did not take it.
    Trouble(Trouble),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch { keys, bytes } => write!(
                f,
                "{keys} keys with {bytes} bytes are more than etcd takes in one transaction ({MOST_KEYS} keys, {MOST_BYTES} bytes); \
                 --split writes them in several, one after the other"
            ),
            Self::Overtaken => f.write_str(
                "somebody has written one of these keys meanwhile; nothing of this step was written, look again",
            ),
            Self::Trouble(trouble) => trouble.fmt(f),
        }
    }
}

#[derive(Serialize)]
struct Entry<'n> {
    #[serde(flatten)]
    note: &'n Note,
    changes: Vec<String>,
}

/// Writes changes in one transaction, or, with `split`, in as many as it takes. Returns the revision of the last one.
///
/// # Errors
/// Nothing was written; with `split`, what came before the step that failed was.
pub async fn write(cluster: &Cluster, changes: &[Change], note: &Note, split: bool) -> Result<i64, Refusal> {
    let steps = if split { steps(changes) } else { vec![changes] };
    for step in &steps {
        let (keys, bytes) = size(step);
        if keys > MOST_KEYS || bytes > MOST_BYTES {
            return Err(Refusal::TooMuch { keys, bytes });
        }
    }
    let mut revision = 0;
    for (number, step) in steps.into_iter().enumerate() {
        revision = write_step(cluster, step, note, number).await?;
    }
    Ok(revision)
}

async fn write_step(cluster: &Cluster, step: &[Change], note: &Note, number: usize) -> Result<i64, Refusal> {
    let key = |change: &Change| format!("{}{}", cluster.prefix(), change.key());
    let unchanged = step.iter().map(|change| Compare::mod_revision(key(change), CompareOp::Equal, change.known));
    let mut writes: Vec<TxnOp> = step
        .iter()
        .map(|change| match &change.what {
            What::Add(value) | What::Replace(value) => TxnOp::put(key(change), value.as_str(), None),
            What::Delete => TxnOp::delete(key(change), None),
        })
        .collect();
    let entry = Entry { note, changes: step.iter().map(ToString::to_string).collect() };
    let entry = serde_json::to_string(&entry).map_err(|error| Refusal::Trouble(Trouble::new(error)))?;
    writes.push(TxnOp::put(format!("{}history/push/{}-{number}", cluster.prefix(), note.at), entry, None));
    let transaction = Txn::new().when(unchanged.collect::<Vec<_>>()).and_then(writes);
    cluster.transact(transaction).await.map_err(Refusal::Trouble)?.ok_or(Refusal::Overtaken)
}

/// As few steps as possible.
fn steps(changes: &[Change]) -> Vec<&[Change]> {
    let (mut steps, mut rest) = (Vec::new(), changes);
    while !rest.is_empty() {
        let fits = |count: &usize| {
            let (keys, bytes) = size(&rest[..*count]);
            keys <= MOST_KEYS && bytes <= MOST_BYTES
        };
        let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
        let (step, others) = rest.split_at(count);
        steps.push(step);
        rest = others;
    }
    steps
}

/// Keys, with that of the history, and bytes.
fn size(changes: &[Change]) -> (usize, usize) {
    let bytes = |change: &Change| match &change.what {
        // The name once more for the comparison, and once for the history.
        What::Add(value) | What::Replace(value) => value.len() + 3 * change.key().len(),
        What::Delete => 3 * change.key().len(),
    };
    (changes.len() + 1, changes.iter().map(bytes).sum())
}

/// What etcd takes unless it is told otherwise (`--max-txn-ops`, `--max-request-bytes`), less some room for the rest of the
/// message.
const MOST_KEYS: usize = 128;
const MOST_BYTES: usize = 1_400_000;
