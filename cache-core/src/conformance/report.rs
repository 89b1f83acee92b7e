//! What a run of the rules found.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::trial::Finding;

/// The rules that hold, and those that could not be checked. Shown with one rule a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    checked: Vec<&'static str>,
    not_applicable: Vec<(&'static str, &'static str)>,
}

impl Report {
    /// Ids of the rules that hold.
    pub fn checked(&self) -> impl Iterator<Item = &'static str> {
        self.checked.iter().copied()
    }

    /// Ids of the rules that were not checked, each with the reason.
    pub fn not_applicable(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.not_applicable.iter().copied()
    }

    pub(super) fn note(&mut self, rule: &'static str, finding: Finding) {
        match finding {
            Finding::Holds => self.checked.push(rule),
            Finding::NotApplicable(why) => self.not_applicable.push((rule, why)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for rule in self.checked() {
            writeln!(f, "holds        {rule}")?;
        }
        for (rule, why) in self.not_applicable() {
            writeln!(f, "not checked  {rule}: {why}")?;
        }
        Ok(())
    }
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule's id.
    pub rule: &'static str,
    /// What the rule asks for.
    pub demand: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; but {}", self.rule, self.demand, self.detail)
    }
}

impl core::error::Error for Violation {}
