//! Path patterns.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::request::canonical;

/// How a canonical path must look.
#[derive(Clone, Debug, PartialEq)]
pub enum PathPattern {
    /// The whole path.
    Exact(Box<str>),
    /// Whole segments at the front, without a slash at the end; the empty text stands for `/`, which matches all.
    Prefix(Box<str>),
    /// A regular expression.
    Regex(RegexPattern),
}

impl PathPattern {
    /// An exact path; it is brought into canonical form.
    ///
    /// # Errors
    /// Not a path that begins with `/`, or one no request can have.
    pub fn exact(text: &str) -> Result<Self, String> {
        Ok(Self::Exact(canonical_pattern(text)?))
    }

    /// A prefix of whole segments; a slash at its end makes no difference.
    ///
    /// # Errors
    /// As [`PathPattern::exact`].
    pub fn prefix(text: &str) -> Result<Self, String> {
        let path = canonical_pattern(text)?;
        Ok(Self::Prefix(path.trim_end_matches('/').into()))
    }

    /// Whether a canonical path matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("/"),
            Self::Prefix(prefix) => f.write_str(prefix),
            Self::Regex(regex) => write!(f, "~ {regex}"),
        }
    }
}

/// Patterns are compared with canonical paths, so they must be canonical themselves.
pub(crate) fn canonical_pattern(text: &str) -> Result<Box<str>, String> {
    if !text.starts_with('/') {
        return Err(format!("path `{}` must begin with `/`", text.escape_debug()));
    }
    if text.contains(['?', '#']) {
        return Err(format!("path `{}` has a query or fragment; use `query` conditions", text.escape_debug()));
    }
    let path = canonical::path(text.as_bytes()).map_err(|error| format!("path `{}` {error}", text.escape_debug()))?;
    Ok(path.into_owned().into())
}

/// A regular expression whose matching time is linear in the text (RE2 family), and whose program is bounded.
#[derive(Clone, Debug)]
pub struct RegexPattern(Regex);

impl RegexPattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The syntax is wrong, or the compiled program would exceed 256 KiB.
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(text).size_limit(256 << 10).dfa_size_limit(1 << 20).build();
        regex.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => format!("regular expression `{text}` is too big"),
            // The crate draws several lines with a marker; the last one holds the reason.
            error => {
                let message = error.to_string();
                let reason = message.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
                format!("regular expression `{}`: {reason}", text.escape_debug())
            }
        })
    }

    /// Whether the expression matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for RegexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
