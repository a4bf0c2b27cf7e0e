//! What there is to choose.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use kube::Client;

use crate::ObjectName;

/// Which cluster is followed, and what of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// A kubeconfig. Without one: what a pod is given, or what `kubectl` would use.
    pub kubeconfig: Option<PathBuf>,
    /// One of its contexts. Default: its current one.
    pub context: Option<String>,
    /// Ingresses of this class are served.
    pub ingress_class: String,
    /// What an IngressClass of this name must call its controller to be ours.
    pub controller: String,
    /// Gateways of GatewayClasses that call their controller so are served.
    pub gateway_controller: String,
    /// The address that ports of Gateways are opened at. Default: all addresses.
    pub gateway_address: IpAddr,
    /// Ports that are opened in the place of those that Gateways name: who may not open 80 opens 8080 for it.
    pub gateway_ports: BTreeMap<u16, u16>,
    /// Whether listeners of several Gateways may have the same port and host: all their routes are then served by each (default). Else the
    /// oldest Gateway has it, and the others are told of the conflict.
    pub gateways_share: bool,
    /// Whether Releases that name no class are served here.
    pub classless_releases: bool,
    /// Only objects in these namespaces; none stands for all.
    pub namespaces: Vec<String>,
    /// ConfigMaps whose values are rules.
    pub config_maps: Vec<ObjectName>,
    /// Secrets with certificates that listeners name, whether or not an Ingress does.
    pub certificates: Vec<ObjectName>,
    /// Where clients find Serin, as Ingresses and Gateways say it: addresses and names. None: as the Service says that leads to it.
    pub addresses: Vec<String>,
    /// The Service that leads clients to Serin.
    pub publish_service: Option<ObjectName>,
    /// The Lease of whoever writes statuses. Default: `serin` in the namespace of the pod.
    pub lease: Option<ObjectName>,
    /// Who this instance is; no other one is called so.
    pub identity: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            ingress_class: "serin".into(),
            controller: "serin.dev/ingress".into(),
            gateway_controller: "serin.dev/gateway".into(),
            gateway_address: Ipv6Addr::UNSPECIFIED.into(),
            gateway_ports: BTreeMap::new(),
            gateways_share: true,
            classless_releases: true,
            namespaces: Vec::new(),
            config_maps: Vec::new(),
            certificates: Vec::new(),
            addresses: Vec::new(),
            publish_service: None,
            lease: None,
            identity: "serin".into(),
        }
    }
}

impl Options {
    pub(crate) fn lease(&self, client: &Client) -> ObjectName {
        self.lease.clone().unwrap_or_else(|| ObjectName::new(client.default_namespace(), "serin"))
    }
}
