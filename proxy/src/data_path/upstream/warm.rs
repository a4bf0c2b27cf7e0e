//! Connections opened ahead of requests: every endpoint that takes requests has as many as its upstream's rules say, so
//! that a new one, or one that is back, does not begin with handshakes.
//!
//! The worker's sweep looks at what is missing, whatever the reason, so nobody has to tell it of endpoints that come, of
//! health or of connections that ended. What fails is counted and tried again later, at growing distances; it says
//! nothing to breakers and weights, which hear of requests only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use routing_rules::rules::{Protocol, Timeouts};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dial::dial;
use super::http2::Streams;
use super::{EndpointConnection, LocalEndpoint, NotOpened};
use crate::data_path::error::RequestError;
use crate::snapshot::{ConnectionEnd, Snapshot};
use crate::worker::Worker;

/// The connections that one worker is about to open.
#[derive(Default)]
pub(crate) struct WarmUps {
    tasks: RefCell<JoinSet<()>>,
}

/// What warming up one endpoint has come to.
#[derive(Default)]
pub(crate) struct Warmth {
    is_opening: Cell<bool>,
    failures: Cell<u32>,
    rests_until_ms: Cell<u64>,
}

impl WarmUps {
    /// Begins to open what is missing.
    pub(crate) fn look(&self, worker: &Rc<Worker>, snapshot: &Snapshot, now_ms: u64) {
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        for id in &snapshot.warm {
            let Some(shared) = snapshot.upstream(*id) else { continue };
            let upstream = worker.upstreams.get(*id, shared, || worker.draw());
            let taking = (0..shared.endpoints.len()).filter(|place| shared.weighing.share(*place) > 0.0);
            for endpoint in taking.map(|place| upstream.endpoint(place)).filter(|endpoint| is_cold(endpoint, now_ms)) {
                if tasks.len() >= MAX_AT_ONCE {
                    return;
                }
                endpoint.pool.warmth.is_opening.set(true);
                tasks.spawn_local(warm(Rc::clone(worker), Rc::clone(endpoint)));
            }
        }
    }
}

fn is_cold(endpoint: &LocalEndpoint, now_ms: u64) -> bool {
    let warmth = &endpoint.pool.warmth;
    !warmth.is_opening.get() && now_ms >= warmth.rests_until_ms.get() && misses(endpoint)
}

fn misses(endpoint: &LocalEndpoint) -> bool {
    endpoint.counters().connections().open() < u64::from(endpoint.pool.rules().warm)
}

/// Opens one connection after another until none is missing or one fails.
async fn warm(worker: Rc<Worker>, endpoint: Rc<LocalEndpoint>) {
    let warmth = &endpoint.pool.warmth;
    while misses(&endpoint) {
        let opened = open(&worker, &endpoint).await;
        endpoint.counters().connections().warmed(opened.is_ok());
        match opened {
            Ok(true) => warmth.is_well(),
            Ok(false) => {}
            Err(_) => {
                warmth.failed(worker.clock.now_ms());
                break;
            }
        }
    }
    warmth.is_opening.set(false);
}

impl Warmth {
    /// The endpoint takes connections.
    pub(super) fn is_well(&self) {
        self.failures.set(0);
    }

    /// It took none, or did not want it after all.
    pub(super) fn failed(&self, now_ms: u64) {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        self.rests_until_ms.set(now_ms + (FIRST_REST_MS << failures.min(5)));
    }
}

/// Opens a connection. Returns whether it is certain that the endpoint takes it.
async fn open(worker: &Worker, endpoint: &Rc<LocalEndpoint>) -> Result<bool, NotOpened> {
    let timeout = Timeouts::default().connect;
    if endpoint.pool.protocol() == Protocol::Http2 {
        return Streams::open(endpoint, worker, timeout).await.map(|()| true);
    }
    let broken = |_| NotOpened::Endpoint(RequestError::Connect);
    let dialed = dial(endpoint, worker, || None, Instant::now() + timeout).await?;
    let mut connection = EndpointConnection::start(worker, endpoint, dialed).await.map_err(broken)?;
    if let Err(error) = connection.sender.ready().await {
        connection.lifetime.ends(ConnectionEnd::Endpoint);
        return Err(broken(error));
    }
    let is_certain = !connection.lifetime.is_unproved();
    endpoint.pool.put(connection, worker.clock.now_ms());
    Ok(is_certain)
}

/// Endpoints that one worker warms up at once.
const MAX_AT_ONCE: usize = 64;

/// How long an endpoint is left alone after the first failure; twice as long after each further one, up to 32 times.
const FIRST_REST_MS: u64 = 1_000;
