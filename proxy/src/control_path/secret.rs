//! The key that signs pins and user ids, made from what a file holds.

use routing_rules::release::Secret;
use sha2::{Digest, Sha256};

/// The secret of a `secret_file`. Hashed, so that a text of any length will do.
///
/// # Errors
/// Fewer than 32 bytes. Reads on from the file's name: `secret` *holds 5 bytes, at least 32 are needed*.
pub fn of_file(bytes: &[u8]) -> Result<Secret, String> {
    match bytes.len() {
        32.. => Ok(Secret::from_bytes(Sha256::digest(bytes).into())),
        short => Err(format!("holds {short} bytes, at least 32 are needed")),
    }
}
