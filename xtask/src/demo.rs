//! `cargo xtask demo`: from a clone to a picture, quickly.

use crate::Outcome;
use crate::install;
use crate::shell::{cargo, run, say};

/// Builds with the development profile, which is optimised enough to look at and compiles in a fraction of the time of
/// a release; the tests use the same build.
pub(crate) fn demo(args: &[String]) -> Outcome {
    install::to_build()?;
    say("building Serin; the first time this takes a minute or two");
    run(cargo(["run", "--quiet", "--package", "serin", "--bin", "serin", "--", "demo"]).args(args))
}
