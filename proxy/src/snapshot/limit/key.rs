//! Who is counted together by a limit of a route, as a number that nobody outside can foresee.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use routing_rules::request::RequestView;
use routing_rules::rules::LimitKey;

/// Hashes keys with a seed that clients do not know, or one could aim at another's place in a table.
pub(super) struct KeyHasher {
    by: LimitKey,
    hashing: RandomState,
}

impl KeyHasher {
    pub(super) fn new(by: LimitKey) -> Self {
        Self { by, hashing: RandomState::new() }
    }

    /// Who is counted together has the same; those without the header field, too.
    pub(super) fn hash(&self, request: &RequestView<'_>) -> u64 {
        match &self.by {
            LimitKey::ClientIp => self.hashing.hash_one(client_network(request.client)),
            LimitKey::Header(name) => self.hashing.hash_one(request.headers.get(name).map(|value| value.as_bytes())),
            LimitKey::All => 0,
        }
    }
}

/// What one customer has and can draw addresses from at will: an IPv4 address, a /64 of IPv6.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_networks() {
        let network = |address: &str| client_network(address.parse().expect("an address"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"), "the same address in another spelling");
        assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::4"), "a whole /64");
    }
}
