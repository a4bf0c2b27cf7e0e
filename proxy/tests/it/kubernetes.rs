//! Ingresses of a cluster, from the objects to the requests that pods get.

mod annotations;
mod faults;
mod gateways;
mod ingresses;
mod pods;
mod releases;
mod statuses;
