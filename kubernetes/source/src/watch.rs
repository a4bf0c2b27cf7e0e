//! Following all objects of one kind.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::{ObjectName, trouble};

/// What has become of the objects of one kind.
pub(crate) enum Change<K> {
    /// These are all there are, in one namespace or in all.
    All(BTreeMap<ObjectName, K>),
    /// This one is there, or is otherwise than before.
    Is(ObjectName, K),
    /// This one has gone.
    Gone(ObjectName),
    /// They are not heard.
    Lost(Lost),
}

impl<K> Change<K> {
    /// Why they are not heard, if they are not.
    pub(crate) fn lost(&self) -> Option<&Lost> {
        match self {
            Self::Lost(lost) => Some(lost),
            Self::All(_) | Self::Is(..) | Self::Gone(_) => None,
        }
    }
}

/// Why objects are not heard. What was heard last stays.
pub(crate) enum Lost {
    /// The server knows no such kind.
    Unknown,
    /// The server does not show them to us.
    Forbidden(String),
    /// Anything else.
    Failed(String),
}

impl Lost {
    fn by(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
        let (error, may_be_unknown) = match error {
            InitialListFailed(error) | WatchStartFailed(error) => (error, true),
            WatchFailed(error) => (error, false),
            WatchError(status) => return Self::Failed(status.message.clone()),
            NoResourceVersion => return Self::Failed(error.to_string()),
        };
        let reason = trouble::of(error);
        match error {
            kube::Error::Api(status) if may_be_unknown && status.code == 404 => Self::Unknown,
            kube::Error::Api(status) if may_be_unknown && status.code == 403 => Self::Forbidden(reason),
            _ => Self::Failed(reason),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the API server does not know them"),
            Self::Forbidden(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Follows objects in one namespace, or in all, and tells of every change. What fails is tried again for ever, more and more seldom: also
/// where each try begins well, as a list does of a kind that the server does not know.
pub(crate) async fn follow<K>(api: Api<K>, fields: &str, mut tell: impl FnMut(Change<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(fields);
    let mut events = std::pin::pin!(watcher(api, config));
    let (mut listed, mut failures) = (BTreeMap::new(), 0_u32);
    while let Some(event) = events.next().await {
        failures = match &event {
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => 0,
            Ok(Event::Init | Event::InitApply(_)) => failures,
            Err(_) => failures.saturating_add(1),
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => drop(listed.insert(ObjectName::of(&object), slim(object))),
            Ok(Event::InitDone) => tell(Change::All(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => tell(Change::Is(ObjectName::of(&object), slim(object))),
            Ok(Event::Delete(object)) => tell(Change::Gone(ObjectName::of(&object))),
            Err(error) => {
                tell(Change::Lost(Lost::by(&error)));
                sleep(pause(failures)).await;
            }
        }
    }
}

/// After so many failures: longer with each, and not the same for all who lost the same server.
fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    pause.mul_f64(0.75 + f64::from(now.subsec_micros() % 1_000) / 2_000.0)
}

const FIRST_PAUSE: Duration = Duration::from_millis(800);

const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What nobody looks at is a third of an object.
fn slim<K: Resource>(mut object: K) -> K {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        let is_about = |failures, ms: u64| {
            let pause = pause(failures);
            let about = Duration::from_millis(ms);
            assert!(pause >= about.mul_f64(0.75) && pause <= about.mul_f64(1.25), "{failures}: {pause:?}");
        };
        is_about(1, 800);
        is_about(2, 1_600);
        is_about(6, 15_000);
        is_about(u32::MAX, 15_000);
    }
}
