//! Values as nginx and its annotations write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use routing_rules::rules::HostPattern;
use routing_rules::spec::ByteSize;

/// What stands between commas, without what is empty.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Addresses and networks; bits beyond a prefix do not count.
///
/// # Errors
/// One of them is neither, or there is none.
pub(super) fn networks(text: &str) -> Result<Vec<String>, String> {
    let networks = list(text).map(network).collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() { Err("it names no network, such as 10.0.0.0/8".into()) } else { Ok(networks) }
}

fn network(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not an address or a network such as 10.0.0.0/8");
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let Some(length) = length else { return Ok(address.to_string()) };
    let length: u32 = length.parse().map_err(|_| wrong())?;
    let first: IpAddr = match address {
        IpAddr::V4(address) => {
            let rest = 32_u32.checked_sub(length).ok_or_else(wrong)?;
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            let rest = 128_u32.checked_sub(length).ok_or_else(wrong)?;
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
    };
    Ok(format!("{first}/{length}"))
}

/// A size as nginx has it: bytes, or with `k`, `m` or `g`.
///
/// # Errors
/// It is none.
pub(super) fn size(text: &str) -> Result<ByteSize, String> {
    let wrong = || format!("`{text}` is not a size such as 8m");
    let (number, shift) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 10),
        Some((end, 'm' | 'M')) => (&text[..end], 20),
        Some((end, 'g' | 'G')) => (&text[..end], 30),
        _ => (text, 0),
    };
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes <= MOST).map(ByteSize::from).ok_or_else(wrong)
}

/// The name of a host, or of all one label below one.
///
/// # Errors
/// It is none.
pub(super) fn host(text: &str) -> Result<String, String> {
    HostPattern::new(text).map(|host| host.to_string())
}

/// As large as rules may say.
pub(super) fn no_limit() -> ByteSize {
    ByteSize::from(MOST)
}

/// A pebibyte.
const MOST: u64 = 1 << 50;

#[test]
fn networks_are_those_of_their_first_address() {
    assert_eq!(networks("10.1.2.3/8, 192.0.2.1").unwrap(), ["10.0.0.0/8", "192.0.2.1"]);
    assert_eq!(networks("2001:db8::1/32,0.0.0.0/0,::/0").unwrap(), ["2001:db8::/32", "0.0.0.0/0", "::/0"]);
    for wrong in ["", ",", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "intranet"] {
        assert!(networks(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn sizes_are_those_of_nginx() {
    let bytes = |text| size(text).map(ByteSize::bytes).ok();
    assert_eq!(["8m", "1K", "2g", "1000", "0"].map(bytes), [8 << 20, 1 << 10, 2 << 30, 1000, 0].map(Some));
    assert_eq!(["", "m", "-1", "8MB", "99999999999999999999", "99999999999g"].map(bytes), [None; 6]);
}
