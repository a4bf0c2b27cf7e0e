//! Files and folders that Serin will write: whether it could, asked without writing.

use std::path::Path;

use rustix::fs::{Access, access};

use crate::settings::Settings;

/// The settings that name what cannot be written, and why.
pub(super) fn unusable(settings: &Settings) -> impl Iterator<Item = (&'static str, String)> {
    let state_dir = settings.state_dir.as_deref().map(state_dir);
    let access_log = settings.access_log.as_ref().map(|log| match &*log.to {
        "stdout" | "stderr" => Ok(()),
        path => log_file(Path::new(path)),
    });
    let found = [("state_dir", state_dir), ("access_log.to", access_log)];
    found.into_iter().filter_map(|(field, result)| Some((field, result?.err()?)))
}

/// A folder that is not there is made at start, with those above it.
fn state_dir(path: &Path) -> Result<(), String> {
    match path.ancestors().find(|above| above.exists()) {
        Some(nearest) => writable_folder(nearest),
        None => Ok(()),
    }
}

/// A file that is not there is made at start, but no folder.
fn log_file(path: &Path) -> Result<(), String> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        _ if path.is_dir() => Err(format!("{} is a folder, not a file", path.display())),
        _ if path.exists() => allowed(path, Access::WRITE_OK),
        Some(folder) if !folder.exists() => Err(format!("there is no folder {}", folder.display())),
        Some(folder) => writable_folder(folder),
        None => Ok(()),
    }
}

fn writable_folder(path: &Path) -> Result<(), String> {
    match path.is_dir() {
        true => allowed(path, Access::WRITE_OK | Access::EXEC_OK),
        false => Err(format!("{} is not a folder", path.display())),
    }
}

fn allowed(path: &Path, access_wanted: Access) -> Result<(), String> {
    access(path, access_wanted).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
