//! What is measured: the cases, which number of each is compared, and what one measurement gives.

use std::time::Duration;

use clap::ValueEnum;

use crate::load::Failures;
use crate::peers::{Proxy, Setup};
use crate::usage::Memory;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Case {
    #[value(name = "1k-64")]
    Small,
    #[value(name = "100k-64")]
    Medium,
    #[value(name = "1m-64")]
    Large,
    #[value(name = "1k-1000")]
    Many,
    #[value(name = "100k-1000")]
    ManyMedium,
    #[value(name = "1m-1000")]
    ManyLarge,
    #[value(name = "1k-close")]
    OneEach,
    #[value(name = "p99")]
    Paced,
    #[value(name = "idle")]
    Idle,
    #[value(name = "reload")]
    Reload,
    #[value(name = "tls-1k-64")]
    TlsSmall,
    #[value(name = "tls-100k-64")]
    TlsMedium,
    #[value(name = "tls-full")]
    TlsFull,
    #[value(name = "tls-resumed")]
    TlsResumed,
    #[value(name = "h2-1k")]
    Http2,
    #[value(name = "h2c-1k")]
    Http2Clear,
    #[value(name = "tls-idle")]
    TlsIdle,
    #[value(name = "h2-idle")]
    Http2Idle,
}

/// Which number of a case is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Processor time per request, µs.
    Cpu,
    /// 99th percentile of latency, µs, of the median quarter second.
    P99,
    /// Memory per idle connection, KiB.
    PerConnection,
    /// The p99 with reloads as a multiple of the same proxy's without, just before.
    P99TimesQuiet,
}

impl Case {
    /// As on the command line and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "1k-64",
            Self::Medium => "100k-64",
            Self::Large => "1m-64",
            Self::Many => "1k-1000",
            Self::ManyMedium => "100k-1000",
            Self::ManyLarge => "1m-1000",
            Self::OneEach => "1k-close",
            Self::Paced => "p99",
            Self::Idle => "idle",
            Self::Reload => "reload",
            Self::TlsSmall => "tls-1k-64",
            Self::TlsMedium => "tls-100k-64",
            Self::TlsFull => "tls-full",
            Self::TlsResumed => "tls-resumed",
            Self::Http2 => "h2-1k",
            Self::Http2Clear => "h2c-1k",
            Self::TlsIdle => "tls-idle",
            Self::Http2Idle => "h2-idle",
        }
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Small => "1 KiB, 64 connections",
            Self::Medium => "100 KB, 64 connections",
            Self::Large => "1 MiB, 64 connections",
            Self::Many => "1 KiB, 1,000 connections",
            Self::ManyMedium => "100 KB, 1,000 connections",
            Self::ManyLarge => "1 MiB, 1,000 connections",
            Self::OneEach => "1 KiB, one request per connection, 64 at a time",
            Self::Paced => "1 KiB at 70 % of saturation, 64 connections",
            Self::Idle => "idle keep-alive connections, each after one request",
            Self::Reload => "50 reloads a second under 1 KiB at 70 % of saturation, 64 connections",
            Self::TlsSmall => "TLS 1.3, 1 KiB, 64 connections",
            Self::TlsMedium => "TLS 1.3, 100 KB, 64 connections",
            Self::TlsFull => "TLS 1.3, 1 KiB, a full handshake for every request, 64 at a time",
            Self::TlsResumed => "TLS 1.3, 1 KiB, a handshake with a ticket for every request, 64 at a time",
            Self::Http2 => "HTTP/2 over TLS 1.3, 1 KiB, 16 connections with 32 requests each",
            Self::Http2Clear => "HTTP/2 in clear text, 1 KiB, 16 connections with 32 requests each",
            Self::TlsIdle => "idle connections of TLS 1.3, each after one request",
            Self::Http2Idle => "idle connections of HTTP/2 over TLS 1.3, each after one request",
        }
    }

    #[must_use]
    pub fn figure(self) -> Figure {
        match self {
            Self::Paced => Figure::P99,
            Self::Idle | Self::TlsIdle | Self::Http2Idle => Figure::PerConnection,
            Self::Reload => Figure::P99TimesQuiet,
            _ => Figure::Cpu,
        }
    }

    /// Which configurations it takes.
    #[must_use]
    pub fn setup(self) -> Setup {
        match self {
            Self::TlsSmall
            | Self::TlsMedium
            | Self::TlsFull
            | Self::TlsResumed
            | Self::Http2
            | Self::Http2Clear
            | Self::TlsIdle
            | Self::Http2Idle => Setup::Tls,
            _ => Setup::One,
        }
    }

    /// Why `proxy` is not measured in it, if so.
    #[must_use]
    pub fn leaves_out(self, proxy: Proxy) -> Option<&'static str> {
        match (self.setup(), proxy) {
            // Serin's reloads are compared with Serin without.
            _ if self == Self::Reload && proxy != Proxy::Serin => {
                Some("what others call a reload starts processes and ends connections")
            }
            (Setup::Tls, Proxy::Relay) => Some("forwards bytes in clear text"),
            (Setup::Tls, Proxy::Pingora) => Some("built without TLS here"),
            _ => None,
        }
    }

    /// What is asked for, and the length of the right answer's body.
    pub(crate) fn path(self) -> (&'static str, u64) {
        match self {
            Self::Medium | Self::ManyMedium | Self::TlsMedium => ("/100k", 100_000),
            Self::Large | Self::ManyLarge => ("/1m", 1 << 20),
            _ => ("/1k", 1 << 10),
        }
    }
}

impl Figure {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "processor time per request, µs (user, then system)",
            Self::P99 => "99th percentile of latency, µs, from when a request was due; median of quarter seconds",
            Self::PerConnection => "resident memory per connection, KiB",
            Self::P99TimesQuiet => "99th percentile of latency while reloading, as a multiple of that without reloads",
        }
    }

    /// How much somebody else disturbed what this figure depends on, 0 to 1: latency suffers on either side,
    /// processor time per request only on the proxy's own core.
    #[must_use]
    pub fn disturbance(self, sample: &Sample) -> f64 {
        match self {
            Self::Cpu => sample.disturbance,
            Self::P99 | Self::P99TimesQuiet => sample.disturbance.max(sample.load_disturbance),
            Self::PerConnection => 0.0,
        }
    }

    #[must_use]
    pub fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Cpu => sample.cpu_us(),
            Self::P99 => sample.typical_p99_us,
            Self::PerConnection => sample.per_connection_kib,
            Self::P99TimesQuiet => sample.typical_p99_us / sample.quiet.typical_p99_us.max(f64::MIN_POSITIVE),
        }
    }
}

/// What one measurement gave. Numbers a case does not produce are zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Processor time per request of the proxy, µs.
    pub user_us: f64,
    pub system_us: f64,
    /// Answers per second; with a connection for each, handshakes per second.
    pub rate: f64,
    /// Requests per second that were due (case p99).
    pub offered: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// The median over the window's quarter seconds.
    pub typical_p99_us: f64,
    pub p999_us: f64,
    /// Of the proxy, under load (idle: with the connections open).
    pub memory: Memory,
    pub per_connection_kib: f64,
    /// The same, pages shared with other processes counted in proportion.
    pub per_connection_pss_kib: f64,
    /// The same load without reloads (case reload).
    pub quiet: Quiet,
    pub reloads_per_s: f64,
    pub failures: Failures,
    /// How much of its core the proxy used, 0 to 1.
    pub core_use: f64,
    /// How much of that core somebody else used meanwhile, 0 to 1.
    pub disturbance: f64,
    /// How much of the endpoint's and the generator's cores somebody else used meanwhile, 0 to 1.
    pub load_disturbance: f64,
}

/// What a measurement with reloads is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    pub cpu_us: f64,
    pub typical_p99_us: f64,
}

impl Sample {
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// How long a measurement takes, and how many connections idle.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub warm_up: Duration,
    pub window: Duration,
    pub idle_connections: usize,
    /// How long idle connections are left alone before memory is read.
    pub idle_for: Duration,
}
