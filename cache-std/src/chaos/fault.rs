//! The error of a call that fails on purpose.

use core::error::Error;
use core::fmt;
use std::io;

/// The error of a call that failed because the plan said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault;

const TEXT: &str = "a fault on purpose";

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TEXT)
    }
}

impl Error for Fault {}

impl From<Fault> for String {
    fn from(_: Fault) -> Self {
        TEXT.into()
    }
}

impl From<Fault> for &'static str {
    fn from(_: Fault) -> Self {
        TEXT
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}
