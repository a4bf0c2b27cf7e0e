//! One side of a comparison: what a main file and everything it names say.

use std::path::Path;

use routing_rules::spec::Spec;
use serde_json::Value;

use crate::control_path::catalog::{Catalog, Document};
use crate::control_path::check;
use crate::control_path::decode::Problem;
use crate::control_path::source::file::FileSet;
use crate::settings::Settings;
use crate::snapshot::Snapshot;

/// The rules of one main file: as written, and as a request would meet them.
pub struct Version {
    problems: Vec<Problem>,
    settings: Value,
    spec: Spec,
    snapshot: Snapshot,
}

impl Version {
    /// Reads a main file and everything it names.
    pub fn read(main: &Path) -> Self {
        let checked = check::check(main);
        let settings = settings(main).unwrap_or_default();
        let mut catalog = Catalog::default();
        catalog.update_texts(&FileSet::new(main, &settings.sources.files).read().into(), None);
        Self {
            problems: checked.problems,
            settings: super::value(&settings),
            spec: catalog.spec(),
            snapshot: checked.snapshot,
        }
    }

    /// Everything that is wrong. A comparison makes sense only without.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn settings(&self) -> &Value {
        &self.settings
    }

    pub(super) fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// The settings as written; paths stay relative, so that equal files in two folders are equal. What is wrong with them
/// is among the problems already.
fn settings(main: &Path) -> Option<Settings> {
    let text = FileSet::new(main, &[]).read().into_iter().next()?;
    let document = Document::parse(&text);
    Settings::decode(&document.name, &document.tree.ok()?, &mut Vec::new())
}
