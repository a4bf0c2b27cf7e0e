//! One data thread: its runtime, its listeners, its connections and pools, its counters.
//!
//! A request never leaves its worker, so nothing here is locked or contended. [`Worker`] is what the code that runs on
//! the thread shares; [`WorkerHandle`] is how the rest of the process talks to it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::Cache;
use bytes::BytesMut;
use http::HeaderValue;
use hyper::{client, server};
use routing_rules::release::Moment;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::data_path::deadline::{self, ConnectionLimits, Registry};
use crate::data_path::edge::{EncoderMemory, Passwords};
use crate::data_path::http::{self as http1, ConnectionState, Order, Phase, http2};
use crate::data_path::listener::{ListenerContext, LocalListeners, OpenListener, PerClient};
use crate::data_path::read_budget::ReadBudget;
use crate::data_path::request::Exchange;
use crate::data_path::tls::Handshakes;
use crate::data_path::upstream::{self, LocalUpstreams, WarmUps};
use crate::snapshot::{AnswerCell, Snapshot, SnapshotCell, Tls};
use crate::telemetry::access_log::LogWriter;
use crate::telemetry::counters::WorkerCounters;
use crate::thread::{self, Failure, Failures};

/// What a worker is started with.
#[derive(Clone)]
pub(crate) struct WorkerOptions {
    /// Where the current rules are.
    pub(crate) snapshots: Arc<SnapshotCell>,
    /// Time limits of client connections.
    pub(crate) limits: ConnectionLimits,
    /// Connections of clients that one worker serves at most.
    pub(crate) max_connections: usize,
    /// Requests that one worker has in flight at one upstream at most.
    pub(crate) max_in_flight: u32,
    /// How many of all workers' connections each client has.
    pub(crate) clients: Arc<PerClient>,
    /// What authorities are answered.
    pub(crate) answers: Arc<AnswerCell>,
    /// Which passwords all workers know.
    pub(crate) passwords: Arc<Passwords>,
    /// How all workers share HTTP/2 connections.
    pub(crate) http2: Arc<http2::Share>,
    /// Descriptors from this number on are not for clients and endpoints.
    pub(crate) reserved_from: RawFd,
    /// Where access log lines go.
    pub(crate) log: crate::telemetry::access_log::LogSink,
    /// Where it is told that the thread has ended without being asked to.
    pub(crate) failures: Failures,
}

/// What the server asks of a worker.
pub(crate) enum Command {
    /// Accept connections.
    Open(OpenListener),
    /// Serve a connection that another worker accepted.
    TakeOver(Box<http2::Handed>),
    /// Stop accepting at this address and let its connections finish.
    Close(SocketAddr),
    /// Stop accepting and let everything finish.
    Drain,
    /// Close everything now.
    Stop,
    /// Panic.
    #[cfg(test)]
    Panic,
}

/// A running worker, seen from outside.
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    /// What the worker counts.
    pub(crate) counters: Arc<WorkerCounters>,
    /// `None` once somebody waits for it.
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the code on a worker's thread shares.
pub(crate) struct Worker {
    /// Its place among the workers.
    pub(crate) index: usize,
    pub(crate) clock: Rc<Clock>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) connections: Registry<ConnectionState>,
    pub(crate) exchanges: Registry<Exchange>,
    pub(crate) upstreams: LocalUpstreams,
    /// Copies of requests under way to mirrors.
    pub(crate) mirrors: Cell<usize>,
    warm_ups: WarmUps,
    pub(crate) log: LogWriter,
    pub(crate) http1: server::conn::http1::Builder,
    pub(crate) http1_client: client::conn::http1::Builder,
    pub(crate) max_connections: usize,
    pub(crate) clients: Arc<PerClient>,
    pub(crate) answers: Arc<AnswerCell>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) encoder_memory: EncoderMemory,
    pub(crate) read_budget: ReadBudget,
    pub(crate) http2: Arc<http2::Share>,
    pub(crate) handshakes: Handshakes,
    /// Of the table by which connections were looked at last.
    tls_generation: Cell<u64>,
    reserved_from: RawFd,
    made_room_ms: Cell<Option<u64>>,
    snapshots: RefCell<Cache<Arc<SnapshotCell>, Arc<Snapshot>>>,
    snapshot: RefCell<Rc<HeldSnapshot>>,
    random: Cell<u64>,
    id_prefix: u64,
    listeners: LocalListeners,
}

/// A snapshot as requests of one worker hold it. They count their references in an [`Rc`] around this: if they all
/// counted in the [`Arc`], every request of every worker would fight for one cache line.
pub(crate) struct HeldSnapshot(Arc<Snapshot>);

impl Deref for HeldSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// The worker's coarse clock: milliseconds it has been awake, as of the last sweep.
pub(crate) struct Clock {
    looked: Cell<Instant>,
    now_ms: Cell<u64>,
    unix_secs: Cell<u64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let clock = Self { looked: Cell::new(Instant::now()), now_ms: Cell::new(0), unix_secs: Cell::new(0) };
        clock.tick();
        clock
    }

    /// Milliseconds since the worker started, at most one sweep old.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn tick(&self) {
        // A process that was stopped, or a machine that slept, has not been waiting all that time: what came meanwhile
        // is still to be read, and nothing may be called late before.
        let now = Instant::now();
        let step = (now - self.looked.replace(now)).min(LONGEST_STEP);
        self.now_ms.set(self.now_ms.get() + step.as_millis() as u64);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.unix_secs.set(unix.as_secs());
    }
}

impl Worker {
    fn new(index: usize, options: WorkerOptions, counters: Arc<WorkerCounters>) -> Self {
        let mut snapshots = Cache::new(options.snapshots);
        let snapshot = Rc::new(HeldSnapshot(Arc::clone(snapshots.load())));
        let (random, id_prefix) = (crate::random::seed(), crate::random::seed());
        Self {
            index,
            clock: Rc::new(Clock::new()),
            counters,
            connections: Registry::new(),
            exchanges: Registry::new(),
            upstreams: LocalUpstreams::new(index, options.max_in_flight),
            mirrors: Cell::new(0),
            warm_ups: WarmUps::default(),
            log: LogWriter::new(options.log),
            http1: http1::builder(),
            http1_client: upstream::builder(),
            max_connections: options.max_connections,
            clients: options.clients,
            answers: options.answers,
            passwords: options.passwords,
            encoder_memory: EncoderMemory::default(),
            read_budget: ReadBudget::default(),
            http2: options.http2,
            handshakes: Handshakes::new(options.max_connections),
            tls_generation: Cell::new(0),
            reserved_from: options.reserved_from,
            made_room_ms: Cell::new(None),
            snapshots: RefCell::new(snapshots),
            snapshot: RefCell::new(snapshot),
            random: Cell::new(random),
            id_prefix,
            listeners: LocalListeners::default(),
        }
    }

    /// The current snapshot.
    pub(crate) fn snapshot(&self) -> Rc<HeldSnapshot> {
        let mut cache = self.snapshots.borrow_mut();
        let newest = cache.load();
        let mut current = self.snapshot.borrow_mut();
        if !Arc::ptr_eq(newest, &current.0) {
            *current = Rc::new(HeldSnapshot(Arc::clone(newest)));
        }
        Rc::clone(&current)
    }

    /// A random number: splitmix64, seeded by the operating system. Not for secrets.
    pub(crate) fn draw(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Time and draws for an assignment.
    pub(crate) fn moment(&self) -> Moment {
        Moment { unix_secs: self.unix_secs(), draw: [self.draw(), self.draw()] }
    }

    /// Seconds since 1970.
    pub(crate) fn unix_secs(&self) -> u64 {
        self.clock.unix_secs.get()
    }

    /// 32 hexadecimal digits that no other request has.
    pub(crate) fn next_request_id(&self) -> HeaderValue {
        let id = (u128::from(self.id_prefix) << 64) | u128::from(self.draw());
        let mut text = BytesMut::zeroed(32);
        for (place, digit) in text.iter_mut().enumerate() {
            let nibble = (id >> (124 - 4 * place)) as usize & 0xf;
            *digit = b"0123456789abcdef"[nibble];
        }
        HeaderValue::from_maybe_shared(text.freeze()).expect("hexadecimal digits are visible ASCII")
    }

    fn sweep(&self, count: u64, limits: &ConnectionLimits) {
        self.clock.tick();
        let now_ms = self.clock.now_ms();
        // Also a worker without requests lets go of replaced rules, so that they can be freed.
        let snapshot = self.snapshot();
        if self.tls_generation.replace(snapshot.tls.generation) != snapshot.tls.generation {
            self.drain_misfits(&snapshot);
        }
        deadline::sweep_exchanges(&self.exchanges, limits, now_ms);
        if count.is_multiple_of(5) {
            deadline::sweep_connections(&self.connections, limits, now_ms);
            self.log.flush();
        }
        if count.is_multiple_of(20) {
            self.upstreams.tidy(|index| snapshot.upstreams.get(index)?.as_ref(), || self.draw(), now_ms);
        }
    }

    /// Begins to open connections ahead of requests. Those that were given up to make room are not opened again at once.
    fn warm_up(self: &Rc<Self>) {
        let now_ms = self.clock.now_ms();
        if self.made_room_ms.get().is_none_or(|made_ms| now_ms - made_ms >= COLD_MS) {
            self.warm_ups.look(self, &self.snapshot(), now_ms);
        }
    }

    /// Whether a new socket may be used. The operating system hands out the lowest free number, so a high one means
    /// that hardly any are left, and those are for the files and the admin API.
    pub(crate) fn has_room_for(&self, socket: &impl AsRawFd) -> bool {
        socket.as_raw_fd() < self.reserved_from
    }

    /// Gives up what is idle, because descriptors or memory have run out; once a sweep, however often it is asked for.
    pub(crate) fn make_room(&self) {
        let now_ms = Some(self.clock.now_ms());
        if self.made_room_ms.replace(now_ms) != now_ms {
            self.shed_idle();
            self.upstreams.shed_idle();
        }
    }

    /// Closes the connections that have been idle for longest, a sixteenth of all, to make room.
    pub(crate) fn shed_idle(&self) {
        // The end of an answer may still wait for a client that reads slowly.
        let is_idle =
            |state: &ConnectionState| matches!(state.phase(), Phase::Parked | Phase::Idle) && !state.owes_answer();
        let mut since = Vec::new();
        self.connections.for_each(|state| since.extend(is_idle(state).then(|| state.since_ms())));
        if since.is_empty() {
            return;
        }
        let batch = (since.len() / 16).max(1);
        let (older, &mut newest_to_go, _) = since.select_nth_unstable(batch - 1);
        // Many may have become idle in the same sweep: of those of one age only as many as are wanted.
        let mut of_that_age = batch - older.iter().filter(|since| **since < newest_to_go).count();
        self.connections.for_each(|state| {
            let goes = is_idle(state) && state.since_ms() <= newest_to_go;
            if goes && (state.since_ms() < newest_to_go || of_that_age > 0) {
                of_that_age -= usize::from(state.since_ms() == newest_to_go);
                state.order(Order::Close);
            }
        });
    }

    /// Lets connections end whose listener has begun to speak TLS, or no longer does.
    fn drain_misfits(&self, snapshot: &Snapshot) {
        self.connections.for_each(|state| {
            let speaks_tls = state.listener.in_force(snapshot, |_, listening| listening.tls.is_some());
            if speaks_tls.is_some_and(|speaks_tls| speaks_tls != state.is_encrypted()) {
                state.order(Order::Drain);
            }
        });
    }

    /// What requests need to know of a listener, also if it has been closed here; the table is the last that knew it elsewhere.
    pub(crate) fn listener_at(&self, name: Arc<str>, bound: SocketAddr, tls: Arc<Tls>) -> Rc<ListenerContext> {
        self.listeners.context(bound).unwrap_or_else(|| Rc::new(ListenerContext::closed(name, bound, tls)))
    }

    /// Lets connections, or those of one listener, end after the request they are serving, and now if there is none.
    pub(crate) fn drain_connections(&self, of: Option<&ListenerContext>) {
        self.connections.for_each(|state| {
            if of.is_none_or(|listener| std::ptr::eq(&*state.listener, listener)) {
                state.order(Order::Drain);
            }
        });
    }
}

impl WorkerHandle {
    /// Starts a worker thread, and returns when it can serve.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub(crate) fn start(index: usize, options: WorkerOptions) -> std::io::Result<Self> {
        let counters = Arc::new(WorkerCounters::default());
        let (commands, inbox) = mpsc::unbounded_channel();
        let shared = Arc::clone(&counters);
        let (tell, made) = std::sync::mpsc::channel();
        let failures = options.failures.clone();
        let thread = thread::start(&format!("worker-{index}"), failures, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            match runtime {
                Ok(runtime) => {
                    let _ = tell.send(Ok(()));
                    runtime.block_on(run(index, options, shared, inbox));
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
        made.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended at once")))?;
        Ok(Self { commands, counters, thread: Some(thread) })
    }

    /// A way to send commands from elsewhere.
    pub(crate) fn sender(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    /// Sends a command. A worker that has ended ignores it.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// The thread, for the one who waits until it has ended, after [`Command::Drain`] or [`Command::Stop`]. What the
    /// worker counted can be read further on.
    pub(crate) fn take_thread(&mut self) -> Option<std::thread::JoinHandle<()>> {
        self.thread.take()
    }

    /// Whether the worker's thread has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }
}

async fn run(
    index: usize,
    options: WorkerOptions,
    counters: Arc<WorkerCounters>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    let (limits, failures) = (options.limits, options.failures.clone());
    let worker = Rc::new(Worker::new(index, options, counters));
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0u64;
    let mut is_draining = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                count += 1;
                worker.sweep(count, &limits);
                if !is_draining {
                    worker.warm_up();
                }
                if is_draining && worker.listeners.have_ended() && worker.connections.len() == 0 {
                    break;
                }
            }
            command = inbox.recv() => match command {
                Some(Command::Open(listener)) => worker.listeners.open(&worker, listener),
                Some(Command::TakeOver(handed)) => http2::take_over(&worker, *handed),
                Some(Command::Close(bound)) => worker.listeners.close(bound),
                Some(Command::Drain) => {
                    is_draining = true;
                    worker.listeners.close_all();
                }
                Some(Command::Stop) | None => break,
                #[cfg(test)]
                Some(Command::Panic) => panic!("no luck"),
            },
            error = worker.listeners.failed() => {
                // The process is about to end. Whoever is connected here is served, and comes back to another worker.
                worker.drain_connections(None);
                let _ = failures.send(Failure::of_task(format!("accepting in worker-{index}"), error));
            }
        }
    }
}

/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(50);

/// How long no connection is opened ahead of requests after a shortage.
const COLD_MS: u64 = 10_000;

/// The clock does not go on faster than this from one sweep to the next.
const LONGEST_STEP: Duration = Duration::from_millis(500);
