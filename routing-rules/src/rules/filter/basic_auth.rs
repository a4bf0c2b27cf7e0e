//! Who is let in by name and password (RFC 7617).
//!
//! Looking at a password costs what its hash costs, by design, and as much for a name that does not exist: so nobody learns names
//! from the time an answer takes.

use std::collections::BTreeMap;
use std::time::Duration;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};

use crate::error::Problems;
use crate::limit::Rate;
use crate::spec::BasicAuthSpec;

/// Names with the hashes of their passwords. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    users: BTreeMap<Box<str>, StoredHash>,
    challenge: HeaderValue,
    attempts: Rate,
    keeps_authorization: bool,
}

/// A hash of a password.
#[derive(Clone, PartialEq)]
enum StoredHash {
    Bcrypt(Box<str>),
    Argon2(Box<str>, Box<phc::PasswordHash>),
}

/// What a request says of who sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: Box<str>,
    password: Box<[u8]>,
}

impl BasicAuth {
    pub(super) fn new(route: &str, spec: &BasicAuthSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let before = problems.count();
        let mut users = BTreeMap::new();
        if spec.users.is_empty() {
            problems.at("users").report("without a user nobody would be let in");
        }
        for (name, hash) in &spec.users {
            let hash = user_name(name).and_then(|()| StoredHash::new(hash));
            // The text of a hash is no business of logs, so problems say nothing of it.
            if let Some(hash) = problems.at("users").at(name).ok(hash) {
                users.insert(name.as_str().into(), hash);
            }
        }
        let realm = spec.realm.as_deref().unwrap_or(route);
        let challenge = challenge(realm);
        let challenge = problems.at("realm").ok(challenge);
        let (count, per) = spec.attempts.map_or((60, Duration::from_secs(60)), |rate| (rate.count(), rate.per()));
        (problems.count() == before).then_some(())?;
        Some(Self {
            users,
            challenge: challenge?,
            attempts: Rate::new(count, per, count),
            keeps_authorization: spec.keep_authorization,
        })
    }

    /// Whether the password is that of the user. Takes long: tens to hundreds of milliseconds.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        let known = self.users.get(&credentials.user);
        let Some(hash) = known.or_else(|| self.stand_in(&credentials.user)) else { return false };
        let is_right = hash.is_of(&credentials.password);
        is_right && known.is_some()
    }

    /// The hash that is compared for somebody who does not exist: always the same for the same name.
    fn stand_in(&self, name: &str) -> Option<&StoredHash> {
        let number = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.users.values().nth(number % self.users.len().max(1))
    }

    /// The stored hash of a user as text, for who remembers that a password was right: another hash is another password.
    pub fn stored(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(StoredHash::as_str)
    }

    /// The `WWW-Authenticate` of a 401.
    pub fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }

    /// How often passwords of one client are looked at.
    pub fn attempts(&self) -> Rate {
        self.attempts
    }

    /// Whether the endpoint gets the `authorization` field.
    pub fn keeps_authorization(&self) -> bool {
        self.keeps_authorization
    }
}

impl Credentials {
    /// Reads the one `authorization` field. `None` if there is none, several, or one of another scheme.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (field, None) = (fields.next()?, fields.next()) else { return None };
        let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim_matches(' ')).ok()?;
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        let user = std::str::from_utf8(&decoded[..colon]).ok()?;
        Some(Self { user: user.into(), password: decoded[colon + 1..].into() })
    }

    /// The name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, in whatever encoding the client has.
    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl StoredHash {
    fn new(text: &str) -> Result<Self, String> {
        match text {
            _ if BCRYPT.iter().any(|prefix| text.starts_with(prefix)) => Self::bcrypt(text),
            _ if text.starts_with("$argon2") => Self::argon2(text),
            _ if text.starts_with("$apr1$") || text.starts_with("$1$") => {
                Err(format!("an MD5 hash is broken in no time; {MAKE}"))
            }
            _ if text.starts_with("{SHA}") => Err(format!("a SHA-1 hash without salt is broken in no time; {MAKE}")),
            _ => Err(format!("it is neither a bcrypt nor an argon2 hash; {MAKE}")),
        }
    }

    fn bcrypt(text: &str) -> Result<Self, String> {
        let hash: bcrypt::HashParts = text.parse().map_err(|_| "the bcrypt hash is not whole")?;
        match hash.get_cost() {
            4..=14 => Ok(Self::Bcrypt(text.into())),
            0..=3 => Err("a bcrypt hash has a cost of 4 at least".into()),
            // Whoever guesses takes that time from everybody else.
            cost => Err(format!("a bcrypt cost of {cost} takes seconds for each password; 10 to 14 are good")),
        }
    }

    fn argon2(text: &str) -> Result<Self, String> {
        let wrong = |error| format!("the argon2 hash is not whole: {error}");
        let hash = phc::PasswordHash::new(text).map_err(wrong)?;
        Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| "there is no such argon2")?;
        let params = Params::try_from(&hash).map_err(|_| "the parameters of the argon2 hash are wrong")?;
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err("the argon2 hash is not whole".into());
        }
        if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > 10 || params.p_cost() > 16 {
            return Err("an argon2 hash has m=131072 (128 MiB), t=10 and p=16 at most".into());
        }
        Ok(Self::Argon2(text.into(), Box::new(hash)))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Bcrypt(text) | Self::Argon2(text, _) => text,
        }
    }

    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
            Self::Argon2(_, hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }
}

impl std::fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "bcrypt",
            Self::Argon2(..) => "argon2",
        })
    }
}

fn user_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("a user has a name".into()),
        _ if name.contains(':') => Err("the name of a user has no `:` (RFC 7617 §2)".into()),
        _ if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || name != name.trim() => {
            Err("the name of a user has visible ASCII characters only: endpoints get it as a header field".into())
        }
        _ => Ok(()),
    }
}

fn challenge(realm: &str) -> Result<HeaderValue, String> {
    if realm.contains(['"', '\\']) || !realm.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("a realm has visible ASCII characters, and no quotes and backslashes".into());
    }
    HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")).map_err(|error| error.to_string())
}

const BCRYPT: [&str; 3] = ["$2a$", "$2b$", "$2y$"];
const MAKE: &str = "`htpasswd -nB -C 10 NAME` makes one that is good";
const MOST_MEMORY_KIB: u32 = 128 << 10;
