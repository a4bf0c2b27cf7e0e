//! What is known of each certificate and of what each listener asks: what serves, what is wrong, and what they were made of.
//!
//! What cannot be used leaves what served before in its place, as long as no less is asked of clients by it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::{self, ClientCertificates, HostPattern, Name, Origin, Pem};
use tokio_rustls::rustls::crypto::CryptoProvider;

use super::Issued;
use super::load::{self, Field};
use super::policies::Policies;
use crate::control_path::source::file;
use crate::snapshot::{Certificate, ClientPolicy};

/// What files say, or why they say nothing.
pub(super) type Content = Result<Arc<str>, String>;

/// A certificate of the rules.
pub(super) struct Held {
    pub(super) rules: Arc<rules::Certificate>,
    /// What it was made of.
    contents: Contents,
    /// What serves, and under which rules it was made. Not those above, if these cannot be used.
    pub(super) good: Option<Good>,
    pub(super) problems: Vec<(Field, String)>,
}

/// What the texts of a certificate say.
#[derive(PartialEq)]
struct Contents {
    chain: Content,
    key: Content,
    ocsp: Option<Content>,
    clients: Option<Content>,
}

#[derive(Clone)]
pub(super) struct Good {
    pub(super) rules: Arc<rules::Certificate>,
    pub(super) certificate: Arc<Certificate>,
    pub(super) uncovered: Arc<[String]>,
}

impl Held {
    /// The hosts, and what each is shown: nothing, if it was named when what serves was in use already.
    ///
    /// One that is ordered is good for what the authority has signed, until it has signed for the others.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&HostPattern, Option<&Good>)> {
        let is_ordered = self.rules.order().is_some();
        let kept = self.good.as_ref().filter(|good| !Arc::ptr_eq(&good.rules, &self.rules));
        let known: Option<HashSet<&HostPattern>> = kept.map(|good| good.rules.hosts().iter().collect());
        self.rules.hosts().iter().map(move |host| {
            let is_shown = |good: &&Good| match is_ordered {
                true => good.certificate.covers_pattern(host),
                false => known.as_ref().is_none_or(|known| known.contains(host)),
            };
            (host, self.good.as_ref().filter(is_shown))
        })
    }
}

impl Good {
    /// The same with something else asked of clients.
    fn asking(self, clients: Option<ClientPolicy>) -> Self {
        if self.certificate.clients == clients {
            return self;
        }
        let certificate = Certificate { clients, ..Certificate::clone(&self.certificate) };
        Self { certificate: Arc::new(certificate), ..self }
    }
}

/// What a listener asks of clients.
#[derive(Clone)]
pub(super) struct HeldClients {
    pub(super) rules: ClientCertificates,
    content: Content,
    pub(super) good: Option<ClientPolicy>,
    pub(super) problem: Option<String>,
}

/// What rules name, read once, and what was issued.
pub(super) struct Files<'f> {
    pub(super) issued: &'f OrdMap<Name, Issued>,
    pub(super) folder: &'f Path,
    pub(super) before: OrdMap<PathBuf, Content>,
    pub(super) now: OrdMap<PathBuf, Content>,
}

impl Files<'_> {
    pub(super) fn text(&mut self, pem: &Pem) -> Content {
        match pem {
            Pem::File(path) => self.content(path),
            Pem::Text(text) => Ok((&**text).into()),
        }
    }

    /// What an authority has issued: chain, key, and nothing more.
    fn issued(&self, name: &Name) -> (Content, Content, Option<Content>) {
        match self.issued.get(name) {
            Some(Issued { chain, key }) => (Ok(Arc::clone(chain)), Ok(Arc::clone(key)), None),
            None => (Err(NOT_ISSUED.into()), Err(NOT_ISSUED.into()), None),
        }
    }

    fn content(&mut self, path: &str) -> Content {
        let path = self.folder.join(path);
        if let Some(known) = self.now.get(&path) {
            return known.clone();
        }
        // One that was looked for before is watched.
        let content = self.before.get(&path).cloned().unwrap_or_else(|| file::read_named(&path));
        self.now.insert(path, content.clone());
        content
    }
}

pub(super) fn hold(
    rules: &Arc<rules::Certificate>,
    before: Option<&Arc<Held>>,
    files: &mut Files<'_>,
    policies: &mut Policies,
) -> Arc<Held> {
    let (chain, key, ocsp) = match rules.origin() {
        Origin::Written { chain, key, ocsp_file } => {
            (files.text(chain), files.text(key), ocsp_file.as_deref().map(|path| files.content(path)))
        }
        Origin::Ordered(_) => files.issued(rules.name()),
    };
    let contents = Contents {
        chain,
        key,
        ocsp,
        clients: rules.client_certificates().map(|client| files.text(&client.authorities)),
    };
    if let Some(before) = before.filter(|before| before.rules == *rules && before.contents == contents) {
        before.good.iter().filter_map(|good| good.certificate.clients).for_each(|asked| policies.keep(asked));
        return Arc::clone(before);
    }
    let kept = before.and_then(|before| before.good.as_ref());
    let mut problems = Vec::new();
    let clients = rules.client_certificates().zip(contents.clients.as_ref()).map(|(rules, content)| {
        let before = kept.and_then(|good| good.certificate.clients);
        let (asked, problem) = ask(rules, content, before, policies);
        problems.extend(problem.map(|reason| (Field::Clients, reason)));
        asked
    });
    let loaded = match load(rules, &contents, policies.provider()) {
        Ok(load::Loaded { certificate, uncovered }) => {
            // An order for the hosts that are missing is under way.
            let uncovered = if rules.order().is_some() { Arc::default() } else { uncovered.into() };
            Some(Good { rules: Arc::clone(rules), certificate: Arc::new(certificate), uncovered })
        }
        Err(problem) => {
            // That it has not come yet is no mistake in the rules; who orders says how far that is.
            let is_awaited = rules.order().is_some() && contents.chain.is_err();
            problems.extend(Some(problem).filter(|_| !is_awaited));
            kept.cloned()
        }
    };
    // Nobody knows what to ask: then it cannot be shown.
    let good = match clients {
        Some(None) => None,
        Some(asked) => loaded.map(|good| good.asking(asked)),
        None => loaded.map(|good| good.asking(None)),
    };
    Arc::new(Held { rules: Arc::clone(rules), contents, good, problems })
}

fn load(
    rules: &rules::Certificate,
    contents: &Contents,
    provider: &CryptoProvider,
) -> Result<load::Loaded, (Field, String)> {
    fn text(content: &Content, field: Field) -> Result<&str, (Field, String)> {
        content.as_deref().map_err(|reason| (field, reason.clone()))
    }
    let (chain, key) = (text(&contents.chain, Field::Chain)?, text(&contents.key, Field::Key)?);
    let ocsp = contents.ocsp.as_ref().map(|content| text(content, Field::Ocsp)).transpose()?;
    load::certificate(rules.name(), rules.hosts(), (chain, key, ocsp), provider)
}

/// What is asked of clients, and what is wrong. If these authorities cannot be read, that is what was asked before, as long
/// as it lets in nobody without a certificate who needs one now.
fn ask(
    rules: &ClientCertificates,
    content: &Content,
    before: Option<ClientPolicy>,
    policies: &mut Policies,
) -> (Option<ClientPolicy>, Option<String>) {
    match content.as_deref().map_err(String::clone).and_then(|text| policies.add(text, rules.is_required)) {
        Ok(asked) => (Some(asked), None),
        Err(reason) => {
            let kept = before.filter(|before| before.is_required || !rules.is_required);
            kept.into_iter().for_each(|asked| policies.keep(asked));
            (kept, Some(reason))
        }
    }
}

pub(super) fn hold_clients(
    rules: &ClientCertificates,
    before: Option<&HeldClients>,
    files: &mut Files<'_>,
    policies: &mut Policies,
) -> HeldClients {
    let content = files.text(&rules.authorities);
    if let Some(before) = before.filter(|before| before.rules == *rules && before.content == content) {
        before.good.into_iter().for_each(|asked| policies.keep(asked));
        return before.clone();
    }
    let (good, problem) = ask(rules, &content, before.and_then(|before| before.good), policies);
    HeldClients { rules: rules.clone(), content, good, problem }
}

const NOT_ISSUED: &str = "it has not been issued yet";
