//! One document in the state folder, with a checksum, and the one before it.
//!
//! Written to a temporary file, synced and renamed, so that there is always one whole file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RestoreError;
use crate::control_path::hex;

/// Where a document is in its folder, by generation.
pub(super) struct Generations {
    pub(super) current: &'static str,
    pub(super) previous: &'static str,
    pub(super) damaged: &'static str,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
}

impl Generations {
    /// Stores a document. The previous one stays beside it.
    pub(super) fn save(&self, folder: &Path, document: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_vec(document)?;
        let header = serde_json::to_vec(&Header { format: FORMAT, sha256: checksum(&body) })?;
        make(folder)?;
        // Everything that takes room comes first: a full disk changes nothing.
        let temporary = write_temporary(folder, self.current, &[&header, b"\n", &body])?;
        // Between the two renames there is no current file, and the previous one is the newest.
        if let Err(error) = fs::rename(folder.join(self.current), folder.join(self.previous))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        rename(folder, &temporary, self.current)
    }

    /// The stored document; the one before if it is damaged. An error is about the newer one.
    pub(super) fn restore<T: DeserializeOwned>(&self, folder: &Path) -> Result<T, RestoreError> {
        let newer = match read(&folder.join(self.current)) {
            Ok(document) => return Ok(document),
            Err(error) => error,
        };
        let previous = read(&folder.join(self.previous)).map_err(|_| newer.clone())?;
        tracing::warn!(reason = %newer, "using the previous {}", self.previous);
        Ok(previous)
    }

    /// The stored document, and no older one: the one before only where there is no other, as when a save was cut short.
    /// Nothing if there never was one.
    pub(super) fn restore_newest<T: DeserializeOwned>(&self, folder: &Path) -> Result<Option<T>, RestoreError> {
        let is_there = |name: &&&str| folder.join(name).exists();
        let newest = [&self.current, &self.previous].into_iter().find(is_there);
        newest.map(|name| read(&folder.join(name))).transpose()
    }

    /// Why a file cannot be read that is there, or may be. Such a one is not to be written over.
    pub(super) fn why_unknown(&self, folder: &Path) -> Option<String> {
        [self.current, self.previous].into_iter().find_map(|name| match fs::read(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Some(format!("{}: {error}", folder.join(name).display()))
            }
            _ => None,
        })
    }

    /// Takes a damaged file out of the way, so that it does not replace the good one before it with the next save.
    pub(super) fn set_damaged_aside<T: DeserializeOwned>(&self, folder: &Path) {
        let current = folder.join(self.current);
        if let Err(RestoreError::Damaged(path, reason)) = read::<T>(&current) {
            tracing::error!(path = %path.display(), reason, "what is stored is damaged");
            let _ = fs::rename(&current, folder.join(self.damaged));
        }
    }
}

pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn write_temporary(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<PathBuf> {
    let temporary = folder.join(format!("{name}.tmp"));
    // One that was left behind may have another owner or mode.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file on a full disk helps nobody.
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| temporary)
}

pub(super) fn rename(folder: &Path, temporary: &Path, name: &str) -> io::Result<()> {
    fs::rename(temporary, folder.join(name))?;
    // The rename itself is durable only once the folder is.
    File::open(folder)?.sync_all()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RestoreError> {
    let text = fs::read(path).map_err(|error| RestoreError::Io(path.to_owned(), error.to_string()))?;
    parse(&text).map_err(|reason| RestoreError::Damaged(path.to_owned(), reason))
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let end = text.iter().position(|&byte| byte == b'\n').ok_or("no header")?;
    let header: Header = serde_json::from_slice(&text[..end]).map_err(|error| format!("header: {error}"))?;
    let body = &text[end + 1..];
    if header.format != FORMAT {
        return Err(format!("format {} is not {FORMAT}", header.format));
    }
    if header.sha256 != checksum(body) {
        return Err("the checksum does not fit: the file was damaged".into());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn checksum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

const FORMAT: u32 = 1;
