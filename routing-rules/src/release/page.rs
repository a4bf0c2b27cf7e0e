//! What browsers tell of where a request comes from: from a person who opens a page, or from a page that is open.

use http::Method;
use http::header::{ACCEPT, HeaderName, HeaderValue, REFERER};

use crate::request::RequestView;

/// Whether a person opens a page: then the response reaches a browser that keeps the cookie it sets. Requests from
/// within a page run side by side, and each would be given another id.
pub(super) fn is_navigation(request: &RequestView<'_>) -> bool {
    if *request.method != Method::GET {
        return false;
    }
    match request.headers.get(&SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        // Browsers before 2023, and all of them on plain HTTP, do not send the field.
        None => request.headers.get_all(ACCEPT).iter().any(|accept| names_html(accept.as_bytes())),
    }
}

/// Whether a page of this very site asks for something that belongs to it, with all the cookies of the page: a script, an
/// image, data. A page of another site has none of them, so that nothing can be told from their absence.
pub(super) fn is_of_a_page(request: &RequestView<'_>) -> bool {
    match (request.headers.get(&SEC_FETCH_MODE), request.headers.get(&SEC_FETCH_SITE)) {
        (Some(mode), Some(site)) => mode != "navigate" && site == "same-origin",
        // On plain HTTP browsers say at least which page it is.
        _ => {
            let page = request.headers.get(REFERER).and_then(host_of);
            page.is_some_and(|host| host.eq_ignore_ascii_case(request.host)) && !is_navigation(request)
        }
    }
}

/// The host of an address, without its port, as [`RequestView::host`] has it.
fn host_of(referer: &HeaderValue) -> Option<&str> {
    let (_, rest) = referer.to_str().ok()?.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    Some(authority.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(authority, |(host, _)| host))
}

fn names_html(accept: &[u8]) -> bool {
    let html = b"text/html";
    accept.windows(html.len()).any(|window| window.eq_ignore_ascii_case(html))
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
