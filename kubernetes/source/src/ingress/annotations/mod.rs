//! Annotations of Ingresses, as those who come from ingress-nginx have them.
//!
//! Read once for an Ingress, into a [`Tuning`] that its routes and upstreams are made with. Each either has its effect or is remarked on.
//! What cannot be understood is left out and the rest serves, but for what was to keep somebody out: then nobody is let in.

mod given;

pub(crate) mod known;

mod access;

mod auth;

mod canary;

mod cors;

mod headers;

mod limits;

mod redirects;

mod rewrite;

mod snippets;

mod timeouts;

mod trial;

mod upstreams;

mod url;

mod values;

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

use k8s_openapi::api::networking::v1::Ingress;

use super::tuning::Tuning;
use crate::ObjectName;
use crate::objects::Objects;
use given::Given;

pub(super) use auth::ask;
pub(super) use canary::Canary;
pub(crate) use given::{Remark, Verdict};
pub(super) use redirects::app_root;
pub(super) use rewrite::{PathReading, Reading, head};
pub(super) use trial::route as accepted;
pub(super) use url::Url;

/// What the annotations of an Ingress amount to.
pub(super) struct Annotated {
    pub(super) tuning: Tuning,
    /// There is one if the Ingress is one.
    pub(super) canary: Option<Canary>,
    /// What is to be said of them, by their whole names.
    pub(super) remarks: Vec<(String, Remark)>,
}

/// Reads the annotations of an Ingress.
pub(super) fn read(objects: &Objects, name: &ObjectName, ingress: &Ingress) -> Annotated {
    let mut given = Given::of(ingress);
    let namespace = Namespace { objects, name: &name.namespace };
    let mut tuning = Tuning::default();
    let canary = canary::read(&mut given);
    upstreams::balance(&mut given, &mut tuning);
    if canary.is_none() {
        access::read(&mut given, &mut tuning);
        snippets::read(&mut given);
        auth::read(&mut given, namespace, &mut tuning);
        limits::read(&mut given, &mut tuning);
        redirects::read(&mut given, &mut tuning);
        rewrite::read(&mut given, &mut tuning);
        timeouts::read(&mut given, &mut tuning);
        cors::read(&mut given, &mut tuning);
        headers::read(&mut given, namespace, &mut tuning);
        upstreams::read(&mut given, namespace, &mut tuning);
    }
    let remarks = given.finish(canary.is_some());
    tuning.is_closed = remarks.iter().any(|(_, remark)| remark.verdict == Verdict::Closed);
    Annotated { tuning, canary, remarks }
}

/// The namespace of an Ingress: what is in others is not for its annotations to read.
#[derive(Clone, Copy)]
struct Namespace<'o> {
    objects: &'o Objects,
    name: &'o str,
}

impl Namespace<'_> {
    /// An object as annotations name it, `name` or `namespace/name`.
    ///
    /// # Errors
    /// It is another namespace's.
    fn own(self, text: &str) -> Result<ObjectName, String> {
        let (namespace, name) = text.split_once('/').unwrap_or((self.name, text));
        match name {
            "" => Err("it names nothing".into()),
            _ if namespace != self.name => {
                Err(format!("`{text}` is in another namespace; an Ingress reads those of its own"))
            }
            name => Ok(ObjectName::new(self.name, name)),
        }
    }
}
