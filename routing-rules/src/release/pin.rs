//! Pins: the signed cookie that lets a canary user keep the bucket when the sticky key changes.
//!
//! A pin says which bucket its user has and through which rule the user came in. It says nothing about the group:
//! that follows from the rule's percent of today, so lowering the percent and rolling back reach pinned users too.
//! It also says under which record of the release it was issued: an instance that has not heard of that one yet takes the
//! pin's word for what it would know itself.
//! A pin that is not right is ignored and the reason is told; it never costs the user more than a new assignment.

use std::fmt;

use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::Bucket;
use super::seal::{Broken, Seal, Secret};
use crate::request::cookie;
use crate::rules::Release;

/// Why a request's pin was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinRefusal {
    /// Not something that any Serin of this version issues.
    Malformed,
    /// Forged, or issued for another release, salt or secret.
    Signature,
    /// Serin has no secret, so it cannot tell whether anything is right.
    NoSecret,
    /// Older than 30 days.
    Expired,
    /// Issued more than 5 minutes from now: a clock is wrong.
    Future,
}

impl PinRefusal {
    /// A short word for logs and metrics; it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::NoSecret => "no_secret",
            Self::Expired => "expired",
            Self::Future => "future",
        }
    }
}

impl fmt::Display for PinRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not a pin that this version of Serin issues",
            Self::Signature => "forged, or issued for another release, salt or secret",
            Self::NoSecret => "there is no secret at hand to check it with",
            Self::Expired => "expired: it is older than 30 days",
            Self::Future => "issued in the future: a clock is wrong",
        })
    }
}

impl From<Broken> for PinRefusal {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Malformed => Self::Malformed,
            Broken::Signature => Self::Signature,
        }
    }
}

/// What a pin says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) bucket: Bucket,
    /// The rule through which its user came in.
    pub(super) rule: RuleTag,
    /// Minutes since 1970.
    pub(super) issued: u32,
    /// The number of the release's record by then, up to 2^24 - 1.
    pub(super) number: u32,
}

impl Pin {
    pub(super) fn new(bucket: Bucket, rule: RuleTag, unix_secs: u64) -> Self {
        Self { bucket, rule, issued: minutes(unix_secs), number: 0 }
    }

    /// Under the record of this number.
    pub(super) fn under(self, number: u64) -> Self {
        Self { number: u32::try_from(number).unwrap_or(u32::MAX).min(MOST_NUMBER), ..self }
    }

    /// Whether it was issued under a later record than the one with this number, which was written at this time. One that is older
    /// than that is of another count: the store was set back, or lost all.
    pub(super) fn is_ahead_of(&self, number: u64, at_secs: u64) -> bool {
        u64::from(self.number) > number && i64::from(self.issued) >= i64::from(minutes(at_secs)) - SKEW_MINUTES
    }

    /// Whether so much of its life is over that its user should have a new one: then whoever comes at least every
    /// two weeks never loses it, and most responses set no cookie.
    pub(super) fn is_worn(&self, unix_secs: u64) -> bool {
        self.age(unix_secs) > LIFE_MINUTES / 2
    }

    fn age(&self, unix_secs: u64) -> i64 {
        i64::from(minutes(unix_secs)) - i64::from(self.issued)
    }

    fn body(&self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[0] = VERSION;
        body[1..9].copy_from_slice(&self.bucket.hash().to_be_bytes());
        body[9..13].copy_from_slice(&self.rule.0);
        body[13..17].copy_from_slice(&self.issued.to_be_bytes());
        body[17..].copy_from_slice(&self.number.to_be_bytes()[1..]);
        body
    }

    fn from_body(body: &[u8; BODY_BYTES]) -> Option<Self> {
        let (version, rest) = body.split_first()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (rule, rest) = rest.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let number: [u8; 3] = rest.try_into().ok()?;
        let bucket = Bucket::from_hash(u64::from_be_bytes(*hash));
        let (issued, number) = (u32::from_be_bytes(*issued), u32::from_be_bytes([0, number[0], number[1], number[2]]));
        (*version == VERSION).then_some(Self { bucket, rule: RuleTag(*rule), issued, number })
    }
}

/// Stands for the name of an audience rule in a pin. Should two names of one audience share a tag (one in four
/// thousand million pairs does), the first rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuleTag([u8; 4]);

impl RuleTag {
    pub(super) fn of(rule_name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(rule_name).into();
        Self([digest[0], digest[1], digest[2], digest[3]])
    }
}

/// Reads and writes the pins of one release.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    cookie_name: Box<str>,
    /// Absent without a secret; then no pin is believed.
    seal: Option<Seal>,
}

impl Pins {
    pub(super) fn new(rules: &Release, secret: &Secret) -> Self {
        let purpose = [b"serin pin".as_slice(), rules.name().as_str().as_bytes(), rules.sticky().pin_salt.as_bytes()];
        Self { cookie_name: format!("serin-pin-{}", rules.name()).into(), seal: Seal::new(secret, &purpose) }
    }

    pub(super) fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    /// The pin of a request, if it has one.
    pub(super) fn read(&self, headers: &HeaderMap, unix_secs: u64) -> Option<Result<Pin, PinRefusal>> {
        cookie(headers, &self.cookie_name).map(|value| self.open(value, unix_secs))
    }

    /// The cookie value of a pin.
    pub(super) fn close(&self, pin: &Pin) -> Option<String> {
        self.seal.as_ref().map(|seal| seal.close(&pin.body()))
    }

    fn open(&self, value: &[u8], unix_secs: u64) -> Result<Pin, PinRefusal> {
        let body = self.seal.as_ref().ok_or(PinRefusal::NoSecret)?.open(value)?;
        let pin = Pin::from_body(&body).ok_or(PinRefusal::Malformed)?;
        match pin.age(unix_secs) {
            age if age < -SKEW_MINUTES => Err(PinRefusal::Future),
            age if age >= LIFE_MINUTES => Err(PinRefusal::Expired),
            _ => Ok(pin),
        }
    }
}

/// Until 2^32 minutes after 1970, the year 10136, nothing is cut off.
pub(super) fn minutes(unix_secs: u64) -> u32 {
    u32::try_from(unix_secs / 60).unwrap_or(u32::MAX)
}

const VERSION: u8 = 2;
const BODY_BYTES: usize = 20;
const MOST_NUMBER: u32 = (1 << 24) - 1;
const LIFE_MINUTES: i64 = 30 * 24 * 60;
/// Instances whose clocks differ by this much accept each other's pins.
pub(super) const SKEW_MINUTES: i64 = 5;
/// How long browsers keep the cookie: as long as it is good for something.
pub(super) const PIN_LIFE_SECS: u64 = LIFE_MINUTES as u64 * 60;
