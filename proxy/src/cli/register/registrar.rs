//! The registration: there while the check passes, and gone before anything else ends.

use std::convert::Infallible;
use std::time::Duration;

use serin_proxy::control_path::etcd::{Held, LeasedKey};
use serin_proxy::control_path::health::UrlCheck;

use super::super::say;

/// Registers and withdraws.
pub(super) struct Registrar {
    key: LeasedKey,
    /// Absent: it always passes.
    check: Option<UrlCheck>,
    was_registered: bool,
}

impl Registrar {
    pub(super) fn new(key: LeasedKey, check: Option<UrlCheck>) -> Self {
        Self { key, check, was_registered: false }
    }

    /// Whether anybody can know of it.
    pub(super) fn was_registered(&self) -> bool {
        self.was_registered
    }

    /// Keeps the registration there while the check passes, until this is dropped.
    pub(super) async fn run(&mut self) -> Infallible {
        loop {
            self.keep_while_well().await;
            self.withdraw().await;
        }
    }

    async fn keep_while_well(&mut self) {
        let Self { key, check, was_registered } = self;
        if let Some(check) = check {
            check.until(true).await;
        }
        let fails = async {
            match check {
                Some(check) => check.until(false).await,
                None => std::future::pending().await,
            }
        };
        let name = key.key().to_owned();
        tokio::select! {
            never = key.hold(|held| tell(&name, &held, was_registered)) => match never {},
            () = fails => {}
        }
    }

    /// Takes the registration away. If that is not possible within a moment, it goes by itself when its time is over.
    pub(super) async fn withdraw(&mut self) {
        if !self.key.is_held() {
            return;
        }
        let withdrawn = self.key.withdraw(PATIENCE).await;
        let key = self.key.key();
        match withdrawn {
            Ok(()) => tracing::info!(key, "withdrawn"),
            Err(trouble) => {
                tracing::warn!(key, reason = %trouble, "cannot be withdrawn; it goes when its time is over")
            }
        }
    }
}

/// Says what becomes of the registration; the first time also to whoever reads standard output.
fn tell(key: &str, held: &Held<'_>, was_registered: &mut bool) {
    match held {
        Held::Written => {
            if !std::mem::replace(was_registered, true) {
                say(format_args!("serin registered: {key}"));
            }
            tracing::info!(key, "registered");
        }
        Held::Lost => tracing::warn!(key, "the lease has gone, and the registration with it; registering again"),
        // Again and again, but less and less often.
        Held::Unsure { trouble, times } if times.is_power_of_two() => {
            tracing::warn!(key, reason = %trouble, times, "etcd is out of reach, or refuses; trying again");
        }
        Held::Unsure { trouble, times } => tracing::debug!(key, reason = %trouble, times, "still no etcd"),
        Held::Sure { times } => tracing::info!(key, failures = times, "etcd answers again"),
    }
}

/// How long a withdrawal may hold up the end.
const PATIENCE: Duration = Duration::from_secs(2);
