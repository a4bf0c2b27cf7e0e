//! The annotations of one Ingress while they are read.
//!
//! Whoever reads one takes it out. What is left at the end had no reader, and is told of: so none is ignored in silence.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::known::{self, Support, known};

/// What is to be said of one annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has an effect, and another one than in ingress-nginx.
    Differently,
    /// It has none, and nothing is lost.
    Needless,
    /// It has none.
    Not,
    /// It cannot be followed and keeps somebody out, so nobody is let in.
    Closed,
}

/// The annotations of an Ingress.
pub(super) struct Given<'o> {
    left: BTreeMap<&'o str, &'o str>,
    remarks: BTreeMap<&'o str, Remark>,
}

impl<'o> Given<'o> {
    pub(super) fn of(ingress: &'o Ingress) -> Self {
        let named = ingress.annotations().iter().filter_map(|(key, value)| Some((known::name_of(key)?, value.trim())));
        Self { left: named.collect(), remarks: BTreeMap::new() }
    }

    /// The value of an annotation, if it is there. What the table has to say of it is said, until somebody knows better.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'o str> {
        let value = self.left.remove(name)?;
        match known(name).map(|known| known.support) {
            Some(Support::Differently(how)) => self.say(name, Verdict::Differently, how.into()),
            Some(Support::Needless(why)) => self.needless(name, why),
            Some(Support::Not(why)) => self.wrong(name, why),
            Some(Support::Same) | None => {}
        }
        Some(value)
    }

    /// Whether an annotation is there that nobody has read.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.left.contains_key(name)
    }

    /// The value as somebody reads it; what is wrong with it is told.
    pub(super) fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&'o str) -> Result<T, String>) -> Option<T> {
        let read = read(self.text(name)?);
        read.map_err(|reason| self.wrong(name, reason)).ok()
    }

    /// The value of the first of two annotations that say the same.
    pub(super) fn either<T>(
        &mut self,
        [first, second]: [&'static str; 2],
        read: impl Fn(&'o str) -> Result<T, String>,
    ) -> Option<T> {
        let (has_first, has_second) = (self.has(first), self.has(second));
        let values = (self.read(first, &read), self.read(second, &read));
        if has_first && has_second {
            self.needless(second, format_args!("{first} goes first"));
        }
        if has_first { values.0 } else { values.1 }
    }

    /// Whether something is switched on. Where it is switched off, there is nothing to say.
    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let flag = self.read(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        });
        if flag == Some(false) {
            self.same(name);
        }
        flag
    }

    /// Whether something is switched on that is not of itself.
    pub(super) fn is_on(&mut self, name: &'static str) -> bool {
        self.flag(name) == Some(true)
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        self.read(name, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("`{text}` is not a number from {} to {}", range.start(), range.end()))
        })
    }

    /// The value cannot be followed. If it was to keep somebody out, nobody is let in.
    pub(super) fn wrong(&mut self, name: &'o str, reason: impl Display) {
        match known(name).is_some_and(|known| known.guards) {
            true => self.close(name, reason),
            false => self.lacks(name, reason),
        }
    }

    /// It cannot be followed, and what it says was to keep somebody out.
    pub(super) fn close(&mut self, name: &'o str, reason: impl Display) {
        self.say(name, Verdict::Closed, reason.to_string());
    }

    /// A part of it cannot be followed, and nobody gets in by that who should not.
    pub(super) fn lacks(&mut self, name: &'o str, what: impl Display) {
        self.say(name, Verdict::Not, what.to_string());
    }

    /// It has no effect, and needs none.
    pub(super) fn needless(&mut self, name: &'o str, why: impl Display) {
        self.say(name, Verdict::Needless, why.to_string());
    }

    /// With its value it does what it does there after all.
    pub(super) fn same(&mut self, name: &str) {
        self.remarks.retain(|said, remark| *said != name || remark.verdict != Verdict::Differently);
    }

    fn say(&mut self, name: &'o str, verdict: Verdict, text: String) {
        self.remarks.insert(name, Remark { verdict, text });
    }

    /// Tells of all that nobody has read.
    pub(super) fn finish(mut self, is_canary: bool) -> Vec<(String, Remark)> {
        for (name, value) in std::mem::take(&mut self.left) {
            match known(name).map(|known| known.support) {
                Some(_) if is_canary && !name.starts_with("canary") => self.lacks(name, INHERITED),
                Some(Support::Not(_)) if OFF.contains(&value) => self.needless(name, "it is off here in any case"),
                Some(Support::Not(why)) => self.wrong(name, why),
                Some(Support::Needless(why)) => self.needless(name, why),
                Some(_) => self.wrong(name, ALONE),
                None => self.lacks(name, unknown(name)),
            }
        }
        self.remarks.into_iter().map(|(name, remark)| (known::key(name), remark)).collect()
    }
}

fn unknown(name: &str) -> String {
    match known::nearest(name) {
        Some(nearest) => format!("there is no such annotation; the nearest is {}", nearest.key()),
        None => "there is no such annotation".into(),
    }
}

const INHERITED: &str = "a canary has this from its main Ingress, as in ingress-nginx";

const ALONE: &str = "it means nothing without the annotation that it belongs to";

/// What switches off.
const OFF: [&str; 4] = ["false", "off", "0", ""];
