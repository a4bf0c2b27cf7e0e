//! Those who are asked, one after the other as the system's own lookups do: the next one when one does not answer or cannot.
//!
//! Who says that there is nothing is believed. Answers that were cut off are asked for again over TCP.

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::connect;

/// What one question came to.
pub(super) enum Reply {
    Found(Lookup),
    /// There is nothing, and why.
    Nothing(String),
    /// Nobody knows, and why.
    Failed(String),
}

/// What there is of each family.
pub(super) type Replies = [(RecordType, Reply); 2];

/// Those who are asked, in their order. Cheap to clone.
#[derive(Clone)]
pub(super) struct Servers {
    resolvers: Arc<[TokioResolver]>,
    places: Arc<Semaphore>,
}

impl Servers {
    /// These servers, or those of the system.
    pub(super) fn new(servers: &[SocketAddr], places: &Arc<Semaphore>) -> Result<Self, String> {
        let configs = match servers {
            [] => read_system_conf().map_err(|error| format!("/etc/resolv.conf: {}", in_words(&error)))?.0.name_servers,
            servers => servers.iter().copied().map(config).collect(),
        };
        let resolvers: Result<Vec<_>, _> = configs.into_iter().map(resolver).collect();
        let resolvers = resolvers.map_err(|error| in_words(&error))?.into();
        Ok(Self { resolvers, places: Arc::clone(places) })
    }

    /// Asks one question.
    pub(super) async fn ask(&self, name: Name, kind: RecordType) -> Reply {
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let mut failures = Vec::new();
        for resolver in &*self.resolvers {
            let asked = tokio::time::timeout(LONGEST, resolver.lookup(name.clone(), kind)).await;
            match asked.unwrap_or(Err(NetError::Timeout)) {
                Ok(lookup) => return Reply::Found(lookup),
                Err(error) if error.is_nx_domain() => return Reply::Nothing(format!("there is no name {name}")),
                Err(error) if error.is_no_records_found() => {
                    return Reply::Nothing(format!("{name} has no {kind} record"));
                }
                Err(error) => failures.push(in_words(&error)),
            }
        }
        failures.dedup();
        Reply::Failed(format!("{kind} of {name}: {}", failures.join(", then ")))
    }

    /// Asks for the addresses of names.
    pub(super) async fn addresses(&self, names: impl IntoIterator<Item = Name>) -> Vec<(Name, Replies)> {
        let mut tasks = JoinSet::new();
        for name in names {
            let servers = self.clone();
            tasks.spawn(async move {
                let (v4, v6) = (RecordType::A, RecordType::AAAA);
                let replies = tokio::join!(servers.ask(name.clone(), v4), servers.ask(name.clone(), v6));
                (name, [(v4, replies.0), (v6, replies.1)])
            });
        }
        let mut all = Vec::with_capacity(tasks.len());
        while let Some(ended) = tasks.join_next().await {
            // Nobody ends them early, so one without a result has panicked.
            all.push(ended.unwrap_or_else(|error| resume_unwind(error.into_panic())));
        }
        all
    }
}

fn config(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections.iter_mut().for_each(|connection| connection.port = server.port());
    config
}

/// One for each server: together they would share one time limit, which the first takes if it is dead.
fn resolver(server: NameServerConfig) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    // A packet that is lost is sent again within the time; a whole new attempt would only double it.
    options.attempts = 0;
    // Answers are kept here, by their TTL.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// Short, and without what only a programmer reads.
fn in_words(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no answer in time".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the server answers \"{code}\""),
        NetError::Io(error) => connect::in_words(error),
        other => other.to_string(),
    }
}

/// How long one server may take with all that an answer takes: aliases, and TCP if it is long.
const LONGEST: Duration = Duration::from_secs(5);

/// How long one server may take for one message. Within the first two seconds, which the start waits for, there is time for a second one.
const PATIENCE: Duration = Duration::from_millis(1_500);
