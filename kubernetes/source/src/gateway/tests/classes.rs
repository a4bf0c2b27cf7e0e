//! GatewayClasses, and what all statuses have in common.

use super::*;

#[test]
fn a_class_is_ours_by_the_name_of_its_controller() {
    let class = |name: &str, controller: &str| json!({"kind": "GatewayClass", "metadata": {"name": name, "generation": 3}, "spec": {"controllerName": controller}});
    let outcome =
        Cluster::default().with(class("ours", "serin.dev/gateway")).with(class("other", "example.com/x")).translated();
    assert_eq!(outcome.updates.len(), 1);
    let status = outcome.status("GatewayClass ours");
    assert_eq!(conditions(&status["conditions"]), ["Accepted=True Accepted"]);
    assert_eq!(status["conditions"][0]["observedGeneration"], 3);
    let features: Vec<_> = status["supportedFeatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].as_str().unwrap())
        .collect();
    assert!(features.contains(&"HTTPRoute") && features.is_sorted(), "{features:?}");
}

#[test]
fn a_class_with_parameters_is_not_accepted_nor_are_its_gateways_served() {
    let class = json!({"kind": "GatewayClass", "metadata": {"name": "serin"},
        "spec": {"controllerName": "serin.dev/gateway", "parametersRef": {"group": "", "kind": "ConfigMap", "name": "p"}}});
    let outcome = Cluster::with_gateway().with(class).translated();
    assert_eq!(conditions(&outcome.status("GatewayClass serin")["conditions"]), ["Accepted=False InvalidParameters"]);
    assert_eq!((outcome.rules, outcome.updates.len()), (json!({}), 1));
}

/// Writes what is told, as the one does who tells it.
fn tell(mut cluster: Cluster, outcome: &Outcome) -> Cluster {
    fn put<S: Kind>(objects: &mut BTreeMap<ObjectName, Object<S>>, update: &StatusUpdate) {
        if S::KIND == update.resource.kind {
            objects.get_mut(&update.object).unwrap().status = update.status.clone();
        }
    }
    for update in outcome.updates.values() {
        put(&mut cluster.objects.gateway_classes, update);
        put(&mut cluster.objects.gateways, update);
        put(&mut cluster.objects.http_routes, update);
    }
    cluster
}

#[test]
fn who_was_told_is_not_told_again_until_something_changes() {
    let cluster = Cluster::with_gateway().with(route("a", 0, json!([prefix("/", "one")])));
    let first = cluster.translated();
    assert_eq!(first.updates.len(), 3);
    let mut cluster = tell(cluster, &first);
    assert_eq!(cluster.translated_at("2026-07-01T00:00:00Z").updates, BTreeMap::new());

    // A new generation is told with the old time: nothing has become otherwise.
    let name = ObjectName::new("shop", "a");
    cluster.objects.http_routes.get_mut(&name).unwrap().metadata.generation = Some(2);
    let class = ObjectName::new("", "serin");
    cluster.objects.gateway_classes.get_mut(&class).unwrap().metadata.generation = Some(7);
    let second = cluster.translated_at("2026-07-01T00:00:00Z");
    assert_eq!(second.updates.keys().collect::<Vec<_>>(), ["GatewayClass serin", "HTTPRoute shop/a"]);
    let condition = &second.status("HTTPRoute shop/a")["parents"][0]["conditions"][0];
    assert_eq!((&condition["observedGeneration"], &condition["lastTransitionTime"]), (&json!(2), &json!(NOW)));
    assert_eq!(second.status("GatewayClass serin")["conditions"][0]["observedGeneration"], 7);

    // What becomes otherwise is so from now on, and the rest as long as before.
    cluster.objects.services.remove(&ObjectName::new("shop", "one"));
    let third = cluster.translated_at("2026-07-01T00:00:00Z");
    let of = |index: usize| {
        third.status("HTTPRoute shop/a")["parents"][0]["conditions"][index]["lastTransitionTime"].clone()
    };
    assert_eq!((of(0), of(1)), (json!(NOW), json!("2026-07-01T00:00:00Z")));
}

#[test]
fn what_other_controllers_told_a_route_stays() {
    let other = json!({"controllerName": "example.com/x", "parentRef": {"name": "theirs"}, "conditions": []});
    let stale = json!({"controllerName": "serin.dev/gateway", "parentRef": {"name": "gone"}, "conditions": []});
    let told = and(route("a", 0, json!([prefix("/", "one")])), json!({"status": {"parents": [stale, other]}}));
    let outcome = Cluster::with_gateway().with(told.clone()).translated();
    let parents = outcome.status("HTTPRoute shop/a")["parents"].as_array().unwrap();
    assert_eq!((parents.len(), &parents[0]), (2, &other));
    assert_eq!(parents[1]["parentRef"]["name"], "web");
    // Also where no Gateway of ours is left.
    let outcome = Cluster::new().with(told).translated();
    assert_eq!(outcome.status("HTTPRoute shop/a")["parents"], json!([other]));
}
