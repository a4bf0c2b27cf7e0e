//! TLS from clients: who gets which certificate, what is asked of whom, and what becomes of connections while certificates
//! change.

mod acme;
pub(crate) mod authority;
pub(crate) mod bridge;
mod browser;
mod choosing;
mod clients;
mod files;
mod floods;
mod handshakes;
mod http;
mod in_etcd;
mod moving;
mod stapling;

use std::net::SocketAddr;

use serin_proxy::server::ConnectionLimits;

pub(crate) use authority::{Authority, Pair};
pub(crate) use browser::Browser;

use crate::support::control::replace;
use crate::support::{Origin, Serin};

/// A proxy whose first listener speaks TLS.
struct Fixture {
    serin: Serin,
    origin: Origin,
}

impl Fixture {
    /// With these options of the listener's, these certificates, and the files that they name.
    fn start(origin: Origin, files: Vec<[(String, String); 2]>, tls: &str, certificates: &str) -> Self {
        Self::start_with(origin, files, tls, certificates, ConnectionLimits::default())
    }

    fn start_with(
        origin: Origin,
        files: Vec<[(String, String); 2]>,
        tls: &str,
        certificates: &str,
        limits: ConnectionLimits,
    ) -> Self {
        let rules = rules(origin.address(), tls, certificates);
        let serin = Serin::beside(&files.concat(), &rules, limits);
        Self { serin, origin }
    }

    /// With one certificate for one host.
    fn with_one(origin: Origin, pair: &Pair, host: &str) -> Self {
        let certificates = format!("{{one: {{hosts: [{host}], cert_file: one.crt, key_file: one.key}}}}");
        Self::start(origin, vec![pair.files("one")], "{}", &certificates)
    }

    fn address(&self) -> SocketAddr {
        self.serin.address()
    }

    /// Replaces both files of a certificate.
    fn replace(&self, name: &str, pair: &Pair) {
        for (name, text) in pair.files(name) {
            replace(&self.serin.folder.path().join(name), &text);
        }
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.serin.metric_of("serin_tls_handshakes_total", &format!("\"{result}\""))
    }

    /// What is wrong, one below the other.
    fn problems(&self) -> String {
        self.serin.server().problems().iter().map(|problem| format!("{problem}\n")).collect()
    }
}

fn rules(endpoint: SocketAddr, tls: &str, certificates: &str) -> String {
    format!(
        "listeners: {{secure: {{address: \"127.0.0.1:0\", tls: {tls}}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         workers: 1\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n\
         certificates: {certificates}\n"
    )
}

/// A proxy that sends everything to one endpoint and shows everybody the same certificate.
pub(crate) fn in_front_of(endpoint: SocketAddr) -> Serin {
    let files = Authority::new("any").sign(&["any.test"]).files("any");
    let certificates = "{any: {cert_file: any.crt, key_file: any.key}}";
    Serin::beside(&files, &rules(endpoint, "{default_certificate: any}", certificates), ConnectionLimits::default())
}

/// An endpoint that answers with a field of the request.
fn echoing(field: &'static str) -> Origin {
    Origin::start(move |visit| {
        let value = visit.request.header(field).unwrap_or("none").to_owned();
        visit.answer(200, &[], value.as_bytes())
    })
}
