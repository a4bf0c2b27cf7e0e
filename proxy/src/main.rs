//! The program: flags, then one of the commands. Exit codes: 0 good, 1 the answer is no, 2 usage, 3 could not reach.

mod cli;

use std::process::ExitCode;

/// Measured against the system's: see `benches/README.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
