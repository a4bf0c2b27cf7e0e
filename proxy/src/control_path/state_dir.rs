//! The last good rules on disk, for a start when the files are broken or gone.
//!
//! Written to a temporary file, synced and renamed, so that there is always one whole file; the one before is kept
//! beside it. A checksum tells a damaged file from a good one. Nothing here can touch traffic: what fails is logged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Stores rules. The previous ones stay beside them.
    ///
    /// # Errors
    /// The disk is full, for example. The stored rules are then what they were.
    pub fn save(&self, settings: &Settings, rules: Spec) -> io::Result<()> {
        let saved_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let body = serde_json::to_vec(&Stored { saved_at, settings: settings.clone(), rules })?;
        let header = serde_json::to_vec(&Header { format: FORMAT, sha256: checksum(&body) })?;
        let mut text = header;
        text.push(b'\n');
        text.extend_from_slice(&body);
        let current = self.folder.join(CURRENT);
        match fs::hard_link(&current, self.folder.join("previous.tmp")) {
            Ok(()) => fs::rename(self.folder.join("previous.tmp"), self.folder.join(PREVIOUS))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(self.folder.join("previous.tmp"))?
            }
            Err(error) => return Err(error),
        }
        self.write(CURRENT, &text)
    }

    /// The stored rules; those before them if they are damaged.
    ///
    /// # Errors
    /// Neither can be used; says why for the newer one.
    pub fn restore(&self) -> Result<Stored, RestoreError> {
        read(&self.folder.join(CURRENT)).or_else(|newer| read(&self.folder.join(PREVIOUS)).map_err(|_| newer))
    }

    /// A secret of 32 bytes that is made once and stays.
    ///
    /// # Errors
    /// It can neither be read nor made.
    pub fn secret(&self) -> io::Result<[u8; 32]> {
        let path = self.folder.join(SECRET);
        match fs::read(&path) {
            Ok(bytes) => {
                bytes.try_into().map_err(|_| io::Error::other(format!("{} does not hold 32 bytes", path.display())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = crate::random::secret()?;
                self.write(SECRET, &secret)?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!("{name}.tmp"));
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join(name))?;
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
const SECRET: &str = "secret";
