//! How a request to an endpoint ended, as far as a breaker is concerned.

/// How a request ended. What says nothing of the endpoint has no outcome: a client that went away, our own limits, a
/// stream refused by GOAWAY or REFUSED_STREAM, an idle connection closed before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A valid head with this status.
    Answer(u16),
    /// No valid head: refused, unreachable, TLS failed, reset, closed, malformed. The client gets 502.
    NetworkError,
    /// Connecting or the response took too long. A network error too; the client gets 504.
    Timeout,
    /// The body broke off. Its answer has been counted, so this adds an error and no result.
    BodyCut,
}

impl Outcome {
    /// Whether the endpoint failed.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Answer(..500))
    }

    pub(super) fn is_network_error(self) -> bool {
        !matches!(self, Self::Answer(_))
    }

    pub(super) fn is_result(self) -> bool {
        self != Self::BodyCut
    }

    /// The status the client gets.
    pub(super) fn code(self) -> Option<u16> {
        match self {
            Self::Answer(status) => Some(status),
            Self::NetworkError => Some(502),
            Self::Timeout => Some(504),
            Self::BodyCut => None,
        }
    }

    /// An answer took its time, and a timeout at least that. A refusal is quick and says nothing of the latency.
    pub(super) fn has_latency(self) -> bool {
        matches!(self, Self::Answer(_) | Self::Timeout)
    }
}
