//! Whether a request may go on, and when, as far as limits have a say in it.

use std::pin::pin;
use std::time::Duration;

use routing_rules::request::RequestView;
use routing_rules::table::RouteMatch;

use super::Exchange;
use crate::data_path::decide::Destination;
use crate::data_path::error::RequestError;
use crate::snapshot::{RouteRefusal, Snapshot, has_limits};

/// Asks the limits of the route. Most have none, and cost a look at the route.
pub(super) fn of_route(
    exchange: &Exchange,
    snapshot: &Snapshot,
    found: &RouteMatch<'_>,
    request: &RequestView<'_>,
) -> Result<(), RequestError> {
    if !has_limits(found.route().rules()) {
        return Ok(());
    }
    let Some(limits) = snapshot.route_limits.get(found.id()) else { return Ok(()) };
    let place = limits.admit(request, exchange.started_us()).map_err(|refusal| match refusal {
        RouteRefusal::TooOften(wait) => RequestError::RateLimited(wait.retry_after_s()),
        RouteRefusal::ClientFull => RequestError::ClientFull,
        RouteRefusal::Full => RequestError::RouteFull,
    })?;
    exchange.set_route_place(place);
    Ok(())
}

/// Waits until the upstream has room for the request.
///
/// # Errors
/// That takes longer than its patience, or another time limit ends.
pub(super) async fn of_upstream(
    exchange: &Exchange,
    destination: &mut Destination,
    patience: Duration,
) -> Result<(), RequestError> {
    exchange.waits_for_room(patience);
    let waited = exchange.unless_expired(pin!(destination.wait(exchange.worker()))).await;
    if matches!(waited, Err(RequestError::QueueTimeout)) {
        destination.count_timeout();
    }
    exchange.has_waited(waited??);
    Ok(())
}
