//! What an instance says of itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an instance says of itself. Fields that are missing or unknown are of another version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Instance {
    /// The version of Serin.
    pub version: String,
    /// When it started (RFC 3339).
    pub started: String,
    /// The revision of etcd up to which its rules are what etcd has, but for what is rejected.
    pub applied: i64,
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether its rules come from its state folder.
    pub stale: bool,
    /// What stands for its secret; that of all should be the same. Empty: it has none.
    pub secret: String,
    /// The version of its device table, likewise.
    pub devices: String,
    /// Whether it has releases that are analysed, and so reports what comes through it.
    pub reports: bool,
    /// How many problems it has with what is written.
    pub rejected: usize,
    /// The first of them.
    pub problems: Vec<Rejected>,
}

/// An instance as it is listed.
#[derive(Serialize, ToSchema)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Whether it leads.
    pub leader: bool,
    /// Absent where its key does not say.
    #[serde(flatten)]
    pub says: Option<Instance>,
}

/// One problem.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Rejected {
    /// The key or the file.
    pub source: String,
    /// The revision that wrote it, in etcd.
    pub revision: Option<i64>,
    /// What is wrong with it.
    pub reason: String,
}

impl Instance {
    /// What a value says.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > MOST_BYTES { None } else { serde_json::from_slice(value).ok() }
    }

    /// Adds problems, as many as there is room for.
    #[must_use]
    pub fn with_problems(mut self, count: usize, problems: impl Iterator<Item = Rejected>) -> Self {
        self.rejected = count;
        let short = |text: String| text.chars().take(MOST_CHARACTERS).collect();
        let problems = problems.take(MOST_PROBLEMS);
        self.problems = problems
            .map(|Rejected { source, revision, reason }| Rejected {
                source: short(source),
                revision,
                reason: short(reason),
            })
            .collect();
        self
    }

    /// As a value.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }
}

/// Problems in one value, which all instances read.
const MOST_PROBLEMS: usize = 20;

/// Of a source and of a reason.
const MOST_CHARACTERS: usize = 300;

/// Far more than an instance writes.
const MOST_BYTES: usize = 256 << 10;
