//! Paths of Ingresses.

use k8s_openapi::api::networking::v1::HTTPIngressPath;

use super::Path;

/// How a path must look. One whose kind is left to the implementation is a prefix.
///
/// # Errors
/// Its kind is none.
pub(super) fn path(path: &HTTPIngressPath) -> Result<Path, String> {
    let text = path.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    match path.path_type.as_str() {
        "Exact" => Ok(Path::Exact(text.into())),
        "Prefix" | "ImplementationSpecific" => Ok(prefix(text)),
        other => Err(format!("pathType: `{other}` is neither Exact, Prefix nor ImplementationSpecific")),
    }
}

/// A prefix is of whole segments: `/a/` has what `/a` has.
pub(super) fn prefix(path: &str) -> Path {
    Path::Prefix(match path.trim_end_matches('/') {
        "" => "/".into(),
        path => path.into(),
    })
}
