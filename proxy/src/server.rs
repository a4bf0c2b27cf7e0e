//! Owns every thread and long-lived task: starts them, drains them, stops them.

mod listeners;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use routing_rules::release::{ReleaseContext, Secret};
use routing_rules::request::GeoDatabase;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, AdminState, Readiness};
use crate::control_path::assemble::Assembler;
use crate::control_path::catalog::{Catalog, Document};
use crate::control_path::check::check;
use crate::control_path::decode::Problem;
use crate::control_path::geo::CityDatabase;
use crate::control_path::publish::Publisher;
use crate::control_path::secret;
use crate::control_path::source::Text;
use crate::control_path::source::file::{FileSet, FileWatch};
use crate::control_path::state_dir::StateDir;
pub use crate::data_path::deadline::ConnectionLimits;
use crate::data_path::listener;
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::telemetry::access_log::LogSink;
use crate::telemetry::counters::WorkerCounters;
use crate::worker::{Command, WorkerHandle, WorkerOptions};
use listeners::WorkerListeners;

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
    control: Option<std::thread::JoinHandle<()>>,
    orders: mpsc::UnboundedSender<Order>,
    admin: Option<SocketAddr>,
}

/// What admin and control share.
pub(crate) struct Shared {
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) publisher: Mutex<Publisher>,
    pub(crate) workers: Mutex<Vec<WorkerHandle>>,
    pub(crate) log: LogSink,
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
    pub(crate) fn publisher(&self) -> MutexGuard<'_, Publisher> {
        // A panic while holding the lock cannot leave a half-made change: the swap is one store.
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> MutexGuard<'_, Vec<WorkerHandle>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the workers count.
    pub(crate) fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.workers().iter().map(|worker| Arc::clone(&worker.counters)).collect()
    }

    fn command_all(&self, command: impl Fn() -> Command) {
        self.workers().iter().for_each(|worker| worker.command(command()));
    }
}

impl Server {
    /// Starts a proxy and returns when it serves. Logging is up to the caller.
    ///
    /// # Errors
    /// Nothing to serve: the main file cannot be used, and no rules are stored.
    pub fn start(options: StartOptions) -> Result<Self, StartError> {
        let Start { settings, stored } = read_start(&options.config, options.state_dir.as_ref())?;
        let state_dir = settings.state_dir.as_deref().map(StateDir::open).transpose();
        let state_dir = state_dir.map_err(|error| StartError::System("state_dir".into(), error))?;
        let log = settings.access_log.as_ref().map(LogSink::open).transpose();
        let log = log.map_err(|error| StartError::System("access_log".into(), error))?.unwrap_or_else(LogSink::off);
        let geo =
            settings.geo.as_ref().map(|geo| CityDatabase::open(&geo.database)).transpose().map_err(StartError::Geo)?;
        let secret = secret(&settings, state_dir.as_ref())?;

        let workers = settings.worker_count();
        let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
        let worker_options = WorkerOptions {
            snapshots: Arc::clone(&snapshots),
            limits: options.limits,
            max_connections: connections_per_worker(workers),
            log: log.clone(),
        };
        let handles: Result<Vec<_>, _> =
            (0..workers).map(|index| WorkerHandle::start(index, worker_options.clone())).collect();
        let handles = handles.map_err(|error| StartError::System("worker thread".into(), error))?;

        let context = ReleaseContext { secret, ..ReleaseContext::default() };
        let geo = geo.map(|geo| Arc::new(geo) as Arc<dyn GeoDatabase>);
        let assembler = Assembler::new(workers, context, settings.trusted(), geo);
        let commands = handles.iter().map(WorkerHandle::sender).collect();
        let listeners = Box::new(WorkerListeners::new(commands));
        let mut publisher = Publisher::new(settings.clone(), assembler, Arc::clone(&snapshots), listeners, state_dir);
        if let Some(catalog) = stored {
            publisher.restore(catalog);
        }
        let files = FileSet::new(&options.config, &settings.sources.files);
        // The watch begins before the first read, so that no change falls between them.
        let watch = FileWatch::new(files.clone());
        publisher.update(files.read());

        let (readiness, _) = watch::channel(Readiness::Ready);
        let shared = Arc::new(Shared {
            snapshots,
            publisher: Mutex::new(publisher),
            workers: Mutex::new(handles),
            log,
            readiness,
        });
        Self::run(shared, settings, watch)
    }

    fn run(shared: Arc<Shared>, settings: Settings, watch: FileWatch) -> Result<Self, StartError> {
        let admin = settings.admin.as_ref().map(|admin| listener::bind(admin.address)).transpose();
        let admin = admin.map_err(|error| StartError::System("admin address".into(), error))?;
        let admin_address = admin.as_ref().and_then(|socket| socket.local_addr().ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StartError::System("control runtime".into(), error))?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let control = Control { shared: Arc::clone(&shared), settings, watch, admin, inbox };
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || runtime.block_on(control.run()));
        let thread = thread.map_err(|error| StartError::System("control thread".into(), error))?;
        Ok(Self { shared, control: Some(thread), orders, admin: admin_address })
    }

    /// The addresses of the open listeners, by name.
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.shared.publisher().open_listeners().map(|(name, address)| (name.to_string(), address)).collect()
    }

    /// The address of the admin API.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What is wrong with what is written.
    pub fn problems(&self) -> Vec<Problem> {
        self.shared.publisher().problems().to_vec()
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

    /// Waits until the server has ended, after [`Order::Drain`] or [`Order::Stop`].
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.order(Order::Stop);
        self.wait();
    }
}

/// What is known before anything is started.
struct Start {
    settings: Settings,
    stored: Option<Catalog>,
}

/// Settings from the main file, or from the state folder if the file cannot be used; and the stored rules, which fill
/// in for whatever in the files is wrong.
fn read_start(main: &Path, state_dir: Option<&PathBuf>) -> Result<Start, StartError> {
    let mut problems = Vec::new();
    let settings = FileSet::new(main, &[]).read().first().and_then(|text| settings_of(text, &mut problems));
    let folder = state_dir.cloned().or_else(|| settings.as_ref().and_then(|settings| settings.state_dir.clone()));
    let stored = folder.as_ref().and_then(|folder| StateDir::open(folder).ok()?.restore().ok());
    let catalog = stored.as_ref().map(|stored| Catalog::restored(&stored.rules, &"stored rules".into()));
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
    Ok(Start { settings, stored: catalog })
}

fn settings_of(text: &Text, problems: &mut Vec<Problem>) -> Option<Settings> {
    let document = Document::parse(text);
    match document.tree {
        Ok(root) => {
            let mut settings = Settings::decode(&document.name, &root, problems)?;
            settings.resolve_beside(&document.name);
            Some(settings)
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// The key that signs pins: from its file, else kept in the state folder, else of this process only.
fn secret(settings: &Settings, state_dir: Option<&StateDir>) -> Result<Secret, StartError> {
    let system = |what: &str, error| StartError::System(what.to_owned(), error);
    if let Some(path) = &settings.secret_file {
        let bytes = std::fs::read(path).map_err(|error| system("secret_file", error))?;
        return secret::of_file(&bytes).map_err(|reason| system("secret_file", std::io::Error::other(reason)));
    }
    let bytes = match state_dir {
        Some(state_dir) => state_dir.secret().map_err(|error| system("state_dir", error))?,
        None => crate::random::secret().map_err(|error| system("secret", error))?,
    };
    Ok(Secret::from_bytes(bytes))
}

/// A quarter of the descriptors is left for connections to endpoints: only requests under way need one, and most client
/// connections are idle most of the time.
fn connections_per_worker(workers: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    let usable = limit.saturating_sub(RESERVED_DESCRIPTORS) / 4 * 3;
    usize::try_from(usable).unwrap_or(usize::MAX).max(workers) / workers
}

/// The control thread.
struct Control {
    shared: Arc<Shared>,
    settings: Settings,
    watch: FileWatch,
    admin: Option<std::net::TcpListener>,
    inbox: mpsc::UnboundedReceiver<Order>,
}

impl Control {
    async fn run(mut self) {
        // Ends with this function.
        let mut background = JoinSet::new();
        if let Some(socket) = self.admin.take() {
            let state = AdminState::new(Arc::clone(&self.shared));
            background.spawn(async move {
                if let Err(error) = admin::serve(socket, state).await {
                    tracing::error!(%error, "the admin API has ended");
                }
            });
        }
        loop {
            tokio::select! {
                texts = self.watch.changed() => self.shared.publisher().update(texts),
                order = self.inbox.recv() => match order {
                    Some(Order::Reload) => {
                        self.shared.log.reopen();
                        let texts = self.watch.reread().await;
                        self.shared.publisher().update(texts);
                    }
                    Some(Order::Drain) => break,
                    Some(Order::Stop) | None => return self.stop().await,
                },
            }
        }
        self.drain().await;
    }

    async fn drain(mut self) {
        let settings = self.settings.shutdown;
        self.shared.readiness.send_replace(Readiness::Draining);
        tracing::info!(delay = %settings.delay, deadline = %settings.deadline, "draining");
        let steps = async {
            tokio::time::sleep(settings.delay.duration()).await;
            self.shared.publisher().release_listeners();
            self.shared.command_all(|| Command::Drain);
            let deadline = tokio::time::Instant::now() + settings.deadline.duration();
            while tokio::time::Instant::now() < deadline && !self.shared.workers().iter().all(WorkerHandle::is_finished)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // A second order to end cuts the wait short.
        let second = async { while self.inbox.recv().await == Some(Order::Reload) {} };
        tokio::select! {
            () = steps => {}
            () = second => tracing::warn!("stopping at once"),
        }
        self.stop().await;
    }

    async fn stop(self) {
        self.shared.command_all(|| Command::Stop);
        let workers = std::mem::take(&mut *self.shared.workers());
        let log = self.shared.log.clone();
        let ended = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(WorkerHandle::join);
            log.flush();
        });
        let _ = ended.await;
    }
}

/// Descriptors for listeners, files, the admin API.
const RESERVED_DESCRIPTORS: u64 = 256;
