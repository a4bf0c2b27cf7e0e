//! One order, from its first call to a certificate that fits: the steps of RFC 8555 §7.4, one after the other.
//!
//! What is answered is in force wherever it must be before the authority is told to look.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeHandle, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use routing_rules::rules::AcmeChallenge;

use super::answers::is_token;
use super::kept::Answer;
use super::vault::Vault;
use crate::control_path::certificates::Issued;
use crate::control_path::hex;

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the authority said, for a person to read.
    pub(super) reason: String,
    /// The authority does not know the account.
    pub(super) has_no_account: bool,
    /// It may have cost the authority a certificate.
    pub(super) is_costly: bool,
    /// The authority has too much to do, or had too much of the account: that says nothing of the certificate.
    pub(super) is_busy: bool,
}

impl Failed {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: plain(&reason.into()), has_no_account: false, is_costly: false, is_busy: false }
    }

    /// After the authority was told to sign.
    pub(super) fn costly(self) -> Self {
        Self { is_costly: true, ..self }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => {
                let has_no_account = problem.r#type.as_deref() == Some(NO_ACCOUNT);
                let is_busy = problem.r#type.as_deref() == Some(RATE_LIMITED);
                Self { has_no_account, is_busy, ..Self::new(in_words(&problem)) }
            }
            Error::Json(error) => Self::new(format!("the authority's answer is not what the protocol says: {error}")),
            other => Self::new(other.to_string()),
        }
    }
}

/// Orders a certificate for hosts.
pub(super) async fn order(
    account: &Account,
    hosts: &[String],
    challenge: AcmeChallenge,
    vault: &Vault,
    name: &str,
) -> Result<Issued, Failed> {
    let identifiers: Vec<Identifier> = hosts.iter().map(|host| Identifier::Dns(host.clone())).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let answers = answers(&mut order, challenge).await?;
    if !answers.is_empty() {
        vault.open_answers(name, answers).await.map_err(Failed::new)?;
        announce(&mut order, challenge).await?;
    }
    if !matches!(order.state().status, OrderStatus::Ready) {
        match order.poll_ready(&POLLS).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(refusal(&mut order, None).await),
            Err(error) => return Err(refusal(&mut order, Some(error)).await),
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| Failed::new(error.to_string()))?;
    let request = signing_request(hosts, &key).map_err(|error| Failed::new(error.to_string()))?;
    order.finalize_csr(&request).await.map_err(|error| Failed::from(error).costly())?;
    let chain = order.poll_certificate(&POLLS).await.map_err(|error| Failed::from(error).costly())?;
    Ok(Issued { chain: chain.into(), key: key.serialize_pem().into() })
}

/// What is to be answered for all hosts of which the authority does not know yet that they lead here.
async fn answers(order: &mut Order, kind: AcmeChallenge) -> Result<Vec<Answer>, Failed> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending {
            let host = authorization.identifier().to_string().to_ascii_lowercase();
            let challenge = authorization.challenge(protocol_name(kind));
            let challenge = challenge.ok_or_else(|| Failed::new(format!("{host}: the authority does not look so")))?;
            answers.push(answer(kind, host, &challenge)?);
        }
    }
    Ok(answers)
}

fn answer(kind: AcmeChallenge, host: String, challenge: &ChallengeHandle<'_>) -> Result<Answer, Failed> {
    let authorization = challenge.key_authorization();
    match kind {
        AcmeChallenge::Http01 if !is_token(&challenge.token) => {
            Err(Failed::new(format!("{host}: the authority's token is none")))
        }
        AcmeChallenge::Http01 => {
            Ok(Answer::Http01 { token: challenge.token.clone(), text: authorization.as_str().to_owned() })
        }
        AcmeChallenge::TlsAlpn01 => {
            let digest = hex(authorization.digest().as_ref());
            Ok(Answer::TlsAlpn01 { host, digest })
        }
    }
}

/// Tells the authority to look.
async fn announce(order: &mut Order, kind: AcmeChallenge) -> Result<(), Failed> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(protocol_name(kind))
        {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// Why the authority does not want to sign. What it has found at which host stands at the hosts.
async fn refusal(order: &mut Order, error: Option<Error>) -> Failed {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { break };
        let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        let host = state.identifier().to_string();
        found.extend(problems.map(|problem| format!("{host}: {}", in_words(problem))));
    }
    match (found.is_empty(), error) {
        (false, _) => Failed::new(found.join("; ")),
        (true, Some(error)) => error.into(),
        (true, None) => Failed::new("the authority refuses the order, and does not say why"),
    }
}

fn signing_request(hosts: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

fn protocol_name(kind: AcmeChallenge) -> ChallengeType {
    match kind {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn in_words(problem: &Problem) -> String {
    let text = problem.to_string();
    text.strip_prefix("API error: ").or_else(|| text.strip_prefix("API error")).unwrap_or(&text).trim().to_owned()
}

/// What may stand in a line of a log: whoever answers decides what he says.
fn plain(text: &str) -> String {
    let is_plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(is_plain).take(MOST_CHARACTERS).collect()
}

/// How often an order is looked at, and for how long.
const POLLS: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(300));

/// RFC 8555 §6.7.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// The same.
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Of a reason.
const MOST_CHARACTERS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_line_of_some_length() {
        assert_eq!(Failed::new("a\nb\u{7}c").reason, "a b c");
        assert_eq!(Failed::new("x".repeat(600)).reason.len(), 500);
    }
}
