//! The thread that puts rules in force, and frees the snapshots they replace.
//!
//! Compiling very many routes takes a second, freeing them a tenth of one. Here nobody waits for either: not the data
//! path, and not the rest of the control path. Only the newest texts count; what came in between is passed over. Endpoints
//! that were found meanwhile are taken at once, all together.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kubernetes_source::Told;
use routing_rules::limit::Rate;
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use crate::control_path::acme::Acme;
use crate::control_path::discovery::Tell;
use crate::control_path::environments;
use crate::control_path::publish::{Publisher, Status};
use crate::control_path::release::Records;
use crate::control_path::source::etcd::KeyTexts;
use crate::control_path::source::kubernetes::ObjectTexts;
use crate::control_path::source::{Text, Texts};
use crate::moment;
use crate::snapshot::{Snapshot, SnapshotCell, Upstream};
use crate::thread::{self, Failures};

/// What each source said last, in the order of their precedence.
#[derive(Clone, Default)]
pub(super) struct Sources {
    pub(super) files: Vec<Text>,
    pub(super) keys: KeyTexts,
    /// What Kubernetes says.
    pub(super) objects: ObjectTexts,
    /// Where releases are that no fleet shares.
    pub(super) records: Records,
    /// Who orders certificates.
    pub(super) acme: Arc<Acme>,
    /// Releases that are rolled back here, though the store does not know it yet.
    pub(super) here: Overlay,
    /// Routes that an earlier process had from etcd, until it is known what became of them.
    pub(super) stored_routes: usize,
    /// When it stored them, in seconds since 1970.
    pub(super) stored_at_s: u64,
    /// The revision of etcd up to which all has been put in force or refused.
    pub(super) applied: i64,
}

impl Sources {
    pub(super) fn texts(&mut self) -> Texts {
        let misses = self.keys.misses(self.stored_routes, self.stored_at_s);
        if misses.is_none() && !self.keys.is_unheard() {
            self.stored_routes = 0;
        }
        let mut texts = self.keys.texts().and(self.objects.texts());
        texts.put_files(self.files.iter().cloned());
        misses.into_iter().for_each(|note| texts.note(note));
        texts
    }

    /// Where releases are.
    pub(super) fn records(&mut self) -> Records {
        let (own, keys, objects) = (self.records.clone(), self.keys.records().clone(), self.objects.records().clone());
        // Objects know best of their own. Before they are heard there is only what was stored of all, which may be old.
        let mut records = match self.objects.is_unheard() {
            true => own.union(keys).union(objects),
            false => objects.union(own).union(keys),
        };
        self.here.retain(|name, here| {
            let stored = records.get(name);
            let number = stored.map_or(0, |stored| stored.number);
            let is_of_it = stored.is_none_or(|stored| (&stored.stable, &stored.canary) == here.pair());
            // Another pair of versions that was begun later has nothing to do with it.
            (is_of_it || number < here.record.number) && here.until.is_none_or(|until| number < until)
        });
        records.extend(self.here.iter().map(|(name, here)| (name.clone(), Arc::clone(&here.record))));
        records
    }

    /// How things are now that they are applied.
    pub(super) fn status(&self, publisher: &Publisher) -> Status {
        let rolled_back_here = self.here.keys().cloned().collect();
        let is_kubernetes_applied = !self.objects.is_unheard();
        Status { applied: self.applied, is_kubernetes_applied, rolled_back_here, ..publisher.status() }
    }
}

/// By release.
pub(super) type Overlay = BTreeMap<Name, Here>;

/// A rollback that holds here.
#[derive(Clone)]
pub(super) struct Here {
    record: Arc<ReleaseRecord>,
    /// The number under which the store has it, once it does; 0 if that is void.
    until: Option<u64>,
}

impl Here {
    /// One that holds until the store has it.
    pub(super) fn new(record: Arc<ReleaseRecord>) -> Self {
        Self { record, until: None }
    }

    fn pair(&self) -> (&Name, &Name) {
        (&self.record.stable, &self.record.canary)
    }
}

/// The way to the thread.
pub(super) struct RulesThread {
    sender: Arc<Sender<News>>,
    thread: JoinHandle<()>,
}

/// What the thread is told.
enum News {
    /// What files say.
    Files(Vec<Text>),
    /// What etcd says.
    Keys(Box<KeyTexts>),
    /// What Kubernetes says.
    Objects(Box<Told>),
    /// Lookups for this upstream found something else, or are over for the first time.
    Found(Name),
    /// Templates have other environments.
    Environments,
    /// What files of certificates say.
    Certificates(Vec<Text>),
    /// An authority has issued something.
    Issued,
    /// Where releases are.
    Records(Records),
    /// A release is rolled back here.
    RolledBack(Name, Arc<ReleaseRecord>),
    /// The store has that with this number now, under another one.
    RollbackWritten { release: Name, number: u64, written: u64 },
}

/// News that nobody has read yet. It exists before the thread, because lookups begin before listeners open.
pub(super) struct Inbox {
    /// The thread ends when the last one who holds this lets go. Whoever may only tell as long as it lives does not.
    sender: Arc<Sender<News>>,
    receiver: Receiver<News>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender: Arc::new(sender), receiver }
    }

    /// The way for those who look names up.
    pub(super) fn tell(&self) -> Tell {
        let tell = self.tell_news();
        Arc::new(move |upstream| tell(News::Found(upstream.clone())))
    }

    /// The way for who follows etcd.
    pub(super) fn tell_keys(&self) -> impl Fn(KeyTexts) + Send + Sync + 'static {
        let tell = self.tell_news();
        move |texts| tell(News::Keys(Box::new(texts)))
    }

    /// The way for who follows Kubernetes.
    pub(super) fn tell_objects(&self) -> impl Fn(Told) + Send + Sync + 'static {
        let tell = self.tell_news();
        move |told| tell(News::Objects(Box::new(told)))
    }

    /// The way for who stores where releases are.
    pub(super) fn tell_records(&self) -> impl Fn(Records) + Send + Sync + 'static {
        let tell = self.tell_news();
        move |records| tell(News::Records(records))
    }

    /// The way for who is told to roll a release back when the store cannot be.
    pub(super) fn tell_rolled_back(&self) -> impl Fn(&Name, Arc<ReleaseRecord>) + Send + Sync + 'static {
        let tell = self.tell_news();
        move |release, record| tell(News::RolledBack(release.clone(), record))
    }

    /// The way for who tells the store later.
    pub(super) fn tell_rollback_written(&self) -> impl Fn(&Name, u64, u64) + Send + Sync + 'static {
        let tell = self.tell_news();
        move |release, number, written| tell(News::RollbackWritten { release: release.clone(), number, written })
    }

    /// A thread that has ended has said so.
    fn tell_news(&self) -> impl Fn(News) + Send + Sync + 'static {
        let sender = Arc::downgrade(&self.sender);
        move |news| drop(sender.upgrade().map(|sender| sender.send(news)))
    }

    /// The way for who orders certificates.
    pub(super) fn tell_issued(&self) -> impl Fn() + Send + Sync + 'static {
        let tell = self.tell_news();
        move || tell(News::Issued)
    }

    /// The way for who follows environments.
    pub(super) fn tell_environments(&self) -> environments::Tell {
        let tell = self.tell_news();
        Arc::new(move || tell(News::Environments))
    }

    /// Waits until etcd and Kubernetes were heard, but not for long, and takes what they say.
    pub(super) fn take_others(&self, publisher: &mut Publisher, sources: &mut Sources) {
        let (began, mut taken) = (Instant::now(), Taken::default());
        while sources.keys.is_unheard() || sources.objects.is_unheard() {
            let Ok(news) = self.receiver.recv_timeout(FIRST_LISTING.saturating_sub(began.elapsed())) else { break };
            taken.hear(news, sources);
        }
        taken.put_in_force(publisher, sources);
    }

    /// Waits until the environments of all templates were asked for, but not for long, and takes what was found.
    /// Tells `swaps` of whatever comes meanwhile. An etcd that has not answered yet will not answer this either.
    pub(super) fn take_environments(
        &self,
        publisher: &mut Publisher,
        sources: &mut Sources,
        snapshots: &SnapshotCell,
        swaps: &watch::Sender<()>,
    ) {
        let began = Instant::now();
        while !sources.keys.is_unheard() && is_unasked(&snapshots.load()) {
            match self.receiver.recv_timeout(FIRST_LISTING.saturating_sub(began.elapsed())) {
                Ok(news) => take(publisher, sources, [news].into_iter()),
                Err(_) => break,
            }
            swaps.send_replace(());
        }
        swaps.send_replace(());
    }

    /// Waits for the first lookups of the upstreams of a snapshot, but not for long, and takes what they found.
    pub(super) fn take_first(&self, publisher: &mut Publisher, sources: &mut Sources, snapshot: &Snapshot) {
        let all = snapshot.upstreams.iter().flatten().filter(|upstream| upstream.discovered.is_some());
        let mut waiting: Vec<&Arc<Upstream>> = all.clone().collect();
        let (began, mut taken) = (Instant::now(), Taken::default());
        loop {
            waiting.retain(|upstream| upstream.discovered.as_ref().is_some_and(|discovered| !discovered.was_asked()));
            let serves_nobody = waiting.iter().any(|upstream| upstream.endpoints.is_empty());
            let patience = if serves_nobody { FIRST_LOOKUPS } else { CONFIRMATIONS };
            let left = patience.saturating_sub(began.elapsed());
            // A lookup is over before it is told, so what it found is taken whether or not that has come.
            if waiting.is_empty() {
                break;
            }
            let Ok(news) = self.receiver.recv_timeout(left) else { break };
            taken.hear(news, sources);
        }
        taken.found = all.map(|upstream| upstream.name().clone()).collect();
        taken.put_in_force(publisher, sources);
    }
}

impl RulesThread {
    /// Starts the thread. It tells `swaps` whenever there may be a new snapshot.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(
        publisher: Publisher,
        inbox: Inbox,
        sources: Sources,
        shared: Arc<Shared>,
        swaps: watch::Sender<()>,
        failures: Failures,
    ) -> std::io::Result<Self> {
        let Inbox { sender, receiver } = inbox;
        let thread = thread::start("rules", failures, move || {
            run(publisher, &receiver, sources, &shared, &swaps);
        })?;
        Ok(Self { sender, thread })
    }

    /// Puts these texts in force soon, unless newer ones follow.
    pub(super) fn update(&self, texts: Vec<Text>) {
        // A thread that has ended has said so.
        let _ = self.sender.send(News::Files(texts));
    }

    /// Takes what files of certificates say.
    pub(super) fn update_certificates(&self, texts: Vec<Text>) {
        let _ = self.sender.send(News::Certificates(texts));
    }

    /// Waits until the newest rules are in force and stored. Blocks.
    pub(super) fn join(self) {
        drop(self.sender);
        let _ = self.thread.join();
    }
}

fn run(
    mut publisher: Publisher,
    inbox: &Receiver<News>,
    mut sources: Sources,
    shared: &Shared,
    swaps: &watch::Sender<()>,
) {
    let mut swaps_left = SwapsLeft::new();
    // What the start took may have come after somebody looked.
    swaps.send_replace(());
    loop {
        let received = match publisher.has_replaced() {
            true => inbox.recv_timeout(LOOK_AGAIN),
            false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(news) => {
                swaps_left.take();
                take(&mut publisher, &mut sources, [news].into_iter().chain(inbox.try_iter()));
            }
            Err(RecvTimeoutError::Timeout) => {
                publisher.free_replaced();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let status = Arc::new(sources.status(&publisher));
        shared.kubernetes.iter().for_each(|kubernetes| kubernetes.tell(&status.problems));
        shared.status.store(status);
        swaps.send_replace(());
    }
}

/// How many swaps there may be. Writers that never pause are followed, but not one by one: what reads snapshots would do
/// nothing else.
struct SwapsLeft {
    rate: Rate,
    full_at: u64,
}

impl SwapsLeft {
    fn new() -> Self {
        Self { rate: Rate::new(PER_SECOND, Duration::from_secs(1), MOST_AT_ONCE), full_at: 0 }
    }

    /// Takes one, and waits for it if there is none.
    fn take(&mut self) {
        self.full_at = loop {
            match self.rate.take(self.full_at, moment::now_us()) {
                Ok(full_at) => break full_at,
                Err(wait) => std::thread::sleep(Duration::from_micros(wait.us())),
            }
        };
    }
}

fn take(publisher: &mut Publisher, sources: &mut Sources, all: impl Iterator<Item = News>) {
    let mut taken = Taken::default();
    all.for_each(|news| taken.hear(news, sources));
    taken.put_in_force(publisher, sources);
}

/// What there is to put in force.
#[derive(Default)]
struct Taken {
    has_texts: bool,
    has_environments: bool,
    certificates: Option<Vec<Text>>,
    has_issued: bool,
    /// For which upstreams lookups found something.
    found: Vec<Name>,
}

impl Taken {
    fn hear(&mut self, news: News, sources: &mut Sources) {
        match news {
            News::Files(files) => (sources.files, self.has_texts) = (files, true),
            News::Keys(keys) => {
                (sources.keys, self.has_texts) = (*keys, true);
                // Answers are in force before it is told that the keys are.
                self.has_issued |= !sources.keys.is_unheard() && sources.acme.hear(sources.keys.orders());
            }
            News::Objects(told) => {
                sources.objects.take(*told);
                self.has_texts = true;
            }
            News::Found(upstream) => self.found.push(upstream),
            News::Environments => self.has_environments = true,
            News::Certificates(texts) => self.certificates = Some(texts),
            News::Issued => self.has_issued = true,
            News::Records(records) => (sources.records, self.has_texts) = (records, true),
            News::RolledBack(release, record) => {
                sources.here.insert(release, Here::new(record));
                self.has_texts = true;
            }
            News::RollbackWritten { release, number, written } => {
                let here = sources.here.get_mut(&release).filter(|here| here.record.number == number);
                here.into_iter().for_each(|here| here.until = Some(written));
                self.has_texts = true;
            }
        }
    }

    fn put_in_force(self, publisher: &mut Publisher, sources: &mut Sources) {
        if self.has_issued {
            take_issued(publisher, sources);
        }
        if self.has_texts {
            update(publisher, sources);
        }
        if self.has_environments {
            take_environments(publisher);
        }
        if let Some(texts) = self.certificates {
            take_certificates(publisher, texts);
        }
        publisher.take_found(&self.found);
    }
}

/// What makes this panic is in a text, and would do so again after a restart: it is held back, and the others are taken. The
/// publisher works on copies, so the next update finds everything as it was.
fn update(publisher: &mut Publisher, sources: &mut Sources) {
    let (texts, records) = (sources.texts(), sources.records());
    let is_applied = match catch_unwind(AssertUnwindSafe(|| publisher.update(texts, records))) {
        Ok(()) => true,
        Err(panic) => {
            let around = catch_unwind(AssertUnwindSafe(|| publisher.take_around(thread::message(&*panic))));
            around.unwrap_or(false)
        }
    };
    if is_applied {
        sources.applied = sources.keys.revision();
    }
}

/// The same for what is in keys.
fn take_environments(publisher: &mut Publisher) {
    let taken = catch_unwind(AssertUnwindSafe(|| publisher.take_environments()));
    if let Err(panic) = taken {
        publisher.note_panic(thread::message(&*panic));
    }
}

/// The same for what is in files of certificates.
fn take_certificates(publisher: &mut Publisher, texts: Vec<Text>) {
    let taken = catch_unwind(AssertUnwindSafe(|| publisher.take_certificate_files(texts)));
    if let Err(panic) = taken {
        publisher.note_panic(thread::message(&*panic));
    }
}

/// The same for what was issued.
fn take_issued(publisher: &mut Publisher, sources: &Sources) {
    let taken = catch_unwind(AssertUnwindSafe(|| publisher.take_issued(sources.acme.issued())));
    if let Err(panic) = taken {
        publisher.note_panic(thread::message(&*panic));
    }
}

/// Whether a template's environments were not asked for yet.
fn is_unasked(snapshot: &Snapshot) -> bool {
    let mut templates = snapshot.table.rules().upstream_templates();
    templates.any(|template| !snapshot.environments.of(template.name()).is_some_and(|known| known.was_asked))
}

/// How long a start waits for etcd and Kubernetes. Rules from files serve without it, and so do those that were stored.
const FIRST_LISTING: Duration = Duration::from_secs(3);

/// How long a start waits for names that are looked up and of which nothing is known. Requests that come before there is an
/// answer would get 503, and so would those for all other routes if it waited for ever.
const FIRST_LOOKUPS: Duration = Duration::from_secs(2);

/// How long it waits for those whose endpoints are known from before.
const CONFIRMATIONS: Duration = Duration::from_millis(500);

/// How often replaced snapshots are looked at, as long as there are any. Workers let go of them about as often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Swaps in a row before they are spread.
const MOST_AT_ONCE: u32 = 50;

/// Swaps in a second, in the long run.
const PER_SECOND: u32 = 60;
