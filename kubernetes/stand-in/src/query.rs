//! What a request says behind the question mark.

use std::collections::BTreeMap;

/// Its options, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Empty where it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.text(name), "1" | "true" | "True")
    }
}
