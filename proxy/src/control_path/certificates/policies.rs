//! How to shake hands: one configuration for each kind of protocol and each thing asked of clients.
//!
//! Session tickets are sealed under the terms of each, so that nobody goes on with a session that began under others. Where
//! certificates of clients are asked for, no session goes on at all.

use std::sync::{Arc, OnceLock};

use imbl::HashMap;
use routing_rules::rules::TlsProtocol;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::load;
use crate::control_path::https;
use crate::control_path::tickets::{TicketKeys, Tickets};
use crate::snapshot::ClientPolicy;

/// What is asked of clients, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Policies {
    provider: Arc<CryptoProvider>,
    pub(super) ticket_keys: Arc<TicketKeys>,
    verifiers: HashMap<ClientPolicy, Arc<dyn ClientCertVerifier>>,
    configs: HashMap<(TlsProtocol, Option<ClientPolicy>), Arc<ServerConfig>>,
    /// Whom the system trusts, once somebody has asked for it.
    system: Arc<OnceLock<Arc<RootCertStore>>>,
    /// Those of before, from which whatever is still asked for is taken.
    before: Option<Box<Self>>,
}

impl Default for Policies {
    fn default() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (ticket_keys, system) = (Arc::default(), Arc::default());
        Self { provider, ticket_keys, verifiers: HashMap::new(), configs: HashMap::new(), system, before: None }
    }
}

impl Policies {
    /// Empty ones, to which these are known.
    pub(super) fn renewed(&self) -> Self {
        let before = Self { before: None, ..self.clone() };
        Self {
            provider: Arc::clone(&self.provider),
            ticket_keys: Arc::clone(&self.ticket_keys),
            verifiers: HashMap::new(),
            configs: HashMap::new(),
            system: Arc::clone(&self.system),
            before: Some(Box::new(before)),
        }
    }

    /// What is not asked for any more goes.
    pub(super) fn forget_before(&mut self) {
        self.before = None;
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Whom the system trusts, read once. Those of its certificates that cannot be read are left out.
    pub(super) fn system(&self) -> Result<Arc<RootCertStore>, String> {
        if let Some(known) = self.system.get() {
            return Ok(Arc::clone(known));
        }
        let roots = https::roots_of_system();
        match roots.is_empty() {
            true => Err("the system has no certificates of authorities; `ca_file` names some".to_owned()),
            false => Ok(Arc::clone(self.system.get_or_init(|| Arc::new(roots)))),
        }
    }

    /// Goes on asking for this.
    pub(super) fn keep(&mut self, asked: ClientPolicy) {
        let known = self.before.as_ref().and_then(|before| before.verifiers.get(&asked)).cloned();
        known.into_iter().for_each(|verifier| drop(self.verifiers.insert(asked, verifier)));
    }

    /// Asks for certificates of these authorities.
    pub(super) fn add(&mut self, authorities: &str, is_required: bool) -> Result<ClientPolicy, String> {
        let (roots, digest) = load::authorities(authorities)?;
        let asked = ClientPolicy { is_required, authorities: digest };
        self.keep(asked);
        if !self.verifiers.contains_key(&asked) {
            let verifier = load::verifier(roots, is_required, &self.provider)?;
            self.verifiers.insert(asked, verifier);
        }
        Ok(asked)
    }

    /// How to shake hands.
    pub(super) fn config(
        &mut self,
        protocol: &TlsProtocol,
        asked: Option<ClientPolicy>,
    ) -> Result<Arc<ServerConfig>, String> {
        let key = (protocol.clone(), asked);
        let before = self.before.as_ref().and_then(|before| before.configs.get(&key));
        let config = match self.configs.get(&key).or(before) {
            Some(known) => Arc::clone(known),
            None => Arc::new(self.new_config(protocol, asked)?),
        };
        self.configs.insert(key, Arc::clone(&config));
        Ok(config)
    }

    fn new_config(&self, protocol: &TlsProtocol, asked: Option<ClientPolicy>) -> Result<ServerConfig, String> {
        let mut provider = CryptoProvider::clone(&self.provider);
        if !protocol.cipher_suites.is_empty() {
            let named = |name: &&'static str| provider.cipher_suites.iter().find(|suite| suite_name(suite) == **name);
            let suites: Vec<_> = protocol.cipher_suites.iter().filter_map(named).copied().collect();
            provider.cipher_suites = suites;
        }
        let versions: &[&SupportedProtocolVersion] = if protocol.is_13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let in_words = |error: tokio_rustls::rustls::Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(versions).map_err(in_words)?;
        let builder = match asked {
            Some(asked) => {
                let verifier = self.verifiers.get(&asked).ok_or("nobody knows who may sign certificates of clients")?;
                builder.with_client_cert_verifier(Arc::clone(verifier))
            }
            None => builder.with_no_client_auth(),
        };
        // Each handshake brings its own certificate; this one has none.
        let mut config = builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = !protocol.cipher_suites.is_empty();
        // Sessions are kept by clients, sealed; what is kept here would be of one process and have to be bounded.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match asked {
            None => config.ticketer = Arc::new(Tickets::new(&self.ticket_keys, terms(protocol).as_bytes())),
            // A session would go on with the certificate in its ticket, which nobody looks at again, and each gives a new
            // ticket: who has come in once would stay for ever, long after the certificate has expired.
            Some(_) => config.send_tls13_tickets = 0,
        }
        Ok(config)
    }
}

/// What stands for what is spoken, the same in all processes.
fn terms(protocol: &TlsProtocol) -> String {
    let version = if protocol.is_13_only { "1.3" } else { "1.2" };
    format!("{version} {}", protocol.cipher_suites.join(" "))
}

fn suite_name(suite: &tokio_rustls::rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite())
}

#[cfg(test)]
mod tests {
    use routing_rules::rules::CIPHER_SUITES;

    use super::*;

    #[test]
    fn the_cipher_suites_that_rules_know_are_those_there_are() {
        let suites = &Policies::default().provider.cipher_suites;
        let names: Vec<String> = suites.iter().map(suite_name).collect();
        assert_eq!(names, CIPHER_SUITES);
    }

    #[test]
    fn equal_terms_share_tickets_and_others_do_not() {
        let mut policies = Policies::default();
        let (any, newest) = (TlsProtocol::default(), TlsProtocol { is_13_only: true, ..TlsProtocol::default() });
        let first = policies.config(&any, None).expect("a configuration");
        let mut later = policies.renewed();
        assert!(Arc::ptr_eq(&first, &later.config(&any, None).expect("the same")));
        let other = later.config(&newest, None).expect("a configuration");
        let ticket = first.ticketer.encrypt(b"session").expect("a ticket");
        assert_eq!(first.ticketer.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.ticketer.decrypt(&ticket), None);
    }
}
