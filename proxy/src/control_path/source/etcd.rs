//! Rules in etcd: one object a key, `<prefix>routes/<name>` and so on, each with a document of JSON or YAML.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::Kind;

use super::{Text, TextKind};
use crate::control_path::etcd::{Cluster, Heard, Keys, Mirror, Pace, Value};

/// What keys say, as texts.
pub struct EtcdTexts {
    prefix: Arc<str>,
    /// By key. Persistent, because all of them are handed on with every change.
    texts: OrdMap<Arc<[u8]>, Text>,
}

/// What a key is, by its part behind the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'k> {
    Object(Kind, &'k str),
    /// Serin's own, or registrations, which others read.
    Other,
    Unknown(&'static str),
}

/// Follows the rules under a prefix until it is dropped. `tell` gets all texts with every change, and a text that says why
/// there are none as long as nothing was heard.
pub async fn run(cluster: Cluster, pace: Pace, tell: impl Fn(Vec<Text>)) {
    let prefix = cluster.prefix().to_owned();
    let mut texts = EtcdTexts::new(&prefix);
    let mut is_heard = false;
    let name = cluster.name();
    let mirror = Mirror::new(cluster, prefix.as_bytes(), pace);
    let heard_again = |times: u32| {
        if times > 0 {
            tracing::info!(failures = times, "etcd answers again");
        }
    };
    let hear = |heard: Heard<'_>| match heard {
        Heard::Changed { keys, changed, is_listing, times } => {
            heard_again(times);
            texts.take(keys, &changed);
            let (objects, revision) = (texts.texts.len(), keys.revision);
            if is_listing {
                tracing::info!(prefix, objects, revision, changed = changed.len(), "etcd: all keys are listed");
            }
            is_heard = true;
            tell(texts.all());
        }
        Heard::Lost { trouble, times } => {
            if times == 1 {
                tracing::warn!(reason = %trouble, "etcd does not answer; what was heard last serves on");
            }
            if !is_heard {
                tell(vec![unheard(&name, &trouble.to_string())]);
            }
        }
        Heard::Same { times } => heard_again(times),
    };
    mirror.run(hear).await;
}

/// Stands for all that is in a cluster nothing was heard of yet: what was stored of it stays.
pub fn unheard(cluster: &str, reason: &str) -> Text {
    let name = format!("etcd {cluster}").into();
    Text { name, content: Err(format!("not heard yet: {reason}")), kind: TextKind::Unheard }
}

impl EtcdTexts {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), texts: OrdMap::new() }
    }

    fn take(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) {
        for key in changed {
            match keys.entries.get(key).and_then(|value| self.text(key, value)) {
                Some(text) => drop(self.texts.insert(Arc::clone(key), text)),
                None => drop(self.texts.remove(key)),
            }
        }
    }

    fn all(&self) -> Vec<Text> {
        self.texts.values().cloned().collect()
    }

    fn text(&self, key: &[u8], value: &Value) -> Option<Text> {
        let shown: Arc<str> = String::from_utf8_lossy(key).into();
        let unknown = |reason: &str| {
            Some(Text {
                name: Arc::clone(&shown),
                content: Err(reason.into()),
                kind: TextKind::Unknown { revision: value.mod_revision },
            })
        };
        match from_utf8(key).ok().and_then(|key| key.strip_prefix(&*self.prefix)).map(part) {
            Some(Part::Object(kind, name)) => {
                let content = from_utf8(&value.bytes).map(Into::into).map_err(|error| format!("not UTF-8: {error}"));
                let kind = TextKind::Object { kind, name: name.into(), revision: value.mod_revision };
                Some(Text { name: shown, content, kind })
            }
            Some(Part::Other) => None,
            Some(Part::Unknown(reason)) => unknown(reason),
            None => unknown("the key is not UTF-8"),
        }
    }
}

fn part(rest: &str) -> Part<'_> {
    let Some((folder, name)) = rest.split_once('/') else {
        return if rest == "leader" { Part::Other } else { Part::Unknown(NO_KIND) };
    };
    if ["endpoints", "state", "history", "aca", "instances", "leader"].contains(&folder) {
        return Part::Other;
    }
    match Kind::ALL.into_iter().find(|kind| kind.map_name() == folder) {
        Some(_) if name.is_empty() => Part::Unknown("the key names no object"),
        Some(kind) => Part::Object(kind, name),
        None => Part::Unknown(NO_KIND),
    }
}

const NO_KIND: &str = "the key is none of `routes/NAME`, `upstreams/NAME`, `releases/NAME`, `listeners/NAME`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_objects_or_not() {
        assert_eq!(part("routes/shop"), Part::Object(Kind::Route, "shop"));
        assert_eq!(
            part("upstreams/a/b"),
            Part::Object(Kind::Upstream, "a/b"),
            "whether it is a name is said elsewhere"
        );
        for other in ["endpoints/shop/1", "state/releases/x", "history/releases/x/1", "instances/a", "leader", "aca/x"]
        {
            assert_eq!(part(other), Part::Other, "{other}");
        }
        for unknown in ["", "routes", "routes/", "rotues/shop", "/routes/shop", "leaders"] {
            assert!(matches!(part(unknown), Part::Unknown(_)), "{unknown}");
        }
    }
}
