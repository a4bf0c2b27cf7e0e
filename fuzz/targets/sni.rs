//! Any hosts of any certificates, and any host that a client asks for: it is shown the certificate that names it exactly, else the
//! one whose wildcard stands one label above, and nobody else's.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use routing_rules::rules::{HostPattern, Name};
use serin_proxy::snapshot::{Certificate, HostCertificates};
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Each host of each certificate, in this order, and whether the certificate can be used.
    named: Vec<(Host, bool)>,
    asked: Vec<Host>,
}

#[derive(Arbitrary, Debug)]
enum Host {
    /// Of few labels, so that they meet.
    Labels {
        is_wildcard: bool,
        labels: Vec<u8>,
    },
    Any(String),
}

static KEY: LazyLock<CertifiedKey> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
    CertifiedKey::new(vec![pair.cert.der().clone()], any_supported_type(&key).expect("a key"))
});

fuzz_target!(|input: Input| {
    let mut hosts = HostCertificates::default();
    let mut rules: Vec<(HostPattern, Option<Arc<Certificate>>)> = Vec::new();
    for (number, (host, is_usable)) in input.named.iter().enumerate().take(64) {
        let Ok(pattern) = HostPattern::new(&host.text()) else { continue };
        // No certificate is for hosts so deep.
        if matches!(pattern, HostPattern::Below(_)) {
            continue;
        }
        let certificate = is_usable.then(|| certificate(number));
        let is_free = !rules.iter().any(|(known, _)| *known == pattern);
        assert_eq!(hosts.name(&pattern, certificate.as_ref()), is_free, "{pattern:?}");
        if is_free {
            rules.push((pattern, certificate));
        }
    }
    for asked in input.asked.iter().map(Host::text) {
        // As handshakes ask.
        let asked = asked.to_ascii_lowercase();
        let exact = |pattern: &HostPattern| matches!(pattern, HostPattern::Exact(name) if **name == *asked);
        let above = |pattern: &HostPattern| match pattern {
            HostPattern::Wildcard(suffix) => {
                asked.strip_suffix(&**suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            HostPattern::Exact(_) | HostPattern::Below(_) => false,
        };
        let find = |is_it: &dyn Fn(&HostPattern) -> bool| rules.iter().find(|(pattern, _)| is_it(pattern));
        let expected = find(&exact).or_else(|| find(&above)).map(|(_, certificate)| certificate);
        let found = hosts.find(&asked);
        let name = |certificate: Option<&Option<Arc<Certificate>>>| {
            certificate.map(|certificate| certificate.as_ref().map(|certificate| certificate.name.clone()))
        };
        assert_eq!(name(found), name(expected), "{asked}");
    }
});

fn certificate(number: usize) -> Arc<Certificate> {
    Arc::new(Certificate {
        name: Name::new(&format!("c{number}")).expect("a name"),
        resolver: Certificate::resolver(KEY.clone()),
        covers: Box::default(),
        not_before: 0,
        not_after: 0,
        clients: None,
    })
}

impl Host {
    fn text(&self) -> String {
        match self {
            Self::Labels { is_wildcard, labels } => {
                let labels: Vec<_> = labels.iter().take(4).map(|label| LABELS[usize::from(label % 8)]).collect();
                format!("{}{}", if *is_wildcard { "*." } else { "" }, labels.join("."))
            }
            Self::Any(text) => text.clone(),
        }
    }
}

const LABELS: [&str; 8] = ["a", "b", "test", "example", "A", "xn--bcher-kva", "0", "*"];
