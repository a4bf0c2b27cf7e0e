//! A release as a file has it, for whoever asks what would become of it.

use std::sync::Arc;

use routing_rules::spec::ReleaseSpec;

use crate::control_path::decode::{self, Problem};

/// The release of this name in a file of rules, or the one that the file is.
///
/// # Errors
/// All that is wrong with it.
pub fn written(source: &Arc<str>, bytes: &[u8], name: &str) -> Result<ReleaseSpec, Vec<Problem>> {
    let root = decode::parse_bytes(source, bytes).map_err(|problem| vec![problem])?;
    let (node, path) = match root.get("releases") {
        None => (&root, String::new()),
        Some(releases) => {
            let reason = || format!("no release is called `{}`", name.escape_debug());
            let node = releases.get(name).ok_or_else(|| vec![root.problem(source, "releases", reason())])?;
            (node, format!("releases.{name}"))
        }
    };
    let mut problems = Vec::new();
    decode::decode(source, node, &path, &mut problems).ok_or(problems)
}
