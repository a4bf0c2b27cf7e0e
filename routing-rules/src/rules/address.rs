//! Sets of client addresses.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;

/// Networks and single addresses, looked up by longest prefix: the cost does not grow with their number.
#[derive(Clone, Default, PartialEq)]
pub struct AddressSet {
    v4: PrefixSet<Ipv4Net>,
    v6: PrefixSet<Ipv6Net>,
}

impl AddressSet {
    /// Parses networks (`10.0.0.0/8`) and single addresses (`10.1.2.3`).
    ///
    /// # Errors
    /// The first text that is neither, or a network with bits beyond its prefix.
    pub fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, String> {
        texts.into_iter().map(|text| parse_network(text.as_ref())).collect()
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the address is in one of the networks. An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) is the
    /// IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&Ipv4Net::from(address)).is_some(),
            IpAddr::V6(address) => self.v6.get_lpm(&Ipv6Net::from(address)).is_some(),
        }
    }

    /// Whether all addresses of a network are in one of the networks.
    pub(crate) fn covers(&self, network: IpNet) -> bool {
        match network {
            IpNet::V4(network) => self.v4.get_lpm(&network).is_some(),
            IpNet::V6(network) => self.v6.get_lpm(&network).is_some(),
        }
    }

    /// Adds a network.
    pub fn insert(&mut self, network: IpNet) {
        match network {
            IpNet::V4(network) => drop(self.v4.insert(network.trunc())),
            IpNet::V6(network) => drop(self.v6.insert(network.trunc())),
        }
    }

    /// How many networks the set has.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// The networks, IPv4 first, each family in order.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        let v4 = self.v4.iter().map(IpNet::V4);
        v4.chain(self.v6.iter().map(IpNet::V6))
    }
}

impl std::fmt::Debug for AddressSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.networks()).finish()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = Self::default();
        for network in networks {
            set.insert(network);
        }
        set
    }
}

/// A network (`10.0.0.0/8`) or a single address (`10.1.2.3`).
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network =
        network.map_err(|_| format!("`{}` is not an address or a network such as 10.0.0.0/8", text.escape_debug()))?;
    if network.addr() != network.trunc().addr() {
        return Err(format!("`{text}` has bits set beyond its prefix; write `{}`", network.trunc()));
    }
    Ok(network)
}
