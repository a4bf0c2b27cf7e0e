//! Reads files as a start would, without starting anything and without looking names up.

mod places;

mod warnings;

use std::path::Path;
use std::sync::Arc;

use routing_rules::release::{ReleaseContext, Secret};
use routing_rules::request::GeoDatabase;
use routing_rules::rules::RuleSet;

use super::assemble::Assembler;
use super::catalog::{Catalog, Document};
use super::certificates::Certificates;
use super::decode::{Draft, Problem};
use super::geo::CityDatabase;
use super::secret;
use super::source::Texts;
use super::source::file::FileSet;
use super::state_dir::StateDir;
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
    /// Whether the main file could be read and parsed.
    pub has_main: bool,
    main: String,
    settings: Settings,
    catalog: Catalog,
    certificates: Certificates,
}

impl Checked {
    /// What is right, but hardly what anybody wants. Asked of files without problems: whatever follows from those would
    /// be told twice.
    pub fn warnings(&mut self) -> Vec<Problem> {
        let certificates = self.certificates.warnings().collect();
        warnings::find(&self.main, &self.settings, &mut self.catalog, &self.snapshot.table, certificates)
    }
}

/// Reads a main file and everything it names.
pub fn check(main: &Path) -> Checked {
    let mut problems = Vec::new();
    let texts = FileSet::new(main, &[]).read();
    let document = texts.first().map(Document::parse);
    let has_main = document.as_ref().is_some_and(|document| document.tree.is_ok());
    let mut settings = Settings::default();
    let (mut geo, mut secret) = (None, Secret::default());
    // A file that cannot be parsed is reported by the catalog. What is wrong with one setting hides nothing about others.
    if let Some(Document { name, tree: Ok(root), .. }) = &document
        && let Some(Draft { value, doubts }) = Settings::draft(name, root, &mut problems)
    {
        settings = value;
        settings.resolve_beside(name);
        settings.sources.files.retain(|pattern| glob::Pattern::new(pattern).is_ok() && !pattern.is_empty());
        let mut report = |field: &str, reason| {
            if !doubts.concern(root, field) {
                problems.push(root.problem(name, field, reason));
            }
        };
        match read_geo(&settings) {
            Ok(database) => geo = database,
            Err(reason) => report("geo.database", reason),
        }
        match read_secret(&settings) {
            Ok(bytes) => secret = bytes,
            Err(reason) => report("secret_file", reason),
        }
    }
    let texts = Texts::from(FileSet::new(main, &settings.sources.files).read());
    let mut catalog = Catalog::default();
    catalog.update_texts(&texts, document);
    problems.extend_from_slice(catalog.problems());
    let mut certificates = Certificates::beside(main).keeping(settings.keeps_orders());
    certificates.follow(catalog.rules());
    let findings = certificates.findings().iter().cloned();
    problems.extend(findings.map(|(kind, name, field, reason)| catalog.problem(kind, name.as_str(), field, reason)));
    sort(&mut problems);
    let rules = catalog.rules().clone();
    let context = ReleaseContext { secret, ..ReleaseContext::default() };
    let mut assembler = Assembler::new(1, context, settings.trusted(), geo).without_lookups();
    assembler.secure(certificates.transports());
    let mut snapshot = assembler.next(&Snapshot::empty(), &rules);
    snapshot.tls = certificates.table();
    let main = texts.first().map(|text| text.name.to_string()).unwrap_or_default();
    Checked { problems, rules, snapshot, has_main, main, settings, catalog, certificates }
}

fn sort(problems: &mut [Problem]) {
    problems.sort_by(|one, other| (&one.source, one.line, one.column).cmp(&(&other.source, other.line, other.column)));
}

fn read_geo(settings: &Settings) -> Result<Option<Arc<dyn GeoDatabase>>, String> {
    let database = settings.geo.as_ref().map(|geo| CityDatabase::open(&geo.database)).transpose()?;
    Ok(database.map(|database| Arc::new(database) as _))
}

/// The instances' secret where it can be read, so that pins are understood; without it they are not believed.
fn read_secret(settings: &Settings) -> Result<Secret, String> {
    let Some(path) = &settings.secret_file else {
        let generated = settings.state_dir.as_ref().and_then(|folder| StateDir::read_secret(folder));
        return Ok(generated.map_or_else(Secret::default, Secret::from_bytes));
    };
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    secret::of_file(&bytes).map_err(|reason| format!("{} {reason}", path.display()))
}
