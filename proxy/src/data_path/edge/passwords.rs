//! Looks at passwords, away from the workers' threads: what a hash costs is meant to be a lot.
//!
//! So many are looked at at once, so many wait, and others are turned away. What was right is remembered, by a keyed hash of client,
//! name, password and stored hash: a password that is changed is forgotten by that, and who guesses from elsewhere cannot learn
//! from a quick answer what somebody else's password is.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use routing_rules::rules::{BasicAuth, Credentials};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::known::Known;
use super::looks::{Begun, Digest, Look, Looks, Subject, heard};
use crate::data_path::error::RequestError;
use crate::snapshot::{RouteEdge, client_network};

/// What all workers share of passwords.
pub(crate) struct Passwords {
    key: [u8; 32],
    known: Mutex<Known>,
    running: Arc<Semaphore>,
    looks: Arc<Looks>,
}

/// A password that is to be looked at.
pub(crate) struct Verification {
    passwords: Arc<Passwords>,
    edge: Arc<RouteEdge>,
    credentials: Credentials,
    subject: Subject,
    /// When its request came, in µs.
    asked_us: u64,
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
        Ok(Self { key, known, running, looks: Arc::default() })
    }

    /// What it takes to know whether the password is right: nothing if it was for this client a while ago.
    pub(super) fn check(
        self: &Arc<Self>,
        edge: &Arc<RouteEdge>,
        auth: &BasicAuth,
        credentials: Credentials,
        client: IpAddr,
        asked_us: u64,
    ) -> Result<Credentials, Box<Verification>> {
        let client = client_network(client);
        let digest = self.digest(auth, &credentials, client);
        if self.knows(&digest) {
            return Ok(credentials);
        }
        let subject = Subject { digest, client, route: edge.name().clone() };
        let (passwords, edge) = (Arc::clone(self), Arc::clone(edge));
        Err(Box::new(Verification { passwords, edge, credentials, subject, asked_us }))
    }

    fn knows(&self, digest: &Digest) -> bool {
        self.known().has(digest, Instant::now())
    }

    /// Of somebody who does not exist, too: what is asked twice at once must not take another time for them.
    fn digest(&self, auth: &BasicAuth, credentials: &Credentials, client: IpAddr) -> Digest {
        let stored = auth.stored(credentials.user()).unwrap_or_default();
        let client = client.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key may have any length");
        for part in [client.as_bytes(), credentials.user().as_bytes(), stored.as_bytes(), credentials.password()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verification {
    /// Whose password it is, if it is right.
    ///
    /// # Errors
    /// It is wrong, its client tries too many, or too many wait.
    pub(super) async fn run(self) -> Result<Credentials, RequestError> {
        let is_right = timeout(PATIENCE, self.look()).await.unwrap_or(Err(RequestError::PasswordsBusy))?;
        if is_right { Ok(self.credentials) } else { Err(RequestError::Unauthorized) }
    }

    async fn look(&self) -> Result<bool, RequestError> {
        loop {
            match self.passwords.looks.begin(&self.subject)? {
                // Somebody may have looked since it was asked for.
                Begun::Own(_) if self.passwords.knows(&self.subject.digest) => return Ok(true),
                Begun::Own(look) => return self.look_as(look).await,
                Begun::Others(others) => {
                    if let Some(is_right) = heard(others).await {
                        return Ok(is_right);
                    }
                }
            }
        }
    }

    async fn look_as(&self, mut look: Look) -> Result<bool, RequestError> {
        let wait = self.edge.attempt(self.subject.client, self.asked_us);
        wait.map_err(|wait| RequestError::TooManyAttempts(wait.retry_after_s()))?;
        let permit = Arc::clone(&self.passwords.running).acquire_owned().await;
        let permit = permit.map_err(|_| RequestError::PasswordsBusy)?;
        look.goes_on();
        let (passwords, edge) = (Arc::clone(&self.passwords), Arc::clone(&self.edge));
        let (credentials, subject) = (self.credentials.clone(), self.subject.clone());
        // The client may go away meanwhile; the permit is taken, and others wait, until the work is done.
        let verified = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let is_right = edge.rules().basic_auth.as_ref().is_some_and(|auth| auth.verify(&credentials));
            if is_right {
                passwords.known().insert(subject.digest, Instant::now());
                // Who knows the password has not guessed.
                edge.give_attempt_back(subject.client);
            }
            look.tell(is_right);
            is_right
        });
        // The thread panicked, or the worker ends.
        verified.await.map_err(|_| RequestError::PasswordsBusy)
    }
}

/// How long a password waits to be looked at, and is looked at, at most.
const PATIENCE: Duration = Duration::from_secs(15);
