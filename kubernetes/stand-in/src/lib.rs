//! A stand-in for the Kubernetes API server, for tests: in process, on a free loopback port, empty at the start and
//! gone when dropped. What clients can tell of a real server it does the same: versions, lists and watches, conflicts,
//! server-side apply, definitions of kinds, errors. It has no controllers, no admission but its own, and no schemas of
//! the built-in kinds.
//!
//! ```
//! use kubernetes_stand_in::StandIn;
//!
//! let kubernetes = StandIn::start();
//! let stored = kubernetes.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}, data: {x: y}}");
//! assert_eq!(stored["metadata"]["namespace"], "shop");
//! assert!(kubernetes.get("ConfigMap", "shop", "a").is_some());
//! ```
//!
//! Simplified, besides what the modules say of themselves: a version that is not reached yet is refused at once
//! instead of after three seconds; deletions know no grace period and no propagation; there is one user, who may
//! everything a test does not forbid; the binary form of the API (protobuf) is neither read nor written.

mod faults;
mod routes;
mod stand_in;
mod thread;

mod query;
mod read;
mod write;

mod apply;
mod resource;
mod schema;
mod selector;

mod clock;
mod counts;
mod state;
mod status;
mod store;

pub use stand_in::StandIn;
pub use stand_in::document::Document;
