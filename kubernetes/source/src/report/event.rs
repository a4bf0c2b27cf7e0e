//! Events about objects, which `kubectl describe` shows.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::findings::{Finding, Severity};
use crate::heard::Heard;
use crate::options::Options;

/// Tells of a finding.
pub(super) async fn tell(
    client: &Client,
    options: &Options,
    heard: &Heard<'_>,
    finding: &Finding,
) -> Result<(), kube::Error> {
    let namespace = match &*finding.object.namespace {
        "" => "default",
        namespace => namespace,
    };
    let event = event(options, heard.reference(finding), namespace, finding);
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    match events.create(&PostParams::default(), &event).await {
        // A namespace that has gone, or is going, wants to hear nothing any more.
        Err(kube::Error::Api(status)) if status.code == 404 || is_ending(&status.message) => Ok(()),
        told => told.map(drop),
    }
}

fn event(options: &Options, regarding: ObjectReference, namespace: &str, finding: &Finding) -> Event {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            // The API server makes the rest of it, so that no two are the same.
            generate_name: Some(format!("{}-", finding.object.name)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(match finding.severity {
            Severity::Note => "Normal".into(),
            Severity::Warning => "Warning".into(),
        }),
        reason: Some(finding.reason.into()),
        action: Some("Translate".into()),
        note: Some(shortened(&finding.message)),
        regarding: Some(regarding),
        reporting_controller: Some(options.controller.clone()),
        reporting_instance: Some(options.identity.clone()),
        ..Event::default()
    }
}

fn is_ending(message: &str) -> bool {
    message.contains("because it is being terminated")
}

/// The API server takes a note of up to 1 kB.
fn shortened(message: &str) -> String {
    match message.len() > MOST_NOTE {
        true => format!("{}…", &message[..message.floor_char_boundary(MOST_NOTE - 3)]),
        false => message.to_owned(),
    }
}

/// Bytes.
const MOST_NOTE: usize = 1_000;
