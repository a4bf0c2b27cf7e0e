//! What an instance writes to register itself; `registry` reads it.

use std::net::SocketAddr;

use routing_rules::rules::{Endpoint, Name, Registry, Weight};

/// A key, and the value that says where its endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What all keys of one upstream begin with, then `IP-PORT`.
    pub key: String,
    /// `IP:PORT`, or a document of address and weight.
    pub value: String,
}

impl Registration {
    /// The endpoint at this address under this prefix. Without a weight the value is an address alone, which older readers
    /// take too.
    pub fn new(prefix: &str, address: SocketAddr, weight: Option<u16>) -> Self {
        let key = format!("{prefix}{}-{}", address.ip(), address.port());
        let value = match weight {
            Some(weight) => serde_json::json!({"address": address.to_string(), "weight": weight}).to_string(),
            None => address.to_string(),
        };
        Self { key, value }
    }
}

/// The address of one endpoint.
///
/// # Errors
/// It is none, or nobody can be reached there.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let spec = routing_rules::spec::EndpointSpec { address: text.to_owned(), weight: Weight::USUAL.get().into() };
    Endpoint::new(&spec).map(|endpoint| endpoint.address)
}

/// The weight of an endpoint.
///
/// # Errors
/// It is no number, or too large.
pub fn weight(text: &str) -> Result<u16, String> {
    let number = text.parse().map_err(|_| format!("`{}` is not a whole number", text.escape_debug()))?;
    Weight::new(number).map(Weight::get)
}

/// What the keys of an upstream begin with that has no prefix of its own.
///
/// # Errors
/// The upstream cannot have this name.
pub fn prefix_of(etcd_prefix: &str, upstream: &str) -> Result<String, String> {
    Name::new(upstream).map(|name| format!("{etcd_prefix}endpoints/{name}/"))
}

/// What keys begin with.
///
/// # Errors
/// It would be that of other upstreams, too.
pub fn prefix(text: &str) -> Result<String, String> {
    Registry::new(text).map(|registry| registry.prefix.into())
}

#[cfg(test)]
mod tests {
    use super::super::registry::endpoint;
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for (text, key) in
            [("10.0.0.1:8080", "/shop_PRO/10.0.0.1-8080"), ("[2001:db8::1]:80", "/shop_PRO/2001:db8::1-80")]
        {
            let address = address(text).unwrap();
            for weight in [None, Some(0), Some(7)] {
                let written = Registration::new("/shop_PRO/", address, weight);
                assert_eq!(written.key, key);
                let read = endpoint(written.value.as_bytes()).unwrap();
                assert_eq!((read.address, read.weight.get()), (address, weight.unwrap_or(1)));
            }
            assert_eq!(Registration::new("/", address, None).value, text);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_written() {
        assert!(address("shop:80").is_err() && address("10.0.0.1:0").is_err() && address("0.0.0.0:80").is_err());
        assert!(weight("-1").is_err() && weight("1001").is_err() && weight("1000").is_ok());
        assert!(prefix("/shop").is_err() && prefix("/").is_err() && prefix("/shop_PRO/").is_ok());
        assert_eq!(prefix_of("/serin/", "shop").unwrap(), "/serin/endpoints/shop/");
        assert!(prefix_of("/serin/", "a/b").is_err());
    }
}
