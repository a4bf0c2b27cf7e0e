//! Any bytes as the fields that tell a device: it has one class, and the same one each time.
//!
//! Lines of the input are values of `FIELDS` in that order. An agent is given twice, because the first one counts.
#![no_main]

use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use libfuzzer_sys::fuzz_target;
use routing_rules::release::DeviceClass;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in FIELDS {
        if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append(name, value);
        }
    }
    let class = DeviceClass::of(&headers);
    assert_eq!(DeviceClass::of(&headers), class);
    assert_eq!(class.as_str().parse(), Ok(class));
});

/// All that `DeviceClass::of` reads.
const FIELDS: [HeaderName; 6] = [
    USER_AGENT,
    HeaderName::from_static("sec-ch-ua-mobile"),
    HeaderName::from_static("sec-ch-ua-platform"),
    HeaderName::from_static("sec-ch-ua-form-factors"),
    HeaderName::from_static("sec-ch-ua-model"),
    USER_AGENT,
];
