//! What a handshake reads: which certificate a client gets, and on what terms.
//!
//! Nothing here opens a file. A host whose certificate cannot be used has none, which is not the same as a host that nobody
//! named: its clients get an alert, and never what others get.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use routing_rules::rules::{HostPattern, Listener, Name};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

/// All certificates, and what listeners do with a connection before its first request. Shared by the snapshots between two
/// changes of it.
#[derive(Default)]
pub struct Tls {
    /// No other table of this process has the same.
    pub generation: u64,
    /// The listeners of the rules, and those that stay open where the rules no longer want them.
    pub listeners: Vec<Listening>,
    /// Who shows what for a host.
    pub hosts: HostCertificates,
    /// The certificates in use, by name.
    pub certificates: BTreeMap<Name, Arc<Certificate>>,
}

/// A listener at one address.
pub struct Listening {
    /// What is in force for it there.
    pub rules: Arc<Listener>,
    /// How it speaks TLS; nothing if it speaks in clear text.
    pub tls: Option<ListenerTls>,
}

/// Certificates by host. Nothing in a place means: named by a certificate that cannot be used.
#[derive(Default)]
pub struct HostCertificates {
    exact: HashMap<Box<str>, Option<Arc<Certificate>>>,
    /// By what stands behind the first label, which begins with a dot.
    wildcards: HashMap<Box<str>, Option<Arc<Certificate>>>,
}

/// A certificate in use.
#[derive(Clone)]
pub struct Certificate {
    /// Its name among the rules.
    pub name: Name,
    /// What is shown, and what signs.
    pub resolver: Arc<SingleCertAndKey>,
    /// The hosts that it is good for, as it says itself.
    pub covers: Box<[HostPattern]>,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// What is asked of clients, if it is not for the listener to say.
    pub clients: Option<ClientPolicy>,
}

/// What is asked of clients. Equal ones accept the same clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPolicy {
    /// Whether they must show a certificate.
    pub is_required: bool,
    /// What stands for those who may have signed it.
    pub authorities: [u8; 32],
}

/// How a listener speaks TLS.
pub struct ListenerTls {
    /// Shown to clients that name no host, or one that no certificate names.
    pub default: Option<Arc<Certificate>>,
    /// What is asked of clients, where a certificate does not say. Nothing if that is not known.
    pub clients: Option<Option<ClientPolicy>>,
    /// How to shake hands, by what is asked of clients. Each has keys of its own for tickets, so that no session goes on
    /// under other terms than those it began under.
    pub configs: HashMap<Option<ClientPolicy>, Arc<ServerConfig>>,
}

/// What a client gets.
pub struct Terms<'t> {
    /// What it is shown.
    pub certificate: &'t Arc<Certificate>,
    /// What it is asked for.
    pub clients: Option<ClientPolicy>,
    config: &'t Arc<ServerConfig>,
}

impl Tls {
    /// What is in force for a listener where it is bound. Nothing if the rules want it elsewhere: what they say then is
    /// not for those who come here.
    pub fn listener(&self, name: &str, bound: SocketAddr) -> Option<&Listening> {
        self.listeners.iter().find(|listening| listening.rules.name().as_str() == name && listening.is_at(bound))
    }

    /// What a client gets at a listener that asks for a host, which is lower case. Nothing if that is an alert.
    pub fn terms<'t>(&'t self, listener: &'t ListenerTls, host: Option<&str>) -> Option<Terms<'t>> {
        let certificate = match host.and_then(|host| self.hosts.find(host)) {
            Some(named) => named.as_ref()?,
            None => listener.default.as_ref()?,
        };
        let clients = match certificate.clients {
            Some(own) => Some(own),
            None => listener.clients?,
        };
        let config = listener.configs.get(&clients)?;
        Some(Terms { certificate, clients, config })
    }
}

impl Listening {
    fn is_at(&self, bound: SocketAddr) -> bool {
        let wanted = self.rules.address();
        wanted == bound || wanted.port() == 0 && wanted.ip() == bound.ip()
    }
}

impl ListenerTls {
    /// One that lets nobody in.
    pub fn closed() -> Self {
        Self { default: None, clients: None, configs: HashMap::new() }
    }
}

impl HostCertificates {
    /// Names a certificate for a host. Returns whether the host was free.
    pub fn name(&mut self, host: &HostPattern, certificate: Option<&Arc<Certificate>>) -> bool {
        let (places, key) = match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(suffix) => (&mut self.wildcards, suffix),
            // No certificate is for hosts so deep, which its rules know.
            HostPattern::Below(_) => return false,
        };
        let is_free = !places.contains_key(key);
        if is_free {
            places.insert(key.clone(), certificate.cloned());
        }
        is_free
    }

    /// The certificate for a host, if it is named: an exact name counts for more than a wildcard.
    pub fn find(&self, host: &str) -> Option<&Option<Arc<Certificate>>> {
        self.exact.get(host).or_else(|| {
            let dot = host.find('.').filter(|&dot| dot > 0)?;
            self.wildcards.get(&host[dot..])
        })
    }
}

impl Certificate {
    /// Whether it is good for a host, which is canonical.
    pub fn covers(&self, host: &str) -> bool {
        self.covers.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether it is good for all hosts of a pattern.
    pub fn covers_pattern(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(host) => self.covers(host),
            HostPattern::Wildcard(_) => self.covers.contains(pattern),
            HostPattern::Below(_) => false,
        }
    }
}

impl Terms<'_> {
    /// For one handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(self.config);
        config.cert_resolver = Arc::clone(&self.certificate.resolver) as _;
        Arc::new(config)
    }
}

impl Certificate {
    /// What is shown, ready for handshakes.
    pub fn resolver(key: CertifiedKey) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(key))
    }
}

/// Says nothing of its key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("name", &self.name)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_belongs_to_the_first_and_one_that_cannot_be_served_to_nobody_else() {
        let mut hosts = HostCertificates::default();
        let pattern = |text: &str| HostPattern::new(text).expect("a host");
        assert!(hosts.name(&pattern("*.a.test"), None));
        assert!(hosts.name(&pattern("b.a.test"), None));
        assert!(!hosts.name(&pattern("b.a.test"), None));
        for (host, is_named) in [("x.a.test", true), ("b.a.test", true), ("a.test", false), ("x.y.a.test", false)] {
            assert_eq!(hosts.find(host).is_some(), is_named, "{host}");
        }
        assert!(hosts.find(".a.test").is_none());
    }
}
