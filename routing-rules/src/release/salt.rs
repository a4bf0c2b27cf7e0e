//! The salt of a release: which users come first.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::rules::Name;

/// 16 bytes that decide the order in which a release takes users. Two releases with different salts choose
/// independently, so nobody is always among the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt([u8; 16]);

impl Salt {
    /// A salt as operators write it: 32 hexadecimal digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str) -> Result<Self, String> {
        let wrong = || format!("salt `{}` is not 32 hexadecimal digits", text.escape_debug());
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let mut salt = [0; 16];
        for (byte, pair) in salt.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (hex_digit(pair[0]).ok_or_else(wrong)? << 4) | hex_digit(pair[1]).ok_or_else(wrong)?;
        }
        Ok(Self(salt))
    }

    /// The salt of a release that names none: the same on every instance, and another one for another canary.
    pub fn derive(name: &Name, stable: &Name, canary: &Name) -> Self {
        let mut hash = Sha256::new_with_prefix(b"serin release salt v1");
        for part in [name, stable, canary] {
            let bytes = part.as_str().as_bytes();
            // With its length in front, no part can borrow letters from its neighbour.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        Self::of(hash)
    }

    /// Another salt, to be tried instead of this one: the same on every instance for the same number.
    #[must_use]
    pub fn another(&self, number: u8) -> Self {
        let mut hash = Sha256::new_with_prefix(b"serin another salt v1");
        hash.update(self.0);
        hash.update([number]);
        Self::of(hash)
    }

    fn of(hash: Sha256) -> Self {
        let digest: [u8; 32] = hash.finalize().into();
        Self(std::array::from_fn(|place| digest[place]))
    }

    /// The salt's bytes, in the order in which they are written.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({self})")
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
