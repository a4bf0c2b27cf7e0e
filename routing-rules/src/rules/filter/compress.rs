//! Which answers are compressed, and with what the client asks for (RFC 9110 §12.5.3).

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::error::Problems;
use crate::spec::{CodingSpec, CompressSpec};

/// Which answers are compressed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Compress {
    types: Box<[TypePattern]>,
    min_size: u64,
    codings: Box<[Coding]>,
    with_credentials: bool,
}

/// How answers are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// gzip.
    Gzip,
}

/// What stands before and behind a `*`; without one the whole type.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TypePattern {
    Exact(Box<str>),
    Around(Box<str>, Box<str>),
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl From<CodingSpec> for Coding {
    fn from(spec: CodingSpec) -> Self {
        match spec {
            CodingSpec::Zstd => Self::Zstd,
            CodingSpec::Br => Self::Br,
            CodingSpec::Gzip => Self::Gzip,
        }
    }
}

impl Compress {
    pub(super) fn new(spec: &CompressSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.count();
        let types = match &spec.types {
            None => Some(TYPES.iter().filter_map(|text| TypePattern::new(text).ok()).collect()),
            Some(texts) => problems.at("types").each(texts, |text| TypePattern::new(text)),
        };
        let codings: Vec<Coding> = match &spec.algorithms {
            None => Coding::ALL.into(),
            Some(codings) => codings.iter().copied().map(Coding::from).collect(),
        };
        if types.as_ref().is_some_and(Vec::is_empty) {
            problems.at("types").report("without a type nothing would be compressed; leave the filter out");
        }
        if codings.is_empty() {
            problems.at("algorithms").report("without a coding nothing would be compressed; leave the filter out");
        }
        (problems.count() == before).then_some(())?;
        Some(Self {
            types: types?.into(),
            min_size: spec.min_size.map_or(DEFAULT_MIN_SIZE, |size| size.bytes()),
            codings: codings.into(),
            with_credentials: spec.with_credentials,
        })
    }

    /// With what the answer to a request may be compressed: what the client likes most, and of several the first here. `None` if it
    /// likes none as much as an answer that is not compressed, or if the answer may hold secrets.
    pub fn coding_for(&self, method: &Method, headers: &HeaderMap) -> Option<Coding> {
        let is_secret = headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION);
        if (is_secret && !self.with_credentials) || *method == Method::CONNECT || no_transform(headers) {
            return None;
        }
        let accepted = Accepted::of(headers);
        let mut best = None;
        let mut best_weight = accepted.identity.unwrap_or(0);
        for &coding in &self.codings {
            let weight = accepted.weight(coding);
            let is_better = match best {
                // As much as without: the client lists both, and the smaller one is meant.
                None => weight > 0 && weight >= best_weight,
                Some(_) => weight > best_weight,
            };
            if is_better {
                (best, best_weight) = (Some(coding), weight);
            }
        }
        best
    }

    /// Whether an answer is one of those that are compressed, for clients that ask for it. Other clients must get it anew.
    pub fn fits(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let has_no_content = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        let is_part = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(header::CONTENT_RANGE);
        let is_encoded = headers.contains_key(header::CONTENT_ENCODING);
        let is_secret = headers.contains_key(header::SET_COOKIE) && !self.with_credentials;
        if has_no_content || is_part || is_encoded || is_secret || no_transform(headers) {
            return false;
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length < self.min_size) {
            return false;
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|content_type| content_type.to_str().ok());
        content_type.is_some_and(|content_type| self.has_type(content_type))
    }

    /// Whether also answers are compressed that may hold secrets.
    pub fn takes_credentials(&self) -> bool {
        self.with_credentials
    }

    fn has_type(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        self.types.iter().any(|pattern| pattern.matches(&essence))
    }
}

/// What a client accepts, in thousandths.
#[derive(Debug, Default, PartialEq, Eq)]
struct Accepted {
    named: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let fields = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|field| field.to_str().ok());
        for entry in fields.flat_map(|field| field.split(',')) {
            let mut parts = entry.split(';').map(str::trim);
            let (Some(token), weight) = (parts.next(), weight(parts)) else { continue };
            let place = match token.to_ascii_lowercase().as_str() {
                "zstd" => &mut accepted.named[0],
                "br" => &mut accepted.named[1],
                "gzip" | "x-gzip" => &mut accepted.named[2],
                "identity" => &mut accepted.identity,
                "*" => &mut accepted.any,
                _ => continue,
            };
            *place = Some(weight);
        }
        accepted
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.named[coding as usize].or(self.any).unwrap_or(0)
    }
}

/// `q=0.5` as 500; 1000 without, and 0 for what is no weight.
fn weight<'a>(parameters: impl Iterator<Item = &'a str>) -> u16 {
    for parameter in parameters {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if !name.trim().eq_ignore_ascii_case("q") {
            continue;
        }
        let (whole, decimals) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
        let is_weight =
            matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
        let thousandths = format!("{whole}{decimals:0<3}").parse().unwrap_or(0);
        return if is_weight && thousandths <= 1_000 { thousandths } else { 0 };
    }
    1_000
}

/// Somebody asks that nobody on the way changes the content (RFC 9111 §5.2.1.6, §5.2.2.6).
fn no_transform(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    let mut directives = fields.flat_map(|field| field.split(|&byte| byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

impl TypePattern {
    fn new(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let wrong = || format!("`{}` is not a content type such as application/json or text/*", text.escape_debug());
        if !lower.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') || lower.split('/').count() != 2 {
            return Err(wrong());
        }
        Ok(match lower.split_once('*') {
            None => Self::Exact(lower.into()),
            Some((_, behind)) if behind.contains('*') => return Err(wrong()),
            Some((before, behind)) => Self::Around(before.into(), behind.into()),
        })
    }

    fn matches(&self, content_type: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *content_type,
            // What is sent bit by bit is for who reads it bit by bit, unless somebody names it.
            Self::Around(..) if content_type == "text/event-stream" => false,
            Self::Around(before, behind) => {
                let rest = content_type.strip_prefix(&**before);
                rest.is_some_and(|rest| rest.len() >= behind.len() && rest.ends_with(&**behind))
            }
        }
    }
}

/// What gets smaller, of what is common: pictures, films and archives are compressed already.
const TYPES: &[&str] = &[
    "text/*",
    "application/*+json",
    "application/*+xml",
    "application/*javascript",
    "application/json",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
];

/// Below it the gain is smaller than a packet.
const DEFAULT_MIN_SIZE: u64 = 1 << 10;
