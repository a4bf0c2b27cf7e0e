//! Route, group, endpoint: decided at once from one snapshot, without I/O and without waiting.
//!
//! [`find`] and [`place`] need nothing but the snapshot and are also what `explain` calls, so that an explanation can
//! never differ from what a request meets. [`Destination`] adds what only a worker has: its place in the schedule,
//! and what it has under way.

use std::rc::Rc;

use http::header::{HeaderName, HeaderValue};
use routing_rules::release::{Assignment, Group, Moment};
use routing_rules::request::RequestView;
use routing_rules::rules::{Override, Route};
use routing_rules::table::{CompiledTarget, ReleaseId, RouteId, RouteMatch, UpstreamId, hash_of};

use super::upstream::{Attempt, LocalEndpoint, LocalUpstream};
use crate::snapshot::{Admitted, Snapshot};
use crate::worker::{HeldSnapshot, Worker};

/// Where a request goes, and everything needed later from the same snapshot.
pub(crate) struct Decision {
    pub(crate) snapshot: Rc<HeldSnapshot>,
    pub(crate) route: RouteId,
    pub(crate) placed: Option<Placed>,
    pub(crate) destination: Destination,
}

/// The endpoint of a request, and what it takes to choose another one.
pub(crate) struct Destination {
    upstream: Rc<LocalUpstream>,
    hash: Option<u64>,
    place: usize,
    admitted: Admitted,
    /// Where the request was tried before.
    tried: Vec<usize>,
}

/// Which upstream serves a request, and the release that had a say in it.
pub(crate) struct Placement<'s> {
    pub(crate) upstream: UpstreamId,
    pub(crate) release: Option<Placing<'s>>,
}

/// What a release says of a user.
pub(crate) struct Placing<'s> {
    pub(crate) id: ReleaseId,
    pub(crate) assignment: Assignment<'s>,
    /// The user is assigned to the canary group, but its upstream has no endpoint, so stable serves.
    pub(crate) canary_is_down: bool,
}

/// What is kept of an assignment while the request is under way.
pub(crate) struct Placed {
    pub(crate) release: ReleaseId,
    pub(crate) group: Group,
    /// The release's name as a header value.
    pub(crate) name: HeaderValue,
    /// `Set-Cookie` lines for the client.
    pub(crate) cookies: Vec<HeaderValue>,
}

impl Decision {
    /// The route that was matched.
    pub(crate) fn route(&self) -> &Route {
        self.snapshot.table.route(self.route).expect("the route was found in this very snapshot").rules()
    }

    /// Whether the client is told its group.
    pub(crate) fn exposes_group(&self, placed: &Placed) -> bool {
        self.release_rules(placed).is_some_and(|release| release.expose())
    }

    /// The request header that an override was or might have been read from; it ends at Serin.
    pub(crate) fn override_header(&self, placed: &Placed) -> Option<&HeaderName> {
        match self.release_rules(placed)?.override_source()? {
            Override::Header(name) => Some(name),
            Override::Cookie(_) => None,
        }
    }

    fn release_rules(&self, placed: &Placed) -> Option<&routing_rules::rules::Release> {
        Some(self.snapshot.table.release(placed.release)?.assigner.rules())
    }
}

/// The route for a request.
pub(crate) fn find<'s>(snapshot: &'s Snapshot, request: &RequestView<'_>) -> Option<RouteMatch<'s>> {
    snapshot.table.find(request)
}

/// The upstream for a request of a route: the first release whose audience takes the user, else the route's own
/// target. `None` for a route that redirects.
pub(crate) fn place<'s>(
    snapshot: &'s Snapshot,
    found: &RouteMatch<'s>,
    request: &RequestView<'_>,
    moment: &Moment,
) -> Option<Placement<'s>> {
    let route = found.route();
    let own = match route.target() {
        CompiledTarget::Upstream(upstream) => *upstream,
        CompiledTarget::Split { schedule, upstreams } => *upstreams.get(schedule.pick(moment.draw[1]))?,
        CompiledTarget::Redirect => return None,
    };
    let mut first = None;
    for id in route.releases() {
        let Some(release) = snapshot.table.release(*id) else { continue };
        let assignment = release.assigner.assign(request, moment);
        let wants_canary = assignment.group == Group::Canary;
        if wants_canary && snapshot.upstream(release.canary).is_some_and(|canary| canary.takes_requests()) {
            let placing = Placing { id: *id, assignment, canary_is_down: false };
            return Some(Placement { upstream: release.canary, release: Some(placing) });
        }
        // A canary without an endpoint must not be its users' problem. With several releases the first one speaks for a
        // user whom none takes.
        first.get_or_insert(Placement {
            upstream: release.stable,
            release: Some(Placing { id: *id, assignment, canary_is_down: wants_canary }),
        });
    }
    Some(first.unwrap_or(Placement { upstream: own, release: None }))
}

impl Placing<'_> {
    /// The group that serves.
    pub(crate) fn group(&self) -> Group {
        if self.canary_is_down { Group::Stable } else { self.assignment.group }
    }

    /// Why, as one of a few words.
    pub(crate) fn reason(&self) -> &'static str {
        if self.canary_is_down { "canary_down" } else { self.assignment.reason.as_str() }
    }

    /// The name of the release.
    pub(crate) fn name(&self, snapshot: &Snapshot) -> Option<Box<str>> {
        Some(snapshot.table.release(self.id)?.assigner.rules().name().as_str().into())
    }
}

impl Placement<'_> {
    /// What is kept once the snapshot's borrow ends.
    pub(crate) fn keep(self, snapshot: &Snapshot, secure: bool) -> (UpstreamId, Option<Placed>) {
        let placed = self.release.and_then(|placing| {
            let name = snapshot.table.release(placing.id)?.assigner.rules().name();
            Some(Placed {
                release: placing.id,
                group: placing.group(),
                name: HeaderValue::from_str(name.as_str()).ok()?,
                // Not a canary user today: the pin is for those who were served by it.
                cookies: match placing.canary_is_down {
                    true => Vec::new(),
                    false => placing.assignment.cookies(secure).collect(),
                },
            })
        });
        (self.upstream, placed)
    }
}

impl Destination {
    /// The endpoint whose turn it is. `None` if none takes requests.
    pub(crate) fn choose(
        worker: &Worker,
        snapshot: &Snapshot,
        upstream: UpstreamId,
        request: &RequestView<'_>,
        now_us: u64,
    ) -> Option<Self> {
        let upstream = worker.upstreams.get(upstream, snapshot.upstream(upstream)?, || worker.draw());
        let hash = upstream.hash_key().and_then(|key| hash_of(key, request));
        let (place, admitted) = upstream.choose(hash, &[], now_us, || worker.draw())?;
        Some(Self { upstream, hash, place, admitted, tried: Vec::new() })
    }

    /// Another endpoint than those that were tried. `false` if there is none, which leaves the one there is.
    pub(crate) fn choose_another(&mut self, worker: &Worker, now_us: u64) -> bool {
        self.tried.push(self.place);
        let another = self.upstream.choose(self.hash, &self.tried, now_us, || worker.draw());
        // The one probe of an endpoint is over with the request it was for.
        self.admitted.is_probe = false;
        (self.place, self.admitted) = another.unwrap_or((self.place, self.admitted));
        another.is_some()
    }

    /// The request's stay at the endpoint, from now on.
    pub(crate) fn attempt(&self, now_us: u64) -> Attempt {
        Attempt::new(Rc::clone(&self.upstream), self.place, self.admitted, now_us)
    }

    pub(crate) fn upstream(&self) -> &LocalUpstream {
        &self.upstream
    }

    pub(crate) fn endpoint(&self) -> &Rc<LocalEndpoint> {
        self.upstream.endpoint(self.place)
    }
}
