//! Checks of endpoints that speak HTTP/2: a request, and the protocol that gRPC has for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::rules;
use crate::support::grpc::framed;
use crate::support::http2_origin::{Http2Origin, fields};
use crate::support::{PATIENCE, Serin, eventually};

fn up(serin: &Serin) -> f64 {
    serin.metric("serin_endpoint_up")
}

#[test]
fn a_path_is_asked_for_in_the_protocol_of_the_upstream() {
    let origin = Http2Origin::start(|mut call| async move {
        let status = if call.path() == "/healthz" { 200 } else { 500 };
        call.answer(status, &[], b"fine");
    });
    let check = |path: &str| format!("health: {{path: {path}, host: shop.test, interval: 100ms, body: fine}}");
    let serin = Serin::serving(&rules(&[origin.address()], &check("/healthz"), ""));
    origin.wait_until("two checks", |log| log.calls.len() >= 2);
    assert_eq!((origin.log().calls[0].target.as_str(), up(&serin)), ("http://shop.test/healthz", 1.0));
    serin.reload_serving(&rules(&[origin.address()], &check("/elsewhere"), ""));
    eventually(PATIENCE, "down", || up(&serin) == 0.0);
}

/// A service of which it is known how it is: 0 to 3 as the protocol numbers that, or an error of gRPC.
#[test]
fn a_service_is_asked_for_by_the_protocol_of_grpc() {
    let state = Arc::new(AtomicU8::new(1));
    let shared = Arc::clone(&state);
    let origin = Http2Origin::start(move |mut call| {
        let state = shared.load(Ordering::SeqCst);
        async move {
            let question = call.read().await.unwrap();
            let right = call.path() == "/grpc.health.v1.Health/Check" && question == framed(b"\x0a\x0bshop.Orders")[..];
            if state > 3 || !right {
                return call.answer(200, &[("content-type", "application/grpc"), ("grpc-status", "12")], b"");
            }
            let mut answer = call.begin(200, &[("content-type", "application/grpc")], false);
            answer.send_data(framed(&[8, state][..if state == 0 { 0 } else { 2 }]), false).unwrap();
            answer.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
        }
    });
    let check = "health: {grpc: {service: shop.Orders}, interval: 100ms, rise: 1, fall: 1}";
    let serin = Serin::serving(&rules(&[origin.address()], check, ""));
    let said = |text: &str| serin.admin_text("/api/v1/upstreams").contains(text);
    let states = [(1, "SERVING", 1.0), (2, "NOT_SERVING", 0.0), (1, "SERVING", 1.0), (3, "SERVICE_UNKNOWN", 0.0)];
    for (number, text, is_up) in
        states.into_iter().chain([(1, "SERVING", 1.0), (4, "grpc-status 12", 0.0), (0, "UNKNOWN", 0.0)])
    {
        state.store(number, Ordering::SeqCst);
        eventually(PATIENCE, text, || up(&serin) == is_up && said(text));
    }
    let call = &origin.log().calls[0];
    assert_eq!((call.fields["te"].to_str().unwrap(), &call.method[..]), ("trailers", "POST"));
}
