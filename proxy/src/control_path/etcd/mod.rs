//! etcd: reaching a cluster, keeping a copy of what it has under a prefix, and keeping a key of one's own there.
//!
//! A copy follows every change and survives every fault of the cluster: what cannot be had now stays as it was heard last.
//! What the keys mean is others' business (`source::etcd`, `discovery::etcd`).

mod cluster;
mod keys;
mod lease;
mod mirror;
mod pause;

pub use cluster::{Cluster, Connection, Trouble};
pub use keys::{Keys, Value};
pub use lease::{Held, LeasedKey};
pub use mirror::{Heard, Mirror, Pace};
pub(in crate::control_path) use pause::{pause, unit};
