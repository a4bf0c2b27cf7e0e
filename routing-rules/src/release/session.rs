//! Sessions: the signed cookie that leads a client back to the endpoint that served it before.
//!
//! A session names its endpoint by a tag that only the secret's owner can compute: clients learn no address, and cannot
//! choose an endpoint. Nothing is kept. If the endpoint is gone, or the cookie is not right, another endpoint is picked
//! and a new cookie says so; a broken session costs its client no more than that.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::assignment::set_cookie;
use super::pin::{SKEW_MINUTES, minutes};
use super::seal::{Seal, Secret};
use crate::request::cookie;
use crate::rules::Name;

/// Stands for an endpoint in the sessions of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointTag([u8; TAG_BYTES]);

/// What a client's cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the client was served.
    pub endpoint: EndpointTag,
    /// Whether half of its life is over, so that the client should have a new one: then most responses set no cookie.
    pub is_worn: bool,
}

/// Reads and writes the sessions of one upstream.
#[derive(Clone, Debug)]
pub struct Sessions {
    cookie_name: Box<str>,
    tags: Seal,
    seal: Seal,
    /// How long a session is good for; for ever if it is not said.
    life: Option<Duration>,
}

impl Sessions {
    /// The sessions of an upstream. `None` without a secret: everybody could make them.
    pub fn new(upstream: &Name, secret: &Secret, life: Option<Duration>) -> Option<Self> {
        let name = upstream.as_str().as_bytes();
        Some(Self {
            cookie_name: format!("serin-session-{upstream}").into(),
            tags: Seal::new(secret, &[b"serin session endpoint", name])?,
            seal: Seal::new(secret, &[b"serin session", name])?,
            life,
        })
    }

    /// The name of the cookie.
    pub fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    /// The tag of an endpoint, by what identifies it, such as its address. To be computed when rules change, not for
    /// every request.
    pub fn tag(&self, endpoint: &[u8]) -> EndpointTag {
        EndpointTag(self.tags.mark(endpoint))
    }

    /// The session of a request, if it has one that is right.
    pub fn read(&self, headers: &HeaderMap, unix_secs: u64) -> Option<Session> {
        let body: [u8; 17] = self.seal.open(cookie(headers, &self.cookie_name)?).ok()?;
        let (version, rest) = body.split_first()?;
        let (tag, issued) = rest.split_first_chunk()?;
        let issued = u32::from_be_bytes(issued.try_into().ok()?);
        let age = i64::from(minutes(unix_secs)) - i64::from(issued);
        let life = self.life.map_or(i64::MAX, |life| i64::from(minutes(life.as_secs())));
        let is_good = *version == VERSION && (-SKEW_MINUTES..life).contains(&age);
        is_good.then_some(Session { endpoint: EndpointTag(*tag), is_worn: age > life / 2 })
    }

    /// The `Set-Cookie` line that leads to an endpoint from now on.
    pub fn set_cookie(&self, endpoint: EndpointTag, unix_secs: u64, secure: bool) -> HeaderValue {
        let life_secs = self.life.map(|life| life.as_secs());
        set_cookie(&self.cookie_name, &self.close(endpoint, unix_secs), life_secs, secure)
    }

    fn close(&self, endpoint: EndpointTag, unix_secs: u64) -> String {
        let mut body = [0; 17];
        body[0] = VERSION;
        body[1..=TAG_BYTES].copy_from_slice(&endpoint.0);
        body[1 + TAG_BYTES..].copy_from_slice(&minutes(unix_secs).to_be_bytes());
        self.seal.close(&body)
    }
}

const VERSION: u8 = 1;
/// 96 bits: no two endpoints of an upstream share a tag.
const TAG_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const HOUR: u64 = 3_600;

    fn sessions(upstream: &str, secret: u8, life_h: Option<u64>) -> Sessions {
        let life = life_h.map(|hours| Duration::from_secs(hours * HOUR));
        Sessions::new(&Name::new(upstream).unwrap(), &Secret::from_bytes([secret; 32]), life).unwrap()
    }

    fn read(sessions: &Sessions, cookie: &str, now: u64) -> Option<Session> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("a=b; {}={cookie}", sessions.cookie_name()).parse().unwrap());
        sessions.read(&headers, now)
    }

    #[test]
    fn lead_back_while_they_live() {
        let sessions = sessions("shop", 1, Some(10));
        let tag = sessions.tag(b"10.0.0.1:80");
        let cookie = sessions.close(tag, NOW);
        let worn = |is_worn| Some(Session { endpoint: tag, is_worn });
        for (age_s, expected) in [
            (-400, None),
            (-300, worn(false)),
            (0, worn(false)),
            (5 * 3_600, worn(false)),
            (6 * 3_600, worn(true)),
            (10 * 3_600 - 60, worn(true)),
            (10 * 3_600, None),
        ] {
            assert_eq!(read(&sessions, &cookie, NOW.checked_add_signed(age_s).unwrap()), expected, "{age_s}");
        }
        let for_ever = Sessions { life: None, ..sessions };
        assert_eq!(read(&for_ever, &cookie, NOW + 100_000 * HOUR), worn(false));
    }

    #[test]
    fn say_nothing_to_others() {
        let shop = sessions("shop", 1, None);
        let cookie = shop.close(shop.tag(b"10.0.0.1:80"), NOW);
        for other in [sessions("shop", 2, None), sessions("shop2", 1, None)] {
            assert_ne!(other.tag(b"10.0.0.1:80"), shop.tag(b"10.0.0.1:80"));
            assert_eq!(read(&other, &cookie, NOW), None);
        }
        assert_eq!(read(&shop, &cookie[1..], NOW), None);
        assert_eq!(read(&shop, &format!("AAAAAAAA{}", &cookie[8..]), NOW), None);
        assert_eq!(shop.read(&HeaderMap::new(), NOW), None);
        assert!(Sessions::new(&Name::new("shop").unwrap(), &Secret::default(), None).is_none());
        assert_ne!(shop.tag(b"10.0.0.1:80"), shop.tag(b"10.0.0.2:80"));
    }
}
