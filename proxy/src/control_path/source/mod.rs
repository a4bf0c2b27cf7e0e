//! Where rules come from. A source yields texts and nothing cleverer.

pub mod file;

use std::sync::Arc;

/// One text of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// File name or key, as messages show it.
    pub name: Arc<str>,
    /// What it says, or why it could not be read.
    pub content: Result<Arc<str>, String>,
    /// Whether settings may stand in it besides rules.
    pub is_main: bool,
}
