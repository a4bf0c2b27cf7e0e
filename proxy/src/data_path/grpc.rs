//! gRPC as far as a proxy has to know it: which requests are calls, and what their answers say in fields of their own.

use http::header::{self, HeaderMap};

/// Whether these are the fields of a call. That of a browser (`application/grpc-web`) is a request like any other.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}
