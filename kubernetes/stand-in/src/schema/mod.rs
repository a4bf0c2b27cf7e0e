//! The schema of a defined kind: what it drops, fills in and refuses. Rules in CEL (`x-kubernetes-validations`) are
//! not evaluated.

mod convert;
mod defaults;
mod problems;
mod prune;

use std::fmt;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::status::Cause;

/// A structural schema, ready for use.
#[derive(Clone)]
pub(crate) struct Schema {
    written: Value,
    validator: Arc<Validator>,
}

impl Schema {
    /// Of a schema without problems.
    pub(crate) fn new(written: &Value) -> Self {
        let validator = compile(written).expect("a definition with another schema was refused");
        Self { written: written.clone(), validator: Arc::new(validator) }
    }

    /// Why it is none, if so.
    pub(crate) fn problem(written: &Value) -> Option<String> {
        compile(written).err()
    }

    /// Removes what the schema does not know; says which fields these were.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.written, object)
    }

    pub(crate) fn set_defaults(&self, object: &mut Value) {
        defaults::set(&self.written, object);
    }

    /// What is wrong with the object.
    pub(crate) fn problems(&self, object: &Value) -> Vec<Cause> {
        let mut causes: Vec<Cause> =
            self.validator.iter_errors(object).flat_map(|error| problems::causes(&error)).collect();
        causes.extend(problems::duplicates(&self.written, object, ""));
        causes
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(out)
    }
}

fn compile(written: &Value) -> Result<Validator, String> {
    let schema = convert::to_json_schema(written);
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft4).should_validate_formats(true);
    options.should_ignore_unknown_formats(true).build(&schema).map_err(|error| error.to_string())
}

/// Whether a field of the whole object is the API's own, which no schema says anything of.
fn is_own(path: &str) -> bool {
    matches!(path, "apiVersion" | "kind" | "metadata")
}
