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
    check(&catalog, &first);
});

/// Separates two revisions of one file in an input.
const NEXT_REVISION: &str = "\n=====\n";

fn texts(text: &str) -> Texts {
    vec![Text { name: "serin.yaml".into(), content: Ok(Arc::from(text)), kind: TextKind::Main }].into()
}

/// What is in force leads nowhere wrong, is served whole, and is what a cold start would restore.
fn check(catalog: &Catalog, before: &RouteTable) -> RouteTable {
    let rules = catalog.rules();
    assert!(rules.dangling().is_empty(), "{:?}", rules.dangling());
    let table = before.update(rules, &ReleaseContext::default());
    assert!(table.skipped().is_empty(), "{:?}", table.skipped());
    assert_eq!(table.routes().count(), rules.routes().len());
    for problem in catalog.problems() {
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
    }
    let (restored, problems) = RuleSet::from_spec(&catalog.spec());
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(restored.routes().len(), rules.routes().len());
    table
}
