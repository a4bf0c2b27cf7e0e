//! Reads files as a start would, without starting anything.

use std::path::Path;

use routing_rules::release::{ReleaseContext, Secret};
use routing_rules::rules::RuleSet;

use super::assemble::Assembler;
use super::catalog::{Catalog, Document};
use super::decode::Problem;
use super::geo::CityDatabase;
use super::source::file::FileSet;
use crate::settings::Settings;
use crate::snapshot::Snapshot;

/// What files say.
pub struct Checked {
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// The rules that are right.
    pub rules: RuleSet,
    /// The snapshot a worker would read.
    pub snapshot: Snapshot,
}

/// Reads a main file and everything it names.
pub fn check(main: &Path) -> Checked {
    let mut problems = Vec::new();
    let settings = settings(main, &mut problems).unwrap_or_default();
    let geo = settings.geo.as_ref().and_then(|geo| match CityDatabase::open(&geo.database) {
        Ok(database) => Some(std::sync::Arc::new(database) as _),
        Err(reason) => {
            let source = main.to_string_lossy().as_ref().into();
            problems.push(Problem { source, line: 0, column: 0, path: "geo.database".into(), reason });
            None
        }
    });
    let texts = FileSet::new(main, &settings.sources.files).read();
    let mut catalog = Catalog::default();
    catalog.update(texts.iter().map(Document::parse).collect());
    problems.extend_from_slice(catalog.problems());
    let rules = catalog.rules().clone();
    let context = ReleaseContext { secret: secret(&settings), ..ReleaseContext::default() };
    let snapshot = Assembler::new(1, context, settings.trusted(), geo).next(&Snapshot::empty(), &rules);
    Checked { problems, rules, snapshot }
}

fn settings(main: &Path, problems: &mut Vec<Problem>) -> Option<Settings> {
    let text = FileSet::new(main, &[]).read().into_iter().next()?;
    let document = Document::parse(&text);
    // A file that cannot be parsed is reported by the catalog.
    let root = document.tree.ok()?;
    let mut settings = Settings::decode(&document.name, &root, problems)?;
    settings.resolve_beside(&document.name);
    Some(settings)
}

/// The instances' secret where it can be read, so that pins are understood; without it they are not believed.
fn secret(settings: &Settings) -> Secret {
    use sha2::Digest;
    let bytes = settings.secret_file.as_ref().and_then(|path| std::fs::read(path).ok());
    bytes.map_or_else(Secret::default, |bytes| Secret::from_bytes(sha2::Sha256::digest(bytes).into()))
}
