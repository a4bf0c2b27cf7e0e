//! The way of a request, listed in the order it goes. Start reading at [`request`].

mod challenge;
pub(crate) mod deadline;
pub(crate) mod decide;
pub(crate) mod edge;
pub(crate) mod error;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod mirror;
pub(crate) mod read_budget;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod tls;
pub(crate) mod trailers;
pub(crate) mod tunnel;
pub(crate) mod upstream;
