//! What would become of the Ingresses of ingress-nginx, before anything is moved.
//!
//! The objects come from `kubectl`, and are translated by the very code that follows a cluster: there is no second opinion.

mod dump;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde::Serialize;

use crate::ObjectName;
use crate::findings::Finding;
use crate::ingress::{Noted, Verdict, known};
use crate::objects::Objects;
use crate::options::Options;
use crate::translate::{Before, Translation, translate};

/// Whose Ingresses are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Names of classes.
    pub classes: Vec<String>,
    /// Controllers, whatever their classes are called.
    pub controllers: Vec<String>,
}

/// Those of ingress-nginx.
impl Default for Wanted {
    fn default() -> Self {
        Self { classes: vec!["nginx".into()], controllers: vec!["k8s.io/ingress-nginx".into()] }
    }
}

/// What would become of Ingresses. [`fmt::Display`] gives a text to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In numbers.
    pub summary: Summary,
    /// Each of them, by name.
    pub ingresses: Vec<IngressReport>,
    /// What is to be known about what was read.
    pub notes: Vec<String>,
}

/// A report in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Ingresses that were looked at.
    pub ingresses: usize,
    /// Those of which nothing is different or missing.
    pub unchanged: usize,
    /// Those that would let nobody in, because something that keeps somebody out cannot be followed.
    pub closed: usize,
    /// Annotations that do the same.
    pub same: usize,
    /// Annotations that do something else.
    pub differently: usize,
    /// Annotations that do nothing, and need not.
    pub needless: usize,
    /// Annotations that do nothing.
    pub not: usize,
}

/// What would become of one Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressReport {
    /// `NAMESPACE/NAME`.
    pub ingress: String,
    /// Whether nobody is let in.
    pub is_closed: bool,
    /// Annotations that do the same.
    pub same: Vec<String>,
    /// Annotations that do something else.
    pub differently: Vec<Line>,
    /// Annotations that do nothing, and need not.
    pub needless: Vec<Line>,
    /// Annotations that do nothing.
    pub not: Vec<Line>,
    /// What there is to say besides, about hosts, paths and what they lead to.
    pub besides: Vec<String>,
}

/// What is to be said about an annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its whole name.
    pub annotation: String,
    /// What it does, or what to do instead.
    pub what: String,
}

/// Reports on the Ingresses of ingress-nginx in what `kubectl get ingress -A -o yaml` prints. Services, Secrets, ConfigMaps and
/// IngressClasses that are in it too make it say more.
///
/// # Errors
/// It is neither YAML nor JSON, or an object in it is not what it says it is.
pub fn report(dump: &str) -> Result<Report, String> {
    report_of(dump, &Wanted::default())
}

/// The same for others.
///
/// # Errors
/// As [`report`].
pub fn report_of(dump: &str, wanted: &Wanted) -> Result<Report, String> {
    let mut objects = dump::objects(dump)?;
    let options = Options::default();
    let all = objects.ingresses.len();
    take_over(&mut objects, wanted, &options);
    let translation = translate(&objects, &options, "", &Before::default());
    let (noted, found) = by_ingress(&translation);
    let of = |name| (noted.get(name).map_or(&[][..], Vec::as_slice), found.get(name).map_or(&[][..], Vec::as_slice));
    let reported = objects.ingresses.iter().map(|(name, ingress)| IngressReport::of(name, ingress, &objects, of(name)));
    let ingresses: Vec<_> = reported.collect();
    let notes = notes(&objects, all);
    Ok(Report { summary: Summary::of(&ingresses), ingresses, notes })
}

/// Leaves those that are wanted, as if they were of our class.
fn take_over(objects: &mut Objects, wanted: &Wanted, options: &Options) {
    let classes = std::mem::take(&mut objects.classes);
    let controller = |class: &str| classes.get(&ObjectName::new("", class))?.spec.as_ref()?.controller.as_ref();
    let is_wanted = |class: &str| {
        wanted.classes.iter().any(|name| name == class)
            || controller(class).is_some_and(|controller| wanted.controllers.contains(controller))
    };
    let default = classes.iter().find(|(_, class)| {
        class.annotations().get("ingressclass.kubernetes.io/is-default-class").is_some_and(|value| value == "true")
    });
    objects.ingresses.retain(|_, ingress| {
        let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let named = named.or_else(|| ingress.annotations().get(CLASS).map(String::as_str));
        named.or_else(|| default.map(|(name, _)| &*name.name)).is_some_and(is_wanted)
    });
    for ingress in objects.ingresses.values_mut() {
        ingress.spec.get_or_insert_default().ingress_class_name = Some(options.ingress_class.clone());
    }
}

type ByIngress<'t, T> = BTreeMap<&'t ObjectName, Vec<&'t T>>;

fn by_ingress(translation: &Translation) -> (ByIngress<'_, Noted>, ByIngress<'_, Finding>) {
    let (mut noted, mut found) = (ByIngress::new(), ByIngress::new());
    for one in &translation.noted {
        noted.entry(&one.ingress).or_default().push(one);
    }
    for one in translation.findings.iter().filter(|finding| finding.kind == "Ingress") {
        found.entry(&one.object).or_default().push(one);
    }
    (noted, found)
}

fn notes(objects: &Objects, all: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let others = all - objects.ingresses.len();
    if others > 0 {
        notes.push(format!("Ingresses of another class, or of none: {others}"));
    }
    if objects.services.is_empty() {
        notes.push("there are no Services in it, so it cannot be told which are missing".into());
    }
    if objects.secrets.is_empty() {
        notes.push("there are no Secrets in it, so passwords and certificates count as missing".into());
    }
    notes
}

impl IngressReport {
    fn of(name: &ObjectName, ingress: &Ingress, objects: &Objects, (noted, found): (&[&Noted], &[&Finding])) -> Self {
        let mut report = Self { ingress: name.to_string(), ..Self::default() };
        let is_noted = |key: &str| noted.iter().any(|noted| noted.key == key);
        let keys = ingress.annotations().keys().filter(|key| known::name_of(key).is_some());
        report.same = keys.filter(|key| !is_noted(key)).cloned().collect();
        let said: Vec<String> = noted.iter().map(|noted| noted.finding().message).collect();
        for Noted { key, remark, .. } in noted {
            let lines = match remark.verdict {
                Verdict::Differently => &mut report.differently,
                Verdict::Needless => &mut report.needless,
                Verdict::Not | Verdict::Closed => &mut report.not,
            };
            lines.push(Line { annotation: key.clone(), what: remark.text.clone() });
        }
        for finding in found {
            // What was not read is not missing.
            let is_unknown = (finding.reason == "Missing" && objects.services.is_empty())
                || (finding.reason == "Certificate" && objects.secrets.is_empty());
            report.is_closed |= finding.reason == "Closed";
            if !is_unknown && !said.contains(&finding.message) {
                report.besides.push(format!("{}: {}", finding.reason, finding.message));
            }
        }
        report
    }

    fn is_unchanged(&self) -> bool {
        self.differently.is_empty() && self.not.is_empty() && self.besides.is_empty()
    }
}

impl Summary {
    fn of(ingresses: &[IngressReport]) -> Self {
        let sum = |count: fn(&IngressReport) -> usize| ingresses.iter().map(count).sum();
        Self {
            ingresses: ingresses.len(),
            unchanged: sum(|ingress| ingress.is_unchanged().into()),
            closed: sum(|ingress| ingress.is_closed.into()),
            same: sum(|ingress| ingress.same.len()),
            differently: sum(|ingress| ingress.differently.len()),
            needless: sum(|ingress| ingress.needless.len()),
            not: sum(|ingress| ingress.not.len()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ingress in &self.ingresses {
            writeln!(f, "{ingress}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        write!(f, "{}", self.summary)
    }
}

impl fmt::Display for IngressReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.ingress)?;
        if self.is_closed {
            writeln!(f, "  closed       nobody is let in until what keeps somebody out is expressed in another way")?;
        }
        for annotation in &self.same {
            writeln!(f, "  same         {}", short(annotation))?;
        }
        let lists = [("differently", &self.differently), ("not needed ", &self.needless), ("not        ", &self.not)];
        for (kind, lines) in lists {
            for Line { annotation, what } in lines {
                writeln!(f, "  {kind}  {}: {what}", short(annotation))?;
            }
        }
        for line in &self.besides {
            writeln!(f, "  besides      {line}")?;
        }
        if self.is_unchanged() && self.same.is_empty() && self.needless.is_empty() {
            writeln!(f, "  same         it has no annotations of ingress-nginx")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ingresses, unchanged, closed, same, differently, needless, not } = self;
        writeln!(f, "{ingresses} Ingresses: {unchanged} behave the same, {closed} would let nobody in")?;
        write!(
            f,
            "annotations: {same} do the same, {differently} something else, {needless} are not needed, {not} do nothing"
        )
    }
}

/// A name without the prefix that all have.
fn short(annotation: &str) -> &str {
    known::name_of(annotation).unwrap_or(annotation)
}

const CLASS: &str = "kubernetes.io/ingress.class";
