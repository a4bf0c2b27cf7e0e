//! The last good rules on disk, for a start when the files are broken or gone.
//!
//! Written to a temporary file, synced and renamed, so that there is always one whole file; the one before is kept
//! beside it. A checksum tells a damaged file from a good one. Nothing here can touch traffic: what fails is logged.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use routing_rules::spec::Spec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::settings::Settings;

/// The folder of the `state_dir` setting.
#[derive(Clone, Debug)]
pub struct StateDir {
    folder: PathBuf,
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// When, in seconds since 1970.
    pub saved_at: u64,
    /// The settings of that start.
    pub settings: Settings,
    /// The rules in force.
    pub rules: Spec,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
}

/// Why there are no stored rules.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// No file, or not readable.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Not what this version writes, or changed since.
    #[error("{0}: {1}")]
    Damaged(PathBuf, String),
}

impl StateDir {
    /// Opens the folder, making it if need be. One that cannot be made is a reason to complain and not a reason not to
    /// serve: it is tried again with every save.
    ///
    /// # Errors
    /// None today.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let state_dir = Self { folder: folder.to_owned() };
        if let Err(error) = state_dir.make() {
            tracing::error!(folder = %folder.display(), %error, "cannot make the state folder");
        }
        Ok(state_dir)
    }

    /// Stores rules. The previous ones stay beside them.
    ///
    /// # Errors
    /// The disk is full, for example. The stored rules are then what they were.
    pub fn save(&self, settings: &Settings, rules: Spec) -> io::Result<()> {
        let saved_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body = serde_json::to_vec(&Stored { saved_at, settings: settings.clone(), rules })?;
        let header = serde_json::to_vec(&Header { format: FORMAT, sha256: checksum(&body) })?;
        self.make()?;
        // Everything that takes room comes first: a full disk changes nothing.
        let temporary = self.write_temporary(CURRENT, &[&header, b"\n", &body])?;
        // Between the two renames there is no current file, and the previous one is the newest.
        if let Err(error) = fs::rename(self.folder.join(CURRENT), self.folder.join(PREVIOUS))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        self.rename(&temporary, CURRENT)
    }

    /// The stored rules; those before them if they are damaged.
    ///
    /// # Errors
    /// Neither can be used; says why for the newer one.
    pub fn restore(&self) -> Result<Stored, RestoreError> {
        let newer = match read(&self.folder.join(CURRENT)) {
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        match read(&self.folder.join(PREVIOUS)) {
            Ok(stored) => {
                tracing::warn!(reason = %newer, "using the previous stored rules");
                Ok(stored)
            }
            Err(_) => Err(newer),
        }
    }

    /// Takes a damaged file out of the way, so that it does not replace the good one before it with the next save.
    pub(super) fn set_damaged_aside(&self) {
        let current = self.folder.join(CURRENT);
        if let Err(RestoreError::Damaged(path, reason)) = read(&current) {
            tracing::error!(path = %path.display(), reason, "the stored rules are damaged");
            let _ = fs::rename(&current, self.folder.join(DAMAGED));
        }
    }

    /// The secret of a folder, if there is one: for whoever only looks.
    pub fn read_secret(folder: &Path) -> Option<[u8; 32]> {
        fs::read(folder.join(SECRET)).ok()?.try_into().ok()
    }

    /// A secret of 32 bytes that is made once and stays. If the folder cannot keep it, it is one of this process only,
    /// and pins signed with it are worth nothing after a restart.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn secret(&self) -> io::Result<[u8; 32]> {
        let path = self.folder.join(SECRET);
        let reason = match fs::read(&path).map(<[u8; 32]>::try_from) {
            Ok(Ok(secret)) => return Ok(secret),
            Ok(Err(bytes)) => format!("holds {} bytes instead of 32", bytes.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => error.to_string(),
        };
        if !reason.is_empty() {
            tracing::error!(path = %path.display(), reason, "the secret cannot be used; pins made with it are void");
        }
        let secret = crate::random::secret()?;
        let kept = self.make().and_then(|()| self.rename(&self.write_temporary(SECRET, &[&secret])?, SECRET));
        if let Err(error) = kept {
            tracing::error!(path = %path.display(), %error, "the secret cannot be kept; pins end with this process");
        }
        Ok(secret)
    }

    fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    fn write_temporary(&self, name: &str, parts: &[&[u8]]) -> io::Result<PathBuf> {
        let temporary = self.folder.join(format!("{name}.tmp"));
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

    fn rename(&self, temporary: &Path, name: &str) -> io::Result<()> {
        fs::rename(temporary, self.folder.join(name))?;
        // The rename itself is durable only once the folder is.
        File::open(&self.folder)?.sync_all()
    }
}

fn read(path: &Path) -> Result<Stored, RestoreError> {
    let text = fs::read(path).map_err(|error| RestoreError::Io(path.to_owned(), error))?;
    parse(&text).map_err(|reason| RestoreError::Damaged(path.to_owned(), reason))
}

fn parse(text: &[u8]) -> Result<Stored, String> {
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
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

const FORMAT: u32 = 1;
const CURRENT: &str = "rules.json";
const PREVIOUS: &str = "rules.previous.json";
const DAMAGED: &str = "rules.damaged.json";
const SECRET: &str = "secret";

#[cfg(test)]
mod tests;
