//! The source as a whole: what is followed, when it is looked at anew, and what is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::jiff::{Timestamp, Unit};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::ObjectName;
use crate::client::client;
use crate::documents::Documents;
use crate::findings::Finding;
use crate::gateway::kinds::{BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::heard::Heard;
use crate::options::Options;
use crate::pods::Pods;
use crate::rejected::{self, Rejected};
use crate::release::{Release, Releases};
use crate::report::{self, Report};
use crate::scope::Scope;
use crate::translate::{Before, Translation, translate};
use crate::watch::{Change, follow};

/// Follows a cluster.
pub struct Source {
    options: Options,
    pods: Arc<Pods>,
    releases: Arc<Releases>,
    state: Arc<SourceState>,
    rejected: watch::Receiver<Vec<Rejected>>,
}

/// What whoever listens is told.
pub enum Told {
    /// Nothing was heard yet, for this reason.
    Unheard(String),
    /// What all objects amount to.
    Heard(Translated),
}

/// What all objects amount to.
#[derive(Clone, Default)]
pub struct Translated {
    /// Rules.
    pub documents: Documents,
    /// What is to be said about the objects.
    pub findings: Vec<Finding>,
    /// What Releases say of their state, by what they are called in rules. Nothing of those that were not begun.
    pub records: BTreeMap<String, Value>,
}

/// How the source is doing, for whoever wants to know.
#[derive(Default)]
pub struct SourceState(Mutex<Seen>);

/// The source at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether everything that is followed has been listed once.
    pub is_complete: bool,
    /// How many of the parts that are followed are not heard at the moment.
    pub lost: usize,
    /// How often a list or a watch failed.
    pub failures: u64,
    /// How often something could not be written on an object.
    pub write_failures: u64,
    /// Whether this instance writes on objects.
    pub leads: bool,
    /// Ingresses that are served.
    pub ingresses: usize,
}

impl SourceState {
    /// The source at this moment.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Follows nothing yet. `rejected` is what is not taken of what is told.
    pub fn new(
        options: Options,
        pods: Arc<Pods>,
        releases: Arc<Releases>,
        state: Arc<SourceState>,
        rejected: watch::Receiver<Vec<Rejected>>,
    ) -> Self {
        Self { options, pods, releases, state, rejected }
    }

    /// Follows the cluster until `end` comes.
    pub async fn run(self, tell: impl Fn(Told) + Send + Sync, end: impl Future<Output = ()> + Send) {
        let mut end = std::pin::pin!(end);
        let client = tokio::select! {
            client = self.connect(&tell) => client,
            () = &mut end => return,
        };
        self.releases.connect(&client, self.options.lease(&client));
        let heard = Heard::new(&self.state);
        let wants = Wants::default();
        let (report, reports) = watch::channel(Report::default());
        let (leads, is_leader) = watch::channel(false);
        let followed = self.follow(&client, &heard);
        self.follow_gateways(&client, &heard, &wants, &followed);
        let work = async {
            tokio::join!(
                followed.collect::<()>(),
                self.translate(&heard, &tell, &report),
                report::write(&client, &self.options, &heard, reports, self.rejected.clone(), is_leader.clone()),
                self.note_leader(is_leader.clone()),
            )
        };
        tokio::select! {
            _ = work => {}
            () = report::hold(&self.options, &leads, end) => {}
        }
    }

    async fn note_leader(&self, mut is_leader: watch::Receiver<bool>) {
        while is_leader.changed().await.is_ok() {
            let leads = *is_leader.borrow_and_update();
            self.state.lock().leads = leads;
        }
    }

    /// Tries until there is a client: a kubeconfig may be written later than Serin is started.
    async fn connect(&self, tell: &(impl Fn(Told) + Sync)) -> Client {
        loop {
            match client(&self.options).await {
                Ok(client) => return client,
                Err(error) => {
                    let reason = error.to_string();
                    tracing::warn!(reason, "there is no way to the API server of Kubernetes");
                    self.pods.lose(&reason);
                    self.state.lock().failures += 1;
                    tell(Told::Unheard(reason));
                }
            }
            sleep(TRY_AGAIN).await;
        }
    }

    fn follow<'f>(&'f self, client: &Client, heard: &'f Heard<'f>) -> Followed<'f> {
        let followed = Followed::new();
        let classes = Api::<IngressClass>::all(client.clone());
        followed.push(heard.follow(Scope::All, classes, "", |_| {}));
        let scopes = Scope::of_namespaces(&self.options.namespaces);
        self.pods.await_all(&scopes);
        for scope in scopes.clone() {
            let ingresses = scope.api::<Ingress>(client);
            followed.push(heard.follow(scope.clone(), ingresses, "", |_| {}));
            let secrets = scope.api::<Secret>(client);
            followed.push(heard.follow(scope.clone(), secrets, SECRETS, |_| {}));
            let (services, of_services) = (scope.api::<Service>(client), scope.clone());
            let tell = move |change: &Change<Service>| self.pods.hear_services(&of_services, change);
            followed.push(heard.follow(scope.clone(), services, "", tell));
            followed.push(heard.follow(scope.clone(), scope.api::<Release>(client), "", |_| {}));
            followed.push(self.follow_slices(scope.api(client), scope, heard).boxed());
        }
        let publish_service = self.options.publish_service.as_ref();
        if let Some(name) = publish_service.filter(|name| !scopes.iter().any(|scope| scope.covers(name))) {
            let scope = Scope::One(name.clone());
            let (services, fields) = (scope.api::<Service>(client), scope.fields());
            followed.push(heard.follow(scope, services, &fields, |_| {}));
        }
        for config_map in &self.options.config_maps {
            let scope = Scope::One(config_map.clone());
            let (config_maps, fields) = (scope.api::<ConfigMap>(client), scope.fields());
            followed.push(heard.follow(scope, config_maps, &fields, |_| {}));
        }
        followed
    }

    /// What only Gateways and policies lead to is followed from the first of these on.
    fn follow_gateways<'f>(&'f self, client: &Client, heard: &'f Heard<'f>, wants: &'f Wants, followed: &Followed<'f>) {
        let classes = Api::<GatewayClass>::all(client.clone());
        followed.push(heard.follow(Scope::All, classes, "", |_| {}));
        let namespaces = Api::<Namespace>::all(client.clone());
        followed.push(Box::pin(async move {
            wants.namespaces.notified().await;
            heard.follow(Scope::All, namespaces, "", |_| {}).await;
        }));
        let scopes = Scope::of_namespaces(&self.options.namespaces);
        let config_maps: Vec<_> = scopes.iter().map(|scope| (scope.clone(), scope.api::<ConfigMap>(client))).collect();
        followed.push(Box::pin(async move {
            wants.config_maps.notified().await;
            join_all(config_maps.into_iter().map(|(scope, api)| heard.follow_if_shown(scope, api))).await;
        }));
        for scope in scopes {
            let tell = |change: &Change<Gateway>| tell_any(change, &wants.namespaces);
            followed.push(heard.follow(scope.clone(), scope.api::<Gateway>(client), "", tell));
            followed.push(heard.follow(scope.clone(), scope.api::<HttpRoute>(client), "", |_| {}));
            followed.push(heard.follow(scope.clone(), scope.api::<GrpcRoute>(client), "", |_| {}));
            followed.push(heard.follow(scope.clone(), scope.api::<ReferenceGrant>(client), "", |_| {}));
            let tell = |change: &Change<BackendTlsPolicy>| tell_any(change, &wants.config_maps);
            followed.push(heard.follow(scope.clone(), scope.api::<BackendTlsPolicy>(client), "", tell));
        }
    }

    /// Pods are told of their changes at once, and without looking at anything else.
    async fn follow_slices(&self, slices: Api<EndpointSlice>, scope: Scope, heard: &Heard<'_>) {
        let part = format!("endpointslices of {scope}");
        follow(slices, "", |change| {
            heard.hear(&part, change.lost());
            self.pods.hear_slices(&scope, change);
        })
        .await;
    }

    /// Waits until rules refuse other Releases than these.
    async fn refused(rejected: &mut watch::Receiver<Vec<Rejected>>, refused: &mut BTreeMap<ObjectName, String>) {
        while rejected.changed().await.is_ok() {
            let newer = rejected::of_releases(&rejected.borrow_and_update());
            if newer != *refused {
                *refused = newer;
                return;
            }
        }
        // Nobody is left to refuse anything.
        std::future::pending().await
    }

    /// Makes rules of all objects whenever there are other ones. Storms are one change, and there is always time for others.
    async fn translate(&self, heard: &Heard<'_>, tell: &(impl Fn(Told) + Sync), report: &watch::Sender<Report>) {
        let (mut before, mut rejected) = (Before::default(), self.rejected.clone());
        loop {
            tokio::select! {
                () = heard.changed() => {}
                () = Self::refused(&mut rejected, &mut before.releases.refused) => {}
            }
            Self::settle(heard).await;
            let (began, now) = (Instant::now(), now());
            match heard.look(|objects| translate(objects, &self.options, &now, &before)) {
                Err(reason) => tell(Told::Unheard(reason)),
                Ok(Translation { made, findings, served, records, accepted, statuses, .. }) => {
                    let mut seen = self.state.lock();
                    (seen.is_complete, seen.ingresses) = (true, served.len());
                    drop(seen);
                    let documents = made.documents.clone();
                    (before.made, before.releases.accepted) = (made, accepted);
                    self.releases.hear(records.keys().cloned().collect());
                    heard.want(&statuses);
                    tell(Told::Heard(Translated { documents, findings: findings.clone(), records }));
                    report.send_replace(Report { statuses, findings });
                }
            }
            sleep(began.elapsed()).await;
        }
    }

    /// Waits for more of what changes at once, so that a hundred changes are one.
    async fn settle(heard: &Heard<'_>) {
        let end = Instant::now() + LONGEST_STORM;
        let more = async || timeout_at(end.min(Instant::now() + QUIET), heard.changed()).await.is_ok();
        while more().await && Instant::now() < end {}
    }
}

/// What is followed only if there is need to.
#[derive(Default)]
struct Wants {
    /// For listeners that choose namespaces by labels.
    namespaces: Notify,
    /// For policies whose authorities are in them.
    config_maps: Notify,
}

/// Tells that there are such objects.
fn tell_any<K>(change: &Change<K>, wanted: &Notify) {
    match change {
        Change::All(all) if all.is_empty() => {}
        Change::All(_) | Change::Is(..) => wanted.notify_one(),
        Change::Gone(_) | Change::Lost(_) => {}
    }
}

/// As statuses have it.
fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

type Followed<'f> = FuturesUnordered<BoxFuture<'f, ()>>;

/// Secrets of these kinds are none of a proxy's business, and there may be very many of them.
const SECRETS: &str =
    "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson";

/// A storm is over when nothing has changed for so long. Objects that are written together are heard within a fraction of it.
const QUIET: Duration = Duration::from_millis(3);

/// But for so long at most it is waited for.
const LONGEST_STORM: Duration = Duration::from_millis(20);

const TRY_AGAIN: Duration = Duration::from_secs(5);
