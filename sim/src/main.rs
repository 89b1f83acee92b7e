//! `cache-sim help` tells what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    cache_sim::commands::run(std::env::args().skip(1))
}
