//! The routes of one host by path: exact paths in a map, prefixes in a trie of segments, regular expressions in a list.
//!
//! A lookup reads the path once for the exact map, once down the trie and once for the expressions, whatever their number.
//! The trie never grows deeper than [`MAX_DEPTH`], so that walking, changing and dropping it needs little stack.

use std::sync::Arc;

use regex::{RegexSet, RegexSetBuilder};

use super::candidates::{Candidate, Candidates};
use super::text_map::TextMap;
use crate::request::RequestView;
use crate::rules::PathPattern;

/// Up to here expressions are tried one after the other, which needs no memory; more are tried all at once.
pub(super) const FEW_REGEXES: usize = 4;

/// Prefixes with more segments, which hardly anybody writes, are in a list of their own.
const MAX_DEPTH: usize = 64;

/// The candidates of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct PathIndex {
    /// Prefixes; the root is `/`, and has the routes without paths.
    prefixes: Node,
    exact: TextMap<Candidates>,
    patterns: Option<Arc<Patterns>>,
}

/// What is rare: expressions, and prefixes too deep for the trie.
#[derive(Clone, Debug, Default)]
struct Patterns {
    regexes: Candidates,
    /// All expressions in the order of `regexes`; absent if there are few, or if they are too big together.
    set: Option<RegexSet>,
    set_is_stale: bool,
    deep: Candidates,
}

/// The routes whose prefix ends here, and the segments that may follow.
#[derive(Clone, Debug, Default)]
struct Node {
    here: Candidates,
    children: TextMap<Arc<Self>>,
}

impl PathIndex {
    #[inline]
    pub(super) fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        self.find_exact(request).or_else(|| self.find_pattern(request)).or_else(|| self.prefixes.find(request))
    }

    #[inline]
    fn find_exact(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if self.exact.is_empty() {
            return None;
        }
        self.exact.get(request.path)?.first(|candidate| candidate.takes(request))
    }

    /// Deep prefixes come after the expressions, and before the trie, whose prefixes are all shorter.
    #[inline]
    fn find_pattern(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        let patterns = self.patterns.as_deref()?;
        patterns.find_regex(request).or_else(|| patterns.deep.first(|candidate| takes_path(candidate, request)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.exact.is_empty() && self.patterns.is_none()
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        match candidate.pattern().cloned() {
            None => self.prefixes.here.insert(candidate),
            Some(PathPattern::Exact(path)) => self.exact.get_or_default(&path).insert(candidate),
            Some(PathPattern::Prefix(prefix)) if !is_deep(&prefix) => {
                self.prefixes.descend(&prefix).here.insert(candidate)
            }
            Some(PathPattern::Prefix(_)) => self.patterns_mut().deep.insert(candidate),
            Some(PathPattern::Regex(_)) => {
                let patterns = self.patterns_mut();
                patterns.regexes.insert(candidate);
                patterns.set_is_stale = true;
            }
        }
    }

    pub(super) fn remove(&mut self, candidate: &Candidate) {
        match candidate.pattern() {
            None => self.prefixes.here.remove(candidate),
            Some(PathPattern::Exact(path)) => {
                if let Some(candidates) = self.exact.get_mut(path) {
                    candidates.remove(candidate);
                    if candidates.is_empty() {
                        self.exact.remove(path);
                    }
                }
            }
            Some(PathPattern::Prefix(prefix)) if !is_deep(prefix) => self.prefixes.remove(prefix, candidate),
            Some(PathPattern::Prefix(_)) => {
                self.patterns_mut().deep.remove(candidate);
                self.drop_empty_patterns();
            }
            Some(PathPattern::Regex(_)) => {
                let patterns = self.patterns_mut();
                patterns.regexes.remove(candidate);
                patterns.set_is_stale = true;
                self.drop_empty_patterns();
            }
        }
    }

    /// Compiles the set of expressions anew if they changed. Apart from [`Self::insert`], because compiling is slow and an
    /// update may change many of them.
    pub(super) fn finish(&mut self) {
        if let Some(patterns) = &mut self.patterns
            && patterns.set_is_stale
        {
            let patterns = Arc::make_mut(patterns);
            patterns.set = regex_set(&patterns.regexes);
            patterns.set_is_stale = false;
        }
    }

    fn patterns_mut(&mut self) -> &mut Patterns {
        Arc::make_mut(self.patterns.get_or_insert_default())
    }

    fn drop_empty_patterns(&mut self) {
        self.patterns.take_if(|patterns| patterns.regexes.is_empty() && patterns.deep.is_empty());
    }
}

impl Patterns {
    fn find_regex(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        let Some(set) = &self.set else { return self.regexes.first(|candidate| takes_path(candidate, request)) };
        // Most requests match no expression, and this answer needs no memory.
        if !set.is_match(request.path) {
            return None;
        }
        let matches = set.matches(request.path);
        let mut candidates = matches.iter().filter_map(|index| self.regexes.at(index));
        candidates.find(|candidate| candidate.takes(request))
    }
}

impl Node {
    /// Walks down for as long as there are children, and keeps the last candidate on the way that takes the request.
    #[inline]
    fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        let Some(mut rest) = request.path.strip_prefix('/') else {
            // `OPTIONS *` has no path, so only routes that ask for none can take it.
            return self.here.first(|candidate| candidate.pattern().is_none() && candidate.takes(request));
        };
        let mut node = self;
        let mut best = self.here.first(|candidate| candidate.takes(request));
        while !node.children.is_empty() {
            let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
            let Some(child) = node.children.get(&rest[..end]) else { break };
            node = child;
            best = node.here.first(|candidate| candidate.takes(request)).or(best);
            let Some(below) = rest.get(end + 1..) else { break };
            rest = below;
        }
        best
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.children.is_empty()
    }

    /// The node of a prefix, made if it is not there.
    fn descend(&mut self, prefix: &str) -> &mut Self {
        segments(prefix).fold(self, |node, segment| Arc::make_mut(node.children.get_or_default(segment)))
    }

    /// Takes a candidate out, and with it the nodes that nobody needs any more.
    fn remove(&mut self, prefix: &str, candidate: &Candidate) {
        let Some(path) = prefix.strip_prefix('/') else { return self.here.remove(candidate) };
        let (segment, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        if let Some(child) = self.children.get_mut(segment) {
            let child = Arc::make_mut(child);
            child.remove(rest, candidate);
            if child.is_empty() {
                self.children.remove(segment);
            }
        }
    }
}

fn takes_path(candidate: &Candidate, request: &RequestView<'_>) -> bool {
    candidate.takes(request) && candidate.pattern().is_none_or(|pattern| pattern.matches(request.path))
}

fn segments(prefix: &str) -> impl Iterator<Item = &str> {
    prefix.split('/').skip(1)
}

fn is_deep(prefix: &str) -> bool {
    segments(prefix).nth(MAX_DEPTH).is_some()
}

/// The limits grow with the number of expressions, each of which was within [`crate::rules::RegexPattern`]'s own. Where they
/// are exceeded all the same, the expressions are tried one after the other.
fn regex_set(regexes: &Candidates) -> Option<RegexSet> {
    if regexes.len() <= FEW_REGEXES {
        return None;
    }
    let texts = regexes.iter().map(|candidate| match candidate.pattern() {
        Some(PathPattern::Regex(regex)) => Some(regex.as_str()),
        _ => None,
    });
    let texts: Vec<&str> = texts.collect::<Option<_>>()?;
    RegexSetBuilder::new(texts).size_limit(64 << 20).dfa_size_limit(8 << 20).build().ok()
}
