//! What is read before anything is started: settings, stored rules, the secret, how much there is room for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubernetes_source::{ObjectName, Options, Pods, Rejected, Releases, Source, SourceState, Told};
use routing_rules::release::{ReleaseContext, Secret};
use routing_rules::request::GeoDatabase;
use tokio::sync::watch;

use super::{StartError, join, system};
use crate::admin::AdminToken;
use crate::control_path::acme::Acme;
use crate::control_path::assemble::Assembler;
use crate::control_path::catalog::{Catalog, Document};
use crate::control_path::check::check;
use crate::control_path::decode::Problem;
use crate::control_path::discovery::Registries;
use crate::control_path::etcd::{Cluster, Pace};
use crate::control_path::fleet::Fleet;
use crate::control_path::geo::CityDatabase;
use crate::control_path::release::Records;
use crate::control_path::release::WindowCounts;
use crate::control_path::release::webhooks::Webhook;
use crate::control_path::saver::Saver;
use crate::control_path::secret;
use crate::control_path::source;
use crate::control_path::source::etcd::{EtcdState, KeyTexts};
use crate::control_path::source::file::FileSet;
use crate::control_path::source::kubernetes::ObjectTexts;
use crate::control_path::state_dir::StateDir;
use crate::data_path::edge::Passwords;
use crate::settings::{EtcdSettings, KubernetesSettings, Settings, WebhookSettings};
use crate::telemetry::access_log::LogSink;
use crate::thread::{Failures, Following};

/// What is known before anything is started.
pub(super) struct Start {
    pub(super) settings: Settings,
    pub(super) stored: Option<Catalog>,
    /// When that was stored, in seconds since 1970.
    pub(super) stored_at_s: u64,
    /// Where releases were that a fleet shares.
    pub(super) records: Records,
    /// The main file, so that it is parsed once.
    pub(super) main: Option<Document>,
}

/// Settings from the main file, or from the state folder if the file cannot be used; and the stored rules, which fill
/// in for whatever in the files is wrong.
pub(super) fn read(main: &Path, state_dir: Option<&PathBuf>) -> Result<Start, StartError> {
    let mut problems = Vec::new();
    let document = FileSet::new(main, &[]).read().first().map(Document::parse);
    let settings = document.as_ref().and_then(|document| settings_of(document, &mut problems));
    let folder = state_dir.cloned().or_else(|| settings.as_ref().and_then(|settings| settings.state_dir.clone()));
    let stored = folder.as_ref().and_then(|folder| StateDir::open(folder).ok()?.restore().ok());
    let stored_at_s = stored.as_ref().map_or(0, |stored| stored.saved_at);
    let catalog = stored.as_ref().map(|stored| Catalog::restored(&stored.rules, &"stored rules".into()));
    let records = stored.as_ref().map(|stored| stored.records.clone().records()).unwrap_or_default();
    let mut settings = match (settings, stored) {
        (Some(settings), _) => settings,
        (None, Some(stored)) => {
            tracing::error!("{}", join(&problems));
            tracing::warn!(saved_at = stored.saved_at, "starting with the rules in the state folder");
            stored.settings
        }
        (None, None) => return Err(StartError::Rules(check(main).problems)),
    };
    settings.state_dir = folder;
    Ok(Start { settings, stored: catalog, stored_at_s, records, main: document })
}

fn settings_of(document: &Document, problems: &mut Vec<Problem>) -> Option<Settings> {
    match &document.tree {
        Ok(root) => {
            let mut settings = Settings::decode(&document.name, root, problems)?;
            settings.resolve_beside(&document.name);
            Some(settings)
        }
        Err(problem) => {
            problems.push(problem.clone());
            None
        }
    }
}

pub(super) fn state_dir(settings: &Settings) -> Result<Option<StateDir>, StartError> {
    settings.state_dir.as_deref().map(StateDir::open).transpose().map_err(system("state_dir"))
}

/// What stores the rules. Without it everything else goes on.
pub(super) fn saver(state_dir: StateDir, failures: Failures) -> Option<Saver> {
    let started = Saver::start(state_dir, failures);
    started.inspect_err(|error| tracing::error!(%error, "the rules will not be stored")).ok()
}

pub(super) fn access_log(settings: &Settings, failures: &Failures) -> Result<LogSink, StartError> {
    let open = |log| LogSink::open(log, failures.clone());
    let log = settings.access_log.as_ref().map(open).transpose().map_err(system("access_log"))?;
    Ok(log.unwrap_or_else(LogSink::off))
}

pub(super) fn assembler(
    settings: &Settings,
    state_dir: Option<&StateDir>,
    workers: usize,
) -> Result<Assembler, StartError> {
    let geo =
        settings.geo.as_ref().map(|geo| CityDatabase::open(&geo.database)).transpose().map_err(StartError::Geo)?;
    let geo = geo.map(|geo| Arc::new(geo) as Arc<dyn GeoDatabase>);
    let is_shared = settings.sources.etcd.is_some() || settings.sources.kubernetes.is_some();
    let context = ReleaseContext { secret: secret(settings, state_dir)?, is_shared, ..ReleaseContext::default() };
    let stored = state_dir.map(StateDir::restore_endpoints).unwrap_or_default();
    Ok(Assembler::new(workers, context, settings.trusted(), geo).with_stored(stored))
}

/// The key that signs pins: from its file, else kept in the state folder, else of this process only.
fn secret(settings: &Settings, state_dir: Option<&StateDir>) -> Result<Secret, StartError> {
    if let Some(path) = &settings.secret_file {
        let bytes = std::fs::read(path).map_err(system("secret_file"))?;
        return secret::of_file(&bytes).map_err(std::io::Error::other).map_err(system("secret_file"));
    }
    let bytes = match state_dir {
        Some(state_dir) => state_dir.secret().map_err(system("state_dir"))?,
        None => crate::random::secret().map_err(system("secret"))?,
    };
    Ok(Secret::from_bytes(bytes))
}

/// What changes by the admin API have to show.
pub(super) fn admin_token(settings: &Settings) -> Result<Option<AdminToken>, StartError> {
    let Some(path) = settings.admin.as_ref().and_then(|admin| admin.token_file.as_ref()) else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(system("admin.token_file"))?;
    AdminToken::new(&text).map(Some).map_err(std::io::Error::other).map_err(system("admin.token_file"))
}

/// Who is told of changes of releases.
pub(super) fn webhooks(settings: &Settings) -> Result<Vec<Arc<Webhook>>, StartError> {
    let open = |(name, settings): (&String, &WebhookSettings)| {
        let opened = Webhook::open(name, settings).map(Arc::new);
        opened.map_err(|reason| StartError::System(format!("webhooks.{name}"), std::io::Error::other(reason)))
    };
    settings.webhooks.iter().map(open).collect()
}

/// Who orders certificates, and what was issued before.
pub(super) fn acme(main: &Path, etcd: Option<&InEtcd>, state_dir: Option<StateDir>) -> Acme {
    match etcd {
        Some(etcd) => Acme::of_fleet(main, etcd.cluster(), Arc::clone(&etcd.fleet), state_dir),
        None => Acme::alone(main, state_dir),
    }
}

/// What stands for the rules in etcd, and where releases were, until it is heard. Nothing where there is none.
pub(super) fn keys(settings: &Settings, records: Records) -> KeyTexts {
    let Some(etcd) = &settings.sources.etcd else { return KeyTexts::default() };
    KeyTexts::unheard(&etcd.endpoints.join(","), "it was just asked").with_records(records)
}

/// What stands for the objects of Kubernetes, and where releases were, until it is heard. Nothing where there is none.
pub(super) fn objects(settings: &Settings, records: Records) -> ObjectTexts {
    match &settings.sources.kubernetes {
        Some(_) => ObjectTexts::unheard("it was just asked", records),
        None => ObjectTexts::default(),
    }
}

/// Rules in Kubernetes, and the pods of its Services.
#[derive(Clone)]
pub(crate) struct InKubernetes {
    settings: KubernetesSettings,
    identity: String,
    pub(crate) state: Arc<SourceState>,
    pub(crate) pods: Arc<Pods>,
    pub(crate) releases: Arc<Releases>,
    /// What is not taken of what it says.
    rejected: watch::Sender<Vec<Rejected>>,
}

impl InKubernetes {
    pub(super) fn new(settings: &Settings, id: &str) -> Option<Self> {
        let settings = settings.sources.kubernetes.clone()?;
        let (state, pods, releases) = (Arc::default(), Arc::default(), Arc::default());
        Some(Self { settings, identity: id.to_owned(), state, pods, releases, rejected: watch::Sender::default() })
    }

    /// Tells what is wrong, so that it can be said on the objects it is about.
    pub(super) fn tell(&self, problems: &[Problem]) {
        let rejected = |problem: &Problem| Rejected {
            document: Arc::clone(&problem.source),
            path: problem.path.clone(),
            reason: problem.reason.clone(),
        };
        let rejected: Vec<_> = problems.iter().map(rejected).collect();
        self.rejected.send_if_modified(|before| {
            let is_new = *before != rejected;
            *before = rejected;
            is_new
        });
    }

    /// Follows both.
    pub(super) fn follow(
        &self,
        tell: impl Fn(Told) + Send + Sync + 'static,
        failures: &Failures,
    ) -> Result<Following, StartError> {
        let (pods, releases, state) = (Arc::clone(&self.pods), Arc::clone(&self.releases), Arc::clone(&self.state));
        let source = Source::new(self.options(), pods, releases, state, self.rejected.subscribe());
        let following = Following::start_until("kubernetes", failures.clone(), |ended| source.run(tell, ended));
        following.map_err(system("kubernetes thread"))
    }

    fn options(&self) -> Options {
        let settings = self.settings.clone();
        let name = |name: &String| {
            let (namespace, name) = name.split_once('/')?;
            Some(ObjectName::new(namespace, name))
        };
        let names = |names: &[String]| names.iter().filter_map(name).collect();
        Options {
            config_maps: names(&settings.config_maps),
            certificates: names(&settings.certificates),
            addresses: settings.addresses,
            publish_service: settings.publish_service.as_ref().and_then(name),
            lease: settings.lease.as_ref().and_then(name),
            identity: self.identity.clone(),
            kubeconfig: settings.kubeconfig,
            context: settings.context,
            ingress_class: settings.ingress_class,
            controller: settings.controller,
            gateway_controller: settings.gateway_controller,
            gateway_address: settings.gateway_address,
            gateway_ports: settings.gateway_ports,
            gateways_share: settings.gateways_share,
            classless_releases: settings.classless_releases,
            namespaces: settings.namespaces,
        }
    }
}

/// Rules in etcd, and the fleet that follows them.
#[derive(Clone)]
pub(crate) struct InEtcd {
    settings: EtcdSettings,
    pub(crate) state: Arc<EtcdState>,
    pub(crate) fleet: Arc<Fleet>,
    /// What becomes of the windows that this instance reports.
    pub(crate) windows: Arc<WindowCounts>,
}

impl InEtcd {
    pub(super) fn new(settings: &Settings, id: &str) -> Option<Self> {
        let settings = settings.sources.etcd.clone()?;
        let fleet = Arc::new(Fleet::new(id, Cluster::new(settings.clone())));
        Some(Self { settings, state: Arc::default(), fleet, windows: Arc::default() })
    }

    /// Follows the rules.
    pub(super) fn follow(
        &self,
        records: Records,
        tell: impl Fn(KeyTexts) + Send + Sync + 'static,
        failures: &Failures,
    ) -> Result<Following, StartError> {
        let (state, fleet) = (Arc::clone(&self.state), Arc::clone(&self.fleet));
        let follow = source::etcd::run(self.cluster(), Pace::default(), state, fleet, records, tell);
        Following::start("etcd", failures.clone(), follow).map_err(system("etcd thread"))
    }

    /// Whether it is asked to share what it seals session tickets with.
    pub(super) fn shares_ticket_keys(&self) -> bool {
        self.settings.shares_ticket_keys()
    }

    pub(super) fn registries(&self) -> Registries {
        Registries { cluster: self.cluster(), confirmations: self.state.confirmations() }
    }

    /// Each thread has a connection of its own, which lives with its event loop.
    pub(super) fn cluster(&self) -> Cluster {
        Cluster::new(self.settings.clone())
    }
}

/// How many descriptors clients and endpoints may use. The rest is for files and the admin API, which must work when
/// everything else is short.
pub(super) fn descriptors() -> u64 {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    limit - RESERVED_DESCRIPTORS.min(limit / 4)
}

/// How many connections of clients there may be. A quarter of the descriptors is left for connections to endpoints:
/// only requests under way need one, and most client connections are idle most of the time.
pub(super) fn connections(descriptors: u64) -> usize {
    usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX)
}

/// How many requests one worker may have in flight at one upstream: what is for connections to endpoints, less a quarter, so that
/// one upstream that hangs leaves room for the others.
pub(super) fn in_flight_per_upstream(descriptors: u64, workers: usize) -> u32 {
    u32::try_from(in_flight(descriptors) / workers as u64).unwrap_or(u32::MAX).max(1)
}

fn in_flight(descriptors: u64) -> u64 {
    descriptors / 4 * 3 / 4
}

/// How many requests a client may have under way and still send more to an upstream that is half full. Whoever takes all he may, and
/// leaves the answers lying, leaves half of its places to the others.
pub(super) fn requests_per_client(descriptors: u64) -> u32 {
    u32::try_from(in_flight(descriptors) / 2).unwrap_or(u32::MAX).max(1)
}

/// Whoever takes all he may leaves a quarter to the others.
pub(super) fn connections_per_client(settings: &Settings, connections: usize) -> usize {
    let default = (connections / 4 * 3).clamp(1, MAX_PER_CLIENT);
    settings.limits.connections_per_client.unwrap_or(default)
}

/// Descriptors for files and the admin API; at most a quarter of all.
const RESERVED_DESCRIPTORS: u64 = 256;

/// Connections of one client, where the settings say nothing else. Far more than an office behind one address needs.
const MAX_PER_CLIENT: usize = 20_000;

/// Where passwords are looked at: on half as many threads as serve, so that they never take all from those.
pub(super) fn passwords(worker_count: usize) -> Result<Passwords, StartError> {
    Passwords::new(worker_count / 2).map_err(std::io::Error::from).map_err(system("randomness"))
}
