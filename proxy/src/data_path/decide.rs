//! Route, group, endpoint: decided at once from one snapshot, without I/O and without waiting.
//!
//! [`find`] and [`place`] need nothing but the snapshot and are also what `explain` calls, so that an explanation can
//! never differ from what a request meets. [`Destination`] adds what only a worker has: its place in the schedule,
//! and what it has under way.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use routing_rules::release::{Assignment, Bucket, Group, Moment};
use routing_rules::request::RequestView;
use routing_rules::retry::{self, Failed};
use routing_rules::rules::{Override, Route};
use routing_rules::table::{CompiledRelease, CompiledTarget, ReleaseId, RouteId, RouteMatch, UpstreamId};

use super::error::RequestError;
use super::upstream::{Admission, Attempt, GroupPass, LocalUpstream, Shut, Stay, Ticket, UpstreamPlace, Wants};
use crate::moment;
use crate::snapshot::{Snapshot, Upstream};
use crate::worker::{HeldSnapshot, Worker};

/// Where a request goes, and everything needed later from the same snapshot.
pub(crate) struct Decision {
    pub(crate) snapshot: Rc<HeldSnapshot>,
    pub(crate) route: RouteId,
    pub(crate) placed: Option<Placed>,
    pub(crate) destination: Destination,
}

/// The upstream of a request, and what it takes to choose an endpoint.
pub(crate) struct Destination {
    upstream: Rc<LocalUpstream>,
    wants: Wants,
    /// Where the request was tried before.
    tried: Vec<usize>,
    /// Its place in the queue, as long as it waits.
    ticket: Option<Ticket>,
}

/// Which upstream serves a request, and the release that had a say in it.
pub(crate) struct Placement<'s> {
    pub(crate) upstream: UpstreamId,
    /// Who serves if the upstream as a whole lets nobody pass.
    pub(crate) instead: Option<UpstreamId>,
    /// The user's place from 0 to 9,999: an upstream that comes back lets the lower ones in first.
    pub(crate) line: u16,
    pub(crate) release: Option<Placing<'s>>,
    /// What the other releases of the same stable upstream say, if none of all has a canary for the user: each compares it.
    pub(crate) others: Vec<Placing<'s>>,
}

/// What a release says of a user.
pub(crate) struct Placing<'s> {
    pub(crate) id: ReleaseId,
    pub(crate) assignment: Assignment<'s>,
    /// The user is assigned to the canary group, but its upstream has no endpoint or its breaker is open, so stable serves.
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
    let mut first: Option<Placement<'_>> = None;
    let mut releases = route.releases();
    while let [id, later @ ..] = releases {
        releases = later;
        let Some(release) = snapshot.table.release(*id) else { continue };
        let mut assignment = release.assigner.assign(request, moment);
        let wants_canary = assignment.group == Group::Canary;
        let line = assignment.bucket.map_or_else(|| drawn_line(moment), Bucket::line);
        let canary = snapshot.upstream(release.canary).filter(|_| wants_canary);
        if canary.is_some_and(|canary| canary.takes_requests() && canary.lets_in(line, request.method.is_idempotent()))
        {
            let is_wanted =
                |later| snapshot.table.release(later).is_some_and(|later| wants(later, release, request, moment));
            if assignment.arm.is_some() && later.iter().any(|later| is_wanted(*later)) {
                assignment.arm = None;
            }
            let placing = Placing { id: *id, assignment, canary_is_down: false };
            return Some(Placement {
                upstream: release.canary,
                instead: Some(release.stable),
                line,
                release: Some(placing),
                // Those asked before say nothing of a user whom the canary of this one serves.
                others: Vec::new(),
            });
        }
        // A canary that is down must not be its users' problem. With several releases the first one speaks for a
        // user whom none takes.
        let placing = Placing { id: *id, assignment, canary_is_down: wants_canary };
        match &mut first {
            None => {
                let (upstream, release) = (release.stable, Some(placing));
                first = Some(Placement { upstream, instead: None, line, release, others: Vec::new() });
            }
            // The same stable upstream serves the users outside all of them.
            Some(first) if first.upstream == release.stable => {
                if wants_canary {
                    let earlier = first.release.iter_mut().chain(&mut first.others);
                    earlier.for_each(|earlier| earlier.assignment.arm = None);
                }
                first.others.push(placing);
            }
            Some(_) => {}
        }
    }
    let line = drawn_line(moment);
    Some(first.unwrap_or(Placement { upstream: own, instead: None, line, release: None, others: Vec::new() }))
}

/// Whether the user would be in the canary group of a later release of the same stable upstream. The control of an earlier one
/// lacks those, so its canary must as well when the two are compared.
fn wants(later: &CompiledRelease, earlier: &CompiledRelease, request: &RequestView<'_>, moment: &Moment) -> bool {
    later.stable == earlier.stable && later.assigner.assign(request, moment).group == Group::Canary
}

/// A place from 0 to 9,999 for a request of nobody in particular.
fn drawn_line(moment: &Moment) -> u16 {
    Bucket::from_hash(moment.draw[1]).line()
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
    /// Who serves while the upstream's breaker lets nobody pass.
    pub(crate) fn fallback(&self, snapshot: &Snapshot, own: &Upstream) -> Option<UpstreamId> {
        let named = own.rules.fallback().and_then(|name| snapshot.table.upstream_id(name.as_str()));
        named.or(self.instead)
    }

    /// What is kept once the snapshot's borrow ends.
    pub(crate) fn keep(self, snapshot: &Snapshot, secure: bool) -> Option<Placed> {
        self.release.and_then(|placing| {
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
        })
    }
}

/// Why an upstream has no endpoint for a request.
pub(crate) fn without_endpoint(upstream: &Upstream) -> RequestError {
    let said = upstream.rules.empty_status().filter(|_| upstream.endpoints.is_empty());
    said.map_or(RequestError::NoEndpoint, RequestError::Empty)
}

impl Destination {
    /// The upstream. The request's stay there begins: at the endpoint whose turn it is, or in the queue if the upstream has as
    /// much to do as it may.
    ///
    /// # Errors
    /// No endpoint takes requests, or there is no room to wait.
    pub(crate) fn choose(
        worker: &Worker,
        snapshot: &Snapshot,
        placement: &Placement<'_>,
        request: &RequestView<'_>,
        now_us: u64,
        stay: &mut Stay,
    ) -> Result<Self, RequestError> {
        let local = |id: UpstreamId| local(worker, snapshot, id).ok_or(RequestError::NoEndpoint);
        let own = local(placement.upstream)?;
        let (upstream, pass) = match GroupPass::take(&own, placement.line, request.method.is_idempotent()) {
            Ok(pass) => (own, pass),
            // A fallback is asked for an endpoint and nothing else: its own fallback is not followed.
            Err(Shut { retry_after_s }) => {
                stay.turn_away();
                let fallback = placement.fallback(snapshot, own.shared());
                (local(fallback.ok_or(RequestError::BreakerOpen(retry_after_s))?)?, None)
            }
        };
        let wants = upstream.wants(request, worker.unix_secs());
        stay.begin(pass);
        let ticket = match upstream.admit(wants, now_us, || worker.draw()) {
            Ok(Admission::Admitted(choice, place)) => {
                stay.enter(Attempt::new(Rc::clone(&upstream), choice), place);
                None
            }
            Ok(Admission::Waits(ticket)) => Some(ticket),
            Err(error) => {
                stay.refused(error);
                return Err(if error == RequestError::NoEndpoint {
                    without_endpoint(upstream.shared())
                } else {
                    error
                });
            }
        };
        Ok(Self { upstream, wants, tried: Vec::new(), ticket })
    }

    /// How long the request may wait for its endpoint. `None` if it has one.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.ticket.as_ref()?;
        // Without a queue in these rules, those in force by now have one.
        Some(self.upstream.shared().rules.limits().queue.map_or(Duration::ZERO, |queue| queue.timeout))
    }

    /// Waits until an endpoint has room.
    ///
    /// # Errors
    /// No endpoint takes requests any more.
    pub(crate) async fn wait(&mut self, worker: &Worker) -> Result<Option<(Attempt, UpstreamPlace)>, RequestError> {
        let Some(ticket) = &self.ticket else { return Ok(None) };
        let (upstream, wants) = (&mut self.upstream, &mut self.wants);
        let enter = |ticket: &Ticket| {
            if let Some(newest) = newest(worker, upstream, ticket) {
                *wants = newest.wants_of(upstream, *wants);
                *upstream = newest;
            }
            upstream.admit_waiting(ticket, *wants, &|| worker.draw()).transpose()
        };
        let (choice, place) = ticket.until(enter).await?;
        self.ticket = None;
        Ok(Some((Attempt::new(Rc::clone(&self.upstream), choice), place)))
    }

    /// Counts that the request waited for too long.
    pub(crate) fn count_timeout(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.door().timed_out();
        }
    }

    /// Whether a request that failed at the endpoint of `attempt` is sent again: to another endpoint, or, where nothing else is left and
    /// only a kept connection had been closed, to the same. What is nobody's fault is excused there.
    pub(crate) fn turn(
        &mut self,
        attempt: &mut Attempt,
        tried: &retry::Attempt,
        is_late: bool,
        worker: &Worker,
        now_ms: u64,
    ) -> Option<Attempt> {
        if tried.failed.is_of_idle_connection() {
            attempt.excuse();
        }
        if is_late || !self.upstream.may_retry(tried, now_ms) {
            return None;
        }
        // An endpoint may refuse a request that goes elsewhere, or comes again. One that refuses them all serves nobody.
        if tried.failed.is_excused() {
            attempt.excuse();
        }
        match self.choose_another(attempt, worker, moment::now_us()) {
            None if tried.failed == Failed::Connect => None,
            another => Some(another.unwrap_or_else(|| attempt.again())),
        }
    }

    /// An endpoint other than that of `attempt` and those before. It is not waited for.
    pub(crate) fn choose_another(&mut self, attempt: &Attempt, worker: &Worker, now_us: u64) -> Option<Attempt> {
        self.has_tried(attempt);
        let choice = self.upstream.choose(self.wants, &self.tried, now_us, || worker.draw())?;
        Some(Attempt::new(Rc::clone(&self.upstream), choice))
    }

    /// The request has been at the endpoint of `attempt` and goes there no more.
    pub(crate) fn has_tried(&mut self, attempt: &Attempt) {
        self.tried.push(attempt.place());
    }

    /// The cookie that leads a client back to where `attempt` served it, if it needs one.
    pub(crate) fn session_cookie(&self, attempt: &Attempt, worker: &Worker, secure: bool) -> Option<HeaderValue> {
        self.upstream.session_cookie(self.wants.affinity, attempt.place(), worker.unix_secs(), secure)
    }

    pub(crate) fn upstream(&self) -> &LocalUpstream {
        &self.upstream
    }
}

/// A worker's view of an upstream. While a request waited at the edge of its route the rules may have been replaced: what all requests
/// share is never brought back to them. An upstream that has gone is there for this one alone.
fn local(worker: &Worker, snapshot: &Snapshot, id: UpstreamId) -> Option<Rc<LocalUpstream>> {
    let (newest, shared) = (worker.snapshot(), snapshot.upstream(id)?);
    let is_current = std::ptr::eq::<Snapshot>(&**newest, snapshot);
    let newest_id = if is_current { Some(id) } else { newest.table.upstream_id(shared.name().as_str()) };
    let current = newest_id.and_then(|id| Some((id, newest.upstream(id)?)));
    let local = match current {
        Some((id, shared)) => worker.upstreams.get(id, shared, || worker.draw()),
        None => worker.upstreams.apart(shared, || worker.draw()),
    };
    local.shared().has_news();
    Some(local)
}

/// What the rules of this moment make of an upstream in whose queue a request waits: its endpoints and limits may be others by
/// now. `None` if they are the same, or if it has gone.
fn newest(worker: &Worker, upstream: &LocalUpstream, ticket: &Ticket) -> Option<Rc<LocalUpstream>> {
    let snapshot = worker.snapshot();
    let id = snapshot.table.upstream_id(upstream.shared().name().as_str())?;
    let shared = snapshot.upstream(id).filter(|shared| !std::ptr::eq(&***shared, upstream.shared()))?;
    let is_same_queue = shared.door.as_ref().is_none_or(|door| Arc::ptr_eq(door, ticket.door()));
    is_same_queue.then(|| worker.upstreams.get(id, shared, || worker.draw()))
}
