//! Any bytes as a file of rules, through everything a file goes through: nothing panics, and what comes out is sound.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use routing_rules::release::ReleaseContext;
use routing_rules::rules::RuleSet;
use routing_rules::table::RouteTable;
use serin_proxy::control_path::catalog::Catalog;
use serin_proxy::control_path::source::{Text, TextKind, Texts};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (before, after) = text.split_once(NEXT_REVISION).unwrap_or((text, text));
    let mut catalog = Catalog::default();
    catalog.update_texts(&texts(before), None);
    let first = check(&catalog, &RouteTable::default());
    catalog.update_texts(&texts(after), None);
    let second = check(&catalog, &first);
    let made = expand(&mut catalog, &second, &["a", "b-1", "-"]);
    let fewer = expand(&mut catalog, &made, &["a", "c"]);
    catalog.update_texts(&texts(before), None);
    let edited = expand(&mut catalog, &fewer, &["a", "c"]);
    expand(&mut catalog, &edited, &[]);
});

/// Separates two revisions of one file in an input.
const NEXT_REVISION: &str = "\n=====\n";

fn texts(text: &str) -> Texts {
    vec![Text { name: "serin.yaml".into(), content: Ok(Arc::from(text)), kind: TextKind::Main }].into()
}

/// Environments that have these values for each capture; what templates make of them is sound.
fn expand(catalog: &mut Catalog, before: &RouteTable, values: &[&str]) -> RouteTable {
    catalog.expand(|template| {
        let count = template.prefix().captures().count();
        let all = values.iter().filter_map(|value| template.prefix().environment(std::iter::repeat_n(*value, count)));
        all.collect()
    });
    sound(catalog, before)
}

/// The same, and it is what a cold start would restore.
fn check(catalog: &Catalog, before: &RouteTable) -> RouteTable {
    let (rules, table) = (catalog.rules(), sound(catalog, before));
    let (restored, problems) = RuleSet::from_spec(&catalog.spec());
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(restored.routes().len(), rules.routes().len());
    assert_eq!(restored.route_templates().len(), rules.route_templates().len());
    table
}

/// What is in force leads nowhere wrong and is served whole, whoever made it.
fn sound(catalog: &Catalog, before: &RouteTable) -> RouteTable {
    let rules = catalog.rules();
    assert!(rules.dangling().is_empty(), "{:?}", rules.dangling());
    let table = before.update(rules, &ReleaseContext::default());
    assert!(table.skipped().is_empty(), "{:?}", table.skipped());
    assert_eq!(table.routes().count(), rules.routes().len());
    for problem in catalog.problems() {
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
    }
    table
}
