//! Certificates of listeners: Secrets that they refer to.

use std::collections::BTreeSet;

use routing_rules::spec::CertificateSpec;

use super::grants::permit;
use super::kinds::{GatewaySpec, ListenerSpec, ObjectRef};
use crate::ObjectName;
use crate::conditions::Refusal;
use crate::kind::Kind;
use crate::objects::Objects;
use crate::secrets::{Pair, certificate};

/// A certificate that a listener shows.
pub(super) struct Certificate {
    pub(super) secret: ObjectName,
    pair: Pair,
}

impl Certificate {
    /// What it is called among rules. Those of Ingresses are of other hosts, so they are others.
    pub(super) fn name(&self) -> String {
        format!("gateway.{}.{}", self.secret.namespace, self.secret.name)
    }

    /// As rules have it, for these hosts.
    pub(super) fn spec(&self, hosts: BTreeSet<String>) -> CertificateSpec {
        self.pair.spec(hosts.into_iter().collect())
    }
}

/// Those that can be used, and what is wrong with the first that cannot.
pub(super) fn certificates(
    objects: &Objects,
    gateway: &ObjectName,
    spec: &ListenerSpec,
) -> (Vec<Certificate>, Option<Refusal>) {
    let refs = spec.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
    let (mut good, mut refusal) = (Vec::new(), None);
    if refs.is_empty() {
        refusal = Some(Refusal::new("InvalidCertificateRef", "tls.certificateRefs: HTTPS needs a certificate"));
    }
    for (index, reference) in refs.iter().enumerate() {
        match resolve(objects, gateway, reference) {
            Ok(certificate) => good.push(certificate),
            Err(wrong) => drop(refusal.get_or_insert(wrong.at(&format!("tls.certificateRefs[{index}]")))),
        }
    }
    (good, refusal)
}

fn resolve(objects: &Objects, gateway: &ObjectName, reference: &ObjectRef) -> Result<Certificate, Refusal> {
    let wrong = |message: String| Refusal::new("InvalidCertificateRef", message);
    let (group, kind) = (reference.group.as_deref().unwrap_or(""), reference.kind.as_deref().unwrap_or("Secret"));
    if (group, kind) != ("", "Secret") {
        return Err(wrong(format!("{kind} of the group `{group}` is not supported; Secret of the core is")));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(&gateway.namespace);
    let secret = ObjectName::new(namespace, &reference.name);
    permit(objects, (GatewaySpec::KIND, &gateway.namespace), ("Secret", &secret))?;
    let pair = certificate(objects, &secret).map_err(|reason| wrong(format!("Secret {secret}: {reason}")))?;
    // Whether they are a pair is asked where they are used; that they are none at all is told here.
    if !pair.cert.contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong(format!("Secret {secret}: tls.crt is no certificate (PEM)")));
    }
    if !pair.key.contains("PRIVATE KEY-----") {
        return Err(wrong(format!("Secret {secret}: tls.key is no key (PEM)")));
    }
    Ok(Certificate { secret, pair })
}
