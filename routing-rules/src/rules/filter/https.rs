//! TLS for those who came without, and what browsers are told of it.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderValue;
use http::uri::Scheme;

use super::Redirect;
use crate::error::Problems;
use crate::spec::{HstsSpec, HttpsRedirectSpec};

/// Sends requests in clear text to `https://`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpsRedirect(Redirect);

/// The `Strict-Transport-Security` of answers over TLS (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts(HeaderValue);

impl HttpsRedirect {
    pub(super) fn new(spec: &HttpsRedirectSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let status = spec.status.unwrap_or(308);
        let known = matches!(status, 301 | 302 | 307 | 308).then(|| StatusCode::from_u16(status).ok()).flatten();
        if known.is_none() {
            problems.at("status").report(format_args!("status {status} is none of 301, 302, 307 and 308"));
        }
        if spec.port == Some(0) {
            problems.at("port").report("nobody can connect to port 0");
            return None;
        }
        Some(Self(Redirect {
            status: known?,
            scheme: Some(Scheme::HTTPS),
            host: None,
            port: spec.port,
            path: None,
            replace_prefix: None,
        }))
    }

    /// Where it leads.
    pub fn redirect(&self) -> &Redirect {
        &self.0
    }
}

impl Hsts {
    pub(super) fn new(spec: &HstsSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let max_age = spec.max_age.duration();
        if spec.preload && (!spec.include_subdomains || max_age < YEAR) {
            problems
                .at("preload")
                .report("the lists of browsers ask for `include_subdomains` and a `max_age` of 8760h at least");
            return None;
        }
        let mut text = format!("max-age={}", max_age.as_secs());
        for (directive, is_set) in [("; includeSubDomains", spec.include_subdomains), ("; preload", spec.preload)] {
            text.push_str(if is_set { directive } else { "" });
        }
        HeaderValue::try_from(text).ok().map(Self)
    }

    /// The field's value.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

/// What hstspreload.org asks for.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
