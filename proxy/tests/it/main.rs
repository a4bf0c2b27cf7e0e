//! Whole-proxy tests: a real Serin in this process, real sockets, endpoints and clients of our own.

#![allow(clippy::disallowed_types, reason = "real sockets in real time")]
#![allow(
    clippy::print_stdout,
    clippy::type_complexity,
    reason = "tables of cases, and figures for whoever reads a failure"
)]

mod support;

mod canary;
mod chromium;
mod connections;
mod deadlines;
mod edge;
mod filters;
mod forwarding;
mod geo;
mod grpc;
mod http2;
mod keepalive;
mod kubernetes;
mod limits;
mod mirror;
mod per_client;
mod proxy_protocol;
mod python;
mod refusals;
mod streaming;
mod tls;
mod upgrade;
mod upstream_http2;
mod upstream_tls;
mod varnishtest;
mod wire_cases;

mod tidy;
mod transfer;

mod docker;
mod docs;

mod reference;

mod access_log;
mod admin;

mod analysis;
mod blame;
mod check;
mod cli;
mod comparison;
mod demo;
mod diff;
mod discovery;
mod drain;
mod environments;
mod etcd;
mod etcd_faults;
mod etcd_mirror;
mod etcd_tls;
mod etcd_transactions;
mod explain;
mod faults;
mod fleet;
mod guard;
mod headroom;
mod health;
mod hedge;
mod listeners;
mod migrate;
mod openapi;
mod overload;
mod preview;
mod register;

mod rejected;
mod release_cli;
mod releases;
mod reload;
mod resilience;
mod rollout;
mod shortage;
mod soak;
mod state;
mod sticky;
mod traffic;
mod webhooks;
