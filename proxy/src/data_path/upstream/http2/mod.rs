//! HTTP/2 to endpoints: connections that requests share, a stream for each.
//!
//! Framing, windows and pings are hyper's. What is decided here is who goes on which connection ([`Streams`]), what a request
//! looks like there ([`head`]), and which of them may be sent again. A request that ends before its time resets its stream and
//! leaves the connection to the others.

mod connection;
mod head;
mod stream;
mod streams;

pub(super) use stream::Stream;
pub(super) use streams::Streams;
