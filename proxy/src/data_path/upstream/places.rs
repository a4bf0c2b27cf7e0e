//! Entering an upstream that has limits: a place at the upstream, one at an endpoint, or one in the queue.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use super::queue::Ticket;
use super::{Choice, LocalEndpoint, LocalUpstream, Wants};
use crate::data_path::error::RequestError;
use crate::moment;
use crate::snapshot::{Entrance, UpstreamDoor};

/// How a request comes to its endpoint.
pub(crate) enum Admission {
    /// It has one, and a place among the upstream's requests if these are limited.
    Admitted(Choice, Option<UpstreamPlace>),
    /// It gets one when there is room.
    Waits(Ticket),
}

/// A place among the requests of an upstream, until dropped: retries included, and to the end of the response.
pub(crate) struct UpstreamPlace {
    door: Arc<UpstreamDoor>,
    since_us: u64,
    lesson: Cell<Lesson>,
}

/// What an adaptive limit learns from a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lesson {
    /// There is no answer yet.
    Open,
    /// How long it took.
    Answered,
    /// How long nothing came.
    GivenUp,
    Nothing,
}

/// A place among the requests of an endpoint, until dropped.
pub(crate) struct EndpointPlace {
    endpoint: Rc<LocalEndpoint>,
    door: Arc<UpstreamDoor>,
}

/// The endpoint works on as many requests as it may.
pub(super) struct Full;

impl LocalUpstream {
    /// Lets a request in, or tells it to wait.
    ///
    /// # Errors
    /// There is no endpoint, or no room to wait.
    pub(crate) fn admit(&self, wants: Wants, now_us: u64, draw: impl Fn() -> u64) -> Result<Admission, RequestError> {
        if self.is_at_its_most() {
            return Err(RequestError::UpstreamFull);
        }
        let Some(queue) = self.queue() else {
            let choice = self.choose(wants, &[], now_us, draw).ok_or(RequestError::NoEndpoint)?;
            return Ok(Admission::Admitted(choice, None));
        };
        let mut entrance = queue.door().enter();
        if entrance == Entrance::Inside {
            match self.claim(queue.door(), wants, now_us, &draw)? {
                Some((choice, place)) => return Ok(Admission::Admitted(choice, Some(place))),
                None => entrance = queue.door().step_back(),
            }
        }
        match entrance {
            Entrance::Full => Err(RequestError::UpstreamFull),
            _ => Ok(Admission::Waits(queue.join())),
        }
    }

    /// An endpoint for a request that waits, if there is room now.
    ///
    /// # Errors
    /// There is no endpoint any more.
    pub(crate) fn admit_waiting(
        &self,
        ticket: &Ticket,
        wants: Wants,
        draw: &impl Fn() -> u64,
    ) -> Result<Option<(Choice, UpstreamPlace)>, RequestError> {
        while ticket.call() {
            let now_us = moment::now_us();
            if let Some(claimed) = self.claim(ticket.door(), wants, now_us, draw)? {
                return Ok(Some(claimed));
            }
            ticket.uncall();
            // Whoever freed an endpoint's place before that saw nobody wait.
            if !self.has_room(wants) {
                break;
            }
        }
        Ok(None)
    }

    /// An endpoint for a request that has come in. `None` if those there are have no room; the request is then still inside.
    fn claim(
        &self,
        door: &Arc<UpstreamDoor>,
        wants: Wants,
        now_us: u64,
        draw: &impl Fn() -> u64,
    ) -> Result<Option<(Choice, UpstreamPlace)>, RequestError> {
        if let Some(choice) = self.choose(wants, &[], now_us, draw) {
            let place = UpstreamPlace { door: Arc::clone(door), since_us: now_us, lesson: Cell::new(Lesson::Open) };
            return Ok(Some((choice, place)));
        }
        if self.is_full(wants) {
            return Ok(None);
        }
        door.leave();
        door.ring();
        Err(RequestError::NoEndpoint)
    }
}

impl UpstreamPlace {
    /// An answer came, or did not in time. One that says that the upstream protects itself says nothing of how long its work
    /// takes, and neither does a tunnel.
    pub(crate) fn ended(&self, answer: Result<StatusCode, RequestError>) {
        self.lesson.set(match answer {
            Ok(StatusCode::SWITCHING_PROTOCOLS | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                Lesson::Nothing
            }
            Ok(_) | Err(RequestError::ConnectTimeout | RequestError::ResponseTimeout) => Lesson::Answered,
            Err(RequestError::ClientGone) if self.lesson.get() == Lesson::Open => Lesson::GivenUp,
            Err(_) => Lesson::Nothing,
        });
    }
}

impl EndpointPlace {
    /// A place, nothing where they are not limited, or an error if there is none.
    pub(super) fn claim(
        endpoint: &Rc<LocalEndpoint>,
        limits: Option<(u32, &Arc<UpstreamDoor>)>,
    ) -> Result<Option<Self>, Full> {
        match limits {
            None => Ok(None),
            Some((limit, _)) if !endpoint.shared().enter(limit) => Err(Full),
            Some((_, door)) => Ok(Some(Self { endpoint: Rc::clone(endpoint), door: Arc::clone(door) })),
        }
    }
}

impl Drop for UpstreamPlace {
    fn drop(&mut self) {
        let took_us = || moment::now_us().saturating_sub(self.since_us);
        match self.lesson.get() {
            Lesson::Answered => self.door.answered(took_us()),
            Lesson::GivenUp => self.door.given_up(took_us()),
            Lesson::Open | Lesson::Nothing => {}
        }
        self.door.leave();
        self.door.ring();
    }
}

impl Drop for EndpointPlace {
    fn drop(&mut self) {
        self.endpoint.shared().leave();
        self.door.ring();
    }
}
