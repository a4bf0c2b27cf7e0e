//! Where rules come from. A source yields texts and nothing cleverer.

pub mod etcd;
pub mod file;

pub mod kubernetes;

mod texts;

use std::sync::Arc;

use routing_rules::rules::Kind;
pub use texts::{Change, Difference, Place, Texts};

/// One text of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// File name or key, as messages show it.
    pub name: Arc<str>,
    /// What it says, or why it could not be read.
    pub content: Result<Arc<str>, String>,
    /// What may stand in it.
    pub kind: TextKind,
}

/// What a text is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Settings and rules.
    Main,
    /// Rules.
    Rules,
    /// One object, and nothing but it.
    Object {
        /// Which map it would stand in.
        kind: Kind,
        /// Its name.
        name: Arc<str>,
        /// The revision of the store that wrote it.
        revision: i64,
    },
    /// It has a place where rules stand, and is none.
    Unknown {
        /// The revision of the store that wrote it, if that is what is wrong.
        revision: Option<i64>,
    },
    /// It stands for a source that nothing was heard of yet.
    Unheard,
}

impl Text {
    /// The revision of the store that wrote it, where there is one.
    pub fn revision(&self) -> Option<i64> {
        match self.kind {
            TextKind::Object { revision, .. } => Some(revision),
            TextKind::Unknown { revision } => revision,
            TextKind::Main | TextKind::Rules | TextKind::Unheard => None,
        }
    }
}
