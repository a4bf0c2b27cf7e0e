//! Puts rules in force: catalog, snapshot, listeners, stored copy. The only place that swaps.

mod ended;

mod held_back;

mod inputs;

mod listeners;

mod replaced;

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use routing_rules::rules::{Kind, Name};
use tokio::sync::watch;
use tokio::time::Instant;

use super::assemble::Assembler;
use super::catalog::{Catalog, Document, Witness};
use super::certificates::{Certificates, Finding, Issued};
use super::decode::Problem;
use super::release::{Records, taken_back};
use super::saver::Saver;
use super::source::{Change, Text, Texts};
use super::tickets::TicketKeys;
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::thread;
use held_back::HeldBack;
use inputs::Inputs;
pub use listeners::Listeners;
use listeners::{OpenListeners, Refused};
use replaced::Replaced;

/// The control path's state.
pub struct Publisher {
    inputs: Inputs,
    /// What the sources said last, whether or not it could be taken.
    texts: Texts,
    /// And where releases are.
    records: Records,
    snapshots: Arc<SnapshotCell>,
    listeners: OpenListeners,
    /// Whether listeners follow the rules already.
    is_open: bool,
    saver: Option<Saver>,
    /// To tell those who look endpoints up that there are upstreams they do not know yet.
    lookups: Option<watch::Sender<()>>,
    /// Of listeners that could not be opened; tried again with every update.
    listener_problems: Vec<Problem>,
    /// Texts that cannot be taken, which is Serin's fault.
    held_back: HeldBack,
    /// Why the last change could not be taken, if that is Serin's fault and it is not known which text does it.
    failure: Option<Problem>,
    problems: Arc<Vec<Problem>>,
    /// What was warned of.
    warned: BTreeSet<Finding>,
    replaced: Replaced,
}

/// How the control path is doing.
pub struct Status {
    /// What is wrong with what is written, and with what was asked of the operating system.
    pub problems: Arc<Vec<Problem>>,
    /// Whether the rules in force come from the state folder.
    pub stale: bool,
    /// The open listeners and their real addresses, by name.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The revision of etcd up to which all has been put in force or refused; 0: none.
    pub applied: i64,
    /// Whether all that Kubernetes has was put in force once, or refused; also where it is not followed.
    pub is_kubernetes_applied: bool,
    /// Releases that are rolled back here only.
    pub rolled_back_here: Vec<Name>,
    /// Files of certificates, to be watched.
    pub certificate_files: Arc<BTreeSet<PathBuf>>,
}

impl Publisher {
    /// Nothing is in force yet.
    pub fn new(
        settings: Settings,
        assembler: Assembler,
        snapshots: Arc<SnapshotCell>,
        listeners: Box<dyn Listeners>,
        saver: Option<Saver>,
    ) -> Self {
        let inputs = Inputs::new(settings, assembler, witness(&snapshots));
        Self {
            inputs,
            texts: Texts::default(),
            records: Records::new(),
            snapshots,
            listeners: OpenListeners::new(listeners),
            is_open: true,
            saver,
            lookups: None,
            listener_problems: Vec::new(),
            held_back: HeldBack::default(),
            failure: None,
            problems: Arc::default(),
            warned: BTreeSet::new(),
            replaced: Replaced::default(),
        }
    }

    /// From now on routes are sent to new upstreams when their endpoints have been looked up. Whoever does that follows these
    /// swaps.
    pub fn await_lookups(&mut self, swaps: watch::Sender<()>) {
        self.lookups = Some(swaps);
    }

    /// Paths of certificates begin beside this file.
    #[must_use]
    pub fn beside(mut self, main: &Path) -> Self {
        self.inputs.certificates = Certificates::beside(main).keeping(self.inputs.keeps_orders());
        self
    }

    /// What session tickets are sealed with.
    pub fn ticket_keys(&self) -> Arc<TicketKeys> {
        self.inputs.certificates.ticket_keys()
    }

    /// Begins with stored rules, to be replaced by what the sources say.
    pub fn restore(&mut self, catalog: Catalog) {
        self.inputs.catalog = catalog.asking(witness(&self.snapshots));
        self.inputs.stale = true;
    }

    /// Takes what the sources say now, and where releases are. Costs next to nothing if it is as before.
    pub fn update(&mut self, texts: Texts, records: Records) {
        let changed = !texts.is_same(&self.texts) || records != self.records;
        if changed {
            (self.texts, self.records) = (texts, records);
            self.failure = None;
            let good = self.good_texts();
            self.take(good, None);
        } else if self.listener_problems.is_empty() {
            return;
        }
        self.follow_listeners();
        self.report(changed);
    }

    /// Takes what the sources say at first, of which the main file has been parsed already. No listener opens before
    /// [`Publisher::open`].
    pub fn begin(&mut self, texts: Texts, records: Records, main: Option<Document>) {
        self.is_open = false;
        self.texts.clone_from(&texts);
        self.records = records;
        self.take(texts, main);
        self.inputs.assembler.forget_stored();
    }

    /// Opens the listeners.
    pub fn open(&mut self) {
        self.is_open = true;
        self.follow_listeners();
        self.report(true);
    }

    /// Takes what was found for these upstreams. It is stored also if it is what serves: it may answer another question.
    pub fn take_found(&mut self, upstreams: &[Name]) {
        let mut assembler = self.inputs.assembler.clone();
        let snapshot = assembler.with_found(&self.snapshots.load(), upstreams);
        self.inputs.assembler = assembler;
        if let Some(snapshot) = snapshot {
            self.swap(snapshot);
        }
        if !upstreams.is_empty() {
            self.save_endpoints();
        }
    }

    /// Takes other environments of templates.
    pub fn take_environments(&mut self) {
        let changed = self.take_inputs(Inputs::take_environments);
        self.report(changed);
        self.save_endpoints();
    }

    /// Takes what files of certificates say now.
    pub fn take_certificate_files(&mut self, files: Vec<Text>) {
        let changed = self.take_inputs(|inputs| inputs.read_certificates(files));
        self.report(changed);
    }

    /// Takes what authorities have issued.
    pub fn take_issued(&mut self, issued: OrdMap<Name, Issued>) {
        if self.take_inputs(|inputs| inputs.take_issued(issued)) {
            self.report(true);
        }
    }

    fn save_endpoints(&self) {
        if let Some(saver) = &self.saver {
            saver.save_endpoints(self.snapshots.load().upstreams.clone());
        }
    }

    fn take(&mut self, texts: Texts, main: Option<Document>) {
        let records = self.records.clone();
        self.take_inputs(|inputs| inputs.read(texts, &records, main));
        if !self.inputs.stale
            && let Some(saver) = &self.saver
        {
            saver.save(self.inputs.written_settings.clone(), self.inputs.catalog.written(), records);
        }
    }

    /// What the sources say, less what is held back.
    fn good_texts(&mut self) -> Texts {
        let mut good = self.texts.clone();
        self.held_back.replace_in(&mut good);
        good
    }

    /// Works on a copy: what panics half way has changed nothing. Returns whether there is a new snapshot.
    fn take_inputs(&mut self, read: impl FnOnce(&mut Inputs) -> bool) -> bool {
        let mut inputs = self.inputs.clone();
        let snapshot = read(&mut inputs).then(|| {
            self.look_up_ahead(&mut inputs);
            let mut snapshot = inputs.assembler.next(&self.snapshots.load(), inputs.catalog.rules());
            snapshot.listeners = self.listeners.names_under(inputs.catalog.rules());
            snapshot.tls = inputs.certificates.table();
            snapshot
        });
        self.inputs = inputs;
        snapshot.map(|snapshot| self.swap(snapshot)).is_some()
    }

    fn swap(&mut self, snapshot: Snapshot) {
        self.replaced.push(self.snapshots.swap(Arc::new(snapshot)));
    }

    /// New upstreams whose endpoints have to be looked up come a moment before the routes that go there: these stay where they
    /// are meanwhile, because nobody would answer them there.
    fn look_up_ahead(&mut self, inputs: &mut Inputs) {
        let Some(swaps) = self.lookups.clone() else { return };
        let ahead = inputs.assembler.ahead(&self.snapshots.load(), inputs.catalog.rules());
        let Some((snapshot, upstreams)) = ahead else { return };
        self.swap(snapshot);
        swaps.send_replace(());
        let began = Instant::now();
        for discovered in upstreams.iter().filter_map(|upstream| upstream.discovered.as_ref()) {
            discovered.wait_until_asked(FIRST_LOOKUPS.saturating_sub(began.elapsed()));
        }
        let names: Vec<Name> = upstreams.iter().map(|upstream| upstream.name().clone()).collect();
        if let Some(snapshot) = inputs.assembler.with_found(&self.snapshots.load(), &names) {
            self.swap(snapshot);
        }
    }

    /// How many routes are in force only because they were stored.
    pub fn stored_routes(&self) -> usize {
        self.inputs.catalog.stored_routes()
    }

    /// How things are, for whoever wants to know. Which revision that is, whoever reads sources knows.
    pub fn status(&self) -> Status {
        let listeners = self.listeners.iter().map(|(name, bound)| (name.to_string(), bound)).collect();
        Status {
            problems: Arc::clone(&self.problems),
            stale: self.inputs.stale,
            listeners,
            applied: 0,
            is_kubernetes_applied: true,
            rolled_back_here: Vec::new(),
            certificate_files: self.inputs.certificates.files(),
        }
    }

    /// Whether there are replaced snapshots that [`Publisher::free_replaced`] has to look at.
    pub fn has_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// Frees replaced snapshots that nobody reads any more. Takes long if they are large.
    pub fn free_replaced(&mut self) {
        self.replaced.free();
    }

    /// The last update went wrong inside. Finds the texts at which that happens, and takes the others. Returns whether it knows.
    pub fn take_around(&mut self, message: &str) -> bool {
        let good = self.good_texts();
        let changes = self.inputs.texts.changes_to(&good);
        if changes.is_empty() {
            self.note_panic(message);
            return false;
        }
        self.take_some(&by_name(changes), message);
        self.follow_listeners();
        self.report(true);
        true
    }

    /// Takes changes, of one text each, if that does not fail, else each half of them.
    fn take_some(&mut self, changes: &[Vec<Change>], message: &str) {
        let mut texts = self.inputs.texts.clone();
        changes.iter().flatten().for_each(|change| texts.apply(change));
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(texts, None)));
        let message = taken.as_ref().err().map_or(message, |panic| thread::message(&**panic));
        match (taken.is_ok(), changes) {
            (true, _) => {}
            (false, [of_one]) => self.held_back.add(of_one, &self.inputs.texts, message),
            (false, _) => {
                let (first, second) = changes.split_at(changes.len() / 2);
                self.take_some(first, message);
                self.take_some(second, message);
            }
        }
    }

    /// An update went wrong inside. What was in force is.
    pub fn note_panic(&mut self, message: &str) {
        let source = self.texts.first().map_or_else(|| "".into(), |main| Arc::clone(&main.name));
        let reason = format!("Serin failed on this edit: {message}; the rules in force stay. Please report this");
        let problem = Problem { source, line: 0, column: 0, path: String::new(), reason, revision: None };
        tracing::error!("{problem}");
        let others = self.problems.iter().filter(|other| **other != problem).cloned();
        self.problems = Arc::new(others.chain([problem.clone()]).collect());
        self.failure = Some(problem);
    }

    fn follow_listeners(&mut self) {
        if !self.is_open {
            return;
        }
        let refused = self.listeners.follow(self.inputs.catalog.rules());
        let mut certificates = self.inputs.certificates.clone();
        let is_other = certificates.keep_apart(self.listeners.apart(self.inputs.catalog.rules()));
        self.inputs.certificates = certificates;
        let (current, names) = (self.snapshots.load_full(), self.listeners.names());
        if is_other || *current.listeners != *names {
            self.swap(current.with_listeners(names, self.inputs.certificates.table()));
        }
        let catalog = &mut self.inputs.catalog;
        let problem =
            |Refused { rules, reason }| catalog.problem(Kind::Listener, rules.name().as_str(), "address", reason);
        self.listener_problems = refused.into_iter().map(problem).collect();
    }

    fn report(&mut self, changed: bool) {
        let certificate_problems = self.inputs.certificate_problems();
        let Inputs { settings_problems, environment_problems, catalog, .. } = &self.inputs;
        let parts = [
            settings_problems,
            catalog.problems(),
            environment_problems,
            &certificate_problems,
            &self.listener_problems,
            self.failure.as_slice(),
        ];
        let problems: Vec<Problem> = parts.into_iter().flatten().chain(self.held_back.problems()).cloned().collect();
        let known: HashSet<_> = self.problems.iter().map(identity).collect();
        let mut new = problems.iter().filter(|problem| !known.contains(&identity(problem)));
        new.by_ref().take(MOST_LOGGED).for_each(|problem| tracing::error!("{problem}"));
        match new.count() {
            0 => {}
            more => tracing::error!("{more} more problems; all of them are at /api/v1/rejected"),
        }
        if changed {
            let rules = self.inputs.catalog.rules();
            tracing::info!(
                generation = self.snapshots.load().generation,
                routes = rules.routes().len(),
                upstreams = rules.upstreams().len(),
                releases = rules.releases().len(),
                problems = problems.len(),
                "rules in force"
            );
        }
        self.problems = Arc::new(problems);
        self.warn_of_certificates();
    }

    /// Of those that are served although clients will hardly like them.
    fn warn_of_certificates(&mut self) {
        let warnings: BTreeSet<Finding> = self.inputs.certificates.warnings().collect();
        for (kind, name, _, reason) in warnings.difference(&self.warned).take(MOST_LOGGED) {
            tracing::warn!("{}.{name}: {reason}", kind.map_name());
        }
        self.warned = warnings;
    }
}

/// What is known of users is known by the snapshot in force.
fn witness(snapshots: &Arc<SnapshotCell>) -> Witness {
    let snapshots = Arc::clone(snapshots);
    Arc::new(move |edited| taken_back(&snapshots.load(), edited))
}

/// Answers that changed nothing were not stored, and the next start is to know how old the last one is.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.save_endpoints();
    }
}

/// The changes of each text together: one that stands elsewhere now has gone and come.
fn by_name(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
    changes.sort_by(|one, other| one.place.name().cmp(other.place.name()));
    changes.chunk_by(|one, other| one.place.name() == other.place.name()).map(<[Change]>::to_vec).collect()
}

fn identity(problem: &Problem) -> (&str, u32, u32, &str, &str) {
    (&problem.source, problem.line, problem.column, &problem.path, &problem.reason)
}

/// How long an update waits for endpoints of new upstreams. A name server that does not answer holds up nothing for longer.
const FIRST_LOOKUPS: Duration = Duration::from_millis(500);

/// Problems that one update writes to the log; a mistake in a template can make 100,000 of them.
const MOST_LOGGED: usize = 100;

#[cfg(test)]
mod tests;
