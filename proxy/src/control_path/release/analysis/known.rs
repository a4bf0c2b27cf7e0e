//! All that is known of a release: of the time before it, and of the run that it is in or was in last. What of it still holds, whoever
//! asks finds out.

use routing_rules::rules::Release;
use serde::{Deserialize, Serialize};

use super::before::{Before, StoredBefore};
use super::run::{Run, StoredRun};

/// What is known of a release. Both, while it has gone back to 0 %.
#[derive(Default)]
pub(super) struct Known {
    pub(super) before: Option<Before>,
    pub(super) run: Option<Run>,
}

/// The same, as a process keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnyForm")]
pub struct StoredAnalysis {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<StoredBefore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<StoredRun>,
}

/// Once there was nothing but the run.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected what is known of a run, or of the time before it")]
enum AnyForm {
    Both(Box<Both>),
    Run(Box<StoredRun>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    before: Option<StoredBefore>,
    run: Option<StoredRun>,
}

impl From<AnyForm> for StoredAnalysis {
    fn from(form: AnyForm) -> Self {
        match form {
            AnyForm::Both(both) => Self { before: both.before, run: both.run },
            AnyForm::Run(run) => Self { before: None, run: Some(*run) },
        }
    }
}

impl StoredAnalysis {
    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_none() && self.run.is_none()
    }

    /// All of it, whatever stage the release is in.
    pub(super) fn known(self, rules: &Release) -> Known {
        Known {
            before: self.before.map(|before| Before::resume(rules, before)),
            run: self.run.map(|run| Run::resume(rules.analysis().settings.clone(), run)),
        }
    }
}
