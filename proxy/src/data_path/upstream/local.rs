//! Upstreams as one worker sees them: its place in the pick schedule, its kept connections, its counters.
//!
//! Built on first use and again when the snapshot has another version of the upstream; endpoints that stay keep
//! their connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use routing_rules::table::UpstreamId;

use super::pool::Pool;
use crate::snapshot::{Endpoint, EndpointCounters, Upstream};

/// All upstreams one worker has used.
pub(crate) struct LocalUpstreams {
    worker: usize,
    by_id: RefCell<Vec<Option<Rc<LocalUpstream>>>>,
    endpoints: RefCell<HashMap<usize, Weak<LocalEndpoint>>>,
}

/// One upstream of one worker.
pub(crate) struct LocalUpstream {
    shared: Arc<Upstream>,
    endpoints: Box<[Rc<LocalEndpoint>]>,
    seq: Cell<u64>,
}

/// One endpoint of one worker.
pub(crate) struct LocalEndpoint {
    shared: Arc<Endpoint>,
    worker: usize,
    pub(crate) pool: Pool,
}

/// A request assigned to an endpoint; counts as in flight until dropped, so that no way out can forget it.
pub(crate) struct Picked {
    endpoint: Rc<LocalEndpoint>,
}

impl LocalUpstreams {
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, by_id: RefCell::default(), endpoints: RefCell::default() }
    }

    /// This worker's view of an upstream, brought up to date with the snapshot's. `draw` starts a new schedule
    /// somewhere, so that workers do not march in step.
    pub(crate) fn get(&self, id: UpstreamId, shared: &Arc<Upstream>, draw: impl FnOnce() -> u64) -> Rc<LocalUpstream> {
        let mut by_id = self.by_id.borrow_mut();
        if by_id.len() <= id.index() {
            by_id.resize_with(id.index() + 1, || None);
        }
        let place = &mut by_id[id.index()];
        match place {
            Some(local) if Arc::ptr_eq(&local.shared, shared) => Rc::clone(local),
            old => {
                let local = self.build(shared, old.as_deref(), draw);
                *old = Some(Rc::clone(&local));
                local
            }
        }
    }

    fn build(
        &self,
        shared: &Arc<Upstream>,
        old: Option<&LocalUpstream>,
        draw: impl FnOnce() -> u64,
    ) -> Rc<LocalUpstream> {
        let seq = old.filter(|old| old.endpoints.len() == shared.endpoints.len()).map(|old| old.seq.get());
        let endpoints = shared.endpoints.iter().map(|member| self.endpoint(&member.endpoint)).collect();
        let seq = Cell::new(seq.unwrap_or_else(draw));
        Rc::new(LocalUpstream { shared: Arc::clone(shared), endpoints, seq })
    }

    fn endpoint(&self, shared: &Arc<Endpoint>) -> Rc<LocalEndpoint> {
        let identity = Arc::as_ptr(shared).addr();
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(known) = endpoints.get(&identity).and_then(Weak::upgrade) {
            return known;
        }
        let local = Rc::new(LocalEndpoint { shared: Arc::clone(shared), worker: self.worker, pool: Pool::default() });
        endpoints.insert(identity, Rc::downgrade(&local));
        local
    }

    /// Closes half of the idle connections to each endpoint, those unused for longest.
    pub(crate) fn shed_idle(&self) {
        for endpoint in self.endpoints.borrow().values().filter_map(Weak::upgrade) {
            endpoint.pool.shed_idle();
        }
    }

    /// Forgets upstreams the snapshot no longer has, brings the others up to date, so that removed endpoints lose their
    /// connections and the others keep theirs, and closes connections that were kept for too long.
    pub(crate) fn tidy<'s>(
        &self,
        current: impl Fn(usize) -> Option<&'s Arc<Upstream>>,
        draw: impl Fn() -> u64,
        now_ms: u64,
    ) {
        let mut by_id = self.by_id.borrow_mut();
        for (index, place) in by_id.iter_mut().enumerate() {
            let Some(local) = place else { continue };
            match current(index) {
                Some(shared) if Arc::ptr_eq(shared, &local.shared) => {}
                Some(shared) => *place = Some(self.build(shared, Some(local), &draw)),
                None => *place = None,
            }
        }
        drop(by_id);
        self.endpoints.borrow_mut().retain(|_, endpoint| match endpoint.upgrade() {
            Some(endpoint) => {
                endpoint.pool.close_idle(now_ms);
                true
            }
            None => false,
        });
    }
}

impl LocalUpstream {
    /// The endpoint whose turn it is.
    pub(crate) fn pick(&self) -> Option<Picked> {
        let mut seq = self.seq.get();
        let position = self.shared.schedule.next(&mut seq);
        self.seq.set(seq);
        let endpoint = self.endpoints.get(position?)?;
        Some(Picked::new(Rc::clone(endpoint)))
    }
}

impl LocalEndpoint {
    pub(crate) fn shared(&self) -> &Endpoint {
        &self.shared
    }

    pub(crate) fn counters(&self) -> &EndpointCounters {
        self.shared.counters(self.worker).expect("an endpoint has counters for every worker of its process")
    }
}

impl Picked {
    fn new(endpoint: Rc<LocalEndpoint>) -> Self {
        endpoint.counters().picked();
        Self { endpoint }
    }

    pub(crate) fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.counters().released();
    }
}
