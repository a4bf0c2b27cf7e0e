//! The token that changes may have to show.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

/// Known by its digest: comparing digests tells nothing of the token by the time it takes.
pub(crate) struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token of a file. White space around it does not count.
    ///
    /// # Errors
    /// It is too short to be a secret, or could not be sent.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let token = text.trim();
        if token.len() < SHORTEST {
            return Err(format!("a token has at least {SHORTEST} characters"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token is one word of visible ASCII characters".to_owned());
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// Whether a request shows it (RFC 6750 §2.1).
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
        let Some((scheme, token)) = value.split_once(' ') else { return false };
        let digest: [u8; 32] = Sha256::digest(token.trim()).into();
        scheme.eq_ignore_ascii_case("bearer") && digest == self.0
    }
}

const SHORTEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::AdminToken;

    #[test]
    fn tokens_are_words_that_nobody_guesses() {
        assert!(AdminToken::new(" 0123456789abcdef\n").is_ok());
        for bad in ["", "secret", "0123456789 abcdef", "0123456789abcd\u{e9}f"] {
            assert!(AdminToken::new(bad).is_err(), "{bad}");
        }
    }
}
