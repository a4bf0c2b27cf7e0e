//! The first step of a lookup: the paths of the exact host, of its wildcard, of the domains it is below, of any host.

use std::sync::Arc;

use super::CompiledRoute;
use super::candidates::Candidate;
use super::paths::PathIndex;
use super::text_map::TextMap;
use crate::request::RequestView;
use crate::rules::{HostPattern, suffixes, wildcard_suffix};

/// All candidates.
#[derive(Clone, Debug, Default)]
pub(super) struct HostIndex {
    exact: TextMap<Arc<PathIndex>>,
    /// By what follows the first label, the dot included.
    wildcard: TextMap<Arc<PathIndex>>,
    /// By what follows the first labels, the dot included.
    below: TextMap<Arc<PathIndex>>,
    any: Arc<PathIndex>,
}

impl HostIndex {
    #[inline]
    pub(super) fn find(&self, request: &RequestView<'_>) -> Option<&CompiledRoute> {
        let exact = self.exact.get(request.host).and_then(|paths| paths.find(request));
        let found = exact
            .or_else(|| self.find_wildcard(request))
            .or_else(|| self.find_below(request))
            .or_else(|| self.any.find(request));
        found.map(Candidate::route)
    }

    fn find_wildcard(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if self.wildcard.is_empty() {
            return None;
        }
        self.wildcard.get(wildcard_suffix(request.host)?)?.find(request)
    }

    fn find_below(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if self.below.is_empty() {
            return None;
        }
        suffixes(request.host).find_map(|suffix| self.below.get(suffix)?.find(request))
    }

    /// Puts a route in, once for each pair of its hosts and paths.
    pub(super) fn insert(&mut self, route: &Arc<CompiledRoute>) {
        for host in hosts(route) {
            let paths = match host {
                Some(HostPattern::Exact(name)) => self.exact.get_or_default(name),
                Some(HostPattern::Wildcard(suffix)) => self.wildcard.get_or_default(suffix),
                Some(HostPattern::Below(suffix)) => self.below.get_or_default(suffix),
                None => &mut self.any,
            };
            let paths = Arc::make_mut(paths);
            candidates(route).for_each(|candidate| paths.insert(candidate));
        }
    }

    pub(super) fn remove(&mut self, route: &Arc<CompiledRoute>) {
        for host in hosts(route) {
            let (map, key) = match host {
                Some(HostPattern::Exact(name)) => (&mut self.exact, name),
                Some(HostPattern::Wildcard(suffix)) => (&mut self.wildcard, suffix),
                Some(HostPattern::Below(suffix)) => (&mut self.below, suffix),
                None => {
                    let paths = Arc::make_mut(&mut self.any);
                    candidates(route).for_each(|candidate| paths.remove(&candidate));
                    continue;
                }
            };
            let Some(paths) = map.get_mut(key) else { continue };
            let paths = Arc::make_mut(paths);
            candidates(route).for_each(|candidate| paths.remove(&candidate));
            if paths.is_empty() {
                map.remove(key);
            }
        }
    }

    /// Completes the places of a route after the last change to them.
    pub(super) fn finish(&mut self, route: &CompiledRoute) {
        for host in hosts(route) {
            let paths = match host {
                Some(HostPattern::Exact(name)) => self.exact.get_mut(name),
                Some(HostPattern::Wildcard(suffix)) => self.wildcard.get_mut(suffix),
                Some(HostPattern::Below(suffix)) => self.below.get_mut(suffix),
                None => Some(&mut self.any),
            };
            if let Some(paths) = paths {
                Arc::make_mut(paths).finish();
            }
        }
    }
}

fn hosts(route: &CompiledRoute) -> impl Iterator<Item = Option<&HostPattern>> {
    let hosts = route.rules().hosts();
    hosts.iter().map(Some).chain(hosts.is_empty().then_some(None))
}

fn candidates(route: &Arc<CompiledRoute>) -> impl Iterator<Item = Candidate> + '_ {
    let paths = route.rules().paths().len();
    (0..paths).map(Some).chain((paths == 0).then_some(None)).map(|path| Candidate::new(route, path))
}
