//! Counts instructions with valgrind's callgrind: unlike times, they repeat exactly.
//!
//! Valgrind hides the kernel's fast clock from the program, so a reading of the time counts as the
//! few instructions up to the system call.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::needs;

/// What is counted, the function that does it, and what it is called for people.
const LOOPS: &[(&str, &str, &str)] = &[
    ("u64", "hot_u64_loop", "hit, u64 to u64"),
    ("str", "hot_str_loop", "hit, String to Arc<str>"),
    ("put", "put_loop", "put of a key that is there, u64 to u64"),
    ("raw-u64", "raw_u64_loop", "the same of a raw std map, u64 to u64"),
    ("raw-str", "raw_str_loop", "the same of a raw std map, String to Arc<str>"),
];

/// Hits or puts in a run. Two runs are taken, one twice as long: what differs is those alone.
const TIMES: u64 = 50_000;

const BUILD: &[&str] = &[
    "build",
    "--quiet",
    "--locked",
    "--profile=compare",
    "--package=cache-benches",
    "--bin=instructions",
    "--message-format=json",
];

pub(crate) fn count() -> ExitCode {
    match needs::for_instructions().and_then(|()| built()).and_then(|program| count_in(&program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("xtask: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// Builds the program; where it is.
fn built() -> Result<PathBuf, String> {
    let output = Command::new("cargo").args(BUILD).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo did not start: {error}"))?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = messages.lines().filter_map(executable).next_back();
    built.filter(|_| output.status.success()).ok_or_else(|| "the program was not built".into())
}

/// The program that a message of cargo's speaks of.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

fn count_in(program: &PathBuf) -> Result<(), String> {
    for (kind, function, what) in LOOPS {
        let one = collected(program, kind, function, TIMES)?;
        let two = collected(program, kind, function, 2 * TIMES)?;
        println!("{:>7.1}  {what}", two.saturating_sub(one) as f64 / TIMES as f64);
    }
    Ok(())
}

/// Instructions in `function` and whatever it calls.
fn collected(program: &PathBuf, kind: &str, function: &str, reads: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect=*{function}*"));
    command.arg(program).args([kind, &reads.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind did not start: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let count =
        told.lines().find_map(count_of).filter(|count| output.status.success() && *count > 0);
    count.ok_or_else(|| format!("valgrind counted nothing in {function}:\n{told}"))
}

/// The count in a line such as `==123== Collected : 4567`.
fn count_of(line: &str) -> Option<u64> {
    let (_, count) = line.split_once("Collected : ")?;
    count.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_valgrinds_summary() {
        assert_eq!(count_of("==7== Collected : 123456"), Some(123_456));
        assert_eq!(count_of("==7== Events    : Ir"), None);
    }

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let named = executable(r#"{"reason":"compiler-artifact","executable":"/a/b"}"#);
        assert_eq!(named, Some(PathBuf::from("/a/b")));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(executable("no message"), None);
    }
}
