//! What is known of accounts, certificates, failures and answers: as it is kept, and as the rest of the module wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::{HostPattern, Name};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::control_path::acme::answers::Handshakes;
use crate::control_path::acme::kept::{Answer, Certificate, MOST_BYTES, Part, StoredOrders};
use crate::control_path::acme::schedule::Life;
use crate::control_path::certificates::{Issued, examine};
use crate::control_path::etcd::Value;

/// All of it.
#[derive(Default)]
pub(super) struct State {
    pub(super) stored: StoredOrders,
    pub(super) in_hand: BTreeMap<String, Arc<InHand>>,
    /// By key in etcd, or by certificate and number.
    pub(super) answers: BTreeMap<String, Answer>,
    /// The keys of those that this instance has opened, by certificate.
    pub(super) answers_of: BTreeMap<String, Vec<String>>,
    pub(super) handshakes: Handshakes,
    /// What the keys said last, and at which revision each was written as far as this instance knows.
    pub(super) heard: OrdMap<Box<str>, Value>,
    pub(super) revisions: BTreeMap<String, i64>,
    /// Of those that this instance has written since it leads, nothing older is taken.
    pub(super) own: BTreeMap<String, i64>,
    pub(super) is_heard: bool,
    pub(super) is_unsaved: bool,
    /// What was said last of a disk that does not take it.
    pub(super) complaint: String,
}

/// A certificate that is there, and can be used.
pub(in crate::control_path::acme) struct InHand {
    pub(in crate::control_path::acme) directory: String,
    pub(in crate::control_path::acme) life: Life,
    /// Where in the time of renewals it has its place, from 0 to 1.
    pub(in crate::control_path::acme) share: f64,
    hosts: BTreeSet<String>,
    wildcards: Vec<HostPattern>,
    pub(super) issued: Issued,
}

impl InHand {
    fn of(name: &str, kept: &Certificate) -> Result<Self, String> {
        let issued = Issued { chain: kept.chain.as_str().into(), key: kept.key.as_str().into() };
        let certificate = examine(&Name::new(name)?, &[], &issued)?;
        let (exact, wildcards) =
            certificate.covers.iter().partition::<Vec<_>, _>(|it| matches!(it, HostPattern::Exact(_)));
        let first = Sha256::digest(&kept.chain).first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        Ok(Self {
            directory: kept.directory.clone(),
            life: Life { not_before: certificate.not_before, not_after: certificate.not_after },
            share: f64::from(first) / f64::from(u32::MAX),
            hosts: exact.into_iter().map(ToString::to_string).collect(),
            wildcards: wildcards.into_iter().cloned().collect(),
            issued,
        })
    }

    pub(in crate::control_path::acme) fn covers(&self, host: &str) -> bool {
        self.hosts.contains(host) || self.wildcards.iter().any(|pattern| pattern.matches(host))
    }
}

impl State {
    /// As it was stored.
    pub(super) fn begin(stored: StoredOrders) -> Self {
        let mut state = Self { stored, ..Self::default() };
        for (name, certificate) in state.stored.certificates.clone() {
            state.put_certificate(&name, Some(certificate));
        }
        state
    }

    /// Takes what a key says now, unless this instance has written it since.
    pub(super) fn hear(&mut self, key: &str, value: Option<&Value>) {
        let own = self.own.get(key).copied().unwrap_or(0);
        match value {
            Some(value) if value.mod_revision < own => return,
            Some(value) => drop(self.revisions.insert(key.to_owned(), value.mod_revision)),
            None => drop(self.revisions.remove(key)),
        }
        match Part::of(key) {
            Some(Part::Account(name)) => put(&mut self.stored.accounts, name, parsed(key, value)),
            Some(Part::Failures(name)) => put(&mut self.stored.failures, name, parsed(key, value)),
            Some(Part::Certificate(name)) => {
                self.put_certificate(name, parsed(key, value));
                self.is_unsaved = true;
            }
            Some(Part::Answer) => put(&mut self.answers, key, parsed(key, value)),
            None => {}
        }
    }

    /// A certificate is another one, or has gone.
    pub(super) fn put_certificate(&mut self, name: &str, certificate: Option<Certificate>) {
        let in_hand = certificate.as_ref().and_then(|kept| match InHand::of(name, kept) {
            Ok(in_hand) => Some(Arc::new(in_hand)),
            Err(reason) => {
                tracing::error!(
                    certificate = name,
                    reason,
                    "a certificate that was issued cannot be used; ordering another"
                );
                None
            }
        });
        put(&mut self.in_hand, name, in_hand);
        put(&mut self.stored.certificates, name, certificate);
    }
}

pub(super) fn put<T>(map: &mut BTreeMap<String, T>, name: &str, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

/// What a value says; nothing if it is of another version, or nobody's.
fn parsed<T: DeserializeOwned>(key: &str, value: Option<&Value>) -> Option<T> {
    let bytes = &value?.bytes;
    if bytes.len() > MOST_BYTES {
        tracing::error!(key, bytes = bytes.len(), "what etcd keeps of an order is too long");
        return None;
    }
    serde_json::from_slice(bytes)
        .map_err(|error| tracing::error!(key, %error, "what etcd keeps of an order cannot be read"))
        .ok()
}
