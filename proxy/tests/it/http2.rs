//! HTTP/2 from clients: what is the same as with HTTP/1, what a stream has to itself, and what a connection may cost.

mod clients;
mod conformance;
mod floods;
mod lasting;
mod sharing;
mod streams;
pub(crate) mod websocket;

use crate::support::{Origin, Serin, Then};

/// A proxy before an endpoint that echoes bodies, and says what it was asked for without one.
fn echo() -> (Origin, Serin) {
    let origin = Origin::start(|visit| {
        visit.read_body()?;
        let body = match visit.request.body.is_empty() {
            true => visit.request.target.clone().into_bytes(),
            false => visit.request.body.clone(),
        };
        visit.answer(200, &[], &body)
    });
    let serin = Serin::in_front_of(&origin, "");
    (origin, serin)
}

/// An endpoint that keeps every request to `/wait` until its connection ends, and answers all others at once.
fn waiting() -> Origin {
    Origin::start(|visit| match visit.request.target.as_str() {
        "/wait" => visit.wait_for_end(),
        _ => {
            visit.read_body()?;
            visit.answer(200, &[], b"served")
        }
    })
}

/// An endpoint that answers with a body of so many bytes, whatever it is asked.
fn large(length: usize) -> Origin {
    Origin::start(move |visit| {
        visit.read_body()?;
        visit.answer(200, &[], &vec![b'x'; length]).or(Ok(Then::Close))
    })
}
