//! What was heard of the API server, and whether that is all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Notify;

use crate::ObjectName;
use crate::findings::Finding;
use crate::objects::{Keep, Objects};
use crate::report::StatusUpdate;
use crate::scope::Scope;
use crate::source::SourceState;
use crate::watch::{Change, Lost, follow};

/// The objects, for those who hear of changes and the one who makes rules of them.
pub(crate) struct Heard<'s> {
    known: Mutex<Known>,
    state: &'s SourceState,
    changed: Notify,
}

#[derive(Default)]
struct Known {
    objects: Objects,
    /// What was not listed yet.
    awaited: BTreeSet<String>,
    /// What is not awaited any longer than it is asked for once.
    dispensable: BTreeSet<String>,
    /// What cannot be heard at the moment.
    lost: BTreeSet<String>,
    /// Why something that was not listed yet cannot be.
    troubles: BTreeMap<String, String>,
    /// What the server does not know, and rules can be made without.
    unknown: BTreeSet<String>,
    /// Which statuses objects are to have that have others, by kind and name.
    wanted: HashMap<(String, ObjectName), Value>,
}

impl<'s> Heard<'s> {
    pub(crate) fn new(state: &'s SourceState) -> Self {
        Self { known: Mutex::default(), state, changed: Notify::new() }
    }

    /// Keeps the objects of a kind as they are at the server. What they are is known when all of them were listed.
    pub(crate) fn follow<'h, K>(
        &'h self,
        scope: Scope,
        api: Api<K>,
        fields: &str,
        tell: impl Fn(&Change<K>) + Send + Sync + 'h,
    ) -> BoxFuture<'h, ()>
    where
        K: Keep + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (part, fields) = (part_of::<K>(&scope), fields.to_owned());
        self.lock().awaited.insert(part.clone());
        Box::pin(async move {
            follow(api, &fields, |change| {
                tell(&change);
                self.take(&part, &scope, change);
            })
            .await;
        })
    }

    /// What an Event is about.
    pub(crate) fn reference(&self, finding: &Finding) -> ObjectReference {
        let known = self.lock();
        let Objects { ingresses, services, secrets, config_maps, releases, .. } = &known.objects;
        let name = &finding.object;
        match finding.kind {
            "Ingress" => reference(name, ingresses.get(name)),
            "Release" => reference(name, releases.get(name)),
            "Service" => reference(name, services.get(name)),
            "Secret" => reference(name, secrets.get(name)),
            _ => reference(name, config_maps.get(name)),
        }
    }

    /// Something could not be written on an object.
    pub(crate) fn cannot_write(&self, what: &str, reason: &str) -> bool {
        let mut seen = self.state.lock();
        seen.write_failures += 1;
        let failures = seen.write_failures;
        drop(seen);
        if failures.is_power_of_two() {
            tracing::warn!(what, reason, failures, "what has become of objects cannot be written on them");
        }
        false
    }

    /// The same of what rules are made without, if it is not shown, whatever its kind.
    pub(crate) fn follow_if_shown<'h, K>(&'h self, scope: Scope, api: Api<K>) -> BoxFuture<'h, ()>
    where
        K: Keep + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.lock().dispensable.insert(part_of::<K>(&scope));
        self.follow(scope, api, "", |_| {})
    }

    /// Waits for the next change of anything that matters to rules or to what is said about objects.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Looks at all objects, if all are known; else says why not.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Objects) -> T) -> Result<T, String> {
        let known = self.lock();
        match known.awaited.first() {
            None => Ok(look(&known.objects)),
            Some(part) => Err(match known.troubles.get(part) {
                Some(trouble) => format!("{part}: {trouble}"),
                None => format!("{part} were just asked for"),
            }),
        }
    }

    /// Notes whether a part is heard.
    pub(crate) fn hear(&self, part: &str, lost: Option<&Lost>) {
        let mut known = self.lock();
        let is_news = match lost {
            Some(_) => known.lost.insert(part.to_owned()),
            None => known.lost.remove(part),
        };
        let mut seen = self.state.lock();
        seen.lost = known.lost.len();
        seen.failures += u64::from(lost.is_some());
        drop((seen, known));
        match lost {
            Some(lost) if is_news => {
                let reason = lost.to_string();
                tracing::warn!(
                    part,
                    reason,
                    "the API server of Kubernetes is not heard; what was heard last serves on"
                );
            }
            None if is_news => tracing::info!(part, "the API server of Kubernetes is heard again"),
            _ => {}
        }
    }

    /// From now on these statuses are no news.
    pub(crate) fn want(&self, statuses: &[StatusUpdate]) {
        let wanted = statuses
            .iter()
            .map(|update| ((update.resource.plural.clone(), update.object.clone()), update.status.clone()));
        self.lock().wanted = wanted.collect();
    }

    fn take<K: Keep + Resource<DynamicType = ()>>(&self, part: &str, scope: &Scope, change: Change<K>) {
        match change.lost() {
            // Without them there is less to say, and nothing wrong.
            Some(Lost::Unknown) if K::IS_OPTIONAL => self.lock().miss(part),
            Some(Lost::Forbidden(reason)) if K::IS_OPTIONAL => self.lock().refuse(part, reason),
            lost => self.hear(part, lost),
        }
        let known = &mut *self.lock();
        // What is lost later is as it was.
        let is_news = change.lost().is_none() || known.awaited.contains(part);
        let (kept, wanted) = (K::place(&mut known.objects), &known.wanted);
        match change {
            Change::All(mut all) => {
                kept.retain(|name, _| !scope.covers(name));
                kept.append(&mut all);
                known.awaited.remove(part);
            }
            Change::Is(name, object) => {
                let before = kept.insert(name.clone(), object);
                let (before, now) = (before.as_ref(), kept.get(&name));
                // Without this, everything that is written on objects would be a reason to look at all of them.
                let is_same = before.zip(now).is_some_and(|(before, now)| {
                    let wanted = wanted.get(&(K::plural(&()).into(), name));
                    now.says_the_same(before) && now.has_status(before, wanted)
                });
                if is_same {
                    return;
                }
            }
            Change::Gone(name) => drop(kept.remove(&name)),
            Change::Lost(Lost::Unknown | Lost::Forbidden(_)) if K::IS_OPTIONAL => drop(known.awaited.remove(part)),
            Change::Lost(_) if known.dispensable.contains(part) => drop(known.awaited.remove(part)),
            Change::Lost(lost) => drop(known.troubles.insert(part.to_owned(), lost.to_string())),
        }
        if is_news {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With the identity of the object, if it is known: another one may have its name later.
fn reference<K: Resource<DynamicType = ()>>(name: &ObjectName, object: Option<&K>) -> ObjectReference {
    let mut reference = object.map(|object| object.object_ref(&())).unwrap_or_default();
    reference.api_version = Some(K::api_version(&()).into());
    reference.kind = Some(K::kind(&()).into());
    reference.namespace = Some(name.namespace.to_string());
    reference.name = Some(name.name.to_string());
    // Of which version does not matter, and makes each Event another one.
    reference.resource_version = None;
    reference
}

fn part_of<K: Resource<DynamicType = ()>>(scope: &Scope) -> String {
    format!("{} of {scope}", K::plural(&()))
}

impl Known {
    /// Who may not read something that rules can be made without may have meant it so.
    fn refuse(&mut self, part: &str, reason: &str) {
        if self.unknown.insert(part.to_owned()) {
            tracing::warn!(part, reason, "these are not shown by the API server of Kubernetes, and done without");
        }
    }

    /// Kinds that the server does not know come in groups, all of which are one thing to say.
    fn miss(&mut self, part: &str) {
        if self.unknown.is_empty() {
            tracing::info!(
                part,
                "the API server of Kubernetes does not know these, nor maybe others; they are asked for now and then"
            );
        }
        self.unknown.insert(part.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::FutureExt;
    use k8s_openapi::api::core::v1::{ConfigMap, Service};
    use k8s_openapi::api::networking::v1::Ingress;
    use kube::api::ApiResource;
    use serde_json::{from_value, json};

    use super::*;
    use crate::gateway::kinds::{GrpcRoute, HttpRoute};

    #[test]
    fn kinds_that_the_server_does_not_know_are_not_waited_for() {
        let state = SourceState::default();
        let heard = Heard::new(&state);
        heard.lock().awaited.extend(["httproutes", "grpcroutes", "services"].map(str::to_owned));
        heard.take::<HttpRoute>("httproutes", &Scope::All, Change::Lost(Lost::Unknown));
        heard.take::<GrpcRoute>("grpcroutes", &Scope::All, Change::Lost(Lost::Unknown));
        assert_eq!((heard.look(|_| ()), state.seen().failures), (Err("services were just asked for".into()), 0));
        heard.take::<Service>("services", &Scope::All, Change::Lost(Lost::Unknown));
        assert!(heard.look(|_| ()).is_err(), "those that are needed are waited for");
        heard.take::<Service>("services", &Scope::All, Change::All(BTreeMap::new()));
        assert_eq!(heard.look(|_| ()), Ok(()));
    }

    #[test]
    fn a_status_that_is_as_it_should_be_is_no_news() {
        let state = SourceState::default();
        let heard = Heard::new(&state);
        let name = ObjectName::new("shop", "web");
        let is_news = |heard: &Heard<'_>| heard.changed().now_or_never().is_some();
        // Of an HTTPRoute, and of an Ingress.
        let hear = |generation: u64, rules: Value, status: Value| {
            let object = json!({"metadata": {"generation": generation}, "spec": {"rules": rules}, "status": status});
            let (route, ingress) = (from_value(object.clone()).unwrap(), from_value(object).unwrap());
            heard.take::<HttpRoute>("routes", &Scope::All, Change::Is(name.clone(), route));
            let of_route = is_news(&heard);
            heard.take::<Ingress>("ingresses", &Scope::All, Change::Is(name.clone(), ingress));
            [of_route, is_news(&heard)]
        };
        let status = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
        assert_eq!(hear(1, json!([]), json!({})), [true; 2]);
        assert_eq!(hear(1, json!([]), json!({})), [false; 2], "nothing has changed");
        let of_both = |plural: &str| StatusUpdate {
            resource: ApiResource { plural: plural.into(), ..ApiResource::erase::<Ingress>(&()) },
            object: name.clone(),
            version: None,
            status: status("192.0.2.7"),
        };
        heard.want(&["ingresses", "httproutes"].map(of_both));
        assert_eq!(hear(1, json!([]), status("192.0.2.7")), [false; 2]);
        assert_eq!(hear(1, json!([]), status("192.0.2.8")), [true; 2], "somebody else has written it");
        assert_eq!(hear(1, json!([]), status("192.0.2.7")), [false; 2]);
        assert_eq!(hear(2, json!([{}]), status("192.0.2.7")), [true; 2]);
        heard.want(&[]);
        assert_eq!(hear(2, json!([{}]), json!({})), [true; 2]);
        assert_eq!(hear(2, json!([{}]), status("192.0.2.7")), [true; 2], "it is not to be so any longer");
    }

    #[test]
    fn what_rules_are_made_without_is_awaited_no_longer_than_it_is_asked_for() {
        let state = SourceState::default();
        let heard = Heard::new(&state);
        heard.lock().awaited.extend(["a", "b"].map(str::to_owned));
        heard.lock().dispensable.insert("a".into());
        heard.take::<ConfigMap>("a", &Scope::All, Change::Lost(Lost::Forbidden("no".into())));
        assert_eq!(heard.look(|_| ()), Err("b were just asked for".into()));
        assert_eq!(state.seen().failures, 1);
    }
}
