//! Host patterns.

use std::fmt;
use std::net::Ipv6Addr;

use crate::request::canonical;

/// Which host names a route serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One name.
    Exact(Box<str>),
    /// Exactly one label in front of this suffix, which begins with a dot: `.example.com` stands for
    /// `*.example.com` and matches `a.example.com`, not `example.com` and not `a.b.example.com`.
    Wildcard(Box<str>),
    /// One label or more in front of this suffix, which begins with a dot: `.example.com` stands for `**.example.com` and matches
    /// `a.example.com` and `a.b.example.com`, not `example.com`.
    Below(Box<str>),
}

impl HostPattern {
    /// Parses `example.com`, `*.example.com` or `**.example.com`.
    ///
    /// # Errors
    /// Not a host name, or a `*` anywhere but in the first label, of which it is all.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err(format!("`{}` is a URL; write the host name alone", text.escape_debug()));
        }
        let (pattern, name): (fn(Box<str>) -> Self, _) = match (text.strip_prefix("*."), text.strip_prefix("**.")) {
            (Some(rest), _) => (Self::Wildcard, rest),
            (None, Some(rest)) => (Self::Below, rest),
            (None, None) => (Self::Exact, text),
        };
        if name.contains('*') {
            return Err(format!(
                "`{}`: `*` stands only for the whole first label, as in *.example.com; for any host leave `hosts` out",
                text.escape_debug()
            ));
        }
        let hint = hint(text);
        let wrong = |error| format!("`{}` {error}{hint}", text.escape_debug());
        if name.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("`{text}` is written in brackets, because it is an IPv6 address: [{text}]"));
        }
        let host = canonical::host(name.as_bytes()).map_err(wrong)?;
        if host.port().is_some() {
            return Err(format!("`{text}` has a port; routes match host names, listeners have ports"));
        }
        if host.name().is_empty() {
            return Err("a host name is empty".into());
        }
        let dot = if name.len() == text.len() { "" } else { "." };
        Ok(pattern(format!("{dot}{}", host.name()).into()))
    }

    /// Whether a canonical host name matches.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => wildcard_suffix(host) == Some(suffix),
            Self::Below(suffix) => suffixes(host).any(|below| *below == **suffix),
        }
    }
}

/// Everything from a dot on, for each dot but one at the beginning: the longest first.
pub(crate) fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').filter(|&(dot, _)| dot > 0).filter_map(|(dot, _)| host.get(dot..))
}

/// What would be right in place of a text that is not a host name.
fn hint(text: &str) -> &'static str {
    match text {
        _ if !text.is_ascii() => "; names of other scripts are written as xn--…",
        _ if text.contains(['[', ']']) => "; write names without brackets, which are for IPv6 addresses as in [::1]",
        _ if text.contains('/') => "; a host has no path and no network, which are `paths` and `client_ip` of a route",
        _ if text.starts_with('.') => "; for the names one label below it write *.example.com",
        _ => "",
    }
}

/// The part of a host that a wildcard pattern must equal: everything from the first dot on.
pub(crate) fn wildcard_suffix(host: &str) -> Option<&str> {
    let dot = host.find('.').filter(|&dot| dot > 0)?;
    Some(&host[dot..])
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Below(suffix) => write!(f, "**{suffix}"),
        }
    }
}
