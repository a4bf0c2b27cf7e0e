//! The head of a request in terms of HTTP/2, which everything before it reads and writes in those of HTTP/1.
//!
//! Nothing is left of what speaks of a connection or frames a body there (RFC 9113 §8.2.2): frames do both.

use http::Version;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;

use crate::connect;
use crate::data_path::{grpc, headers};

/// Rewrites a head.
///
/// # Errors
/// `Host` is no authority, which no endpoint could be asked for.
pub(super) fn in_terms_of_http2(head: &mut Parts, scheme: Scheme) -> Result<(), http::Error> {
    head.version = Version::HTTP_2;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        head.headers.remove(name);
    }
    if grpc::is_grpc(&head.headers) {
        // Its servers refuse who does not say so.
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers::detach_values(&mut head.headers);
    connect::name_authority(head, scheme)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn nothing_is_left_of_http1() {
        let request = Request::post("/a?b")
            .header("host", "a.test:8080")
            .header("connection", "te")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("x-own", "1");
        let mut head = request.body(()).unwrap().into_parts().0;
        in_terms_of_http2(&mut head, Scheme::HTTP).unwrap();
        assert_eq!((head.uri.to_string().as_str(), head.version), ("http://a.test:8080/a?b", Version::HTTP_2));
        let mut fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        fields.sort();
        assert_eq!(fields, [("te", &b"trailers"[..]), ("x-own", b"1")]);
    }

    #[test]
    fn the_server_as_a_whole_stays_the_target_of_options() {
        let mut head = Request::options("*").header("host", "a.test").body(()).unwrap().into_parts().0;
        in_terms_of_http2(&mut head, Scheme::HTTP).unwrap();
        assert_eq!(head.uri.path(), "*");
    }

    #[test]
    fn calls_of_grpc_say_that_trailers_are_read() {
        let request = Request::post("/s/m").header("host", "a.test").header("content-type", "application/grpc+proto");
        let mut head = request.body(()).unwrap().into_parts().0;
        in_terms_of_http2(&mut head, Scheme::HTTP).unwrap();
        assert_eq!(head.headers["te"], "trailers");
    }
}
