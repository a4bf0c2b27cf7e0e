//! What limits count: tokens of clients, requests of a route or at an upstream. Shared by all workers in atomics, without a lock;
//! only who has a limit touches any. The arithmetic is `routing_rules::limit`'s.

mod adaptive;
mod buckets;
mod door;
mod in_flight;
mod key;
mod route;

pub(super) use buckets::Buckets;
pub(crate) use door::Entrance;
pub use door::{DoorTotals, UpstreamDoor};
pub(crate) use key::client_network;
pub use route::RouteLimits;
pub(crate) use route::{RoutePlace, RouteRefusal, has_limits};
