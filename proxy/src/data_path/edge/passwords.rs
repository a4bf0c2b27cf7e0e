//! Looks at passwords, away from the workers' threads: what a hash costs is meant to be a lot.
//!
//! So many are looked at at once, so many wait, and others are turned away. What was right is remembered for some minutes, by a
//! keyed hash of name, password and stored hash: a password that is changed is forgotten by that.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use routing_rules::rules::{BasicAuth, Credentials, Edge};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::data_path::error::RequestError;

/// What all workers share of passwords.
pub(crate) struct Passwords {
    key: [u8; 32],
    known: Mutex<Known>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Passwords that were right lately: those of this time, and those of the time before.
struct Known {
    now: HashSet<Digest>,
    before: HashSet<Digest>,
    since: Instant,
}

type Digest = [u8; 32];

/// A password that is to be looked at.
pub(crate) struct Verification {
    passwords: Arc<Passwords>,
    edge: Arc<Edge>,
    credentials: Credentials,
}

impl Passwords {
    /// Looks at so many at once, at least one.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub(crate) fn new(at_once: usize) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let known = Mutex::new(Known::new(Instant::now()));
        let running = Arc::new(Semaphore::new(at_once.max(1)));
        Ok(Self { key, known, running, waiting: AtomicUsize::new(0) })
    }

    /// Whether the password was right a while ago.
    pub(crate) fn knows(&self, auth: &BasicAuth, credentials: &Credentials) -> bool {
        let digest = self.digest(auth, credentials);
        digest.is_some_and(|digest| self.known().has(&digest, Instant::now()))
    }

    fn remember(&self, auth: &BasicAuth, credentials: &Credentials) {
        if let Some(digest) = self.digest(auth, credentials) {
            self.known().insert(digest, Instant::now());
        }
    }

    /// `None` for somebody who does not exist.
    fn digest(&self, auth: &BasicAuth, credentials: &Credentials) -> Option<Digest> {
        let stored = auth.stored(credentials.user())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [credentials.user().as_bytes(), stored.as_bytes(), credentials.password()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Some(mac.finalize().into_bytes().into())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among those that wait.
    fn wait(&self) -> Result<Waiting<'_>, RequestError> {
        let waiting = Waiting(&self.waiting);
        match self.waiting.fetch_add(1, Relaxed) < MOST_WAITING {
            true => Ok(waiting),
            false => Err(RequestError::PasswordsBusy),
        }
    }
}

/// Counted until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Known {
    fn new(since: Instant) -> Self {
        Self { now: HashSet::new(), before: HashSet::new(), since }
    }

    fn has(&mut self, digest: &Digest, at: Instant) -> bool {
        self.turn(at);
        self.now.contains(digest) || self.before.contains(digest)
    }

    fn insert(&mut self, digest: Digest, at: Instant) {
        self.turn(at);
        self.now.insert(digest);
    }

    /// Forgets what is old, or too much.
    fn turn(&mut self, at: Instant) {
        let age = at.saturating_duration_since(self.since);
        if age < REMEMBER && self.now.len() < MOST_KNOWN {
            return;
        }
        self.before = if age < 2 * REMEMBER { std::mem::take(&mut self.now) } else { HashSet::new() };
        self.now.clear();
        self.since = at;
    }
}

impl Verification {
    pub(super) fn new(passwords: &Arc<Passwords>, edge: &Arc<Edge>, credentials: Credentials) -> Self {
        Self { passwords: Arc::clone(passwords), edge: Arc::clone(edge), credentials }
    }

    /// Whose password it is, if it is right.
    pub(super) async fn run(self) -> Result<Credentials, RequestError> {
        let Self { passwords, edge, credentials } = self;
        let waiting = passwords.wait()?;
        let permit = Arc::clone(&passwords.running).acquire_owned().await.map_err(|_| RequestError::PasswordsBusy)?;
        drop(waiting);
        let remembers = Arc::clone(&passwords);
        // The client may go away meanwhile; the place is taken until the work is done.
        let verified = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let auth = edge.basic_auth.as_ref().filter(|auth| auth.verify(&credentials))?;
            remembers.remember(auth, &credentials);
            Some(credentials)
        });
        match verified.await {
            Ok(Some(credentials)) => Ok(credentials),
            Ok(None) => Err(RequestError::Unauthorized),
            // The thread panicked, or the worker ends.
            Err(_) => Err(RequestError::PasswordsBusy),
        }
    }
}

/// How long a password is known, at least; twice as long at most.
const REMEMBER: Duration = Duration::from_secs(5 * 60);

/// And how many, of each time: a third of a mebibyte.
const MOST_KNOWN: usize = 8_192;

/// Passwords that wait; at a quarter of a second each, the last one waits about as long as a browser does.
const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest
    }

    #[test]
    fn what_was_right_is_forgotten_in_time() {
        let start = Instant::now();
        let mut known = Known::new(start);
        known.insert(digest(1), start);
        assert!(known.has(&digest(1), start + REMEMBER));
        assert!(!known.has(&digest(1), start + 2 * REMEMBER));
        known.insert(digest(2), start + 2 * REMEMBER);
        assert!(!known.has(&digest(2), start + 4 * REMEMBER), "nobody asked meanwhile");
    }

    #[test]
    fn no_more_are_known_than_may_be() {
        let start = Instant::now();
        let mut known = Known::new(start);
        (0..100_000).for_each(|number| known.insert(digest(number), start));
        assert!(known.now.len() + known.before.len() <= 2 * MOST_KNOWN);
        assert!(known.has(&digest(99_999), start));
    }

    #[test]
    fn who_waits_is_counted() {
        let passwords = Passwords::new(1).expect("randomness");
        let waiting: Vec<_> = (0..MOST_WAITING).map(|_| passwords.wait().expect("room")).collect();
        assert_eq!(passwords.wait().err(), Some(RequestError::PasswordsBusy));
        drop(waiting);
        assert!(passwords.wait().is_ok());
    }
}
