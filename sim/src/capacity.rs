//! How large a cache is, as the user says it and as a policy needs it.

use std::fmt;
use std::str::FromStr;

use crate::trace::{Request, Trace};

/// A capacity as the user says it: `500`, or `0.1%` of what the trace has of unique keys or bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    text: String,
    amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Absolute(u64),
    Percent(f64),
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let amount = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(is_percent).map(Amount::Percent),
            None => text.parse().ok().filter(|amount| *amount > 0).map(Amount::Absolute),
        };
        let wrong = || format!("`{text}` is no capacity; give 500, say, or 0.1% up to 100%");
        Ok(Self { text: text.into(), amount: amount.ok_or_else(wrong)? })
    }
}

fn is_percent(percent: &f64) -> bool {
    *percent > 0.0 && *percent <= 100.0
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Capacity {
    /// The bound for a trace; at least 1. `by_count` counts entries although objects have sizes.
    pub fn bound(&self, trace: &Trace, by_count: bool) -> Bound {
        if trace.is_sized() && !by_count {
            Bound::Bytes(self.of(trace.unique_bytes()))
        } else {
            Bound::Entries(self.of(trace.unique() as u64))
        }
    }

    fn of(&self, whole: u64) -> u64 {
        match self.amount {
            Amount::Absolute(amount) => amount,
            Amount::Percent(percent) => ((whole as f64 * percent / 100.0).round() as u64).max(1),
        }
    }
}

/// What bounds a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// At most so many entries.
    Entries(u64),
    /// At most so many bytes, as the requests tell the sizes of their objects.
    Bytes(u64),
}

impl Bound {
    /// The number, whatever it counts.
    pub const fn amount(self) -> u64 {
        match self {
            Self::Entries(amount) | Self::Bytes(amount) => amount,
        }
    }

    /// What it counts.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Entries(_) => "entries",
            Self::Bytes(_) => "bytes",
        }
    }

    /// How much of the bound the object of a request takes.
    pub const fn weight(self, request: &Request) -> u32 {
        match self {
            Self::Entries(_) => 1,
            Self::Bytes(_) => request.size,
        }
    }

    /// The share of all that the trace has.
    pub fn share(self, trace: &Trace) -> f64 {
        let whole = match self {
            Self::Entries(_) => trace.unique() as u64,
            Self::Bytes(_) => trace.unique_bytes(),
        };
        self.amount() as f64 / whole as f64
    }

    /// How many entries fit, with objects of mean size.
    pub fn entries(self, trace: &Trace) -> u64 {
        match self {
            Self::Entries(entries) => entries,
            Self::Bytes(_) => (self.share(trace) * trace.unique() as f64).round() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str, trace: &Trace, by_count: bool) -> Bound {
        text.parse::<Capacity>().unwrap().bound(trace, by_count)
    }

    #[test]
    fn percents_are_of_unique_keys_or_bytes() {
        let plain = Trace::of(&(0..1_000).chain(0..1_000).collect::<Vec<_>>());
        assert_eq!(bound("10%", &plain, false), Bound::Entries(100));
        assert_eq!(bound("0.1%", &plain, false), Bound::Entries(1));
        assert_eq!(bound("0.01%", &plain, false), Bound::Entries(1));
        assert_eq!(bound("77", &plain, false), Bound::Entries(77));
        let sized = Trace::of_sizes(&[(1, 600), (2, 400), (1, 600)]);
        assert_eq!(bound("50%", &sized, false), Bound::Bytes(500));
        assert_eq!(bound("50%", &sized, true), Bound::Entries(1));
        assert_eq!(bound("77", &sized, false), Bound::Bytes(77));
    }

    #[test]
    fn what_is_no_capacity_is_refused() {
        for text in ["", "0", "0%", "-1", "-1%", "101%", "1.5", "%", "NaN%", "x"] {
            assert!(text.parse::<Capacity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytes_speak_of_entries_by_the_mean_size() {
        let trace = Trace::of_sizes(&[(1, 600), (2, 400), (3, 500)]);
        assert_eq!(Bound::Bytes(1_000).entries(&trace), 2);
        assert_eq!(Bound::Entries(7).entries(&trace), 7);
    }
}
