//! Rules that objects of Kubernetes amount to, as texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use kubernetes_source::{Documents, Finding, Severity, Told, Translated};
use serde_json::Value;

use super::{Text, TextKind, Texts};
use crate::control_path::release::{Records, records_of_objects};

/// What objects say, as texts. Cheap to clone.
#[derive(Clone, Default)]
pub struct ObjectTexts {
    documents: Documents,
    texts: Texts,
    /// What is wrong with objects, by their names.
    findings: Vec<Text>,
    /// Where Releases are.
    records: Records,
    /// Why there are none yet.
    unheard: Option<Text>,
}

impl ObjectTexts {
    /// Stands for all that is in a cluster nothing was heard of yet: what was stored of it stays, and releases are where they were.
    pub fn unheard(reason: &str, records: Records) -> Self {
        let content = Err(format!("not heard yet: {reason}"));
        let text = Text { name: CLUSTER.into(), content, kind: TextKind::Unheard };
        Self { unheard: Some(text), records, ..Self::default() }
    }

    /// Where Releases are.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Whether it stands for what was not heard yet.
    pub fn is_unheard(&self) -> bool {
        self.unheard.is_some()
    }

    /// Takes what was told.
    pub fn take(&mut self, told: Told) {
        match told {
            // What was heard once stays.
            Told::Unheard(reason) if self.is_unheard() => {
                *self = Self::unheard(&reason, std::mem::take(&mut self.records));
            }
            Told::Unheard(_) => {}
            Told::Heard(Translated { documents, findings, records }) => {
                for difference in self.documents.diff(&documents) {
                    match difference {
                        DiffItem::Add(name, content) | DiffItem::Update { new: (name, content), .. } => {
                            let (name, content) = (Arc::clone(name), Ok(Arc::clone(content)));
                            self.texts.put_object(Text { name, content, kind: TextKind::Rules });
                        }
                        DiffItem::Remove(name, _) => self.texts.remove_object(name),
                    }
                }
                (self.documents, self.findings, self.unheard) = (documents, notes(&findings), None);
                self.take_records(&records);
            }
        }
    }

    fn take_records(&mut self, written: &BTreeMap<String, Value>) {
        let (records, troubles) = records_of_objects(written, &self.records);
        self.records = records;
        self.findings.extend(troubles.into_iter().map(|(release, reason)| Text {
            name: format!("record of release {release}").into(),
            content: Err(format!("it cannot be read, and the one before counts: {reason}")),
            kind: TextKind::Unknown { revision: None },
        }));
    }

    /// All texts, and what is wrong with objects.
    pub fn texts(&self) -> Texts {
        let mut texts = self.texts.clone();
        self.findings.iter().chain(&self.unheard).for_each(|text| texts.note(text.clone()));
        texts
    }
}

/// One text for each object of which something has no effect.
fn notes(findings: &[Finding]) -> Vec<Text> {
    let mut notes: Vec<Text> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        let name = format!("{} {}", finding.kind, finding.object);
        match notes.last_mut() {
            Some(Text { name: last, content: Err(reasons), .. }) if **last == *name => {
                *reasons = format!("{reasons}; {}", finding.message);
            }
            _ => {
                let kind = TextKind::Unknown { revision: None };
                notes.push(Text { name: name.into(), content: Err(finding.message.clone()), kind });
            }
        }
    }
    notes
}

/// What stands for all of them.
const CLUSTER: &str = "kubernetes";

#[cfg(test)]
mod tests {
    use kubernetes_source::ObjectName;

    use super::*;

    fn told(documents: &[(&str, &str)], findings: Vec<Finding>) -> Told {
        let documents = documents.iter().map(|(name, text)| (Arc::from(*name), Arc::from(*text))).collect();
        Told::Heard(Translated { documents, findings, ..Translated::default() })
    }

    fn shown(texts: &ObjectTexts) -> Vec<String> {
        let text = |text: &Text| match &text.content {
            Ok(content) => format!("{}={content}", text.name),
            Err(reason) => format!("{}: {reason}", text.name),
        };
        texts.texts().iter().map(text).collect()
    }

    #[test]
    fn texts_are_those_that_were_told_last() {
        let mut texts = ObjectTexts::unheard("it was just asked", Records::new());
        texts.take(Told::Unheard("refused".into()));
        assert_eq!(shown(&texts), ["kubernetes: not heard yet: refused"]);
        assert!(texts.is_unheard() && !texts.texts().is_heard());
        texts.take(told(&[("a", "1"), ("b", "1")], vec![]));
        texts.take(told(&[("b", "2"), ("c", "1")], vec![]));
        texts.take(Told::Unheard("it went away".into()));
        assert_eq!(shown(&texts), ["b=2", "c=1"]);
        assert!(texts.texts().is_heard());
    }

    #[test]
    fn what_is_wrong_with_an_object_is_one_text() {
        let finding = |name: &str, message: &str, severity| Finding {
            kind: "Ingress",
            object: ObjectName::new("shop", name),
            reason: "Rejected",
            message: message.into(),
            severity,
        };
        let warning = Severity::Warning;
        let findings = vec![
            finding("a", "one", warning),
            finding("a", "two", warning),
            finding("b", "harmless", Severity::Note),
            finding("c", "three", warning),
        ];
        let mut texts = ObjectTexts::default();
        texts.take(told(&[], findings));
        assert_eq!(shown(&texts), ["Ingress shop/a: one; two", "Ingress shop/c: three"]);
    }
}
