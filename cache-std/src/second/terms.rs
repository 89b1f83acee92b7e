//! How long what takes, and what is kept how long, with a store behind the memory.

use core::time::Duration;

use cache_core::{Lifetime, Loaded, Policy};

/// The settings of a store behind the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Longest that the store is waited for where an old value is at hand.
    pub(crate) soft: Duration,
    /// Longest that one operation of the store is waited for.
    pub(crate) hard: Duration,
    /// Longest that memory counts as fresh what the store has, if that is said.
    pub(crate) near_ttl: Option<Duration>,
    /// Freshness of what the store keeps, where a value has no ttl of its own.
    pub(crate) far_ttl: Option<Duration>,
    pub(crate) lease: Duration,
    /// Who loads takes a lease, where the store has any.
    pub(crate) leases: bool,
}

impl Terms {
    pub(crate) const DEFAULT: Self = Self {
        soft: Duration::from_millis(25),
        hard: Duration::from_millis(200),
        near_ttl: None,
        far_ttl: None,
        lease: Duration::from_secs(5),
        leases: true,
    };

    /// How long the store is to keep an answer; `None` if not at all.
    pub(crate) fn far_lifetime<V>(&self, loaded: &Loaded<V>, policy: &Policy) -> Option<Lifetime> {
        let mut lifetime = loaded.lifetime(policy)?;
        if let Some(ttl) = self.far_ttl.filter(|_| !loaded.has_own_ttl()) {
            lifetime.ttl = ttl;
        }
        Some(lifetime)
    }

    /// What is counted as fresh in memory at most: of a store that others change, not long, the less so
    /// where nobody tells of that.
    pub(crate) fn near_ttl(&self, is_shared: bool, hears: Option<bool>) -> Option<Duration> {
        const TOLD: Duration = Duration::from_secs(60);
        const UNTOLD: Duration = Duration::from_secs(5);
        const DEAF: Duration = Duration::from_secs(1);
        let usual = match (is_shared, hears) {
            (false, _) => return self.near_ttl,
            (true, Some(_)) => TOLD,
            (true, None) => UNTOLD,
        };
        let ttl = self.near_ttl.unwrap_or(usual);
        Some(if hears == Some(false) { ttl.min(DEAF) } else { ttl })
    }
}

/// A value as memory keeps it: fresh for `near_ttl` from now at most. It stays as fallback as long as it
/// would have.
pub(crate) fn shortened<V>(
    loaded: Loaded<V>,
    near_ttl: Option<Duration>,
    policy: &Policy,
) -> Loaded<V> {
    let Some((near_ttl, life)) = near_ttl.zip(loaded.lifetime(policy)) else { return loaded };
    let until = life.age.saturating_add(near_ttl);
    if life.ttl <= until {
        return loaded;
    }
    let sie = life.sie.saturating_add(life.ttl - until);
    let sie = if life.sie.is_zero() { life.sie } else { sie };
    loaded.ttl(until).stale_if_error(sie)
}

/// How long to wait before looking again whether another process has loaded: 5 to 50 ms, not the same for
/// all.
pub(super) fn pause(hash: u64, attempt: u32) -> Duration {
    let most = (10_u64 << attempt.min(3)).min(50);
    let mixed = (hash ^ u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    Duration::from_millis(most / 2 + mixed % (most / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn memory_counts_as_fresh_what_others_may_change_for_a_while_only() {
        let terms = Terms::DEFAULT;
        assert_eq!(terms.near_ttl(false, None), None);
        assert_eq!(terms.near_ttl(true, None), Some(5 * SECOND));
        assert_eq!(terms.near_ttl(true, Some(true)), Some(60 * SECOND));
        assert_eq!(terms.near_ttl(true, Some(false)), Some(SECOND));
        let terms = Terms { near_ttl: Some(SECOND / 2), ..terms };
        assert_eq!(terms.near_ttl(true, Some(false)), Some(SECOND / 2));
    }

    #[test]
    fn what_is_shortened_stays_as_fallback_as_long_as_before() {
        let policy = Policy::ttl(100 * SECOND).stale_if_error(50 * SECOND).jitter_percent(0);
        let policy = policy.build().unwrap();
        let life = |loaded: &Loaded<u8>| loaded.lifetime(&policy).unwrap();
        let near =
            shortened(Loaded::value(1).age(30 * SECOND).ttl(100 * SECOND), Some(SECOND), &policy);
        assert_eq!((life(&near).ttl, life(&near).sie), (31 * SECOND, 119 * SECOND));
        let fresh = shortened(Loaded::value(1), Some(60 * SECOND), &policy);
        assert_eq!((life(&fresh).ttl, life(&fresh).sie), (60 * SECOND, 90 * SECOND));
        assert!(shortened(Loaded::value(1), Some(100 * SECOND), &policy).is_plain());
        assert!(shortened(Loaded::value(1), None, &policy).is_plain());
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let pauses = |hash| (0..9).map(move |attempt| pause(hash, attempt).as_millis());
        assert!(pauses(1).all(|pause| (5..=50).contains(&pause)));
        assert!(pauses(1).skip(3).all(|pause| pause >= 25));
        assert!(
            (0..9_u64).map(|n| pause(n << 40, 3)).collect::<std::collections::HashSet<_>>().len()
                > 3
        );
    }
}
