//! Accounts at authorities that sign certificates by ACME, and what is ordered there.

use std::fmt;

use http::Uri;

use super::certificate::{Pem, pem};
use super::{HostPattern, Name};
use crate::RuleError;
use crate::error::Problems;
use crate::spec::{AcmeAccountSpec, AcmeChallengeSpec, CertificateAcmeSpec, ExternalAccountSpec, SecretText};

/// An account at an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeAccount {
    name: Name,
    directory: Box<str>,
    contact: Box<[Box<str>]>,
    authorities: Option<Pem>,
    external: Option<ExternalAccount>,
}

/// What binds an account to one that the authority has opened elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// What the authority calls the key.
    pub key_id: Box<str>,
    /// The key, in base64url.
    pub key: Pem,
}

/// Says nothing of its key.
impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// How a certificate is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeOrder {
    /// At which account.
    pub account: Name,
    /// How the authority is shown that hosts lead here.
    pub challenge: AcmeChallenge,
}

/// How an authority is shown that a host leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AcmeChallenge {
    /// By a request (RFC 8555 §8.3).
    Http01,
    /// By a handshake (RFC 8737).
    TlsAlpn01,
}

impl AcmeAccount {
    /// Validates one account; reports every problem.
    pub fn new(name: &str, spec: &AcmeAccountSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("acme_accounts.{name}"), found);
        let directory = problems.at("directory").ok(directory(&spec.directory));
        let contact = problems.at("contact").each(&spec.contact, |address| mail(address));
        if contact.as_ref().is_some_and(|all| all.len() > MOST_CONTACTS) {
            problems.at("contact").report(format_args!("an account has at most {MOST_CONTACTS} addresses"));
        }
        if !spec.agree_to_terms {
            problems
                .at("agree_to_terms")
                .report("the authority asks everybody to agree to its terms: read them, and say `true`");
        }
        let authorities = match (&spec.ca, &spec.ca_file) {
            (None, None) => Some(None),
            (text, path) => pem(&mut problems, "ca", text.as_deref(), path.as_deref()).map(Some),
        };
        let external = match &spec.external_account {
            None => Some(None),
            Some(external) => ExternalAccount::new(external, problems.at("external_account")).map(Some),
        };
        let name = problems.ok(Name::new(name));
        let is_agreed = spec.agree_to_terms;
        Some(Self {
            name: name?,
            directory: directory?,
            contact: contact.filter(|all| all.len() <= MOST_CONTACTS)?.into(),
            authorities: authorities?,
            external: external?,
        })
        .filter(|_| is_agreed)
    }

    /// The account's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Where the authority says what it offers.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Addresses of mail.
    pub fn contact(&self) -> &[Box<str>] {
        &self.contact
    }

    /// Who signed the certificate of the directory; nothing: those of the system know.
    pub fn authorities(&self) -> Option<&Pem> {
        self.authorities.as_ref()
    }

    /// What binds it to another one.
    pub fn external(&self) -> Option<&ExternalAccount> {
        self.external.as_ref()
    }
}

impl ExternalAccount {
    fn new(spec: &ExternalAccountSpec, mut problems: Problems<'_>) -> Option<Self> {
        let ExternalAccountSpec { key_id, key_file, key } = spec;
        if key_id.is_empty() {
            problems.at("key_id").report("is empty");
        }
        let key = pem(&mut problems, "key", key.as_ref().map(SecretText::reveal), key_file.as_deref());
        Some(Self { key_id: key_id.as_str().into(), key: key? }).filter(|it| !it.key_id.is_empty())
    }
}

impl AcmeOrder {
    /// Validates what is ordered for hosts, which may be wrong themselves; reports every problem.
    pub(super) fn new(
        spec: &CertificateAcmeSpec,
        hosts: Option<&[HostPattern]>,
        mut problems: Problems<'_>,
    ) -> Option<Self> {
        let before = problems.count();
        let account = problems.at("account").ok(Name::new(&spec.account));
        let (is_none, hosts) = (hosts.is_some_and(<[_]>::is_empty), hosts.unwrap_or_default());
        if hosts.len() > MOST_HOSTS {
            problems.report(format_args!(
                "authorities sign for at most {MOST_HOSTS} hosts at once; divide them over certificates"
            ));
        }
        if is_none {
            problems.report("a certificate is ordered for its `hosts`, and there are none");
        }
        for host in hosts.iter().filter(|host| matches!(host, HostPattern::Wildcard(_))) {
            let name = host.to_string();
            problems.report(format_args!(
                "`{name}` cannot be ordered: authorities sign for names that begin with `*.` only if they are asked for by DNS \
                 (dns-01), which Serin does not do"
            ));
        }
        let challenge = match spec.challenge {
            AcmeChallengeSpec::Http01 => AcmeChallenge::Http01,
            AcmeChallengeSpec::TlsAlpn01 => AcmeChallenge::TlsAlpn01,
        };
        Some(Self { account: account?, challenge }).filter(|_| problems.count() == before)
    }
}

fn directory(text: &str) -> Result<Box<str>, &'static str> {
    let wrong = "a directory is `https://HOST/PATH`, without a user or a fragment";
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    let has_host = uri.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'));
    match uri.scheme_str() == Some("https") && has_host && !text.contains('#') {
        true => Ok(text.into()),
        false => Err(wrong),
    }
}

/// One address, since that is all that authorities take (RFC 8555 §7.3).
fn mail(text: &str) -> Result<Box<str>, String> {
    let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let is_plain =
        text.len() <= 254 && text.bytes().all(|byte| byte.is_ascii_graphic() && !b",?;<>\"\\".contains(&byte));
    match parts.is_some() && is_plain && !text.starts_with("mailto:") {
        true => Ok(text.into()),
        false => Err(format!("`{}` is not an address such as ops@example.com", text.escape_debug())),
    }
}

/// What Let's Encrypt and others sign for at once.
const MOST_HOSTS: usize = 100;

/// More is nobody's habit, and some take one only.
const MOST_CONTACTS: usize = 10;
