//! Text to typed values: YAML or JSON, with every problem reported at once and each at its place.
//!
//! `bytes ─▶ parse ─▶ Node (a tree that knows lines and columns) ─▶ decode ─▶ T`. It knows no spec: what a route is, is said by the
//! type asked for. It does not limit the size of the text; the source that read it does.
//!
//! Invariant: no text makes this panic, recurse deeper than [`MAX_DEPTH`], or take time or memory that is not linear in its length.

mod tree;

mod build;

mod json;

mod yaml;

mod scalar;

mod deserializer;

mod key;

mod variant;

mod placeholder;

mod refusal;

mod repair;

mod draft;

mod suggest;

#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

pub use draft::{Doubts, Draft};
pub use repair::{decode, draft};
pub use tree::Node;

/// How deep mappings and sequences may nest. Specs need about ten levels; the stack of a thread bears several hundred.
pub const MAX_DEPTH: usize = 64;

/// How long a key may be, in bytes. Paths in messages are made of keys, and looking a path up takes time in the square of this.
pub const MAX_KEY_BYTES: usize = 1024;

/// One thing wrong in what an operator wrote, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// File name or etcd key.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub source: Arc<str>,
    /// Counted from 1; 0 when unknown.
    pub line: u32,
    /// In characters, counted from 1; 0 when unknown. A tab is one character.
    pub column: u32,
    /// `routes.shop.hosts[1]`; empty when the problem is in the text as such.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
    /// The revision of the store that wrote it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

impl Problem {
    fn new(source: &Arc<str>, place: Place, path: String, reason: impl Into<String>) -> Self {
        Self {
            source: source.clone(),
            line: place.line,
            column: place.column,
            path,
            reason: reason.into(),
            revision: None,
        }
    }
}

impl Display for Problem {
    /// `serin.yaml:12:5: routes.shop.hosts[1]: reason`, always on one line, whatever an attacker put into a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_visible(f, &self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write_visible(f, &self.path)?;
            f.write_str(": ")?;
        }
        write_visible(f, &self.reason)?;
        self.revision.map_or(Ok(()), |revision| write!(f, " (mod_revision {revision})"))
    }
}

impl std::error::Error for Problem {}

/// Where something begins in the text; both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: u32,
    column: u32,
}

impl Place {
    const START: Self = Self { line: 1, column: 1 };

    /// The place just behind `before`, a text that begins at [`Place::START`].
    fn after(before: &str) -> Self {
        let mut place = Self::START;
        let mut characters = before.chars().peekable();
        while let Some(character) = characters.next() {
            let breaks = character == '\n' || (character == '\r' && characters.peek() != Some(&'\n'));
            match breaks {
                true => place = Self { line: place.line.saturating_add(1), column: 1 },
                false => place.column = place.column.saturating_add(1),
            }
        }
        place
    }
}

/// Reads one document of YAML or JSON. Empty text is an empty mapping.
pub fn parse(source: &Arc<str>, text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_control_characters(source, text)?;
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml::parse(source, text).map_err(|failure| failure.0);
    }
    // A document in brackets is JSON or YAML written in flow style. JSON has its own reader, because not all of it is YAML: tabs
    // indent it, and its strings write characters beyond the first plane as two escapes.
    match json::check(text) {
        Ok(()) => json::parse(source, text),
        Err(place) => yaml::parse(source, text).map_err(|failure| json::nearer_problem(source, place, failure)),
    }
}

/// [`parse`] for bytes that may not be UTF-8.
pub fn parse_bytes(source: &Arc<str>, bytes: &[u8]) -> Result<Node, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(source, text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let place = Place::after(&String::from_utf8_lossy(valid));
            Err(Problem::new(source, place, String::new(), "this byte is not UTF-8 text"))
        }
    }
}

/// NUL and its like are in no honest document, and they confuse terminals and logs. Tabs and line ends are the exception.
fn refuse_control_characters(source: &Arc<str>, text: &str) -> Result<(), Problem> {
    let refused = |byte: u8| (byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f;
    let Some(at) = text.bytes().position(refused) else {
        return Ok(());
    };
    let (before, rest) = text.split_at(at);
    let code = rest.chars().next().map_or(0, u32::from);
    let reason = format!("control character U+{code:04X} is not allowed");
    Err(Problem::new(source, Place::after(before), String::new(), reason))
}

/// `a` and `b` as `a.b`; [`Node::at`] reads it back.
fn join_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

fn join_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}

/// A piece of the operator's text, short enough for a message and on one line.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 64;
    if text.contains("-----BEGIN ") {
        // It may be a key, which nobody is to read in a message.
        return "(a PEM text)".to_owned();
    }
    let mut short = String::new();
    for character in text.chars().take(LONGEST) {
        push_visible(&mut short, character);
    }
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

fn push_visible(into: &mut String, character: char) {
    match character.is_control() {
        true => into.extend(character.escape_default()),
        false => into.push(character),
    }
}

fn write_visible(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| match character.is_control() {
        true => write!(f, "{}", character.escape_default()),
        false => f.write_char(character),
    })
}

/// serde serialises `Arc<str>` only behind a feature; this needs none.
fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
