//! Paths that are expressions, and what becomes of paths.
//!
//! Serin puts another path in the place of the whole one, or other segments in the place of the first ones, and has no captures. So a
//! target with captures is understood where it says just that, as people write it: the segments of a prefix, and a capture with all
//! that is behind them.

use k8s_openapi::api::networking::v1::HTTPIngressPath;
use routing_rules::rules::RegexPattern;
use routing_rules::spec::{FilterSpec, ReplacePrefixSpec};

use super::given::Given;
use super::trial;
use crate::ingress::Path;
use crate::ingress::paths;
use crate::ingress::tuning::Tuning;

/// How the paths of an Ingress are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ingress) struct PathReading {
    has_expressions: bool,
    target: Option<String>,
}

/// A path that was read.
#[derive(Debug, PartialEq)]
pub(in crate::ingress) struct Reading {
    pub(in crate::ingress) path: Path,
    /// What becomes of it on the way.
    pub(in crate::ingress) change: Option<FilterSpec>,
    /// Whether something should have become of it that cannot.
    pub(in crate::ingress) lacks_change: bool,
}

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    tuning.paths.target = given.read("rewrite-target", |target| match target.starts_with(['/', '$']) {
        true => Ok(target.to_owned()),
        false => Err(format!("`{target}` is not a path such as /$2")),
    });
    tuning.paths.has_expressions = given.is_on("use-regex") || tuning.paths.target.is_some();
}

impl PathReading {
    /// Reads a path.
    ///
    /// # Errors
    /// Its kind is none, or its expression is wrong.
    pub(in crate::ingress) fn read(&self, path: &HTTPIngressPath) -> Result<Reading, String> {
        let text = path.path.as_deref().unwrap_or_default();
        let as_written = paths::path(path)?;
        if !self.has_expressions || !text.contains(SIGNS) || path.path_type == "Exact" {
            return self.plain(as_written);
        }
        match (&self.target, Expression::new(text)) {
            (None, Some(expression)) if expression.is_of_segments => self.plain(paths::prefix(&expression.prefix)),
            (Some(target), Some(expression)) if expression.kept(target).is_some() => {
                let path = paths::prefix(&expression.prefix);
                let change = replaced(&path, expression.kept(target).unwrap_or_default())?;
                Ok(Reading { path, change, lacks_change: false })
            }
            _ => {
                let text = format!("(?i)^{}", text.trim_start_matches('^'));
                RegexPattern::new(&text)?;
                self.plain(Path::Regex(text))
            }
        }
    }

    /// A path whose captures, if it has any, are not known.
    fn plain(&self, path: Path) -> Result<Reading, String> {
        let (Path::Exact(text) | Path::Prefix(text) | Path::Regex(text)) = &path;
        let (change, lacks_change) = match &self.target {
            Some(target) if target.contains('$') => (None, true),
            Some(target) if target != text => (Some(trial::filter(FilterSpec::ReplacePath(target.clone()))?), false),
            _ => (None, false),
        };
        Ok(Reading { path, change, lacks_change })
    }
}

/// The change that puts a target in the place of the segments of a path; none if it is they.
fn replaced(path: &Path, target: &str) -> Result<Option<FilterSpec>, String> {
    let (Path::Exact(from) | Path::Prefix(from) | Path::Regex(from)) = path;
    let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
    if trimmed(from) == trimmed(target) {
        return Ok(None);
    }
    let to = if target.is_empty() { "/" } else { target };
    trial::filter(FilterSpec::ReplacePrefix(ReplacePrefixSpec { from: from.clone(), to: to.into() })).map(Some)
}

/// `/app(/|$)(.*)`: a prefix, and which capture has what is behind it.
struct Expression {
    prefix: String,
    capture: &'static str,
    /// Whether the capture begins with the prefix.
    is_whole: bool,
    /// Whether it is for whole segments, as prefixes are.
    is_of_segments: bool,
}

impl Expression {
    fn new(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('^').trim_end_matches('$');
        let whole = text.strip_prefix("/(").and_then(|text| text.strip_suffix("/.*)"));
        let found = match whole {
            Some(prefix) => Self { prefix: format!("/{prefix}"), capture: "$1", is_whole: true, is_of_segments: true },
            None => ENDS.iter().find_map(|&(end, capture, is_of_segments)| {
                let prefix = text.strip_suffix(end)?.to_owned();
                Some(Self { prefix, capture, is_whole: false, is_of_segments })
            })?,
        };
        Some(found).filter(|found| !found.prefix.contains(SIGNS))
    }

    /// What stands in the place of the prefix, if a target keeps what is behind it.
    fn kept<'e>(&'e self, target: &'e str) -> Option<&'e str> {
        let head = target.strip_suffix(self.capture)?;
        let head = head.strip_suffix('/').unwrap_or(head);
        match self.is_whole {
            _ if head.contains('$') => None,
            false => Some(head),
            true => head.is_empty().then_some(&self.prefix),
        }
    }
}

/// The whole segments in front of what makes a path an expression.
pub(in crate::ingress) fn head(path: &HTTPIngressPath) -> Path {
    let text = path.path.as_deref().unwrap_or_default();
    let (plain, _) = text.split_at(text.find(SIGNS).unwrap_or(text.len()));
    let is_whole = plain.len() == text.len();
    paths::prefix(if is_whole { plain } else { plain.rsplit_once('/').unwrap_or_default().0 })
}

/// What an expression has, and a plain path has not.
const SIGNS: [char; 12] = ['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$'];

/// Ends of expressions that are for all that begins with a prefix, the capture that has the rest, and whether they ask for whole
/// segments. The longer ones come first.
const ENDS: [(&str, &str, bool); 7] = [
    ("(/|$)(.*)", "$2", true),
    ("(/.*)?", "$1", true),
    ("/?(.*)", "$1", false),
    ("/(.*)", "$1", true),
    ("(/.*)", "$1", true),
    ("(.*)", "$1", false),
    ("/.*", "$0", true),
];
