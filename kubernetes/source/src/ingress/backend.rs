//! Backends of Ingresses: ports of Services, as upstreams.

use k8s_openapi::api::networking::v1::IngressBackend;
use routing_rules::rules::Name;
use routing_rules::spec::{DiscoverySpec, PortSpec, UpstreamSpec};

use super::Work;
use super::annotations::Url;
use super::served::Served;
use crate::ObjectName;
use crate::services::{discovery, lack, server_name, upstream_name};

impl Work<'_> {
    /// The upstream for a backend, which is in the drafts from then on: with what is `tuned` of it. One that is not as usual is the
    /// Ingress's own.
    ///
    /// # Errors
    /// It is no port of a Service.
    pub(super) fn backend(
        &mut self,
        ingress: &ObjectName,
        backend: &IngressBackend,
        tuned: &UpstreamSpec,
    ) -> Result<String, String> {
        let (service, port) = service_port(&ingress.namespace, backend)?;
        let object = self.objects.services.get(&service);
        if let Some(lack) = lack(&service, object, &port) {
            self.warn(ingress, "Missing", format!("{lack}: its requests get 503"));
        }
        let usual = upstream_name(&service, &port);
        let is_usual = *tuned == UpstreamSpec::default();
        let upstream = if is_usual { usual } else { format!("{usual}.{}", ingress.name) };
        let mut spec = UpstreamSpec { discovery: Some(discovery(&service, object, port)?), ..tuned.clone() };
        if let (Some(tls), Some(DiscoverySpec::Kubernetes(_))) = (&mut spec.tls, &spec.discovery) {
            tls.server_name.get_or_insert_with(|| server_name(&service));
        }
        self.drafts.of(format!("Service {service}")).upstreams.insert(upstream.clone(), spec);
        Ok(upstream)
    }

    /// The upstream for a URL of an annotation, which is in the drafts from then on. `host` is whose requests it is about.
    ///
    /// # Errors
    /// It is for the host of a request, and there is no one host; or the names of all this are too long for one.
    pub(super) fn place(
        &mut self,
        served: &Served<'_>,
        url: &Url,
        purpose: &str,
        host: Option<&str>,
    ) -> Result<String, String> {
        let name = served.name;
        // No namespace and no Ingress has an underscore in its name, so nobody else's upstream can be called so.
        let mut own = format!("{purpose}_of.{}.{}", name.namespace, name.name);
        if let Some(host) = host.filter(|_| url.is_own_host()) {
            own = format!("{own}_{host}");
        }
        let place = url.place(self.objects, &own, host)?;
        Name::new(&place.upstream)?;
        let service = place.service.filter(|_| place.upstream != own);
        if let Some(service) = service.as_ref().filter(|service| !self.objects.services.contains_key(service)) {
            self.warn(name, "Missing", format!("there is no Service {service}, which an annotation names"));
        }
        let document = service.map_or_else(|| format!("Ingress {name}"), |service| format!("Service {service}"));
        self.drafts.of(document).upstreams.insert(place.upstream.clone(), place.spec);
        Ok(place.upstream)
    }
}

fn service_port(namespace: &str, backend: &IngressBackend) -> Result<(ObjectName, PortSpec), String> {
    if backend.resource.is_some() {
        return Err("backends other than Services are not supported".into());
    }
    let service = backend.service.as_ref().ok_or("a backend needs a Service")?;
    let port = service.port.as_ref().ok_or("the Service needs a port: its name or its number")?;
    let port = match (port.name.as_deref().filter(|name| !name.is_empty()), port.number) {
        (Some(name), _) => PortSpec::Name(name.into()),
        (None, Some(number)) => {
            PortSpec::Number(u16::try_from(number).map_err(|_| format!("port {number} is above 65535"))?)
        }
        (None, None) => return Err("the Service needs a port: its name or its number".into()),
    };
    Ok((ObjectName::new(namespace, &service.name), port))
}
