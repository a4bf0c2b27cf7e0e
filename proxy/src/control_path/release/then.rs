//! A route as it was at some time before: with its releases as they were written and how far they were then.

use std::sync::Arc;

use routing_rules::release::{Hold, ReleaseContext, ReleaseRecord};
use routing_rules::rules::{AddressSet, Name, Object, Release, Route, RuleSet};

use super::{Entry, time};
use crate::control_path::assemble::Assembler;
use crate::control_path::certificates::Transports;
use crate::snapshot::Snapshot;

/// The history of one release.
pub struct History {
    /// Its name.
    pub release: Name,
    /// The newest first, from the very first one or the earliest that is kept.
    pub entries: Vec<Entry>,
}

/// A snapshot that has nothing but this route, and its releases as they were at a time. The route itself, its upstreams and
/// the place of addresses are those of now; all endpoints are taken to be well, but for a canary that had fallen.
///
/// # Errors
/// History does not reach back so far, or what was written then is not right any more.
pub fn then(now: &Snapshot, route: &Arc<Route>, histories: &[History], at_ms: u64) -> Result<Snapshot, String> {
    let mut rules = RuleSet::default();
    let mut context = ReleaseContext { records: super::Records::new(), ..now.table.context().clone() };
    for History { release, entries } in histories {
        let (written, record) = of_release(release, entries, at_ms)?;
        context.records.insert(release.clone(), record);
        rules.insert(Object::Release(Arc::new(written)));
    }
    rules.insert_with(Object::Route(Arc::clone(route)), now.table.rules());
    // Through which of them a request came is asked of all there are.
    now.table.rules().listeners().for_each(|listener| rules.insert(Object::Listener(Arc::clone(listener))));
    let mut assembler = Assembler::new(1, context, AddressSet::default(), now.geo.clone());
    assembler.secure(&transports(now));
    let mut then = assembler.without_lookups().next(&Snapshot::empty(), &rules);
    if let Some(reason) = then.table.skipped().first() {
        return Err(format!("it cannot be told any more: {reason}"));
    }
    for (_, release) in then.table.releases() {
        if release.record.as_ref().is_some_and(|record| record.hold.is_some_and(Hold::is_canary_out))
            && let Some(place) = then.upstreams.get_mut(release.canary.index())
        {
            *place = None;
        }
    }
    then.trusted_proxies = Arc::clone(&now.trusted_proxies);
    then.listeners = Arc::clone(&now.listeners);
    Ok(then)
}

/// How connections to endpoints begin now.
fn transports(now: &Snapshot) -> Transports {
    let upstreams = now.upstreams.iter().flatten();
    let secured = upstreams.filter_map(|upstream| Some((upstream, Arc::clone(upstream.rules.tls()?))));
    secured.map(|(upstream, tls)| (upstream.name().clone(), (tls, upstream.transport.clone()))).collect()
}

/// What was written of a release, and how far it was.
fn of_release(name: &Name, entries: &[Entry], at_ms: u64) -> Result<(Release, Arc<ReleaseRecord>), String> {
    let mut until = entries.iter().skip_while(|entry| entry.record.last.at_ms > at_ms).peekable();
    let record = until.peek().map(|entry| Arc::clone(&entry.record));
    let written = until.find_map(|entry| entry.rules.clone());
    let (Some(record), Some(written)) = (record, written) else {
        let first = entries
            .last()
            .map_or_else(|| "is empty".to_owned(), |first| format!("begins at {}", time(first.record.last.at_ms)));
        return Err(format!("the history of release `{name}` {first}"));
    };
    let mut problems = Vec::new();
    let release = Release::new(name.as_str(), &written, &mut problems);
    let reason = || problems.first().map_or_else(String::new, ToString::to_string);
    Ok((
        release
            .ok_or_else(|| format!("release `{name}` as it was written then is not right any more: {}", reason()))?,
        record,
    ))
}
