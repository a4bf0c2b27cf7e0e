//! What takes long is done when rules are compiled. In a program of its own: the automaton is built once in a process.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use routing_rules::release::{Assigner, DeviceClass, ReleaseState, Secret};
use routing_rules::rules::Release;

/// Nanoseconds this thread has spent on a processor, however busy the machine is with others.
fn processor_time() -> u64 {
    // The kernel brings the figure up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says so");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("it begins with a number")
}

#[test]
fn no_request_waits_for_the_device_table() {
    let spec = serde_json::json!({
        "stable": "old", "canary": "new", "phases": [1],
        "audience": [{"name": "phones", "device": ["iphone"]}],
    });
    let spec = serde_json::from_value(spec).expect("a release");
    let rules = Release::new("next", &spec, &mut Vec::new()).expect("a good one");
    let mut agent = HeaderMap::new();
    agent.insert(USER_AGENT, HeaderValue::from_static("MyApp/3.2 (iPhone; iOS 19.1; Scale/3.00)"));
    let state = ReleaseState::initial(&rules);
    let before = processor_time();
    let _assigner = Assigner::new(Arc::new(rules), &state, &Secret::default());
    let compiled = processor_time();
    assert_eq!(DeviceClass::of(&agent), DeviceClass::Iphone);
    let (compiling, asking) = (compiled - before, processor_time() - compiled);
    assert!(asking < compiling / 4, "{asking} ns for the first request, after {compiling} ns of compiling");
}
