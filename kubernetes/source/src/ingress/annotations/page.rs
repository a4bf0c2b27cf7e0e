//! The docs say what the table says: `SERIN_BLESS=1 cargo test -p kubernetes-source page` writes it anew.

use std::path::Path;

use super::known::{self, Support};

/// The table of the page, as it must be.
fn table() -> String {
    let mut rows: Vec<_> = known::all().collect();
    rows.sort_by_key(|known| known.name);
    let mut table = "| annotation | here | |\n|---|---|---|\n".to_owned();
    for known in rows {
        let (kind, text) = match known.support {
            Support::Same => ("same", ""),
            Support::Differently(how) => ("differently", how),
            Support::Needless(why) => ("not needed", why),
            Support::Not(why) => ("no", why),
        };
        let closes = if known.guards { " **closes**" } else { "" };
        table += &format!("| `{}` | {kind}{closes} | {} |\n", known.name, text.replace('|', "\\|"));
    }
    table
}

#[test]
fn the_page_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ingress-nginx.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let current = format!("{before}{BEGIN}\n{}{END}{after}", table());
    if std::env::var_os("SERIN_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    assert!(
        page == current || std::env::var_os("SERIN_BLESS").is_some(),
        "docs/ingress-nginx.md differs; SERIN_BLESS=1 writes it anew"
    );
}

const BEGIN: &str = "<!-- annotations: written by a test, from kubernetes/source/src/ingress/annotations/known -->";

const END: &str = "<!-- end of annotations -->";
