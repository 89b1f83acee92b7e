//! Keys that tempt a store to mix them up.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Texts that differ, and that collide where keys are joined, cut, folded, trimmed or taken for
/// patterns and paths: the empty one, separators, braces, NUL, escapes, and two of 64 KiB that
/// differ in the last letter.
pub fn hostile_strings() -> Vec<String> {
    let mut keys: Vec<String> = PLAIN.iter().map(ToString::to_string).collect();
    keys.extend(["x", "y"].map(|end| "x".repeat(64 * 1024) + end));
    keys
}

/// [`hostile_strings`] as bytes, and some that are not UTF-8.
pub fn hostile_bytes() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = hostile_strings().into_iter().map(String::into_bytes).collect();
    keys.extend(
        [[0xff].as_slice(), &[0xff, 0xfe], &[0xc3, 0x28], &[0xed, 0xa0, 0x80]].map(Vec::from),
    );
    keys
}

const PLAIN: &[&str] = &[
    "", " ", "a", "A", "a ", " a", "a:", ":a", "a:b", "a::b", "a:b:", "a%3Ab", "a%253Ab", "a\\:b",
    "a.b", "a_b", "a-b", "a/b", "a//b", "../a", ".", "..", "*", "a*", "a?", "[a]", "{a}", "{", "}",
    "{}a", "{a}:b", "\0", "a\0", "\0a", "a\0b", "a\n", "a\r\n", "\u{e9}", "e\u{301}", "\u{feff}",
    "%", "%00", "'", "\"", "--", "0", "00", "null", "CON",
];
