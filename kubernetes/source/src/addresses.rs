//! Where clients find Serin, as statuses say it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use crate::objects::Objects;
use crate::options::Options;

/// An address, or a name that leads to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Address {
    Ip(String),
    Hostname(String),
}

impl Address {
    /// What a load balancer says of itself: the address goes before the name.
    pub(crate) fn new(ip: Option<&str>, hostname: Option<&str>) -> Self {
        match ip.filter(|ip| !ip.is_empty()) {
            Some(ip) => Self::Ip(ip.to_owned()),
            None => Self::Hostname(hostname.unwrap_or_default().to_owned()),
        }
    }

    /// What it is, whichever of both.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Ip(text) | Self::Hostname(text) => text,
        }
    }

    fn parse(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            Ok(_) => Self::Ip(text.to_owned()),
            Err(_) => Self::Hostname(text.to_owned()),
        }
    }
}

/// As the options say; else as the Service says that leads here. Nothing, where neither does.
pub(crate) fn addresses(objects: &Objects, options: &Options) -> Option<Vec<Address>> {
    if !options.addresses.is_empty() {
        return Some(options.addresses.iter().map(|text| Address::parse(text)).collect());
    }
    let service = objects.services.get(options.publish_service.as_ref()?)?;
    let found = of_service(service);
    // A load balancer that is not ready yet has no address, and what was told before is as good as nothing.
    (!found.is_empty()).then_some(found)
}

fn of_service(service: &Service) -> Vec<Address> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balanced = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let mut found: Vec<_> = balanced.map(|one| Address::new(one.ip.as_deref(), one.hostname.as_deref())).collect();
    let Some(spec) = &service.spec else { return found };
    found.extend(spec.external_ips.iter().flatten().map(|ip| Address::new(Some(ip), None)));
    let is_inner = matches!(spec.type_.as_deref(), None | Some("ClusterIP" | "NodePort"));
    if found.is_empty() && is_inner {
        let ip = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
        found.extend(ip.map(|ip| Address::new(Some(ip), None)));
    }
    found
}
