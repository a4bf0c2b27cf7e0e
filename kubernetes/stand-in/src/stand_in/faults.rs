//! What a test breaks.

use std::time::Duration;

use super::StandIn;
use crate::status::Failure;
use crate::write::effects::define_again;

impl StandIn {
    /// Forgets the history: every version handed out so far is expired (410). Watches that are open go on.
    pub fn compact_history(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// Ends every open watch in the middle: the connection closes without the end of the answer.
    pub fn drop_watches(&self) {
        self.shared.change(|state| state.faults.cuts += 1);
    }

    /// Answers 403 to this verb on this resource (`services`, `releases.serin.example/status`, `*` for all).
    pub fn forbid(&self, verb: &str, resource: &str) {
        self.shared.change(|state| state.faults.forbidden.insert((verb.to_owned(), resource.to_owned())));
    }

    /// Takes a [`Self::forbid`] back.
    pub fn allow(&self, verb: &str, resource: &str) {
        self.shared.change(|state| state.faults.forbidden.remove(&(verb.to_owned(), resource.to_owned())));
    }

    /// Answers the next requests with this code, and with `Retry-After` where there are seconds.
    pub fn fail_next(&self, requests: usize, code: u16, retry_after_seconds: Option<u64>) {
        let (reason, message) = match code {
            429 => ("TooManyRequests", "too many requests, please try again later"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "the request did not complete within the allotted timeout"),
            _ => ("InternalError", "Internal error occurred: the test wants it"),
        };
        let failure = Failure::new(code, reason, message);
        let failure = retry_after_seconds.into_iter().fold(failure, Failure::with_retry_after);
        self.shared.change(|state| state.faults.next.extend(std::iter::repeat_n(failure, requests)));
    }

    /// Takes requests and does not answer; nothing comes on open watches, either.
    pub fn hang(&self) {
        self.shared.change(|state| state.faults.hanging = true);
    }

    /// Answers again, what waits included.
    pub fn go_on(&self) {
        self.shared.change(|state| state.faults.hanging = false);
    }

    /// How often watches that ask for bookmarks get one. A minute, if nothing is said.
    pub fn send_bookmarks_every(&self, interval: Duration) {
        self.shared.change(|state| state.faults.bookmarks_every = Some(interval));
    }

    /// Sends no bookmarks any more, but for those that end initial events.
    pub fn stop_bookmarks(&self) {
        self.shared.change(|state| state.faults.bookmarks_every = None);
    }

    /// Adds the kinds of a group: `gateway.networking.k8s.io`, whose kinds this crate knows without their schemas, or
    /// one that was uninstalled and whose definitions are there still.
    pub fn install(&self, group: &str) {
        let installed = self.shared.change(|state| state.registry.install(group) | define_again(state, group));
        assert!(installed, "nothing is known of a group {group:?}; create its definitions first");
    }

    /// Makes a group unknown, whoever brought it: requests get 404, watches end. Its objects are kept, in case it
    /// comes back.
    pub fn uninstall(&self, group: &str) {
        self.shared.change(|state| state.registry.uninstall(group));
    }

    /// Refuses requests (401) that do not bring this token; takes all, where there is none.
    pub fn require_token(&self, token: Option<&str>) {
        self.shared.change(|state| state.token = token.map(str::to_owned));
    }
}
