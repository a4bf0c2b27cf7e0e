//! Connections that wait for their next request, where endpoints are told whose each of them is.
//!
//! One that was opened for a connection of a client carries requests of that connection and of no other, whatever its address and
//! port: the next client with the same ones is somebody else.

use std::collections::HashMap;
use std::rc::{Rc, Weak};

use routing_rules::rules::Connections;

use super::EndpointConnection;
use crate::connect::Ends;
use crate::snapshot::ConnectionEnd;

/// A connection that waits.
pub(super) struct Kept {
    pub(super) connection: EndpointConnection,
    pub(super) since_ms: u64,
}

/// Those of clients, by where the ends of the client's connection are in memory. Whoever waits keeps that place from being used anew.
#[derive(Default)]
pub(super) struct KeptForClients {
    /// With the number of each, which grows with time. Some may be empty until somebody tidies up.
    by_client: HashMap<usize, Vec<(u64, Kept)>>,
    count: usize,
    last_number: u64,
}

impl Kept {
    /// Why it cannot be used any more, if so.
    pub(super) fn over(&self, rules: &Connections, now_ms: u64) -> Option<ConnectionEnd> {
        if !self.connection.sender.is_ready() {
            return Some(ConnectionEnd::Endpoint);
        }
        if now_ms.saturating_sub(self.since_ms) >= rules.idle_timeout_ms {
            return Some(ConnectionEnd::IdleTimeout);
        }
        self.connection.lifetime.spent(rules, now_ms)
    }
}

impl KeptForClients {
    /// The one that a client used last.
    pub(super) fn take(&mut self, client: &Rc<Ends>) -> Option<Kept> {
        let (_, kept) = self.by_client.get_mut(&Rc::as_ptr(client).addr())?.pop()?;
        self.count -= 1;
        Some(kept)
    }

    /// Keeps another one of a client.
    pub(super) fn put(&mut self, client: &Weak<Ends>, kept: Kept) {
        self.last_number += 1;
        self.by_client.entry(client.as_ptr().addr()).or_default().push((self.last_number, kept));
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Looks at each, and keeps some.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&mut Kept) -> bool) {
        self.retain_numbered(|_, kept| stays(kept));
    }

    fn retain_numbered(&mut self, mut stays: impl FnMut(u64, &mut Kept) -> bool) {
        self.count = 0;
        self.by_client.retain(|_, kept| {
            kept.retain_mut(|(number, kept)| stays(*number, kept));
            self.count += kept.len();
            !kept.is_empty()
        });
        if self.by_client.is_empty() {
            self.by_client.shrink_to_fit();
        }
    }

    /// Ends so many of them, those that were unused for longest.
    pub(super) fn end_oldest(&mut self, count: usize, end: ConnectionEnd) {
        let mut numbers: Vec<u64> = self.by_client.values().flatten().map(|(number, _)| *number).collect();
        let Some(place) = count.min(numbers.len()).checked_sub(1) else { return };
        let (_, &mut newest_to_go, _) = numbers.select_nth_unstable(place);
        self.retain_numbered(|number, kept| {
            if number <= newest_to_go {
                kept.connection.lifetime.ends(end);
            }
            number > newest_to_go
        });
    }
}
