//! etcd: reaching a cluster, and keeping a copy of what it has under a prefix.
//!
//! A copy follows every change and survives every fault of the cluster: what cannot be had now stays as it was heard last.
//! What the keys mean is others' business (`source::etcd`, `discovery::etcd`).

mod cluster;
mod keys;
mod mirror;
mod pause;

pub use cluster::{Cluster, Connection, Trouble};
pub use keys::{Keys, Value};
pub use mirror::{Heard, Mirror, Pace};
