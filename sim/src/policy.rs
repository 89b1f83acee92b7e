//! What is compared: caches behind one small trait.

use std::time::Duration;

use crate::belady::Belady;
use crate::capacity::Bound;
use crate::lru::Lru;
use crate::ours;
use crate::trace::{Request, Trace};

/// A cache in a replay.
pub trait Policy {
    /// Gets, and puts on a miss. Whether it was a hit.
    fn request(&mut self, request: &Request) -> bool;

    /// Entries or bytes held now, whichever the bound counts.
    fn held(&self) -> u64;
}

/// What a policy is built for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Setting<'a> {
    /// The requests to come; only Belady's looks at them.
    pub trace: &'a Trace,
    /// What bounds the policy.
    pub bound: Bound,
    /// How long an entry is served after its put; forever if not said.
    pub ttl: Option<Duration>,
}

impl<'a> Setting<'a> {
    /// A cache bounded by `bound` for this trace.
    pub const fn new(trace: &'a Trace, bound: Bound, ttl: Option<Duration>) -> Self {
        Self { trace, bound, ttl }
    }

    /// When what is put now ends to be served.
    pub(crate) fn end(&self, now: Duration) -> Duration {
        self.ttl.map_or(Duration::MAX, |ttl| now.saturating_add(ttl))
    }
}

/// Builds a policy.
pub type Make = for<'a> fn(&Setting<'a>) -> Box<dyn Policy + 'a>;

/// A policy by name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Kind {
    /// What reports call it.
    pub name: &'static str,
    /// Whether it is one of other people's caches.
    pub is_peer: bool,
    /// Whether it can be bounded so.
    pub fits: fn(Bound) -> bool,
    /// Builds one.
    pub make: Make,
}

/// The name of the exact optimum.
pub const OPT: &str = "opt";
/// The name of what others are compared with.
pub const LRU: &str = "lru";
/// The name of this project's cache for threads.
pub const OURS: &str = "ours";

/// The policies that are always there.
pub const OWN: &[Kind] = &[
    own(OPT, counts_entries, |setting| Box::new(Belady::new(setting))),
    own("belady_sized", counts_bytes, |setting| Box::new(Belady::new(setting))),
    own(OURS, any, |setting| Box::new(ours::Threaded::new(setting))),
    own("ours_local_heap", any, |setting| ours::local_heap(setting)),
    own("ours_local_fixed", ours::is_fixed, |setting| ours::local_fixed(setting)),
    own("ours_local_sets", ours::is_sets, |setting| ours::local_sets(setting)),
    own(LRU, any, |setting| Box::new(Lru::new(setting))),
];

const fn own(name: &'static str, fits: fn(Bound) -> bool, make: Make) -> Kind {
    Kind { name, is_peer: false, fits, make }
}

pub(crate) const fn any(_: Bound) -> bool {
    true
}

const fn counts_entries(bound: Bound) -> bool {
    matches!(bound, Bound::Entries(_))
}

const fn counts_bytes(bound: Bound) -> bool {
    matches!(bound, Bound::Bytes(_))
}

/// Whether each request of the trace hit, for tests.
#[cfg(test)]
pub(crate) fn hits(policy: &mut dyn Policy, trace: &Trace) -> Vec<bool> {
    trace.requests().map(|request| policy.request(&request)).collect()
}
