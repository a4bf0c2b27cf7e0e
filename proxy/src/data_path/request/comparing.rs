//! What one request says in the comparison of a release's groups: how the first attempt to serve it ended.
//!
//! It counts as soon as that is known, once, and for the group the user is assigned to, whoever served in the end. A request
//! that ended before, because its client left or a limit of ours was reached, says nothing and does not count.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::StatusCode;
use routing_rules::request::RequestView;
use routing_rules::table::ReleaseId;

use crate::data_path::decide::Placement;
use crate::data_path::error::{Blame, RequestError};
use crate::data_path::upstream::LocalEndpoint;
use crate::snapshot::{Compared, FirstAttempt};
use crate::worker::{HeldSnapshot, Worker};

/// The comparisons that a request has yet to count in.
#[derive(Default)]
pub(crate) struct Comparing {
    pending: RefCell<Option<Pending>>,
    /// How long the first endpoint had not answered when another one did.
    let_go_us: Cell<Option<u64>>,
}

struct Pending {
    snapshot: Rc<HeldSnapshot>,
    worker: usize,
    first: (ReleaseId, Compared),
    /// Of a route with several releases those that have no canary for the user either.
    others: Vec<(ReleaseId, Compared)>,
}

/// The endpoint a request is at, if it is at one.
type AtEndpoint = Option<Rc<LocalEndpoint>>;

impl Comparing {
    /// The request was placed.
    pub(crate) fn begin(
        &self,
        worker: &Worker,
        snapshot: &Rc<HeldSnapshot>,
        request: &RequestView<'_>,
        placement: &Placement<'_>,
    ) {
        for placing in placement.release.iter().chain(&placement.others) {
            let Some(compared) = Compared::new(&placing.assignment) else { continue };
            let Some(comparison) = snapshot.traffic.comparison(placing.id) else { continue };
            comparison.saw(worker.index, request, &placing.assignment, worker.unix_secs());
            if placing.canary_is_down {
                comparison.count(worker.index, &compared, None, FirstAttempt::Failed);
                continue;
            }
            let mut pending = self.pending.borrow_mut();
            let request = (placing.id, compared);
            match &mut *pending {
                Some(pending) => pending.others.push(request),
                None => {
                    let (snapshot, worker) = (Rc::clone(snapshot), worker.index);
                    *pending = Some(Pending { snapshot, worker, first: request, others: Vec::new() });
                }
            }
        }
    }

    /// The upstream that was meant for it let it not pass. Whoever stands in serves it in vain, as far as that one is compared.
    pub(super) fn turned_away(&self) {
        self.end(|| None, FirstAttempt::Failed);
    }

    /// Another endpoint answers, and the first one had not by then. It would have taken at least so long.
    pub(super) fn let_go(&self, after_us: Option<u64>) {
        self.let_go_us.set(after_us);
    }

    /// A head came, from this endpoint.
    pub(super) fn answered(&self, endpoint: impl FnOnce() -> AtEndpoint, status: StatusCode, took_us: Option<u64>) {
        // A 101 may come when somebody has something to say, and not before.
        let after_us = self.let_go_us.get().or(took_us).filter(|_| status != StatusCode::SWITCHING_PROTOCOLS);
        let first = match status.is_server_error() {
            true => FirstAttempt::Failed,
            false => FirstAttempt::Answered { after_us },
        };
        self.end(endpoint, first);
    }

    /// It came to nothing, at this endpoint or because there was none.
    pub(super) fn failed(&self, endpoint: impl FnOnce() -> AtEndpoint, error: RequestError) {
        if error.blame() == Blame::Upstream || error == RequestError::NoEndpoint {
            self.end(endpoint, FirstAttempt::Failed);
        }
    }

    fn end(&self, endpoint: impl FnOnce() -> AtEndpoint, first: FirstAttempt) {
        let Some(pending) = self.pending.take() else { return };
        let sixteenth = endpoint().map(|endpoint| endpoint.shared().sixteenth());
        for (release, compared) in [pending.first].into_iter().chain(pending.others) {
            if let Some(comparison) = pending.snapshot.traffic.comparison(release) {
                comparison.count(pending.worker, &compared, sixteenth, first);
            }
        }
    }
}
