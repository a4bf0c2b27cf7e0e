//! Who has written which fields, and server-side apply, which rests on it.
//!
//! It follows what the API promises and not how a server comes by it. Simplified: lists without keys are always
//! merged as a whole, a map that lost its last field by an apply is removed with it, and the fields of a kind are the
//! same in all its versions.

pub(crate) mod compare;
pub(crate) mod field_set;
pub(crate) mod managed;
pub(crate) mod merge;
