//! What conditions have in common, told from their patterns alone.
//!
//! Decided exactly except for regular expressions, about which nothing is assumed: they may meet whatever there is, and cover
//! only their equals. So "may meet" is certain when it says no, and "cover" when it says yes.

use super::{AddressSet, Conditions, GeoPattern, TextCondition, TextPattern};

/// Whether some user may fulfil the conditions of both rules of an audience.
pub(crate) fn conditions_meet(one: &Conditions, other: &Conditions) -> bool {
    addresses_meet(&one.ip, &other.ip)
        && lists_meet(&one.device, &other.device)
        && one.geo.as_ref().zip(other.geo.as_ref()).is_none_or(|(one, other)| places_meet(one, other))
        && texts_may_meet(&one.header, &other.header)
        && texts_may_meet(&one.cookie, &other.cookie)
}

/// Whether whoever fulfils all of the others fulfils these conditions of a rule of an audience as well.
pub(crate) fn conditions_cover(wide: &Conditions, others: &[&Conditions]) -> bool {
    let any = |covers: &dyn Fn(&Conditions) -> bool| others.iter().any(|other| covers(other));
    any(&|narrow| addresses_cover(&wide.ip, &narrow.ip))
        && any(&|narrow| list_covers(&wide.device, &narrow.device))
        && wide
            .geo
            .as_ref()
            .is_none_or(|wide| any(&|narrow| narrow.geo.as_ref().is_some_and(|it| places_cover(wide, it))))
        && wide.header.iter().all(|condition| any(&|narrow| is_implied(condition, &narrow.header)))
        && wide.cookie.iter().all(|condition| any(&|narrow| is_implied(condition, &narrow.cookie)))
}

/// A place has one country and one city, but may have several subdivisions.
fn places_meet(one: &GeoPattern, other: &GeoPattern) -> bool {
    lists_meet(&one.country, &other.country) && lists_meet(&one.city, &other.city)
}

fn places_cover(wide: &GeoPattern, narrow: &GeoPattern) -> bool {
    list_covers(&wide.country, &narrow.country)
        && list_covers(&wide.subdivision, &narrow.subdivision)
        && list_covers(&wide.city, &narrow.city)
}

/// An empty list asks for nothing.
pub(crate) fn lists_meet<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|entry| other.contains(entry))
}

/// Whether what one list asks for is all that the other does.
pub(crate) fn list_covers<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|entry| wide.contains(entry))
}

/// Networks lie within each other or apart, so they meet where one holds the other's first address.
pub(crate) fn addresses_meet(one: &AddressSet, other: &AddressSet) -> bool {
    let holds = |set: &AddressSet, other: &AddressSet| other.networks().any(|network| set.contains(network.network()));
    one.is_empty() || other.is_empty() || holds(one, other) || holds(other, one)
}

/// Whether one set has all addresses of the other. An empty one asks for nothing.
pub(crate) fn addresses_cover(wide: &AddressSet, narrow: &AddressSet) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.networks().all(|network| wide.covers(network))
}

/// Whether some request may fulfil both.
pub(crate) fn texts_may_meet<N: PartialEq>(one: &[TextCondition<N>], other: &[TextCondition<N>]) -> bool {
    let apart = |one: &TextCondition<N>, other: &TextCondition<N>| {
        one.name == other.name && !patterns_may_meet(&one.pattern, &other.pattern)
    };
    !one.iter().any(|condition| other.iter().any(|other| apart(condition, other)))
}

fn patterns_may_meet(one: &TextPattern, other: &TextPattern) -> bool {
    match (one, other) {
        (TextPattern::Absent, TextPattern::Absent) => true,
        (TextPattern::Absent, _) | (_, TextPattern::Absent) => false,
        (TextPattern::Exact(text), pattern) | (pattern, TextPattern::Exact(text)) => pattern.matches(Some(text)),
        (TextPattern::Prefix(one), TextPattern::Prefix(other)) => one.starts_with(other) || other.starts_with(one),
        _ => true,
    }
}

/// Whether a request that fulfils the given conditions fulfils this one, too.
pub(crate) fn is_implied<N: PartialEq>(condition: &TextCondition<N>, by: &[TextCondition<N>]) -> bool {
    by.iter().any(|given| given.name == condition.name && pattern_covers(&condition.pattern, &given.pattern))
}

fn pattern_covers(wide: &TextPattern, narrow: &TextPattern) -> bool {
    match (wide, narrow) {
        (wide, TextPattern::Exact(text)) => wide.matches(Some(text)),
        (TextPattern::Present, TextPattern::Absent) => false,
        (TextPattern::Present, _) => true,
        (TextPattern::Prefix(wide), TextPattern::Prefix(narrow)) => narrow.starts_with(wide),
        (wide, narrow) => wide == narrow,
    }
}
