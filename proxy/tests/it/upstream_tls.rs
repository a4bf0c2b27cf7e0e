//! TLS to endpoints: who is trusted, what is shown, what becomes of requests when it is not in order, and what is carried.

mod carried;
mod changes;
mod front;
mod others;
mod trust;

use std::net::SocketAddr;

use crate::support::Serin;

/// All requests go to this endpoint; `upstream` are more of its fields, TLS among them.
fn rules(endpoint: SocketAddr, upstream: &str) -> String {
    format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"], retry: {{tries: 1}}, \
         breaker: false, {upstream}}}}}\n"
    )
}

/// A proxy in a folder with these files.
fn serving(files: &[(&str, &str)], rules: &str) -> Serin {
    let files: Vec<(String, String)> =
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Serin::beside(&files, &format!("{}{rules}", crate::support::COMMON), Default::default())
}

/// How many handshakes ended so.
fn handshakes(serin: &Serin, result: &str) -> f64 {
    serin.metric_of("serin_endpoint_tls_handshakes_total", &format!("\"{result}\""))
}

/// What is wrong, one below the other.
fn problems(serin: &Serin) -> String {
    serin.server().problems().iter().map(|problem| format!("{problem}\n")).collect()
}
