//! What Serin does not take of the rules it was told, and which objects these came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ObjectName;
use crate::documents::RULES_OF;
use crate::findings::{Finding, Severity};
use crate::report::together;

/// Something in a document that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The document, as it was told.
    pub document: Arc<str>,
    /// Where in it.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl Rejected {
    /// The same about the object, if it is something that was not said from here.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let document = self.document.strip_prefix(RULES_OF).unwrap_or(&self.document);
        let (kind, object) = document.split_once(' ')?;
        let kind = KINDS.iter().find(|known| **known == kind)?;
        // Behind the name of a ConfigMap stands one of its keys.
        let (object, key) = object.split_once(' ').unwrap_or((object, ""));
        // What is neither about rules nor about a text is a finding that is shown beside them.
        if !self.document.starts_with(RULES_OF) && key.is_empty() {
            return None;
        }
        let (namespace, name) = object.split_once('/')?;
        let place = [key, &self.path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        Some(Finding {
            kind,
            object: ObjectName::new(namespace, name),
            reason: "Rejected",
            message: format!("{place}: {}", self.reason),
            severity: Severity::Warning,
        })
    }
}

/// Why Releases are refused, by these.
pub(crate) fn of_releases(rejected: &[Rejected]) -> BTreeMap<ObjectName, String> {
    let findings = rejected.iter().filter_map(Rejected::finding).filter(|finding| finding.kind == "Release");
    together(findings).into_iter().map(|Finding { object, message, .. }| (object, message)).collect()
}

/// Kinds of objects that documents come from.
const KINDS: &[&str] = &["ConfigMap", "Ingress", "Release", "Secret", "Service"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rejected_is_about_the_object_it_came_from() {
        let finding = |document: &str, path: &str| {
            let rejected = Rejected { document: document.into(), path: path.into(), reason: "no".into() };
            rejected.finding().map(|it| format!("{} {}: {}", it.kind, it.object, it.message))
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(
            finding("rules of Ingress shop/web", "routes.a.hosts[0]"),
            told("Ingress shop/web: routes.a.hosts[0]: no")
        );
        assert_eq!(
            finding("ConfigMap serin/rules a.yaml", "routes.a"),
            told("ConfigMap serin/rules: a.yaml: routes.a: no")
        );
        assert_eq!(finding("ConfigMap serin/rules a.yaml", ""), told("ConfigMap serin/rules: a.yaml: no"));
        assert_eq!(finding("Ingress shop/web", ""), None, "it was said from here");
        assert_eq!(finding("/etc/serin/serin.yaml", "routes.a"), None);
        assert_eq!(finding("rules of Ingress web", "routes.a"), None);
    }
}
