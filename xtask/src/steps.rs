//! The steps, as data.

use crate::checks;

/// The names by which parts can be run alone, in the order in which they run.
pub(crate) const PARTS: &[&str] = &[
    "lints", "core", "std", "tokio", "redis", "models", "facade", "benches", "no-std", "docs",
    "deps", "tour", "examples", "sim", "fuzz",
];

/// One thing that must pass.
pub(crate) struct Step {
    pub(crate) part: &'static str,
    pub(crate) name: String,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    /// A command, with variables set for it alone.
    Command { words: Vec<String>, variables: Vec<(&'static str, String)> },
    /// A check in this program: what it found, or what is wrong.
    Check(fn() -> Result<String, String>),
}

/// `cache-core`'s features, one by one; "" is none of them.
const CORE_FEATURES: &[&str] = &[
    "",
    "alloc",
    "hashbrown",
    "heapless",
    "sets",
    "embassy-time",
    "spin",
    "serde",
    "conformance",
    "envelope",
    "json",
    "messagepack",
    "postcard",
    "protobuf",
    "lz4",
    "zstd",
];

/// Features of the facade that are built alone; "" is none of them.
const FACADE_FEATURES: &[&str] = &[
    "",
    "heapless",
    "hashbrown",
    "std",
    "tokio",
    "redis",
    "chaos",
    "json",
    "messagepack",
    "postcard",
    "protobuf",
    "lz4",
    "zstd",
];

/// The parts that start Redis servers.
pub(crate) const WITH_REDIS: &[&str] = &["redis", "examples"];

/// Packages that are linted, documented and tested as a whole.
const LIBRARIES: &[&str] =
    &["cache-core", "cache-std", "cache-tokio", "cache-redis", "advanced-caching"];

/// Every step, in order.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = lints();
    steps.extend(core());
    steps.extend(std());
    steps.extend(tokio());
    steps.extend(redis());
    steps.extend(models());
    steps.extend(facade());
    steps.extend(benches());
    steps.extend(no_std());
    steps.extend(docs());
    steps.extend(deps());
    steps.push(command("tour", "the tour", "cargo run --locked --release --example tour"));
    steps.extend(examples());
    steps.extend(sim());
    steps.extend(fuzz());
    steps
}

fn lints() -> Vec<Step> {
    let mut steps = vec![command("lints", "formatting", "cargo fmt --all --check")];
    for package in LIBRARIES.iter().chain(&["xtask"]) {
        let words = format!(
            "cargo clippy --locked -p {package} --all-targets --all-features -- -D warnings"
        );
        steps.push(command("lints", &format!("clippy {package}"), &words));
    }
    for features in CORE_FEATURES {
        let words = format!(
            "cargo clippy --locked -p cache-core --no-default-features --features={features} -- -D warnings"
        );
        steps.push(command("lints", &format!("clippy cache-core [{features}]"), &words));
    }
    steps
}

fn core() -> Vec<Step> {
    let mut steps = vec![];
    for features in CORE_FEATURES {
        let set = format!("-p cache-core --no-default-features --features={features}");
        let name = format!("cache-core [{features}] builds");
        steps.push(command("core", &name, &format!("cargo build --locked {set}")));
        let name = format!("cache-core [{features}] tests");
        let words = format!("cargo test --locked {set} --lib --tests");
        steps.push(command("core", &name, &words));
    }
    let all = "cargo test --locked -p cache-core --all-features";
    steps.push(command("core", "cache-core [all] tests", &format!("{all} --lib --tests")));
    steps.push(command("core", "cache-core [all] doc tests", &format!("{all} --doc")));
    steps
}

fn std() -> Vec<Step> {
    let all = "cargo test --locked -p cache-std --all-features";
    vec![
        command("std", "cache-std tests", &format!("{all} --lib --tests")),
        command("std", "cache-std doc tests", &format!("{all} --doc")),
    ]
}

fn tokio() -> Vec<Step> {
    let test = "cargo test --locked -p cache-tokio";
    vec![
        command("tokio", "cache-tokio tests", &format!("{test} --lib --tests")),
        command("tokio", "cache-tokio [tracing] tests", &format!("{test} --all-features --tests")),
        command("tokio", "cache-tokio doc tests", &format!("{test} --doc")),
    ]
}

/// Against servers that the tests start themselves.
fn redis() -> Vec<Step> {
    let mut steps: Vec<_> = ["", "json", "cluster", "sentinel", "tls"]
        .iter()
        .map(|features| {
            let words = format!(
                "cargo clippy --locked -p cache-redis --no-default-features --features={features} -- -D warnings"
            );
            command("redis", &format!("clippy cache-redis [{features}]"), &words)
        })
        .collect();
    let test = "cargo test --locked -p cache-redis --all-features";
    steps.push(command("redis", "cache-redis tests", &format!("{test} --lib --tests")));
    steps.push(command("redis", "cache-redis doc tests", &format!("{test} --doc")));
    steps
}

/// Locks, flights and waits under schedulers that try many interleavings, and reads without a lock
/// under a model of memory that tries many orders; in target folders of their own, since the flags would rebuild everything
/// else.
fn models() -> Vec<Step> {
    let test = "cargo test --locked -p cache-std --lib models:: --target-dir";
    let model = |name, folder, flags: &str| {
        let mut step = command("models", name, &format!("{test} {folder}"));
        if let Action::Command { variables, .. } = &mut step.action {
            variables.push(("RUSTFLAGS", flags.into()));
        }
        step
    };
    vec![
        model("interleavings of locks, flights and waits", "target/shuttle", "--cfg shuttle"),
        model("orders of reads without a lock", "target/loom", "--cfg loom"),
    ]
}

fn facade() -> Vec<Step> {
    let mut steps: Vec<_> = FACADE_FEATURES
        .iter()
        .map(|features| {
            let words = format!(
                "cargo build --locked -p advanced-caching --no-default-features --features={features}"
            );
            command("facade", &format!("advanced-caching [{features}] builds"), &words)
        })
        .collect();
    let all = "cargo test --locked -p advanced-caching";
    steps.push(command("facade", "scenarios", &format!("{all} --lib --tests")));
    steps.push(command("facade", "README and doc tests", &format!("{all} --doc")));
    steps.push(command("facade", "xtask tests", "cargo test --locked -p xtask"));
    steps
}

/// Without the peers, which take long to build.
fn benches() -> Vec<Step> {
    let lint = "cargo clippy --locked -p cache-benches --all-targets -- -D warnings";
    let test = "cargo test --locked -p cache-benches --lib";
    vec![
        command("benches", "clippy cache-benches", lint),
        command("benches", "cache-benches tests", test),
    ]
}

fn no_std() -> Vec<Step> {
    let run = "cargo run --locked --release --manifest-path tests/no-std/Cargo.toml";
    vec![
        command("no-std", "a binary without std and heap", run),
        command("no-std", "a binary without std, with a heap", &format!("{run} --features heap")),
        command("no-std", "the same, with codecs", &format!("{run} --features codecs")),
    ]
}

fn docs() -> Vec<Step> {
    let packages: String = LIBRARIES.iter().map(|package| format!(" -p {package}")).collect();
    let words =
        format!("cargo doc --locked --no-deps --all-features --document-private-items{packages}");
    let mut step = command("docs", "documentation", &words);
    if let Action::Command { variables, .. } = &mut step.action {
        variables.push(("RUSTDOCFLAGS", "-D warnings".into()));
    }
    vec![step]
}

fn deps() -> Vec<Step> {
    let check =
        |name: &str, check| Step { part: "deps", name: name.into(), action: Action::Check(check) };
    vec![
        check("oldest Rust of the dependencies", checks::oldest_rust),
        check("the repository speaks of the project alone", checks::hygiene),
    ]
}

/// They check their own promises.
fn examples() -> Vec<Step> {
    let run = |name| command("examples", name, &format!("cargo run --locked --example {name}"));
    ["file_store", "config_reload", "encrypted", "hybrid", "distributed_lock"].map(run).into()
}

/// The targets on bytes of a fixed generator; `cargo xtask fuzz` looks for worse ones.
fn fuzz() -> Vec<Step> {
    let lint = "cargo clippy --locked -p cache-fuzz --lib --tests -- -D warnings";
    let mut steps = vec![
        command("fuzz", "clippy cache-fuzz", lint),
        command("fuzz", "cache-fuzz tests", "cargo test --locked -p cache-fuzz --lib"),
    ];
    steps.extend(crate::fuzz::of_entries());
    steps
}

/// Without the feature that brings other people's caches: they take long to build.
fn sim() -> Vec<Step> {
    let set = "--locked -p cache-sim --no-default-features";
    let clippy = format!("cargo clippy {set} --all-targets -- -D warnings");
    let program = format!("cargo run {set} --");
    let generate = format!("{program} generate --kind zipf --keys 1000 --requests 20000");
    let replay = format!("{program} replay --trace - --capacity 1%,10%");
    let nodes = format!("cargo run --release {set} -- nodes --count 10000");
    let mut run = command("sim", "a replay of a generated trace", "sh -c");
    if let Action::Command { words, .. } = &mut run.action {
        words.push(format!("{generate} | {replay}"));
    }
    vec![
        command("sim", "clippy cache-sim", &clippy),
        command("sim", "cache-sim tests", &format!("cargo test {set}")),
        command("sim", "10,000 seeds of processes before a store", &nodes),
        run,
    ]
}

fn command(part: &'static str, name: &str, words: &str) -> Step {
    let words = words.split(' ').map(String::from).collect();
    Step { part, name: name.into(), action: Action::Command { words, variables: vec![] } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_belongs_to_a_part_and_every_part_has_steps() {
        let steps = all();
        assert!(steps.iter().all(|step| PARTS.contains(&step.part)));
        assert!(PARTS.iter().all(|part| steps.iter().any(|step| step.part == *part)));
    }

    #[test]
    fn no_feature_of_the_core_is_left_out() {
        let manifest = include_str!("../../cache-core/Cargo.toml");
        let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
        let named = features.lines().filter(|line| !line.starts_with('#'));
        let named = named.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
        let missing: Vec<_> =
            named.filter(|name| *name != "default" && !CORE_FEATURES.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?} are not built alone");
    }
}
