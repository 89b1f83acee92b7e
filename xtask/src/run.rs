//! Runs steps one after another, times them, and sums them up.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::{Action, Step};

/// Set for every step: smaller and faster builds, and the same flags everywhere, so that nothing
/// is built twice.
const VARIABLES: &[(&str, &str)] = &[
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_TERM_COLOR", "never"),
    ("CARGO_TERM_QUIET", "true"),
];

/// Most lines that are shown of a failing step.
const SHOWN: usize = 400;

struct Outcome {
    name: String,
    passed: bool,
    took: Duration,
}

/// Runs all steps, also after one has failed. Whether all passed.
pub(crate) fn run(steps: Vec<Step>) -> bool {
    let count = steps.len();
    let numbered = steps.into_iter().enumerate();
    let outcomes: Vec<_> = numbered.map(|(n, step)| run_one(n + 1, count, step)).collect();
    print!("{}", table(&outcomes));
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    println!("{} passed, {failed} failed", count - failed);
    failed == 0 && count > 0
}

fn run_one(n: usize, count: usize, step: Step) -> Outcome {
    println!("[{n}/{count}] {} ..", step.name);
    let start = Instant::now();
    let (passed, output) = match step.action {
        Action::Command { words, variables } => command(&words, &variables),
        Action::Check(check) => match check() {
            Ok(found) => {
                println!("    {found}");
                (true, String::new())
            }
            Err(wrong) => (false, wrong),
        },
    };
    let took = start.elapsed();
    let word = if passed { "passed" } else { "FAILED" };
    println!("[{n}/{count}] {} {word} after {:.1} s", step.name, took.as_secs_f64());
    if !passed {
        println!("{}", last_lines(&output));
    }
    Outcome { name: step.name, passed, took }
}

fn command(words: &[String], variables: &[(&str, String)]) -> (bool, String) {
    let Some((program, arguments)) = words.split_first() else {
        return (false, "an empty command".into());
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
        .envs(VARIABLES.iter().copied())
        .envs(variables.iter().map(|(name, value)| (name, value)));
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            (output.status.success(), format!("$ {}\n{text}", words.join(" ")))
        }
        Err(error) => (false, format!("{program} did not start: {error}")),
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN);
    let note =
        if skipped > 0 { format!("({skipped} lines before these)\n") } else { String::new() };
    format!("{note}{}", lines[skipped..].join("\n"))
}

fn table(outcomes: &[Outcome]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or(0);
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    let line = |name: &str, word: &str, took: Duration| {
        format!("{name:<width$}  {word:<6}  {:>6.1} s\n", took.as_secs_f64())
    };
    let mut text = String::from("\n");
    for outcome in outcomes {
        let word = if outcome.passed { "passed" } else { "FAILED" };
        text += &line(&outcome.name, word, outcome.took);
    }
    text + &line("all", "", total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_aligns_and_adds_up() {
        let outcome = |name: &str, passed, millis| Outcome {
            name: name.into(),
            passed,
            took: Duration::from_millis(millis),
        };
        let text = table(&[outcome("a", true, 1_500), outcome("long", false, 12_000)]);
        let expected = "\na     passed     1.5 s\nlong  FAILED    12.0 s\nall             13.5 s\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_failing_commands_output_is_kept_and_cut_at_the_front() {
        let words: Vec<_> = ["sh", "-c", "echo out; echo err >&2; exit 3"].map(String::from).into();
        let (passed, output) = command(&words, &[]);
        assert!(!passed && output.contains("out\n") && output.contains("err\n"), "{output}");
        let long: String = (0..500).map(|n| format!("{n}\n")).collect();
        let cut = last_lines(&long);
        assert!(cut.starts_with("(100 lines before these)\n100\n") && cut.ends_with("\n499"));
    }
}
