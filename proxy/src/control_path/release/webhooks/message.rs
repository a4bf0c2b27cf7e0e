//! What a receiver is sent about a change of a release.
//!
//! There is nothing in it that the admin API does not show to everybody, and no rules: conditions may name what is not for everybody.

use bytes::Bytes;
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::control_path::hex;
use crate::control_path::release::{ToldChange, time};

/// A message.
pub(super) struct Message {
    /// The same however often, and by whichever instance, it is sent.
    pub(super) id: String,
    pub(super) body: Bytes,
}

/// As the Standard Webhooks specification proposes it.
#[derive(Serialize)]
struct Body<'m> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'m>,
}

#[derive(Serialize)]
struct Data<'m> {
    release: &'m str,
    #[serde(flatten)]
    change: ToldChange,
}

impl Message {
    pub(super) fn of(release: &Name, record: &ReleaseRecord) -> Self {
        let data = Data { release: release.as_str(), change: ToldChange::of(record) };
        let body = Body { kind: "release.changed", timestamp: time(record.last.at_ms), data };
        let body = serde_json::to_vec(&body).expect("a map of texts and numbers is JSON");
        Self { id: id(release, record), body: body.into() }
    }
}

/// A name may have a `.`, which separates what is signed; and numbers begin anew with a history that was lost.
fn id(release: &Name, record: &ReleaseRecord) -> String {
    let what = format!("{release}/{}/{}", record.number, record.last.at_ms);
    format!("msg_{}", hex(&Sha256::digest(what)[..16]))
}
