//! Header fields: what ends at a proxy, what must not be believed, and what Serin adds.
//!
//! Fields are looked at in one pass; only what is found is removed, since most requests carry none of it.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Identifies the request in logs of Serin and of endpoints.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Tells the endpoint which release placed the user.
pub(crate) const X_SERIN_RELEASE: HeaderName = HeaderName::from_static("x-serin-release");
/// Tells the endpoint (and with `expose`, the client) the user's group.
pub(crate) const X_SERIN_GROUP: HeaderName = HeaderName::from_static("x-serin-group");
/// Tells the endpoint who was let in by password.
pub(crate) const X_SERIN_USER: HeaderName = HeaderName::from_static("x-serin-user");
/// Tells the endpoint that nobody gets its answer: `true`.
pub(crate) const X_SERIN_MIRROR: HeaderName = HeaderName::from_static("x-serin-mirror");
/// Client and proxies before Serin.
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client spoke.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host as the client asked for it.
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port the client connected to.
pub(crate) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The certificate that the client has shown, verified (RFC 9440).
pub(crate) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
pub(crate) const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Gives each value memory of its own. Values that were read share what their connection read at a time, and the table of a
/// connection of HTTP/2 keeps the last ones it has sent for as long as it lasts (RFC 7541 §2.3.2).
pub(crate) fn detach_values(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        if let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

/// What is to be done with a request field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Goes on as it is.
    Pass,
    /// Ends here: it speaks about this connection (RFC 9110 §7.6.1).
    HopByHop,
    /// Claims something about the client that only a trusted proxy may claim.
    Claim,
    /// Looks like something else to software that maps `_` to `-`, or belongs to Serin.
    Forbidden,
}

/// Which fields a message has, found in one pass: most have none of these, and each look-up costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connection: bool,
    pub(crate) content_length: bool,
    pub(crate) cookie: bool,
    pub(crate) expect: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) upgrade: bool,
    hop_by_hop: bool,
    claim: bool,
    forbidden: bool,
}

impl Seen {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match *name {
                header::CONNECTION => seen.connection = true,
                header::CONTENT_LENGTH => seen.content_length = true,
                header::COOKIE => seen.cookie = true,
                header::EXPECT => seen.expect = true,
                header::TRANSFER_ENCODING => seen.transfer_encoding = true,
                header::UPGRADE => seen.upgrade = true,
                _ => {}
            }
            match fate(name) {
                Fate::Pass => {}
                Fate::HopByHop => seen.hop_by_hop = true,
                Fate::Claim => seen.claim = true,
                Fate::Forbidden => seen.forbidden = true,
            }
        }
        seen
    }
}

/// Removes from a request what ends at Serin or must not be believed. `framing` fields (Content-Length,
/// Transfer-Encoding, Host) stay: hyper has parsed them and writes them again.
///
/// Fields that `Connection` nominates go too, but it cannot nominate away what frames, routes or authenticates.
pub(crate) fn clean_request(headers: &mut HeaderMap, seen: Seen, trusted: bool) {
    if seen.connection {
        remove_nominated(headers);
    }
    if seen.cookie {
        join_cookies(headers);
    }
    if seen.hop_by_hop || seen.forbidden || (seen.claim && !trusted) {
        remove(headers, |name| match fate(name) {
            Fate::Pass => false,
            Fate::Claim => !trusted,
            Fate::HopByHop | Fate::Forbidden => true,
        });
    }
}

/// A client sends one `Cookie` field (RFC 6265 §5.4); of several, servers read the first, the last, or all.
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(second)) = (fields.next(), fields.next()) {
        let all: Vec<&[u8]> = [first, second].into_iter().chain(fields).map(HeaderValue::as_bytes).collect();
        let joined = HeaderValue::from_bytes(&all.join(&b"; "[..])).expect("joining valid values leaves a valid one");
        headers.insert(header::COOKIE, joined);
    }
}

/// Removes from a response what ends at Serin. `Transfer-Encoding` goes too: the server side frames anew.
pub(crate) fn clean_response(headers: &mut HeaderMap, seen: Seen) {
    if seen.connection {
        remove_nominated(headers);
    }
    if seen.transfer_encoding {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if seen.hop_by_hop || seen.forbidden {
        // Clients are told nothing by these names unless a release says so.
        remove(headers, |name| fate(name) == Fate::HopByHop || name.as_str().starts_with("x-serin-"));
    }
}

fn remove(headers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) {
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| is_doomed(name)).cloned().collect();
    for name in doomed {
        headers.remove(&name);
    }
}

/// Whether a field says nothing of the connection, nor what only a trusted proxy may say, and has a name in every version of HTTP.
pub(crate) fn passes(name: &HeaderName) -> bool {
    fate(name) == Fate::Pass && is_token(name)
}

/// Whether a name is one in every version of HTTP (RFC 9110 §5.1). One that came over HTTP/2 may have a quotation mark, which h2 takes
/// for a letter and nobody behind HTTP/1 would.
pub(crate) fn is_token(name: &HeaderName) -> bool {
    !name.as_str().contains('"')
}

/// Removes all fields but these.
pub(crate) fn keep(headers: &mut HeaderMap, is_kept: impl Fn(&HeaderName) -> bool) {
    remove(headers, |name| !is_kept(name));
}

/// Removes these fields, and what CGI-like software takes for them.
pub(crate) fn remove_claims(headers: &mut HeaderMap, names: &[HeaderName]) {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let is_alike = |name: &HeaderName, other: &HeaderName| {
        name.as_str().bytes().map(dashed).eq(other.as_str().bytes().map(dashed))
    };
    remove(headers, |name| names.iter().any(|other| is_alike(name, other)));
}

fn fate(name: &HeaderName) -> Fate {
    match name.as_str() {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "te"
        | "trailer"
        | "upgrade"
        | "http2-settings"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "expect" => Fate::HopByHop,
        "x-scheme"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-original-host"
        | "x-host"
        | "forwarded"
        | "x-real-ip"
        | "x-client-ip"
        | "true-client-ip"
        | "x-cluster-client-ip"
        | "x-request-id"
        | "front-end-https"
        | "x-url-scheme"
        | "client-cert"
        | "client-cert-chain" => Fate::Claim,
        name if name.starts_with("x-forwarded-") => Fate::Claim,
        name if name.starts_with("x-serin-") => Fate::Forbidden,
        name if name.contains('_') && aliases_a_special_field(name) => Fate::Forbidden,
        _ => Fate::Pass,
    }
}

/// CGI-like software turns `-` into `_`, so `content_length` would become what `content-length` is.
fn aliases_a_special_field(name: &str) -> bool {
    let Ok(name) = HeaderName::from_bytes(name.replace('_', "-").as_bytes()) else { return true };
    let framing = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::AUTHORIZATION,
        header::COOKIE,
        header::CONTENT_TYPE,
    ];
    // The dashed name holds no `_`, so `fate` does not come back here.
    framing.contains(&name) || fate(&name) != Fate::Pass
}

/// Removes the fields that `Connection` names (RFC 9110 §7.6.1), except those whose loss would change the meaning
/// of the message: a client must not be able to take away a framing, routing or credential field.
fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !protected(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn protected(name: &HeaderName) -> bool {
    let protected = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CACHE_CONTROL,
        header::ORIGIN,
        header::RANGE,
    ];
    protected.contains(name) || fate(name) == Fate::Claim
}

/// Whether one of the comma-separated tokens of a field is this one, ignoring case.
pub(crate) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|candidate| candidate.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Says that an answer depends on a request field, beside what it says already (RFC 9110 §12.5.5).
pub(crate) fn vary_by(headers: &mut HeaderMap, name: &HeaderName) {
    if !has_token(headers, header::VARY, name.as_str()) && !has_token(headers, header::VARY, "*") {
        headers.append(header::VARY, name.clone().into());
    }
}

/// The client's address: the right-most address in `X-Forwarded-For` that is not a trusted proxy's, if the peer is
/// trusted. What stands left of that, the client may have written itself. An entry that is not an address ends the
/// search at the last good one.
pub(crate) fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    if !trusted(peer) {
        return client;
    }
    for field in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for entry in field.as_bytes().rsplit(|&byte| byte == b',') {
            let Some(address) = forwarded_address(entry.trim_ascii()) else { return client };
            client = address;
            if !trusted(address) {
                return client;
            }
        }
    }
    client
}

/// An address as found in `X-Forwarded-For`: bare, in brackets, or with a port.
fn forwarded_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// What is the same for all requests of one connection.
#[derive(Clone)]
pub(crate) struct ForwardingFacts {
    peer: HeaderValue,
    port: HeaderValue,
    proto: HeaderValue,
}

impl ForwardingFacts {
    pub(crate) fn new(peer: IpAddr, local_port: u16, proto: &'static str) -> Self {
        let text = |value: String| HeaderValue::try_from(value).expect("addresses and numbers are visible ASCII");
        Self { peer: text(peer.to_string()), port: local_port.into(), proto: HeaderValue::from_static(proto) }
    }

    /// Whether the client speaks TLS to Serin.
    pub(crate) fn is_secure(&self) -> bool {
        self.proto == "https"
    }

    /// Adds the forwarding fields. Those of a trusted peer are kept and `X-Forwarded-For` is appended to; of others
    /// nothing is left by now, because [`clean_request`] took it away.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, trusted: bool) {
        headers.reserve(6);
        if trusted {
            self.append(headers);
            return;
        }
        headers.insert(X_FORWARDED_FOR, self.peer.clone());
        headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        headers.insert(X_FORWARDED_PORT, self.port.clone());
        if let Some(host) = headers.get(header::HOST).cloned() {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }

    fn append(&self, headers: &mut HeaderMap) {
        // Endpoints differ in which of several lines they believe.
        for name in [X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PORT] {
            if headers.get_all(&name).iter().nth(1).is_some() {
                headers.remove(name);
            }
        }
        let mut chain = Vec::with_capacity(64);
        for field in headers.get_all(X_FORWARDED_FOR) {
            chain.extend_from_slice(field.as_bytes());
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(self.peer.as_bytes());
        let chain = HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).unwrap_or_else(|_| self.peer.clone());
        headers.insert(X_FORWARDED_FOR, chain);
        let known_proto = headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "http" || proto == "https");
        if !known_proto {
            headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        }
        if !headers
            .get(X_FORWARDED_PORT)
            .is_some_and(|port| port.to_str().is_ok_and(|port| port.parse::<u16>().is_ok()))
        {
            headers.insert(X_FORWARDED_PORT, self.port.clone());
        }
        let known_host = headers.get(X_FORWARDED_HOST).is_some_and(|host| {
            routing_rules::request::canonical::host(host.as_bytes()).is_ok_and(|host| !host.name().is_empty())
        });
        if !known_host && let Some(host) = headers.get(header::HOST).cloned() {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }
}

#[cfg(test)]
mod tests;
