//! Certificates as handshakes use them: files are read, keys are held against certificates, and what cannot be used leaves
//! what was used before in its place.
//!
//! Nothing is ever served with less than the rules ask for. What is asked of clients is therefore looked at by itself: it
//! counts although the key beside it cannot be used, and where it cannot be read, only what asks for no less stays.

mod load;
mod policies;
#[cfg(test)]
mod tests;
mod watch;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::{self, ClientCertificates, HostPattern, Kind, Listener, Name, Pem, RuleSet};
use tokio_rustls::rustls::crypto::CryptoProvider;

use super::source::Text;
use super::source::file;
use crate::moment;
use crate::snapshot::{Certificate, ClientPolicy, HostCertificates, ListenerTls, Tls};
use load::Field;
use policies::Policies;
pub use watch::CertificateWatch;

/// What files say, or why they say nothing.
type Content = Result<Arc<str>, String>;

/// The certificates in force. Cheap to clone, so that a change can be tried on a copy.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Where relative paths begin.
    folder: Arc<PathBuf>,
    /// Files that rules name, as they are believed to be.
    files: OrdMap<PathBuf, Content>,
    paths: Arc<BTreeSet<PathBuf>>,
    held: OrdMap<Name, Arc<Held>>,
    /// What listeners ask of clients.
    clients: OrdMap<Name, HeldClients>,
    policies: Policies,
    rules: RuleSet,
    table: Arc<Tls>,
    findings: Arc<Vec<Finding>>,
    warnings: Arc<Vec<Finding>>,
}

/// A certificate of the rules.
struct Held {
    rules: Arc<rules::Certificate>,
    /// What it was made of.
    contents: Contents,
    /// What serves, and under which rules it was made. Not those above, if these cannot be used.
    good: Option<Good>,
    problems: Vec<(Field, String)>,
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
struct Good {
    rules: Arc<rules::Certificate>,
    certificate: Arc<Certificate>,
    uncovered: Arc<[String]>,
}

impl Held {
    /// The hosts, and what each is shown: nothing, if it was named when what serves was in use already.
    fn hosts(&self) -> impl Iterator<Item = (&HostPattern, Option<&Good>)> {
        let kept = self.good.as_ref().filter(|good| !Arc::ptr_eq(&good.rules, &self.rules));
        let known: Option<HashSet<&HostPattern>> = kept.map(|good| good.rules.hosts().iter().collect());
        self.rules.hosts().iter().map(move |host| {
            let is_shown = known.as_ref().is_none_or(|known| known.contains(host));
            (host, self.good.as_ref().filter(|_| is_shown))
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
struct HeldClients {
    rules: ClientCertificates,
    content: Content,
    good: Option<ClientPolicy>,
    problem: Option<String>,
}

/// Something that is wrong with an object: kind, name, field, reason.
pub type Finding = (Kind, Name, &'static str, String);

impl Certificates {
    /// None yet. Paths in the rules begin at this folder.
    pub fn beside(main: &Path) -> Self {
        let folder = main.parent().unwrap_or(Path::new("")).to_owned();
        Self { folder: Arc::new(folder), ..Self::default() }
    }

    /// What handshakes use.
    pub fn table(&self) -> Arc<Tls> {
        Arc::clone(&self.table)
    }

    /// What is wrong.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What can be used, but hardly is what anybody wants.
    pub fn warnings(&self) -> impl Iterator<Item = Finding> {
        let now = i64::try_from(moment::unix_ms() / 1_000).unwrap_or(i64::MAX);
        let expiry = self.table.certificates.values().filter_map(move |certificate| {
            let reason = match certificate.not_after - now {
                left if left < 0 => format!("has expired {} days ago, and clients refuse it", -left / DAY),
                left if left < SOON => format!("expires in {} days", left / DAY),
                _ if certificate.not_before > now => "is not valid yet, and clients refuse it".to_owned(),
                _ => return None,
            };
            Some((Kind::Certificate, certificate.name.clone(), "", reason))
        });
        self.warnings.iter().cloned().chain(expiry)
    }

    /// The files that matter.
    pub fn files(&self) -> Arc<BTreeSet<PathBuf>> {
        Arc::clone(&self.paths)
    }

    /// Takes what files say now. Those that nobody has asked for are passed over. Returns whether handshakes change.
    pub fn take_files(&mut self, texts: Vec<Text>) -> bool {
        let mut is_news = false;
        for Text { name, content, .. } in texts {
            if let Some(known) = self.files.get_mut(Path::new(&*name)).filter(|known| **known != content) {
                *known = content;
                is_news = true;
            }
        }
        let rules = self.rules.clone();
        is_news && self.renew(&rules)
    }

    /// Follows the rules. Returns whether handshakes change.
    pub fn follow(&mut self, rules: &RuleSet) -> bool {
        if self.rules.has_same_tls(rules) {
            return false;
        }
        self.renew(rules)
    }

    fn renew(&mut self, rules: &RuleSet) -> bool {
        let before = std::mem::take(&mut self.files);
        let mut files = Files { folder: &self.folder, before, now: OrdMap::new() };
        let mut policies = self.policies.renewed();
        let mut held = OrdMap::new();
        for certificate in rules.certificates() {
            let name = certificate.name();
            let next = hold(certificate, self.held.get(name), &mut files, &mut policies);
            held.insert(name.clone(), next);
        }
        let mut clients = OrdMap::new();
        for (listener, rules) in rules.listeners().filter_map(|listener| Some((listener, clients_of(listener)?))) {
            let next = hold_clients(rules, self.clients.get(listener.name()), &mut files, &mut policies);
            clients.insert(listener.name().clone(), next);
        }
        let is_same = |(name, now): (&Name, &Arc<Held>)| {
            self.held.get(name).is_some_and(|before| match (&before.good, &now.good) {
                (Some(before), Some(now)) => Arc::ptr_eq(&before.certificate, &now.certificate),
                (before, now) => before.is_none() && now.is_none(),
            })
        };
        let is_changed = !self.rules.has_same_tls(rules)
            || held.len() != self.held.len()
            || !held.iter().all(is_same)
            || !clients.iter().all(|(name, now)| self.clients.get(name).is_some_and(|before| before.good == now.good));
        let paths: BTreeSet<PathBuf> = files.now.keys().cloned().collect();
        if *self.paths != paths {
            self.paths = Arc::new(paths);
        }
        (self.files, self.held, self.clients, self.rules) = (files.now, held, clients, rules.clone());
        if is_changed {
            self.policies = policies;
        }
        self.tell(is_changed);
        self.policies.forget_before();
        is_changed
    }

    /// Makes the table, and says what is wrong.
    fn tell(&mut self, is_changed: bool) {
        let (mut findings, mut warnings) = (Vec::new(), Vec::new());
        let mut certificates = BTreeMap::new();
        let hosts = self.hosts(&mut findings);
        for (name, held) in &self.held {
            let object = |field, reason| (Kind::Certificate, name.clone(), field, reason);
            for (field, reason) in &held.problems {
                let kept = if held.good.is_some() { "what was used before stays" } else { "its hosts get an alert" };
                findings.push(object(field_of(*field, &held.rules), format!("{reason}; {kept}")));
            }
            let good = held.good.as_ref();
            if let Some(good) = good {
                let uncovered = good.uncovered.iter();
                warnings
                    .extend(uncovered.map(|host| object("hosts", format!("the certificate is not good for `{host}`"))));
                certificates.insert(name.clone(), Arc::clone(&good.certificate));
            }
        }
        for (name, held) in &self.clients {
            let problem = held.problem.as_ref().map(|reason| {
                let kept = if held.good.is_some() { "what was asked before stays" } else { "nobody is let in" };
                (Kind::Listener, name.clone(), field_of_clients(&held.rules, true), format!("{reason}; {kept}"))
            });
            findings.extend(problem);
        }
        findings.sort();
        findings.dedup();
        if is_changed {
            let mut listeners = BTreeMap::new();
            let rules = self.rules.clone();
            for listener in rules.listeners() {
                let name = listener.name();
                let tls = self.listener(listener, &certificates).map(|made| {
                    made.unwrap_or_else(|reason| {
                        findings.push((Kind::Listener, name.clone(), "tls", reason));
                        ListenerTls::closed()
                    })
                });
                listeners.insert(name.clone(), tls);
            }
            let generation = self.table.generation + 1;
            self.table = Arc::new(Tls { generation, listeners, hosts, certificates });
        }
        (self.findings, self.warnings) = (Arc::new(findings), Arc::new(warnings));
    }

    /// Which certificate each host gets: the first by name that can be used.
    fn hosts(&self, findings: &mut Vec<Finding>) -> HostCertificates {
        let mut hosts = HostCertificates::default();
        let mut owners: HashMap<&HostPattern, &Name> = HashMap::new();
        let mut unusable = Vec::new();
        for (name, held) in &self.held {
            for (host, good) in held.hosts() {
                // Whoever asks something of clients keeps the host even so, or another would let them in without.
                match good.is_some() || held.rules.client_certificates().is_some() {
                    true => {
                        hosts.name(host, good.map(|good| &good.certificate));
                        owners.entry(host).or_insert(name);
                    }
                    false => unusable.push((host, name)),
                }
            }
        }
        // A host of nobody else gets no certificate that is not its own.
        for (host, name) in unusable {
            hosts.name(host, None);
            owners.entry(host).or_insert(name);
        }
        for (name, held) in &self.held {
            for (host, owner) in held.rules.hosts().iter().filter_map(|host| Some((host, *owners.get(host)?))) {
                let reason = match name.cmp(owner) {
                    Ordering::Equal => continue,
                    Ordering::Greater => "which comes first",
                    Ordering::Less => "until this one can be used",
                };
                let reason = format!("`{host}` belongs to certificate `{owner}`, {reason}");
                findings.push((Kind::Certificate, name.clone(), "hosts", reason));
            }
        }
        hosts
    }

    /// How a listener speaks TLS, if it does.
    fn listener(
        &mut self,
        listener: &Listener,
        certificates: &BTreeMap<Name, Arc<Certificate>>,
    ) -> Option<Result<ListenerTls, String>> {
        let tls = listener.tls()?;
        let clients = match self.clients.get(listener.name()) {
            Some(held) => held.good.map(Some),
            None => Some(None),
        };
        let own = certificates.values().filter_map(|certificate| certificate.clients).map(Some);
        let asked: BTreeSet<Option<ClientPolicy>> = own.chain(clients).collect();
        let configs = asked.into_iter().map(|asked| Ok((asked, self.policies.config(tls.protocol(), asked)?)));
        let configs = configs.collect::<Result<_, String>>();
        let default = tls.default_certificate().and_then(|name| certificates.get(name)).cloned();
        Some(configs.map(|configs| ListenerTls { default, clients, configs }))
    }
}

/// What rules name, read once.
struct Files<'f> {
    folder: &'f Path,
    before: OrdMap<PathBuf, Content>,
    now: OrdMap<PathBuf, Content>,
}

impl Files<'_> {
    fn text(&mut self, pem: &Pem) -> Content {
        match pem {
            Pem::File(path) => self.content(path),
            Pem::Text(text) => Ok((&**text).into()),
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

fn hold(
    rules: &Arc<rules::Certificate>,
    before: Option<&Arc<Held>>,
    files: &mut Files<'_>,
    policies: &mut Policies,
) -> Arc<Held> {
    let contents = Contents {
        chain: files.text(rules.chain()),
        key: files.text(rules.key()),
        ocsp: rules.ocsp_file().map(|path| files.content(path)),
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
            let rules = Arc::clone(rules);
            Some(Good { rules, certificate: Arc::new(certificate), uncovered: uncovered.into() })
        }
        Err(problem) => {
            problems.push(problem);
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

fn hold_clients(
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

fn clients_of(listener: &Listener) -> Option<&ClientCertificates> {
    listener.tls()?.client_certificates()
}

fn field_of(field: Field, rules: &rules::Certificate) -> &'static str {
    let is_file = |pem: &Pem| pem.file().is_some();
    match field {
        Field::Chain if is_file(rules.chain()) => "cert_file",
        Field::Chain => "cert",
        Field::Key if is_file(rules.key()) => "key_file",
        Field::Key => "key",
        Field::Ocsp => "ocsp_file",
        Field::Clients => rules.client_certificates().map_or("", |client| field_of_clients(client, false)),
    }
}

fn field_of_clients(client: &ClientCertificates, is_of_listener: bool) -> &'static str {
    match (client.authorities.file().is_some(), is_of_listener) {
        (true, true) => "tls.client_certificates.ca_file",
        (false, true) => "tls.client_certificates.ca",
        (true, false) => "client_certificates.ca_file",
        (false, false) => "client_certificates.ca",
    }
}

const DAY: i64 = 86_400;

/// When it is high time to renew a certificate: some live for 90 days, and are renewed after 60.
const SOON: i64 = 14 * DAY;
