//! Keys in the order of their time: one that seals, the one before it, which still opens, and the next, so that everybody has
//! it before anybody uses it.

use std::io;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

/// Keys, the earliest first. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Ring(Arc<[Arc<Key>]>);

struct Key {
    /// When it begins to seal, in seconds since 1970.
    from: u64,
    /// Stands at the beginning of its tickets.
    id: [u8; ID_LEN],
    bytes: [u8; 32],
    key: RandomizedNonceKey,
}

/// A ring as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    keys: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
struct WrittenKey {
    from: u64,
    /// Base64, as is the key.
    id: String,
    key: String,
}

impl Ring {
    /// The keys of later, if they are others than these.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub(super) fn renewed(&self, now: u64) -> io::Result<Option<Self>> {
        let has_next = self.0.last().is_some_and(|last| now < last.from);
        if has_next && (0..self.0.len()).all(|place| self.lasts(place, now)) {
            return Ok(None);
        }
        let mut keys = self.lasting(now).0.to_vec();
        keys.drain(..keys.len().saturating_sub(MOST_KEYS / 2));
        if keys.is_empty() {
            keys.push(Key::new(now)?);
        }
        while let Some(from) = keys.last().map(|last| last.from).filter(|&from| from <= now) {
            keys.push(Key::new((from + PERIOD).max(now + SPREADING))?);
        }
        Ok(Some(Self(keys.into())))
    }

    /// Those that still open what they have sealed.
    pub(super) fn lasting(&self, now: u64) -> Self {
        let lasting = (0..self.0.len()).filter(|&place| self.lasts(place, now));
        Self(lasting.map(|place| Arc::clone(&self.0[place])).collect())
    }

    /// A key of a far future was made by a clock that was ahead; it would be in use until then.
    fn lasts(&self, place: usize, now: u64) -> bool {
        now < self.end(place) && self.0[place].from <= now + 2 * PERIOD
    }

    /// Whether somebody still sees to it that there are new keys.
    pub(super) fn is_kept_up(&self, now: u64) -> bool {
        self.0.last().is_some_and(|last| now < last.from + 2 * PERIOD)
    }

    /// Until when a key opens what it has sealed.
    fn end(&self, place: usize) -> u64 {
        let sealing = self.0.get(place + 1).map_or(self.0[place].from + 2 * PERIOD, |next| next.from);
        sealing + PERIOD
    }

    pub(super) fn seal(&self, terms: &[u8], session: &[u8], now: u64) -> Option<Vec<u8>> {
        let key = self.0.iter().rev().find(|key| key.from <= now).or(self.0.first())?;
        let mut sealed = session.to_vec();
        let nonce = key.key.seal_in_place_append_tag(key.aad(terms), &mut sealed).ok()?;
        Some([&key.id, &nonce.as_ref()[..], &sealed].concat())
    }

    pub(super) fn open(&self, terms: &[u8], ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let place = self.0.iter().position(|key| key.id == *id).filter(|&place| now < self.end(place))?;
        let key = &self.0[place];
        let mut session = sealed.to_vec();
        let length = key.key.open_in_place(Nonce::from(nonce), key.aad(terms), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }

    /// As it is written for others.
    pub(super) fn text(&self) -> String {
        let written = |key: &Key| WrittenKey {
            from: key.from,
            id: BASE64_STANDARD.encode(key.id),
            key: BASE64_STANDARD.encode(key.bytes),
        };
        let keys = self.0.iter().map(|key| written(key)).collect();
        serde_json::to_string(&Written { keys }).expect("numbers and texts can be written")
    }

    /// Reads what others wrote.
    ///
    /// # Errors
    /// It is nothing that can be used. The reason says nothing of the keys.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let written: Written = serde_json::from_slice(text).map_err(|_| "it is no list of keys")?;
        if !(1..=MOST_KEYS).contains(&written.keys.len()) {
            return Err("it has no keys, or too many");
        }
        let keys: Option<Vec<Arc<Key>>> = written.keys.iter().map(Key::read).collect();
        let mut keys = keys.ok_or("a key is not what it has to be")?;
        keys.sort_by_key(|key| key.from);
        Ok(Self(keys.into()))
    }
}

impl Key {
    fn new(from: u64) -> io::Result<Arc<Self>> {
        let [bytes, name] = [crate::random::secret()?, crate::random::secret()?];
        Ok(Self::of(from, *name.first_chunk().expect("32 bytes are more than an id has"), bytes))
    }

    fn of(from: u64, id: [u8; ID_LEN], bytes: [u8; 32]) -> Arc<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).expect("32 bytes are a key of AES-256");
        Arc::new(Self { from, id, bytes, key })
    }

    fn read(written: &WrittenKey) -> Option<Arc<Self>> {
        let id = BASE64_STANDARD.decode(&written.id).ok()?.try_into().ok()?;
        let bytes = BASE64_STANDARD.decode(&written.key).ok()?.try_into().ok()?;
        // A time beyond all clocks must not reach sums.
        Some(Self::of(written.from.min(u64::from(u32::MAX) * 1_000), id, bytes))
    }

    fn aad(&self, terms: &[u8]) -> Aad<Vec<u8>> {
        Aad::from([&self.id, terms].concat())
    }
}

/// How long a key seals, in seconds, and then opens. Tickets promise no more than that.
pub const PERIOD: u64 = 6 * 3_600;

/// How long before its time a key is there, at least, in seconds.
const SPREADING: u64 = 300;

const ID_LEN: usize = 16;

/// Far more than there ever are.
const MOST_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn renewed(ring: &Ring, now: u64) -> Option<Ring> {
        ring.renewed(now).expect("randomness")
    }

    #[test]
    fn there_are_always_a_key_that_seals_and_the_next() {
        let mut ring = renewed(&Ring::default(), 1_000).expect("keys");
        assert_eq!(ring.0.len(), 2);
        assert!(renewed(&ring, 1_000 + PERIOD - 1).is_none(), "nothing to do");
        for round in 1..10 {
            let now = 1_000 + round * PERIOD;
            ring = renewed(&ring, now).expect("a new key");
            let begins: Vec<u64> = ring.0.iter().map(|key| key.from).collect();
            assert_eq!(begins, [now - PERIOD, now, now + PERIOD]);
        }
    }

    #[test]
    fn nobody_seals_with_a_key_that_others_may_not_have_yet() {
        let ring = renewed(&Ring::default(), 0).expect("keys");
        let late = 2 * PERIOD + 5;
        let next = renewed(&ring, late).expect("a new key");
        let ticket = next.seal(b"", b"s", late).expect("a ticket");
        assert!(ring.open(b"", &ticket, late).is_some());
    }

    #[test]
    fn a_clock_that_was_ahead_is_forgotten() {
        let ring = renewed(&Ring::default(), 1_000 * PERIOD).expect("keys");
        let now = renewed(&ring, PERIOD).expect("others");
        assert!(now.0.iter().all(|key| key.from <= 2 * PERIOD));
    }

    #[test]
    fn what_is_written_is_read() {
        let ring = renewed(&Ring::default(), 0).expect("keys");
        let read = Ring::parse(ring.text().as_bytes()).expect("keys");
        let ticket = ring.seal(b"t", b"session", 0).expect("a ticket");
        assert_eq!(read.open(b"t", &ticket, 0).as_deref(), Some(&b"session"[..]));
        for text in ["", "{}", "[]", "{\"keys\": []}", "{\"keys\": [{\"from\": 0, \"id\": \"\", \"key\": \"\"}]}"] {
            assert!(Ring::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn whatever_clocks_do_there_are_few_keys_and_one_that_seals() {
        let mut ring = Ring::default();
        let mut state = 1_u64;
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let now = (state >> 33) % (40 * PERIOD);
            ring = renewed(&ring, now).unwrap_or(ring);
            assert!(ring.0.len() <= 6, "{}", ring.0.len());
            let ticket = ring.seal(b"", b"s", now).expect("a ticket");
            assert!(ring.open(b"", &ticket, now).is_some());
            assert!(renewed(&ring, now).is_none(), "once is enough");
        }
    }
}
