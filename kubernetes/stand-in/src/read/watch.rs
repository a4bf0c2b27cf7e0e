//! Watches: lines of JSON, one for each change, from a version on.
//!
//! A watch holds no queue. It remembers how far it has read and looks again whenever something changed, so it can
//! neither lose a change nor tell it twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::form::Form;
use super::{check_options, version};
use crate::query::Query;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::state::{Shared, State};
use crate::status::Failure;
use crate::store::{Change, Extent};

/// One open watch.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    pulse: Receiver<()>,
    about: About,
    /// It has told everything up to here.
    revision: u64,
    /// Lines that are ready.
    ready: String,
    over: bool,
    bookmarks: bool,
    last_bookmark: Instant,
    ends: Instant,
    cuts: u64,
}

/// Which objects, and how they are shown.
pub(crate) struct About {
    pub(crate) resource: Arc<Resource>,
    pub(crate) extent: Extent,
    pub(crate) selector: Selector,
    pub(crate) form: Form,
}

/// The connection ends in the middle of the answer, because a test wants it to.
#[derive(Debug)]
pub(crate) struct Cut;

/// What a watch does next.
enum Next {
    Send(Bytes),
    Wait(Instant),
    End,
    Cut,
}

impl Watch {
    pub(crate) fn begin(shared: &Arc<Shared>, about: About, query: &Query) -> Result<Self, Failure> {
        check_options(query, true)?;
        let asked = version(query)?;
        let pulse = shared.pulse();
        let (now, timeout) = (Instant::now(), query.number("timeoutSeconds").filter(|seconds| *seconds > 0));
        let mut watch = Self {
            shared: Arc::clone(shared),
            pulse,
            about,
            revision: 0,
            ready: String::new(),
            over: false,
            bookmarks: query.is_set("allowWatchBookmarks"),
            last_bookmark: now,
            // A real server ends it after half an hour to an hour.
            ends: now + Duration::from_secs(timeout.unwrap_or(1800)),
            cuts: 0,
        };
        shared.change(|state| {
            watch.cuts = state.faults.cuts;
            let resource = watch.about.resource.qualified();
            *state.counts.watches.entry(resource).or_default() += 1;
            watch.start(state, asked, query);
        });
        Ok(watch)
    }

    pub(crate) fn lines(self) -> impl Stream<Item = Result<Bytes, Cut>> {
        stream::unfold(self, |mut watch| async move { watch.next().await.map(|line| (line, watch)) })
    }

    /// From where on it tells: what there is first, or only what comes.
    fn start(&mut self, state: &State, asked: Option<u64>, query: &Query) {
        let current = state.store.revision();
        let initial = query.is_set("sendInitialEvents");
        let only_new = query.is_given("sendInitialEvents") && !initial;
        match asked.unwrap_or(0) {
            version if version > 0 && version < state.store.compacted() && !initial => {
                let failure = Failure::too_old(version, state.store.compacted());
                self.tell("ERROR", &failure.to_json());
                self.over = true;
            }
            version if version > 0 && !initial => self.revision = version,
            _ => {
                self.revision = current;
                if !only_new {
                    self.tell_all(state);
                }
                if initial && self.bookmarks {
                    self.bookmark(true);
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            // Before looking: what changes meanwhile wakes it up again.
            self.pulse.borrow_and_update();
            match self.look() {
                Next::Send(lines) => return Some(Ok(lines)),
                Next::Cut => return Some(Err(Cut)),
                Next::End => return None,
                Next::Wait(until) => {
                    tokio::select! {
                        _ = self.pulse.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let state = shared.look();
        if state.faults.cuts != self.cuts {
            return Next::Cut;
        }
        if state.faults.hanging {
            return Next::Wait(Instant::now() + LONG);
        }
        if !self.over {
            self.read(&state);
            self.look_at_the_clock(&state);
        }
        if !self.ready.is_empty() {
            return Next::Send(std::mem::take(&mut self.ready).into());
        }
        if self.over || !self.about.is_known(&state) {
            return Next::End;
        }
        let bookmark = state.faults.bookmarks_every.filter(|_| self.bookmarks).map(|every| self.last_bookmark + every);
        Next::Wait(bookmark.map_or(self.ends, |bookmark| bookmark.min(self.ends)))
    }

    fn read(&mut self, state: &State) {
        for change in state.store.since(self.revision) {
            if let Some((kind, object)) = self.about.event(change) {
                let object = self.about.form.one(&self.about.resource, &object);
                self.tell(kind, &object);
            }
        }
        self.revision = self.revision.max(state.store.revision());
    }

    fn look_at_the_clock(&mut self, state: &State) {
        let now = Instant::now();
        self.over = now >= self.ends;
        let Some(every) = state.faults.bookmarks_every.filter(|_| self.bookmarks) else { return };
        if self.over || now >= self.last_bookmark + every {
            self.bookmark(false);
            self.last_bookmark = now;
        }
    }

    fn tell_all(&mut self, state: &State) {
        let mut objects = state.store.list(&self.about.extent);
        objects.retain(|_, object| self.about.selector.wants(object));
        for object in objects.values() {
            let object = self.about.form.one(&self.about.resource, object);
            self.tell("ADDED", &object);
        }
    }

    fn bookmark(&mut self, initial_end: bool) {
        let bookmark = self.about.form.bookmark(&self.about.resource, self.revision, initial_end);
        self.tell("BOOKMARK", &bookmark);
    }

    fn tell(&mut self, kind: &str, object: &Value) {
        self.ready.push_str(&json!({"type": kind, "object": object}).to_string());
        self.ready.push('\n');
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let resource = self.about.resource.qualified();
        self.shared.change(|state| *state.counts.watches.entry(resource).or_insert(1) -= 1);
    }
}

impl About {
    /// A kind may go while it is watched.
    fn is_known(&self, state: &State) -> bool {
        let Resource { group, version, plural, .. } = &*self.resource;
        state.registry.find(group, version, plural).is_some()
    }

    /// What a change is to somebody who sees only what is selected.
    fn event(&self, change: &Change) -> Option<(&'static str, Arc<Value>)> {
        if !self.extent.contains(&change.key) {
            return None;
        }
        let before = change.before.as_ref().filter(|before| self.selector.wants(before));
        let now = Some(&change.object).filter(|object| !change.removed && self.selector.wants(object));
        match (before, now) {
            (None, None) => None,
            (None, Some(now)) => Some(("ADDED", Arc::clone(now))),
            (Some(_), Some(now)) => Some(("MODIFIED", Arc::clone(now))),
            (Some(_), None) if change.removed => Some(("DELETED", Arc::clone(&change.object))),
            (Some(before), None) => {
                // As it was when it was still selected, at the version where it no longer is.
                let mut last = (**before).clone();
                last["metadata"]["resourceVersion"] = change.object["metadata"]["resourceVersion"].clone();
                Some(("DELETED", Arc::new(last)))
            }
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the test cut the watch")
    }
}

impl std::error::Error for Cut {}

/// Until something changes.
const LONG: Duration = Duration::from_secs(3600);
