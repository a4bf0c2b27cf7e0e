//! Requests about objects: what each verb reads of the request, and what it answers.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ACCEPT, USER_AGENT};
use serde_json::{Value, json};

use super::Asked;
use super::address::{Place, Verb};
use super::answer::{self, Answer};
use crate::read::form::Form;
use crate::read::list;
use crate::read::watch::{About, Watch};
use crate::resource::Resource;
use crate::selector::Selector;
use crate::state::{Shared, State};
use crate::status::{self, Cause, Failure};
use crate::store::Extent;
use crate::write::delete::{Deleted, Preconditions, delete, delete_all};
use crate::write::update::{PatchKind, patch, replace};
use crate::write::{Options, Target, UnknownFields, Written, create::create};

/// A request about objects of a kind that is there.
struct Objects<'a> {
    asked: &'a Asked,
    place: &'a Place,
    resource: Arc<Resource>,
    form: Form,
}

pub(super) fn serve(shared: &Arc<Shared>, asked: &Asked, verb: Verb, place: &Place) -> Result<Answer, Failure> {
    let Some(resource) = place.resource(&shared.look().registry) else { return unknown(&shared.look(), place) };
    let fits = match place.subresource.as_str() {
        "" => true,
        "status" => resource.status,
        _ => false,
    };
    if !fits || place.namespace.is_some() && !resource.namespaced {
        return Err(answer::unknown_kind());
    }
    let form = Form::of(asked.header(ACCEPT), &asked.query)?;
    let objects = Objects { asked, place, resource, form };
    match verb {
        Verb::Watch => objects.watch(shared),
        Verb::List => objects.list(&shared.look()),
        Verb::Get => objects.get(&shared.look()),
        Verb::Other => Err(answer::method_not_allowed()),
        verb => shared.change(|state| objects.write(state, verb)),
    }
}

/// A group that is there answers for its paths; where it is not, nobody does.
fn unknown(state: &State, place: &Place) -> Result<Answer, Failure> {
    let of_version = |resource: &Arc<Resource>| resource.group == place.group && resource.version == place.version;
    if state.registry.all().any(of_version) { Err(answer::unknown_kind()) } else { Ok(answer::not_found()) }
}

impl Objects<'_> {
    fn get(&self, state: &State) -> Result<Answer, Failure> {
        let target = self.target()?;
        let object = state.store.find(&target.key()).ok_or_else(|| Failure::not_found(&self.resource, &target.name))?;
        Ok(answer::json(StatusCode::OK, &self.form.one(&self.resource, object)))
    }

    fn list(&self, state: &State) -> Result<Answer, Failure> {
        let list = list::list(state, &self.extent(), &self.selector()?, &self.asked.query)?;
        let items = list.items.iter().map(|object| &**object);
        Ok(answer::json(StatusCode::OK, &self.form.many(&self.resource, items, list.metadata)))
    }

    fn watch(&self, shared: &Arc<Shared>) -> Result<Answer, Failure> {
        let (resource, mut selector) = (Arc::clone(&self.resource), self.selector()?);
        // A watch of one object is one of all with its name.
        if !self.place.name.is_empty() {
            selector = selector.and_name(&self.place.name);
        }
        let about = About { resource, extent: self.extent(), selector, form: self.form };
        Ok(answer::watch(Watch::begin(shared, about, &self.asked.query)?))
    }

    fn write(&self, state: &mut State, verb: Verb) -> Result<Answer, Failure> {
        let target = self.target()?;
        match verb {
            Verb::Create => {
                let written = create(state, &target, self.body()?, &self.options("CreateOptions", false)?)?;
                Ok(self.written(&written))
            }
            Verb::Update => {
                let written = replace(state, &target, self.body()?, &self.options("UpdateOptions", false)?)?;
                Ok(self.written(&written))
            }
            Verb::Patch => self.patch(state, &target),
            Verb::Delete => self.delete(state, &target),
            _ => self.delete_all(state, &target),
        }
    }

    fn patch(&self, state: &mut State, target: &Target) -> Result<Answer, Failure> {
        let kind = match self.asked.media_type() {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" if self.resource.defined.is_none() => PatchKind::Strategic,
            "application/apply-patch+yaml" => PatchKind::Apply,
            _ => return Err(unsupported(PATCHES)),
        };
        let options = self.options("PatchOptions", kind == PatchKind::Apply)?;
        let body = if kind == PatchKind::Apply { yaml(&self.asked.body)? } else { json(&self.asked.body)? };
        Ok(self.written(&patch(state, target, kind, body, &options)?))
    }

    fn delete(&self, state: &mut State, target: &Target) -> Result<Answer, Failure> {
        if !self.place.subresource.is_empty() {
            return Err(answer::method_not_allowed());
        }
        let body = if self.asked.body.is_empty() { Value::Null } else { self.body()? };
        let text = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        let conditions = Preconditions { uid: text("uid"), version: text("resourceVersion") };
        match delete(state, target, &conditions, self.deletes_dry(&body)?)? {
            Deleted::Now(object) if self.resource.kind != "Pod" => {
                let done = status::success(&self.resource, &target.name, &object["metadata"]["uid"]);
                Ok(answer::json(StatusCode::OK, &done))
            }
            Deleted::Now(object) | Deleted::Later(object) => {
                Ok(answer::json(StatusCode::OK, &self.form.one(&self.resource, &object)))
            }
        }
    }

    fn delete_all(&self, state: &mut State, target: &Target) -> Result<Answer, Failure> {
        let body = if self.asked.body.is_empty() { Value::Null } else { self.body()? };
        let dry_run = self.deletes_dry(&body)?;
        let deleted = delete_all(state, target, &self.extent(), &self.selector()?, dry_run);
        let metadata = json!({"resourceVersion": state.store.revision().to_string()});
        let items = deleted.iter().map(|object| &**object);
        Ok(answer::json(StatusCode::OK, &self.form.many(&self.resource, items, metadata)))
    }

    fn written(&self, written: &Written) -> Answer {
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        answer::with_warnings(answer::json(code, &self.form.one(&self.resource, &written.object)), &written.warnings)
    }

    /// Objects of namespaces are written and read in one.
    fn target(&self) -> Result<Target, Failure> {
        if self.resource.namespaced && self.place.namespace.is_none() {
            return Err(answer::method_not_allowed());
        }
        Ok(Target {
            resource: Arc::clone(&self.resource),
            namespace: self.place.namespace.clone().unwrap_or_default(),
            name: self.place.name.clone(),
            status: self.place.subresource == "status",
        })
    }

    fn extent(&self) -> Extent {
        Extent { collection: self.resource.collection.clone(), namespace: self.place.namespace.clone() }
    }

    fn selector(&self) -> Result<Selector, Failure> {
        let query = &self.asked.query;
        Selector::parse(&self.resource, query.text("labelSelector"), query.text("fieldSelector"))
    }

    fn body(&self) -> Result<Value, Failure> {
        match self.asked.media_type() {
            "" | "application/json" => json(&self.asked.body),
            "application/yaml" => yaml(&self.asked.body),
            _ => Err(unsupported("application/json, application/yaml")),
        }
    }

    fn options(&self, kind: &str, applies: bool) -> Result<Options, Failure> {
        let query = &self.asked.query;
        let manager = query.text("fieldManager");
        if applies && manager.is_empty() {
            return Err(Failure::options(kind, Cause::required("fieldManager", "is required for apply patch")));
        }
        if kind == "PatchOptions" && !applies && query.is_given("force") {
            return Err(Failure::options(kind, Cause::forbidden("force", "may not be specified for non-apply patch")));
        }
        Ok(Options {
            dry_run: dry_run(kind, query.text("dryRun"))?,
            manager: if manager.is_empty() { self.agent() } else { manager.to_owned() },
            force: query.is_set("force"),
            unknown_fields: self.unknown_fields(kind)?,
            trusted: false,
        })
    }

    /// Who writes, where they do not say.
    fn agent(&self) -> String {
        let agent = self.asked.header(USER_AGENT).split('/').next().unwrap_or_default();
        if agent.is_empty() { "unknown".to_owned() } else { agent.to_owned() }
    }

    fn unknown_fields(&self, kind: &str) -> Result<UnknownFields, Failure> {
        match self.asked.query.text("fieldValidation") {
            "Ignore" => Ok(UnknownFields::Ignore),
            "" | "Warn" => Ok(UnknownFields::Warn),
            "Strict" => Ok(UnknownFields::Refuse),
            other => {
                let supported = [json!(""), json!("Ignore"), json!("Strict"), json!("Warn")];
                Err(Failure::options(kind, Cause::not_supported("fieldValidation", &json!(other), &supported)))
            }
        }
    }

    fn deletes_dry(&self, body: &Value) -> Result<bool, Failure> {
        let asked = dry_run("DeleteOptions", self.asked.query.text("dryRun"))?;
        Ok(asked || dry_run("DeleteOptions", body["dryRun"][0].as_str().unwrap_or_default())?)
    }
}

fn dry_run(kind: &str, asked: &str) -> Result<bool, Failure> {
    match asked {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(Failure::options(kind, not_dry(other))),
    }
}

/// A list of one, as the server's language writes it.
fn not_dry(asked: &str) -> Cause {
    Cause::not_supported_text("dryRun", &format!("[]string{{{asked:?}}}"), &[json!("All")])
}

fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the object provided is unreadable: {error}")))
}

fn yaml(body: &[u8]) -> Result<Value, Failure> {
    let unreadable = |error: String| Failure::bad_request(format!("error decoding YAML: {error}"));
    let text = std::str::from_utf8(body).map_err(|error| unreadable(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| unreadable(error.to_string()))
}

fn unsupported(accepted: &str) -> Failure {
    let message =
        format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
    Failure::new(415, "UnsupportedMediaType", message)
}

const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
