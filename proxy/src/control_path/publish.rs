//! Puts rules in force: catalog, snapshot, listeners, stored copy. The only place that swaps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use routing_rules::rules::{Listener, Name};

use super::assemble::Assembler;
use super::catalog::{Catalog, Document};
use super::decode::Problem;
use super::source::Text;
use super::state_dir::StateDir;
use crate::settings::Settings;
use crate::snapshot::SnapshotCell;

/// Opens and closes listeners on all workers.
pub trait Listeners: Send {
    /// Binds and accepts. Returns the address, whose port is real where 0 was asked for.
    ///
    /// # Errors
    /// The address cannot be bound.
    fn open(&mut self, name: &Arc<str>, address: SocketAddr) -> std::io::Result<SocketAddr>;
    /// Stops to accept and lets connections finish.
    fn close(&mut self, name: &Arc<str>);
}

/// The control path's state.
pub struct Publisher {
    settings: Settings,
    catalog: Catalog,
    assembler: Assembler,
    snapshots: Arc<SnapshotCell>,
    listeners: Box<dyn Listeners>,
    open: BTreeMap<Name, OpenedListener>,
    state_dir: Option<StateDir>,
    texts: Vec<Text>,
    problems: Vec<Problem>,
    stale: bool,
}

struct OpenedListener {
    rules: Arc<Listener>,
    bound: SocketAddr,
}

impl Publisher {
    /// Nothing is in force yet.
    pub fn new(
        settings: Settings,
        assembler: Assembler,
        snapshots: Arc<SnapshotCell>,
        listeners: Box<dyn Listeners>,
        state_dir: Option<StateDir>,
    ) -> Self {
        Self {
            settings,
            catalog: Catalog::default(),
            assembler,
            snapshots,
            listeners,
            open: BTreeMap::new(),
            state_dir,
            texts: Vec::new(),
            problems: Vec::new(),
            stale: false,
        }
    }

    /// Begins with stored rules, to be replaced by what the sources say.
    pub fn restore(&mut self, catalog: Catalog) {
        self.catalog = catalog;
        self.stale = true;
    }

    /// Takes what the sources say now. Does nothing if it is what they said before.
    pub fn update(&mut self, texts: Vec<Text>) {
        if texts == self.texts && self.problems.is_empty() {
            return;
        }
        let documents: Vec<Document> = texts.iter().map(Document::parse).collect();
        let changed = texts != self.texts;
        self.texts = texts;
        let main_is_good = documents.first().is_some_and(|main| main.tree.is_ok());
        let mut problems = Vec::new();
        self.read_settings(&documents, &mut problems);
        self.catalog.update(documents);
        problems.extend_from_slice(self.catalog.problems());
        if main_is_good {
            self.stale = false;
        }
        let generation = self.swap();
        self.open_and_close(&mut problems);
        self.report(problems, changed, generation);
        if changed && !self.stale {
            self.save();
        }
    }

    /// What is wrong with what is written, and with what was asked of the operating system.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether the rules in force come from the state folder.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The open listeners and their real addresses.
    pub fn open_listeners(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.open.iter().map(|(name, listener)| (name, listener.bound))
    }

    /// Trusted proxies take effect at once; everything else with the next start.
    fn read_settings(&mut self, documents: &[Document], problems: &mut Vec<Problem>) {
        let Some(Document { name, tree: Ok(root), .. }) = documents.first() else { return };
        let Some(mut settings) = Settings::decode(name, root, problems) else { return };
        settings.resolve_beside(name);
        if settings.trusted_proxies != self.settings.trusted_proxies {
            self.assembler.trust(settings.trusted());
            self.settings.trusted_proxies.clone_from(&settings.trusted_proxies);
        }
        settings.state_dir.clone_from(&self.settings.state_dir);
        if settings != self.settings {
            tracing::warn!("settings have changed; they take effect with the next start");
        }
    }

    fn swap(&mut self) -> u64 {
        let snapshot = self.assembler.next(&self.snapshots.load(), self.catalog.rules());
        let generation = snapshot.generation;
        self.snapshots.store(Arc::new(snapshot));
        generation
    }

    fn open_and_close(&mut self, problems: &mut Vec<Problem>) {
        let wanted: BTreeMap<Name, Arc<Listener>> =
            self.catalog.rules().listeners().map(|listener| (listener.name().clone(), Arc::clone(listener))).collect();
        let is_wanted = |name: &Name, open: &OpenedListener| {
            wanted.get(name).is_some_and(|listener| listener.address() == open.rules.address())
        };
        let unwanted: Vec<Name> =
            self.open.iter().filter(|(name, open)| !is_wanted(name, open)).map(|(name, _)| name.clone()).collect();
        for name in unwanted {
            self.listeners.close(&name.as_str().into());
            self.open.remove(&name);
        }
        for (name, rules) in wanted {
            if self.open.contains_key(&name) {
                continue;
            }
            match self.listeners.open(&name.as_str().into(), rules.address()) {
                Ok(bound) => drop(self.open.insert(name, OpenedListener { rules, bound })),
                Err(error) => problems.push(Problem {
                    source: self.catalog.document(routing_rules::rules::Kind::Listener, name.as_str()),
                    line: 0,
                    column: 0,
                    path: format!("listeners.{name}.address"),
                    reason: format!("cannot listen on {}: {error}", rules.address()),
                }),
            }
        }
    }

    fn report(&mut self, problems: Vec<Problem>, changed: bool, generation: u64) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!("{problem}");
        }
        if changed {
            let rules = self.catalog.rules();
            tracing::info!(
                generation,
                routes = rules.routes().len(),
                upstreams = rules.upstreams().len(),
                releases = rules.releases().len(),
                problems = problems.len(),
                "rules in force"
            );
        }
        self.problems = problems;
    }

    fn save(&self) {
        let Some(state_dir) = &self.state_dir else { return };
        if let Err(error) = state_dir.save(&self.settings, self.catalog.spec()) {
            tracing::error!(%error, "cannot store the rules; a start without the files would find older ones");
        }
    }
}
