use futures_util::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::watch::Lost;

/// A Service `shop/web` with a port that is named and one that is not.
fn service() -> Service {
    let spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": "web"}, {"port": 9000}]});
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
}

/// A slice of it, with these endpoints.
fn slice(name: &str, endpoints: &[Value]) -> (ObjectName, EndpointSlice) {
    let slice = json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "", "port": 9001}, {"name": "udp", "port": 53, "protocol": "UDP"}],
        "endpoints": endpoints,
    });
    (ObjectName::new("shop", name), serde_json::from_value(slice).unwrap())
}

/// An endpoint with these conditions: ready, serving, terminating.
fn endpoint(address: &str, conditions: (Option<bool>, Option<bool>, Option<bool>)) -> Value {
    let (ready, serving, terminating) = conditions;
    json!({"addresses": [address], "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}

fn ready(address: &str) -> Value {
    endpoint(address, (Some(true), Some(true), Some(false)))
}

fn ending(address: &str) -> Value {
    endpoint(address, (Some(false), Some(true), Some(true)))
}

fn port(port: Port) -> ServicePort {
    ServicePort { namespace: "shop".into(), service: "web".into(), port }
}

fn http() -> ServicePort {
    port(Port::Name("http".into()))
}

/// With this Service, and a slice of these endpoints.
fn pods(endpoints: &[Value]) -> Arc<Pods> {
    let pods = Arc::new(Pods::default());
    pods.await_all(&[Scope::All]);
    let services = [(ObjectName::new("shop", "web"), service())].into();
    pods.hear_services(&Scope::All, &Change::All(services));
    pods.hear_slices(&Scope::All, Change::All([slice("web-1", endpoints)].into()));
    pods
}

fn shown(subscription: &Subscription) -> Result<Vec<String>, String> {
    Ok(subscription.pods()?.iter().map(ToString::to_string).collect())
}

#[test]
fn ports_of_services_lead_to_those_of_pods() {
    let pods = pods(&[ready("10.0.0.1"), ready("10.0.0.2")]);
    let at = |port| shown(&pods.subscribe(&port));
    assert_eq!(at(http()).unwrap(), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(at(port(Port::Number(80))).unwrap(), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(at(port(Port::Number(9000))).unwrap(), ["10.0.0.1:9001", "10.0.0.2:9001"]);
    let wrong = at(port(Port::Number(8080))).unwrap_err();
    assert_eq!(wrong, "Service shop/web has no port 8080; it has 80 (http), 9000");
    let gone = ServicePort { service: "gone".into(), ..http() };
    assert_eq!(shown(&pods.subscribe(&gone)).unwrap_err(), "there is no Service shop/gone");
    assert_eq!(pods.count(), (1, 2));
}

#[test]
fn pods_that_end_serve_only_where_there_is_no_other() {
    let unready = endpoint("10.0.0.3", (Some(false), Some(false), Some(false)));
    let no_word = endpoint("10.0.0.4", (None, None, None));
    let ended = endpoint("10.0.0.5", (Some(false), Some(false), Some(true)));
    let pods = pods(&[ready("10.0.0.1"), ending("10.0.0.2"), unready.clone(), no_word, ended.clone()]);
    let subscription = pods.subscribe(&http());
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.1:8080", "10.0.0.4:8080"]);
    let (name, newer) = slice("web-1", &[ending("10.0.0.2"), unready, ended]);
    pods.hear_slices(&Scope::All, Change::Is(name, newer));
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.2:8080"]);
    let (name, none) = slice("web-1", &[]);
    pods.hear_slices(&Scope::All, Change::Is(name, none));
    assert_eq!(shown(&subscription).unwrap(), [""; 0]);
}

#[test]
fn a_pod_with_an_address_of_each_version_is_one() {
    let pods = pods(&[ready("10.0.0.1"), ready("10.0.0.2")]);
    let (name, slice) = slice("web-6", &[ready("fd00::1"), ready("fd00::2")]);
    pods.hear_slices(&Scope::All, Change::Is(name, slice));
    let subscription = pods.subscribe(&http());
    let families = |families: &[&str]| {
        let mut service = service();
        let spec = service.spec.as_mut().unwrap();
        spec.ip_families = Some(families.iter().map(|family| (*family).to_owned()).collect());
        pods.hear_services(&Scope::All, &Change::Is(ObjectName::new("shop", "web"), service));
        shown(&subscription).unwrap()
    };
    assert_eq!(families(&["IPv4", "IPv6"]), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(families(&["IPv6", "IPv4"]), ["[fd00::1]:8080", "[fd00::2]:8080"]);
    pods.hear_slices(&Scope::All, Change::Gone(ObjectName::new("shop", "web-6")));
    assert_eq!(
        shown(&subscription).unwrap(),
        ["10.0.0.1:8080", "10.0.0.2:8080"],
        "the second version is better than none"
    );
}

#[test]
fn whoever_follows_a_service_is_told_of_its_changes_alone() {
    let pods = pods(&[ready("10.0.0.1")]);
    let mut subscription = pods.subscribe(&http());
    let is_told = |subscription: &mut Subscription| subscription.changed().now_or_never().is_some();
    let (name, mut other) = slice("other-1", &[ready("10.0.1.1")]);
    other.metadata.labels.as_mut().unwrap().insert("kubernetes.io/service-name".into(), "other".into());
    pods.hear_slices(&Scope::All, Change::Is(name, other));
    let (name, same) = slice("web-1", &[ready("10.0.0.1")]);
    pods.hear_slices(&Scope::All, Change::Is(name, same));
    assert!(!is_told(&mut subscription));
    let (name, more) = slice("web-2", &[ready("10.0.0.2")]);
    pods.hear_slices(&Scope::All, Change::Is(name.clone(), more));
    assert!(is_told(&mut subscription));
    assert_eq!(shown(&subscription).unwrap().len(), 2);
    pods.hear_slices(&Scope::All, Change::Gone(name));
    assert!(is_told(&mut subscription));
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.1:8080"]);
    pods.hear_services(&Scope::All, &Change::Gone(ObjectName::new("shop", "web")));
    assert!(is_told(&mut subscription) && shown(&subscription).is_err());
}

#[test]
fn a_slice_may_change_its_service_and_a_listing_takes_away_what_it_does_not_have() {
    let pods = pods(&[ready("10.0.0.1")]);
    let subscription = pods.subscribe(&http());
    let (name, mut moved) = slice("web-1", &[ready("10.0.0.1")]);
    moved.metadata.labels = None;
    pods.hear_slices(&Scope::All, Change::Is(name, moved));
    assert_eq!(shown(&subscription).unwrap(), [""; 0]);
    let others: BTreeMap<_, _> = [slice("web-2", &[ready("10.0.0.2")]), slice("web-3", &[ready("10.0.0.3")])].into();
    pods.hear_slices(&Scope::All, Change::All(others));
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.2:8080", "10.0.0.3:8080"]);
    pods.hear_slices(&Scope::Namespace("else".into()), Change::All(BTreeMap::new()));
    assert_eq!(shown(&subscription).unwrap().len(), 2, "another namespace says nothing of this one");
    pods.hear_slices(&Scope::All, Change::All(BTreeMap::new()));
    pods.hear_services(&Scope::All, &Change::All(BTreeMap::new()));
    assert_eq!(shown(&subscription).unwrap_err(), "there is no Service shop/web");
    drop(subscription);
    assert_eq!(pods.count(), (0, 0));
}

#[test]
fn nothing_is_known_before_all_was_heard() {
    let pods = Arc::new(Pods::default());
    let mut subscription = pods.subscribe(&http());
    assert_eq!(shown(&subscription).unwrap_err(), "not heard yet: the API server was just asked");
    let scopes = Scope::of_namespaces(&["shop".into(), "pay".into()]);
    pods.await_all(&scopes);
    let services: BTreeMap<_, _> = [(ObjectName::new("shop", "web"), service())].into();
    pods.hear_services(&scopes[0], &Change::All(services));
    pods.hear_slices(&scopes[0], Change::All([slice("web-1", &[ready("10.0.0.1")])].into()));
    pods.hear_services(&scopes[1], &Change::Lost(Lost::Forbidden("no".into())));
    assert_eq!(shown(&subscription).unwrap_err(), "not heard yet: no");
    pods.hear_services(&scopes[1], &Change::All(BTreeMap::new()));
    while subscription.changed().now_or_never().is_some() {}
    pods.hear_slices(&scopes[1], Change::All(BTreeMap::new()));
    assert!(subscription.changed().now_or_never().is_some());
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.1:8080"]);
    pods.hear_slices(&scopes[1], Change::Lost(Lost::Failed("away".into())));
    assert_eq!(shown(&subscription).unwrap(), ["10.0.0.1:8080"], "what was heard last stays");
}
