//! Which pages of other origins may read answers (Fetch, §3.3).

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::Problems;
use crate::request::{RequestView, canonical};
use crate::rules::RegexPattern;
use crate::rules::limit::span_ms;
use crate::rules::route::header_name;
use crate::spec::{CorsSpec, TextMatchSpec};

/// What browsers are told when a page of another origin asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// `None`: all of them.
    origins: Option<Box<[OriginPattern]>>,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum OriginPattern {
    Exact(Box<str>),
    /// One label between `https://` and `.example.com:8443`.
    Wildcard(Box<str>, Box<str>),
    Regex(RegexPattern),
}

impl Cors {
    pub(super) fn new(spec: &CorsSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let any = spec.origins.iter().any(|origin| matches!(origin, TextMatchSpec::Exact(text) if text == "*"));
        let origins = match any {
            true => Some(None),
            false => problems.at("origins").each(&spec.origins, OriginPattern::new).map(|origins| Some(origins.into())),
        };
        let before = problems.count();
        if spec.origins.is_empty() {
            problems.at("origins").report("without an origin no page could read anything; `*` is all of them");
        }
        if any && spec.origins.len() > 1 {
            problems.at("origins").report("`*` is all origins; leave the others out");
        }
        if spec.credentials && any {
            problems.at("credentials").report("with the origin `*` every page could act as the user; name the origins");
        }
        if spec.credentials {
            let lists = [
                ("headers", &*spec.headers, "fields"),
                ("expose", &spec.expose, "fields"),
                ("methods", spec.methods.as_deref().unwrap_or_default(), "methods"),
            ];
            for (list, names, things) in lists {
                if names.iter().any(|name| name == "*") {
                    // Fetch, §3.3.3: it means all only where there are none.
                    let reason =
                        format!("with `credentials` the {things} are named one by one; browsers take `*` as a name");
                    problems.at(list).report(reason);
                }
            }
        }
        let methods = methods(spec.methods.as_deref(), problems.at("methods"));
        let headers = names(&spec.headers, problems.at("headers"));
        let expose = names(&spec.expose, problems.at("expose"));
        let max_age_ms = span_ms(spec.max_age, 0, 24 * 3_600_000, problems.at("max_age"));
        (problems.count() == before).then_some(())?;
        Some(Self {
            origins: origins?,
            methods: methods?,
            headers: headers?,
            expose: expose?,
            max_age: max_age_ms?.map(|ms| HeaderValue::from(ms / 1_000)),
            credentials: spec.credentials,
        })
    }

    /// Whether a browser asks before a page's request (Fetch, §3.3.2).
    pub fn is_preflight(request: &RequestView<'_>) -> bool {
        *request.method == Method::OPTIONS
            && request.headers.contains_key(header::ORIGIN)
            && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The method of the request that a browser asks about, if it does.
    pub(crate) fn preflight<'r>(request: &RequestView<'r>) -> Option<&'r str> {
        let method = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        method.to_str().ok().filter(|_| Self::is_preflight(request))
    }

    /// The one origin that a request says it is of.
    pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        origins.next().filter(|_| origins.next().is_none())
    }

    /// Whether pages of an origin may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        let Some(origins) = &self.origins else { return true };
        origin.to_str().is_ok_and(|origin| origins.iter().any(|pattern| pattern.matches(origin)))
    }

    /// Puts what a page of this origin may do in the place of what an endpoint says of it. One that is not listed is told nothing.
    pub fn apply(&self, origin: Option<&HeaderValue>, is_preflight: bool, headers: &mut HeaderMap) {
        let said: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in said {
            headers.remove(name);
        }
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
        let allowed = if self.origins.is_none() { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if !is_preflight {
            headers.extend(self.expose.clone().map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value)));
            return;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.extend(self.headers.clone().map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)));
        headers.extend(self.max_age.clone().map(|value| (header::ACCESS_CONTROL_MAX_AGE, value)));
    }
}

impl OriginPattern {
    fn new(spec: &TextMatchSpec) -> Result<Self, String> {
        let text = match spec {
            TextMatchSpec::Exact(text) => text,
            TextMatchSpec::Regex(text) => {
                RegexPattern::new(text)?;
                return RegexPattern::new(&format!("^(?:{text})$")).map(Self::Regex);
            }
            TextMatchSpec::Prefix(_) => {
                return Err(
                    "a prefix of an origin is one of foreign hosts, too: https://shop.example.com.evil.example".into(),
                );
            }
            TextMatchSpec::Present(_) => return Err("write `*` for all origins".into()),
        };
        let wrong = || format!("`{}` is not an origin such as https://shop.example.com", text.escape_debug());
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return Err(wrong());
        }
        let (is_wildcard, name) = host.strip_prefix("*.").map_or((false, host), |name| (true, name));
        let canonical = canonical::host(name.as_bytes()).map_err(|_| wrong())?;
        let default_port = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        // Browsers write origins in this one form, so in another one it would never match.
        if canonical.port().is_some() && canonical.port() == default_port {
            return Err(format!("`{}`: browsers leave a default port out", text.escape_debug()));
        }
        let form =
            canonical.port().map_or_else(|| canonical.name().to_owned(), |port| format!("{}:{port}", canonical.name()));
        if canonical.name().is_empty() || form != name {
            return Err(wrong());
        }
        Ok(match is_wildcard {
            true => Self::Wildcard(format!("{scheme}://").into(), format!(".{name}").into()),
            false => Self::Exact(text.as_str().into()),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *origin,
            Self::Wildcard(scheme, rest) => {
                let label = origin.strip_prefix(&**scheme).and_then(|host| host.strip_suffix(&**rest));
                let is_of_labels = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                label.is_some_and(|label| !label.is_empty() && label.bytes().all(is_of_labels))
            }
            Self::Regex(regex) => regex.is_match(origin),
        }
    }
}

fn methods(written: Option<&[String]>, mut problems: Problems<'_>) -> Option<HeaderValue> {
    let Some(written) = written else { return Some(HeaderValue::from_static("GET, HEAD, POST")) };
    let methods = problems.each(written, |method| match method.parse::<Method>() {
        Ok(parsed) if method.bytes().all(|byte| !byte.is_ascii_lowercase()) => Ok(parsed),
        _ => Err(format!("`{}` is not a method in capitals", method.escape_debug())),
    })?;
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

fn names(written: &[String], mut problems: Problems<'_>) -> Option<Option<HeaderValue>> {
    let names = problems.each(written, |name| match name.as_str() {
        "*" => Ok("*".to_owned()),
        _ => header_name(name).map(|name| name.as_str().to_owned()),
    })?;
    match names.is_empty() {
        true => Some(None),
        false => HeaderValue::try_from(names.join(", ")).ok().map(Some),
    }
}
