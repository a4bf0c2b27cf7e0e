//! Dumps as `kubectl` prints them.

use super::*;

const DUMP: &str = r#"
apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: Ingress
  metadata:
    name: web
    namespace: shop
    creationTimestamp: "2026-01-01T00:00:00Z"
    annotations:
      nginx.ingress.kubernetes.io/ssl-redirect: "false"
      nginx.ingress.kubernetes.io/limit-rps: "10"
      nginx.ingress.kubernetes.io/proxy-buffering: "on"
      nginx.ingress.kubernetes.io/server-snippet: |
        return 204;
  spec:
    ingressClassName: nginx
    rules:
    - host: shop.example.com
      http:
        paths:
        - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
- apiVersion: networking.k8s.io/v1
  kind: Ingress
  metadata:
    name: admin
    namespace: shop
    creationTimestamp: "2026-01-01T00:00:01Z"
    annotations:
      kubernetes.io/ingress.class: outer
      nginx.ingress.kubernetes.io/auth-tls-secret: shop/ca
  spec:
    rules:
    - host: shop.example.com
      http:
        paths:
        - {path: /, pathType: Prefix, backend: {service: {name: admin, port: {number: 80}}}}
- apiVersion: networking.k8s.io/v1
  kind: Ingress
  metadata: {name: other, namespace: shop}
  spec: {ingressClassName: traefik}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: outer}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
"#;

#[test]
fn a_dump_says_what_would_become_of_it() {
    let report = report(DUMP).unwrap();
    let names: Vec<_> = report.ingresses.iter().map(|ingress| ingress.ingress.as_str()).collect();
    assert_eq!(names, ["shop/admin", "shop/web"]);
    let [admin, web] = &report.ingresses[..] else { panic!() };
    assert!(admin.is_closed && !web.is_closed);
    assert!(admin.besides[0].ends_with("already: Ingress shop/web is older"), "{:?}", admin.besides);
    assert_eq!(web.same, ["nginx.ingress.kubernetes.io/ssl-redirect"]);
    let of = |lines: &[Line]| {
        lines.iter().map(|line| line.annotation.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(&web.differently), of(&web.needless), of(&web.not)),
        (vec!["limit-rps".into()], vec!["proxy-buffering".into()], vec!["server-snippet".into()])
    );
    let summary = Summary { ingresses: 2, unchanged: 0, closed: 1, same: 1, differently: 1, needless: 1, not: 2 };
    assert_eq!(report.summary, summary);
    assert_eq!(report.notes[0], "Ingresses of another class, or of none: 1");
    let text = report.to_string();
    assert!(text.contains("\n  not          server-snippet: "), "{text}");
    assert!(text.ends_with("annotations: 1 do the same, 1 something else, 1 are not needed, 2 do nothing"), "{text}");
    assert_eq!(serde_json::to_value(&report).unwrap()["summary"]["closed"], 1);
}

#[test]
fn json_and_yaml_say_the_same() {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(DUMP).unwrap();
    let json: String = documents.iter().map(ToString::to_string).collect();
    assert_eq!(report(&json), report(DUMP));
}

#[test]
fn an_empty_cluster_is_no_error_and_nonsense_is_one() {
    assert_eq!(report("apiVersion: v1\nkind: List\nitems: []\n").unwrap().summary, Summary::default());
    assert_eq!(report("").unwrap().summary, Summary::default());
    assert!(report("{").is_err());
    assert!(report("a: [").is_err());
    let wrong = "kind: Ingress\nmetadata: {name: a, namespace: b}\nspec: {rules: 1}\n";
    assert!(report(wrong).unwrap_err().starts_with("Ingress b/a: "), "{:?}", report(wrong));
}

#[test]
fn others_may_be_wanted() {
    let wanted = Wanted { classes: vec!["traefik".into()], controllers: Vec::new() };
    assert_eq!(report_of(DUMP, &wanted).unwrap().ingresses[0].ingress, "shop/other");
}
