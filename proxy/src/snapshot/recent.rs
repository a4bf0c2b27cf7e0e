//! Who came lately: a table of users of one release for each worker, from which it is told whom an edit would move.
//!
//! A user has one place, by the bucket, and whoever came last has it; but it changes hands once in some seconds at most, so that
//! among very many users most requests cost one look. Never a list of all users: a sample of at most 4,096 for each worker.
//! One thread writes, and a reader never takes the half of one user for another's ([`Version`]).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use routing_rules::release::{Bucket, DeviceClass, Group};

use super::version::Version;

/// A user who came lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentUser {
    /// Who it is under the release's salt and sticky key.
    pub bucket: Bucket,
    /// The place of the rule that decided for it, in the audience of today. `None` if none did or it has gone.
    pub rule: Option<usize>,
    /// What it was holding when it came in, or when a rule last asked for that.
    pub device: DeviceClass,
    /// Its group at its last request.
    pub group: Group,
    /// Whether its pin decided that.
    pub is_pinned: bool,
    /// When its last request came, in seconds since 1970.
    pub last_seen: u64,
    /// Whether one of its requests failed since it came into that group.
    pub has_failed: bool,
    /// Where its last request came from.
    pub client: IpAddr,
}

/// A request of a user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) bucket: Bucket,
    /// The number of the rule, or [`NO_RULE`].
    pub(super) rule: u16,
    pub(super) group: Group,
    /// Whether its pin decides.
    pub(super) is_pinned: bool,
    pub(super) client: IpAddr,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// The device, if it is known already.
    pub(super) device: Option<DeviceClass>,
}

/// Stands for no rule.
pub(super) const NO_RULE: u16 = u16::MAX;

/// The tables of all workers, made with the first user of each.
pub(super) struct RecentUsers {
    workers: Box<[OnceLock<Box<Table>>]>,
}

#[repr(align(128))]
struct Table {
    version: Version,
    places: Box<[Place]>,
}

/// A user, if `facts` say so.
#[derive(Default)]
struct Place {
    hash: AtomicU64,
    facts: AtomicU64,
    /// As IPv6, from the left.
    client: [AtomicU64; 2],
}

/// What is known of a user besides hash and address, in one word: from the right 32 bits of time, 16 of the rule's number, 8 of
/// the device, and flags.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts(u64);

impl RecentUsers {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// A request came. What the user is holding is asked only if that is not known.
    pub(super) fn saw(&self, worker: usize, visit: &Visit, device: impl FnOnce() -> DeviceClass) {
        if let Some(table) = self.workers.get(worker) {
            table.get_or_init(Box::default).saw(visit, device);
        }
    }

    /// A request of this user failed.
    pub(super) fn failed(&self, worker: usize, user: Bucket) {
        if let Some(table) = self.workers.get(worker).and_then(OnceLock::get) {
            table.failed(user);
        }
    }

    /// The users, each once, with the places of the rules that have these numbers.
    pub(super) fn all(&self, rules: &[u16]) -> Vec<RecentUser> {
        let mut users: HashMap<u64, (u64, Facts, IpAddr)> = HashMap::new();
        for table in self.workers.iter().filter_map(OnceLock::get) {
            for (hash, facts, client) in table.places.iter().filter_map(|place| table.read(place)) {
                let known = users.entry(hash).or_insert((hash, facts, client));
                let (older, newer) = if facts.time() > known.1.time() { (known.1, facts) } else { (facts, known.1) };
                if newer == facts {
                    *known = (hash, facts, client);
                }
                // Who fails in one group has not failed in the other.
                known.1 = newer.failing(newer.has_failed() || (older.has_failed() && older.group() == newer.group()));
            }
        }
        let user = |(hash, facts, client): (u64, Facts, IpAddr)| RecentUser {
            bucket: Bucket::from_hash(hash),
            rule: rules.iter().position(|number| *number == facts.rule()),
            device: facts.device(),
            group: facts.group(),
            is_pinned: facts.is_pinned(),
            last_seen: facts.time(),
            has_failed: facts.has_failed(),
            client,
        };
        users.into_values().map(user).collect()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { version: Version::default(), places: (0..PLACES).map(|_| Place::default()).collect() }
    }
}

impl Table {
    fn saw(&self, visit: &Visit, device: impl FnOnce() -> DeviceClass) {
        let place = self.place(visit.bucket);
        let before = Facts(place.facts.load(Relaxed));
        let is_known = before.is_there() && place.hash.load(Relaxed) == visit.bucket.hash();
        // A clock that was set back must not hold everybody where they are.
        if !is_known && before.is_there() && visit.now.abs_diff(before.time()) < HOLD_S {
            return;
        }
        let device = visit.device.or_else(|| is_known.then(|| before.device())).unwrap_or_else(device);
        let facts = Facts::new(visit, device).failing(is_known && before.has_failed() && before.group() == visit.group);
        let client = to_words(visit.client);
        let is_same_client = || place.client.iter().zip(client).all(|(cell, word)| cell.load(Relaxed) == word);
        if is_known && facts == before && is_same_client() {
            return;
        }
        self.version.change(|| {
            place.hash.store(visit.bucket.hash(), Relaxed);
            place.facts.store(facts.0, Relaxed);
            place.client.iter().zip(client).for_each(|(cell, word)| cell.store(word, Relaxed));
        });
    }

    fn failed(&self, user: Bucket) {
        let place = self.place(user);
        if place.hash.load(Relaxed) == user.hash() {
            // It is one word, so whoever reads the place sees it before or after.
            let facts = Facts(place.facts.load(Relaxed));
            place.facts.store(if facts.is_there() { facts.failing(true).0 } else { facts.0 }, Relaxed);
        }
    }

    fn place(&self, user: Bucket) -> &Place {
        &self.places[user.hash() as usize % PLACES]
    }

    fn read(&self, place: &Place) -> Option<(u64, Facts, IpAddr)> {
        let cells = || [&place.hash, &place.facts, &place.client[0], &place.client[1]].map(|cell| cell.load(Relaxed));
        let [hash, facts, high, low] = self.version.read(cells)?;
        Some((hash, Facts(facts), from_words([high, low]))).filter(|(_, facts, _)| facts.is_there())
    }
}

impl Facts {
    fn new(visit: &Visit, device: DeviceClass) -> Self {
        let time = u64::from(u32::try_from(visit.now).unwrap_or(u32::MAX));
        let canary = if visit.group == Group::Canary { CANARY } else { 0 };
        let pinned = if visit.is_pinned { PINNED } else { 0 };
        Self(time | u64::from(visit.rule) << RULE_AT | (device as u64) << DEVICE_AT | canary | pinned | THERE)
    }

    fn is_there(self) -> bool {
        self.0 & THERE > 0
    }

    fn time(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }

    fn rule(self) -> u16 {
        (self.0 >> RULE_AT) as u16
    }

    fn device(self) -> DeviceClass {
        let number = usize::from((self.0 >> DEVICE_AT) as u8);
        DeviceClass::ALL.get(number).copied().unwrap_or(DeviceClass::Other)
    }

    fn group(self) -> Group {
        if self.0 & CANARY > 0 { Group::Canary } else { Group::Stable }
    }

    fn is_pinned(self) -> bool {
        self.0 & PINNED > 0
    }

    fn has_failed(self) -> bool {
        self.0 & FAILED > 0
    }

    fn failing(self, has_failed: bool) -> Self {
        if has_failed { Self(self.0 | FAILED) } else { self }
    }
}

fn to_words(client: IpAddr) -> [u64; 2] {
    let address = match client {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = u128::from(address);
    [(bits >> 64) as u64, bits as u64]
}

fn from_words([high, low]: [u64; 2]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low))).to_canonical()
}

const RULE_AT: u32 = 32;
const DEVICE_AT: u32 = 48;
const THERE: u64 = 1 << 56;
const CANARY: u64 = 1 << 57;
const FAILED: u64 = 1 << 58;
const PINNED: u64 = 1 << 59;

/// A table is of 128 KiB.
const PLACES: usize = 4_096;

/// For how long after a user's request its place is not another's. Finding out what a new user holds takes as long as some
/// hundred looks, so a worker does it for a thousand users a second at most.
const HOLD_S: u64 = 4;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn visit(hash: u64, now: u64) -> Visit {
        let client = [192, 0, 2, hash as u8].into();
        let (bucket, group) = (Bucket::from_hash(hash), Group::Canary);
        Visit { bucket, rule: 7, group, is_pinned: true, client, now, device: None }
    }

    fn not_asked() -> DeviceClass {
        panic!("the device is known")
    }

    #[test]
    fn each_user_once_with_what_was_seen_last() {
        let users = RecentUsers::new(2);
        assert!(users.all(&[]).is_empty());
        users.failed(0, Bucket::from_hash(5));
        users.saw(0, &visit(5, 100), || DeviceClass::Mac);
        users.failed(0, Bucket::from_hash(5 + PLACES as u64));
        users.saw(0, &visit(5, 101), not_asked);
        let expected = RecentUser {
            bucket: Bucket::from_hash(5),
            rule: Some(1),
            device: DeviceClass::Mac,
            group: Group::Canary,
            is_pinned: true,
            last_seen: 101,
            has_failed: false,
            client: [192, 0, 2, 5].into(),
        };
        assert_eq!(users.all(&[3, 7]), [expected]);
        users.failed(0, Bucket::from_hash(5));
        // Elsewhere later, without a rule, from another address, and in the other group, where nothing has failed.
        let client = "2001:db8::1".parse().unwrap();
        let elsewhere = Visit { rule: NO_RULE, group: Group::Stable, is_pinned: false, client, ..visit(5, 102) };
        users.saw(1, &elsewhere, || DeviceClass::Tv);
        let (rule, group, device) = (None, Group::Stable, DeviceClass::Tv);
        let expected =
            RecentUser { rule, device, group, is_pinned: false, last_seen: 102, has_failed: false, client, ..expected };
        assert_eq!(users.all(&[3, 7]), [expected]);
        // A worker that does not exist sees nobody.
        users.saw(2, &visit(6, 100), not_asked);
        assert_eq!(users.all(&[]).len(), 1);
    }

    #[test]
    fn a_place_changes_hands_when_its_user_has_been_away() {
        let users = RecentUsers::new(1);
        let [one, other] = [5, 5 + PLACES as u64];
        users.saw(0, &visit(one, 100), || DeviceClass::Mac);
        users.failed(0, Bucket::from_hash(one));
        users.saw(0, &visit(other, 100 + HOLD_S - 1), not_asked);
        assert_eq!(users.all(&[])[0].bucket.hash(), one);
        users.saw(0, &visit(other, 100 + HOLD_S), || DeviceClass::Bot);
        let user = users.all(&[])[0];
        assert_eq!((user.bucket.hash(), user.device, user.has_failed), (other, DeviceClass::Bot, false));
        users.saw(0, &visit(one, 50), || DeviceClass::Mac);
        assert_eq!(users.all(&[])[0].last_seen, 50, "the clock was set back");
        users.saw(0, &visit(other, 100), || DeviceClass::Bot);
        // What a rule has found out is believed before what was known.
        users.saw(0, &Visit { device: Some(DeviceClass::Ipad), ..visit(other, 200) }, not_asked);
        assert_eq!(users.all(&[])[0].device, DeviceClass::Ipad);
    }

    #[test]
    fn a_reader_never_sees_half_a_user() {
        let (users, over) = (RecentUsers::new(1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200_000_u64 {
                    let hash = number * PLACES as u64;
                    let client = from_words([hash, hash]);
                    let visit = Visit { rule: number as u16, client, ..visit(hash, number * HOLD_S) };
                    users.saw(0, &visit, || DeviceClass::Mac);
                    users.failed(0, visit.bucket);
                }
                over.store(true, Relaxed);
            });
            while !over.load(Relaxed) {
                for user in users.all(&[]) {
                    let hash = user.bucket.hash();
                    assert_eq!(to_words(user.client), [hash, hash]);
                    assert_eq!(user.last_seen, hash / PLACES as u64 * HOLD_S);
                }
            }
        });
        assert_eq!(users.all(&[]).len(), 1);
    }
}
