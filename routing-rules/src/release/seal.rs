//! Signed cookie values: some bytes and their signature, as text.
//!
//! One HMAC checks a value. What the signature is good for (a purpose, a release, its salt) is part of the key, which is
//! derived when rules are compiled. So a value of another release or of an older salt fails like a forged one, and
//! the request pays nothing for the distinction. A value is text in one way only: no second spelling is accepted.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key with which all instances of a fleet sign pins and user ids. Without it ([`Secret::default`]) nothing is
/// issued and nothing is believed: an instance that was not told the secret must not fall back to one that everybody
/// knows.
// Compared only when a new secret is loaded, never on the way of a request: equality need not take constant time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Option<[u8; 32]>);

impl Secret {
    /// A secret of 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Some(bytes))
    }

    /// Whether there is a secret.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// What stands for the secret where instances are compared: 8 characters, which tell nothing of it. Empty without one.
    pub fn fingerprint(&self) -> String {
        let mark = Seal::new(self, &[b"fingerprint"]).map(|seal| seal.mark::<4>(b""));
        mark.map(|mark| format!("{:08x}", u32::from_be_bytes(mark))).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_known() { "Secret(redacted)" } else { "Secret(unknown)" })
    }
}

/// Signs and checks values for one purpose.
#[derive(Clone)]
pub(super) struct Seal(Hmac<Sha256>);

impl Seal {
    /// The seal for a purpose, which is a list so that its parts cannot run into each other.
    pub(super) fn new(secret: &Secret, purpose: &[&[u8]]) -> Option<Self> {
        let mut derivation = keyed(secret.0.as_ref()?);
        for part in purpose {
            derivation.update(&(part.len() as u64).to_be_bytes());
            derivation.update(part);
        }
        Some(Self(keyed(&derivation.finalize().into_bytes().into())))
    }

    /// The value to send. The first byte of a body is the version of the rest.
    pub(super) fn close<const N: usize>(&self, body: &[u8; N]) -> String {
        let mut buffer = [0; MOST_TOKEN_BYTES];
        let token = token::<N>(&mut buffer);
        let signature = self.0.clone().chain_update(body).finalize().into_bytes();
        token[..N].copy_from_slice(body);
        token[N..].copy_from_slice(&signature[..SIGNATURE_BYTES]);
        encode(token)
    }

    /// What stands for a text for those who do not know the secret.
    pub(super) fn mark<const N: usize>(&self, text: &[u8]) -> [u8; N] {
        let digest = self.0.clone().chain_update(text).finalize().into_bytes();
        std::array::from_fn(|index| digest[index])
    }

    /// What a received value says, if the signature is right.
    pub(super) fn open<const N: usize>(&self, value: &[u8]) -> Result<[u8; N], Broken> {
        let mut buffer = [0; MOST_TOKEN_BYTES];
        let token = token::<N>(&mut buffer);
        decode(value, token).ok_or(Broken::Malformed)?;
        let mut body = [0; N];
        body.copy_from_slice(&token[..N]);
        // Takes the same time wherever the first wrong byte is.
        let genuine = self.0.clone().chain_update(body).verify_truncated_left(&token[N..]);
        genuine.map(|()| body).map_err(|_| Broken::Signature)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(redacted)")
    }
}

/// Why a value was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Not of the right length or alphabet.
    Malformed,
    /// Forged, or signed for something else.
    Signature,
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

/// 128 bits: nobody guesses them, and the cookie stays short.
const SIGNATURE_BYTES: usize = 16;
/// Enough for all bodies.
const MOST_TOKEN_BYTES: usize = 36;

/// Room for a body of so many bytes and its signature: a multiple of three, so that base64 needs no padding and has no unused
/// bits.
fn token<const N: usize>(buffer: &mut [u8; MOST_TOKEN_BYTES]) -> &mut [u8] {
    const { assert!(N + SIGNATURE_BYTES <= MOST_TOKEN_BYTES && (N + SIGNATURE_BYTES).is_multiple_of(3)) };
    &mut buffer[..N + SIGNATURE_BYTES]
}

/// base64url (RFC 4648 §5) without padding.
fn encode(token: &[u8]) -> String {
    let mut text = String::with_capacity(token.len() / 3 * 4);
    for chunk in token.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        text.extend([18, 12, 6, 0].map(|shift| char::from(ALPHABET[(bits >> shift) as usize & 63])));
    }
    text
}

/// `None` unless the text is just what is to be encoded so.
fn decode(text: &[u8], token: &mut [u8]) -> Option<()> {
    if text.len() != token.len() / 3 * 4 {
        return None;
    }
    for (bytes, digits) in token.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
        let mut bits = 0;
        for &digit in digits {
            let value = DIGITS[usize::from(digit)];
            if value == NO_DIGIT {
                return None;
            }
            bits = (bits << 6) | u32::from(value);
        }
        bytes.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NO_DIGIT: u8 = 255;
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 64 {
        digits[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_base64url() {
        let token: [u8; 33] = std::array::from_fn(|index| 255 - 7 * index as u8);
        let text = encode(&token);
        assert_eq!(text, "__jx6uPc1c7HwLmyq6Sdlo-IgXpzbGVeV1BJQjs0LSYf");
        let mut read = [0; 33];
        assert_eq!((decode(text.as_bytes(), &mut read), read), (Some(()), token));
        assert_eq!(decode(&text.as_bytes()[1..], &mut read), None);
        assert_eq!(decode(text.replace('_', "/").as_bytes(), &mut read), None);
    }

    #[test]
    fn purposes_do_not_run_into_each_other() {
        let secret = Secret::from_bytes([7; 32]);
        let seal = |purpose: &[&[u8]]| Seal::new(&secret, purpose).unwrap();
        let value = seal(&[b"ab", b"c"]).close(&[1; 17]);
        assert_eq!(seal(&[b"ab", b"c"]).open(value.as_bytes()), Ok([1; 17]));
        assert_eq!(seal(&[b"a", b"bc"]).open::<17>(value.as_bytes()), Err(Broken::Signature));
        assert_eq!(seal(&[b"ab", b"c"]).open::<20>(value.as_bytes()), Err(Broken::Malformed));
        assert!(Seal::new(&Secret::default(), &[b"ab"]).is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::from_bytes([7; 32]);
        assert_eq!(format!("{secret:?} {:?}", Seal::new(&secret, &[b"x"]).unwrap()), "Secret(redacted) Seal(redacted)");
    }
}
