//! Why decoding stopped: the reason in an operator's words, and where, filled in while the error travels up the tree.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::scalar::Meaning;
use super::tree::{Kind as NodeKind, Node};
use super::{Place, join_index, join_key, shorten, suggest};

/// One step from a node to a node below it.
pub(super) enum Step {
    Key(Box<str>),
    Index(usize),
}

/// What the reason is about, as far as the search for further problems must know.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The name as written, and the field that was probably meant.
    UnknownField(String, Option<&'static str>),
    MissingField(&'static str),
    /// A value of the wrong type.
    Type,
    /// The text of an unquoted scalar was taken for a number or a boolean, and the type wanted neither.
    Resolved,
    Other,
}

/// A stand-in for a bad value that did not pass for a good one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StandIn {
    /// It stood for this node.
    Node(u32),
    /// It stood for a field missing in this node.
    FieldOf(u32),
}

pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) reason: String,
    pub(super) place: Option<Place>,
    /// The node to do without when looking for the next problem.
    pub(super) culprit: Option<u32>,
    /// The nodes around the place, the innermost first.
    pub(super) around: Vec<u32>,
    pub(super) stand_in: Option<StandIn>,
    /// The key is at fault, so no other value would help.
    pub(super) about_key: bool,
    /// From the place up to the root.
    steps: Vec<Step>,
}

/// Boxed: every `Result` of the deserializer carries its size.
pub(super) struct Error(pub(super) Box<Refusal>);

impl Error {
    pub(super) fn new(kind: Kind, reason: String) -> Self {
        Self(Box::new(Refusal {
            kind,
            reason,
            place: None,
            culprit: None,
            around: Vec::new(),
            stand_in: None,
            about_key: false,
            steps: Vec::new(),
        }))
    }

    /// The error left `node`: it happened there unless something inside has claimed it.
    pub(super) fn within(mut self, node: &Node) -> Self {
        if self.0.culprit.is_none() {
            self.claim_unknown_field(node);
            self.suspect_resolving(node);
        }
        self.0.culprit.get_or_insert(node.id);
        self.0.place.get_or_insert(node.place);
        self.0.around.push(node.id);
        self
    }

    /// The error left the value, or the key, of an entry.
    pub(super) fn below_key(mut self, key: &str) -> Self {
        self.0.steps.push(Step::Key(key.into()));
        self
    }

    pub(super) fn below_index(mut self, index: usize) -> Self {
        self.0.steps.push(Step::Index(index));
        self
    }

    /// The error is about the name at `place`, not about a value.
    pub(super) fn at_name(mut self, place: Place, key: &str) -> Self {
        self.0.place.get_or_insert(place);
        self.below_key(key)
    }

    /// The error is about the key of `value`, which has to go with it.
    pub(super) fn of_entry(mut self, place: Place, key: &str, value: &Node) -> Self {
        self.0.culprit.get_or_insert(value.id);
        self.0.about_key = true;
        self.at_name(place, key)
    }

    pub(super) fn of_stand_in(mut self, stand_in: StandIn) -> Self {
        self.0.stand_in.get_or_insert(stand_in);
        self
    }

    /// A scalar that was given as a number or a boolean, where its text may be wanted after all.
    fn suspect_resolving(&mut self, node: &Node) {
        let resolved = matches!(&node.kind, NodeKind::Scalar(scalar) if !matches!(scalar.meaning(), Meaning::Text | Meaning::Null));
        if resolved && self.0.kind == Kind::Type {
            self.0.kind = Kind::Resolved;
        }
    }

    /// Types with flattened fields notice an unknown name only at the end, when its place is no longer at hand.
    fn claim_unknown_field(&mut self, node: &Node) {
        let (Kind::UnknownField(name, _), NodeKind::Mapping(mapping)) = (&self.0.kind, &node.kind) else {
            return;
        };
        if let Some(entry) = mapping.get(name) {
            self.0.place.get_or_insert(entry.key_place);
            self.0.culprit = Some(entry.value.id);
            self.0.steps.push(Step::Key(entry.key.clone()));
        }
    }
}

impl Refusal {
    /// The mapping or sequence around `node`, and the key under which it is there.
    pub(super) fn parent_of(&self, node: u32) -> Option<(u32, Option<&str>)> {
        let parent = self.around.iter().find(|around| **around != node)?;
        let key = match self.steps.first() {
            Some(Step::Key(key)) => Some(&**key),
            _ => None,
        };
        Some((*parent, key))
    }

    /// The path from the document's root, which itself is at `prefix`.
    pub(super) fn path(&self, prefix: &str) -> String {
        let mut path = prefix.to_owned();
        for step in self.steps.iter().rev() {
            match step {
                Step::Key(key) => join_key(&mut path, key),
                Step::Index(index) => join_index(&mut path, *index),
            }
        }
        path
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        let reason = message.to_string();
        if reason.starts_with("data did not match any variant of untagged enum") {
            return Self::new(Kind::Type, "this fits none of the forms allowed here".to_owned());
        }
        if reason == "invalid socket address syntax" {
            return Self::new(Kind::Other, "this is not an address such as 127.0.0.1:9900 or [::1]:9900".to_owned());
        }
        let unknown = reason.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        let kind = match unknown {
            Some((name, _)) => Kind::UnknownField(name.to_owned(), None),
            None => Kind::Other,
        };
        Self::new(kind, reason)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let wanted = wanted(&expected);
        let scalar = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
        );
        let hint = match (wanted, found) {
            ("a string", _) if scalar => "; write it in quotes".to_owned(),
            ("a sequence", Unexpected::Str(text)) => format!("; write [\"{}\"]", shorten(text)),
            ("a sequence", Unexpected::Unsigned(number)) => format!("; write [{number}]"),
            _ => String::new(),
        };
        Self::new(Kind::Type, format!("expected {wanted}, found {}{hint}", describe(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let wanted = match (&*expected, found) {
            // Where the type ends says nothing to somebody below 0, and the rules may end sooner.
            ("u32", Unexpected::Signed(number)) if number < 0 => "a whole number, 0 or more",
            (expected, _) => wanted(expected),
        };
        Self::new(Kind::Other, format!("expected {wanted}, found {}", describe(found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(Kind::Other, format!("expected {}, found {length} items", wanted(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::Other, suggest::unknown("value", variant, expected).0)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let (reason, near) = suggest::unknown("field", field, expected);
        Self::new(Kind::UnknownField(field.to_owned(), near), reason)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingField(field), format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Kind::Other, format!("field `{field}` is given twice under different names"))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

impl std::error::Error for Error {}

/// What a type says it expects, without Rust's names for it.
fn wanted(expected: &str) -> &str {
    match expected {
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "unit" => "nothing",
        "a map" => "a mapping",
        _ if expected.starts_with("struct ") && !expected.contains(" with ") => "a mapping",
        _ => expected,
    }
}

fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => format!("the text \"{}\"", shorten(text)),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a sequence".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::UnitVariant => "a name without a value".to_owned(),
        other => other.to_string(),
    }
}
