//! What `docker build` sends is enough to build.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::reference::workspace;

/// Cargo finds every member of the workspace among what is sent, and the Dockerfile what it runs.
#[test]
fn the_workspace_is_whole_in_it() {
    let ignored = fs::read_to_string(workspace().join("docker/Dockerfile.dockerignore")).expect("it is there");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for sent in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        copy(&workspace().join(sent), &folder.path().join(sent));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"]);
    let output = command.current_dir(folder.path()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("docker/root.sh").exists());
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().expect("it is in a folder")).expect("room");
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let name = entry.expect("it can be read").file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}
