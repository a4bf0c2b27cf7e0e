//! Enums as operators write them: a name alone (`any`), or a mapping with one key (`{prefix: /}`).

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor};

use super::deserializer::read;
use super::key::Key;
use super::refusal::Error;
use super::repair::Repairs;
use super::shorten;
use super::tree::{Entry, Mapping};

/// A variant written as its name alone.
pub(super) struct Name<'de>(pub(super) &'de str);

impl<'de> EnumAccess<'de> for Name<'de> {
    type Error = Error;
    type Variant = NoValue<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, NoValue<'de>), Error> {
        Ok((seed.deserialize(Key(self.0))?, NoValue(self.0)))
    }
}

pub(super) struct NoValue<'de>(&'de str);

impl NoValue<'_> {
    fn needs_value(&self) -> Error {
        let name = shorten(self.0);
        Error::custom(format_args!("`{name}` needs a value, write `{{{name}: …}}`"))
    }
}

impl<'de> VariantAccess<'de> for NoValue<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    /// A variant whose value may be left out (`Option`, unit) is content with none.
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(().into_deserializer()).map_err(|_: Error| self.needs_value())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(self.needs_value())
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(self.needs_value())
    }
}

/// A variant written as a mapping with one key: `{prefix: /}`.
pub(super) struct Tagged<'de> {
    entry: &'de Entry,
    repairs: &'de Repairs,
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let named = seed.deserialize(Key(&self.entry.key));
        Ok((named.map_err(|error| error.at_name(self.entry.key_place, &self.entry.key))?, self))
    }
}

impl<'de> Tagged<'de> {
    /// The one entry of `mapping`, whose key should be one of `variants`.
    pub(super) fn new(mapping: &'de Mapping, variants: &[&str], repairs: &'de Repairs) -> Result<Self, Error> {
        let mut entries = mapping.entries.iter().filter(|entry| !repairs.is_removed(entry.value.id));
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(Self { entry, repairs }),
            (None, _) => {
                Err(Error::custom(format_args!("expected one key of `{}`, found none", variants.join("`, `"))))
            }
            (Some(first), Some(second)) => {
                let (first, second) = (shorten(&first.key), shorten(&second.key));
                Err(Error::custom(format_args!("expected one key, found `{first}` and `{second}`")))
            }
        }
    }

    fn value<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        read(seed, &self.entry.value, self.repairs).map_err(|error| error.below_key(&self.entry.key))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let entry = self.entry;
        let error = || Error::custom(format_args!("`{}` takes no value, write the name alone", shorten(&entry.key)));
        match entry.value.is_null() {
            true => Ok(()),
            false => Err(error().within(&entry.value).below_key(&entry.key)),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.value(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.value(Tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.value(Fields(fields, visitor))
    }
}

struct Tuple<V>(usize, V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Tuple<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_tuple(self.0, self.1)
    }
}

struct Fields<V>(&'static [&'static str], V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Fields<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_struct("", self.0, self.1)
    }
}
