//! Which Ingresses are ours.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;

use crate::ObjectName;
use crate::objects::Objects;
use crate::options::Options;

/// Our class, as the cluster has it.
pub(super) struct Class<'o> {
    name: &'o str,
    controller: &'o str,
    /// Nobody has to make one.
    object: Option<&'o IngressClass>,
}

impl<'o> Class<'o> {
    pub(super) fn new(objects: &'o Objects, options: &'o Options) -> Self {
        let name = options.ingress_class.as_str();
        let object = objects.classes.get(&ObjectName::new("", name));
        Self { name, controller: &options.controller, object }
    }

    /// Whether an Ingress is of our class.
    ///
    /// # Errors
    /// It is by its name, and another controller's by the class itself.
    pub(super) fn has(&self, ingress: &Ingress) -> Result<bool, String> {
        let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        // The annotation is older than the field, and still what many write.
        let named = named.or_else(|| ingress.annotations().get(ANNOTATION).map(String::as_str));
        let is_ours = match named {
            Some(named) => named == self.name,
            None => self.object.is_some_and(is_default),
        };
        let controller = self.object.and_then(|class| class.spec.as_ref()?.controller.as_deref());
        match controller {
            Some(other) if is_ours && other != self.controller => Err(format!(
                "IngressClass {} belongs to the controller {other}, and this one is {}",
                self.name, self.controller
            )),
            _ => Ok(is_ours),
        }
    }
}

/// Whether Ingresses that name no class are of this one.
fn is_default(class: &IngressClass) -> bool {
    class.annotations().get(DEFAULT).is_some_and(|value| value == "true")
}

const ANNOTATION: &str = "kubernetes.io/ingress.class";

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
