//! The test's side: starting, putting and taking objects, waiting. What a test breaks is in `faults`, what it counts
//! in `counts`.
//!
//! Kinds are named as people name them: `Service`, `services`, or `releases.serin.example` where a name is taken twice.
//! Objects of no namespace are in the namespace `""`.

mod counts;
pub(crate) mod document;
mod faults;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::resource::{EVENTS, Resource};
use crate::state::{Shared, State};
use crate::store::Extent;
use crate::thread::Thread;
use crate::write::trusted;
use document::Document;

/// A stand-in for a Kubernetes API server.
#[derive(Debug)]
pub struct StandIn {
    thread: Thread,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Starts one with the built-in kinds and the namespaces every cluster has.
    pub fn start() -> Self {
        let shared = Arc::new(Shared::new());
        let thread = Thread::start(Arc::clone(&shared)).expect("a loopback port and a thread");
        Self { thread, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.thread.address
    }

    /// The same as `http://…`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What a client's configuration file says of it, with the token if one is required.
    pub fn kubeconfig_yaml(&self) -> String {
        let token = self.shared.look().token.clone();
        let user = token.map_or_else(|| "{}".to_owned(), |token| format!("{{token: {token:?}}}"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
             clusters: [{{name: stand-in, cluster: {{server: \"{}\"}}}}]\n\
             users: [{{name: test, user: {user}}}]\n\
             contexts: [{{name: stand-in, context: {{cluster: stand-in, user: test, namespace: default}}}}]\n",
            self.url()
        )
    }

    /// Creates the object, or puts it in the place of the one that is there. Its status and creation time are as
    /// written; a namespace comes about. Panics where a real server would refuse it.
    pub fn apply(&self, object: impl Document) -> Value {
        let object = object.into_object();
        let stored = self.shared.change(|state| trusted::put(state, object.clone()));
        stored.unwrap_or_else(|failure| panic!("{} of {object}", failure.to_json()["message"]))
    }

    /// The same for every document of a text.
    pub fn apply_all(&self, yaml: &str) -> Vec<Value> {
        document::all(yaml).into_iter().map(|object| self.apply(object)).collect()
    }

    /// Deletes the object, as a client would: one with finalizers stays until they are gone. Says whether it was there.
    pub fn remove(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.shared.change(|state| {
            let resource = resource(state, kind);
            trusted::remove(state, resource, namespace, name)
        })
    }

    /// The object as it is.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.look();
        find(&state, &resource(&state, kind), namespace, name)
    }

    /// All objects of a kind, of all namespaces.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let state = self.shared.look();
        all(&state, &resource(&state, kind))
    }

    /// All events, as `events.k8s.io/v1` shows them, whichever way they came.
    pub fn events(&self) -> Vec<Value> {
        let state = self.shared.look();
        let resource = state.registry.find("events.k8s.io", "v1", EVENTS).expect("built in");
        all(&state, &resource)
    }

    /// The version of the latest change.
    pub fn revision(&self) -> u64 {
        self.shared.look().store.revision()
    }

    /// Waits until the object is there and as wanted; panics with what it was at the end of the time. It blocks: in
    /// a test of tasks, call it where blocking is allowed.
    pub fn wait_for(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
        timeout: Duration,
    ) -> Value {
        let look = |state: &State| {
            let resource = state.registry.called(kind)?;
            find(state, &resource, namespace, name).filter(&wanted)
        };
        let otherwise = || format!("{kind} {namespace}/{name} is {:?}", self.get(kind, namespace, name));
        self.wait(timeout, look, otherwise)
    }

    /// Waits until the object is gone.
    pub fn wait_until_gone(&self, kind: &str, namespace: &str, name: &str, timeout: Duration) {
        let gone = |state: &State| {
            let there = state.registry.called(kind).and_then(|resource| find(state, &resource, namespace, name));
            there.is_none().then_some(())
        };
        self.wait(timeout, gone, || format!("{kind} {namespace}/{name} is {:?}", self.get(kind, namespace, name)));
    }

    /// Waits for an event as wanted, in the shape of [`Self::events`].
    pub fn wait_for_event(&self, wanted: impl Fn(&Value) -> bool, timeout: Duration) -> Value {
        let look = |state: &State| {
            let resource = state.registry.find("events.k8s.io", "v1", EVENTS)?;
            all(state, &resource).into_iter().find(&wanted)
        };
        self.wait(timeout, look, || format!("no such event in {:?}", self.events()))
    }

    /// Looks again after every change, until something is found.
    fn wait<T>(&self, timeout: Duration, look: impl Fn(&State) -> Option<T>, otherwise: impl Fn() -> String) -> T {
        let mut found = None;
        let state = self.shared.look();
        let missing = |state: &mut State| {
            found = look(state);
            found.is_none()
        };
        drop(self.shared.changed.wait_timeout_while(state, timeout, missing));
        found.unwrap_or_else(|| panic!("after {timeout:?}: {}", otherwise()))
    }
}

fn resource(state: &State, kind: &str) -> Arc<Resource> {
    state.registry.called(kind).unwrap_or_else(|| panic!("there is no kind {kind:?}"))
}

fn find(state: &State, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
    let object = state.store.find(&State::key(resource, namespace, name))?;
    Some(resource.present(object))
}

fn all(state: &State, resource: &Resource) -> Vec<Value> {
    let extent = Extent { collection: resource.collection.clone(), namespace: None };
    state.store.list(&extent).values().map(|object| resource.present(object)).collect()
}
