//! Who is let in: by name and password, and by the word of a service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use routing_rules::spec::{BasicAuthSpec, FilterSpec, ForwardAuthSpec};

use super::given::Given;
use super::url::Url;
use super::{Namespace, trial, values};
use crate::ingress::tuning::{Question, Tuning};

pub(super) fn read(given: &mut Given<'_>, namespace: Namespace<'_>, tuning: &mut Tuning) {
    if let Some(kind) = given.text("auth-type") {
        match kind {
            "basic" => tuning.filters.extend(basic(given, namespace)),
            other => given.wrong("auth-type", format_args!("`{other}` is not supported: only basic is")),
        }
    }
    tuning.question = question(given);
}

fn basic(given: &mut Given<'_>, namespace: Namespace<'_>) -> Option<FilterSpec> {
    let read = match given.text("auth-secret-type") {
        None | Some("auth-file") => of_file,
        Some("auth-map") => of_map,
        Some(other) => {
            given.wrong("auth-secret-type", format_args!("`{other}` is neither auth-file nor auth-map"));
            return None;
        }
    };
    let realm = given.read("auth-realm", |realm| {
        trial::filter(password(BTreeMap::from([("a".into(), GOOD.into())]), Some(realm.into())))?;
        Ok(realm.to_owned())
    });
    if !given.has("auth-secret") {
        given.wrong("auth-type", "it needs auth-secret, the name of a Secret with users");
        return None;
    }
    let users = given.read("auth-secret", |text| {
        let name = namespace.own(text)?;
        let secret = namespace.objects.secrets.get(&name).ok_or_else(|| format!("there is no Secret {name}"))?;
        read(secret).map_err(|reason| format!("Secret {name}: {reason}"))
    })?;
    let (users, refused) = checked(users);
    match (users.is_empty(), refused) {
        (true, refused) => {
            given.wrong("auth-secret", refused.unwrap_or_else(|| "it has no users".into()));
            None
        }
        (false, refused) => {
            refused.into_iter().for_each(|refused| given.lacks("auth-secret", refused));
            Some(password(users, realm))
        }
    }
}

type Users = BTreeMap<String, String>;

/// What `htpasswd` writes, under `auth`.
fn of_file(secret: &Secret) -> Result<Users, String> {
    let file = secret.data.iter().flatten().find(|(key, _)| *key == "auth").ok_or("it has no `auth`")?;
    let text = std::str::from_utf8(&file.1.0).map_err(|_| "`auth` is no text")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let user = |line: &str| {
        let (name, hash) = line.split_once(':')?;
        Some((name.to_owned(), hash.split(':').next().unwrap_or_default().to_owned()))
    };
    lines.map(|line| user(line).ok_or_else(|| "a line of `auth` is not NAME:HASH".to_owned())).collect()
}

/// A hash by each name.
fn of_map(secret: &Secret) -> Result<Users, String> {
    let user = |(name, hash): (&String, &k8s_openapi::ByteString)| {
        let hash = std::str::from_utf8(&hash.0).map_err(|_| format!("`{name}` is no text"))?;
        Ok((name.clone(), hash.trim().to_owned()))
    };
    secret.data.iter().flatten().map(user).collect()
}

/// Users whose hashes can be checked, and what is to be said of the others. Nothing of hashes is said.
fn checked(users: Users) -> (Users, Option<String>) {
    let (mut right, mut wrong) = (Users::new(), Vec::new());
    for (name, hash) in users {
        match trial::filter(password(BTreeMap::from([(name.clone(), hash.clone())]), None)) {
            Ok(_) => drop(right.insert(name, hash)),
            Err(reason) => wrong.push((name, reason)),
        }
    }
    let refused = wrong.first().map(|(name, reason)| match wrong.len() - 1 {
        0 => format!("{name} is not let in: {reason}"),
        more => format!("{name} and {more} more are not let in: {reason}"),
    });
    (right, refused)
}

fn password(users: Users, realm: Option<String>) -> FilterSpec {
    FilterSpec::BasicAuth(BasicAuthSpec { users, realm, keep_authorization: false, attempts: None })
}

fn question(given: &mut Given<'_>) -> Option<Question> {
    let url = given.read("auth-url", |text| {
        let url = Url::parse(text)?;
        trial::filter(ask(AUTH.into(), &url, Vec::new()))?;
        Ok(url)
    })?;
    match given.text("auth-method") {
        Some(method) if method.eq_ignore_ascii_case("get") => given.same("auth-method"),
        _ => {}
    }
    let fields = given.read("auth-response-headers", |text| {
        let fields: Vec<String> = values::list(text).map(str::to_owned).collect();
        trial::filter(ask(AUTH.into(), &url, fields.clone()))?;
        Ok(fields)
    });
    Some(Question { url, fields: fields.unwrap_or_default() })
}

/// The filter that asks an upstream.
pub(in crate::ingress) fn ask(upstream: String, url: &Url, response_headers: Vec<String>) -> FilterSpec {
    let path = Some(url.path.clone());
    FilterSpec::ForwardAuth(ForwardAuthSpec { upstream, path, request_headers: None, response_headers, timeout: None })
}

/// The name of the upstream while it has none.
const AUTH: &str = "auth";

/// A hash that is right, of no password that anybody has.
const GOOD: &str = "$2y$10$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";
