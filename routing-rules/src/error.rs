//! One kind of error: a rule that is not right, with the place where an operator finds it.

use std::fmt;

/// Why a spec was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct RuleError {
    /// Path from the root of the spec, for example `routes.shop.paths[0].regex`.
    pub at: String,
    /// What is wrong, and where it helps, what would be right.
    pub reason: String,
}

/// A key that was pasted into the wrong field is not to be read wherever problems are.
fn without_pem(reason: String) -> String {
    let Some((before, pem)) = reason.split_once("-----BEGIN ") else { return reason };
    let behind = pem.rsplit_once("-----END ").and_then(|(_, end)| end.split_once("-----"));
    format!("{before}(a PEM text){}", behind.map_or("", |(_, behind)| behind))
}

/// Collects the problems of one object, so that all of them are reported at once.
pub(crate) struct Problems<'a> {
    at: String,
    found: &'a mut Vec<RuleError>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(at: impl Into<String>, found: &'a mut Vec<RuleError>) -> Self {
        Self { at: at.into(), found }
    }

    /// A place below this one: a field (`hosts`) or an element (`[1]`).
    pub(crate) fn at(&mut self, step: impl fmt::Display) -> Problems<'_> {
        let step = step.to_string();
        let dot = if self.at.is_empty() || step.starts_with('[') { "" } else { "." };
        Problems { at: format!("{}{dot}{step}", self.at), found: &mut *self.found }
    }

    pub(crate) fn report(&mut self, reason: impl fmt::Display) {
        self.found.push(RuleError { at: self.at.clone(), reason: without_pem(reason.to_string()) });
    }

    /// How many problems there are so far, of all objects.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// The value, or a report and nothing.
    pub(crate) fn ok<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.report(error)).ok()
    }

    /// Converts every element and reports those that cannot be; `None` if any could not.
    pub(crate) fn each<S, T, E: fmt::Display>(
        &mut self,
        items: impl IntoIterator<Item = S>,
        mut convert: impl FnMut(S) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let mut converted = Vec::new();
        let mut complete = true;
        for (index, item) in items.into_iter().enumerate() {
            match self.at(format_args!("[{index}]")).ok(convert(item)) {
                Some(value) => converted.push(value),
                None => complete = false,
            }
        }
        complete.then_some(converted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_quotes_a_key() {
        for (reason, wanted) in [
            ("`a.test` is no name", "`a.test` is no name"),
            (
                "there is no `-----BEGIN PRIVATE KEY-----\\nMIIE==\\n-----END PRIVATE KEY-----\\n`; see there",
                "there is no `(a PEM text)\\n`; see there",
            ),
            ("`-----BEGIN PRIVATE KEY-----\\nMIIE==` is no name", "`(a PEM text)"),
        ] {
            assert_eq!(without_pem(reason.to_owned()), wanted);
        }
    }
}
