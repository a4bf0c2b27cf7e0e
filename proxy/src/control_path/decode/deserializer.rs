//! serde's view of a tree. The type asked for decides what a plain scalar means: `1.10` is text for a `String` and 1.1 for an `f64`.
//!
//! A type that takes text or something else (`deserialize_any`) is offered what the core schema says first; should it refuse a number
//! or a boolean, [`super::repair`] asks again with the text. That fails inside flattened fields and tagged or untagged enums, whose
//! content serde keeps aside without saying where it was: there text like `1.10` needs quotes, and errors are placed at the whole.

use std::slice;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::key::Key;
use super::placeholder::Placeholder;
use super::refusal::{Error, Kind as RefusalKind, StandIn};
use super::repair::Repairs;
use super::scalar::{self, Meaning};
use super::shorten;
use super::tree::{Entry, Kind, Mapping, Node, Scalar};
use super::variant::{Name, Tagged};

/// A node about to become a value.
#[derive(Clone, Copy)]
struct Value<'de> {
    node: &'de Node,
    repairs: &'de Repairs,
}

/// Turns `node` into what `seed` makes. Errors that leave here know their place.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(
    seed: S,
    node: &'de Node,
    repairs: &'de Repairs,
) -> Result<S::Value, Error> {
    let value = match repairs.is_replaced(node.id) {
        true => seed.deserialize(Placeholder::new()).map_err(|error| error.of_stand_in(StandIn::Node(node.id))),
        false => seed.deserialize(Value { node, repairs }),
    };
    value.map_err(|error| error.within(node))
}

impl<'de> Value<'de> {
    fn scalar(self) -> Option<&'de Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// A scalar for a type that wants a whole number.
    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar() {
            Some(scalar) if scalar.plain && !scalar.is_null() => visit_integer(&scalar.text, visitor),
            _ => self.deserialize_any(visitor),
        }
    }
}

pub(super) fn visit_integer<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    let number = scalar::integer(text).ok_or_else(|| no_whole_number(text))?;
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => visitor.visit_u64(number),
        (_, Ok(number)) => visitor.visit_i64(number),
        _ => visitor.visit_i128(number),
    }
}

fn no_whole_number(text: &str) -> Error {
    Error::new(RefusalKind::Other, format!("\"{}\" is not a whole number", shorten(text)))
}

fn no_number(text: &str) -> Error {
    Error::new(RefusalKind::Other, format!("invalid number \"{}\"", shorten(text)))
}

/// The integers differ only in what their visitors accept.
macro_rules! deserialize_integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor)
        }
    )*};
}

macro_rules! deserialize_text {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.scalar() {
                // Nothing where a text belongs is an omission, not an empty text.
                Some(scalar) if !scalar.is_null() => visitor.visit_borrowed_str(&scalar.text),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(items) => visit_sequence(items, self.repairs, visitor),
            Kind::Mapping(mapping) => visit_mapping(self.node, mapping, self.repairs, visitor),
            Kind::Scalar(scalar) if self.repairs.is_text(self.node.id) => visitor.visit_borrowed_str(&scalar.text),
            Kind::Scalar(scalar) => visit_scalar(scalar, visitor),
        }
    }

    deserialize_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    deserialize_text! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar() {
            Some(scalar) if scalar.plain && !scalar.is_null() => {
                visitor.visit_f64(scalar::float(&scalar.text).ok_or_else(|| no_number(&scalar.text))?)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar().map(|scalar| (scalar.plain, scalar.meaning(), &scalar.text)) {
            Some((true, Meaning::Bool(value), _)) => visitor.visit_bool(value),
            Some((true, meaning, text)) if meaning != Meaning::Null => Err(Error::new(
                RefusalKind::Other,
                format!("invalid boolean \"{}\", write true or false", shorten(text)),
            )),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.scalar() {
            Some(scalar) if !scalar.is_null() => visitor.visit_borrowed_bytes(scalar.text.as_bytes()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Scalar(scalar) if is_value(&scalar.text, variants) => Err(value_without_name(&scalar.text, variants)),
            Kind::Scalar(scalar) if !scalar.is_null() => visitor.visit_enum(Name(&scalar.text)),
            Kind::Mapping(mapping) => visitor.visit_enum(Tagged::new(mapping, variants, self.repairs)?),
            Kind::Scalar(_) => Err(Error::invalid_type(Unexpected::Unit, &ONE_KEY)),
            Kind::Sequence(_) => Err(Error::invalid_type(Unexpected::Seq, &ONE_KEY)),
        }
    }

    /// serde would also take fields by their order from a sequence; what has names is written with them.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(_) => Err(Error::invalid_type(Unexpected::Seq, &mapping_of(fields).as_str())),
            Kind::Scalar(scalar) if !scalar.is_null() => {
                Err(Error::invalid_type(Unexpected::Str(&scalar.text), &mapping_of(fields).as_str()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { unit unit_struct seq tuple tuple_struct map }
}

/// A text that is meant as the value of a variant, whose name was forgotten: `/a` where `{prefix: /a}` is wanted.
fn is_value(text: &str, variants: &[&str]) -> bool {
    text.contains(['/', '.', ':', ' ', '^']) && !variants.contains(&text)
}

fn value_without_name(text: &str, variants: &[&str]) -> Error {
    let forms: Vec<String> = variants.iter().map(|variant| format!("{{{variant}: …}}")).collect();
    let reason = format!("\"{}\" needs a name in front that says what it is: {}", shorten(text), forms.join(", "));
    Error::new(RefusalKind::Type, reason)
}

/// What a type with these fields is written as.
fn mapping_of(fields: &[&str]) -> String {
    match fields {
        [] => "a mapping".to_owned(),
        [first, ..] => format!("a mapping such as {{{first}: …}}"),
    }
}

const ONE_KEY: &str = "a name or a mapping with one key";

fn visit_scalar<'de, V: Visitor<'de>>(scalar: &'de Scalar, visitor: V) -> Result<V::Value, Error> {
    match scalar.meaning() {
        Meaning::Null => visitor.visit_unit(),
        Meaning::Bool(value) => visitor.visit_bool(value),
        Meaning::Unsigned(number) => visitor.visit_u64(number),
        Meaning::Signed(number) => visitor.visit_i64(number),
        Meaning::Float(number) => visitor.visit_f64(number),
        Meaning::Text => visitor.visit_borrowed_str(&scalar.text),
    }
}

fn visit_sequence<'de, V: Visitor<'de>>(
    items: &'de [Node],
    repairs: &'de Repairs,
    visitor: V,
) -> Result<V::Value, Error> {
    let mut rest = Items { items: items.iter(), next: 0, repairs };
    let value = visitor.visit_seq(&mut rest)?;
    match rest.items.len() {
        0 => Ok(value),
        surplus => Err(Error::custom(format_args!("expected {} items, found {}", items.len() - surplus, items.len()))),
    }
}

fn visit_mapping<'de, V: Visitor<'de>>(
    node: &'de Node,
    mapping: &'de Mapping,
    repairs: &'de Repairs,
    visitor: V,
) -> Result<V::Value, Error> {
    let mut rest = Entries {
        entries: mapping.entries.iter(),
        current: None,
        added: repairs.fields_added_to(node.id),
        node,
        repairs,
    };
    let value = visitor.visit_map(&mut rest)?;
    // A visitor that reads one entry and leaves must not lose the others silently.
    match rest.next_entry() {
        None => Ok(value),
        Some(entry) => {
            let error = Error::custom(format_args!("one key too many: `{}`", shorten(&entry.key)));
            Err(error.of_entry(entry.key_place, &entry.key, &entry.value))
        }
    }
}

struct Items<'de> {
    items: slice::Iter<'de, Node>,
    next: usize,
    repairs: &'de Repairs,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        for node in self.items.by_ref() {
            let index = self.next;
            self.next += 1;
            if !self.repairs.is_removed(node.id) {
                return read(seed, node, self.repairs).map(Some).map_err(|error| error.below_index(index));
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: slice::Iter<'de, Entry>,
    /// The entry whose key was read last.
    current: Option<&'de Entry>,
    /// Missing fields, given as placeholders behind the written entries.
    added: slice::Iter<'de, &'static str>,
    node: &'de Node,
    repairs: &'de Repairs,
}

impl<'de> Entries<'de> {
    fn next_entry(&mut self) -> Option<&'de Entry> {
        let repairs = self.repairs;
        self.entries.find(|entry| !repairs.is_removed(entry.value.id))
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.current = self.next_entry();
        if let Some(entry) = self.current {
            let key = seed.deserialize(Key(&entry.key)).map(Some);
            return key.map_err(|error| error.of_entry(entry.key_place, &entry.key, &entry.value));
        }
        let Some(field) = self.added.next() else {
            return Ok(None);
        };
        let key = seed.deserialize(Key(field)).map(Some);
        key.map_err(|error| error.of_stand_in(StandIn::FieldOf(self.node.id)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.current {
            Some(entry) => read(seed, &entry.value, self.repairs).map_err(|error| error.below_key(&entry.key)),
            None => {
                let value = seed.deserialize(Placeholder::new());
                value.map_err(|error| error.of_stand_in(StandIn::FieldOf(self.node.id)))
            }
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}
