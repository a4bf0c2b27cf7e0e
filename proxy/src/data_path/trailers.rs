//! Which trailer fields pass (RFC 9110 §6.5.1): those that the route lists, and all that ends a call of gRPC, except what frames,
//! routes, authenticates or is claimed.

use http::header::{HeaderMap, HeaderName};
use routing_rules::request::may_be_trailer;

use super::headers;

/// What may pass.
pub(crate) enum Trailers {
    /// These.
    Named(Box<[HeaderName]>),
    /// These, and what a service says at the end of a call, in fields that it makes up.
    OfCall(Box<[HeaderName]>),
}

impl Trailers {
    /// Those of these that pass.
    pub(crate) fn passing(&self, mut trailers: HeaderMap) -> HeaderMap {
        let passes = |name: &HeaderName| match self {
            Self::Named(names) => names.contains(name),
            Self::OfCall(names) => names.contains(name) || may_be_trailer(name) && headers::passes(name),
        };
        headers::keep(&mut trailers, passes);
        headers::detach_values(&mut trailers);
        trailers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(which: &Trailers) -> Vec<String> {
        let names = [
            "x-sum",
            "x-other-bin",
            "grpc-status",
            "set-cookie",
            "content-length",
            "x-forwarded-for",
            "te",
            "content_length",
            "x\"y",
        ];
        let fields = names
            .map(|name| (HeaderName::from_lowercase(name.as_bytes()).unwrap(), http::HeaderValue::from_static("1")));
        which.passing(fields.into_iter().collect()).keys().map(ToString::to_string).collect()
    }

    #[test]
    fn calls_end_with_what_their_service_says_and_nothing_that_means_something_to_a_proxy() {
        assert_eq!(passing(&Trailers::OfCall(Box::default())), ["x-sum", "x-other-bin", "grpc-status"]);
        assert_eq!(passing(&Trailers::Named([HeaderName::from_static("x-sum")].into())), ["x-sum"]);
        assert!(passing(&Trailers::Named(Box::default())).is_empty());
    }
}
