//! What the admin API says, as far as it is shown.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::api::Trouble;

/// A release, and how far it is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Release {
    pub(super) name: String,
    pub(super) stable: String,
    pub(super) canary: String,
    pub(super) status: String,
    pub(super) percent: f64,
    pub(super) phases: Vec<Phase>,
    pub(super) number: u64,
    pub(super) since: Option<String>,
    pub(super) phase_seconds: f64,
    pub(super) next_phase_in_seconds: Option<f64>,
    pub(super) hold: Option<String>,
    #[serde(default)]
    pub(super) headroom: Option<Headroom>,
    pub(super) last: Option<Change>,
    pub(super) rolled_back_here: bool,
    pub(super) audience: Vec<Rule>,
    pub(super) analysis: Analysis,
}

/// Whether there is room for the users of the next phase.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Headroom {
    pub(super) enough: bool,
    pub(super) text: String,
}

/// How its canary is judged.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Analysis {
    pub(super) mode: String,
    /// While nobody is in the canary group yet.
    pub(super) preflight: Option<Preflight>,
    pub(super) report: Option<Report>,
    #[serde(default)]
    pub(super) failing_users: FailingUsers,
}

/// Users of whom a request has failed, of those who came lately.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FailingUsers {
    pub(super) canary: usize,
    pub(super) stable: usize,
}

/// How those who come in first fare before the release.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Preflight {
    pub(super) division: String,
    pub(super) text: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Report {
    pub(super) verdict: String,
    pub(super) text: String,
    pub(super) evidence: f64,
    pub(super) threshold: f64,
    #[serde(default)]
    pub(super) without_cookie: Option<f64>,
    pub(super) metrics: Vec<Metric>,
}

/// What is judged.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metric {
    pub(super) canary: Count,
    pub(super) control: Count,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Count {
    pub(super) requests: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Phase {
    pub(super) percent: f64,
    pub(super) lasts_seconds: Option<f64>,
}

/// Something that was done.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Change {
    pub(super) action: String,
    pub(super) by: String,
    pub(super) reason: String,
    pub(super) at: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) percent: f64,
    pub(super) follows_phase: bool,
    pub(super) compared: Compared,
}

/// How those within a share fare, and those outside it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Compared {
    pub(super) canary: Arm,
    pub(super) control: Arm,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Arm {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// An entry of history.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) number: u64,
    #[serde(flatten)]
    pub(super) change: Change,
    pub(super) status: String,
    pub(super) percent: f64,
}

/// Whether a release may go on.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Verdict {
    pub(super) release: String,
    pub(super) verdict: String,
    pub(super) decided: bool,
    pub(super) reason: String,
    pub(super) status: String,
    pub(super) percent: f64,
    pub(super) number: u64,
}

/// What an order came to.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) changed: bool,
    pub(super) number: u64,
    pub(super) status: String,
    pub(super) percent: f64,
    /// The instances that have applied it, where it was waited for.
    pub(super) applied: Option<Vec<String>>,
    #[serde(default)]
    pub(super) waiting: Vec<String>,
}

/// All instances.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Fleet {
    pub(super) instances: Vec<Instance>,
    /// Whether etcd is heard.
    pub(super) heard: bool,
}

/// One of them, as far as it says anything.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) applied: Option<i64>,
    pub(super) ready: Option<bool>,
}

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Trouble> {
    serde_json::from_value(answer)
        .map_err(|error| Trouble::Unreached(format!("the answer is of another version: {error}")))
}
