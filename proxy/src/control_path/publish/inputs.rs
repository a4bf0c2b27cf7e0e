//! What a snapshot is made of: settings and rules as the sources say, and what is remembered from one to the next.
//!
//! Cheap to clone, because whatever is large in it is persistent: an update works on a copy, which takes the place of the
//! original when all went well.

use imbl::OrdMap;
use routing_rules::rules::{Kind, Name};

use super::ended;
use crate::control_path::assemble::Assembler;
use crate::control_path::catalog::{Catalog, Document, Witness};
use crate::control_path::certificates::{Certificates, Finding, Issued};
use crate::control_path::decode::Problem;
use crate::control_path::release::Records;
use crate::control_path::source::{Text, Texts};
use crate::settings::Settings;

#[derive(Clone)]
pub(super) struct Inputs {
    /// Those in force, and those written last, which take effect with the next start.
    settings: Settings,
    pub(super) written_settings: Settings,
    pub(super) catalog: Catalog,
    pub(super) assembler: Assembler,
    pub(super) certificates: Certificates,
    pub(super) settings_problems: Vec<Problem>,
    /// Of environments: those that wait, and those that would make nothing that is right.
    pub(super) environment_problems: Vec<Problem>,
    /// Whether the rules in force come from the state folder.
    pub(super) stale: bool,
    main_is_good: bool,
    /// What was taken last.
    pub(super) texts: Texts,
}

impl Inputs {
    /// No rules yet.
    pub(super) fn new(settings: Settings, assembler: Assembler, witness: Witness) -> Self {
        Self {
            written_settings: settings.clone(),
            settings,
            catalog: Catalog::default().asking(witness),
            assembler,
            certificates: Certificates::default(),
            settings_problems: Vec::new(),
            environment_problems: Vec::new(),
            stale: false,
            main_is_good: false,
            texts: Texts::default(),
        }
    }

    /// Takes what the sources say now, and where releases are; the main file may have been parsed already. Returns whether it
    /// takes a new snapshot.
    pub(super) fn read(&mut self, texts: Texts, records: &Records, parsed: Option<Document>) -> bool {
        let main = texts.first().filter(|main| self.texts.first() != Some(main));
        let main = main.map(|main| parsed.filter(|parsed| parsed.is_of(main)).unwrap_or_else(|| Document::parse(main)));
        if let Some(main) = &main {
            self.main_is_good = main.tree.is_ok();
        }
        let trust_changed = main.as_ref().is_some_and(|main| self.read_settings(main));
        self.catalog.follow(records);
        let before = self.catalog.rules().clone();
        let rules_changed = self.catalog.update_texts(&texts, main) | self.expand();
        ended::note(records, &before, self.catalog.rules());
        let has_moved = self.assembler.set_records(records);
        let is_first = self.texts.is_empty();
        self.texts = texts;
        self.stale &= !(self.main_is_good && self.texts.is_heard());
        let handshakes_changed = self.follow_handshakes();
        rules_changed || handshakes_changed || trust_changed || has_moved || is_first
    }

    /// Makes what templates make of the environments that are known now. Returns whether it takes a new snapshot.
    pub(super) fn expand(&mut self) -> bool {
        let (mut waiting, assembler) = (Vec::new(), &self.assembler);
        let changed = self.catalog.expand(|template| {
            let known = assembler.known_environments(template);
            let name = template.name();
            waiting.extend(known.next.map(|next| {
                let most = template.most();
                let reason =
                    format!("{most} environments are live, which is the most: `{next}` and those that came later wait");
                (name.clone(), "discovery.etcd.most", reason)
            }));
            waiting.extend(known.refusal.map(|reason| (name.clone(), "discovery.etcd.prefix", reason.into())));
            known.live
        });
        self.environment_problems = self.catalog.expansion_problems();
        for (name, field, reason) in waiting {
            let problem = self.catalog.problem(Kind::Upstream, name.as_str(), field, reason);
            self.environment_problems.push(problem);
        }
        changed
    }

    /// The same, with what is shown and trusted there.
    pub(super) fn take_environments(&mut self) -> bool {
        self.expand() | self.follow_handshakes()
    }

    fn follow_handshakes(&mut self) -> bool {
        let changed = self.certificates.follow(self.catalog.rules());
        self.assembler.secure(self.certificates.transports());
        changed
    }

    /// Takes what files of certificates say now. Returns whether it takes a new snapshot.
    pub(super) fn read_certificates(&mut self, files: Vec<Text>) -> bool {
        let changed = self.certificates.take_files(files);
        self.assembler.secure(self.certificates.transports());
        changed
    }

    /// Takes what authorities have issued. Returns whether it takes a new snapshot.
    pub(super) fn take_issued(&mut self, issued: OrdMap<Name, Issued>) -> bool {
        self.certificates.take_issued(issued)
    }

    /// Whether there is somewhere to keep what authorities issue.
    pub(super) fn keeps_orders(&self) -> bool {
        self.settings.keeps_orders()
    }

    /// What is wrong with certificates that are right as written.
    pub(super) fn certificate_problems(&mut self) -> Vec<Problem> {
        let findings = self.certificates.findings().to_vec();
        let problem = |(kind, name, field, reason): Finding| self.catalog.problem(kind, name.as_str(), field, reason);
        findings.into_iter().map(problem).collect()
    }

    /// Trusted proxies take effect at once; everything else with the next start. Returns whether they changed.
    fn read_settings(&mut self, main: &Document) -> bool {
        let Document { name, tree: Ok(root), .. } = main else { return false };
        self.settings_problems.clear();
        let Some(mut settings) = Settings::decode(name, root, &mut self.settings_problems) else { return false };
        settings.resolve_beside(name);
        // The folder may have been named on the command line.
        settings.state_dir.clone_from(&self.settings.state_dir);
        let trust_changed = settings.trusted_proxies != self.settings.trusted_proxies;
        if trust_changed {
            self.assembler.trust(settings.trusted());
            self.settings.trusted_proxies.clone_from(&settings.trusted_proxies);
        }
        if settings != self.settings && settings != self.written_settings {
            tracing::warn!("settings have changed; they take effect with the next start");
        }
        self.written_settings = settings;
        trust_changed
    }
}
