//! Checks that are code of ours rather than a command.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The oldest Rust that the workspace promises to build with.
const PROMISED: (u64, u64) = (1, 89);

/// Texts that would speak of a machine instead of the project; put together here so that this file
/// does not contain them.
const FOREIGN: &[&[&str]] =
    &[&["/wor", "k/"], &["/ro", "ot/"], &["/ho", "me/"], &["index.cra", "tes.io-"]];

/// Every dependency that a user builds says that it builds with the promised Rust. (That our own
/// code does is clippy's `incompatible_msrv`, and a job of the public CI with that very toolchain.)
pub(crate) fn oldest_rust() -> Result<String, String> {
    let metadata = metadata()?;
    let packages = by_id(&metadata["packages"]);
    let reached = dependencies_of_users(&metadata, &packages);
    let newer = |id: &&String| {
        let version = packages[*id]["rust_version"].as_str().and_then(version);
        version.is_some_and(|version| version > PROMISED)
    };
    let newer: Vec<_> = reached.iter().filter(newer).cloned().collect();
    if newer.is_empty() {
        Ok(format!("{} packages build with Rust 1.{}", reached.len(), PROMISED.1))
    } else {
        Err(format!("these need a newer Rust than 1.{}: {}", PROMISED.1, newer.join(", ")))
    }
}

fn metadata() -> Result<Value, String> {
    let words = ["metadata", "--format-version=1", "--locked", "--all-features"];
    let output = Command::new("cargo").args(words).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn by_id(packages: &Value) -> BTreeMap<String, &Value> {
    let packages = packages.as_array().into_iter().flatten();
    packages.filter_map(|package| Some((package["id"].as_str()?.to_owned(), package))).collect()
}

/// Packages reached from the publishable members by other than development dependencies.
fn dependencies_of_users(
    metadata: &Value,
    packages: &BTreeMap<String, &Value>,
) -> BTreeSet<String> {
    let members = metadata["workspace_members"].as_array().into_iter().flatten();
    let members = members.filter_map(Value::as_str);
    let is_published = |id: &&str| packages[*id]["publish"].is_null();
    let mut waiting: Vec<String> = members.filter(is_published).map(String::from).collect();
    let nodes = by_id(&metadata["resolve"]["nodes"]);
    let mut reached = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if reached.insert(id.clone()) {
            let dependencies = nodes[&id]["deps"].as_array().into_iter().flatten();
            waiting.extend(dependencies.filter(is_for_users).filter_map(package_id));
        }
    }
    reached
}

fn is_for_users(dependency: &&Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
    kinds.into_iter().any(|kind| kind["kind"].as_str() != Some("dev"))
}

fn package_id(dependency: &Value) -> Option<String> {
    dependency["pkg"].as_str().map(String::from)
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// No file of the repository names a machine's paths.
pub(crate) fn hygiene() -> Result<String, String> {
    let files = Command::new("git").args(["ls-files", "-z"]).output();
    let files = files.map_err(|error| error.to_string())?.stdout;
    let files = String::from_utf8_lossy(&files).into_owned();
    let files: Vec<_> = files.split('\0').filter(|file| !file.is_empty()).collect();
    let foreign: Vec<String> = FOREIGN.iter().map(|pieces| pieces.concat()).collect();
    let found: Vec<_> = files.iter().flat_map(|file| foreign_in(file, &foreign)).collect();
    if found.is_empty() && !files.is_empty() {
        Ok(format!("{} files", files.len()))
    } else {
        Err(format!("of {} files these speak of a machine: {}", files.len(), found.join(", ")))
    }
}

fn foreign_in(file: &str, foreign: &[String]) -> Vec<String> {
    // What is not text, or was deleted and not yet committed, says nothing.
    let Ok(text) = std::fs::read_to_string(file) else { return vec![] };
    let found = foreign.iter().filter(|word| text.contains(*word));
    found.map(|word| format!("{file} ({word})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("1.89"), Some((1, 89)));
        assert_eq!(version("1.89.1"), Some(PROMISED));
        assert!(version("1.100").unwrap() > PROMISED);
        assert_eq!(version("new"), None);
    }

    #[test]
    fn development_dependencies_are_not_users() {
        let kinds = |kinds: &str| serde_json::from_str::<Value>(kinds).unwrap();
        assert!(is_for_users(&&kinds(r#"{"dep_kinds": [{"kind": null}]}"#)));
        assert!(is_for_users(&&kinds(r#"{"dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}"#)));
        assert!(!is_for_users(&&kinds(r#"{"dep_kinds": [{"kind": "dev"}]}"#)));
    }
}
