//! `cargo xtask soak`: readers and writers before a Redis server to which everything happens that can; or, with `--locks`,
//! a history of so many locks.

use std::process::{Command, ExitCode};

use crate::needs;

const SETTINGS: [(&str, &str, &str); 4] = [
    ("--seconds", "SOAK_SECONDS", "600"),
    ("--seed", "SOAK_SEED", "1"),
    ("--reads", "SOAK_READS", "10000"),
    ("--writes", "SOAK_WRITES", "50"),
];

/// What is run, and with which environment.
type Run = (&'static str, Vec<(&'static str, String)>);

/// Runs the soak test, optimised, for as long as it is told, or the checker of lock histories.
pub(crate) fn soak(words: &[&str]) -> ExitCode {
    let (test, settings) = match run_of(words) {
        Ok(run) => run,
        Err(wrong) => return fail(&wrong),
    };
    if let Err(missing) = needs::for_redis() {
        return fail(&missing.to_string());
    }
    // What is promised, and not what a debug build on a busy machine can do.
    let slack = ("SOAK_SLACK", "300".to_owned());
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args("test --locked --release -p cache-redis --test".split(' '));
    cargo.args([test, "--", "--nocapture"]).envs(settings).envs([slack]);
    match cargo.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn fail(wrong: &str) -> ExitCode {
    eprintln!("xtask: {wrong}");
    ExitCode::from(2)
}

fn run_of(words: &[&str]) -> Result<Run, String> {
    match words {
        ["--locks", number] => match number.parse::<u64>() {
            Ok(1..) => Ok(("history", vec![("HISTORY_LOCKS", (*number).to_owned())])),
            _ => Err(format!("`{number}` is no number of locks")),
        },
        words => Ok(("soak", settings(words)?)),
    }
}

/// The environment that the words ask for.
fn settings(words: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
    let mut all: Vec<_> =
        SETTINGS.iter().map(|(_, name, usual)| (*name, (*usual).to_owned())).collect();
    for pair in words.chunks(2) {
        let [word, number] = pair else { return Err(format!("`{}` needs a number", pair[0])) };
        let at = SETTINGS.iter().position(|(flag, ..)| flag == word);
        let flags = "--seconds, --seed, --reads and --writes, or --locks alone";
        let at = at.ok_or_else(|| format!("`soak` knows {flags}, and not `{word}`"))?;
        number.parse::<u64>().map_err(|_| format!("`{number}` is no number"))?;
        all[at].1 = (*number).to_owned();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_usual() {
        let settings = settings(&["--seconds", "30"]).unwrap();
        assert_eq!(settings[0], ("SOAK_SECONDS", "30".to_owned()));
        assert_eq!(settings[1], ("SOAK_SEED", "1".to_owned()));
        for wrong in [&["--seconds"][..], &["--second", "1"], &["--seed", "x"]] {
            assert!(super::settings(wrong).is_err());
        }
        let (test, settings) = run_of(&["--locks", "7"]).unwrap();
        assert_eq!((test, settings), ("history", vec![("HISTORY_LOCKS", "7".to_owned())]));
        assert!(run_of(&["--locks", "0"]).is_err() && run_of(&["--locks"]).is_err());
    }
}
