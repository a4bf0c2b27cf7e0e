//! What passes between a client and an endpoint, written down as varnishtest reads it: each file of `varnishtest/` is a promise,
//! and both sides of the wire that it is kept on.
//!
//! For each a Serin of its own, whose addresses the file knows by name: `${serin}` and `${announced}` (by the PROXY protocol) are
//! listeners, `${endpoint}` is where the file's server is to listen. For the host `h2.test` that speaks HTTP/2. Of trailers `x-sum`
//! passes, but not for `plain.test`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Serin, free_address, output_of};

#[test]
fn every_promise_is_kept_on_the_wire() {
    let failures: Vec<String> = files().iter().filter_map(|file| failure(file)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// In the order of their names.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/varnishtest");
    let entries = folder.read_dir().expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// The name of the file and its whole log, unless all was as it says.
fn failure(file: &Path) -> Option<String> {
    let endpoint = free_address();
    let serin = serving(endpoint);
    let addresses =
        [("serin", serin.address_of("web")), ("announced", serin.address_of("announced")), ("endpoint", endpoint)];
    let mut varnishtest = Command::new("varnishtest");
    for (name, address) in addresses {
        varnishtest.arg("-D").arg(format!("{name}={address}"));
    }
    // It keeps its own files there.
    varnishtest.args(["-t", SECONDS]).arg(file).env("TMPDIR", serin.folder.path());
    let said = output_of(&mut varnishtest)?;
    let log = || [said.stdout.as_slice(), &said.stderr].map(String::from_utf8_lossy).concat();
    // A file that was skipped has shown nothing.
    let has_passed = said.status.code() == Some(0);
    (!has_passed).then(|| format!("{} ({}):\n{}", file.display(), said.status, log()))
}

fn serving(endpoint: SocketAddr) -> Serin {
    Serin::start(&format!(
        "listeners:\n  web: {{address: \"127.0.0.1:0\"}}\n  \
         announced: {{address: \"127.0.0.1:0\", proxy_protocol: {{from: [127.0.0.0/8]}}}}\nworkers: 1\n\
         routes:\n  a: {{hosts: [a.test], upstream: http1, trailers: [x-sum]}}\n  \
         plain: {{hosts: [plain.test], upstream: http1}}\n  \
         h2: {{hosts: [h2.test], upstream: http2, trailers: [x-sum]}}\n\
         upstreams:\n  http1: {{endpoints: [\"{endpoint}\"]}}\n  http2: {{protocol: h2c, endpoints: [\"{endpoint}\"]}}\n"
    ))
}

/// How long a file may take.
const SECONDS: &str = "20";
