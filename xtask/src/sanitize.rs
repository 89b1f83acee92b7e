//! Runs the tests under the nightly toolchain's sanitizers.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::run;
use crate::steps::{Action, Step};

/// The sanitizers by name. ThreadSanitizer sees only what it has instrumented, so the standard
/// library is built with it: without that every lock and every `Arc` looks like a race.
const SANITIZERS: &[&str] = &["address", "thread"];
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PACKAGES: &[&str] = &["cache-core", "cache-std"];

/// `cargo xtask sanitize [address|thread ..]`; both, if none is named.
pub(crate) fn sanitize(names: &[&str]) -> ExitCode {
    let names = if names.is_empty() { SANITIZERS } else { names };
    if let Err(wrong) = names.iter().try_for_each(|name| check(name)) {
        eprintln!("xtask: {wrong}");
        return ExitCode::from(2);
    }
    let steps = names.iter().flat_map(|name| PACKAGES.iter().map(|package| step(name, package)));
    if run::run(steps.collect()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a sanitizer is known and has what it needs; else one line that says what is missing.
fn check(name: &str) -> Result<(), String> {
    if !SANITIZERS.contains(&name) {
        return Err(format!("there is no sanitizer `{name}`; there are {}", SANITIZERS.join(", ")));
    }
    let sysroot = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output();
    let sysroot = sysroot.ok().filter(|output| output.status.success());
    let Some(sysroot) = sysroot else {
        return Err("install the nightly toolchain: rustup toolchain install nightly".into());
    };
    let sysroot = String::from_utf8_lossy(&sysroot.stdout);
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.toml");
    if name == "thread" && !library.exists() {
        let command = "rustup component add rust-src --toolchain nightly";
        return Err(format!("the thread sanitizer needs the library's source: {command}"));
    }
    Ok(())
}

fn step(name: &str, package: &str) -> Step {
    let build_std = if name == "thread" { " -Zbuild-std" } else { "" };
    let words = format!(
        "cargo +nightly test --release{build_std} --target {TARGET} --target-dir target/{name} -p {package} --all-features --lib --tests"
    );
    // Reads without a lock race with writers, and throw away what they have read.
    let thread = "-Zsanitizer=thread --cfg cache_locked_reads";
    let flags = if name == "thread" { thread } else { "-Zsanitizer=address" };
    let words = words.split(' ').map(String::from).collect();
    let action = Action::Command { words, variables: vec![("RUSTFLAGS", flags)] };
    Step { part: "sanitize", name: format!("{package} under the {name} sanitizer"), action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_sanitizer_is_told_with_those_there_are() {
        let wrong = check("leaks").unwrap_err();
        assert!(wrong.contains("`leaks`") && wrong.contains("address, thread"), "{wrong}");
    }
}
