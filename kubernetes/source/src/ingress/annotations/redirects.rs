//! Where clients are sent instead.

use routing_rules::spec::{FilterSpec, RedirectSpec};

use super::given::Given;
use super::{trial, values};
use crate::ingress::tuning::{ToHttps, Tuning};

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    let (with_tls, always) = (given.flag("ssl-redirect"), given.is_on("force-ssl-redirect"));
    tuning.to_https = match (with_tls, always) {
        (_, true) => ToHttps::Always,
        (Some(false), false) => ToHttps::Never,
        _ => ToHttps::WithTls,
    };
    tuning.has_www = given.is_on("from-to-www-redirect");
    tuning.aliases = aliases(given);
    tuning.app_root = given.read("app-root", |path| {
        trial::filter(FilterSpec::Redirect(app_root(path)))?;
        Ok(path.to_owned())
    });
    let temporal = redirect(given, "temporal-redirect", "temporal-redirect-code", 302);
    let permanent = redirect(given, "permanent-redirect", "permanent-redirect-code", 301);
    if temporal.is_some() && permanent.is_some() {
        given.needless("permanent-redirect", "temporal-redirect goes first");
    }
    tuning.redirect = temporal.or(permanent);
}

/// Where `/` leads.
pub(in crate::ingress) fn app_root(path: &str) -> RedirectSpec {
    RedirectSpec { path: Some(path.into()), ..RedirectSpec::default() }
}

fn aliases(given: &mut Given<'_>) -> Vec<String> {
    let Some(text) = given.text("server-alias") else { return Vec::new() };
    given.same("server-alias");
    let (mut right, mut wrong) = (Vec::new(), None);
    for alias in values::list(text) {
        match values::host(alias) {
            Ok(host) => right.push(host),
            Err(reason) => wrong = Some(reason),
        }
    }
    if let Some(reason) = wrong {
        given.wrong("server-alias", reason);
    }
    right
}

fn redirect(given: &mut Given<'_>, name: &'static str, code: &'static str, usual: u16) -> Option<RedirectSpec> {
    if !given.has(name) {
        return None;
    }
    let status = given.read(code, |text| {
        let status = text.parse().map_err(|_| format!("`{text}` is not a status such as 308"))?;
        let spec = RedirectSpec { status: Some(status), path: Some("/".into()), ..RedirectSpec::default() };
        trial::filter(FilterSpec::Redirect(spec)).map(|_| status)
    });
    if status.is_some() {
        given.same(code);
    }
    given.read(name, |text| {
        let spec = target(text, status.unwrap_or(usual))?;
        trial::filter(FilterSpec::Redirect(spec.clone()))?;
        Ok(spec)
    })
}

/// A URL, or a path. What of it is a variable stays as in the request.
fn target(text: &str, status: u16) -> Result<RedirectSpec, String> {
    let wrong =
        || format!("`{text}` is not a URL such as https://www.example.com/new, nor ends with a whole $request_uri");
    let status = Some(status);
    if text.starts_with('/') {
        return Ok(RedirectSpec { status, path: Some(text.into()), ..RedirectSpec::default() });
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let scheme = Some(scheme.to_ascii_lowercase()).filter(|scheme| scheme != "$scheme");
    let (authority, path) = match rest.strip_suffix("$request_uri") {
        Some(authority) => (authority, None),
        None => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (authority, Some(if path.is_empty() { "/" } else { path }))
        }
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
        None => (authority, None),
    };
    let host = Some(host).filter(|host| !HOSTS.contains(host)).map(str::to_owned);
    if authority.contains('/') || path.unwrap_or_default().contains('$') {
        return Err(wrong());
    }
    Ok(RedirectSpec { status, scheme, host, port, path: path.map(str::to_owned), replace_prefix: None })
}

/// The host of the request, as nginx calls it.
const HOSTS: [&str; 4] = ["$host", "$http_host", "$best_http_host", "$server_name"];
