//! What is to be said about objects.

use crate::ObjectName;

/// Something about an object that whoever wrote it should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The kind of the object, for example `Ingress`.
    pub kind: &'static str,
    /// Which one.
    pub object: ObjectName,
    /// What kind of thing it is, in one word, as Events have it.
    pub reason: &'static str,
    /// What it is, and where.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, and not as it may be meant.
    Note,
    /// A part of the object has no effect.
    Warning,
}
