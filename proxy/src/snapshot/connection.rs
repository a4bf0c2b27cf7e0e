//! Connections to one endpoint, as one worker counted them: opened, opened ahead of requests, and why they ended.
//!
//! Only that worker writes; see [`super::EndpointCounters`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::handshake::HandshakeCounters;
use super::{TlsEnd, add};

/// Why a connection to an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The endpoint closed it, or said that it would.
    Endpoint,
    /// It was kept without a request for as long as it may be.
    IdleTimeout,
    /// It had its age.
    MaxAge,
    /// It had served its number of requests.
    MaxRequests,
    /// Its exchange did not end so that another could follow.
    Broken,
    /// Serin needed the room.
    Room,
    /// The endpoint is no longer in the rules.
    Removed,
    /// It became a tunnel, and that ended.
    Tunnel,
    /// It was one client's, who has gone.
    Client,
}

/// What one worker counted.
#[derive(Default)]
pub struct ConnectionCounters {
    opened: AtomicU64,
    warm_opened: AtomicU64,
    warm_failed: AtomicU64,
    ended: [AtomicU64; ConnectionEnd::ALL.len()],
    handshakes: HandshakeCounters,
}

/// The sum over workers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Connections opened.
    pub opened: u64,
    /// Those of them that were opened ahead of requests.
    pub warm_opened: u64,
    /// Tries to open one ahead of requests that failed.
    pub warm_failed: u64,
    /// Connections that ended, in the order of the reasons.
    pub ended: [u64; ConnectionEnd::ALL.len()],
    /// Handshakes, in the order of their ends.
    pub handshakes: [u64; TlsEnd::ALL.len()],
}

impl ConnectionEnd {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Endpoint,
        Self::IdleTimeout,
        Self::MaxAge,
        Self::MaxRequests,
        Self::Broken,
        Self::Room,
        Self::Removed,
        Self::Tunnel,
        Self::Client,
    ];

    /// The word for it in metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxAge => "max_age",
            Self::MaxRequests => "max_requests",
            Self::Broken => "broken",
            Self::Room => "room",
            Self::Removed => "removed",
            Self::Tunnel => "tunnel",
            Self::Client => "client",
        }
    }
}

impl ConnectionCounters {
    /// A connection was opened.
    pub fn opened(&self) {
        add(&self.opened, 1);
    }

    /// A connection ended.
    pub fn ended(&self, end: ConnectionEnd) {
        add(&self.ended[end as usize], 1);
    }

    /// One was to be opened ahead of requests.
    pub fn warmed(&self, succeeded: bool) {
        add(if succeeded { &self.warm_opened } else { &self.warm_failed }, 1);
    }

    /// A handshake ended.
    pub fn secured(&self, end: TlsEnd) {
        self.handshakes.ended(end);
    }

    /// How many there are now.
    pub fn open(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(|count| count.load(Relaxed)).sum();
        self.opened.load(Relaxed).saturating_sub(ended)
    }

    pub(super) fn add_to(&self, sum: &mut ConnectionTotals) {
        sum.warm_opened += self.warm_opened.load(Relaxed);
        sum.warm_failed += self.warm_failed.load(Relaxed);
        for (total, count) in sum.ended.iter_mut().zip(&self.ended) {
            *total += count.load(Relaxed);
        }
        self.handshakes.add_to(&mut sum.handshakes);
        // Last, so that no connection has ended that was not opened.
        sum.opened += self.opened.load(Relaxed);
    }
}

impl ConnectionTotals {
    /// How many there are now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.ended.iter().sum())
    }
}
