//! Lookups of one name, and what they come to.
//!
//! A part of the questions may fail: what the same question found last then stands for it. Of one that was never answered
//! an earlier process may have known more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use routing_rules::discovery::{Found, MOST_ENDPOINTS, Service, of_addresses, of_services};
use routing_rules::rules::{Dns, Endpoint, Records};
use tokio::sync::Semaphore;

use super::servers::{Replies, Reply, Servers};

/// The lookups of one name.
pub(super) struct Lookups {
    rules: Dns,
    /// Made anew after a failure: the system's servers may be others by then.
    servers: Option<Servers>,
    places: Arc<Semaphore>,
    /// What questions found last.
    known: HashMap<Question, Vec<IpAddr>>,
    /// What an earlier process had found, until there is an answer without a doubt.
    stored: Arc<[Endpoint]>,
}

type Question = (Name, RecordType);

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) found: Found,
    pub(super) ttl: Duration,
    /// Why a part of the questions failed, if one did.
    pub(super) doubt: Option<String>,
}

/// What the questions of one lookup came to.
struct Heard {
    has_found: bool,
    ttl: Duration,
    /// Of the first one to which there is nothing.
    nothing: Option<String>,
    /// Of the first one to which nobody knows an answer.
    doubt: Option<String>,
    /// Those to which nobody knows an answer, and none is known from before.
    open: HashSet<Question>,
}

impl Lookups {
    pub(super) fn new(rules: Dns, stored: Arc<[Endpoint]>, places: Arc<Semaphore>) -> Self {
        Self { rules, servers: None, places, known: HashMap::new(), stored }
    }

    /// Looks the name up once.
    pub(super) async fn look_up(&mut self) -> Result<Answer, String> {
        let answer = self.ask().await;
        if answer.is_err() {
            self.servers = None;
        }
        answer
    }

    async fn ask(&mut self) -> Result<Answer, String> {
        let name = Name::from_ascii(format!("{}.", self.rules.name)).map_err(|error| error.to_string())?;
        let servers = match self.servers.take() {
            Some(servers) => servers,
            None => Servers::new(&self.rules.resolvers, &self.places)?,
        };
        let answer = match self.rules.records {
            Records::Addresses(port) => self.ask_for_addresses(&servers, name, port).await,
            Records::Services => self.ask_for_services(&servers, name).await,
        };
        self.servers = Some(servers);
        answer
    }

    async fn ask_for_addresses(&mut self, servers: &Servers, name: Name, port: u16) -> Result<Answer, String> {
        let mut heard = Heard::new();
        let mut addresses = Vec::new();
        for (name, replies) in servers.addresses([name.clone()]).await {
            addresses.extend(self.take(&name, replies, &mut heard));
        }
        let mut found = of_addresses(addresses, port);
        self.add_stored(&mut found, &heard, [(&name, port)]);
        heard.answer(found)
    }

    async fn ask_for_services(&mut self, servers: &Servers, name: Name) -> Result<Answer, String> {
        let lookup = match servers.ask(name, RecordType::SRV).await {
            Reply::Found(lookup) => lookup,
            Reply::Nothing(reason) | Reply::Failed(reason) => return Err(reason),
        };
        let (records, beyond_limit) = services(lookup.answers());
        if records.is_empty() {
            return Err("its SRV records say that there is no such service".to_owned());
        }
        let mut heard = Heard::new();
        heard.holds_for(lookup.answers());
        let targets: BTreeSet<&Name> = records.iter().map(|record| &record.target).collect();
        // A target may have come with its addresses. The others are looked up.
        let (mut addresses, mut unknown) = (BTreeMap::new(), Vec::new());
        for target in targets {
            let given: Vec<Record> =
                lookup.additionals().iter().filter(|record| record.name == *target).cloned().collect();
            match addresses_of(&given) {
                none if none.is_empty() => unknown.push(target.clone()),
                some => {
                    heard.found(&given);
                    self.know(target, &some);
                    addresses.insert(target.clone(), some);
                }
            }
        }
        for (target, replies) in servers.addresses(unknown).await {
            let found = self.take(&target, replies, &mut heard);
            addresses.insert(target, found);
        }
        // Names of targets may come and go for ever.
        self.known.retain(|(name, _), _| addresses.contains_key(name));
        let service = |record: &&SRV| Service {
            priority: record.priority,
            weight: record.weight,
            port: record.port,
            addresses: addresses.get(&record.target).cloned().unwrap_or_default(),
        };
        let mut found = of_services(&records.iter().map(service).collect::<Vec<_>>());
        found.beyond_limit += beyond_limit;
        self.add_stored(&mut found, &heard, records.iter().map(|record| (&record.target, record.port)));
        heard.answer(found)
    }

    /// Addresses that came with a service are what questions for them would have found.
    fn know(&mut self, target: &Name, addresses: &[IpAddr]) {
        for kind in FAMILIES {
            let of_kind = addresses.iter().copied().filter(|ip| family(*ip) == kind).collect();
            self.known.insert((target.clone(), kind), of_kind);
        }
    }

    /// Adds what an earlier process had found, as far as it may be from questions that are open. `asked` are names whose
    /// addresses were wanted, each with the port of its endpoints.
    fn add_stored<'a>(&mut self, found: &mut Found, heard: &Heard, asked: impl IntoIterator<Item = (&'a Name, u16)>) {
        // Whatever has nothing is no good answer.
        if found.endpoints.is_empty() || self.stored.is_empty() {
            return;
        }
        if heard.doubt.is_none() {
            self.stored = Arc::default();
            return;
        }
        let mut open = HashSet::new();
        for (name, port) in asked {
            let kinds = FAMILIES.into_iter().filter(|kind| heard.open.contains(&(name.clone(), *kind)));
            open.extend(kinds.map(|kind| (kind, port)));
        }
        let known: HashSet<SocketAddr> = found.endpoints.iter().map(|endpoint| endpoint.address).collect();
        let is_missing = |endpoint: &&Endpoint| {
            let address = endpoint.address;
            open.contains(&(family(address.ip()), address.port())) && !known.contains(&address)
        };
        let room = MOST_ENDPOINTS.saturating_sub(known.len());
        found.endpoints.extend(self.stored.iter().filter(is_missing).take(room));
        found.endpoints.sort_by_key(|endpoint| endpoint.address);
    }

    /// The addresses that replies about a name come to, together with what is known.
    fn take(&mut self, name: &Name, replies: Replies, heard: &mut Heard) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for (kind, reply) in replies {
            let question = (name.clone(), kind);
            match reply {
                Reply::Found(lookup) => {
                    let found = addresses_of(lookup.answers());
                    heard.found(lookup.answers());
                    all.extend(&found);
                    self.known.insert(question, found);
                }
                Reply::Nothing(reason) => {
                    heard.nothing.get_or_insert(reason);
                    self.known.remove(&question);
                }
                Reply::Failed(reason) => {
                    heard.doubt.get_or_insert(reason);
                    heard.ttl = heard.ttl.min(DOUBTFUL);
                    match self.known.get(&question) {
                        Some(known) => all.extend(known),
                        None => {
                            heard.open.insert(question);
                        }
                    }
                }
            }
        }
        all
    }
}

impl Heard {
    fn new() -> Self {
        Self { has_found: false, ttl: Duration::MAX, nothing: None, doubt: None, open: HashSet::new() }
    }

    /// An answer holds no longer than its shortest part.
    fn holds_for(&mut self, records: &[Record]) {
        let shortest = records.iter().map(|record| Duration::from_secs(record.ttl.into())).min();
        self.ttl = self.ttl.min(shortest.unwrap_or_default());
    }

    fn found(&mut self, records: &[Record]) {
        self.has_found = true;
        self.holds_for(records);
    }

    fn answer(self, found: Found) -> Result<Answer, String> {
        if self.has_found && !found.endpoints.is_empty() {
            return Ok(Answer { found, ttl: self.ttl, doubt: self.doubt });
        }
        let unusable = || format!("{} addresses were found, and no endpoint can have one of them", found.refused);
        Err(self.doubt.or(self.nothing).unwrap_or_else(unusable))
    }
}

/// SRV records, and how many are too many; the root as target stands for no service at all (RFC 2782).
fn services(records: &[Record]) -> (Vec<&SRV>, usize) {
    let services = records.iter().filter_map(|record| match &record.data {
        RData::SRV(service) if !service.target.is_root() => Some(service),
        _ => None,
    });
    let mut all: Vec<&SRV> = services.collect();
    all.sort_by(|one, other| (one.priority, &one.target, one.port).cmp(&(other.priority, &other.target, other.port)));
    let beyond_limit = all.len().saturating_sub(MOST_ENDPOINTS);
    all.truncate(MOST_ENDPOINTS);
    (all, beyond_limit)
}

fn addresses_of(records: &[Record]) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

fn family(ip: IpAddr) -> RecordType {
    if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// How long an answer holds at most of which a part could not be had.
const DOUBTFUL: Duration = Duration::from_secs(5);
