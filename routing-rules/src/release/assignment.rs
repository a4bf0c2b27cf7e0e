//! The answer for one request: the group, why, and the cookies that keep it so.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;

use super::key::{ID_COOKIE, ID_LIFE_SECS, UserId, UserIds};
use super::pin::{PIN_LIFE_SECS, Pin, PinRefusal, Pins};
use super::{Bucket, DeviceClass, Status};
use crate::spec::Percent;

/// Which of its two upstreams a release chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The version everybody had.
    Stable,
    /// The new version.
    Canary,
}

impl Group {
    /// The group as headers, logs and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// What people write into a header by hand, so letters may be of any case.
    pub(super) fn from_bytes(text: &[u8]) -> Option<Self> {
        [Self::Stable, Self::Canary].into_iter().find(|group| text.eq_ignore_ascii_case(group.as_str().as_bytes()))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, UnknownGroup> {
        Self::from_bytes(text.as_bytes()).ok_or(UnknownGroup)
    }
}

/// The side on which a request counts when the versions of a release are compared: users of one rule of the audience, all
/// of whom the rule might have moved (specification of the analysis, §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arm {
    /// Within the rule's share; before a release, within the first share that it will have.
    Canary,
    /// The rule decides for them too, and they lie outside its share.
    Control,
}

/// A word that is not a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a group; one of stable, canary")]
pub struct UnknownGroup;

/// What decided. The particulars (rule, share, bucket) are in the [`Assignment`], whose `Display` says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request names the group.
    Override,
    /// A pin, by the share of the rule through which its user came in.
    Pin,
    /// The first rule whose conditions hold, by its share.
    Rule,
    /// A rule's share takes its user since a short while, but the request is of a page that was served before: stable.
    Page,
    /// No rule's conditions hold: stable.
    NoRule,
    /// A rule's conditions hold, but the request has nothing that identifies its user: stable.
    NoKey,
    /// The release is rolled back (stable) or completed (canary).
    Inactive(Status),
}

impl Reason {
    /// A short word for logs and metrics; it never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Pin => "pin",
            Self::Rule => "rule",
            Self::Page => "page",
            Self::NoRule => "no_rule",
            Self::NoKey => "no_key",
            Self::Inactive(_) => "inactive",
        }
    }
}

/// The group of a request's user, and how it came about. `Display` tells the why to people, for example
/// `rule "office": 100 %, bucket 4711`.
#[derive(Clone, Debug)]
pub struct Assignment<'r> {
    /// The group.
    pub group: Group,
    /// What decided.
    pub reason: Reason,
    /// Who the user is to this release, if it came to that question.
    pub bucket: Option<Bucket>,
    /// The name of the rule that decided, also when the user is outside its share.
    pub rule: Option<&'r str>,
    /// That rule's place in the audience.
    pub place: Option<usize>,
    /// On which side the request counts when the groups of that rule are compared. `None` if it must not count: an override or
    /// the release's status decided, nothing identifies the user, a pin of another rule than that whose conditions hold first,
    /// or the rule's share is nobody or everybody.
    pub arm: Option<Arm>,
    /// The user is whoever comes from this address, for want of the cookies and headers that would have said who.
    pub without_cookie: bool,
    /// The share that was applied to the user: of the rule, or none or all where no rule decided.
    pub share: Percent,
    /// What the user is holding, if some rule asked for that.
    pub device: Option<DeviceClass>,
    /// Why the request's pin was ignored, if it had one that was not right.
    pub pin_refused: Option<PinRefusal>,
    pub(super) to_set: CookiesToSet<'r>,
}

impl Assignment<'_> {
    /// The `Set-Cookie` fields for the response. They are signed here and not before, so a response that does not
    /// need them pays nothing. `secure`: the client came by TLS.
    pub fn cookies(&self, secure: bool) -> impl Iterator<Item = HeaderValue> {
        let pin = self.to_set.pin.as_ref().and_then(|(pins, pin)| {
            Some(set_cookie(pins.cookie_name(), &pins.close(pin)?, Some(PIN_LIFE_SECS), secure))
        });
        let id =
            self.to_set.id.as_ref().map(|(ids, id)| set_cookie(ID_COOKIE, &ids.close(id), Some(ID_LIFE_SECS), secure));
        pin.into_iter().chain(id)
    }
}

impl fmt::Display for Assignment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = fmt::from_fn(|f| write!(f, "rule {:?}: {} %", self.rule.unwrap_or_default(), self.share));
        let bucket = fmt::from_fn(|f| match self.bucket {
            Some(bucket) => write!(f, ", bucket {}", bucket.line()),
            None => Ok(()),
        });
        match self.reason {
            Reason::Override => f.write_str("override"),
            Reason::Pin => write!(f, "pin of {rule}{bucket}"),
            Reason::Rule if self.group == Group::Canary => write!(f, "{rule}{bucket}"),
            Reason::Rule => write!(f, "{rule}{bucket} is outside"),
            Reason::Page => write!(f, "{rule}{bucket} has come in, but the page it belongs to is of stable"),
            Reason::NoRule => f.write_str("no rule's conditions hold"),
            Reason::NoKey => write!(f, "{rule}, but the request has no sticky key"),
            Reason::Inactive(status) => write!(f, "the release is {}", status.as_str().replace('_', " ")),
        }
    }
}

/// What the response should tell the browser, and who signs it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CookiesToSet<'r> {
    pub(super) pin: Option<(&'r Pins, Pin)>,
    pub(super) id: Option<(&'r UserIds, UserId)>,
}

/// Without an age the cookie ends with the browser's session.
pub(super) fn set_cookie(name: &str, value: &str, max_age_secs: Option<u64>, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let max_age = max_age_secs.map(|secs| format!("; Max-Age={secs}")).unwrap_or_default();
    let text = format!("{name}={value}; Path=/{max_age}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).expect("names, base64 and digits are visible ASCII")
}
