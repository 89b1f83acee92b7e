//! The binary starts at the C library's `main`, which is all that it needs of a system.

fn main() {
    println!("cargo:rustc-link-lib=c");
}
