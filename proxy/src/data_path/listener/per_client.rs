//! How many connections each client has, and how many requests under way on them, over all workers, so that one client cannot take
//! everybody's.
//!
//! A client is an address; of IPv6 a /64, because that is what one customer gets and can draw addresses from at will.
//! The count is exact: workers share it behind locks, which are taken when a connection begins and ends and never for
//! a request, whose count is a number that all connections of the client share. What is in the table is bounded by the connections there are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::snapshot::client_network;

/// The connections of all clients.
pub(crate) struct PerClient {
    limit: usize,
    most_requests: u32,
    hashing: RandomState,
    /// Several, so that workers seldom wait for one another.
    shards: [Mutex<HashMap<IpAddr, Open>>; SHARDS],
}

/// The connections of one client.
#[derive(Default)]
struct Open {
    count: usize,
    /// Whether the log has been told that this client is at its limit. Told again only after all were closed.
    is_told: bool,
    requests: Arc<AtomicU32>,
}

/// A client's place in the count.
#[derive(Debug)]
pub(crate) struct ClientKey {
    network: IpAddr,
    /// Of all its connections.
    requests: Arc<AtomicU32>,
}

impl PerClient {
    /// A client has at most so many connections, and with so many requests under way it is full.
    pub(crate) fn new(limit: usize, most_requests: u32) -> Self {
        Self { limit, most_requests, hashing: RandomState::new(), shards: Default::default() }
    }

    /// Counts one more connection, unless the client has its maximum already.
    pub(crate) fn enter(&self, peer: IpAddr) -> Option<ClientKey> {
        let key = client_network(peer);
        let mut shard = self.shard(key);
        let open = shard.entry(key).or_default();
        if open.count >= self.limit {
            let is_told = std::mem::replace(&mut open.is_told, true);
            // Whoever reads the messages may be slow, and others wait for this lock.
            drop(shard);
            if !is_told {
                tracing::warn!(client = %key, limit = self.limit, "a client has its maximum of connections");
            }
            return None;
        }
        open.count += 1;
        Some(ClientKey { network: key, requests: Arc::clone(&open.requests) })
    }

    /// Whether a client, whose requests were counted, has more than its share of them.
    pub(crate) fn is_full(&self, key: &ClientKey) -> bool {
        key.requests.load(Relaxed) > self.most_requests
    }

    /// Counts one connection less.
    pub(crate) fn leave(&self, key: &ClientKey) {
        let mut shard = self.shard(key.network);
        let Some(open) = shard.get_mut(&key.network) else { return };
        open.count -= 1;
        if open.count == 0 {
            shard.remove(&key.network);
            // A crowd that has gone must not leave its memory behind.
            if shard.capacity() > 4 * shard.len().max(SMALL) {
                let room = 2 * shard.len();
                shard.shrink_to(room);
            }
        }
    }

    fn shard(&self, key: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Open>> {
        let place = self.hashing.hash_one(key) as usize % SHARDS;
        // A panic while holding the lock cannot leave a half-made change.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientKey {
    /// One more request is under way.
    pub(crate) fn begins_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// It is over.
    pub(crate) fn ends_request(&self) {
        self.requests.fetch_sub(1, Relaxed);
    }
}

const SHARDS: usize = 16;

/// Tables up to this size are left alone.
const SMALL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_its_own_maximum() {
        let clients = PerClient::new(2, 1);
        let one = address("192.0.2.1");
        let first = clients.enter(one).expect("there is room");
        assert!(clients.enter(one).is_some());
        assert!(clients.enter(one).is_none());
        assert!(clients.enter(address("::ffff:192.0.2.1")).is_none(), "the same address in another spelling");
        assert!(clients.enter(address("192.0.2.2")).is_some());
        clients.leave(&first);
        assert!(clients.enter(one).is_some());
        assert!(clients.enter(one).is_none());
    }

    #[test]
    fn an_ipv6_client_is_a_whole_64() {
        let clients = PerClient::new(1, 1);
        assert!(clients.enter(address("2001:db8:1:2::3")).is_some());
        assert!(clients.enter(address("2001:db8:1:2:ffff::4")).is_none());
        assert!(clients.enter(address("2001:db8:1:3::3")).is_some());
    }

    #[test]
    fn those_who_have_left_take_no_memory() {
        let clients = PerClient::new(1, 1);
        let keys: Vec<_> = (0..200_000u32)
            .map(|bits| clients.enter(std::net::Ipv4Addr::from_bits(bits).into()).expect("a client of its own"))
            .collect();
        keys.into_iter().for_each(|key| clients.leave(&key));
        let capacity = |shard: &Mutex<HashMap<IpAddr, Open>>| shard.lock().unwrap().capacity();
        assert!(clients.shards.iter().all(|shard| capacity(shard) <= 4 * SMALL));
    }
}
