//! How far releases have come: where that is stored, how orders are carried out, and what happens by itself.
//!
//! What decides is the brain's ([`ReleaseRecord`]); here each record is written so that it follows the one before, whoever
//! else writes meanwhile. The data path reads none of this: records are part of the rules thread's inputs, and come into
//! force with a swap.

mod analysis;
mod desk;
mod document;
mod folder;
mod headroom;
mod in_etcd;
mod in_objects;
mod judgement;
mod preview;
mod steward;
mod store;
mod then;
mod told;
mod unwritten;
mod verdicts;
pub mod webhooks;
mod written;

use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;

pub(crate) use analysis::is_analysed;
pub use analysis::{APART, Finding, FleetAnalysis, Observer, Reports, StoredAnalysis, WindowCounts};
pub use desk::{Desk, Done, Expected, OrderError, RolledBack};
pub(crate) use document::time;
pub use document::{Entry, StoredHistories, StoredRecords};
pub use folder::FolderStore;
pub use headroom::Loads;
pub use in_etcd::{EtcdStore, RECORDS};
pub use in_objects::{ObjectCursors, ObjectStore, records_of_objects};
pub use judgement::Judgement;
pub use preview::{TakenBack, as_it_would_be, seen, taken_back};
pub use steward::{Steward, TellWritten};
pub use store::{Store, StoreError};
pub use then::{History, then};
pub use told::ToldChange;
pub use unwritten::{Rollback, Unwritten};
pub use verdicts::VerdictWriter;
pub use written::written;

/// The newest record of each release.
pub type Records = OrdMap<Name, Arc<ReleaseRecord>>;
