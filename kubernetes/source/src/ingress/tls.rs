//! Secrets as certificates.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::IngressSpec;

use super::Work;
use crate::ObjectName;
use crate::secrets::certificate;

/// Which Secret has the certificate of each host: the one of whoever came first.
#[derive(Default)]
pub(super) struct Certificates<'o> {
    of_hosts: BTreeMap<String, (ObjectName, &'o ObjectName)>,
    /// Also of those that have no host left: what is wrong with them is told.
    wanted: BTreeMap<ObjectName, &'o ObjectName>,
}

impl<'o> Certificates<'o> {
    pub(super) fn take(&mut self, work: &mut Work<'o>, ingress: &'o ObjectName, spec: &IngressSpec) {
        for (index, tls) in spec.tls.iter().flatten().enumerate() {
            // Without one it is the certificate for everybody else that serves.
            let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let secret = ObjectName::new(&ingress.namespace, secret);
            self.wanted.entry(secret.clone()).or_insert(ingress);
            let named = tls.hosts.iter().flatten().cloned();
            let of_rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone());
            let hosts: Vec<_> =
                if tls.hosts.iter().flatten().next().is_some() { named.collect() } else { of_rules.collect() };
            for host in hosts.into_iter().filter(|host| !host.is_empty()).map(|host| host.to_ascii_lowercase()) {
                match self.of_hosts.get(&host) {
                    Some((other, owner)) if *other != secret => {
                        let message = format!(
                            "spec.tls[{index}]: {host} has the certificate of Secret {other} already: Ingress {owner} is older"
                        );
                        work.warn(ingress, "Conflict", message);
                    }
                    Some(_) => {}
                    None => drop(self.of_hosts.insert(host, (secret.clone(), ingress))),
                }
            }
        }
    }

    /// Puts down all that are wanted by Ingresses, and those that are wanted besides.
    pub(super) fn add(self, work: &mut Work<'o>, besides: &[ObjectName]) {
        let mut hosts: BTreeMap<&ObjectName, BTreeSet<&str>> = BTreeMap::new();
        for (host, (secret, _)) in &self.of_hosts {
            hosts.entry(secret).or_default().insert(host);
        }
        let secrets: BTreeSet<_> = self.wanted.keys().chain(besides).collect();
        for secret in secrets {
            match certificate(work.objects, secret) {
                Ok(pair) => {
                    let hosts = hosts.get(secret).into_iter().flatten().map(|host| (*host).to_owned()).collect();
                    let name = format!("{}.{}", secret.namespace, secret.name);
                    work.drafts.of(format!("Secret {secret}")).certificates.insert(name, pair.spec(hosts));
                }
                Err(reason) => match self.wanted.get(secret) {
                    Some(ingress) => work.warn(ingress, "Certificate", format!("Secret {secret}: {reason}")),
                    None => work.say("Secret", secret, "Certificate", reason.into()),
                },
            }
        }
    }
}
