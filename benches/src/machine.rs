//! On what the measurements ran, and with which versions.

use std::fs;

/// The lock file that this program was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Processor, cores, kernel and compiler, in one line.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = match kernel.trim() {
        "" => std::env::consts::OS.to_owned(),
        release => format!("{} {release}", std::env::consts::OS),
    };
    format!("{}, {cores} cores, {kernel}, {}", processor(), env!("COMPILER"))
}

fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The versions of these crates, in one line; those that are not dependencies are left out.
pub fn versions(crates: &[&str]) -> String {
    let told = crates.iter().filter_map(|name| Some(format!("{name} {}", version(LOCK, name)?)));
    told.collect::<Vec<_>>().join(", ")
}

/// The version of a direct dependency of this package.
fn version(lock: &str, name: &str) -> Option<String> {
    let ours = package(lock, "cache-benches")?;
    // Where the lock file has several versions, the dependency says which of them.
    let entries = ours.lines().map(|line| line.trim().trim_end_matches(',').trim_matches('"'));
    let entry = entries.into_iter().find(|entry| entry.split(' ').next() == Some(name))?;
    match entry.split_once(' ') {
        Some((_, version)) => Some(version.to_owned()),
        None => {
            let found = package(lock, name)?;
            let line = found.lines().find_map(|line| line.strip_prefix("version = "))?;
            Some(line.trim_matches('"').to_owned())
        }
    }
}

fn package<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let line = format!("name = \"{name}\"");
    lock.split("[[package]]").find(|package| package.lines().any(|other| other == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
[[package]]
name = "map"
version = "5.0.0"

[[package]]
name = "map"
version = "7.0.0-rc2"

[[package]]
name = "cache-benches"
version = "0.0.0"
dependencies = [
 "map 7.0.0-rc2",
 "other",
]

[[package]]
name = "other"
version = "1.2.3"
"#;

    #[test]
    fn the_version_is_the_one_that_is_used() {
        assert_eq!(version(SAMPLE, "map").as_deref(), Some("7.0.0-rc2"));
        assert_eq!(version(SAMPLE, "other").as_deref(), Some("1.2.3"));
        assert_eq!(version(SAMPLE, "absent"), None);
    }

    #[test]
    fn our_own_lock_file_is_understood() {
        let told = versions(&["serde_json", "nothing-of-this-name"]);
        assert!(told.starts_with("serde_json 1.") && !told.contains(','), "{told}");
        assert!(describe().contains(env!("COMPILER")) && env!("COMPILER").starts_with("rustc "));
    }
}
