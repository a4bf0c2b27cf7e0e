//! The PROXY protocol towards endpoints, in version 2: whose connection the one is over which it comes.
//!
//! It is said right after connecting, before TLS and before any other byte. What is said of clients is what is known of their
//! connections, never what stands in their requests.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The two ends of a client's connection. IPv4 addresses are always written as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    client: SocketAddr,
    turned_to: SocketAddr,
}

impl Ends {
    /// Of a client that turned to this address.
    pub(crate) fn new(client: SocketAddr, turned_to: SocketAddr) -> Self {
        Self { client: canonical(client), turned_to: canonical(turned_to) }
    }

    /// Where the client is.
    pub(crate) fn client(&self) -> IpAddr {
        self.client.ip()
    }

    /// To which port it turned.
    pub(crate) fn port(&self) -> u16 {
        self.turned_to.port()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Says whose a fresh connection is: a client's, or Serin's own.
///
/// # Errors
/// What the operating system says.
pub(crate) async fn announce(socket: &mut TcpStream, ends: Option<&Ends>) -> io::Result<()> {
    socket.write_all(&header(ends)).await
}

/// The header. Both addresses are of one family: where they are not, IPv4 is written within IPv6.
fn header(ends: Option<&Ends>) -> Vec<u8> {
    let (command, family, addresses) = match ends.map(|ends| (ends.client.ip(), ends.turned_to.ip(), ends)) {
        None => (LOCAL, UNSPECIFIED, Vec::new()),
        Some((IpAddr::V4(client), IpAddr::V4(turned_to), ends)) => {
            (PROXY, TCP_IPV4, with_ports(&client.octets(), &turned_to.octets(), ends))
        }
        Some((client, turned_to, ends)) => {
            (PROXY, TCP_IPV6, with_ports(&within_ipv6(client), &within_ipv6(turned_to), ends))
        }
    };
    let length = (addresses.len() as u16).to_be_bytes();
    [&PROXY_SIGNATURE[..], &[command, family], &length, &addresses].concat()
}

fn with_ports(client: &[u8], turned_to: &[u8], ends: &Ends) -> Vec<u8> {
    [client, turned_to, &ends.client.port().to_be_bytes(), &ends.turned_to.port().to_be_bytes()].concat()
}

fn within_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What version 2 begins with; no request begins so.
pub(crate) const PROXY_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and whose the connection is: of whoever opened it, or of a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Families, with how bytes are carried.
const UNSPECIFIED: u8 = 0;
const TCP_IPV4: u8 = 0x11;
const TCP_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(client: &str, turned_to: &str) -> Vec<u8> {
        header(Some(&Ends::new(client.parse().unwrap(), turned_to.parse().unwrap())))
    }

    #[test]
    fn headers_are_what_the_protocol_says_byte_by_byte() {
        let after = |rest: &[u8]| [&PROXY_SIGNATURE[..], rest].concat();
        assert_eq!(header(None), after(&[0x20, 0, 0, 0]));
        let expected = after(b"\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb");
        assert_eq!(told("192.0.2.7:4711", "198.51.100.1:443"), expected);
        assert_eq!(told("[::ffff:192.0.2.7]:4711", "[::ffff:198.51.100.1]:443"), expected);
        let [one, two] = [[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], [0; 16]];
        let six = |client: &[u8; 16], turned_to: &[u8; 16], ports: &[u8]| {
            after(&[&b"\x21\x21\0\x24"[..], client, turned_to, ports].concat())
        };
        assert_eq!(told("[2001:db8::7]:1", "[::]:258"), six(&one, &two, &[0, 1, 1, 2]));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
        assert_eq!(told("192.0.2.7:1", "[2001:db8::7]:2"), six(&mapped, &one, &[0, 1, 0, 2]));
        assert_eq!(told("[2001:db8::7%3]:1", "192.0.2.7:2"), six(&one, &mapped, &[0, 1, 0, 2]));
    }
}
