//! Mirrors of routes as written.

use serde::{Deserialize, Serialize};

use super::scalar::{ByteSize, Percent};

/// Copies of a route's requests for another upstream. Its answers are read and dropped; whatever it does, clients do not
/// notice. `docs/mirroring.md` says what is copied and what is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorSpec {
    /// The upstream that gets the copies.
    pub upstream: String,
    /// How many of the requests are copied, in percent; each is drawn by itself. Default 100.
    #[serde(default)]
    pub percent: Option<Percent>,
    /// The largest request body that is copied, up to 1MiB; a request with a larger one is not. Default 64KiB.
    #[serde(default)]
    pub max_body: Option<ByteSize>,
}
