//! Fields that are set, and copies of requests.

use std::collections::BTreeMap;

use routing_rules::spec::{ByteSize, FilterSpec};

use super::given::Given;
use super::url::Url;
use super::{Namespace, trial};
use crate::ingress::tuning::{Copies, Tuning};

pub(super) fn read(given: &mut Given<'_>, namespace: Namespace<'_>, tuning: &mut Tuning) {
    let prefix = given.read("x-forwarded-prefix", |text| match text.contains('$') {
        true => Err(format!("`{text}` has a capture, and there are none")),
        false => trial::filter(FilterSpec::SetRequestHeader(one("x-forwarded-prefix", text))),
    });
    tuning.filters.extend(prefix);
    let host = given.read("upstream-vhost", |host| trial::filter(FilterSpec::ReplaceHost(host.to_owned())));
    tuning.filters.extend(host);
    let fields = given.read("custom-headers", |text| {
        let name = namespace.own(text)?;
        let config_map = namespace.objects.config_maps.get(&name);
        let config_map = config_map
            .ok_or_else(|| format!("ConfigMap {name} is not followed; let the application set its fields"))?;
        trial::filter(FilterSpec::SetResponseHeader(config_map.data.clone().unwrap_or_default()))
    });
    tuning.filters.extend(fields);
    mirror(given, tuning);
}

fn mirror(given: &mut Given<'_>, tuning: &mut Tuning) {
    let Some(url) = given.read("mirror-target", target) else { return };
    let has_bodies = match given.text("mirror-request-body") {
        Some("off") => false,
        _ => {
            given.same("mirror-request-body");
            true
        }
    };
    let max_body = ByteSize::from(if has_bodies { LARGEST } else { 0 });
    tuning.copies = Some(Copies { url, max_body });
}

fn target(text: &str) -> Result<Url, String> {
    // Copies are for the path of the request, which nobody has to say.
    let stem = text.strip_suffix("$request_uri").unwrap_or(text);
    let url = Url::parse(stem.strip_suffix('/').unwrap_or(stem))?;
    match url.path.as_str() {
        "/" if !url.is_own_host() => Ok(url),
        "/" => Err("a copy for the host of the request itself would come back".into()),
        path => Err(format!("copies have the path of their request, and not `{path}` before or instead of it")),
    }
}

fn one(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// The largest body that can be copied.
const LARGEST: u64 = 1 << 20;
