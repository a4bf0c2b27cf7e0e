//! YAML 1.2, one document, without what makes configuration surprising: anchors, merge keys and tags of one's own are refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::str::Chars;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::build::Builder;
use super::scalar::Meaning;
use super::tree::Node;
use super::{Place, Problem, shorten};

/// The problem, and whether the text is not YAML at all (as opposed to YAML that is refused).
pub(super) struct Failure(pub(super) Problem, pub(super) bool);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem, false)
    }
}

pub(super) fn parse(source: &Arc<str>, text: &str) -> Result<Node, Failure> {
    let ahead = Cell::new(0);
    let mut parser = Parser::new_from_iter(Reins { text: text.chars(), ahead: &ahead });
    let mut reader = Reader { builder: Builder::new(source), documents: 0 };
    let mut last = Place::START;
    while let Some(next) = parser.next_event() {
        if ahead.replace(0) > FURTHEST {
            return Err(reader.builder.problem(last, TOO_FAR).into());
        }
        let (event, Span { start, .. }) = next.map_err(|error| syntax(source, &error))?;
        last = place(&start);
        reader.take((event, last))?;
    }
    Ok(reader.builder.finish())
}

/// The text, as far as the parser may see it. To learn whether `[` begins a key, the parser reads to the end of the brackets before
/// it reports anything, and keeps several hundred bytes for each byte read.
struct Reins<'t> {
    text: Chars<'t>,
    /// How much was read since the last event.
    ahead: &'t Cell<usize>,
}

impl Iterator for Reins<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.ahead.update(|ahead| ahead + 1);
        match self.ahead.get() > FURTHEST {
            true => None,
            false => self.text.next(),
        }
    }
}

/// In characters. A long certificate chain is a tenth of this.
const FURTHEST: usize = 256 * 1024;

const TOO_FAR: &str =
    "the next value or comment is longer than 262144 characters; write long lists line by line or as JSON";

fn syntax(source: &Arc<str>, error: &ScanError) -> Failure {
    Failure(Problem::new(source, place(error.marker()), String::new(), reason(error.info())), true)
}

/// Whoever writes `*.example.com` or `@home` without quotes never heard of anchors and indicators.
fn reason(info: &str) -> Cow<'_, str> {
    if info.contains("unknown anchor") {
        return NO_ALIAS.into();
    }
    match info.strip_prefix("unexpected character: `").and_then(|rest| rest.strip_suffix('\'')) {
        Some(character) => format!("text that begins with `{character}` needs quotes").into(),
        None => info.into(),
    }
}

struct Reader<'s> {
    builder: Builder<'s>,
    documents: usize,
}

impl Reader<'_> {
    fn take(&mut self, (event, place): (Event<'_>, Place)) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) => self.start_document(place),
            Event::Alias(_) => Err(self.builder.problem(place, NO_ALIAS)),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_anchor(place, anchor)?;
                self.scalar(place, &text, style == ScalarStyle::Plain, tag.as_deref())
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_anchor(place, anchor)?;
                self.refuse_tag_but("seq", place, tag.as_deref())?;
                self.builder.open_sequence(place)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_anchor(place, anchor)?;
                self.refuse_tag_but("map", place, tag.as_deref())?;
                self.builder.open_mapping(place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.builder.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, place: Place) -> Result<(), Problem> {
        self.documents += 1;
        match self.documents {
            1 => Ok(()),
            _ => Err(self.builder.problem(place, "a second document begins here; only one is allowed")),
        }
    }

    fn scalar(&mut self, place: Place, text: &str, plain: bool, tag: Option<&Tag>) -> Result<(), Problem> {
        let plain = self.plain_by_tag(place, text, plain, tag)?;
        if plain && self.builder.awaits_key() {
            self.refuse_key(place, text)?;
        }
        self.builder.scalar(place, text, plain)
    }

    fn refuse_key(&self, place: Place, text: &str) -> Result<(), Problem> {
        match text {
            "<<" => Err(self.builder.problem(place, "merge keys (`<<`) are not supported, write the entries out")),
            "" => Err(self.builder.problem(place, "a key is missing before `:`")),
            _ => Ok(()),
        }
    }

    /// A tag of the core schema says how to read a scalar: `!!str 1` is text, and `!!int x` is a contradiction.
    fn plain_by_tag(&self, place: Place, text: &str, plain: bool, tag: Option<&Tag>) -> Result<bool, Problem> {
        let Some(tag) = tag else {
            return Ok(plain);
        };
        if tag.handle.is_empty() && tag.suffix == "!" {
            return Ok(false);
        }
        if !tag.is_yaml_core_schema() {
            return Err(self.refused_tag(place, tag));
        }
        let fits = match (tag.suffix.as_str(), Meaning::of(text)) {
            ("str", _) => return Ok(false),
            ("null", meaning) => meaning == Meaning::Null,
            ("bool", meaning) => matches!(meaning, Meaning::Bool(_)),
            ("int", meaning) => matches!(meaning, Meaning::Unsigned(_) | Meaning::Signed(_)),
            ("float", meaning) => meaning.is_number(),
            _ => return Err(self.refused_tag(place, tag)),
        };
        match fits {
            true => Ok(true),
            false => Err(self.builder.problem(place, format!("`{}` is no {}", shorten(text), tag.suffix))),
        }
    }

    fn refuse_tag_but(&self, allowed: &str, place: Place, tag: Option<&Tag>) -> Result<(), Problem> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => Err(self.refused_tag(place, tag)),
            _ => Ok(()),
        }
    }

    fn refused_tag(&self, place: Place, tag: &Tag) -> Problem {
        self.builder.problem(place, format!("the tag `{}` is not supported here", shorten(&tag.to_string())))
    }

    fn refuse_anchor(&self, place: Place, anchor: usize) -> Result<(), Problem> {
        match anchor {
            0 => Ok(()),
            _ => Err(self.builder.problem(place, NO_ANCHOR)),
        }
    }
}

/// A few lines of aliases can mean more memory than the machine has; nobody misses them in a file this flat.
const NO_ANCHOR: &str = "`&` begins an anchor, which is not supported; text that begins with `&` needs quotes";

const NO_ALIAS: &str = "`*` begins an alias, which is not supported; text that begins with `*` needs quotes";

fn place(marker: &Marker) -> Place {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Place { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}
