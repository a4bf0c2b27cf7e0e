//! Certificates as handshakes use them: files are read, keys are held against certificates, and what cannot be used leaves
//! what was used before in its place.
//!
//! Nothing is ever served with less than the rules ask for. What is asked of clients is therefore looked at by itself: it
//! counts although the key beside it cannot be used, and where it cannot be read, only what asks for no less stays.

mod endpoints;
mod held;
mod load;
mod policies;
#[cfg(test)]
mod tests;
mod watch;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::{self, ClientCertificates, HostPattern, Kind, Listener, Name, Origin, RuleSet, UpstreamTls};

use super::folder_of;
use super::source::Text;
use super::tickets::TicketKeys;
use crate::moment;
use crate::snapshot::{Certificate, ClientPolicy, HostCertificates, ListenerTls, Listening, Tls, Transport};
use endpoints::HeldEndpoints;
use held::{Content, Files, Held, HeldClients, hold, hold_clients};
use load::Field;
pub use load::examine;
use policies::Policies;
pub use watch::CertificateWatch;

/// The certificates in force. Cheap to clone, so that a change can be tried on a copy.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Where relative paths begin.
    folder: Arc<PathBuf>,
    /// Files that rules name, as they are believed to be.
    files: OrdMap<PathBuf, Content>,
    paths: Arc<BTreeSet<PathBuf>>,
    held: OrdMap<Name, Arc<Held>>,
    /// What authorities have issued, by certificate.
    issued: OrdMap<Name, Issued>,
    /// Whether what they issue can be kept.
    keeps: bool,
    /// What listeners ask of clients.
    clients: OrdMap<Place, HeldClients>,
    /// TLS with the endpoints of upstreams.
    endpoints: OrdMap<Name, Arc<HeldEndpoints>>,
    transports: Transports,
    /// Listeners that are open where the rules no longer want them.
    apart: Arc<[Arc<Listener>]>,
    policies: Policies,
    rules: RuleSet,
    table: Arc<Tls>,
    /// What is wrong with listeners that could not be made, as of the table.
    unmade: Arc<[Finding]>,
    findings: Arc<Vec<Finding>>,
    warnings: Arc<Vec<Finding>>,
}

/// How connections to the endpoints of those upstreams begin that have TLS, and for which rules that was made.
pub type Transports = OrdMap<Name, (Arc<UpstreamTls>, Transport)>;

/// A certificate that was issued, and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, and behind it those that lead to the authority.
    pub chain: Arc<str>,
    /// Its key.
    pub key: Arc<str>,
}

/// A listener at an address as it is written.
type Place = (Name, SocketAddr);

/// Something that is wrong with an object: kind, name, field, reason.
pub type Finding = (Kind, Name, &'static str, String);

impl Certificates {
    /// None yet. Paths in the rules begin at this folder.
    pub fn beside(main: &Path) -> Self {
        Self { folder: Arc::new(folder_of(main)), ..Self::default() }
    }

    /// The same, which may be ordered, because there is somewhere to keep them.
    #[must_use]
    pub fn keeping(self, keeps: bool) -> Self {
        Self { keeps, ..self }
    }

    /// What tickets are sealed with.
    pub fn ticket_keys(&self) -> Arc<TicketKeys> {
        Arc::clone(&self.policies.ticket_keys)
    }

    /// What handshakes use.
    pub fn table(&self) -> Arc<Tls> {
        Arc::clone(&self.table)
    }

    /// How connections to endpoints begin.
    pub fn transports(&self) -> &Transports {
        &self.transports
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
                left if left < self.soon(certificate) => format!("expires in {} days", left / DAY),
                _ if certificate.not_before > now => "is not valid yet, and clients refuse it".to_owned(),
                _ => return None,
            };
            Some((Kind::Certificate, certificate.name.clone(), "", reason))
        });
        let shown = self.endpoints.iter().filter_map(move |(name, held)| {
            let reason = match held.not_after()? - now {
                left if left < 0 => {
                    format!("the certificate has expired {} days ago, and endpoints refuse it", -left / DAY)
                }
                left if left < SOON => format!("the certificate expires in {} days", left / DAY),
                _ => return None,
            };
            Some((Kind::Upstream, name.clone(), "tls", reason))
        });
        self.warnings.iter().cloned().chain(expiry).chain(shown)
    }

    /// How near its end a certificate is warned of. One that is ordered may live for days only, and is renewed when a third of its life
    /// is left: then that has not worked for a while.
    fn soon(&self, certificate: &Certificate) -> i64 {
        let is_ordered = self.rules.certificate(certificate.name.as_str()).is_some_and(|rules| rules.order().is_some());
        let life = certificate.not_after.saturating_sub(certificate.not_before);
        if is_ordered { SOON.min(life / 6) } else { SOON }
    }

    /// The files that matter.
    pub fn files(&self) -> Arc<BTreeSet<PathBuf>> {
        Arc::clone(&self.paths)
    }

    /// Takes what files say now. Those that nobody has asked for are passed over. Returns whether handshakes change, with clients or
    /// endpoints.
    pub fn take_files(&mut self, texts: Vec<Text>) -> bool {
        let mut is_news = false;
        for Text { name, content, .. } in texts {
            if let Some(known) = self.files.get_mut(Path::new(&*name)).filter(|known| **known != content) {
                *known = content;
                is_news = true;
            }
        }
        let (rules, apart) = (self.rules.clone(), Arc::clone(&self.apart));
        is_news && self.renew(&rules, apart)
    }

    /// Takes what authorities have issued. Returns whether handshakes change.
    pub fn take_issued(&mut self, issued: OrdMap<Name, Issued>) -> bool {
        if self.issued == issued {
            return false;
        }
        self.issued = issued;
        let (rules, apart) = (self.rules.clone(), Arc::clone(&self.apart));
        self.renew(&rules, apart)
    }

    /// Follows the rules. Returns whether handshakes change.
    pub fn follow(&mut self, rules: &RuleSet) -> bool {
        if self.rules.has_same_tls(rules) {
            return false;
        }
        self.renew(rules, Arc::clone(&self.apart))
    }

    /// Goes on serving these listeners by what is said of them here, because they stay where the rules no longer want them.
    /// Returns whether handshakes change.
    pub fn keep_apart(&mut self, listeners: Vec<Arc<Listener>>) -> bool {
        let rules = self.rules.clone();
        *self.apart != *listeners && self.renew(&rules, listeners.into())
    }

    fn renew(&mut self, rules: &RuleSet, apart: Arc<[Arc<Listener>]>) -> bool {
        let before = std::mem::take(&mut self.files);
        let mut files = Files { issued: &self.issued, folder: &self.folder, before, now: OrdMap::new() };
        let mut policies = self.policies.renewed();
        let mut held = OrdMap::new();
        for certificate in rules.certificates() {
            let name = certificate.name();
            let next = hold(certificate, self.held.get(name), &mut files, &mut policies);
            held.insert(name.clone(), next);
        }
        let mut clients = OrdMap::new();
        for listener in rules.listeners().chain(&*apart) {
            let Some(rules) = clients_of(listener) else { continue };
            let place = place(listener);
            // One that moves is the same.
            let same = || self.clients.iter().find(|((name, _), _)| *name == place.0).map(|(_, known)| known);
            let before = self.clients.get(&place).or_else(same);
            let next = hold_clients(rules, before, &mut files, &mut policies);
            clients.insert(place, next);
        }
        let mut endpoints = OrdMap::new();
        for (name, tls) in rules.upstreams().filter_map(|upstream| Some((upstream.name(), upstream.tls()?))) {
            let next = endpoints::hold(tls, self.endpoints.get(name), &mut files, &policies);
            endpoints.insert(name.clone(), next);
        }
        let transport = |(name, held): (&Name, &Arc<HeldEndpoints>)| {
            (name.clone(), (Arc::clone(&held.rules), held.transport.clone()))
        };
        let is_same_transport = |(name, held): (&Name, &Arc<HeldEndpoints>)| {
            self.endpoints.get(name).is_some_and(|before| before.transport == held.transport)
        };
        let has_others = endpoints.len() != self.endpoints.len() || !endpoints.iter().all(is_same_transport);
        self.transports = endpoints.iter().map(transport).collect();
        let is_same = |(name, now): (&Name, &Arc<Held>)| {
            self.held.get(name).is_some_and(|before| match (&before.good, &now.good) {
                (Some(before), Some(now)) => Arc::ptr_eq(&before.certificate, &now.certificate),
                (before, now) => before.is_none() && now.is_none(),
            })
        };
        let is_changed = !self.rules.has_same_tls(rules)
            || *self.apart != *apart
            || held.len() != self.held.len()
            || !held.iter().all(is_same)
            || !clients
                .iter()
                .all(|(place, now)| self.clients.get(place).is_some_and(|before| before.good == now.good));
        let paths: BTreeSet<PathBuf> = files.now.keys().cloned().collect();
        if *self.paths != paths {
            self.paths = Arc::new(paths);
        }
        let now = files.now;
        (self.files, self.held, self.clients, self.rules) = (now, held, clients, rules.clone());
        self.endpoints = endpoints;
        self.apart = apart;
        if is_changed {
            self.policies = policies;
        }
        self.tell(is_changed);
        self.policies.forget_before();
        is_changed || has_others
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
            if held.rules.order().is_some() && !self.keeps {
                findings.push(object("acme", NOWHERE.to_owned()));
            }
            let good = held.good.as_ref();
            if let Some(good) = good {
                let uncovered = good.uncovered.iter();
                warnings
                    .extend(uncovered.map(|host| object("hosts", format!("the certificate is not good for `{host}`"))));
                certificates.insert(name.clone(), Arc::clone(&good.certificate));
            }
        }
        for ((name, _), held) in &self.clients {
            let problem = held.problem.as_ref().map(|reason| {
                let kept = if held.good.is_some() { "what was asked before stays" } else { "nobody is let in" };
                (Kind::Listener, name.clone(), field_of_clients(&held.rules, true), format!("{reason}; {kept}"))
            });
            findings.extend(problem);
        }
        for (name, held) in &self.endpoints {
            let kept = match held.transport {
                Transport::Tls(_) => "what was used before stays",
                Transport::Clear | Transport::Closed => "requests get 502",
            };
            let problem = |(field, reason): &(&'static str, String)| {
                (Kind::Upstream, name.clone(), *field, format!("{reason}; {kept}"))
            };
            findings.extend(held.problems.iter().map(problem));
        }
        if is_changed {
            let (mut listeners, mut unmade) = (Vec::new(), Vec::new());
            let (rules, apart) = (self.rules.clone(), Arc::clone(&self.apart));
            for listener in rules.listeners().chain(&*apart) {
                let name = listener.name();
                let tls = self.listener(listener, &certificates).map(|made| {
                    made.unwrap_or_else(|reason| {
                        unmade.push((Kind::Listener, name.clone(), "tls", reason));
                        ListenerTls::closed()
                    })
                });
                listeners.push(Listening { rules: Arc::clone(listener), tls });
            }
            let generation = self.table.generation + 1;
            self.table = Arc::new(Tls { generation, listeners, hosts, certificates });
            self.unmade = unmade.into();
        }
        findings.extend_from_slice(&self.unmade);
        findings.sort();
        findings.dedup();
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
        let clients = match self.clients.get(&place(listener)) {
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

fn place(listener: &Listener) -> Place {
    (listener.name().clone(), listener.address())
}

fn clients_of(listener: &Listener) -> Option<&ClientCertificates> {
    listener.tls()?.client_certificates()
}

fn field_of(field: Field, rules: &rules::Certificate) -> &'static str {
    match (field, rules.origin()) {
        (Field::Clients, _) => rules.client_certificates().map_or("", |client| field_of_clients(client, false)),
        (_, Origin::Ordered(_)) => "acme",
        (Field::Chain, Origin::Written { chain, .. }) if chain.file().is_some() => "cert_file",
        (Field::Chain, Origin::Written { .. }) => "cert",
        (Field::Key, Origin::Written { key, .. }) if key.file().is_some() => "key_file",
        (Field::Key, Origin::Written { .. }) => "key",
        (Field::Ocsp, Origin::Written { .. }) => "ocsp_file",
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

/// Without it each start would open another account, and order everything again.
const NOWHERE: &str = "there is nowhere to keep accounts and certificates: set `state_dir`, or keep the rules in etcd (`sources.etcd`); \
                       nothing is ordered";

const DAY: i64 = 86_400;

/// When it is high time to renew a certificate: some live for 90 days, and are renewed after 60.
const SOON: i64 = 14 * DAY;
