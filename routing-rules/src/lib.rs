//! The brain of Serin: everything that is decided, and nothing that is done.
//!
//! No I/O, no clock, no randomness, no globals: time, draws and counters are arguments. So every decision can
//! be simulated, fuzzed and property-tested alone, and two instances that are told the same decide the same.
//!
//! The crate reads like a compiler: [`spec`] (what operators write) ─▶ [`rules`] (what is valid) ─▶
//! [`table`] (what is fast). A request is seen only through [`request::RequestView`].
//!
//! ```
//! use http::{HeaderMap, Method};
//! use routing_rules::release::ReleaseContext;
//! use routing_rules::request::RequestView;
//! use routing_rules::rules::RuleSet;
//! use routing_rules::spec::{RouteSpec, Spec, UpstreamSpec};
//! use routing_rules::table::RouteTable;
//!
//! let mut spec = Spec::default();
//! spec.routes.insert("shop".into(), RouteSpec {
//!     hosts: vec!["shop.example.com".into()],
//!     upstream: Some("shop".into()),
//!     ..RouteSpec::default()
//! });
//! spec.upstreams.insert("shop".into(), UpstreamSpec { endpoints: vec![], ..UpstreamSpec::default() });
//!
//! let (rules, problems) = RuleSet::from_spec(&spec);
//! assert!(problems.is_empty());
//! let table = RouteTable::compile(&rules, &ReleaseContext::default());
//!
//! let headers = HeaderMap::new();
//! let request = RequestView::new(&Method::GET, "shop.example.com", "/cart", &headers, [192, 0, 2, 1].into());
//! assert_eq!(table.find(&request).unwrap().route().name().as_str(), "shop");
//! ```
#![warn(missing_docs)]

pub mod analysis;
pub mod balance;
pub mod breaker;
pub mod discovery;
pub mod health;
pub mod limit;
pub mod release;
pub mod request;
pub mod retry;
pub mod rules;
pub mod spec;
pub mod table;

mod error;

pub use error::RuleError;
