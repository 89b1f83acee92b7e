//! Measures the cache next to others. The flags are those of the program that does.

use std::process::{Command, ExitCode};

const RUN: &[&str] = &[
    "run",
    "--quiet",
    "--locked",
    "--profile=compare",
    "--package=cache-benches",
    "--features=peers",
    "--bin=compare",
    "--",
];

pub(crate) fn compare(flags: &[&str]) -> ExitCode {
    match Command::new("cargo").args(RUN).args(flags).status() {
        // Its own exit code tells a wrong flag from a failure.
        Ok(status) => status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)),
        Err(error) => {
            eprintln!("xtask: cargo did not start: {error}");
            ExitCode::FAILURE
        }
    }
}
