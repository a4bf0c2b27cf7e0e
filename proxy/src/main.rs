//! The program: flags, then one of the commands. Exit codes: 0 good, 1 the answer is no, 2 usage, 3 could not reach.

mod cli;

use std::process::ExitCode;

/// A request makes about 30 small allocations, which this makes cheap; and the memory of connections that have gone
/// goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
