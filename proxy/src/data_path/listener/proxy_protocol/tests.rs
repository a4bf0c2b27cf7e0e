use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxy_header::{ProxiedAddress, SslInfo, Tlv};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::connect::announce;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

fn v2(source: &str, destination: &str, fields: &[Tlv<'_>]) -> Vec<u8> {
    let address = ProxiedAddress::stream(source.parse().unwrap(), destination.parse().unwrap());
    encoded(ProxyHeader::with_address(address), fields)
}

fn encoded(mut header: ProxyHeader<'_>, fields: &[Tlv<'_>]) -> Vec<u8> {
    fields.iter().for_each(|field| header.append_tlv(field.clone()));
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

/// What is read of a connection on which these bytes come in pieces, and what is left of them.
async fn read_from(bytes: &[u8], piece: usize) -> (Result<Option<Announced>, Refused>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    let pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
    let send = async move {
        for piece in pieces {
            if client.write_all(&piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(read(&mut accepted), send);
    let mut rest = Vec::new();
    let _ = accepted.read_to_end(&mut rest).await;
    (read, rest)
}

fn says(client: &str, destination: &str, is_secure: bool) -> Result<Option<Announced>, Refused> {
    let client = Some(Ends::new(client.parse().unwrap(), destination.parse().unwrap()));
    Ok(Some(Announced { client, is_secure }))
}

#[tokio::test]
async fn a_header_is_read_to_its_end_and_not_beyond_however_it_comes() {
    let itself = || Ok(Some(Announced { client: None, is_secure: false }));
    let secure = SslInfo::new(true, false, false, 0);
    let cases = [
        (V1.to_vec(), says("192.0.2.7:56324", "198.51.100.1:443", false)),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n".to_vec(),
            says("[2001:db8::7]:1", "[2001:db8::1]:65535", false),
        ),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(), says("192.0.2.7:1", "[::1]:2", false)),
        (b"PROXY UNKNOWN\r\n".to_vec(), itself()),
        (b"PROXY UNKNOWN ffff::1 whatever 1 +2\r\n".to_vec(), itself()),
        (v2("192.0.2.7:56324", "198.51.100.1:80", &[]), says("192.0.2.7:56324", "198.51.100.1:80", false)),
        (v2("[2001:db8::7]:1", "[::1]:2", &[]), says("[2001:db8::7]:1", "[::1]:2", false)),
        (v2("192.0.2.7:1", "192.0.2.1:443", &[Tlv::Ssl(secure)]), says("192.0.2.7:1", "192.0.2.1:443", true)),
        (encoded(ProxyHeader::with_local(), &[]), itself()),
        (encoded(ProxyHeader::with_local(), &[Tlv::Ssl(SslInfo::new(true, false, false, 0))]), itself()),
    ];
    for (header, expected) in cases {
        for piece in [1, 2, 7, 4_096] {
            let (read, rest) = read_from(&[&header[..], b"GET / HTTP/1.1\r\n"].concat(), piece).await;
            assert_eq!(read, expected, "{}", header.escape_ascii());
            assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{} in pieces of {piece}", header.escape_ascii());
        }
    }
}

#[tokio::test]
async fn what_is_no_header_is_refused_as_soon_as_that_is_known() {
    use Refused::{Malformed, Missing, TooLong};
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
    let mut huge = v2("192.0.2.7:1", "192.0.2.1:2", &[]);
    huge[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut version = v2("192.0.2.7:1", "192.0.2.1:2", &[]);
    version[12] = 0x31;
    let mut datagram = v2("192.0.2.7:1", "192.0.2.1:2", &[]);
    datagram[13] = 0x12;
    let mut short = v2("192.0.2.7:1", "192.0.2.1:2", &[]);
    short[14..16].copy_from_slice(&4u16.to_be_bytes());
    let mut field = v2("192.0.2.7:1", "192.0.2.1:2", &[Tlv::UniqueId(b"id"[..].into())]);
    let length = field.len();
    field[length - 3] = 200;
    let unix = [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8", &[b'/'; 216][..]].concat();
    let cases: [(&[u8], Refused); 18] = [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Missing),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Missing),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Missing),
        (b"PROXYxTCP4 192.0.2.7 192.0.2.1 1 2\r\n", Missing),
        (b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n", Missing),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2", Malformed),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n", Malformed),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 1 70000\r\n", Malformed),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 2\r\n", Malformed),
        (b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n", Malformed),
        (b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n", Malformed),
        (&long, TooLong),
        (&huge, TooLong),
        (&version, Malformed),
        (&datagram, Malformed),
        (&short, Malformed),
        (&field, Malformed),
        (&unix, Malformed),
    ];
    for (bytes, expected) in cases {
        for piece in [1, 4_096] {
            assert_eq!(read_from(bytes, piece).await.0, Err(expected), "{}", bytes.escape_ascii());
        }
    }
    assert_eq!(read_from(b"", 1).await.0, Ok(None), "a health check that only connects");
}

#[tokio::test]
async fn a_checksum_is_checked() {
    let id = Tlv::UniqueId(b"id"[..].into());
    let with = |sum| v2("192.0.2.7:1", "192.0.2.1:2", &[id.clone(), Tlv::Crc32c(sum), id.clone()]);
    let right = crc32c::crc32c(&with(0));
    assert_eq!(read_from(&with(right), 4_096).await.0, says("192.0.2.7:1", "192.0.2.1:2", false));
    assert_eq!(read_from(&with(right ^ 1), 4_096).await.0, Err(Refused::Malformed));
}

/// Numbers from 0 to `below`, the same every time.
fn draws() -> impl FnMut(usize) -> usize {
    let mut random = 1u64;
    move |below| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    }
}

#[tokio::test]
async fn what_endpoints_are_told_is_what_is_read_here() {
    let mut draw = draws();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for round in 0..1_000 {
        let mut address = || {
            let bytes: [u8; 16] = std::array::from_fn(|_| draw(256) as u8);
            let ip = match draw(3) {
                0 => IpAddr::from(bytes),
                1 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
                _ => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_ipv6_mapped().into(),
            };
            SocketAddr::new(ip, draw(65_536) as u16)
        };
        let ends = (round % 10 > 0).then(|| Ends::new(address(), address()));
        let mut told = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        announce(&mut told, ends.as_ref()).await.unwrap();
        told.write_all(b"\r\n\r\n\0\r\nQUIT\n").await.unwrap();
        drop(told);
        let read = read(&mut accepted).await;
        assert_eq!(read, Ok(Some(Announced { client: ends, is_secure: false })));
        let mut rest = Vec::new();
        accepted.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, SIGNATURE, "all of the header was read, and nothing of what follows");
    }
}

#[test]
fn nothing_makes_it_panic() {
    let mut draw = draws();
    let sound = [V1.to_vec(), v2("[::1]:1", "[::1]:2", &[Tlv::Crc32c(7), Tlv::Netns("n".into())])];
    for _ in 0..200_000 {
        let mut bytes = sound[draw(2)].clone();
        for _ in 0..=draw(4) {
            let place = draw(bytes.len());
            bytes[place] = draw(256) as u8;
        }
        bytes.truncate(1 + draw(bytes.len()));
        if let Ok(Wants::Nothing) = wants(&bytes) {
            let _ = announced(&bytes);
        }
    }
}
