//! A connection that a load balancer passes on, until it has said whose it is by the PROXY protocol.
//!
//! Until then it is the load balancer's: it has a place among the worker's connections and the time of a head, and no
//! other. Then it is served as if the client had connected here.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::net::TcpStream;

use super::{ConnectionState, From, Order, Phase};
use crate::connect::Ends;
use crate::data_path::headers::ForwardingFacts;
use crate::data_path::listener::proxy_protocol::{self, Announced, Refused};
use crate::data_path::listener::{ClientPlace, ListenerContext};
use crate::worker::Worker;

/// Reads what the load balancer says, and serves the connection. Its clients may be known to speak TLS with it.
pub(super) fn begin(
    worker: &Rc<Worker>,
    listener: &Rc<ListenerContext>,
    mut stream: TcpStream,
    balancer: Ends,
    are_secure: bool,
) {
    // Many clients are behind its address, each of which gets a place of its own.
    let Some(place) = ClientPlace::take(&worker.clients, balancer.client(), true) else { return };
    worker.counters.connection_opened();
    let forwarding = ForwardingFacts::new(balancer.client(), balancer.port(), "http");
    let now_ms = worker.clock.now_ms();
    let state = Rc::new(ConnectionState::new(balancer, forwarding, listener, place, &worker.counters, now_ms));
    state.enter(Phase::Head, now_ms);
    let registered = worker.connections.insert(Rc::clone(&state));
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    tokio::task::spawn_local(async move {
        let read = tokio::select! {
            read = proxy_protocol::read(&mut stream) => read,
            refused = over(&state) => refused.map_or(Ok(None), Err),
        };
        drop(registered);
        match read {
            Ok(Some(Announced { client, is_secure })) => {
                let scheme = if is_secure || are_secure && client.is_some() { "https" } else { "http" };
                let ends = client.unwrap_or(balancer);
                state.leave();
                super::begin(&worker, &listener, stream, From { ends, scheme, is_counted: true });
            }
            Ok(None) => {}
            Err(refused) => worker.counters.unannounced(refused),
        }
    });
}

/// Waits until the connection is not to be waited for any longer. Draining lets it finish: a request may be on its way.
async fn over(state: &ConnectionState) -> Option<Refused> {
    poll_fn(|cx| {
        state.keep_waker(cx.waker());
        match state.take_order() {
            Some(Order::RefuseHead) => Poll::Ready(Some(Refused::Late)),
            Some(Order::Close) => Poll::Ready(None),
            Some(Order::Drain | Order::Look | Order::Park) | None => Poll::Pending,
        }
    })
    .await
}
