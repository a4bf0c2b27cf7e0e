//! One request and its response while they are under way: time limits, counts, and what the log will say.
//!
//! Request body, response body and the sweep all hold the [`Exchange`]; they live on one thread, so cells suffice.
//! [`Life`] is owned by whoever currently carries the request on; when it is dropped, the request is over.

mod call;
mod endpoint;
mod task;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use routing_rules::release::Group;
use routing_rules::rules::Timeouts;
use routing_rules::table::{ReleaseId, RouteId};
use tokio::task::AbortHandle;

use super::comparing::Comparing;
use super::timing::{Patience, Timing};
use crate::data_path::deadline::{ConnectionLimits, Registered};
use crate::data_path::edge::Visit;
use crate::data_path::error::RequestError;
use crate::data_path::grpc;
use crate::data_path::http::{ConnectionState, Order, http2};
use crate::data_path::upstream::Stay;
use crate::moment;
use crate::snapshot::{Ended, RoutePlace};
use crate::telemetry::access_log::{self, Record};
use crate::worker::{HeldSnapshot, Worker};
use call::Call;
use task::OwnTask;

/// A request under way.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    connection: Rc<ConnectionState>,
    started_us: u64,
    timing: Timing,
    task: OwnTask,
    expects_continue: bool,
    is_head: bool,
    /// `None` for any request but a call of gRPC.
    call: Option<Call>,
    /// What it holds of its upstream; nothing before the decision and after the end.
    stay: RefCell<Stay>,
    head_time_us: Cell<Option<u64>>,
    response_bytes: Cell<u64>,
    retries: Cell<u32>,
    status: Cell<Option<StatusCode>>,
    error: Cell<Option<RequestError>>,
    expired: Cell<Option<RequestError>>,
    request_id: RefCell<HeaderValue>,
    /// The route that was found, in the snapshot it was found in.
    route: RefCell<Option<(Rc<HeldSnapshot>, RouteId)>>,
    /// The release and group that say who serves.
    group: Cell<Option<(ReleaseId, Group)>>,
    comparing: Comparing,
    /// Its place among those of the route that are in flight.
    route_place: RefCell<Option<RoutePlace>>,
    /// What the filters of its route know of it, if there are any.
    visit: RefCell<Option<Rc<Visit>>>,
    /// When nothing kept it any longer from going to an endpoint, in µs.
    let_in_us: Cell<u64>,
    record: RefCell<Record>,
}

/// The duty to end a request: counts and logs when dropped, however the request ended.
pub(crate) struct Life {
    exchange: Rc<Exchange>,
    complete: bool,
    _registered: Registered<Exchange>,
}

impl Life {
    pub(crate) fn begin(worker: &Rc<Worker>, connection: &Rc<ConnectionState>, request: &Request<Incoming>) -> Self {
        let now_ms = worker.clock.now_ms();
        worker.counters.request_began();
        let (started_us, is_call) = (moment::now_us(), grpc::is_call(request));
        let exchange = Rc::new(Exchange {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            started_us,
            timing: match is_call {
                true => Timing::with_deadline(now_ms, grpc::timeout(request.headers())),
                false => Timing::begin(now_ms),
            },
            task: OwnTask::default(),
            expects_continue: request.headers().contains_key(header::EXPECT),
            is_head: request.method() == Method::HEAD,
            call: is_call.then(Call::default),
            stay: RefCell::default(),
            head_time_us: Cell::new(None),
            response_bytes: Cell::new(0),
            retries: Cell::new(0),
            status: Cell::new(None),
            error: Cell::new(None),
            expired: Cell::new(None),
            request_id: RefCell::new(worker.next_request_id()),
            route: RefCell::new(None),
            group: Cell::new(None),
            comparing: Comparing::default(),
            route_place: RefCell::new(None),
            visit: RefCell::new(None),
            let_in_us: Cell::new(started_us),
            record: RefCell::new(Record::begin(&worker.log, request, connection.peer())),
        });
        connection.serves(&exchange, request.version(), now_ms);
        let registered = worker.exchanges.insert(Rc::clone(&exchange));
        Self { exchange, complete: false, _registered: registered }
    }

    pub(crate) fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }

    /// The response was handed over whole.
    pub(crate) fn completed(&mut self) {
        self.complete = true;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let exchange = &self.exchange;
        if !self.complete && exchange.error.get().is_none() {
            exchange.error.set(Some(RequestError::ClientGone));
        }
        exchange.finish();
    }
}

impl Exchange {
    pub(crate) fn request_id(&self) -> HeaderValue {
        self.request_id.borrow().clone()
    }

    pub(crate) fn set_request_id(&self, id: HeaderValue) {
        *self.request_id.borrow_mut() = id;
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether its answer has no body, whatever the head says.
    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn connection(&self) -> &Rc<ConnectionState> {
        &self.connection
    }

    /// When it began, in µs of [`moment`].
    pub(crate) fn started_us(&self) -> u64 {
        self.started_us
    }

    /// Adds to what the log will say.
    pub(crate) fn record(&self) -> std::cell::RefMut<'_, Record> {
        self.record.borrow_mut()
    }

    /// Whose traffic the request is.
    pub(crate) fn set_route(&self, snapshot: &Rc<HeldSnapshot>, route: RouteId) {
        *self.route.borrow_mut() = Some((Rc::clone(snapshot), route));
    }

    /// Its route, and the snapshot that says so.
    pub(crate) fn route(&self) -> Option<(Rc<HeldSnapshot>, RouteId)> {
        self.route.borrow().clone()
    }

    /// Its route has filters of the edge.
    pub(crate) fn visits(&self, visit: Visit) -> Rc<Visit> {
        let visit = Rc::new(visit);
        *self.visit.borrow_mut() = Some(Rc::clone(&visit));
        visit
    }

    /// What those filters know of it.
    pub(crate) fn visit(&self) -> Option<Rc<Visit>> {
        self.visit.borrow().clone()
    }

    /// It waits at the edge. If its time ends meanwhile, that means this.
    pub(crate) fn waits_at_edge(&self, in_vain: RequestError) {
        self.timing.waits_at_edge(in_vain);
    }

    /// It had to wait at the edge, which is nobody else's time.
    pub(crate) fn is_let_in(&self) {
        self.let_in_us.set(moment::now_us());
        self.timing.has_waited(self.now_ms());
    }

    /// When it could have gone to an endpoint, in µs of [`moment`].
    pub(crate) fn let_in_us(&self) -> u64 {
        self.let_in_us.get()
    }

    /// And of which group.
    pub(crate) fn set_group(&self, release: ReleaseId, group: Group) {
        self.group.set(Some((release, group)));
    }

    /// Where it is yet to count.
    pub(crate) fn comparing(&self) -> &Comparing {
        &self.comparing
    }

    /// It counts as one of the route's in flight until it is over.
    pub(crate) fn set_route_place(&self, place: Option<RoutePlace>) {
        *self.route_place.borrow_mut() = place;
    }

    /// The route's limits are about requests and answers; a tunnel has its own.
    pub(crate) fn becomes_tunnel(&self) {
        self.timing.becomes_tunnel();
    }

    pub(crate) fn set_limits(&self, limits: &Timeouts) {
        self.timing.set_limits(limits);
    }

    // The request body.

    /// There is no body: the head was all.
    pub(crate) fn head_is_all(&self) {
        self.request_complete(self.let_in_us());
    }

    /// The last byte of the body came: what follows is the endpoint's time.
    pub(crate) fn body_complete(&self) {
        self.request_complete(moment::now_us());
    }

    fn request_complete(&self, at_us: u64) {
        self.timing.request_complete(self.now_ms());
        self.with_attempt(|attempt| attempt.start_clock(at_us));
    }

    pub(crate) fn is_request_complete(&self) -> bool {
        self.timing.is_request_complete()
    }

    /// Body bytes came from the client. Returns how many there are by now.
    pub(crate) fn request_bytes_came(&self, count: usize) -> u64 {
        self.timing.request_bytes_came(count, self.now_ms());
        self.timing.request_bytes()
    }

    /// Someone wants body bytes and there are none.
    pub(crate) fn waits_for_client(&self) {
        self.timing.waits_for_client(self.now_ms());
    }

    /// The body broke: bad framing, or the client went away.
    pub(crate) fn request_failed(&self, error: &hyper::Error) -> RequestError {
        let has_gone = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        // With HTTP/1 that is all; what else has a cause outside hyper is bad framing.
        let has_gone = has_gone || (self.speaks_http2() && http2::is_of_the_client(error));
        let error = match has_gone {
            true => RequestError::ClientGone,
            false => RequestError::Malformed("invalid request body"),
        };
        self.fail(error)
    }

    pub(crate) fn body_too_large(&self) -> RequestError {
        self.fail(RequestError::BodyTooLarge)
    }

    /// The body will not be read to its end; the connection must end with it.
    pub(crate) fn leave_body_unread(&self) {
        self.connection.leave_body_unread();
    }

    // The response.

    /// A response head came; whether it is valid is not yet known.
    pub(crate) fn response_head_came(&self) {
        self.timing.response_head_came(self.now_ms());
    }

    /// The client is given a head with this status.
    pub(crate) fn answers(&self, status: StatusCode) {
        self.timing.response_head_came(self.now_ms());
        self.set_status(status);
    }

    pub(crate) fn set_status(&self, status: StatusCode) {
        self.status.set(Some(status));
    }

    pub(crate) fn response_bytes_came(&self, count: usize) {
        self.timing.response_bytes_came();
        self.response_bytes.set(self.response_bytes.get() + count as u64);
    }

    /// A part of the response is on its way to the client.
    pub(crate) fn response_moves(&self) {
        self.timing.response_moves(self.now_ms());
    }

    pub(crate) fn waits_for_endpoint(&self) {
        self.timing.waits_for_endpoint(self.now_ms());
    }

    /// Whether it is the endpoint that keeps the response from going on.
    pub(crate) fn is_waiting_for_endpoint(&self) -> bool {
        self.timing.is_waiting_for_endpoint()
    }

    /// How often it was tried before.
    pub(crate) fn retries(&self) -> u32 {
        self.retries.get()
    }

    // Failing and ending.

    /// Whether the connection is to end after this request.
    pub(crate) fn is_draining(&self) -> bool {
        self.connection.is_draining()
    }

    /// Keeps the first error; later ones are its consequences.
    pub(crate) fn fail(&self, error: RequestError) -> RequestError {
        if self.error.get().is_none() {
            self.error.set(Some(error));
        }
        error
    }

    /// What went wrong so far.
    pub(crate) fn error(&self) -> Option<RequestError> {
        self.error.get()
    }

    /// Waits for a future unless a time limit ends first.
    pub(crate) async fn unless_expired<T>(
        &self,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, RequestError> {
        poll_fn(|cx| match self.expired.get() {
            Some(error) => Poll::Ready(Err(error)),
            None => {
                self.keep_waker(cx.waker());
                future.as_mut().poll(cx).map(Ok)
            }
        })
        .await
    }

    /// Who is to be woken when a time limit ends.
    pub(crate) fn keep_waker(&self, waker: &Waker) {
        // With HTTP/1 it is the connection's task, whose waker the connection has.
        if self.speaks_http2() {
            self.task.keep_waker(waker);
        }
    }

    /// The request runs in a task of its own.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        self.task.set(task);
    }

    /// Whether other requests share the connection at the same time.
    pub(crate) fn speaks_http2(&self) -> bool {
        self.connection.is_http2()
    }

    /// The time limit that ended, if one did.
    pub(crate) fn expired(&self) -> Option<RequestError> {
        self.expired.get()
    }

    /// Looks at the time limits; wakes the request if one has ended.
    pub(crate) fn expire_if_late(&self, limits: &ConnectionLimits, now_ms: u64) {
        if self.expired.get().is_some() {
            return;
        }
        if let Some(error) = self.timing.late(self.patience(limits, now_ms), now_ms) {
            self.expired.set(Some(self.fail(error)));
            self.tell_expired();
        }
    }

    /// How long the client may do nothing: less where its place is short. With HTTP/1 the connection knows best whether it reads.
    fn patience(&self, limits: &ConnectionLimits, now_ms: u64) -> Patience {
        let pressed_ms = self.with_attempt(|attempt| attempt.patience_ms()).flatten();
        let usual_ms = limits.stream_stall_ms;
        let blocked_since_ms = self.connection.write_blocked_since_ms().unwrap_or(now_ms);
        let to_read_ms = match self.speaks_http2() {
            true => Some(pressed_ms.map_or(usual_ms, |pressed_ms| pressed_ms.min(usual_ms))),
            false => pressed_ms.filter(|&pressed_ms| now_ms.saturating_sub(blocked_since_ms) >= pressed_ms),
        };
        Patience { to_read_ms, to_send_ms: pressed_ms }
    }

    /// Lets whoever polls the request see the limit. While its answer cannot be written, nobody asks for the body and so nobody
    /// would.
    fn tell_expired(&self) {
        match self.speaks_http2() {
            true if self.timing.is_waiting_for_reader() => {
                self.worker.counters.stream_stalled();
                self.task.end();
            }
            true => self.task.wake(),
            false if self.connection.write_blocked_since_ms().is_some() => self.connection.order(Order::Close),
            false => self.connection.wake(),
        }
    }

    fn finish(&self) {
        if let Some(error) = self.error.get() {
            self.comparing.failed(|| None, error);
        }
        self.call_is_left();
        self.endpoint_done();
        self.set_route_place(None);
        self.connection.has_answered(self.is_request_complete(), self.now_ms());
        let error = self.error.get();
        let status = self.status.get().or(error.map(RequestError::status)).unwrap_or(StatusCode::OK);
        let duration_us = moment::now_us().saturating_sub(self.started_us);
        let ended = Ended::new(self.counted_status(status), duration_us);
        self.worker.counters.request_ended(ended, error, self.timing.request_bytes(), self.response_bytes.get());
        self.count_traffic(ended);
        self.worker.log.write(
            &self.record.borrow(),
            &access_log::Outcome {
                request_id: &self.request_id.borrow(),
                status,
                grpc_status: self.grpc_code(),
                error,
                duration_us,
                head_time_us: self.head_time_us.get(),
                request_bytes: self.timing.request_bytes(),
                response_bytes: self.response_bytes.get(),
                retries: self.retries.get(),
            },
        );
    }

    fn count_traffic(&self, ended: Ended) {
        let route = self.route.borrow();
        let Some((snapshot, route)) = &*route else { return };
        let group = self.group.get().and_then(|(release, group)| snapshot.traffic.group(release, group));
        for traffic in snapshot.traffic.route(*route).into_iter().chain(group) {
            traffic.count(self.worker.index, ended);
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.worker.clock.now_ms()
    }
}
