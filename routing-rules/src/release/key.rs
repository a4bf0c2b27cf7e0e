//! The sticky key of a request: what identifies its user.
//!
//! The key is hashed where it lies and never kept, so nothing here allocates. The bytes that are hashed are a promise
//! to other implementations (specification of the analysis, §9): header and cookie values as they are, the 16 bytes
//! of a `serin_id`, an IPv4 address as `10.1.2.3`, an IPv6 address by its network as `2001:db8:0:1::/64`.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;

use super::page::is_navigation;
use super::seal::{Seal, Secret};
use super::{Bucket, Moment, Salt};
use crate::request::{RequestView, cookie};
use crate::rules::{KeySource, Sticky};

/// What the sources of a release say about a request's user.
pub(super) struct KeyMatch {
    pub(super) bucket: Bucket,
    /// The user is new and must be told this id, or the next request is from somebody else.
    pub(super) new_id: Option<UserId>,
    /// It is the address, and the request has nothing that goes before it.
    pub(super) without_cookie: bool,
}

impl KeyMatch {
    /// The first source that the request has decides; `None` if it has none of them.
    pub(super) fn find(
        sticky: &Sticky,
        ids: Option<&UserIds>,
        request: &RequestView<'_>,
        moment: &Moment,
    ) -> Option<Self> {
        sticky.key.iter().enumerate().find_map(|(place, source)| match source {
            KeySource::Header(name) => {
                let value = request.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
                Self::text(&sticky.salt, value)
            }
            KeySource::Cookie(name) => Self::text(&sticky.salt, cookie(request.headers, name).unwrap_or_default()),
            KeySource::SerinId => Self::serin_id(&sticky.salt, ids?, request, moment),
            KeySource::ClientIp => Self::text(&sticky.salt, AddressText::new(request.client).as_bytes())
                .map(|found| Self { without_cookie: place > 0, ..found }),
        })
    }

    /// An empty value identifies nobody: all who send it would be one user.
    fn text(salt: &Salt, key: &[u8]) -> Option<Self> {
        (!key.is_empty()).then(|| Self { bucket: Bucket::of(salt, key), new_id: None, without_cookie: false })
    }

    fn serin_id(salt: &Salt, ids: &UserIds, request: &RequestView<'_>, moment: &Moment) -> Option<Self> {
        let known = ids.read(request.headers);
        let id = known.or_else(|| is_navigation(request).then(|| UserId::from_draw(moment.draw)))?;
        Some(Self { bucket: Bucket::of(salt, &id.0), new_id: known.is_none().then_some(id), without_cookie: false })
    }
}

/// The 128 random bits of a `serin_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserId([u8; 16]);

impl UserId {
    fn from_draw([high, low]: [u64; 2]) -> Self {
        Self(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }
}

/// Reads and writes `serin_id` cookies. They are signed so that nobody can shop for an id with the bucket they like.
///
/// The signature does not depend on the release: one user has one id, and releases tell their users apart by salt.
#[derive(Clone, Debug)]
pub(super) struct UserIds(Seal);

impl UserIds {
    /// `None` without a secret; then the source is passed over.
    pub(super) fn new(secret: &Secret) -> Option<Self> {
        Seal::new(secret, &[b"serin id"]).map(Self)
    }

    /// The cookie value of an id.
    pub(super) fn close(&self, id: &UserId) -> String {
        let mut body = [0; 17];
        body[0] = ID_VERSION;
        body[1..].copy_from_slice(&id.0);
        self.0.close(&body)
    }

    fn read(&self, headers: &HeaderMap) -> Option<UserId> {
        let body: [u8; 17] = self.0.open(cookie(headers, ID_COOKIE)?).ok()?;
        let (version, id) = body.split_first()?;
        (*version == ID_VERSION).then(|| id.try_into().map(UserId).ok()).flatten()
    }
}

/// The name of Serin's own cookie.
pub(super) const ID_COOKIE: &str = "serin_id";
/// 400 days, the longest that browsers keep a cookie.
pub(super) const ID_LIFE_SECS: u64 = 400 * 24 * 3_600;
const ID_VERSION: u8 = 1;

/// A client address as key.
struct AddressText {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl AddressText {
    const LONGEST: usize = "ffff:ffff:ffff:ffff::/64".len();

    fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; _], len: 0 };
        let written = match address.to_canonical() {
            // Most users come by IPv4, and the general formatting takes as long as all the rest of an assignment.
            IpAddr::V4(address) => address
                .octets()
                .into_iter()
                .enumerate()
                .try_for_each(|(place, octet)| text.push_octet(place > 0, octet)),
            // A household or phone is given a /64 and changes the rest at will.
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                write!(text, "{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        };
        written.expect("no address is longer than the longest");
        text
    }

    fn push_octet(&mut self, after_dot: bool, octet: u8) -> fmt::Result {
        let digits = [b'.', b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10];
        let skip = match octet {
            100.. => 1,
            10.. => 2,
            _ => 3,
        };
        if after_dot {
            self.push(&digits[..1])?;
        }
        self.push(&digits[skip..])
    }

    fn push(&mut self, part: &[u8]) -> fmt::Result {
        let end = self.len + part.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(part);
        self.len = end;
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for AddressText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push(part.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_text() {
        let cases = [
            ("10.1.2.3", "10.1.2.3"),
            ("255.255.255.255", "255.255.255.255"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:0:1:aaaa::5", "2001:db8:0:1::/64"),
            ("2001:db8::", "2001:db8::/64"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"),
            ("0:0:0:1::1", "0:0:0:1::/64"),
            ("::1", "::/64"),
        ];
        for (address, text) in cases {
            assert_eq!(AddressText::new(address.parse().unwrap()).as_bytes(), text.as_bytes(), "{address}");
        }
    }
}
