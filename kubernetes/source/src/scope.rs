//! Which objects of a kind are followed.

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

use crate::ObjectName;

/// Which objects of a kind are followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scope {
    /// All there are.
    All,
    /// Those of a namespace.
    Namespace(Box<str>),
    /// This one.
    One(ObjectName),
}

impl Scope {
    /// These namespaces; none stands for all.
    pub(crate) fn of_namespaces(namespaces: &[String]) -> Vec<Self> {
        match namespaces {
            [] => vec![Self::All],
            namespaces => namespaces.iter().map(|namespace| Self::Namespace(namespace.as_str().into())).collect(),
        }
    }

    /// Whether an object is among them.
    pub(crate) fn covers(&self, name: &ObjectName) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => *namespace == name.namespace,
            Self::One(one) => one == name,
        }
    }

    /// Where they are asked for.
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
            Self::One(name) => Api::namespaced(client.clone(), &name.namespace),
        }
    }

    /// Which fields they have.
    pub(crate) fn fields(&self) -> String {
        match self {
            Self::All | Self::Namespace(_) => String::new(),
            Self::One(name) => format!("metadata.name={}", name.name),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::One(name) => name.fmt(f),
        }
    }
}
