//! From what operators wrote to the snapshot that workers read:
//! source ▸ decode ▸ catalog (validate, keep the last good) ▸ assemble (compile) ▸ publish (swap). Beside it: what
//! endpoints were seen to do ▸ weights, twice a second; what name services say ▸ publish.

use std::path::{Path, PathBuf};

pub mod acme;
pub mod assemble;
pub mod breakers;
pub mod catalog;
pub mod certificates;
pub mod check;
pub mod decode;
pub mod discovery;
pub mod environments;
pub mod etcd;
pub mod fleet;
mod follow;
pub mod geo;
pub mod health;
mod https;
pub mod limits;
pub mod publish;
pub mod release;
pub mod saver;
pub mod secret;
pub mod source;
pub mod state_dir;
pub mod tickets;
mod traffic;
pub mod transfer;
pub mod weights;

/// The folder where relative paths of a main file begin.
fn folder_of(main: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).to_owned()
}

/// In hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
