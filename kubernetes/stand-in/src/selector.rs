//! Label and field selectors: which objects a list or a watch is about.

use serde_json::Value;

use crate::resource::Resource;
use crate::status::Failure;

/// Both selectors of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

/// One requirement on a label.
#[derive(Clone, Debug)]
struct LabelTerm {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// An absent label is none of the values, too.
    NotIn(Vec<String>),
}

#[derive(Clone, Debug)]
struct FieldTerm {
    pointer: &'static str,
    equal: bool,
    value: String,
}

impl Selector {
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split(labels).into_iter().map(|term| label_term(&term)).collect::<Result<_, _>>()?;
        let fields = fields.split(',').filter(|term| !term.is_empty()).map(|term| field_term(resource, term));
        Ok(Self { labels, fields: fields.collect::<Result<_, _>>()? })
    }

    /// The same, of the object with this name only.
    pub(crate) fn and_name(mut self, name: &str) -> Self {
        self.fields.push(FieldTerm { pointer: "/metadata/name", equal: true, value: name.to_owned() });
        self
    }

    /// Whether it wants everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn wants(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|term| term.holds(labels)) && self.fields.iter().all(|term| term.holds(object))
    }
}

impl LabelTerm {
    fn holds(&self, labels: &Value) -> bool {
        let value = labels[&self.key].as_str();
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
        }
    }
}

impl FieldTerm {
    fn holds(&self, object: &Value) -> bool {
        let value = object.pointer(self.pointer).and_then(Value::as_str).unwrap_or_default();
        (value == self.value) == self.equal
    }
}

/// At the commas outside of parentheses.
fn split(labels: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut depth = 0;
    for char in labels.chars() {
        match char {
            ',' if depth == 0 => terms.push(String::new()),
            char => {
                depth += i32::from(char == '(') - i32::from(char == ')');
                terms.last_mut().expect("there is always one").push(char);
            }
        }
    }
    terms.into_iter().map(|term| term.trim().to_owned()).filter(|term| !term.is_empty()).collect()
}

fn label_term(term: &str) -> Result<LabelTerm, Failure> {
    let values = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    let parsed = if let Some((key, list)) = term.split_once(" notin ") {
        values(list).map(|values| (key, Test::NotIn(values)))
    } else if let Some((key, list)) = term.split_once(" in ") {
        values(list).map(|values| (key, Test::In(values)))
    } else if let Some((key, value)) = term.split_once("!=") {
        Some((key, Test::NotIn(one(value))))
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        Some((key, Test::In(one(value))))
    } else if let Some(key) = term.strip_prefix('!') {
        Some((key, Test::Absent))
    } else {
        Some((term, Test::Exists))
    };
    let unreadable = || Failure::bad_request(format!("unable to parse requirement: {term:?}"));
    let (key, test) = parsed.filter(|(key, _)| is_label(key.trim())).ok_or_else(unreadable)?;
    Ok(LabelTerm { key: key.trim().to_owned(), test })
}

fn is_label(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|char| char.is_ascii_alphanumeric() || "-_./".contains(char))
}

fn field_term(resource: &Resource, term: &str) -> Result<FieldTerm, Failure> {
    let unreadable = || Failure::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'"));
    let (label, equal, value) = if let Some((label, value)) = term.split_once("!=") {
        (label, false, value)
    } else {
        let (label, value) = term.split_once("==").or_else(|| term.split_once('=')).ok_or_else(unreadable)?;
        (label, true, value)
    };
    let pointer = pointer(resource, label).ok_or_else(|| unsupported(resource, label))?;
    Ok(FieldTerm { pointer, equal, value: value.to_owned() })
}

/// The fields objects may be selected by.
fn pointer(resource: &Resource, label: &str) -> Option<&'static str> {
    let of_events = resource.collection == crate::resource::EVENTS;
    match (label, resource.kind.as_str()) {
        ("metadata.name", _) => Some("/metadata/name"),
        ("metadata.namespace", _) if resource.namespaced => Some("/metadata/namespace"),
        ("type", "Secret") => Some("/type"),
        ("spec.nodeName", "Pod") => Some("/spec/nodeName"),
        ("status.phase", "Pod" | "Namespace") => Some("/status/phase"),
        ("type", _) if of_events => Some("/type"),
        ("reason", _) if of_events => Some("/reason"),
        ("involvedObject.kind" | "regarding.kind", _) if of_events => Some("/involvedObject/kind"),
        ("involvedObject.name" | "regarding.name", _) if of_events => Some("/involvedObject/name"),
        ("involvedObject.namespace" | "regarding.namespace", _) if of_events => Some("/involvedObject/namespace"),
        ("involvedObject.uid" | "regarding.uid", _) if of_events => Some("/involvedObject/uid"),
        _ => None,
    }
}

/// Defined kinds are selected by less, and say so in other words.
fn unsupported(resource: &Resource, label: &str) -> Failure {
    match resource.defined {
        Some(_) => Failure::bad_request(format!("field label not supported: {label}")),
        None => Failure::bad_request(format!(
            "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Selector;
    use crate::resource::registry::Registry;

    fn secrets(labels: &str, fields: &str) -> Option<Selector> {
        let secrets = Registry::new().called("Secret").expect("built in");
        Selector::parse(&secrets, labels, fields).ok()
    }

    #[test]
    fn labels_are_selected_as_written() {
        let object = json!({"metadata": {"labels": {"app": "shop", "tier": "web"}}});
        let cases = [
            ("", true),
            ("app=shop", true),
            ("app==shop,tier=db", false),
            ("app!=shop", false),
            ("zone!=eu", true),
            ("app", true),
            ("!app", false),
            ("!zone", true),
            ("tier in (db, web),app", true),
            ("tier notin (db,web)", false),
            ("zone notin (eu)", true),
        ];
        for (labels, expected) in cases {
            assert_eq!(secrets(labels, "").expect(labels).wants(&object), expected, "{labels}");
        }
        for labels in ["tier in web", "=a", "a b"] {
            assert!(secrets(labels, "").is_none(), "{labels}");
        }
    }

    #[test]
    fn fields_are_selected_as_written() {
        let object = json!({"metadata": {"name": "a", "namespace": "shop"}, "type": "Opaque"});
        let cases = [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("metadata.namespace==shop,type=Opaque", true),
            ("type!=kubernetes.io/tls", true),
        ];
        for (fields, expected) in cases {
            assert_eq!(secrets("", fields).expect(fields).wants(&object), expected, "{fields}");
        }
        assert!(secrets("", "data.key=1").is_none());
        assert!(secrets("", "metadata.name").is_none());
    }
}
