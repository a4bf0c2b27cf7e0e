//! Balancing options in the form the arithmetic takes them, and the hash of a request's key.

use std::net::IpAddr;

use crate::balance::{HashRing, Learning, TICK_US};
use crate::request::{RequestView, cookie};
use crate::rules::{Dwrr, HashKey};

/// How the weights of an upstream with these options are learned.
pub fn learning(rules: &Dwrr) -> Learning {
    let slots = rules.window.as_micros().div_ceil(u128::from(TICK_US));
    Learning {
        slots: slots as usize,
        latency_floor: rules.latency_floor.as_secs_f64(),
        sensitivity: rules.sensitivity,
        min_share: rules.min_share,
        gain: Learning::default().gain,
        slow_start_us: rules.slow_start.as_micros() as u64,
    }
}

/// For sessions: their endpoints are chosen once and keep what they have, so a weight that moved as fast as elsewhere would
/// swing.
pub fn learning_of_sessions() -> Learning {
    Learning { gain: 0.05, ..learning(&Dwrr::default()) }
}

/// The hash of what the rules name as key; `None` if the request does not have it. An empty value is none: all who
/// send it would go to one endpoint.
pub fn hash_of(key: &HashKey, request: &RequestView<'_>) -> Option<u64> {
    let text = |value: Option<&[u8]>| value.filter(|value| !value.is_empty()).map(HashRing::hash);
    match key {
        HashKey::ClientIp => Some(hash_of_address(request.client)),
        HashKey::Header(name) => text(request.headers.get(name).map(|value| value.as_bytes())),
        HashKey::Cookie(name) => text(cookie(request.headers, name)),
    }
}

/// A household or phone is given a /64 of IPv6 and changes the rest at will.
fn hash_of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => HashRing::hash(&address.octets()),
        IpAddr::V6(address) => HashRing::hash(&address.octets()[..8]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, Method};

    use super::*;

    #[test]
    fn defaults_are_those_of_the_specification() {
        assert_eq!(learning(&Dwrr::default()), Learning::default());
        let rules = Dwrr { window: Duration::from_millis(1_200), ..Dwrr::default() };
        assert_eq!(learning(&rules).slots, 3);
    }

    #[test]
    fn keys() {
        let header = HashKey::Header(HeaderName::from_static("x-user"));
        let cookie = HashKey::Cookie("user".into());
        let mut headers = HeaderMap::new();
        let hash = |key: &HashKey, headers: &HeaderMap, client: &str| {
            hash_of(key, &RequestView::new(&Method::GET, "a", "/", headers, client.parse().unwrap()))
        };
        assert_eq!((hash(&header, &headers, "::1"), hash(&cookie, &headers, "::1")), (None, None));
        headers.insert("x-user", "".parse().unwrap());
        assert_eq!(hash(&header, &headers, "::1"), None);
        headers.insert("x-user", "anna".parse().unwrap());
        headers.insert("cookie", "a=b; user=anna".parse().unwrap());
        assert_eq!(hash(&header, &headers, "::1"), Some(HashRing::hash(b"anna")));
        assert_eq!(hash(&cookie, &headers, "::1"), Some(HashRing::hash(b"anna")));
        let by_address = |client: &str| hash(&HashKey::ClientIp, &headers, client);
        assert_eq!(by_address("10.1.2.3"), by_address("::ffff:10.1.2.3"));
        assert_eq!(by_address("2001:db8::1"), by_address("2001:db8::ffff:1"));
        assert_ne!(by_address("2001:db8::1"), by_address("2001:db8:0:1::1"));
        assert_ne!(by_address("10.1.2.3"), by_address("10.1.2.4"));
    }
}
