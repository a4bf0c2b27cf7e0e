//! A folder of rule files and the keys of etcd: what one says that the other does not, and writing it there.

mod folder;
mod plan;
mod write;

pub use folder::{Pulled, pull, read};
pub use plan::{Change, Plan, What, plan};
pub use write::{Note, Refusal, write};
