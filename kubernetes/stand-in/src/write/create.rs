//! Creating objects.

use serde_json::Value;

use super::commit::Draft;
use super::{Options, Target, Written, check, kinds, metadata};
use crate::apply::managed::Managed;
use crate::state::State;
use crate::status::{Cause, Failure};

/// Creates an object, with the name it brings or one that is made up.
pub(crate) fn create(
    state: &mut State,
    target: &Target,
    mut object: Value,
    options: &Options,
) -> Result<Written, Failure> {
    check::body(target, &mut object)?;
    let target = &named(target, &object)?;
    check::name(target, &mut object)?;
    create_as(state, target, object, None, options)
}

/// The same where the name is known and the body checked.
pub(super) fn create_as(
    state: &mut State,
    target: &Target,
    mut object: Value,
    managed: Option<Managed>,
    options: &Options,
) -> Result<Written, Failure> {
    check::valid_name(target)?;
    check::namespace_exists(state, target)?;
    if object["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) && !options.trusted {
        return Err(Failure::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    if target.resource.status && !options.trusted {
        kinds::forget_status(&target.resource, &mut object);
    }
    metadata::begin(target, &mut object, options);
    target.resource.to_stored(&mut object);
    if state.store.find(&target.key()).is_some() {
        return Err(Failure::already_exists(&target.resource, &target.name));
    }
    Draft { target, options, old: None, object, managed }.commit(state)
}

fn named(target: &Target, object: &Value) -> Result<Target, Failure> {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let name = match (text("name"), text("generateName")) {
        ("", "") => {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Failure::invalid(&target.resource, "", vec![cause]));
        }
        ("", prefix) => {
            check::valid_prefix(target, prefix)?;
            format!("{prefix}{}", metadata::suffix())
        }
        (name, _) => name.to_owned(),
    };
    Ok(Target { name, ..target.clone() })
}
