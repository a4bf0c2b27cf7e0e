//! What is kept of accounts, certificates and failures, so that a restart and another instance go on with them; and what
//! authorities are to be answered.
//!
//! There are keys in it: nothing here can be printed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All of it, as the state folder has it.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredOrders {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) certificates: BTreeMap<String, Certificate>,
    pub(super) failures: BTreeMap<String, Failures>,
}

/// An account that is open.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Where.
    pub(super) directory: String,
    /// The key it was bound with.
    pub(super) key_id: Option<String>,
    /// What the authority was told.
    pub(super) contact: Vec<String>,
    /// Its address and its key, as the client of the protocol writes them.
    pub(super) credentials: Value,
}

/// A certificate that was issued.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Certificate {
    /// By whom.
    pub(super) directory: String,
    pub(super) chain: String,
    pub(super) key: String,
}

/// How often in a row an order has failed, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failures {
    /// What was ordered; of something else nothing is known.
    pub(super) what: String,
    pub(super) count: u32,
    /// When it failed last, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// How long to wait after that, in milliseconds.
    pub(super) wait_ms: u64,
    /// What the authority said, or why there was no answer.
    pub(super) problem: String,
    /// The last of them has begun, and nobody knows yet what became of it.
    #[serde(default)]
    pub(super) is_open: bool,
}

impl Failures {
    /// Those that are known to be some.
    pub(super) fn known(&self) -> u32 {
        self.count.saturating_sub(self.is_open.into())
    }
}

/// What an authority is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "challenge")]
pub(super) enum Answer {
    /// To a request.
    #[serde(rename = "http_01")]
    Http01 { token: String, text: String },
    /// In a handshake, with the digest in hexadecimal digits.
    #[serde(rename = "tls_alpn_01")]
    TlsAlpn01 { host: String, digest: String },
}

/// One of these, as a key in etcd says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'k> {
    Account(&'k str),
    Certificate(&'k str),
    Failures(&'k str),
    Answer,
}

impl Part<'_> {
    /// Of a key behind [`super::KEPT_ORDERS`].
    pub(super) fn of(rest: &str) -> Option<Part<'_>> {
        let (folder, name) = rest.split_once('/')?;
        match folder {
            "accounts" => Some(Part::Account(name)),
            "certificates" => Some(Part::Certificate(name)),
            "failures" => Some(Part::Failures(name)),
            "answers" => Some(Part::Answer),
            _ => None,
        }
    }
}

/// Of anything that is kept: far more than a chain and a key have. What is not heard is not kept either.
pub(super) const MOST_BYTES: usize = 256 << 10;

/// As it is written.
pub(super) fn text(what: &impl Serialize) -> String {
    serde_json::to_string(what).expect("texts and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_what_they_are() {
        assert_eq!(Part::of("accounts/le"), Some(Part::Account("le")));
        assert_eq!(Part::of("certificates/shop"), Some(Part::Certificate("shop")));
        assert_eq!(Part::of("failures/shop"), Some(Part::Failures("shop")));
        assert_eq!(Part::of("answers/0"), Some(Part::Answer));
        assert_eq!((Part::of("other/x"), Part::of("accounts")), (None, None));
    }

    #[test]
    fn answers_are_written_as_they_are_read() {
        let answers = [
            (
                Answer::Http01 { token: "t".into(), text: "t.x".into() },
                r#"{"challenge":"http_01","token":"t","text":"t.x"}"#,
            ),
            (
                Answer::TlsAlpn01 { host: "a.test".into(), digest: "00".into() },
                r#"{"challenge":"tls_alpn_01","host":"a.test","digest":"00"}"#,
            ),
        ];
        for (answer, written) in answers {
            assert_eq!(text(&answer), written);
            assert_eq!(serde_json::from_str::<Answer>(written).ok(), Some(answer));
        }
    }
}
