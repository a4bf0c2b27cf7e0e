//! HTTP/2 to endpoints: what reaches them, what comes back, who shares a connection, and what ends only a stream.

mod connections;
mod failures;
mod health;
mod messages;
mod recovery;
mod uploads;

use std::net::SocketAddr;

use crate::support::Serin;

/// All requests go to these endpoints; `upstream` are more of its fields, and `route` of the route's.
fn rules(endpoints: &[SocketAddr], upstream: &str, route: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let more = |fields: &str| if fields.is_empty() { String::new() } else { format!(", {fields}") };
    format!(
        "routes: {{all: {{upstream: app{}}}}}\n\
         upstreams: {{app: {{protocol: h2c, endpoints: [{}]{}}}}}\n",
        more(route),
        endpoints.join(", "),
        more(upstream),
    )
}

fn serving(endpoint: SocketAddr) -> Serin {
    Serin::serving(&rules(&[endpoint], "", ""))
}
