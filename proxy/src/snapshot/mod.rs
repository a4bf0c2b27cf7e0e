//! What the data path reads: one immutable [`Snapshot`], replaced as a whole.
//!
//! Everything of a request is decided from one snapshot, so two parts of a decision can never disagree.
//! Snapshots share what did not change. What an endpoint has learned (its counters) belongs to its identity and
//! lives through every swap, because [`Endpoint`]s are shared between snapshots; so do the [`Traffic`] of a route and the
//! [`Comparison`] of a release.

mod activity;
mod answers;
mod breaker;
mod by_route;
mod checked;
mod comparison;
mod connection;
mod discovered;
mod edge;
mod endpoint;
mod environments;
mod evidence;
mod group;
mod handshake;
mod limit;
mod mirrored;
mod recent;
mod stratum;
mod tally;
mod tls;
mod traffic;
mod transport;
mod upstream;
mod version;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::{OrdSet, Vector};
use routing_rules::request::GeoDatabase;
use routing_rules::rules::{AddressSet, Name};
use routing_rules::table::{RouteTable, UpstreamId};

pub use activity::{Activity, Look, Mark};
pub use answers::{AnswerCell, Answers, CHALLENGE_PATH, CHALLENGE_PROTOCOL};
pub use breaker::{Admitted, BreakerState, Results, SharedGate};
pub use by_route::ByRoute;
pub use checked::Checked;
pub use comparison::{Compared, Comparison};
pub use connection::{ConnectionCounters, ConnectionEnd, ConnectionTotals};
pub use discovered::{Discovered, Failed, Outcome, State};
pub use edge::{Met, RouteEdge};
pub(crate) use endpoint::add;
pub use endpoint::{Endpoint, EndpointCounters, EndpointTotals};
pub use environments::{KnownEnvironments, LiveEnvironments};
pub use group::Group;
pub use handshake::{TlsEnd, TlsFailure};
pub use limit::{DoorTotals, RouteLimits, UpstreamDoor};
pub(crate) use limit::{Entrance, RoutePlace, RouteRefusal, client_network, has_limits};
pub use mirrored::{MirrorTally, Mirrored};
pub use recent::RecentUser;
pub use stratum::{FirstAttempt, Outcomes, SIXTEEN, Stratum, StratumTotals};
pub use tally::{DURATION_BOUNDS, Ended, Tally, TallyTotals};
pub use tls::{Certificate, ClientPolicy, HostCertificates, ListenerTls, Listening, Terms, Tls};
pub use traffic::{Retired, RetiredTraffic, Traffic, TrafficIndex};
pub use transport::{EndpointTls, Transport};
pub use upstream::{Balancer, Member, Sticky, Upstream, Weighing};

/// Everything the data path needs to serve a request. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts the swaps of this process, from 1.
    pub generation: u64,
    /// The routes, and which upstreams and releases they use.
    pub table: RouteTable,
    /// The upstreams by [`UpstreamId::index`]; a free slot is `None`.
    pub upstreams: Vector<Option<Arc<Upstream>>>,
    /// The upstreams to whose endpoints connections are opened ahead of requests.
    pub warm: OrdSet<UpstreamId>,
    /// The upstreams whose endpoints are told whose a connection is.
    pub announcing: OrdSet<UpstreamId>,
    /// Which upstreams the ticks have to look at.
    pub activity: Activity,
    /// What went through routes and releases so far.
    pub traffic: TrafficIndex,
    /// What the limits of routes have counted.
    pub route_limits: ByRoute<RouteLimits>,
    /// What the filters of routes let in, refuse and compress.
    pub route_edges: ByRoute<RouteEdge>,
    /// Which listener an open address belongs to. Here, because routes may name listeners: when one takes the address of
    /// another, connections that stay must meet its routes with the same snapshot.
    pub listeners: Arc<[(SocketAddr, Name)]>,
    /// Certificates, and what connections of each listener begin with.
    pub tls: Arc<Tls>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Arc<AddressSet>,
    /// Where addresses are.
    pub geo: Option<Arc<dyn GeoDatabase>>,
    /// Which environments are known of the templates among the rules. No request looks at it.
    pub environments: Arc<KnownEnvironments>,
}

impl Snapshot {
    /// A snapshot that serves nothing, for the time before the first rules.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            table: RouteTable::default(),
            upstreams: Vector::new(),
            warm: OrdSet::new(),
            announcing: OrdSet::new(),
            activity: Activity::default(),
            traffic: TrafficIndex::default(),
            route_limits: ByRoute::default(),
            route_edges: ByRoute::default(),
            listeners: Arc::default(),
            tls: Arc::default(),
            trusted_proxies: Arc::default(),
            geo: None,
            environments: Arc::default(),
        }
    }

    /// An upstream of this snapshot's table.
    pub fn upstream(&self, id: UpstreamId) -> Option<&Arc<Upstream>> {
        self.upstreams.get(id.index())?.as_ref()
    }

    /// The upstream of an endpoint, if it is still among these.
    pub fn upstream_of(&self, endpoint: &Endpoint) -> Option<(UpstreamId, &Arc<Upstream>)> {
        let id = self.table.upstream_id(endpoint.upstream().as_str())?;
        Some((id, self.upstream(id)?))
    }

    /// The same rules with other names for the open addresses, and what is in force there.
    pub fn with_listeners(&self, listeners: Arc<[(SocketAddr, Name)]>, tls: Arc<Tls>) -> Self {
        Self { listeners, tls, ..self.clone() }
    }

    /// The same rules with other endpoints.
    pub fn with_upstreams(&self, upstreams: Vector<Option<Arc<Upstream>>>) -> Self {
        Self { upstreams, ..self.clone() }
    }

    /// The listener an open address belongs to.
    pub fn listener_at(&self, bound: SocketAddr) -> Option<&Name> {
        self.listeners.iter().find(|(address, _)| *address == bound).map(|(_, name)| name)
    }

    /// Whether the forwarding headers of a peer are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        !self.trusted_proxies.is_empty() && self.trusted_proxies.contains(peer)
    }
}

/// The place a worker reads the current snapshot from.
pub type SnapshotCell = ArcSwap<Snapshot>;
