//! Names of objects.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of an object: 1 to 253 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.
///
/// The alphabet is safe in etcd keys, URLs, metric labels, cookies and log lines alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// The text is empty, too long, or has a character that is not allowed.
    pub fn new(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match text.as_bytes() {
            [] => Err("a name is empty".into()),
            bytes if bytes.len() > 253 => {
                Err(format!("a name is at most 253 characters long, this one has {}", bytes.len()))
            }
            [first, ..] if !first.is_ascii_alphanumeric() => {
                Err(format!("name `{}` must begin with a letter or digit", text.escape_debug()))
            }
            bytes if !bytes.iter().copied().all(allowed) => Err(format!(
                "name `{}` has a character other than letters, digits, `.`, `_` and `-`",
                text.escape_debug()
            )),
            _ => Ok(Self(text.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
