//! Puts rules in force: catalog, snapshot, listeners, stored copy. The only place that swaps.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use routing_rules::rules::{Kind, Listener, Name};

use super::assemble::Assembler;
use super::catalog::{Catalog, Document};
use super::decode::Problem;
use super::saver::Saver;
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

    /// Whether an address could be bound now.
    ///
    /// # Errors
    /// What binding would say.
    fn probe(&self, address: SocketAddr) -> std::io::Result<()> {
        std::net::TcpListener::bind(address).map(drop)
    }
}

/// The control path's state.
pub struct Publisher {
    /// Those in force, and those written last, which take effect with the next start.
    settings: Settings,
    written_settings: Settings,
    catalog: Catalog,
    assembler: Assembler,
    snapshots: Arc<SnapshotCell>,
    listeners: Box<dyn Listeners>,
    open: BTreeMap<Name, OpenedListener>,
    saver: Option<Saver>,
    texts: Vec<Text>,
    settings_problems: Vec<Problem>,
    /// Of listeners that could not be opened; tried again with every update.
    listener_problems: Vec<Problem>,
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
        let saver = state_dir.and_then(|state_dir| {
            let started = Saver::start(state_dir);
            started.inspect_err(|error| tracing::error!(%error, "the rules will not be stored")).ok()
        });
        Self {
            written_settings: settings.clone(),
            settings,
            catalog: Catalog::default(),
            assembler,
            snapshots,
            listeners,
            open: BTreeMap::new(),
            saver,
            texts: Vec::new(),
            settings_problems: Vec::new(),
            listener_problems: Vec::new(),
            problems: Vec::new(),
            stale: false,
        }
    }

    /// Begins with stored rules, to be replaced by what the sources say.
    pub fn restore(&mut self, catalog: Catalog) {
        self.catalog = catalog;
        self.stale = true;
    }

    /// Takes what the sources say now. Costs next to nothing if it is what they said before.
    pub fn update(&mut self, texts: Vec<Text>) {
        let changed = texts != self.texts;
        if changed {
            self.read(texts);
        } else if self.listener_problems.is_empty() {
            return;
        }
        self.open_and_close();
        self.report(changed);
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

    fn read(&mut self, texts: Vec<Text>) {
        let main = texts.first().filter(|main| self.texts.first() != Some(main)).map(Document::parse);
        let main_was_good = main.as_ref().map(|main| main.tree.is_ok());
        let trust_changed = main.as_ref().is_some_and(|main| self.read_settings(main));
        let rules_changed = self.catalog.update_texts(&texts, main);
        let is_first = self.texts.is_empty();
        self.texts = texts;
        if main_was_good == Some(true) {
            self.stale = false;
        }
        if rules_changed || trust_changed || is_first {
            self.swap();
        }
        if !self.stale
            && let Some(saver) = &self.saver
        {
            saver.save(self.written_settings.clone(), self.catalog.written());
        }
    }

    /// Trusted proxies take effect at once; everything else with the next start. Returns whether they changed.
    fn read_settings(&mut self, main: &Document) -> bool {
        let Document { name, tree: Ok(root), .. } = main else { return false };
        self.settings_problems.clear();
        let Some(mut settings) = Settings::decode(name, root, &mut self.settings_problems) else { return false };
        settings.resolve_beside(name);
        // The folder may have been named on the command line.
        settings.state_dir.clone_from(&self.settings.state_dir);
        let trust_changed = settings.trusted_proxies != self.settings.trusted_proxies;
        if trust_changed {
            self.assembler.trust(settings.trusted());
            self.settings.trusted_proxies.clone_from(&settings.trusted_proxies);
        }
        if settings != self.settings && settings != self.written_settings {
            tracing::warn!("settings have changed; they take effect with the next start");
        }
        self.written_settings = settings;
        trust_changed
    }

    fn swap(&mut self) {
        let snapshot = self.assembler.next(&self.snapshots.load(), self.catalog.rules());
        self.snapshots.store(Arc::new(snapshot));
    }

    /// A listener whose new address cannot be had keeps its old one.
    fn open_and_close(&mut self) {
        self.listener_problems.clear();
        let wanted: BTreeMap<Name, Arc<Listener>> =
            self.catalog.rules().listeners().map(|listener| (listener.name().clone(), Arc::clone(listener))).collect();
        let unwanted = |(name, open): &(&Name, &OpenedListener)| {
            wanted.get(*name).is_none_or(|listener| listener.address() != open.rules.address())
        };
        let unwanted: BTreeMap<Name, SocketAddr> =
            self.open.iter().filter(unwanted).map(|(name, open)| (name.clone(), open.bound)).collect();
        let mut closed = false;
        for name in unwanted.keys() {
            if let Some(rules) = wanted.get(name)
                && !unwanted.values().any(|freed| *freed == rules.address())
                && let Err(error) = self.listeners.probe(rules.address())
            {
                self.note_refused(rules, &format!("{error}; the old address stays open"));
                continue;
            }
            self.listeners.close(&name.as_str().into());
            self.open.remove(name);
            closed = true;
        }
        for (name, rules) in wanted {
            if self.open.contains_key(&name) {
                continue;
            }
            match self.bind(&name, rules.address(), closed) {
                Ok(bound) => drop(self.open.insert(name, OpenedListener { rules, bound })),
                Err(error) => self.note_refused(&rules, &error.to_string()),
            }
        }
    }

    /// An address that another listener has just left is free as soon as all workers have let go of it.
    fn bind(&mut self, name: &Name, address: SocketAddr, wait: bool) -> std::io::Result<SocketAddr> {
        let name = name.as_str().into();
        let mut tries = if wait { 40 } else { 1 };
        loop {
            tries -= 1;
            match self.listeners.open(&name, address) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    fn note_refused(&mut self, rules: &Listener, reason: &str) {
        let reason = format!("cannot listen on {}: {reason}", rules.address());
        self.listener_problems.push(self.catalog.problem(Kind::Listener, rules.name().as_str(), "address", reason));
    }

    fn report(&mut self, changed: bool) {
        let parts = [&*self.settings_problems, self.catalog.problems(), &*self.listener_problems];
        let problems = parts.concat();
        let known: HashSet<_> = self.problems.iter().map(identity).collect();
        let mut new = problems.iter().filter(|problem| !known.contains(&identity(problem)));
        new.by_ref().take(MOST_LOGGED).for_each(|problem| tracing::error!("{problem}"));
        match new.count() {
            0 => {}
            more => tracing::error!("{more} more problems; all of them are at /api/v1/rejected"),
        }
        if changed {
            let rules = self.catalog.rules();
            tracing::info!(
                generation = self.snapshots.load().generation,
                routes = rules.routes().len(),
                upstreams = rules.upstreams().len(),
                releases = rules.releases().len(),
                problems = problems.len(),
                "rules in force"
            );
        }
        self.problems = problems;
    }
}

fn identity(problem: &Problem) -> (&str, u32, u32, &str, &str) {
    (&problem.source, problem.line, problem.column, &problem.path, &problem.reason)
}

/// Problems that one update writes to the log; a mistake in a template can make 100,000 of them.
const MOST_LOGGED: usize = 100;

#[cfg(test)]
mod tests;
