//! Looks for operations with which a cache and a plain map disagree, and for bytes that harm a decoder,
//! with cargo-fuzz.

use std::process::{Command, ExitCode};

use crate::run;
use crate::steps::{Action, Step};

const TARGETS: &[&str] = &["hand", "threads", "entries"];
const SECONDS: &str = "60";

/// `cargo xtask fuzz [hand|threads|entries ..] [--seconds N]`; all targets, if none is named.
pub(crate) fn fuzz(words: &[&str]) -> ExitCode {
    let steps = request(words).and_then(|(targets, seconds)| {
        needs()?;
        Ok(targets.into_iter().map(|target| step(target, seconds)).collect())
    });
    match steps.map(run::run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("xtask: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// The targets and the seconds for each.
fn request<'a>(words: &[&'a str]) -> Result<(Vec<&'a str>, u32), String> {
    let (names, seconds) = match words {
        [names @ .., "--seconds", seconds] => (names, *seconds),
        names => (names, SECONDS),
    };
    let seconds = seconds.parse().map_err(|_| format!("`{seconds}` is no number of seconds"))?;
    match names.iter().find(|name| !TARGETS.contains(name)) {
        Some(unknown) => {
            Err(format!("there is no target `{unknown}`; there are {}", TARGETS.join(", ")))
        }
        None if names.is_empty() => Ok((TARGETS.to_vec(), seconds)),
        None => Ok((names.to_vec(), seconds)),
    }
}

/// The decoder of entries, for a minute, where cargo-fuzz is there. Elsewhere that is said: the same target runs on
/// bytes of a fixed generator there.
pub(crate) fn of_entries() -> Option<Step> {
    let there =
        succeeds("rustc", &["+nightly", "--version"]) && succeeds("cargo", &["fuzz", "--version"]);
    if !there {
        eprintln!(
            "xtask: cargo-fuzz is not here, so entries are not fuzzed; `cargo xtask fuzz` installs it"
        );
    }
    there.then(|| step("entries", 60))
}

/// The nightly toolchain and cargo-fuzz, which is installed if it is missing.
fn needs() -> Result<(), String> {
    if !succeeds("rustc", &["+nightly", "--version"]) {
        return Err("install the nightly toolchain: rustup toolchain install nightly".into());
    }
    if succeeds("cargo", &["fuzz", "--version"])
        || succeeds("cargo", &["install", "--locked", "cargo-fuzz"])
    {
        return Ok(());
    }
    Err("install cargo-fuzz: cargo install --locked cargo-fuzz".into())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// What it finds interesting is kept under `target`, so that the next run goes on from there.
fn step(target: &str, seconds: u32) -> Step {
    let words = format!(
        "cargo +nightly fuzz run --fuzz-dir fuzz --features libfuzzer --target-dir target/fuzz {target} target/fuzz/{target} -- -max_total_time={seconds} -max_len=4096 -artifact_prefix=target/fuzz/{target}-"
    );
    let make = format!("mkdir -p target/fuzz/{target} && {words}");
    let action = Action::Command { words: vec!["sh".into(), "-c".into(), make], variables: vec![] };
    Step { part: "fuzz", name: format!("fuzz {target}"), action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_targets_and_seconds_or_is_told_what_there_is() {
        assert_eq!(request(&[]), Ok((TARGETS.to_vec(), 60)));
        assert_eq!(request(&["hand", "--seconds", "5"]), Ok((vec!["hand"], 5)));
        assert!(request(&["--seconds", "x"]).is_err());
        assert!(request(&["feet"]).is_err_and(|told| told.contains("hand, threads, entries")));
    }
}
