//! What is spoken with endpoints, and which of them gets a request.

use std::time::Duration;

use routing_rules::spec::{
    BalanceSpec, ConsistentHashSpec, HashKeySpec, ProtocolSpec, Span, StickySessionsSpec, UpstreamSpec, UpstreamTlsSpec,
};

use super::given::Given;
use super::{Namespace, trial};
use crate::ingress::tuning::Tuning;
use crate::secrets;

pub(super) fn read(given: &mut Given<'_>, namespace: Namespace<'_>, tuning: &mut Tuning) {
    protocol(given, namespace, &mut tuning.upstream);
    retries(given, &mut tuning.upstream);
}

fn protocol(given: &mut Given<'_>, namespace: Namespace<'_>, upstream: &mut UpstreamSpec) {
    let protocol = given.read("backend-protocol", |text| match text.to_ascii_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => Ok((ProtocolSpec::Http1, false)),
        "HTTPS" => Ok((ProtocolSpec::Http1, true)),
        "GRPC" => Ok((ProtocolSpec::H2c, false)),
        "GRPCS" => Ok((ProtocolSpec::H2, true)),
        _ => Err(format!("`{text}` is none of HTTP, HTTPS, GRPC and GRPCS")),
    });
    let Some((protocol, is_secure)) = protocol else { return };
    upstream.protocol = protocol;
    match is_secure {
        true => upstream.tls = Some(tls(given, namespace)),
        false => given.same("backend-protocol"),
    }
}

/// TLS with the endpoints. Their certificates are verified whatever is said: to speak with anybody as if it were they is no protection.
fn tls(given: &mut Given<'_>, namespace: Namespace<'_>) -> UpstreamTlsSpec {
    let mut tls = UpstreamTlsSpec::default();
    match given.text("proxy-ssl-verify") {
        Some("off") => given.lacks("proxy-ssl-verify", "certificates of endpoints are always verified"),
        Some("on") => given.same("proxy-ssl-verify"),
        Some(other) => given.wrong("proxy-ssl-verify", format_args!("`{other}` is neither on nor off")),
        None => {}
    }
    if let Some(part) = given.read("proxy-ssl-name", |name| {
        accepted(UpstreamTlsSpec { server_name: Some(name.into()), ..UpstreamTlsSpec::default() })
    }) {
        tls.server_name = part.server_name;
    }
    if let Some(part) = given.read("proxy-ssl-secret", |text| {
        let name = namespace.own(text)?;
        let secret = namespace.objects.secrets.get(&name).ok_or_else(|| format!("there is no Secret {name}"))?;
        let [ca, cert, key] = ["ca.crt", "tls.crt", "tls.key"].map(|key| secrets::text(secret, key));
        // A certificate without a key shows nothing.
        let (cert, key) = cert.zip(key).unzip();
        accepted(UpstreamTlsSpec { ca, cert, key: key.map(Into::into), ..UpstreamTlsSpec::default() })
    }) {
        tls = UpstreamTlsSpec { server_name: tls.server_name, ..part };
    }
    tls
}

fn accepted(tls: UpstreamTlsSpec) -> Result<UpstreamTlsSpec, String> {
    trial::upstream(&UpstreamSpec { tls: Some(tls.clone()), ..UpstreamSpec::default() }).map(|()| tls)
}

fn retries(given: &mut Given<'_>, upstream: &mut UpstreamSpec) {
    let tries = given.number("proxy-next-upstream-tries", 0..=u32::MAX);
    upstream.retry.tries = tries.map(|tries| if tries == 0 { MOST_TRIES } else { tries.min(MOST_TRIES) });
    if tries.is_some_and(|tries| (1..=MOST_TRIES).contains(&tries)) {
        given.same("proxy-next-upstream-tries");
    }
    if given.text("proxy-next-upstream") == Some("off") {
        given.same("proxy-next-upstream");
        upstream.retry.tries = Some(1);
    }
}

/// Which endpoint gets a request: also a canary has this of its own.
pub(super) fn balance(given: &mut Given<'_>, tuning: &mut Tuning) {
    let named = given.read("load-balance", |text| match text {
        "round_robin" => Ok(BalanceSpec::RoundRobin),
        "ewma" => Ok(BalanceSpec::default()),
        _ => Err(format!("`{text}` is neither round_robin nor ewma")),
    });
    if named == Some(BalanceSpec::RoundRobin) {
        given.same("load-balance");
    }
    let hashed = given
        .read("upstream-hash-by", hash_key)
        .map(|by| BalanceSpec::ConsistentHash(ConsistentHashSpec { by, ..ConsistentHashSpec::default() }));
    let sticky = sticky(given);
    tuning.upstream.balance = sticky.or(hashed).or(named).unwrap_or_default();
}

fn sticky(given: &mut Given<'_>) -> Option<BalanceSpec> {
    given.read("affinity", |text| match text {
        "cookie" => Ok(()),
        _ => Err(format!("`{text}` is not cookie")),
    })?;
    let mode = given.read("affinity-mode", |text| match text {
        "balanced" | "persistent" => Ok(text),
        _ => Err(format!("`{text}` is neither balanced nor persistent")),
    });
    if mode == Some("persistent") {
        given.same("affinity-mode");
    }
    if given.text("affinity-canary-behavior") == Some("sticky") {
        given.same("affinity-canary-behavior");
    }
    // Browsers take the age before the date.
    let names = ["session-cookie-max-age", "session-cookie-expires"];
    let [age, expires] = names.map(|name| life(given, name));
    let life = age.or(expires);
    Some(BalanceSpec::Sticky(StickySessionsSpec { life }))
}

fn life(given: &mut Given<'_>, name: &'static str) -> Option<Span> {
    let seconds = given.number(name, 0..=u32::MAX)?;
    // 0 is for as long as the browser is open.
    let within = if seconds == 0 { 0 } else { seconds.clamp(A_MINUTE, A_YEAR) };
    if within == seconds {
        given.same(name);
    }
    (seconds > 0).then(|| Span::from(Duration::from_secs(within.into())))
}

/// One variable of nginx that stands for something Serin hashes.
fn hash_key(text: &str) -> Result<HashKeySpec, String> {
    let variable = text.strip_prefix('$').unwrap_or_default();
    let variable = variable.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(variable);
    let key = match (variable, variable.strip_prefix("http_"), variable.strip_prefix("cookie_")) {
        ("remote_addr" | "binary_remote_addr", ..) => Some(HashKeySpec::ClientIp),
        (_, Some(name), _) => Some(HashKeySpec::Header(name.replace('_', "-"))),
        (_, _, Some(name)) => Some(HashKeySpec::Cookie(name.into())),
        _ => None,
    };
    let wrong = || format!("`{text}` is none of $remote_addr, $http_NAME and $cookie_NAME");
    let key = key.ok_or_else(wrong)?;
    let balance = BalanceSpec::ConsistentHash(ConsistentHashSpec { by: key.clone(), ..ConsistentHashSpec::default() });
    trial::upstream(&UpstreamSpec { balance, ..UpstreamSpec::default() }).map_err(|_| wrong())?;
    Ok(key)
}

const MOST_TRIES: u32 = 5;

const A_MINUTE: u32 = 60;

const A_YEAR: u32 = 365 * 86_400;
