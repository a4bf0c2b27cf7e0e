//! Serin side by side with other reverse proxies: one machine, one run, the same endpoint and the same load.
//!
//! The programs are in `src/bin`; `side-by-side` runs the others. Modules in the order a measurement meets them:
//! a proxy is found and configured (`peers`), started on its core (`process`), loaded (`load`) or asked one thing after the
//! other (`client`), perhaps over TLS (`tls`), and perhaps given other rules meanwhile (`reload`), watched (`usage`); `measure` does one of these, `cases` says which there are,
//! and what came out is compared (`compare`) and written down (`report`, `plot`). `scenario` uses the same for another
//! question: what users see while an endpoint misbehaves (`faulty`); `overload` for a third: while they ask for too much;
//! `etcd` for a fourth: how soon a key that changes is served; `attacks` for a fifth: while others mean harm; `kubernetes` for a
//! sixth: what a cluster of thousands of objects takes.
//!
//! Nothing here speaks to anything but 127.0.0.0/8, and everything started is ended by its process id.

pub mod args;
pub mod cases;
pub mod measure;
pub mod peers;
pub mod process;

pub mod admin;
pub mod client;
pub mod faulty;
pub mod load;
pub mod reload;
pub mod tls;
pub mod usage;

pub mod scenario;

pub mod overload;

pub mod attacks;

pub mod etcd;

pub mod kubernetes;

pub mod compare;
pub mod plot;
pub mod report;

pub mod http;
pub mod machine;
pub mod poll;
pub mod random;
