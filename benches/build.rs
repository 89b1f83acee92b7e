//! Tells the program which compiler built it.

use std::process::Command;

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("-V").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    println!("cargo::rustc-env=COMPILER={}", version.unwrap_or_default().trim());
    println!("cargo::rerun-if-changed=build.rs");
}
