//! "Did you mean": the name an operator most likely wanted.

use std::fmt::Write;

use super::shorten;

/// What to say about a name that is not one of `expected`, and the name that was probably meant.
pub(super) fn unknown(what: &str, name: &str, expected: &'static [&'static str]) -> (String, Option<&'static str>) {
    let mut reason = format!("unknown {what} `{}`", shorten(name));
    let near = nearest(name, expected);
    match (near, expected) {
        (Some(near), _) => write_or_nothing(&mut reason, format_args!(", did you mean `{near}`?")),
        (None, []) => write_or_nothing(&mut reason, format_args!(", none is expected here")),
        (None, [only]) => write_or_nothing(&mut reason, format_args!(", expected `{only}`")),
        (None, all) => write_or_nothing(&mut reason, format_args!(", expected one of `{}`", all.join("`, `"))),
    }
    (reason, near)
}

/// Writing to a string cannot fail.
fn write_or_nothing(reason: &mut String, text: std::fmt::Arguments<'_>) {
    reason.write_fmt(text).unwrap_or_default();
}

fn nearest(name: &str, expected: &'static [&'static str]) -> Option<&'static str> {
    /// No field is that long, and the distance costs the product of the lengths.
    const LONGEST: usize = 40;
    if name.len() > LONGEST {
        return None;
    }
    let near = |candidate: &&'static str| {
        let distance = distance(&name.to_lowercase(), candidate);
        // One slip in a short name, one more for every three letters in a longer one.
        let allowed = (candidate.chars().count() / 3).max(1);
        (distance <= allowed && distance < candidate.chars().count()).then_some((distance, *candidate))
    };
    expected.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `one` to `other`.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().map(same_dash).collect();
    let other: Vec<char> = other.chars().map(same_dash).collect();
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, from) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(from != to);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && one[row - 1] == *to && other[column - 1] == *from;
            if swapped {
                let before: &Vec<usize> = &before;
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

/// `strip-prefix` for `strip_prefix` is no misspelling worth counting.
fn same_dash(character: char) -> char {
    match character {
        '-' => '_',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{distance, unknown};

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("hsots", "hosts", 1),
            ("", "abc", 3),
            ("abc", "", 3),
            ("host", "hosts", 1),
            ("kitten", "sitting", 3),
            ("ü", "u", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} to {other}");
        }
    }

    #[test]
    fn messages() {
        let all = &["hosts", "paths"];
        assert_eq!(unknown("field", "Hosts", all).0, "unknown field `Hosts`, did you mean `hosts`?");
        assert_eq!(unknown("field", "zebra", all).0, "unknown field `zebra`, expected one of `hosts`, `paths`");
        assert_eq!(unknown("field", "zebra", &["a"]).0, "unknown field `zebra`, expected `a`");
        assert_eq!(unknown("field", "zebra", &[]).0, "unknown field `zebra`, none is expected here");
    }
}
