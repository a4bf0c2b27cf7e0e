//! TLS with endpoints, for each upstream that has it: what is in force, what is wrong, and what it was made of.
//!
//! What cannot be used leaves what was used before in its place, but never less than the rules ask for: authorities that are named are
//! not replaced by those of the system, a certificate that is to be shown is not left out, and without all that there is
//! no connection.

use std::sync::Arc;

use routing_rules::rules::{Identity, Pem, Protocol, UpstreamTls};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::held::{Content, Files};
use super::load::{self, Field};
use super::policies::Policies;
use crate::snapshot::{EndpointTls, Transport};

/// The TLS of one upstream.
pub(super) struct HeldEndpoints {
    pub(super) rules: Arc<UpstreamTls>,
    contents: Contents,
    /// What is trusted and shown. Not what the rules say, if that cannot be used.
    trusted: Option<Trusted>,
    shown: Option<Shown>,
    /// What connections begin with.
    pub(super) transport: Transport,
    /// What is wrong, by field.
    pub(super) problems: Vec<(&'static str, String)>,
}

/// What the texts say.
#[derive(PartialEq)]
struct Contents {
    authorities: Option<Content>,
    chain: Option<Content>,
    key: Option<Content>,
}

/// Who may have signed.
#[derive(Clone)]
struct Trusted {
    roots: Arc<RootCertStore>,
    /// What stands for them; nothing for those of the system.
    digest: Option<[u8; 32]>,
}

/// What endpoints are shown that ask.
#[derive(Clone)]
struct Shown {
    key: Arc<SingleCertAndKey>,
    /// Until when it is good, in seconds since 1970.
    not_after: i64,
}

impl Contents {
    fn of(rules: &UpstreamTls, files: &mut Files<'_>) -> Self {
        let identity = rules.identity.as_ref();
        Self {
            authorities: rules.authorities.as_ref().map(|pem| files.text(pem)),
            chain: identity.map(|identity| files.text(&identity.chain)),
            key: identity.map(|identity| files.text(&identity.key)),
        }
    }

    /// A certificate of our own, and until when it is good.
    fn identity(&self, provider: &CryptoProvider) -> Result<(CertifiedKey, i64), (Field, String)> {
        let text = |content: &'_ Option<Content>, field| {
            let content = content.clone().unwrap_or_else(|| Err("is missing".to_owned()));
            content.map_err(|reason| (field, reason))
        };
        load::identity(&text(&self.chain, Field::Chain)?, &text(&self.key, Field::Key)?, provider)
    }

    /// Whether endpoints are shown the same by both.
    fn shows_as(&self, other: &Self) -> bool {
        (&self.chain, &self.key) == (&other.chain, &other.key)
    }
}

impl HeldEndpoints {
    /// Until when what is shown is good, if anything is.
    pub(super) fn not_after(&self) -> Option<i64> {
        self.shown.as_ref().map(|shown| shown.not_after)
    }
}

/// Follows the rules of one upstream.
pub(super) fn hold(
    rules: &Arc<UpstreamTls>,
    before: Option<&Arc<HeldEndpoints>>,
    files: &mut Files<'_>,
    policies: &Policies,
) -> Arc<HeldEndpoints> {
    let contents = Contents::of(rules, files);
    let same = before.filter(|before| before.rules == *rules && before.contents == contents);
    // What the system lacked it may have by now.
    if let Some(before) = same.filter(|before| !matches!(before.transport, Transport::Closed)) {
        return Arc::clone(before);
    }
    let before = before.map(|before| &**before);
    let mut making = Making { rules, contents: &contents, before, policies, problems: Vec::new() };
    let (trusted, shown, name) = (making.trusted(), making.shown(), making.name());
    let (trusted, shown, transport) = match (trusted, shown, name) {
        (Some(trusted), Some(shown), Some(name)) => {
            let transport = making.transport(&trusted, shown.as_ref(), name);
            (Some(trusted), shown, transport)
        }
        // What there was may yet be used, when it takes nothing that there is not.
        _ => {
            let kept = before.map(|before| (before.trusted.clone(), before.shown.clone()));
            let (trusted, shown) = kept.unwrap_or_default();
            (trusted, shown, Transport::Closed)
        }
    };
    let problems = making.problems;
    Arc::new(HeldEndpoints { rules: Arc::clone(rules), contents, trusted, shown, transport, problems })
}

/// What is made of the rules of an upstream, and what is wrong with it.
struct Making<'m> {
    rules: &'m UpstreamTls,
    contents: &'m Contents,
    before: Option<&'m HeldEndpoints>,
    policies: &'m Policies,
    problems: Vec<(&'static str, String)>,
}

impl Making<'_> {
    /// Whom to trust. What was trusted before stays, if it was named where somebody is named now.
    fn trusted(&mut self) -> Option<Trusted> {
        let read = match &self.contents.authorities {
            None => self.policies.system().map(|roots| Trusted { roots, digest: None }),
            Some(content) => {
                let read = content.as_deref().map_err(String::clone).and_then(load::authorities);
                read.map(|(roots, digest)| Trusted { roots: Arc::new(roots), digest: Some(digest) })
            }
        };
        let reason = match read {
            Ok(trusted) => return Some(trusted),
            Err(reason) => reason,
        };
        let field = field(self.rules.authorities.as_ref(), ["tls.ca_file", "tls.ca"]);
        self.problems.push((field.unwrap_or("tls"), reason));
        let known = self.before?.trusted.clone();
        known.filter(|known| known.digest.is_some() == self.rules.authorities.is_some())
    }

    /// What to show, if anything is to be. What was shown before stays; no value if that was nothing.
    fn shown(&mut self) -> Option<Option<Shown>> {
        let Some(identity) = &self.rules.identity else { return Some(None) };
        // What is wrong elsewhere says nothing of it.
        let was_right = |before: &HeldEndpoints| !before.problems.iter().any(|(field, _)| is_of_identity(field));
        let is_same = |before: &&HeldEndpoints| was_right(before) && before.contents.shows_as(self.contents);
        if let Some(known) = self.before.filter(is_same).and_then(|before| before.shown.clone()) {
            return Some(Some(known));
        }
        match self.contents.identity(self.policies.provider()) {
            Ok((key, not_after)) => Some(Some(Shown { key: Arc::new(SingleCertAndKey::from(key)), not_after })),
            Err((wrong, reason)) => {
                self.problems.push((field_of(wrong, identity), reason));
                self.before?.shown.clone().map(Some)
            }
        }
    }

    /// What certificates must be for, if that is not each endpoint's address.
    fn name(&mut self) -> Option<Option<ServerName<'static>>> {
        let name = self.rules.server_name.as_deref().map(|name| ServerName::try_from(name.to_owned())).transpose();
        name.map_err(|_| self.problems.push(("tls.server_name", "no certificate can be for this name".to_owned()))).ok()
    }

    /// What connections begin with: the same as before, if it is of the same.
    fn transport(&mut self, trusted: &Trusted, shown: Option<&Shown>, name: Option<ServerName<'static>>) -> Transport {
        let is_same = |before: &&HeldEndpoints| {
            let place = |shown: &Shown| Arc::as_ptr(&shown.key);
            before.trusted.as_ref().is_some_and(|known| known.digest == trusted.digest)
                && before.shown.as_ref().map(place) == shown.map(place)
                && before.rules.server_name == self.rules.server_name
                && before.rules.protocol == self.rules.protocol
                && matches!(before.transport, Transport::Tls(_))
        };
        if let Some(before) = self.before.filter(is_same) {
            return before.transport.clone();
        }
        let is_http2 = self.rules.protocol == Protocol::Http2;
        match config(trusted, shown, self.policies) {
            Ok((config, verifier)) => Transport::Tls(Arc::new(EndpointTls::new(config, verifier, name, is_http2))),
            Err(reason) => {
                self.problems.push(("tls", reason));
                Transport::Closed
            }
        }
    }
}

fn config(
    trusted: &Trusted,
    shown: Option<&Shown>,
    policies: &Policies,
) -> Result<(ClientConfig, Arc<WebPkiServerVerifier>), String> {
    let provider = policies.provider();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&trusted.roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?.with_webpki_verifier(Arc::clone(&verifier));
    let config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::clone(&shown.key) as _),
        None => builder.with_no_client_auth(),
    };
    Ok((config, verifier))
}

fn field_of(wrong: Field, identity: &Identity) -> &'static str {
    let field = match wrong {
        Field::Key => field(Some(&identity.key), ["tls.key_file", "tls.key"]),
        Field::Chain | Field::Ocsp | Field::Clients => field(Some(&identity.chain), ["tls.cert_file", "tls.cert"]),
    };
    field.unwrap_or("tls")
}

/// Whether a field says what is shown.
fn is_of_identity(field: &str) -> bool {
    matches!(field, "tls.key_file" | "tls.key" | "tls.cert_file" | "tls.cert")
}

fn field(pem: Option<&Pem>, [file, text]: [&'static str; 2]) -> Option<&'static str> {
    pem.map(|pem| if pem.file().is_some() { file } else { text })
}
