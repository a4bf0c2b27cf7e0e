//! Saying on objects what has become of them: their statuses, and Events about what is wrong.
//!
//! Of several instances that follow a cluster one writes: the one that holds the Lease. What it writes follows from the objects alone, so
//! that nothing is wrong should two of them write for a moment.

mod event;

mod lease;

mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::findings::Finding;
use crate::heard::Heard;
use crate::options::Options;
use crate::rejected::Rejected;
use crate::trouble;
pub(crate) use lease::hold;
pub(crate) use status::StatusUpdate;

/// What there is to say.
#[derive(Clone, Default)]
pub(crate) struct Report {
    /// Statuses that are not as they should be.
    pub(crate) statuses: Vec<StatusUpdate>,
    /// What is to be said about objects.
    pub(crate) findings: Vec<Finding>,
}

/// Writes what there is to say, and what is rejected of it, as long as this instance leads, until it is dropped.
pub(crate) async fn write(
    client: &Client,
    options: &Options,
    heard: &Heard<'_>,
    mut reports: watch::Receiver<Report>,
    mut rejected: watch::Receiver<Vec<Rejected>>,
    mut leads: watch::Receiver<bool>,
) {
    let (mut told, mut are_statuses_written) = (BTreeSet::new(), true);
    let mut failures = 0_u32;
    loop {
        let pause = RETRY_FIRST.saturating_mul(1 << failures.min(6));
        tokio::select! {
            changed = reports.changed() => match changed {
                Ok(()) => are_statuses_written = false,
                Err(_) => return,
            },
            changed = leads.changed() => match changed {
                Ok(()) => are_statuses_written = false,
                Err(_) => return,
            },
            Ok(()) = rejected.changed() => {}
            () = sleep(pause), if failures > 0 => {}
        }
        // What changes from here on is seen in the next round.
        if !*leads.borrow() {
            // Who leads next says all of it again.
            told.clear();
            continue;
        }
        let Report { statuses, findings } = reports.borrow().clone();
        if !are_statuses_written {
            are_statuses_written = write_statuses(client, heard, statuses).await;
        }
        let besides: Vec<_> = rejected.borrow().iter().filter_map(Rejected::finding).collect();
        let findings = findings.into_iter().chain(besides).collect();
        let is_told = tell(client, options, heard, findings, &mut told).await;
        failures = if are_statuses_written && is_told { 0 } else { failures.saturating_add(1) };
    }
}

async fn write_statuses(client: &Client, heard: &Heard<'_>, statuses: Vec<StatusUpdate>) -> bool {
    let writes = stream::iter(statuses).map(|status| async move {
        match timeout(PATIENCE, status.write(client)).await {
            Ok(Ok(())) => true,
            // Somebody else was faster: the object will be heard of, and looked at anew.
            Ok(Err(error)) if status::is_overtaken(&error) => true,
            Ok(Err(error)) => heard.cannot_write(&status.to_string(), &trouble::of(&error)),
            Err(_) => heard.cannot_write(&status.to_string(), "no answer"),
        }
    });
    writes.buffer_unordered(AT_ONCE).all(async |is_written| is_written).await
}

/// Tells what was not told yet. What is true no longer may be told again when it is.
async fn tell(
    client: &Client,
    options: &Options,
    heard: &Heard<'_>,
    findings: Vec<Finding>,
    told: &mut BTreeSet<Finding>,
) -> bool {
    let now = together(findings);
    told.retain(|finding| now.contains(finding));
    let news: Vec<Finding> = now.difference(told).cloned().collect();
    let writes = stream::iter(news).map(|finding| async move {
        match timeout(PATIENCE, event::tell(client, options, heard, &finding)).await {
            Ok(Ok(())) => Some(finding),
            Ok(Err(error)) => heard.cannot_write("an Event", &trouble::of(&error)).then_some(finding),
            Err(_) => heard.cannot_write("an Event", "no answer").then_some(finding),
        }
    });
    let written: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
    let is_told = written.iter().all(Option::is_some);
    told.extend(written.into_iter().flatten());
    is_told
}

/// What is to be said of one object for one reason, in one go: an Event for each annotation of thousands of Ingresses would be a flood.
pub(crate) fn together(findings: impl IntoIterator<Item = Finding>) -> BTreeSet<Finding> {
    let mut all: BTreeMap<Finding, Vec<String>> = BTreeMap::new();
    for mut finding in findings {
        let message = std::mem::take(&mut finding.message);
        all.entry(finding).or_default().push(message);
    }
    all.into_iter().map(|(finding, messages)| Finding { message: messages.join("; "), ..finding }).collect()
}

/// Writes under way at one moment.
const AT_ONCE: usize = 8;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after a failure it is tried again; with each that follows, twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectName;
    use crate::findings::Severity;

    #[test]
    fn what_is_said_of_one_object_for_one_reason_is_said_in_one_go() {
        let finding = |name: &str, reason, message: &str, severity| Finding {
            kind: "Ingress",
            object: ObjectName::new("shop", name),
            reason,
            message: message.into(),
            severity,
        };
        let findings = vec![
            finding("a", "Conflict", "one", Severity::Warning),
            finding("b", "Conflict", "two", Severity::Warning),
            finding("a", "Conflict", "three", Severity::Warning),
            finding("a", "Conflict", "four", Severity::Note),
        ];
        let said = |finding: &Finding| format!("{} {:?} {}", finding.object, finding.severity, finding.message);
        let said: Vec<_> = together(findings).iter().map(said).collect();
        assert_eq!(said, ["shop/a Note four", "shop/a Warning one; three", "shop/b Warning two"]);
    }
}
