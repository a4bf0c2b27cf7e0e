//! What a push would write: the objects of a folder that the keys do not have so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use routing_rules::rules::Kind;

use crate::control_path::catalog::{Catalog, Named};
use crate::control_path::decode::Problem;
use crate::control_path::etcd::Keys;
use crate::control_path::source::etcd::texts_of;
use crate::control_path::source::{Text, TextKind, Texts};

/// What a push would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// In an order in which nothing refers to what is not there.
    pub changes: Vec<Change>,
    /// Objects that are the same in both.
    pub unchanged: usize,
    /// The newest revision that wrote any of what is there.
    pub newest: i64,
}

/// One key that would be written.
#[derive(Debug)]
pub struct Change {
    /// Which object.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// What becomes of it.
    pub what: What,
    /// The revision that wrote what is there; 0 if there is nothing.
    pub known: i64,
}

/// What becomes of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// It is new, and says this.
    Add(String),
    /// It says this from now on.
    Replace(String),
    /// It goes.
    Delete,
}

impl Change {
    /// The key behind the prefix.
    pub fn key(&self) -> String {
        format!("{}/{}", self.kind.map_name(), self.name)
    }
}

impl fmt::Display for Change {
    /// `+ routes/shop`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.what {
            What::Add(_) => '+',
            What::Replace(_) => '~',
            What::Delete => '-',
        };
        write!(f, "{sign} {}", self.key().escape_debug())
    }
}

/// Compares the texts of a folder with the keys. With `prune`, what the folder does not have goes.
///
/// # Errors
/// Something in the folder is wrong, or refers to what would not be there.
pub fn plan(folder: &[Text], keys: &Keys, prefix: &str, prune: bool) -> Result<Plan, Vec<Problem>> {
    let in_etcd = texts_of(prefix, keys);
    let mut theirs = Catalog::default();
    theirs.update_texts(&in_etcd, None);
    let mut all = if prune { Texts::default() } else { in_etcd.clone() };
    all.put_files(folder.iter().cloned());
    let mut union = Catalog::default();
    union.update_texts(&all, None);
    let files: BTreeSet<&str> = folder.iter().map(|text| &*text.name).collect();
    let problems = union.problems().iter().filter(|problem| files.contains(&*problem.source));
    let problems: Vec<Problem> = problems.cloned().collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let there: BTreeMap<(Kind, Arc<str>), i64> = in_etcd.iter().filter_map(object).collect();
    let theirs: BTreeMap<(Kind, Arc<str>), Named> = theirs.objects().map(|object| (object.key(), object)).collect();
    let ours = union.objects().filter(|object| files.contains(object.document()));
    let newest = in_etcd.iter().filter_map(Text::revision).max().unwrap_or_default();
    let (mut plan, mut kept) = (Plan { newest, ..Plan::default() }, BTreeSet::new());
    for object in ours {
        let key = object.key();
        let known = there.get(&key).copied().unwrap_or_default();
        match theirs.get(&key).is_some_and(|their| their.says_the_same(&object)) {
            true => plan.unchanged += 1,
            false => {
                let value = object.json();
                let what = if known == 0 { What::Add(value) } else { What::Replace(value) };
                plan.changes.push(Change { kind: key.0, name: Arc::clone(&key.1), what, known });
            }
        }
        kept.insert(key);
    }
    if prune {
        let gone = there.into_iter().filter(|(key, _)| !kept.contains(key));
        plan.changes.extend(gone.map(|((kind, name), known)| Change { kind, name, what: What::Delete, known }));
    }
    plan.changes.sort_by_key(|change| (rank(change), Arc::clone(&change.name)));
    Ok(plan)
}

fn object(text: &Text) -> Option<((Kind, Arc<str>), i64)> {
    match &text.kind {
        TextKind::Object { kind, name, revision } => Some(((*kind, Arc::clone(name)), *revision)),
        _ => None,
    }
}

/// What is referred to comes first and goes last.
fn rank(change: &Change) -> u8 {
    let rank = match change.kind {
        Kind::AcmeAccount => 0,
        Kind::Certificate => 1,
        Kind::Listener => 2,
        Kind::Upstream => 3,
        Kind::Release => 4,
        Kind::Route => 5,
    };
    if change.what == What::Delete { 12 - rank } else { rank }
}
