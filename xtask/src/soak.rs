//! `cargo xtask soak`: readers and writers before a Redis server to which everything happens that can.

use std::process::{Command, ExitCode};

use crate::needs;

const SETTINGS: [(&str, &str, &str); 4] = [
    ("--seconds", "SOAK_SECONDS", "600"),
    ("--seed", "SOAK_SEED", "1"),
    ("--reads", "SOAK_READS", "10000"),
    ("--writes", "SOAK_WRITES", "50"),
];

/// Runs the soak test, optimised, for as long as it is told.
pub(crate) fn soak(words: &[&str]) -> ExitCode {
    let settings = match settings(words) {
        Ok(settings) => settings,
        Err(wrong) => return fail(&wrong),
    };
    if let Err(missing) = needs::for_redis() {
        return fail(&missing.to_string());
    }
    // What is promised, and not what a debug build on a busy machine can do.
    let slack = ("SOAK_SLACK", "300".to_owned());
    let test = "test --locked --release -p cache-redis --test soak -- --nocapture";
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(test.split(' ')).envs(settings).envs([slack]);
    match cargo.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn fail(wrong: &str) -> ExitCode {
    eprintln!("xtask: {wrong}");
    ExitCode::from(2)
}

/// The environment that the words ask for.
fn settings(words: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
    let mut all: Vec<_> =
        SETTINGS.iter().map(|(_, name, usual)| (*name, (*usual).to_owned())).collect();
    for pair in words.chunks(2) {
        let [word, number] = pair else { return Err(format!("`{}` needs a number", pair[0])) };
        let at = SETTINGS.iter().position(|(flag, ..)| flag == word);
        let flags = "--seconds, --seed, --reads and --writes";
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
    }
}
