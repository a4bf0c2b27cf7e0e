//! The client the project uses, as it uses it.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher::{self, Event as Seen};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Config, CustomResource, CustomResourceExt, Error};
use kubernetes_stand_in::StandIn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A kind as a program defines it.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "derived.example", version = "v1", kind = "Canary", namespaced, status = "CanaryStatus")]
struct CanarySpec {
    #[schemars(range(min = 0, max = 100))]
    weight: i32,
    note: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct CanaryStatus {
    phase: Option<String>,
}

async fn client(server: &StandIn) -> Client {
    let config = Kubeconfig::from_yaml(&server.kubeconfig_yaml()).expect("a file a client can read");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn code(error: Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        error => panic!("{error}"),
    }
}

fn map(name: &str, value: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let data = Some(BTreeMap::from([("x".to_owned(), value.to_owned())]));
    ConfigMap { metadata, data, ..ConfigMap::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_read_replaced_and_deleted() {
    let server = StandIn::start();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server).await);
    let created = maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
    assert_eq!(code(maps.create(&PostParams::default(), &map("a", "1")).await.unwrap_err()), 409);
    let mut next = created.clone();
    next.data = map("a", "2").data;
    maps.replace("a", &PostParams::default(), &next).await.unwrap();
    assert_eq!(code(maps.replace("a", &PostParams::default(), &next).await.unwrap_err()), 409);
    assert_eq!(maps.get("a").await.unwrap().data, next.data);
    assert_eq!(maps.list(&ListParams::default().limit(1)).await.unwrap().items.len(), 1);
    assert!(maps.get_metadata("a").await.unwrap().metadata.uid.is_some());
    assert!(maps.delete("a", &DeleteParams::default()).await.unwrap().right().is_some());
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_kind_is_defined_validated_and_applied() {
    let server = StandIn::start();
    let client = client(&server).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Canary::crd_name();
    definitions.patch(name, &PatchParams::apply("serin"), &Patch::Apply(Canary::crd())).await.unwrap();
    await_condition(definitions, name, conditions::is_crd_established()).await.unwrap();

    let canaries: Api<Canary> = Api::default_namespaced(client);
    let wrong = Canary::new("c", CanarySpec { weight: 101, note: None });
    assert_eq!(code(canaries.create(&PostParams::default(), &wrong).await.unwrap_err()), 422);
    let right = Canary::new("c", CanarySpec { weight: 5, note: None });
    let apply = PatchParams::apply("serin").force();
    canaries.patch("c", &apply, &Patch::Apply(&right)).await.unwrap();
    let status = json!({"apiVersion": "derived.example/v1", "kind": "Canary", "status": {"phase": "Running"}});
    let canary = canaries.patch_status("c", &apply, &Patch::Apply(status)).await.unwrap();
    assert_eq!(canary.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(canary.metadata.generation, Some(1));

    let rival = json!({"apiVersion": "derived.example/v1", "kind": "Canary", "spec": {"weight": 6}});
    let refused = canaries.patch("c", &PatchParams::apply("rival"), &Patch::Apply(rival)).await.unwrap_err();
    assert_eq!(code(refused), 409);
}

/// Names as they come, until so many are known.
async fn reflect(server: &StandIn, config: watcher::Config) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(server).await);
    for name in ["a", "b", "c"] {
        server.apply(format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}").as_str());
    }
    let (store, writer) = reflector::store::<ConfigMap>();
    let mut seen = Box::pin(reflector(writer, watcher::watcher(maps, config)).default_backoff());
    while !matches!(seen.next().await, Some(Ok(Seen::InitDone))) {}
    assert_eq!(store.len(), 3);

    // What happens while the watch is cut and the history forgotten is not lost.
    server.compact_history();
    server.drop_watches();
    server.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: d}}");
    server.remove("ConfigMap", "default", "a");
    let known = || {
        let mut names: Vec<String> = store.state().iter().filter_map(|map| map.metadata.name.clone()).collect();
        names.sort();
        names
    };
    while known() != ["b", "c", "d"] {
        let _ = seen.next().await.expect("a watcher never ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_lists_and_watches() {
    reflect(&StandIn::start(), watcher::Config::default().page_size(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_streams_its_list() {
    reflect(&StandIn::start(), watcher::Config::default().streaming_lists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_slices_are_watched() {
    let server = StandIn::start();
    let slices: Api<EndpointSlice> = Api::all(client(&server).await);
    let config = watcher::Config::default().labels("kubernetes.io/service-name=shop");
    let mut seen = Box::pin(watcher::watcher(slices, config).applied_objects());
    let slice = |name: &str, service: &str, address: &str| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}],
        })
    };
    server.apply(slice("other", "mail", "192.0.2.9"));
    server.apply(slice("shop-1", "shop", "192.0.2.1"));
    let found = seen.next().await.unwrap().unwrap();
    assert_eq!((found.metadata.name.as_deref(), &found.endpoints[0].addresses[0][..]), (Some("shop-1"), "192.0.2.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_taken_by_one() {
    let server = StandIn::start();
    let leases: Api<Lease> = Api::default_namespaced(client(&server).await);
    let held_by = |holder: &str| LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() };
    let metadata = ObjectMeta { name: Some("lock".to_owned()), ..ObjectMeta::default() };
    let lease = Lease { metadata, spec: Some(held_by("")) };
    let lease = leases.create(&PostParams::default(), &lease).await.unwrap();
    let take = |holder: &str| Lease { spec: Some(held_by(holder)), ..lease.clone() };
    leases.replace("lock", &PostParams::default(), &take("one")).await.unwrap();
    assert_eq!(code(leases.replace("lock", &PostParams::default(), &take("two")).await.unwrap_err()), 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_publishes_events() {
    let server = StandIn::start();
    let recorder = Recorder::new(client(&server).await, "serin".into());
    let event = Event {
        type_: EventType::Warning,
        reason: "Refused".to_owned(),
        note: Some("no such service".to_owned()),
        action: "Read".to_owned(),
        secondary: None,
    };
    let about = ObjectReference {
        kind: Some("Ingress".to_owned()),
        name: Some("shop".to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectReference::default()
    };
    recorder.publish(&event, &about).await.unwrap();
    // The same once more is counted in the first.
    recorder.publish(&event, &about).await.unwrap();
    let events = server.events();
    assert_eq!((events.len(), &events[0]["note"]), (1, &json!("no such service")));
    assert_eq!(events[0]["series"]["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_brought() {
    let server = StandIn::start();
    server.require_token(Some("secret"));
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server).await);
    maps.list(&ListParams::default()).await.unwrap();
    server.require_token(Some("another"));
    assert_eq!(code(maps.list(&ListParams::default()).await.unwrap_err()), 401);
}
