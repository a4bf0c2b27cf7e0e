//! Handshakes with one endpoint: how they ended, and why the last one failed, for whoever wants to know.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::add;

/// How a handshake with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsEnd {
    /// All was shown and checked.
    Completed,
    /// A session goes on that was checked when it began.
    Resumed,
    /// The certificate, or one that leads to its authority, is not valid at this time.
    Expired,
    /// Nobody who is trusted has signed the certificate.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// There is something else about the certificate.
    BadCertificate,
    /// The endpoint does not speak on top what the rules say.
    NoProtocol,
    /// There is no version or cipher suite in common.
    Incompatible,
    /// The endpoint did not like it, or wants a certificate.
    RefusedByEndpoint,
    /// What came is not TLS, or is wrong.
    Broken,
    /// The endpoint closed the connection.
    Left,
    /// It took too long.
    TimedOut,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// What is counted.
    pub end: TlsEnd,
    /// The same in words.
    pub reason: String,
}

/// What one worker counted.
#[derive(Default)]
pub(super) struct HandshakeCounters(OnceLock<Box<[AtomicU64; TlsEnd::ALL.len()]>>);

/// What is wrong with the handshakes of an endpoint, as far as anybody has met it.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<Box<Told>>>);

struct Told {
    /// Why the last handshake failed; none if it did not.
    reason: Option<String>,
    /// When somebody was told last, on any clock.
    at_ms: u64,
}

impl TlsEnd {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Completed,
        Self::Resumed,
        Self::Expired,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::BadCertificate,
        Self::NoProtocol,
        Self::Incompatible,
        Self::RefusedByEndpoint,
        Self::Broken,
        Self::Left,
        Self::TimedOut,
    ];

    /// A short stable word for metrics.
    pub fn token(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Resumed => "resumed",
            Self::Expired => "expired",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongName => "wrong_name",
            Self::BadCertificate => "bad_certificate",
            Self::NoProtocol => "no_protocol",
            Self::Incompatible => "incompatible",
            Self::RefusedByEndpoint => "refused_by_endpoint",
            Self::Broken => "broken",
            Self::Left => "left",
            Self::TimedOut => "timed_out",
        }
    }
}

impl HandshakeCounters {
    pub(super) fn ended(&self, end: TlsEnd) {
        add(&self.0.get_or_init(Box::default)[end as usize], 1);
    }

    pub(super) fn add_to(&self, sum: &mut [u64; TlsEnd::ALL.len()]) {
        let counted = self.0.get().into_iter().flat_map(|counted| counted.iter());
        sum.iter_mut().zip(counted).for_each(|(total, count)| *total += count.load(Relaxed));
    }
}

impl Trouble {
    /// A handshake failed for this reason. Returns whether somebody is to be told: it is another one, and nobody was told of any for a
    /// while, or all are.
    pub(super) fn met(&self, reason: &str, now_ms: u64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.get_or_insert_with(|| Box::new(Told { reason: None, at_ms: 0 }));
        let is_news = told.reason.as_deref() != Some(reason);
        if is_news {
            told.reason = Some(reason.to_owned());
        }
        let is_time = told.at_ms == 0 || now_ms.saturating_sub(told.at_ms) >= QUIET_MS;
        if is_news && is_time {
            told.at_ms = now_ms.max(1);
        }
        is_news && is_time
    }

    /// A handshake went well. Returns whether that is news.
    pub(super) fn is_over(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_mut().is_some_and(|told| told.reason.take().is_some())
    }

    pub(super) fn reason(&self) -> Option<String> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref()?.reason.clone()
    }
}

/// How long nobody is told of an endpoint again whose handshakes fail now in one way and now in another.
const QUIET_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_told_once() {
        let trouble = Trouble::default();
        assert!(!trouble.is_over());
        let met = [("one", 5), ("one", 6), ("other", 7), ("one", 20_000), ("one", 40_000)];
        assert_eq!(met.map(|(reason, now_ms)| trouble.met(reason, now_ms)), [true, false, false, true, false]);
        assert_eq!(trouble.reason().as_deref(), Some("one"));
        assert_eq!([trouble.is_over(), trouble.is_over()], [true, false]);
        assert_eq!(trouble.reason(), None);
    }

    #[test]
    fn every_end_has_its_own_place_and_token() {
        for (place, end) in TlsEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, place);
            assert_eq!(TlsEnd::ALL.into_iter().filter(|other| other.token() == end.token()).count(), 1);
        }
    }
}
