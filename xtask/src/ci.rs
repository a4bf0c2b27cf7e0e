//! `cargo xtask ci`: what CI runs, here.

use std::process::Command;

use crate::Outcome;
use crate::shell::run;

/// The steps are in `.ci/run`, once.
pub(crate) fn ci() -> Outcome {
    run(&mut Command::new(".ci/run"))
}
