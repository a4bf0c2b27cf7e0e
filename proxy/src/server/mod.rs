//! Owns every thread and long-lived task: starts them, drains them, stops them.

mod start;

mod listeners;

mod rules;

mod weights;

mod drain;

mod fleet;

mod releases;

mod control;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::admin::{AdminToken, Readiness};
use crate::control_path::acme::Acme;
use crate::control_path::certificates::CertificateWatch;
use crate::control_path::decode::Problem;
use crate::control_path::discovery::{self, Clusters};
use crate::control_path::publish::{Publisher, Status};
use crate::control_path::release::webhooks::{self, Webhook};
use crate::control_path::release::{FolderStore, Unwritten};
use crate::control_path::source::etcd::Seen;
use crate::control_path::source::file::{FileSet, FileWatch};
use crate::control_path::{environments, health};
pub use crate::data_path::deadline::ConnectionLimits;
use crate::data_path::http::http2::Share;
use crate::data_path::listener::{self, PerClient};
use crate::moment;
use crate::settings::ShutdownSettings;
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::telemetry::access_log::LogSink;
use crate::telemetry::counters::WorkerCounters;
use crate::telemetry::metrics::{EtcdFacts, KubernetesFacts};
pub use crate::thread::Failure;
use crate::thread::{self, Failures};
use crate::worker::{Command, WorkerHandle, WorkerOptions};
use control::Control;
use fleet::{Me, Membership};
use listeners::{HeldSockets, WorkerListeners};
use releases::{Books, Others, Releases};
use rules::{Here, Inbox, RulesThread, Sources};
use start::{InEtcd, InKubernetes, Start};
use weights::WeightsThread;

/// How to start.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// The main file.
    pub config: PathBuf,
    /// The state folder, instead of the one in the settings. Needed to start when the main file cannot be read.
    pub state_dir: Option<PathBuf>,
    /// Time limits of client connections. Default: those of the documentation; tests want shorter ones.
    pub limits: ConnectionLimits,
}

/// Why there was no start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The main file cannot be used and nothing is stored.
    #[error("{}", join(.0))]
    Rules(Vec<Problem>),
    /// Something the operating system refused.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
    /// The geo database.
    #[error("geo database {0}")]
    Geo(String),
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A running proxy.
pub struct Server {
    shared: Arc<Shared>,
    shutdown: ShutdownSettings,
    sockets: HeldSockets,
    control: Option<std::thread::JoinHandle<Result<(), Failure>>>,
    orders: mpsc::UnboundedSender<Order>,
    failures: Failures,
    admin: Option<SocketAddr>,
}

/// What the threads of the control path share.
pub(crate) struct Shared {
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) status: ArcSwap<Status>,
    pub(crate) workers: Mutex<Vec<WorkerHandle>>,
    pub(crate) log: LogSink,
    pub(crate) me: Me,
    /// Rules in etcd, if they are followed.
    pub(crate) etcd: Option<InEtcd>,
    /// Kubernetes, if it is followed.
    pub(crate) kubernetes: Option<InKubernetes>,
    pub(crate) releases: Releases,
    /// Who orders certificates.
    pub(crate) acme: Arc<Acme>,
    /// Who is told of their changes.
    pub(crate) webhooks: Vec<Arc<Webhook>>,
    /// What changes must show, beside coming from where they may.
    pub(crate) token: Option<AdminToken>,
    /// Told whenever there may be a new snapshot.
    pub(crate) swaps: watch::Receiver<()>,
    pub(crate) readiness: watch::Sender<Readiness>,
}

/// What can be asked of a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the files again and open the access log again.
    Reload,
    /// Readiness off, a delay, no new connections, requests under way finish, then end.
    Drain,
    /// End now.
    Stop,
}

impl Shared {
    fn workers(&self) -> MutexGuard<'_, Vec<WorkerHandle>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why new requests are better sent elsewhere; nothing if they are welcome.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let Readiness { draining, failure } = self.readiness.borrow().clone();
        let status = self.status.load();
        let is_unheard = self.etcd_facts().is_some_and(|etcd| etcd.revision == 0) && !status.stale;
        let is_incomplete = !status.is_kubernetes_applied && !status.stale;
        let others = [
            (draining, "draining"),
            (status.listeners.is_empty(), "no listener is open"),
            (is_unheard, "etcd was not heard yet"),
            (is_incomplete, "Kubernetes was not heard yet"),
        ];
        let others = others.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason.to_owned());
        failure.into_iter().chain(others).collect()
    }

    /// How following etcd goes, if that is done.
    pub(crate) fn etcd_facts(&self) -> Option<EtcdFacts> {
        let InEtcd { state, fleet, windows, .. } = self.etcd.as_ref()?;
        let Seen { is_heard, revision, failures, held, .. } = state.seen();
        let (instances, leads) = (fleet.instances().all.len(), fleet.leads());
        Some(EtcdFacts { is_heard, revision, failures, held, instances, leads, windows: windows.facts() })
    }

    /// How following Kubernetes goes, if that is done.
    pub(crate) fn kubernetes_facts(&self) -> Option<KubernetesFacts> {
        let kubernetes = self.kubernetes.as_ref()?;
        let ((services, pods), seen) = (kubernetes.pods.count(), kubernetes.state.seen());
        Some(KubernetesFacts {
            is_heard: seen.is_complete && seen.lost == 0,
            failures: seen.failures,
            write_failures: seen.write_failures,
            leads: seen.leads,
            ingresses: seen.ingresses,
            services,
            pods,
        })
    }

    /// What the workers count.
    pub(crate) fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.workers().iter().map(|worker| Arc::clone(&worker.counters)).collect()
    }

    fn command_all(&self, command: impl Fn() -> Command) {
        self.workers().iter().for_each(|worker| worker.command(command()));
    }

    fn have_workers_ended(&self) -> bool {
        self.workers().iter().all(WorkerHandle::is_finished)
    }

    /// Waits until the workers have ended, after [`Command::Drain`] or [`Command::Stop`]. Blocks.
    fn join_workers(&self) {
        let threads: Vec<_> = self.workers().iter_mut().filter_map(WorkerHandle::take_thread).collect();
        // Why one ended, if not because it was asked to, has been told to whoever asked for failures.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Server {
    /// Starts a proxy and returns when it serves. Logging is up to the caller.
    ///
    /// # Errors
    /// Nothing to serve: the main file cannot be used, and no rules are stored. Or the operating system gives too little.
    pub fn start(options: StartOptions) -> Result<Self, StartError> {
        let since_ms = moment::unix_ms();
        let Start { settings, stored, stored_at_s, records, main } =
            start::read(&options.config, options.state_dir.as_ref())?;
        let state_dir = start::state_dir(&settings)?;
        let (tell_failure, failures) = mpsc::unbounded_channel();
        let log = start::access_log(&settings, &tell_failure)?;
        let worker_count = settings.worker_count();
        let assembler = start::assembler(&settings, state_dir.as_ref(), worker_count)?;
        let me = Me::new(assembler.secret_fingerprint());
        let admin = settings.admin.as_ref().map(|admin| listener::bind(admin.address)).transpose();
        let admin = admin.map_err(system("admin address"))?;
        let token = start::admin_token(&settings)?;
        let webhooks = start::webhooks(&settings)?;
        let admin_address = admin.as_ref().and_then(|socket| socket.local_addr().ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(system("control thread"))?;

        let in_etcd = InEtcd::new(&settings, &me.id);
        let acme = Arc::new(start::acme(&options.config, in_etcd.as_ref(), state_dir.clone()));
        let descriptors = start::descriptors();
        let connections = start::connections(descriptors);
        let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
        let worker_options = WorkerOptions {
            snapshots: Arc::clone(&snapshots),
            limits: options.limits,
            max_connections: connections.max(worker_count) / worker_count,
            max_in_flight: start::in_flight_per_upstream(descriptors, worker_count),
            reserved_from: RawFd::try_from(descriptors).unwrap_or(RawFd::MAX),
            clients: Arc::new(PerClient::new(
                start::connections_per_client(&settings, connections),
                start::requests_per_client(descriptors),
            )),
            answers: acme.answers(),
            passwords: Arc::new(start::passwords(worker_count)?),
            http2: Arc::new(Share::new(worker_count)),
            log: log.clone(),
            failures: tell_failure.clone(),
        };
        let workers: Result<Vec<_>, _> =
            (0..worker_count).map(|index| WorkerHandle::start(index, worker_options.clone())).collect();
        let workers = workers.map_err(system("worker thread"))?;
        worker_options.http2.introduce(workers.iter().map(WorkerHandle::sender).collect());

        let sockets = HeldSockets::default();
        let commands = workers.iter().map(WorkerHandle::sender).collect();
        let listeners = Box::new(WorkerListeners::new(commands, sockets.clone()));
        // A fleet keeps its releases in etcd, and here only what it would begin with.
        let releases_folder = state_dir.clone().filter(|_| settings.sources.etcd.is_none());
        let analyses_folder = releases_folder.clone();
        let inbox = Inbox::new();
        let folder = FolderStore::open(releases_folder, inbox.tell_records());
        let unwritten = Arc::new(Unwritten::open(state_dir.clone()));
        let assembler = assembler.without_records(folder.is_damaged());
        let saver = state_dir.and_then(|state_dir| start::saver(state_dir, tell_failure.clone()));
        let publisher = Publisher::new(settings.clone(), assembler, Arc::clone(&snapshots), listeners, saver);
        let mut publisher = publisher.beside(&options.config);
        let ticket_keys = publisher.ticket_keys();
        if let Some(catalog) = stored {
            publisher.restore(catalog);
        }
        let files = FileSet::new(&options.config, &settings.sources.files);
        // The watch begins before the first read, so that no change falls between them.
        let watch = FileWatch::new(files.clone());
        let (swaps, told) = watch::channel(());
        let here = unwritten.all().into_iter().map(|it| (it.release, Here::new(it.record))).collect();
        let mut sources = Sources {
            files: files.read(),
            keys: start::keys(&settings, records.clone()),
            objects: start::objects(&settings, records.clone()),
            records: folder.records(),
            acme: Arc::clone(&acme),
            here,
            stored_at_s,
            ..Sources::default()
        };
        let first = sources.records();
        publisher.begin(sources.texts(), first, main);
        publisher.take_issued(acme.issued());
        if settings.sources.etcd.is_some() {
            sources.stored_routes = publisher.stored_routes();
        }
        let etcd = in_etcd.as_ref().map(|etcd| etcd.follow(records, inbox.tell_keys(), &tell_failure)).transpose()?;
        let in_kubernetes = InKubernetes::new(&settings, &me.id);
        let kubernetes = in_kubernetes.as_ref().map(|it| it.follow(inbox.tell_objects(), &tell_failure)).transpose()?;
        let others = Others { etcd: in_etcd.as_ref(), kubernetes: in_kubernetes.as_ref() };
        let (releases, books) = Books::open(folder, analyses_folder, unwritten, others, &inbox, &snapshots);
        inbox.take_others(&mut publisher, &mut sources);
        let clusters = Clusters {
            etcd: in_etcd.as_ref().map(InEtcd::registries),
            kubernetes: in_kubernetes.as_ref().map(|kubernetes| Arc::clone(&kubernetes.pods)),
        };
        let asked = clusters.etcd.as_ref().map(|registries| registries.cluster.clone());
        let lookups = discovery::run(Arc::clone(&snapshots), told.clone(), inbox.tell(), clusters);
        let listings = environments::run(Arc::clone(&snapshots), told.clone(), inbox.tell_environments(), asked);
        let lookups = async {
            tokio::join!(lookups, listings);
        };
        let discovery = thread::start_task("discovery", tell_failure.clone(), lookups);
        let discovery = discovery.map_err(system("discovery thread"))?;
        inbox.take_environments(&mut publisher, &mut sources, &snapshots, &swaps);
        inbox.take_first(&mut publisher, &mut sources, &snapshots.load());
        publisher.open();
        publisher.await_lookups(swaps.clone());

        let shared = Arc::new(Shared {
            snapshots,
            status: ArcSwap::from_pointee(sources.status(&publisher)),
            workers: Mutex::new(workers),
            log,
            me,
            etcd: in_etcd,
            kubernetes: in_kubernetes,
            releases,
            acme: Arc::clone(&acme),
            webhooks,
            token,
            swaps: told.clone(),
            readiness: watch::Sender::default(),
        });
        let checks = health::run(Arc::clone(&shared.snapshots), told.clone());
        let health = thread::start_task("health", tell_failure.clone(), checks);
        let health = health.map_err(system("health thread"))?;
        let couriers = webhooks::run(shared.webhooks.clone(), books.source(&shared, since_ms), told.clone());
        let couriers = thread::start_task("webhooks", tell_failure.clone(), couriers);
        let couriers = couriers.map_err(system("webhooks thread"))?;
        let steward = books.steward(&shared).run(told.clone());
        let analysis = releases::analyse(Arc::clone(&shared), told.clone());
        let verdicts = releases::tell_objects(Arc::clone(&shared), told.clone());
        let (loads, swaps_of_loads) = (Arc::clone(&shared.releases.loads), told.clone());
        let steward = async move {
            tokio::join!(steward, analysis, verdicts, loads.run(swaps_of_loads));
        };
        let steward = thread::start_task("releases", tell_failure.clone(), steward);
        let steward = steward.map_err(system("releases thread"))?;
        let acme = acme.run(Arc::clone(&shared.snapshots), inbox.tell_issued(), told.clone());
        let acme = thread::start_task("acme", tell_failure.clone(), acme);
        let acme = acme.map_err(system("acme thread"))?;
        let rules = RulesThread::start(publisher, inbox, sources, Arc::clone(&shared), swaps, tell_failure.clone());
        let rules = rules.map_err(system("rules thread"))?;
        let weights = WeightsThread::start(Arc::clone(&shared.snapshots), tell_failure.clone());
        let weights = weights.map_err(system("weights thread"))?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let (shutdown, held) = (settings.shutdown, sockets.clone());
        let status = Arc::clone(&shared);
        let files = Box::new(move || Arc::clone(&status.status.load().certificate_files));
        let control = Control {
            shared: Arc::clone(&shared),
            shutdown,
            watch,
            certificates: CertificateWatch::new(told.clone(), files),
            rules,
            weights,
            probing: [health, discovery, steward, couriers, acme],
            fleet: Membership::new(Arc::clone(&shared), told, ticket_keys),
            sources: etcd.into_iter().chain(kubernetes).collect(),
            sockets: held,
            admin,
            inbox,
            failures,
        };
        let control = std::thread::Builder::new().name("control".into()).spawn(move || {
            let ended = runtime.block_on(control.run());
            // A disk that does not answer whoever reads files must not keep the process from ending.
            runtime.shutdown_background();
            ended
        });
        let control = Some(control.map_err(system("control thread"))?);
        Ok(Self { shared, shutdown, sockets, control, orders, failures: tell_failure, admin: admin_address })
    }

    /// The addresses of the open listeners, by name.
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.shared.status.load().listeners.clone()
    }

    /// The address of the admin API.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What is wrong with what is written.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.status.load().problems.to_vec()
    }

    /// The rules in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshots.load_full()
    }

    /// Asks something of the server.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// A way to ask something of the server from elsewhere, for example from a signal handler's task.
    pub fn orders(&self) -> mpsc::UnboundedSender<Order> {
        self.orders.clone()
    }

    /// Starts a thread that belongs to the process: if it panics, the server ends as when one of its own threads does.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        thread::start(name, self.failures.clone(), body).map(drop)
    }

    /// Waits until the server has ended, after [`Order::Drain`] or [`Order::Stop`].
    ///
    /// # Errors
    /// It has ended because one of its threads had.
    pub fn join(mut self) -> Result<(), Failure> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let Some(control) = self.control.take() else { return Ok(()) };
        control.join().unwrap_or_else(|panic| {
            let failure = Failure::of_panic("control", &*panic);
            tracing::error!("{failure}; the process drains and ends with an error");
            self.end_without_control();
            Err(failure)
        })
    }

    /// Nobody is left to hear orders: requests under way finish, and that is all.
    fn end_without_control(&self) {
        self.sockets.release();
        self.shared.command_all(|| Command::Drain);
        let deadline = tokio::time::Instant::now() + self.shutdown.deadline.duration();
        while tokio::time::Instant::now() < deadline && !self.shared.have_workers_ended() {
            std::thread::sleep(control::LOOK_AGAIN);
        }
        self.shared.command_all(|| Command::Stop);
        self.shared.join_workers();
        self.shared.log.flush();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.order(Order::Stop);
        // Whoever wants to know asks with `join`.
        let _ = self.wait();
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |error| StartError::System(what.into(), error)
}

#[cfg(test)]
mod tests;
