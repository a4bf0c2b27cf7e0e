//! Makes the open listeners those of the rules.
//!
//! What is new is opened before anything closes, so a listener that moves is served at either place at any moment, and
//! one whose new address cannot be had keeps its old one. A socket whose address another listener takes over stays open;
//! whose it is, requests read in the snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use routing_rules::rules::{Listener, Name, RuleSet};

/// Opens and closes listeners on all workers.
pub trait Listeners: Send {
    /// Binds and accepts. Returns the address, whose port is real where 0 was asked for. Listeners at the addresses
    /// `leaving` are about to be closed and must not stand in the way.
    ///
    /// # Errors
    /// The address cannot be bound.
    fn open(&mut self, name: &Arc<str>, address: SocketAddr, leaving: &[SocketAddr]) -> std::io::Result<SocketAddr>;

    /// Stops to accept and lets connections finish.
    fn close(&mut self, bound: SocketAddr);
}

/// What is open, by name.
pub(super) struct OpenListeners {
    listeners: Box<dyn Listeners>,
    open: BTreeMap<Name, Opened>,
    /// Open, and in nobody's name yet.
    arrived: Vec<Opened>,
    /// Those closed last, the newest first: their connections may still bring a request.
    closed: VecDeque<(SocketAddr, Name)>,
}

struct Opened {
    /// What was in force for it last, when the rules wanted it here.
    rules: Arc<Listener>,
    bound: SocketAddr,
}

/// A listener that is not where the rules want it.
pub(super) struct Refused {
    pub(super) rules: Arc<Listener>,
    pub(super) reason: String,
}

/// From what is open to what the rules say.
#[derive(Default)]
struct Change {
    /// Open listeners that the rules no longer have, or have somewhere else.
    leaving: BTreeMap<Name, SocketAddr>,
    takeovers: Vec<Takeover>,
    refused: Vec<Refused>,
}

/// A listener wants the address that another one leaves.
struct Takeover {
    to: Opened,
    from: Name,
}

impl OpenListeners {
    pub(super) fn new(listeners: Box<dyn Listeners>) -> Self {
        Self { listeners, open: BTreeMap::new(), arrived: Vec::new(), closed: VecDeque::new() }
    }

    /// Names and real addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.open.iter().map(|(name, opened)| (name, opened.bound))
    }

    /// Those that are open where the rules no longer want them, with what was in force for them last.
    pub(super) fn apart(&self, rules: &RuleSet) -> Vec<Arc<Listener>> {
        let is_wanted = |opened: &&Opened| {
            let wanted = rules.listener(opened.rules.name());
            wanted.is_some_and(|wanted| wanted.address() == opened.rules.address())
        };
        self.open.values().filter(|opened| !is_wanted(opened)).map(|opened| Arc::clone(&opened.rules)).collect()
    }

    /// Which listener each address belongs to, or belonged to when it was closed, by address.
    pub(super) fn names(&self) -> Arc<[(SocketAddr, Name)]> {
        self.named(|_| None)
    }

    /// The same as soon as these rules are in force, unless opening or moving fails.
    pub(super) fn names_under(&self, rules: &RuleSet) -> Arc<[(SocketAddr, Name)]> {
        self.named(|bound| rules.listeners().find(|listener| listener.address() == bound).map(|taker| taker.name()))
    }

    fn named<'r>(&self, taker: impl Fn(SocketAddr) -> Option<&'r Name>) -> Arc<[(SocketAddr, Name)]> {
        let closed = self.closed.iter().map(|(bound, name)| (name, *bound));
        let name = |(own, bound): (&Name, SocketAddr)| (bound, taker(bound).unwrap_or(own).clone());
        let mut names: Vec<_> = self.iter().chain(closed).map(name).collect();
        names.sort();
        names.into()
    }

    fn note_closed(&mut self, bound: SocketAddr, name: Name) {
        self.closed.push_front((bound, name));
        self.closed.truncate(MOST_CLOSED);
    }

    /// Opens and closes. Returns what could not be done.
    pub(super) fn follow(&mut self, rules: &RuleSet) -> Vec<Refused> {
        // Left by a change that panicked half way.
        self.arrived.drain(..).for_each(|stray| self.listeners.close(stray.bound));
        let wanted: BTreeMap<&Name, &Arc<Listener>> =
            rules.listeners().map(|listener| (listener.name(), listener)).collect();
        let is_at = |opened: &Opened, rules: &Listener| opened.rules.address() == rules.address();
        for opened in self.open.values_mut() {
            if let Some(rules) = wanted.get(opened.rules.name()).filter(|rules| is_at(opened, rules)) {
                opened.rules = Arc::clone(rules);
            }
        }
        let stays = |name: &Name, opened: &Opened| wanted.get(name).is_some_and(|listener| is_at(opened, listener));
        let leaving = self.open.iter().filter(|(name, opened)| !stays(name, opened));
        let mut change = Change {
            leaving: leaving.map(|(name, opened)| (name.clone(), opened.bound)).collect(),
            ..Change::default()
        };
        for (name, rules) in wanted {
            if !self.open.get(name).is_some_and(|opened| is_at(opened, rules)) {
                self.place(rules, &mut change);
            }
        }
        change.settle();
        change.refused.sort_by(|one, other| one.rules.name().cmp(other.rules.name()));
        self.carry_out(change)
    }

    /// Finds a place for a new listener, or for one that moves.
    fn place(&mut self, rules: &Arc<Listener>, change: &mut Change) {
        let address = rules.address();
        let rules = Arc::clone(rules);
        if let Some((from, bound)) = change.leaving.iter().find(|(_, bound)| **bound == address) {
            let (from, to) = (from.clone(), Opened { rules, bound: *bound });
            return change.takeovers.push(Takeover { to, from });
        }
        let leaving: Vec<SocketAddr> = change.leaving.values().copied().collect();
        match self.listeners.open(&rules.name().as_str().into(), address, &leaving) {
            Ok(bound) => {
                self.closed.retain(|(address, _)| *address != bound);
                self.arrived.push(Opened { rules, bound });
            }
            Err(error) => change.refuse(rules, &error.to_string()),
        }
    }

    fn carry_out(&mut self, change: Change) -> Vec<Refused> {
        let Change { leaving, takeovers, refused } = change;
        for (name, bound) in leaving {
            self.open.remove(&name);
            if !takeovers.iter().any(|takeover| takeover.to.bound == bound) {
                self.listeners.close(bound);
                self.note_closed(bound, name);
            }
        }
        for Takeover { to, .. } in takeovers {
            self.open.insert(to.rules.name().clone(), to);
        }
        self.open.extend(self.arrived.drain(..).map(|opened| (opened.rules.name().clone(), opened)));
        refused
    }
}

impl Change {
    /// Who is refused stays, so nobody else can have that address either.
    fn settle(&mut self) {
        let is_possible = |change: &Self, index: usize| {
            let Takeover { to, from } = &change.takeovers[index];
            let is_first = change.takeovers[..index].iter().all(|earlier| earlier.to.bound != to.bound);
            is_first && change.leaving.contains_key(from)
        };
        while let Some(index) = (0..self.takeovers.len()).find(|index| !is_possible(self, *index)) {
            let Takeover { to, .. } = self.takeovers.remove(index);
            self.refuse(to.rules, "another listener has it");
        }
    }

    fn refuse(&mut self, rules: Arc<Listener>, reason: &str) {
        let stays = self.leaving.remove(rules.name()).is_some();
        let reason = match stays {
            true => format!("cannot listen on {}: {reason}; the old address stays open", rules.address()),
            false => format!("cannot listen on {}: {reason}", rules.address()),
        };
        self.refused.push(Refused { rules, reason });
    }
}

/// Closed listeners whose names are known. Their connections end with the next response, so more are seldom needed.
const MOST_CLOSED: usize = 64;
