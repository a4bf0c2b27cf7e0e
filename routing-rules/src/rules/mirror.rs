//! Mirrors of routes.

use super::{Name, Target};
use crate::error::Problems;
use crate::spec::{ByteSize, MirrorSpec, Percent};

/// Copies of a route's requests for another upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The upstream that gets the copies; not the only one that serves the route.
    pub upstream: Name,
    /// How many of the requests are copied.
    pub percent: Percent,
    /// The largest request body that is copied, in bytes; at most 1 MiB.
    pub max_body: u64,
}

impl Mirror {
    pub(super) fn new(spec: &MirrorSpec, target: Option<&Target>, mut problems: Problems<'_>) -> Option<Self> {
        let upstream = problems.at("upstream").ok(upstream(&spec.upstream, target));
        let max_body = problems.at("max_body").ok(max_body(spec.max_body));
        if matches!(target, Some(Target::Redirect(_))) {
            problems.report("a route that redirects sends no request that could be mirrored");
            return None;
        }
        Some(Self { upstream: upstream?, percent: spec.percent.unwrap_or(Percent::ALL), max_body: max_body? })
    }
}

fn upstream(text: &str, target: Option<&Target>) -> Result<Name, String> {
    let name = Name::new(text)?;
    match target {
        Some(Target::Upstream(own)) if *own == name => {
            Err(format!("upstream `{name}` serves the route, so it has every request already"))
        }
        _ => Ok(name),
    }
}

fn max_body(spec: Option<ByteSize>) -> Result<u64, String> {
    match spec.map_or(DEFAULT_BODY, ByteSize::bytes) {
        bytes if bytes > MAX_BODY => Err("it is above 1MiB, the most a mirrored body can have".into()),
        bytes => Ok(bytes),
    }
}

const DEFAULT_BODY: u64 = 64 << 10;

/// Copies are held in memory until their request is whole.
const MAX_BODY: u64 = 1 << 20;
