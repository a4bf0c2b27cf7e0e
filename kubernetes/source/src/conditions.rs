//! Conditions: what is so of an object, why, and since when.

use routing_rules::RuleError;
use serde_json::{Value, json};

/// Something that is so, or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Why something is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In one word: where there is one that Gateway API has, in that.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// What there is no rule of Serin for.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedValue", message)
    }

    /// Says where.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
}

impl Condition {
    /// It is so. The reason then is the condition's own name, but for one.
    pub(crate) fn holds(kind: &'static str, message: &str) -> Self {
        Self { kind, holds: true, reason: kind, message: message.into() }
    }

    /// It is so unless it is refused.
    pub(crate) fn unless(kind: &'static str, refusal: Option<&Refusal>, message: &str) -> Self {
        match refusal {
            None => Self::holds(kind, message),
            Some(Refusal { reason, message }) => Self { kind, holds: false, reason, message: message.clone() },
        }
    }

    /// As the API has it. It stands `since` now, if it did not stand so `before`.
    fn written(&self, generation: i64, before: &Value, now: &str) -> Value {
        let status = if self.holds { "True" } else { "False" };
        let mut known = before.as_array().into_iter().flatten();
        let known = known.find(|known| known["type"] == self.kind && known["status"] == status);
        let since = known.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": self.kind,
            "status": status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        })
    }
}

/// What is wrong first of all with an object of the rules, such as `routes.a`: where in it, and why.
pub(crate) fn first<'p>(problems: &'p [RuleError], object: &str) -> Option<(&'p str, &'p str)> {
    let RuleError { at, reason, .. } = problems.first()?;
    Some((at.strip_prefix(object).unwrap_or(at), reason))
}

/// Conditions as the API has them.
pub(crate) fn written(conditions: &[Condition], generation: i64, before: &Value, now: &str) -> Value {
    conditions.iter().map(|condition| condition.written(generation, before, now)).collect()
}
