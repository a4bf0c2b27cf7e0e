//! The last good rules on disk, for a start when the files are broken or gone, and the endpoints that were found last, for one
//! when a name service is away.
//!
//! There is always one whole file of each; the one before is kept beside it. A checksum tells a damaged file from a good
//! one. Nothing here can touch traffic: what fails is logged.

mod endpoints;

mod file;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use routing_rules::spec::Spec;
use serde::{Deserialize, Serialize};

use super::acme::StoredOrders;
use super::release::webhooks::StoredCursors;
use super::release::{StoredAnalysis, StoredHistories, StoredRecords};
use crate::moment;
use crate::settings::Settings;
pub use endpoints::StoredEndpoints;
use file::Generations;

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
    /// Where releases were that a fleet shares.
    #[serde(default)]
    pub records: StoredRecords,
}

/// Why there are no stored rules.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// No file, or not readable.
    #[error("{0}: {1}")]
    Io(PathBuf, String),
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
        if let Err(error) = file::make(&state_dir.folder) {
            tracing::error!(folder = %folder.display(), %error, "cannot make the state folder");
        }
        Ok(state_dir)
    }

    /// Stores rules, and where releases are. The previous ones stay beside them.
    ///
    /// # Errors
    /// The disk is full, for example. The stored rules are then what they were.
    pub fn save(&self, settings: &Settings, rules: Spec, records: StoredRecords) -> io::Result<()> {
        let saved_at = moment::unix_ms() / 1_000;
        RULES.save(&self.folder, &Stored { saved_at, settings: settings.clone(), rules, records })
    }

    /// The stored rules; those before them if they are damaged.
    ///
    /// # Errors
    /// Neither can be used; says why for the newer one.
    pub fn restore(&self) -> Result<Stored, RestoreError> {
        RULES.restore(&self.folder)
    }

    /// Stores endpoints that were found.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_endpoints(&self, endpoints: &StoredEndpoints) -> io::Result<()> {
        ENDPOINTS.save(&self.folder, endpoints)
    }

    /// The stored endpoints, as far as there are any that can be used.
    pub fn restore_endpoints(&self) -> StoredEndpoints {
        ENDPOINTS.restore(&self.folder).unwrap_or_default()
    }

    /// What is locked by who writes what became of releases.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn lock_file(&self) -> io::Result<fs::File> {
        file::make(&self.folder)?;
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.folder.join("releases.lock"))
    }

    /// Stores what became of releases.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_histories(&self, histories: &StoredHistories) -> io::Result<()> {
        RELEASES.save(&self.folder, histories)
    }

    /// What became of releases. Nothing if nothing was ever stored.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn restore_histories(&self) -> Result<StoredHistories, RestoreError> {
        RELEASES.restore_newest(&self.folder).map(Option::unwrap_or_default)
    }

    /// Stores what analyses know, by release.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_analyses(&self, analyses: &BTreeMap<String, StoredAnalysis>) -> io::Result<()> {
        ANALYSES.save(&self.folder, analyses)
    }

    /// What analyses knew, as far as that can be used. Without it they begin anew.
    pub fn restore_analyses(&self) -> BTreeMap<String, StoredAnalysis> {
        ANALYSES.restore(&self.folder).unwrap_or_default()
    }

    /// Stores rollbacks that their store does not have yet.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_rollbacks(&self, rollbacks: &StoredRecords) -> io::Result<()> {
        ROLLBACKS.save(&self.folder, rollbacks)
    }

    /// Rollbacks that their store did not have yet.
    pub fn restore_rollbacks(&self) -> StoredRecords {
        ROLLBACKS.restore(&self.folder).unwrap_or_default()
    }

    /// Stores how far the receivers of webhooks have been told.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_cursors(&self, cursors: &StoredCursors) -> io::Result<()> {
        WEBHOOKS.save(&self.folder, cursors)
    }

    /// How far they had been told, as far as that can be used.
    pub fn restore_cursors(&self) -> StoredCursors {
        WEBHOOKS.restore(&self.folder).unwrap_or_default()
    }

    /// Stores accounts at authorities, and what was issued there. Only Serin's user can read it: there are keys in it.
    ///
    /// # Errors
    /// As with rules.
    pub fn save_orders(&self, orders: &StoredOrders) -> io::Result<()> {
        ORDERS.save(&self.folder, orders)
    }

    /// What was stored of them; what was stored before if that is damaged.
    ///
    /// # Errors
    /// Neither can be used; says why for the newer one.
    pub fn restore_orders(&self) -> Result<StoredOrders, RestoreError> {
        ORDERS.restore(&self.folder)
    }

    /// Why it cannot be known what was stored of them, although there may be something.
    pub fn why_orders_are_unknown(&self) -> Option<String> {
        ORDERS.why_unknown(&self.folder)
    }

    /// Takes damaged files out of the way, so that they do not replace the good ones before them with the next save.
    pub(super) fn set_damaged_aside(&self) {
        RULES.set_damaged_aside::<Stored>(&self.folder);
        ENDPOINTS.set_damaged_aside::<StoredEndpoints>(&self.folder);
        ROLLBACKS.set_damaged_aside::<StoredRecords>(&self.folder);
        ANALYSES.set_damaged_aside::<BTreeMap<String, StoredAnalysis>>(&self.folder);
        WEBHOOKS.set_damaged_aside::<StoredCursors>(&self.folder);
        ORDERS.set_damaged_aside::<StoredOrders>(&self.folder);
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
        let kept = self.keep(SECRET, &secret);
        if let Err(error) = kept {
            tracing::error!(path = %path.display(), %error, "the secret cannot be kept; pins end with this process");
        }
        Ok(secret)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        file::make(&self.folder)?;
        file::rename(&self.folder, &file::write_temporary(&self.folder, name, &[bytes])?, name)
    }
}

const RULES: Generations =
    Generations { current: "rules.json", previous: "rules.previous.json", damaged: "rules.damaged.json" };
const ENDPOINTS: Generations =
    Generations { current: "endpoints.json", previous: "endpoints.previous.json", damaged: "endpoints.damaged.json" };
const RELEASES: Generations =
    Generations { current: "releases.json", previous: "releases.previous.json", damaged: "releases.damaged.json" };
const ANALYSES: Generations =
    Generations { current: "analyses.json", previous: "analyses.previous.json", damaged: "analyses.damaged.json" };
const ROLLBACKS: Generations =
    Generations { current: "rollbacks.json", previous: "rollbacks.previous.json", damaged: "rollbacks.damaged.json" };
const WEBHOOKS: Generations =
    Generations { current: "webhooks.json", previous: "webhooks.previous.json", damaged: "webhooks.damaged.json" };
const ORDERS: Generations =
    Generations { current: "acme.json", previous: "acme.previous.json", damaged: "acme.damaged.json" };
const SECRET: &str = "secret";

#[cfg(test)]
mod tests;
