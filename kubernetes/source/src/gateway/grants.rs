//! Who may refer to objects of other namespaces: whom a ReferenceGrant there lets.

use super::kinds::{GROUP, ReferenceGrantSpec};
use crate::ObjectName;
use crate::conditions::Refusal;
use crate::objects::Objects;

/// Whether an object of a kind of Gateway API may refer to one of the core's.
///
/// # Errors
/// It is in another namespace, and nothing there lets it.
pub(super) fn permit(
    objects: &Objects,
    (from_kind, namespace): (&str, &str),
    (to_kind, to): (&str, &ObjectName),
) -> Result<(), Refusal> {
    let lets = |grant: &ReferenceGrantSpec| {
        let is_from = grant
            .from
            .iter()
            .any(|from| (&*from.group, &*from.kind, &*from.namespace) == (GROUP, from_kind, namespace));
        let is_to = |name: &Option<String>| name.as_deref().is_none_or(|name| name.is_empty() || *name == *to.name);
        is_from && grant.to.iter().any(|to| to.group.is_empty() && to.kind == to_kind && is_to(&to.name))
    };
    let mut grants = objects.grants.iter().filter(|(name, _)| name.namespace == to.namespace);
    match namespace == &*to.namespace || grants.any(|(_, grant)| lets(&grant.spec)) {
        true => Ok(()),
        false => Err(Refusal::new(
            "RefNotPermitted",
            format!("{to_kind} {to}: no ReferenceGrant there lets a {from_kind} of {namespace} refer to it"),
        )),
    }
}
