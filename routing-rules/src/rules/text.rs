//! Conditions on header fields, cookies and query parameters.

use super::RegexPattern;
use crate::spec::TextMatchSpec;

/// A condition on a text that may be absent. Bytes, because header fields need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub enum TextPattern {
    /// Equal.
    Exact(Box<[u8]>),
    /// Begins with.
    Prefix(Box<[u8]>),
    /// Matches; a text that is not UTF-8 does not.
    Regex(RegexPattern),
    /// Is there.
    Present,
    /// Is not there.
    Absent,
}

impl TextPattern {
    /// Validates a condition.
    ///
    /// # Errors
    /// A regular expression that does not compile.
    pub fn new(spec: &TextMatchSpec) -> Result<Self, String> {
        Ok(match spec {
            TextMatchSpec::Exact(text) => Self::Exact(text.as_bytes().into()),
            TextMatchSpec::Prefix(text) => Self::Prefix(text.as_bytes().into()),
            TextMatchSpec::Regex(text) => Self::Regex(RegexPattern::new(text)?),
            TextMatchSpec::Present(true) => Self::Present,
            TextMatchSpec::Present(false) => Self::Absent,
        })
    }

    /// Whether a text, or its absence, fulfils the condition.
    pub fn matches(&self, text: Option<&[u8]>) -> bool {
        match (self, text) {
            (Self::Absent, text) => text.is_none(),
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Exact(exact), Some(text)) => **exact == *text,
            (Self::Prefix(prefix), Some(text)) => text.starts_with(prefix),
            (Self::Regex(regex), Some(text)) => std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text)),
        }
    }
}
