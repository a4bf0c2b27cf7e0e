//! Any bytes as host and path: what is canonical stays as it is, and a rewritten path is canonical again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routing_rules::request::canonical;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(host) = canonical::host(bytes)
        && !host.name().is_empty()
    {
        let again = canonical::host(host.name().as_bytes()).expect("a canonical host is a host");
        assert_eq!(again.name(), host.name());
        assert!(again.is_canonical());
    }
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut part = || canonical::path(parts.next().unwrap_or_default()).ok();
    let Some(path) = part() else { return };
    assert_eq!(canonical::path(path.as_bytes()).as_deref(), Ok(&*path), "a canonical path stays as it is");
    assert!(path.starts_with('/') && !path.contains("//"), "{path}");
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    // Prefixes are written without a slash at the end, so the empty one is the root.
    if let (Some(from), Some(to)) = (part(), part())
        && let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'))
        && let Some(replaced) = canonical::replace_prefix(&path, from, to)
    {
        assert_eq!(canonical::path(replaced.as_bytes()).as_deref(), Ok(&*replaced), "{path}: {from} → {to}");
    }
});
