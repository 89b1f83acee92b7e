//! What is known about a value in time: its windows, its freshness, and what of it may travel.

use core::time::Duration;

use crate::time::Instant;

/// Freshness of an entry at an instant. Intervals are half-open: an entry is fresh while
/// `now < fresh_until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // the three words of RFC 5861 and the time after them
pub enum Freshness {
    /// Within its ttl.
    Fresh,
    /// Past its ttl, within stale-while-revalidate: served while one refresh runs.
    Stale,
    /// Past both. It may still be kept for stale-if-error.
    Expired,
}

/// The instants that bound one value's life. `swr` and `sie` both count from `fresh_until`
/// (RFC 5861, sections 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) stored_at: Instant,
    pub(crate) fresh_until: Instant,
    pub(crate) swr: Duration,
    pub(crate) sie: Duration,
}

impl Windows {
    /// Windows of a value stored at `now`, in the steps that resting entries can hold.
    pub(crate) fn new(now: Instant, ttl: Duration, swr: Duration, sie: Duration) -> Self {
        let stored_at = now.floor();
        Self { stored_at, fresh_until: (stored_at + ttl).floor(), swr, sie }
    }

    /// End of stale-while-revalidate.
    pub(crate) fn stale_until(&self) -> Instant {
        self.fresh_until + self.swr
    }

    /// When nothing may be served any more, whatever happens.
    pub(crate) fn gone_at(&self) -> Instant {
        self.fresh_until + self.swr.max(self.sie)
    }

    /// When an early refresh falls due: after `percent` of the ttl.
    pub(crate) fn early_at(&self, percent: Option<u8>) -> Instant {
        let Some(percent) = percent.filter(|_| self.fresh_until != Instant::FAR_FUTURE) else {
            return self.fresh_until;
        };
        let ttl = self.fresh_until.saturating_since(self.stored_at);
        (self.stored_at + early_part(ttl, percent)).floor()
    }

    pub(crate) fn freshness(&self, now: Instant) -> Freshness {
        if !now.has_reached(self.fresh_until) {
            Freshness::Fresh
        } else if !now.has_reached(self.stale_until()) {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }

    /// Stale from `at` on, if it is not stale already; at the earliest, since it was stored.
    pub(crate) fn expire(&mut self, at: Instant) {
        self.fresh_until = self.fresh_until.min(at.floor().max(self.stored_at));
    }

    fn lifetime(&self, now: Instant) -> Lifetime {
        Lifetime {
            age: now.saturating_since(self.stored_at),
            ttl: self.fresh_until.remaining_at(self.stored_at),
            swr: self.swr,
            sie: self.sie,
        }
    }
}

/// `percent` of `ttl`, without overflow.
pub(crate) fn early_part(ttl: Duration, percent: u8) -> Duration {
    let part = ttl.as_nanos() * u128::from(percent) / 100;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

/// A value with the windows of its life, as [`local::Cache::entry`](crate::local::Cache::entry)
/// shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    windows: Windows,
}

impl<V> Entry<V> {
    /// An entry at `now` from a value and what is known of its life: the way in from a
    /// [`Store`](crate::store::Store).
    pub fn from_lifetime(value: V, lifetime: Lifetime, now: Instant) -> Self {
        Self { value, windows: lifetime.windows(now) }
    }

    pub(crate) const fn new(value: V, windows: Windows) -> Self {
        Self { value, windows }
    }

    /// Freshness at `now`.
    pub fn freshness(&self, now: Instant) -> Freshness {
        self.windows.freshness(now)
    }

    /// Whether the entry is fresh at `now`.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.freshness(now) == Freshness::Fresh
    }

    /// Time since the value was stored; zero when the clock went back.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.windows.stored_at)
    }

    /// What is left of freshness; [`Duration::MAX`] when it never ends.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.windows.fresh_until.remaining_at(now)
    }

    /// When freshness ends.
    pub const fn fresh_until(&self) -> Instant {
        self.windows.fresh_until
    }

    /// When stale-while-revalidate ends.
    pub fn stale_until(&self) -> Instant {
        self.windows.stale_until()
    }

    /// When stale-if-error, too, has ended and the entry may be removed.
    pub fn gone_at(&self) -> Instant {
        self.windows.gone_at()
    }

    /// The entry's life as durations: the way out to a [`Store`](crate::store::Store).
    pub fn lifetime(&self, now: Instant) -> Lifetime {
        self.windows.lifetime(now)
    }

    /// The same life around another form of the value.
    pub fn map<W>(self, change: impl FnOnce(V) -> W) -> Entry<W> {
        Entry { value: change(self.value), windows: self.windows }
    }
}

impl<V: Clone> Entry<&V> {
    /// The same with a copy of the value.
    pub fn cloned(self) -> Entry<V> {
        self.map(V::clone)
    }
}

/// An entry's life as durations only, fit to be stored or sent: no clock's reading leaves the
/// process. [`Duration::MAX`] stands for "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Lifetime {
    /// Time since the value was stored.
    pub age: Duration,
    /// Whole time from storing to the end of freshness.
    pub ttl: Duration,
    /// Stale-while-revalidate, counted from the end of freshness.
    pub swr: Duration,
    /// Stale-if-error, counted from the end of freshness.
    pub sie: Duration,
}

impl Lifetime {
    /// The life of a value stored just now that stays fresh for `ttl`.
    pub const fn fresh_for(ttl: Duration) -> Self {
        Self { age: Duration::ZERO, ttl, swr: Duration::ZERO, sie: Duration::ZERO }
    }

    /// The same life, whose freshness ended at this age if it had not ended before: its windows count from
    /// there. An age from before that moves up to it.
    #[must_use]
    pub fn stale_since(mut self, age: Duration) -> Self {
        self.ttl = self.ttl.min(age);
        self.age = self.age.max(self.ttl);
        self
    }

    /// The same life with another age.
    #[must_use]
    pub const fn aged(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The same life with another stale-while-revalidate window.
    #[must_use]
    pub const fn stale_while_revalidate(mut self, swr: Duration) -> Self {
        self.swr = swr;
        self
    }

    /// The same life with another stale-if-error window.
    #[must_use]
    pub const fn stale_if_error(mut self, sie: Duration) -> Self {
        self.sie = sie;
        self
    }

    /// Whole time from storing until nothing may be served; what a store uses as its own expiry.
    pub fn total(&self) -> Duration {
        self.ttl.saturating_add(self.swr.max(self.sie))
    }

    /// What is left of [`total`](Self::total): zero when over, [`Duration::MAX`] for ever.
    pub fn remaining(&self) -> Duration {
        match self.total() {
            Duration::MAX => Duration::MAX,
            total => total.saturating_sub(self.age),
        }
    }

    /// Freshness at this age.
    pub fn freshness(&self) -> Freshness {
        if self.ttl == Duration::MAX || self.age < self.ttl {
            Freshness::Fresh
        } else if self.age < self.ttl.saturating_add(self.swr) {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }

    /// Whether a store's `put_if_absent` finds an entry with this life there: it is fresh or stale. What is kept for
    /// errors alone is absent.
    pub fn is_present(&self) -> bool {
        self.freshness() != Freshness::Expired
    }

    /// Whether a value with this life is to be kept in the face of one of another age that comes from
    /// elsewhere: it is fresh, or no older.
    pub fn outdoes(&self, age: Duration) -> bool {
        self.freshness() == Freshness::Fresh || self.age <= age
    }

    /// Whether a value with this life is fresh, and no older than one of another age that comes from
    /// elsewhere: then that one is no news.
    pub fn matches(&self, age: Duration) -> bool {
        self.freshness() == Freshness::Fresh && self.age <= age
    }

    pub(crate) fn windows(&self, now: Instant) -> Windows {
        // An age above the clock's reading would saturate at the origin and stretch the windows,
        // so the end of freshness is found from what is left, not from the origin.
        let (stored_at, age) = (now - self.age, nanos_of(self.age));
        let fresh_until = match self.ttl {
            Duration::MAX => Instant::FAR_FUTURE,
            ttl if ttl >= self.age => now + (ttl - self.age),
            ttl => Instant::from_nanos(
                now.as_nanos().saturating_sub(age.saturating_sub(nanos_of(ttl))),
            ),
        };
        let (stored_at, fresh_until) = (stored_at.floor(), fresh_until.floor());
        Windows { stored_at, fresh_until, swr: self.swr, sie: self.sie }
    }
}

fn nanos_of(span: Duration) -> u64 {
    crate::time::nanos(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn windows_are_half_open_and_count_from_the_end_of_freshness() {
        let w = Windows::new(Instant::from_millis(10), ms(100), ms(20), ms(50));
        let at = |n| w.freshness(Instant::from_millis(n));
        assert_eq!((at(10), at(109)), (Freshness::Fresh, Freshness::Fresh));
        assert_eq!((at(110), at(129)), (Freshness::Stale, Freshness::Stale));
        assert_eq!(at(130), Freshness::Expired);
        assert_eq!(w.gone_at(), Instant::from_millis(160));
    }

    #[test]
    fn a_clock_that_went_back_finds_the_entry_fresh_and_new() {
        let entry =
            Entry::from_lifetime((), Lifetime::fresh_for(ms(5)), Instant::from_millis(1_000));
        assert!(entry.is_fresh(Instant::ORIGIN));
        assert_eq!(entry.age(Instant::ORIGIN), Duration::ZERO);
    }

    fn spans() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            (0..10_000u64).prop_map(Duration::from_millis),
            any::<u64>().prop_map(Duration::from_nanos),
        ]
    }

    fn starts() -> impl Strategy<Value = Instant> {
        prop_oneof![0..1_000u64, any::<u64>(), (u64::MAX - 1_000)..=u64::MAX]
            .prop_map(Instant::from_nanos)
    }

    proptest! {
        #[test]
        fn freshness_only_moves_on(
            start in starts(), ttl in spans(), swr in spans(), sie in spans(),
            a in any::<u64>(), b in any::<u64>(),
        ) {
            let w = Windows::new(start, ttl, swr, sie);
            let rank = |at| w.freshness(Instant::from_nanos(at)) as u8;
            prop_assert!(rank(a.min(b)) <= rank(a.max(b)));
            prop_assert!(w.gone_at() >= w.stale_until());
        }

        #[test]
        fn an_early_refresh_is_due_within_freshness(
            start in starts(), ttl in spans(), percent in 1..100u8,
        ) {
            let w = Windows::new(start, ttl, Duration::ZERO, Duration::ZERO);
            prop_assert!(w.early_at(Some(percent)) <= w.fresh_until);
            prop_assert!(w.early_at(Some(percent)) >= w.stored_at);
        }

        #[test]
        fn a_lifetime_survives_the_journey(
            start in 0..u64::MAX / 4, ttl in 0..10_000_000u64, age in 0..20_000_000u64,
        ) {
            let now = Instant::from_nanos(start) + ms(age);
            let sent = Lifetime::fresh_for(ms(ttl)).aged(ms(age)).stale_if_error(ms(7));
            let entry = Entry::from_lifetime((), sent, now);
            let back = entry.lifetime(now);
            prop_assert_eq!(entry.freshness(now), sent.freshness());
            let error = back.age.abs_diff(sent.age).max(back.ttl.abs_diff(sent.ttl));
            prop_assert!(error <= Duration::from_nanos(128), "{back:?} for {sent:?}");
        }
    }

    #[test]
    fn an_age_beyond_the_clocks_origin_does_not_stretch_the_windows() {
        let old = Lifetime::fresh_for(ms(100)).aged(ms(99));
        let entry = Entry::from_lifetime((), old, Instant::from_millis(10));
        assert_eq!(entry.fresh_until(), Instant::from_millis(11));
    }

    #[test]
    fn a_life_outdoes_what_is_older_and_while_it_is_fresh_all_else() {
        let life = Lifetime::fresh_for(Duration::from_secs(9)).aged(Duration::from_secs(5));
        assert!(life.outdoes(Duration::ZERO), "fresh");
        let stale = life.aged(Duration::from_secs(20));
        let outdoes = |age| stale.outdoes(Duration::from_secs(age));
        assert!(!outdoes(19) && outdoes(20) && outdoes(21));
    }
}
