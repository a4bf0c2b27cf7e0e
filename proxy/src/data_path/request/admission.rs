//! Whether a request may go on, as far as limits have a say in it.

use routing_rules::request::RequestView;
use routing_rules::table::RouteMatch;

use super::Exchange;
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
        RouteRefusal::Full => RequestError::RouteFull,
    })?;
    exchange.set_route_place(place);
    Ok(())
}
