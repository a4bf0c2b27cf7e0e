//! Kubernetes as a source of rules: Ingresses and what Gateway API has become routes, the pods of Services endpoints, and Secrets certificates.
//!
//! [`Source`] follows the API server and tells, as one [`Documents`], what its objects amount to. [`Pods`] knows which pods are behind a
//! Service, and changes with every EndpointSlice, whatever happens to routes; [`Releases`] reads and writes how far canary releases are,
//! and who was told of it.
//! In between, `ingress`, `gateway` and `release` are pure: objects in, rules out, and of the latter two statuses. [`import`]
//! says beforehand what would become of the Ingresses of another controller.

mod addresses;

mod client;

mod conditions;

mod documents;

mod findings;

mod gateway;

mod heard;

pub mod import;

mod ingress;

mod kind;

mod name;

mod objects;

mod options;

mod pods;

mod rejected;

mod release;

mod report;

mod scope;

mod secrets;

mod services;

mod source;

#[cfg(test)]
mod testing;

mod translate;

mod trouble;

mod watch;

pub use client::ClientError;
pub use documents::Documents;
pub use findings::{Finding, Severity};
pub use name::ObjectName;
pub use options::Options;
pub use pods::{Pods, Subscription};
pub use rejected::Rejected;
pub use release::{LastChange, RegisterError, ReleaseStatus, Releases, StoredRelease, definition};
pub use source::{Seen, Source, SourceState, Told, Translated};
