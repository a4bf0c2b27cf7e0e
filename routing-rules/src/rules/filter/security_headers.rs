//! Fields that make browsers more careful.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::Problems;
use crate::spec::{FramesSpec, SecurityHeadersSpec};

/// Fields for answers that do not have them: an endpoint knows its pages better than the edge does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityHeaders(Box<[(HeaderName, HeaderValue)]>);

impl SecurityHeaders {
    pub(super) fn new(spec: &SecurityHeadersSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.count();
        let mut fields = vec![(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
        match spec.frames {
            FramesSpec::SameOrigin => fields.push((header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"))),
            FramesSpec::Deny => fields.push((header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))),
            FramesSpec::Any => {}
        }
        let referrer = spec.referrer_policy.as_deref().unwrap_or("strict-origin-when-cross-origin");
        let unknown = referrer.split(',').map(str::trim).find(|policy| !REFERRER_POLICIES.contains(policy));
        match unknown {
            Some(policy) => problems.at("referrer_policy").report(format_args!(
                "`{}` is none of {}",
                policy.escape_debug(),
                REFERRER_POLICIES.join(", ")
            )),
            None => fields.extend(HeaderValue::from_str(referrer).ok().map(|value| (header::REFERRER_POLICY, value))),
        }
        if let Some(policy) = &spec.content_security_policy {
            let value = HeaderValue::from_str(policy).map_err(|_| "it is not a header value");
            let value = problems.at("content_security_policy").ok(value);
            fields.extend(value.map(|value| (header::CONTENT_SECURITY_POLICY, value)));
        }
        (problems.count() == before).then(|| Self(fields.into()))
    }

    /// Adds what is missing.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// Referrer Policy, W3C, §3.
const REFERRER_POLICIES: &[&str] = &[
    "no-referrer",
    "no-referrer-when-downgrade",
    "same-origin",
    "origin",
    "strict-origin",
    "origin-when-cross-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];
