//! JSON with positions. `serde_json` judges the text; the reader here then only walks over what is known to be JSON.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::build::Builder;
use super::tree::Node;
use super::{Place, Problem, yaml};

/// Why a text is not JSON.
pub(super) struct NotJson {
    place: Place,
    reason: String,
}

/// Whether `text` is JSON.
pub(super) fn check(text: &str) -> Result<(), NotJson> {
    serde_json::from_str::<IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| NotJson { place: place_of(text, &error), reason: bare_reason(&error) })
}

/// A text in brackets that is neither JSON nor YAML: the reader that came further understood what was meant. If both came as far, it
/// is most likely JSON. What YAML read and we refuse stands.
pub(super) fn nearer_problem(source: &Arc<str>, json: NotJson, yaml: yaml::Failure) -> Problem {
    let as_far = (json.place.line, json.place.column) >= (yaml.0.line, yaml.0.column);
    match as_far && yaml.1 {
        true => Problem::new(source, json.place, String::new(), json.reason),
        false => yaml.0,
    }
}

/// Reads a text that [`check`] accepted.
pub(super) fn parse(source: &Arc<str>, text: &str) -> Result<Node, Problem> {
    let mut builder = Builder::new(source);
    let mut cursor = Cursor { rest: text, place: Place::START };
    while let Some(first) = cursor.skip_to_token() {
        let place = cursor.place;
        match first {
            b'{' => builder.open_mapping(place)?,
            b'[' => builder.open_sequence(place)?,
            b'}' | b']' => builder.close()?,
            b'"' => {
                let text = unescape(cursor.take(string_length(cursor.rest)))
                    .ok_or_else(|| builder.problem(place, NOT_A_STRING))?;
                builder.scalar(place, &text, false)?;
                continue;
            }
            _ => {
                builder.scalar(place, cursor.take(literal_length(cursor.rest)), true)?;
                continue;
            }
        }
        cursor.take(1);
    }
    Ok(builder.finish())
}

const NOT_A_STRING: &str = "this string has an escape that is no character (half of a surrogate pair)";

struct Cursor<'t> {
    rest: &'t str,
    place: Place,
}

impl<'t> Cursor<'t> {
    /// Moves to the next byte that means something and says which it is.
    fn skip_to_token(&mut self) -> Option<u8> {
        let length =
            self.rest.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')).count();
        self.take(length);
        self.rest.bytes().next()
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        let moved = Place::after(taken);
        self.place = match moved.line {
            1 => Place { column: self.place.column.saturating_add(moved.column - 1), ..self.place },
            lines => Place { line: self.place.line.saturating_add(lines - 1), column: moved.column },
        };
        self.rest = rest;
        taken
    }
}

/// The bytes of a string with both its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// The bytes of a number, `true`, `false` or `null`; at least one, so that the reader always moves on.
fn literal_length(text: &str) -> usize {
    let literal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.bytes().take_while(literal).count().max(1)
}

fn unescape(quoted: &str) -> Option<Cow<'_, str>> {
    if quoted.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    quoted.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
}

/// `serde_json` counts bytes and puts the error on the byte it stumbled over.
fn place_of(text: &str, error: &serde_json::Error) -> Place {
    let line = error.line().max(1);
    let characters = text.lines().nth(line - 1).map_or(0, |text| {
        let bytes = error.column().saturating_sub(1).min(text.len());
        text.char_indices().take_while(|(at, _)| *at < bytes).count()
    });
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place { line: number(line), column: number(characters).saturating_add(1) }
}

fn bare_reason(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    match reason.rfind(" at line ") {
        Some(end) => reason.get(..end).unwrap_or_default().to_owned(),
        None => reason,
    }
}
