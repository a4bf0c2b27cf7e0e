//! Randomness from the operating system, for seeds and secrets.

/// A random number.
///
/// # Panics
/// If the operating system gives none, which Linux does not do once it has booted.
pub(crate) fn seed() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

/// 32 random bytes, for a secret.
///
/// # Errors
/// The operating system gives none.
pub(crate) fn secret() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes)
}
