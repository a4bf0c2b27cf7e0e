//! Every annotation of ingress-nginx, and what becomes of it here.
//!
//! One table, of which come the findings on Ingresses, the page `docs/ingress-nginx.md` and the report about a cluster that is to move.
//! A test holds it against the code that reads annotations.

mod access;

mod elsewhere;

mod routing;

mod upstreams;

/// An annotation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Without the prefix of ingress-nginx; one of ours with its own.
    pub(crate) name: &'static str,
    pub(crate) support: Support,
    /// Whether it keeps somebody out. Where such a one cannot be followed, nobody is let in: to serve openly what was to be protected is
    /// worse than not to serve it.
    pub(crate) guards: bool,
}

/// What becomes of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// What it does there.
    Same,
    /// Something else: what.
    Differently(&'static str),
    /// Nothing, and nothing is lost: why.
    Needless(&'static str),
    /// Nothing: why, and what to do instead.
    Not(&'static str),
}

impl Known {
    const fn same(name: &'static str) -> Self {
        Self { name, support: Support::Same, guards: false }
    }

    const fn differently(name: &'static str, how: &'static str) -> Self {
        Self { name, support: Support::Differently(how), guards: false }
    }

    const fn needless(name: &'static str, why: &'static str) -> Self {
        Self { name, support: Support::Needless(why), guards: false }
    }

    const fn not(name: &'static str, why: &'static str) -> Self {
        Self { name, support: Support::Not(why), guards: false }
    }

    const fn guarding(self) -> Self {
        Self { guards: true, ..self }
    }

    /// The whole name.
    pub(crate) fn key(&self) -> String {
        key(self.name)
    }

    /// Whether it has an effect here.
    #[cfg(test)]
    pub(crate) fn has_effect(&self) -> bool {
        matches!(self.support, Support::Same | Support::Differently(_))
    }
}

/// All of them, in no order.
pub(crate) fn all() -> impl Iterator<Item = &'static Known> {
    [access::TABLE, routing::TABLE, upstreams::TABLE, elsewhere::TABLE].into_iter().flatten()
}

/// The annotation of this name.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    all().find(|known| known.name == name)
}

/// The whole name of an annotation.
pub(crate) fn key(name: &str) -> String {
    if name.starts_with(OURS) { name.to_owned() } else { format!("{PREFIX}{name}") }
}

/// The name of an annotation as the table has it, if it is ingress-nginx's or ours.
pub(crate) fn name_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX).or_else(|| key.starts_with(OURS).then_some(key))
}

/// The annotation that somebody may have meant who wrote this name.
pub(crate) fn nearest(name: &str) -> Option<&'static Known> {
    let close = |known: &'static Known| (distance(name, known.name), known);
    let nearest = all().map(close).min_by_key(|(distance, known)| (*distance, known.name));
    // Of a short name a third is a slip of the pen, too.
    nearest.filter(|(distance, _)| *distance <= name.len() / 3 + 1).map(|(_, known)| known)
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut before = line + 1;
        let mut next = vec![before];
        for (pair, there) in row.windows(2).zip(other.chars()) {
            let &[diagonal, above] = pair else { continue };
            before = (diagonal + usize::from(letter != there)).min(above + 1).min(before + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

const OURS: &str = "serin.dev/";

#[test]
fn a_distance_counts_letters() {
    assert_eq!(
        ["rewrite-target", "rewrite-targets", "rewite-target", "x"].map(|name| distance(name, "rewrite-target")),
        [0, 1, 1, 14]
    );
    assert_eq!(nearest("whitelist-source-ranges").map(|known| known.name), Some("whitelist-source-range"));
    assert_eq!(nearest("coffee-machine").map(|known| known.name), None);
}
