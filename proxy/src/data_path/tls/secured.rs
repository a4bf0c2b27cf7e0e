//! What is known of an encrypted connection: which host it was opened for, what it was shown, what its client has shown.

use std::cell::Cell;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use routing_rules::rules::Name;

use crate::snapshot::{Certificate, ClientPolicy, ListenerTls, Tls};

/// An encrypted connection.
pub(crate) struct Secured {
    /// The host that the client named in its handshake.
    host: Option<Box<str>>,
    name: Name,
    certificate: Arc<Certificate>,
    clients: Option<ClientPolicy>,
    client_certificate: Option<HeaderValue>,
    /// The table by which the connection was found to be right for its own host; 0: none.
    checked: Cell<u64>,
}

impl Secured {
    pub(super) fn new(
        host: Option<String>,
        name: Name,
        certificate: Arc<Certificate>,
        clients: Option<ClientPolicy>,
    ) -> Self {
        let host = host.map(String::into_boxed_str);
        Self { host, name, certificate, clients, client_certificate: None, checked: Cell::new(0) }
    }

    /// The client has shown this, and it was verified.
    pub(super) fn with_client_certificate(self, certificate: Option<&[u8]>) -> Self {
        // A byte sequence of structured fields (RFC 9440 §2.1, RFC 9651 §3.3.5).
        let field = |certificate| format!(":{}:", STANDARD.encode(certificate));
        let field = certificate.map(field).and_then(|field| HeaderValue::try_from(field).ok());
        Self { client_certificate: field, ..self }
    }

    /// The certificate that the client has shown, as endpoints are told of it.
    pub(crate) fn client_certificate(&self) -> Option<&HeaderValue> {
        self.client_certificate.as_ref()
    }

    /// Whether a request for a host may come on this connection: it is shown what that host is shown, or what it was shown
    /// is good for that host too; and nothing else is asked of its client now than was in the handshake.
    pub(crate) fn is_for(&self, tls: &Tls, listener: Option<&ListenerTls>, host: &str) -> bool {
        // One that names no host, as HTTP/1.0 may, has what the handshake named, and the terms of that.
        let host = if host.is_empty() { self.host.as_deref() } else { Some(host) };
        let is_own = self.host.as_deref() == host;
        if is_own && self.checked.get() == tls.generation {
            return true;
        }
        let is_covered = || host.is_some_and(|host| self.certificate.covers(host));
        let Some(listener) = listener else {
            // The listener is about to go, or to speak no TLS; this connection was right before.
            return is_own || is_covered();
        };
        let Some(terms) = tls.terms(listener, host) else { return false };
        let is_right = terms.clients == self.clients && (terms.certificate.name == self.name || is_covered());
        if is_right && is_own {
            self.checked.set(tls.generation);
        }
        is_right
    }
}
