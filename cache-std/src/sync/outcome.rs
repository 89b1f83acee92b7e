//! What a read can tell beyond the value.

use core::time::Duration;

use cache_core::{Freshness, Lifetime};

use crate::flight::Arrival;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The cache's own memory.
    Memory,
    /// The store behind the cache, by a load that this read started or joined.
    Store,
    /// The origin, by a load that this read started or joined.
    Origin,
}

/// What part a read had in a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadPart {
    /// None: the value was fresh, or the read was not to load.
    None,
    /// It started one: the load that brought the value, or a refresh behind a stale one.
    Started,
    /// It joined one that was under way, or found a refresh under way behind a stale value.
    Joined,
    /// None, because a load has failed lately or is late, or a limit is reached: the value is old.
    Cooling,
}

/// A value, and what is known of it and of how it was read. Made by
/// [`Read::outcome`](super::Read::outcome).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<V> {
    /// The value.
    pub value: V,
    /// Where it came from.
    pub source: Source,
    /// How fresh it is.
    pub freshness: Freshness,
    /// Its life so far, and its windows. A value that was delivered without being kept has a ttl of
    /// zero.
    pub lifetime: Lifetime,
    /// What part this read had in a load.
    pub load: LoadPart,
    /// The value is served only because no better one was to be had: the load failed, was late or was
    /// not allowed. Or it was loaded while a store behind the cache was in trouble.
    pub degraded: bool,
}

impl<V> Outcome<V> {
    /// Time since the value was stored; zero for one that has just been loaded.
    pub const fn age(&self) -> Duration {
        self.lifetime.age
    }

    /// What is left of freshness; [`Duration::MAX`] for a value that stays fresh for ever.
    pub fn fresh_for(&self) -> Duration {
        self.left_of(Duration::ZERO)
    }

    /// What is left until the end of stale-while-revalidate.
    pub fn stale_for(&self) -> Duration {
        self.left_of(self.lifetime.swr)
    }

    /// What is left until nothing may serve the value any more.
    pub fn usable_for(&self) -> Duration {
        self.left_of(self.lifetime.swr.max(self.lifetime.sie))
    }

    const fn left_of(&self, more: Duration) -> Duration {
        match self.lifetime.ttl.saturating_add(more) {
            Duration::MAX => Duration::MAX,
            all => all.saturating_sub(self.lifetime.age),
        }
    }
}

/// A value on its way to the caller, with what was found out on the way.
pub(crate) struct Served<V> {
    pub(crate) value: V,
    pub(crate) source: Source,
    /// Known if the caller wants to know it.
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) load: LoadPart,
    pub(crate) degraded: bool,
}

impl<V> Served<V> {
    /// A value from memory that is not to be told more of.
    pub(crate) const fn plain(value: V) -> Self {
        let (source, load) = (Source::Memory, LoadPart::None);
        Self { value, source, lifetime: None, load, degraded: false }
    }

    /// What a flight brought.
    pub(crate) const fn arrived(value: V, arrival: Arrival, load: LoadPart) -> Self {
        let Arrival { source, lifetime, degraded, .. } = arrival;
        Self { value, source, lifetime: Some(lifetime), load, degraded }
    }

    pub(crate) fn into_outcome(self) -> Outcome<V> {
        let Self { value, source, lifetime, load, degraded } = self;
        let lifetime = lifetime.unwrap_or(Lifetime::fresh_for(Duration::ZERO));
        // What has just arrived is as fresh as can be, kept or not.
        let arrived = source != Source::Memory && lifetime.age.is_zero();
        let freshness = if arrived { Freshness::Fresh } else { lifetime.freshness() };
        Outcome { value, source, freshness, lifetime, load, degraded }
    }
}
