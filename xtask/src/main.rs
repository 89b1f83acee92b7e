//! Developer commands. `cargo xtask test` runs everything that must pass.

mod checks;
mod compare;
mod fuzz;
mod instructions;
mod needs;
mod run;
mod sanitize;
mod soak;
mod steps;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", parts @ ..] => test(parts),
        ["compare", flags @ ..] => compare::compare(flags),
        ["instructions"] => instructions::count(),
        ["fuzz", words @ ..] => fuzz::fuzz(words),
        ["soak", words @ ..] => soak::soak(words),
        ["sanitize", names @ ..] => sanitize::sanitize(names),
        ["help" | "--help" | "-h"] | [] => {
            help();
            ExitCode::SUCCESS
        }
        [other, ..] => {
            eprintln!("xtask: there is no command `{other}`; see `cargo xtask help`");
            ExitCode::from(2)
        }
    }
}

fn help() {
    println!("cargo xtask test [PART ..]   run everything that must pass, or parts of it");
    println!("                             parts: {}", steps::PARTS.join(", "));
    println!("cargo xtask compare [..]     measure next to other caches; see `compare --help`");
    println!("cargo xtask instructions     count the instructions of a hit with valgrind");
    println!(
        "cargo xtask sanitize [..]    run the tests under nightly's sanitizers: address, thread"
    );
    println!("cargo xtask fuzz [..]        look for bytes that go wrong: hand, threads, entries");
    println!(
        "cargo xtask soak [..]        ten minutes of trouble with a Redis server, while others read"
    );
    println!(
        "cargo xtask soak --locks N   so many locks held while a Redis server dies, and checked"
    );
    println!("cargo xtask help             this text");
}

fn test(parts: &[&str]) -> ExitCode {
    if let Some(unknown) = parts.iter().find(|part| !steps::PARTS.contains(part)) {
        let known = steps::PARTS.join(", ");
        eprintln!("xtask: there is no part `{unknown}`; the parts are {known}");
        return ExitCode::from(2);
    }
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let with_redis = steps::WITH_REDIS.iter().any(|part| wanted(part));
    let redis = || if with_redis { needs::for_redis() } else { Ok(()) };
    if let Err(missing) = needs::for_tests().and_then(|()| redis()) {
        eprintln!("xtask: {missing}");
        return ExitCode::from(2);
    }
    let steps = steps::all().into_iter().filter(|step| wanted(step.part)).collect();
    if run::run(steps) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
