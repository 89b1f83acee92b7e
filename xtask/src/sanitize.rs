//! Runs the tests under the nightly toolchain's sanitizers.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::steps::{Action, Step};
use crate::{needs, run};

/// The sanitizers by name.
const SANITIZERS: &[&str] = &["address", "thread"];
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PACKAGES: &[&str] = &["cache-core", "cache-std"];
/// Reads without a lock race with writers, and throw away what they have read.
const THREAD: &str = "-Zsanitizer=thread --cfg cache_locked_reads";

/// What builds the tests.
struct Builder {
    /// Cargo, with what selects its toolchain.
    cargo: &'static str,
    /// More arguments.
    more: &'static str,
    flags: String,
    variables: Vec<(&'static str, String)>,
}

/// `cargo xtask sanitize [address|thread ..]`; both, if none is named.
pub(crate) fn sanitize(names: &[&str]) -> ExitCode {
    let names = if names.is_empty() { SANITIZERS } else { names };
    let steps: Result<Vec<_>, String> = names.iter().map(|name| steps(name)).collect();
    match steps.map(|steps| run::run(steps.into_iter().flatten().collect())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("xtask: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// The steps of a sanitizer, if it is known and has what it needs; else one line that says what is
/// missing.
fn steps(name: &str) -> Result<Vec<Step>, String> {
    let builder = match name {
        "address" => {
            nightly()?;
            nightlys("", "-Zsanitizer=address")
        }
        "thread" => for_threads(&nightly()?)?,
        _ => {
            let known = SANITIZERS.join(", ");
            return Err(format!("there is no sanitizer `{name}`; there are {known}"));
        }
    };
    Ok(PACKAGES.iter().map(|package| step(name, package, &builder)).collect())
}

/// Where the nightly toolchain is.
fn nightly() -> Result<PathBuf, String> {
    let sysroot = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output();
    let sysroot = sysroot.ok().filter(|output| output.status.success());
    let sysroot =
        sysroot.ok_or("install the nightly toolchain: rustup toolchain install nightly")?;
    Ok(String::from_utf8_lossy(&sysroot.stdout).trim().into())
}

fn nightlys(more: &'static str, flags: &str) -> Builder {
    Builder { cargo: "cargo +nightly", more, flags: flags.into(), variables: vec![] }
}

/// ThreadSanitizer sees only what it has instrumented, so the standard library is built with it:
/// without that every lock and every `Arc` looks like a race. Its source is a component of nightly's
/// that may be missing; a compiler of the system's, with a source of its own, does as well.
fn for_threads(nightly: &Path) -> Result<Builder, String> {
    if nightly.join("lib/rustlib/src/rust/library/Cargo.toml").exists() {
        return Ok(nightlys(" -Zbuild-std", THREAD));
    }
    let runtime = format!("lib/rustlib/{TARGET}/lib/librustc-nightly_rt.tsan.a");
    let runtime = nightly.join(runtime);
    if runtime.exists() && needs::for_systems_rust().is_ok() {
        return Ok(systems(&runtime));
    }
    let command = "rustup component add rust-src --toolchain nightly";
    Err(format!("the thread sanitizer needs the library's source: {command}"))
}

/// The system's compiler, which may lack the sanitizer's runtime and is given nightly's. That is
/// linked after the C library's own and asks for some more of it, and for old names that can be
/// called but not linked against any more: nobody calls them.
fn systems(runtime: &Path) -> Builder {
    let runtime = runtime.display().to_string();
    let whole = ["-Wl,--whole-archive", &runtime, "-Wl,--no-whole-archive"];
    let rest = ["-lm", "-lpthread", "-ldl", "-lc", "-Wl,--unresolved-symbols=ignore-all"];
    let link = whole.iter().chain(&rest).map(|word| format!(" -Clink-arg={word}"));
    let path = std::env::var("PATH").unwrap_or_default();
    Builder {
        cargo: "/usr/bin/cargo",
        more: " -Zbuild-std",
        flags: format!("{THREAD} -Zexternal-clangrt{}", link.collect::<String>()),
        variables: vec![
            ("PATH", format!("/usr/bin:{path}")),
            ("RUSTC", "/usr/bin/rustc".into()),
            ("RUSTC_BOOTSTRAP", "1".into()),
        ],
    }
}

fn step(name: &str, package: &str, builder: &Builder) -> Step {
    let Builder { cargo, more, flags, variables } = builder;
    let words = format!(
        "{cargo} test --release{more} --target {TARGET} --target-dir target/{name} -p {package} --all-features --lib --tests"
    );
    let words = words.split(' ').map(String::from).collect();
    let flags = [("RUSTFLAGS", flags.clone())];
    let variables = variables.iter().cloned().chain(flags).collect();
    let action = Action::Command { words, variables };
    Step { part: "sanitize", name: format!("{package} under the {name} sanitizer"), action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_sanitizer_is_told_with_those_there_are() {
        let wrong = steps("leaks").err().unwrap();
        assert!(wrong.contains("`leaks`") && wrong.contains("address, thread"), "{wrong}");
    }

    #[test]
    fn the_systems_compiler_is_given_the_runtime_and_comes_first() {
        let builder = systems(Path::new("/some/tsan.a"));
        assert!(builder.flags.starts_with(THREAD), "{}", builder.flags);
        assert!(builder.flags.contains("-Clink-arg=/some/tsan.a -Clink-arg=-Wl,--no-whole"));
        let Action::Command { words, variables } = step("thread", "p", &builder).action else {
            panic!("a sanitizer's step is a command");
        };
        assert_eq!(words[..3], ["/usr/bin/cargo", "test", "--release"]);
        assert!(words.iter().any(|word| word == "-Zbuild-std"));
        let path = variables.iter().find(|(name, _)| *name == "PATH").unwrap();
        assert!(path.1.starts_with("/usr/bin:"));
    }
}
