//! What the steps need on a machine: looked for, installed where that can be done, else named.

use std::path::Path;
use std::process::{Command, Stdio};

/// Something that a step needs.
struct Need {
    what: &'static str,
    /// Succeeds when it is there.
    probe: &'static [&'static str],
    /// Debian's packages that bring it.
    packages: &'static [&'static str],
    /// The rustup component that brings it.
    component: Option<&'static str>,
}

/// What `cargo xtask test` needs.
const TEST: &[Need] = &[
    Need {
        what: "a C compiler (for the bundled SQLite of the tour)",
        probe: &["cc", "--version"],
        packages: &["gcc", "libc6-dev"],
        component: None,
    },
    Need {
        what: "rustfmt",
        probe: &["cargo", "fmt", "--version"],
        packages: &[],
        component: Some("rustfmt"),
    },
    Need {
        what: "clippy",
        probe: &["cargo", "clippy", "--version"],
        packages: &[],
        component: Some("clippy"),
    },
    Need { what: "git", probe: &["git", "--version"], packages: &["git"], component: None },
];

/// What the tests of `cache-redis`, and some examples, start servers of.
const REDIS: Need = Need {
    what: "redis-server (for the tests of cache-redis, and examples)",
    probe: &["redis-server", "--version"],
    packages: &["redis-server"],
    component: None,
};

const VALGRIND: Need = Need {
    what: "valgrind",
    probe: &["valgrind", "--version"],
    packages: &["valgrind", "libc6-dbg"],
    component: None,
};

/// A compiler of the system's that comes with the standard library's source.
const SYSTEMS_RUST: Need = Need {
    what: "a Rust compiler in /usr/bin with its library's source",
    probe: &[
        "sh",
        "-c",
        "/usr/bin/cargo --version && ls $(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std",
    ],
    packages: &["rustc-web", "cargo-web", "rust-web-src"],
    component: None,
};

/// Sees to it that everything is there that the tests need.
///
/// # Errors
/// One line that says what to install.
pub(crate) fn for_tests() -> Result<(), String> {
    TEST.iter().try_for_each(provide)
}

/// Sees to it that tests and examples can start Redis servers.
///
/// # Errors
/// One line that says what to install.
pub(crate) fn for_redis() -> Result<(), String> {
    provide(&REDIS)
}

/// Sees to it that instructions can be counted.
///
/// # Errors
/// One line that says what to install.
pub(crate) fn for_instructions() -> Result<(), String> {
    provide(&VALGRIND)
}

/// Sees to it that the standard library can be built by the system's compiler.
///
/// # Errors
/// One line that says what to install.
pub(crate) fn for_systems_rust() -> Result<(), String> {
    provide(&SYSTEMS_RUST)
}

fn provide(need: &Need) -> Result<(), String> {
    if works(need.probe) {
        return Ok(());
    }
    eprintln!("xtask: {} is missing; trying to install it", need.what);
    install(need);
    if works(need.probe) { Ok(()) } else { Err(advice(need)) }
}

fn install(need: &Need) {
    if let Some(component) = need.component {
        works(&["rustup", "component", "add", component]);
    }
    if !need.packages.is_empty() && is_debian_root() {
        works(&["apt-get", "update"]);
        let mut command = vec!["apt-get", "install", "-y", "--no-install-recommends"];
        command.extend(need.packages);
        works(&command);
    }
}

fn advice(need: &Need) -> String {
    match (need.component, need.packages) {
        (Some(component), _) => {
            format!("{} is needed: run `rustup component add {component}`", need.what)
        }
        (None, packages) => {
            format!("{} is needed: install {} (Debian's names)", need.what, packages.join(" and "))
        }
    }
}

fn is_debian_root() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    root && Path::new("/etc/debian_version").exists()
}

/// Runs a command without showing it; whether it succeeded.
fn works(command: &[&str]) -> bool {
    let [program, arguments @ ..] = command else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_what_brings_it() {
        let need = Need {
            what: "a tool",
            probe: &["no-such-program-anywhere"],
            packages: &["tool", "tool-dev"],
            component: None,
        };
        assert!(!works(need.probe));
        assert_eq!(advice(&need), "a tool is needed: install tool and tool-dev (Debian's names)");
        assert!(works(&["true"]) && !works(&["false"]));
    }
}
