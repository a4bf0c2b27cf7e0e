//! The table says what the code does.

use std::collections::BTreeSet;
use std::path::Path;

use super::known;

/// The names that code asks an Ingress for: in quotes, behind a function that reads.
fn read_names() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ingress/annotations");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.is_file() && !path.ends_with("tests.rs"));
    let text: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let names = known::all().map(|known| known.name);
    let mut read: BTreeSet<String> =
        names.filter(|name| text.contains(&format!("\"{name}\""))).map(str::to_owned).collect();
    for reader in
        ["text(\"", "read(\"", "flag(\"", "is_on(\"", "number(\"", "has(\"", "limit(\"", "seconds(\"", "names(\""]
    {
        read.extend(text.split(reader).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    read
}

#[test]
fn what_has_an_effect_is_read_and_what_is_read_is_known() {
    let read = read_names();
    let lost: Vec<_> =
        known::all().filter(|known| known.has_effect() && !read.contains(known.name)).map(|known| known.name).collect();
    assert!(lost.is_empty(), "the table says that these have an effect, and nobody reads them: {lost:?}");
    let unknown: Vec<_> = read.iter().filter(|name| known::known(name).is_none()).collect();
    assert!(unknown.is_empty(), "these are read, and the table has them not: {unknown:?}");
}

#[test]
fn each_is_there_once() {
    let mut names = BTreeSet::new();
    assert!(known::all().all(|known| names.insert(known.name)));
    assert!(names.len() > 130, "{}", names.len());
}
