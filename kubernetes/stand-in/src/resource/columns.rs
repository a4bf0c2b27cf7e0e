//! The columns `kubectl get` shows of a kind, and the small part of JSONPath they are written in.

use serde_json::{Value, json};

use crate::clock;

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: String,
}

impl Column {
    /// As a definition says it.
    pub(super) fn new(spec: &Value) -> Self {
        let text = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: match spec["description"].as_str() {
                Some(description) => description.to_owned(),
                None => format!("Custom resource definition column (in JSONPath format): {}", text("jsonPath")),
            },
            priority: spec["priority"].as_i64().unwrap_or_default(),
            path: text("jsonPath"),
        }
    }

    /// What is shown of a kind that says nothing.
    pub(crate) fn age() -> Self {
        Self::new(&json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "When the object was made.",
        }))
    }

    pub(crate) fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }

    /// The cell of this object. What is absent is shown as nothing, or as unknown where it is a time.
    pub(crate) fn cell(&self, object: &Value) -> Value {
        let found = find(object, &self.path);
        match (found.first(), self.kind.as_str()) {
            (Some(value), "date") => {
                value.as_str().and_then(clock::age).unwrap_or_else(|| "<unknown>".to_owned()).into()
            }
            (None, "date") => "<unknown>".into(),
            (None, _) => Value::Null,
            (Some(value), "string") => text(value).into(),
            (Some(value), _) => (*value).clone(),
        }
    }
}

/// Texts are shown as they are, everything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The values at a path as `.a.b[0]`, `.a[*].b` or `.a[?(@.type=="Ready")].b`.
pub(crate) fn find<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps(path) {
        found = found.into_iter().flat_map(|value| take(value, &step)).filter(|value| !value.is_null()).collect();
    }
    found
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    /// Items whose field has this value.
    Where(String, String),
}

fn take<'v>(value: &'v Value, step: &Step) -> Vec<&'v Value> {
    let items = || value.as_array().into_iter().flatten();
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => value.get(index).into_iter().collect(),
        Step::All => items().collect(),
        Step::Where(path, wanted) => {
            items().filter(|item| find(item, path).iter().any(|v| text(v) == *wanted)).collect()
        }
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let end = end_of_bracket(bracket);
            steps.push(bracketed(&bracket[..end]));
            rest = bracket.get(end + 1..).unwrap_or_default();
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let (name, after) = field_name(field);
            if !name.is_empty() {
                steps.push(Step::Field(name));
            }
            rest = after;
        }
    }
    steps
}

/// Up to the next step. A dot behind a backslash belongs to the name, as in `.labels.app\.kubernetes\.io/name`.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => name.extend(chars.next().map(|(_, char)| char)),
            '.' | '[' => return (name, &text[at..]),
            char => name.push(char),
        }
    }
    (name, "")
}

/// A filter may have brackets of its own within its quotes.
fn end_of_bracket(text: &str) -> usize {
    let mut quote = None;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (None, ']') => return at,
            (None, '"' | '\'') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn bracketed(text: &str) -> Step {
    let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    if let Some(filter) = text.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==").unwrap_or((filter, ""));
        return Step::Where(path.trim().trim_start_matches('@').to_owned(), unquoted(wanted));
    }
    match text.parse() {
        Ok(index) => Step::Index(index),
        Err(_) if text == "*" => Step::All,
        Err(_) => Step::Field(unquoted(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::find;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let object = json!({
            "spec": {"weights": [5, 95], "a.b": 1},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "a]b", "status": "False"}]},
        });
        let cases = [
            (".spec.weights[1]", json!([95])),
            (".spec.weights[*]", json!([5, 95])),
            (r".spec.a\.b", json!([1])),
            (".spec['a.b']", json!([1])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (r#"{.status.conditions[?(@.type=="a]b")].status}"#, json!(["False"])),
            (".status.absent.deeper", json!([])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }
}
